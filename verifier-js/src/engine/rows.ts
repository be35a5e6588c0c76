/**
 * Lookups of each operation: the columns of its rows at the leaves' point, in slot order. docs/engine/protocol.md, "Lookups".
 */

import { type Functional, cellWeights, paddingTotal, storedTotal, trueTotal, Eq } from "./axes.js";
import { taps } from "./buses.js";
import type { Claim } from "./claims.js";
import { add, embed, type Ext, getAt, halfTo, MINUS_ONE, newVec, ONE, product, scale, setAt, twoTo, ZERO } from "./field.js";
import { filledUp, oneTap, repeated, windowAxes } from "./geometry.js";
import { columnKey, tensorKey } from "./layout.js";
import { type Party, readMasked } from "./party.js";
import { NONE, type OpOf, type Tensor } from "./program.js";
import { Dense, type Axis } from "./axes.js";

export type Rows = Claim[][];
/** Per lookup of an operation, the weights of its cells at the leaves' point; the same object where they are the same. */
export type Places = readonly Functional[];
type Reading = (axes: Functional) => Claim;

/** `read`, but one claim per functional however often it is asked for. */
export function once(read: Reading): Reading {
  const found = new Map<Functional, Claim>();
  return (axes) => {
    let claim = found.get(axes);
    if (claim === undefined) found.set(axes, (claim = read(axes)));
    return claim;
  };
}

const columnOf = (party: Party, number: number, column: number, label: string): Reading =>
  once((axes) => party.committed(columnKey(number, column), axes, label));

/** The functional of a constant on all stored cells, padding included. */
const everywhere = (value: number | bigint, axes: Functional, shape: readonly number[]): Ext => scale(storedTotal(axes, shape), value);

const upper = (claim: Claim, low: Claim, bits: number): Claim => claim.minus(low).scale(halfTo(bits));
const together = (low: Claim, high: Claim, bits: number): Claim => low.plus(high.scale(twoTo(bits)));

/** The leading axes; one axis of one cell where there are none. */
export const rowAxes = (axes: Functional): Functional => (axes.length > 1 ? axes.slice(0, -1) : [new Eq([])]);
export const cellAxes = (rows: Functional, column: Axis, source: Tensor): Functional => (source.shape.length > 1 ? [...rows, column] : [column]);
const lastOf = <T>(list: readonly T[]): T => list[list.length - 1]!;

/** Vectors along the true cells of a row. */
export const ones = (source: Tensor): Dense => repeated(ONE, lastOf(source.shape), lastOf(source.padded));
export function indices(source: Tensor): Dense {
  const values = newVec(lastOf(source.padded));
  for (let j = 0; j < lastOf(source.shape); j++) setAt(values, j, embed(j));
  return new Dense(values);
}

// --- Requant ---

/** t = (z + 2^(s−1) − rem) / 2^s under `axes`. */
export function quotient(party: Party, op: OpOf<"Requant">, limbs: readonly Reading[], axes: Functional): Claim {
  let t = readMasked(party, op.z, axes, "requant.z");
  const values = limbs.map((limb) => limb(axes));
  if (op.shift === 0) return t;
  t = t.shift(everywhere(1n << BigInt(op.shift - 1), axes, party.circuit.tensors[op.out]!.shape));
  let offset = 0;
  values.forEach((value, i) => {
    t = t.minus(value.scale(twoTo(offset)));
    offset += op.limbs[i]!;
  });
  return t.scale(halfTo(op.shift));
}

export const requantLimbs = (party: Party, number: number, op: OpOf<"Requant">): Reading[] =>
  op.limbs.map((_, i) => columnOf(party, number, i, "requant.rem"));

