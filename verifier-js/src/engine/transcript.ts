/** Fiat–Shamir: one hash over all public data and messages so far, and challenges drawn from it. */

import { ascii } from "./bytes.js";
import { Ext, type Vec } from "./field.js";
import { Sha256, sha256 } from "./sha256.js";

/** Uniform draws from one seed: SHA-256(seed ‖ u64 counter), read as little-endian u64 words. */
class Stream {
  readonly #input = new Uint8Array(40);
  #counter = 0;
  #block: DataView = new DataView(new ArrayBuffer(0));
  #at = 0;
  low = 0;
  high = 0;

  constructor(seed: Uint8Array) {
    this.#input.set(seed);
  }

  /** The next 64 bits, into `low` and `high`. */
  word(): void {
    if (this.#at === this.#block.byteLength) {
      new DataView(this.#input.buffer).setUint32(32, this.#counter++, true);
      const block = sha256(this.#input);
      this.#block = new DataView(block.buffer);
      this.#at = 0;
    }
    this.low = this.#block.getUint32(this.#at, true);
    this.high = this.#block.getUint32(this.#at + 4, true);
    this.#at += 8;
  }

  /** A uniform element of F_p, by rejection: p's words are 1 and 2^32 − 1. */
  base(): void {
    do this.word();
    while (this.high === 0xffff_ffff && this.low >= 1);
  }

  /** A uniform element of F without F_p. */
  outsideBase(): Ext {
    this.base();
    const low = this.low, high = this.high;
    do this.base();
    while (this.low === 0 && this.high === 0);
    return new Ext(
      low & 0xffff, low >>> 16, high & 0xffff, high >>> 16, this.low & 0xffff, this.low >>> 16, this.high & 0xffff, this.high >>> 16,
    );
  }
}

/** Public data and messages in the order of the script. */
export class Transcript {
  readonly #hash = new Sha256();

  /** Enter an item: u8 length ‖ label ‖ u64 length ‖ bytes. */
  absorb(label: string, data: Uint8Array): void {
    const tag = ascii(label);
    const head = new Uint8Array(1 + tag.length + 8);
    head[0] = tag.length;
    head.set(tag, 1);
    const view = new DataView(head.buffer);
    view.setUint32(1 + tag.length, data.length % 2 ** 32, true);
    view.setUint32(5 + tag.length, Math.floor(data.length / 2 ** 32), true);
    this.#hash.update(head).update(data);
  }

  /** Enter a prover's message: its limbs are the little-endian words' bytes. */
  send(label: string, values: Vec): void {
    this.absorb(label, limbBytes(values));
  }

  challenge(label: string): Ext {
    return this.#stream("challenge", label).outsideBase();
  }

  /** `count` distinct positions in [0, 2^bits), uniform among ordered selections, by rejection. */
  positions(label: string, bits: number, count: number): number[] {
    if (!(count > 0 && count <= 2 ** bits) || bits > 31) throw new RangeError(`${count} distinct positions of 2^${bits}`);
    const stream = this.#stream("positions", label);
    const seen = new Set<number>();
    while (seen.size < count) {
      stream.word();
      seen.add(stream.low % 2 ** bits);
    }
    return [...seen];
  }

  #stream(kind: string, label: string): Stream {
    this.absorb(kind, ascii(label));
    return new Stream(this.#hash.digest());
  }
}

const LITTLE = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;

/** The bytes of limbs of 16 bits. */
export function limbBytes(limbs: Uint16Array): Uint8Array {
  requireLittleEndian();
  return new Uint8Array(limbs.buffer, limbs.byteOffset, limbs.byteLength);
}

/** Typed arrays have the machine's order of bytes; every engine that runs this has the little-endian one. */
export function requireLittleEndian(): void {
  if (!LITTLE) throw new Error("this machine is big-endian: not checked here");
}
