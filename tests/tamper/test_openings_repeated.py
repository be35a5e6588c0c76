"""A cloned opening ledger cannot be prevented. It is found where two proofs with one number meet, and only there."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.gate_world import ALICE, ENGINE_USERS, NOW, World, codes, fake_engines, waiver
from tests.support.gate_world import FakeEngine as Fake
from verifai.bundle.reader import open_bundle
from verifai.cli import app as cli
from verifai.domain.digest import Sha256
from verifai.domain.findings import Outcome
from verifai.domain.statement import CommitmentOpening
from verifai.reports.registry import ReportName

__all__ = ["fake_engines"]
TODAY = datetime.now(UTC).replace(microsecond=0)
WEIGHTS = CommitmentOpening("weights", Sha256("a" * 64), 3, 16)
WORDS = "opening 3 of 16 of the commitment to 'weights' (root aaaaaaaaaaaa…)"


@pytest.fixture(autouse=True)
def _engines(fake_engines: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("verifai.engines.registry", *ENGINE_USERS):
        monkeypatch.setattr(f"{name}.engine_for", Fake)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.chdir(tmp_path)
    return World(tmp_path)


def pair(world: World, **more: Any) -> tuple[Path, Path]:
    """Two different inferences, proven with one number."""
    return world.bundle("a", 1, openings=[WEIGHTS], **more), world.bundle("b", 2, openings=[WEIGHTS], **more)


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Any]]:
    status = cli.run([*map(str, arguments), "--json"])
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert document["status"] == status
    return status, document


# --- gate


def test_the_gate_refuses_both_and_names_both(world: World) -> None:
    first, second = pair(world)
    verdict = world.judge(world.policy(), first, second)
    assert (verdict.status, codes(verdict)) == (3, {"opening-repeated"})
    for one in verdict.bundles:
        (finding,) = [finding for finding in one.judgement.findings if finding.code == "opening-repeated"]
        assert finding.outcome is Outcome.POLICY_NOT_MET
        assert repr(str(first)) in finding.message
        assert repr(str(second)) in finding.message
        # The evidence itself stays genuine.
        assert any(finding.code == "proof-valid" for finding in one.judgement.findings)
    assert not any(one.accepted for one in verdict.bundles)


def test_each_alone_passes_the_gate(world: World) -> None:
    for bundle in pair(world):
        assert world.judge(world.policy(), bundle).status == 0


def test_workers_in_other_processes_report_their_openings(world: World) -> None:
    bundles = [*pair(world), *(world.bundle(str(number), number) for number in range(3, 7))]
    assert world.judge(world.policy(), *bundles, jobs=2).status == 3


def test_one_proof_in_two_bundles_is_one_use(world: World) -> None:
    first = world.bundle("a", 1, openings=[WEIGHTS])
    again = world.bundle("b", 1, openings=[WEIGHTS], created=NOW - timedelta(hours=1), signers=[ALICE])
    with open_bundle(first) as one, open_bundle(again) as other:
        assert one.bundle_id != other.bundle_id
    assert world.judge(world.policy(), first, again, first).status == 0


def test_the_same_inference_proven_again_with_one_number_is_two_uses(world: World) -> None:
    first = world.bundle("a", 1, openings=[WEIGHTS])
    again = world.bundle("b", 1, openings=[WEIGHTS], context="asked again", bound=True)
    assert codes(world.judge(world.policy(), first, again)) == {"opening-repeated"}


def test_other_numbers_are_no_repeat_and_make_no_new_inference(world: World) -> None:
    bundles = [world.bundle(str(number), 1, openings=[replace(WEIGHTS, number=number)]) for number in range(3)]
    assert world.judge(world.policy(), *bundles).status == 0
    assert codes(world.judge(world.policy(proof="inferences = 2"), *bundles)) == {"too-few-inferences"}


def test_a_false_proof_cannot_smear_another(world: World) -> None:
    """Whoever writes a number beside a proof that does not hold must not get somebody else's evidence refused."""
    genuine = world.bundle("a", 1, openings=[WEIGHTS])
    smear = world.bundle("b", 2, openings=[WEIGHTS], forged=True)
    verdict = world.judge(world.policy(), genuine, smear)
    assert codes(verdict) == {"proof-invalid"}
    assert verdict.bundles[0].accepted


