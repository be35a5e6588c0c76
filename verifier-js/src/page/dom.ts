/** Elements from data. Text is set as text: nothing here, or anywhere in the page, parses markup that it did not bring along. */

import { visible } from "../evidence/visible.js";

type Child = Node | string | null | false;

const SVG = "http://www.w3.org/2000/svg";

export function el<K extends keyof HTMLElementTagNameMap>(tag: K, attributes: { readonly [name: string]: string } = {}, ...children: Child[]): HTMLElementTagNameMap[K] {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  fill(node, ...children);
  return node;
}

export function fill(node: Element, ...children: Child[]): void {
  node.replaceChildren(...children.filter((child): child is Node | string => child !== null && child !== false && child !== "").map((child) => (typeof child === "string" ? visible(child) : child)));
}

/** Our own words, with what stands between back quotes as code. Of an odd number of quotes, all stay as they are. */
export function coded(text: string): Child[] {
  const parts = text.split("`");
  return parts.length % 2 ? parts.map((part, at) => (at % 2 ? el("code", {}, part) : part)) : [text];
}

/** At most this many empty lines in a row are shown: text of others cannot push what this page says out of sight. */
const EMPTY_LINES = 2;

/** Text with its own lines and tabs, for a box of its own; all else that is not printable is spelled out. */
export function lines(text: string): Node[] {
  const found: Node[] = [];
  const rows = text.replace(/\r\n/g, "\n").split("\n");
  for (let at = 0; at < rows.length; at++) {
    let empty = 0;
    while (at + empty < rows.length - 1 && rows[at + empty]!.trim() === "") empty++;
    if (empty > EMPTY_LINES) {
      found.push(el("span", { class: "special" }, `${empty.toLocaleString("en")} empty lines`), document.createTextNode("\n"));
      at += empty - 1;
      continue;
    }
    found.push(document.createTextNode(rows[at]!.split("\t").map(visible).join("\t") + (at < rows.length - 1 ? "\n" : "")));
  }
  return found;
}

export function svg(attributes: { readonly [name: string]: string }, ...paths: { readonly [name: string]: string }[]): SVGElement {
  const node = document.createElementNS(SVG, "svg");
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  for (const one of paths) {
    const { tag = "path", ...rest } = one;
    const shape = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(rest)) shape.setAttribute(name, value);
    node.append(shape);
  }
  return node;
}

/** The element that the page's own markup has under this name. */
export function part(id: string): HTMLElement {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no part ${id}`);
  return found;
}
