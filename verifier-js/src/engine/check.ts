/** The rules of a circuit: structure, order, the no-wrap rule and every bound, recomputed. */

import { bitLength, toHex } from "./bytes.js";
import { Facts, infer, MAX_MAGNITUDE, need } from "./bounds.js";
import { Refusal } from "./interface.js";
import {
  type Circuit, COMMITTED_WEIGHTS, holdsResults, NONE, type Op, operands, portsOf, PRIVATE, PUBLIC, results, type Shaped, tablesOf,
  type Table, type Tensor, weightsOf,
} from "./program.js";
import { rangeOf } from "./codec.js";
import { sha256 } from "./sha256.js";

const MAX_LOG_CELLS = 28;
const MAX_RANK = 7;
export const MAX_OPENINGS = 64;
const MIN_BATCH = 2, MAX_BATCH = 2 ** 16;

/** Throws `circuit-invalid`, with the tensor, weight, table or operation named. */
export function checkCircuit(circuit: Circuit): void {
  at("names", () => {
    for (const items of [circuit.tensors, circuit.weights, circuit.tables]) {
      need(new Set(items.map((item) => item.name)).size === items.length, "a name occurs twice");
    }
  });
  for (const tensor of circuit.tensors) at(tensor.name, () => { checkTensor(tensor); });
  for (const weight of circuit.weights) {
    at(weight.name, () => {
      checkShape(weight);
      need(0n <= weight.bound && weight.bound <= weight.rowL1 && weight.rowL1 < MAX_MAGNITUDE, "0 ≤ bound ≤ row L1 < 2^62 does not hold");
    });
  }
  for (const table of circuit.tables) at(table.name, () => { checkTable(table); });
  const defined = new Set<number>(), read = new Set<number>(), facts = new Facts(circuit);
  at("inputs", () => { checkInputs(circuit, defined); });
  circuit.ops.forEach((op, number) => {
    at(`op ${number} (${op.kind})`, () => { checkOp(circuit, facts, op, defined); });
    for (const out of results(op)) defined.add(out);
    for (const operand of operands(op)) read.add(operand);
  });
  at("outputs", () => { checkOutputs(circuit, defined, read); });
  at("indices", () => { checkStatedIndices(circuit); });
  at("suite", () => {
    const hides = portsOf(circuit).some((port) => port.visibility === PRIVATE);
    need(circuit.zeroKnowledge || !hides, "a tensor is private, but the suite is integrity-only");
    const hidden = circuit.zeroKnowledge && circuit.weightVisibility === COMMITTED_WEIGHTS, budget = circuit.openingBudget;
    need(hidden ? 0 < budget && budget <= MAX_OPENINGS : budget === 0, "an impossible opening budget");
  });
  at("batch", () => { checkBatch(circuit); });
  at("weights and tables", () => { checkLeftovers(circuit); });
}

function at(where: string, rule: () => void): void {
  try {
    rule();
  } catch (problem) {
    if (problem instanceof Refusal && problem.where === "") throw new Refusal(problem.kind, problem.code, problem.message, where, problem.hint);
    throw problem;
  }
}

function checkShape(item: Shaped): void {
  const rank = item.shape.length;
  need(0 < rank && rank <= MAX_RANK && Math.min(...item.shape) > 0, "a shape has no axes, too many, or an empty one");
  need(item.logCells <= MAX_LOG_CELLS, "too many cells");
}

const gcd = (a: bigint, b: bigint): bigint => (b === 0n ? a : gcd(b, a % b));

function checkTensor(tensor: Tensor): void {
  checkShape(tensor);
  need(-MAX_MAGNITUDE < tensor.low && tensor.low <= tensor.high && tensor.high < MAX_MAGNITUDE, "the bounds are not inside ±2^62");
  const [numerator, denominator] = tensor.scale;
  need(numerator > 0n && denominator > 0n && gcd(numerator, denominator) === 1n, "the scale is not in lowest terms");
  need(-(2n ** 31n) <= tensor.zeroPoint && tensor.zeroPoint <= 2n ** 31n, "the zero point is out of range");
}

function checkTable(table: Table): void {
  const size = table.values.length;
  need(1 <= table.width && table.width <= 16 && size === 2 ** table.width, "a table does not have 2^w values, 1 ≤ w ≤ 16");
  need(table.low === 0n || table.low === BigInt(-size / 2), "a table's domain starts neither at 0 nor at −2^(w−1)");
  const [low, high] = rangeOf(table.values);
  need(low >= -(2n ** 31n) && high < 2n ** 31n, "a table's value does not fit in 32 bits");
}

function checkInputs(circuit: Circuit, defined: Set<number>): void {
  need(circuit.inputs.length > 0 && circuit.outputs.length > 0 && circuit.ops.length > 0, "no inputs, outputs or operations");
  need(Math.max(circuit.inputs.length, circuit.outputs.length) < 256, "more than 255 inputs or outputs: a statement counts them in a byte");
  for (const port of circuit.inputs) {
    need(port.tensor < circuit.tensors.length && !defined.has(port.tensor), "an input does not exist or occurs twice");
    const tensor = circuit.tensors[port.tensor]!;
    need(tensor.fill === 0n, `the padding of input ${tensor.name} is not 0`);
    if (port.visibility === PUBLIC) {
      need(tensor.low > -(2n ** 31n) && tensor.high < 2n ** 31n, `the range of input ${tensor.name} reaches 2^31`);
    } else {
      need(tensor.high - tensor.low < 2n ** 16n, `the range of input ${tensor.name} is wider than 2^16`);
    }
    defined.add(port.tensor);
  }
}

