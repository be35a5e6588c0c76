/** Foreign text made safe to show: nothing in it drives a terminal, begins a line or turns the reading direction of a page. */

/** Control, format, unassigned and private characters, lone surrogates, and all separators but the plain space. */
const UNPRINTABLE = /[\p{C}\p{Zl}\p{Zp}]|(?! )\p{Zs}/gu;

/** On one line, with everything that is not plainly printable spelled out. */
export function visible(text: string): string {
  return text.replace(UNPRINTABLE, spelled);
}

function spelled(found: string): string {
  const code = found.codePointAt(0)!;
  if (code < 0x100) return `\\x${code.toString(16).padStart(2, "0")}`;
  return code < 0x10000 ? `\\u${code.toString(16).padStart(4, "0")}` : `\\U${code.toString(16).padStart(8, "0")}`;
}
