/** Sumcheck rounds. Every round sends all coefficients of its polynomial but the linear one, which the claim determines. */

import type { Claim } from "./claims.js";
import { add, type Ext, inverse, ONE, product, sub } from "./field.js";

/** The messages and challenges of one side, in the order of the script. */
export interface Channel {
  receive(label: string, count: number): Claim[];
  challenge(label: string): Ext;
}

export interface Rounds {
  readonly claim: Claim;
  readonly point: readonly Ext[];
}

/** Σ_x f(x)·g(x) = claim over {0, 1}^rounds, down to (f·g)(point): h0 and h2 are sent, 2·h0 + h1 + h2 = claim. */
export function productRounds(channel: Channel, label: string, claim: Claim, rounds: number): Rounds {
  const point: Ext[] = [];
  for (let round = 0; round < rounds; round++) {
    const [h0, h2] = channel.receive(`${label}.round`, 2);
    const r = channel.challenge(`${label}.point`), square = product(r, r);
    claim = h0!.mixed(sub(ONE, add(r, r)), [[claim, r], [h2!, sub(square, r)]]);
    point.push(r);
  }
  return { claim, point };
}

/** Σ_x w(x)·f(x)·g(x) = claim, w public, down to (w·f·g)(point): h0, h2 and h3 are sent. */
export function weightedRounds(channel: Channel, label: string, claim: Claim, rounds: number): Rounds {
  const point: Ext[] = [];
  for (let round = 0; round < rounds; round++) {
    const [h0, h2, h3] = channel.receive(`${label}.round`, 3);
    const r = channel.challenge(`${label}.point`), square = product(r, r), cube = product(square, r);
    claim = h0!.mixed(sub(ONE, add(r, r)), [[claim, r], [h2!, sub(square, r)], [h3!, sub(cube, r)]]);
    point.push(r);
  }
  return { claim, point };
}

/** Σ_x eq(anchor, x)·g(x) = claim, g of `degree` per variable, down to g(point): the eq factors are divided out. */
export function eqRounds(channel: Channel, label: string, claim: Claim, anchor: readonly Ext[], degree: number): Rounds {
  const point: Ext[] = [];
  for (const a of anchor) {
    const [h0, ...rest] = channel.receive(`${label}.round`, degree);
    const r = channel.challenge(`${label}.point`), slope = product(inverse(a), r);
    // h1 = (claim − h0)/a − Σ_{k≥2} h_k, and the next claim is h0 + h1·r + Σ_{k≥2} h_k·r^k.
    const others: [Claim, Ext][] = [[claim, slope]];
    let power = r;
    for (const h of rest) {
      power = product(power, r);
      others.push([h, sub(power, r)]);
    }
    claim = h0!.mixed(sub(ONE, slope), others);
    point.push(r);
  }
  return { claim, point };
}
