/** DSSE 1.0.2 envelopes around in-toto JSON, and their Ed25519 signatures (WebCrypto). */

import { Refusal } from "../engine/interface.js";
import { decodeBase64, encodeBase64, hex, joined, sameBytes, sha256, sha256Hex, utf8 } from "./bytes.js";
import { canonicalJson, object, parseJson, type Json } from "./json.js";
import { MAX_PAYLOAD } from "./manifest.js";
import { ascending, Record } from "./record.js";

const PAYLOAD_TYPE = "application/vnd.in-toto+json";
const MAX_ENVELOPE = 12 * 2 ** 20;
const SPKI = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/** An Ed25519 public key: its 32 bytes, and the identifier that follows from them. */
export interface PublicKey {
  readonly raw: Uint8Array<ArrayBuffer>;
  /** SHA-256 of the DER SubjectPublicKeyInfo, in hex. */
  readonly keyid: string;
}

const FIELD = 2n ** 255n - 19n;
const ORDER_8 = 0x5fc536d880238b13933c6d305acdfd5f098eff289f4c345b027b2c28f95e826n;
/** The y coordinates of the eight points whose order divides the curve's cofactor. */
const SMALL_ORDER: ReadonlySet<bigint> = new Set([0n, 1n, FIELD - 1n, ORDER_8, FIELD - ORDER_8]);

/**
 * Whether 32 bytes are a point of small order, or a second spelling of some point. With such a key one signature verifies for many
 * messages, and nobody needs a private key to make it; and libraries and browsers do not agree on such points.
 */
function isWeakPoint(encoded: Uint8Array): boolean {
  const y = BigInt(`0x${hex(Uint8Array.from(encoded).reverse())}`) & (2n ** 255n - 1n);
  return y >= FIELD || SMALL_ORDER.has(y);
}

/** From `ed25519:BASE64`. Throws RangeError. */
export async function publicKey(text: string): Promise<PublicKey> {
  if (!text.startsWith("ed25519:")) throw new RangeError("a public key starts with 'ed25519:'");
  const raw = decodeBase64(text.slice(8));
  if (raw.length !== 32) throw new RangeError(`an Ed25519 public key has 32 bytes, not ${raw.length}`);
  if (isWeakPoint(raw)) throw new RangeError("not a key that anybody can own: with it, signatures are made without a private key");
  return { raw, keyid: hex(await sha256(joined(Uint8Array.from(SPKI), raw))) };
}

export interface Signature {
  readonly keyid: string;
  readonly value: Uint8Array<ArrayBuffer>;
}

export interface Envelope {
  readonly payload: Uint8Array<ArrayBuffer>;
  readonly signatures: readonly Signature[];
  /** SHA-256 of the payload: the identifier. Signatures do not change it. */
  readonly id: string;
}

/** Read strictly, and refuse what is not in canonical form. Throws Refusal: `malformed`, `not-canonical`. */
export async function parseEnvelope(data: Uint8Array, where: string): Promise<Envelope> {
  const root = new Record(parseJson(data, where, MAX_ENVELOPE), where);
  if (root.text("payloadType") !== PAYLOAD_TYPE) throw root.refuse("another payload type than in-toto JSON", "payloadType");
  const payload = base64(root, "payload", MAX_ENVELOPE);
  const signatures = root.subs("signatures", 64).map((item) => {
    const found = { keyid: item.text("keyid", { pattern: /^[0-9a-f]{64}$/ }), value: base64(item, "sig", 1024) };
    item.done();
    return found;
  });
  root.done();
  if (!ascending(signatures.map((one) => one.keyid))) throw root.refuse("the signatures are not in ascending order of key, each key once", "signatures");
  if (payload.length > MAX_PAYLOAD) throw root.refuse(`${payload.length} bytes, more than the limit of ${MAX_PAYLOAD}`, "payload");
  const written: Json = object({
    payload: encodeBase64(payload),
    payloadType: PAYLOAD_TYPE,
    signatures: signatures.map((one) => object({ keyid: one.keyid, sig: encodeBase64(one.value) })),
  });
  requireCanonical(data, written, where);
  return { payload, signatures, id: await sha256Hex(payload) };
}

/** Throws Refusal (`not-canonical`) unless the bytes are the RFC 8785 form of what was read from them. */
export function requireCanonical(data: Uint8Array, document: Json, where: string): void {
  const expected = canonicalJson(document);
  if (expected === null || !sameBytes(data, expected)) {
    throw new Refusal("rejected", "not-canonical", "the document is not in canonical form (RFC 8785), so it was edited or re-written", where);
  }
}

function base64(record: Record, field: string, max: number): Uint8Array<ArrayBuffer> {
  const text = record.text(field, { max });
  try {
    return decodeBase64(text);
  } catch {
    throw record.refuse("not canonical base64", field);
  }
}

function signedBytes(envelope: Envelope): Uint8Array<ArrayBuffer> {
  const head = `DSSEv1 ${PAYLOAD_TYPE.length} ${PAYLOAD_TYPE} ${envelope.payload.length} `;
  return joined(utf8.encode(head), envelope.payload);
}

export async function verifies(key: PublicKey, signature: Uint8Array<ArrayBuffer>, message: Uint8Array<ArrayBuffer>): Promise<boolean> {
  if (signature.length !== 64 || isWeakPoint(signature.subarray(0, 32))) return false;
  let imported: CryptoKey;
  try {
    imported = await crypto.subtle.importKey("raw", key.raw, "Ed25519", false, ["verify"]);
  } catch (problem) {
    if (problem instanceof Error && problem.name === "NotSupportedError") {
      throw new Refusal("undecided", "not-checked-here", "this browser cannot check Ed25519 signatures", "", "Use a newer browser, or Node.");
    }
    return false; // 32 bytes that are no point of the curve: no signature verifies with them
  }
  return crypto.subtle.verify("Ed25519", imported, signature, message);
}

export interface SignatureCheck {
  /** Distinct keys, of those asked about, whose signature holds, by identifier. */
  readonly signers: ReadonlySet<string>;
  readonly unknown: readonly string[];
}

/** Throws Refusal (`signature-invalid`) when a signature that names one of `keys` does not verify with it. */
export async function checkSignatures(envelope: Envelope, keys: Iterable<PublicKey>, where: string): Promise<SignatureCheck> {
  const byId = new Map([...keys].map((key) => [key.keyid, key]));
  const signers = new Set<string>();
  const unknown: string[] = [];
  for (const signature of envelope.signatures) {
    const key = byId.get(signature.keyid);
    if (!key) {
      unknown.push(signature.keyid);
      continue;
    }
    if (!(await verifies(key, signature.value, signedBytes(envelope)))) {
      throw new Refusal(
        "rejected", "signature-invalid", `the signature of key ${signature.keyid} does not verify`, where,
        "The content was changed after it was signed, or the signature was made with another key.",
      );
    }
    signers.add(key.keyid);
  }
  return { signers, unknown };
}
