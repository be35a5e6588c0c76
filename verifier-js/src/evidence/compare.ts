/** V8 and V9: tensors that the reader holds, compared exactly with those that were proven. */

import { Refusal } from "../engine/interface.js";
import { holds, type Finding } from "./findings.js";
import { ratio, ratioOf, toNumber, type Ratio } from "./ratio.js";
import { cellsOf, type Role, type Statement, type Tensor } from "./statement.js";

/** Numbers as a file holds them, row-major; integers beyond 2^53 as bigints. */
export interface GivenTensor {
  readonly shape: readonly number[];
  readonly values: ArrayLike<number | bigint>;
  /** NumPy's name of the file's type; "decimal" for decimal text, which has none. */
  readonly type: string;
}

/** By name; the name "" stands for the only tensor of a file, for the only one of the statement. */
export type GivenTensors = ReadonlyMap<string, GivenTensor>;

const FAR = 2 ** 52;

/** Throws Refusal: `input-mismatch` and the like. */
export function compareTensors(statement: Statement, role: Role, given: GivenTensors): Finding[] {
  const known = new Map(statement.tensors.filter((one) => one.role === role).map((one) => [one.name, one]));
  if (!given.size) throw new Refusal("usage", "unknown-tensor", `no ${role} was given to compare`);
  return [...given].map(([name, values]) => {
    const tensor = name === "" && known.size === 1 ? [...known.values()][0] : known.get(name);
    if (!tensor) throw new Refusal("usage", "unknown-tensor", `the statement has no ${role} ${JSON.stringify(name.slice(0, 80))}`, "", `It has: ${[...known.keys()].join(", ")}`);
    return match(tensor, { ...values, values: taken(tensor, values) });
  });
}

/** As the model takes them: each value unchanged, in float32 for an input and in float64 for an output, or refused; decimal text is
 * rounded to the nearest. A silent rounding would compare other values than those in the file. Whole numbers for a tensor of whole
 * numbers stay what they are. The same rule and words as `verifai verify`. */
function taken(tensor: Tensor, given: GivenTensor): ArrayLike<number | bigint> {
  const { values, type } = given;
  const target = tensor.role === "input" ? "float32" : "float64";
  const refuse = (code: string, message: string, hint: string): Refusal => new Refusal("usage", code, message, tensor.name, hint);
  const place = (at: number): string => `[${placeOf(at, given.shape).join(", ")}]`;
  const list = Array.from(values);
  if (type === "bool") throw refuse("input-dtype", `bool was given; the model takes ${target}`, `If the values are what you mean, convert them yourself first: array.astype("${target}").`);
  const odd = list.findIndex((value) => typeof value === "number" && !Number.isFinite(value));
  if (odd >= 0) throw refuse("input-non-finite", `the value at ${place(odd)} is ${String(list[odd]).replace("NaN", "nan").replace("Infinity", "inf")}`, "Replace it by a finite number, or leave the sample out.");
  const whole = type === "decimal" ? list.every((value) => typeof value === "bigint") : type.includes("int");
  const counts = tensor.role === "input" && tensor.scale.numerator === tensor.scale.denominator && BigInt(tensor.zeroPoint) === 0n && !tensor.columns.length;
  if (whole && counts && list.every((value) => BigInt(value) >= -(2n ** 63n) && BigInt(value) < 2n ** 63n)) return values;
  const rounded = list.map((value) => (target === "float32" ? Math.fround(Number(value)) : Number(value)));
  const far = rounded.findIndex((value) => !Number.isFinite(value));
  if (type === "decimal") {
    if (far >= 0) throw refuse("input-non-finite", `the value is outside the range of ${target}`, "Scale the data as the model expects it.");
    return rounded;
  }
  const changed = list.findIndex((value, at) => !same(value, rounded[at]!));
  if (changed >= 0) throw refuse("input-dtype", `${type} was given and the value at ${place(changed)} is not exact as ${target}`, `Round it yourself first: array.astype("${target}").`);
  return rounded;
}

function same(value: number | bigint, rounded: number): boolean {
  if (!Number.isFinite(rounded)) return false;
  return typeof value === "bigint" ? BigInt(rounded) === value && Math.abs(rounded) <= 2 ** 53 : rounded === value;
}

/** The index of a cell, row-major. */
function placeOf(at: number, shape: readonly number[]): number[] {
  const found: number[] = [];
  for (const size of [...shape].reverse()) {
    found.unshift(at % size);
    at = Math.floor(at / size);
  }
  return found;
}

