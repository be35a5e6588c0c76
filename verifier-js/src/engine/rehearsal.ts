/** The planner as the script's party: how many messages and products a zero-knowledge proof has, which fixes its pads. */

import type { Bus } from "./buses.js";
import { log2Ceil, tooLarge } from "./bytes.js";
import { type Claim, type PadPlan, Planned } from "./claims.js";
import { extOf, type Ext } from "./field.js";
import { MAX_CLAIMS, publicTensors } from "./layout.js";
import { checkLayers, type Leaves } from "./lookups.js";
import type { Functional } from "./axes.js";
import { checkOperations } from "./operations.js";
import type { DeferredClaim, Party, PendingClaim } from "./party.js";
import { type Circuit, COMMITTED_WEIGHTS, holdsResults, results } from "./program.js";
import { MAX_MESSAGES } from "./proof.js";
import type { Channel, Rounds } from "./rounds.js";
import { checkLookups } from "./script.js";

export class RehearsalParty implements Party, Channel {
  readonly pending = new Map<number, PendingClaim[]>();
  claims = 0;
  equations = 0;
  productCount = 0;
  encrypted = 0;
  #sent = 0;
  #coordinate = 2n;
  readonly #deferred = new Map<number, DeferredClaim[]>();
  readonly #shown: ReadonlySet<number>;
  readonly #message: Planned;
  readonly #known: Planned;

  constructor(readonly circuit: Circuit) {
    for (const op of circuit.ops) if (!holdsResults(op)) for (const out of results(op)) this.pending.set(out, []);
    this.#shown = new Set(publicTensors(circuit));
    const count = {
      multiply: (): void => {
        this.#sent++;
        this.productCount++;
        this.equations += 2;
      },
      equation: (): void => {
        this.equations++;
      },
      invert: (claim: Planned, where: string): void => {
        claim.times(this.#send(`${where}.inverse`)).assertZero(where);
      },
    };
    this.#message = new Planned(true, count);
    this.#known = new Planned(false, count);
  }

  #send(label: string, count = 1): Claim {
    if (this.#sent >= MAX_MESSAGES) throw tooLarge(`a proof would need more than ${MAX_MESSAGES} messages`, label);
    this.#sent++;
    this.encrypted += count;
    return this.#message;
  }

  receive(label: string, count: number): Claim[] {
    const claim = this.#send(label, count);
    return Array.from({ length: count }, () => claim);
  }

  /** (2, 1), (3, 1) …: outside F_p, and no two equal, as real challenges are not. */
  challenge(): Ext {
    return extOf(this.#coordinate++, 1n);
  }

  challenges(_label: string, count: number): Ext[] {
    return Array.from({ length: count }, () => this.challenge());
  }

  fractions(bus: Bus): Leaves {
    return checkLayers(this, bus.logLeaves, bus.logSums);
  }

  tableRow(): Claim[] {
    return [this.#known, this.#known];
  }

  read(tensor: number, axes: Functional, label: string): Claim {
    if (this.#shown.has(tensor)) return this.#known;
    const pending = this.pending.get(tensor);
    if (pending !== undefined) pending.push({ axes, value: this.#message });
    else this.claims++;
    return this.#send(label);
  }

  committed(_key: string, _axes: Functional, label: string): Claim {
    this.claims++;
    return this.#send(label);
  }

  open(): void {
    this.claims++;
  }

  message(label: string): Claim {
    return this.#send(label);
  }

  pinPadding(): void {
    this.claims++;
  }

  shown(tensor: number): ArrayLike<number> {
    return new Int8Array(this.circuit.tensors[tensor]!.size);
  }

  weight(_weight: number, _axes: Functional, label: string): Claim {
    if (this.circuit.weightVisibility !== COMMITTED_WEIGHTS) return this.#known;
    this.claims++;
    return this.#send(label);
  }

  intermediate(_product: Claim, label: string): Claim {
    this.equations++;
    return this.#send(label);
  }

  #rounds(label: string, rounds: number, count: number): Rounds {
    for (let round = 0; round < rounds; round++) this.#send(`${label}.round`, count);
    return { claim: this.#message, point: this.challenges(label, rounds) };
  }

  products(label: string, _claim: Claim, rounds: number): Rounds {
    return this.#rounds(label, rounds, 2);
  }

  weighted(label: string, _claim: Claim, rounds: number): Rounds {
    return this.#rounds(label, rounds, 3);
  }

  zeroCheck(label: string, anchor: readonly Ext[], degree: number): Rounds {
    return this.#rounds(label, anchor.length, degree);
  }

  defer(operation: number, which: number, axes: Functional, value: Claim): void {
    const before = this.#deferred.get(operation);
    if (before === undefined) this.#deferred.set(operation, [{ which, axes, value }]);
    else before.push({ which, axes, value });
  }

  deferred(operation: number): readonly DeferredClaim[] {
    return this.#deferred.get(operation) ?? [];
  }
}

/** The pads of a zero-knowledge proof: one per element that is encrypted, the products' check included. */
export function foretell(circuit: Circuit, bus: Bus): PadPlan {
  const party = new RehearsalParty(circuit);
  checkLookups(party, bus);
  checkOperations(party);
  const claims = party.claims + party.equations + 3;
  if (claims > MAX_CLAIMS) throw tooLarge(`${claims} claims would be opened, more than ${MAX_CLAIMS}`, "openings");
  return padsOf(party);
}

export function padsOf(party: RehearsalParty): PadPlan {
  const products = party.productCount + 1;
  return { messages: party.encrypted + 2 * Math.max(1, log2Ceil(products)), products };
}
