/** How operations carry functionals from their output back to their operands. */

import { type Axis, Dense, Eq, type Functional, Pieces, type Point } from "./axes.js";
import { windows } from "./convolution.js";
import { add, type Ext, getAt, isOne, newVec, ONE, outer, product, scaled, setAt, sizeOf, sliceOf, total, type Vec, vecOf, ZERO } from "./field.js";
import { NONE, type OpOf, type Tensor, type ViewPiece } from "./program.js";

type Windowed = OpOf<"Conv"> | OpOf<"WindowSum"> | OpOf<"WindowMax">;

/** Height and width axes of the operand's functional; `weights` per tap and direction. True sizes only. */
export function windowAxes(op: Windowed, axes: Functional, source: Tensor, out: Tensor, weights: readonly (readonly Ext[])[]): Axis[] {
  const dilation = op.kind === "WindowSum" ? [1, 1] : op.dilation;
  return [0, 1].map((d) => {
    const from = source.shape.length - 2 + d, to = out.shape.length - 2 + d;
    const entries = sliceOf(axes[axes.length - 2 + d]!.dense(), 0, out.shape[to]!);
    return new Dense(
      windows(entries, weights[d]!, source.padded[from]!, source.shape[from]!, op.stride[d]!, dilation[d]!, op.pads[d]!),
    );
  });
}

/** Weights that select the tap (u, v). */
export function oneTap(kernel: readonly number[], u: number, v: number): Ext[][] {
  return [u, v].map((at, d) => Array.from({ length: kernel[d]! }, (_, i) => (i === at ? ONE : ZERO)));
}

/** The output channel's functional, weighted by eq(groupPoint, group), the group being the channel's top bits. */
export function groupAxis(axis: Axis, groupPoint: Point): Axis {
  if (groupPoint.length === 0) return axis;
  const groups = new Eq(groupPoint).dense(), entries = axis.dense(), inner = sizeOf(entries) / sizeOf(groups);
  const result = newVec(sizeOf(entries));
  for (let i = 0; i < sizeOf(entries); i++) setAt(result, i, product(getAt(entries, i), getAt(groups, Math.floor(i / inner))));
  return new Dense(result);
}

/** The first `size` entries, then zeros up to 2^bits. */
export function filledUp(entries: Vec, size: number, length: number): Dense {
  const result = newVec(length);
  result.set(sliceOf(entries, 0, size));
  return new Dense(result);
}

/** Every axis with zeros from its true size on. */
export const truncated = (axes: Functional, shape: readonly number[]): Functional =>
  axes.map((axis, i) => (shape[i] === 2 ** axis.bits ? axis : filledUp(axis.dense(), shape[i]!, 2 ** axis.bits)));

/** A functional on a Relabel's output as one on its operand; undefined when a vector would have to be cut where it is none. */
export function relabelled(axes: Functional, source: Tensor): Functional | undefined {
  const result: Axis[] = [], rest = [...axes], bits = [...source.bits];
  while (bits.length > 0) {
    const group: Axis[] = [], sizes = [bits.shift()!];
    let covered = 0, wanted = sizes[0]!;
    while (covered !== wanted) {
      if (covered < wanted) {
        const axis = rest.shift()!;
        group.push(axis);
        covered += axis.bits;
      } else {
        const size = bits.shift()!;
        sizes.push(size);
        wanted += size;
      }
    }
    const cut = regrouped(group, sizes);
    if (cut === undefined) return undefined;
    result.push(...cut);
  }
  weighFirst(result, rest);
  return result;
}

/** Axes of one cell are left: their entries go into the first vector. */
function weighFirst(result: Axis[], rest: readonly Axis[]): void {
  let weight = ONE;
  for (const axis of rest) weight = product(weight, axis.total());
  if (!isOne(weight)) result[0] = new Dense(scaled(result[0]!.dense(), weight));
}

/** Vectors over the same variables, as axes of `sizes` variables, the last first; undefined where one cannot be cut. */
function regrouped(group: readonly Axis[], sizes: readonly number[]): Axis[] | undefined {
  const rest = [...group], result: Axis[] = [];
  for (let s = sizes.length - 1; s >= 0; s--) {
    const taken: Axis[] = [];
    let missing = sizes[s]!;
    while (missing > 0) {
      let axis = rest.pop()!;
      if (axis.bits > missing) {
        const parts = cutAxis(axis, missing);
        if (parts === undefined) return undefined;
        rest.push(parts[0]);
        axis = parts[1];
      }
      taken.unshift(axis);
      missing -= axis.bits;
    }
    result.unshift(mergedAxis(taken));
  }
  weighFirst(result, rest);
  return result;
}

