/**
 * The script of the operations: extra checks, products that lookups took for granted, and how claims on virtual results move to
 * operands. docs/engine/protocol.md, "Operations". Every equation is about integers, which the no-wrap rule bounds.
 */

import { cellWeights, Eq, eqIndex, eqTable, type Functional, paddingTotal, type Point, pointAxes, sameFunctional, sparse, trueTotal, weightAt } from "./axes.js";
import { taps } from "./buses.js";
import { unsupported } from "./bytes.js";
import type { Claim } from "./claims.js";
import { add, embed, type Ext, getAt, inverse, ONE, product, scale, sub, twoTo, ZERO } from "./field.js";
import { groupAxis, pieceAxes, pieceTotal, relabelled, repeated, rowSumAxes, windowAxes } from "./geometry.js";
import { columnKey } from "./layout.js";
import { type Party, readMasked } from "./party.js";
import { holdsResults, NONE, type Op, type OpOf, type Tensor } from "./program.js";
import { cellAxes, difference, indices, ones, quotient, requantLimbs, rowAxes, tap } from "./rows.js";

const sum = (values: readonly number[]): number => values.reduce((x, y) => x + y, 0);
const reciprocalOf = (multiplier: bigint): Ext => inverse(embed(multiplier));

// --- checks besides the lookups ---

function checkMaximum(party: Party, op: OpOf<"WindowMax">): void {
  const out = party.circuit.tensors[op.out]!, window = taps(op.kernel);
  const anchor = party.challenges("max.anchor", out.logCells);
  const { claim, point } = party.zeroCheck("max", anchor, window.length);
  const axes = pointAxes(point, out.bits), largest = party.read(op.out, axes, "max.y");
  let factors = window.map(([u, v]) => largest.minus(tap(party, op, axes, u, v)));
  while (factors.length > 2) {
    factors = [...factors.slice(2), party.intermediate(factors[0]!.times(factors[1]!), "max.product")];
  }
  const ends = factors.length === 2 ? factors[0]!.times(factors[1]!) : factors[0]!;
  ends.minus(claim).assertZero("max");
}

function checkArgMax(party: Party, number: number, op: OpOf<"ArgMax">): void {
  const source = party.circuit.tensors[op.x]!, out = party.circuit.tensors[op.out]!;
  const rows = pointAxes(party.challenges("argmax.anchor", out.logCells), out.bits);
  const every = cellAxes(rows, ones(source), source);
  const one = party.committed(columnKey(number, 0), every, "argmax.one");
  one.shift(scale(trueTotal(rows, out.shape), -1)).assertZero("argmax");
  const index = party.committed(columnKey(number, 0), cellAxes(rows, indices(source), source), "argmax.index");
  index.minus(party.read(op.out, rows, "argmax.k")).assertZero("argmax");
  const largest = party.committed(columnKey(number, 1), rows, "argmax.v");
  const { claim, point } = party.weighted("argmax", largest, source.logCells);
  const inner = pointAxes(point, source.bits);
  const chosen = party.committed(columnKey(number, 0), inner, "argmax.g");
  const value = chosen.times(readMasked(party, op.x, inner, "argmax.x"));
  value.scale(weightAt(every, point)).minus(claim).assertZero("argmax");
}

function checkTopIndex(party: Party, number: number, op: OpOf<"TopIndex">): void {
  const source = party.circuit.tensors[op.x]!, out = party.circuit.tensors[op.out]!;
  const rows = pointAxes(party.challenges("top.anchor", out.logCells), out.bits);
  const largest = party.committed(columnKey(number, 0), rows, "top.v");
  const { claim, point } = party.products("top", largest, source.logCells);
  const value = readMasked(party, op.x, pointAxes(point, source.bits), "top.x");
  value.scale(selectionAt(party, op, source, out, rows, point)).minus(claim).assertZero("top");
}

/** The extension at `point` of the weights eq(rows, t)·[j = k_t]. */
function selectionAt(party: Party, op: OpOf<"TopIndex">, source: Tensor, out: Tensor, rows: Functional, point: Point): Ext {
  const cut = point.length - source.bits[source.bits.length - 1]!, top = party.shown(op.out);
  const its = cellWeights(pointAxes(point.slice(0, cut), source.bits.slice(0, -1)), source.shape.slice(0, -1));
  const mine = cellWeights(rows, out.shape);
  let total = ZERO;
  for (let t = 0; t < out.size; t++) {
    total = add(total, product(product(getAt(mine, t), getAt(its, t)), eqIndex(Number(top[t]!), point.slice(cut))));
  }
  return total;
}

