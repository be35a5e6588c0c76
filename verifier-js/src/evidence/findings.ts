/** Findings and verdicts: what a check saw, and what follows from all of them. The words are those of docs/cli.md. */

import { Refusal, STATUS } from "../engine/interface.js";

export type Outcome = "holds" | "rejected" | "policy-not-met" | "undecided" | "not-checked";

export interface Finding {
  readonly code: string;
  readonly outcome: Outcome;
  readonly message: string;
  readonly where?: string;
  readonly evidence?: string;
  readonly remedy?: string;
  readonly step?: string;
}

type More = { where?: string; evidence?: string; remedy?: string };

export function holds(code: string, message: string, step: string, more: More = {}): Finding {
  return finding(code, "holds", message, step, more);
}

/** Something that was not looked at, said aloud. */
export function notChecked(code: string, message: string, step: string, more: More = {}): Finding {
  return finding(code, "not-checked", message, step, more);
}

export function finding(code: string, outcome: Outcome, message: string, step: string, more: More = {}): Finding {
  return {
    code,
    outcome,
    message,
    ...(more.where ? { where: more.where } : {}),
    ...(more.evidence ? { evidence: more.evidence } : {}),
    ...(more.remedy ? { remedy: more.remedy } : {}),
    ...(step ? { step } : {}),
  };
}

/** What a refusal says; only a check that failed rejects. Anything else thrown is a bug: nothing is decided by it. */
export function fromRefusal(problem: unknown, step = ""): Finding {
  if (!(problem instanceof Refusal)) {
    const text = problem instanceof Error ? `${problem.name}: ${problem.message}` : String(problem);
    return finding("bug", "undecided", `this verifier failed: ${text.slice(0, 300)}`, step, { remedy: "Report it, and trust the other verifier." });
  }
  const outcomes: { [kind: string]: Outcome } = { rejected: "rejected", policy: "policy-not-met" };
  return finding(problem.code, outcomes[problem.kind] ?? "undecided", problem.message, step, { where: problem.where, remedy: problem.hint });
}

export function statusOf(problem: unknown): number {
  return problem instanceof Refusal ? STATUS[problem.kind] : STATUS.bug;
}

const OUTCOME_STATUS: { readonly [outcome in Outcome]: number } = { holds: 0, rejected: 1, "policy-not-met": 3, undecided: 4, "not-checked": 0 };

/** 1 before 3 before 4; nothing that holds is undecided: nothing was checked. */
export function worstStatus(findings: readonly Finding[]): number {
  const found = new Set(findings.map((one) => OUTCOME_STATUS[one.outcome]));
  for (const status of [1, 3, 4]) if (found.has(status)) return status;
  return findings.some((one) => one.outcome === "holds") ? 0 : 4;
}
