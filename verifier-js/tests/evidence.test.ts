import assert from "node:assert/strict";
import test from "node:test";

import { Refusal } from "../src/engine/interface.js";
import { byCodePoint, codePoints, decodeBase64, encodeBase64, fromHex, hex, joined, utf8 } from "../src/evidence/bytes.js";
import { publicKey, verifies } from "../src/evidence/envelope.js";
import { worstStatus } from "../src/evidence/findings.js";
import { canonicalJson, parseJson, plain } from "../src/evidence/json.js";
import { parseLock, shortest } from "../src/evidence/lock.js";
import { readTensors } from "../src/evidence/npy.js";
import { decimal, dyadic, ratio, ratioOf, toNumber } from "../src/evidence/ratio.js";
import { numberText } from "../src/evidence/shown.js";
import { parseUtc } from "../src/evidence/time.js";
import { visible } from "../src/evidence/visible.js";

const parse = (text: string): unknown => plain(parseJson(utf8.encode(text), "test", 10_000));

test("strict JSON refuses what two readers could read differently", () => {
  const refused = [
    "", " ", "{", "[1,]", '{"a":1,}', '{"a":1,"a":1}', '{"a":1,"\\u0061":2}', "01", "-", "+1", "1.0", "1e3", "NaN", "Infinity", "nul", "'a'", '"a', '"\u0001"', '"\\x"', '"\\ud800"', "1 2", "{}x", "\ufeff{}",
    `${"[".repeat(65)}${"]".repeat(65)}`, `{"a":${"9".repeat(5000)}}`,
  ];
  for (const text of refused) assert.throws(() => parse(text), (problem) => problem instanceof Refusal && problem.code === "malformed", text.slice(0, 20));
  assert.throws(() => parseJson(Uint8Array.of(0x22, 0xff, 0x22), "test", 10), Refusal);
  assert.throws(() => parseJson(utf8.encode("{}".padEnd(100)), "test", 10), Refusal);
  assert.deepEqual(parse(` {"a" : [1, -2, true, null, "\\u00e9\\n"], "b": {}} `), Object.assign(Object.create(null) as object, { a: [1, -2, true, null, "\u00e9\n"], b: Object.create(null) as object }));
});

test("a key named like a part of every object is a key like any other", () => {
  const found = parseJson(utf8.encode('{"__proto__":{"polluted":true},"constructor":1}'), "test", 100);
  assert.ok(found instanceof Map && found.has("__proto__"));
  plain(found);
  assert.equal((Object.prototype as { polluted?: boolean }).polluted, undefined);
});

test("canonical JSON is RFC 8785", () => {
  const written = (text: string): string => new TextDecoder().decode(canonicalJson(parseJson(utf8.encode(text), "test", 1000)) ?? new Uint8Array());
  assert.equal(written('{ "b":1, "a":"\\u20ac/\\u0007", "\\ud83d\\ude00":2, "\\ufb33":3 }'), '{"a":"\u20ac/\\u0007","b":1,"\ud83d\ude00":2,"\ufb33":3}');
  assert.equal(written("-0"), "0");
  assert.equal(canonicalJson(2n ** 53n), null);
});

test("base64 has one spelling", () => {
  for (const text of ["QQ", "QQ=", "QR==", "Q Q=", "QQ==\n", "Q-8=", "===="]) assert.throws(() => decodeBase64(text), RangeError, text);
  assert.deepEqual([...decodeBase64("QQ==")], [65]);
});

test("doubles are exact both ways, to the last bit", () => {
  for (const value of [0, 1, -1.5, 0.1, 1 / 3, 5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, 123456789.123, -4.9406564584124654e-322]) assert.equal(toNumber(ratioOf(value)), value);
  assert.equal(toNumber(ratio(2n ** 53n + 1n, 1n)), 2 ** 53, "ties go to even");
  assert.equal(toNumber(ratio(2n ** 54n + 3n, 1n)), 2 ** 54 + 4);
  assert.equal(toNumber(dyadic(1n, -1075)), 0);
  assert.equal(toNumber(dyadic(3n, -1075)), 1e-323);
  assert.equal(toNumber(dyadic(1n, 1100)), Infinity);
  for (const text of ["01", "-0", "+1", " 1", "1 ", "0x1", "", "\u0661"]) assert.throws(() => decimal(text), RangeError, text);
});

test("fractions of a lock are written as Python's repr writes them", () => {
  const known: [number, string][] = [[0.5, "0.5"], [2, "2.0"], [1e-5, "1e-05"], [0.0001, "0.0001"], [1e16, "1e+16"], [123456789012345680, "1.2345678901234568e+17"], [1234567890123456, "1234567890123456.0"], [-0, "-0.0"], [1e22, "1e+22"], [5e-324, "5e-324"], [99.99, "99.99"]];
  for (const [value, text] of known) assert.equal(shortest(value), text);
});

test("numbers are shown in as many digits as a step moves, exact ties to even", () => {
  assert.deepEqual([[0.125, 0.0625], [0.375, 0.0625], [-0.001, 0.22], [118.23, 0.22], [3, 1], [2.5, 1], [0.1, 0]].map(([value, step]) => numberText(value!, step!)), ["0.12", "0.38", "0.0", "118.2", "3", "2", "0.1"]);
});

test("moments, lengths and orders", () => {
  for (const text of ["2026-02-30T00:00:00Z", "2026-1-01T00:00:00Z", "2026-01-01T24:00:00Z", "0000-01-01T00:00:00Z", "2026-01-01T00:00:00+00:00"]) assert.throws(() => parseUtc(text), RangeError, text);
  assert.equal(parseUtc("1970-01-02T00:00:00Z"), 86_400_000);
  assert.equal(codePoints("a\u{1f600}\u00e9"), 3);
  assert.ok(byCodePoint("\ufb33", "\u{1f600}") < 0, "by code points, not by units");
});

