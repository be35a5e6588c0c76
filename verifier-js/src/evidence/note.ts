/** C2SP signed notes: checkpoints, witnesses' cosignatures (`cosignature/v1`), and `.tlog-proof` files. Ed25519 only. */

import { Refusal } from "../engine/interface.js";
import { codePoints, decodeBase64, decodeUtf8, encodeBase64, joined, sameBytes, sha256, utf8 } from "./bytes.js";
import { verifies, type PublicKey } from "./envelope.js";
import { HASH } from "./merkle.js";

const MAX_BYTES = 64 * 1024;
const MAX_SIZE = 2n ** 53n;

interface Line {
  readonly name: string;
  readonly keyId: Uint8Array;
  readonly value: Uint8Array<ArrayBuffer>;
}

export interface Checkpoint {
  readonly origin: string;
  readonly size: bigint;
  readonly root: Uint8Array;
  readonly lines: readonly Line[];
  /** What is signed. */
  readonly text: string;
  /** The whole note. */
  readonly bytes: Uint8Array;
}

export interface NoteKey {
  readonly name: string;
  readonly key: PublicKey;
  readonly witness: boolean;
}

function malformed(message: string, where: string): Refusal {
  return new Refusal("rejected", "log-malformed", message, where);
}

function guarded<T>(where: string, read: () => T): T {
  try {
    return read();
  } catch (problem) {
    if (problem instanceof RangeError || problem instanceof TypeError) throw malformed(problem.message, where);
    throw problem;
  }
}

/** L1. Throws Refusal (`log-malformed`). */
export function parseCheckpoint(data: Uint8Array, where: string): Checkpoint {
  if (data.length > MAX_BYTES) throw malformed(`more than ${MAX_BYTES} bytes`, where);
  return guarded(where, () => {
    const text = decodeUtf8(data);
    if (/[\x00-\x09\x0b-\x1f]/.test(text)) throw new RangeError("it holds control characters");
    const gap = text.lastIndexOf("\n\n");
    const lines = text.slice(0, Math.max(0, gap)).split("\n");
    const tail = text.slice(gap + 2);
    if (gap < 0 || !tail.endsWith("\n") || lines.length !== 3) throw new RangeError("expected three lines, an empty line, and signatures");
    const [origin, size, root] = [keyName(lines[0]!), plainDecimal(lines[1]!), decodeBase64(lines[2]!)];
    if (size < 1n || size > MAX_SIZE) throw new RangeError(`size ${size}: an empty log proves nothing`);
    if (root.length !== HASH) throw new RangeError(`the root has ${root.length} bytes instead of ${HASH}`);
    const signed = tail.slice(0, -1).split("\n").map(lineOf);
    if (signed.length > 64) throw new RangeError("more than 64 signatures");
    if (new Set(signed.map((one) => `${one.name} ${encodeBase64(one.keyId)}`)).size !== signed.length) throw new RangeError("one key signed twice");
    return { origin, size, root, lines: signed, text: `${origin}\n${size}\n${lines[2]!}\n`, bytes: data };
  });
}

function plainDecimal(text: string): bigint {
  if (text.length > 16 || !/^(?:0|[1-9][0-9]*)$/.test(text)) throw new RangeError(`${text.slice(0, 40)} is not a plain decimal number`);
  return BigInt(text);
}

function keyName(text: string): string {
  if (!text || codePoints(text) > 255 || /[+\p{C}\p{Z}]/u.test(text)) throw new RangeError(`${JSON.stringify(text.slice(0, 80))} cannot be the name of a log or witness`);
  return text;
}

function lineOf(text: string): Line {
  const words = text.split(" ");
  if (words.length !== 3 || words[0] !== "\u2014") throw new RangeError("expected '\u2014 NAME SIGNATURE'");
  const value = decodeBase64(words[2]!);
  if (value.length !== 68 && value.length !== 76) throw new RangeError(`a signature of ${value.length} bytes`);
  return { name: keyName(words[1]!), keyId: value.slice(0, 4), value: value.slice(4) };
}

/** L2: how many distinct known witnesses cosigned. Throws Refusal (`log-signature-invalid`). */
export async function checkCheckpoint(checkpoint: Checkpoint, log: NoteKey, witnesses: readonly NoteKey[], where: string): Promise<number> {
  const refuse = (message: string): Refusal => new Refusal("rejected", "log-signature-invalid", message, where);
  if (checkpoint.origin !== log.name) throw refuse(`this is log ${JSON.stringify(checkpoint.origin.slice(0, 80))}, not ${JSON.stringify(log.name)}`);
  const known = await Promise.all([log, ...witnesses].map(async (one) => ({ ...one, id: await noteKeyId(one) })));
  let signed = false;
  const cosigned = new Set<string>();
  for (const line of checkpoint.lines) {
    // The last of equal entries counts, as where a witness has the log's own name and key.
    const key = known.filter((one) => one.name === line.name && sameBytes(one.id, line.keyId)).at(-1);
    if (!key) continue;
    let [value, message] = [line.value, utf8.encode(checkpoint.text)];
    if (key.witness) {
      const seconds = new DataView(joined(line.value.slice(0, 8), new Uint8Array(8)).buffer).getBigUint64(0);
      message = utf8.encode(`cosignature/v1\ntime ${seconds}\n${checkpoint.text}`);
      value = line.value.slice(8);
    }
    if (!(await verifies(key.key, value, message))) throw refuse(`the signature of ${JSON.stringify(key.name)} does not verify`);
    if (key.witness) cosigned.add(key.key.keyid);
    else signed = true;
  }
  if (!signed) throw refuse(`log ${JSON.stringify(log.name)} did not sign this checkpoint`);
  return cosigned.size;
}

async function noteKeyId(one: NoteKey): Promise<Uint8Array> {
  const digest = await sha256(joined(utf8.encode(`${one.name}\n`), Uint8Array.of(one.witness ? 4 : 1), one.key.raw));
  return digest.slice(0, 4);
}

export interface LogProof {
  readonly index: bigint;
  readonly hashes: readonly Uint8Array[];
  readonly checkpoint: Checkpoint;
}

/** L3. Throws Refusal (`log-malformed`). */
export function parseLogProof(data: Uint8Array, where: string): LogProof {
  if (data.length > MAX_BYTES) throw malformed(`more than ${MAX_BYTES} bytes`, where);
  const gap = data.findIndex((byte, at) => byte === 10 && data[at + 1] === 10);
  const { index, hashes } = guarded(where, () => {
    const head = data.subarray(0, gap < 0 ? data.length : gap);
    if (head.some((byte) => byte > 0x7e)) throw new RangeError("it is not ASCII");
    const lines = String.fromCharCode(...head).split("\n");
    if (gap < 0 || lines.length < 2 || lines[0] !== "c2sp.org/tlog-proof@v1" || !lines[1]!.startsWith("index ")) {
      throw new RangeError("expected the format's name, the index, hashes, and a checkpoint");
    }
    const found = lines.slice(2).map(decodeBase64);
    if (found.length > 64 || found.some((one) => one.length !== HASH)) throw new RangeError(`expected at most 64 hashes of ${HASH} bytes`);
    return { index: plainDecimal(lines[1]!.slice(6)), hashes: found };
  });
  return { index, hashes, checkpoint: parseCheckpoint(data.subarray(gap + 2), where) };
}
