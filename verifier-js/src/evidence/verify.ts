/** Steps V1 to V10 of docs/bundle-format.md for the sumcheck engine. What the verdict rests on comes from lock and trust file. */

import { Refusal, verifyProof, type EngineCircuit, type EngineVerdict, type EngineVerifier } from "../engine/index.js";
import type { CircuitPredicate, FidelityFigures, ProofPredicate } from "./attestation.js";
import { checkGeneration } from "./answer.js";
import { decodeUtf8, sha256Hex, short, utf8 } from "./bytes.js";
import { compareTensors, type GivenTensors } from "./compare.js";
import { finding, fromRefusal, holds, notChecked, worstStatus, type Finding } from "./findings.js";
import { canonicalJson } from "./json.js";
import { expectSuite, parseSection, sectionDigest, type Lock, type OutputFigures, type Scale, type Section } from "./lock.js";
import { DOCUMENT_FILES, MODEL_FILE, SIDE_FILES } from "./manifest.js";
import { ratio, ratioOf, sameRatio, toNumber, type Ratio } from "./ratio.js";
import { openBundle, type OpenBundle } from "./reader.js";
import type { Source } from "./source.js";
import { attested, LARGEST_FLOAT32, statementJson, unbound, type Opening, type Statement, type Tensor } from "./statement.js";
import { checkTrust } from "./trust_check.js";
import { requireLock, type Trust, type TrustedCircuit } from "./trust.js";

export interface Expectations {
  readonly inputs?: GivenTensors;
  readonly outputs?: GivenTensors;
  /** The nonce that was asked for. */
  readonly context?: string;
}

/** What a page or terminal shows while the work goes on; nothing here decides. */
export interface Watcher {
  readonly found: (one: Finding) => void | Promise<void>;
  readonly progress: (step: string, what: string, done: number, total: number) => void | Promise<void>;
}

export interface Options {
  readonly lock: Lock;
  readonly trust?: Trust;
  readonly expect?: Expectations;
  /** Milliseconds since 1970. */
  readonly now: number;
  readonly memoryBytes: number;
  readonly engine?: EngineVerifier;
  readonly watch?: Watcher;
}

/** What was proven; made only when every step up to V6 held. */
export interface Proven {
  readonly statement: Statement;
  readonly section: Section;
  readonly soundnessMillibits: number;
  readonly proofSha256: string;
}

export type Verdict = "accepted" | "rejected" | "policy-not-met" | "undecided" | "not-checked";

/** One kind of attestation in a bundle. */
export interface Holding {
  readonly words: string;
  readonly count: number;
}

export interface Outcome {
  readonly verdict: Verdict;
  readonly status: number;
  readonly bundleId: string | null;
  readonly created: string | null;
  readonly findings: readonly Finding[];
  /** What the bundle holds, where that is more than a proof. */
  readonly holdings: readonly Holding[];
  /** Not null when the proof holds, whatever was found about signatures or what was asked for. */
  readonly proven: Proven | null;
}

const SILENT: Watcher = { found: () => undefined, progress: () => undefined };
const VERDICTS: { readonly [status: number]: Verdict } = { 0: "accepted", 1: "rejected", 2: "not-checked", 3: "policy-not-met" };

export function verdictOf(status: number): Verdict {
  return VERDICTS[status] ?? "undecided";
}

