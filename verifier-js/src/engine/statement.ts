/** What a proof claims: `statement.bin`, checked against the circuit, and how it enters the transcript. */

import { ascii, rejected, startsWith, words } from "./bytes.js";
import { rangeOf } from "./codec.js";
import type { Cells } from "./field.js";
import { type Circuit, COMMITTED_WEIGHTS, HASHED, type Port, portsOf, PRIVATE, PUBLIC, type Tensor } from "./program.js";
import { DIGEST_BYTES, SUITES } from "./suite.js";
import type { Transcript } from "./transcript.js";

const MAGIC = ascii("verifai/sumcheck-statement/1"), HIDING_MAGIC = ascii("verifai/sumcheck-zk-statement/1");
const MAX_CONTEXT = 2 ** 16;

export type Stated =
  /** `cells`: of a batch, filler included. */
  | { readonly kind: "public"; readonly cells: Cells }
  | { readonly kind: "hashed"; readonly root: Uint8Array; readonly number: bigint }
  | { readonly kind: "private" };

export interface Statement {
  readonly tensors: readonly Stated[];
  readonly context: Uint8Array;
  readonly openingNumber: bigint;
  readonly items: number;
}

const refuse = (message: string): Error => rejected("statement-malformed", `not a statement of this circuit: ${message}`, "statement.bin");

type Kind = "u8" | "i8" | "u16" | "i16" | "u32" | "i32" | "u64" | "i64";
const WIDTHS: Record<Kind, number> = { u8: 1, i8: 1, u16: 2, i16: 2, u32: 4, i32: 4, u64: 8, i64: 8 };

/** How a public tensor's cells are written. */
function kindOf(circuit: Circuit, tensor: Tensor): Kind {
  const { low, high } = tensor;
  if (circuit.batch === 0) return low >= -(2n ** 31n) && high < 2n ** 31n ? "i32" : "i64";
  for (const width of [8, 16, 32, 64] as const) {
    if (low >= 0n && high < 1n << BigInt(width)) return `u${width}`;
    if (-(1n << BigInt(width - 1)) <= low && high < 1n << BigInt(width - 1)) return `i${width}`;
  }
  throw new Error("a range that no 64 bits hold");
}

/** How many cells of a public tensor a statement of `items` items shows: all of them where there is no batch (0). */
export const shownSize = (tensor: Tensor, items: number): number => (items > 0 ? (tensor.size / tensor.shape[0]!) * items : tensor.size);

export function decodeStatement(circuit: Circuit, data: Uint8Array): Statement {
  const magic = circuit.zeroKnowledge ? HIDING_MAGIC : MAGIC, view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  if (!startsWith(data, magic)) throw refuse("wrong magic or length");
  let at = magic.length;
  const number = (): bigint => {
    if (data.length - at < 8) throw refuse("wrong magic or length");
    at += 8;
    return view.getBigUint64(at - 8, true);
  };
  const openingNumber = circuit.zeroKnowledge ? number() : 0n;
  let items = 0;
  if (circuit.batch > 0) {
    const counted = number();
    if (counted < 1n || counted > BigInt(circuit.batch)) throw refuse(`${counted} items, where the circuit takes 1 to ${circuit.batch}`);
    items = Number(counted);
  }
  let fixed = at;
  for (const port of portsOf(circuit)) {
    const tensor = circuit.tensors[port.tensor]!;
    if (port.visibility === PUBLIC) fixed += WIDTHS[kindOf(circuit, tensor)] * shownSize(tensor, items);
    else if (port.visibility === HASHED) fixed += DIGEST_BYTES + (circuit.zeroKnowledge ? 8 : 0);
  }
  if (data.length < fixed || data.length > fixed + MAX_CONTEXT) throw refuse("wrong magic or length");
  const tensors = portsOf(circuit).map((port): Stated => {
    const tensor = circuit.tensors[port.tensor]!;
    if (port.visibility === PRIVATE) return { kind: "private" };
    if (port.visibility === HASHED) {
      const root = data.slice(at, (at += DIGEST_BYTES));
      return { kind: "hashed", root, number: circuit.zeroKnowledge ? number() : 0n };
    }
    const kind = kindOf(circuit, tensor), size = shownSize(tensor, items);
    const cells = readCells(kind, view, at, size, tensor.size);
    at += WIDTHS[kind] * size;
    if (size < tensor.size) {
      const item = tensor.size / tensor.shape[0]!; // filler repeats the last item that counts
      for (let from = size; from < tensor.size; from += item) cells.copyWithin(from, size - item, size);
    }
    return { kind: "public", cells };
  });
  const context = data.slice(at);
  try {
    new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(context);
  } catch {
    throw refuse("the context is not UTF-8");
  }
  return { tensors, context, openingNumber, items };
}

