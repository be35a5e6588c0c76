/** What verifying will cost, before anything is evaluated. The constants are the first verifier's: docs/engine/protocol.md. */

import { RECENT_ENTRIES } from "./axes.js";
import { CELL_NS, ClaimCounter, ENTRY_BYTES, ENTRY_NS } from "./claim_count.js";
import { logProducts } from "./claims.js";
import { Refusal } from "./interface.js";
import { groupsOf, type Layout, publicTensors, rooted, shapesOf } from "./layout.js";
import { type Circuit, type CommitmentShape, PUBLIC_WEIGHTS } from "./program.js";
import { logLength, openingBytes } from "./proof.js";
import { pathLength } from "./suite.js";
import { weightsBytes } from "./weights.js";

const BASE_BYTES = 48 * 2 ** 20, BASE_NS = 60_000_000;
const CIRCUIT_BYTES = 40, CIRCUIT_NS = 1_500, PART_NS = 120_000, INDEX_NS = 2_000, VALUE_NS = 200;
const CLAIM_NS = 60_000, CLAIM_BYTES = 3_000, MESSAGE_NS = 25_000, MESSAGE_BYTES = 700;
const HIDDEN_BASE_NS = 250_000_000, HIDDEN_NS = 60_000, HIDDEN_BYTES = 2_500;
const STATED_BYTES = 64, STATED_NS = 600, POSITION_NS = 150, COORDINATE_NS = 6_000, LINEAR_BYTES = 400, COLUMN_BYTES = 48;
const LISTED_TWICE_NS = 100, SPARE_MESSAGES = 2 ** 12;

export interface Allowance {
  readonly memoryBytes: number;
  readonly seconds: number;
}

/** Rather too much than too little. `messages`: elements, the openings' left out. `claims`: to be opened. */
export interface Price {
  readonly memoryBytes: number;
  readonly nanoseconds: number;
  readonly messages: number;
  readonly claims: number;
}

const plus = (price: Price, memoryBytes: number, nanoseconds: number): Price => ({
  ...price, memoryBytes: price.memoryBytes + memoryBytes, nanoseconds: price.nanoseconds + nanoseconds,
});

/** Throws `verification-over-budget` when the price is more than what is allowed. */
export function requirePrice(price: Price, allowance: Allowance, where: string): void {
  if (price.memoryBytes <= allowance.memoryBytes && price.nanoseconds / 1e9 <= allowance.seconds) return;
  const words = (bytes: number, seconds: number): string => `${Math.round(bytes / 2 ** 20)} MiB and ${seconds.toFixed(1)} s`;
  const needed = words(price.memoryBytes, price.nanoseconds / 1e9), allowed = words(allowance.memoryBytes, allowance.seconds);
  const hint = "If you trust whoever gave you the circuit, allow more memory; one that takes too long has to be split.";
  throw new Refusal("undecided", "verification-over-budget", `verifying would take about ${needed}; ${allowed} are allowed`, where, hint);
}

/** Of decoding, checking and planning a circuit of `size` bytes. */
export const priceOfBytes = (size: number): Price => ({
  memoryBytes: BASE_BYTES + CIRCUIT_BYTES * size, nanoseconds: BASE_NS + CIRCUIT_NS * size, messages: 0, claims: 0,
});

/** Of all but the openings, for a circuit that obeys its rules. */
export function priceOf(circuit: Circuit, size: number): Price {
  const found = new ClaimCounter(circuit);
  found.lookups();
  found.operations();
  const stated = publicTensors(circuit).reduce((sum, tensor) => sum + circuit.tensors[tensor]!.size, 0);
  const base = { memoryBytes: BASE_BYTES + CIRCUIT_BYTES * size, nanoseconds: BASE_NS + structure(circuit), messages: 0, claims: 0 };
  let price = plus(base, STATED_BYTES * stated, STATED_NS * stated);
  if (circuit.weightVisibility === PUBLIC_WEIGHTS) {
    price = plus(price, 2 * weightsBytes(circuit), CELL_NS * circuit.weights.reduce((sum, weight) => sum + weight.size, 0));
  }
  return scripted(price, found, circuit.zeroKnowledge);
}

/** Of a proof about committed weights, the openings left out: `circuit` is that of its witness, `found` what it plays. */
export const priceOfRelation = (circuit: Circuit, found: ClaimCounter): Price =>
  scripted({ memoryBytes: BASE_BYTES, nanoseconds: structure(circuit), messages: 0, claims: 0 }, found, true);

