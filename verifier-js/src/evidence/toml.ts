/** TOML of ours (locks, trust files), by smol-toml (BSD-3-Clause), into Maps; integers as bigints, so that 2 and 2.0 differ. */

import { parse } from "smol-toml";

import { Refusal } from "../engine/interface.js";
import { decodeUtf8 } from "./bytes.js";
import type { Table, Value } from "./record.js";

/** Larger files are none of ours. */
const MAX_BYTES = 32 * 2 ** 20;

/** Throws Refusal of kind `usage` with `code`. */
export function parseToml(data: Uint8Array, where: string, code: string): Table {
  const refuse = (message: string): Refusal => new Refusal("usage", code, message, where, "Name another file, or get it again from where you trust.");
  if (data.length > MAX_BYTES) throw refuse(`${data.length} bytes, more than the limit of ${MAX_BYTES}`);
  try {
    const text = decodeUtf8(data);
    if (!text.trim()) throw new RangeError("no field");
    return table(parse(text, { integersAsBigInt: true, maxDepth: 64 }));
  } catch (problem) {
    if (problem instanceof Refusal) throw problem;
    const message = problem instanceof Error ? problem.message.split("\n")[0]! : "";
    throw refuse(`not TOML: ${message.slice(0, 200)}`);
  }
}

function table(found: object): Table {
  return new Map(Object.entries(found).map(([name, value]) => [name, valueOf(value)]));
}

function valueOf(value: unknown): Value {
  if (typeof value === "string" || typeof value === "boolean" || typeof value === "bigint" || typeof value === "number") return value;
  if (Array.isArray(value)) return value.map(valueOf);
  if (value instanceof Date) return value;
  if (typeof value === "object" && value !== null) return table(value);
  throw new RangeError("a value of no known kind");
}
