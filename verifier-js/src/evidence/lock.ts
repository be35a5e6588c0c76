/** `circuit.lock`: what verdicts rest on (docs/bundle-format.md, "The lock"). A broken lock is the reader's own: status 2. */

import { Refusal } from "../engine/interface.js";
import { sha256Hex } from "./bytes.js";
import { canonicalJson, type Json } from "./json.js";
import { namesOf, type PlaceNames } from "./names.js";
import { dyadic, sameRatio, type Ratio } from "./ratio.js";
import { Record, type Table, type Value } from "./record.js";
import { ENGINES, LARGEST_FLOAT32, ROLES, VISIBILITIES, type Column, type EngineName, type Role, type Visibility } from "./statement.js";
import { TOKENIZER_FILE, type Tokenizer } from "./tokenizer.js";
import { parseToml } from "./toml.js";

const SCHEMA = "verifai/circuit-lock/v1";
const SECTION = "circuit.lock: [engine.sumcheck]";
export const SUITES: ReadonlyMap<string, { zeroKnowledge: boolean }> = new Map([
  ["sumcheck/2", { zeroKnowledge: false }],
  ["sumcheck-zk/2", { zeroKnowledge: true }],
]);
const ONE: Ratio = { numerator: 1n, denominator: 1n };

export interface Lock {
  readonly name: string;
  readonly modelSha256: string;
  readonly names: PlaceNames;
  readonly sections: ReadonlyMap<EngineName, Table>;
  /** Whether the lock names the release that the model was exported from; this verifier does not judge that. */
  readonly provenance: boolean;
  /** Which text each token has; else why tokens stay numbers, where the lock pins a tokenizer ({@link withTokenizer}). */
  readonly tokenizer: Tokenizer | null;
  readonly untold: string;
  /** Of the file's bytes: what a trust file pins it by. */
  readonly fileSha256: string;
}

export async function parseLock(data: Uint8Array, where: string): Promise<Lock> {
  const root = new Record(parseToml(data, where, "bad-lock"), where, "usage", "bad-lock");
  if (!root.has("schema") || root.take("schema") !== SCHEMA) throw root.refuse(`the first field of a lock is: schema = "${SCHEMA}"`, "schema", "Name another file.");
  const circuit = root.sub("circuit");
  const engines = root.sub("engine");
  const sections = new Map<EngineName, Table>();
  for (const name of engines.names()) {
    const engine = engines.has(name) ? ENGINES.find((one) => one === name) : undefined;
    const value = engines.take(name);
    if (!engine) throw engines.refuse("no such engine", name);
    if (!(value instanceof Map)) throw engines.refuse("expected a table", name);
    sections.set(engine, value);
  }
  const provenance = root.has("provenance");
  if (provenance) root.sub("provenance");
  const name = circuit.text("name");
  const modelSha256 = circuit.sha256("model_sha256");
  const names = namesOf(circuit);
  const untold = names.tokenizerSha256 === null ? "" : `the tokenizer that the lock pins (${TOKENIZER_FILE}, published with the lock) is not here`;
  const found = { provenance, name, modelSha256, names, sections, tokenizer: null, untold, fileSha256: await sha256Hex(data) };
  for (const record of [circuit, engines, root]) record.done();
  return found;
}

/** SHA-256 of a section in RFC 8785 form; fractional numbers as their shortest text, integers from 2^53 on as decimal text. */
export async function sectionDigest(section: Table): Promise<string> {
  const bytes = canonicalJson(withoutFractions(section));
  if (bytes === null) throw new Refusal("usage", "bad-lock", "the section holds a value that has no digest", SECTION);
  return sha256Hex(bytes);
}

function withoutFractions(value: Value): Json {
  if (typeof value === "number") return shortest(value);
  if (typeof value === "bigint") return value >= 2n ** 53n || value <= -(2n ** 53n) ? value.toString() : value;
  if (value instanceof Map) return new Map([...value].map(([name, one]) => [name, withoutFractions(one)]));
  if (Array.isArray(value)) return value.map(withoutFractions);
  if (value instanceof Date) throw new Refusal("usage", "bad-lock", "a date has no place in a section", SECTION);
  return value;
}

