/** From all claims to one point, and from there into the committed matrices. docs/engine/protocol.md, "Openings" and "Levels". */

import { eqTable, located, locatedWeight, type Pieces, type Point, Dense, Eq, type Functional } from "./axes.js";
import { joined, rejected, sameBytes } from "./bytes.js";
import { ClearChannel, type HidingChannel, MaskedChannel, type ProofChannel } from "./channels.js";
import { type Claim, Hidden, known, LEFT, logPads, logProducts, NOTHING, PAD_COLUMNS, type Pads, plainValue, PRODUCT, RIGHT } from "./claims.js";
import {
  add, baseDot, dot, equal, type Ext, getAt, MINUS_ONE, newVec, ONE, powersOf, product, setAt, sizeOf, sliceOf, sub, type Vec, vecOf, X, ZERO,
} from "./field.js";
import { type Commitment, logMessage, type Key, logRows, MAX_CLAIMS, padKey } from "./layout.js";
import {
  evaluateCode, type Level, levelRoot, levelWeightAt, type LinearClaim, PointClaim, positionPoint, PowerClaim, SpanClaim, storedWeights,
} from "./levels.js";
import type { OpeningClaim } from "./party.js";
import type { CommitmentShape } from "./program.js";
import { logLength, type Opening } from "./proof.js";
import { eqRounds, productRounds } from "./rounds.js";
import { commitmentRoot, leadsTo, leaf, RESERVED_ROWS, rootOfCap } from "./suite.js";
import { limbBytes } from "./transcript.js";

/** One commitment with its trusted root and what the proof shows of it; `number`: which opening of the root this is. */
export interface Opened {
  readonly commitment: Commitment;
  readonly root: Uint8Array;
  readonly opening: Opening;
  readonly number: number;
}

/** One tree as a proof opens it; `weights`: of its rows over F_p in the combination. */
interface Shown {
  readonly label: string;
  readonly opening: Opening;
  readonly weights: Vec;
}

/** One combination: its code, the trees that it combines, and what is asked of it beside its code word. */
interface Group {
  readonly shape: CommitmentShape;
  readonly members: readonly Shown[];
  readonly asked: readonly LinearClaim[];
  readonly positions: string;
}

const refuse = (message: string, where: string): Error => rejected("proof-invalid", message, where);

/** Called as the work goes on. */
export type Tick = (what: string, done: number, total: number) => void;

/** W_c's extension at z: Σ α^j·(functional_j on the column's stored cells), times the high variables' indicator. */
function weightsAt(commitment: Commitment, claims: readonly OpeningClaim[], powers: Vec, z: Point): Ext {
  const skip = z.length - commitment.logCells, low = z.slice(skip), places = new Map<Key, Pieces>();
  let result = ZERO;
  claims.forEach((one, i) => {
    const column = commitment.columns.get(one.key);
    if (column === undefined) return;
    let at = places.get(one.key);
    if (at === undefined) places.set(one.key, (at = located(column.storage, column.addresses, low)));
    result = add(result, product(locatedWeight(column.storage, one.axes, at, z), getAt(powers, i)));
  });
  return outside(result, z, skip);
}

/** Times [the first `skip` variables are 0]. */
function outside(value: Ext, z: Point, skip: number): Ext {
  let result = value;
  for (const r of z.slice(0, skip)) result = product(result, sub(ONE, r));
  return result;
}

/** eq(z_row, row) of the stored rows; of a hiding commitment, blind rows of opening `number` alone, and mask rows with `mask`. */
function rowWeights(commitment: Commitment, z: Point, number: number, mask: Ext): Vec {
  const start = z.length - commitment.logCells, table = eqTable(z.slice(start, z.length - logMessage(commitment)));
  const shape = commitment.shape, weights = newVec(shape.rows), end = 2 ** logRows(commitment);
  if (shape.reservedRows > 0) {
    for (let i = 0; i < RESERVED_ROWS; i++) setAt(weights, RESERVED_ROWS * number + i, getAt(table, i));
  }
  let at = shape.reservedRows;
  for (let row = commitment.firstRow; row < end; row++) setAt(weights, at++, getAt(table, row));
  if (shape.maskRows > 0) {
    setAt(weights, at++, mask);
    setAt(weights, at++, product(mask, X));
  }
  return weights;
}

