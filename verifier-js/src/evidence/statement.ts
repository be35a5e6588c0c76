/** What a piece of evidence claims (docs/statements.md): decoded from the proof, and as an attestation repeats it. */

import { sha256Hex, utf8 } from "./bytes.js";
import { object, type Json, type JsonObject } from "./json.js";
import { decimal, pair, ratio, sameRatio, type Ratio } from "./ratio.js";
import { Record } from "./record.js";

export const ENGINES = ["ezkl", "sumcheck"] as const;
export const VISIBILITIES = ["public", "private", "hashed"] as const;
export const WEIGHTS = ["public", "withheld", "committed", "private"] as const;
export const ROLES = ["input", "output"] as const;
export const PRIVACIES = ["zero-knowledge", "zero-knowledge, unaudited", "integrity-only (not zero-knowledge)"] as const;
export type EngineName = (typeof ENGINES)[number];
export type Visibility = (typeof VISIBILITIES)[number];
export type Weights = (typeof WEIGHTS)[number];
export type Role = (typeof ROLES)[number];
export type Privacy = (typeof PRIVACIES)[number];

/** Cells of a public tensor that a signed document lists at most; of more it holds their digest. */
export const MAX_STATED = 65536;
const MAX_COLUMNS = 4096;
const MAX_COLUMN_ZERO_POINT = 2n ** 52n;
const MAX_OPENINGS = 4096;
export const LARGEST_FLOAT32 = 0x7f7fffff;
const ONE: Ratio = { numerator: 1n, denominator: 1n };

export interface Column {
  readonly scale: Ratio;
  readonly zeroPoint: bigint;
}

export interface Tensor {
  readonly role: Role;
  readonly name: string;
  readonly shape: readonly number[];
  readonly visibility: Visibility;
  readonly scale: Ratio;
  readonly zeroPoint: number;
  /** Row-major; only when public, and listed. */
  readonly quantised: readonly bigint[] | null;
  readonly quantisedSha256: string | null;
  readonly digest: string | null;
  readonly digestScheme: string | null;
  readonly columns: readonly Column[];
  readonly stored: boolean;
  readonly batch: number;
  readonly encoding: "linear" | "float32";
}

export interface Opening {
  readonly what: string;
  readonly root: string;
  readonly number: bigint;
  readonly budget: number;
  readonly proofSha256: string | null;
}

export interface Statement {
  readonly engine: EngineName;
  readonly modelSha256: string;
  readonly circuitSha256: string;
  readonly tensors: readonly Tensor[];
  readonly context: string;
  readonly contextBound: boolean;
  readonly privacy: Privacy;
  readonly weights: Weights;
  readonly openings: readonly Opening[];
  readonly generation: Generation | null;
}

/** That tokens of a statement are a prompt and its answer. */
export interface Generation {
  readonly prompt: number;
  readonly answer: number;
  readonly ending: Ending;
}

const ENDINGS = ["end-of-text", "max-tokens"] as const;
type Ending = (typeof ENDINGS)[number];
const MOST = 10_000_000;

/** The lengths that stand before a bound context, and the context. Throws RangeError where they are not in form. */
export function unbound(bound: string): { generation: Generation | null; context: string } {
  if (!bound.startsWith("\0generation/")) return { generation: null, context: bound };
  const found = /^\0generation\/1 ([1-9][0-9]{0,6}) ([1-9][0-9]{0,6}) ([a-z-]{1,16})\0/.exec(bound);
  const ending = ENDINGS.find((one) => one === found?.[3]);
  if (!found || !ending) throw new RangeError("the lengths of prompt and answer are not as written by us");
  return { generation: { prompt: Number(found[1]), answer: Number(found[2]), ending }, context: bound.slice(found[0].length) };
}

function generationOf(record: Record): Generation {
  const found = { prompt: record.integer("prompt", 1, MOST - 1), answer: record.integer("answer", 1, MOST - 1), ending: record.choice("ending", ENDINGS) };
  record.done();
  return found;
}

export function cellsOf(shape: readonly number[]): number {
  return shape.reduce((total, size) => total * size, 1);
}

export async function attested(statement: Statement): Promise<Statement> {
  return { ...statement, tensors: await Promise.all(statement.tensors.map(attestedTensor)) };
}

async function attestedTensor(tensor: Tensor): Promise<Tensor> {
  if (tensor.quantised === null || tensor.quantised.length <= MAX_STATED) return tensor;
  return { ...tensor, quantised: null, quantisedSha256: await cellsDigest(tensor.quantised) };
}

