/** Whether a statement's tokens are a prompt and its greedy continuation: computed from the proven tokens (V6). */

import { Refusal } from "../engine/interface.js";
import { holds, type Finding } from "./findings.js";
import type { PlaceNames } from "./names.js";
import type { Statement, Tensor } from "./statement.js";

/** Throws Refusal: `answer-not-pinned`, `answer-malformed`, `answer-not-linked`, `answer-cut`, `answer-past-end`, `answer-ending`. */
export function checkGeneration(statement: Statement, decoder: PlaceNames["decoder"]): Finding[] {
  const claim = statement.generation;
  if (!claim) return [];
  if (!decoder) throw new Refusal("policy", "answer-not-pinned", "the statement is about an answer, and the lock does not say which output holds next tokens", "circuit.tokenizer.next");
  const refuse = (code: string, message: string, where: string): Refusal => new Refusal("rejected", code, message, where);
  const { tokens, following } = sequences(statement, decoder.next);
  const start = claim.prompt - 1 - (tokens.length - following.length);
  if (start < 0 || start + claim.answer > following.length) throw refuse("answer-malformed", "prompt and answer do not fit the positions", "generation");
  const answer = following.slice(start, start + claim.answer);
  for (const [place, token] of answer.slice(0, -1).entries()) {
    const at = claim.prompt + place;
    if (tokens[at] !== token) throw refuse("answer-not-linked", `position ${at - 1} puts out token ${token}, and the token at position ${at} is ${tokens[at] ?? "hidden"}`, `position ${at}`);
  }
  for (let at = claim.prompt + claim.answer - 1; at < tokens.length; at++) {
    if (tokens[at] !== BigInt(decoder.pad)) throw refuse("answer-cut", `the answer is said to end, and position ${at} behind it holds a token that is no padding`, `position ${at}`);
  }
  const ends = new Set(decoder.ends.map(BigInt));
  const early = answer.slice(0, -1).findIndex((token) => ends.has(token));
  if (early >= 0) throw refuse("answer-past-end", `token ${early} of the answer ends texts, and more follow it`, `position ${claim.prompt + early}`);
  if (ends.has(answer.at(-1)!) !== (claim.ending === "end-of-text")) throw refuse("answer-ending", `the answer is said to end by ${claim.ending}, and its last token says otherwise`, "ending");
  const hidden = tokens.slice(0, claim.prompt).includes(null) ? "hidden " : "";
  const message = `the answer's ${claim.answer.toLocaleString("en")} tokens are the greedy continuation of the ${hidden}prompt's ${claim.prompt.toLocaleString("en")}, computed from the proven tokens; it ends by ${claim.ending}`;
  return [holds("answer-linked", message, "V6")];
}

/** A decoder's tokens by position, null where hidden, and what the last positions put next. Throws Refusal: `answer-malformed`. */
export function sequences(statement: Statement, next: string): { tokens: (bigint | null)[]; following: bigint[] } {
  const malformed = (message: string): Refusal => new Refusal("rejected", "answer-malformed", `no answer can be read from the statement: ${message}`, "generation");
  const rowOf = (tensor: Tensor): (bigint | null)[] => {
    const plain = tensor.scale.numerator === 1n && tensor.scale.denominator === 1n && !tensor.zeroPoint && !tensor.columns.length;
    if (tensor.shape.length !== 2 || tensor.shape[0] !== 1 || !plain) throw malformed(`${tensor.name} is no row of tokens`);
    return tensor.quantised ? [...tensor.quantised] : Array.from({ length: tensor.shape[1]! }, () => null);
  };
  const outputs = statement.tensors.filter((one) => one.role === "output");
  if (statement.tensors[0]?.batch || outputs.length !== 1 || outputs[0]!.name !== next) throw malformed("a decoder has one output, its next tokens, and no batch");
  const tokens = statement.tensors.filter((one) => one.role === "input").flatMap(rowOf);
  const following = rowOf(outputs[0]!);
  const shown = following.filter((token) => token !== null);
  if (shown.length < following.length || following.length > tokens.length) throw malformed("the next tokens are hidden, or more than there are positions");
  return { tokens, following: shown };
}
