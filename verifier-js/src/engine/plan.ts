/** The planner: from a circuit to the layout of its proof, with its table of errors. docs/engine/protocol.md, "Choice of sizes". */

import { buildBus, largestSum, requireLeaves } from "./buses.js";
import { tooLarge } from "./bytes.js";
import { logProducts, logPads, PAD_COLUMNS, type PadPlan } from "./claims.js";
import {
  type ColumnPlan, type Commitment, epochKey, groupsOf, hashedTensors, LARGE_LOG_CELLS, type Layout, logRows, MAX_CLAIMS, MIN_LOG_MESSAGE,
  padKey, place, reserve, storedCells, tensorKey, weightColumns, witnessColumns,
} from "./layout.js";
import { arrange, type Level, rowRanges } from "./levels.js";
import { type Circuit, COMMITTED_WEIGHTS, type CommitmentShape, type SoundnessStep } from "./program.js";
import { openingBytes } from "./proof.js";
import { foretell } from "./rehearsal.js";
import {
  FIELD_SIZE, FINAL_ROUND_DEGREE, fractionsNumerator, HASH_BITS, LAYER_DEGREE, LAYER_ROUND_DEGREE, MASK_DEGREE, millibits, POINT_VARIABLES,
  PRODUCTS_ROUND_DEGREE, queriesNeeded, queryError, ROUND_DEGREE, SECURITY_BITS, strong,
} from "./soundness.js";
import { whole } from "./storage.js";
import { RESERVED_ROWS, saltBytes } from "./suite.js";
import { WIDTH } from "./buses.js";

// --- prices: exact, since the least one is taken ---

const ELEMENT_BYTES = 16n, WORK_PER_BYTE = 192n, HASH_BLOCK_WORK = 4n, SALT_WORK = 8n, CELL_WORK = 2n;
const LOG_RATES = [2, 3, 4];

function shapePrice(shape: CommitmentShape): bigint {
  const salt = saltBytes(shape), leaf = 8 * (1 + shape.rows) + salt;
  const blocks = BigInt(Math.ceil((leaf + 9) / 64) + 2); // of a leaf, and of the node that it brings
  const work = BigInt(shape.length) * (BigInt(shape.rows) + HASH_BLOCK_WORK * blocks + (salt > 0 ? SALT_WORK : 0n));
  return WORK_PER_BYTE * BigInt(openingBytes(shape)) + work;
}

const cellsPrice = (logCells: number): bigint => CELL_WORK << BigInt(logCells);
const combinationPrice = (length: number): bigint => cheapest([length]).price;

interface Cheapest {
  readonly price: bigint;
  /** (log2 C, log2 1/rate) per level. */
  readonly levels: readonly (readonly [number, number])[];
}

const priced = new Map<string, Cheapest>();

function cheapest(lengths: readonly number[]): Cheapest {
  const key = lengths.join(","), before = priced.get(key);
  if (before !== undefined) return before;
  let best: Cheapest = { price: WORK_PER_BYTE * ELEMENT_BYTES * lengths.reduce((sum, length) => sum + BigInt(length), 0n), levels: [] };
  const all = arrange(lengths)[1];
  for (let logMessage = MIN_LOG_MESSAGE; logMessage < all; logMessage++) {
    const below = cheapest([2 ** logMessage]);
    if (below.price >= best.price) break; // longer rows cost more below, whatever they cost here
    for (const logRate of LOG_RATES) {
      const code = levelCode("", lengths, logMessage, logRate);
      if (code === undefined) continue;
      const price = below.price + shapePrice(code.shape) + cellsPrice(code.logCells) + WORK_PER_BYTE * ELEMENT_BYTES * 2n * BigInt(code.logCells);
      if (price < best.price) best = { price, levels: [[logMessage, logRate], ...below.levels] };
    }
  }
  if (priced.size > 1024) priced.clear();
  priced.set(key, best);
  return best;
}

const plainShape = (label: string, rows: number, message: number, length: number, queries: number): CommitmentShape => ({
  label, rows, message, degree: message, length, queries, reservedRows: 0, mask: 0, tail: 0, budget: 0, maskRows: 0,
});

