/** All lookups of a proof, as sums of fractions: which blocks of leaves belong to which operation and table. */

import { bitLength, log2Ceil, tooLarge, unsupported } from "./bytes.js";
import { requantT } from "./bounds.js";
import { spanBits } from "./check.js";
import type { Cells } from "./field.js";
import { type Circuit, HASHED, type Op, type OpOf, NONE, portsOf, PRIVATE, results, type Tensor } from "./program.js";
import { mostLeaves } from "./soundness.js";
import { NO_AXIS, piecesOf, type Storage, stored, whole } from "./storage.js";

/** "signed": all integers of ±(2^index − 1), row i being i − 2^index, and row 0 being 0; of hidden weights alone. */
export type TableKind = "function" | "range" | "select" | "clamp" | "flag" | "power" | "signed";

/** W: columns of every row. */
export const WIDTH = 2;
const MAX_RANGE_BITS = 16;
const MAX_LOG_LEAVES = 30;
/** Of one sum: 89,478,485. */
const MOST_LEAVES = mostLeaves(WIDTH);
const MAX_LOG_SUMS = 3;

export interface TableName {
  readonly kind: TableKind;
  readonly index: number;
}

export interface TableBlock extends TableName {
  readonly logSize: number;
  readonly offset: number;
  readonly sum: number;
}

/** The leaves of 2^logMembers lookups of one owner. `addresses`: of the first leaf of every piece of the storage, in its sum. */
export interface Group {
  readonly storage: Storage;
  readonly logMembers: number;
  readonly addresses: readonly number[];
  readonly sum: number;
}

export interface LookupBlock {
  readonly owner: number;
  readonly slot: number;
  readonly table: number;
  readonly group: Group;
  readonly member: number;
}

export interface Bus {
  readonly tables: readonly TableBlock[];
  readonly byOperation: readonly (readonly LookupBlock[])[];
  readonly byTensor: ReadonlyMap<number, readonly LookupBlock[]>;
  readonly logLeaves: number;
  /** log2 of the number of sums. Leaf i of sum k is leaf i·2^logSums + k of the tree. */
  readonly logSums: number;
  /** Leaves of each sum's blocks, which lie from its leaf 0 on without a gap; the others are filler. */
  readonly sums: readonly number[];
}

type Looked = { readonly table: TableName; readonly storage: Storage };
type Columns = readonly Storage[];
type Split = OpOf<"Requant"> | OpOf<"RowMax">;

/** The window's positions (u, v), row-major. */
export function taps(kernel: readonly number[]): [number, number][] {
  const found: [number, number][] = [];
  for (let u = 0; u < kernel[0]!; u++) for (let v = 0; v < kernel[1]!; v++) found.push([u, v]);
  return found;
}

/**
 * (least h, log2 of how many) for t = 2^(w−1)·h + l, or d = 2^w·h + l.
 * Padding has t = 0, so h = 0, whatever the bounds of z are: they are about true cells. Where padding is stored, 0 is held too.
 */
function splitRange(circuit: Circuit, op: Split): [bigint, number] {
  const width = BigInt(circuit.tables[op.table]!.width);
  const logOf = (count: bigint): number => Math.max(1, bitLength(count - 1n));
  if (op.kind === "RowMax") {
    const x = circuit.tensors[op.x]!;
    return [0n, logOf(((x.high - x.low) >> width) + 1n)];
  }
  const z = circuit.tensors[op.z]!, half = width - 1n;
  let low = requantT(z.low, op.shift) >> half, high = requantT(z.high, op.shift) >> half;
  if (storedTensor(circuit, op.out).cells > z.size) {
    if (low > 0n) low = 0n;
    if (high < 0n) high = 0n;
  }
  return [low, logOf(high - low + 1n)];
}

function splitOp(circuit: Circuit, index: number): Split {
  const op = circuit.ops[index]!;
  if (op.kind !== "Requant" && op.kind !== "RowMax") throw new Error("no operation that saturates");
  return op;
}

