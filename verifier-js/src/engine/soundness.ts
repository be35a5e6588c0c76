/** Error bounds, round by round, in exact integers: docs/engine/protocol.md, "Soundness". */

import { bitLength, greatest } from "./bytes.js";
import { P } from "./field.js";

export const SECURITY_BITS = 100n;
export const HASH_BITS = 128;
/** Challenges come from F without F_p. */
export const FIELD_SIZE = P * P - P;

export const POLES = 2n;
export const FRACTION_DEGREE = 1n;
export const LAYER_DEGREE = 4n;
export const LAYER_ROUND_DEGREE = 2n;
export const POINT_VARIABLES = 32n;
export const ROUND_DEGREE = 5n;
export const FINAL_ROUND_DEGREE = 2n;
export const PRODUCTS_ROUND_DEGREE = 3n;
export const MASK_DEGREE = 2n;

const FRACTION_BITS = 64n;
const STEPS = 12;

/** A lower bound of 1000·log2(denominator / numerator), for 0 < numerator ≤ denominator, by repeated squaring. */
export function millibits(numerator: bigint, denominator: bigint): number {
  const ratio = (denominator << FRACTION_BITS) / numerator;
  const whole = BigInt(bitLength(ratio)) - 1n - FRACTION_BITS;
  let mantissa = whole >= 0n ? ratio >> whole : ratio << -whole;
  let fraction = 0n;
  for (let step = 0; step < STEPS; step++) {
    mantissa = (mantissa * mantissa) >> FRACTION_BITS;
    fraction <<= 1n;
    if (mantissa >> (FRACTION_BITS + 1n) !== 0n) {
      fraction |= 1n;
      mantissa >>= 1n;
    }
  }
  return Number(whole * 1000n + (fraction * 1000n) / (1n << BigInt(STEPS)));
}

/** The most positions at which a false combination can look right, with unique decoding. */
function agreement(degree: number, length: number): number {
  const radius = Math.floor((length - degree) / 2);
  return Math.max(length - radius - 1, degree - 1 + radius);
}

/** Probability that `queries` distinct positions all look right: the exact hypergeometric term. */
export function queryError(degree: number, length: number, queries: number): [bigint, bigint] {
  const good = agreement(degree, length);
  let numerator = 1n, denominator = 1n;
  for (let i = 0; i < queries; i++) {
    numerator *= BigInt(Math.max(0, good - i));
    denominator *= BigInt(length - i);
  }
  return [greatest(numerator, 1n), denominator];
}

const enough = (degree: number, length: number, queries: number): boolean => {
  const good = agreement(degree, length);
  let numerator = 1n, denominator = 1n;
  for (let i = 0; i < queries; i++) {
    numerator *= BigInt(Math.max(0, good - i));
    denominator *= BigInt(length - i);
  }
  return numerator << SECURITY_BITS <= denominator;
};

const needed = new Map<string, number>();

/** The least number of distinct positions for 100 bits; 0 when the code is too short for it. */
export function queriesNeeded(degree: number, length: number): number {
  const key = `${degree},${length}`;
  let found = needed.get(key);
  if (found === undefined) needed.set(key, (found = findQueries(degree, length)));
  return found;
}

function findQueries(degree: number, length: number): number {
  // Doubles tell about where; exact integers decide.
  const good = agreement(degree, length);
  let bits = 0, guess = 0;
  while (bits < Number(SECURITY_BITS) && guess < length) {
    bits += good > guess ? Math.log2(length - guess) - Math.log2(good - guess) : Infinity;
    guess++;
  }
  guess = Math.max(1, guess);
  while (guess > 1 && enough(degree, length, guess - 1)) guess--;
  while (guess <= length && !enough(degree, length, guess)) guess++;
  return guess <= length ? guess : 0;
}

/** Whether a step of `numerator`/|F′| has the bits that every step needs. */
export const strong = (numerator: bigint): boolean => numerator << SECURITY_BITS <= FIELD_SIZE;

/** How many leaves one sum of fractions may have. */
export const mostLeaves = (width: number): number => Number((FIELD_SIZE >> SECURITY_BITS) / (BigInt(width) + FRACTION_DEGREE));

/** Of the step that draws α and β. Filler has denominator 1, so it adds nothing to the degree that the second count bounds. */
export function fractionsNumerator(leaves: number, logLeaves: number, width: number): bigint {
  const rounded = (BigInt(width) + POLES) << BigInt(logLeaves);
  return strong(rounded) ? rounded : (BigInt(width) + FRACTION_DEGREE) * BigInt(leaves);
}
