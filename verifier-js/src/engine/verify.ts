/** Steps 1 to 10 of docs/engine/protocol.md, from bytes to a verified statement. */

import { bug, fromHex, isDigest, rejected } from "./bytes.js";
import { HidingChannel, ProofChannel } from "./channels.js";
import { checkCircuit } from "./check.js";
import { circuitDigest, decodeCircuit } from "./codec.js";
import type { Cells } from "./field.js";
import { type Layout, shapesOf } from "./layout.js";
import { checkHiddenOpenings, checkOpenings, type Opened, type Tick } from "./opening.js";
import { checkOperations } from "./operations.js";
import { plan } from "./plan.js";
import { type Allowance, mostMessages, type Price, priceOf, priceOfBytes, priceWithOpenings, requirePrice } from "./price.js";
import { type Circuit, COMMITTED_WEIGHTS, portsOf } from "./program.js";
import { decodeProof } from "./proof.js";
import { checkLookups } from "./script.js";
import { absorbStatement, checkStatement, type Statement } from "./statement.js";
import { SUITES } from "./suite.js";
import { Transcript } from "./transcript.js";
import { VerifierParty } from "./verifier_party.js";
import { decodeWeights, weightsDigest } from "./weights.js";

export interface Trusted {
  readonly circuit: Circuit;
  readonly digest: string;
  readonly layout: Layout;
  readonly price: Price;
  readonly allowance: Allowance;
}

/** Step 1. Before the price of verifying is known, work is in proportion to the circuit's bytes. */
export function trustCircuit(data: Uint8Array, digest: string, allowance: Allowance): Trusted {
  if (circuitDigest(data) !== digest) throw rejected("circuit-mismatch", "the circuit is not the expected one", "circuit");
  requirePrice(priceOfBytes(data.length), allowance, "circuit");
  const circuit = decodeCircuit(data);
  checkCircuit(circuit);
  if (!SUITES.has(circuit.suite)) {
    throw rejected("circuit-invalid", `the circuit is for suite '${circuit.suite}', not ${[...SUITES.keys()].join(", ")}`, "suite");
  }
  const price = priceOf(circuit, data.length);
  requirePrice(price, allowance, "circuit");
  const layout = plan(circuit), shapes = shapesOf(layout);
  const sameShapes = JSON.stringify(shapes.map(fieldsOf)) === JSON.stringify(circuit.commitments.map(fieldsOf));
  const sameSteps = JSON.stringify(layout.soundness.map(fieldsOf)) === JSON.stringify(circuit.soundness.map(fieldsOf));
  if (!sameShapes || !sameSteps) throw rejected("circuit-invalid", "commitments or errors do not follow from the circuit", "soundness");
  const all = priceWithOpenings(price, layout);
  requirePrice(all, allowance, "circuit");
  return { circuit, digest, layout, price: all, allowance };
}

/** Names and values of a flat record, in one order. */
const fieldsOf = (record: object): [string, unknown][] => Object.entries(record).sort(([x], [y]) => (x < y ? -1 : 1));

/** Step 2: the cells of public weights; undefined when only the root is known. */
export function trustWeights(circuit: Circuit, identity: string, blob: Uint8Array | undefined): Cells[] | undefined {
  if (circuit.weightVisibility === COMMITTED_WEIGHTS) {
    if (!isDigest(identity)) throw rejected("weights-mismatch", "the weights' root is not 64 hexadecimal digits", "weights");
    return undefined;
  }
  if (blob === undefined || weightsDigest(blob) !== identity) throw rejected("weights-mismatch", "the weights are not the expected ones", "weights");
  return decodeWeights(circuit, blob);
}

/** Steps 3 to 10. */
export function verifyStatement(
  trusted: Trusted, identity: string, weights: readonly Cells[] | undefined, statement: Statement, proof: Uint8Array, tick: Tick,
): void {
  const { circuit, layout } = trusted;
  checkStatement(circuit, statement);
  const decoded = decodeProof(proof, shapesOf(layout), mostMessages(trusted.price, layout));
  const transcript = new Transcript();
  absorbStatement(transcript, circuit, statement, fromHex(trusted.digest), fromHex(identity));
  transcript.absorb("witness.root", decoded.root);
  const stated = new Map<number, Cells>(), hashed = new Map<number, { root: Uint8Array; number: bigint }>();
  portsOf(circuit).forEach((port, i) => {
    const one = statement.tensors[i]!;
    if (one.kind === "public") stated.set(port.tensor, one.cells);
    if (one.kind === "hashed") hashed.set(port.tensor, one);
  });
  const channel = layout.pads === undefined ? new ProofChannel(transcript, decoded.messages) : new HidingChannel(transcript, decoded.messages, layout.pads);
  const party = new VerifierParty(circuit, channel, stated, new Set(hashed.keys()), weights);
  checkLookups(party, layout.bus);
  tick("lookups", 1, 2);
  checkOperations(party);
  tick("operations", 2, 2);
  const missing = [...stated.keys(), ...hashed.keys()].filter((tensor) => !party.claimed.has(tensor));
  if (missing.length > 0) {
    throw rejected("proof-invalid", "a stated tensor takes no part in the computation", missing.map((tensor) => circuit.tensors[tensor]!.name).join(", "));
  }
  const shown = [...decoded.openings], next = (): (typeof shown)[number] => shown.shift() ?? fail();
  const joint: Opened[] = [{ commitment: layout.witness, root: decoded.root, opening: next(), number: 0 }];
  if (layout.weights !== undefined) {
    joint.push({ commitment: layout.weights, root: fromHex(identity), opening: next(), number: Number(statement.openingNumber) });
  }
  const alone = [...hashed].map(([tensor, one]): Opened[] => [
    { commitment: layout.hashed.get(tensor)!, root: one.root, opening: next(), number: Number(one.number) },
  ]);
  if (channel instanceof HidingChannel) checkHiddenOpenings(channel, [joint, ...alone], party.openings, layout.levels, shown, tick);
  else checkOpenings(channel, [joint, ...alone], party.openings, layout.levels, shown, tick);
  channel.finish();
}

function fail(): never {
  throw bug("a proof with fewer openings than commitments");
}