/** The shortest decimal that is this double: 0.5, 2.0, 1e-05, 1e+16, inf, nan; exponents below -4 and from 16 on, of two digits. */
export function shortest(value: number): string {
  if (Number.isNaN(value)) return "nan";
  if (!Number.isFinite(value)) return value < 0 ? "-inf" : "inf";
  if (Object.is(value, -0)) return "-0.0";
  const [mantissa, power] = value.toExponential().split("e") as [string, string];
  const exponent = Number(power);
  if (exponent >= -4 && exponent < 16) {
    const sign = mantissa.startsWith("-") ? "-" : "";
    const digits = mantissa.replace(/[-.]/g, "");
    if (exponent < 0) return `${sign}0.${"0".repeat(-exponent - 1)}${digits}`;
    const whole = digits.slice(0, exponent + 1).padEnd(exponent + 1, "0");
    return `${sign}${whole}.${digits.slice(exponent + 1) || "0"}`;
  }
  return `${mantissa}e${exponent < 0 ? "-" : "+"}${String(Math.abs(exponent)).padStart(2, "0")}`;
}

export interface Scale {
  readonly step: Ratio;
  readonly low: number;
  readonly high: number;
  readonly zeroPoint: number;
  readonly columns: readonly Column[];
  readonly ordered: boolean;
}

export interface OutputFigures {
  readonly name: string;
  readonly spread: readonly number[];
  readonly low: number;
  readonly high: number;
  readonly threshold: number | null;
  /** How many cells lie between two places of the axis that the spreads are of; 1 where each cell has one, or all have one. */
  readonly stride: number;
}

export type Task = "classification" | "multi-label" | "regression" | "generation";

/** Of a language model, over the texts of its calibration data. */
export interface LanguageFigures {
  readonly positions: number;
  readonly matches: number;
  readonly perplexity: number | null;
  readonly circuitPerplexity: number | null;
}

export interface Fidelity {
  readonly samples: number;
  readonly top1Matches: number | null;
  readonly maxAbsError: number;
  readonly meanAbsError: number;
  readonly worstSample: number;
  readonly spreadError: number | null;
  readonly columnError: number | null;
  readonly r2: number | null;
  readonly closeDecisions: number | null;
  readonly task: Task | null;
  readonly outputs: readonly OutputFigures[];
  readonly language: LanguageFigures | null;
}

export interface PinnedTensor {
  readonly role: Role;
  readonly name: string;
  readonly shape: readonly number[];
  readonly visibility: Visibility;
  readonly stored: boolean;
}

/** The parsed `[engine.sumcheck]`. */
export interface Section {
  readonly suite: string;
  readonly circuitSha256: string;
  readonly weights: "public" | "committed" | "private";
  readonly weightsSha256: string;
  readonly soundnessMillibits: number;
  readonly tensors: readonly PinnedTensor[];
  readonly boundary: ReadonlyMap<string, Scale>;
  readonly scales: ReadonlyMap<string, Scale>;
  readonly fidelity: Fidelity;
  readonly openingBudget: number;
  readonly batch: number;
  /** Whether the circuit counts right answers. What it says of that is not read here: no proof of such a circuit is judged. */
  readonly counts: boolean;
}

