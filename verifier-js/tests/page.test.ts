import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import test from "node:test";

const HTML = readFileSync("dist/page.html", "utf8");
const CSS = readFileSync("src/page/page.css", "utf8");

test("the page allows exactly its own script and style, and no connection", () => {
  const policy = /http-equiv="Content-Security-Policy" content="([^"]*)"/.exec(HTML)?.[1] ?? "";
  const hash = (tag: string): string => {
    const found = [...HTML.matchAll(new RegExp(`<${tag}[^>]*>([^]*?)</${tag}>`, "g"))];
    assert.equal(found.length, 1);
    return createHash("sha256").update(found[0]![1]!).digest("base64");
  };
  assert.match(policy, /^default-src 'none'; /);
  assert.ok(policy.includes(`script-src 'sha256-${hash("script")}'`));
  assert.ok(policy.includes(`style-src 'sha256-${hash("style")}'`));
  assert.doesNotMatch(policy, /https?:|connect-src|unsafe|\*/);
});

test("nothing in the program parses markup or evaluates text", () => {
  for (const word of ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "XMLHttpRequest", "WebSocket", "sendBeacon", "import("]) assert.ok(!HTML.includes(word), word);
});

test("the page without a bundle is at most 300 kB", () => {
  assert.ok(Buffer.byteLength(HTML) <= 300_000, String(Buffer.byteLength(HTML)));
});

function luminance(colour: string): number {
  const full = colour.length === 4 ? colour.slice(1).replace(/./g, "$&$&") : colour.slice(1);
  const [red, green, blue] = [0, 2, 4].map((at) => {
    const level = Number.parseInt(full.slice(at, at + 2), 16) / 255;
    return level <= 0.04045 ? level / 12.92 : ((level + 0.055) / 1.055) ** 2.4;
  }) as [number, number, number];
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

test("text has the contrast that WCAG 2.2 asks for (AA), in light, dark and print", () => {
  const themes = [...CSS.matchAll(/:root \{([^}]*)\}/g)].map((found) => new Map([...found[1]!.matchAll(/--([a-z-]+): (#[0-9a-f]{3,6})/g)].map(([, name, value]) => [name!, value!])));
  assert.equal(themes.length, 3);
  const pairs = [
    ["ink", "paper"], ["ink", "card"], ["soft", "paper"], ["soft", "card"], ["accent", "card"], ["accent", "paper"], ["good", "card"], ["bad", "card"], ["warn", "card"], ["wait", "card"],
    ["good", "good-bg"], ["bad", "bad-bg"], ["warn", "warn-bg"], ["wait", "wait-bg"], ["paper", "accent"],
  ] as const;
  for (const [at, theme] of themes.entries()) {
    for (const [front, back] of pairs) {
      const [light, dark] = [luminance(theme.get(front)!), luminance(theme.get(back)!)].sort((a, b) => b - a) as [number, number];
      assert.ok((light + 0.05) / (dark + 0.05) >= 4.5, `theme ${at}: ${front} on ${back}`);
    }
  }
});