/** Never throws for what evidence can do: every refusal is an outcome. */
export async function verifyBundle(open: () => Promise<Source>, options: Options): Promise<Outcome> {
  const watch = options.watch ?? SILENT;
  const findings: Finding[] = [];
  const add = async (one: Finding): Promise<void> => {
    findings.push(one);
    await watch.found(one);
  };
  let source: Source | null = null;
  let bundle: OpenBundle | null = null;
  let proven: Proven | null = null;
  let status: number | null = null;
  try {
    const trusted = options.trust && requireLock(options.trust, options.lock.name, options.lock.fileSha256);
    source = await open();
    bundle = await openBundle(source, (done, total) => watch.progress("V1", "file", done, total));
    if (holdingsOf(bundle).length) {
      await add(intact(bundle));
      requireProofAlone(bundle);
    }
    proven = await verifyOpen(bundle, options, watch, add);
    if (trusted) await add(checkKey(trusted, proven.section.circuitSha256));
    if (options.trust?.hardware) await add(notChecked("hardware-not-judged", "attestations of hardware are not judged by this verifier", "A"));
    await checkAsked(proven.statement, options.expect ?? {}, add);
  } catch (problem) {
    await add(fromRefusal(problem));
    if (!(problem instanceof Refusal)) status = 70;
    else if (problem.kind === "usage") status = 2;
  } finally {
    await source?.close?.();
  }
  if (bundle && options.trust) for (const one of await checkTrust(bundle, options.trust, options.now, watch.found)) findings.push(one);
  const found = worstStatus(findings);
  // False evidence is told whatever else went wrong; what this verifier or its lock cannot do is no verdict about evidence.
  const final = found === 1 || status === null ? found : status;
  return { verdict: verdictOf(final), status: final, bundleId: bundle?.id ?? null, created: bundle?.manifest.created ?? null, findings, holdings: bundle ? holdingsOf(bundle) : [], proven };
}

/** A3. This verifier makes no circuit again from its model, so a trust file that demands it is not met. */
function checkKey(trusted: TrustedCircuit, circuitSha256: string): Finding {
  if (trusted.verificationKey === circuitSha256) return holds("key-pinned", "the circuit is the one that the trust file pins", "A3", { evidence: circuitSha256 });
  if (trusted.verificationKey !== "re-derive") {
    const message = `the circuit is ${circuitSha256}, the trust file pins ${trusted.verificationKey}`;
    return finding("key-not-trusted", "rejected", message, "A3", { remedy: "The proof was made for another circuit than the one you trust." });
  }
  const message = "the trust file demands that the circuit is made again from the model, which only an audit does";
  const remedy = "Run `verifai audit`; or pin the circuit: set verification_key in the trust file to its SHA-256, once you have done so.";
  return finding("key-rederivation-missing", "policy-not-met", message, "A3", { remedy });
}