/** Throws Refusal of kind `usage`: `bad-lock`. */
export function parseSection(table: Table): Section {
  const record = new Record(table, SECTION, "usage", "bad-lock");
  const suite = record.text("suite", { max: 64 });
  const circuitSha256 = record.sha256("circuit_sha256");
  const weights = record.choice("weights", ["public", "committed", "private", "withheld"]);
  const weightsSha256 = record.sha256("weights_sha256");
  const soundnessMillibits = record.integer("soundness_millibits", 0, 1_000_000);
  const tensors = record.subs("tensors", 512).map((item): PinnedTensor => {
    const tensor = {
      role: item.choice("role", ROLES),
      name: item.text("name", { max: 512 }),
      shape: item.integers("shape", 1, 2 ** 28, 8),
      visibility: item.choice("visibility", VISIBILITIES),
      stored: item.flag("stored", false),
    };
    item.done();
    return tensor;
  });
  const boundary = optionsOf(record.sub("options"));
  const scales = new Map(record.subs("scales").map(scaleOf));
  const fidelity = fidelityOf(record.sub("fidelity"));
  const openingBudget = record.has("opening_budget") ? record.integer("opening_budget", 0, 64) : 0;
  const batch = record.has("batch") ? record.integer("batch", 2, 65536) : 0;
  const counts = record.has("count_right");
  if (counts) record.sub("count_right");
  record.done();
  const hides = SUITES.get(suite)?.zeroKnowledge ?? false;
  if (weights === "withheld" || (weights === "committed" && hides)) throw record.refuse("sumcheck weights are public, or committed, or, in the zero-knowledge suite, private", "weights");
  if (weights === "private" && !hides) throw record.refuse("this suite hides nothing, so no weights are private", "weights");
  if (openingBudget > 0 !== (weights === "private")) throw record.refuse("exactly private weights have an opening budget", "opening_budget");
  const outputs = new Set(tensors.filter((one) => one.role === "output").map((one) => one.name));
  const inputs = new Set(tensors.filter((one) => one.role === "input" && !outputs.has(one.name)).map((one) => one.name));
  for (const [name, scale] of scales) if (scale.ordered && !inputs.has(name)) throw record.refuse("only inputs are the integers of float32 numbers", "scales");
  if (!hides && tensors.some((one) => one.visibility === "private")) throw record.refuse("this suite hides nothing, so no tensor is private", "tensors");
  for (const role of ROLES) {
    const named = tensors.filter((one) => one.role === role).map((one) => one.name);
    if (new Set(named).size < named.length) throw record.refuse(`two ${role}s have one name`, "tensors");
  }
  return { suite, circuitSha256, weights, weightsSha256, soundnessMillibits, tensors, boundary, scales, fidelity, openingBudget, batch, counts };
}

/** Throws Refusal (`engine-version`). */
export function expectSuite({ suite }: Section): void {
  if (!SUITES.has(suite)) {
    const hint = "Use the release that made the lock, or compile again.";
    throw new Refusal("usage", "engine-version", `the lock pins suite ${JSON.stringify(suite)}, this verifier speaks ${[...SUITES.keys()].join(", ")}`, `${SECTION}.suite`, hint);
  }
}

function scaleOf(record: Record): [string, Scale] {
  const name = record.text("value", { max: 512 });
  const mantissa = record.big("mantissa", 1, 2 ** 24);
  const exponent = record.integer("exponent", -1100, 1100);
  const scale: Scale = {
    step: dyadic(mantissa, exponent),
    low: record.integer("low", -(2 ** 32), 2 ** 32),
    high: record.integer("high", -(2 ** 32), 2 ** 32),
    zeroPoint: record.integer("zero_point", -(2 ** 31), 2 ** 31),
    columns: record.has("columns") ? record.array("columns", 4096).map((value) => columnOf(record, value)) : [],
    ordered: record.flag("ordered", false),
  };
  record.done();
  if (scale.low > scale.high) throw record.refuse("low is greater than high", "low");
  if (scale.columns.length && !(sameRatio(scale.step, ONE) && scale.zeroPoint === 0)) throw record.refuse("scales of columns stand beside a scale of the whole", "columns");
  const isOrdered = scale.ordered && mantissa === 32768n && exponent === -15 && scale.low === -LARGEST_FLOAT32 && scale.high === LARGEST_FLOAT32 && scale.zeroPoint === 0 && !scale.columns.length;
  if (record.has("ordered") && !isOrdered) throw record.refuse("`ordered` is left out, or true for the integers of float32 numbers", "ordered");
  if (record.has("columns") && !scale.columns.length) throw record.refuse("an empty list is left out", "columns");
  return [name, scale];
}

function columnOf(record: Record, value: Value): Column {
  const [exponent, zeroPoint] = Array.isArray(value) && value.length === 2 ? value : [];
  const whole = typeof exponent === "bigint" && typeof zeroPoint === "bigint";
  if (!whole || exponent > 256n || exponent < -256n || zeroPoint > 2n ** 52n || zeroPoint < -(2n ** 52n)) throw record.refuse("a column is an exponent and a zero point", "columns");
  return { scale: dyadic(1n, Number(exponent)), zeroPoint };
}

