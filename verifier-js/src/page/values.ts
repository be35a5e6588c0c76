/** Inputs and outputs as a person sees them: pictures, rows of a table, bars of classes, numbers. */

import { cellText, decisionText, numberText, type Shown } from "../evidence/shown.js";
import { spelledWords, type TokenText } from "../evidence/tokenizer.js";
import { el, lines } from "./dom.js";

const MAX_CELLS = 240;
const MAX_BARS = 12;

interface Layout {
  readonly height: number;
  readonly width: number;
  readonly channels: number;
  readonly last: boolean;
}

/** A picture of 1 or 3 channels, channels first or last; or a square of at least 8 x 8 single numbers in one row. */
function layoutOf(one: Shown): Layout | null {
  const [batch, ...rest] = one.shape;
  if (one.role !== "input" || one.steps.length !== 1 || one.names.length || one.categories.size || one.tokens) return null;
  if (batch === 1 && rest.length === 3) {
    const [a, b, c] = rest as [number, number, number];
    for (const [channels, height, width, last] of [[a, b, c, false], [c, a, b, true]] as const) {
      if ((channels === 1 || channels === 3) && Math.min(height, width) >= 4) return { channels, height, width, last };
    }
  }
  const side = Math.sqrt(one.values.length);
  if (one.shape.length <= 2 && Number.isInteger(side) && side >= 8 && side <= 64) return { channels: 1, height: side, width: side, last: true };
  return null;
}

function picture(one: Shown, { height, width, channels, last }: Layout): HTMLElement {
  const canvas = el("canvas", { width: String(width), height: String(height), role: "img", "aria-label": `${one.role} ${one.name} as a picture of ${width} by ${height} pixels`, class: "picture" });
  const context = canvas.getContext("2d");
  const [low, high] = one.values.reduce(([least, most], value) => [Math.min(least, value), Math.max(most, value)], [Infinity, -Infinity]);
  if (context) {
    const pixels = context.createImageData(width, height);
    for (let at = 0; at < width * height; at++) {
      for (let channel = 0; channel < 3; channel++) {
        const source = channels === 1 ? at : last ? at * 3 + channel : channel * width * height + at;
        const value = one.values[source]!;
        pixels.data[4 * at + channel] = high > low ? Math.round((255 * (value - low)) / (high - low)) : 0;
      }
      pixels.data[4 * at + 3] = 255;
    }
    context.putImageData(pixels, 0, 0);
  }
  const flat = one.shape.length <= 2 ? `${one.values.length} numbers, drawn as ${width} \u00d7 ${height} pixels` : `${width} \u00d7 ${height} pixels`;
  const range = `black is ${numberText(low, one.steps[0]!)}, white is ${numberText(high, one.steps[0]!)}`;
  return el("figure", {}, canvas, el("figcaption", {}, `${flat}; ${range}`), numbers(one));
}

function numbers(one: Shown): HTMLElement {
  const shown = Math.min(one.values.length, MAX_CELLS * 4);
  const text = Array.from({ length: shown }, (_, at) => cellText(one, at)).join("  ");
  const more = one.values.length - shown;
  return el("details", {}, el("summary", {}, `The ${one.values.length.toLocaleString("en")} numbers`), el("p", { class: "numbers" }, more ? `${text}  \u2026 and ${more.toLocaleString("en")} more` : text));
}

/** Classes as bars from the least value to the largest, the largest first. */
function bars(one: Shown): HTMLElement {
  const order = one.values.map((value, at) => ({ value, at })).sort((left, right) => right.value - left.value || left.at - right.at);
  const [most, least] = [order[0]!.value, order.at(-1)!.value];
  const rows = order.slice(0, MAX_BARS).map(({ value, at }, place) => {
    const share = most > least ? (value - least) / (most - least) : 1;
    const meter = el("span", { class: "bar" }, el("span", { class: "fill" }));
    (meter.firstChild as HTMLElement).style.width = `${Math.max(1, share * 100)}%`;
    return el("tr", place ? {} : { class: "first" }, el("th", { scope: "row" }, one.names[at] ? `${at}, ${one.names[at]}` : String(at)), el("td", { "aria-hidden": "true" }, meter), el("td", { class: "num" }, cellText(one, at)));
  });
  const head = el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "class"), el("th", { scope: "col", class: "wide" }, el("span", { class: "quiet" }, "larger means more likely, by this model")), el("th", { scope: "col", class: "num" }, "value")));
  const more = order.length - rows.length;
  return el("figure", {}, el("table", { class: "bars" }, head, el("tbody", {}, ...rows)), more > 0 && el("figcaption", {}, `and ${more.toLocaleString("en")} smaller ones`));
}