/** Check all claims against the commitments. The members of a group share C, n, positions and one combination. */
export function checkOpenings(
  channel: ProofChannel, groups: readonly (readonly Opened[])[], claims: readonly OpeningClaim[], levels: readonly Level[],
  openings: readonly Opening[], tick: Tick,
): void {
  if (claims.length === 0 || claims.length > MAX_CLAIMS) throw refuse(`${claims.length} claims are not in [1, ${MAX_CLAIMS}]`, "openings");
  const everything = groups.flat(), powers = powersOf(channel.challenge("openings.alpha"), claims.length);
  let sum: Claim = NOTHING;
  claims.forEach((one, i) => {
    sum = sum.plus(one.value.scale(getAt(powers, i)));
  });
  const count = Math.max(...everything.map((member) => member.commitment.logCells));
  const rounds = productRounds(channel, "openings", sum, count), z = rounds.point;
  const values = channel.receiveOpen("openings.values", everything.length);
  let claim = rounds.claim;
  everything.forEach((member, i) => {
    const weight = weightsAt(member.commitment, claims, powers, z);
    claim = claim.shift(product(weight, product(getAt(values, i), MINUS_ONE)));
    tick("weights of a commitment", i + 1, everything.length);
  });
  claim.assertZero("openings");
  const mix = channel.challenge("openings.mix");
  checkCombinations(channel, combined(groups, values, mix, z, ZERO, []), levels, openings, tick);
}

/** The same in the zero-knowledge suite: docs/engine/zero-knowledge.md, section 2, steps 8 to 11. */
export function checkHiddenOpenings(
  channel: HidingChannel, groups: readonly (readonly Opened[])[], columnClaims: readonly OpeningClaim[], levels: readonly Level[],
  openings: readonly Opening[], tick: Tick,
): void {
  const pads = channel.pads, claims = [...columnClaims, ...checkProducts(channel)];
  const count = claims.length + pads.equations.length;
  if (count > MAX_CLAIMS) throw refuse(`${count} claims and equations are more than ${MAX_CLAIMS}`, "openings");
  const powers = powersOf(channel.challenge("openings.alpha"), count);
  const { target, coefficients } = batched(pads, claims, powers);
  const everything = groups.flat(), first = everything[0]!;
  const length = Math.max(...everything.map((member) => member.commitment.logCells));
  const masked = new MaskedChannel(channel), rounds = productRounds(masked, "openings", known(target), length), z = rounds.point;
  if (!(rounds.claim instanceof Hidden)) throw new Error("final rounds without messages");
  const mask = masked.coefficients(rounds.claim);
  const values = channel.receiveOpen("openings.values", everything.length), shown = getAt(channel.receiveOpen("openings.mask", 1), 0);
  let expected = ZERO;
  everything.forEach((member, i) => {
    let weight = weightsAt(member.commitment, claims, powers, z);
    if (member === first) weight = add(weight, padWeights(member.commitment, pads, coefficients, z));
    expected = add(expected, product(weight, getAt(values, i)));
    tick("weights of a commitment", i + 1, everything.length);
  });
  const hidden = sub(expected, rounds.claim.value); // ⟨D, g⟩, if all is well
  const mix = channel.challenge("openings.mix"), blind = channel.challenge("openings.blind");
  const more = [new SpanClaim(first.commitment.shape.message, mask, add(shown, product(blind, hidden)))];
  checkCombinations(channel, combined(groups, values, mix, z, blind, more), levels, openings, tick);
}

/** All products of pads at once: Σ_k eq(anchor, k)·(a_k·b_k − c_k) = 0 over the triples. What the openings then have to hold. */
function checkProducts(channel: HidingChannel): OpeningClaim[] {
  const log = logProducts(channel.pads.plan);
  const anchor = Array.from({ length: log }, () => channel.challenge("products.anchor"));
  const { claim, point } = eqRounds(channel, "products", NOTHING, anchor, 2);
  const values = channel.receiveOpen("products.values", 2), left = getAt(values, 0), right = getAt(values, 1);
  const axes: Functional = [new Dense(vecOf([ONE, X])), new Eq(point)];
  return [
    { key: padKey(LEFT), axes, value: known(left) },
    { key: padKey(RIGHT), axes, value: known(right) },
    { key: padKey(PRODUCT), axes, value: known(product(left, right)).minus(claim) },
  ];
}

/** (target, coefficients of all pads) of Σ α^j·(functional_j − value_j) + Σ α^k·equation_k, claims first. */
function batched(pads: Pads, claims: readonly OpeningClaim[], powers: Vec): { target: Ext; coefficients: Vec } {
  let target = ZERO;
  const seeds: [number, Ext][] = [];
  const take = (value: Claim, sign: Ext, i: number): void => {
    const signed = product(getAt(powers, i), sign);
    target = sub(target, product(signed, value instanceof Hidden ? value.value : plainValue(value)));
    if (value instanceof Hidden) seeds.push([value.form, product(signed, value.factor)]);
  };
  claims.forEach((claim, i) => { take(claim.value, MINUS_ONE, i); });
  pads.equations.forEach((equation, i) => { take(equation, ONE, claims.length + i); });
  return { target, coefficients: pads.tape.coefficients(seeds, pads.count) };
}

