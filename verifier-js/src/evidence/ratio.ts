/** Exact ratios: of bigints, in lowest terms, with a positive denominator. */

export interface Ratio {
  readonly numerator: bigint;
  readonly denominator: bigint;
}

/** Throws RangeError for a denominator of 0. */
export function ratio(numerator: bigint, denominator: bigint): Ratio {
  if (denominator === 0n) throw new RangeError("a denominator of 0");
  const sign = denominator < 0n ? -1n : 1n;
  const divisor = gcd(numerator < 0n ? -numerator : numerator, denominator * sign);
  return { numerator: (sign * numerator) / divisor, denominator: (sign * denominator) / divisor };
}

function gcd(left: bigint, right: bigint): bigint {
  while (right) [left, right] = [right, left % right];
  return left || 1n;
}

export function sameRatio(left: Ratio, right: Ratio): boolean {
  return left.numerator === right.numerator && left.denominator === right.denominator;
}

/** mantissa · 2^exponent. */
export function dyadic(mantissa: bigint, exponent: number): Ratio {
  return exponent >= 0 ? ratio(mantissa << BigInt(exponent), 1n) : ratio(mantissa, 1n << BigInt(-exponent));
}

/** The double, exactly. Throws RangeError when it is not finite. */
export function ratioOf(value: number): Ratio {
  if (!Number.isFinite(value)) throw new RangeError("not a finite number");
  const bits = new DataView(new ArrayBuffer(8));
  bits.setFloat64(0, value);
  const exponent = (bits.getUint16(0) >> 4) & 0x7ff;
  const fraction = bits.getBigUint64(0) & ((1n << 52n) - 1n);
  const magnitude = dyadic(exponent ? fraction | (1n << 52n) : fraction, (exponent || 1) - 1075);
  return value < 0 ? { numerator: -magnitude.numerator, denominator: magnitude.denominator } : magnitude;
}

/** The nearest double, ties to even; ±Infinity where no double is near. */
export function toNumber({ numerator, denominator }: Ratio): number {
  if (numerator === 0n) return 0;
  const negative = numerator < 0n;
  const size = negative ? -numerator : numerator;
  // Scale the quotient to 64 bits or more, round once to 53 (or fewer, below the least normal double), then shift back.
  const shift = 66 - (size.toString(2).length - denominator.toString(2).length);
  let quotient = shift >= 0 ? (size << BigInt(shift)) / denominator : size / (denominator << BigInt(-shift));
  const exact = shift >= 0 ? quotient * denominator === size << BigInt(shift) : quotient * (denominator << BigInt(-shift)) === size;
  const length = quotient.toString(2).length;
  const top = length - shift; // the value lies in [2^(top-1), 2^top)
  const kept = Math.min(53, top + 1074);
  if (kept < 0) return negative ? -0 : 0;
  const dropped = BigInt(length - kept);
  const rest = quotient & ((1n << dropped) - 1n);
  const half = 1n << (dropped - 1n);
  quotient >>= dropped;
  if (rest > half || (rest === half && (!exact || quotient & 1n))) quotient += 1n;
  const exponent = Number(dropped) - shift;
  // Two factors, since 2^exponent alone may be below the least double; the product is exact.
  const value = Number(quotient) * 2 ** Math.max(exponent, -1000) * 2 ** Math.min(0, exponent + 1000);
  return negative ? -value : value;
}

/** A pair of decimal integers, as signed documents hold ratios. */
export function pair(value: Ratio): [string, string] {
  return [value.numerator.toString(), value.denominator.toString()];
}

/** A decimal integer in its one spelling. Throws RangeError. */
export function decimal(text: string): bigint {
  if (text.length > 4300 || !/^(?:0|-?[1-9][0-9]*)$/.test(text)) throw new RangeError(`${text.slice(0, 40)} is not a canonical integer`);
  return BigInt(text);
}
