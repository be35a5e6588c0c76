/**
 * The field: F_p with p = 2^64 − 2^32 + 1 (Goldilocks), and F = F_p[x]/(x² − 7), where challenges live.
 *
 * An element of F is a + b·x, each of a and b in four limbs of 16 bits, lowest first. Limbs are small integers in every
 * JavaScript engine, their products are exact in doubles, and sums of thousands of products are too; so products of vectors are
 * reduced once, at their end. As 2^64 = 2^32 − 1 and 2^96 = −1 modulo p, reducing is a few additions and a pass of carries.
 * BigInt would be about ten times slower.
 */

export const P = 0xffff_ffff_0000_0001n;
export const NON_RESIDUE = 7;
const GENERATOR = 7n;
const TWO_ADICITY = 32;
const DOWN = 1 / 65536;

/** a + b·x, canonical: both parts below p. Never changed. */
export class Ext {
  constructor(
    readonly a0: number,
    readonly a1: number,
    readonly a2: number,
    readonly a3: number,
    readonly b0: number,
    readonly b1: number,
    readonly b2: number,
    readonly b3: number,
  ) {}
}

/** What {@link settle} leaves: four limbs of a canonical element of F_p. */
const S = new Int32Array(4);

/** Σ c_i·2^(16i) modulo p, for integers |c_i| < 2^52, into {@link S}. */
function settle(c0: number, c1: number, c2: number, c3: number): void {
  for (;;) {
    let carry = Math.floor(c0 * DOWN);
    c0 -= carry * 65536;
    c1 += carry;
    carry = Math.floor(c1 * DOWN);
    c1 -= carry * 65536;
    c2 += carry;
    carry = Math.floor(c2 * DOWN);
    c2 -= carry * 65536;
    c3 += carry;
    carry = Math.floor(c3 * DOWN);
    c3 -= carry * 65536;
    if (carry === 0) break;
    c0 -= carry; // 2^64 = 2^32 − 1
    c2 += carry;
  }
  if (c3 === 65535 && c2 === 65535 && (c1 !== 0 || c0 !== 0)) {
    // p or more: p's limbs are 1, 0, 65535, 65535
    c0 -= 1;
    if (c0 < 0) {
      c0 = 65535;
      c1 -= 1;
    }
    c2 = 0;
    c3 = 0;
  }
  S[0] = c0;
  S[1] = c1;
  S[2] = c2;
  S[3] = c3;
}

/** The element whose parts are the given sums of limbs, seven of each. */
function settled(
  a0: number, a1: number, a2: number, a3: number, a4: number, a5: number, a6: number,
  b0: number, b1: number, b2: number, b3: number, b4: number, b5: number, b6: number,
): Ext {
  settle(a0 - a4 - a6, a1 - a5, a2 + a4, a3 + a5);
  const r0 = S[0]!, r1 = S[1]!, r2 = S[2]!, r3 = S[3]!;
  settle(b0 - b4 - b6, b1 - b5, b2 + b4, b3 + b5);
  return new Ext(r0, r1, r2, r3, S[0]!, S[1]!, S[2]!, S[3]!);
}

export const ZERO = new Ext(0, 0, 0, 0, 0, 0, 0, 0);
export const ONE = new Ext(1, 0, 0, 0, 0, 0, 0, 0);
/** The extension's generator. */
export const X = new Ext(0, 0, 0, 0, 1, 0, 0, 0);

/** Whether both are the same element. */
export function equal(x: Ext, y: Ext): boolean {
  return (
    x.a0 === y.a0 && x.a1 === y.a1 && x.a2 === y.a2 && x.a3 === y.a3 &&
    x.b0 === y.b0 && x.b1 === y.b1 && x.b2 === y.b2 && x.b3 === y.b3
  );
}

export function isZero(x: Ext): boolean {
  return (x.a0 | x.a1 | x.a2 | x.a3 | x.b0 | x.b1 | x.b2 | x.b3) === 0;
}

export function isOne(x: Ext): boolean {
  return equal(x, ONE);
}

const mod = (value: bigint): bigint => ((value % P) + P) % P;
const limb = (value: bigint, at: bigint): number => Number((value >> at) & 0xffffn);

