/** What the script asks of whoever plays it: the verifier, and the planner, which counts. */

import { type Functional, paddingTotal } from "./axes.js";
import type { Bus, TableBlock } from "./buses.js";
import type { Claim } from "./claims.js";
import { type Ext, scale } from "./field.js";
import type { Key } from "./layout.js";
import type { Leaves } from "./lookups.js";
import type { Circuit } from "./program.js";
import type { Rounds } from "./rounds.js";

/** A committed column's claimed value under a functional. */
export interface OpeningClaim {
  readonly key: Key;
  readonly axes: Functional;
  readonly value: Claim;
}

/** A virtual tensor's claimed value under a functional. */
export interface PendingClaim {
  readonly axes: Functional;
  readonly value: Claim;
}

/** A claim on one of an operation's products of columns. */
export interface DeferredClaim {
  readonly which: number;
  readonly axes: Functional;
  readonly value: Claim;
}

export interface Party {
  readonly circuit: Circuit;
  /** Claims on virtual tensors. */
  readonly pending: ReadonlyMap<number, readonly PendingClaim[]>;
  challenges(label: string, count: number): Ext[];
  fractions(bus: Bus): Leaves;
  tableRow(block: TableBlock, point: readonly Ext[]): Claim[];
  /** The functional of a tensor with its padding as it is. */
  read(tensor: number, axes: Functional, label: string): Claim;
  /** The functional of a committed column. */
  committed(key: Key, axes: Functional, label: string): Claim;
  /** Note a claim for the openings that needs no message. */
  open(key: Key, axes: Functional, value: Claim): void;
  /** A column that is not committed: the script adds the check that determines it. */
  message(label: string): Claim;
  /** Require padding to be 0. */
  pinPadding(key: Key, axes: Functional, shape: readonly number[], claim: Claim, tensor?: number): void;
  /** The true cells of a public tensor. */
  shown(tensor: number): ArrayLike<number | bigint>;
  weight(weight: number, axes: Functional, label: string): Claim;
  /** A product as a message of its own. */
  intermediate(product: Claim, label: string): Claim;
  products(label: string, claim: Claim, rounds: number): Rounds;
  weighted(label: string, claim: Claim, rounds: number): Rounds;
  zeroCheck(label: string, anchor: readonly Ext[], degree: number): Rounds;
  defer(operation: number, which: number, axes: Functional, value: Claim): void;
  deferred(operation: number): readonly DeferredClaim[];
}

/** The functional of a tensor with its padding as 0: x̃ − fill·(1 − mask~). */
export function readMasked(party: Party, tensor: number, axes: Functional, label: string): Claim {
  const described = party.circuit.tensors[tensor]!, value = party.read(tensor, axes, label);
  if (described.fill === 0n) return value;
  return value.shift(scale(paddingTotal(axes, described.shape), -described.fill));
}
