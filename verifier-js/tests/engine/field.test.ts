import assert from "node:assert/strict";
import test from "node:test";

import {
  add, baseDot, type Cells, cellDot, dot, embed, equal, extOf, getAt, inverse, newVec, ONE, P, parts, powersOf, product, rootOfUnity, setAt,
  sub, sumOf, type Vec, vecOf, ZERO,
} from "../../src/engine/field.js";

/** Edge values of F_p, and others from a fixed sequence. */
const EDGES = [0n, 1n, 2n, 7n, 0xffffn, 0x10000n, 0xffff_ffffn, 0x1_0000_0000n, 0xffff_0000_ffff_0000n, P - 2n, P - 1n, P >> 1n, 0xffff_ffff_0000_0000n];
let state = 88172645463325252n;
function next(): bigint {
  state ^= (state << 13n) & 0xffff_ffff_ffff_ffffn;
  state ^= state >> 7n;
  state ^= (state << 17n) & 0xffff_ffff_ffff_ffffn;
  return state % P;
}
const SOME = [...EDGES, ...Array.from({ length: 40 }, next)];
const mod = (value: bigint): bigint => ((value % P) + P) % P;

test("sums, differences and products are those of exact integers", () => {
  for (const a of SOME) {
    for (const b of SOME) {
      const c = next(), d = SOME[Number(b % BigInt(SOME.length))]!;
      const x = extOf(a, c), y = extOf(b, d);
      assert.deepEqual(parts(add(x, y)), [mod(a + b), mod(c + d)]);
      assert.deepEqual(parts(sub(x, y)), [mod(a - b), mod(c - d)]);
      assert.deepEqual(parts(product(x, y)), [mod(a * b + 7n * c * d), mod(a * d + b * c)]);
    }
  }
});

test("every element but 0 has an inverse, and integers of either sign are embedded", () => {
  for (const a of SOME) {
    const x = extOf(a, next());
    assert.ok(equal(product(x, inverse(x)), ONE));
  }
  assert.throws(() => inverse(ZERO), /no inverse/);
  for (const n of [0, 1, -1, 65535, 65536, -65536, 2 ** 31, -(2 ** 31), 2 ** 52 + 1, -(2 ** 52) - 1]) {
    assert.deepEqual(parts(embed(n)), [mod(BigInt(n)), 0n]);
    assert.ok(equal(embed(n), embed(BigInt(n))));
  }
  assert.throws(() => embed(2 ** 60), /not an exact integer/);
});

test("roots of unity have the order that they are named for", () => {
  for (const log of [1, 5, 20, 32]) {
    let x = rootOfUnity(log);
    for (let i = 0; i < log - 1; i++) x = product(x, x);
    assert.deepEqual(parts(x), [P - 1n, 0n]);
  }
  assert.throws(() => rootOfUnity(33), /no root/);
});

test("sums of products of vectors do not lose a bit, however long they are and however large their entries", () => {
  const size = 20_000, top = extOf(P - 1n, P - 1n);
  const largest = vecOf(new Array(size).fill(top)), mixed = newVec(size), base = new Uint16Array(4 * size);
  const cells: Record<string, Cells> = {
    i8: new Int8Array(size), i16: new Int16Array(size), i32: new Int32Array(size), i64: new BigInt64Array(size),
  };
  for (let i = 0; i < size; i++) {
    setAt(mixed, i, extOf(next(), next()));
    base.set([0xffff - (i % 3), i % 65536, 0xfffe, 0xffff], 4 * i);
    cells.i8![i] = (i % 256) - 128;
    cells.i16![i] = i % 2 ? -32768 : 32767;
    cells.i32![i] = i % 2 ? -(2 ** 31) : 2 ** 31 - 1;
    (cells.i64 as BigInt64Array)[i] = i % 2 ? -(2n ** 61n) : 2n ** 61n - 1n;
  }
  const exact = (left: (i: number) => [bigint, bigint], right: Vec): [bigint, bigint] => {
    let re = 0n, im = 0n;
    for (let i = 0; i < size; i++) {
      const [a, c] = left(i), [b, d] = parts(getAt(right, i));
      re += a * b + 7n * c * d;
      im += a * d + b * c;
    }
    return [mod(re), mod(im)];
  };
  for (const right of [largest, mixed]) {
    for (const left of [largest, mixed]) assert.deepEqual(parts(dot(left, right)), exact((i) => parts(getAt(left, i)), right));
    const word = (i: number): bigint => [3, 2, 1, 0].reduce((sum, k) => (sum << 16n) | BigInt(base[4 * i + k]!), 0n);
    assert.deepEqual(parts(baseDot(base, 0, right, size)), exact((i) => [word(i), 0n], right));
    for (const some of Object.values(cells)) assert.deepEqual(parts(cellDot(some, 0, right, size)), exact((i) => [BigInt(some[i]!), 0n], right));
    assert.deepEqual(parts(sumOf(right)), exact(() => [1n, 0n], right));
  }
});

test("powers are products", () => {
  const x = extOf(3n, P - 5n), powers = powersOf(x, 5);
  assert.ok(equal(getAt(powers, 0), ONE));
  assert.ok(equal(getAt(powers, 4), product(product(x, x), product(x, x))));
});
