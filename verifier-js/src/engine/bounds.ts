/** What an operation's results must be: shape, bounds and fill, recomputed from its operands. */

import { absolute, bitLength, floorDivided, greatest, least, log2Ceil, rejected } from "./bytes.js";
import { rangeOf } from "./codec.js";
import { type Circuit, magnitude, NONE, type Op, type OpOf, results, type Tensor, type ViewPiece } from "./program.js";

/** Every value lies strictly inside ±2^62. */
export const MAX_MAGNITUDE = 1n << 62n;
const RECIP_ONE = 1n << 46n;
const RECIP_LIMIT = 1n << 30n;
const ISQRT_LIMIT = 1n << 60n;
const MAX_DIGIT_BITS = 40;

export interface Result {
  readonly shape: readonly number[];
  readonly low: bigint;
  readonly high: bigint;
  readonly fill: bigint;
}

type Interval = readonly [bigint, bigint];

export function need(condition: boolean, message: string): void {
  if (!condition) throw rejected("circuit-invalid", message);
}

const same = (x: readonly number[], y: readonly number[]): boolean => x.length === y.length && x.every((value, i) => value === y[i]);
const sum = (values: readonly number[]): number => values.reduce((x, y) => x + y, 0);
const count = (values: readonly number[]): number => values.reduce((x, y) => x * y, 1);

function productOf(a: Interval, b: Interval): Interval {
  const corners = [a[0] * b[0], a[0] * b[1], a[1] * b[0], a[1] * b[1]];
  return [least(...corners), greatest(...corners)];
}

function square(a: Interval): Interval {
  const ends = [a[0] * a[0], a[1] * a[1]];
  return [a[0] <= 0n && 0n <= a[1] ? 0n : least(...ends), greatest(...ends)];
}

/** ⌊(z + 2^(s−1)) / 2^s⌋; z itself for s = 0. */
export function requantT(z: bigint, shift: number): bigint {
  if (shift === 0) return z;
  return (z + (1n << BigInt(shift - 1))) >> BigInt(shift);
}

/** ⌊√v⌋. */
function isqrt(v: bigint): bigint {
  let low = 0n, high = 1n << BigInt((bitLength(v) >> 1) + 1);
  while (low < high) {
    const middle = (low + high + 1n) >> 1n;
    if (middle * middle <= v) low = middle;
    else high = middle - 1n;
  }
  return low;
}

function recip(q: bigint): bigint {
  const e = BigInt(30 - bitLength(q));
  return (RECIP_ONE / (q << e)) << e;
}

function scaledBy(interval: Interval, multiplier: bigint): Interval {
  need(multiplier !== 0n && absolute(multiplier) < 1n << 31n, "a multiplier is 0 or too large");
  return productOf(interval, [multiplier, multiplier]);
}

const interval = (tensor: Tensor): Interval => [tensor.low, tensor.high];

function windows(
  op: { readonly stride: readonly number[]; readonly pads: readonly number[] },
  shape: readonly number[],
  dilation: readonly number[],
  kernel: readonly number[],
): [number, number] {
  const limit = 2 ** 16;
  need(kernel.length === 2 && op.stride.length === 2 && dilation.length === 2 && op.pads.length === 4, "a window is not two-dimensional");
  need([...kernel, ...op.stride, ...dilation].every((v) => 0 < v && v < limit), "a window parameter is out of range");
  need(op.pads.every((v) => v < limit), "a padding is out of range");
  const sizes = [0, 1].map((i) => {
    const size = shape[shape.length - 2 + i]! + op.pads[i]! + op.pads[2 + i]! - dilation[i]! * (kernel[i]! - 1) - 1;
    return Math.floor(size / op.stride[i]!) + 1;
  });
  need(Math.min(...sizes) > 0, "the window does not fit");
  return [sizes[0]!, sizes[1]!];
}

/** What many rules ask about one circuit, found once. */
export class Facts {
  readonly #ranges = new Map<number, Interval>();
  #makers: Map<number, Op> | undefined;

  constructor(readonly circuit: Circuit) {}

  tableRange(table: number): Interval {
    let found = this.#ranges.get(table);
    if (found === undefined) this.#ranges.set(table, (found = rangeOf(this.circuit.tables[table]!.values)));
    return found;
  }