/** A level's code, and v; undefined when it is too weak. */
function levelCode(label: string, lengths: readonly number[], logMessage: number, logRate: number): { shape: CommitmentShape; logCells: number } | undefined {
  const [blocks, logCells] = arrange(lengths), size = 2 ** logMessage, length = size * 2 ** logRate;
  const rows = rowRanges(blocks, logMessage).reduce((sum, [first, stop]) => sum + stop - first, 0), queries = queriesNeeded(size, length);
  if (queries === 0 || !strong(BigInt(Math.max(1, logCells - logMessage)) * BigInt(length))) return undefined;
  return { shape: plainShape(label, 2 * rows, size, length, queries), logCells };
}

function planLevels(first: readonly number[]): Level[] {
  let lengths = first;
  return cheapest(first).levels.map(([logMessage, logRate], number) => {
    const code = levelCode(`level:${number + 1}`, lengths, logMessage, logRate)!, [blocks] = arrange(lengths);
    lengths = [2 ** logMessage];
    return { shape: code.shape, logCells: code.logCells, blocks, stored: rowRanges(blocks, logMessage), logMessage };
  });
}

// --- commitments ---

/** The layout of a circuit, whose own commitments and errors are ignored. */
export function plan(circuit: Circuit): Layout {
  const bus = buildBus(circuit);
  requireLeaves(bus);
  const columns = witnessColumns(circuit, bus), weights = weightColumns(circuit);
  const committed = circuit.weightVisibility === COMMITTED_WEIGHTS;
  const parts = { bus, soundness: [], levels: [] };
  if (circuit.zeroKnowledge) {
    const pads = foretell(circuit, bus);
    for (const [key, storage] of padColumns(pads)) columns.set(key, storage);
    const hashed = hashedCommitments(circuit, hidingTensor);
    const least = Math.max(0, ...[...hashed.values()].map((one) => one.logCells));
    const groups = committed ? [columns, weights] : [columns], budget = Math.max(1, circuit.openingBudget);
    const code = hidingCode(groups, budget, least), shape = hidingShape(groups, budget, least, code);
    const witness = hidingCommitment("x", columns, shape, 1, MASK_ROWS);
    const own = committed ? hidingCommitment("w", weights, shape, budget, 0) : undefined;
    return withSoundness({ ...parts, witness, weights: own, hashed, pads });
  }
  const code = plainCode(committed ? [columns, weights] : [columns]);
  const witness = plainCommitment("x", columns, code), own = committed ? plainCommitment("w", weights, code) : undefined;
  return withSoundness({ ...parts, witness, weights: own, hashed: hashedCommitments(circuit, plainTensor), pads: undefined });
}

function hashedCommitments(circuit: Circuit, make: (name: string, columns: ColumnPlan) => Commitment): Map<number, Commitment> {
  return new Map(
    hashedTensors(circuit).map((tensor) => {
      const { name, logCells } = circuit.tensors[tensor]!;
      return [tensor, make(name, new Map([[tensorKey(tensor), whole([logCells])]]))];
    }),
  );
}

const logRateOf = (groups: readonly ColumnPlan[]): number => (Math.max(...groups.map(storedCells)) >= 2 ** LARGE_LOG_CELLS ? 2 : 3);

interface Code {
  readonly logMessage: number;
  readonly logRate: number;
}

/** Rows of the length that has the least price, the shortest of equals. */
function plainCode(groups: readonly ColumnPlan[]): Code {
  const largest = Math.max(...groups.map((group) => reserve(group, 0))), logRate = logRateOf(groups);
  let best: (Code & { price: bigint }) | undefined;
  for (let logMessage = MIN_LOG_MESSAGE; logMessage <= Math.max(MIN_LOG_MESSAGE, largest); logMessage++) {
    const made = groups.map((group) => plainCommitment("", group, { logMessage, logRate }));
    const folds = made.reduce((sum, one) => sum + logRows(one), 0) + made.length - 1;
    if (logMessage > MIN_LOG_MESSAGE && !strong(BigInt(Math.max(1, folds)) << BigInt(logMessage + logRate))) break;
    const price = made.reduce((sum, one) => sum + shapePrice(one.shape) + cellsPrice(one.logCells), combinationPrice(2 ** logMessage));
    if (best === undefined || price < best.price) best = { logMessage, logRate, price };
  }
  return best!;
}

