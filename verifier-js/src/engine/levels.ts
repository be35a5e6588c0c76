/** Levels: what is asked of the openings' combinations, as linear claims about one committed vector. */

import { ascii, joined, log2Ceil, shiftedDown, words } from "./bytes.js";
import { eqIndex, eqPoints, eqTable, type Point } from "./axes.js";
import {
  add, baseDot, dot, type Ext, getAt, newVec, ONE, power, product, rootOfUnity, setAt, sliceOf, sub, type Vec, X, ZERO,
} from "./field.js";
import type { CommitmentShape } from "./program.js";
import { sha256 } from "./sha256.js";

/** Where one combination lies: `length` coefficients from entry `offset` on, a multiple of 2^logSize. */
export interface Block {
  readonly offset: number;
  readonly length: number;
  readonly logSize: number;
}

export interface Level {
  readonly shape: CommitmentShape;
  /** v; the vector has 2^v entries of F. */
  readonly logCells: number;
  readonly blocks: readonly Block[];
  /** Indices of the stored rows, ascending: ranges [start, stop). */
  readonly stored: readonly (readonly [number, number])[];
  readonly logMessage: number;
}

/** Blocks for combinations of these lengths, the longest first and none overlapping; and v. */
export function arrange(lengths: readonly number[]): [Block[], number] {
  const blocks: Block[] = [];
  let end = 0;
  const order = lengths.map((_, number) => number).sort((x, y) => lengths[y]! - lengths[x]!);
  for (const number of order) {
    const length = lengths[number]!, logSize = log2Ceil(length);
    blocks[number] = { offset: end, length, logSize };
    end += 2 ** logSize;
  }
  return [blocks, log2Ceil(end)];
}

/** The rows of 2^logMessage entries that hold an entry of a block, as ascending ranges that do not overlap. */
export function rowRanges(blocks: readonly Block[], logMessage: number): [number, number][] {
  const found: [number, number][] = [];
  for (const block of [...blocks].sort((x, y) => x.offset - y.offset)) {
    const first = shiftedDown(block.offset, logMessage), end = shiftedDown(block.offset + block.length - 1, logMessage) + 1;
    const last = found[found.length - 1];
    if (last !== undefined && first < last[1]) last[1] = Math.max(end, last[1]);
    else found.push([first, end]);
  }
  return found;
}

const LEVEL_TAG = ascii("verifai/sumcheck/level");

export function levelRoot(level: Level, merkleRoot: Uint8Array): Uint8Array {
  const shape = level.shape;
  return sha256(joined([LEVEL_TAG, words([level.logCells, shape.rows, shape.message, shape.length]), merkleRoot]));
}

/** The element ω^bitrev(position) at which a code word of length 2^logN is evaluated there. */
export function positionPoint(position: number, logN: number): Ext {
  let reversed = 0;
  for (let bit = 0; bit < logN; bit++) reversed = reversed * 2 + (shiftedDown(position, bit) % 2);
  return power(rootOfUnity(logN), BigInt(reversed));
}

/** A linear claim about one combination u. */
export interface LinearClaim {
  readonly value: Ext;
  /** What is false when it does not hold. */
  readonly falsehood: string;
  /** The left side. */
  of(u: Vec): Ext;
  /** The extension of the weights, at a point of the block. */
  at(point: Point, length: number): Ext;
}

/** scale·Σ_j eq(point, j)·u_j = value, over the first 2^len(point) coefficients. */
export class PointClaim implements LinearClaim {
  readonly falsehood = "a combination does not have the claimed value";

  constructor(
    readonly point: Point,
    readonly value: Ext,
    readonly scale: Ext = ONE,
  ) {}

  of(u: Vec): Ext {
    return product(this.scale, dot(u, eqTable(this.point)));
  }

  at(point: Point): Ext {
    const skip = point.length - this.point.length;
    let result = product(this.scale, eqPoints(this.point, point.slice(skip)));
    for (const r of point.slice(0, skip)) result = product(result, sub(ONE, r));
    return result;
  }
}

