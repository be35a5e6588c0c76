/**
 * Proofs about committed weights alone: docs/engine/zero-knowledge.md, "Weights". A registration: the weights under a hiding root
 * keep the declared bounds, and their padding is 0. A link: two roots commit to equal weights.
 */

import { type Functional, pointAxes, trueTotal } from "./axes.js";
import { type Bus, buildBus } from "./buses.js";
import { ascii, bitLength, fromHex, rejected, startsWith, toHex, words } from "./bytes.js";
import { HidingChannel } from "./channels.js";
import { ClaimCounter } from "./claim_count.js";
import { type Claim, known } from "./claims.js";
import { ONE, P, scale, twoTo, ZERO } from "./field.js";
import { repeated } from "./geometry.js";
import type { SpentOpening } from "./interface.js";
import { type Commitment, countKey, epochKey, type Layout, shapesOf, witnessColumns } from "./layout.js";
import { checkHiddenOpenings, type Opened, type Tick } from "./opening.js";
import type { Party } from "./party.js";
import { planWitness, secondOf, withSoundness } from "./plan.js";
import { type Allowance, mostMessages, priceOfRelation, priceWithOpenings, requirePrice } from "./price.js";
import { type Circuit, COMMITTED_WEIGHTS, PRIVATE, shaped, type Tensor, type Weight } from "./program.js";
import { decodeProof } from "./proof.js";
import { padsOf, RehearsalParty } from "./rehearsal.js";
import { checkLookups } from "./script.js";
import { sha256 } from "./sha256.js";
import { whole } from "./storage.js";
import { SUITES } from "./suite.js";
import { Transcript } from "./transcript.js";
import type { Trusted } from "./verify.js";
import { VerifierParty } from "./verifier_party.js";
import { checkRanges, isRanged, weightSums } from "./weight_ranges.js";

type Kind = "registration" | "link";

const LIMB_BITS = 14;
const REGISTRATION = ascii("verifai/weights-registration/1"), LINK = ascii("verifai/weights-link/1");

/** The tensors that one weight is made of, lowest limb first. */
interface WeightParts {
  readonly positive: readonly number[];
  readonly negative: readonly number[];
  readonly slack: readonly number[];
  /** It has no parts: its cells are looked up themselves. */
  readonly ranged: boolean;
  /** Whether its rows' norms are shown. */
  readonly normed: boolean;
}

interface OpenedRoot {
  readonly root: Uint8Array;
  readonly number: bigint;
}

/** What a payload shows about its weights' root. */
export interface WeightRoots {
  /** The root that the inference opens. */
  readonly root: string;
  readonly linked: boolean;
  readonly spent: readonly SpentOpening[];
}

/** Widths of limbs that reach exactly [0, bound], bound being 2^k − 1: none for 0. */
function limbWidths(bound: bigint): number[] {
  if ((bound & (bound + 1n)) !== 0n) throw rejected("circuit-invalid", `the bound ${bound} is not 2^k − 1, so no limbs reach exactly it`, "weights");
  const bits = bitLength(bound), rest = bits % LIMB_BITS;
  return [...new Array<number>(Math.floor(bits / LIMB_BITS)).fill(LIMB_BITS), ...(rest > 0 ? [rest] : [])];
}

/** Whether a registration shows bounds and no norms: some declared row L1 is not 2^k − 1, so no slack could reach it. */
const boundsAlone = (circuit: Circuit): boolean => circuit.weights.some((weight) => (weight.rowL1 & (weight.rowL1 + 1n)) !== 0n);

/** The circuit of the witness: its inputs are the parts of a registration, all private; it computes nothing. */
function relationCircuit(kind: Kind, circuit: Circuit): [Circuit, WeightParts[]] {
  const tensors: Tensor[] = [], alone = boundsAlone(circuit);
  const limbs = (name: string, shape: readonly number[], bound: bigint): number[] =>
    limbWidths(bound).map((bits, limb) => {
      tensors.push({ ...shaped(`${name}${limb}`, shape), low: 0n, high: (1n << BigInt(bits)) - 1n, fill: 0n, scale: [1n, 1n], zeroPoint: 0n });
      return tensors.length - 1;
    });
  const parts = kind === "link" ? [] : circuit.weights.map((weight, index): WeightParts => {
    const most = weight.bound * BigInt(weight.size / weight.shape[0]!);
    if (alone && weight.rowL1 < most) {
      const message = "its declared row L1 is neither 2^k − 1 nor what follows from its bound, so no registration shows it";
      throw rejected("circuit-invalid", message, weight.name);
    }
    if (!alone && 2n * most + weight.rowL1 >= P) {
      throw rejected("circuit-invalid", "a row's sum could reach the field's prime, so congruence would not be equality", weight.name);
    }
    if (alone && isRanged(weight)) {
      limbWidths(weight.bound);
      return { positive: [], negative: [], slack: [], ranged: true, normed: false };
    }
    const positive = limbs(`p${index}.`, weight.shape, weight.bound), negative = limbs(`n${index}.`, weight.shape, weight.bound);
    const slack = alone ? [] : limbs(`s${index}.`, weight.shape.slice(0, 1), weight.rowL1);
    return { positive, negative, slack, ranged: false, normed: !alone };
  });
  const bare: Circuit = {
    suite: circuit.suite, zeroKnowledge: true, tensors, weights: circuit.weights, tables: [], ops: [],
    inputs: tensors.map((_, tensor) => ({ tensor, visibility: PRIVATE })), outputs: [], weightVisibility: COMMITTED_WEIGHTS, commitments: [],
    soundness: [], openingBudget: 0, batch: 0,
  };
  return [bare, parts];
}