/** (least argument, values) of a table that is not a range. */
export function tableValues(circuit: Circuit, block: TableBlock): [bigint, Cells] {
  const size = 2 ** block.logSize;
  if (block.kind === "function") return [circuit.tables[block.index]!.low, circuit.tables[block.index]!.values];
  if (block.kind === "flag") return [0n, Int8Array.from({ length: size }, (_, i) => (i === 0 ? 1 : 0))];
  if (block.kind === "power") return [0n, BigInt64Array.from({ length: size }, (_, i) => 1n << BigInt(i))];
  const op = splitOp(circuit, block.index), [low] = splitRange(circuit, op), table = circuit.tables[op.table]!;
  const start = Number(low), values = new Int32Array(size);
  for (let i = 0; i < size; i++) {
    const h = start + i, inside = h === 0 || (h === -1 && op.kind === "Requant");
    if (block.kind === "select") values[i] = inside ? 1 : 0;
    else values[i] = inside ? 0 : Number(h < 0 ? table.low : table.high);
  }
  return [low, values];
}

function logSize(circuit: Circuit, name: TableName): number {
  if (name.kind === "function") return circuit.tables[name.index]!.width;
  if (name.kind === "select" || name.kind === "clamp") return splitRange(circuit, splitOp(circuit, name.index))[1];
  return name.index;
}

const refuse = (circuit: Circuit, op: Op, reason: string): Error =>
  unsupported(`${op.kind} cannot be proven: ${reason}`, circuit.tensors[results(op)[0]!]!.name);

const storedTensor = (circuit: Circuit, tensor: number): Storage => stored(circuit.tensors[tensor]!.shape);

function span(circuit: Circuit, op: Op, tensor: number): number {
  const bits = spanBits(circuit.tensors[tensor]!);
  if (bits > MAX_RANGE_BITS) throw refuse(circuit, op, `its values span ${bits} bits`);
  return bits;
}

function splitTables(circuit: Circuit, number: number, op: Split, lowBits: number): TableName[] {
  const [low, bits] = splitRange(circuit, op);
  if (lowBits === 0 || bits > MAX_RANGE_BITS) throw refuse(circuit, op, "its table is too narrow for its range");
  // The table of h is padded to a power of two: no row of it may stand for a value that is congruent to a reachable one.
  const shift = BigInt(lowBits + (op.kind === "Requant" ? op.shift : 0)), end = low + (1n << BigInt(bits));
  if ((-low > end ? -low : end) << shift >= 1n << 62n) throw refuse(circuit, op, "its split could reach 2^62");
  return [{ kind: "range", index: lowBits }, { kind: "select", index: number }, { kind: "clamp", index: number }];
}

const ranges = (widths: readonly number[]): TableName[] => widths.map((index) => ({ kind: "range", index }));

/** Table, and the storage that has a row per cell, of each lookup of an operation, in slot order. */
function lookupsOf(circuit: Circuit, number: number): Looked[] {
  const op = circuit.ops[number]!;
  const on = (tensor: number, names: readonly TableName[]): Looked[] =>
    names.map((table) => ({ table, storage: storedTensor(circuit, tensor) }));
  switch (op.kind) {
    case "Requant": {
      const names: TableName[] = [{ kind: "function", index: op.table }, ...ranges(op.limbs)];
      if (op.saturate) names.push(...splitTables(circuit, number, op, circuit.tables[op.table]!.width - 1));
      return on(op.out, names);
    }
    case "Lookup": return on(op.out, [{ kind: "function", index: op.table }]);
    case "WindowMax": {
      const bits = span(circuit, op, op.x);
      return on(op.out, ranges(taps(op.kernel).map(() => bits)));
    }
    case "RowMax": {
      const source = circuit.tensors[op.x]!, width = circuit.tables[op.table]!.width;
      const first: TableName = op.exp === NONE ? { kind: "range", index: width } : { kind: "function", index: op.table };
      const names: TableName[] = [first, { kind: "flag", index: width }];
      if (op.saturate) names.push(...splitTables(circuit, number, op, width));
      const flags = Math.max(1, log2Ceil(source.shape[source.shape.length - 1]!));
      return [...on(op.x, names), ...on(op.out, ranges([flags]))];
    }
    case "Recip": return on(op.out, [{ kind: "power", index: 5 }, ...ranges([9, 9, 15, 15, 15, 14, 15, 15])]);
    case "Isqrt": return on(op.out, ranges([15, 15, 16, 15, 16, 15]));
    case "ArgMax": return on(op.x, ranges([1, span(circuit, op, op.x)]));
    case "Rescale": return on(op.out, ranges([...op.limbs, ...op.digits]));
    case "TopIndex": return on(op.x, ranges(op.digits));
    case "Gather": throw refuse(circuit, op, "it is not part of this suite");
    case "MatMul":
    case "Conv":
    case "BatchedMatMul":
    case "Mul":
    case "LinearCombination":
    case "WindowSum":
    case "RowSum":
    case "GatedMatMul":
    case "RowScale":
    case "WeightRows":
    case "Relabel":
    case "View":
      return [];
  }
}