// --- products that lookups took for granted ---

function deferredProduct(party: Party, number: number, op: Op, which: number, axes: Functional): Claim {
  switch (op.kind) {
    case "Requant": {
      const t = quotient(party, op, requantLimbs(party, number, op), axes);
      return party.committed(columnKey(number, op.limbs.length + 1), axes, "requant.split").times(t);
    }
    case "RowMax": {
      const sigma = party.committed(columnKey(number, 2), axes, "rowmax.split");
      return sigma.times(difference(party, op, axes));
    }
    case "Recip": {
      if (which === 0) {
        const q = readMasked(party, op.q, axes, "recip.q").shift(paddingTotal(axes, party.circuit.tensors[op.q]!.shape));
        return q.times(party.committed(columnKey(number, 1), axes, "recip.column"));
      }
      const low = party.committed(columnKey(number, 3), axes, "recip.column");
      const quotients = low.plus(party.committed(columnKey(number, 4), axes, "recip.column").scale(twoTo(9)));
      return quotients.times(party.committed(columnKey(number, which === 1 ? 1 : 2), axes, "recip.column"));
    }
    case "Isqrt": {
      const root = party.read(op.out, axes, "isqrt.q");
      return root.times(root);
    }
    default: throw new Error(`${op.kind} defers no product`);
  }
}

/** The operation's own check, if it has one. Then every product that its lookups took for granted. */
export function checkOperation(party: Party, number: number): void {
  const op = party.circuit.ops[number]!;
  if (op.kind === "WindowMax") checkMaximum(party, op);
  else if (op.kind === "ArgMax") checkArgMax(party, number, op);
  else if (op.kind === "TopIndex") checkTopIndex(party, number, op);
  for (const deferred of party.deferred(number)) {
    const cells = op.kind === "RowMax" ? op.x : op.out, bits = party.circuit.tensors[cells]!.bits;
    const { claim, point } = party.weighted("deferred", deferred.value, sum(bits));
    const value = deferredProduct(party, number, op, deferred.which, pointAxes(point, bits));
    value.scale(weightAt(deferred.axes, point)).minus(claim).assertZero("deferred");
  }
}

// --- virtual tensors: from a claim on the result to claims on the operands ---

function carryMatMul(party: Party, op: OpOf<"MatMul">, axes: Functional, claim: Claim): void {
  const source = party.circuit.tensors[op.x]!, rows = axes.slice(0, -1), channel = axes.slice(-1);
  if (op.bias !== NONE) {
    const bias = party.weight(op.bias, channel, "matmul.bias");
    claim = claim.minus(bias.scale(trueTotal(rows, source.shape.slice(0, rows.length))));
  }
  const bits = source.bits.slice(source.shape.length - op.contract);
  const rounds = party.products("matmul", claim, sum(bits)), inner = pointAxes(rounds.point, bits);
  const weight = party.weight(op.weight, [...channel, ...inner], "matmul.w");
  const value = readMasked(party, op.x, [...rows, ...inner], "matmul.x");
  weight.times(value).minus(rounds.claim).assertZero("matmul");
}

/** Variables of the convolution's sum: group, channel within the group, height and width of the kernel. */
export function convBits(weightBits: readonly number[], source: Tensor): number[] {
  return [source.bits[source.bits.length - 3]! - weightBits[1]!, weightBits[1]!, weightBits[2]!, weightBits[3]!];
}

function splitPoint(point: Point, bits: readonly number[]): Point[] {
  let start = 0;
  return bits.map((width) => point.slice(start, (start += width)));
}

function carryConv(party: Party, op: OpOf<"Conv">, axes: Functional, claim: Claim): void {
  const source = party.circuit.tensors[op.x]!, out = party.circuit.tensors[op.out]!, described = party.circuit.weights[op.weight]!;
  const lead = axes.length - 3, channelAxis = axes[lead]!;
  if (op.bias !== NONE) {
    const bias = party.weight(op.bias, [channelAxis], "conv.bias");
    const without = (list: readonly number[]): number[] => list.filter((_, i) => i !== lead);
    claim = claim.minus(bias.scale(trueTotal(axes.filter((_, i) => i !== lead), without(out.shape))));
  }
  const bits = convBits(described.bits, source), rounds = party.products("conv", claim, sum(bits));
  const [group, inner, u, v] = splitPoint(rounds.point, bits) as [Point, Point, Point, Point];
  const channel = groupAxis(channelAxis, group);
  const weight = party.weight(op.weight, [channel, new Eq(inner), new Eq(u), new Eq(v)], "conv.w");
  const tapsOf = (point: Point, size: number): Ext[] => {
    const table = eqTable(point);
    return Array.from({ length: size }, (_, i) => getAt(table, i));
  };
  const window = windowAxes(op, axes, source, out, [tapsOf(u, described.shape[2]!), tapsOf(v, described.shape[3]!)]);
  const value = readMasked(party, op.x, [...axes.slice(0, lead), new Eq([...group, ...inner]), ...window], "conv.x");
  weight.times(value).minus(rounds.claim).assertZero("conv");
}

