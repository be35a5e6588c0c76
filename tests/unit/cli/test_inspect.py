"""``inspect`` shows what no other verb shows without judging it: locks with their fingerprint, verdicts, decisions, terms."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.consensus_rounds import Simulation, outputs
from tests.support.gate_world import ALICE, World, fake_engines
from tests.support.paths import ROOT
from verifai.cli.app import run
from verifai.cli.verbs import VERBS
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


OURS = [
    (b'{"schema": "verifai/batch-inputs/v1", "x": 1}', "the inputs of a batch"),
    (b'schema = "verifai/data-lock/v1"\n', "a data.lock"),
    (b'# by hand\nschema = "verifai/policy/v1"\n', "a policy"),
    (b'{\n "schema": "verifai/weights-secret/v1"}', "the secret of a weight commitment"),
    (b'{"schema":"verifai/tensor-secrets/v1"}', "a file of seeds"),
    (b'{"schema":"verifai/vote-secret/v1"}', "the secret of a vote"),
    (b'{"schema":"verifai/recorded-runs/v1"}', "recorded runs of a model"),
    (b'{"schema":"verifai/tokenizer/v1"}', "a pinned tokenizer"),
    (b'{"schema":"verifai/model-facts/v1"}', "the facts of a model"),
    (b'{"schema":"verifai/ezkl-build/v1"}', "the list of files of a build"),
    (b'{"schema":"verifai/ezkl-proof/v1"}', "a proof"),
    (b'{"schema":"verifai/log-consistency/v1"}', "a proof that a log only grew"),
    (b'{"schema":"verifai/prove-index/v1"}\n{}', "the index of a batch"),
    (b'{"schema": "verifai/gate/v1", "verdict": "accepted"}', "what the command gate printed with --json"),
    (b"verifai/opening-ledger/v1 " + b"0" * 64 + b" 9\n", "the ledger of a weight commitment's openings"),
    (b"verifai/circuit/1\0", "a compiled circuit"),
    (b"verifai/weights/1\0", "the weights of a compiled circuit"),
    (b"verifai/sumcheck-zk-proof/2\0", "a zero-knowledge proof"),
    (b"verifai/sumcheck-statement/1\0", "what a proof shows"),
    (b"SQLite format 3\0" + b"\0" * 84, "an audit log, or another SQLite database"),
    (b"c2sp.org/tlog-proof@v1\nindex 0\n", "the proof of an entry on an audit log"),
    (b"example.org/log\n7\n" + b"A" * 43 + "=\n\n— example.org/log abc=\n".encode(), "a checkpoint of an audit log"),
    (b'{"source": "lottery", "number": 7, "value": "' + b"5a" * 32 + b'"}', "what a beacon published"),
    (b'{"round":1000,"randomness":"aa","signature":"bb"}', "what a beacon published"),
    (b'{"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json"}', "a Sigstore bundle"),
    (b'<!doctype html>\n<html lang="en">', "a web page (HTML)"),
]


@pytest.mark.parametrize(("content", "what"), OURS)
def test_every_file_that_is_written_is_known_with_its_fingerprint(
    content: bytes, what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "found"
    path.write_bytes(content)
    (shown,) = _json(capsys, "inspect", path)["files"]
    assert (shown["kind"], shown["digest"]) == (what, sha256(content))
    assert len(shown["fingerprint"].split()) == 12
    if "secret" in what or "seeds" in what or "ledger" in what:
        assert "show it to nobody" in shown["advice"]


NO_FILES = {"case", "circuit-lock", "trust"}
"""Documents that `inspect` shows by what they say, and not by their kind alone."""


def test_no_document_of_ours_is_forgotten() -> None:
    """Whoever adds a schema says what its files are, so that `inspect` can tell a person who finds one."""
    named = re.compile(r'^_?[A-Z_]*(?:SCHEMA|FORMAT|TAG)[A-Z_]*(?:: [^=]+)? = f?"verifai/([a-z-]+)/v\d+"', re.MULTILINE)
    texts = (path.read_text(encoding="utf-8") for path in (ROOT / "verifai").rglob("*.py"))
    schemas = {name for text in texts for name in named.findall(text)}
    assert len(schemas) > 10
    known = {content.split(b"verifai/")[1].split(b"/")[0].decode() for content, _ in OURS if b"verifai/" in content}
    verbs = {name.replace(" ", "-") for name in VERBS}
    inside = {"log", "tee", "opening-ledger"}  # kept in a database, or a line of another file
    assert schemas - known - NO_FILES - verbs - inside == set()


def test_what_is_not_ours_is_not_called_ours(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for content in (b"", b"hello\n", b"{}", b'{"a": {"source": 1}}', b"\x00\xff", b'{"source":' * 2000, b"\n7\n" + b"A" * 8000):
        path = tmp_path / "other"
        path.write_bytes(content)
        assert "files" not in _json(capsys, "inspect", path)


def test_an_answer_is_told_as_claimed_and_as_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    """No lock is trusted here, so nobody says which texts the tokens are."""
    assert run(["inspect", str(ROOT / "fixtures" / "bundles" / "sumcheck-2-answer" / "answer.vbundle")]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "As the bundle claims, not verified: The weights" in shown
    assert "The 4 tokens of the answer are the greedy continuation of the prompt's 5 tokens" in shown
    assert "Paris" not in shown