/** a + b·x for integers of any size and sign. */
export function extOf(a: bigint, b: bigint): Ext {
  const x = mod(a), y = mod(b);
  return new Ext(limb(x, 0n), limb(x, 16n), limb(x, 32n), limb(x, 48n), limb(y, 0n), limb(y, 16n), limb(y, 32n), limb(y, 48n));
}

/** An integer as an element of F. */
export function embed(value: number | bigint): Ext {
  if (typeof value === "number") {
    if (value >= 0 && value < 65536) return new Ext(value, 0, 0, 0, 0, 0, 0, 0);
    if (!Number.isSafeInteger(value)) throw new RangeError("not an exact integer");
    const high = Math.floor(value / 2 ** 32), low = value - high * 2 ** 32; // |high| < 2^21
    settle(low, 0, high, 0);
    return new Ext(S[0]!, S[1]!, S[2]!, S[3]!, 0, 0, 0, 0);
  }
  return extOf(value, 0n);
}

/** 2^power as an element. */
export function twoTo(power: number): Ext {
  return embed(1n << BigInt(power));
}

/** 2^(−power). */
export function halfTo(power: number): Ext {
  return inverse(twoTo(power));
}

export const MINUS_ONE = embed(-1);

/** (a, b). */
export function parts(x: Ext): [bigint, bigint] {
  const a = BigInt(x.a2 + x.a3 * 65536) * 4294967296n + BigInt(x.a0 + x.a1 * 65536);
  const b = BigInt(x.b2 + x.b3 * 65536) * 4294967296n + BigInt(x.b0 + x.b1 * 65536);
  return [a, b];
}

export function add(x: Ext, y: Ext): Ext {
  settle(x.a0 + y.a0, x.a1 + y.a1, x.a2 + y.a2, x.a3 + y.a3);
  const r0 = S[0]!, r1 = S[1]!, r2 = S[2]!, r3 = S[3]!;
  settle(x.b0 + y.b0, x.b1 + y.b1, x.b2 + y.b2, x.b3 + y.b3);
  return new Ext(r0, r1, r2, r3, S[0]!, S[1]!, S[2]!, S[3]!);
}

export function sub(x: Ext, y: Ext): Ext {
  settle(x.a0 - y.a0, x.a1 - y.a1, x.a2 - y.a2, x.a3 - y.a3);
  const r0 = S[0]!, r1 = S[1]!, r2 = S[2]!, r3 = S[3]!;
  settle(x.b0 - y.b0, x.b1 - y.b1, x.b2 - y.b2, x.b3 - y.b3);
  return new Ext(r0, r1, r2, r3, S[0]!, S[1]!, S[2]!, S[3]!);
}

export function negative(x: Ext): Ext {
  return sub(ZERO, x);
}

export function product(x: Ext, y: Ext): Ext {
  const a0 = x.a0, a1 = x.a1, a2 = x.a2, a3 = x.a3, b0 = x.b0, b1 = x.b1, b2 = x.b2, b3 = x.b3;
  const c0 = y.a0, c1 = y.a1, c2 = y.a2, c3 = y.a3, d0 = y.b0, d1 = y.b1, d2 = y.b2, d3 = y.b3;
  const e0 = 7 * b0, e1 = 7 * b1, e2 = 7 * b2, e3 = 7 * b3;
  return settled(
    a0 * c0 + e0 * d0,
    a0 * c1 + a1 * c0 + e0 * d1 + e1 * d0,
    a0 * c2 + a1 * c1 + a2 * c0 + e0 * d2 + e1 * d1 + e2 * d0,
    a0 * c3 + a1 * c2 + a2 * c1 + a3 * c0 + e0 * d3 + e1 * d2 + e2 * d1 + e3 * d0,
    a1 * c3 + a2 * c2 + a3 * c1 + e1 * d3 + e2 * d2 + e3 * d1,
    a2 * c3 + a3 * c2 + e2 * d3 + e3 * d2,
    a3 * c3 + e3 * d3,
    a0 * d0 + b0 * c0,
    a0 * d1 + a1 * d0 + b0 * c1 + b1 * c0,
    a0 * d2 + a1 * d1 + a2 * d0 + b0 * c2 + b1 * c1 + b2 * c0,
    a0 * d3 + a1 * d2 + a2 * d1 + a3 * d0 + b0 * c3 + b1 * c2 + b2 * c1 + b3 * c0,
    a1 * d3 + a2 * d2 + a3 * d1 + b1 * c3 + b2 * c2 + b3 * c1,
    a2 * d3 + a3 * d2 + b2 * c3 + b3 * c2,
    a3 * d3 + b3 * c3,
  );
}

