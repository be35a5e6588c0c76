/** The integer circuit, as values: docs/engine/protocol.md, "The circuit". Numbers up to 2^32 are numbers, cells are bigints. */

import { absolute, log2Ceil } from "./bytes.js";
import type { Cells } from "./field.js";

export const NONE = 0xffff_ffff;

export const PUBLIC = 0, HASHED = 1, PRIVATE = 2;
export const PUBLIC_WEIGHTS = 0, COMMITTED_WEIGHTS = 1;

export interface Shaped {
  readonly name: string;
  readonly shape: readonly number[];
  /** Variables of each axis: log2 of its size, rounded up. */
  readonly bits: readonly number[];
  /** Their sum. */
  readonly logCells: number;
  /** Sizes rounded up to powers of two. */
  readonly padded: readonly number[];
  /** True cells. Exact below 2^53. */
  readonly size: number;
}

export interface Tensor extends Shaped {
  readonly low: bigint;
  readonly high: bigint;
  readonly fill: bigint;
  readonly scale: readonly [bigint, bigint];
  readonly zeroPoint: bigint;
}

export interface Weight extends Shaped {
  readonly bound: bigint;
  readonly rowL1: bigint;
}

export interface Table {
  readonly name: string;
  readonly low: bigint;
  readonly values: Cells;
  readonly width: number;
  readonly high: bigint;
}

export interface Port {
  readonly tensor: number;
  readonly visibility: number;
}

export interface CommitmentShape {
  readonly label: string;
  readonly rows: number;
  readonly message: number;
  readonly degree: number;
  readonly length: number;
  readonly queries: number;
  readonly reservedRows: number;
  readonly mask: number;
  readonly tail: number;
  readonly budget: number;
  readonly maskRows: number;
}

export interface SoundnessStep {
  readonly label: string;
  readonly millibits: number;
}

export interface ViewPiece {
  readonly source: number;
  readonly axes: readonly number[];
  readonly indices: readonly Uint32Array[];
  readonly fixed: readonly number[];
}

type List = readonly number[];

export type Op =
  | { readonly kind: "MatMul"; readonly x: number; readonly weight: number; readonly bias: number; readonly out: number; readonly contract: number }
  | { readonly kind: "Conv"; readonly x: number; readonly weight: number; readonly bias: number; readonly out: number; readonly stride: List; readonly dilation: List; readonly pads: List; readonly groups: number }
  | { readonly kind: "BatchedMatMul"; readonly a: number; readonly b: number; readonly out: number; readonly multiplier: bigint }
  | { readonly kind: "Mul"; readonly a: number; readonly b: number; readonly out: number; readonly multiplier: bigint }
  | { readonly kind: "LinearCombination"; readonly sources: List; readonly multipliers: readonly bigint[]; readonly constant: bigint; readonly out: number }
  | { readonly kind: "WindowSum"; readonly x: number; readonly out: number; readonly multiplier: bigint; readonly kernel: List; readonly stride: List; readonly pads: List }
  | { readonly kind: "RowSum"; readonly x: number; readonly y: number; readonly out: number; readonly multiplier: bigint; readonly axes: number }
  | { readonly kind: "Requant"; readonly z: number; readonly out: number; readonly table: number; readonly shift: number; readonly limbs: List; readonly saturate: boolean }
  | { readonly kind: "Lookup"; readonly x: number; readonly out: number; readonly table: number }
  | { readonly kind: "WindowMax"; readonly x: number; readonly out: number; readonly kernel: List; readonly stride: List; readonly dilation: List; readonly pads: List }
  | { readonly kind: "RowMax"; readonly x: number; readonly out: number; readonly exp: number; readonly table: number; readonly saturate: boolean }
  | { readonly kind: "Recip"; readonly q: number; readonly out: number }
  | { readonly kind: "Isqrt"; readonly v: number; readonly out: number }
  | { readonly kind: "ArgMax"; readonly x: number; readonly out: number }
  | { readonly kind: "Relabel"; readonly x: number; readonly out: number }
  | { readonly kind: "View"; readonly pieces: readonly ViewPiece[]; readonly constant: bigint; readonly out: number }
  | { readonly kind: "Gather"; readonly x: number; readonly out: number; readonly indices: List; readonly constant: bigint }
  | { readonly kind: "Rescale"; readonly z: number; readonly out: number; readonly shift: number; readonly limbs: List; readonly digits: List }
  | { readonly kind: "GatedMatMul"; readonly a: number; readonly b: number; readonly weight: number; readonly bias: number; readonly out: number; readonly contract: number }
  | { readonly kind: "RowScale"; readonly x: number; readonly factor: number; readonly out: number; readonly multiplier: bigint }
  | { readonly kind: "WeightRows"; readonly index: number; readonly weight: number; readonly out: number }
  | { readonly kind: "TopIndex"; readonly x: number; readonly out: number; readonly digits: List };