  /** The operation whose exponentials a tensor holds. */
  exponentialsOf(tensor: number): OpOf<"RowMax"> | undefined {
    const made = this.maker(tensor);
    return made?.kind === "RowMax" && made.exp === tensor ? made : undefined;
  }

  /** The operation that a tensor is the result of. Should a broken circuit define it twice, the first definition, which was checked. */
  maker(tensor: number): Op | undefined {
    if (this.#makers === undefined) {
      this.#makers = new Map();
      const inputs = new Set(this.circuit.inputs.map((port) => port.tensor));
      for (const op of this.circuit.ops) for (const out of results(op)) if (!this.#makers.has(out) && !inputs.has(out)) this.#makers.set(out, op);
    }
    return this.#makers.get(tensor);
  }

  /** A bound of |x·f| where f is the reciprocal of its row's norm, or of the sum that x's row is a weighted part of. */
  quotient(x: number, factor: number): bigint | undefined {
    const made = this.maker(factor);
    if (made?.kind !== "Recip") return undefined;
    const divisor = this.maker(made.q);
    if (divisor?.kind === "Isqrt") {
      const squares = this.#sumsSquares(divisor.v, x);
      return squares > 0n ? -floorDivided(-2n * RECIP_ONE, isqrt(squares)) : undefined;
    }
    const mixed = this.maker(x);
    if (divisor?.kind !== "RowSum" || mixed?.kind !== "BatchedMatMul") return undefined;
    const row = divisor.x === mixed.a && divisor.y === NONE && divisor.axes === 1 && divisor.multiplier >= 1n;
    if (!row || this.circuit.tensors[mixed.a]!.low < 0n) return undefined;
    return -floorDivided(-RECIP_ONE * absolute(mixed.multiplier) * magnitude(this.circuit.tensors[mixed.b]!), divisor.multiplier);
  }

  /** M when v is M·Σx² + c along the last axis, M ≥ 1, c ≥ 0; else 0. */
  #sumsSquares(v: number, x: number): bigint {
    let made = this.maker(v), factor = 1n;
    if (made?.kind === "LinearCombination") {
      if (made.sources.length !== 1 || made.multipliers[0]! < 1n || made.constant < 0n) return 0n;
      factor = made.multipliers[0]!;
      made = this.maker(made.sources[0]!);
    }
    if (made?.kind !== "RowSum" || made.x !== x || made.y !== x || made.axes !== 1) return 0n;
    return factor * greatest(0n, made.multiplier);
  }
}

function biasBound(c: Circuit, index: number, channels: number): bigint {
  if (index === NONE) return 0n;
  need(same(c.weights[index]!.shape, [channels]), "the bias has the wrong shape");
  return c.weights[index]!.bound;
}

function dense(
  c: Circuit, op: { readonly weight: number; readonly bias: number; readonly contract: number }, x: Tensor, reach: bigint,
): Result[] {
  const weight = c.weights[op.weight]!;
  need(0 < op.contract && op.contract <= x.shape.length, "it contracts more axes than there are");
  const cut = x.shape.length - op.contract;
  need(same(weight.shape.slice(1), x.shape.slice(cut)) && weight.shape.length > 1, "the weight's shape does not match");
  const bound = weight.rowL1 * reach + biasBound(c, op.bias, weight.shape[0]!);
  return [{ shape: [...x.shape.slice(0, cut), weight.shape[0]!], low: -bound, high: bound, fill: 0n }];
}

function conv(c: Circuit, op: OpOf<"Conv">): Result[] {
  const x = c.tensors[op.x]!, weight = c.weights[op.weight]!;
  need(x.shape.length >= 4 && weight.shape.length === 4, "Conv takes four axes or more, and a weight of four");
  const outChannels = weight.shape[0]!, inner = weight.shape[1]!;
  need(
    op.groups > 0 && x.shape[x.shape.length - 3] === op.groups * inner && outChannels % op.groups === 0,
    "the channels do not match",
  );
  if (op.groups > 1) {
    const twos = (n: number): boolean => 2 ** log2Ceil(n) === n;
    need(twos(inner) && twos(outChannels / op.groups), "channels per group are not a power of two");
  }
  const sizes = windows(op, x.shape, op.dilation, weight.shape.slice(2));
  const bound = weight.rowL1 * magnitude(x) + biasBound(c, op.bias, outChannels);
  return [{ shape: [...x.shape.slice(0, -3), outChannels, ...sizes], low: -bound, high: bound, fill: 0n }];
}