/** V2 to V6. */
async function verifyOpen(bundle: OpenBundle, options: Options, watch: Watcher, add: (one: Finding) => Promise<void>): Promise<Proven> {
  const { lock } = options;
  const { circuit, proof } = findClaims(bundle);
  await add(intact(bundle));
  if (!options.trust) await add(noteSignatures(bundle));
  const table = lock.sections.get(circuit.engine);
  if (!table) throw new Refusal("rejected", "circuit-not-pinned", `the lock pins no circuit for engine '${circuit.engine}'`, "engine", "Use the lock of that circuit.");
  if (circuit.modelSha256 !== lock.modelSha256) {
    const message = `the evidence is about model ${short(circuit.modelSha256)}, the lock pins ${short(lock.modelSha256)}`;
    throw new Refusal("rejected", "model-not-pinned", message, "", "Use the lock of the model that you expect, or reject the release.");
  }
  if (circuit.engine !== "sumcheck") {
    const hint = "Use `verifai verify`, which runs ezkl.";
    throw new Refusal("undecided", "not-checked-here", "this verifier does not check proofs of the ezkl engine", "payload", hint);
  }
  const section = parseSection(table);
  if (section.counts) {
    const hint = "Use `verifai verify EVALUATION --lock LOCK --data data.lock`, which matches the labels with the data set.";
    throw new Refusal("undecided", "not-checked-here", "this verifier does not judge counts of right answers", "payload", hint);
  }
  await checkAgainstLock(circuit, lock, section, await sectionDigest(table));
  await add(holds("circuit-pinned", `circuit '${lock.name}', model ${short(lock.modelSha256)}: as the lock pins them`, "V3", { evidence: lock.modelSha256 }));
  await add(checkModel(bundle, circuit, lock));

  expectSuite(section);
  const files = new Map([...bundle.payload].filter(([name]) => !SIDE_FILES.has(name)));
  requireNames(section, files);
  const engine = options.engine ?? verifyProof;
  const verdict = await engine({
    circuitSha256: section.circuitSha256,
    weights: section.weights,
    weightsSha256: section.weightsSha256,
    files,
    memoryBytes: options.memoryBytes,
    onCircuit: (found) => { checkSection(section, found); },
    onProgress: (at) => watch.progress(`V5.${at.step}`, at.what, at.done, at.total),
  });
  for (const one of engineFindings(section, verdict)) await add(one);
  const statement = statementOf(section, verdict, lock.modelSha256);
  if (circuit.weights !== statement.weights) {
    // Else a prover could keep a public model back, and with it all that an audit makes again from the model.
    throw new Refusal("rejected", "circuit-not-pinned", `weights: the evidence says '${circuit.weights}', the lock '${statement.weights}'`, "weights");
  }
  await checkAttested(statement, proof, section);
  await add(holds("statement-matches", "the attested statement is exactly what the proof says", "V6"));
  for (const one of checkGeneration(statement, lock.names.decoder)) await add(one);
  if (proof.clampedCells) {
    const message = `the prover says that up to ${proof.clampedCells.toLocaleString("en")} inner cells lay beyond their range and were cut off: the output may be farther from the float model's than the lock says`;
    await add(notChecked("inner-saturated", message, "V6", { remedy: "Do not take the output for the model's: ask for a circuit that is calibrated with data like this input." }));
  }
  const documents = DOCUMENT_FILES.filter((name) => bundle.payload.has(name));
  if (documents.length) await add(notChecked("not-checked-here", `documents for other tools are not compared here: ${documents.join(", ")}`, "V6"));
  if (lock.provenance || circuit.weights !== "public") await add(notChecked("provenance-not-judged", "from which release the model comes is not judged here; `verifai verify` and `verifai audit` do that", "P1"));
  const listing = bundle.manifest.files.filter((one) => files.has(one.path.slice("payload/".length)) && one.path.startsWith("payload/"));
  const proofSha256 = await sha256Hex(utf8.encode(listing.map((one) => `${one.path} ${one.sha256}\n`).join("")));
  return { statement, section, soundnessMillibits: verdict.circuit.soundnessMillibits, proofSha256 };
}

/** V1: whoever opens a bundle has compared all of it with the manifest. */
function intact(bundle: OpenBundle): Finding {
  return holds("bundle-intact", `${bundle.payload.size} payload files and every attestation match the manifest`, "V1");
}

/** What a bundle's attestations are, in words, each kind once; empty where they are a circuit and proofs alone. */
export function holdingsOf(bundle: OpenBundle): Holding[] {
  const found = new Map<string, number>();
  for (const { predicate } of bundle.attestations.values()) {
    const words = predicate.kind === "other" ? predicate.words : predicate.kind === "proof" ? "a proof" : "a circuit";
    found.set(words, (found.get(words) ?? 0) + 1);
  }
  const others = [...bundle.attestations.values()].some((one) => one.predicate.kind === "other");
  return others ? [...found].map(([words, count]) => ({ words, count })).sort((left, right) => (left.words < right.words ? -1 : 1)) : [];
}

/** A bundle that also holds what this verifier cannot read gets no verdict: its claims may say something else than its proof. */
function requireProofAlone(bundle: OpenBundle): void {
  const others = holdingsOf(bundle).filter((one) => one.words !== "a proof" && one.words !== "a circuit").map((one) => one.words);
  if (!others.length) return;
  const message = `the bundle holds ${others.join(", ")}: that it is unchanged was checked, and who signed it where a trust file is given, but not what it says`;
  throw new Refusal("undecided", "not-checked-here", message, "", "Use `verifai audit`, which checks all of it.");
}

