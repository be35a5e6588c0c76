/**
 * How many claims reach each tensor, and how long the vectors are that carry them: the script on numbers, not on values.
 *
 * docs/engine/operations.md, "What each costs a verifier". The constants are the first verifier's, so that both refuse the same circuits;
 * this verifier is faster.
 */

import { type Bus, buildBus, taps } from "./buses.js";
import { tooLarge } from "./bytes.js";
import { MAX_CLAIMS, publicTensors, rangedTensors } from "./layout.js";
import { convBits } from "./operations.js";
import { type Circuit, holdsResults, NONE, type Op, type OpOf, PUBLIC_WEIGHTS, results, type Shaped, type Tensor } from "./program.js";
import { MAX_MESSAGES } from "./proof.js";
import { NO_AXIS } from "./storage.js";

export const ENTRY_BYTES = 144, ENTRY_NS = 1_600, CELL_NS = 120;
const ROW_NS = 1_500, TABLE_NS = 500, CLASSES = 8, DIRECT_STEPS = 2 ** 13, DIRECT_RATIO = 8;

/** Which axes of a functional are lists of entries: bit i is axis i. */
type Mask = number;
/** Per lookup of an operation, what tells its cells' weights apart. */
type Places = readonly string[];

const sum = (values: readonly number[]): number => values.reduce((x, y) => x + y, 0);
const bit = (mask: Mask, axis: number): number => (mask >> axis) & 1;
const gcd = (a: number, b: number): number => (b === 0 ? a : gcd(b, a % b));
/** How often a value is read that is wanted at these places. */
const once = (...places: readonly string[]): number => new Set(places).size;

/** Entries of the axes that are lists. */
const dense = (bits: readonly number[], mask: Mask): number => sum(bits.map((width, axis) => (bit(mask, axis) ? 2 ** width : 0)));
/** Height and width. */
const grid = (source: Tensor): Mask => 0b11 << (source.shape.length - 2);

export class ClaimCounter {
  messages = 0;
  claims = 0;
  nanoseconds = 0;
  /** Bytes of vectors that live until the openings; the most that is needed for a while beside them. */
  kept = 0;
  most = 0;
  readonly #shown: ReadonlySet<number>;
  readonly #publicWeights: boolean;
  readonly #pending = new Map<number, Map<Mask, number>>();
  readonly #deferred = new Map<number, number[]>();

  constructor(readonly circuit: Circuit) {
    this.#shown = new Set(publicTensors(circuit));
    this.#publicWeights = circuit.weightVisibility === PUBLIC_WEIGHTS;
    for (const op of circuit.ops) if (!holdsResults(op)) for (const out of results(op)) this.#pending.set(out, new Map());
  }

  // --- what the script asks a party for, `times` times ---

  send(count: number): void {
    this.messages += count;
    if (this.messages > MAX_MESSAGES) throw tooLarge(`a proof would need more than ${MAX_MESSAGES} messages`, "messages");
  }

  open(bits: readonly number[], mask: Mask, times: number): void {
    this.claims += times;
    if (this.claims > MAX_CLAIMS) throw tooLarge(`more than ${MAX_CLAIMS} claims would be opened`, "openings");
    const entries = dense(bits, mask);
    this.nanoseconds += times * (ENTRY_NS * entries + 12_000 * sum(bits));
    this.most = Math.max(this.most, 16 * ENTRY_BYTES * entries);
  }

  /** Vectors that their claims keep. */
  make(entries: number, times: number): void {
    this.nanoseconds += times * ENTRY_NS * entries;
    this.kept += times * ENTRY_BYTES * entries;
    this.most = Math.max(this.most, 2 * ENTRY_BYTES * entries);
  }

  /** Vectors that are made and forgotten. */
  look(entries: number, times: number): void {
    this.nanoseconds += times * ENTRY_NS * entries;
    this.most = Math.max(this.most, 2 * ENTRY_BYTES * entries);
  }

  column(shape: Shaped, times: number, mask: Mask = 0): void {
    this.send(times);
    this.open(shape.bits, mask, times);
  }