def test_a_repeat_is_seen_beside_a_bundle_that_fails_otherwise(world: World) -> None:
    """A stale proof is a proof: its number is spent."""
    top = world.trust({"prover": ([ALICE], 1)})
    first = world.bundle("a", 1, openings=[WEIGHTS], signers=[ALICE])
    old = world.bundle("b", 2, openings=[WEIGHTS], signers=[ALICE], created=NOW - timedelta(days=60))
    verdict = world.judge(world.policy(top=top, model='max_age = "30d"'), first, old)
    assert codes(verdict) == {"stale", "opening-repeated"}
    assert not verdict.bundles[0].accepted


def test_a_waiver_lifts_it_for_one_bundle_only_and_in_the_open(world: World) -> None:
    first, second = pair(world)
    with open_bundle(first) as bundle:
        one = waiver("opening-repeated", f"bundle:{bundle.bundle_id}")
    verdict = world.judge(world.policy(rest=one), first, second)
    assert (verdict.status, [item.finding.code for item in verdict.all_waived()]) == (3, ["opening-repeated"])
    assert [item.accepted for item in verdict.bundles] == [True, False]
    both = waiver("opening-repeated", f"model:{world.pin}")
    verdict = world.judge(world.policy(rest=both), first, second)
    assert (verdict.status, len(verdict.all_waived())) == (0, 2)
    expired = waiver("opening-repeated", f"model:{world.pin}", expires='"2026-06-01T00:00:00Z"')
    assert world.judge(world.policy(rest=expired), first, second).status == 3