function readCells(kind: Kind, view: DataView, at: number, count: number, size: number): Int32Array | BigInt64Array {
  const cells = kind === "u32" || kind === "u64" || kind === "i64" ? new BigInt64Array(size) : new Int32Array(size);
  for (let i = 0; i < count; i++) {
    const from = at + WIDTHS[kind] * i;
    if (cells instanceof BigInt64Array) {
      cells[i] = kind === "u32" ? BigInt(view.getUint32(from, true)) : kind === "i64" ? view.getBigInt64(from, true) : highBit(view.getBigUint64(from, true));
    } else if (kind === "i32") cells[i] = view.getInt32(from, true);
    else if (kind === "i16") cells[i] = view.getInt16(from, true);
    else if (kind === "u16") cells[i] = view.getUint16(from, true);
    else cells[i] = kind === "i8" ? view.getInt8(from) : view.getUint8(from);
  }
  return cells;
}

/** No range reaches 2^62, so a cell of 2^63 or more is out of range whatever it is; it must not come out as a negative one. */
const highBit = (value: bigint): bigint => (value >> 63n === 0n ? value : (1n << 63n) - 1n);

/** Check the statement against the circuit: kinds, counts, ranges. Throws `statement-invalid`. */
export function checkStatement(circuit: Circuit, statement: Statement): void {
  const invalid = (message: string, where: string): Error => rejected("statement-invalid", message, where);
  const most = (budget: number): bigint => BigInt(Math.max(1, budget));
  if (statement.openingNumber >= most(circuit.openingBudget)) {
    throw invalid(`opening number ${statement.openingNumber} is beyond the weights' budget`, "statement");
  }
  const opened = statement.tensors.flatMap((stated) => (stated.kind === "hashed" ? [`${stated.root.join(",")} ${stated.number}`] : []));
  if (circuit.zeroKnowledge && new Set(opened).size !== opened.length) throw invalid("one opening of one root is stated twice", "statement");
  const budgets = new Map(circuit.commitments.map((shape) => [shape.label, shape.budget]));
  portsOf(circuit).forEach((port, i) => {
    const tensor = circuit.tensors[port.tensor]!, stated = statement.tensors[i]!;
    if (stated.kind === "hashed" && stated.number >= most(budgets.get(`io:${tensor.name}`) ?? 0)) {
      throw invalid(`opening number ${stated.number} is beyond the root's budget`, tensor.name);
    }
    if (stated.kind === "public") {
      const [low, high] = rangeOf(stated.cells);
      if (low < tensor.low || high > tensor.high) throw invalid(`a cell lies outside [${tensor.low}, ${tensor.high}]`, tensor.name);
    }
  });
}

const cellBytes = (cells: Cells): Uint8Array => {
  const wide = cells instanceof BigInt64Array ? cells : BigInt64Array.from(cells, (cell) => BigInt(cell));
  return new Uint8Array(wide.buffer, wide.byteOffset, wide.byteLength);
};

function description(tensor: Tensor, port: Port): Uint8Array {
  return words([port.visibility, tensor.shape.length, ...tensor.shape, tensor.low, tensor.high, ...tensor.scale, tensor.zeroPoint]);
}

/** Enter suite, circuit digest, weights' identity and the whole statement. */
export function absorbStatement(transcript: Transcript, circuit: Circuit, statement: Statement, digest: Uint8Array, weights: Uint8Array): void {
  const committed = circuit.weightVisibility === COMMITTED_WEIGHTS;
  transcript.absorb("suite", SUITES.get(circuit.suite)!);
  transcript.absorb("circuit", digest);
  transcript.absorb(committed ? "weights.root" : "weights.digest", weights);
  const flags = [circuit.inputs.length, circuit.outputs.length, circuit.weightVisibility, circuit.zeroKnowledge ? 1 : 0];
  transcript.absorb("statement.flags", Uint8Array.from(flags));
  transcript.absorb("statement.opening_number", words([statement.openingNumber]));
  if (circuit.batch > 0) transcript.absorb("statement.items", words([statement.items]));
  portsOf(circuit).forEach((port, i) => {
    const stated = statement.tensors[i]!;
    transcript.absorb("statement.tensor", description(circuit.tensors[port.tensor]!, port));
    if (stated.kind === "public") transcript.absorb("statement.cells", cellBytes(stated.cells));
    else if (stated.kind === "hashed") {
      transcript.absorb("statement.root", stated.root);
      if (circuit.zeroKnowledge) transcript.absorb("statement.number", words([stated.number]));
    }
  });
  transcript.absorb("statement.context", statement.context);
}
