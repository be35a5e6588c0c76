"""Claims beside the proof that nothing compared, and hostile numbers that were taken for our own mistakes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.bundle_forge import Forge, read_folder, write_files
from tests.support.paths import ROOT
from verifai.circuit_folder import read_lock
from verifai.domain.findings import Outcome
from verifai.engines.ezkl import verifying
from verifai.errors import EvidenceRejected, PolicyNotMet
from verifai.stages.audit.audit import audit_bundle
from verifai.stages.audit.options import AuditOptions
from verifai.stages.verify import Expectations, verify_bundle
from verifai.trust_file import read_trust

V1 = ROOT / "fixtures" / "bundles" / "v1"
GOOD = read_folder(V1 / "accept" / "folder")
LOCK, TRUST = read_lock(V1 / "circuit.lock"), read_trust(V1 / "trust.toml")


@pytest.fixture(autouse=True)
def every_proof_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifying, "check_proof", lambda *arguments: None)


def _hide_the_model(forge: Forge, weights: str = "withheld") -> None:
    """A public model kept back: then nothing can be made again from it."""
    del forge.payload["model.onnx"], forge.payload["sbom.cdx.json"]
    forge.statements["circuit"]["predicate"]["weights"] = weights


def _call_it_private(forge: Forge) -> None:
    _hide_the_model(forge, "private")


def _claim_a_hidden_model(forge: Forge) -> None:
    """Circuit and statement agree that the weights are private; the proof says otherwise."""
    _hide_the_model(forge, "private")
    forge.statements["proof"]["predicate"]["statement"]["weights"] = "private"


def _other_subject(forge: Forge) -> None:
    forge.statements["circuit"]["subject"][0]["digest"]["sha256"] = "0" * 64


def _renamed_subject(forge: Forge) -> None:
    forge.statements["circuit"]["subject"][0]["name"] = "other.onnx"


def _other_engine(forge: Forge) -> None:
    forge.statements["circuit"]["predicate"]["engine"] = "sumcheck"


def _no_double(forge: Forge) -> None:
    forge.statements["circuit"]["predicate"]["fidelity"]["max_abs_error"] = ["1" + "0" * 400, "1"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (_hide_the_model, "circuit-not-pinned"),
        (_call_it_private, "circuit-not-pinned"),
        (_claim_a_hidden_model, "circuit-not-pinned"),
        (_other_subject, "subject-mismatch"),
        (_renamed_subject, "subject-mismatch"),
        (_other_engine, "circuit-not-pinned"),
        (_no_double, "malformed"),
    ],
)
def test_a_claim_beside_the_proof_is_compared(tmp_path: Path, change: Callable[[Forge], None], code: str) -> None:
    forge = Forge.of(GOOD)
    change(forge)
    folder = write_files(tmp_path / "b", forge.sealed())
    with pytest.raises(EvidenceRejected) as problem:
        verify_bundle(folder, LOCK, Expectations(allow_test_srs=True))
    assert problem.value.code == code
    assert audit_bundle(folder, TRUST, AuditOptions(rederive=False, now="2026-12-01T00:00:00Z")).status == 1


@pytest.mark.parametrize(
    ("sbom", "code"),
    [
        (GOOD["payload/sbom.cdx.json"].replace(b'"version":1}', b'"version":123456789012345678901}'), "not-canonical"),
        (b" " * (5 * 2**20), "bundle-too-large"),
    ],
)
def test_a_hostile_bill_of_materials_is_no_mistake_of_the_auditor(tmp_path: Path, sbom: bytes, code: str) -> None:
    assert json.loads(GOOD["payload/sbom.cdx.json"])["version"] == 1
    forge = Forge.of(GOOD)
    forge.payload["sbom.cdx.json"] = sbom
    folder = write_files(tmp_path / "b", forge.sealed())
    report = audit_bundle(folder, TRUST, AuditOptions(rederive=False, now="2026-12-01T00:00:00Z"))
    assert [one.code for one in report.findings if one.outcome is Outcome.REJECTED] == [code]


def test_an_old_proof_beside_a_fresh_nonce_does_not_answer_a_challenge(tmp_path: Path) -> None:
    """ezkl binds no context, so whoever holds any proof could write the nonce that was asked for beside it."""
    forge = Forge.of(GOOD)
    forge.statements["proof"]["predicate"]["statement"]["context"] = "fresh"
    forge.payload.pop("sbom.cdx.json")
    signed = forge.sealed()
    folder = write_files(tmp_path / "signed", signed)
    expect = Expectations(context="fresh", allow_test_srs=True)
    with pytest.raises(PolicyNotMet) as problem:
        verify_bundle(folder, LOCK, expect)
    assert problem.value.code == "context-not-bound"
    options = AuditOptions(expect, rederive=False, now="2026-12-01T00:00:00Z")
    assert audit_bundle(folder, TRUST, options).status == 0  # both release keys and the prover's answer for it
    nobody = replace(TRUST, trust=replace(TRUST.trust, roles={}))
    report = audit_bundle(folder, nobody, options)
    assert (report.status, [one.code for one in report.findings if one.step == "V7"]) == (3, ["context-not-bound"])
