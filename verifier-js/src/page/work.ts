/** The checking itself, in a worker: it reads files that the page hands over and tells what it finds. It knows no document. */

import { Refusal } from "../engine/interface.js";
import { openArchive } from "../evidence/archive.js";
import { sha256Hex } from "../evidence/bytes.js";
import { fromRefusal } from "../evidence/findings.js";
import { parseLock, type Fidelity, type Lock } from "../evidence/lock.js";
import { readTensors } from "../evidence/npy.js";
import { shownValues } from "../evidence/shown.js";
import type { ByteReader, Source } from "../evidence/source.js";
import { inferences } from "../evidence/statement.js";
import { MAX_TOKENIZER_BYTES, withTokenizer } from "../evidence/tokenizer.js";
import { parseTrust, type Trust } from "../evidence/trust.js";
import { repeatedOpenings, soundnessWords, verdictOf, verifyBundle, type Expectations, type Outcome, type Proven } from "../evidence/verify.js";
import { generationWords, hides, openingWords, privacyWords, weightsWords } from "../evidence/words.js";
import type { Job, Message, NamedFile, OutcomeView, StatementView } from "./messages.js";

const MEMORY = 3 * 2 ** 30;
/** A file of another kind (a film, a disk image) is refused by its size before it is read. */
const MAX_SIDE_FILE = 64 * 2 ** 20;

async function bytesOf(file: NamedFile, limit = MAX_SIDE_FILE): Promise<Uint8Array> {
  if (file.data.size > limit) throw new Refusal("usage", "file-too-large", `${file.data.size} bytes, more than the limit of ${limit}`, file.name);
  return new Uint8Array(await file.data.arrayBuffer());
}

function reader(file: NamedFile): ByteReader {
  return {
    size: file.data.size,
    async read(offset, length): Promise<Uint8Array> {
      return new Uint8Array(await file.data.slice(offset, offset + length).arrayBuffer());
    },
  };
}

async function sourceOf(file: NamedFile): Promise<Source> {
  return openArchive(reader(file), file.name);
}

export async function work(job: Job, post: (message: Message) => void): Promise<void> {
  const { run } = job;
  let problem = null;
  try {
    if (!job.lock) throw new Refusal("usage", "lock-missing", "no lock is here, so there is nothing to check against", "", "Drop the circuit.lock that you trust.");
    if (!job.bundles.length) throw new Refusal("usage", "nothing-to-check", "no bundle is here", "", "Drop a bundle: a file that `verifai pack` wrote.");
    await check(job, job.lock, post);
  } catch (thrown) {
    problem = fromRefusal(thrown);
  }
  post({ kind: "done", run, problem });
}

async function check(job: Job, lockFile: NamedFile, post: (message: Message) => void): Promise<void> {
  const { run } = job;
  const bare = await parseLock(await bytesOf(lockFile), lockFile.name);
  // One that is too large is not read: it cannot be the pinned one.
  const tokenizer = job.tokenizer && (job.tokenizer.data.size > MAX_TOKENIZER_BYTES ? new Uint8Array() : await bytesOf(job.tokenizer));
  const lock = await withTokenizer(bare, tokenizer, job.tokenizer?.name ?? "");
  const trustBytes = job.trust && (await bytesOf(job.trust));
  const trust = job.trust && trustBytes ? await parseTrust(trustBytes, job.trust.name) : null;
  const signers = trust ? [...trust.roles].map(([role, rule]) => `${role}: ${rule.threshold} of ${rule.keys.length}`) : [];
  post({ kind: "pins", run, lockSha256: lock.fileSha256, lockName: lock.name, tokenizerSha256: lock.names.tokenizerSha256, untold: lock.untold, trustSha256: trustBytes && (await sha256Hex(trustBytes)), signers });
  const inputs = job.input && (await readTensors(await bytesOf(job.input, 2 ** 30), job.input.name));
  const outputs = job.output && (await readTensors(await bytesOf(job.output, 2 ** 30), job.output.name));
  const expect: Expectations = { ...(inputs && { inputs }), ...(outputs && { outputs }), ...(job.context !== null && { context: job.context }) };

  const outcomes: { outcome: Outcome; milliseconds: number }[] = [];
  for (const [bundle, file] of job.bundles.entries()) {
    post({ kind: "begin", run, bundle, name: file.name, bytes: file.data.size });
    const began = performance.now();
    const outcome = await verifyBundle(() => sourceOf(file), {
      lock, ...(trust && { trust }), expect, now: Date.now(), memoryBytes: MEMORY,
      watch: {
        found: (finding) => { post({ kind: "finding", run, bundle, finding }); },
        progress: (step, what, done, total) => { post({ kind: "progress", run, bundle, step, what, done, total }); },
      },
    });
    outcomes.push({ outcome, milliseconds: performance.now() - began });
  }
  const names = job.bundles.map((file) => file.name);
  const repeats = repeatedOpenings(outcomes.map(({ outcome }) => (outcome.status === 0 ? outcome.proven : null)), names);
  for (const [bundle, { outcome, milliseconds }] of outcomes.entries()) {
    const repeated = repeats[bundle]!;
    const status = repeated.length ? 3 : outcome.status;
    const view: OutcomeView = {
      name: names[bundle]!, verdict: verdictOf(status), status, bundleId: outcome.bundleId, created: outcome.created,
      findings: [...outcome.findings, ...repeated], holdings: outcome.holdings, unjudged: unjudgedOf(outcome, lock, trust), statement: outcome.proven && statementView(outcome.proven, lock), milliseconds,
    };
    post({ kind: "outcome", run, bundle, outcome: view });
  }
}