/** V2: exactly one proof attestation, about all engine files, and its circuit attestation, about the model it names. */
function findClaims(bundle: OpenBundle): { circuit: CircuitPredicate; proof: ProofPredicate } {
  const proofs = [...bundle.attestations.values()].filter((one) => one.predicate.kind === "proof");
  const claim = proofs[0];
  if (claim?.predicate.kind !== "proof") throw new Refusal("policy", "no-proof", "the bundle holds no proof", bundle.id, "Ask for a bundle made by `verifai prove`.");
  if (proofs.length > 1) throw new Refusal("rejected", "ambiguous-proof", `the bundle holds ${proofs.length} proof attestations where exactly one is allowed`);
  const parent = bundle.attestations.get(claim.predicate.circuit);
  if (parent?.predicate.kind !== "circuit") {
    throw new Refusal("rejected", "broken-chain", `the proof names circuit ${short(claim.predicate.circuit)}, which is not in the bundle`, `attestations/${claim.envelope.id}`);
  }
  const listed = claim.subjects.map((one) => one.name).sort().join("\n");
  const actual = [...bundle.payload.keys()].filter((name) => !SIDE_FILES.has(name)).map((name) => `payload/${name}`).sort().join("\n");
  if (listed !== actual) throw new Refusal("rejected", "subject-mismatch", "the proof attestation is not about the files in the bundle");
  const [subject, ...others] = parent.subjects;
  if (others.length || subject?.name !== MODEL_FILE || subject.sha256 !== parent.predicate.modelSha256) {
    throw new Refusal("rejected", "subject-mismatch", "the circuit attestation is not about the model it names", `attestations/${parent.envelope.id}`);
  }
  return { circuit: parent.predicate, proof: claim.predicate };
}

function noteSignatures(bundle: OpenBundle): Finding {
  const count = bundle.envelope.signatures.length;
  const message = count
    ? `the bundle carries ${count} signature${count > 1 ? "s" : ""}; a trust file is needed to judge whose they are`
    : "the bundle is unsigned: it proves its statement, but not who made it";
  return notChecked("signatures-not-judged", message, "V2");
}

/** V3: the circuit attestation repeats what the lock pins. */
async function checkAgainstLock(circuit: CircuitPredicate, lock: Lock, section: Section, digest: string): Promise<void> {
  const claimed = new Map([["circuit_sha256", circuit.circuitSha256], ["engine_version", circuit.engineVersion], ...circuit.pins, ["insecure", circuit.insecure.join(",")], ["name", circuit.name]]);
  const pinned = new Map([["circuit_sha256", section.circuitSha256], ["engine_version", section.suite], ["weights_sha256", section.weightsSha256], ["insecure", ""], ["name", lock.name]]);
  const hint = "The proof was made with another compilation of the circuit than the one you trust.";
  for (const field of new Set([...claimed.keys(), ...pinned.keys()])) {
    if (claimed.get(field) === pinned.get(field)) continue;
    const message = `${field}: the evidence says '${(claimed.get(field) ?? "").slice(0, 64)}', the lock pins '${(pinned.get(field) ?? "").slice(0, 64)}'`;
    throw new Refusal("rejected", "circuit-not-pinned", message, field, hint);
  }
  if (!sameFidelity(circuit.fidelity, section)) throw new Refusal("rejected", "circuit-not-pinned", "the fidelity figures are not those that the lock pins", "fidelity");
  if (circuit.sectionSha256 !== digest) {
    const again = "The circuit was compiled again since: use the lock of that release, or ask for new evidence.";
    throw new Refusal("rejected", "circuit-not-pinned", "the evidence names another lock section than the trusted one", "section_sha256", again);
  }
  return Promise.resolve();
}

function sameFidelity(claimed: FidelityFigures | null, { fidelity }: Section): boolean {
  if (!claimed) return false;
  const { language } = fidelity;
  const exact = (left: Ratio | null, right: number | null): boolean => (left === null || right === null ? left === right : sameRatio(left, ratioOf(right)));
  return (
    claimed.samples === fidelity.samples && claimed.top1Matches === fidelity.top1Matches && claimed.worstSample === fidelity.worstSample &&
    claimed.closeDecisions === fidelity.closeDecisions && exact(claimed.maxAbsError, fidelity.maxAbsError) && exact(claimed.meanAbsError, fidelity.meanAbsError) &&
    exact(claimed.spreadError, fidelity.spreadError) && exact(claimed.columnError, fidelity.columnError) && exact(claimed.r2, fidelity.r2) &&
    claimed.positions === (language?.positions ?? null) && claimed.positionMatches === (language?.matches ?? null) &&
    exact(claimed.perplexity, language?.perplexity ?? null) && exact(claimed.circuitPerplexity, language?.circuitPerplexity ?? null)
  );
}

