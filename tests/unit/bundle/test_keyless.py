"""The seam for keyless signing, offline, with a stand-in for Sigstore.

Nothing here talks to Sigstore or checks its certificates: that needs the network and an identity token, so it is not tested.
What is tested: which bytes are vouched for, where the sidecar lies, and that each answer becomes the right verdict.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.support.bundle_samples import TestSigner, write_sample
from verifai.bundle.dsse import verifies
from verifai.bundle.keyless import SigstoreSigner, SigstoreVerifier, sidecar_path
from verifai.bundle.reader import open_bundle
from verifai.bundle.trust_check import check_trust
from verifai.domain.digest import sha256
from verifai.domain.findings import Finding
from verifai.domain.trust import KeylessTrust, parse_trust
from verifai.errors import EvidenceRejected, Undecided, UsageError
from verifai.stages.seal import seal_bundle

AUTHORITY = TestSigner(77)
WANTED = {"identity": "release@example.org", "issuer": "issuer.example"}
TRUST = parse_trust({"schema": "verifai/trust/v1", "sigstore": WANTED}, "")


class StandIn:
    """Says who vouched for which digest, signed by an authority of its own. Not Sigstore."""

    def __init__(self, identity: str = WANTED["identity"]) -> None:
        self.identity = identity

    def sign(self, payload: bytes) -> bytes:
        claim = json.dumps([self.identity, WANTED["issuer"], sha256(payload)])
        return json.dumps({"claim": claim, "signature": AUTHORITY.sign(claim.encode()).hex()}).encode()

    def verify(self, payload: bytes, sidecar: bytes, wanted: KeylessTrust) -> None:
        document = json.loads(sidecar)
        expected = json.dumps([wanted.identity, wanted.issuer, sha256(payload)])
        signature = bytes.fromhex(document["signature"])
        if document["claim"] != expected or not verifies(AUTHORITY.public_key, signature, expected.encode()):
            raise EvidenceRejected("keyless-invalid", "somebody else, or other content")


def verdict(path: Path, verifier: StandIn | SigstoreVerifier) -> Finding:
    with open_bundle(path) as bundle:
        return next(one for one in check_trust(bundle, TRUST, "2026-02-01T00:00:00Z", keyless=verifier) if one.step == "T6")


def test_nobody_the_wrong_one_and_the_right_one(tmp_path: Path) -> None:
    write_sample(tmp_path / "b")
    assert verdict(tmp_path / "b", StandIn()).code == "keyless-missing"
    seal_bundle(tmp_path / "b", keyless=StandIn("stranger@example.org"))
    assert verdict(tmp_path / "b", StandIn()).code == "keyless-invalid"
    seal_bundle(tmp_path / "b", keyless=StandIn())
    assert verdict(tmp_path / "b", StandIn()).code == "keyless-signed"


def test_the_sidecar_of_another_bundle_does_not_count(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_sample(tmp_path / name, payload={"proof.json": name.encode()})
    seal_bundle(tmp_path / "a", keyless=StandIn())
    sidecar_path(tmp_path / "b").write_bytes(sidecar_path(tmp_path / "a").read_bytes())
    assert verdict(tmp_path / "b", StandIn()).code == "keyless-invalid"


def test_a_further_key_signature_does_not_void_it(tmp_path: Path) -> None:
    write_sample(tmp_path / "b")
    seal_bundle(tmp_path / "b", keyless=StandIn())
    seal_bundle(tmp_path / "b", signers=[TestSigner(1)])
    assert verdict(tmp_path / "b", StandIn()).code == "keyless-signed"


def test_without_the_extra_it_is_undecided_to_verify_and_a_usage_error_to_sign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sigstore.errors", None)
    with pytest.raises(UsageError) as signing:
        SigstoreSigner().sign(b"x")
    assert signing.value.code == "extra-missing"
    with pytest.raises(Undecided) as verifying:
        SigstoreVerifier().verify(b"x", b"{}", KeylessTrust("a", "b"))
    assert verifying.value.code == "keyless-unavailable"
    write_sample(tmp_path / "b")
    sidecar_path(tmp_path / "b").write_bytes(b"{}")
    assert verdict(tmp_path / "b", SigstoreVerifier()).outcome.value == "undecided"
