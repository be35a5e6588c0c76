/** `node verifier.mjs BUNDLE… --lock LOCK`: the verifier at the command line. Statuses and JSON are those of docs/cli.md. */

import { lstat, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";

import { Refusal } from "../engine/interface.js";
import { bundleDocument, verifyDocument } from "../evidence/document.js";
import { fromRefusal, statusOf, type Finding } from "../evidence/findings.js";
import type { Lock } from "../evidence/lock.js";
import { readTensors } from "../evidence/npy.js";
import { shownLine, shownValues } from "../evidence/shown.js";
import { parseTrust } from "../evidence/trust.js";
import { repeatedOpenings, verdictOf, verifyBundle, type Outcome } from "../evidence/verify.js";
import { describe } from "../evidence/words.js";
import { visible } from "../evidence/visible.js";
import { lockFrom, openPath } from "./sources.js";

const USAGE = `Usage: node verifier.mjs BUNDLE... --lock LOCK [options]

Check bundles of verifai's sumcheck engine against a lock you trust. Nothing is written, nothing is fetched.

  --lock PATH            circuit.lock that you trust, or its folder (required);
                         tokenizer.json beside it gives tokens their text
  --trust PATH           trust file: whose signatures, which log, how old
  --input FILE           input that must be the proven one (.npy, .npz, .json)
  --output FILE          output that must be the proven one
  --expect-context TEXT  nonce that the proof must bind
  --max-memory MIB       refuse circuits that need more (default 4096)
  --json                 one JSON object on stdout
  -h, --help             this message

Exit status: 0 accepted, 1 rejected, 2 usage, 3 policy not met, 4 could not be checked, 70 a bug.
`;

async function readFileOr(path: string, code: string): Promise<Uint8Array> {
  try {
    return new Uint8Array(await readFile(path));
  } catch {
    throw new Refusal("usage", code, "cannot read", path);
  }
}

async function lockOf(path: string): Promise<Lock> {
  const folder = await stat(path).then((kind) => kind.isDirectory(), () => false);
  const file = folder ? join(path, "circuit.lock") : path;
  return lockFrom(file, await readFileOr(file, "file-missing"));
}

interface Options {
  readonly lock?: string | undefined;
  readonly trust?: string | undefined;
  readonly input?: string | undefined;
  readonly output?: string | undefined;
  readonly "expect-context"?: string | undefined;
  readonly "max-memory"?: string | undefined;
}

async function run(paths: readonly string[], options: Options): Promise<{ lock: Lock; outcomes: Outcome[] }> {
  if (!paths.length || options.lock === undefined) throw new Refusal("usage", "usage", "a bundle and --lock are needed", "", "See --help.");
  const memory = Number(options["max-memory"] ?? "4096");
  if (!Number.isInteger(memory) || memory < 1) throw new Refusal("usage", "bad-option", "expected a number of MiB", "--max-memory");
  const lock = await lockOf(options.lock);
  const trust = options.trust === undefined ? {} : { trust: await parseTrust(await readFileOr(options.trust, "file-missing"), options.trust) };
  const given = async (path: string | undefined): Promise<Awaited<ReturnType<typeof readTensors>> | undefined> => (path === undefined ? undefined : readTensors(await readFileOr(path, "file-missing"), path));
  const [inputs, outputs, context] = [await given(options.input), await given(options.output), options["expect-context"]];
  const expect = { ...(inputs && { inputs }), ...(outputs && { outputs }), ...(context !== undefined && { context }) };
  for (const path of paths) {
    const link = await lstat(path).then((kind) => kind.isSymbolicLink(), () => false);
    if (link) throw new Refusal("usage", "link", "a link, not a bundle", path, "Name what it points to.");
  }
  const outcomes: Outcome[] = [];
  for (const path of paths) outcomes.push(await verifyBundle(() => openPath(path), { lock, ...trust, expect, now: Date.now(), memoryBytes: memory * 2 ** 20 }));
  const repeats = repeatedOpenings(outcomes.map((one) => (one.status === 0 ? one.proven : null)), paths);
  return { lock, outcomes: outcomes.map((one, at) => (repeats[at]!.length ? { ...one, status: 3, verdict: verdictOf(3), findings: [...one.findings, ...repeats[at]!] } : one)) };
}

function line(one: Finding): string {
  const where = one.where ? ` (${visible(one.where)})` : "";
  return `   ${one.outcome === "holds" ? "holds      " : one.outcome === "not-checked" ? "not checked" : one.outcome.toUpperCase()}  ${(one.step ?? "").padEnd(5)} ${visible(one.message)}${where} [${one.code}]`;
}

async function main(): Promise<number> {
  const parsed = parseArgs({
    allowPositionals: true,
    options: {
      lock: { type: "string" }, trust: { type: "string" }, input: { type: "string" }, output: { type: "string" },
      "expect-context": { type: "string" }, "max-memory": { type: "string" }, json: { type: "boolean" }, help: { type: "boolean", short: "h" },
    },
  });
  if (parsed.values.help) {
    process.stdout.write(USAGE);
    return 0;
  }
  const { lock, outcomes } = await run(parsed.positionals, parsed.values);
  const statuses = outcomes.map((one) => one.status);
  const status = [70, 1, 3, 4, 2].find((one) => statuses.includes(one)) ?? 0;
  if (parsed.values.json) {
    const documents = outcomes.map((one, at) => bundleDocument(parsed.positionals[at]!, one, lock));
    process.stdout.write(`${JSON.stringify(verifyDocument(documents, verdictOf(status), status, outcomes.flatMap((one) => one.findings)))}\n`);
    return status;
  }
  for (const [at, one] of outcomes.entries()) {
    const lines = [`${one.verdict.toUpperCase().replaceAll("-", " ")} ${visible(parsed.positionals[at]!)}`];
    if (one.proven) lines.push(...shownValues(one.proven.statement, lock, one.proven.section.fidelity).slice(0, 40).map((tensor) => `   ${visible(shownLine(tensor))}`));
    lines.push(...one.findings.map(line));
    if (one.proven) lines.push(...describe(one.proven.statement).map((text) => `   ${visible(text)}`));
    process.stdout.write(`${lines.join("\n")}\n`);
  }
  return status;
}

const json = process.argv.includes("--json");
main().then(
  (status) => {
    process.exitCode = status;
  },
  (problem: unknown) => {
    const usage = problem instanceof Error && "code" in problem && String(problem.code).startsWith("ERR_PARSE_ARGS");
    const told = usage ? new Refusal("usage", "usage", problem.message, "", "See --help.") : problem;
    const status = statusOf(told);
    const one = fromRefusal(told);
    const error = { code: one.code, message: one.message, where: one.where ?? "", hint: one.remedy ?? "" };
    if (json) process.stdout.write(`${JSON.stringify({ schema: "verifai/verify/v1", verdict: verdictOf(status), status, findings: [], error })}\n`);
    else process.stderr.write(`${visible(`${one.message}${one.where ? ` (${one.where})` : ""} [${one.code}]`)}\n${one.remedy ? `${visible(one.remedy)}\n` : ""}`);
    process.exitCode = status;
  },
);