/** V4: the model in the bundle is the pinned one; it is there exactly when the weights are public. */
function checkModel(bundle: OpenBundle, circuit: CircuitPredicate, lock: Lock): Finding {
  const digest = bundle.manifest.files.find((one) => one.path === `payload/${MODEL_FILE}`)?.sha256;
  if (digest === undefined) {
    if (circuit.weights === "public") throw new Refusal("rejected", "model-missing", "the weights are said to be public, but the model is not in the bundle", MODEL_FILE);
    return notChecked("model-withheld", "the model is not in the bundle; its owner keeps it", "V4");
  }
  if (circuit.weights !== "public") throw new Refusal("rejected", "model-mismatch", `the weights are said to be ${circuit.weights}, but a model is in the bundle`, MODEL_FILE);
  if (digest !== lock.modelSha256) throw new Refusal("rejected", "model-mismatch", "the model in the bundle is not the pinned one", MODEL_FILE);
  return holds("model-matches", "the model in the bundle is the pinned one", "V4", { evidence: lock.modelSha256 });
}

const MIB = 2 ** 20;
/** Longest files that are read at all. */
const LONGEST: ReadonlyMap<string, number> = new Map([["circuit.bin", 256 * MIB], ["proof.bin", 256 * MIB], ["registration.bin", 64 * MIB], ["link.bin", 64 * MIB]]);

function requireNames(section: Section, files: ReadonlyMap<string, Uint8Array>): void {
  const wanted = ["circuit.bin", "statement.bin", "proof.bin"];
  if (section.weights === "public") wanted.push("weights.bin");
  if (section.weights === "private") wanted.push("registration.bin");
  const optional = section.weights === "private" ? ["link.bin"] : [];
  const odd = [...wanted.filter((name) => !files.has(name)), ...[...files.keys()].filter((name) => ![...wanted, ...optional].includes(name))];
  if (odd.length) throw new Refusal("rejected", "payload-mismatch", "the payload's files are not those of a sumcheck proof", odd.sort().join(", "));
  for (const [name, data] of files) {
    const limit = LONGEST.get(name);
    if (limit !== undefined && data.length > limit) throw new Refusal("rejected", "payload-mismatch", `${data.length} bytes, more than the limit of ${limit}`, name);
  }
}

