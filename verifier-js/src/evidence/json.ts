/**
 * Strict JSON (RFC 8259) for hostile input, and its one canonical spelling (RFC 8785).
 *
 * Refused: duplicate keys, fractional numbers and exponents, lone surrogates, a byte order mark, more than 64 levels, anything
 * after the value. Objects are Maps, so that no name (`__proto__`) has a meaning of its own. Integers are bigints.
 */

import { Refusal, type RefusalKind } from "../engine/interface.js";
import { decodeUtf8, utf8 } from "./bytes.js";

export type Json = null | boolean | bigint | string | Json[] | JsonObject;
export type JsonObject = Map<string, Json>;
/** The same with fractional numbers: of the reader's own files. */
export type Numbers = null | boolean | bigint | number | string | Numbers[] | Map<string, Numbers>;

export const MAX_DEPTH = 64;
const MAX_SAFE = 2n ** 53n - 1n;
/** Digits of an integer at most: a longer one is no number of ours. */
const MAX_DIGITS = 4300;

/** Parse exactly one value. Throws Refusal (`malformed` by default). */
export function parseJson(data: Uint8Array, where: string, maxBytes: number, kind: RefusalKind = "rejected", code = "malformed"): Json {
  return parsed(data, where, maxBytes, kind, code, false) as Json;
}

/** The same, where numbers may have fractions and exponents: those become the nearest doubles, integers stay exact. */
export function parseNumbers(data: Uint8Array, where: string, maxBytes: number, kind: RefusalKind, code: string): Numbers {
  return parsed(data, where, maxBytes, kind, code, true);
}

function parsed(data: Uint8Array, where: string, maxBytes: number, kind: RefusalKind, code: string, fractions: boolean): Numbers {
  try {
    if (data.length > maxBytes) throw new SyntaxError(`${data.length} bytes, more than the limit of ${maxBytes}`);
    return new Parser(decodeUtf8(data), fractions).document();
  } catch (problem) {
    if (problem instanceof SyntaxError) throw new Refusal(kind, code, `not strict JSON: ${problem.message}`, where);
    if (problem instanceof TypeError) throw new Refusal(kind, code, "not strict JSON: it is not UTF-8", where);
    throw problem;
  }
}

class Parser {
  private at = 0;

  constructor(
    private readonly text: string,
    private readonly fractions: boolean,
  ) {}

  document(): Numbers {
    if (this.text.startsWith("\ufeff")) throw new SyntaxError("it starts with a byte order mark");
    const value = this.value(0);
    this.space();
    if (this.at !== this.text.length) throw new SyntaxError(`something follows the value at ${this.at}`);
    return value;
  }

  private space(): void {
    while (this.at < this.text.length && " \t\n\r".includes(this.text[this.at]!)) this.at++;
  }

  private expect(word: string): void {
    if (!this.text.startsWith(word, this.at)) throw new SyntaxError(`expected ${word} at ${this.at}`);
    this.at += word.length;
  }

  private value(depth: number): Numbers {
    this.space();
    const first = this.text[this.at];
    switch (first) {
      case "{":
        return this.object(this.deeper(depth));
      case "[":
        return this.array(this.deeper(depth));
      case '"':
        return this.string();
      case "t":
        this.expect("true");
        return true;
      case "f":
        this.expect("false");
        return false;
      case "n":
        this.expect("null");
        return null;
      default:
        return this.number();
    }
  }

  private deeper(depth: number): number {
    if (depth >= MAX_DEPTH) throw new SyntaxError(`nested deeper than ${MAX_DEPTH} levels`);
    return depth + 1;
  }

