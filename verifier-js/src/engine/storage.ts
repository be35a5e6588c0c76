/** Which cells of a padded tensor are stored, and in which order: docs/engine/protocol.md, "Pieces". */

import { log2Ceil } from "./bytes.js";

export const NO_AXIS = -1;
const FINEST_LOG = 5;
const LEAST_SAVED = 64;

/** 2^log places of the long axis, from `start` on. */
export interface Piece {
  readonly start: number;
  readonly log: number;
}

export class Storage {
  /** Equal for equal storages. */
  readonly key: string;
  /** Variables below the pieces: of all axes but the long one. */
  readonly logRest: number;
  /** Stored places of the long axis. */
  readonly places: number;
  /** Number of stored cells. */
  readonly cells: number;
  /** Sizes of the stored box. */
  readonly box: readonly number[];

  constructor(
    readonly bits: readonly number[],
    readonly axis: number = NO_AXIS,
    readonly pieces: readonly Piece[] = [{ start: 0, log: 0 }],
  ) {
    const last = pieces[pieces.length - 1]!;
    this.key = `${bits.join(",")};${axis};${pieces.map((piece) => `${piece.start}+${piece.log}`).join(",")}`;
    this.logRest = bits.reduce((sum, width) => sum + width, 0) - (axis === NO_AXIS ? 0 : bits[axis]!);
    this.places = last.start + 2 ** last.log;
    this.cells = this.places * 2 ** this.logRest;
    this.box = bits.map((width, i) => (i === axis ? this.places : 2 ** width));
  }
}

/** All padded cells, in row-major order. */
export const whole = (bits: readonly number[]): Storage => new Storage(bits);

const known = new Map<string, Storage>();

/** How a tensor or weight of this true shape is stored: of all axes, the one that saves most, the first of equals. */
export function stored(shape: readonly number[]): Storage {
  const key = shape.join(",");
  const before = known.get(key);
  if (before !== undefined) return before;
  const bits = shape.map((size) => log2Ceil(size)), all = bits.reduce((sum, width) => sum + width, 0);
  let best = whole(bits), saved = 0;
  shape.forEach((size, axis) => {
    const step = 2 ** Math.max(0, bits[axis]! - FINEST_LOG), places = Math.ceil(size / step) * step;
    const gain = (2 ** bits[axis]! - places) * 2 ** (all - bits[axis]!);
    if (gain >= Math.max(LEAST_SAVED, saved + 1)) {
      best = new Storage(bits, axis, piecesOf(places));
      saved = gain;
    }
  });
  if (known.size > 4096) known.clear();
  known.set(key, best);
  return best;
}

/** The binary pieces of `places` places, largest first. */
export function piecesOf(places: number): Piece[] {
  const found: Piece[] = [];
  let start = 0;
  for (let log = 40; log >= 0; log--) {
    if (Math.floor(places / 2 ** log) % 2 === 1) {
      found.push({ start, log });
      start += 2 ** log;
    }
  }
  return found;
}
