/** What was proven, in values and texts: the public tensors as people read them. Names come from the lock, never from a bundle. */

import { Refusal } from "../engine/interface.js";
import { sequences } from "./answer.js";
import { realValues } from "./compare.js";
import type { Fidelity, Lock } from "./lock.js";
import type { Categories } from "./names.js";
import { ratioOf, toNumber } from "./ratio.js";
import { inferences, itemOf, type Role, type Statement, type Tensor } from "./statement.js";
import { quoted, type TokenText } from "./tokenizer.js";

export interface Decision {
  readonly row: number;
  readonly index: number;
  readonly label: string;
}

export interface Shown {
  readonly role: Role;
  readonly name: string;
  readonly shape: readonly number[];
  readonly values: readonly number[];
  /** Least change of a cell: one for all, or one per place of the last axis. */
  readonly steps: readonly number[];
  /** Of the places of the last axis. */
  readonly names: readonly string[];
  readonly categories: ReadonlyMap<number, Categories>;
  /** Null where the output decides nothing. */
  readonly decisions: readonly Decision[] | null;
  readonly every: boolean;
  readonly item: number | null;
  readonly tokens: boolean;
  /** Of tokens, by the tokenizer that the lock pins; null where there is none at hand, and `untold` says why. */
  readonly text: TokenText | null;
  readonly untold: string;
  /** Where it is no tensor of the statement but the part of its tokens that is called so; `note` says how it ended. */
  readonly part: "" | "prompt" | "answer";
  readonly note: string;
}

/** Prompt and answer, where there are such; then tensors, outputs first; of a batch, item by item. */
export function shownValues(statement: Statement, lock: Lock, fidelity: Fidelity): Shown[] {
  const batch = statement.tensors[0]?.batch;
  if (!batch) return [...parts(statement, lock), ...ordered(statement.tensors).map((one) => shown(one, lock, fidelity, null))];
  const listed = statement.tensors.filter((one) => one.quantised !== null);
  return Array.from({ length: inferences(statement) }, (_, at) => ordered(listed.map((one) => itemOf(one, at))).map((one) => shown(one, lock, fidelity, at))).flat();
}

const ENDINGS = { "end-of-text": "ended by the model", "max-tokens": "cut at the number of tokens asked for" } as const;

/** Prompt and answer of a statement about an answer; the answer alone where the prompt is hidden. */
function parts(statement: Statement, lock: Lock): Shown[] {
  const [claim, { decoder }] = [statement.generation, lock.names];
  if (!claim || !decoder) return [];
  let found: ReturnType<typeof sequences>;
  try {
    found = sequences(statement, decoder.next);
  } catch (problem) {
    if (problem instanceof Refusal) return []; // it was refused before, with its reason
    throw problem;
  }
  const prompt = found.tokens.slice(0, claim.prompt);
  const start = claim.prompt - 1 - (found.tokens.length - found.following.length);
  if (start < 0 || start + claim.answer > found.following.length) return [];
  const answer = found.following.slice(start, start + claim.answer);
  const open = prompt.filter((token) => token !== null);
  const some = open.length ? ` but for ${open.length.toLocaleString("en")} of them` : "";
  const hidden = open.length < prompt.length ? `; its prompt of ${prompt.length.toLocaleString("en")} tokens is hidden${some}` : "";
  const answered = part("answer", "output", answer, lock, `${ENDINGS[claim.ending]}${hidden}`);
  return hidden ? [answered] : [part("prompt", "input", open, lock, ""), answered];
}

function part(name: "prompt" | "answer", role: Role, cells: readonly bigint[], lock: Lock, note: string): Shown {
  const values = cells.map(Number);
  const text = lock.tokenizer?.text(values, false) ?? null;
  return { role, name, shape: [1, values.length], values, steps: [1], names: [], categories: new Map<number, Categories>(), decisions: null, every: false, item: null, tokens: true, text, untold: lock.untold, part: name, note };
}

function ordered(tensors: readonly Tensor[]): Tensor[] {
  const listed = tensors.filter((one) => one.quantised !== null);
  return [...listed.filter((one) => one.role === "output"), ...listed.filter((one) => one.role === "input")];
}

function shown(tensor: Tensor, lock: Lock, fidelity: Fidelity, item: number | null): Shown {
  const width = tensor.shape.at(-1) ?? 1;
  const given = (tensor.role === "output" ? lock.names.labels : lock.names.columns).get(tensor.name) ?? [];
  const values = realValues(tensor);
  const steps = tensor.encoding === "float32" ? [0] : tensor.columns.length ? tensor.columns.map((one) => toNumber(one.scale)) : [toNumber(tensor.scale)];
  const tokens = lock.names.tokenTensors.includes(tensor.name);
  const told = tokens ? lock.tokenizer?.text(values.map((value) => (Number.isInteger(value) ? value : -1)), true) : null;
  const found: Shown = {
    role: tensor.role, name: tensor.name, shape: tensor.shape, values, steps,
    names: given.length === width ? given : [],
    categories: tensor.role === "input" ? placed(lock.names.categories.get(tensor.name), lock.names.columns.get(tensor.name) ?? []) : new Map<number, Categories>(),
    decisions: null, every: false, item,
    tokens, text: told ?? null, untold: tokens ? lock.untold : "", part: "", note: "",
  };
  return tensor.role === "output" && !found.tokens ? decided(found, given, fidelity) : found;
}