  read(tensor: number, mask: Mask, times: number): void {
    const described = this.circuit.tensors[tensor]!;
    if (described.fill !== 0n) this.nanoseconds += 2 * times * (ENTRY_NS / 4) * dense(described.bits, mask);
    const classes = this.#pending.get(tensor);
    if (this.#shown.has(tensor)) this.#evaluate(described, times);
    else if (classes !== undefined) {
      this.send(times);
      const kind = !classes.has(mask) && classes.size >= CLASSES ? 2 ** described.shape.length - 1 : mask;
      classes.set(kind, (classes.get(kind) ?? 0) + times);
    } else this.column(described, times, mask);
  }

  weight(weight: number, mask: Mask, times: number): void {
    const described = this.circuit.weights[weight]!;
    if (this.#publicWeights) this.#evaluate(described, times);
    else {
      this.send(times);
      this.open(described.bits, mask, times);
    }
  }

  #evaluate(described: Shaped, times: number): void {
    const sizes = [...described.shape];
    let row = sizes.pop()!;
    while (sizes.length > 0 && sizes[sizes.length - 1]! * row <= 4096) row *= sizes.pop()!;
    const rows = Math.floor(described.size / row), entries = sum(described.padded) + row;
    this.nanoseconds += times * (CELL_NS * described.size + ROW_NS * rows + ENTRY_NS * entries);
    this.most = Math.max(this.most, ENTRY_BYTES * (2 * entries + rows));
  }

  /** A second claim on a value, under its functional cut off at the true sizes. */
  pin(described: Shaped, times: number): void {
    let mask = 0;
    described.shape.forEach((size, axis) => {
      if (size === described.padded[axis]) return;
      mask |= 1 << axis;
      this.make(described.padded[axis]!, times);
    });
    this.open(described.bits, mask, times);
  }

  rounds(count: number, elements: number, times: number): void {
    this.send(times * count * elements);
  }

  #defer(number: number, which: number): void {
    this.#deferred.set(number, [...(this.#deferred.get(number) ?? []), which]);
  }

  // --- the script ---

  lookups(): void {
    const circuit = this.circuit, bus = buildBus(circuit);
    this.send(2 ** bus.logSums);
    for (let layer = bus.logSums; layer < bus.logLeaves; layer++) this.send(2 * layer + 4);
    const groups = new Map<object, string>();
    bus.byOperation.forEach((blocks, number) => {
      const places = blocks.map(({ group }) => {
        if (group.storage.axis === NO_AXIS) return group.storage.key;
        if (!groups.has(group)) groups.set(group, `group ${groups.size}`);
        return groups.get(group)!;
      });
      if (blocks.length > 0) this.#rows(number, places);
    });
    for (const tensor of rangedTensors(circuit)) {
      this.read(tensor, 0, 1);
      this.pin(circuit.tensors[tensor]!, 1);
    }
    this.#tables(bus);
  }

  /** A sum of fractions for weights' own cells. */
  ranges(bus: Bus): void {
    this.send(1);
    for (let layer = 0; layer < bus.logLeaves; layer++) this.send(2 * layer + 4);
    for (const owner of bus.byTensor.keys()) {
      this.weight(owner, 0, 1);
      this.pin(this.circuit.weights[owner]!, 1);
    }
    this.#tables(bus);
  }

