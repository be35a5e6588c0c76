"""Keys and DSSE: who counts is decided by key; interoperability with securesystemslib in both directions."""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import os
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import assume, given
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope as TheirEnvelope
from securesystemslib.signer import CryptoSigner, SSlibKey

from tests.support.bundle_samples import TestSigner, circuit_predicate
from verifai.bundle import canonical
from verifai.bundle.dsse import attest, check_signatures, sign, verifies
from verifai.bundle.keys import load_public_key, load_signer, new_key, parse_public_key, public_pem
from verifai.domain.attestation.envelope import PAYLOAD_TYPE, Envelope, Signature, Subject, parse_envelope
from verifai.domain.digest import sha256
from verifai.domain.trust import parse_trust
from verifai.domain.trust_keys import PublicKey, decode_base64, is_weak_point
from verifai.errors import EvidenceRejected, UsageError

ONE, TWO = TestSigner(1), TestSigner(2)
ENVELOPE = Envelope(b'{"a":1}')


# --- thresholds and codes -----------------------------------------------------------------------------------------------------


def test_unsigned_unknown_and_invalid_are_told_apart() -> None:
    assert check_signatures(ENVELOPE, [ONE.public_key], where="").unsigned
    unknown = check_signatures(sign(ENVELOPE, [TWO]), [ONE.public_key], where="")
    assert not unknown.unsigned
    assert unknown.unknown == (TWO.public_key.keyid,)
    assert not unknown.signers
    forged = Envelope(ENVELOPE.payload, (Signature(ONE.public_key.keyid, bytes(64)),))
    with pytest.raises(EvidenceRejected) as problem:
        check_signatures(forged, [ONE.public_key], where="")
    assert problem.value.code == "signature-invalid"


def test_one_key_that_signs_twice_is_one_signer() -> None:
    twice = sign(sign(ENVELOPE, [ONE]), [ONE, ONE])
    assert len(twice.signatures) == 1
    assert check_signatures(twice, [ONE.public_key, ONE.public_key], where="").signers == {ONE.public_key}
    document = twice.to_json()
    document["signatures"] *= 2
    with pytest.raises(EvidenceRejected):
        parse_envelope(canonical.encode(document), "")


def test_a_signature_under_another_keys_name_does_not_count_for_it() -> None:
    theirs = sign(ENVELOPE, [TWO]).signatures[0]
    renamed = Envelope(ENVELOPE.payload, (Signature(ONE.public_key.keyid, theirs.value),))
    with pytest.raises(EvidenceRejected):
        check_signatures(renamed, [ONE.public_key, TWO.public_key], where="")


def test_a_signature_is_bound_to_the_payload_type_and_every_byte() -> None:
    signature = sign(ENVELOPE, [ONE]).signatures[0].value
    assert verifies(ONE.public_key, signature, ENVELOPE.signed_bytes)
    assert not verifies(ONE.public_key, signature, ENVELOPE.payload)
    assert not verifies(ONE.public_key, signature, ENVELOPE.signed_bytes.replace(b"in-toto", b"other-x"))
    assert not verifies(ONE.public_key, signature, Envelope(b'{"a":2}').signed_bytes)
    for odd in (b"", signature[:-1], signature + b"\0", bytes(64)):
        assert not verifies(ONE.public_key, odd, ENVELOPE.signed_bytes)


def test_a_malleated_signature_is_refused() -> None:
    """S + L verifies under a lax reading of RFC 8032; then one message would have two signatures."""
    order = 2**252 + 27742317777372353535851937790883648493
    value = sign(ENVELOPE, [ONE]).signatures[0].value
    other = value[:32] + (int.from_bytes(value[32:], "little") + order).to_bytes(32, "little")
    assert not verifies(ONE.public_key, other, ENVELOPE.signed_bytes)


def test_a_key_that_is_no_point_verifies_nothing() -> None:
    assert not verifies(PublicKey(b"\2" + bytes(31)), sign(ENVELOPE, [ONE]).signatures[0].value, ENVELOPE.signed_bytes)


