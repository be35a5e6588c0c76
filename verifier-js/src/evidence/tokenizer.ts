/**
 * `tokenizer.json` beside a lock: which text each token of a language model stands for (docs/language-models.md).
 *
 * A proof is about numbers. Their text is derived from them, by the one file whose digest the lock pins, and no verdict depends
 * on it: without that file, or with another one, tokens are shown as numbers, and the reason is said.
 */

import { Refusal } from "../engine/interface.js";
import { codePoints, decodeUtf8, joined, sha256Hex, utf8 } from "./bytes.js";
import { parseNumbers, type Numbers } from "./json.js";
import type { Lock } from "./lock.js";
import { Record } from "./record.js";

export const TOKENIZER_FILE = "tokenizer.json";
export const MAX_TOKENIZER_BYTES = 32 * 2 ** 20;
const SCHEMA = "verifai/tokenizer/v1";
const CODE = "bad-tokenizer";
const MAX_TOKENS = 1 << 20;
const MAX_TEMPLATE = 1 << 16;

const PARTS = {
  normalizer: ["Sequence", "BertNormalizer", "NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Prepend", "Replace"],
  pre_tokenizer: ["Sequence", "ByteLevel", "BertPreTokenizer", "Whitespace", "WhitespaceSplit", "Digits", "Metaspace", "Split"],
  post_processor: ["Sequence", "TemplateProcessing", "ByteLevel", "BertProcessing", "RobertaProcessing"],
  decoder: ["Sequence", "ByteLevel", "WordPiece", "Replace", "ByteFallback", "Fuse", "Strip", "Metaspace"],
} as const;
const CONTRACTIONS = String.raw`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|`;
const REST = String.raw`| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`;
/** Splitting patterns that are taken. They are compared as text; none is ever run here. */
const PATTERNS: ReadonlySet<string> = new Set([
  String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`,
  String.raw`${CONTRACTIONS}\p{N}${REST}`,
  String.raw`${CONTRACTIONS}\p{N}{1,3}${REST}`,
]);

type Joining = "bytes" | "words" | "spaces";
type Part = ReadonlyMap<string, Numbers>;

/** One after another they are the text; of a special token, such as an end, its name. */
export interface Run {
  readonly text: string;
  readonly special: boolean;
}

export interface TokenText {
  readonly runs: readonly Run[];
  /** How many times the padding follows at the end, and its text. */
  readonly padding: number;
  readonly pad: string;
  /** By the text of a special token, how often ordinary tokens spell it: the model took that for plain text. */
  readonly spelled: ReadonlyMap<string, number>;
}

export function wholeText(told: TokenText): string {
  return told.runs.map((run) => run.text).join("");
}

/** For one line: quoted, with control characters and quotes escaped. */
export function quoted(told: TokenText): string {
  const text = JSON.stringify(wholeText(told));
  return `${told.padding ? `${text}, then ${told.padding} \u00d7 ${JSON.stringify(told.pad)}` : text}${spelledWords(told)}`;
}

/** What only looks like a special token, to stand behind the text; empty where nothing does. */
export function spelledWords(told: TokenText): string {
  const counts = [...told.spelled].map(([text, count]) => `${count.toLocaleString("en")} \u00d7 ${JSON.stringify(text)}`).join(", ");
  return counts ? `; ${counts} in it spelled by ordinary tokens, no special token` : "";
}

/** One letter for each byte, to search in. */
function letters(data: Uint8Array): string {
  let text = "";
  for (let at = 0; at < data.length; at += 0x8000) text += String.fromCharCode(...data.subarray(at, at + 0x8000));
  return text;
}

/** How often `part` stands in `text`, without overlaps. */
function occurrences(text: string, part: string): number {
  let count = 0;
  for (let at = text.indexOf(part); at >= 0; at = text.indexOf(part, at + part.length)) count++;
  return count;
}

export class Tokenizer {
  /** What people take for marks in a text when they read them: special tokens, and those that end texts. */
  private readonly marks = new Map<number, string>();

  constructor(
    private readonly pieces: readonly Uint8Array[],
    private readonly special: ReadonlySet<number>,
    private readonly joining: Joining,
    private readonly pad: number,
    ends: readonly number[],
  ) {
    for (const token of [...new Set([...special, ...ends])].sort((left, right) => left - right)) {
      const piece = letters(pieces[token]!);
      if (piece.replace(/^[ \t-\r]+/, "").replace(/[ \t-\r]+$/, "").length > 1) this.marks.set(token, piece);
    }
  }

  /** The text of these tokens. Bytes that are no UTF-8 are escaped, not left out; a number that is no token says so. */
  text(tokens: readonly number[], filled: boolean): TokenText {
    let count = tokens.length;
    while (filled && count && tokens[count - 1] === this.pad) count--;
    const runs: Run[] = [];
    const whole: Uint8Array[] = [];
    let open: Uint8Array[] = [];
    const close = (): void => {
      if (open.length) runs.push({ text: escaped(joined(...open)), special: false });
      open = [];
    };
    for (let at = 0; at < count; at++) {
      const token = tokens[at]!;
      // A token's name begins a code point, so that cutting the bytes there changes no letter.
      whole.push(this.piece(token, at === 0));
      if (!this.special.has(token)) open.push(whole.at(-1)!);
      else {
        if (at > 0 && this.joining === "words") open.push(utf8.encode(" "));
        close();
        runs.push({ text: escaped(this.bytes(token)), special: true });
      }
    }
    close();
    return { runs, padding: tokens.length - count, pad: escaped(this.bytes(this.pad)), spelled: this.spelled(letters(joined(...whole)), tokens.slice(0, count)) };
  }

  private spelled(text: string, tokens: readonly number[]): Map<string, number> {
    const there = tokens.filter((token) => this.marks.has(token));
    const found = new Map<string, number>();
    for (const [mark, piece] of this.marks) {
      const count = occurrences(text, piece);
      if (!count) continue; // of nearly all of them: a tokenizer may have many
      const own = there.reduce((total, token) => total + occurrences(this.marks.get(token)!, piece), 0);
      if (count > own) found.set(escaped(this.bytes(mark)), count - own);
    }
    return found;
  }

  private bytes(token: number): Uint8Array {
    return this.pieces[token] ?? utf8.encode(`<no token ${BigInt(token)}>`);
  }

  private piece(token: number, first: boolean): Uint8Array {
    const data = this.bytes(token);
    if (this.joining !== "words") return data;
    if (data[0] === 0x23 && data[1] === 0x23 && !this.special.has(token)) return data.subarray(2);
    return first ? data : joined(utf8.encode(" "), data);
  }
}

/** UTF-8 with each byte that belongs to no code point as `\xNN`. */
function escaped(data: Uint8Array): string {
  try {
    return decodeUtf8(data);
  } catch {
    let text = "";
    for (let at = 0; at < data.length; ) {
      const first = data[at]!;
      const length = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
      try {
        text += decodeUtf8(data.subarray(at, at + length));
        at += length;
      } catch {
        text += `\\x${first.toString(16).padStart(2, "0")}`;
        at++;
      }
    }
    return text;
  }
}

/** The lock with the text of its tokens, where `data` is the tokenizer that it pins; else with the reason why there is none. */
export async function withTokenizer(lock: Lock, data: Uint8Array | null, where: string): Promise<Lock> {
  const pin = lock.names.tokenizerSha256;
  if (pin === null || data === null) return lock;
  if (data.length > MAX_TOKENIZER_BYTES || (await sha256Hex(data)) !== pin) return { ...lock, untold: `${where} is not the tokenizer that the lock pins, and was not used` };
  try {
    return { ...lock, tokenizer: parseTokenizer(data, where), untold: "" };
  } catch (problem) {
    if (!(problem instanceof Refusal)) throw problem;
    return { ...lock, untold: `the tokenizer that the lock pins cannot be read: ${problem.message}` };
  }
}

/** Throws Refusal of kind `usage`: `bad-tokenizer`. */
export function parseTokenizer(data: Uint8Array, where: string): Tokenizer {
  const record = new Record(parseNumbers(data, where, MAX_TOKENIZER_BYTES, "usage", CODE), where, "usage", CODE);
  if (record.text("schema") !== SCHEMA) throw record.refuse(`expected ${SCHEMA}`, "schema");
  const found = record.take("tokenizer");
  const pad = record.integer("pad", 0, MAX_TOKENS);
  const ends = record.integers("ends", 0, MAX_TOKENS, 64);
  record.text("chat_template", { empty: true, max: MAX_TEMPLATE });
  record.done();
  if (!(found instanceof Map)) throw record.refuse("expected an object", "tokenizer");
  const document = found as Part;
  const joining = joiningOf(document, where);
  const { pieces, special } = piecesOf(document, joining, where);
  for (const token of [pad, ...ends]) if (token >= pieces.length) throw record.refuse(`there is no token ${token}`, "pad or ends");
  return new Tokenizer(pieces, special, joining, pad, ends);
}

function refused(message: string, where: string): Refusal {
  return new Refusal("usage", CODE, message, where);
}

/** Empty text, 0, false, nothing, and what holds nothing: a field that is as good as absent. */
function blank(value: Numbers | undefined): boolean {
  if (Array.isArray(value)) return !value.length;
  if (value instanceof Map) return !value.size;
  return !value;
}

function joiningOf(document: Part, where: string): Joining {
  for (const [name, known] of Object.entries(PARTS)) checkPart(document.get(name), known, `${where}: ${name}`, 0);
  const found = document.get("model");
  const model: Part = found instanceof Map ? found : new Map<string, Numbers>();
  const kind = model.get("type");
  if (kind === "WordPiece") {
    const prefix = model.has("continuing_subword_prefix") ? model.get("continuing_subword_prefix") : "##";
    if (prefix !== "##") throw refused("words that go on are not marked by ##", where);
    return "words";
  }
  if (kind !== "BPE") throw refused("a model of this type is not taken (BPE and WordPiece are)", where);
  if (!blank(model.get("continuing_subword_prefix")) || !blank(model.get("end_of_word_suffix"))) throw refused("marks of words inside tokens are not taken", where);
  return hasByteLevel(document.get("decoder")) ? "bytes" : "spaces";
}

function checkPart(part: Numbers | undefined, known: readonly string[], where: string, depth: number): void {
  if (part === null || part === undefined) return;
  const kind = part instanceof Map ? part.get("type") : null;
  if (!(part instanceof Map) || typeof kind !== "string" || !known.includes(kind) || depth > 2) throw refused("a part of this type is not taken", where);
  if (kind === "Sequence") {
    for (const inner of ["normalizers", "pretokenizers", "processors", "decoders"]) {
      const listed = part.has(inner) ? part.get(inner) : [];
      if (!Array.isArray(listed) || listed.length > 16) throw refused("a sequence of too many parts", where);
      for (const one of listed) checkPart(one, known, where, depth + 1);
    }
  }
  const pattern = part.get("pattern");
  if (pattern === null || pattern === undefined) return;
  const [entry, ...more] = pattern instanceof Map ? [...pattern] : [];
  const [form, text] = entry ?? ["", ""];
  const fixed = !more.length && typeof text === "string" && ((form === "String" && text !== "" && codePoints(text) <= 16) || (form === "Regex" && PATTERNS.has(text)));
  if (!fixed) throw refused("a splitting pattern that is not known", where);
}

function hasByteLevel(part: Numbers | undefined): boolean {
  if (!(part instanceof Map)) return false;
  const inner = part.get("type") === "Sequence" ? part.get("decoders") : null;
  return part.get("type") === "ByteLevel" || (Array.isArray(inner) && inner.some(hasByteLevel));
}

function isNumber(value: Numbers | undefined): value is bigint {
  return typeof value === "bigint" && value >= 0n && value < MAX_TOKENS;
}

/** Of each token its bytes; and which are special. Numbers run from 0 without gaps, each once. */
function piecesOf(document: Part, joining: Joining, where: string): { pieces: Uint8Array[]; special: Set<number> } {
  const vocabulary = (document.get("model") as Part).get("vocab");
  const listed = document.get("added_tokens");
  const added = blank(listed) ? [] : listed;
  if (!(vocabulary instanceof Map) || !Array.isArray(added) || vocabulary.size + added.length > MAX_TOKENS) throw refused("it has no vocabulary, or one that is too large", where);
  const contents = new Set(added.map((token) => (token instanceof Map ? token.get("content") : null)));
  const found = new Map<number, Uint8Array>();
  for (const [text, number] of vocabulary) {
    if (!isNumber(number) || found.has(Number(number))) throw refused(`the token ${JSON.stringify(text.slice(0, 40))} has no number of its own`, where);
    found.set(Number(number), contents.has(text) ? utf8.encode(text) : plainBytes(text, joining, where));
  }
  const special = new Set<number>();
  for (const token of added) {
    const [number, text] = token instanceof Map ? [token.get("id"), token.get("content")] : [null, null];
    if (!isNumber(number) || typeof text !== "string" || !text) throw refused("an added token without number or text", where);
    const own = vocabulary.get(text);
    if ((own !== undefined && own !== number) || (own === undefined && found.has(Number(number)))) throw refused(`the added token ${JSON.stringify(text.slice(0, 40))} has the number of another`, where);
    found.set(Number(number), utf8.encode(text));
    if (token instanceof Map && token.get("special") === true) special.add(Number(number));
  }
  const pieces: Uint8Array[] = [];
  for (let number = 0; number < found.size; number++) {
    const piece = found.get(number);
    if (!piece) throw refused("the numbers of its tokens have gaps", where);
    pieces.push(piece);
  }
  return { pieces, special };
}

/** The printable letter that GPT-2's byte-level tokenizers write for each byte. */
const LETTERS: ReadonlyMap<string, number> = (() => {
  const letters = new Map<string, number>();
  let rest = 256;
  for (let byte = 0; byte < 256; byte++) {
    const plain = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    letters.set(String.fromCharCode(plain ? byte : rest++), byte);
  }
  return letters;
})();

function plainBytes(text: string, joining: Joining, where: string): Uint8Array {
  if (joining === "bytes") {
    return Uint8Array.from(text, (letter) => {
      const byte = LETTERS.get(letter);
      if (byte === undefined) throw refused(`the token ${JSON.stringify(text.slice(0, 40))} is not written in letters for bytes`, where);
      return byte;
    });
  }
  if (joining === "words") return utf8.encode(text);
  const byte = /^<0x([0-9A-Fa-f]{2})>$/.exec(text);
  return byte ? Uint8Array.of(Number.parseInt(byte[1]!, 16)) : utf8.encode(text.replaceAll("\u2581", " "));
}
