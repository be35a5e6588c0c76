"""Signatures of releases: who signed, and everything that must not count as a signature."""

from __future__ import annotations

import base64
import datetime as dt
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.support.releases import TestAuthority, name_of, sign_bytes, signature_document, signing_key, statement, trusted_key
from verifai.domain.model_signing import SignedRelease, SignerKind, TrustedModelSigner, parse_manifest
from verifai.errors import EvidenceRejected, PolicyNotMet, UsageError, VerifaiError
from verifai.provenance.signature_file import parse_signature_file
from verifai.provenance.signatures import check_signers
from verifai.provenance.verify import verify_release

NOW = dt.datetime(2026, 6, 15, 12, tzinfo=dt.UTC)
IDENTITY = "release@acme.example"
ENTRIES = [{"name": "model.onnx", "algorithm": "sha256", "digest": "11" * 32}]
KEY = signing_key()


def here(data: bytes, *entries: TrustedModelSigner, at: dt.datetime = NOW) -> str:
    """Who signed, without a child process; the payload is parsed as well."""
    found = parse_signature_file(data, "model.sig")
    parse_manifest(found.payload, "payload")
    return check_signers(found, entries, at)[1].signer


def code_of(work: Callable[[], object]) -> str:
    with pytest.raises(VerifaiError) as caught:
        work()
    return caught.value.code


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda one: one.name)
def test_a_key_of_each_curve_is_known_again(curve: ec.EllipticCurve) -> None:
    key = signing_key(3, curve)
    assert here(sign_bytes(statement(ENTRIES), key), trusted_key(signing_key(9), "other"), trusted_key(key)).startswith("key ")


def test_the_fenced_child_says_the_same_and_names_the_entries() -> None:
    data = sign_bytes(statement(ENTRIES, name="digits"), KEY)
    found = verify_release(data, [trusted_key(signing_key(9), "other"), trusted_key(KEY)], NOW)
    assert isinstance(found, SignedRelease)
    assert found.names == ("acme",) and found.manifest.name == "digits" and list(found.manifest.files) == ["model.onnx"]
    assert found.signer == here(data, trusted_key(KEY)) and "'acme'" in found.sentence()
    with pytest.raises(PolicyNotMet) as caught:
        verify_release(data, [trusted_key(signing_key(9))], NOW)
    assert caught.value.code == "model-signer-not-trusted" and caught.value.hint
    with pytest.raises(EvidenceRejected):
        verify_release(data[:-40], [trusted_key(KEY)], NOW)


def test_a_trust_file_without_signers_trusts_nobody() -> None:
    assert code_of(lambda: here(sign_bytes(statement(ENTRIES), KEY))) == "model-signer-not-trusted"


def test_no_byte_of_a_signature_can_be_changed() -> None:
    """One bit of every byte: refused, or not a change of anything that is read (white space between JSON values)."""
    data = bytearray(sign_bytes(statement(ENTRIES), KEY))
    plain = json.loads(bytes(data))
    kept = 0
    for index in range(len(data)):
        changed = bytes(data[:index]) + bytes([data[index] ^ 1]) + bytes(data[index + 1 :])
        try:
            here(changed, trusted_key(KEY))
        except VerifaiError:
            continue
        kept += 1
        found = json.loads(changed)
        # A key's hint may be left out, and an empty or missing keyid means the same.
        assert found["dsseEnvelope"]["payload"] == plain["dsseEnvelope"]["payload"], index
    assert kept == 0, f"{kept} of {len(data)} changes were accepted"


def changed(*path: Any, value: Any = None, drop: bool = False) -> bytes:
    """The signature file with one value exchanged; nothing of it is signed anew."""
    document = signature_document(statement(ENTRIES), KEY)
    place: Any = document
    for step in path[:-1]:
        place = place[step]
    if drop:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return json.dumps(document).encode()


MATERIAL, ENVELOPE = "verificationMaterial", "dsseEnvelope"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (changed("mediaType", value="application/json"), "malformed"),
        (changed(ENVELOPE, "payloadType", value="text/plain"), "malformed"),
        (changed(ENVELOPE, "signatures", value=[]), "malformed"),
        (changed(ENVELOPE, "signatures", 0, "sig", value=""), "malformed"),
        (changed(ENVELOPE, "signatures", 0, "sig", value="AAAA"), "invalid"),
        (changed(ENVELOPE, "signatures", 0, "keyid", value="acme"), "malformed"),
        (changed(ENVELOPE, "payload", value=base64.b64encode(json.dumps(statement(ENTRIES[:1])).encode()).decode()), "invalid"),
        (changed(ENVELOPE, "extra", value=1), "malformed"),
        (changed(MATERIAL, "tlogEntries", value=[{}]), "malformed"),
        (changed(MATERIAL, "timestampVerificationData", value={}), "not-trusted"),
        (changed(MATERIAL, "publicKey", "rawBytes", value="AAAA"), "malformed"),
        (changed(MATERIAL, "publicKey", "hint", value="00" * 32), "not-trusted"),
        (changed(MATERIAL, "publicKey", drop=True), "malformed"),
        (b"", "malformed"),
        (b"[]", "malformed"),
        (b'{"mediaType": 1, "mediaType": 2}', "malformed"),
        (b"[" * 100_000, "malformed"),
        (b"\x00" * 5_000_000, "malformed"),
    ],
)
def test_a_file_that_is_no_signature_is_refused(data: bytes, code: str) -> None:
    names = {"malformed": "model-signature-malformed", "invalid": "model-signature-invalid"}
    if b"timestampVerificationData" in data:  # an empty one says nothing; the signature itself still has to hold
        assert here(data, trusted_key(KEY)).startswith("key ")
        return
    assert code_of(lambda: here(data, trusted_key(KEY))) == names.get(code, "model-signer-not-trusted")