/** Storage of the columns that an operation commits beside its results. */
export function columnsOf(circuit: Circuit, op: Op): Columns {
  const many = (tensor: number, count: number): Storage[] => Array.from({ length: count }, () => storedTensor(circuit, tensor));
  switch (op.kind) {
    case "Requant": return many(op.out, op.limbs.length + (op.saturate ? 3 : 0));
    case "RowMax": return many(op.x, op.saturate ? 4 : 1);
    case "Recip": return many(op.out, 9);
    case "Isqrt": return many(op.out, 3);
    case "ArgMax": return [...many(op.x, 1), ...many(op.out, 1)];
    case "Rescale": return many(op.out, op.limbs.length - 1 + op.digits.length - 1);
    case "TopIndex": return [...many(op.out, 1), ...many(op.x, op.digits.length - 1)];
    default: return [];
  }
}

/** Range lookups of a hashed or private tensor: x − low, and high − x unless the first bound implies it. */
function tensorTables(tensor: Tensor): TableName[] {
  const bits = spanBits(tensor), exact = tensor.high - tensor.low + 1n === 1n << BigInt(bits);
  return ranges(exact ? [bits] : [bits, bits]);
}

interface Wanted {
  readonly tensor: boolean;
  readonly owner: number;
  readonly slot: number;
  readonly table: TableName;
  readonly storage: Storage;
}

/** The bus of a circuit: with the fewest sums of which none is too long; one, which is, where 2^MAX_LOG_SUMS do not do. */
export function buildBus(circuit: Circuit): Bus {
  const wanted = allWanted(circuit), cells = wanted.reduce((sum, one) => sum + one.storage.cells, 0);
  for (let logSums = 0; logSums <= MAX_LOG_SUMS; logSums++) {
    if (cells > MOST_LEAVES * 2 ** logSums) continue; // not even without tables: it takes no arrangement to see that
    const bus = arrangedBus(circuit, wanted, logSums);
    if (largestSum(bus) <= MOST_LEAVES) return bus;
  }
  return arrangedBus(circuit, wanted, 0);
}

/** All lookups, in the order of their owners. */
function allWanted(circuit: Circuit): Wanted[] {
  const wanted: Wanted[] = [];
  circuit.ops.forEach((_, owner) => {
    lookupsOf(circuit, owner).forEach((one, slot) => wanted.push({ tensor: false, owner, slot, ...one }));
  });
  const hashed = portsOf(circuit).filter((port) => port.visibility === HASHED);
  for (const port of [...hashed, ...circuit.inputs.filter((one) => one.visibility === PRIVATE)]) {
    const tensor = circuit.tensors[port.tensor]!;
    if (spanBits(tensor) > MAX_RANGE_BITS) throw unsupported("a hashed or private tensor spans more than 16 bits", tensor.name);
    const storage = port.visibility === HASHED ? whole(tensor.bits) : stored(tensor.shape);
    tensorTables(tensor).forEach((table, slot) => wanted.push({ tensor: true, owner: port.tensor, slot, table, storage }));
  }
  return wanted;
}

/** The sum of each lookup: that in which its owner's first leaf lies when all leaves, in their order, are cut in equal parts. */
function sumsOf(wanted: readonly Wanted[], logSums: number): number[] {
  const total = wanted.reduce((sum, one) => sum + one.storage.cells, 0), found: number[] = [];
  let before = 0, first = 0;
  wanted.forEach((one, i) => {
    const last = wanted[i - 1];
    if (last === undefined || last.tensor !== one.tensor || last.owner !== one.owner) first = before;
    found.push(Math.floor((first * 2 ** logSums) / total)); // below 2^53: exact
    before += one.storage.cells;
  });
  return found;
}