/** The pinned circuit is what the section says; a contradiction is a broken lock, not false evidence. */
function checkSection(section: Section, circuit: EngineCircuit): void {
  const broken = (field: string, what: string): Refusal => new Refusal("usage", "bad-lock", `the pinned circuit has other ${what} than the section says`, `circuit.lock: [engine.sumcheck].${field}`);
  const ports = [...circuit.inputs.map((port) => ({ role: "input", port })), ...circuit.outputs.map((port) => ({ role: "output", port }))];
  const pairs = section.tensors.map((pinned, at) => ({ pinned, ...ports[at] }));
  const ordered = (pinned: Section["tensors"][number]): boolean => section.scales.get(pinned.name)?.ordered ?? false;
  for (const { pinned, port } of pairs) {
    const columns = section.scales.get(pinned.name)?.columns.length ?? 0;
    const whole = port && port.scale[0] === 1n && port.scale[1] === 1n && port.zeroPoint === 0;
    if (columns && (!whole || port.shape[port.shape.length - 1] !== columns)) throw broken("scales", "scales");
    if (!port || !ordered(pinned)) continue;
    const plain = port.scale[0] === 1n && port.scale[1] === 1n && port.zeroPoint === 0;
    // Hidden numbers are two limbs each, which are looked up in a table of their range.
    const [low, high] = pinned.visibility === "public" ? [-LARGEST_FLOAT32, LARGEST_FLOAT32] : [-(2 ** 15), 2 ** 15 - 1];
    if (!plain || port.low !== BigInt(low) || port.high !== BigInt(high)) throw broken("scales", "scales");
  }
  if (circuit.suite !== section.suite) throw broken("suite", "suite");
  if (circuit.batch !== section.batch) throw broken("batch", "batch");
  const batch = section.batch ? [section.batch] : [];
  const fits = ports.length === pairs.length && pairs.every(({ pinned, role, port }) => {
    if (!port || role !== pinned.role || port.visibility !== pinned.visibility) return false;
    const limbs = ordered(pinned) && pinned.visibility !== "public" ? [2] : [];
    const shape = [...batch, ...(pinned.shape.length ? pinned.shape : [1]), ...limbs];
    if (port.shape.join("x") !== shape.join("x")) return false;
    return !pinned.stored || port.scale[0] !== 1n || port.scale[1] !== 1n || port.zeroPoint !== 0;
  });
  if (!fits) throw broken("tensors", "tensors");
  if ((section.weights === "public") !== (circuit.weights === "public")) throw broken("weights", "visibility of the weights");
  if (section.openingBudget !== circuit.openingBudget) throw broken("opening_budget", "opening budget");
  if (section.soundnessMillibits !== circuit.soundnessMillibits) throw broken("soundness_millibits", "soundness");
  const left = new Map(section.boundary);
  for (const { pinned, port } of pairs) {
    const scale = left.get(pinned.name);
    left.delete(pinned.name);
    if (!scale || !port) continue;
    const same = sameRatio(scale.step, ratio(port.scale[0], port.scale[1])) && BigInt(scale.low) === port.low && BigInt(scale.high) === port.high && scale.zeroPoint === port.zeroPoint;
    if (!same) throw broken("options.boundary", "scales or ranges at a boundary");
    // The circuit was lowered by the boundary's scale: a statement would read its integers by another one.
    const shown = section.scales.get(pinned.name);
    if (shown?.columns.length || shown?.ordered) throw broken("scales", "scales");
  }
  if (left.size) throw broken("options.boundary", "inputs and outputs");
}

/** How strong a proof is, for people: rounded down, and no more than what is written down and was checked. */
export function soundnessWords(millibits: number): string {
  return `\u2265 ${(Math.floor(millibits / 100) / 10).toFixed(1)} bits per step, per hash evaluation, unaudited`;
}

const WEIGHTS_WORDS = {
  public: "the weights are the pinned ones, and keep the circuit's bounds",
  committed:
    "the weights are those under the pinned root; that they are the model's, within the circuit's bounds, is not checked here: rely on the lock's author, or derive the root from the model",
  private:
    "the weights are those under the pinned hiding root; that they are the model's is not checked here: rely on the lock's author, since only the holder of the seed can derive the root",
} as const;

function engineFindings(section: Section, verdict: EngineVerdict): Finding[] {
  const found = [
    holds("sumcheck-circuit-pinned", "the circuit is the pinned one, and keeps every rule", "V5.1", { evidence: section.circuitSha256 }),
    holds("sumcheck-weights-pinned", WEIGHTS_WORDS[section.weights], "V5.2", { evidence: section.weightsSha256 }),
  ];
  const least = soundnessWords(100_000);
  if (verdict.roots) found.push(holds("sumcheck-weights-registered", `the weights under the pinned root are proven to keep the circuit's bounds, with padding 0 (${least})`, "V5.2"));
  if (verdict.roots?.linked) {
    found.push(holds("sumcheck-weights-linked", `the proof opened an epoch root, proven to commit to the same weights as the pinned one (${least})`, "V5.2", { evidence: verdict.roots.root }));
  }
  found.push(holds("sumcheck-statement-bound", "statement and context fit the circuit and are bound by the proof", "V5.3"));
  found.push(holds("proof-valid", `the proof holds (${soundnessWords(verdict.circuit.soundnessMillibits)})`, "V5.4"));
  found.push(...saturatedOutputs(section, verdict));
  return found;
}