/** ã·b̃ under the functionals; one reading where both are the same. */
function pair(party: Party, a: number, b: number, left: Functional, right: Functional): Claim {
  const first = readMasked(party, a, left, "product.x");
  const second = a === b && sameFunctional(left, right) ? first : readMasked(party, b, right, "product.x");
  return first.times(second);
}

/** Σ weights·a·b over cells with `bits` variables. */
function carryProduct(
  party: Party, a: number, b: number, weights: Functional, bits: readonly number[], multiplier: bigint, claim: Claim,
): void {
  const rounds = party.weighted("product", claim.scale(reciprocalOf(multiplier)), sum(bits));
  const inner = pointAxes(rounds.point, bits);
  pair(party, a, b, inner, inner).scale(weightAt(weights, rounds.point)).minus(rounds.claim).assertZero("product");
}

function carryBatched(party: Party, op: OpOf<"BatchedMatMul">, axes: Functional, claim: Claim): void {
  const first = party.circuit.tensors[op.a]!, rank = first.shape.length, terms = first.padded[rank - 1]!;
  const weights = [...axes.slice(0, -2), repeated(ONE, terms, terms)], bits = [...first.bits.slice(0, -2), first.bits[rank - 1]!];
  const rounds = party.weighted("product", claim.scale(reciprocalOf(op.multiplier)), sum(bits));
  const inner = pointAxes(rounds.point, bits), lead = inner.slice(0, -1), summed = inner[rank - 2]!;
  const value = pair(party, op.a, op.b, [...lead, axes[rank - 2]!, summed], [...lead, summed, axes[rank - 1]!]);
  value.scale(weightAt(weights, rounds.point)).minus(rounds.claim).assertZero("product");
}

function carryCombination(party: Party, op: OpOf<"LinearCombination">, axes: Functional, claim: Claim): void {
  op.sources.forEach((source, i) => {
    claim = claim.minus(readMasked(party, source, axes, "sum.x").scale(embed(op.multipliers[i]!)));
  });
  if (op.constant !== 0n) claim = claim.shift(scale(trueTotal(axes, party.circuit.tensors[op.out]!.shape), -op.constant));
  claim.assertZero("sum");
}

function carryWindowSum(party: Party, op: OpOf<"WindowSum">, axes: Functional, claim: Claim): void {
  const source = party.circuit.tensors[op.x]!, out = party.circuit.tensors[op.out]!;
  const window = windowAxes(op, axes, source, out, op.kernel.map((size) => new Array<Ext>(size).fill(ONE)));
  const value = readMasked(party, op.x, [...axes.slice(0, -2), ...window], "window.x");
  value.scale(embed(op.multiplier)).minus(claim).assertZero("window");
}

function carryRowSum(party: Party, op: OpOf<"RowSum">, axes: Functional, claim: Claim): void {
  const source = party.circuit.tensors[op.x]!, weights = rowSumAxes(op, axes, source);
  if (op.y !== NONE) {
    carryProduct(party, op.x, op.y, weights, source.bits, op.multiplier, claim);
    return;
  }
  readMasked(party, op.x, weights, "rowsum.x").scale(embed(op.multiplier)).minus(claim).assertZero("rowsum");
}

function carryGated(party: Party, op: OpOf<"GatedMatMul">, axes: Functional, claim: Claim): void {
  const source = party.circuit.tensors[op.a]!, rows = axes.slice(0, -1), channel = axes.slice(-1);
  if (op.bias !== NONE) {
    const bias = party.weight(op.bias, channel, "gated.bias");
    claim = claim.minus(bias.scale(trueTotal(rows, source.shape.slice(0, rows.length))));
  }
  const rounds = party.weighted("gated", claim, source.logCells), inner = pointAxes(rounds.point, source.bits);
  const weight = party.weight(op.weight, [...channel, ...inner.slice(rows.length)], "gated.w");
  const first = readMasked(party, op.a, inner, "gated.x");
  const second = op.a === op.b ? first : readMasked(party, op.b, inner, "gated.x");
  const at = rounds.point.slice(0, sum(source.bits.slice(0, rows.length)));
  weight.times(first).times(second).scale(weightAt(rows, at)).minus(rounds.claim).assertZero("gated");
}