/** The sums of fractions for the weights whose cells are looked up themselves. */
const rangeSums = (circuit: Circuit, parts: readonly WeightParts[]): Bus[] =>
  weightSums(circuit.weights, parts.flatMap((mine, index) => (mine.ranged ? [index] : [])));

/** The script. `bus`: lookups of parts; `sums`: of weights' own cells. */
function checkRelation(kind: Kind, party: Party, circuit: Circuit, parts: readonly WeightParts[], bus: Bus, sums: readonly Bus[]): void {
  if (kind === "registration") {
    if (bus.tables.length > 0 || sums.length === 0) checkLookups(party, bus);
    checkRanges(party, circuit.weights, sums, bus.tables.length);
  }
  circuit.weights.forEach((weight, index) => {
    if (kind === "link") {
      const axes = pointAxes(party.challenges("relation.point", weight.logCells), weight.bits), value = party.weight(index, axes, "relation.w");
      value.minus(party.committed(epochKey(index), axes, "relation.epoch")).assertZero("relation");
    } else if (!parts[index]!.ranged) checkParts(party, index, weight, parts[index]!);
  });
}

/** p − n = W at a random point; Σ (p + n) and slack are the row L1 at a random row, where that is shown. */
function checkParts(party: Party, index: number, weight: Weight, mine: WeightParts): void {
  const axes = pointAxes(party.challenges("relation.point", weight.logCells), weight.bits), value = party.weight(index, axes, "relation.w");
  const positive = joinedLimbs(party, mine.positive, axes);
  positive.minus(joinedLimbs(party, mine.negative, axes)).minus(value).assertZero("relation");
  if (!mine.normed) return;
  const row = pointAxes(party.challenges("relation.row", weight.bits[0]!), weight.bits.slice(0, 1));
  const along = [...row, ...weight.padded.slice(1).map((size) => repeated(ONE, size, size))];
  const above = joinedLimbs(party, mine.positive, along);
  const total = above.plus(joinedLimbs(party, mine.negative, along)).plus(joinedLimbs(party, mine.slack, row));
  total.shift(scale(trueTotal(row, weight.shape.slice(0, 1)), -weight.rowL1)).assertZero("relation");
}

/** Σ 2^offset·limb under `axes`. */
function joinedLimbs(party: Party, limbs: readonly number[], axes: Functional): Claim {
  let total = known(ZERO), offset = 0;
  for (const tensor of limbs) {
    total = total.plus(party.read(tensor, axes, "relation.limb").scale(twoTo(offset)));
    offset += bitLength(party.circuit.tensors[tensor]!.high);
  }
  return total;
}

interface RelationPlan {
  readonly circuit: Circuit;
  readonly parts: readonly WeightParts[];
  readonly layout: Layout;
  readonly weights: readonly Commitment[];
  readonly sums: readonly Bus[];
}

function planRelation(kind: Kind, trusted: Trusted, bare: Circuit, parts: readonly WeightParts[]): RelationPlan {
  const committed = trusted.layout.weights!, bus = buildBus(bare);
  const alone = (label: string, one: Commitment): Commitment => ({ ...one, shape: { ...one.shape, label } });
  const weights = [alone("io:weights", committed)];
  if (kind === "link") weights.push(alone("io:epoch", secondOf(committed)));
  const party = new RehearsalParty(bare);
  const sums = rangeSums(trusted.circuit, parts), columns = witnessColumns(bare, bus);
  checkRelation(kind, party, trusted.circuit, parts, bus, sums);
  sums.flatMap((one) => one.tables).forEach((table, i) => columns.set(countKey(bus.tables.length + i), whole([table.logSize])));
  const pads = padsOf(party), witness = planWitness(columns, pads, Math.max(...weights.map((one) => one.logCells)));
  const layout = withSoundness({ bus, witness, weights: undefined, hashed: new Map(weights.entries()), soundness: [], levels: [], pads });
  for (const one of sums) withSoundness({ ...layout, bus: one }); // each has an error of its own
  return { circuit: bare, parts, layout, weights, sums };
}