function placed(found: ReadonlyMap<string, Categories> | undefined, columns: readonly string[]): Map<number, Categories> {
  const places = new Map<number, Categories>();
  for (const [name, one] of found ?? []) {
    const place = columns.length ? columns.indexOf(name) : /^[0-9]{1,6}$/.test(name) ? Number(name) : -1;
    if (place >= 0) places.set(place, one);
  }
  return places;
}

function decided(found: Shown, labels: readonly string[], fidelity: Fidelity): Shown {
  const figures = fidelity.outputs.find((one) => one.name === found.name);
  const task = fidelity.task ?? (fidelity.top1Matches === null ? null : "classification");
  if (task === null || task === "regression") return found;
  const width = found.shape.at(-1) ?? 1;
  const integers = fidelity.task !== null && !figures;
  const places = width === 1 && task === "classification" ? 2 : width;
  const label = (index: number): string => (integers || labels.length === places ? (labels[index] ?? "") : "");
  const made = (decisions: Decision[], more: Partial<Shown> = {}): Shown => ({ ...found, decisions, ...more });
  if (integers) return made(found.values.map((value, row) => ({ row, index: value, label: label(value) })), { names: [] });
  const threshold = figures?.threshold ?? null;
  if (threshold !== null && task === "multi-label") {
    const yes = found.values.flatMap((value, at) => (value >= threshold ? [{ row: Math.floor(at / width), index: at % width, label: label(at % width) }] : []));
    return made(yes, { every: true });
  }
  if (threshold !== null) return made(found.values.map((value, row) => ({ row, index: Number(value >= threshold), label: label(Number(value >= threshold)) })), { names: [] });
  if (width < 2) return found;
  const decisions: Decision[] = [];
  for (let row = 0; row < found.values.length / width; row++) {
    let place = 0;
    for (let at = 1; at < width; at++) if (found.values[row * width + at]! > found.values[row * width + place]!) place = at;
    decisions.push({ row, index: place, label: label(place) });
  }
  return made(decisions);
}

/** A value in as many digits as a change of one step moves: 118.2 for a step of 0.22. */
export function numberText(value: number, step: number): string {
  if (!Number.isFinite(value)) return "beyond any double";
  const decimals = Math.max(0, Math.ceil(-Math.log10(step)));
  if (!Number.isFinite(step) || step <= 0 || decimals > 12 || Math.abs(value) >= 1e15) return String(Number(value.toPrecision(6)));
  const text = fixed(value, decimals);
  return Number(text) === 0 ? text.replace("-", "") : text;
}

/** As `toFixed`, but exact ties go to the even digit, as everywhere in verifai. */
function fixed(value: number, decimals: number): string {
  const text = value.toFixed(decimals);
  const exact = ratioOf(value);
  const scaled = 2n * exact.numerator * 10n ** BigInt(decimals);
  const tie = scaled % exact.denominator === 0n && (scaled / exact.denominator) % 2n !== 0n;
  if (!tie || (BigInt(text.replace(/[-.]/g, "")) & 1n) === 0n) return text;
  // The tie went away from 0 to an odd digit: one step back is the even one.
  const down = (BigInt(text.replace(/[-.]/g, "")) - 1n).toString().padStart(decimals + 1, "0");
  const sign = text.startsWith("-") ? "-" : "";
  return decimals ? `${sign}${down.slice(0, -decimals)}.${down.slice(-decimals)}` : `${sign}${down}`;
}

/** The text of one cell: its category where it has one, else its number. */
export function cellText(one: Shown, at: number): string {
  const width = one.shape.at(-1) ?? 1;
  const texts = one.categories.get(at % width);
  const value = one.values[at]!;
  const text = texts && (texts.values[value] ?? (texts.others && value === texts.values.length ? "(other)" : ""));
  return text ? text : numberText(value, one.steps[at % one.steps.length]!);
}

export function decisionText(one: Decision): string {
  return one.label && one.label !== String(one.index) ? `${one.index}, ${one.label}` : String(one.index);
}

/** One line: `output logits = 0.00, 5.47 (step 0.014); class 7`. */
export function shownLine(one: Shown): string {
  const head = `${one.item === null ? "" : `item ${one.item}: `}${one.part || `${one.role} ${one.name}`}`;
  if (one.text) return `${head} = ${quoted(one.text)} (${one.values.length.toLocaleString("en")} tokens${one.note ? `, ${one.note}` : ""})`;
  const count = one.values.length <= 12 ? one.values.length : 6;
  const cells = Array.from({ length: count }, (_, at) => {
    const name = one.names[at % Math.max(1, one.names.length)];
    return name ? `${name}${/\d$/.test(name) ? ": " : " "}${cellText(one, at)}` : cellText(one, at);
  });
  const more = one.values.length - count;
  const about = [more ? `${one.values.length.toLocaleString("en")} values` : "", one.steps.length === 1 && one.steps[0]! > 0 && one.steps[0] !== 1 ? `step ${Number(one.steps[0]!.toPrecision(2))}` : ""].filter(Boolean).join(", ");
  const said = one.decisions === null ? "" : one.every && !one.decisions.length ? "; no label" : `; ${one.every ? "label" : "class"} ${one.decisions.slice(0, 4).map(decisionText).join(" and ")}`;
  return `${head} = ${cells.join(", ")}${more ? `, \u2026 and ${more.toLocaleString("en")} more` : ""}${about ? ` (${about})` : ""}${said}${one.untold ? `; tokens as numbers: ${one.untold}` : ""}`;
}
