/** Bytes and numbers. Everything is little-endian. */

import { Refusal } from "./interface.js";

export const rejected = (code: string, message: string, where = ""): Refusal => new Refusal("rejected", code, message, where);
export const unsupported = (message: string, where = ""): Refusal => new Refusal("usage", "sumcheck-unsupported", message, where);
export const tooLarge = (message: string, where = ""): Refusal => new Refusal("usage", "sumcheck-too-large", message, where);
/** A fault of this program. Never the evidence's. */
export const bug = (message: string): Refusal => new Refusal("bug", "bug", message);

export function ascii(text: string): Uint8Array {
  const result = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) result[i] = text.charCodeAt(i);
  return result;
}

export function joined(parts: readonly Uint8Array[]): Uint8Array {
  const result = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    result.set(part, at);
    at += part.length;
  }
  return result;
}

export function sameBytes(x: Uint8Array, y: Uint8Array): boolean {
  if (x.length !== y.length) return false;
  for (let i = 0; i < x.length; i++) if (x[i] !== y[i]) return false;
  return true;
}

export const startsWith = (data: Uint8Array, prefix: Uint8Array): boolean =>
  data.length >= prefix.length && sameBytes(data.subarray(0, prefix.length), prefix);

export const toHex = (data: Uint8Array): string => Array.from(data, (byte) => byte.toString(16).padStart(2, "0")).join("");

/** The bytes of lower-case hex digits, whose form was checked. */
export function fromHex(text: string): Uint8Array {
  const result = new Uint8Array(text.length >> 1);
  for (let i = 0; i < result.length; i++) result[i] = Number.parseInt(text.slice(2 * i, 2 * i + 2), 16);
  return result;
}

export const isDigest = (text: string): boolean => /^[0-9a-f]{64}$/.test(text);

/** u64s, or i64s: the same bytes modulo 2^64. */
export function words(values: readonly (number | bigint)[]): Uint8Array {
  const result = new Uint8Array(8 * values.length);
  const view = new DataView(result.buffer);
  values.forEach((value, i) => {
    view.setBigUint64(8 * i, BigInt.asUintN(64, BigInt(value)), true);
  });
  return result;
}

/** ⌊value / 2^bits⌋ for integers up to 2^53, which JavaScript's shifts would cut to 32 bits. */
export const shiftedDown = (value: number, bits: number): number => Math.floor(value / 2 ** bits);

/** The least b with 2^b ≥ n, for 1 ≤ n < 2^53. */
export function log2Ceil(n: number): number {
  let bits = 0;
  for (let size = 1; size < n; size *= 2) bits++;
  return bits;
}

/** Bits of a value ≥ 0. */
export const bitLength = (value: bigint): number => (value === 0n ? 0 : value.toString(2).length);

export const absolute = (value: bigint): bigint => (value < 0n ? -value : value);
export const least = (...values: readonly bigint[]): bigint => values.reduce((x, y) => (y < x ? y : x));
export const greatest = (...values: readonly bigint[]): bigint => values.reduce((x, y) => (y > x ? y : x));

/** The floor of the quotient, towards minus infinity; `by` > 0. */
export function floorDivided(value: bigint, by: bigint): bigint {
  const quotient = value / by;
  return value % by < 0n ? quotient - 1n : quotient;
}
