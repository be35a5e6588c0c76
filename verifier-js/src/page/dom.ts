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