function plainCommitment(label: string, columns: ColumnPlan, { logMessage, logRate }: Code): Commitment {
  const size = 2 ** logMessage, logCells = Math.max(logMessage, reserve(columns, 0)), length = size * 2 ** logRate;
  const [placed, firstRow] = place(columns, logCells, logMessage), rows = 2 ** (logCells - logMessage) - firstRow;
  return { shape: plainShape(label, rows, size, length, queriesNeeded(size, length)), logCells, firstRow, columns: placed };
}

const plainTensor = (name: string, columns: ColumnPlan): Commitment => plainCommitment(`io:${name}`, columns, plainCode([columns]));

// --- hiding commitments: a row is C values, G pads of the final rounds, τ uniform coefficients ---

const TENSOR_BUDGET = 4, MASK_ROWS = 2, ROOM = 512;

type HidingCode = Code & { readonly queries: number };

function padColumns(pads: PadPlan): ColumnPlan {
  return new Map(PAD_COLUMNS.map((column) => [padKey(column), whole([1 + logPads(pads, column)])]));
}

/** `least`: variables of the final rounds at least; undefined when a commitment is opened alone, without pads of these rounds. */
type Least = number | undefined;

function maskOf(groups: readonly ColumnPlan[], least: Least, size: number): number {
  return least === undefined ? 0 : 2 * Math.max(least, ...groups.map((group) => reserve(group, RESERVED_ROWS * size)));
}

/** The least t for which t positions of a code with K = filled + B·t suffice; 0 when none does. */
function hidingQueries(filled: number, budget: number, length: number): number {
  let queries = 0;
  for (;;) {
    const degree = filled + budget * queries;
    if (degree >= length) return 0;
    const wanted = queriesNeeded(degree, length);
    if (wanted === 0) return 0;
    if (wanted <= queries) return queries;
    queries = wanted;
  }
}

function hidingCode(groups: readonly ColumnPlan[], budget: number, least: Least): HidingCode {
  const logRate = logRateOf(groups), most = Math.max(...groups.map(storedCells), ROOM * budget);
  let longest = 0;
  while (2 ** longest <= most) longest++;
  let best: (HidingCode & { price: bigint }) | undefined;
  for (let logMessage = MIN_LOG_MESSAGE; logMessage <= longest; logMessage++) {
    const size = 2 ** logMessage, queries = hidingQueries(size + maskOf(groups, least, size), budget, size * 2 ** logRate);
    if (queries === 0) continue;
    const code = { logMessage, logRate, queries }, shape = hidingShape(groups, budget, least, code);
    const made = groups.map((group, i) =>
      hidingCommitment("", group, shape, i === 0 && least !== undefined ? 1 : budget, i === 0 && least !== undefined ? MASK_ROWS : 0),
    );
    const folds = made.reduce((sum, one) => sum + logRows(one), 0) + made.length;
    if (best !== undefined && !strong(BigInt(folds) * BigInt(shape.length))) break;
    const price = made.reduce((sum, one) => sum + shapePrice(one.shape) + cellsPrice(one.logCells), combinationPrice(shape.degree));
    if (best === undefined || price < best.price) best = { ...code, price };
  }
  if (best === undefined) throw tooLarge(`no code leaves room for ${budget} openings`, "commitments");
  return best;
}

/** The code that commitments share, without rows. */
function hidingShape(groups: readonly ColumnPlan[], budget: number, least: Least, code: HidingCode): CommitmentShape {
  const size = 2 ** code.logMessage, tail = budget * code.queries, mask = maskOf(groups, least, size);
  return { ...plainShape("", 0, size, size * 2 ** code.logRate, code.queries), degree: size + mask + tail, mask, tail };
}

function hidingCommitment(label: string, columns: ColumnPlan, shape: CommitmentShape, budget: number, maskRows: number): Commitment {
  const logMessage = Math.round(Math.log2(shape.message)), logCells = reserve(columns, RESERVED_ROWS * shape.message);
  const [placed, firstRow] = place(columns, logCells, logMessage), blind = RESERVED_ROWS * budget;
  const rows = blind + 2 ** (logCells - logMessage) - firstRow + maskRows;
  return { shape: { ...shape, label, rows, reservedRows: blind, budget, maskRows }, logCells, firstRow, columns: placed };
}