/** x times an integer. */
export function scale(x: Ext, factor: number | bigint): Ext {
  return product(x, embed(factor));
}

/** x^power, power ≥ 0. */
export function power(x: Ext, exponent: bigint): Ext {
  let result = ONE, square = x;
  for (let left = exponent; left > 0n; left >>= 1n) {
    if (left & 1n) result = product(result, square);
    square = product(square, square);
  }
  return result;
}

/** 1/x, x not 0: the norm a² − 7·b² lies in F_p and has the inverse norm^(p−2). */
export function inverse(x: Ext): Ext {
  if (isZero(x)) throw new RangeError("0 has no inverse");
  const conjugate = sub(new Ext(x.a0, x.a1, x.a2, x.a3, 0, 0, 0, 0), new Ext(0, 0, 0, 0, x.b0, x.b1, x.b2, x.b3));
  const norm = product(x, conjugate);
  return product(conjugate, power(norm, P - 2n));
}

const roots: Ext[] = [];

/** A primitive 2^logOrder-th root of unity in F_p: 7^((p−1)/2^logOrder). */
export function rootOfUnity(logOrder: number): Ext {
  if (logOrder < 0 || logOrder > TWO_ADICITY) throw new RangeError(`no root of unity of order 2^${logOrder}`);
  return (roots[logOrder] ??= power(embed(GENERATOR), (P - 1n) >> BigInt(logOrder)));
}

export function total(values: Iterable<Ext>): Ext {
  let result = ZERO;
  for (const value of values) result = add(result, value);
  return result;
}

// --- vectors of elements: eight limbs each, one after the other ---------------------------------------------------------------

/** Eight limbs per element; {@link sizeOf} of them. */
export type Vec = Uint16Array;

export const newVec = (size: number): Vec => new Uint16Array(8 * size);
export const sizeOf = (v: Vec): number => v.length >>> 3;

export function getAt(v: Vec, index: number): Ext {
  const i = 8 * index;
  return new Ext(v[i]!, v[i + 1]!, v[i + 2]!, v[i + 3]!, v[i + 4]!, v[i + 5]!, v[i + 6]!, v[i + 7]!);
}

export function setAt(v: Vec, index: number, x: Ext): void {
  const i = 8 * index;
  v[i] = x.a0;
  v[i + 1] = x.a1;
  v[i + 2] = x.a2;
  v[i + 3] = x.a3;
  v[i + 4] = x.b0;
  v[i + 5] = x.b1;
  v[i + 6] = x.b2;
  v[i + 7] = x.b3;
}

export function vecOf(values: readonly Ext[]): Vec {
  const result = newVec(values.length);
  for (let i = 0; i < values.length; i++) setAt(result, i, values[i]!);
  return result;
}

/** `size` elements from `start` on, the same memory. */
export const sliceOf = (v: Vec, start: number, size: number): Vec => v.subarray(8 * start, 8 * (start + size));

export function sumOf(v: Vec, start = 0, end = sizeOf(v)): Ext {
  let a0 = 0, a1 = 0, a2 = 0, a3 = 0, b0 = 0, b1 = 0, b2 = 0, b3 = 0;
  for (let i = 8 * start; i < 8 * end; i += 8) {
    a0 += v[i]!;
    a1 += v[i + 1]!;
    a2 += v[i + 2]!;
    a3 += v[i + 3]!;
    b0 += v[i + 4]!;
    b1 += v[i + 5]!;
    b2 += v[i + 6]!;
    b3 += v[i + 7]!;
  }
  return settled(a0, a1, a2, a3, 0, 0, 0, b0, b1, b2, b3, 0, 0, 0);
}