/** The axis as an outer product whose second factor has `low` variables. */
function cutAxis(axis: Axis, low: number): readonly [Axis, Axis] | undefined {
  if (axis instanceof Eq) {
    const split = axis.point.length - low;
    return [new Eq(axis.point.slice(0, split)), new Eq(axis.point.slice(split))];
  }
  return axis instanceof Pieces ? axis.cut(low) : undefined;
}

/** The outer product as one axis. */
function mergedAxis(axes: readonly Axis[]): Axis {
  const used = axes.filter((axis) => axis.bits > 0 || !isOne(axis.total()));
  const points = used.flatMap((axis) => (axis instanceof Eq ? [axis.point] : []));
  if (points.length === used.length) return new Eq(points.flat());
  const first = used[0]!, rest = used.slice(1);
  const tail = rest.flatMap((axis) => (axis instanceof Eq ? [axis.point] : []));
  if (first instanceof Pieces && tail.length === rest.length) return first.extended(tail.flat());
  if (rest.length === 0) return first;
  let entries = vecOf([ONE]);
  for (const axis of used) entries = outer(entries, axis.dense());
  return new Dense(entries);
}

const takesAll = (indices: Uint32Array, size: number): boolean => indices.length === size && indices.every((index, i) => index === i);

/** A functional on a View's output as one on the source of `piece`, over the cells that the piece covers. */
export function pieceAxes(piece: ViewPiece, axes: Functional, source: Tensor): Functional {
  const result = new Array<Axis | undefined>(source.shape.length).fill(undefined);
  let weight = ONE;
  axes.forEach((axis, at) => {
    const driven = piece.axes[at]!, indices = piece.indices[at]!;
    if (driven !== NONE && takesAll(indices, source.shape[driven]!)) {
      result[driven] = axis;
      return;
    }
    const entries = axis.dense();
    if (driven === NONE) {
      weight = product(weight, coveredTotal(entries, indices));
      return;
    }
    const target = newVec(source.padded[driven]!);
    indices.forEach((index, j) => {
      if (index !== NONE) setAt(target, index, add(getAt(target, index), getAt(entries, j)));
    });
    result[driven] = new Dense(target);
  });
  const done = result.map((axis, number) => {
    if (axis !== undefined) return axis;
    const target = newVec(source.padded[number]!);
    setAt(target, piece.fixed[number]!, ONE);
    return new Dense(target);
  });
  if (!isOne(weight)) done[0] = new Dense(scaled(done[0]!.dense(), weight));
  return done;
}

function coveredTotal(entries: Vec, indices: Uint32Array): Ext {
  const found: Ext[] = [];
  indices.forEach((index, j) => {
    if (index !== NONE) found.push(getAt(entries, j));
  });
  return total(found);
}

/** The functional's value on the indicator of the cells that `piece` covers. */
export function pieceTotal(piece: ViewPiece, axes: Functional): Ext {
  let result = ONE;
  axes.forEach((axis, at) => {
    result = product(result, coveredTotal(axis.dense(), piece.indices[at]!));
  });
  return result;
}

/** `size` times `entry`, then zeros. */
export function repeated(entry: Ext, size: number, length: number): Dense {
  const result = newVec(length);
  for (let i = 0; i < size; i++) setAt(result, i, entry);
  return new Dense(result);
}

/** A functional on a RowSum's output as one on its operand: ones over the true cells of the summed axes. */
export function rowSumAxes(op: OpOf<"RowSum">, axes: Functional, source: Tensor): Functional {
  const kept = source.shape.length - op.axes;
  const ones = (axis: number, entry: Ext): Axis => repeated(entry, source.shape[axis]!, source.padded[axis]!);
  const summed = source.shape.slice(kept).map((_, i) => ones(kept + i, kept === 0 && i === 0 ? axes[0]!.total() : ONE));
  return [...axes.slice(0, kept), ...summed];
}
