/** Reading a bundle: steps R5 to R9 of docs/bundle-format.md. R1 to R4 are the source's. Each file is read once. */

import { Refusal } from "../engine/interface.js";
import { parseAttestation, type Attestation } from "./attestation.js";
import { sha256Hex } from "./bytes.js";
import { parseEnvelope, requireCanonical, type Envelope } from "./envelope.js";
import { parseJson } from "./json.js";
import { checkPath, MANIFEST_NAME, MAX_PAYLOAD, parseManifest, type FileEntry, type Manifest } from "./manifest.js";
import type { Source } from "./source.js";

/** A well-formed, complete bundle. Who signed it and whether it is true is checked later. */
export interface OpenBundle {
  readonly id: string;
  readonly envelope: Envelope;
  readonly manifest: Manifest;
  /** By name below `payload/`. */
  readonly payload: ReadonlyMap<string, Uint8Array>;
  readonly attestations: ReadonlyMap<string, Attestation>;
  /** By name below `log/`. */
  readonly log: ReadonlyMap<string, Uint8Array>;
}

export async function openBundle(source: Source, progress: (done: number, total: number) => void | Promise<void>): Promise<OpenBundle> {
  if (source.folders.has(MANIFEST_NAME)) throw notAFile(MANIFEST_NAME);
  // R5
  const envelope = await parseEnvelope(await sized(source, MANIFEST_NAME), MANIFEST_NAME);
  const manifest = parseManifest(envelope.payload, MANIFEST_NAME);
  requireCanonical(envelope.payload, parseJson(envelope.payload, MANIFEST_NAME, MAX_PAYLOAD), `${MANIFEST_NAME}: payload`);

  // R6
  const listed = new Map(manifest.files.map((one) => [one.path, one]));
  compareListing(listed, source);

  // R7, R8
  const payload = new Map<string, Uint8Array>();
  const attestations = new Map<string, Attestation>();
  const log = new Map<string, Uint8Array>();
  for (const [done, one] of manifest.files.entries()) {
    const data = await sized(source, one.path);
    const digest = await sha256Hex(data);
    if (digest !== one.sha256) {
      throw new Refusal("rejected", "digest-mismatch", `SHA-256 is ${digest}, but the manifest says ${one.sha256}`, one.path, "The file was changed after the bundle was written.");
    }
    const kind = checkPath(one.path);
    if (kind === "payload") payload.set(one.path.slice("payload/".length), data);
    else if (kind === "log") log.set(one.path.slice("log/".length), data);
    else {
      const found = await attestation(one, data);
      attestations.set(found.envelope.id, found);
    }
    await progress(done + 1, manifest.files.length);
  }
  checkChain(attestations, listed); // R9
  return { id: envelope.id, envelope, manifest, payload, attestations, log };
}

function compareListing(listed: ReadonlyMap<string, FileEntry>, source: Source): void {
  for (const name of source.folders) {
    if (listed.has(name)) throw notAFile(name);
    throw new Refusal("rejected", "bad-path", "a folder that belongs to no bundle", name);
  }
  for (const [name, one] of listed) {
    const size = source.sizes.get(name);
    if (size === undefined) throw new Refusal("rejected", "file-absent", "the manifest lists this file, but it is not there", name);
    if (size !== one.size) throw new Refusal("rejected", "digest-mismatch", `${size} bytes, but the manifest says ${one.size}`, name);
  }
  for (const name of source.sizes.keys()) {
    if (!listed.has(name) && name !== MANIFEST_NAME) throw new Refusal("rejected", "file-unlisted", "the manifest does not list this file", name);
  }
}

function notAFile(name: string): Refusal {
  return new Refusal("undecided", "disk", "cannot read: there is a folder in the place of this file", name);
}

async function sized(source: Source, name: string): Promise<Uint8Array> {
  const data = await source.read(name);
  if (data.length !== source.sizes.get(name)) throw new Refusal("rejected", "digest-mismatch", "the file changed its size while it was read", name);
  return data;
}

async function attestation(one: FileEntry, data: Uint8Array): Promise<Attestation> {
  const envelope = await parseEnvelope(data, one.path);
  if (one.path !== `attestations/${envelope.id}.dsse.json`) {
    throw new Refusal("rejected", "digest-mismatch", `the payload's SHA-256 is ${envelope.id}, but the file is named otherwise`, one.path);
  }
  return parseAttestation(envelope, one.path);
}

function checkChain(attestations: ReadonlyMap<string, Attestation>, listed: ReadonlyMap<string, FileEntry>): void {
  for (const [id, one] of attestations) {
    const where = `attestations/${id}.dsse.json`;
    if (one.predicate.kind === "proof" && !attestations.has(one.predicate.circuit)) {
      throw new Refusal("rejected", "parent-missing", `it builds on attestation ${one.predicate.circuit}, which is not here`, where);
    }
    for (const subject of one.subjects) {
      if (!subject.name.startsWith("payload/")) continue;
      const entry = listed.get(subject.name);
      if (!entry) throw new Refusal("rejected", "file-absent", `it is about ${JSON.stringify(subject.name)}, which is not here`, where);
      if (entry.sha256 !== subject.sha256) throw new Refusal("rejected", "digest-mismatch", `it is about another ${subject.name}`, where);
    }
  }
}