function batched(c: Circuit, op: OpOf<"BatchedMatMul">): Result[] {
  const a = c.tensors[op.a]!, b = c.tensors[op.b]!, rank = a.shape.length;
  need(rank === b.shape.length && rank >= 2 && same(a.shape.slice(0, -2), b.shape.slice(0, -2)), "the leading axes differ");
  need(a.shape[rank - 1] === b.shape[rank - 2], "the inner axes differ");
  const [low, high] = productOf(interval(a), interval(b)), terms = BigInt(a.shape[rank - 1]!);
  const [least_, most] = scaledBy([low * terms, high * terms], op.multiplier);
  return [{ shape: [...a.shape.slice(0, -1), b.shape[rank - 1]!], low: least_, high: most, fill: 0n }];
}

function plain(shape: readonly number[], [low, high]: Interval): Result[] {
  return [{ shape, low, high, fill: 0n }];
}

function combination(c: Circuit, op: OpOf<"LinearCombination">): Result[] {
  need(op.sources.length > 0 && op.sources.length === op.multipliers.length, "sources and multipliers differ in number");
  need(new Set(op.sources).size === op.sources.length, "a source occurs twice");
  const shape = c.tensors[op.sources[0]!]!.shape;
  let low = op.constant, high = op.constant;
  op.sources.forEach((source, i) => {
    need(same(c.tensors[source]!.shape, shape), "the shapes differ");
    const [least_, most] = scaledBy(interval(c.tensors[source]!), op.multipliers[i]!);
    low += least_;
    high += most;
  });
  return plain(shape, [low, high]);
}

function windowSum(c: Circuit, op: OpOf<"WindowSum">): Result[] {
  const x = c.tensors[op.x]!;
  need(x.shape.length >= 4, "WindowSum takes four axes or more");
  const sizes = windows(op, x.shape, [1, 1], op.kernel), taps = BigInt(count(op.kernel));
  const padded = op.pads.some((pad) => pad !== 0);
  const low = padded ? least(0n, x.low) : x.low, high = padded ? greatest(0n, x.high) : x.high;
  return plain([...x.shape.slice(0, -2), ...sizes], scaledBy([low * taps, high * taps], op.multiplier));
}

function rowSum(c: Circuit, facts: Facts, op: OpOf<"RowSum">): Result[] {
  const x = c.tensors[op.x]!;
  need(0 < op.axes && op.axes <= x.shape.length, "RowSum sums more axes than there are");
  const cut = x.shape.length - op.axes, rows = cut > 0 ? x.shape.slice(0, cut) : [1], terms = BigInt(count(x.shape.slice(cut)));
  let found: Interval;
  if (op.y === NONE) {
    found = [x.low * terms, x.high * terms];
    const maximum = facts.exponentialsOf(op.x);
    if (maximum !== undefined && op.axes === 1) {
      const table = c.tables[maximum.table]!, top = BigInt(table.values[Number(-table.low)]!);
      found = [top + x.low * (terms - 1n), top + x.high * (terms - 1n)];
    }
  } else {
    const y = c.tensors[op.y]!;
    need(same(x.shape, y.shape), "the shapes differ");
    const [low, high] = op.x === op.y ? square(interval(x)) : productOf(interval(x), interval(y));
    found = [low * terms, high * terms];
  }
  return plain(rows, scaledBy(found, op.multiplier));
}

const atZero = (c: Circuit, table: number): bigint => BigInt(c.tables[table]!.values[Number(-c.tables[table]!.low)]!);

