/** The protocol suites: every constant of the protocol that is not the circuit's. A suite enters every root and transcript. */

import { ascii, joined, words } from "./bytes.js";
import type { CommitmentShape } from "./program.js";
import { sha256 } from "./sha256.js";

export const RESERVED_ROWS = 2;
export const DIGEST_BYTES = 32;
/** Merkle paths end at the layer of 2^7 nodes, which an opening carries whole. */
const CAP_LOG = 7;

const INTEGRITY = ascii(
  "sumcheck/2 field=goldilocks2(x^2-7) hash=sha256 form=coeff domain=subgroup zk=0 G=0 tau=0 B=0 opening=levels " +
    "blind_rows=0 reserved_rows=0 pieces=5,64 salt_len=0 security=100",
);
const ZERO_KNOWLEDGE = ascii(
  "sumcheck-zk/2 field=goldilocks2(x^2-7) hash=sha256 form=coeff domain=subgroup zk=1 G=2*rounds tau=B*t B=shape opening=levels " +
    "blind_rows=2*B mask_rows=2 reserved_rows=2 pieces=5,64 salt_len=32 security=100",
);

export const SUITES: ReadonlyMap<string, Uint8Array> = new Map([
  ["sumcheck/2", INTEGRITY],
  ["sumcheck-zk/2", ZERO_KNOWLEDGE],
]);

export const hides = (shape: CommitmentShape): boolean => shape.budget > 0;
export const saltBytes = (shape: CommitmentShape): number => (hides(shape) ? 32 : 0);

const ROOT_TAG = ascii("verifai/sumcheck/root"), LEAF_TAG = ascii("vf1-leaf"), NODE_TAG = ascii("vf1-node");

/** What a statement or proof names: one Merkle root fits several shapes, this root only one. */
export function commitmentRoot(shape: CommitmentShape, logCells: number, merkleRoot: Uint8Array): Uint8Array {
  const suite = hides(shape) ? ZERO_KNOWLEDGE : INTEGRITY;
  const numbers = [logCells, shape.rows, shape.message, shape.degree, shape.length, shape.reservedRows];
  if (hides(shape)) numbers.push(shape.mask, shape.tail, shape.budget, shape.maskRows);
  return sha256(joined([ROOT_TAG, words([suite.length]), suite, words(numbers), merkleRoot]));
}

// --- Merkle trees ---

export const leaf = (column: Uint8Array, salt: Uint8Array): Uint8Array => sha256(LEAF_TAG, salt, column);
const node = (left: Uint8Array, right: Uint8Array): Uint8Array => sha256(NODE_TAG, left, right);
export const pathLength = (logLeaves: number): number => Math.max(0, logLeaves - CAP_LOG);
export const capSize = (logLeaves: number): number => 2 ** Math.min(CAP_LOG, logLeaves);

export function rootOfCap(cap: readonly Uint8Array[]): Uint8Array {
  let layer = cap;
  while (layer.length > 1) {
    const above: Uint8Array[] = [];
    for (let i = 0; i < layer.length; i += 2) above.push(node(layer[i]!, layer[i + 1]!));
    layer = above;
  }
  return layer[0]!;
}

/** Whether the leaf digest at `position` leads into the cap. */
export function leadsTo(position: number, digest: Uint8Array, path: readonly Uint8Array[], cap: readonly Uint8Array[]): boolean {
  let at = position, now = digest;
  for (const sibling of path) {
    now = at % 2 === 1 ? node(sibling, now) : node(now, sibling);
    at = Math.floor(at / 2);
  }
  const wanted = cap[at];
  return wanted !== undefined && wanted.every((byte, i) => byte === now[i]);
}