function requantRows(party: Party, number: number, op: OpOf<"Requant">, places: Places): Rows {
  const count = op.limbs.length, limbs = requantLimbs(party, number, op);
  const [h, sigma, kappa] = [0, 1, 2].map((i) => columnOf(party, number, count + i, "requant.split")) as [Reading, Reading, Reading];
  const atY = places[0]!, atLimbs = places.slice(1, 1 + count), atT = op.saturate ? places[1 + count]! : atY;
  const t = quotient(party, op, limbs, atT), y = party.read(op.out, atY, "requant.y");
  const rows: Rows = limbs.map((limb, i) => [limb(atLimbs[i]!)]);
  if (!op.saturate) return [[t, y], ...rows];
  const low = t.minus(h(atT).scale(twoTo(party.circuit.tables[op.table]!.width - 1)));
  const split: Rows = [sigma, kappa].map((one, i) => {
    const axes = places[2 + count + i]!, upperPart = h(axes);
    return [upperPart, one(axes)];
  });
  const u = party.message("requant.u");
  party.defer(number, 0, atY, u.minus(kappa(atY)));
  return [[u, y], ...rows, [low], ...split];
}

// --- WindowMax ---

/** One tap of a window: the shifted operand, and the operand's least value wherever the tap is not a true cell. */
export function tap(party: Party, op: OpOf<"WindowMax">, axes: Functional, u: number, v: number): Claim {
  const source = party.circuit.tensors[op.x]!, out = party.circuit.tensors[op.out]!;
  const shifted = [...axes.slice(0, -2), ...windowAxes(op, axes, source, out, oneTap(op.kernel, u, v))];
  const inside = trueTotal(shifted, source.shape), value = readMasked(party, op.x, shifted, "max.tap");
  return value.shift(scale(add(storedTotal(axes, out.shape), product(inside, MINUS_ONE)), source.low));
}

function windowMaxRows(party: Party, op: OpOf<"WindowMax">, places: Places): Rows {
  const largest = once((axes) => party.read(op.out, axes, "max.y"));
  return taps(op.kernel).map(([u, v], i) => {
    const most = largest(places[i]!);
    return [most.minus(tap(party, op, places[i]!, u, v))];
  });
}

// --- RowMax ---

/** m − x on true cells, D on padding. */
export function difference(party: Party, op: OpOf<"RowMax">, axes: Functional): Claim {
  const source = party.circuit.tensors[op.x]!;
  const largest = party.read(op.out, rowAxes(axes), "rowmax.m").scale(lastOf(axes).first(lastOf(source.shape)));
  const value = largest.minus(readMasked(party, op.x, axes, "rowmax.x"));
  return value.shift(scale(paddingTotal(axes, source.shape), party.circuit.tables[op.table]!.high));
}

function rowMaxRows(party: Party, number: number, op: OpOf<"RowMax">, places: Places): Rows {
  const source = party.circuit.tensors[op.x]!, maxima = party.circuit.tensors[op.out]!, table = party.circuit.tables[op.table]!;
  const [atExp, atFlag, ...atSplit] = places.slice(0, -1) as [Functional, Functional, ...Functional[]], rows = lastOf(places);
  let u = once((axes) => difference(party, op, axes));
  const flag = party.committed(columnKey(number, 0), atFlag, "rowmax.flag");
  const split: Rows = [];
  if (op.saturate) {
    const [h, sigma, kappa] = [1, 2, 3].map((i) => columnOf(party, number, i, "rowmax.split")) as [Reading, Reading, Reading];
    const [atLow, atSigma, atKappa] = atSplit as [Functional, Functional, Functional];
    const whole = u(atLow);
    split.push([whole.minus(h(atLow).scale(embed(table.values.length)))]);
    const first = h(atSigma);
    split.push([first, sigma(atSigma)]);
    const second = h(atKappa);
    split.push([second, kappa(atKappa)]);
    u = once((axes) => {
      const message = party.message("rowmax.u");
      party.defer(number, 0, axes, message.minus(kappa(axes)));
      return message;
    });
  }
  const first = [u(atExp)];
  if (op.exp !== NONE) first.push(party.read(op.exp, atExp, "rowmax.exp"));
  const second = [u(atFlag), flag];
  const flags = party.committed(columnKey(number, 0), cellAxes(rows, ones(source), source), "rowmax.flags");
  const more = flags.shift(scale(trueTotal(rows, maxima.shape), -1));
  party.pinPadding(tensorKey(op.out), rows, maxima.shape, party.read(op.out, rows, "rowmax.m"), op.out);
  return [first, second, ...split, [more]];
}