/** Lookups of one owner and storage, in their order, fall into groups of a power of two, larger ones first. */
function grouped(wanted: readonly Wanted[]): { readonly logMembers: number; readonly start: number }[] {
  const groups: { logMembers: number; start: number }[] = [];
  for (let start = 0; start < wanted.length; ) {
    const one = wanted[start]!;
    let end = start;
    while (end < wanted.length && wanted[end]!.tensor === one.tensor && wanted[end]!.owner === one.owner && wanted[end]!.storage.key === one.storage.key) end++;
    const alone = one.storage.axis === NO_AXIS;
    for (const logMembers of alone ? new Array<number>(end - start).fill(0) : piecesOf(end - start).map((piece) => piece.log)) {
      groups.push({ logMembers, start });
      start += 2 ** logMembers;
    }
  }
  return groups;
}

/** The bus with 2^logSums sums. */
function arrangedBus(circuit: Circuit, wanted: readonly Wanted[], logSums: number): Bus {
  const sums = sumsOf(wanted, logSums), nameOf = (sum: number, { kind, index }: TableName): string => `${sum} ${kind} ${index}`;
  const names = new Map<string, TableName & { readonly sum: number }>();
  wanted.forEach(({ table }, i) => names.set(nameOf(sums[i]!, table), { ...table, sum: sums[i]! }));
  const kinds = [...names.values()].sort((x, y) =>
    x.sum !== y.sum ? x.sum - y.sum : x.kind === y.kind ? x.index - y.index : x.kind < y.kind ? -1 : 1,
  );
  const numbers = new Map(kinds.map((name, number) => [nameOf(name.sum, name), number]));
  const sizes = kinds.map((name) => logSize(circuit, name)), groups = grouped(wanted);
  const blocks: { log: number; sum: number; lookup: boolean; number: number; piece: number }[] = [];
  groups.forEach(({ logMembers, start }, number) => {
    const { storage } = wanted[start]!, sum = sums[start]!;
    storage.pieces.forEach((piece, i) => blocks.push({ log: piece.log + logMembers + storage.logRest, sum, lookup: true, number, piece: i }));
  });
  sizes.forEach((log, number) => blocks.push({ log, sum: kinds[number]!.sum, lookup: false, number, piece: 0 }));
  const addresses = groups.map((): number[] => []), offsets: number[] = [], ends = new Array<number>(2 ** logSums).fill(0);
  for (const block of blocks.sort((x, y) => y.log - x.log)) {
    if (block.lookup) addresses[block.number]![block.piece] = ends[block.sum]!;
    else offsets[block.number] = ends[block.sum]!;
    ends[block.sum]! += 2 ** block.log;
  }
  const byOperation = circuit.ops.map((): LookupBlock[] => []), byTensor = new Map<number, LookupBlock[]>();
  groups.forEach(({ logMembers, start }, number) => {
    const group: Group = { storage: wanted[start]!.storage, logMembers, addresses: addresses[number]!, sum: sums[start]! };
    for (let member = 0; member < 2 ** logMembers; member++) {
      const one = wanted[start + member]!, table = numbers.get(nameOf(group.sum, one.table))!;
      const block: LookupBlock = { owner: one.owner, slot: one.slot, table, group, member };
      if (!one.tensor) byOperation[one.owner]!.push(block);
      else byTensor.set(one.owner, [...(byTensor.get(one.owner) ?? []), block]);
    }
  });
  return {
    tables: kinds.map((name, i) => ({ ...name, logSize: sizes[i]!, offset: offsets[i]! })),
    byOperation,
    byTensor,
    logLeaves: logSums + Math.max(1, log2Ceil(Math.max(...ends))),
    logSums,
    sums: ends,
  };
}

/** Leaves of the largest sum. */
export const largestSum = (bus: Bus): number => Math.max(...bus.sums);

export function requireLeaves(bus: Bus): void {
  if (bus.logLeaves > MAX_LOG_LEAVES) throw tooLarge(`2^${bus.logLeaves} lookups exceed 2^${MAX_LOG_LEAVES}`, "lookups");
}