test("foreign text begins no line, turns no direction and hides nothing", () => {
  assert.equal(visible("a\u202eb\u0007\nc \u00e9\u05d0"), "a\\u202eb\\x07\\x0ac \u00e9\u05d0");
  for (const unseen of ["\u00ad", "\u00a0", "\u180e", "\u200b", "\u2028", "\u2066", "\u3000", "\ufff9", "\ud800", "\ue000", "\u{e0041}", "\u{1d173}"]) {
    assert.match(visible(`a${unseen}b`), /^a\\[xuU][0-9a-f]+b$/, unseen.codePointAt(0)!.toString(16));
  }
});

const FIELD = 2n ** 255n - 19n;
const ORDER_8 = 0x5fc536d880238b13933c6d305acdfd5f098eff289f4c345b027b2c28f95e826n;

function point(y: bigint, sign: bigint): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(fromHex((y | (sign << 255n)).toString(16).padStart(64, "0"))).reverse();
}

test("a key with which anybody signs is refused, and a signature on which verifiers differ", async () => {
  const unreduced = Array.from({ length: 19 }, (_, more) => FIELD + BigInt(more));
  for (const y of [0n, 1n, FIELD - 1n, ORDER_8, FIELD - ORDER_8, ...unreduced]) {
    for (const sign of [0n, 1n]) await assert.rejects(publicKey(`ed25519:${encodeBase64(point(y, sign))}`), RangeError, String(y));
  }
  const message = utf8.encode("message");
  const pair = await crypto.subtle.generateKey("Ed25519", true, ["sign", "verify"]);
  const raw = new Uint8Array(await crypto.subtle.exportKey("raw", pair.publicKey));
  const key = await publicKey(`ed25519:${encodeBase64(raw)}`);
  assert.ok(await verifies(key, new Uint8Array(await crypto.subtle.sign("Ed25519", pair.privateKey, message)), message));
  // The owner of a key can make a signature with R = 1: S is the challenge times the secret scalar.
  const order = 2n ** 252n + 27742317777372353535851937790883648493n;
  const little = (data: Uint8Array): bigint => BigInt(`0x${hex(Uint8Array.from(data).reverse())}`);
  const sha512 = async (data: Uint8Array<ArrayBuffer>): Promise<Uint8Array> => new Uint8Array(await crypto.subtle.digest("SHA-512", data));
  const seed = new Uint8Array(await crypto.subtle.exportKey("pkcs8", pair.privateKey)).slice(-32);
  const scalar = (little((await sha512(seed)).slice(0, 32)) & (2n ** 254n - 8n)) | (2n ** 254n);
  const one = point(1n, 0n);
  const challenge = little(await sha512(joined(one, raw, message)));
  const signature = joined(one, point((challenge * scalar) % order, 0n));
  assert.equal(await verifies(key, signature, message), false);
});

test("no finding is no acceptance", () => {
  assert.equal(worstStatus([]), 4);
  assert.equal(worstStatus([{ code: "x", outcome: "not-checked", message: "" }]), 4);
});

test("the reader's own tensors are read exactly or refused", async () => {
  const header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }".padEnd(117) + "\n";
  const array = Buffer.concat([Buffer.from("\x93NUMPY\x01\x00", "latin1"), Buffer.from(Uint16Array.of(header.length).buffer), Buffer.from(header), Buffer.from(Float32Array.of(0.5, -1).buffer)]);
  assert.deepEqual([...(await readTensors(array, "x")).values()], [{ shape: [1, 2], values: [0.5, -1], type: "float32" }]);
  assert.deepEqual((await readTensors(utf8.encode('{"a": [[1, 2], [3, 4]]}'), "x")).get("a"), { shape: [2, 2], values: [1n, 2n, 3n, 4n], type: "decimal" });
  assert.deepEqual((await readTensors(utf8.encode('{"a": [0.5, -1e-3, 9007199254740993]}'), "x")).get("a"), { shape: [3], values: [0.5, -0.001, 9007199254740993n], type: "decimal" });
  for (const text of ['{"a": [1], "a": [2]}', '{"a": [1], "\\u0061": [2]}', '{"a": [true]}', '{"a": [NaN]}', '{"a": ["1"]}', `{"a": ${"[".repeat(100)}1${"]".repeat(100)}}`]) {
    await assert.rejects(readTensors(utf8.encode(text), "x"), (problem) => problem instanceof Refusal && problem.code === "bad-input", text.slice(0, 40));
  }
  const bad = [array.subarray(0, -1), Buffer.concat([array, Buffer.of(0)]), Buffer.from("PK"), utf8.encode("[1]"), utf8.encode('{"a": [[1], [2, 3]]}'), utf8.encode('{"a": "x"}'), Buffer.from(array.toString("latin1").replace("<f4", "|O8"), "latin1")];
  for (const data of bad) await assert.rejects(readTensors(data, "x"), (problem) => problem instanceof Refusal && problem.kind === "usage");
});

test("a lock that is none is the reader's own mistake", async () => {
  for (const text of ["", "x = = 1", 'schema = "verifai/trust/v1"', "\ufeffx = 1", "a = 1979-05-27"]) await assert.rejects(parseLock(utf8.encode(text), "lock"), (problem) => problem instanceof Refusal && problem.kind === "usage" && problem.code === "bad-lock", text);
});