// --- Recip and Isqrt ---

function recipRows(party: Party, number: number, op: OpOf<"Recip">, places: Places): Rows {
  const shape = party.circuit.tensors[op.out]!.shape;
  const columns = Array.from({ length: 9 }, (_, i) => columnOf(party, number, i, "recip.column"));
  const [e, power, scaled, r0, r1, rho0, rho1, a0, s0] = columns as [Reading, Reading, Reading, Reading, Reading, Reading, Reading, Reading, Reading];
  const rho: Reading = (axes) => {
    const low = rho0(axes);
    return together(low, rho1(axes), 15);
  };
  const above: Reading = (axes) => {
    const whole = scaled(axes).shift(everywhere(-(2 ** 29), axes, shape));
    return upper(whole, a0(axes), 15);
  };
  const slack: Reading = (axes) => {
    const whole = scaled(axes).minus(rho(axes)).shift(everywhere(-1, axes, shape));
    return upper(whole, s0(axes), 15);
  };
  const first = places[0]!, exponent = e(first);
  const rows: Rows = [[exponent, power(first)]];
  [r0, r1, rho0, rho1, a0, above, s0, slack].forEach((limb, i) => rows.push([limb(places[1 + i]!)]));
  party.defer(number, 0, first, scaled(first));
  party.defer(number, 1, first, party.read(op.out, first, "recip.k"));
  party.defer(number, 2, first, rho(first).scale(MINUS_ONE).shift(everywhere(1n << 46n, first, shape)));
  return rows;
}

function isqrtRows(party: Party, number: number, op: OpOf<"Isqrt">, places: Places): Rows {
  const root = once((axes) => party.read(op.out, axes, "isqrt.q"));
  const [q0, d0, f0] = [0, 1, 2].map((i) => columnOf(party, number, i, "isqrt.limb")) as [Reading, Reading, Reading];
  const below = once((axes) => {
    const value = readMasked(party, op.v, axes, "isqrt.v"), square = party.message("isqrt.square");
    party.defer(number, 0, axes, square);
    return value.minus(square);
  });
  const highQ: Reading = (axes) => {
    const whole = root(axes);
    return upper(whole, q0(axes), 15);
  };
  const highD: Reading = (axes) => {
    const whole = below(axes);
    return upper(whole, d0(axes), 16);
  };
  const highF: Reading = (axes) => {
    const whole = root(axes).plus(root(axes)).minus(below(axes));
    return upper(whole, f0(axes), 16);
  };
  return [q0, highQ, d0, highD, f0, highF].map((limb, i) => [limb(places[i]!)]);
}

// --- ArgMax ---

function argMaxRows(party: Party, number: number, op: OpOf<"ArgMax">, places: Places): Rows {
  const source = party.circuit.tensors[op.x]!, out = party.circuit.tensors[op.out]!;
  const [first, axes] = places as [Functional, Functional];
  const chosen = party.committed(columnKey(number, 0), first, "argmax.g");
  party.pinPadding(columnKey(number, 0), first, source.shape, chosen);
  const rows = rowAxes(axes), size = lastOf(source.shape);
  const largest = party.committed(columnKey(number, 1), rows, "argmax.v");
  party.pinPadding(columnKey(number, 1), rows, out.shape, largest);
  const value = largest.scale(lastOf(axes).first(size)).minus(readMasked(party, op.x, axes, "argmax.x"));
  const entries = lastOf(axes).dense(), suffixes = newVec(size);
  let suffix = ZERO;
  for (let i = size - 1; i >= 0; i--) {
    suffix = add(suffix, getAt(entries, i));
    setAt(suffixes, i, suffix);
  }
  const weights = filledUp(suffixes, size, lastOf(source.padded));
  const reached = party.committed(columnKey(number, 0), [...axes.slice(0, -1), weights], "argmax.reached");
  return [[chosen], [value.plus(reached).shift(scale(trueTotal(axes, source.shape), -1))]];
}

// --- Rescale and TopIndex ---

