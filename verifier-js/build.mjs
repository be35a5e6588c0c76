// Builds dist/verifier.mjs (Node), dist/cases.mjs (for conformance tests), dist/page.html (the evidence page without data) and, with --tests, dist/tests/*.test.mjs. Deterministic: the same sources give the same bytes.
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

import * as esbuild from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const common = { bundle: true, format: "esm", target: "es2022", charset: "ascii", absWorkingDir: here, logLevel: "warning" };

rmSync(join(here, "dist"), { recursive: true, force: true });
const node = { ...common, platform: "node", outExtension: { ".js": ".mjs" } };
await esbuild.build({ ...node, entryPoints: { verifier: "src/node/main.ts" }, outdir: "dist", banner: { js: "#!/usr/bin/env node" } });
await esbuild.build({ ...node, entryPoints: { cases: "src/node/cases.ts" }, outdir: "dist" });

// The page: one file, whose policy allows this one script and this one style sheet, and nothing else.
const page = (name) => readFileSync(join(here, "src/page", name), "utf8");
const hashed = (text) => `sha256-${createHash("sha256").update(text).digest("base64")}`;
const built = await esbuild.build({ ...common, format: "iife", minify: true, legalComments: "inline", entryPoints: ["src/page/main.ts"], write: false });
const script = built.outputFiles[0].text.replaceAll("</script", "<\\/script").replaceAll("<!--", "<\\!--");
const style = (await esbuild.transform(page("page.css"), { loader: "css", minify: true })).code;
const parts = { SCRIPT: script, STYLE: style, SCRIPT_HASH: hashed(script), STYLE_HASH: hashed(style) };
mkdirSync(join(here, "dist"), { recursive: true });
writeFileSync(join(here, "dist/page.html"), page("page.html").replace(/\{\{([A-Z_]+)\}\}/g, (_, name) => parts[name]));

// What tests feed with lists of cases, to compare both verifiers (tests/conformance/).
await esbuild.build({ ...common, entryPoints: ["src/conformance/main.ts"], outfile: "dist/conformance.mjs", platform: "node" });

if (process.argv.includes("--tests")) {
  const tests = readdirSync(join(here, "tests"), { recursive: true }).filter((name) => name.endsWith(".test.ts")).sort();
  await esbuild.build({
    ...common,
    entryPoints: tests.map((name) => join("tests", name)),
    outdir: "dist/tests",
    outbase: "tests",
    outExtension: { ".js": ".mjs" },
    platform: "node",
    packages: "external",
    sourcemap: "inline",
  });
}
