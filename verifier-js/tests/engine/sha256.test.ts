import assert from "node:assert/strict";
import test from "node:test";

import { ascii, toHex } from "../../src/engine/bytes.js";
import { Sha256, sha256 } from "../../src/engine/sha256.js";

test("NIST's examples", () => {
  const vectors: [string, string][] = [
    ["", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"],
    ["abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"],
    ["abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"],
    ["a".repeat(1_000_000), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"],
  ];
  for (const [text, digest] of vectors) assert.equal(toHex(sha256(ascii(text))), digest);
});

test("WebCrypto agrees on every length about a block's end, in pieces of every size", async () => {
  const data = Uint8Array.from({ length: 300 }, (_, i) => (i * 37 + 11) % 256);
  for (let length = 0; length <= 300; length++) {
    const part = data.slice(0, length), wanted = toHex(new Uint8Array(await crypto.subtle.digest("SHA-256", part)));
    assert.equal(toHex(sha256(part)), wanted);
    const hash = new Sha256(), step = 1 + (length % 70);
    for (let at = 0; at < length; at += step) hash.update(part.subarray(at, at + step));
    assert.equal(toHex(hash.digest()), wanted);
    assert.equal(toHex(hash.digest()), wanted); // reading it changes nothing
  }
});
