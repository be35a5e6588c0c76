/** A proof's bytes. Nothing in them describes its own length: lengths follow from the circuit. */

import { ascii, rejected, startsWith } from "./bytes.js";
import type { Vec } from "./field.js";
import type { CommitmentShape } from "./program.js";
import { capSize, DIGEST_BYTES, hides, pathLength, saltBytes } from "./suite.js";

const MAGIC = ascii("verifai/sumcheck-proof/2"), HIDING_MAGIC = ascii("verifai/sumcheck-zk-proof/2");
export const MAX_MESSAGES = 2 ** 20;

export interface Opening {
  /** Per query its rows, four limbs each. */
  readonly columns: readonly Uint16Array[];
  readonly salts: readonly Uint8Array[];
  /** Per query its siblings, lowest first. */
  readonly paths: readonly (readonly Uint8Array[])[];
  readonly cap: readonly Uint8Array[];
}

export interface Proof {
  readonly root: Uint8Array;
  readonly openings: readonly Opening[];
  readonly messages: Vec;
}

export const logLength = (shape: CommitmentShape): number => Math.round(Math.log2(shape.length));

export function openingBytes(shape: CommitmentShape): number {
  const log = logLength(shape);
  return shape.queries * (8 * shape.rows + saltBytes(shape) + DIGEST_BYTES * pathLength(log)) + DIGEST_BYTES * capSize(log);
}

export const fixedBytes = (shapes: readonly CommitmentShape[]): number =>
  (hides(shapes[0]!) ? HIDING_MAGIC : MAGIC).length + DIGEST_BYTES + shapes.reduce((sum, shape) => sum + openingBytes(shape), 0);

/** The proof of `data`; its length is judged before anything is read from it. Throws `proof-malformed`. */
export function decodeProof(data: Uint8Array, shapes: readonly CommitmentShape[], mostMessages: number): Proof {
  const magic = hides(shapes[0]!) ? HIDING_MAGIC : MAGIC;
  const left = data.length - fixedBytes(shapes), count = Math.floor(left / 16);
  if (!startsWith(data, magic) || left < 0 || left % 16 !== 0 || count > Math.min(mostMessages, MAX_MESSAGES)) {
    throw rejected("proof-malformed", "the proof has the wrong magic or length", "proof");
  }
  let at = magic.length;
  const take = (size: number): Uint8Array => data.slice(at, (at += size));
  const digests = (number: number): Uint8Array[] => Array.from({ length: number }, () => take(DIGEST_BYTES));
  const root = take(DIGEST_BYTES);
  const openings = shapes.map((shape): Opening => {
    const words = elements(take(8 * shape.rows * shape.queries), `opening ${shape.label}`), width = 4 * shape.rows;
    const columns = Array.from({ length: shape.queries }, (_, i) => words.subarray(width * i, width * (i + 1)));
    const salts = Array.from({ length: shape.queries }, () => take(saltBytes(shape)));
    const steps = pathLength(logLength(shape));
    const paths = Array.from({ length: shape.queries }, () => digests(steps));
    return { columns, salts, paths, cap: digests(capSize(logLength(shape))) };
  });
  return { root, openings, messages: elements(take(16 * count), "messages") };
}

/** Limbs of elements of F_p, each below p: 65535, 65535 above is p − 1 at most, whose lower limbs are 0. */
function elements(bytes: Uint8Array, where: string): Uint16Array {
  const limbs = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength >>> 1);
  for (let i = 0; i < limbs.length; i += 4) {
    if (limbs[i + 3] === 65535 && limbs[i + 2] === 65535 && (limbs[i + 1] !== 0 || limbs[i] !== 0)) {
      throw rejected("proof-malformed", "a field element is not below p", where);
    }
  }
  return limbs;
}

