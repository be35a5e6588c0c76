/** LogUp with GKR: each sum of fractions on the bus is 0, down to one claim on numerators and denominators at one point. */

import { eqIndex, eqTable, type Functional, integerExtension, located, type Point, pointAxes } from "./axes.js";
import { type Group, type LookupBlock, type TableBlock, tableValues, WIDTH } from "./buses.js";
import { shiftedDown } from "./bytes.js";
import { type Claim, known, NOTHING } from "./claims.js";
import { add, cellDot, embed, type Ext, getAt, MINUS_ONE, ONE, product, scale, sizeOf, sub, type Vec, ZERO } from "./field.js";
import type { Circuit } from "./program.js";
import { type Channel, eqRounds } from "./rounds.js";
import { NO_AXIS } from "./storage.js";

/** What the layers leave to be checked: both extensions at one point. */
export interface Leaves {
  readonly point: Point;
  readonly numerator: Claim;
  readonly denominator: Claim;
}

/** From the sums, the nodes of layer `logSums`, each with numerator 0 and denominator not 0, down to the leaves. */
export function checkLayers(channel: Channel, logLeaves: number, logSums: number): Leaves {
  const roots = channel.receive("lookups.root", 2 ** logSums);
  for (const root of roots) root.assertNonzero("lookups.root");
  let point: Point = Array.from({ length: logSums }, () => channel.challenge("lookups.sum"));
  let numerator = NOTHING, denominator = roots[0]!;
  if (logSums > 0) {
    const shares = eqTable(point);
    denominator = roots.reduce((sum, root, i) => sum.plus(root.scale(getAt(shares, i))), NOTHING);
  }
  for (let layer = logSums; layer < logLeaves; layer++) {
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
  /** Within a sum; and every sum's weight at the rest of the leaves' point. */
  readonly #point: Point;
  readonly #shares: Vec;
  readonly #whole = new Map<string, readonly [Functional, Ext]>();
  readonly #grouped = new Map<Group, readonly [Functional, Ext]>();

  constructor(
    readonly leaves: Leaves,
    logSums: number,
    readonly alpha: Ext,
    readonly beta: Ext,
  ) {
    let identity = ONE;
    for (let i = 0; i < WIDTH; i++) identity = product(identity, beta);
    this.#identity = identity;
    this.#point = leaves.point.slice(0, leaves.point.length - logSums);
    this.#shares = eqTable(leaves.point.slice(leaves.point.length - logSums));
  }

  /** The weights of the lookup's cells at the point, but for one factor; the same object where they are the same. */
  functional(block: LookupBlock): Functional {
    return this.#weights(block.group)[0];
  }

  #weights(group: Group): readonly [Functional, Ext] {
    const storage = group.storage, point = this.#point, below = point.length - storage.logRest, rest = point.slice(below);
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
    const group = block.group, point = this.#point, below = point.length - group.storage.logRest;
    const found =
      group.storage.axis === NO_AXIS
        ? eqIndex(shiftedDown(group.addresses[0]!, group.storage.logRest), point.slice(0, below))
        : eqIndex(block.member, point.slice(below - group.logMembers, below));
    return product(found, getAt(this.#shares, group.sum));
  }

  /** The point within a block of 2^logSize leaves. */
  localPoint(logSize: number): Point {
    return this.#point.slice(this.#point.length - logSize);
  }

  /** A lookup whose columns have the values `row` under its functional. */
  lookup(block: LookupBlock, row: readonly Claim[]): void {
    this.#add(this.#factor(block), this.#weights(block.group)[1], block.table, row, known(ONE));
  }

  /** A table's block with its multiplicity column's value. */
  table(number: number, block: TableBlock, row: readonly Claim[], count: Claim): void {
    const high = this.#point.slice(0, this.#point.length - block.logSize);
    const selector = product(eqIndex(shiftedDown(block.offset, block.logSize), high), getAt(this.#shares, block.sum));
    this.#add(selector, ONE, number, row, count.scale(MINUS_ONE));
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
