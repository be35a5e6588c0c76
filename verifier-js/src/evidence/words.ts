/** What a statement hides and what it does not, in words: the sentences of docs/statements.md. They depend on the statement alone. */

import { short } from "./bytes.js";
import { inferences, type Generation, type Opening, type Statement, type Tensor, type Visibility } from "./statement.js";

const PUBLIC = "everyone who holds the proof reads its quantised values.";
const TENSORS: { readonly [privacy: string]: { readonly [visibility in Visibility]: string } } = {
  "sumcheck integrity-only (not zero-knowledge)": {
    public: PUBLIC,
    private: "not offered: this suite is integrity-only (not zero-knowledge); use its zero-knowledge suite, or ezkl, for private tensors.",
    hashed:
      "bound to the root of an unsalted commitment and not stated, but not hidden: opened columns show parts of it, and a reader who can guess the tensor can confirm the guess.",
  },
  "sumcheck zero-knowledge, unaudited": {
    public: PUBLIC,
    private: "the proof hides its values (zero-knowledge, unaudited) and binds it to nothing: some such tensor exists.",
    hashed:
      "bound to the root of a salted commitment, which only its secret seed makes again, so that no verifier can match the tensor itself (seeds of outputs go to the next prover, others are not kept); to all without the seed its values are hidden (zero-knowledge, unaudited), but equal roots show that two proofs are about one tensor.",
  },
};
const UNKNOWN = "nothing is known to be hidden: this engine makes no proofs of that level.";
const WEIGHTS = {
  public: "The weights are public: the model travels with the evidence.",
  withheld: "The weights are fixed in the verification key and withheld; a commitment would hide more.",
  committed: "The weights are bound by a commitment; their owner keeps them.",
  private: "The weights are private: bound by the root of a hiding commitment; their owner keeps them.",
} as const;
export const NOT_CLAIMED =
  "Not claimed: that the model is good or was trained as said, that the input is authentic, when the proof was made, or that the float model gives exactly these numbers (the circuit's fidelity is pinned in the lock).";

function hiding(statement: Statement): boolean {
  return statement.privacy === "zero-knowledge, unaudited" && statement.engine === "sumcheck";
}

export function hides(statement: Statement, visibility: Visibility): string {
  return TENSORS[`${statement.engine} ${statement.privacy}`]?.[visibility] ?? UNKNOWN;
}

export function weightsWords(statement: Statement): string {
  if (statement.weights === "private" && !hiding(statement)) return "The weights are said to be private, but nothing is known to hide them: a proof of this kind does not.";
  return WEIGHTS[statement.weights];
}

function seen(statement: Statement): ReadonlySet<Visibility> {
  return new Set(statement.tensors.map((one) => one.visibility));
}

function named(statement: Statement, visibility: Visibility): string {
  const found = statement.tensors.filter((one) => one.visibility === visibility);
  const names = found.slice(0, 8).map((one) => `${one.role} '${one.name.slice(0, 80)}'`);
  if (found.length > 8) names.push(`${found.length - 8} more`);
  return `${visibility} ${names.join(", ")}`;
}

/** What the proof hides; empty when nothing. */
export function hiddenWords(statement: Statement): string[] {
  if (!hiding(statement)) return [];
  const kinds = seen(statement);
  const found: string[] = [];
  if (kinds.has("private")) found.push(`the values of ${named(statement, "private")} and of all inner tensors`);
  else if (kinds.has("hashed") || statement.weights !== "public") found.push("the values of all inner tensors");
  if (kinds.has("hashed")) found.push(`the values of ${named(statement, "hashed")}, from those who lack the seed`);
  if (statement.weights === "private") found.push("the values of the weights");
  return found;
}

/** What the evidence and the lock show or allow to work out, other than what is public by intent. */
export function shownWords(statement: Statement): string[] {
  const kinds = seen(statement);
  const secret = statement.weights !== "public";
  const found = ["architecture, shapes, scales, zero points, bounds and lookup counts", "the fidelity figures and the model's SHA-256, which the lock pins"];
  if (hiding(statement) && (kinds.has("hashed") || statement.weights === "private")) found.push("how often a commitment was used");
  if (kinds.has("public")) found.push(`${named(statement, "public")}, and what follows from that`);
  if (kinds.has("hashed") && !hiding(statement)) found.push(`${named(statement, "hashed")} to a reader who can guess the values`);
  if (!hiding(statement) && (kinds.has("hashed") || secret)) found.push("parts of what is committed to, in the columns that each proof opens");
  if (statement.weights === "private" && hiding(statement)) found.push("parameters that are one number, such as a slope or a summand equal everywhere, which the circuit's tables hold");
  if (hiding(statement) && statement.weights === "committed") found.push("committed weights: the commitment binds them, and is not made to hide them");
  return found;
}

/** Label, hidden, not hidden: one sentence each. */
export function privacyWords(statement: Statement): string[] {
  const what = hiddenWords(statement);
  let first = "Hidden: nothing.";
  if (what.length) first = `Hidden: ${what.join("; ")}.`;
  else if (hiding(statement)) first = "Hidden: nothing, for every tensor and the weights are public.";
  const last = statement.weights === "public" ? "" : "; model extraction by queries remains possible";
  return [`Privacy: ${statement.privacy}.`, first, `Not hidden: ${shownWords(statement).join("; ")}${last}.`];
}

export function tensorWords(statement: Statement, tensor: Tensor): string {
  const role = tensor.role === "input" ? "Input" : "Output";
  return `${role} '${tensor.name}' (${tensor.shape.join("\u00d7")}) is ${tensor.visibility}: ${hides(statement, tensor.visibility)}`;
}

export function openingWords(one: Opening): string {
  return `Uses opening ${one.number} of ${one.budget} of the commitment to '${one.what}' (root ${short(one.root)}\u2026); each number may be used once.`;
}

const ENDS = { "end-of-text": "its last token ends the text", "max-tokens": "it was cut at as many tokens as were asked for, the model would go on" } as const;

export function generationWords({ prompt, answer, ending }: Generation): string {
  return `The ${answer.toLocaleString("en")} tokens of the answer are the greedy continuation of the prompt's ${prompt.toLocaleString("en")} tokens: each is the most likely next token after all before it, the lowest number on ties; ${ENDS[ending]}.`;
}

/** The statement in plain words, with what it does not say. */
export function describe(statement: Statement): string[] {
  const lines = [
    `Model ${short(statement.modelSha256)}\u2026 (SHA-256 of the canonical ONNX) was evaluated by circuit ${short(statement.circuitSha256)}\u2026 of the ${statement.engine} engine.`,
  ];
  const batch = statement.tensors[0]?.batch ?? 0;
  if (batch) {
    const filler = batch - inferences(statement);
    const rest = filler ? `; the other ${filler.toLocaleString("en")} places repeat the last one and claim nothing` : "";
    lines.push(`One proof of ${inferences(statement).toLocaleString("en")} inferences, each by itself; its circuit takes ${batch.toLocaleString("en")}${rest}.`);
  }
  for (const tensor of statement.tensors) lines.push(tensorWords(statement, tensor));
  lines.push(weightsWords(statement), ...privacyWords(statement), ...statement.openings.map(openingWords));
  if (statement.generation) lines.push(generationWords(statement.generation));
  if (statement.context) lines.push(`Context: '${statement.context}' (bound by the proof).`);
  lines.push(NOT_CLAIMED);
  return lines;
}
