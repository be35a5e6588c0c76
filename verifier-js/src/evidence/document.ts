/** The JSON of docs/cli.md: `verifai/verify/v1`, as `verifai verify --json` prints it. */

import type { Finding } from "./findings.js";
import { plain } from "./json.js";
import type { Lock } from "./lock.js";
import { shownValues, type Shown } from "./shown.js";
import { inferences, statementJson } from "./statement.js";
import { wholeText } from "./tokenizer.js";
import type { Outcome, Proven } from "./verify.js";
import { hiddenWords, shownWords } from "./words.js";

export function bundleDocument(path: string, outcome: Outcome, lock: Lock): { [field: string]: unknown } {
  const head = { path, verdict: outcome.verdict };
  if (!outcome.proven) return { ...head, findings: outcome.findings };
  const { statement } = outcome.proven;
  return {
    ...head,
    bundle_id: outcome.bundleId,
    statement: statementDocument(outcome.proven, lock),
    privacy: { level: statement.privacy, weights: statement.weights, hidden: hiddenWords(statement), not_hidden: shownWords(statement) },
    findings: outcome.findings,
  };
}

function statementDocument({ statement, section }: Proven, lock: Lock): unknown {
  const document = plain(statementJson(statement)) as { tensors: { [field: string]: unknown }[]; [field: string]: unknown };
  const values = shownValues(statement, lock, section.fidelity).filter((one) => !one.part);
  if (statement.tensors[0]?.batch) {
    const items: unknown[][] = Array.from({ length: inferences(statement) }, () => []);
    for (const one of values) items[one.item!]!.push({ role: one.role, name: one.name, shape: one.shape, size: one.values.length, item: one.item, ...valuesDocument(one) });
    return { ...document, inferences: inferences(statement), items };
  }
  document.tensors = document.tensors.map((tensor) => {
    const found = values.find((one) => one.role === tensor["role"] && one.name === tensor["name"]);
    return found ? { ...tensor, ...valuesDocument(found) } : tensor;
  });
  return document;
}

function valuesDocument(one: Shown): { [field: string]: unknown } {
  return {
    values: one.values.map((value) => (Number.isFinite(value) ? value : null)),
    steps: one.steps,
    ...(one.names.length ? { [one.role === "output" ? "labels" : "column_names"]: one.names } : {}),
    ...(one.categories.size ? { categories: Object.fromEntries([...one.categories].map(([place, texts]) => [place, texts.values])) } : {}),
    ...(one.text ? { text: wholeText(one.text), padding: one.text.padding } : {}),
    ...(one.text?.spelled.size ? { spelled: Object.fromEntries(one.text.spelled) } : {}),
    ...(one.decisions ? { decisions: one.decisions } : {}),
  };
}

export function verifyDocument(bundles: readonly { [field: string]: unknown }[], verdict: string, status: number, findings: readonly Finding[]): unknown {
  return { schema: "verifai/verify/v1", verdict, status, findings, bundles };
}
