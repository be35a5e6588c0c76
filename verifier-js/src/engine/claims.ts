/**
 * Values that a prover sent, and what may be done with them. No code branches on the value of a message.
 *
 * A plain claim is the field element itself. A hidden one, of the zero-knowledge suite, is an affine form in committed one-time
 * pads: docs/engine/zero-knowledge.md, "Encrypted messages". A planned one has no value: the planner counts messages with it.
 */

import { bug, log2Ceil, rejected } from "./bytes.js";
import { add, type Ext, getAt, isZero, MINUS_ONE, newVec, ONE, product, setAt, sub, type Vec, ZERO } from "./field.js";

export interface Claim {
  plus(other: Claim): Claim;
  minus(other: Claim): Claim;
  /** This and a public number. */
  shift(known: Ext): Claim;
  /** This times a public number. */
  scale(known: Ext): Claim;
  /** factor·this + Σ factor_i·other_i. */
  mixed(factor: Ext, others: readonly (readonly [Claim, Ext])[]): Claim;
  times(other: Claim): Claim;
  /** `proof-invalid` unless it is 0. */
  assertZero(where: string): void;
  assertNonzero(where: string): void;
  /** What a plain claim does when this is its right operand. */
  addedTo(plain: Plain): Claim;
  takenFrom(plain: Plain): Claim;
}

export class Plain implements Claim {
  constructor(readonly value: Ext) {}

  plus(other: Claim): Claim {
    return other.addedTo(this);
  }

  minus(other: Claim): Claim {
    return other.takenFrom(this);
  }

  addedTo(plain: Plain): Claim {
    return new Plain(add(plain.value, this.value));
  }

  takenFrom(plain: Plain): Claim {
    return new Plain(sub(plain.value, this.value));
  }

  shift(known: Ext): Claim {
    return new Plain(add(this.value, known));
  }

  scale(known: Ext): Claim {
    return new Plain(product(this.value, known));
  }

  mixed(factor: Ext, others: readonly (readonly [Claim, Ext])[]): Claim {
    return others.reduce<Claim>((sum, [claim, scale]) => sum.plus(claim.scale(scale)), this.scale(factor));
  }

  times(other: Claim): Claim {
    return other.scale(this.value);
  }

  assertZero(where: string): void {
    if (!isZero(this.value)) throw rejected("proof-invalid", "an equation of the proof does not hold", where);
  }

  assertNonzero(where: string): void {
    if (isZero(this.value)) throw rejected("proof-invalid", "a denominator of the proof is zero", where);
  }
}

export const NOTHING: Claim = new Plain(ZERO);

/** A public number as a claim. */
export const known = (value: Ext): Claim => new Plain(value);

// --- hidden claims ------------------------------------------------------------------------------------------------------------

export const MESSAGES = 0, LEFT = 1, RIGHT = 2, PRODUCT = 3;
export const PAD_COLUMNS = [MESSAGES, LEFT, RIGHT, PRODUCT] as const;

/** How many pads a proof uses: `messages` elements, and `products` triples, triple 0 included. */
export interface PadPlan {
  readonly messages: number;
  readonly products: number;
}

const logOf = (count: number): number => Math.max(1, log2Ceil(Math.max(1, count)));
export const logMessages = (plan: PadPlan): number => logOf(plan.messages);
export const logProducts = (plan: PadPlan): number => logOf(plan.products);
export const logPads = (plan: PadPlan, column: number): number => (column === MESSAGES ? logMessages(plan) : logProducts(plan));

export interface Session {
  multiply(left: Hidden, right: Hidden): Claim;
  hold(claim: Hidden): void;
  invert(claim: Hidden, where: string): Claim;
}

type Term = readonly [number, Ext];

/** Forms as a list of sums. Form i ≥ 0 is entry i, Σ factor·form of pads and earlier entries; form i < 0 is pad −1 − i. */
export class Tape {
  readonly #entries: (readonly Term[])[] = [];

  static pad(number: number): number {
    return -1 - number;
  }

  add(terms: readonly Term[]): number {
    this.#entries.push(terms);
    return this.#entries.length - 1;
  }

  /** The pads' coefficients in Σ factor·form over `seeds`: one sweep, the last entry first. */
  coefficients(seeds: readonly Term[], pads: number): Vec {
    const weights = newVec(this.#entries.length), result = newVec(pads);
    const give = (weight: Ext, terms: readonly Term[]): void => {
      for (const [form, factor] of terms) {
        const target = form >= 0 ? weights : result, place = form >= 0 ? form : -1 - form;
        setAt(target, place, add(getAt(target, place), product(weight, factor)));
      }
    };
    give(ONE, seeds);
    for (let index = this.#entries.length - 1; index >= 0; index--) {
      const weight = getAt(weights, index);
      if (!isZero(weight)) give(weight, this.#entries[index]!);
    }
    return result;
  }
}

/** value + factor·form. */
export class Hidden implements Claim {
  constructor(
    readonly value: Ext,
    readonly session: Session,
    readonly tape: Tape,
    readonly form: number,
    readonly factor: Ext,
  ) {}

  #with(value: Ext, factor: Ext): Hidden {
    return new Hidden(value, this.session, this.tape, this.form, factor);
  }

  #entry(value: Ext, terms: readonly Term[]): Hidden {
    return new Hidden(value, this.session, this.tape, this.tape.add(terms), ONE);
  }