function requant(c: Circuit, facts: Facts, op: OpOf<"Requant">): Result[] {
  const z = c.tensors[op.z]!, table = c.tables[op.table]!;
  need(table.low < 0n, "the table's domain does not start at −2^(w−1)");
  need(sum(op.limbs) === op.shift && op.limbs.every((b) => 0 < b && b <= 16), "the limb widths do not add up to the shift");
  need(op.shift + table.width <= 62, "s + w is greater than 62");
  const low = requantT(z.low, op.shift), high = requantT(z.high, op.shift);
  need(op.saturate === (low < table.low || high > table.high), "the saturation flag does not follow from the bounds");
  if (op.saturate) {
    const half = BigInt(table.width - 1);
    need((high >> half) - (low >> half) < 1n << 16n, "the split's upper half has more than 2^16 values");
  }
  const [least_, most] = facts.tableRange(op.table);
  return [{ shape: z.shape, low: least_, high: most, fill: atZero(c, op.table) }];
}

function lookup(c: Circuit, facts: Facts, op: OpOf<"Lookup">): Result[] {
  const x = c.tensors[op.x]!, table = c.tables[op.table]!;
  need(table.low < 0n, "the table's domain does not start at −2^(w−1)");
  need(table.low <= x.low && x.high <= table.high, "a reachable value lies outside the table");
  const [least_, most] = facts.tableRange(op.table);
  return [{ shape: x.shape, low: least_, high: most, fill: atZero(c, op.table) }];
}

function windowMax(c: Circuit, op: OpOf<"WindowMax">): Result[] {
  const x = c.tensors[op.x]!;
  need(x.shape.length >= 4, "WindowMax takes four axes or more");
  const sizes = windows(op, x.shape, op.dilation, op.kernel);
  need(count(op.kernel) <= 4, "WindowMax takes at most four taps");
  need(x.high - x.low < 1n << 32n, "the operand's span is too wide");
  return [{ shape: [...x.shape.slice(0, -2), ...sizes], low: x.low, high: x.high, fill: x.low }];
}

const rowsOf = (x: Tensor): readonly number[] => (x.shape.length > 1 ? x.shape.slice(0, -1) : [1]);
const lastOf = (x: Tensor): number => x.shape[x.shape.length - 1]!;

function rowMax(c: Circuit, facts: Facts, op: OpOf<"RowMax">): Result[] {
  const x = c.tensors[op.x]!, table = c.tables[op.table]!;
  need(table.low === 0n && Number(table.values[table.values.length - 1]!) === 0, "the table is not on [0, 2^w) with T[D] = 0");
  need(x.high - x.low < 1n << 32n, "the operand's span is too wide");
  need(lastOf(x) < 2 ** 16, "a row has 2^16 cells or more");
  need(op.saturate === x.high - x.low > table.high, "the saturation flag does not follow from the bounds");
  const rows: Result = { shape: rowsOf(x), low: x.low, high: x.high, fill: 0n };
  const [least_, most] = facts.tableRange(op.table);
  if (op.exp === NONE) {
    need(least_ === 0n && most === 0n, "without E the table is all zeros");
    return [rows];
  }
  return [rows, { shape: x.shape, low: least_, high: most, fill: 0n }];
}

function limbs(widths: readonly number[], what: string): void {
  need(widths.length > 0 && widths.every((b) => 0 < b && b <= 16), `a width of the ${what} is not in [1, 16]`);
}

function rescale(c: Circuit, op: OpOf<"Rescale">): Result[] {
  const z = c.tensors[op.z]!, bits = sum(op.digits);
  limbs(op.limbs, "limbs");
  limbs(op.digits, "digits");
  need(sum(op.limbs) === op.shift, "the limb widths do not add up to the shift");
  need(bits <= MAX_DIGIT_BITS && op.shift + bits <= 62, "more than 40 bits of digits, or more than 62 with the shift");
  const half = 1n << BigInt(bits - 1);
  const low = greatest(requantT(z.low, op.shift), -half), high = least(requantT(z.high, op.shift), half - 1n);
  need(low <= high, "no value of the operand is in reach of the digits");
  return plain(z.shape, [low, high]);
}

function rowScale(c: Circuit, facts: Facts, op: OpOf<"RowScale">): Result[] {
  const x = c.tensors[op.x]!, factor = c.tensors[op.factor]!;
  need(same(factor.shape, rowsOf(x)), "the factors are not one per row");
  let [low, high] = productOf(interval(x), interval(factor));
  const quotient = facts.quotient(op.x, op.factor);
  if (quotient !== undefined) {
    low = greatest(low, -quotient);
    high = least(high, quotient);
  }
  return plain(x.shape, scaledBy([low, high], op.multiplier));
}