/** SHA-256 of the cells in decimal, separated by commas, in ASCII. */
export function cellsDigest(cells: readonly bigint[]): Promise<string> {
  return sha256Hex(utf8.encode(cells.join(",")));
}

/** The document of an attested statement; fields that say nothing are left out. */
export function statementJson(statement: Statement): JsonObject {
  return object({
    engine: statement.engine,
    model_sha256: statement.modelSha256,
    circuit_sha256: statement.circuitSha256,
    tensors: statement.tensors.map(tensorJson),
    context: statement.context,
    context_bound: statement.contextBound,
    privacy: statement.privacy,
    weights: statement.weights,
    openings: statement.openings.length ? statement.openings.map(openingJson) : undefined,
    generation: statement.generation ? object({ prompt: BigInt(statement.generation.prompt), answer: BigInt(statement.generation.answer), ending: statement.generation.ending }) : undefined,
  });
}

export function tensorJson(tensor: Tensor): JsonObject {
  return object({
    role: tensor.role,
    name: tensor.name,
    shape: tensor.shape.map(BigInt),
    visibility: tensor.visibility,
    scale: pair(tensor.scale),
    zero_point: BigInt(tensor.zeroPoint),
    columns: tensor.columns.length ? tensor.columns.map((one): Json => [...pair(one.scale), one.zeroPoint.toString()]) : undefined,
    stored: tensor.stored || undefined,
    batch: tensor.batch ? BigInt(tensor.batch) : undefined,
    encoding: tensor.encoding === "linear" ? undefined : tensor.encoding,
    quantised: tensor.quantised?.map(String),
    quantised_sha256: tensor.quantisedSha256 ?? undefined,
    digest: tensor.digest ?? undefined,
    digest_scheme: tensor.digest === null ? undefined : tensor.digestScheme,
  });
}

function openingJson(one: Opening): JsonObject {
  return object({ what: one.what, root: one.root, number: one.number, budget: BigInt(one.budget), proof_sha256: one.proofSha256 ?? undefined });
}

/** Read an attested statement strictly. Throws Refusal (`malformed`). */
export function statementOf(record: Record): Statement {
  const found: Statement = {
    engine: record.choice("engine", ENGINES),
    modelSha256: record.sha256("model_sha256"),
    circuitSha256: record.sha256("circuit_sha256"),
    tensors: record.subs("tensors", 256).map((item) => guarded(item, tensorOf)),
    context: record.text("context", { max: 4096, empty: true }),
    contextBound: record.flag("context_bound"),
    privacy: record.choice("privacy", PRIVACIES),
    weights: record.choice("weights", WEIGHTS),
    openings: record.subsOrNone("openings", 512).map((item) => guarded(item, openingOf)),
    generation: record.has("generation") ? generationOf(record.sub("generation")) : null,
  };
  if (record.has("openings") && !found.openings.length) throw record.refuse("an empty list is left out", "openings");
  guarded(record, () => { checkStatement(found); });
  record.done();
  return found;
}

/** Rules between fields. Throws RangeError. */
function checkStatement(statement: Statement): void {
  const { openings } = statement;
  if (new Set(openings.map((one) => `${one.root} ${one.number}`)).size !== openings.length) throw new RangeError("one opening is listed twice");
  if (new Set(openings.map((one) => `${one.root} ${one.budget}`)).size !== new Set(openings.map((one) => one.root)).size) {
    throw new RangeError("one commitment is listed with two budgets");
  }
  const batches = new Set(statement.tensors.map((one) => `${one.batch} ${one.batch ? one.shape[0] : 0}`));
  if (batches.size > 1) throw new RangeError("the tensors do not agree on the batch");
}

function guarded<T>(record: Record, read: (record: Record) => T): T {
  try {
    return read(record);
  } catch (problem) {
    if (problem instanceof RangeError) throw record.refuse(problem.message);
    throw problem;
  }
}

