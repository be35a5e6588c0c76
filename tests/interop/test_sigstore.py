"""Signatures of Sigstore, offline, with its own library: a good one under a root of the tests' own, and each link broken."""

from __future__ import annotations

import copy
import datetime as dt
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.releases import statement
from tests.support.sigstore_instance import SigstoreInstance, text
from verifai.domain.model_signing import SignerKind, TrustedModelSigner, parse_manifest
from verifai.errors import VerifaiError
from verifai.provenance.signature_file import parse_signature_file
from verifai.provenance.signatures import check_signers
from verifai.provenance.verify import verify_release

pytestmark = pytest.mark.interop
pytest.importorskip("sigstore", reason="the package sigstore is not installed here: make test-interop")

NOW = dt.datetime(2026, 6, 15, 12, tzinfo=dt.UTC)
WHO, ISSUER = "release@acme.example", "https://accounts.acme.example"
PAYLOAD, OTHER = (
    json.dumps(statement([{"name": "model.onnx", "algorithm": "sha256", "digest": digits * 32}], name="digits")).encode()
    for digits in ("11", "22")
)
INSTANCE, STRANGER = SigstoreInstance(NOW), SigstoreInstance(NOW)
GOOD = INSTANCE.sign(PAYLOAD, WHO, ISSUER)


def entry(identity: str = WHO, issuer: str = ISSUER, root: str = "") -> TrustedModelSigner:
    return TrustedModelSigner(
        "acme", SignerKind.SIGSTORE, identity=identity, issuer=issuer, trusted_root=root or INSTANCE.trusted_root()
    )


def check(document: dict[str, Any], trusted: TrustedModelSigner) -> str:
    found = parse_signature_file(json.dumps(document).encode(), "model.sig")
    parse_manifest(found.payload, "payload")
    return check_signers(found, [trusted], NOW)[1].signer


def refused(document: dict[str, Any], trusted: TrustedModelSigner | None = None) -> str:
    with pytest.raises(VerifaiError) as caught:
        check(document, trusted or entry())
    assert caught.value.status in (1, 3), caught.value
    return caught.value.code


def test_an_identity_that_the_reader_trusts_is_accepted_offline() -> None:
    assert check(GOOD, entry()) == f"sigstore {WHO} {ISSUER}"
    found = verify_release(json.dumps(GOOD).encode(), [entry("other@acme.example"), entry()], NOW)
    assert found.signer == f"sigstore {WHO} {ISSUER}" and found.manifest.name == "digits" and found.names == ("acme",)


def test_another_identity_issuer_or_instance_is_not() -> None:
    assert refused(GOOD, entry(identity="other@acme.example")) == "model-signer-not-trusted"
    assert refused(GOOD, entry(issuer="https://accounts.evil.example")) == "model-signer-not-trusted"
    assert refused(GOOD, entry(identity=WHO.upper())) == "model-signer-not-trusted"
    assert refused(GOOD, entry(root=STRANGER.trusted_root())) == "model-signer-not-trusted"
    assert refused(STRANGER.sign(PAYLOAD, WHO, ISSUER)) == "model-signer-not-trusted"


def test_the_public_instance_is_not_the_tests_own() -> None:
    """A root of one's own counts where the trust file names it, and nowhere else."""
    public = TrustedModelSigner("acme", SignerKind.SIGSTORE, identity=WHO, issuer=ISSUER)
    with pytest.raises(VerifaiError) as caught:
        check(GOOD, public)
    assert caught.value.code in ("model-signer-not-trusted", "model-signature-unavailable")


def _payload(document: dict[str, Any]) -> None:
    document["dsseEnvelope"]["payload"] = text(OTHER)


def _space(document: dict[str, Any]) -> None:
    """The same statement in other bytes."""
    document["dsseEnvelope"]["payload"] = text(PAYLOAD + b" ")


def _signature(document: dict[str, Any]) -> None:
    document["dsseEnvelope"]["signatures"] = INSTANCE.sign(PAYLOAD, WHO, ISSUER)["dsseEnvelope"]["signatures"]


def _certificate(document: dict[str, Any]) -> None:
    material = INSTANCE.sign(PAYLOAD, WHO, ISSUER)["verificationMaterial"]
    document["verificationMaterial"]["certificate"] = material["certificate"]


def _whole_entry(document: dict[str, Any]) -> None:
    """An entry that the log made for another signature of the same signer."""
    document["verificationMaterial"]["tlogEntries"] = INSTANCE.sign(OTHER, WHO, ISSUER)["verificationMaterial"]["tlogEntries"]


def _no_entry(document: dict[str, Any]) -> None:
    document["verificationMaterial"]["tlogEntries"] = []


def _two_entries(document: dict[str, Any]) -> None:
    document["verificationMaterial"]["tlogEntries"] *= 2


def _entry(name: str, change: Callable[[Any], Any]) -> Callable[[dict[str, Any]], None]:
    def work(document: dict[str, Any]) -> None:
        (found,) = document["verificationMaterial"]["tlogEntries"]
        *path, last = name.split(".")
        for part in path:
            found = found[part]
        found[last] = change(found[last])

    work.__name__ = name
    return work


def _of_a_stranger(document: dict[str, Any]) -> None:
    """The signature is good, and only a stranger's log says that it was there."""
    document["verificationMaterial"]["tlogEntries"] = STRANGER.sign(PAYLOAD, WHO, ISSUER)["verificationMaterial"]["tlogEntries"]


@pytest.mark.parametrize(
    "change",
    [
        _payload,
        _space,
        _signature,
        _certificate,
        _whole_entry,
        _no_entry,
        _two_entries,
        _of_a_stranger,
        _entry("integratedTime", lambda old: str(int(old) + 1)),
        _entry("integratedTime", lambda old: str(int(old) + 86400)),
        _entry("inclusionPromise.signedEntryTimestamp", lambda old: text(b"x" * 70)),
        _entry("inclusionProof.rootHash", lambda old: text(bytes(32))),
        _entry("inclusionProof.checkpoint.envelope", lambda old: old.replace("\n1\n", "\n2\n")),
        _entry("canonicalizedBody", lambda old: text(b"{}")),
        _entry("logId.keyId", lambda old: text(bytes(32))),
    ],
    ids=lambda one: one.__name__,
)
def test_a_signature_with_one_link_broken_is_refused(change: Callable[[dict[str, Any]], None]) -> None:
    document = copy.deepcopy(GOOD)
    change(document)
    refused(document)


def test_every_byte_of_the_signature_counts() -> None:
    import base64

    signature = base64.b64decode(GOOD["dsseEnvelope"]["signatures"][0]["sig"])
    for place in range(0, len(signature), 9):
        document = copy.deepcopy(GOOD)
        changed = bytearray(signature)
        changed[place] ^= 1
        document["dsseEnvelope"]["signatures"][0]["sig"] = text(bytes(changed))
        refused(document)
