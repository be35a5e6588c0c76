/** The manifest of a bundle: every file with size, digest and media type; and which paths a bundle may have. */

import { Refusal } from "../engine/interface.js";
import { parseJson } from "./json.js";
import { Record } from "./record.js";
import { utcOf } from "./time.js";

export const MANIFEST_NAME = "bundle.dsse.json";
export const STATEMENT_TYPE = "https://in-toto.io/Statement/v1";
const MANIFEST_TYPE = "urn:verifai:manifest:v1";
export const MAX_PAYLOAD = 8 * 2 ** 20;
const MAX_FILES = 4096;
export const MODEL_FILE = "model.onnx";
/** Payload files that belong to the bundle, not to the engine. */
export const SIDE_FILES: ReadonlySet<string> = new Set([MODEL_FILE, "sbom.cdx.json", "receipt.intoto.json", "compile.slsa.json"]);
/** Of these, those that other tools read and that `verifai verify` composes again. */
export const DOCUMENT_FILES = ["receipt.intoto.json", "compile.slsa.json"] as const;

const PATHS = [
  [/^payload\/[A-Za-z0-9](?:[A-Za-z0-9._-]{0,126}[A-Za-z0-9_-])?$/, "payload"],
  [/^attestations\/[0-9a-f]{64}\.dsse\.json$/, "attestation"],
  [/^log\/(?:checkpoint|[0-9a-f]{64}\.tlog-proof)$/, "log"],
] as const;

/** The longest suffix decides. */
const MEDIA_TYPES = [
  [".dsse.json", "application/vnd.dsse.envelope.v1+json"],
  [".cdx.json", "application/vnd.cyclonedx+json"],
  [".tlog-proof", "text/plain"],
  [".json", "application/json"],
  [".onnx", "application/onnx"],
  [".npz", "application/vnd.numpy.npz"],
] as const;

export function mediaType(path: string): string {
  if (path === "log/checkpoint") return "text/plain";
  return MEDIA_TYPES.find(([suffix]) => path.endsWith(suffix))?.[1] ?? "application/octet-stream";
}

export function checkPath(path: string): "payload" | "attestation" | "log" {
  for (const [pattern, kind] of PATHS) if (pattern.test(path)) return kind;
  const shown = JSON.stringify(path.slice(0, 120));
  throw new Refusal("rejected", "bad-path", `${shown} cannot be the path of a file in a bundle`, shown);
}

/** No two paths differ by case only. Names are ASCII where this decides. */
export function checkDistinct(paths: readonly string[]): void {
  const seen = new Set<string>();
  for (const path of paths) {
    const folded = path.toLowerCase();
    if (seen.has(folded)) throw new Refusal("rejected", "path-collision", `${JSON.stringify(path)} and another would be one file somewhere`, path);
    seen.add(folded);
  }
}

export interface FileEntry {
  readonly path: string;
  readonly size: number;
  readonly sha256: string;
}

export interface Manifest {
  readonly files: readonly FileEntry[];
  readonly created: string;
  readonly succeeds: string | null;
}

/** Throws Refusal: `malformed`, `bad-path`, `path-collision`. That the bytes are canonical is the caller's question. */
export function parseManifest(payload: Uint8Array, where: string): Manifest {
  const root = new Record(parseJson(payload, where, MAX_PAYLOAD), where);
  root.text("_type", { pattern: new RegExp(`^${STATEMENT_TYPE.replaceAll(".", "\\.")}$`) });
  root.text("predicateType", { pattern: new RegExp(`^${MANIFEST_TYPE}$`) });
  const files = root.subs("subject", MAX_FILES).map(entry);
  const predicate = root.sub("predicate");
  const created = utcOf(predicate, "created");
  const succeeds = predicate.has("succeeds") ? predicate.sha256("succeeds") : null;
  predicate.done();
  root.done();
  const paths = files.map((one) => one.path);
  checkDistinct(paths);
  if (paths.some((path, at) => at > 0 && paths[at - 1]! > path)) throw root.refuse("the files are not in ascending order of path", "subject");
  if (!paths.some((path) => checkPath(path) === "attestation")) throw root.refuse("no attestation is listed: such a bundle says nothing", "subject");
  return { files, created, succeeds };
}

function entry(record: Record): FileEntry {
  const [digest, annotations] = [record.sub("digest"), record.sub("annotations")];
  const found = { path: record.text("name", { max: 256 }), size: annotations.integer("size", 0, 2 ** 40), sha256: digest.sha256("sha256") };
  checkPath(found.path);
  if (record.text("mediaType") !== mediaType(found.path)) throw record.refuse("not the media type of such a file", "mediaType");
  for (const part of [digest, annotations, record]) part.done();
  return found;
}
