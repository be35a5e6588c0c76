/** Bundles on disk: a folder, or a single file, listed once and never followed through links (R1, R2). And what lies beside a lock. */

import { constants, type BigIntStats } from "node:fs";
import { lstat, open, readdir, readFile, stat, type FileHandle } from "node:fs/promises";
import { dirname, join } from "node:path";

import { Refusal } from "../engine/interface.js";
import { openArchive } from "../evidence/archive.js";
import { parseLock, type Lock } from "../evidence/lock.js";
import { checkPath, MANIFEST_NAME } from "../evidence/manifest.js";
import { checkCount, checkListing, type ByteReader, type Source } from "../evidence/source.js";
import { MAX_TOKENIZER_BYTES, TOKENIZER_FILE, withTokenizer } from "../evidence/tokenizer.js";

const FOLDERS = ["attestations", "log", "payload"];
// Without O_NONBLOCK, opening a pipe in the file's place would wait for ever.
const FLAGS = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

/** A lock, with the tokenizer that it pins where that lies beside it. */
export async function lockFrom(path: string, data: Uint8Array): Promise<Lock> {
  const lock = await parseLock(data, path);
  const file = join(dirname(path), TOKENIZER_FILE);
  const found = lock.names.tokenizerSha256 === null ? null : await stat(file).catch(() => null);
  if (!found?.isFile()) return lock;
  // One that is too large is not read: it cannot be the pinned one.
  return withTokenizer(lock, found.size > MAX_TOKENIZER_BYTES ? new Uint8Array() : new Uint8Array(await readFile(file)), file);
}

export async function openPath(path: string): Promise<Source> {
  let kind: BigIntStats;
  try {
    kind = await lstat(path, { bigint: true });
  } catch (problem) {
    throw new Refusal("usage", "file-missing", `cannot read: ${reason(problem)}`, path);
  }
  if (kind.isSymbolicLink()) throw new Refusal("rejected", "link", "a link, not a bundle", path, "Name what it points to.");
  if (kind.isDirectory()) return openFolder(path);
  if (kind.isFile()) {
    const file = await fileReader(path);
    try {
      return await openArchive(file, path);
    } catch (problem) {
      await file.close?.();
      throw problem;
    }
  }
  throw new Refusal("usage", "file-missing", "neither a folder nor a regular file", path);
}

function reason(problem: unknown): string {
  return problem instanceof Error && "code" in problem ? String(problem.code) : "it is not there";
}

async function fileReader(path: string): Promise<ByteReader> {
  const handle = await opened(path, path);
  const size = (await handle.stat()).size;
  return {
    size,
    close: () => handle.close(),
    async read(offset: number, length: number): Promise<Uint8Array> {
      const data = await readAt(handle, offset, length, path);
      if (data.length !== length) throw new Refusal("rejected", "bad-archive", "it shrank while it was read", path);
      return data;
    },
  };
}

async function opened(path: string, where: string): Promise<FileHandle> {
  try {
    const handle = await open(path, FLAGS);
    if ((await handle.stat()).isFile()) return handle;
    await handle.close();
  } catch (problem) {
    if (["ENOENT", "ENOTDIR", "ELOOP"].includes(reason(problem))) throw new Refusal("rejected", "file-absent", `cannot read: ${reason(problem)}`, where, "Something changed it meanwhile.");
    throw new Refusal("undecided", "disk", `cannot read: ${reason(problem)}`, where, "Nothing is known about the evidence: give yourself the right to read it.");
  }
  throw new Refusal("rejected", "bad-path", "no longer a regular file", where);
}

async function readAt(handle: FileHandle, offset: number, length: number, where: string): Promise<Uint8Array> {
  const data = new Uint8Array(length);
  let at = 0;
  while (at < length) {
    let read: number;
    try {
      read = (await handle.read(data, at, Math.min(length - at, 1 << 28), offset + at)).bytesRead;
    } catch (problem) {
      throw new Refusal("undecided", "disk", `cannot read: ${reason(problem)}`, where);
    }
    if (!read) break;
    at += read;
  }
  return data.subarray(0, at);
}

async function openFolder(path: string): Promise<Source> {
  const top = await listed(path, path);
  if (!top.some((name) => name === MANIFEST_NAME || FOLDERS.includes(name))) {
    throw new Refusal("usage", "not-a-bundle", "a folder, but no bundle", path, "Name the folder that prove or seal wrote, or the file that pack wrote.");
  }
  const sizes = new Map<string, number>();
  const folders = new Set<string>();
  const inner: string[] = [];
  const look = async (name: string, folder: string): Promise<void> => {
    checkCount(sizes.size + folders.size + 1, path);
    const relative = folder ? `${folder}/${name}` : name;
    const kind = await lstat(join(path, relative));
    const shown = JSON.stringify(relative.slice(0, 200));
    if (kind.isSymbolicLink()) throw new Refusal("rejected", "link", "a link could lead outside the bundle", shown);
    if (!folder && FOLDERS.includes(name) && kind.isDirectory()) inner.push(name);
    else if (kind.isDirectory() && (folder || name === MANIFEST_NAME)) {
      checkPath(relative);
      folders.add(relative);
    } else if (!kind.isFile()) throw new Refusal("rejected", "bad-path", "neither a file nor a folder of a bundle", shown);
    else if (!folder && name !== MANIFEST_NAME) throw new Refusal("rejected", "file-unlisted", "no such file belongs to a bundle", shown);
    else sizes.set(relative, kind.size);
  };
  for (const name of top) await look(name, "");
  for (const folder of FOLDERS.filter((name) => inner.includes(name))) {
    const names = await listed(join(path, folder), folder);
    if (!names.length) throw new Refusal("rejected", "bad-path", "an empty folder belongs to no bundle", folder);
    for (const name of names) await look(name, folder);
  }
  checkListing(sizes, path, folders);
  return {
    sizes,
    folders,
    async read(name: string): Promise<Uint8Array> {
      const handle = await opened(join(path, name), name);
      try {
        // One byte more than listed, so that a file that grew is seen.
        return await readAt(handle, 0, sizes.get(name)! + 1, name);
      } finally {
        await handle.close();
      }
    },
  };
}

async function listed(path: string, where: string): Promise<string[]> {
  try {
    return await readdir(path);
  } catch (problem) {
    throw new Refusal("undecided", "disk", `cannot read: ${reason(problem)}`, where);
  }
}
