/**
 * The single-file form of a bundle (docs/bundle-format.md, section 3): each header is composed from name, size, CRC-32 and
 * offset, and compared; nothing else is interpreted, decompressed or extracted.
 */

import { Refusal } from "../engine/interface.js";
import { joined, sameBytes, utf8 } from "./bytes.js";
import { type ByteReader, type Source, LIMITS, checkCount, checkListing, tooLarge } from "./source.js";

const LOCAL = 30;
const CENTRAL = 46;
const END = 22;
const MAX_NAME = 256;
const VERSION = 20;
const MADE_BY = (3 << 8) | 20;
const DATE = 0x0021;
const ATTRIBUTES = 0o100644 * 65536;

interface Member {
  readonly name: string;
  readonly size: number;
  readonly crc32: number;
  readonly offset: number;
}

function packed(fields: readonly (readonly [bytes: 2 | 4, value: number])[]): Uint8Array {
  const data = new DataView(new ArrayBuffer(fields.reduce((total, [bytes]) => total + bytes, 0)));
  let at = 0;
  for (const [bytes, value] of fields) {
    if (bytes === 2) data.setUint16(at, value, true);
    else data.setUint32(at, value, true);
    at += bytes;
  }
  return new Uint8Array(data.buffer);
}

function localHeader(one: Member): Uint8Array {
  const name = utf8.encode(one.name);
  return joined(
    packed([[4, 0x04034b50], [2, VERSION], [2, 0], [2, 0], [2, 0], [2, DATE], [4, one.crc32], [4, one.size], [4, one.size], [2, name.length], [2, 0]]),
    name,
  );
}

function centralHeader(one: Member): Uint8Array {
  const name = utf8.encode(one.name);
  return joined(
    packed([
      [4, 0x02014b50], [2, MADE_BY], [2, VERSION], [2, 0], [2, 0], [2, 0], [2, DATE], [4, one.crc32], [4, one.size], [4, one.size],
      [2, name.length], [2, 0], [2, 0], [2, 0], [2, 0], [4, ATTRIBUTES], [4, one.offset],
    ]),
    name,
  );
}

function endRecord(count: number, directory: number, length: number): Uint8Array {
  return packed([[4, 0x06054b50], [2, 0], [2, 0], [2, count], [2, count], [4, length], [4, directory], [2, 0]]);
}

/** List a single-file bundle (R2 to R4). Throws Refusal: `bad-archive`, `bundle-too-large`, and what a listing is refused for. */
export async function openArchive(file: ByteReader, where: string): Promise<Source> {
  const refuse = (message: string): Refusal => new Refusal("rejected", "bad-archive", message, where, "Make single files with: `verifai pack BUNDLE -o FILE`");
  if (file.size > LIMITS.total + LIMITS.files * (CENTRAL + 2 * MAX_NAME) + END) throw tooLarge(`${file.size} bytes, more than any bundle`, where);
  if (file.size < END) throw refuse("too short for a zip archive");
  const tail = await file.read(file.size - END, END);
  const view = new DataView(tail.buffer, tail.byteOffset, END);
  const [count, length, directory] = [view.getUint16(10, true), view.getUint32(12, true), view.getUint32(16, true)];
  if (!sameBytes(tail, endRecord(count, directory, length)) || directory + length + END !== file.size) {
    throw refuse("it does not end with a plain end-of-archive record: cut off, or something is behind it");
  }
  checkCount(count, where);
  if (length > count * (CENTRAL + MAX_NAME)) throw refuse("the central directory is larger than its entries");

  const central = await file.read(directory, length);
  const members = new Map<string, Member>();
  const sizes = new Map<string, number>();
  let position = 0;
  let end = 0;
  let previous = "";
  for (let index = 0; index < count; index++) {
    const one = parseCentral(central, position, refuse);
    const header = centralHeader(one);
    if (!sameBytes(central.subarray(position, position + header.length), header)) {
      throw refuse(`${JSON.stringify(one.name)} is compressed, encrypted, dated, linked or otherwise not plainly stored`);
    }
    if (members.has(one.name)) throw new Refusal("rejected", "path-collision", `${JSON.stringify(one.name)} is there twice`, where);
    if (one.name < previous) throw refuse(`${JSON.stringify(one.name)} is not in ascending order`);
    const local = localHeader(one);
    const memberEnd = one.offset + local.length + one.size;
    if (one.offset !== end || memberEnd > directory) throw refuse(`${JSON.stringify(one.name)} does not begin where the one before it ends`);
    if (!sameBytes(await file.read(one.offset, local.length), local)) throw refuse(`the two headers of ${JSON.stringify(one.name)} disagree`);
    members.set(one.name, one);
    sizes.set(one.name, one.size);
    [position, end, previous] = [position + header.length, memberEnd, one.name];
  }
  if (position !== central.length || end !== directory) throw refuse("there are bytes that belong to no file");
  checkListing(sizes, where);

  return {
    sizes,
    folders: new Set(),
    close: async () => file.close?.(),
    async read(name: string): Promise<Uint8Array> {
      const one = members.get(name)!;
      const data = await file.read(one.offset + LOCAL + one.name.length, one.size);
      if (crc32(data) !== one.crc32) throw new Refusal("rejected", "digest-mismatch", "the archive's checksum does not match", name);
      return data;
    },
  };
}

function parseCentral(data: Uint8Array, position: number, refuse: (message: string) => Refusal): Member {
  if (position + CENTRAL > data.length) throw refuse("the central directory is cut off");
  const view = new DataView(data.buffer, data.byteOffset + position);
  const length = view.getUint16(28, true);
  const name = data.subarray(position + CENTRAL, position + CENTRAL + length);
  if (!name.length || name.length !== length || length > MAX_NAME || !name.every((byte) => byte >= 0x21 && byte <= 0x7e)) {
    throw refuse("a file name is not allowed");
  }
  return { name: String.fromCharCode(...name), crc32: view.getUint32(16, true), size: view.getUint32(24, true), offset: view.getUint32(42, true) };
}

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value >>> 0;
});

export function crc32(data: Uint8Array): number {
  let value = 0xffffffff;
  for (const byte of data) value = (CRC_TABLE[(value ^ byte) & 0xff]! ^ (value >>> 8)) >>> 0;
  return (value ^ 0xffffffff) >>> 0;
}
