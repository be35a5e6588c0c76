/** A circuit's bytes: docs/engine/protocol.md, "Circuit bytes". Strict: one byte string per circuit. Bounded by the bytes read. */

import { ascii, log2Ceil, rejected, sameBytes, toHex } from "./bytes.js";
import type { Cells } from "./field.js";
import {
  type Circuit, type CommitmentShape, type Op, type Port, shaped, type SoundnessStep, type Table, type Tensor, type ViewPiece, type Weight,
} from "./program.js";
import { sha256 } from "./sha256.js";

const MAGIC = ascii("verifai/circuit/1");
export const MAX_BYTES = 2 ** 28;
const MAX_RANK = 8;
const MAX_ITEMS = 2 ** 16;
const MAX_INDICES = 2 ** 24;
const MAX_NAME = 256;
const MAX_TABLES = 2 ** 12;
const MAX_TABLE_VALUES = 2 ** 24;
const BATCHED = 2;

/** SHA-256(magic ‖ bytes), in hex. */
export const circuitDigest = (data: Uint8Array): string => toHex(sha256(MAGIC, data));

class Reader {
  readonly #view: DataView;
  at = 0;

  constructor(readonly data: Uint8Array) {
    this.#view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  }

  refuse(message: string): Error {
    return rejected("circuit-malformed", `not a circuit: ${message}`, `byte ${this.at}`);
  }

  take(count: number): number {
    if (count > this.data.length - this.at) throw this.refuse("it ends too early");
    const from = this.at;
    this.at += count;
    return from;
  }

  u8(high: number): number {
    const value = this.data[this.take(1)]!;
    if (value > high) throw this.refuse(`${value} is greater than ${high}`);
    return value;
  }

  u32(): number {
    return this.#view.getUint32(this.take(4), true);
  }

  i64(): bigint {
    return this.#view.getBigInt64(this.take(8), true);
  }

  /** A list's length; checked against the bytes that are left before anything is made of that length. */
  count(limit: number, itemBytes: number): number {
    const value = this.u32();
    if (value > limit || value * itemBytes > this.data.length - this.at) throw this.refuse(`a list of ${value} items`);
    return value;
  }

  text(): string {
    const from = this.take(this.count(MAX_NAME, 1));
    const raw = this.data.subarray(from, this.at);
    if (raw.length === 0 || raw.some((byte) => byte < 0x20 || byte >= 0x7f)) throw this.refuse("a name is empty or not printable ASCII");
    return String.fromCharCode(...raw);
  }

  indices(limit = MAX_INDICES): Uint32Array {
    const count = this.count(limit, 4), found = new Uint32Array(count), from = this.take(4 * count);
    for (let i = 0; i < count; i++) found[i] = this.#view.getUint32(from + 4 * i, true);
    return found;
  }

  numbers(limit = MAX_INDICES): number[] {
    return Array.from(this.indices(limit));
  }

  values(): bigint[] {
    const count = this.count(MAX_ITEMS, 8);
    return Array.from({ length: count }, () => this.i64());
  }

  list<T>(limit: number, itemBytes: number, read: () => T): T[] {
    const count = this.count(limit, itemBytes), found: T[] = [];
    for (let i = 0; i < count; i++) found.push(read());
    return found;
  }

  cells(width: number, count: number): Cells {
    const from = this.take(count * width);
    return cellsAt(this.data, from, width, count);
  }
}

/** `count` signed integers of `width` bytes, copied. */
export function cellsAt(data: Uint8Array, from: number, width: number, count: number): Cells {
  const copy = data.slice(from, from + width * count).buffer;
  if (width === 1) return new Int8Array(copy);
  if (width === 2) return new Int16Array(copy);
  return width === 4 ? new Int32Array(copy) : new BigInt64Array(copy);
}

/** Bytes of the least signed integer that holds [low, high]. */
export function elementWidth(low: bigint, high: bigint): number {
  for (const width of [1, 2, 4]) {
    const half = 1n << BigInt(8 * width - 1);
    if (-half <= low && high < half) return width;
  }
  return 8;
}

/** The least and the greatest cell. */
export function rangeOf(cells: Cells): [bigint, bigint] {
  if (cells instanceof BigInt64Array) {
    let low = cells[0]!, high = low;
    for (const cell of cells) {
      if (cell < low) low = cell;
      if (cell > high) high = cell;
    }
    return [low, high];
  }
  let low = cells[0]!, high = low;
  for (const cell of cells) {
    if (cell < low) low = cell;
    if (cell > high) high = cell;
  }
  return [BigInt(low), BigInt(high)];
}

function readTensor(reader: Reader): Tensor {
  const name = reader.text(), shape = reader.numbers(MAX_RANK);
  const low = reader.i64(), high = reader.i64(), fill = reader.i64();
  const scale = [reader.i64(), reader.i64()] as const;
  return { ...shaped(name, shape), low, high, fill, scale, zeroPoint: reader.i64() };
}

function readWeight(reader: Reader): Weight {
  const name = reader.text(), shape = reader.numbers(MAX_RANK);
  return { ...shaped(name, shape), bound: reader.i64(), rowL1: reader.i64() };
}

function readTables(reader: Reader): Table[] {
  let left = MAX_TABLE_VALUES;
  return reader.list(MAX_TABLES, 8, () => {
    const name = reader.text(), low = reader.i64(), count = reader.u32(), width = reader.u8(8);
    if (![1, 2, 4, 8].includes(width) || count < 1 || count > 2 ** 16) throw reader.refuse("a table of an impossible size");
    left -= count;
    if (left < 0) throw reader.refuse(`tables of more than ${MAX_TABLE_VALUES} values together`);
    const values = reader.cells(width, count);
    if (elementWidth(...rangeOf(values)) !== width) throw reader.refuse("a table's values are wider than they have to be");
    return { name, low, values, width: log2Ceil(count), high: low + BigInt(count) - 1n };
  });
}

function readPiece(reader: Reader): ViewPiece {
  const source = reader.u32(), axes = reader.numbers(MAX_RANK);
  const indices = reader.list(MAX_RANK, 4, () => reader.indices());
  return { source, axes, indices, fixed: reader.numbers(MAX_RANK) };
}

function readOp(reader: Reader): Op {
  const code = reader.u8(255);
  const i = (): number => reader.u32();
  const v = (): bigint => reader.i64();
  const n = (): number[] => reader.numbers();
  // Fields are read in the order in which they are written here.
  switch (code) {
    case 1: return { kind: "MatMul", x: i(), weight: i(), bias: i(), out: i(), contract: i() };
    case 2: return { kind: "Conv", x: i(), weight: i(), bias: i(), out: i(), stride: n(), dilation: n(), pads: n(), groups: i() };
    case 3: return { kind: "BatchedMatMul", a: i(), b: i(), out: i(), multiplier: v() };
    case 4: return { kind: "Mul", a: i(), b: i(), out: i(), multiplier: v() };
    case 5: return { kind: "LinearCombination", sources: n(), multipliers: reader.values(), constant: v(), out: i() };
    case 6: return { kind: "WindowSum", x: i(), out: i(), multiplier: v(), kernel: n(), stride: n(), pads: n() };
    case 7: return { kind: "RowSum", x: i(), y: i(), out: i(), multiplier: v(), axes: i() };
    case 8: return { kind: "Requant", z: i(), out: i(), table: i(), shift: i(), limbs: n(), saturate: reader.u8(1) === 1 };
    case 9: return { kind: "Lookup", x: i(), out: i(), table: i() };
    case 10: return { kind: "WindowMax", x: i(), out: i(), kernel: n(), stride: n(), dilation: n(), pads: n() };
    case 11: return { kind: "RowMax", x: i(), out: i(), exp: i(), table: i(), saturate: reader.u8(1) === 1 };
    case 12: return { kind: "Recip", q: i(), out: i() };
    case 13: return { kind: "Isqrt", v: i(), out: i() };
    case 14: return { kind: "ArgMax", x: i(), out: i() };
    case 15: return { kind: "Relabel", x: i(), out: i() };
    case 16: return { kind: "View", pieces: reader.list(MAX_ITEMS, 16, () => readPiece(reader)), constant: v(), out: i() };
    case 17: return { kind: "Gather", x: i(), out: i(), indices: n(), constant: v() };
    case 18: return { kind: "Rescale", z: i(), out: i(), shift: i(), limbs: n(), digits: n() };
    case 19: return { kind: "GatedMatMul", a: i(), b: i(), weight: i(), bias: i(), out: i(), contract: i() };
    case 20: return { kind: "RowScale", x: i(), factor: i(), out: i(), multiplier: v() };
    case 21: return { kind: "WeightRows", index: i(), weight: i(), out: i() };
    case 22: return { kind: "TopIndex", x: i(), out: i(), digits: n() };
    default: throw reader.refuse(`no operation has code ${code}`);
  }
}

function readCommitment(reader: Reader, hiding: boolean): CommitmentShape {
  const label = reader.text(), u = (): number => reader.u32();
  const plain = { label, rows: u(), message: u(), degree: u(), length: u(), queries: u(), reservedRows: u() };
  return hiding
    ? { ...plain, mask: u(), tail: u(), budget: u(), maskRows: u() }
    : { ...plain, mask: 0, tail: 0, budget: 0, maskRows: 0 };
}

/**
 * The circuit of `data`, its structure checked but not its rules. Throws `circuit-malformed`.
 *
 * Every field has one way to be written, but two: a table's width, which is checked where it is read, and a batch of 0, which is
 * written by leaving it out. So what decodes would be written with the same bytes again.
 */
export function decodeCircuit(data: Uint8Array): Circuit {
  const reader = new Reader(data);
  if (data.length > MAX_BYTES) throw reader.refuse("wrong magic or too large");
  const from = reader.take(MAGIC.length);
  if (!sameBytes(data.subarray(from, reader.at), MAGIC)) throw reader.refuse("wrong magic or too large");
  const suite = reader.text(), kind = reader.u8(BATCHED | 1);
  const batch = kind & BATCHED ? reader.u32() : 0;
  if (kind & BATCHED && batch === 0) throw reader.refuse("a batch of no items");
  const zeroKnowledge = suite.startsWith("sumcheck-zk/");
  const openingBudget = zeroKnowledge ? reader.u32() : 0;
  const tensors = reader.list(MAX_ITEMS, 8, () => readTensor(reader));
  const weights = reader.list(MAX_ITEMS, 8, () => readWeight(reader));
  const tables = readTables(reader);
  const ops = reader.list(MAX_ITEMS, 1, () => readOp(reader));
  const readPort = (): Port => ({ tensor: reader.u32(), visibility: reader.u8(2) });
  const inputs = reader.list(256, 5, readPort), outputs = reader.list(256, 5, readPort);
  const commitments = reader.list(1024, 8, () => readCommitment(reader, zeroKnowledge));
  const soundness = reader.list(MAX_ITEMS, 8, (): SoundnessStep => ({ label: reader.text(), millibits: reader.u32() }));
  if (reader.at !== data.length) throw reader.refuse("bytes follow the end");
  return {
    suite, zeroKnowledge, tensors, weights, tables, ops, inputs, outputs, weightVisibility: kind & 1, commitments, soundness, openingBudget, batch,
  };
}
