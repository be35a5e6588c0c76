/**
 * Linear functionals on padded tensors: one vector over F per axis, their outer product being the weights of the cells.
 *
 * The first coordinate of a point belongs to the highest bit of an index.
 */

import { shiftedDown } from "./bytes.js";
import {
  add, cellDot, type Cells, dot, equal, type Ext, getAt, newVec, ONE, outer, product, setAt, sizeOf, sliceOf, sub, sumOf,
  total, type Vec, ZERO, scaled, vecOf,
} from "./field.js";
import { NO_AXIS, type Storage, stored } from "./storage.js";

export type Point = readonly Ext[];

/** eq(point, i) for all i. */
export function eqTable(point: Point): Vec {
  const result = newVec(2 ** point.length);
  setAt(result, 0, ONE);
  let size = 1;
  for (let k = point.length - 1; k >= 0; k--, size *= 2) {
    const r = point[k]!;
    for (let i = 0; i < size; i++) {
      const x = getAt(result, i), high = product(x, r);
      setAt(result, size + i, high);
      setAt(result, i, sub(x, high));
    }
  }
  return result;
}

const RECENT = 64;
/** Of all tables that are kept, whatever a circuit asks for. */
export const RECENT_ENTRIES = 2 ** 18;
const recent: { readonly point: Point; readonly table: Vec }[] = [];
let recentEntries = 0;

/** {@link eqTable}, kept for the points of late: the openings ask for one point's table once per claim. */
function recentTable(point: Point): Vec {
  const before = recent.findIndex((one) => one.point.length === point.length && one.point.every((r, i) => r === point[i]));
  if (before >= 0) return recent[before]!.table;
  const table = eqTable(point);
  if (sizeOf(table) > RECENT_ENTRIES) return table;
  recent.push({ point: [...point], table });
  recentEntries += sizeOf(table);
  while (recent.length > RECENT || recentEntries > RECENT_ENTRIES) recentEntries -= sizeOf(recent.shift()!.table);
  return table;
}

/** eq(left, right) = Π (l·r + (1 − l)(1 − r)). */
export function eqPoints(left: Point, right: Point): Ext {
  let result = ONE;
  for (let i = 0; i < left.length; i++) {
    const x = left[i]!, y = right[i]!, both = product(x, y);
    result = product(result, add(sub(sub(ONE, x), y), add(both, both)));
  }
  return result;
}

/** eq(bits of index, point). */
export function eqIndex(index: number, point: Point): Ext {
  let result = ONE;
  for (let position = 0; position < point.length; position++) {
    const r = point[position]!, bit = shiftedDown(index, point.length - 1 - position) % 2;
    result = product(result, bit === 1 ? r : sub(ONE, r));
  }
  return result;
}

/** Extension of i ↦ i: Σ 2^j·r_j. */
export function integerExtension(point: Point): Ext {
  let result = ZERO;
  for (const r of point) result = add(add(result, result), r);
  return result;
}

/** One vector of 2^bits entries. */
export interface Axis {
  readonly bits: number;
  /** All entries. Not to be changed. */
  dense(): Vec;
  /** Sum of all entries. */
  total(): Ext;
  /** Sum of the first `count` entries. */
  first(count: number): Ext;
  /** The vector's multilinear extension at `point`. */
  at(point: Point): Ext;
  /** Whether the other is the same vector, given in the same way. */
  same(other: Axis): boolean;
}

export type Functional = readonly Axis[];

const samePoint = (x: Point, y: Point): boolean => x.length === y.length && x.every((r, i) => equal(r, y[i]!));

/** The vector eq(point, ·). */
export class Eq implements Axis {
  constructor(readonly point: Point) {}

  get bits(): number {
    return this.point.length;
  }

  dense(): Vec {
    return recentTable(this.point);
  }

  total(): Ext {
    return ONE;
  }

  first(count: number): Ext {
    if (count === 2 ** this.point.length) return ONE;
    let result = ZERO, weight = ONE;
    for (let position = 0; position < this.point.length; position++) {
      const high = product(weight, this.point[position]!), low = sub(weight, high);
      if (shiftedDown(count, this.point.length - 1 - position) % 2 === 1) {
        result = add(result, low);
        weight = high;
      } else {
        weight = low;
      }
    }
    return result;
  }

  at(point: Point): Ext {
    return eqPoints(this.point, point);
  }

  same(other: Axis): boolean {
    return other instanceof Eq && samePoint(this.point, other.point);
  }
}

/** A vector given by its 2^k entries. */
export class Dense implements Axis {
  readonly bits: number;

  constructor(readonly values: Vec) {
    this.bits = Math.ceil(Math.log2(sizeOf(values)));
  }

  dense(): Vec {
    return this.values;
  }

  total(): Ext {
    return sumOf(this.values);
  }

  first(count: number): Ext {
    return sumOf(this.values, 0, Math.min(count, sizeOf(this.values)));
  }