/** The extension at z of the pads' weights: coefficient c of a pad is c on its low cell and c·x on its high one. */
function padWeights(commitment: Commitment, pads: Pads, coefficients: Vec, z: Point): Ext {
  const skip = z.length - commitment.logCells;
  let result = ZERO;
  for (const column of PAD_COLUMNS) {
    const placed = commitment.columns.get(padKey(column))!, split = z.length - placed.storage.logRest, half = z[split]!;
    const block = located(placed.storage, placed.addresses, z.slice(skip)).total();
    const component = add(sub(ONE, half), product(half, X));
    const mine = sliceOf(coefficients, pads.index(column, 0), 2 ** logPads(pads.plan, column));
    result = add(result, product(product(block, component), dot(mine, eqTable(z.slice(split + 1)))));
  }
  return outside(result, z, skip);
}

/** The combinations of all groups, with what is asked of them. `blind`: κ. `more`: asked of the first one. */
function combined(
  groups: readonly (readonly Opened[])[], values: Vec, mix: Ext, z: Point, blind: Ext, more: readonly LinearClaim[],
): Group[] {
  let at = 0;
  return groups.map((group, number) => {
    let total = ZERO;
    const factors = powersOf(mix, group.length);
    const members = group.map((member, i): Shown => {
      const { commitment, opening } = member, factor = getAt(factors, i), label = commitment.shape.label;
      if (!sameBytes(commitmentRoot(commitment.shape, commitment.logCells, rootOfCap(opening.cap)), member.root)) {
        throw refuse("the opened tree is not the committed one", label);
      }
      total = add(total, product(getAt(values, at++), factor));
      const weights = rowWeights(commitment, z, member.number, blind);
      for (let row = 0; row < sizeOf(weights); row++) setAt(weights, row, product(getAt(weights, row), factor));
      return { label, opening, weights };
    });
    const first = group[0]!.commitment, asked = new PointClaim(z.slice(z.length - logMessage(first)), total);
    return { shape: first.shape, members, asked: [asked, ...(number === 0 ? more : [])], positions: `openings.positions${number}` };
  });
}

/** Everything that is asked of the groups' combinations: level by level, then the combination that is left. */
function checkCombinations(
  channel: ProofChannel, rooted: readonly Group[], levels: readonly Level[], openings: readonly Opening[], tick: Tick,
): void {
  let groups = rooted;
  levels.forEach((level, number) => {
    const opening = openings[number]!;
    channel.transcript.absorb("level.root", levelRoot(level, rootOfCap(opening.cap)));
    const leaves: Uint8Array[] = [];
    const claims = groups.map((group): LinearClaim[] => {
      const positions = drawPositions(channel, group), values = codeWord(group, positions, leaves, tick), log = logLength(group.shape);
      return [...group.asked, ...positions.map((position, i) => new PowerClaim(positionPoint(position, log), values[i]!))];
    });
    channel.transcript.absorb("level.columns", joined(leaves));
    const everything = claims.flat(), powers = powersOf(channel.challenge("level.mix"), everything.length);
    const target = dot(vecOf(everything.map((claim) => claim.value)), powers);
    const rounds = productRounds(new ClearChannel(channel), "level", known(target), level.logCells), point = rounds.point;
    const scale = levelWeightAt(level, claims, powers, point);
    const asked = new PointClaim(point.slice(level.logCells - level.logMessage), plainValue(rounds.claim), scale);
    const shown = { label: level.shape.label, opening, weights: storedWeights(level, point) };
    groups = [{ shape: level.shape, members: [shown], asked: [asked], positions: "level.positions" }];
  });
  const combinations = groups.map((group) => channel.receiveOpen("openings.combination", group.shape.degree));
  groups.forEach((group, i) => {
    const u = combinations[i]!, positions = drawPositions(channel, group), label = group.members[0]!.label;
    for (const one of group.asked) if (!equal(one.of(u), one.value)) throw refuse(one.falsehood, label);
    const shown = codeWord(group, positions, [], tick), wanted = evaluateCode(u, logLength(group.shape), positions);
    wanted.forEach((value, k) => {
      if (!equal(value, shown[k]!)) throw refuse("a combination's code word differs from the opened columns", label);
    });
  });
}

const drawPositions = (channel: ProofChannel, group: Group): number[] =>
  channel.transcript.positions(group.positions, logLength(group.shape), group.shape.queries);

/** The combination's code word at `positions` by the opened columns, which are checked against their trees. */
function codeWord(group: Group, positions: readonly number[], leaves: Uint8Array[], tick: Tick): Ext[] {
  const values = positions.map(() => ZERO);
  for (const member of group.members) {
    positions.forEach((position, i) => {
      const opening = member.opening, column = opening.columns[i]!, digest = leaf(limbBytes(column), opening.salts[i]!);
      if (!leadsTo(position, digest, opening.paths[i]!, opening.cap)) throw refuse("an opened column is not in the commitment", member.label);
      leaves.push(digest);
      values[i] = add(values[i]!, baseDot(column, 0, member.weights, sizeOf(member.weights)));
    });
    tick(`columns of ${member.label}`, positions.length, positions.length);
  }
  return values;
}