/** Public outputs at an end of the circuit's range: a value beyond it would have come out the same. */
function saturatedOutputs(section: Section, verdict: EngineVerdict): Finding[] {
  const names = section.tensors.filter((one) => one.role === "output").map((one) => one.name);
  const found: Finding[] = [];
  for (const [at, name] of names.entries()) {
    const port = verdict.circuit.outputs[at]!;
    const tensor = verdict.tensors[verdict.circuit.inputs.length + at]!;
    const figures = section.fidelity.outputs.find((one) => one.name === name);
    const isOne = port.scale[0] === port.scale[1];
    if (tensor.visibility !== "public" || !(section.fidelity.task === null ? !isOne : figures)) continue;
    const step = ratio(port.scale[0], port.scale[1]);
    const ends = clampingEnds(port.low, port.high, step, section.scales.get(name), figures);
    const parts: string[] = [];
    let total = 0;
    for (const end of new Set(ends)) {
      let count = 0;
      for (const cell of tensor.cells) if (BigInt(cell) === end) count++;
      if (!count) continue;
      total += count;
      const columns = section.scales.get(name)?.columns.length;
      parts.push(`${count.toLocaleString("en")}${columns ? "" : ` at ${Number(toNumber(ratio(end * step.numerator, step.denominator)).toPrecision(6))}`}`);
    }
    if (!parts.length) continue;
    const message = `${total.toLocaleString("en")} of ${tensor.cells.length.toLocaleString("en")} values of output '${name}' lie at the end of the circuit's range (${parts.join(" and ")}): the float model's may lie beyond`;
    found.push(notChecked("output-saturated", message, "V5.5", { where: name, remedy: "Do not take them for the model's." }));
  }
  return found;
}

/** The ends at which the range clamps, not the function: a rectifier's 0 and a probability's 1 are no saturation. */
function clampingEnds(low: bigint, high: bigint, step: Ratio, own: Scale | undefined, figures: OutputFigures | undefined): bigint[] {
  const ends: bigint[] = [];
  const sides = [[low, own?.low, figures?.low], [high, own?.high, figures?.high]] as const;
  for (const [end, limit, reached] of sides) {
    if (own && end !== BigInt(limit!)) continue; // the function ends before the range does
    if (own?.columns.length) ends.push(end);
    else if (own && reached !== undefined) {
      // beyond all that the data reached: there is a margin
      const data = ratioOf(reached);
      const difference = end * step.numerator * data.denominator - data.numerator * step.denominator;
      const distance = difference < 0n ? -difference : difference;
      if (distance > step.numerator * data.denominator) ends.push(end);
    } else if (end !== 0n) ends.push(end);
  }
  return ends;
}

/** V5: the statement, decoded from the proof's authenticated data; scales, names and columns as the lock has them. */
function statementOf(section: Section, verdict: EngineVerdict, modelSha256: string): Statement {
  const { circuit } = verdict;
  const ports = [...circuit.inputs, ...circuit.outputs];
  const tensors = section.tensors.map((pinned, at): Tensor => {
    const port = ports[at]!;
    const stated = verdict.tensors[at]!;
    const scale = section.scales.get(pinned.name);
    const zeroPoint = BigInt(port.zeroPoint);
    return {
      role: pinned.role,
      name: pinned.name,
      shape: circuit.batch ? [verdict.items, ...pinned.shape] : pinned.shape,
      visibility: port.visibility,
      scale: ratio(port.scale[0], port.scale[1]),
      zeroPoint: port.zeroPoint,
      quantised: stated.visibility === "public" ? [...(stated.cells as Iterable<number | bigint>)].map((cell) => BigInt(cell) + zeroPoint) : null,
      quantisedSha256: null,
      digest: stated.visibility === "hashed" ? stated.root : null,
      digestScheme: stated.visibility === "hashed" ? (circuit.zeroKnowledge ? "sumcheck-zk-root/1" : "sumcheck-root/1") : null,
      columns: scale?.columns ?? [],
      stored: pinned.stored,
      batch: circuit.batch,
      encoding: scale?.ordered ? "float32" : "linear",
    };
  });
  let said: ReturnType<typeof unbound>;
  try {
    said = unbound(decodeUtf8(verdict.context));
  } catch (problem) {
    if (!(problem instanceof RangeError)) throw problem;
    throw new Refusal("rejected", "statement-malformed", problem.message, "context");
  }
  return {
    engine: "sumcheck",
    modelSha256,
    circuitSha256: section.circuitSha256,
    tensors,
    context: said.context,
    generation: said.generation,
    contextBound: true,
    privacy: circuit.zeroKnowledge ? "zero-knowledge, unaudited" : "integrity-only (not zero-knowledge)",
    weights: section.weights,
    openings: openingsOf(section, verdict),
  };
}