/** Normal form of the set of true cells in the padded row-major order: (true, padded) with mergeable axes merged. */
function boxForm(shape: readonly number[]): [number, number][] {
  const merged: [number, number][] = [];
  for (const size of shape) {
    let inner: [number, number] = [size, 2 ** log2Ceil(size)];
    const last = merged[merged.length - 1];
    if (last !== undefined && (inner[0] === inner[1] || last[0] === 1)) {
      merged.pop();
      inner = [inner[0] === inner[1] ? last[0] * inner[1] : inner[0], last[1] * inner[1]];
    }
    if (inner[1] > 1) merged.push(inner);
  }
  return merged;
}

function relabel(c: Circuit, op: OpOf<"Relabel">, shape: readonly number[]): Result[] {
  const x = c.tensors[op.x]!, a = boxForm(x.shape), b = boxForm(shape);
  need(a.length === b.length && a.every((one, i) => same(one, b[i]!)), "the true cells are not the same set");
  return plain(shape, interval(x));
}

function view(c: Circuit, op: OpOf<"View">, shape: readonly number[]): Result[] {
  need(op.pieces.length > 0, "a view without pieces");
  let low = op.constant, high = op.constant, covered = 0;
  const takers = shape.map(() => new Map<number, bigint>());
  op.pieces.forEach((piece, number) => {
    const source = c.tensors[piece.source]!, box = pieceBox(source, piece, shape);
    covered += count(box.map((one) => one.length));
    low = least(low, source.low);
    high = greatest(high, source.high);
    need(!taken(takers, box, number), "two pieces overlap");
  });
  if (covered === count(shape)) {
    need(op.constant === 0n, "a constant that no cell reads is not 0");
    [low, high] = interval(c.tensors[op.pieces[0]!.source]!);
    for (const piece of op.pieces) {
      low = least(low, c.tensors[piece.source]!.low);
      high = greatest(high, c.tensors[piece.source]!.high);
    }
  }
  return plain(shape, [low, high]);
}

/** Whether an earlier piece covers a cell of `box`; if not, piece `number` takes it. Per axis and coordinate: pieces, as bits. */
function taken(takers: readonly Map<number, bigint>[], box: readonly (readonly number[])[], number: number): boolean {
  let common = -1n;
  for (let axis = 0; axis < box.length && common !== 0n; axis++) {
    let some = 0n;
    for (const coordinate of box[axis]!) some |= takers[axis]!.get(coordinate) ?? 0n;
    common &= some;
  }
  if (common !== 0n) return number > 0;
  const bit = 1n << BigInt(number);
  box.forEach((coordinates, axis) => {
    const mine = takers[axis]!;
    for (const coordinate of coordinates) mine.set(coordinate, (mine.get(coordinate) ?? 0n) | bit);
  });
  return false;
}

/** The covered coordinates per output axis, after checking every index. */
function pieceBox(source: Tensor, piece: ViewPiece, shape: readonly number[]): number[][] {
  need(piece.axes.length === shape.length && piece.indices.length === shape.length, "a piece does not have one map per output axis");
  need(piece.fixed.length === source.shape.length, "a piece does not have one constant per source axis");
  const driven = piece.axes.filter((axis) => axis !== NONE);
  need(new Set(driven).size === driven.length && driven.every((axis) => axis < source.shape.length), "a source axis is driven twice");
  piece.fixed.forEach((constant, axis) => {
    need(driven.includes(axis) ? constant === NONE : constant < source.shape[axis]!, "a source axis is neither driven nor constant, or both");
  });
  return shape.map((size, at) => {
    const axis = piece.axes[at]!, indices = piece.indices[at]!, limit = axis === NONE ? 1 : source.shape[axis]!;
    need(indices.length === size && indices.every((i) => i < limit || i === NONE), "an index is out of range");
    const box: number[] = [];
    indices.forEach((index, position) => {
      if (index !== NONE) box.push(position);
    });
    need(box.length > 0, "a piece covers nothing");
    return box;
  });
}

