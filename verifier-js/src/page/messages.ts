/** What the page and its worker say to each other: plain data, copied by the browser. */

import type { Finding } from "../evidence/findings.js";
import type { Shown } from "../evidence/shown.js";
import type { Holding, Verdict } from "../evidence/verify.js";

export interface NamedFile {
  readonly name: string;
  readonly data: Blob;
}

/** What is checked; a run begins from nothing each time. */
export interface Job {
  readonly run: number;
  readonly bundles: readonly NamedFile[];
  readonly lock: NamedFile | null;
  /** Which text tokens have: taken only when it is the one that the lock pins. */
  readonly tokenizer: NamedFile | null;
  readonly trust: NamedFile | null;
  readonly input: NamedFile | null;
  readonly output: NamedFile | null;
  readonly context: string | null;
}

export interface TensorView {
  readonly role: "input" | "output";
  readonly name: string;
  readonly shape: readonly number[];
  readonly visibility: "public" | "hashed" | "private";
  readonly words: string;
  readonly digest: string | null;
}

/** Of a verified statement. */
export interface StatementView {
  readonly circuitName: string;
  readonly modelSha256: string;
  readonly circuitSha256: string;
  readonly context: string;
  readonly weights: string;
  readonly weightsKind: string;
  readonly privacy: readonly string[];
  readonly openings: readonly string[];
  readonly tensors: readonly TensorView[];
  readonly batch: { readonly items: number; readonly places: number } | null;
  /** Of a language model's answer: what the statement says of its tokens. */
  readonly generation: string | null;
  readonly shown: readonly Shown[];
  readonly soundness: string;
  readonly fidelity: string;
}

export interface OutcomeView {
  readonly name: string;
  readonly verdict: Verdict;
  readonly status: number;
  readonly bundleId: string | null;
  readonly created: string | null;
  readonly findings: readonly Finding[];
  /** What comes with the proof and this page cannot check, in words: with any of it no verdict covers the whole. */
  readonly unjudged: readonly string[];
  /** What the bundle holds, where that is more than a proof. */
  readonly holdings: readonly Holding[];
  readonly statement: StatementView | null;
  readonly milliseconds: number;
}

export type Message =
  | { readonly kind: "pins"; readonly run: number; readonly lockSha256: string; readonly lockName: string; readonly tokenizerSha256: string | null; readonly untold: string; readonly trustSha256: string | null; readonly signers: readonly string[] }
  | { readonly kind: "begin"; readonly run: number; readonly bundle: number; readonly name: string; readonly bytes: number }
  | { readonly kind: "progress"; readonly run: number; readonly bundle: number; readonly step: string; readonly what: string; readonly done: number; readonly total: number }
  | { readonly kind: "finding"; readonly run: number; readonly bundle: number; readonly finding: Finding }
  | { readonly kind: "outcome"; readonly run: number; readonly bundle: number; readonly outcome: OutcomeView }
  | { readonly kind: "done"; readonly run: number; readonly problem: Finding | null };
