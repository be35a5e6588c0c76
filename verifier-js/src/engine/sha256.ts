/**
 * SHA-256 (FIPS 180-4), synchronous.
 *
 * WebCrypto's is asynchronous and takes whole messages: the transcript needs the digest of all that was said so far, thousands of
 * times, without saying it again. A hundred lines are less to trust than a dependency; tests hold them to NIST's vectors and to
 * WebCrypto.
 */

const K = new Int32Array(64);
const START = new Int32Array(8);
{
  // The first 32 bits of the fractional parts of cube and square roots of the first primes, found here instead of copied:
  // by exact integer roots, as a double has too few digits.
  const root = (value: bigint, degree: bigint): bigint => {
    let low = 0n, high = 1n << 48n;
    while (low < high) {
      const middle = (low + high + 1n) >> 1n;
      if (middle ** degree <= value) low = middle;
      else high = middle - 1n;
    }
    return low;
  };
  let found = 0;
  for (let n = 2n; found < 64; n++) {
    let prime = true;
    for (let d = 2n; d * d <= n; d++) if (n % d === 0n) prime = false;
    if (!prime) continue;
    if (found < 8) START[found] = Number(BigInt.asIntN(32, root(n << 64n, 2n)));
    K[found++] = Number(BigInt.asIntN(32, root(n << 96n, 3n)));
  }
}

const W = new Int32Array(64);

function compress(state: Int32Array, data: Uint8Array, at: number): void {
  for (let i = 0; i < 16; i++, at += 4) {
    W[i] = (data[at]! << 24) | (data[at + 1]! << 16) | (data[at + 2]! << 8) | data[at + 3]!;
  }
  for (let i = 16; i < 64; i++) {
    const x = W[i - 15]!, y = W[i - 2]!;
    const s0 = ((x >>> 7) | (x << 25)) ^ ((x >>> 18) | (x << 14)) ^ (x >>> 3);
    const s1 = ((y >>> 17) | (y << 15)) ^ ((y >>> 19) | (y << 13)) ^ (y >>> 10);
    W[i] = (W[i - 16]! + s0 + W[i - 7]! + s1) | 0;
  }
  let a = state[0]!, b = state[1]!, c = state[2]!, d = state[3]!, e = state[4]!, f = state[5]!, g = state[6]!, h = state[7]!;
  for (let i = 0; i < 64; i++) {
    const s1 = ((e >>> 6) | (e << 26)) ^ ((e >>> 11) | (e << 21)) ^ ((e >>> 25) | (e << 7));
    const t1 = (h + s1 + ((e & f) ^ (~e & g)) + K[i]! + W[i]!) | 0;
    const s0 = ((a >>> 2) | (a << 30)) ^ ((a >>> 13) | (a << 19)) ^ ((a >>> 22) | (a << 10));
    const t2 = (s0 + ((a & b) ^ (a & c) ^ (b & c))) | 0;
    h = g;
    g = f;
    f = e;
    e = (d + t1) | 0;
    d = c;
    c = b;
    b = a;
    a = (t1 + t2) | 0;
  }
  state[0] = (state[0]! + a) | 0;
  state[1] = (state[1]! + b) | 0;
  state[2] = (state[2]! + c) | 0;
  state[3] = (state[3]! + d) | 0;
  state[4] = (state[4]! + e) | 0;
  state[5] = (state[5]! + f) | 0;
  state[6] = (state[6]! + g) | 0;
  state[7] = (state[7]! + h) | 0;
}

/** A hash that is fed piece by piece. */
export class Sha256 {
  #state = START.slice();
  #block = new Uint8Array(64);
  #held = 0;
  #length = 0;

  update(data: Uint8Array): this {
    this.#length += data.length;
    let at = 0;
    if (this.#held > 0) {
      const taken = Math.min(64 - this.#held, data.length);
      this.#block.set(data.subarray(0, taken), this.#held);
      this.#held += taken;
      at = taken;
      if (this.#held < 64) return this;
      compress(this.#state, this.#block, 0);
      this.#held = 0;
    }
    for (; at + 64 <= data.length; at += 64) compress(this.#state, data, at);
    this.#block.set(data.subarray(at), 0);
    this.#held = data.length - at;
    return this;
  }

  /** The digest of everything so far, 32 bytes; more may follow. */
  digest(): Uint8Array {
    const state = this.#state.slice();
    const tail = new Uint8Array(this.#held < 56 ? 64 : 128);
    tail.set(this.#block.subarray(0, this.#held));
    tail[this.#held] = 0x80;
    const view = new DataView(tail.buffer);
    view.setUint32(tail.length - 8, Math.floor(this.#length / 2 ** 29));
    view.setUint32(tail.length - 4, (this.#length % 2 ** 29) * 8);
    for (let at = 0; at < tail.length; at += 64) compress(state, tail, at);
    const result = new Uint8Array(32);
    const out = new DataView(result.buffer);
    for (let i = 0; i < 8; i++) out.setInt32(4 * i, state[i]!);
    return result;
  }
}

export function sha256(...parts: readonly Uint8Array[]): Uint8Array {
  const hash = new Sha256();
  for (const part of parts) hash.update(part);
  return hash.digest();
}