/** Σ_j coefficients_j·u_(start + j) = value. */
export class SpanClaim implements LinearClaim {
  readonly falsehood = "the final rounds do not end at the committed cells";

  constructor(
    readonly start: number,
    readonly coefficients: Vec,
    readonly value: Ext,
  ) {}

  of(u: Vec): Ext {
    return dot(sliceOf(u, this.start, this.coefficients.length / 8), this.coefficients);
  }

  at(point: Point): Ext {
    let result = ZERO;
    for (let j = 0; j < this.coefficients.length / 8; j++) {
      result = add(result, product(getAt(this.coefficients, j), eqIndex(this.start + j, point)));
    }
    return result;
  }
}

/** Σ_j base^j·u_j = value, over all `length` coefficients and none above: u's code word at one position. */
export class PowerClaim implements LinearClaim {
  readonly falsehood = "a combination's code word differs from the opened columns";

  constructor(
    readonly base: Ext,
    readonly value: Ext,
  ) {}

  of(): Ext {
    throw new Error("code words are compared at all positions together");
  }

  at(point: Point, length: number): Ext {
    const powers = [this.base], full = [ONE];
    for (let i = 0; i < point.length; i++) {
      const base = powers[i]!, r = point[point.length - 1 - i]!;
      powers.push(product(base, base));
      full.push(product(full[i]!, add(ONE, product(r, sub(base, ONE)))));
    }
    if (length === 2 ** point.length) return full[point.length]!;
    let result = ZERO, prefix = ONE;
    for (let i = 0; i < point.length; i++) {
      const bit = point.length - 1 - i, high = product(prefix, point[i]!), low = sub(prefix, high);
      if (shiftedDown(length, bit) % 2 === 1) {
        result = add(result, product(low, full[bit]!));
        prefix = product(high, powers[bit]!);
      } else {
        prefix = low;
      }
    }
    return result;
  }
}

/** W's extension at `point`: Σ γ^j·w_j over the claims on all blocks, in the blocks' order. */
export function levelWeightAt(level: Level, claims: readonly (readonly LinearClaim[])[], powers: Vec, point: Point): Ext {
  let result = ZERO, start = 0;
  level.blocks.forEach((block, i) => {
    const split = level.logCells - block.logSize, low = point.slice(split);
    let local = ZERO;
    for (const claim of claims[i]!) local = add(local, product(claim.at(low, block.length), getAt(powers, start++)));
    result = add(result, product(local, eqIndex(shiftedDown(block.offset, block.logSize), point.slice(0, split))));
  });
  return result;
}

/** eq(z'_row, row) of the stored rows over F_p: a row's high component comes with x. */
export function storedWeights(level: Level, point: Point): Vec {
  const table = eqTable(point.slice(0, level.logCells - level.logMessage));
  const weights = newVec(level.shape.rows);
  let at = 0;
  for (const [first, stop] of level.stored) {
    for (let row = first; row < stop; row++) {
      const weight = getAt(table, row);
      setAt(weights, at++, weight);
      setAt(weights, at++, product(weight, X));
    }
  }
  return weights;
}

/** Σ_j u_j·x^j at x = ω^bitrev(position), for each position: √K powers of x, and dot products against them. */
export function evaluateCode(u: Vec, logN: number, positions: readonly number[]): Ext[] {
  const length = u.length / 8, block = 2 ** (Math.floor(Math.log2(Math.max(1, length)) / 2) + 1);
  const powers = new Uint16Array(4 * block);
  return positions.map((position) => {
    const x = positionPoint(position, logN);
    let step = ONE;
    for (let i = 0; i < block; i++) {
      powers.set([step.a0, step.a1, step.a2, step.a3], 4 * i);
      step = product(step, x);
    }
    let value = ZERO;
    for (let start = (Math.ceil(length / block) - 1) * block; start >= 0; start -= block) {
      const size = Math.min(block, length - start);
      value = add(product(value, step), baseDot(powers, 0, sliceOf(u, start, size), size));
    }
    return value;
  });
}
