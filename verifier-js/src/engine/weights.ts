/** The weight blob: all weights' true cells, in the circuit's order. */

import { ascii, rejected, startsWith, toHex } from "./bytes.js";
import { cellsAt, elementWidth, rangeOf } from "./codec.js";
import type { Cells } from "./field.js";
import type { Circuit, Weight } from "./program.js";
import { sha256 } from "./sha256.js";

const MAGIC = ascii("verifai/weights/1");

const widthOf = (weight: Weight): number => elementWidth(-weight.bound, weight.bound);

export const weightsBytes = (circuit: Circuit): number =>
  circuit.weights.reduce((sum, weight) => sum + weight.size * widthOf(weight), MAGIC.length);

export const weightsDigest = (blob: Uint8Array): string => toHex(sha256(MAGIC, blob));

/** The cells of each weight; every declared bound and row norm is checked. Throws `weights-malformed`. */
export function decodeWeights(circuit: Circuit, blob: Uint8Array): Cells[] {
  if (blob.length !== weightsBytes(circuit) || !startsWith(blob, MAGIC)) {
    throw rejected("weights-malformed", "length or magic is wrong", "weights");
  }
  let at = MAGIC.length;
  return circuit.weights.map((weight) => {
    const width = widthOf(weight), cells = cellsAt(blob, at, width, weight.size);
    at += width * weight.size;
    checkCells(weight, cells);
    return cells;
  });
}

function checkCells(weight: Weight, cells: Cells): void {
  const [low, high] = rangeOf(cells);
  if (high > weight.bound || low < -weight.bound) throw rejected("weights-malformed", "a cell exceeds the declared bound", weight.name);
  const row = weight.size / weight.shape[0]!;
  for (let start = 0; start < weight.size; start += row) {
    if (norm(cells, start, row) > weight.rowL1) throw rejected("weights-malformed", "a row's L1 norm exceeds the declared one", weight.name);
  }
}

function norm(cells: Cells, start: number, count: number): bigint {
  if (cells instanceof BigInt64Array) {
    let sum = 0n;
    for (let i = start; i < start + count; i++) sum += cells[i]! < 0n ? -cells[i]! : cells[i]!;
    return sum;
  }
  let sum = 0; // at most 2^28 cells below 2^31
  for (let i = start; i < start + count; i++) sum += Math.abs(cells[i]!);
  return sum <= Number.MAX_SAFE_INTEGER ? BigInt(sum) : exactNorm(cells, start, count);
}

function exactNorm(cells: Int8Array | Int16Array | Int32Array, start: number, count: number): bigint {
  let sum = 0n;
  for (let i = start; i < start + count; i++) sum += BigInt(Math.abs(cells[i]!));
  return sum;
}