function gather(c: Circuit, op: OpOf<"Gather">, shape: readonly number[]): Result[] {
  const x = c.tensors[op.x]!;
  need(op.indices.length === count(shape) && op.indices.every((i) => i < x.size || i === NONE), "an index is out of range");
  const holes = op.indices.includes(NONE);
  need(holes || op.constant === 0n, "a constant that no cell reads is not 0");
  need(op.indices.some((i) => i !== NONE), "a gather reads nothing");
  const more = holes ? [op.constant] : [];
  return plain(shape, [least(x.low, ...more), greatest(x.high, ...more)]);
}

function rule(c: Circuit, facts: Facts, op: Op, shape: readonly number[]): Result[] {
  switch (op.kind) {
    case "MatMul": return dense(c, op, c.tensors[op.x]!, magnitude(c.tensors[op.x]!));
    case "Conv": return conv(c, op);
    case "BatchedMatMul": return batched(c, op);
    case "Mul": {
      const a = c.tensors[op.a]!, b = c.tensors[op.b]!;
      need(same(a.shape, b.shape), "the shapes differ");
      return plain(a.shape, scaledBy(op.a === op.b ? square(interval(a)) : productOf(interval(a), interval(b)), op.multiplier));
    }
    case "LinearCombination": return combination(c, op);
    case "WindowSum": return windowSum(c, op);
    case "RowSum": return rowSum(c, facts, op);
    case "Requant": return requant(c, facts, op);
    case "Lookup": return lookup(c, facts, op);
    case "WindowMax": return windowMax(c, op);
    case "RowMax": return rowMax(c, facts, op);
    case "Recip": {
      const q = c.tensors[op.q]!;
      need(q.low >= 1n && q.high < RECIP_LIMIT, "the operand is not in [1, 2^30)");
      return [{ shape: q.shape, low: recip(q.high), high: recip(q.low), fill: RECIP_ONE }];
    }
    case "Isqrt": {
      const v = c.tensors[op.v]!;
      need(v.low >= 0n && v.high < ISQRT_LIMIT, "the operand is not in [0, 2^60)");
      return plain(v.shape, [isqrt(v.low), isqrt(v.high)]);
    }
    case "ArgMax": {
      const x = c.tensors[op.x]!;
      need(x.high - x.low < 1n << 32n, "the operand's span is too wide");
      need(lastOf(x) < 2 ** 16, "a row has 2^16 cells or more");
      return plain(rowsOf(x), [0n, BigInt(lastOf(x) - 1)]);
    }
    case "Rescale": return rescale(c, op);
    case "GatedMatMul": {
      const a = c.tensors[op.a]!, b = c.tensors[op.b]!;
      need(same(a.shape, b.shape), "the shapes differ");
      return dense(c, op, a, magnitude(a) * magnitude(b));
    }
    case "RowScale": return rowScale(c, facts, op);
    case "WeightRows": {
      const index = c.tensors[op.index]!, weight = c.weights[op.weight]!;
      need(weight.shape.length > 1, "a weight of one axis has no rows");
      need(index.low >= 0n && index.high < BigInt(weight.shape[0]!), "an index is not a row of the weight");
      return plain([...index.shape, ...weight.shape.slice(1)], [-weight.bound, weight.bound]);
    }
    case "TopIndex": {
      const x = c.tensors[op.x]!;
      limbs(op.digits, "digits");
      need(sum(op.digits) <= MAX_DIGIT_BITS, "more than 40 bits of digits");
      need(lastOf(x) < 2 ** 20, "a row has 2^20 cells or more");
      return plain(rowsOf(x), [0n, BigInt(lastOf(x) - 1)]);
    }
    case "Relabel": return relabel(c, op, shape);
    case "View": return view(c, op, shape);
    case "Gather": return gather(c, op, shape);
  }
}

/** The results of `op`, whose operands exist and whose indices are in range; `shape`: of the first result as declared. */
export function infer(circuit: Circuit, op: Op, shape: readonly number[], facts: Facts): Result[] {
  const found = rule(circuit, facts, op, shape);
  for (const result of found) need(result.low > -MAX_MAGNITUDE && result.high < MAX_MAGNITUDE, "no-wrap: a value could reach 2^62");
  return found;
}
