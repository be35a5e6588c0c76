/**
 * Many cases in one process, for conformance tests: one JSON object per line on stdin
 * (`bundle`, `lock`, and where given `trust`, `context`, `now`; or `tokenizer` and `tokens`), one answer per line on stdout. No
 * verdict is kept between cases.
 */

import { readFile } from "node:fs/promises";
import { createInterface } from "node:readline";

import { bundleDocument } from "../evidence/document.js";
import { fromRefusal, statusOf } from "../evidence/findings.js";
import { parseTrust } from "../evidence/trust.js";
import { parseUtc } from "../evidence/time.js";
import { parseTokenizer, quoted } from "../evidence/tokenizer.js";
import { verifyBundle } from "../evidence/verify.js";
import { lockFrom, openPath } from "./sources.js";

interface Case {
  readonly bundle: string;
  readonly lock: string;
  readonly trust?: string;
  readonly context?: string;
  readonly now?: string;
}

/** Tokens whose text is asked for. */
interface TextCase {
  readonly tokenizer: string;
  readonly tokens: readonly (readonly number[])[];
}

async function texts(one: TextCase): Promise<unknown> {
  try {
    const tokenizer = parseTokenizer(new Uint8Array(await readFile(one.tokenizer)), "tokenizer.json");
    return { texts: one.tokens.flatMap((tokens) => [true, false].map((filled) => quoted(tokenizer.text(tokens, filled)))) };
  } catch (problem) {
    return { refused: fromRefusal(problem).code };
  }
}

async function answer(one: Case): Promise<unknown> {
  try {
    const lock = await lockFrom(one.lock, new Uint8Array(await readFile(one.lock)));
    const trust = one.trust === undefined ? {} : { trust: await parseTrust(new Uint8Array(await readFile(one.trust)), one.trust) };
    const expect = one.context === undefined ? {} : { context: one.context };
    const now = one.now === undefined ? Date.now() : parseUtc(one.now);
    const outcome = await verifyBundle(() => openPath(one.bundle), { lock, ...trust, expect, now, memoryBytes: 4 * 2 ** 30 });
    return { status: outcome.status, ...bundleDocument(one.bundle, outcome, lock) };
  } catch (problem) {
    return { status: statusOf(problem), findings: [fromRefusal(problem)] };
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const one = JSON.parse(line) as Case | TextCase;
  process.stdout.write(`${JSON.stringify(await ("tokenizer" in one ? texts(one) : answer(one)))}\n`);
}