/** With what playing the script takes. */
function scripted(base: Price, found: ClaimCounter, hiding: boolean): Price {
  let price = hiding ? plus(base, 0, HIDDEN_BASE_NS + found.nanoseconds) : base;
  // Kept tables of eq vectors: no more than were made, and no more than are ever kept.
  const tables = ENTRY_BYTES * Math.min(RECENT_ENTRIES, Math.floor(found.nanoseconds / ENTRY_NS));
  price = plus(price, found.kept + found.most + tables, found.nanoseconds);
  const messageNs = MESSAGE_NS + (hiding ? HIDDEN_NS : 0), messageBytes = MESSAGE_BYTES + (hiding ? HIDDEN_BYTES : 0);
  price = plus(price, messageBytes * found.messages, messageNs * found.messages);
  price = plus(price, CLAIM_BYTES * found.claims, CLAIM_NS * found.claims);
  return { ...price, messages: found.messages, claims: found.claims };
}

/** With what the openings of `layout` take. */
export function priceWithOpenings(base: Price, layout: Layout): Price {
  let price = plus(base, 0, LISTED_TWICE_NS * rooted(layout).length * base.claims);
  for (const shape of shapesOf(layout)) price = plus(price, ...opening(shape));
  const groups = groupsOf(layout), last = layout.levels[layout.levels.length - 1];
  for (const shape of last !== undefined ? [last.shape] : groups.map((group) => group[0]!.shape)) price = plus(price, ...combination(shape));
  let asked = groups.reduce((sum, group) => sum + 1 + group[0]!.shape.queries + group[0]!.shape.mask, 0);
  for (const level of layout.levels) {
    const rounds = 2 * level.logCells;
    price = plus(price, MESSAGE_BYTES * rounds + LINEAR_BYTES * asked, MESSAGE_NS * rounds + COORDINATE_NS * level.logCells * asked);
    asked = 1 + level.shape.queries;
  }
  return price;
}

/** No proof has more elements than this, with room to spare. */
export const mostMessages = (price: Price, layout: Layout): number => 3 * price.messages + openingElements(layout) + SPARE_MESSAGES;

/** Elements of F that are sent after the last operation. */
function openingElements(layout: Layout): number {
  const members = rooted(layout), last = layout.levels[layout.levels.length - 1];
  let found = 2 * Math.max(...members.map((one) => one.logCells)) + members.length;
  if (layout.pads !== undefined) found += 2 * logProducts(layout.pads) + 2 + 1; // the products' check; the mask region
  for (const level of layout.levels) found += 2 * level.logCells;
  return found + (last !== undefined ? last.shape.degree : groupsOf(layout).reduce((sum, group) => sum + group[0]!.shape.degree, 0));
}

/** Nanoseconds of walking through a circuit. */
function structure(circuit: Circuit): number {
  let parts = circuit.tensors.length + circuit.weights.length + circuit.ops.length + circuit.inputs.length + circuit.outputs.length;
  let indices = 0;
  for (const op of circuit.ops) {
    if (op.kind === "View") {
      parts += op.pieces.length;
      for (const piece of op.pieces) for (const one of piece.indices) indices += one.length;
    } else if (op.kind === "LinearCombination") indices += op.sources.length;
  }
  const values = circuit.tables.reduce((sum, table) => sum + table.values.length, 0);
  return PART_NS * parts + INDEX_NS * indices + VALUE_NS * values;
}

/** (bytes, nanoseconds) of one commitment's opening. */
function opening(shape: CommitmentShape): [number, number] {
  const cells = shape.queries * shape.rows, steps = POSITION_NS * cells + 4 * ENTRY_NS * shape.rows;
  const hashes = 3_000 * shape.queries * (pathLength(logLength(shape)) + 2) + 1_000_000;
  return [COLUMN_BYTES * cells + openingBytes(shape) + 4 * ENTRY_BYTES * shape.rows, steps + hashes];
}

/** (bytes, nanoseconds) of one combination that is sent: its value, and its code word. */
const combination = (shape: CommitmentShape): [number, number] => [
  4 * ENTRY_BYTES * shape.degree, POSITION_NS * shape.queries * shape.degree + 2 * ENTRY_NS * shape.degree,
];