/** Every entry times `factor`. */
export function scaled(v: Vec, factor: Ext): Vec {
  const result = new Uint16Array(v.length);
  for (let i = 0; i < sizeOf(v); i++) setAt(result, i, product(getAt(v, i), factor));
  return result;
}

/** All products of an entry of `left` with one of `right`, the right one running faster. */
export function outer(left: Vec, right: Vec): Vec {
  const rows = sizeOf(left), columns = sizeOf(right), result = newVec(rows * columns);
  for (let i = 0; i < rows; i++) {
    const x = getAt(left, i);
    for (let j = 0; j < columns; j++) setAt(result, i * columns + j, product(x, getAt(right, j)));
  }
  return result;
}

const DOT_BLOCK = 1 << 13;

/** Σ left_i·right_i over the shorter length. */
export function dot(left: Vec, right: Vec): Ext {
  const size = 8 * Math.min(sizeOf(left), sizeOf(right));
  let result = ZERO;
  for (let start = 0; start < size; start += 8 * DOT_BLOCK) {
    const end = Math.min(size, start + 8 * DOT_BLOCK);
    let r0 = 0, r1 = 0, r2 = 0, r3 = 0, r4 = 0, r5 = 0, r6 = 0, s0 = 0, s1 = 0, s2 = 0, s3 = 0, s4 = 0, s5 = 0, s6 = 0;
    for (let i = start; i < end; i += 8) {
      const a0 = left[i]!, a1 = left[i + 1]!, a2 = left[i + 2]!, a3 = left[i + 3]!;
      const b0 = left[i + 4]!, b1 = left[i + 5]!, b2 = left[i + 6]!, b3 = left[i + 7]!;
      const c0 = right[i]!, c1 = right[i + 1]!, c2 = right[i + 2]!, c3 = right[i + 3]!;
      const d0 = right[i + 4]!, d1 = right[i + 5]!, d2 = right[i + 6]!, d3 = right[i + 7]!;
      const e0 = 7 * b0, e1 = 7 * b1, e2 = 7 * b2, e3 = 7 * b3;
      r0 += a0 * c0 + e0 * d0;
      r1 += a0 * c1 + a1 * c0 + e0 * d1 + e1 * d0;
      r2 += a0 * c2 + a1 * c1 + a2 * c0 + e0 * d2 + e1 * d1 + e2 * d0;
      r3 += a0 * c3 + a1 * c2 + a2 * c1 + a3 * c0 + e0 * d3 + e1 * d2 + e2 * d1 + e3 * d0;
      r4 += a1 * c3 + a2 * c2 + a3 * c1 + e1 * d3 + e2 * d2 + e3 * d1;
      r5 += a2 * c3 + a3 * c2 + e2 * d3 + e3 * d2;
      r6 += a3 * c3 + e3 * d3;
      s0 += a0 * d0 + b0 * c0;
      s1 += a0 * d1 + a1 * d0 + b0 * c1 + b1 * c0;
      s2 += a0 * d2 + a1 * d1 + a2 * d0 + b0 * c2 + b1 * c1 + b2 * c0;
      s3 += a0 * d3 + a1 * d2 + a2 * d1 + a3 * d0 + b0 * c3 + b1 * c2 + b2 * c1 + b3 * c0;
      s4 += a1 * d3 + a2 * d2 + a3 * d1 + b1 * c3 + b2 * c2 + b3 * c1;
      s5 += a2 * d3 + a3 * d2 + b2 * c3 + b3 * c2;
      s6 += a3 * d3 + b3 * c3;
    }
    result = add(result, settled(r0, r1, r2, r3, r4, r5, r6, s0, s1, s2, s3, s4, s5, s6));
  }
  return result;
}