  plus(other: Claim): Claim {
    if (other instanceof Hidden) return this.#entry(add(this.value, other.value), [[this.form, this.factor], [other.form, other.factor]]);
    return this.#with(add(this.value, plainValue(other)), this.factor);
  }

  minus(other: Claim): Claim {
    if (other instanceof Hidden) {
      return this.#entry(sub(this.value, other.value), [[this.form, this.factor], [other.form, product(other.factor, MINUS_ONE)]]);
    }
    return this.#with(sub(this.value, plainValue(other)), this.factor);
  }

  addedTo(plain: Plain): Claim {
    return this.#with(add(plain.value, this.value), this.factor);
  }

  takenFrom(plain: Plain): Claim {
    return this.#with(sub(plain.value, this.value), product(this.factor, MINUS_ONE));
  }

  shift(known: Ext): Claim {
    return this.#with(add(this.value, known), this.factor);
  }

  scale(known: Ext): Claim {
    return this.#with(product(this.value, known), product(this.factor, known));
  }

  mixed(factor: Ext, others: readonly (readonly [Claim, Ext])[]): Claim {
    let value = product(this.value, factor);
    const terms: Term[] = [[this.form, product(this.factor, factor)]];
    for (const [claim, scale] of others) {
      value = add(value, product(claim instanceof Hidden ? claim.value : plainValue(claim), scale));
      if (claim instanceof Hidden) terms.push([claim.form, product(claim.factor, scale)]);
    }
    return this.#entry(value, terms);
  }

  times(other: Claim): Claim {
    return other instanceof Hidden ? this.session.multiply(this, other) : this.scale(plainValue(other));
  }

  assertZero(): void {
    this.session.hold(this);
  }

  assertNonzero(where: string): void {
    this.times(this.session.invert(this, where)).shift(MINUS_ONE).assertZero(where);
  }
}

/** The value of a claim that must be plain: forms of different kinds never meet. */
export function plainValue(claim: Claim): Ext {
  if (!(claim instanceof Plain)) throw bug("claims of different kinds meet");
  return claim.value;
}

/** The pads of one proof, handed out in order, and the equations collected. */
export class Pads {
  readonly tape = new Tape();
  readonly equations: Hidden[] = [];
  /** All pads. */
  readonly count: number;
  readonly #starts: readonly number[];
  #messages = 0;
  #products = 1; // triple 0 stays unused

  constructor(readonly plan: PadPlan) {
    const first = 2 ** logMessages(plan), size = 2 ** logProducts(plan);
    this.#starts = [0, first, first + size, first + 2 * size];
    this.count = first + 3 * size;
  }

  /** The tape's number of a pad: columns one after the other. */
  index(column: number, number: number): number {
    return this.#starts[column]! + number;
  }

  encrypted(session: Session, value: Ext, column: number, number: number): Hidden {
    return new Hidden(value, session, this.tape, Tape.pad(this.index(column, number)), MINUS_ONE);
  }

  messages(session: Session, values: Vec, count: number): Claim[] {
    const first = this.#messages;
    this.#messages += count;
    if (this.#messages > this.plan.messages) throw bug("a proof of this circuit takes more messages than it plans");
    return Array.from({ length: count }, (_, i) => this.encrypted(session, getAt(values, i), MESSAGES, first + i));
  }

  /** The product as a form, âb̂ − â·b − b̂·a + ab. Collects two equations: `sent` is (â, b̂), the operands plus pads. */
  product(session: Session, operands: readonly [Hidden, Hidden], sent: readonly [Ext, Ext]): Claim {
    const number = this.#products++;
    if (this.#products > this.plan.products) throw bug("a proof of this circuit takes more products than it plans");
    [LEFT, RIGHT].forEach((column, i) => {
      this.encrypted(session, sent[i]!, column, number).minus(operands[i]!).assertZero("product");
    });
    const pad = (column: number): number => Tape.pad(this.index(column, number));
    const terms: Term[] = [[pad(RIGHT), product(sent[0], MINUS_ONE)], [pad(LEFT), product(sent[1], MINUS_ONE)], [pad(PRODUCT), ONE]];
    return new Hidden(product(sent[0], sent[1]), session, this.tape, this.tape.add(terms), ONE);
  }
}

/** What the planner plays the script with: only whether it comes from a message is known. */
export class Planned implements Claim {
  constructor(
    readonly hidden: boolean,
    readonly count: { multiply(): void; equation(): void; invert(claim: Planned, where: string): void },
  ) {}

  #joined(other: Claim): Claim {
    return other instanceof Planned && other.hidden ? other : this;
  }

  plus(other: Claim): Claim {
    return this.#joined(other);
  }

  minus(other: Claim): Claim {
    return this.#joined(other);
  }

  addedTo(): Claim {
    return this;
  }

  takenFrom(): Claim {
    return this;
  }

  shift(): Claim {
    return this;
  }

  scale(): Claim {
    return this;
  }

  mixed(_factor: Ext, others: readonly (readonly [Claim, Ext])[]): Claim {
    return others.reduce<Claim>((sum, [claim]) => sum.plus(claim), this);
  }

  times(other: Claim): Claim {
    if (this.hidden && other instanceof Planned && other.hidden) this.count.multiply();
    return this.#joined(other);
  }

  assertZero(): void {
    if (this.hidden) this.count.equation();
  }

  assertNonzero(where: string): void {
    this.count.invert(this, where);
  }
}
