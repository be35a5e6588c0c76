"""Private weights never travel, and every reader says the same of them: from the proof, not from what is written beside it."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w

from tests.support.gate_world import ALICE, ENGINE_USERS, NOW, FakeEngine, World, codes, seal, section
from tests.support.paths import ROOT
from verifai.bundle import canonical
from verifai.bundle.reader import open_bundle
from verifai.circuit_folder import CircuitFolder, read_lock, render_lock
from verifai.cli import app as cli
from verifai.domain.circuit_lock import CircuitLock
from verifai.domain.digest import Sha256
from verifai.domain.findings import Outcome
from verifai.domain.privacy_words import privacy_words
from verifai.domain.statement import EngineName, Privacy, Role, Statement, TensorStatement, Visibility, WeightVisibility
from verifai.domain.utc_time import format_utc
from verifai.engines.interface import EngineProof, ProveRequest, VerifyRequest
from verifai.errors import EvidenceRejected, UsageError
from verifai.reports.from_gate import report_of
from verifai.reports.html_audit import render_html
from verifai.reports.registry import ReportName, format_for
from verifai.stages.audit.audit import audit_bundle
from verifai.stages.audit.options import AuditOptions
from verifai.stages.prove import prove
from verifai.stages.ready import refuse_other_privacy
from verifai.stages.verify import describe, verify_bundle
from verifai.trust_file import read_trust

MODEL = ROOT / "fixtures" / "digits-mlp" / "model.onnx"
SUMCHECK, PRIVATE, UNAUDITED = EngineName.SUMCHECK, WeightVisibility.PRIVATE, Privacy.ZERO_KNOWLEDGE_UNAUDITED
HIDDEN = {"engine": SUMCHECK, "weights": PRIVATE, "privacy": UNAUDITED, "private_input": True, "bound": True}
"""A statement of the zero-knowledge suite."""
POLICY = 'engines = ["sumcheck"]\nprivacy = "zero-knowledge-unaudited"'


@dataclass(frozen=True)
class Engine(FakeEngine):
    """The fake engine with what prove and audit use beside; its proofs are of private weights."""

    def prove(self, request: ProveRequest) -> EngineProof:
        sides = ((Role.INPUT, request.model.inputs), (Role.OUTPUT, request.model.outputs))
        statement = Statement(
            self.name,
            request.model.sha256,
            Sha256(request.section["circuit_sha256"]),
            tuple(
                TensorStatement(role, one.name, one.shape, Visibility.PRIVATE, FRACTION) for role, side in sides for one in side
            ),
            request.context,
            True,
            UNAUDITED,
            PRIVATE,
        )
        document = dict(statement.to_json())
        files = {"proof.json": canonical.encode({"statement": document, "seal": seal(document)})}
        return EngineProof(files, statement, 0.1, 1)

    def rederive(self, request: VerifyRequest, model: Any) -> tuple[Any, ...]:
        raise AssertionError("there is no model to derive from")


FRACTION = World(Path()).statement(1).tensors[0].scale


@pytest.fixture(autouse=True)
def engines(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*ENGINE_USERS, "verifai.stages.ready", "verifai.engines.registry"):
        monkeypatch.setattr(f"{name}.engine_for", Engine)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, sections={SUMCHECK: section(srs="none")})


def test_a_bundle_that_lets_a_private_model_out_is_refused(world: World) -> None:
    world.write_lock()
    with pytest.raises(EvidenceRejected) as caught:
        verify_bundle(world.bundle("a", leaked=True, **HIDDEN), world.circuit_lock)
    assert caught.value.code == "model-mismatch"
    assert "private" in caught.value.message
    verdict = world.judge(world.policy(proof=POLICY), world.folder / "a")
    assert verdict.status == 1 and codes(verdict) >= {"model-mismatch"}


def test_a_private_model_stays_with_its_owner_and_its_absence_is_said(world: World) -> None:
    world.write_lock()
    verified = verify_bundle(world.bundle("a", **HIDDEN), world.circuit_lock)
    assert verified.statement.weights is PRIVATE
    (step,) = [one for one in verified.findings if one.step == "V4"]
    assert (step.code, step.outcome) == ("model-withheld", Outcome.NOT_CHECKED)


def test_verify_says_what_is_hidden_and_what_is_not(world: World) -> None:
    statement = verify_bundle(world.bundle("a", **HIDDEN), world.circuit_lock).statement
    lines = describe(statement)
    assert "Privacy: zero-knowledge, unaudited." in lines
    assert set(privacy_words(statement)) < set(lines)
    text = "\n".join(lines)
    assert "private input 'x'" in text and "the values of the weights" in text
    assert "how often a commitment was used" in text and "model extraction by queries remains possible" in text
    open_statement = verify_bundle(
        world.bundle("b", engine=SUMCHECK, privacy=Privacy.INTEGRITY_ONLY), world.circuit_lock
    ).statement
    text = "\n".join(describe(open_statement))
    assert "Hidden: nothing." in text and "integrity-only (not zero-knowledge)" in text
    assert "unaudited" not in text and "extraction" not in text


@pytest.mark.parametrize(
    ("level", "privacy", "status"),
    [
        ("integrity-only", Privacy.INTEGRITY_ONLY, 0),
        ("integrity-only", UNAUDITED, 0),
        ("zero-knowledge-unaudited", Privacy.INTEGRITY_ONLY, 3),
        ("zero-knowledge-unaudited", UNAUDITED, 0),
        ("zero-knowledge-unaudited", Privacy.ZERO_KNOWLEDGE, 0),
        ("zero-knowledge", Privacy.INTEGRITY_ONLY, 3),
        ("zero-knowledge", UNAUDITED, 3),
    ],
)
def test_a_policy_can_demand_each_level_and_what_hides_less_fails_it(
    world: World, level: str, privacy: Privacy, status: int
) -> None:
    policy = world.policy(proof=f'engines = ["sumcheck"]\nprivacy = "{level}"')
    verdict = world.judge(policy, world.bundle("a", engine=SUMCHECK, privacy=privacy))
    assert verdict.status == status
    assert ("privacy-below-policy" in codes(verdict)) == (status == 3)


def test_a_gate_s_reports_say_what_the_proofs_hide_and_group_what_is_equal(world: World) -> None:
    bundles = [world.bundle(name, sample, **HIDDEN) for sample, name in enumerate("abc")]
    open_one = world.bundle("d", engine=SUMCHECK, privacy=Privacy.INTEGRITY_ONLY)
    verdict = world.judge(world.policy(proof='engines = ["sumcheck"]\nprivacy = "integrity-only"'), *bundles, open_one)
    assert verdict.status == 0
    report = report_of(verdict, version="0")
    assert [len(names) for _, names in report.words()] == [3, 1]
    words = privacy_words(world.statement(1, **HIDDEN))
    found = json.loads(format_for(ReportName.JSON).render(report))["bundles"]
    assert [one["privacy"] for one in found[:3]] == [list(words)] * 3
    assert found[0]["facts"]["weights"] == "private" and found[3]["privacy"][1] == "Hidden: nothing."
    markdown = format_for(ReportName.MARKDOWN).render(report).decode()
    assert "### What the proofs hide (3 bundles)" in markdown
    page = format_for(ReportName.HTML).render(report).decode()
    assert "<h2>What the proofs hide (3 bundles)</h2>" in page
    for line in words:
        assert markdown.count(line) == 1
        assert page.count(line.replace("'", "&#x27;")) == 1


def test_a_gate_says_nothing_of_a_proof_that_does_not_hold(world: World) -> None:
    """What a forged statement would hide is no news."""
    verdict = world.judge(world.policy(proof=POLICY), world.bundle("a", forged=True, **HIDDEN))
    report = report_of(verdict, version="0")
    assert verdict.status == 1 and report.words() == ()
    assert "privacy" not in json.loads(format_for(ReportName.JSON).render(report))["bundles"][0]


def test_an_audit_says_it_and_does_not_derive_anything_again(world: World) -> None:
    bundle = world.bundle("a", signers=[ALICE], **HIDDEN)
    world.write_lock()
    circuit = f'[circuits.net]\nlock = "circuit.lock"\nverification_key = "{world.sections[SUMCHECK]["circuit_sha256"]}"'
    world.trust({"release": ([ALICE], 1)}, rest=circuit)
    report = audit_bundle(bundle, read_trust(world.folder / "trust.toml"), AuditOptions(now=format_utc(NOW)))
    assert report.outcome is Outcome.HOLDS, [one for one in report.findings if one.outcome is not Outcome.HOLDS]
    assert {"key-not-rederived", "reference-not-run", "model-withheld"} <= {one.code for one in report.not_checked}
    words = privacy_words(world.statement(1, **HIDDEN))
    assert set(words) < set(report.words)
    page = render_html([report]).decode()
    assert all(line.replace("'", "&#x27;") in page for line in words)
    assert "no one outside this project has checked that claim" in " ".join(page.split())


def test_inspect_says_it_by_the_bundle_s_own_word(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = world.bundle("a", forged=True, **HIDDEN)
    assert cli.run(["inspect", str(bundle), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["verified"] is False
    assert document["privacy"]["level"] == "zero-knowledge, unaudited" and document["privacy"]["weights"] == "private"
    assert "the values of the weights" in document["privacy"]["hidden"]
    assert cli.run(["inspect", str(bundle)]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "As the bundle claims, not verified: The weights are private" in text and "Nothing here was verified." in text


@pytest.fixture
def circuit(tmp_path: Path) -> CircuitFolder:
    """A circuit folder that asks for private weights and tensors, pinned by the fake engine."""
    folder = tmp_path / "circuit"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(MODEL.read_bytes())
    document: dict[str, Any] = {
        "circuit": {"name": "net", "model": "model.onnx", "engine": "sumcheck"},
        "tensors": {"pixels": "private", "logits": "private"},
        "weights": {"visibility": "private"},
    }
    (folder / "circuit.toml").write_text(tomli_w.dumps(document))
    made = CircuitFolder(folder)
    made.lock_path.write_bytes(render_lock(CircuitLock("net", made.model.sha256, {SUMCHECK: section(srs="none")})))
    return made


def sample_of(circuit: CircuitFolder) -> dict[str, Any]:
    return {one.name: np.zeros(one.shape, one.dtype) for one in circuit.model.inputs}


def test_prove_leaves_the_model_out_of_bundle_and_bill_of_materials(circuit: CircuitFolder, tmp_path: Path) -> None:
    (made,) = prove(circuit, [sample_of(circuit)], tmp_path / "e")
    weights = circuit.model.data
    for path in made.path.rglob("*"):
        assert path.name != "model.onnx"
        assert not path.is_file() or weights not in path.read_bytes()
    with open_bundle(made.path) as bundle:
        sbom = json.loads(bundle.payload["sbom.cdx.json"].read_bytes())
    properties = {one["name"]: one["value"] for one in sbom["metadata"]["component"]["properties"]}
    assert properties["verifai:weights"] == "private"
    assert "file:model.onnx" not in {one["bom-ref"] for one in sbom["components"]}
    assert verify_bundle(made.path, read_lock(circuit.lock_path)).statement.weights is PRIVATE


@pytest.mark.parametrize("field", ["weights", "tensors", "privacy"])
def test_a_specification_edited_since_compile_is_not_taken_for_what_is_proven(
    circuit: CircuitFolder, tmp_path: Path, field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Above all: weights that are public now, but were private at compile, must not be let out beside a proof of them."""
    if field == "privacy":
        genuine = Engine.prove

        def shows(self: Engine, request: ProveRequest) -> EngineProof:
            proof = genuine(self, request)
            return replace(proof, statement=replace(proof.statement, privacy=Privacy.INTEGRITY_ONLY))

        monkeypatch.setattr(Engine, "prove", shows)
    else:
        text = (circuit.folder / "circuit.toml").read_text()
        old = {"weights": 'visibility = "private"', "tensors": 'logits = "private"'}[field]
        assert old in text
        (circuit.folder / "circuit.toml").write_text(text.replace(old, old.replace("private", "public")))
    edited = CircuitFolder(circuit.folder)
    with pytest.raises(UsageError) as caught:
        list(prove(edited, [sample_of(edited)], tmp_path / "e"))
    assert caught.value.code == "stale-lock"
    assert {"weights": "weights", "tensors": "logits", "privacy": "zero-knowledge"}[field] in caught.value.message
    assert not list((tmp_path / "e").iterdir())


def test_an_honest_specification_is_let_through(circuit: CircuitFolder) -> None:
    proof = Engine(SUMCHECK).prove(
        ProveRequest(circuit.model, circuit.spec, circuit.lock().section(SUMCHECK), circuit.folder, sample_of(circuit))
    )
    refuse_other_privacy(circuit.spec, proof.statement, circuit)