function checkOp(circuit: Circuit, facts: Facts, op: Op, defined: ReadonlySet<number>): void {
  for (const operand of operands(op)) need(defined.has(operand), "an operand is not defined before it is read");
  const outs = results(op);
  for (const out of outs) need(out < circuit.tensors.length && !defined.has(out), "a result does not exist or is defined twice");
  need(new Set(outs).size === outs.length, "a result is defined twice");
  weightsOf(op).forEach((weight, position) => {
    need(weight < circuit.weights.length || (position > 0 && weight === NONE), "a weight or table does not exist");
  });
  for (const table of tablesOf(op)) need(table < circuit.tables.length, "a weight or table does not exist");
  infer(circuit, op, circuit.tensors[outs[0]!]!.shape, facts).forEach((result, i) => {
    const tensor = circuit.tensors[outs[i]!]!;
    const shape = tensor.shape.length === result.shape.length && tensor.shape.every((size, axis) => size === result.shape[axis]);
    need(shape, `the shape of ${tensor.name} does not follow from its operands`);
    const sameBounds = tensor.low === result.low && tensor.high === result.high && tensor.fill === result.fill;
    need(sameBounds, `bounds or fill of ${tensor.name} are not (${result.low}, ${result.high}, ${result.fill})`);
  });
}

function checkOutputs(circuit: Circuit, defined: ReadonlySet<number>, read: ReadonlySet<number>): void {
  need(defined.size === circuit.tensors.length, "a tensor is defined by nothing");
  const held = new Set<number>(), maxima = new Set<number>();
  for (const op of circuit.ops) {
    if (holdsResults(op)) for (const out of results(op)) held.add(out);
    if (op.kind === "RowMax") maxima.add(op.out);
  }
  const outputs = circuit.outputs.map((port) => port.tensor), shown = new Set(outputs);
  need(shown.size === outputs.length && outputs.every((out) => held.has(out)), "an output occurs twice or is not a held tensor");
  circuit.tensors.forEach((tensor, index) => {
    need(read.has(index) || shown.has(index) || maxima.has(index), `${tensor.name}: read by nothing`);
  });
}

function checkStatedIndices(circuit: Circuit): void {
  const shown = new Set(portsOf(circuit).filter((port) => port.visibility === PUBLIC).map((port) => port.tensor));
  const outputs = new Set(circuit.outputs.filter((port) => port.visibility === PUBLIC).map((port) => port.tensor));
  for (const op of circuit.ops) {
    if (op.kind === "WeightRows") need(shown.has(op.index), `${circuit.tensors[op.index]!.name} chooses rows of a weight, but is not public`);
    if (op.kind === "TopIndex") need(outputs.has(op.out), `${circuit.tensors[op.out]!.name} is a top index, but no public output`);
  }
}

function checkLeftovers(circuit: Circuit): void {
  const weights = new Set<number>(), tables = new Set<number>();
  for (const op of circuit.ops) {
    for (const weight of weightsOf(op)) if (weight !== NONE) weights.add(weight);
    for (const table of tablesOf(op)) tables.add(table);
  }
  need(weights.size === circuit.weights.length, "a weight is used by no operation");
  need(tables.size === circuit.tables.length, "a table is used by no operation");
  // Values have one width, so equal tables have equal bytes.
  const bytesOf = ({ values }: Table): Uint8Array => new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  const distinct = new Set(circuit.tables.map((table) => `${table.low} ${table.values.length} ${toHex(sha256(bytesOf(table)))}`));
  need(distinct.size === circuit.tables.length, "two tables are equal");
}

// --- the batch axis: cell (i, …) of a result reads no cell (j, …) of an operand with j ≠ i ---

function checkBatch(circuit: Circuit): void {
  if (circuit.batch === 0) return;
  need(MIN_BATCH <= circuit.batch && circuit.batch <= MAX_BATCH, `a batch has ${MIN_BATCH} to ${MAX_BATCH} items`);
  for (const tensor of circuit.tensors) need(tensor.shape[0] === circuit.batch, `the first axis of ${tensor.name} is not that of the batch`);
  circuit.ops.forEach((op, number) => {
    need(keepsApart(circuit, op), `op ${number} (${op.kind}) mixes the items of a batch`);
  });
}

function keepsApart(circuit: Circuit, op: Op): boolean {
  const rank = (tensor: number): number => circuit.tensors[tensor]!.shape.length;
  switch (op.kind) {
    case "MatMul": return rank(op.x) > op.contract;
    case "GatedMatMul": return rank(op.a) > op.contract;
    case "BatchedMatMul": return rank(op.a) > 2;
    case "Conv": return rank(op.x) > 3;
    case "WindowSum":
    case "WindowMax": return rank(op.x) > 2;
    case "RowSum": return rank(op.x) > op.axes;
    case "RowMax":
    case "ArgMax":
    case "TopIndex":
    case "RowScale": return rank(op.x) > 1;
    case "View":
      return op.pieces.every((piece) => piece.axes[0] === 0 && piece.indices[0]!.every((index, item) => index === item || index === NONE));
    case "Gather": return false;
    case "Mul":
    case "LinearCombination":
    case "Requant":
    case "Rescale":
    case "Lookup":
    case "Recip":
    case "Isqrt":
    case "Relabel":
    case "WeightRows": return true; // cell by cell; a Relabel keeps what is below the first axis
  }
}

/** How wide a tensor's range is, in bits; at least 1. */
export function spanBits(tensor: Tensor): number {
  return Math.max(1, bitLength(tensor.high - tensor.low));
}
