/** LogUp with GKR: the sum of all fractions on the bus is 0, down to one claim on numerators and denominators at one point. */

import { eqIndex, eqTable, type Functional, integerExtension, located, type Point, pointAxes } from "./axes.js";
import { type Group, type LookupBlock, type TableBlock, tableValues, WIDTH } from "./buses.js";
import { shiftedDown } from "./bytes.js";
import { type Claim, known, NOTHING } from "./claims.js";
import { add, cellDot, embed, type Ext, getAt, MINUS_ONE, ONE, product, scale, sizeOf, sub, ZERO } from "./field.js";
import type { Circuit } from "./program.js";
import { type Channel, eqRounds } from "./rounds.js";
import { NO_AXIS } from "./storage.js";

/** What the layers leave to be checked: both extensions at one point. */
export interface Leaves {
  readonly point: Point;
  readonly numerator: Claim;
  readonly denominator: Claim;
}

/** From the root, numerator 0 and denominator not 0, down to the leaves. */
export function checkLayers(channel: Channel, logLeaves: number): Leaves {
  let [denominator] = channel.receive("lookups.root", 1) as [Claim];
  denominator.assertNonzero("lookups.root");
  let numerator = NOTHING, point: Point = [];
  for (let layer = 0; layer < logLeaves; layer++) {
    const mix = channel.challenge("lookups.mix");
    const rounds = eqRounds(channel, "lookups", numerator.plus(denominator.scale(mix)), point, 2);
    const [p0, p1, q0, q1] = channel.receive("lookups.ends", 4) as [Claim, Claim, Claim, Claim];
    p0.times(q1).plus(q0.times(p1.plus(q1.scale(mix)))).minus(rounds.claim).assertZero(`lookups.layer${layer}`);
    const child = channel.challenge("lookups.child");
    numerator = p0.plus(p1.minus(p0).scale(child));
    denominator = q0.plus(q1.minus(q0).scale(child));
    point = [child, ...rounds.point];
  }
  return { point, numerator, denominator };
}

/** Adds up what numerators and denominators must be at the leaves' point, block by block. */
export class LeafSum {
  #numerator = NOTHING;
  #denominator = NOTHING;
  #selected = ZERO;
  readonly #identity: Ext;
  readonly #whole = new Map<string, readonly [Functional, Ext]>();
  readonly #grouped = new Map<Group, readonly [Functional, Ext]>();

  constructor(
    readonly leaves: Leaves,
    readonly alpha: Ext,
    readonly beta: Ext,
  ) {
    let identity = ONE;
    for (let i = 0; i < WIDTH; i++) identity = product(identity, beta);
    this.#identity = identity;
  }

  /** The weights of the lookup's cells at the point, but for one factor; the same object where they are the same. */
  functional(block: LookupBlock): Functional {
    return this.#weights(block.group)[0];
  }

  #weights(group: Group): readonly [Functional, Ext] {
    const storage = group.storage, point = this.leaves.point, below = point.length - storage.logRest, rest = point.slice(below);
    if (storage.axis === NO_AXIS) {
      let found = this.#whole.get(storage.key);
      if (found === undefined) this.#whole.set(storage.key, (found = [pointAxes(rest, storage.bits), ONE]));
      return found;
    }
    let found = this.#grouped.get(group);
    if (found === undefined) {
      // The members' variables lie between those of the long axis and the others.
      const outer = [...point.slice(0, below - group.logMembers), ...rest];
      const places = located(storage, group.addresses.map((address) => shiftedDown(address, group.logMembers)), outer);
      const axes: Functional[number][] = pointAxes(rest, storage.bits.filter((_, axis) => axis !== storage.axis));
      axes.splice(storage.axis, 0, places);
      this.#grouped.set(group, (found = [axes, places.total()]));
    }
    return found;
  }

  /** What a leaf's weight has beside the functional's. */
  #factor(block: LookupBlock): Ext {
    const group = block.group, point = this.leaves.point, below = point.length - group.storage.logRest;
    if (group.storage.axis === NO_AXIS) {
      return eqIndex(shiftedDown(group.addresses[0]!, group.storage.logRest), point.slice(0, below));
    }
    return eqIndex(block.member, point.slice(below - group.logMembers, below));
  }

  /** The point within a block of 2^logSize leaves. */
  localPoint(logSize: number): Point {
    return this.leaves.point.slice(this.leaves.point.length - logSize);
  }

  /** A lookup whose columns have the values `row` under its functional. */
  lookup(block: LookupBlock, row: readonly Claim[]): void {
    this.#add(this.#factor(block), this.#weights(block.group)[1], block.table, row, known(ONE));
  }

  /** A table's block with its multiplicity column's value. */
  table(number: number, block: TableBlock, row: readonly Claim[], count: Claim): void {
    const high = this.leaves.point.slice(0, this.leaves.point.length - block.logSize);
    this.#add(eqIndex(shiftedDown(block.offset, block.logSize), high), ONE, number, row, count.scale(MINUS_ONE));
  }

  #add(factor: Ext, total: Ext, table: number, row: readonly Claim[], numerator: Claim): void {
    const constant = add(this.alpha, scale(this.#identity, table + 1));
    let denominator = known(product(constant, total)), power = ONE;
    for (const value of row) {
      denominator = denominator.minus(value.scale(power));
      power = product(power, this.beta);
    }
    const selected = product(factor, total);
    this.#numerator = this.#numerator.plus(numerator.scale(selected));
    this.#denominator = this.#denominator.plus(denominator.scale(factor));
    this.#selected = add(this.#selected, selected);
  }

  /** Both sums must be what the layers left; filler leaves are 0 / 1. */
  finish(): void {
    this.#numerator.minus(this.leaves.numerator).assertZero("lookups.numerators");
    this.#denominator.shift(sub(ONE, this.#selected)).minus(this.leaves.denominator).assertZero("lookups.denominators");
  }
}

/** The extensions of a table's columns at `point`, from the circuit's own values. */
export function tableRow(circuit: Circuit, block: TableBlock, point: Point): Claim[] {
  const argument = integerExtension(point);
  if (block.kind === "range") return [known(argument)];
  if (block.kind === "signed") { // i − 2^k, but for row 0
    const half = 2 ** (block.logSize - 1);
    return [known(add(add(argument, embed(-half)), scale(eqIndex(0, point), half)))];
  }
  const [low, values] = tableValues(circuit, block), split = Math.floor(point.length / 2);
  const outer = eqTable(point.slice(0, split)), inner = eqTable(point.slice(split)), width = sizeOf(inner);
  let value = ZERO;
  for (let i = 0; i < sizeOf(outer); i++) value = add(value, product(cellDot(values, i * width, inner, width), getAt(outer, i)));
  return [known(add(argument, embed(low))), known(value)];
}