  private object(depth: number): Map<string, Numbers> {
    const found = new Map<string, Numbers>();
    this.at++;
    this.space();
    if (this.text[this.at] === "}") {
      this.at++;
      return found;
    }
    for (;;) {
      this.space();
      if (this.text[this.at] !== '"') throw new SyntaxError(`expected a key at ${this.at}`);
      const key = this.string();
      if (found.has(key)) throw new SyntaxError(`the key ${JSON.stringify(key.slice(0, 80))} occurs twice`);
      this.space();
      this.expect(":");
      found.set(key, this.value(depth));
      this.space();
      if (this.text[this.at] === ",") {
        this.at++;
        continue;
      }
      this.expect("}");
      return found;
    }
  }

  private array(depth: number): Numbers[] {
    const found: Numbers[] = [];
    this.at++;
    this.space();
    if (this.text[this.at] === "]") {
      this.at++;
      return found;
    }
    for (;;) {
      found.push(this.value(depth));
      this.space();
      if (this.text[this.at] === ",") {
        this.at++;
        continue;
      }
      this.expect("]");
      return found;
    }
  }

  private string(): string {
    const start = ++this.at;
    for (;;) {
      const unit = this.text.charCodeAt(this.at);
      if (Number.isNaN(unit)) throw new SyntaxError("a string has no end");
      if (unit < 0x20) throw new SyntaxError("a control character in a string");
      if (unit === 0x22) break;
      this.at += unit === 0x5c ? 2 : 1;
    }
    // The grammar of escapes is JSON's own; what stands between the quotes is one string and nothing else.
    const text = JSON.parse(this.text.slice(start - 1, ++this.at)) as string;
    if (!text.isWellFormed()) throw new SyntaxError("a lone surrogate in a string");
    return text;
  }

  private number(): bigint | number {
    const found = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
    found.lastIndex = this.at;
    const text = found.exec(this.text)?.[0];
    if (text === undefined) throw new SyntaxError(`no value at ${this.at}`);
    this.at += text.length;
    if (text.length > MAX_DIGITS) throw new SyntaxError("a number is too long");
    const fractional = /[.eE]/.test(text);
    if (fractional && this.fractions) {
      if (!Number.isFinite(Number(text))) throw new SyntaxError(`the number ${text.slice(0, 40)} is out of range`);
      return Number(text);
    }
    if (fractional) throw new SyntaxError(`the number ${text.slice(0, 40)} is not an integer`);
    return BigInt(text);
  }
}

/** RFC 8785 bytes; `null` where a number has no exact JSON form. */
export function canonicalJson(value: Json): Uint8Array | null {
  try {
    return utf8.encode(written(value));
  } catch (problem) {
    if (problem instanceof RangeError) return null;
    throw problem;
  }
}

function written(value: Json): string {
  if (typeof value === "bigint") {
    if (value > MAX_SAFE || value < -MAX_SAFE) throw new RangeError("an integer that RFC 8785 has no form for");
    return value.toString();
  }
  if (value === null || typeof value === "boolean") return String(value);
  if (typeof value === "string") return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map(written).join(",")}]`;
  // The default order of strings is that of UTF-16 code units, which RFC 8785 asks for.
  const keys = [...value.keys()].sort();
  return `{${keys.map((key) => `${JSON.stringify(key)}:${written(value.get(key)!)}`).join(",")}}`;
}

/** An object literal as a JSON object, without the fields that are undefined. */
export function object(fields: Readonly<Record<string, Json | undefined>>): JsonObject {
  const found: JsonObject = new Map();
  for (const [name, value] of Object.entries(fields)) if (value !== undefined) found.set(name, value);
  return found;
}

/** For `JSON.stringify` at the edge of the program: Maps as objects, bigints as numbers where a double holds them. */
export function plain(value: Json): unknown {
  if (typeof value === "bigint") return value >= -MAX_SAFE && value <= MAX_SAFE ? Number(value) : value.toString();
  if (Array.isArray(value)) return value.map(plain);
  if (!(value instanceof Map)) return value;
  // A null prototype: a key of the evidence sets a field, and nothing else.
  const found = Object.create(null) as Record<string, unknown>;
  for (const [name, one] of value) found[name] = plain(one);
  return found;
}
