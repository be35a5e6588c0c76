/** The plan of a proof: what is committed where. A function of the circuit alone. */

import { type Bus, columnsOf } from "./buses.js";
import { log2Ceil, shiftedDown } from "./bytes.js";
import type { PadPlan } from "./claims.js";
import type { Level } from "./levels.js";
import { type Circuit, type CommitmentShape, HASHED, holdsResults, portsOf, PRIVATE, PUBLIC, results, type SoundnessStep } from "./program.js";
import { type Storage, stored, whole } from "./storage.js";

/** Claims and equations that one opening batches. */
export const MAX_CLAIMS = 2 ** 16;
/** log2 of the shortest rows. */
export const MIN_LOG_MESSAGE = 5;
/** From here on the code's rate is 1/4 instead of 1/8. */
export const LARGE_LOG_CELLS = 22;

/** A column's name. */
export type Key = string;
export const tensorKey = (index: number): Key => `tensor ${index}`;
export const columnKey = (operation: number, number: number): Key => `column ${operation} ${number}`;
export const countKey = (table: number): Key => `count ${table}`;
export const weightKey = (index: number): Key => `weight ${index}`;
export const epochKey = (index: number): Key => `epoch ${index}`;
export const padKey = (column: number): Key => `pad ${column}`;

export type ColumnPlan = Map<Key, Storage>;

export interface Column {
  readonly storage: Storage;
  /** Of the pieces' first cells. */
  readonly addresses: readonly number[];
}

export interface Commitment {
  readonly shape: CommitmentShape;
  /** v, variables of the extension. */
  readonly logCells: number;
  /** Index of the first row of values that is stored. */
  readonly firstRow: number;
  readonly columns: ReadonlyMap<Key, Column>;
}

export const logMessage = (one: Commitment): number => Math.round(Math.log2(one.shape.message));
export const logRows = (one: Commitment): number => one.logCells - logMessage(one);

export interface Layout {
  readonly bus: Bus;
  readonly witness: Commitment;
  readonly weights: Commitment | undefined;
  readonly hashed: ReadonlyMap<number, Commitment>;
  readonly soundness: readonly SoundnessStep[];
  readonly pads: PadPlan | undefined;
  readonly levels: readonly Level[];
}

/** The commitments that a statement or a proof names by root: x, w, then the hashed tensors. */
export const rooted = (layout: Layout): Commitment[] => [layout.witness, ...(layout.weights ? [layout.weights] : []), ...layout.hashed.values()];
export const shapesOf = (layout: Layout): CommitmentShape[] => [...rooted(layout).map((one) => one.shape), ...layout.levels.map((level) => level.shape)];
/** Commitments by the combination that opens them. */
export const groupsOf = (layout: Layout): Commitment[][] => [
  [layout.witness, ...(layout.weights ? [layout.weights] : [])],
  ...[...layout.hashed.values()].map((one) => [one]),
];

const withVisibility = (circuit: Circuit, visibility: number): number[] =>
  portsOf(circuit).filter((port) => port.visibility === visibility).map((port) => port.tensor);

export const publicTensors = (circuit: Circuit): number[] => withVisibility(circuit, PUBLIC);
export const hashedTensors = (circuit: Circuit): number[] => withVisibility(circuit, HASHED);
/** Tensors that no operation keeps in range and padded: the hashed ones, then private inputs. */
export const rangedTensors = (circuit: Circuit): number[] => [
  ...hashedTensors(circuit),
  ...circuit.inputs.filter((port) => port.visibility === PRIVATE).map((port) => port.tensor),
];

/** The columns of C_x, in the circuit's order, without the zero-knowledge suite's pads. */
export function witnessColumns(circuit: Circuit, bus: Bus): ColumnPlan {
  const stated = new Set([...publicTensors(circuit), ...hashedTensors(circuit)]);
  const columns: ColumnPlan = new Map();
  for (const port of circuit.inputs) {
    if (port.visibility === PRIVATE) columns.set(tensorKey(port.tensor), stored(circuit.tensors[port.tensor]!.shape));
  }
  circuit.ops.forEach((op, number) => {
    if (holdsResults(op)) {
      for (const out of results(op)) if (!stated.has(out)) columns.set(tensorKey(out), stored(circuit.tensors[out]!.shape));
    }
    columnsOf(circuit, op).forEach((storage, index) => columns.set(columnKey(number, index), storage));
  });
  bus.tables.forEach((table, index) => columns.set(countKey(index), whole([table.logSize])));
  return columns;
}

export const weightColumns = (circuit: Circuit): ColumnPlan =>
  new Map(circuit.weights.map((weight, index) => [weightKey(index), stored(weight.shape)]));

export const storedCells = (columns: ColumnPlan): number => [...columns.values()].reduce((sum, storage) => sum + storage.cells, 0);

/** v for these columns and `more` cells. */
export const reserve = (columns: ColumnPlan, more: number): number => log2Ceil(storedCells(columns) + more);

/** The columns' addresses, largest piece first, downwards from the end; and the first row that holds one. */
export function place(columns: ColumnPlan, logCells: number, logMessage: number): [Map<Key, Column>, number] {
  const pieces: { log: number; key: Key; piece: number }[] = [];
  const placed = new Map<Key, { storage: Storage; addresses: number[] }>();
  for (const [key, storage] of columns) {
    placed.set(key, { storage, addresses: [] });
    storage.pieces.forEach((piece, i) => pieces.push({ log: piece.log + storage.logRest, key, piece: i }));
  }
  let address = 2 ** logCells;
  for (const { log, key, piece } of pieces.sort((x, y) => y.log - x.log)) {
    address -= 2 ** log;
    placed.get(key)!.addresses[piece] = address;
  }
  return [placed, shiftedDown(address, logMessage)];
}