function tensorOf(record: Record): Tensor {
  const scale = record.texts("scale", 2).map(decimal);
  if (scale.length !== 2) throw new RangeError("scale is not a pair");
  const reduced = ratio(scale[0]!, scale[1]!);
  if (reduced.denominator !== scale[1]!) throw new RangeError("scale is not in lowest terms");
  const tensor: Tensor = {
    role: record.choice("role", ROLES),
    name: record.text("name"),
    shape: record.integers("shape", 1, 2 ** 31, 9),
    visibility: record.choice("visibility", VISIBILITIES),
    scale: reduced,
    zeroPoint: record.integer("zero_point", -(2 ** 31), 2 ** 31),
    quantised: record.has("quantised") ? record.texts("quantised", MAX_STATED).map(decimal) : null,
    quantisedSha256: record.has("quantised_sha256") ? record.sha256("quantised_sha256") : null,
    digest: record.has("digest") ? record.text("digest") : null,
    digestScheme: record.has("digest_scheme") ? record.text("digest_scheme") : null,
    columns: record.has("columns") ? columnsOf(record) : [],
    stored: record.has("stored") && record.flag("stored"),
    batch: record.has("batch") ? record.integer("batch", 2, 2 ** 31) : 0,
    encoding: record.has("encoding") ? record.choice("encoding", ["float32"]) : "linear",
  };
  if (record.has("stored") && !tensor.stored) throw new RangeError("`stored` is left out where it is false");
  if ((tensor.digest === null) !== (tensor.digestScheme === null)) throw new RangeError("a digest and its scheme stand together");
  checkTensor(tensor);
  record.done();
  return tensor;
}

function columnsOf(record: Record): Column[] {
  const found = record.array("columns", MAX_COLUMNS).map((entry): Column => {
    if (!Array.isArray(entry) || entry.length !== 3) throw new RangeError("a column is not three decimal numbers");
    const numbers = entry.map((text) => {
      if (typeof text !== "string" || text.length > 400) throw new RangeError("a column is not three decimal numbers");
      return decimal(text);
    });
    const [numerator, denominator, zeroPoint] = [numbers[0]!, numbers[1]!, numbers[2]!];
    const scale = ratio(numerator, denominator);
    const small = zeroPoint <= MAX_COLUMN_ZERO_POINT && zeroPoint >= -MAX_COLUMN_ZERO_POINT;
    if (scale.numerator <= 0n || scale.denominator !== denominator || !small) throw new RangeError("a column's scale or zero point is out of form");
    return { scale, zeroPoint };
  });
  if (!found.length) throw new RangeError("an empty list of columns is left out");
  return found;
}

/** Rules of one tensor. Throws RangeError. */
function checkTensor(tensor: Tensor): void {
  const plain = sameRatio(tensor.scale, ONE) && tensor.zeroPoint === 0;
  const size = cellsOf(tensor.shape);
  const need = (holds: boolean, message: string): void => {
    if (!holds) throw new RangeError(`${tensor.name}: ${message}`);
  };
  need(!tensor.columns.length || tensor.columns.length === tensor.shape.at(-1), "another number of columns than places");
  need(!tensor.columns.length || plain, "scales of columns stand beside a scale of the whole");
  need(!tensor.stored || !(tensor.columns.length > 0 || plain), "stored integers stand for nothing but themselves");
  if (tensor.encoding === "float32") {
    need(plain && !tensor.columns.length && !tensor.stored, "the integers of float32 numbers have no scale");
    need((tensor.quantised ?? []).every((q) => q <= LARGEST_FLOAT32 && q >= -LARGEST_FLOAT32), "an integer stands for no finite float32");
  }
  const carried = Number(tensor.quantised !== null) + Number(tensor.quantisedSha256 !== null);
  need(carried === Number(tensor.visibility === "public"), "exactly the public tensors carry values");
  need(tensor.quantisedSha256 === null || size > MAX_STATED, "the digest stands for values that have to be listed");
  need((tensor.digest !== null) === (tensor.visibility === "hashed"), "exactly the hashed tensors carry a digest");
  need(tensor.quantised === null || tensor.quantised.length === size, "another number of values than cells");
  need(!tensor.batch || (tensor.shape.length > 0 && tensor.shape[0]! <= tensor.batch), "the shape does not count items of a batch");
}

function openingOf(record: Record): Opening {
  const found = {
    what: record.text("what", { max: 512 }),
    root: record.sha256("root"),
    number: record.big("number", 0, MAX_OPENINGS - 1),
    budget: record.integer("budget", 1, MAX_OPENINGS),
    proofSha256: record.has("proof_sha256") ? record.sha256("proof_sha256") : null,
  };
  if (found.number >= found.budget) throw new RangeError("the number of an opening is below its budget");
  record.done();
  return found;
}

/** How many inferences are claimed. */
export function inferences(statement: Statement): number {
  return statement.tensors[0]?.batch ? statement.tensors[0].shape[0]! : 1;
}

/** Of a batch, the tensor of one item. */
export function itemOf(tensor: Tensor, at: number): Tensor {
  const shape = tensor.shape.slice(1);
  const size = cellsOf(shape);
  return { ...tensor, shape, batch: 0, quantised: tensor.quantised?.slice(at * size, (at + 1) * size) ?? null };
}
