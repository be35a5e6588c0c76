/** Where the bytes of a bundle come from, and what a listing may be (R3, R4), before any content is read. */

import { Refusal } from "../engine/interface.js";
import { checkDistinct, checkPath, MANIFEST_NAME } from "./manifest.js";

/** A file of known size; in the page a Blob, in Node a file handle. */
export interface ByteReader {
  readonly size: number;
  /** Exactly `length` bytes; throws Refusal where the file is shorter than it was. */
  read(offset: number, length: number): Promise<Uint8Array>;
  close?(): Promise<void>;
}

/** An opened bundle whose names and sizes were checked. */
export interface Source {
  readonly sizes: ReadonlyMap<string, number>;
  /** Paths of files in whose place there is a folder; only the manifest can say whether a file was meant. */
  readonly folders: ReadonlySet<string>;
  /** The whole file, of the listed size or another: the reader compares. */
  read(name: string): Promise<Uint8Array>;
  close?(): Promise<void>;
}

const MIB = 2 ** 20;
export const LIMITS = { files: 4096, file: 1024 * MIB, total: 2048 * MIB, document: 12 * MIB, documents: 64 * MIB } as const;

export function tooLarge(message: string, where: string): Refusal {
  return new Refusal("rejected", "bundle-too-large", message, where, "No bundle that verifai writes is this large.");
}

export function checkCount(count: number, where: string): void {
  if (count > LIMITS.files) throw tooLarge(`more than ${LIMITS.files} files`, where);
}

/** R3 and R4. Throws Refusal: `bad-path`, `path-collision`, `bundle-too-large`, `manifest-missing`. */
export function checkListing(sizes: ReadonlyMap<string, number>, where: string, folders: ReadonlySet<string> = new Set()): void {
  checkCount(sizes.size, where);
  let total = 0;
  let documents = 0;
  for (const [path, size] of sizes) {
    const payload = path !== MANIFEST_NAME && checkPath(path) === "payload";
    const limit = payload ? LIMITS.file : LIMITS.document;
    if (size > limit) throw tooLarge(`${size} bytes, more than the limit of ${limit}`, path);
    total += size;
    documents += payload ? 0 : size;
  }
  checkDistinct([...sizes.keys(), ...folders]);
  if (total > LIMITS.total || documents > LIMITS.documents) throw tooLarge(`more than ${LIMITS.total} bytes, or ${LIMITS.documents} bytes of documents`, where);
  if (!sizes.has(MANIFEST_NAME) && !folders.has(MANIFEST_NAME)) {
    throw new Refusal("rejected", "manifest-missing", `there is no ${MANIFEST_NAME}`, where, "Is this the folder that prove or seal wrote?");
  }
}

/** Bytes in memory as a file. */
export function bytesReader(data: Uint8Array): ByteReader {
  return { size: data.length, read: (offset, length) => Promise.resolve(data.slice(offset, offset + length)) };
}