FIELD = 2**255 - 19
ORDER_8 = int.from_bytes(bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little")
WEAK_POINTS = [
    (y | sign << 255).to_bytes(32, "little")
    for y in (
        0,
        1,
        FIELD - 1,
        ORDER_8,
        FIELD - ORDER_8,
        *range(FIELD, 2**255),
    )
    for sign in (0, 1)
]
"""Of small order, or spelled with a coordinate that is not reduced."""


@pytest.mark.parametrize("raw", WEAK_POINTS, ids=bytes.hex)
def test_a_key_with_which_anybody_signs_is_refused(raw: bytes) -> None:
    """With the point 1 as key, the signature (1, 0) verifies for every message."""
    text = f"ed25519:{base64.b64encode(raw).decode()}"
    with pytest.raises(ValueError, match="without a private key"):
        PublicKey.from_text(text)
    with pytest.raises(UsageError) as problem:
        parse_public_key(text.encode(), "key.pub")
    assert problem.value.code == "bad-key"
    trust = {"schema": "verifai/trust/v1", "keys": {"mallory": text}, "roles": {"release": {"keys": ["mallory"]}}}
    with pytest.raises(UsageError) as problem:
        parse_trust(trust, "trust.toml")
    assert problem.value.code == "bad-trust"


def test_a_signature_on_which_verifiers_differ_is_refused() -> None:
    """Its owner can make one with R = 1: some libraries take it, others do not."""
    order = 2**252 + 27742317777372353535851937790883648493
    private = Ed25519PrivateKey.from_private_bytes(b"a seed".ljust(32))
    digest = hashlib.sha512(b"a seed".ljust(32)).digest()
    scalar = int.from_bytes(digest[:32], "little") & (2**254 - 8) | 2**254
    key, message, one = PublicKey(private.public_key().public_bytes_raw()), b"message", (1).to_bytes(32, "little")
    challenge = int.from_bytes(hashlib.sha512(one + key.raw + message).digest(), "little")
    signature = one + (challenge * scalar % order).to_bytes(32, "little")
    private.public_key().verify(signature, message)  # the library takes it
    assert not verifies(key, signature, message)


# --- interoperability ---------------------------------------------------------------------------------------------------------


def test_securesystemslib_verifies_what_we_sign() -> None:
    attestation = attest(circuit_predicate(), [Subject("model.onnx", sha256(b"x"))], [ONE, TWO])
    document = json.loads(canonical.encode(attestation.envelope.to_json()))
    theirs = TheirEnvelope.from_dict(copy.deepcopy(document))  # it consumes what it is given
    keys = []
    for signer in (ONE, TWO):
        public = Ed25519PublicKey.from_public_bytes(signer.public_key.raw)
        keys.append(SSlibKey.from_crypto(public, signer.public_key.keyid))
    assert set(theirs.verify(keys, 2)) == {signer.public_key.keyid for signer in (ONE, TWO)}
    assert theirs.pae() == attestation.envelope.signed_bytes
    document["payload"] = document["payload"][:-8] + "AAAAAA=="
    with pytest.raises(Exception, match=r"[Vv]erif|[Ss]ign"):
        TheirEnvelope.from_dict(document).verify(keys, 1)


def test_we_verify_what_securesystemslib_signs() -> None:
    private = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    ours = PublicKey(private.public_key().public_bytes_raw())
    signer = CryptoSigner(private, SSlibKey.from_crypto(private.public_key(), ours.keyid))
    theirs = TheirEnvelope(ENVELOPE.payload, PAYLOAD_TYPE, {})
    theirs.sign(signer)
    read = parse_envelope(canonical.encode(theirs.to_dict()), "")
    assert read.payload == ENVELOPE.payload
    assert check_signatures(read, [ours], where="").signers == {ours}


def test_the_key_identifier_is_the_digest_of_the_public_key_info() -> None:
    private = Ed25519PrivateKey.from_private_bytes(bytes(32))
    der = private.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    assert PublicKey.from_spki(der).keyid == sha256(der)


# --- key files ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("passphrase", [None, "correct horse", "pässwörd"])
def test_a_new_key_is_private_and_comes_back(tmp_path: Path, passphrase: str | None) -> None:
    key = new_key(tmp_path / "k", passphrase=passphrase)
    assert stat.S_IMODE((tmp_path / "k").stat().st_mode) == 0o600
    assert (b"ENCRYPTED" in (tmp_path / "k").read_bytes()) == (passphrase is not None)
    signer = load_signer(tmp_path / "k", passphrase=passphrase)
    assert signer.public_key == key == load_public_key(tmp_path / "k.pub")
    assert verifies(key, signer.sign(b"m"), b"m")
    assert "PRIVATE" not in repr(signer)
    assert serialization.load_pem_public_key(public_pem(key)).public_bytes_raw() == key.raw  # type: ignore[union-attr]


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    new_key(tmp_path / "k")
    before = (tmp_path / "k").read_bytes()
    (tmp_path / "k2.pub").write_text("mine")
    for name in ("k", "k2"):
        with pytest.raises(UsageError) as problem:
            new_key(tmp_path / name)
        assert problem.value.code == "file-exists"
    assert (tmp_path / "k").read_bytes() == before
    assert not (tmp_path / "k2").exists()


def test_wrong_missing_and_empty_passphrases_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new_key(tmp_path / "k", passphrase="right")
    for given_ in (None, "wrong"):
        with pytest.raises(UsageError) as problem:
            load_signer(tmp_path / "k", passphrase=given_)
        assert problem.value.code == "bad-passphrase"
    monkeypatch.setenv("VERIFAI_PASSPHRASE", "right")
    load_signer(tmp_path / "k")
    with pytest.raises(UsageError):
        new_key(tmp_path / "other", passphrase="")


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    new_key(tmp_path / "k")
    (tmp_path / "k").chmod(0o644)
    with pytest.raises(UsageError, match="other users"):
        load_signer(tmp_path / "k")


def test_what_is_no_ed25519_key_is_refused(tmp_path: Path) -> None:
    other = rsa.generate_private_key(65537, 2048)
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    cases = {
        "rsa": other.private_bytes(encoding, form, serialization.NoEncryption()),
        "text": b"hello",
        "empty": b"",
        "binary": os.urandom(100),
    }
    for name, data in cases.items():
        (tmp_path / name).write_bytes(data)
        (tmp_path / name).chmod(0o600)
        with pytest.raises(UsageError) as problem:
            load_signer(tmp_path / name)
        assert problem.value.code == "bad-key"
        with pytest.raises(UsageError) as problem:
            parse_public_key(data, "")
        assert problem.value.code == "bad-key"
    public = other.public_key().public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(UsageError):
        parse_public_key(public, "")


@given(st.binary(min_size=32, max_size=32))
def test_a_public_key_survives_its_text_and_pem(raw: bytes) -> None:
    assume(not is_weak_point(raw))
    key = PublicKey(raw)
    assert PublicKey.from_text(str(key)) == key
    assert parse_public_key(public_pem(key), "") == key


@pytest.mark.parametrize("text", ["AA", "AA=", "AB==", "A A=", "AA==\n", "-_==", "AAAA====", "A", "é==="])
def test_base64_has_one_spelling(text: str) -> None:
    with pytest.raises(ValueError, match="base64"):
        decode_base64(text)
