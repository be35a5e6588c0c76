/**
 * Runs a list of cases through the proof system, for tests that compare both verifiers.
 *
 * One JSON document on standard input: `{"files": {name: path}, "cases": [...]}`. A case names a file for each part of a payload
 * and says how to change its bytes. Answers: one JSON list of `{"code": ""}` (accepted), or the refusal's code and kind. With
 * `"expected"`, a list of such answers, the first answer that is another one is the last.
 */

import { readFileSync } from "node:fs";

import { Refusal, verifyProof } from "../engine/index.js";
import type { EngineInput, WeightVisibility } from "../engine/index.js";
import { decodeStatement } from "../engine/statement.js";
import { trustCircuit, trustWeights, verifyStatement } from "../engine/verify.js";

interface Change {
  readonly file: string;
  /** Bytes from `at` on are replaced; `cut`: what follows is dropped. */
  readonly at: number;
  readonly hex: string;
  readonly cut?: boolean;
}

interface Case {
  readonly circuit: string;
  /** `root`: hidden weights whose registration is not part of the case, as the golden proofs of that suite have them. */
  readonly weights: WeightVisibility | "root";
  readonly identity: string;
  /** Payload name to name in `files`. */
  readonly payload: Record<string, string>;
  readonly changes?: readonly Change[];
  readonly memoryBytes?: number;
}

const task = JSON.parse(readFileSync(0, "utf8")) as { files: Record<string, string>; cases: Case[]; expected?: readonly { code: string; kind: string }[] | null };
const loaded = new Map(Object.entries(task.files).map(([name, path]) => [name, new Uint8Array(readFileSync(path))]));

function changed(data: Uint8Array, changes: readonly Change[]): Uint8Array {
  let result = data;
  for (const { at, hex, cut } of changes) {
    const more = Buffer.from(hex, "hex"), size = cut === true ? at + more.length : Math.max(result.length, at + more.length);
    const next = new Uint8Array(size);
    next.set(result.subarray(0, size));
    next.set(more, at);
    result = next;
  }
  return result;
}

/** As `verifyProof`, or, of root, the same steps without the registration. */
async function run(one: Case, files: ReadonlyMap<string, Uint8Array>): Promise<void> {
  const memoryBytes = one.memoryBytes ?? 2 ** 32;
  if (one.weights !== "root") {
    const input: EngineInput = { circuitSha256: one.circuit, weights: one.weights, weightsSha256: one.identity, files, memoryBytes };
    await verifyProof(input);
    return;
  }
  const trusted = trustCircuit(files.get("circuit.bin")!, one.circuit, { memoryBytes, seconds: 120 });
  const weights = trustWeights(trusted.circuit, one.identity, files.get("weights.bin"));
  const statement = decodeStatement(trusted.circuit, files.get("statement.bin")!);
  verifyStatement(trusted, one.identity, weights, statement, files.get("proof.bin")!, () => undefined);
}

const answers = [];
for (const [number, one] of task.cases.entries()) {
  const files = new Map<string, Uint8Array>();
  for (const [name, source] of Object.entries(one.payload)) {
    files.set(name, changed(loaded.get(source)!, (one.changes ?? []).filter((change) => change.file === name)));
  }
  const started = performance.now();
  let code = "", kind = "", where = "", message = "";
  try {
    await run(one, files);
  } catch (problem) {
    if (problem instanceof Refusal) ({ code, kind, where, message } = problem);
    else [code, kind, message] = ["crash", "crash", problem instanceof Error ? (problem.stack ?? problem.message) : String(problem)];
  }
  answers.push({ code, kind, where, message, milliseconds: performance.now() - started });
  const expected = task.expected?.[number];
  if (expected && (expected.code !== code || expected.kind !== kind)) break;
}
process.stdout.write(JSON.stringify(answers));