@pytest.mark.parametrize(
    "names",
    [
        ["../model.onnx"],
        ["/etc/passwd"],
        ["a/../b"],
        ["a//b"],
        ["./a"],
        ["a/."],
        ["a\\b"],
        ["a\nb"],
        ["\u202emodel.onnx"],
        ["a\0b"],
        ["C:\\model.onnx"],
        ["model.onnx", "model.onnx"],
        ["model", "model/weights.bin"],
        [".", "model.onnx"],
        ["x" * 300],
        [],
    ],
    ids=repr,
)
def test_a_manifest_names_plain_paths_each_once(names: list[str]) -> None:
    document = statement([{"name": name, "algorithm": "sha256", "digest": "11" * 32} for name in names])
    assert code_of(lambda: here(sign_bytes(document, KEY), trusted_key(KEY))) == "model-signature-malformed"


@pytest.mark.parametrize(
    "change",
    [
        {"predicateType": "https://model_signing/Digests/v0.1"},
        {"predicateType": "https://slsa.dev/provenance/v1"},
        {"_type": "https://in-toto.io/Statement/v0.1"},
        {"subject": []},
        {"subject": [{"name": "release", "digest": {"sha256": "00" * 32}}]},
        {"subject": [{"name": "release\x1b[2J", "digest": {"sha256": "00" * 32}}]},
    ],
    ids=lambda one: next(iter(one)),
)
def test_another_statement_is_no_model_signature(change: dict[str, Any]) -> None:
    data = sign_bytes({**statement(ENTRIES), **change}, KEY)
    assert code_of(lambda: here(data, trusted_key(KEY))) == "model-signature-malformed"


def test_two_files_that_change_places_are_another_manifest() -> None:
    """The format's own digest of a release leaves the names out: both manifests have the same one."""
    first = [{"name": name, "algorithm": "sha256", "digest": digest * 32} for name, digest in (("a", "11"), ("b", "22"))]
    swapped = [{**first[0], "name": "b"}, {**first[1], "name": "a"}]
    documents = [statement(first), statement(swapped)]
    assert documents[0]["subject"] == documents[1]["subject"]
    found = [parse_manifest(json.dumps(one).encode(), "payload") for one in documents]
    assert found[0].sha256 != found[1].sha256


@pytest.mark.parametrize(
    ("names", "good"),
    [
        (["a:0:5", "a:5:9"], True),
        (["a:5:9", "a:0:5", "b:0:3"], True),
        (["a:0:5", "a:6:9"], False),
        (["a:0:5", "a:4:9"], False),
        (["a:1:5"], False),
        (["a:0:5", "a:0:5"], False),
        (["a:5:5"], False),
        (["a:00:5"], False),
        (["a"], False),
        (["../a:0:5"], False),
    ],
    ids=repr,
)
def test_parts_of_a_file_cover_it_without_gap_or_overlap(names: list[str], good: bool) -> None:
    entries = [{"name": name, "algorithm": "sha256", "digest": "11" * 32} for name in names]
    payload = json.dumps(statement(entries, method="shards", shard_size=5)).encode()
    if good:
        assert [part.start for part in parse_manifest(payload, "payload").files["a"]] == [0, 5]
    else:
        assert code_of(lambda: parse_manifest(payload, "payload")) == "model-signature-malformed"


# Certificates.

ROOT, SIGNER = TestAuthority(), signing_key(50)
MIDDLE = TestAuthority("Middle", signing_key(51))


def certified(*chain: Any, key: ec.EllipticCurvePrivateKey = SIGNER) -> bytes:
    return sign_bytes(statement(ENTRIES), key, chain)


def leaf(authority: TestAuthority = ROOT, **changes: Any) -> Any:
    return authority.issue(SIGNER, name_of("Acme release"), identity=changes.pop("identity", IDENTITY), **changes)