def test_gate_output_and_every_report_say_which_openings_were_used(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = pair(world, created=TODAY)
    policy = world.policy()
    reports = [word for name in ReportName for word in ("--report", f"{name.value}={world.folder / name.value}")]
    status, document = run(capsys, "gate", first, second, "--policy", policy, *reports)
    assert status == 3
    assert [one["facts"]["openings"] for one in document["bundles"]] == [WORDS] * 2
    for name in ReportName:
        assert "opening-repeated" in (world.folder / name.value).read_text(), name
    assert cli.run(["gate", str(first), "--policy", str(policy)]) == 0
    assert "opening 3 of 16" in capsys.readouterr().out


# --- verify


def test_verify_accepts_each_and_not_both(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = pair(world)
    lock = world.write_lock()
    for bundle in (first, second):
        status, document = run(capsys, "verify", bundle, "--lock", lock)
        assert (status, document["bundles"][0]["verdict"]) == (0, "accepted")
        assert document["bundles"][0]["statement"]["openings"] == [WEIGHTS.to_json()]
    status, document = run(capsys, "verify", first, second, "--lock", lock)
    assert (status, document["verdict"]) == (3, "policy-not-met")
    for one in document["bundles"]:
        assert one["verdict"] == "policy-not-met"
        (finding,) = [finding for finding in one["findings"] if finding["code"] == "opening-repeated"]
        assert str(first) in finding["message"]
        assert str(second) in finding["message"]
        assert finding["step"] == "V10"
        assert any(finding["code"] == "proof-valid" and finding["outcome"] == "holds" for finding in one["findings"])


def test_verify_says_the_openings_in_words(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = pair(world)
    assert cli.run(["verify", str(first), str(second), "--lock", str(world.write_lock())]) == 3
    out = " ".join(capsys.readouterr().out.split())
    assert "POLICY NOT MET" in out
    assert "ACCEPTED" not in out
    assert "Uses opening 3 of 16 of the commitment to 'weights'" in out


def test_a_rejected_bundle_decides_before_a_repeat(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = pair(world)
    forged = world.bundle("c", 3, openings=[WEIGHTS], forged=True)
    status, document = run(capsys, "verify", first, second, forged, "--lock", world.write_lock())
    assert status == 1
    assert [one["verdict"] for one in document["bundles"]] == ["policy-not-met", "policy-not-met", "rejected"]
    status, document = run(capsys, "verify", first, forged, "--lock", world.write_lock())
    assert [one["verdict"] for one in document["bundles"]] == ["accepted", "rejected"]


# --- audit


@pytest.fixture
def _no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model of these tests is a few words; an audit would refuse them, and that is not what is asked here."""
    monkeypatch.setattr("verifai.stages.audit.audit._Audit._load_model", lambda *_: None)


def audited(world: World, capsys: pytest.CaptureFixture[str], *bundles: Path) -> tuple[int, dict[str, Any]]:
    world.write_lock()
    (section,) = world.sections.values()
    key = section["circuit_sha256"]
    world.trust({}, rest=f'[circuits.net]\nlock = "circuit.lock"\nverification_key = "{key}"')
    html = world.folder / "audit.html"
    return run(capsys, "audit", *bundles, "--trust", world.folder / "trust.toml", "--no-rederive", "--report", f"html={html}")


@pytest.mark.usefixtures("_no_model")
def test_audit_lays_the_bundles_side_by_side(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = pair(world, created=TODAY)
    status, document = audited(world, capsys, first)
    (alone,) = document["bundles"]
    assert status == 0
    assert alone["openings"] == [WEIGHTS.to_json()]
    assert any(WORDS in line for line in alone["statement"])
    assert not [one for one in alone["findings"] if one["code"] == "opening-repeated"]
    status, document = audited(world, capsys, first, second)
    assert (status, document["verdict"]) == (3, "policy-not-met")
    for report in document["bundles"]:
        (finding,) = [one for one in report["findings"] if one["code"] == "opening-repeated"]
        assert finding["outcome"] == "policy-not-met"
        assert str(first) in finding["message"]
        assert str(second) in finding["message"]
    page = (world.folder / "audit.html").read_text()
    assert "opening-repeated" in page
    assert "opening 3 of 16" in page


@pytest.mark.usefixtures("_no_model")
def test_audit_is_not_smeared_by_a_false_proof(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    first = world.bundle("a", 1, openings=[WEIGHTS], created=TODAY)
    forged = world.bundle("b", 2, openings=[WEIGHTS], created=TODAY, forged=True)
    status, document = audited(world, capsys, first, forged)
    assert status == 1
    assert not [one for report in document["bundles"] for one in report["findings"] if one["code"] == "opening-repeated"]
    assert document["bundles"][1]["openings"] == []


# --- inspect, and a changed statement


def test_inspect_shows_openings_unverified(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = world.bundle("a", 1, openings=[WEIGHTS])
    status, document = run(capsys, "inspect", bundle)
    assert status == 0
    stated = [one["predicate"]["statement"] for one in document["attestations"] if "statement" in one["predicate"]]
    assert [one["openings"] for one in stated] == [[WEIGHTS.to_json()]]
    assert cli.run(["inspect", str(bundle)]) == 0
    assert "opening 3 of 16" in capsys.readouterr().out


@pytest.mark.parametrize("attested", [(), (replace(WEIGHTS, number=4),), (WEIGHTS, replace(WEIGHTS, number=4))])
def test_an_attestation_that_hides_or_changes_an_opening_is_rejected(
    world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, attested: tuple[CommitmentOpening, ...]
) -> None:
    """Consistently sealed: only the comparison with what the proof says stops it."""
    from tests.support import gate_world

    genuine = gate_world.proof_attestation

    def changed(circuit: Any, proof: Any, *rest: Any) -> Any:
        return genuine(circuit, replace(proof, statement=replace(proof.statement, openings=attested)), *rest)

    monkeypatch.setattr(gate_world, "proof_attestation", changed)
    bundle = world.bundle("a", 1, openings=[WEIGHTS])
    status, document = run(capsys, "verify", bundle, "--lock", world.write_lock())
    assert status == 1
    (finding,) = document["findings"]
    assert (finding["code"], "in openings" in finding["message"]) == ("statement-mismatch", True)