  at(point: Point): Ext {
    return dot(this.values, recentTable(point));
  }

  same(other: Axis): boolean {
    return other instanceof Dense && other.values.length === this.values.length && other.values.every((limb, i) => limb === this.values[i]);
  }
}

/** A vector that is 0 but at a few places, ascending. */
export class Sparse implements Axis {
  constructor(
    readonly bits: number,
    readonly entries: readonly (readonly [number, Ext])[],
  ) {}

  dense(): Vec {
    const values = newVec(2 ** this.bits);
    for (const [place, entry] of this.entries) setAt(values, place, entry);
    return values;
  }

  total(): Ext {
    return total(this.entries.map(([, entry]) => entry));
  }

  first(count: number): Ext {
    return total(this.entries.filter(([place]) => place < count).map(([, entry]) => entry));
  }

  at(point: Point): Ext {
    return total(this.entries.map(([place, entry]) => product(entry, eqIndex(place, point))));
  }

  same(other: Axis): boolean {
    if (!(other instanceof Sparse) || other.bits !== this.bits || other.entries.length !== this.entries.length) return false;
    return this.entries.every(([place, entry], i) => place === other.entries[i]![0] && equal(entry, other.entries[i]![1]));
  }
}

/** The vector with these entries; those of one place are added up. */
export function sparse(bits: number, entries: Iterable<readonly [number, Ext]>): Sparse {
  const found = new Map<number, Ext>();
  for (const [place, entry] of entries) found.set(place, add(found.get(place) ?? ZERO, entry));
  return new Sparse(bits, [...found].sort((x, y) => x[0] - y[0]));
}

/** weight·eq(point, ·) on 2^len(point) places from `start` on. */
export interface Segment {
  readonly start: number;
  readonly weight: Ext;
  readonly point: Point;
}

const stopOf = (one: Segment): number => one.start + 2 ** one.point.length;

/** A vector that is 0 outside its segments, which do not overlap. */
export class Pieces implements Axis {
  constructor(
    readonly bits: number,
    readonly segments: readonly Segment[],
  ) {}

  dense(): Vec {
    const entries = newVec(2 ** this.bits);
    for (const one of this.segments) entries.set(scaled(recentTable(one.point), one.weight), 8 * one.start);
    return entries;
  }

  total(): Ext {
    return total(this.segments.map((one) => one.weight));
  }

  first(count: number): Ext {
    let result = ZERO;
    for (const one of this.segments) {
      if (one.start >= count) continue;
      result = add(result, stopOf(one) <= count ? one.weight : product(one.weight, new Eq(one.point).first(count - one.start)));
    }
    return result;
  }

  at(point: Point): Ext {
    let result = ZERO;
    for (const one of this.segments) {
      const split = this.bits - one.point.length;
      const value = product(eqIndex(shiftedDown(one.start, one.point.length), point.slice(0, split)), eqPoints(one.point, point.slice(split)));
      result = add(result, product(one.weight, value));
    }
    return result;
  }

  same(other: Axis): boolean {
    if (!(other instanceof Pieces) || other.bits !== this.bits || other.segments.length !== this.segments.length) return false;
    return this.segments.every((one, i) => {
      const its = other.segments[i]!;
      return one.start === its.start && equal(one.weight, its.weight) && samePoint(one.point, its.point);
    });
  }

  entry(place: number): Ext {
    for (const one of this.segments) {
      if (one.start <= place && place < stopOf(one)) return product(one.weight, eqIndex(place - one.start, one.point));
    }
    return ZERO;
  }

  /** This vector as an outer product, the second factor over the `low` last variables; undefined where it is none. */
  cut(low: number): readonly [Axis, Axis] | undefined {
    if (this.segments.some((one) => one.point.length < low)) return undefined;
    const tails = this.segments.map((one) => one.point.slice(one.point.length - low));
    if (tails.length === 0 || tails.some((tail) => !samePoint(tail, tails[0]!))) return undefined;
    const heads = this.segments.map((one) => ({
      start: shiftedDown(one.start, low), weight: one.weight, point: one.point.slice(0, one.point.length - low),
    }));
    return [new Pieces(this.bits - low, heads), new Eq(tails[0]!)];
  }

  /** The outer product with eq(low, ·), whose variables come below. */
  extended(low: Point): Pieces {
    const longer = this.segments.map((one) => ({ start: one.start * 2 ** low.length, weight: one.weight, point: [...one.point, ...low] }));
    return new Pieces(this.bits + low.length, longer);
  }

  /** Σ of the products of equal entries. */
  pairing(other: Axis): Ext {
    if (other instanceof Eq) return this.at(other.point);
    if (other instanceof Sparse) return total(other.entries.map(([place, entry]) => product(entry, this.entry(place))));
    let result = ZERO;
    if (other instanceof Pieces && this.#sameEnds(other)) {
      this.segments.forEach((mine, i) => {
        const its = other.segments[i]!;
        result = add(result, product(product(mine.weight, its.weight), eqPoints(mine.point, its.point)));
      });
      return result;
    }
    const entries = other.dense();
    for (const one of this.segments) {
      const value = dot(sliceOf(entries, one.start, 2 ** one.point.length), recentTable(one.point));
      result = add(result, product(one.weight, value));
    }
    return result;
  }