def test_a_certificate_of_a_trusted_root_and_the_named_identity_counts() -> None:
    fingerprint = here(certified(leaf()), ROOT.entry()).split()[1]
    middle = ROOT.issue(MIDDLE.key, MIDDLE.subject, ca=True, path_length=0)
    assert here(certified(leaf(MIDDLE), middle), ROOT.entry()).split()[1] == fingerprint
    assert here(certified(leaf(), ROOT.certificate), ROOT.entry()).endswith(IDENTITY)
    by_subject = ROOT.entry(identity="", subject="CN=Acme release")
    assert here(certified(leaf(identity="")), by_subject).endswith("CN=Acme release")
    found = verify_release(certified(leaf()), [ROOT.entry()], NOW)
    assert found.signer == f"certificate {fingerprint} {IDENTITY}"


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda: (certified(leaf(identity="mallory@acme.example")), ROOT.entry()), "not-trusted"),
        (lambda: (certified(leaf(identity="")), ROOT.entry()), "not-trusted"),
        (lambda: (certified(leaf()), ROOT.entry(identity="", subject="CN=Acme")), "not-trusted"),
        (lambda: (certified(leaf()), TestAuthority("Test root", signing_key(99)).entry()), "not-trusted"),
        (lambda: (certified(leaf(MIDDLE)), ROOT.entry()), "not-trusted"),
        (lambda: (certified(leaf(MIDDLE), ROOT.issue(MIDDLE.key, MIDDLE.subject)), ROOT.entry()), "not-trusted"),
        (
            lambda: (
                certified(leaf(MIDDLE), ROOT.issue(MIDDLE.key, MIDDLE.subject, ca=True, usage=False)),
                ROOT.entry(),
            ),
            "not-trusted",
        ),
        (lambda: (certified(leaf(usage=False)), ROOT.entry()), "not-trusted"),
        (lambda: (certified(leaf(purpose=ExtendedKeyUsageOID.SERVER_AUTH)), ROOT.entry()), "not-trusted"),
        (lambda: (certified(leaf(critical_unknown=True)), ROOT.entry()), "not-trusted"),
        (lambda: (certified(leaf(), key=signing_key(2)), ROOT.entry()), "invalid"),
        (lambda: (certified(leaf()), trusted_key(SIGNER)), "not-trusted"),
        (lambda: (sign_bytes(statement(ENTRIES), SIGNER), ROOT.entry()), "not-trusted"),
        (lambda: (certified(leaf(start=NOW + dt.timedelta(days=1))), ROOT.entry()), "not-current"),
        (lambda: (certified(leaf(end=NOW - dt.timedelta(seconds=1))), ROOT.entry()), "not-current"),
    ],
    ids=[
        "another identity",
        "no identity",
        "another subject",
        "a root of the same name",
        "a chain with a gap",
        "a middle that is no authority",
        "a middle that may not certify",
        "a key that may not sign",
        "a server's certificate",
        "a critical extension that nobody knows",
        "a signature by another key",
        "a certificate where a key is trusted",
        "a key where a certificate is trusted",
        "not valid yet",
        "expired",
    ],
)
def test_another_certificate_does_not_count(make: Callable[[], tuple[bytes, TrustedModelSigner]], code: str) -> None:
    data, entry = make()
    wanted = {"invalid": "model-signature-invalid", "not-current": "model-signature-not-current"}
    assert code_of(lambda: here(data, entry)) == wanted.get(code, "model-signer-not-trusted")


def test_a_middle_may_certify_no_further_authority_than_it_is_allowed() -> None:
    deeper = TestAuthority("Deeper", signing_key(52))
    middle = ROOT.issue(MIDDLE.key, MIDDLE.subject, ca=True, path_length=0)
    chain = (leaf(deeper), MIDDLE.issue(deeper.key, deeper.subject, ca=True), middle)
    assert code_of(lambda: here(certified(*chain), ROOT.entry())) == "model-signer-not-trusted"


def test_an_expired_certificate_counts_only_where_the_trust_file_says_so_and_is_told() -> None:
    data = certified(leaf(end=NOW - dt.timedelta(days=3)))
    found = check_signers(parse_signature_file(data, "x"), [ROOT.entry(allow_expired=True)], NOW)[1]
    assert "nothing says when it signed" in found.words[0]
    other = ROOT.entry(identity="mallory@acme.example", allow_expired=True)
    assert code_of(lambda: here(data, other)) == "model-signer-not-trusted"


def test_a_trust_file_that_cannot_be_read_is_the_readers_own_fault() -> None:
    data = sign_bytes(statement(ENTRIES), KEY)
    for text in ("nonsense", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"):
        entry = TrustedModelSigner("acme", SignerKind.KEY, public_key=text)
        with pytest.raises(UsageError) as caught:
            verify_release(data, [entry], NOW)
        assert caught.value.code == "bad-trust" and "acme" in caught.value.where
