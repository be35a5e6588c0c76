/** What a lock calls the places of a circuit's tensors. Verdicts never depend on names; readers do, so only a lock gives them. */

import { codePoints } from "./bytes.js";
import type { Record } from "./record.js";

const MAX_NAMES = 100_000;
const MAX_NAME = 512;
const MAX_TOKENS = 1 << 20;

export interface Categories {
  readonly values: readonly string[];
  readonly others: boolean;
}

export interface PlaceNames {
  readonly labels: ReadonlyMap<string, readonly string[]>;
  readonly columns: ReadonlyMap<string, readonly string[]>;
  /** By input, then by column's name or place. */
  readonly categories: ReadonlyMap<string, ReadonlyMap<string, Categories>>;
  /** Tensors whose integers are tokens of a pinned tokenizer. */
  readonly tokenTensors: readonly string[];
  readonly tokenizerSha256: string | null;
  /** Of a decoder: the output with the next tokens, the padding, and the tokens that end texts. */
  readonly decoder: { readonly next: string; readonly pad: number; readonly ends: readonly number[] } | null;
}

/** Control, format, unassigned and private characters and line separators are not printable; of the spaces only the plain one is. */
function printable(text: string): boolean {
  return !/[\p{C}\p{Zl}\p{Zp}]|(?! )\p{Zs}/u.test(text);
}

export function namesOf(circuit: Record): PlaceNames {
  const found = { labels: new Map<string, string[]>(), columns: new Map<string, string[]>() };
  for (const kind of ["labels", "columns"] as const) {
    if (!circuit.has(kind)) continue;
    const table = circuit.sub(kind);
    for (const name of table.names()) found[kind].set(name, listOf(table, name));
    table.done();
    if (!found[kind].size) throw circuit.refuse("an empty table is left out", kind);
  }
  const categories = new Map<string, Map<string, Categories>>();
  if (circuit.has("categories")) {
    const table = circuit.sub("categories");
    for (const name of table.names()) {
      const columns = table.sub(name);
      categories.set(name, new Map(columns.names().map((column) => [column, categoriesOf(columns.sub(column))])));
      columns.done();
      if (!categories.get(name)!.size) throw columns.refuse("the table is empty");
    }
    table.done();
    if (!categories.size) throw circuit.refuse("an empty table is left out", "categories");
  }
  let [tokenTensors, tokenizerSha256]: [string[], string | null] = [[], null];
  let decoder: PlaceNames["decoder"] = null;
  if (circuit.has("tokenizer")) {
    const table = circuit.sub("tokenizer");
    tokenizerSha256 = table.sha256("sha256");
    tokenTensors = table.texts("tensors", 64);
    const long = tokenTensors.some((name) => codePoints(name) > 512);
    if (!tokenTensors.length || long || new Set(tokenTensors).size < tokenTensors.length) throw table.refuse("expected names of tensors, each once", "tensors");
    if (table.has("next")) {
      decoder = { next: table.text("next", { max: 512 }), pad: table.integer("pad", 0, MAX_TOKENS), ends: table.integers("ends", 0, MAX_TOKENS, 64) };
      const ordered = decoder.ends.every((one, at) => at === 0 || decoder!.ends[at - 1]! < one);
      if (!tokenTensors.includes(decoder.next) || !ordered) throw table.refuse("expected one of the tensors, and ends in order, each once", "next");
    }
    table.done();
  }
  return { ...found, categories, tokenTensors, tokenizerSha256, decoder };
}

function listOf(table: Record, name: string): string[] {
  const names = table.texts(name, MAX_NAMES);
  if (!names.length) throw table.refuse("the list is empty", name);
  for (const one of names) if (codePoints(one) > MAX_NAME || !printable(one)) throw table.refuse(`expected 1 to ${MAX_NAME} printable characters`, name);
  if (new Set(names).size < names.length) throw table.refuse("two names are alike", name);
  return names;
}

function categoriesOf(record: Record): Categories {
  const values = record.texts("values", MAX_NAMES);
  if (!values.length) throw record.refuse("the list is empty", "values");
  for (const one of values) if (codePoints(one) > MAX_NAME || !printable(one) || one.trim() !== one) throw record.refuse("expected printable characters without spaces around them", "values");
  if (new Set(values).size < values.length) throw record.refuse("two categories are alike", "values");
  const found = { values, others: record.flag("others", false) };
  record.done();
  return found;
}