  #sameEnds(other: Pieces): boolean {
    return (
      other.segments.length === this.segments.length &&
      this.segments.every((one, i) => one.start === other.segments[i]!.start && one.point.length === other.segments[i]!.point.length)
    );
  }
}

/** The evaluation at `point`, split over axes of `bits` variables. */
export function pointAxes(point: Point, bits: readonly number[]): Axis[] {
  let start = 0;
  return bits.map((width) => {
    start += width;
    return new Eq(point.slice(start - width, start));
  });
}

export const sameFunctional = (x: Functional, y: Functional): boolean => x.length === y.length && x.every((axis, i) => axis.same(y[i]!));

/** eq(point, address) of every place of the long axis, the variables of the others being left out: one segment per piece. */
export function located(storage: Storage, addresses: readonly number[], point: Point): Pieces {
  const cut = point.length - storage.logRest;
  const segments = storage.pieces.map((piece, i) => ({
    start: piece.start,
    weight: eqIndex(shiftedDown(addresses[i]!, storage.logRest + piece.log), point.slice(0, cut - piece.log)),
    point: point.slice(cut - piece.log, cut),
  }));
  return new Pieces(storage.axis === NO_AXIS ? 0 : storage.bits[storage.axis]!, segments);
}

/** The extension at `point` of the cells' weights under `axes`; `places`: {@link located} at the same point. */
export function locatedWeight(storage: Storage, axes: Functional, places: Pieces, point: Point): Ext {
  const rest = point.slice(point.length - storage.logRest);
  if (storage.axis === NO_AXIS) return product(places.total(), weightAt(axes, rest));
  const others = axes.filter((_, axis) => axis !== storage.axis);
  return product(places.pairing(axes[storage.axis]!), weightAt(others, rest));
}

/** The functional's value on the mask: 1 on true cells, else 0. */
export function trueTotal(axes: Functional, shape: readonly number[]): Ext {
  let result = ONE;
  axes.forEach((axis, i) => {
    result = product(result, axis.first(shape[i]!));
  });
  return result;
}

/** The functional's value on the stored box: 1 on stored cells, padding included. */
export const storedTotal = (axes: Functional, shape: readonly number[]): Ext => trueTotal(axes, stored(shape).box);

/** The functional's value on stored padding. */
export const paddingTotal = (axes: Functional, shape: readonly number[]): Ext => sub(storedTotal(axes, shape), trueTotal(axes, shape));

/** The multilinear extension of the functional's weights at `point`. */
export function weightAt(axes: Functional, point: Point): Ext {
  let result = ONE, start = 0;
  for (const axis of axes) {
    result = product(result, axis.at(point.slice(start, start + axis.bits)));
    start += axis.bits;
  }
  return result;
}

const MERGED = 4096;

/** The functional on true `cells`, row-major, padding being 0; `start`, `size`: of the cells that count. */
export function evaluate(axes: Functional, shape: readonly number[], cells: Cells, start = 0): Ext {
  const head = axes[0]!;
  if (head instanceof Sparse && axes.length > 1) {
    const row = shape.slice(1).reduce((x, y) => x * y, 1);
    let sum = ZERO;
    for (const [place, entry] of head.entries) {
      if (place < shape[0]!) sum = add(sum, product(entry, evaluate(axes.slice(1), shape.slice(1), cells, start + place * row)));
    }
    return sum;
  }
  const size = shape.reduce((x, y) => x * y, 1);
  const factors = axes.map((axis, i) => sliceOf(axis.dense(), 0, shape[i]!));
  let last = factors.pop()!;
  while (factors.length > 0 && sizeOf(factors[factors.length - 1]!) * sizeOf(last) <= MERGED) last = outer(factors.pop()!, last);
  const width = sizeOf(last);
  let values = newVec(size / width);
  for (let i = 0; i < size / width; i++) setAt(values, i, cellDot(cells, start + i * width, last, width));
  while (factors.length > 0) {
    const factor = factors.pop()!, length = sizeOf(factor), shorter = newVec(sizeOf(values) / length);
    for (let i = 0; i < sizeOf(shorter); i++) setAt(shorter, i, dot(sliceOf(values, i * length, length), factor));
    values = shorter;
  }
  return getAt(values, 0);
}

/** The functional's weight of every true cell, row-major. */
export function cellWeights(axes: Functional, shape: readonly number[]): Vec {
  let weights = vecOf([ONE]);
  axes.forEach((axis, i) => {
    weights = outer(weights, sliceOf(axis.dense(), 0, shape[i]!));
  });
  return weights;
}

