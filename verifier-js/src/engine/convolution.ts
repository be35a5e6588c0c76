/**
 * Sums over windows of vectors over F: how a functional of a convolution's output becomes one of its operand.
 *
 * a[i] = Σ_u weights_u·Σ_o entries_o·[i = o·stride + u·dilation − pad]. Entry by entry this takes kernel × outputs steps, which a
 * circuit of a few hundred bytes can make 2^32. So windows of ones are running sums, and large kernels are products of large
 * integers, which JavaScript engines multiply in far fewer steps.
 */

import { add, type Ext, equal, extOf, getAt, isZero, newVec, ONE, P, parts, product, setAt, sizeOf, sub, type Vec, ZERO } from "./field.js";

const DIRECT_STEPS = 1 << 16;
const DIRECT_RATIO = 8;
/** Hexadecimal digits per coefficient of a product of polynomials: sums of up to 2^60 products of numbers below 2^66. */
const DIGITS = 48;

const gcd = (a: number, b: number): number => (b === 0 ? a : gcd(b, a % b));

/** The vector a above for i < `size`, then zeros up to `length`. `entries`, `weights`: all of them count. */
export function windows(
  entries: Vec, weights: readonly Ext[], length: number, size: number, stride: number, dilation: number, pad: number,
): Vec {
  const taps = weights.flatMap((weight, u) => (isZero(weight) ? [] : [u]));
  if (taps.length === 0) return newVec(length);
  if (dilation === 1 && taps.length === weights.length && weights.length > 1 && weights.every((weight) => equal(weight, ONE))) {
    return running(entries, weights.length, length, size, stride, pad);
  }
  const count = sizeOf(entries), products = taps.length * count, spread = count * stride + weights.length * dilation;
  if (products <= Math.max(DIRECT_STEPS, (DIRECT_RATIO * spread) / gcd(stride, dilation))) {
    const result = newVec(length);
    for (const u of taps) {
      const weight = weights[u]!, plain = equal(weight, ONE);
      for (let o = 0; o < count; o++) {
        const i = o * stride + u * dilation - pad;
        if (i < 0 || i >= size) continue;
        const entry = getAt(entries, o);
        setAt(result, i, add(getAt(result, i), plain ? entry : product(entry, weight)));
      }
    }
    return result;
  }
  return multiplied(entries, weights, length, size, stride, dilation, pad);
}

/** Weights of one: each entry begins to count at one place and ends at another. */
function running(entries: Vec, kernel: number, length: number, size: number, stride: number, pad: number): Vec {
  const steps = newVec(length + 1);
  for (let o = 0; o < sizeOf(entries); o++) {
    const start = Math.max(0, o * stride - pad), end = Math.min(size, o * stride - pad + kernel);
    if (start >= end) continue;
    const entry = getAt(entries, o);
    setAt(steps, start, add(getAt(steps, start), entry));
    setAt(steps, end, sub(getAt(steps, end), entry));
  }
  const result = newVec(length);
  let sum = ZERO;
  for (let i = 0; i < length; i++) {
    sum = add(sum, getAt(steps, i));
    setAt(result, i, sum);
  }
  return result;
}

/** As a product of polynomials in X^g, g = gcd(stride, dilation), whose coefficients are digits of integers. */
function multiplied(
  entries: Vec, weights: readonly Ext[], length: number, size: number, stride: number, dilation: number, pad: number,
): Vec {
  const step = gcd(stride, dilation);
  const left = Array.from({ length: sizeOf(entries) }, (_, i) => parts(getAt(entries, i))), right = weights.map(parts);
  const pack = (values: readonly (readonly [bigint, bigint])[], every: number, of: (value: readonly [bigint, bigint]) => bigint): bigint => {
    const gap = "0".repeat(DIGITS * (every - 1));
    return BigInt(`0x${values.map((value) => of(value).toString(16).padStart(DIGITS, "0")).reverse().join(gap)}`);
  };
  const multiply = (of: (value: readonly [bigint, bigint]) => bigint): bigint =>
    pack(left, stride / step, of) * pack(right, dilation / step, of);
  const count = ((left.length - 1) * stride + (right.length - 1) * dilation) / step + 1;
  const unpack = (value: bigint): string => value.toString(16).padStart(DIGITS * count, "0");
  const low = unpack(multiply(([x]) => x)), high = unpack(multiply(([, y]) => y)), both = unpack(multiply(([x, y]) => x + y));
  const result = newVec(length);
  for (let k = 0; k < count; k++) {
    const i = k * step - pad;
    if (i < 0 || i >= size) continue;
    const at = (text: string): bigint => BigInt(`0x${text.slice(text.length - DIGITS * (k + 1), text.length - DIGITS * k)}`);
    const a = at(low), b = at(high), c = at(both);
    setAt(result, i, extOf((a + 7n * b) % P, (c - a - b) % P));
  }
  return result;
}
