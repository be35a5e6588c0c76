/** UTC times in documents: `2026-01-31T23:59:59Z`, whole seconds, days that exist, nothing else. */

import type { Record } from "./record.js";

const PATTERN = /^[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z$/;

/** Milliseconds since 1970. Throws RangeError. */
export function parseUtc(text: string): number {
  const moment = PATTERN.test(text) ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(moment) || text.startsWith("0000") || formatUtc(moment) !== text) throw new RangeError(`${text.slice(0, 40)} is no moment in UTC`);
  return moment;
}

export function formatUtc(moment: number): string {
  return `${new Date(moment).toISOString().slice(0, 19)}Z`;
}

export function utcOf(record: Record, field: string): string {
  const text = record.text(field);
  try {
    parseUtc(text);
  } catch {
    throw record.refuse("expected a moment in UTC such as 2026-01-31T23:59:59Z", field);
  }
  return text;
}