/** Evidence that is there, or asked for, and that this verifier does not check: no green word may cover it. */
function unjudgedOf(outcome: Outcome, lock: Lock, trust: Trust | null): string[] {
  return [
    ...(lock.provenance || trust?.modelSigners ? ["from which release the model comes (provenance)"] : []),
    ...(trust?.hardware ? ["attestations of hardware, which the trust file asks for"] : []),
    ...outcome.findings.filter((one) => one.outcome === "not-checked" && one.code === "not-checked-here").map((one) => one.message),
  ];
}

const SHOWN_ITEMS = 20;

function statementView({ statement, section, soundnessMillibits }: Proven, lock: Lock): StatementView {
  const places = statement.tensors[0]?.batch ?? 0;
  return {
    circuitName: lock.name,
    modelSha256: statement.modelSha256,
    circuitSha256: statement.circuitSha256,
    context: statement.context,
    weights: weightsWords(statement),
    weightsKind: statement.weights,
    privacy: privacyWords(statement),
    openings: statement.openings.map(openingWords),
    tensors: statement.tensors.map((one) => ({ role: one.role, name: one.name, shape: one.shape, visibility: one.visibility, words: hides(statement, one.visibility), digest: one.digest })),
    batch: places ? { items: inferences(statement), places } : null,
    generation: statement.generation && generationWords(statement.generation),
    shown: shownValues(statement, lock, section.fidelity).filter((one) => one.item === null || one.item < SHOWN_ITEMS),
    soundness: soundnessWords(soundnessMillibits),
    fidelity: fidelityWords(section.fidelity),
  };
}

function fidelityWords(fidelity: Fidelity): string {
  const { language } = fidelity;
  if (language) {
    const perplexity = language.perplexity === null || language.circuitPerplexity === null ? "" : `, perplexity ${language.perplexity.toFixed(4)} of the model and ${language.circuitPerplexity.toFixed(4)} of the circuit`;
    return `the same next token at ${language.matches.toLocaleString("en")} of ${language.positions.toLocaleString("en")} positions${perplexity}, on ${fidelity.samples.toLocaleString("en")} texts`;
  }
  const decisions = fidelity.top1Matches === null ? "" : `decisions agreed on ${fidelity.top1Matches.toLocaleString("en")} of ${fidelity.samples.toLocaleString("en")}`;
  const worst = fidelity.columnError === null ? "" : ` (${Number(fidelity.columnError.toPrecision(2))} in its worst column)`;
  const error = fidelity.spreadError === null ? `the largest error was ${Number(fidelity.maxAbsError.toPrecision(3))}` : `99 % of errors were below ${Number(fidelity.spreadError.toPrecision(2))} standard deviations of the output${worst}`;
  return `${[decisions, error].filter(Boolean).join(", and ")}, on ${fidelity.samples.toLocaleString("en")} samples`;
}
