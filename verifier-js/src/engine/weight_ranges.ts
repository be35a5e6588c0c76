/**
 * Hidden weights whose own cells are looked up in tables of their ranges: docs/engine/zero-knowledge.md, "Proofs about weights alone".
 * One sum of fractions holds 2^26 leaves; weights that are more are looked up in several sums, one after the other.
 */

import { pointAxes } from "./axes.js";
import type { Bus, Group, LookupBlock } from "./buses.js";
import { bitLength, log2Ceil } from "./bytes.js";
import { countKey, weightKey } from "./layout.js";
import { LeafSum } from "./lookups.js";
import type { Party } from "./party.js";
import type { Weight } from "./program.js";
import { stored } from "./storage.js";

/** k of the widest cells that are looked up themselves. Wider ones are made of parts. */
const WIDEST_BITS = 15;
/** Of one sum; a single weight may have more. */
const MOST_LEAVES = 2 ** 26;

export const isRanged = (weight: Weight): boolean => weight.bound > 0n && bitLength(weight.bound) <= WIDEST_BITS;

/** The sums for the weights `owners`, in order; a new one begins where the next weight would not fit. */
export function weightSums(weights: readonly Weight[], owners: readonly number[]): Bus[] {
  const found: Bus[] = [];
  // Running totals: a circuit may have very many weights, and this is part of pricing it.
  let mine: number[] = [], widths = new Set<number>(), cells = 0;
  for (const owner of owners) {
    const more = stored(weights[owner]!.shape).cells, width = bitLength(weights[owner]!.bound);
    const rows = [...new Set(widths).add(width)].reduce((sum, bits) => sum + 2 ** (bits + 1), 0);
    if (mine.length > 0 && cells + more + rows > MOST_LEAVES) {
      found.push(sumOf(weights, mine));
      mine = [];
      widths = new Set();
      cells = 0;
    }
    mine.push(owner);
    widths.add(width);
    cells += more;
  }
  return mine.length > 0 ? [...found, sumOf(weights, mine)] : found;
}

/** k of the tables, ascending. */
const widthsOf = (weights: readonly Weight[], owners: readonly number[]): number[] =>
  [...new Set(owners.map((owner) => bitLength(weights[owner]!.bound)))].sort((x, y) => x - y);

/** Blocks are packed as everywhere: largest first, upwards from leaf 0, equal ones in their order. */
function sumOf(weights: readonly Weight[], owners: readonly number[]): Bus {
  const widths = widthsOf(weights, owners), storages = owners.map((owner) => stored(weights[owner]!.shape));
  const blocks: { log: number; place: (address: number) => void }[] = [];
  const addresses = storages.map((): number[] => []), offsets: number[] = [];
  storages.forEach((storage, number) => {
    storage.pieces.forEach((piece, i) => blocks.push({ log: piece.log + storage.logRest, place: (address) => { addresses[number]![i] = address; } }));
  });
  widths.forEach((bits, i) => blocks.push({ log: bits + 1, place: (address) => { offsets[i] = address; } }));
  let end = 0;
  for (const block of blocks.sort((x, y) => y.log - x.log)) {
    block.place(end);
    end += 2 ** block.log;
  }
  const byTensor = new Map<number, readonly LookupBlock[]>();
  owners.forEach((owner, number) => {
    const group: Group = { storage: storages[number]!, logMembers: 0, addresses: addresses[number]!, sum: 0 };
    byTensor.set(owner, [{ owner, slot: 0, table: widths.indexOf(bitLength(weights[owner]!.bound)), group, member: 0 }]);
  });
  const tables = widths.map((bits, i) => ({ kind: "signed" as const, index: bits, logSize: bits + 1, offset: offsets[i]!, sum: 0 }));
  return { tables, byOperation: [], byTensor, logLeaves: Math.max(1, log2Ceil(end)), logSums: 0, sums: [end] };
}

/** The script, sum by sum. `first`: the number of the first table. */
export function checkRanges(party: Party, weights: readonly Weight[], sums: readonly Bus[], first: number): void {
  for (const bus of sums) {
    const [alpha] = party.challenges("lookups.alpha", 1), [beta] = party.challenges("lookups.beta", 1);
    const leafSum = new LeafSum(party.fractions(bus), bus.logSums, alpha!, beta!);
    for (const [owner, [block]] of bus.byTensor) {
      const axes = leafSum.functional(block!), value = party.weight(owner, axes, "relation.w");
      party.pinPadding(weightKey(owner), axes, weights[owner]!.shape, value);
      leafSum.lookup(block!, [value]);
    }
    bus.tables.forEach((table, number) => {
      const point = leafSum.localPoint(table.logSize);
      const count = party.committed(countKey(first + number), pointAxes(point, [table.logSize]), "lookups.count");
      leafSum.table(number, table, party.tableRow(table, point), count);
    });
    leafSum.finish();
    first += bus.tables.length;
  }
}
