/** The verifier's side of the interaction: it reads the prover's messages and draws challenges, both through one transcript. */

import { rejected } from "./bytes.js";
import { type Claim, Hidden, type PadPlan, Pads, Plain, type Session, Tape } from "./claims.js";
import { type Ext, getAt, MINUS_ONE, sizeOf, sliceOf, type Vec } from "./field.js";
import type { Channel } from "./rounds.js";
import type { Transcript } from "./transcript.js";

/** Replays a proof's messages. */
export class ProofChannel implements Channel {
  #next = 0;

  constructor(
    readonly transcript: Transcript,
    readonly messages: Vec,
  ) {}

  receive(label: string, count: number): Claim[] {
    const values = this.receiveOpen(label, count);
    return Array.from({ length: count }, (_, i) => new Plain(getAt(values, i)));
  }

  /** A message that no suite encrypts. */
  receiveOpen(label: string, count: number): Vec {
    if (count > sizeOf(this.messages) - this.#next) throw rejected("proof-malformed", "the proof ends before its last message", label);
    const values = sliceOf(this.messages, this.#next, count);
    this.#next += count;
    this.transcript.send(label, values);
    return values;
  }

  challenge(label: string): Ext {
    return this.transcript.challenge(label);
  }

  finish(): void {
    if (this.#next !== sizeOf(this.messages)) throw rejected("proof-malformed", "messages follow the end of the proof", "messages");
  }
}

/** Replays encrypted messages: each is a form in the pads that the circuit plans for it. */
export class HidingChannel extends ProofChannel implements Session {
  readonly pads: Pads;

  constructor(transcript: Transcript, messages: Vec, plan: PadPlan) {
    super(transcript, messages);
    this.pads = new Pads(plan);
  }

  override receive(label: string, count: number): Claim[] {
    return this.pads.messages(this, this.receiveOpen(label, count), count);
  }

  /** Both factors arrive again under a triple's pads. */
  multiply(left: Hidden, right: Hidden): Claim {
    const sent = this.receiveOpen("product", 2);
    return this.pads.product(this, [left, right], [getAt(sent, 0), getAt(sent, 1)]);
  }

  hold(claim: Hidden): void {
    this.pads.equations.push(claim);
  }

  invert(_claim: Hidden, where: string): Claim {
    return this.receive(`${where}.inverse`, 1)[0]!;
  }
}

/** The rounds of a level, which no suite encrypts. */
export class ClearChannel implements Channel {
  constructor(readonly channel: ProofChannel) {}

  receive(label: string, count: number): Claim[] {
    const values = this.channel.receiveOpen(label, count);
    return Array.from({ length: count }, (_, i) => new Plain(getAt(values, i)));
  }

  challenge(label: string): Ext {
    return this.channel.challenge(label);
  }
}

/** The channel of the final rounds, whose messages the mask rows' pads encrypt. */
export class MaskedChannel implements Channel {
  readonly tape = new Tape();
  #count = 0;

  constructor(readonly channel: HidingChannel) {}

  receive(label: string, count: number): Claim[] {
    const values = this.channel.receiveOpen(label, count);
    return Array.from({ length: count }, (_, i) => new Hidden(getAt(values, i), this.channel, this.tape, Tape.pad(this.#count++), MINUS_ONE));
  }

  challenge(label: string): Ext {
    return this.channel.challenge(label);
  }

  /** D: the pads' coefficients in the claim after the last round. */
  coefficients(claim: Hidden): Vec {
    return this.tape.coefficients([[claim.form, claim.factor]], this.#count);
  }
}
