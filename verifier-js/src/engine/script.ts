/** The script's middle: lookups, from the challenges to the leaves. Verifier and planner play it. */

import type { Bus } from "./buses.js";
import { truncated } from "./geometry.js";
import { countKey, rangedTensors, tensorKey } from "./layout.js";
import { LeafSum } from "./lookups.js";
import { pointAxes } from "./axes.js";
import type { Party } from "./party.js";
import { lookupRows, tensorRows } from "./rows.js";

export function checkLookups(party: Party, bus: Bus): void {
  const [alpha] = party.challenges("lookups.alpha", 1), [beta] = party.challenges("lookups.beta", 1);
  const leafSum = new LeafSum(party.fractions(bus), bus.logSums, alpha!, beta!);
  bus.byOperation.forEach((blocks, number) => {
    if (blocks.length === 0) return;
    const rows = lookupRows(party, number, blocks.map((block) => leafSum.functional(block)));
    if (rows.length !== blocks.length) throw new Error("an operation has other lookups than rows");
    blocks.forEach((block, i) => { leafSum.lookup(block, rows[i]!); });
  });
  for (const tensor of rangedTensors(party.circuit)) {
    const blocks = bus.byTensor.get(tensor)!, axes = leafSum.functional(blocks[0]!);
    const [rows, stored] = tensorRows(party, tensor, axes, blocks.length);
    blocks.forEach((block, i) => { leafSum.lookup(block, rows[i]!); });
    party.open(tensorKey(tensor), truncated(axes, party.circuit.tensors[tensor]!.shape), stored);
  }
  bus.tables.forEach((table, index) => {
    const point = leafSum.localPoint(table.logSize);
    const count = party.committed(countKey(index), pointAxes(point, [table.logSize]), "lookups.count");
    leafSum.table(index, table, party.tableRow(table, point), count);
  });
  leafSum.finish();
}