export type OpOf<K extends Op["kind"]> = Extract<Op, { kind: K }>;

export interface Circuit {
  readonly suite: string;
  readonly zeroKnowledge: boolean;
  readonly tensors: readonly Tensor[];
  readonly weights: readonly Weight[];
  readonly tables: readonly Table[];
  readonly ops: readonly Op[];
  readonly inputs: readonly Port[];
  readonly outputs: readonly Port[];
  readonly weightVisibility: number;
  readonly commitments: readonly CommitmentShape[];
  readonly soundness: readonly SoundnessStep[];
  readonly openingBudget: number;
  readonly batch: number;
}

export const portsOf = (circuit: Circuit): readonly Port[] => [...circuit.inputs, ...circuit.outputs];

export function shaped(name: string, shape: readonly number[]): Shaped {
  const bits = shape.map((size) => (size > 0 ? log2Ceil(size) : 0));
  return {
    name,
    shape,
    bits,
    logCells: bits.reduce((sum, width) => sum + width, 0),
    padded: bits.map((width) => 2 ** width),
    size: shape.reduce((product, size) => product * size, 1),
  };
}

export const magnitude = (tensor: Tensor): bigint => {
  const low = absolute(tensor.low), high = absolute(tensor.high);
  return low > high ? low : high;
};

/** Which operations hold their results: committed or public. The results of all others are virtual. */
const HOLDING: ReadonlySet<Op["kind"]> = new Set<Op["kind"]>([
  "Requant", "Lookup", "WindowMax", "RowMax", "Recip", "Isqrt", "ArgMax", "Rescale", "TopIndex",
]);

export const holdsResults = (op: Op): boolean => HOLDING.has(op.kind);

/** The tensors that an operation reads, in order of its fields. */
export function operands(op: Op): readonly number[] {
  switch (op.kind) {
    case "BatchedMatMul":
    case "Mul":
    case "GatedMatMul":
      return [op.a, op.b];
    case "LinearCombination":
      return op.sources;
    case "RowSum":
      return op.y === NONE ? [op.x] : [op.x, op.y];
    case "Requant":
    case "Rescale":
      return [op.z];
    case "Recip":
      return [op.q];
    case "Isqrt":
      return [op.v];
    case "RowScale":
      return [op.x, op.factor];
    case "WeightRows":
      return [op.index];
    case "View":
      return op.pieces.map((piece) => piece.source);
    case "MatMul":
    case "Conv":
    case "WindowSum":
    case "Lookup":
    case "WindowMax":
    case "RowMax":
    case "ArgMax":
    case "TopIndex":
    case "Relabel":
    case "Gather":
      return [op.x];
  }
}

/** The tensors that an operation defines. */
export const results = (op: Op): readonly number[] => (op.kind === "RowMax" && op.exp !== NONE ? [op.out, op.exp] : [op.out]);

/** The weights that an operation names: a bias may be NONE. */
export function weightsOf(op: Op): readonly number[] {
  switch (op.kind) {
    case "MatMul":
    case "Conv":
    case "GatedMatMul":
      return [op.weight, op.bias];
    case "WeightRows":
      return [op.weight];
    default:
      return [];
  }
}

export const tablesOf = (op: Op): readonly number[] =>
  op.kind === "Requant" || op.kind === "Lookup" || op.kind === "RowMax" ? [op.table] : [];
