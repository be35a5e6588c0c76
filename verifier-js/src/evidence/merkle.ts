/** RFC 6962 leaf and node hashes, and the inclusion proofs of RFC 9162 section 2.1.3.2, checked strictly. */

import { Refusal } from "../engine/interface.js";
import { joined, sameBytes, sha256 } from "./bytes.js";

export const HASH = 32;
export const MAX_PROOF = 64;

export function leafHash(entry: Uint8Array): Promise<Uint8Array> {
  return sha256(joined(Uint8Array.of(0), entry));
}

function nodeHash(left: Uint8Array, right: Uint8Array): Promise<Uint8Array> {
  return sha256(joined(Uint8Array.of(1), left, right));
}

/** Throws Refusal (`log-proof-invalid`). */
export async function checkInclusion(leaf: Uint8Array, index: bigint, size: bigint, proof: readonly Uint8Array[], root: Uint8Array, where: string): Promise<void> {
  const refuse = (message: string): Refusal => new Refusal("rejected", "log-proof-invalid", message, where, "Ask the log for a new proof; if that fails, do not trust the log.");
  if (proof.length > MAX_PROOF) throw refuse(`more than ${MAX_PROOF} hashes`);
  if ([leaf, root, ...proof].some((one) => one.length !== HASH)) throw refuse("a hash of another length than 32 bytes");
  if (size < 1n) throw refuse("a tree of size 0 includes nothing");
  if (index < 0n || index >= size) throw refuse(`there is no leaf ${index} in a tree of ${size}`);
  let [node, last, current] = [index, size - 1n, leaf];
  for (const sibling of proof) {
    if (last === 0n) throw refuse("the inclusion proof is too long");
    if (node & 1n || node === last) {
      current = await nodeHash(sibling, current);
      while (!(node & 1n) && node) [node, last] = [node >> 1n, last >> 1n];
    } else current = await nodeHash(current, sibling);
    [node, last] = [node >> 1n, last >> 1n];
  }
  if (last) throw refuse("the inclusion proof is too short");
  if (!sameBytes(current, root)) throw refuse("the inclusion proof leads to another root");
}
