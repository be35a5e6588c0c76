/** The proof system of this verifier: `verifyProof`, and nothing else, is used by the rest. */

import { Refusal, type EngineVerifier } from "./interface.js";

export * from "./interface.js";

/** Not written yet: nothing is accepted, and that is said. */
export const verifyProof: EngineVerifier = () =>
  Promise.reject(new Refusal("undecided", "not-checked-here", "this verifier does not check sumcheck proofs yet", "proof.bin"));