/** Σ base_i·right_i for elements of F_p in four limbs each, `base[4·start]` the first limb of the first. */
export function baseDot(base: Uint16Array, start: number, right: Vec, count: number): Ext {
  let result = ZERO;
  for (let from = 0; from < count; from += DOT_BLOCK) {
    const end = Math.min(count, from + DOT_BLOCK);
    let r0 = 0, r1 = 0, r2 = 0, r3 = 0, r4 = 0, r5 = 0, r6 = 0, s0 = 0, s1 = 0, s2 = 0, s3 = 0, s4 = 0, s5 = 0, s6 = 0;
    for (let k = from, i = 4 * (start + from), j = 8 * from; k < end; k++, i += 4, j += 8) {
      const a0 = base[i]!, a1 = base[i + 1]!, a2 = base[i + 2]!, a3 = base[i + 3]!;
      const c0 = right[j]!, c1 = right[j + 1]!, c2 = right[j + 2]!, c3 = right[j + 3]!;
      const d0 = right[j + 4]!, d1 = right[j + 5]!, d2 = right[j + 6]!, d3 = right[j + 7]!;
      r0 += a0 * c0;
      r1 += a0 * c1 + a1 * c0;
      r2 += a0 * c2 + a1 * c1 + a2 * c0;
      r3 += a0 * c3 + a1 * c2 + a2 * c1 + a3 * c0;
      r4 += a1 * c3 + a2 * c2 + a3 * c1;
      r5 += a2 * c3 + a3 * c2;
      r6 += a3 * c3;
      s0 += a0 * d0;
      s1 += a0 * d1 + a1 * d0;
      s2 += a0 * d2 + a1 * d1 + a2 * d0;
      s3 += a0 * d3 + a1 * d2 + a2 * d1 + a3 * d0;
      s4 += a1 * d3 + a2 * d2 + a3 * d1;
      s5 += a2 * d3 + a3 * d2;
      s6 += a3 * d3;
    }
    result = add(result, settled(r0, r1, r2, r3, r4, r5, r6, s0, s1, s2, s3, s4, s5, s6));
  }
  return result;
}

/** Integers of a tensor, weight or table. */
export type Cells = Int8Array | Int16Array | Int32Array | BigInt64Array;

/** Σ cells_i·right_i over `count` cells from `start` on, against the first entries of `right`. */
export function cellDot(cells: Cells, start: number, right: Vec, count: number): Ext {
  if (cells instanceof BigInt64Array) {
    let sum = ZERO;
    for (let i = 0; i < count; i++) sum = add(sum, product(embed(cells[start + i]!), getAt(right, i)));
    return sum;
  }
  let result = ZERO;
  for (let from = 0; from < count; from += DOT_BLOCK) {
    const end = Math.min(count, from + DOT_BLOCK);
    let r0 = 0, r1 = 0, r2 = 0, r3 = 0, r4 = 0, s0 = 0, s1 = 0, s2 = 0, s3 = 0, s4 = 0;
    for (let k = from, j = 8 * from; k < end; k++, j += 8) {
      const cell = cells[start + k]!;
      if (cell === 0) continue;
      const c0 = right[j]!, c1 = right[j + 1]!, c2 = right[j + 2]!, c3 = right[j + 3]!;
      const d0 = right[j + 4]!, d1 = right[j + 5]!, d2 = right[j + 6]!, d3 = right[j + 7]!;
      const high = cell >> 16, low = cell - high * 65536;
      r0 += low * c0;
      r1 += low * c1;
      r2 += low * c2;
      r3 += low * c3;
      s0 += low * d0;
      s1 += low * d1;
      s2 += low * d2;
      s3 += low * d3;
      if (high !== 0) {
        r1 += high * c0;
        r2 += high * c1;
        r3 += high * c2;
        r4 += high * c3;
        s1 += high * d0;
        s2 += high * d1;
        s3 += high * d2;
        s4 += high * d3;
      }
    }
    result = add(result, settled(r0, r1, r2, r3, r4, 0, 0, s0, s1, s2, s3, s4, 0, 0));
  }
  return result;
}

/** 1, base, base² … */
export function powersOf(base: Ext, count: number): Vec {
  const result = newVec(count);
  let value = ONE;
  for (let i = 0; i < count; i++) {
    setAt(result, i, value);
    value = product(value, base);
  }
  return result;
}
