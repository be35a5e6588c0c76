/** The reader's own tensors to compare: NumPy's .npy, .npz (a zip of them), and JSON `{"name": nested numbers}`. */

import { Refusal } from "../engine/interface.js";
import type { GivenTensor, GivenTensors } from "./compare.js";
import { parseNumbers, type Numbers } from "./json.js";

const MAX_BYTES = 1 << 30;
const MAX_HEADER = 65536;

type Reader = (view: DataView, at: number) => number | bigint;

const KINDS: { readonly [kind: string]: { readonly bytes: number; readonly type: string; readonly read: Reader } } = {
  f4: { bytes: 4, type: "float32", read: (view, at) => view.getFloat32(at, true) },
  f8: { bytes: 8, type: "float64", read: (view, at) => view.getFloat64(at, true) },
  i1: { bytes: 1, type: "int8", read: (view, at) => view.getInt8(at) },
  u1: { bytes: 1, type: "uint8", read: (view, at) => view.getUint8(at) },
  b1: { bytes: 1, type: "bool", read: (view, at) => view.getUint8(at) },
  i2: { bytes: 2, type: "int16", read: (view, at) => view.getInt16(at, true) },
  u2: { bytes: 2, type: "uint16", read: (view, at) => view.getUint16(at, true) },
  i4: { bytes: 4, type: "int32", read: (view, at) => view.getInt32(at, true) },
  u4: { bytes: 4, type: "uint32", read: (view, at) => view.getUint32(at, true) },
  i8: { bytes: 8, type: "int64", read: (view, at) => view.getBigInt64(at, true) },
  u8: { bytes: 8, type: "uint64", read: (view, at) => view.getBigUint64(at, true) },
};

/** Arrays by name; a `.npy` has the name "". Throws Refusal of kind `usage` (`bad-input`). */
export async function readTensors(data: Uint8Array, where: string): Promise<GivenTensors> {
  const refuse = (message: string): Refusal => new Refusal("usage", "bad-input", message, where, "Give a .npy, a .npz, or JSON: {\"name\": [[0.5, 1]]}");
  if (data.length > MAX_BYTES) throw refuse("the file is too large");
  try {
    if (data[0] === 0x93) return new Map([["", npy(data)]]);
    if (data[0] === 0x50 && data[1] === 0x4b) return await npz(data);
    return json(data, where);
  } catch (problem) {
    if (problem instanceof Refusal) throw problem;
    throw refuse(problem instanceof Error ? problem.message.slice(0, 200) : "it cannot be read");
  }
}

function npy(data: Uint8Array): GivenTensor {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  if (String.fromCharCode(...data.subarray(1, 6)) !== "NUMPY") throw new RangeError("not a .npy file");
  const wide = data[6] === 2 || data[6] === 3;
  const start = wide ? 12 : 10;
  const length = wide ? view.getUint32(8, true) : view.getUint16(8, true);
  if (length > MAX_HEADER || start + length > data.length) throw new RangeError("the header is cut off or too long");
  const header = String.fromCharCode(...data.subarray(start, start + length));
  const found = /^\{'descr': '([<|=])([fiub][1248])', 'fortran_order': False, 'shape': \(((?:[0-9]+, ?)*[0-9]*,?)\), \}\s*$/.exec(header);
  const kind = found && KINDS[found[2]!];
  if (!found || !kind) throw new RangeError("an array of another kind than plain little-endian numbers in row-major order");
  const shape = found[3]!.split(",").map((text) => text.trim()).filter(Boolean).map(Number);
  const size = shape.reduce((total, one) => total * one, 1);
  const at = start + length;
  if (at + size * kind.bytes !== data.length) throw new RangeError("the array has another length than its shape says");
  return { shape, values: Array.from({ length: size }, (_, cell) => kind.read(view, at + cell * kind.bytes)), type: kind.type };
}

async function npz(data: Uint8Array): Promise<GivenTensors> {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const end = data.length - 22;
  if (end < 0 || view.getUint32(end, true) !== 0x06054b50) throw new RangeError("the archive's end is not where it should be");
  const count = view.getUint16(end + 10, true);
  let at = view.getUint32(end + 16, true);
  const found = new Map<string, GivenTensor>();
  for (let index = 0; index < count; index++) {
    if (view.getUint32(at, true) !== 0x02014b50) throw new RangeError("the archive's directory is broken");
    const [method, packed, size] = [view.getUint16(at + 10, true), view.getUint32(at + 20, true), view.getUint32(at + 24, true)];
    const [nameLength, extra, comment, offset] = [view.getUint16(at + 28, true), view.getUint16(at + 30, true), view.getUint16(at + 32, true), view.getUint32(at + 42, true)];
    const name = new TextDecoder().decode(data.subarray(at + 46, at + 46 + nameLength));
    const start = offset + 30 + view.getUint16(offset + 26, true) + view.getUint16(offset + 28, true);
    if (!name.endsWith(".npy") || found.has(name.slice(0, -4))) throw new RangeError("a member that is no array, or is there twice");
    if (size > MAX_BYTES || start + packed > data.length) throw new RangeError("a member is too large or cut off");
    const stored = data.slice(start, start + packed);
    found.set(name.slice(0, -4), npy(method === 0 ? stored : await inflated(stored, method, size)));
    at += 46 + nameLength + extra + comment;
  }
  return found;
}

/** Exactly `size` bytes; reading stops as soon as there are more. */
async function inflated(data: Uint8Array<ArrayBuffer>, method: number, size: number): Promise<Uint8Array> {
  if (method !== 8) throw new RangeError("a compression that is not known");
  const whole = new Uint8Array(size);
  let at = 0;
  const reader = new Blob([data]).stream().pipeThrough(new DecompressionStream("deflate-raw")).getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    const chunk = value as Uint8Array;
    if (at + chunk.length > size) throw new RangeError("a member is larger than it says");
    whole.set(chunk, at);
    at += chunk.length;
  }
  if (at !== size) throw new RangeError("a member is shorter than it says");
  return whole;
}

/** Integers stay exact, and a name that comes twice is refused: else another tensor than the file says could pass for the proven one. */
function json(data: Uint8Array, where: string): GivenTensors {
  const document = parseNumbers(data, where, MAX_BYTES, "usage", "bad-input");
  if (!(document instanceof Map)) throw new RangeError("expected an object of arrays by name");
  return new Map([...document].map(([name, value]) => {
    const values: (number | bigint)[] = [];
    return [name, { shape: flat(value, values), values, type: "decimal" }];
  }));
}

function flat(value: Numbers, values: (number | bigint)[]): number[] {
  if (typeof value === "number" || typeof value === "bigint") {
    values.push(value);
    return [];
  }
  if (!Array.isArray(value)) throw new RangeError("expected nested lists of numbers");
  const shapes = value.map((one) => flat(one, values).join("x"));
  if (new Set(shapes).size > 1) throw new RangeError("rows of different lengths");
  return [value.length, ...(shapes[0] ? shapes[0].split("x").map(Number) : [])];
}
