/**
 * Typed, strict reading of one mapping (a JSON object or a TOML table). Every field is taken once, with type and range; what was
 * not taken is refused by {@link Record.done}.
 */

import { Refusal, type RefusalKind } from "../engine/interface.js";
import { byCodePoint, codePoints, isSha256 } from "./bytes.js";

/** What both parsers give: integers are bigints, fractional TOML numbers are numbers. */
export type Value = null | boolean | bigint | number | string | Date | Value[] | Map<string, Value>;
export type Table = Map<string, Value>;

export class Record {
  private readonly taken = new Set<string>();
  private readonly table: ReadonlyMap<string, Value>;

  constructor(
    value: Value | undefined,
    readonly where: string,
    private readonly kind: RefusalKind = "rejected",
    private readonly code = "malformed",
  ) {
    this.table = new Map();
    if (!(value instanceof Map)) throw this.refuse(`expected a table of fields, found ${named(value)}`);
    this.table = value;
  }

  refuse(message: string, field = "", hint = ""): Refusal {
    return new Refusal(this.kind, this.code, message, field ? `${this.where}.${field.slice(0, 200)}` : this.where, hint);
  }

  has(field: string): boolean {
    return this.table.has(field);
  }

  names(): string[] {
    return [...this.table.keys()];
  }

  take(field: string): Value {
    this.taken.add(field);
    const value = this.table.get(field);
    if (value === undefined) throw this.refuse("this field is missing", field);
    return value;
  }

  text(field: string, limits: { pattern?: RegExp; max?: number; empty?: boolean } = {}): string {
    const value = this.take(field);
    const max = limits.max ?? 4096;
    if (typeof value !== "string") throw this.refuse(`expected a string, found ${named(value)}`, field);
    if (!value && !limits.empty) throw this.refuse("the string is empty", field);
    if (value.length > max && codePoints(value) > max) throw this.refuse(`longer than ${max} characters`, field);
    if (limits.pattern && !limits.pattern.test(value)) throw this.refuse(`${JSON.stringify(value.slice(0, 80))} does not have the expected form`, field);
    return value;
  }

  integer(field: string, low: number | bigint, high: number | bigint): number {
    return Number(this.big(field, low, high));
  }

  big(field: string, low: number | bigint, high: number | bigint): bigint {
    const value = this.take(field);
    if (typeof value !== "bigint") throw this.refuse(`expected an integer, found ${named(value)}`, field);
    if (value < low || value > high) throw this.refuse(`${String(value).slice(0, 40)} is outside [${low}, ${high}]`, field);
    return value;
  }

  /** A finite number in [low, high]. */
  number(field: string, low: number, high: number): number {
    return this.asNumber(this.take(field), field, low, high);
  }

  numbers(field: string, low: number, high: number, max = 65536): number[] {
    return this.array(field, max).map((value) => this.asNumber(value, field, low, high));
  }

  private asNumber(value: Value, field: string, low: number, high: number): number {
    if (typeof value !== "bigint" && typeof value !== "number") throw this.refuse(`expected a number, found ${named(value)}`, field);
    if (!(value >= low && value <= high)) throw this.refuse(`${String(value).slice(0, 40)} is outside [${low}, ${high}]`, field);
    return Number(value);
  }

  flag(field: string, otherwise?: boolean): boolean {
    if (otherwise !== undefined && !this.has(field)) return otherwise;
    const value = this.take(field);
    if (typeof value !== "boolean") throw this.refuse(`expected true or false, found ${named(value)}`, field);
    return value;
  }

  sha256(field: string): string {
    const value = this.take(field);
    if (!isSha256(value)) throw this.refuse("expected 64 lower-case hex digits (SHA-256)", field);
    return value;
  }

  choice<T extends string>(field: string, choices: readonly T[]): T {
    const value = this.take(field);
    const found = choices.find((one) => one === value);
    if (found === undefined) throw this.refuse(`expected one of ${choices.join(", ")}, found ${named(value)}`, field);
    return found;
  }

  sub(field: string): Record {
    return new Record(this.take(field), `${this.where}.${field.slice(0, 200)}`, this.kind, this.code);
  }

  /** A nested table, or an empty one where the field is absent. */
  subOrEmpty(field: string): Record {
    return this.has(field) ? this.sub(field) : new Record(new Map(), `${this.where}.${field}`, this.kind, this.code);
  }

  array(field: string, max = 65536): Value[] {
    const value = this.take(field);
    if (!Array.isArray(value)) throw this.refuse(`expected a list, found ${named(value)}`, field);
    if (value.length > max) throw this.refuse(`more than ${max} elements`, field);
    return value;
  }

  subs(field: string, max = 65536): Record[] {
    return this.array(field, max).map((value, at) => new Record(value, `${this.where}.${field}[${at}]`, this.kind, this.code));
  }

  subsOrNone(field: string, max = 65536): Record[] {
    return this.has(field) ? this.subs(field, max) : [];
  }

  integers(field: string, low: number, high: number, max = 65536): number[] {
    return this.array(field, max).map((value) => {
      if (typeof value !== "bigint" || value < low || value > high) throw this.refuse(`expected an integer in [${low}, ${high}]`, field);
      return Number(value);
    });
  }

  texts(field: string, max = 65536): string[] {
    return this.array(field, max).map((value) => {
      if (typeof value !== "string" || !value) throw this.refuse(`expected a non-empty string, found ${named(value)}`, field);
      return value;
    });
  }

  done(): void {
    for (const name of this.table.keys()) {
      if (!this.taken.has(name)) throw this.refuse(`unknown field ${JSON.stringify(name.slice(0, 80))}`, name.slice(0, 80));
    }
  }
}

/** Whether a list is in ascending order of code points, each once. */
export function ascending(names: readonly string[]): boolean {
  return names.every((name, at) => at === 0 || byCodePoint(names[at - 1]!, name) < 0);
}

function named(value: Value | undefined): string {
  if (value === null || value === undefined) return "nothing";
  if (Array.isArray(value)) return "a list";
  if (value instanceof Map) return "a table";
  if (value instanceof Date) return "a date";
  const names: { [kind: string]: string } = { boolean: "true/false", bigint: "an integer", number: "a number", string: "a string" };
  return names[typeof value] ?? typeof value;
}
