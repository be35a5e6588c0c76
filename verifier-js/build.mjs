// Builds dist/verifier.mjs (Node) and, with --tests, dist/tests/*.test.mjs. Deterministic: the same sources give the same bytes.
import { rmSync, readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

import * as esbuild from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const common = { bundle: true, format: "esm", target: "es2022", charset: "ascii", absWorkingDir: here, logLevel: "warning" };

rmSync(join(here, "dist"), { recursive: true, force: true });
await esbuild.build({ ...common, entryPoints: ["src/node/main.ts"], outfile: "dist/verifier.mjs", platform: "node", banner: { js: "#!/usr/bin/env node" } });

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
