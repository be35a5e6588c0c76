/** The proof system of this verifier: `verifyProof`, and nothing else, is used by the rest. */

import { rejected, toHex } from "./bytes.js";
import {
  type EngineCircuit, type EngineInput, type EnginePort, type EngineTensor, type EngineVerdict, type EngineVerifier, Refusal, type Visibility,
} from "./interface.js";
import { type Circuit, COMMITTED_WEIGHTS, HASHED, type Port, portsOf, PUBLIC } from "./program.js";
import { decodeStatement, shownSize, type Statement } from "./statement.js";
import { checkRoots, type WeightRoots } from "./relations.js";
import { requireLittleEndian } from "./transcript.js";
import { trustCircuit, trustWeights, verifyStatement } from "./verify.js";

export * from "./interface.js";

const VERIFY_SECONDS = 120;

const visibilityOf = (port: Port): Visibility => (port.visibility === PUBLIC ? "public" : port.visibility === HASHED ? "hashed" : "private");

function describe(circuit: Circuit): EngineCircuit {
  const portOf = (port: Port): EnginePort => {
    const tensor = circuit.tensors[port.tensor]!;
    const { shape, scale, low, high } = tensor;
    return { visibility: visibilityOf(port), shape, scale, zeroPoint: Number(tensor.zeroPoint), low, high };
  };
  return {
    suite: circuit.suite,
    zeroKnowledge: circuit.zeroKnowledge,
    batch: circuit.batch,
    weights: circuit.weightVisibility === COMMITTED_WEIGHTS ? "committed" : "public",
    openingBudget: circuit.openingBudget,
    soundnessMillibits: Math.min(...circuit.soundness.map((step) => step.millibits)),
    inputs: circuit.inputs.map(portOf),
    outputs: circuit.outputs.map(portOf),
  };
}

function tensorsOf(circuit: Circuit, statement: Statement): EngineTensor[] {
  return portsOf(circuit).map((port, i): EngineTensor => {
    const stated = statement.tensors[i]!;
    if (stated.kind === "private") return { visibility: "private" };
    if (stated.kind === "hashed") return { visibility: "hashed", root: toHex(stated.root), number: stated.number };
    const cells = stated.cells.slice(0, shownSize(circuit.tensors[port.tensor]!, statement.items));
    return { visibility: "public", cells: cells instanceof BigInt64Array ? cells : Int32Array.from(cells) };
  });
}

function fileOf(input: EngineInput, name: string): Uint8Array {
  const file = input.files.get(name);
  if (file === undefined) throw rejected("payload-mismatch", "the payload's files are not those of a sumcheck proof", name);
  return file;
}

export const verifyProof: EngineVerifier = async (input: EngineInput): Promise<EngineVerdict> => {
  requireLittleEndian();
  const report = async (step: 1 | 2 | 3 | 4, what: string, done: number, total: number): Promise<void> => {
    await input.onProgress?.({ step, what, done, total });
  };
  // The proof system itself does not wait: what it tells goes to the page from a worker.
  const tick = (step: 2 | 4) => (what: string, done: number, total: number): void => {
    void report(step, what, done, total);
  };
  await report(1, "circuit", 0, 1);
  const trusted = trustCircuit(fileOf(input, "circuit.bin"), input.circuitSha256, { memoryBytes: input.memoryBytes, seconds: VERIFY_SECONDS });
  const circuit = describe(trusted.circuit);
  input.onCircuit?.(circuit);
  if ((input.weights === "public") !== (circuit.weights === "public") || (input.weights === "private") !== (circuit.openingBudget > 0)) {
    throw new Refusal("usage", "bad-lock", "the pinned circuit has other visibility of the weights than the section says", "weights");
  }
  await report(1, "circuit", 1, 1);
  await report(2, "weights", 0, 1);
  let roots: WeightRoots | null = null;
  if (input.weights === "private") {
    roots = checkRoots(trusted, input.weightsSha256, fileOf(input, "registration.bin"), input.files.get("link.bin"), tick(2));
  }
  const identity = roots === null ? input.weightsSha256 : roots.root;
  const weights = trustWeights(trusted.circuit, identity, input.files.get("weights.bin"));
  await report(2, "weights", 1, 1);
  await report(3, "statement", 0, 1);
  const statement = decodeStatement(trusted.circuit, fileOf(input, "statement.bin"));
  if (roots?.spent.some((one) => one.root === identity && one.number === statement.openingNumber) === true) {
    throw rejected("statement-invalid", "registration or link took the proof's own opening", "statement.bin");
  }
  await report(3, "statement", 1, 1);
  await report(4, "proof", 0, 1);
  verifyStatement(trusted, identity, weights, statement, fileOf(input, "proof.bin"), tick(4));
  await report(4, "proof", 1, 1);
  return {
    circuit,
    tensors: tensorsOf(trusted.circuit, statement),
    context: statement.context,
    openingNumber: statement.openingNumber,
    items: statement.items,
    roots,
  };
};