function table(one: Shown): HTMLElement {
  const width = one.shape.at(-1) ?? 1;
  const count = Math.min(one.values.length, MAX_CELLS);
  const more = one.values.length - count;
  if (one.names.length && one.values.length === width) {
    const rows = Array.from({ length: count }, (_, at) => el("tr", {}, el("th", { scope: "row" }, one.names[at]!), el("td", { class: "num" }, cellText(one, at))));
    return el("figure", {}, el("table", { class: "fields" }, el("tbody", {}, ...rows)), more > 0 && el("figcaption", {}, `and ${more} more columns`));
  }
  const text = Array.from({ length: count }, (_, at) => cellText(one, at)).join("  ");
  return el("figure", {}, el("p", { class: "numbers" }, more > 0 ? `${text}  \u2026` : text), more > 0 && el("figcaption", {}, `${more.toLocaleString("en")} of ${one.values.length.toLocaleString("en")} values are not shown`));
}

/** Tokens as text, as the lock's tokenizer has it; special tokens are marked, since a prompt could spell their names. */
function words(text: TokenText): HTMLElement {
  const runs = text.runs.map((run) => el("span", run.special ? { class: "special", title: "a special token" } : {}, ...(run.special ? [run.text] : lines(run.text))));
  const rest = text.padding ? el("figcaption", {}, `then ${text.padding.toLocaleString("en")} times the padding `, el("span", { class: "special" }, text.pad)) : null;
  return el("figure", {}, el("div", { class: "told", dir: "auto", tabindex: "0", role: "group", "aria-label": "Text of the tokens" }, ...runs), rest, text.spelled.size > 0 && el("figcaption", {}, `Caution: ${spelledWords(text).slice(2)}`));
}

/** What an output says, in a few words; empty where it says no class. */
export function conclusion(one: Shown): string {
  if (one.decisions) {
    if (!one.decisions.length) return "no label";
    const shown = one.decisions.slice(0, 4).map((found) => (one.decisions!.length > 1 && !one.every ? `${decisionText(found)} (row ${found.row})` : decisionText(found)));
    const more = one.decisions.length - shown.length;
    return `${one.every ? (one.decisions.length > 1 ? "labels" : "label") : "class"} ${shown.join("; ")}${more > 0 ? ` and ${more} more` : ""}`;
  }
  return one.values.length === 1 && !one.tokens ? cellText(one, 0) : "";
}

export function valueView(one: Shown): HTMLElement {
  const layout = layoutOf(one);
  const said = conclusion(one);
  const item = one.item === null ? "" : `Item ${one.item}: `;
  const heading = one.part
    ? el("h4", {}, one.part === "prompt" ? "Prompt" : "Answer", " ", el("span", { class: "quiet" }, `${one.values.length.toLocaleString("en")} tokens${one.note ? `, ${one.note}` : ""}`))
    : el("h4", {}, `${item}${one.role === "input" ? "Input" : "Output"} `, el("code", {}, one.name));
  const step = one.steps.length === 1 && one.steps[0]! > 0 && one.steps[0] !== 1 ? el("p", { class: "quiet" }, `exact to steps of ${Number(one.steps[0]!.toPrecision(2))}`) : null;
  let body: HTMLElement;
  if (layout) body = picture(one, layout);
  else if (one.text) body = el("div", {}, words(one.text), numbers(one));
  else if (one.tokens) body = el("figure", {}, table(one), el("figcaption", {}, `tokens of a language model, as numbers: ${one.untold}`));
  else if (one.decisions && !one.every && one.values.length > 1 && one.values.length === one.shape.at(-1)) body = bars(one);
  else if (one.values.length === 1) body = el("p", { class: "single" }, cellText(one, 0));
  else body = table(one);
  return el("section", { class: `value ${one.role}` }, heading, one.decisions && said ? el("p", { class: "said" }, said) : null, body, step);
}