function match(tensor: Tensor, given: GivenTensor): Finding {
  const { role, name } = tensor;
  if (tensor.visibility === "private") {
    throw new Refusal("policy", `${role}-private`, `'${name}' is private in this statement; the proof binds it to nothing that you hold`);
  }
  if (tensor.visibility === "hashed") {
    const hiding = tensor.digestScheme === "sumcheck-zk-root/1";
    if (hiding) throw new Refusal("policy", "tensor-secret-needed", `'${name}' is under a hiding root, which only its secret seed makes again`, name);
    throw new Refusal("undecided", "not-checked-here", `'${name}' is bound by a root, which this verifier does not make again`, name, "Use `verifai verify --input`.");
  }
  const code = `${role}-mismatch`;
  let same: boolean;
  try {
    same = role === "output" ? sameOutput(tensor, given) : sameInput(tensor, given);
  } catch (problem) {
    if (!(problem instanceof RangeError)) throw problem;
    throw new Refusal("rejected", code, `the given '${name}' cannot be what was proven: ${problem.message}`, name);
  }
  if (!same) throw new Refusal("rejected", code, `the given ${role} '${name}' is not the one in the proof`, name, "Another input or output was proven.");
  const precision = role === "output" ? "to float32" : "after quantisation";
  return holds(`${role}-matches`, `the given '${name}' is equal to the public values in the proof, exactly, ${precision}`, role === "input" ? "V8" : "V9");
}

function requireShape(tensor: Tensor, given: GivenTensor): void {
  if (given.shape.join("x") !== tensor.shape.join("x") || given.values.length !== cellsOf(tensor.shape)) {
    throw new RangeError(`shape ${given.shape.join("x") || "()"}, the statement has ${tensor.shape.join("x") || "()"}`);
  }
}

/** Models serve float32: the proven value is rounded to float32 and then compared exactly. */
function sameOutput(tensor: Tensor, given: GivenTensor): boolean {
  requireShape(tensor, given);
  const proven = realValues(tensor);
  return proven.every((value, at) => Math.fround(value) === Math.fround(Number(given.values[at])));
}

function sameInput(tensor: Tensor, given: GivenTensor): boolean {
  requireShape(tensor, given);
  const width = tensor.columns.length;
  return tensor.quantised!.every((q, at) => {
    const value = given.values[at]!;
    if (tensor.encoding === "float32") return orderedFloat(Number(value)) === q;
    if (width) return steps(value, tensor.columns[at % width]!.scale) + tensor.columns[at % width]!.zeroPoint === q;
    if (!tensor.stored) return steps(value, tensor.scale) + BigInt(tensor.zeroPoint) === q;
    const whole = steps(value, { numerator: 1n, denominator: 1n });
    if (typeof value === "number" && Number(whole) !== value) throw new RangeError("the tensor is of integers, and a value is none");
    return whole === q;
  });
}

/** floor(value / step + 1/2), exactly. */
function steps(value: number | bigint, step: Ratio): bigint {
  const real = typeof value === "bigint" ? { numerator: value, denominator: 1n } : finite(value);
  const large = real.numerator > 2n ** 53n * real.denominator || real.numerator < -(2n ** 53n) * real.denominator;
  if (typeof value === "bigint" && large) throw new RangeError("an integer is not exact in double precision");
  const quotient = ratio(real.numerator * step.denominator, real.denominator * step.numerator);
  if (Math.abs(toNumber(quotient)) > FAR) throw new RangeError("a value is far too large");
  const [numerator, denominator] = [2n * quotient.numerator + quotient.denominator, 2n * quotient.denominator];
  const down = numerator / denominator;
  return numerator < 0n && down * denominator !== numerator ? down - 1n : down;
}

function finite(value: number): Ratio {
  if (!Number.isFinite(value)) throw new RangeError("a value is infinite, or not a number");
  return ratioOf(value);
}

function orderedFloat(value: number): bigint {
  const bits = new DataView(new ArrayBuffer(4));
  bits.setFloat32(0, value);
  if (!Number.isFinite(bits.getFloat32(0))) throw new RangeError("a value is infinite, not a number, or too large for float32");
  const magnitude = BigInt(bits.getUint32(0) & 0x7fffffff);
  return value < 0 ? -magnitude : magnitude;
}

/** The public values as doubles, each the nearest to the exact one. */
export function realValues(tensor: Tensor): number[] {
  const cells = tensor.quantised!;
  const width = tensor.columns.length;
  if (tensor.stored) return cells.map(Number);
  if (tensor.encoding === "float32") return cells.map(floatOf);
  return cells.map((q, at) => {
    const { scale, zeroPoint } = width ? tensor.columns[at % width]! : { scale: tensor.scale, zeroPoint: BigInt(tensor.zeroPoint) };
    return toNumber({ numerator: (q - zeroPoint) * scale.numerator, denominator: scale.denominator });
  });
}

function floatOf(q: bigint): number {
  const bits = new DataView(new ArrayBuffer(4));
  bits.setUint32(0, Number(q < 0n ? -q : q));
  const value = bits.getFloat32(0);
  return q < 0n ? -value : value;
}