/** The quantiser's options: read strictly, of which only the pinned boundaries of a segment matter to a verdict. */
function optionsOf(record: Record): Map<string, Scale> {
  if (record.has("method")) record.choice("method", ["min-max", "percentile", "mse"]);
  const numbers: [string, number, number][] = [["percentile", 50, 100], ["input_margin", 0, 16], ["output_margin", 0, 16], ["activation_margin", 0, 16], ["column_margin", 0, 16]];
  for (const [field, low, high] of numbers) if (record.has(field)) record.number(field, low, high);
  const bits: [string, number, number][] = [["activation_bits", 2, 15], ["input_bits", 1, 16], ["output_bits", 2, 16], ["column_bits", 4, 16], ["opening_budget", 1, 64]];
  for (const [field, low, high] of bits) if (record.has(field)) record.integer(field, low, high);
  for (const field of ["split", "fold", "unrounded", "unclamped", "sparing", "fine", "rounds_once"]) record.flag(field, false);
  const entries = record.subsOrNone("boundary", 512).map(scaleOf);
  const boundary = new Map(entries);
  if (boundary.size !== entries.length) throw record.refuse("a value has two scales", "boundary");
  if (entries.some(([, scale]) => scale.columns.length || scale.ordered)) throw record.refuse("a boundary has one scale, which its neighbour has too", "boundary");
  if (record.has("segment")) {
    const segment = record.sub("segment");
    segment.sha256("model_sha256");
    const [number, of] = [segment.integer("number", 1, 4096), segment.integer("of", 2, 4096)];
    segment.done();
    if (number > of) throw segment.refuse("its number is greater than the number of segments", "number");
  }
  record.done();
  return boundary;
}

function languageOf(record: Record): LanguageFigures {
  const positions = record.integer("positions", 1, 1e12);
  const found = {
    positions,
    matches: record.integer("matches", 0, positions),
    perplexity: record.has("perplexity") ? record.number("perplexity", 1, 1e300) : null,
    circuitPerplexity: record.has("perplexity") ? record.number("circuit_perplexity", 1, 1e300) : null,
  };
  record.done();
  return found;
}

function fidelityOf(record: Record): Fidelity {
  const samples = record.integer("samples", 1, 1e9);
  const count = (field: string): number | null => (record.has(field) ? record.integer(field, 0, samples) : null);
  const number = (field: string, low: number, high: number): number | null => (record.has(field) ? record.number(field, low, high) : null);
  const found: Fidelity = {
    samples,
    top1Matches: count("top1_matches"),
    maxAbsError: record.number("max_abs_error", 0, 1e300),
    meanAbsError: record.number("mean_abs_error", 0, 1e300),
    worstSample: record.integer("worst_sample", 0, samples - 1),
    spreadError: number("spread_error", 0, 1e300),
    columnError: number("column_error", 0, 1e300),
    r2: number("r2", -1e300, 1),
    closeDecisions: count("close_decisions"),
    task: record.has("task") ? record.choice<Task>("task", ["classification", "multi-label", "regression", "generation"]) : null,
    outputs: record.subsOrNone("outputs", 256).map((item): OutputFigures => {
      const figures = {
        name: item.text("name", { max: 512 }),
        spread: item.numbers("spread", 1e-300, 1e300, 256),
        low: item.number("low", -1e300, 1e300),
        high: item.number("high", -1e300, 1e300),
        threshold: item.has("threshold") ? item.number("threshold", 0, 0.5) : null,
        stride: item.has("stride") ? item.integer("stride", 2, 1 << 30) : 1,
      };
      item.done();
      if (figures.stride > 1 && figures.spread.length < 2) throw item.refuse("one spread alone has no places", "stride");
      if (!figures.spread.length || figures.low > figures.high) throw item.refuse("an output has a spread, and low is at most high", "spread");
      return figures;
    }),
    language: record.has("language") ? languageOf(record.sub("language")) : null,
  };
  record.done();
  if (found.outputs.length && found.task === null) throw record.refuse("figures of outputs without a task", "outputs");
  if ((found.language !== null) !== (found.task === "generation")) throw record.refuse("exactly a language model has figures of positions", "language");
  if (found.columnError !== null && found.spreadError === null) throw record.refuse("the error of a column without the error of all", "column_error");
  if (new Set(found.outputs.map((one) => one.name)).size !== found.outputs.length) throw record.refuse("an output is listed twice", "outputs");
  return found;
}