function carryRowScale(party: Party, op: OpOf<"RowScale">, axes: Functional, claim: Claim): void {
  const source = party.circuit.tensors[op.x]!, factor = party.circuit.tensors[op.factor]!, rows = rowAxes(axes);
  const rounds = party.weighted("scale", claim.scale(reciprocalOf(op.multiplier)), factor.logCells);
  const at = pointAxes(rounds.point, factor.bits);
  const x = readMasked(party, op.x, cellAxes(at, axes[axes.length - 1]!, source), "scale.x");
  const value = x.times(readMasked(party, op.factor, at, "scale.f"));
  value.scale(weightAt(rows, rounds.point)).minus(rounds.claim).assertZero("scale");
}

function carryWeightRows(party: Party, op: OpOf<"WeightRows">, axes: Functional, claim: Claim): void {
  const index = party.circuit.tensors[op.index]!, rank = index.shape.length, stated = party.shown(op.index);
  const weights = cellWeights(axes.slice(0, rank), index.shape);
  const entries = Array.from({ length: index.size }, (_, t): [number, Ext] => [Number(stated[t]!), getAt(weights, t)]);
  const chosen = sparse(party.circuit.weights[op.weight]!.bits[0]!, entries);
  party.weight(op.weight, [chosen, ...axes.slice(rank)], "rows.w").minus(claim).assertZero("rows");
}

function carryRelabel(party: Party, op: OpOf<"Relabel">, axes: Functional, claim: Claim): void {
  const source = party.circuit.tensors[op.x]!, carried = relabelled(axes, source);
  if (carried !== undefined) {
    readMasked(party, op.x, carried, "relabel.x").minus(claim).assertZero("relabel");
    return;
  }
  const rounds = party.products("relabel", claim, source.logCells);
  const value = readMasked(party, op.x, pointAxes(rounds.point, source.bits), "relabel.x");
  value.scale(weightAt(axes, rounds.point)).minus(rounds.claim).assertZero("relabel");
}

function carryView(party: Party, op: OpOf<"View">, axes: Functional, claim: Claim): void {
  let covered = ZERO;
  for (const piece of op.pieces) {
    const on = pieceAxes(piece, axes, party.circuit.tensors[piece.source]!);
    claim = claim.minus(readMasked(party, piece.source, on, "view.x"));
    if (op.constant !== 0n) covered = add(covered, pieceTotal(piece, axes));
  }
  if (op.constant !== 0n) {
    const uncovered = sub(trueTotal(axes, party.circuit.tensors[op.out]!.shape), covered);
    claim = claim.shift(scale(uncovered, -op.constant));
  }
  claim.assertZero("view");
}

function carry(party: Party, number: number, axes: Functional, claim: Claim): void {
  const op = party.circuit.ops[number]!;
  switch (op.kind) {
    case "MatMul": carryMatMul(party, op, axes, claim); return;
    case "Conv": carryConv(party, op, axes, claim); return;
    case "BatchedMatMul": carryBatched(party, op, axes, claim); return;
    case "Mul": carryProduct(party, op.a, op.b, axes, party.circuit.tensors[op.a]!.bits, op.multiplier, claim); return;
    case "LinearCombination": carryCombination(party, op, axes, claim); return;
    case "WindowSum": carryWindowSum(party, op, axes, claim); return;
    case "RowSum": carryRowSum(party, op, axes, claim); return;
    case "GatedMatMul": carryGated(party, op, axes, claim); return;
    case "RowScale": carryRowScale(party, op, axes, claim); return;
    case "WeightRows": carryWeightRows(party, op, axes, claim); return;
    case "Relabel": carryRelabel(party, op, axes, claim); return;
    case "View": carryView(party, op, axes, claim); return;
    default: throw unsupported(`${op.kind} carries no claims`, `op ${number}`); // a claim that nothing carries on binds nothing
  }
}

/** The last operation first, so that all claims on a virtual tensor are known before they are carried on. */
export function checkOperations(party: Party): void {
  for (let number = party.circuit.ops.length - 1; number >= 0; number--) {
    const op = party.circuit.ops[number]!;
    checkOperation(party, number);
    if (holdsResults(op)) continue;
    for (const claim of party.pending.get(op.out)!) carry(party, number, claim.axes, claim.value);
  }
}