  #tables(bus: Bus): void {
    for (const table of bus.tables) {
      this.send(1);
      this.open([table.logSize], 0, 1);
      this.look(2 * 2 ** Math.floor((table.logSize + 1) / 2), 1);
      if (table.kind === "range" || table.kind === "signed") continue;
      this.nanoseconds += TABLE_NS * 2 ** table.logSize;
      this.most = Math.max(this.most, 64 * 2 ** table.logSize);
    }
  }

  operations(): void {
    for (let number = this.circuit.ops.length - 1; number >= 0; number--) {
      const op = this.circuit.ops[number]!;
      this.#check(op);
      for (const which of this.#deferred.get(number) ?? []) this.#product(op, which);
      if (!holdsResults(op)) for (const [mask, times] of this.#pending.get(op.out)!) this.#carry(op, mask, times);
    }
  }

  // --- lookups ---

  #rows(number: number, places: Places): void {
    const op = this.circuit.ops[number]!, at = (index: number): string => places[index]!;
    const tensor = (index: number): Tensor => this.circuit.tensors[index]!;
    switch (op.kind) {
      case "Lookup":
        this.read(op.x, 0, 1);
        this.read(op.out, 0, 1);
        return;
      case "Requant": {
        const out = tensor(op.out), count = op.limbs.length, atT = op.saturate ? at(1 + count) : at(0);
        this.read(op.z, 0, 1);
        this.column(out, sum(places.slice(1, 1 + count).map((limb) => once(atT, limb))));
        this.read(op.out, 0, 1);
        if (!op.saturate) return;
        const atSigma = at(2 + count), atKappa = at(3 + count);
        this.column(out, once(atT, atSigma, atKappa) + 1 + once(atKappa, at(0)));
        this.send(1);
        this.#defer(number, 0);
        return;
      }
      case "WindowMax":
        this.read(op.out, 0, once(...places));
        this.#taps(op, 1);
        return;
      case "RowMax": {
        const source = tensor(op.x), atExp = at(0), atFlag = at(1);
        this.read(op.out, 0, 1);
        this.pin(tensor(op.out), 1);
        this.column(source, 1);
        for (let i = 0; i < (op.saturate ? 1 : once(atExp, atFlag)); i++) this.#difference(op);
        if (op.saturate) {
          const atLow = at(2), atSigma = at(3), atKappa = at(4);
          this.column(source, once(atLow, atSigma, atKappa) + 1 + once(atKappa, atExp, atFlag));
          for (let i = 0; i < once(atExp, atFlag); i++) {
            this.send(1);
            this.#defer(number, 0);
          }
        }
        if (op.exp !== NONE) this.read(op.exp, 0, 1);
        this.#alongRows(source);
        return;
      }
      case "Recip": {
        const [first, r0, r1, rho0, rho1, a0, above, s0, slack] = places as [string, string, string, string, string, string, string, string, string];
        const scaled = once(first, above, slack), halves = once(first, rho0, slack) + once(first, rho1, slack);
        const limbs = once(r0) + once(r1) + once(a0, above) + once(s0, slack);
        this.column(tensor(op.out), 2 + scaled + halves + limbs);
        for (let which = 0; which < 3; which++) this.#defer(number, which);
        this.read(op.out, 0, 1);
        return;
      }
      case "Isqrt": {
        const [q0, highQ, d0, highD, f0, highF] = places as [string, string, string, string, string, string];
        this.read(op.v, 0, once(highD, highF));
        this.read(op.out, 0, once(highQ, highF));
        this.column(tensor(op.out), once(q0, highQ) + once(d0, highD) + once(f0, highF));
        for (let i = 0; i < once(highD, highF); i++) {
          this.send(1);
          this.#defer(number, 0);
        }
        return;
      }
      case "ArgMax": {
        const source = tensor(op.x);
        for (const described of [source, tensor(op.out)]) {
          this.column(described, 1);
          this.pin(described, 1);
        }
        this.read(op.x, 0, 1);
        this.look(source.padded[source.padded.length - 1]!, 1);
        this.#alongRows(source);
        return;
      }
      case "Rescale": {
        const out = tensor(op.out), limbs = places.slice(0, op.limbs.length), digits = places.slice(op.limbs.length);
        this.read(op.z, 0, 1);
        this.read(op.out, 0, once(limbs[limbs.length - 1]!, digits[digits.length - 1]!));
        this.#digits(out, limbs);
        this.#digits(out, digits);
        return;
      }
      case "TopIndex": {
        const source = tensor(op.x), out = tensor(op.out);
        this.column(out, 1);
        this.read(op.x, 0, 1);
        this.#digits(source, places);
        this.look(sum(out.padded) + out.size, 1);
        this.nanoseconds += 8 * ENTRY_NS * out.size * source.bits[source.bits.length - 1]!;
        return;
      }
      default:
        return;
    }
  }

  /** Digits that are committed, each read at its own place and at the highest's. */
  #digits(shape: Shaped, places: Places): void {
    const highest = places[places.length - 1]!;
    this.column(shape, sum(places.slice(0, -1).map((place) => once(place, highest))));
  }

  /** A column under weights of the last axis' places. */
  #alongRows(source: Tensor): void {
    this.make(source.padded[source.padded.length - 1]!, 1);
    this.column(source, 1, 1 << (source.shape.length - 1));
  }

  #difference(op: OpOf<"RowMax">): void {
    this.read(op.out, 0, 1);
    this.read(op.x, 0, 1);
  }

  #taps(op: OpOf<"WindowMax">, times: number): void {
    const source = this.circuit.tensors[op.x]!, out = this.circuit.tensors[op.out]!;
    for (let tap = taps(op.kernel).length; tap > 0; tap--) {
      this.#window(op, [1, 1], source, out, times);
      this.look(2 * dense(source.bits, grid(source)), times);
      this.read(op.x, grid(source), times);
    }
  }

  /** Height and width of the operand's functional. */
  #window(
    op: OpOf<"Conv"> | OpOf<"WindowSum"> | OpOf<"WindowMax">, kernel: readonly number[], source: Tensor, out: Tensor, times: number,
  ): void {
    const dilation = op.kind === "WindowSum" ? [1, 1] : op.dilation, ones = op.kind === "WindowSum";
    for (let d = 0; d < 2; d++) {
      const entries = out.shape[out.shape.length - 2 + d]!, count = kernel[d]!, stride = op.stride[d]!;
      this.look(out.padded[out.shape.length - 2 + d]!, times);
      this.make(source.padded[source.shape.length - 2 + d]!, times);
      const spread = Math.floor((entries * stride + count * dilation[d]!) / gcd(stride, dilation[d]!));
      let steps = ones || count === 1 ? count : 0;
      if (!ones && entries * count <= Math.max(DIRECT_STEPS, DIRECT_RATIO * spread)) steps = entries * count;
      else if (!ones) {
        const [short, long] = [entries * stride, count * dilation[d]!].sort((x, y) => x - y) as [number, number];
        steps = 6 * spread + Math.floor(short ** 0.585) * long;
        this.most = Math.max(this.most, 6 * ENTRY_BYTES * spread);
      }
      this.nanoseconds += times * 1_000 * steps;
    }
  }

  // --- checks and products ---

  #check(op: Op): void {
    if (op.kind === "WindowMax") {
      const window = taps(op.kernel).length;
      this.rounds(this.circuit.tensors[op.out]!.logCells, window, 1);
      this.read(op.out, 0, 1);
      this.#taps(op, 1);
      this.send(Math.max(0, window - 2));
    } else if (op.kind === "ArgMax") {
      const source = this.circuit.tensors[op.x]!;
      this.#alongRows(source);
      this.#alongRows(source);
      this.read(op.out, 0, 1);
      this.column(this.circuit.tensors[op.out]!, 1);
      this.rounds(source.logCells, 3, 1);
      this.column(source, 1);
      this.read(op.x, 0, 1);
      this.look(source.padded[source.padded.length - 1]!, 1);
    } else if (op.kind === "TopIndex") {
      const source = this.circuit.tensors[op.x]!, out = this.circuit.tensors[op.out]!;
      this.column(out, 1);
      this.rounds(source.logCells, 2, 1);
      this.read(op.x, 0, 1);
      this.look(2 * (sum(out.padded) + out.size), 1);
      this.nanoseconds += 2 * ENTRY_NS * out.size * source.bits[source.bits.length - 1]!;
    }
  }

  #product(op: Op, which: number): void {
    if (op.kind === "RowMax") {
      const source = this.circuit.tensors[op.x]!;
      this.rounds(source.logCells, 3, 1);
      this.column(source, 1);
      this.#difference(op);
      return;
    }
    const out = this.circuit.tensors[op.kind === "Requant" || op.kind === "Recip" || op.kind === "Isqrt" ? op.out : 0]!;
    this.rounds(out.logCells, 3, 1);
    if (op.kind === "Requant") {
      this.read(op.z, 0, 1);
      this.column(out, op.limbs.length + 1);
    } else if (op.kind === "Recip") {
      if (which === 0) this.read(op.q, 0, 1);
      else this.column(out, 2);
      this.column(out, 1);
    } else if (op.kind === "Isqrt") this.read(op.out, 0, 1);
  }

  // --- claims on virtual results ---

  #carry(op: Op, mask: Mask, times: number): void {
    const tensor = (index: number): Tensor => this.circuit.tensors[index]!;
    switch (op.kind) {
      case "MatMul": {
        const source = tensor(op.x), rows = source.shape.length - op.contract, channel = bit(mask, rows);
        if (op.bias !== NONE) this.weight(op.bias, channel, times);
        this.rounds(sum(source.bits.slice(rows)), 2, times);
        this.weight(op.weight, channel, times);
        this.read(op.x, mask & (2 ** rows - 1), times);
        return;
      }
      case "Conv": {
        const source = tensor(op.x), out = tensor(op.out), described = this.circuit.weights[op.weight]!, kernel = described.shape.slice(2);
        const lead = source.shape.length - 3, bits = convBits(described.bits, source);
        let channel = bit(mask, lead);
        if (op.bias !== NONE) this.weight(op.bias, channel, times);
        this.rounds(sum(bits), 2, times);
        if (bits[0]! > 0) {
          channel = 1;
          this.make(out.padded[out.padded.length - 3]! + 2 ** bits[0]!, times);
        }
        this.weight(op.weight, channel, times);
        this.look(sum(kernel) * 2, times);
        this.#window(op, kernel, source, out, times);
        this.read(op.x, (mask & (2 ** lead - 1)) | grid(source), times);
        return;
      }
      case "BatchedMatMul": {
        const first = tensor(op.a), rank = first.shape.length, summed = first.padded[rank - 1]!;
        this.rounds(sum(first.bits.slice(0, -2)) + first.bits[rank - 1]!, 3, times);
        this.look(2 * (dense(first.bits.slice(0, -2), mask) + summed), times);
        const row = bit(mask, rank - 2), column = bit(mask, rank - 1);
        this.read(op.a, row << (rank - 2), times);
        // At one row and one column of a tensor with itself, both functionals are the same, and so is the reading.
        if (op.a !== op.b || first.bits[rank - 1]! > 0 || first.bits[rank - 2]! > 0 || row || column) this.read(op.b, column << (rank - 1), times);
        return;
      }
      case "Mul": {
        const described = tensor(op.a);
        this.#pair(op.a, op.b, described.logCells, dense(described.bits, mask), times);
        return;
      }
      case "LinearCombination":
        for (const source of op.sources) this.read(source, mask, times);
        if (op.constant !== 0n) this.look(dense(tensor(op.out).bits, mask), times);
        return;
      case "WindowSum": {
        const source = tensor(op.x);
        this.#window(op, op.kernel, source, tensor(op.out), times);
        this.read(op.x, mask | grid(source), times);
        return;
      }
      case "RowSum": {
        const source = tensor(op.x), kept = source.shape.length - op.axes, summed = (2 ** op.axes - 1) << kept;
        this.make(dense(source.bits, summed), times);
        const weights = (mask & (2 ** kept - 1)) | summed;
        if (op.y === NONE) this.read(op.x, weights, times);
        else this.#pair(op.x, op.y, source.logCells, dense(source.bits, weights), times);
        return;
      }
      case "GatedMatMul": {
        const source = tensor(op.a), rows = source.shape.length - op.contract, channel = bit(mask, rows);
        if (op.bias !== NONE) this.weight(op.bias, channel, times);
        this.rounds(source.logCells, 3, times);
        this.look(2 * dense(source.bits.slice(0, rows), mask), times);
        this.weight(op.weight, channel, times);
        this.read(op.a, 0, times);
        if (op.a !== op.b) this.read(op.b, 0, times);
        return;
      }
      case "RowScale": {
        const source = tensor(op.x), last = source.shape.length - 1;
        this.rounds(tensor(op.factor).logCells, 3, times);
        this.look(2 * dense(source.bits.slice(0, last), mask), times);
        this.read(op.x, mask & (1 << last), times);
        this.read(op.factor, 0, times);
        return;
      }
      case "WeightRows":
        this.#weightRows(op, mask, times);
        return;
      case "Relabel":
        this.#relabel(op, mask, times);
        return;
      case "View":
        this.#view(op, mask, times);
        return;
      default:
        throw new Error(`${op.kind} carries no claims`);
    }
  }

  #pair(a: number, b: number, rounds: number, entries: number, times: number): void {
    this.rounds(rounds, 3, times);
    this.look(2 * entries, times);
    this.read(a, 0, times);
    if (a !== b) this.read(b, 0, times);
  }

  #weightRows(op: OpOf<"WeightRows">, mask: Mask, times: number): void {
    const index = this.circuit.tensors[op.index]!, weight = this.circuit.weights[op.weight]!;
    this.make(3 * index.size + sum(index.padded), times);
    this.nanoseconds += times * ENTRY_NS * index.size * weight.bits[0]!;
    const below = sum(weight.padded.slice(1));
    if (this.#publicWeights) {
      this.nanoseconds += times * index.size * (Math.floor((2 * CELL_NS * weight.size) / weight.shape[0]!) + 4 * ENTRY_NS * below);
      this.most = Math.max(this.most, ENTRY_BYTES * 3 * below);
    } else {
      this.send(times);
      this.open(weight.bits, (mask >> index.shape.length) << 1, times);
    }
  }

  /** As `relabelled` groups axes, cuts and merges them; where it cannot, a sumcheck. */
  #relabel(op: OpOf<"Relabel">, mask: Mask, times: number): void {
    const source = this.circuit.tensors[op.x]!, out = this.circuit.tensors[op.out]!;
    const rest = out.bits.map((width, axis): [number, boolean] => [width, bit(mask, axis) === 1]), sizes = [...source.bits];
    const listed: boolean[] = [];
    while (sizes.length > 0) {
      const group: [number, boolean][] = [], wanted = [sizes.shift()!];
      let covered = 0, size = wanted[0]!;
      while (covered !== size) {
        if (covered < size) {
          const next = rest.shift()!;
          group.push(next);
          covered += next[0];
        } else {
          const next = sizes.shift()!;
          wanted.push(next);
          size += next;
        }
      }
      const found = regrouped(group, wanted);
      if (found === undefined) {
        this.rounds(source.logCells, 2, times);
        this.look(2 * dense(out.bits, mask), times);
        this.read(op.x, 0, times);
        return;
      }
      found.forEach((one, i) => {
        if (!one) return;
        this.make(2 ** wanted[i]!, times);
        this.look(2 * 2 ** wanted[i]!, times);
      });
      listed.push(...found);
    }
    if (mask !== 0 && rest.some(([, one]) => one)) {
      listed[0] = true;
      this.make(source.padded[0]!, times);
    }
    this.read(op.x, sum(listed.map((one, axis) => (one ? 2 ** axis : 0))), times);
  }

  #view(op: OpOf<"View">, mask: Mask, times: number): void {
    const out = this.circuit.tensors[op.out]!;
    for (const piece of op.pieces) {
      const source = this.circuit.tensors[piece.source]!;
      let found = 0;
      piece.axes.forEach((driven, axis) => {
        const indices = piece.indices[axis]!;
        if (driven !== NONE && indices.length === source.shape[driven] && indices.every((index, i) => index === i)) {
          found |= bit(mask, axis) << driven;
          return;
        }
        this.look(out.padded[axis]!, times);
        if (driven !== NONE) {
          found |= 1 << driven;
          this.make(source.padded[driven]!, times);
        }
      });
      piece.fixed.forEach((constant, axis) => {
        if (constant === NONE) return;
        found |= 1 << axis;
        this.make(source.padded[axis]!, times);
      });
      if (piece.axes.includes(NONE)) {
        found |= 1; // the sum along an axis that nothing drives goes into the first vector
        this.make(source.padded[0]!, times);
      }
      if (op.constant !== 0n) this.look(sum(out.padded), times);
      this.read(piece.source, found, times);
    }
  }
}

/** Which axes of `sizes` variables are lists, made from these vectors; undefined where a list would have to be cut. */
function regrouped(group: readonly [number, boolean][], sizes: readonly number[]): boolean[] | undefined {
  const rest = [...group], result: boolean[] = [];
  for (let s = sizes.length - 1; s >= 0; s--) {
    let missing = sizes[s]!, listed = false;
    while (missing > 0) {
      let [width, one] = rest.pop()!;
      if (width > missing) {
        if (one) return undefined;
        rest.push([width - missing, false]);
        [width, one] = [missing, false];
      }
      listed ||= one;
      missing -= width;
    }
    result.unshift(listed);
  }
  result[0] = result[0]! || rest.some(([, one]) => one);
  return result;
}