/** What a relation's script takes, on numbers. */
function countRelation(kind: Kind, circuit: Circuit, bare: Circuit, parts: readonly WeightParts[]): ClaimCounter {
  const found = new ClaimCounter(bare), sums = rangeSums(circuit, parts);
  if (kind === "registration" && (bare.inputs.length > 0 || sums.length === 0)) found.lookups();
  for (const one of sums) found.ranges(one);
  circuit.weights.forEach((weight, index) => {
    const mine = parts[index];
    if (mine?.ranged) return;
    found.weight(index, 0, 1);
    if (mine === undefined) {
      found.weight(index, 0, 1);
      return;
    }
    const rest = 2 ** weight.shape.length - 2; // along a row: vectors of ones
    if (mine.normed) found.make(weight.padded.slice(1).reduce((x, y) => x + y, 0), 1);
    for (const limb of [...mine.positive, ...mine.negative]) {
      found.read(limb, 0, 1);
      if (mine.normed) found.read(limb, rest, 1);
    }
    for (const limb of mine.slack) found.read(limb, 0, 1);
  });
  return found;
}

function verifyRelation(kind: Kind, trusted: Trusted, roots: readonly OpenedRoot[], proof: Uint8Array, allowance: Allowance, tick: Tick): void {
  const circuit = trusted.circuit;
  if (trusted.layout.weights === undefined || !circuit.zeroKnowledge) {
    throw rejected("circuit-invalid", "the circuit hides no weights: nothing to relate", "weights");
  }
  const [bare, parts] = relationCircuit(kind, circuit), price = priceOfRelation(bare, countRelation(kind, circuit, bare, parts));
  requirePrice(price, allowance, kind);
  const plan = planRelation(kind, trusted, bare, parts), all = priceWithOpenings(price, plan.layout);
  requirePrice(all, allowance, kind);
  const distinct = new Set(roots.map((one) => toHex(one.root))).size === roots.length;
  if (roots.length !== plan.weights.length || !distinct || roots.some((one) => one.number >= BigInt(circuit.openingBudget))) {
    throw rejected("statement-invalid", "these roots and opening numbers cannot be related", kind);
  }
  const decoded = decodeProof(proof, shapesOf(plan.layout), mostMessages(all, plan.layout)), transcript = new Transcript();
  transcript.absorb("suite", SUITES.get(circuit.suite)!);
  transcript.absorb("relation", ascii(kind));
  transcript.absorb("circuit", fromHex(trusted.digest));
  for (const one of roots) {
    transcript.absorb("weights.root", one.root);
    transcript.absorb("weights.number", words([one.number]));
  }
  transcript.absorb("context", new Uint8Array(0));
  transcript.absorb("witness.root", decoded.root);
  const channel = new HidingChannel(transcript, decoded.messages, plan.layout.pads!);
  const party = new VerifierParty(bare, channel, new Map(), new Set(), undefined);
  checkRelation(kind, party, circuit, parts, plan.layout.bus, plan.sums);
  const openings = [...decoded.openings], own = { commitment: plan.layout.witness, root: decoded.root, opening: openings.shift()!, number: 0 };
  const groups: Opened[][] = [[own]];
  plan.weights.forEach((commitment, i) => {
    groups.push([{ commitment, root: roots[i]!.root, opening: openings.shift()!, number: Number(roots[i]!.number) }]);
  });
  checkHiddenOpenings(channel, groups, party.openings, plan.layout.levels, openings, tick);
  channel.finish();
}

/** Check a registration and, where there is one, a link. */
export function checkRoots(trusted: Trusted, pinned: string, registration: Uint8Array, link: Uint8Array | undefined, tick: Tick): WeightRoots {
  const allowance = trusted.allowance, spent: SpentOpening[] = [];
  const spend = (kind: Kind, one: OpenedRoot, file: Uint8Array): void => {
    spent.push({ kind, root: toHex(one.root), number: one.number, proofSha256: toHex(sha256(file)) });
  };
  const malformed = (what: string, where: string): Error => rejected("proof-malformed", `not a ${what} of weights`, where);
  const u64 = (data: Uint8Array, at: number): bigint => new DataView(data.buffer, data.byteOffset, data.byteLength).getBigUint64(at, true);
  const start = REGISTRATION.length;
  if (!startsWith(registration, REGISTRATION) || registration.length < start + 8) throw malformed("registration", "registration.bin");
  const first = { root: fromHex(pinned), number: u64(registration, start) };
  verifyRelation("registration", trusted, [first], registration.subarray(start + 8), allowance, tick);
  spend("registration", first, registration);
  if (link === undefined) return { root: pinned, linked: false, spent };
  const at = LINK.length;
  if (!startsWith(link, LINK) || link.length < at + 48) throw malformed("link", "link.bin");
  const old = { root: fromHex(pinned), number: u64(link, at + 32) }, epoch = { root: link.slice(at, at + 32), number: u64(link, at + 40) };
  verifyRelation("link", trusted, [old, epoch], link.subarray(at + 48), allowance, tick);
  spend("link", old, link);
  spend("link", epoch, link);
  if (new Set(spent.map((one) => `${one.root} ${one.number}`)).size !== spent.length) {
    throw rejected("statement-invalid", "registration and link take one opening", "link.bin");
  }
  return { root: toHex(epoch.root), linked: true, spent };
}
