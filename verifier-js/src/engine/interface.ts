/**
 * What stands between the evidence (bundles, locks, words: `src/evidence/`) and the proof system (`src/engine/`).
 *
 * The engine gets pinned values and bytes, and either answers what the proof proves or throws a {@link Refusal}. It never
 * answers a boolean that a caller could forget to look at. It knows no JSON, no TOML, no bundle and no page.
 */

/** Why there is no verified statement; `status` is the exit status of the command line. */
export const STATUS = { rejected: 1, usage: 2, policy: 3, undecided: 4, bug: 70 } as const;

export type RefusalKind = keyof typeof STATUS;

/** An error with a stable code of docs/codes.md. Only kind `rejected` says that the evidence is false. */
export class Refusal extends Error {
  readonly kind: RefusalKind;
  readonly code: string;
  readonly where: string;
  readonly hint: string;

  constructor(kind: RefusalKind, code: string, message: string, where = "", hint = "") {
    super(message);
    this.name = "Refusal";
    this.kind = kind;
    this.code = code;
    this.where = where;
    this.hint = hint;
  }
}

export type Visibility = "public" | "hashed" | "private";

/** How the weights are bound: by the digest of their bytes, by a root, or by a hiding root. */
export type WeightVisibility = "public" | "committed" | "private";

/**
 * Everything that the verdict rests on comes from the lock; `files` is the evidence.
 *
 * Steps: 1 circuit (decode, every rule, `onCircuit`, price against `memoryBytes`), 2 weights (with registration and link),
 * 3 `statement.bin`, 4 the proof.
 */
export interface EngineInput {
  /** Pinned digest of `circuit.bin` as docs/engine/protocol.md defines it, 64 lower-case hex digits. */
  readonly circuitSha256: string;
  readonly weights: WeightVisibility;
  /** Digest of public weights, or the pinned (hiding) root, 64 lower-case hex digits. */
  readonly weightsSha256: string;
  /** `circuit.bin`, `statement.bin`, `proof.bin`; `weights.bin`, `registration.bin`, `link.bin` where the weights have them. Exactly these: names were compared. */
  readonly files: ReadonlyMap<string, Uint8Array>;
  /** Refuse with `undecided` `verification-over-budget` before anything larger is evaluated. */
  readonly memoryBytes: number;
  /** Called once after step 1, before anything that costs; may throw, which ends the verification. */
  readonly onCircuit?: (circuit: EngineCircuit) => void;
  /** Called as the work goes on; awaited, so that a page can draw. Never decides anything. */
  readonly onProgress?: (progress: EngineProgress) => void | Promise<void>;
}

export interface EngineProgress {
  readonly step: 1 | 2 | 3 | 4;
  /** Words for people: "sumcheck round", "opening column". */
  readonly what: string;
  readonly done: number;
  readonly total: number;
}

/** What the decoded circuit says that a lock's section, too, says. */
export interface EngineCircuit {
  readonly suite: string;
  readonly zeroKnowledge: boolean;
  /** How many inferences one proof takes; 0 where it is of one. */
  readonly batch: number;
  readonly weights: "public" | "committed";
  /** How many proofs may open the hiding root of the weights; 0 where there is none. */
  readonly openingBudget: number;
  /** Strength of the weakest step, in thousandths of a bit: from the checked table of errors. */
  readonly soundnessMillibits: number;
  /** In the order of the statement: inputs, then outputs. */
  readonly inputs: readonly EnginePort[];
  readonly outputs: readonly EnginePort[];
}

export interface EnginePort {
  readonly visibility: Visibility;
  /** Of the circuit's tensor; of a batch, the first axis is the batch. */
  readonly shape: readonly number[];
  /** Exact ratio [numerator, denominator], in lowest terms. */
  readonly scale: readonly [bigint, bigint];
  readonly zeroPoint: number;
  /** Range of the cells, as the circuit declares it (centred, without the zero point). */
  readonly low: bigint;
  readonly high: bigint;
}

export type EngineTensor =
  /** Centred cells, row-major, as in `statement.bin`; of a batch, those of the items that count, without filler. */
  | { readonly visibility: "public"; readonly cells: Int32Array | BigInt64Array }
  /** `root`: 64 hex digits; `number`: of its opening, 0 in the suite that hides nothing. */
  | { readonly visibility: "hashed"; readonly root: string; readonly number: bigint }
  | { readonly visibility: "private" };

/** An opening that a registration or a link took. `proofSha256`: of the whole file. */
export interface SpentOpening {
  readonly kind: "registration" | "link";
  readonly root: string;
  readonly number: bigint;
  readonly proofSha256: string;
}

/** What a proof proves: made only by {@link EngineVerifier}, after every step held. */
export interface EngineVerdict {
  readonly circuit: EngineCircuit;
  /** In the order of the ports: inputs, then outputs. */
  readonly tensors: readonly EngineTensor[];
  /** UTF-8, checked to be valid. */
  readonly context: Uint8Array;
  /** Number of the opening of the weights' root; 0 where nothing is hidden. */
  readonly openingNumber: bigint;
  /** Of a batch, how many items count; else 0. */
  readonly items: number;
  /** Of private weights only: the root that the inference opened, and what registration and link spent. */
  readonly roots: { readonly root: string; readonly linked: boolean; readonly spent: readonly SpentOpening[] } | null;
}

/**
 * Verify a proof. Throws a {@link Refusal}: `rejected` with the code of the step that fails, `usage` `bad-lock`, or
 * `undecided` (`verification-over-budget`). Any other exception is a bug, and the caller accepts nothing.
 */
export type EngineVerifier = (input: EngineInput) => Promise<EngineVerdict>;