/** One range row per digit; the highest follows from the whole and the others. */
function digitRows(whole: Reading, lower: readonly Reading[], widths: readonly number[], places: Places): Rows {
  const rows: Rows = lower.map((digit, i) => [digit(places[i]!)]);
  const last = lastOf(places);
  let rest = whole(last), offset = 0;
  lower.forEach((digit, i) => {
    rest = rest.minus(digit(last).scale(twoTo(offset)));
    offset += widths[i]!;
  });
  return [...rows, [rest.scale(halfTo(offset))]];
}

function rescaleRows(party: Party, number: number, op: OpOf<"Rescale">, places: Places): Rows {
  const shape = party.circuit.tensors[op.out]!.shape, count = op.limbs.length;
  const bits = op.digits.reduce((sum, width) => sum + width, 0);
  const limbs = op.limbs.slice(1).map((_, i) => columnOf(party, number, i, "rescale.rem"));
  const digits = op.digits.slice(1).map((_, i) => columnOf(party, number, count - 1 + i, "rescale.digit"));
  const value = once((axes) => party.read(op.out, axes, "rescale.y"));
  const remainder: Reading = (axes) => {
    const rounded = readMasked(party, op.z, axes, "rescale.z").shift(everywhere(1n << BigInt(op.shift - 1), axes, shape));
    return rounded.minus(value(axes).scale(twoTo(op.shift)));
  };
  const above: Reading = (axes) => value(axes).shift(everywhere(1n << BigInt(bits - 1), axes, shape));
  const low = digitRows(remainder, limbs, op.limbs, places.slice(0, count));
  return [...low, ...digitRows(above, digits, op.digits, places.slice(count))];
}

function topIndexRows(party: Party, number: number, op: OpOf<"TopIndex">, places: Places): Rows {
  const source = party.circuit.tensors[op.x]!, out = party.circuit.tensors[op.out]!;
  const size = lastOf(source.shape), top = party.shown(op.out);
  const digits = op.digits.slice(1).map((_, i) => columnOf(party, number, 1 + i, "top.digit"));
  const slack: Reading = (axes) => {
    const rows = rowAxes(axes), largest = party.committed(columnKey(number, 0), rows, "top.v"), weights = cellWeights(rows, out.shape);
    let before = ZERO;
    for (let t = 0; t < out.size; t++) before = add(before, product(getAt(weights, t), lastOf(axes).first(Number(top[t]!))));
    const value = largest.scale(lastOf(axes).first(size)).minus(readMasked(party, op.x, axes, "top.x"));
    return value.shift(product(before, MINUS_ONE));
  };
  return digitRows(slack, digits, op.digits, places);
}

/** The rows that operation `number` looks up, in slot order, each under its own functional. */
export function lookupRows(party: Party, number: number, places: Places): Rows {
  const op = party.circuit.ops[number]!;
  switch (op.kind) {
    case "Requant": return requantRows(party, number, op, places);
    case "Lookup": {
      const x = readMasked(party, op.x, places[0]!, "lookup.x");
      return [[x, party.read(op.out, places[0]!, "lookup.y")]];
    }
    case "WindowMax": return windowMaxRows(party, op, places);
    case "RowMax": return rowMaxRows(party, number, op, places);
    case "Recip": return recipRows(party, number, op, places);
    case "Isqrt": return isqrtRows(party, number, op, places);
    case "ArgMax": return argMaxRows(party, number, op, places);
    case "Rescale": return rescaleRows(party, number, op, places);
    case "TopIndex": return topIndexRows(party, number, op, places);
    default: throw new Error(`${op.kind} looks nothing up`);
  }
}

/** Range rows of a hashed tensor, x − low and high − x on true cells, 0 on padding; and its stored value under `axes`. */
export function tensorRows(party: Party, tensor: number, axes: Functional, slots: number): [Rows, Claim] {
  const described = party.circuit.tensors[tensor]!, value = readMasked(party, tensor, axes, "hashed.x");
  const mask = trueTotal(axes, described.shape), rows: Rows = [[value.shift(scale(mask, -described.low))]];
  if (slots === 2) rows.push([value.scale(MINUS_ONE).shift(scale(mask, described.high))]);
  return [rows, value];
}