const TENSOR_BUDGET = 4;

function openingsOf(section: Section, verdict: EngineVerdict): Opening[] {
  if (!verdict.circuit.zeroKnowledge) return [];
  const found: Opening[] = [];
  if (verdict.roots) {
    const budget = verdict.circuit.openingBudget;
    found.push({ what: "weights", root: verdict.roots.root, number: verdict.openingNumber, budget, proofSha256: null });
    for (const one of verdict.roots.spent) found.push({ what: `weights, by their ${one.kind}`, root: one.root, number: one.number, budget, proofSha256: one.proofSha256 });
  }
  for (const [at, pinned] of section.tensors.entries()) {
    const stated = verdict.tensors[at]!;
    if (stated.visibility === "hashed") found.push({ what: pinned.name, root: stated.root, number: stated.number, budget: TENSOR_BUDGET, proofSha256: null });
  }
  return found;
}

/** V6: what the attestation says in plain text is what the proof says. */
async function checkAttested(statement: Statement, proof: ProofPredicate, section: Section): Promise<void> {
  const ours = canonicalJson(statementJson(await attested(statement)));
  const theirs = canonicalJson(proof.statementDocument);
  if (ours === null || theirs === null || decodeUtf8(ours) !== decodeUtf8(theirs)) {
    throw new Refusal("rejected", "statement-mismatch", "the attested statement differs from the proven one", "attestation of the proof");
  }
  if (proof.engineVersion !== section.suite || proof.insecure.length) {
    throw new Refusal("rejected", "statement-mismatch", "the attested engine version or insecure modes are not those of the lock");
  }
}

/** V7 to V9. */
async function checkAsked(statement: Statement, expect: Expectations, add: (one: Finding) => Promise<void>): Promise<void> {
  const shown = JSON.stringify(statement.context.slice(0, 80));
  if (expect.context === undefined) {
    const message = statement.context ? `the context ${shown} was not compared with anything` : "no context was asked for: an old proof could be shown again";
    await add(notChecked("context-not-compared", message, "V7"));
  } else if (statement.context !== expect.context) {
    throw new Refusal("rejected", "context-mismatch", `the context is ${shown}, expected ${JSON.stringify(expect.context.slice(0, 80))}`, "", "This may be an older proof shown again.");
  } else await add(holds("context-matches", "the context is the expected one, bound by the proof itself", "V7"));
  for (const [role, given] of [["input", expect.inputs], ["output", expect.outputs]] as const) {
    if (given) for (const one of compareTensors(statement, role, given)) await add(one);
  }
}

/** V10: of several bundles, no two different proofs use one opening number of one hidden commitment. One list per bundle. */
export function repeatedOpenings(proofs: readonly (Proven | null)[], where: readonly string[]): Finding[][] {
  const users = new Map<string, { by: string; at: number }[]>();
  const key = (one: Opening): string => `${one.root} ${one.number}`;
  for (const [at, proof] of proofs.entries()) {
    for (const one of proof?.statement.openings ?? []) users.set(key(one), [...(users.get(key(one)) ?? []), { by: one.proofSha256 ?? proof!.proofSha256, at }]);
  }
  return proofs.map((proof) =>
    (proof?.statement.openings ?? []).flatMap((one): Finding[] => {
      const by = one.proofSha256 ?? proof!.proofSha256;
      const others = (users.get(key(one)) ?? []).filter((other) => other.by !== by);
      if (!others.length) return [];
      const message = `opening ${one.number} of the commitment to '${one.what}' is also used by ${others.map((other) => where[other.at]).join(", ")}`;
      return [{ code: "opening-repeated", outcome: "policy-not-met", message, step: "V10", remedy: "Treat what the commitment hides as known to all who have both proofs." }];
    }),
  );
}