function hidingTensor(name: string, columns: ColumnPlan): Commitment {
  const code = hidingCode([columns], TENSOR_BUDGET, undefined);
  return hidingCommitment(`io:${name}`, columns, hidingShape([columns], TENSOR_BUDGET, undefined, code), TENSOR_BUDGET, 0);
}

/** C_x when every other commitment is opened alone. */
export function planWitness(columns: ColumnPlan, pads: PadPlan, least: number): Commitment {
  const all: ColumnPlan = new Map([...columns, ...padColumns(pads)]), code = hidingCode([all], 1, least);
  return hidingCommitment("x", all, hidingShape([all], 1, least, code), 1, MASK_ROWS);
}

/** The same shape, for a second root: its columns are the epoch's. */
export function secondOf(commitment: Commitment): Commitment {
  const columns = [...commitment.columns.values()].map((column, index) => [epochKey(index), column] as const);
  return { ...commitment, columns: new Map(columns) };
}

// --- errors ---

/** `layout` with its levels and its table of errors. */
export function withSoundness(draft: Layout): Layout {
  const layout = { ...draft, levels: planLevels(groupsOf(draft).map((group) => group[0]!.shape.degree)) };
  const soundness = errorSteps(layout);
  const weakest = soundness.reduce((x, y) => (y.millibits < x.millibits ? y : x));
  if (weakest.millibits < 1000 * Number(SECURITY_BITS)) {
    throw tooLarge(`only ${weakest.millibits / 1000} bits in one step, ${SECURITY_BITS} are needed`, weakest.label);
  }
  return { ...layout, soundness };
}

function errorSteps(layout: Layout): SoundnessStep[] {
  const groups = groupsOf(layout), joint = groups[0]!;
  const bounds: [string, bigint, bigint][] = [
    ["lookups: fractions", fractionsNumerator(largestSum(layout.bus), layout.bus.logLeaves - layout.bus.logSums, WIDTH), FIELD_SIZE],
    ["lookups: layers", LAYER_DEGREE, FIELD_SIZE],
    ["lookups: rounds", LAYER_ROUND_DEGREE, FIELD_SIZE],
    ["operations: points", POINT_VARIABLES, FIELD_SIZE],
    ["operations: rounds", ROUND_DEGREE, FIELD_SIZE],
    ["batching of claims", BigInt(MAX_CLAIMS), FIELD_SIZE],
    ["final rounds", FINAL_ROUND_DEGREE, FIELD_SIZE],
  ];
  let folds = joint.reduce((sum, one) => sum + logRows(one), 0) + joint.length - 1;
  let asked = groups.reduce((sum, group) => sum + 1 + group[0]!.shape.queries, 0);
  if (layout.pads !== undefined) {
    folds += 1; // κ, which brings in the mask rows
    asked += 1; // the mask region
    bounds.push(
      ["products: point", BigInt(logProducts(layout.pads)), FIELD_SIZE],
      ["products: rounds", PRODUCTS_ROUND_DEGREE, FIELD_SIZE],
      ["masks", MASK_DEGREE, FIELD_SIZE],
    );
  }
  const code = (suffix: string, rows: number, shape: CommitmentShape): void => {
    bounds.push([`proximity${suffix}`, BigInt(Math.max(1, rows)) * BigInt(shape.length), FIELD_SIZE]);
    bounds.push([`queries${suffix}`, ...queryError(shape.degree, shape.length, shape.queries)]);
  };
  code("", folds, layout.witness.shape);
  for (const one of layout.hashed.values()) code(` ${one.shape.label}`, logRows(one), one.shape);
  layout.levels.forEach((level, i) => {
    bounds.push([`claims of level ${i + 1}`, BigInt(asked), FIELD_SIZE], [`rounds of level ${i + 1}`, FINAL_ROUND_DEGREE, FIELD_SIZE]);
    code(` of level ${i + 1}`, level.logCells - level.logMessage, level.shape);
    asked = 1 + level.shape.queries;
  });
  const steps = bounds.map(([label, numerator, denominator]) => ({ label, millibits: millibits(numerator, denominator) }));
  return [...steps, { label: "hash", millibits: 1000 * HASH_BITS }];
}

