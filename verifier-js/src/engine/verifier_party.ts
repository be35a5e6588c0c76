/** The verifier as the script's party: it takes messages from the proof, and computes public values. */

import { evaluate, type Functional, paddingTotal } from "./axes.js";
import type { Bus, TableBlock } from "./buses.js";
import { type Claim, known } from "./claims.js";
import type { Channel } from "./rounds.js";
import { type Cells, type Ext, add, scale, ZERO } from "./field.js";
import { truncated } from "./geometry.js";
import { type Key, tensorKey, weightKey } from "./layout.js";
import { checkLayers, type Leaves, tableRow } from "./lookups.js";
import type { DeferredClaim, OpeningClaim, Party, PendingClaim } from "./party.js";
import { type Circuit, holdsResults, results } from "./program.js";
import { eqRounds, productRounds, type Rounds, weightedRounds } from "./rounds.js";

export class VerifierParty implements Party {
  readonly openings: OpeningClaim[] = [];
  readonly pending = new Map<number, PendingClaim[]>();
  /** Stated tensors that took part. */
  readonly claimed = new Set<number>();
  readonly #deferred = new Map<number, DeferredClaim[]>();

  constructor(
    readonly circuit: Circuit,
    readonly channel: Channel,
    readonly stated: ReadonlyMap<number, Cells>,
    readonly hashed: ReadonlySet<number>,
    readonly weights: readonly Cells[] | undefined,
  ) {
    for (const op of circuit.ops) if (!holdsResults(op)) for (const out of results(op)) this.pending.set(out, []);
  }

  challenges(label: string, count: number): Ext[] {
    return Array.from({ length: count }, () => this.channel.challenge(label));
  }

  fractions(bus: Bus): Leaves {
    return checkLayers(this.channel, bus.logLeaves, bus.logSums);
  }

  tableRow(block: TableBlock, point: readonly Ext[]): Claim[] {
    return tableRow(this.circuit, block, point);
  }

  read(tensor: number, axes: Functional, label: string): Claim {
    const described = this.circuit.tensors[tensor]!, cells = this.stated.get(tensor);
    this.claimed.add(tensor);
    const padding = (): Ext => (described.fill === 0n ? ZERO : scale(paddingTotal(axes, described.shape), described.fill));
    if (cells !== undefined) return known(add(evaluate(axes, described.shape, cells), padding()));
    const claim = this.#receive(label), pending = this.pending.get(tensor);
    if (pending !== undefined) pending.push({ axes, value: claim });
    else if (this.hashed.has(tensor) && described.fill !== 0n) {
      this.open(tensorKey(tensor), axes, claim.shift(scale(padding(), -1))); // stored with padding 0
    } else this.open(tensorKey(tensor), axes, claim);
    return claim;
  }

  committed(key: Key, axes: Functional, label: string): Claim {
    const claim = this.#receive(label);
    this.open(key, axes, claim);
    return claim;
  }

  open(key: Key, axes: Functional, value: Claim): void {
    this.openings.push({ key, axes, value });
  }

  message(label: string): Claim {
    return this.#receive(label);
  }

  /** Not for stated tensors: a public one has no padding, a hashed one's is checked with its range. */
  pinPadding(key: Key, axes: Functional, shape: readonly number[], claim: Claim, tensor?: number): void {
    if (tensor === undefined || !(this.stated.has(tensor) || this.hashed.has(tensor))) this.open(key, truncated(axes, shape), claim);
  }

  /** Whoever asks makes every cell of it count. */
  shown(tensor: number): ArrayLike<number | bigint> {
    this.claimed.add(tensor);
    return this.stated.get(tensor)!;
  }

  weight(weight: number, axes: Functional, label: string): Claim {
    if (this.weights === undefined) return this.committed(weightKey(weight), axes, label);
    return known(evaluate(axes, this.circuit.weights[weight]!.shape, this.weights[weight]!));
  }

  intermediate(product: Claim, label: string): Claim {
    const claim = this.#receive(label);
    claim.minus(product).assertZero(label);
    return claim;
  }

  products(label: string, claim: Claim, rounds: number): Rounds {
    return productRounds(this.channel, label, claim, rounds);
  }

  weighted(label: string, claim: Claim, rounds: number): Rounds {
    return weightedRounds(this.channel, label, claim, rounds);
  }

  zeroCheck(label: string, anchor: readonly Ext[], degree: number): Rounds {
    return eqRounds(this.channel, label, known(ZERO), anchor, degree);
  }

  defer(operation: number, which: number, axes: Functional, value: Claim): void {
    const before = this.#deferred.get(operation);
    if (before === undefined) this.#deferred.set(operation, [{ which, axes, value }]);
    else before.push({ which, axes, value });
  }

  deferred(operation: number): readonly DeferredClaim[] {
    return this.#deferred.get(operation) ?? [];
  }

  #receive(label: string): Claim {
    return this.channel.receive(label, 1)[0]!;
  }
}
