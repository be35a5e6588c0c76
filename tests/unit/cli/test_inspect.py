"""``inspect`` shows what no other verb shows without judging it: locks with their fingerprint, verdicts, decisions, terms."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.consensus_rounds import Simulation, outputs
from tests.support.gate_world import ALICE, World, fake_engines
from tests.support.paths import ROOT
from verifai.cli.app import run
from verifai.domain.claim_words import claim_words
from verifai.domain.digest import sha256

__all__ = ["fake_engines"]
LOCK = ROOT / "circuits" / "digits-cnn" / "circuit.lock"


def _json(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, Any]:
    status = run([*map(str, words), "--json"])
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert document["status"] == status
    return document


@pytest.mark.parametrize("path", [LOCK, LOCK.parent])
def test_a_lock_is_shown_with_its_fingerprint(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (lock,) = _json(capsys, "inspect", path)["locks"]
    assert lock["lock_sha256"] == sha256(LOCK.read_bytes())
    assert set(lock["engines"]) == {"ezkl", "sumcheck"}
    assert run(["inspect", str(path)]) == 0
    shown = capsys.readouterr().out
    for value in (lock["lock_sha256"], lock["model_sha256"], *lock["engines"]["ezkl"]["pins"].values()):
        assert value in shown


def test_the_fingerprint_is_the_one_that_a_trust_file_pins(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["trust", "init", "-o", str(tmp_path / "trust.toml"), "--lock", str(LOCK), "--allow-test-srs"]) == 0
    capsys.readouterr()
    assert _json(capsys, "inspect", LOCK)["locks"][0]["lock_sha256"] in (tmp_path / "trust.toml").read_text()


def test_locks_and_bundles_are_not_mixed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = World(tmp_path).bundle("a")
    assert _json(capsys, "inspect", LOCK, bundle)["error"]["code"] == "bad-option"


@pytest.mark.usefixtures("fake_engines")
def test_a_verdict_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    world = World(tmp_path)
    monkeypatch.chdir(tmp_path)
    world.bundle("evidence/a", signers=[ALICE])
    world.policy()
    ALICE.write(tmp_path / "alice.key")
    assert run(["gate", "evidence", "--attest", "verdict", "--key", "alice.key", "-q"]) == 0
    capsys.readouterr()
    assert run(["inspect", "verdict"]) == 0
    shown = capsys.readouterr().out
    assert "gate verdict PASSED, by policy 'release'" in shown
    assert "judged 1 bundles: 1 holds" in shown
    assert "not verified" in shown
    assert run(["inspect", "verdict", "evidence"]) == 0
    assert "gate verdict PASSED" in capsys.readouterr().out.splitlines()[0]


def test_a_decision_and_its_terms_have_words() -> None:
    round_ = Simulation().play([outputs()] * 3)
    result = round_.decide()
    assert any(result.decision.reason in line for line in claim_words(result.decision))
    assert "verifiers" in claim_words(round_.terms)[0]
    assert claim_words(object()) == ()
