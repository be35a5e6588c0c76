"""A whole round by the functions of the package: what it refuses first, and then that it decides."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

import verifai
from tests.support.listener import Listener
from tests.support.paths import ROOT
from verifai.domain.consensus.job import PrecisionClass
from verifai.domain.consensus.vote import Vote, VoteCommitment
from verifai.stages.consensus.messages import WrittenMessage

FIXTURE = ROOT / "fixtures" / "digits-mlp"
MODEL = FIXTURE / "model.onnx"
LOGITS = verifai.SubjectOptions(verifai.OutputKind.LOGITS)
BEACON = verifai.BeaconRule("lottery", 7)
VOTERS = "abc"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keys, inputs, a tolerance, an open round and three commitments."""
    made = tmp_path_factory.mktemp("round")
    for name in (*VOTERS, "chair", "stranger"):
        verifai.new_key(made / f"{name}.key")
    with np.load(FIXTURE / "heldout.npz") as rows:
        pixels = rows["pixels"]
    np.savez(made / "many.npz", pixels=pixels[:24])
    np.savez(made / "two.npz", pixels=pixels[24:26])
    np.savez(made / "others.npz", pixels=pixels[26:28])
    (made / "beacon.json").write_text(json.dumps({"source": "lottery", "number": 7, "value": "5a" * 32}))
    chair = verifai.load_signer(made / "chair.key")
    verifai.record_runs(MODEL, LOGITS, made / "many.npz", made / "runs.json")
    tolerance = verifai.measure_tolerance(
        MODEL,
        LOGITS,
        made / "many.npz",
        made / "tolerance.json",
        elsewhere=[made / "runs.json"],
        validity=timedelta(days=1),
        signers=[chair],
    )
    assert tolerance.samples == 24
    options = verifai.RoundOptions([verifai.load_public_key(made / f"{name}.key.pub") for name in VOTERS], BEACON)
    opened = verifai.open_round(MODEL, made / "two.npz", made / "tolerance.json", options, made / "round.json", signers=[chair])
    assert opened.message.job.calibration == tolerance.written.id
    for name in VOTERS:
        assert commit(made, name, made / f"{name}.commitment.json").message.round == opened.id
    return made


def commit(
    folder: Path, name: str, output: Path, *, model: Path = MODEL, data: str = "two.npz", secret: Path | None = None
) -> WrittenMessage[VoteCommitment]:
    """A verifier's commitment, to the outputs of ``model`` on the file ``data``."""
    signer = verifai.load_signer(folder / f"{name}.key")
    kept = secret or output.with_name(output.name + ".secret")
    return verifai.commit_to_round(folder / "round.json", model, folder / data, signer, output, kept)


def reveal(folder: Path, name: str, output: Path, *, secret_of: str = "") -> WrittenMessage[Vote]:
    """A verifier's vote; with ``secret_of``, by another one's secret."""
    return verifai.reveal_to_round(
        folder / "round.json",
        [folder / f"{one}.commitment.json" for one in VOTERS],
        folder / "beacon.json",
        folder / f"{secret_of or name}.commitment.json.secret",
        verifai.load_signer(folder / f"{name}.key"),
        output,
    )


def test_a_commitment_that_the_round_does_not_want_is_not_written(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "c.json"
    refused: list[tuple[str, Callable[[], object]]] = [
        ("not-asked", lambda: commit(folder, "stranger", output)),
        ("job-model", lambda: commit(folder, "a", output, model=ROOT / "fixtures" / "digits-cnn" / "model.onnx")),
        ("job-input", lambda: commit(folder, "a", output, data="others.npz")),
        ("file-exists", lambda: commit(folder, "a", output, secret=folder / "a.commitment.json.secret")),
        ("file-exists", lambda: commit(folder, "a", folder / "a.commitment.json")),
    ]
    for code, call in refused:
        with pytest.raises(verifai.VerifaiError) as problem:
            call()
        assert problem.value.code == code
    assert not list(tmp_path.iterdir())


def test_anothers_secret_gives_no_vote(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(verifai.UsageError) as problem:
        reveal(folder, "a", tmp_path / "vote.json", secret_of="b")
    assert problem.value.code == "bad-secret"
    assert not list(tmp_path.iterdir())


def test_a_calibration_of_another_model_opens_no_round(folder: Path, tmp_path: Path) -> None:
    model = ROOT / "fixtures" / "digits-cnn" / "model.onnx"
    options = verifai.RoundOptions([verifai.load_public_key(folder / "a.key.pub")], BEACON)
    with pytest.raises(verifai.UsageError) as problem:
        verifai.open_round(model, folder / "two.npz", folder / "tolerance.json", options, tmp_path / "round.json")
    assert problem.value.code == "job-model"
    with pytest.raises(verifai.UsageError) as missing:
        verifai.open_round(MODEL, folder / "two.npz", LOGITS, options, tmp_path / "round.json")
    assert missing.value.code == "calibration-missing"
    assert not list(tmp_path.iterdir())


def test_what_is_not_portable_is_told_before_the_refusal_that_it_explains(folder: Path, tmp_path: Path) -> None:
    listener = Listener()
    half = verifai.SubjectOptions(verifai.OutputKind.LOGITS, precision=PrecisionClass.FP16)
    with pytest.raises(verifai.PolicyNotMet) as problem:
        verifai.measure_tolerance(MODEL, half, folder / "many.npz", tmp_path / "t.json", limit=5, progress=listener)
    assert problem.value.code == "calibration-too-small"
    assert any(note.startswith("not portable: the graph is fp32") for note in listener.notes)
    assert not list(tmp_path.iterdir())


def test_a_round_is_read_and_decided_and_written(folder: Path, tmp_path: Path) -> None:
    votes = [reveal(folder, name, tmp_path / f"{name}.vote.json") for name in VOTERS]
    assert len({vote.message.seed for vote in votes}) == 1
    own = [folder / name for name in ("round.json", "tolerance.json", *(f"{one}.commitment.json" for one in VOTERS))]
    messages = [*own, *(vote.path for vote in votes)]
    keys = [verifai.load_public_key(folder / f"{name}.key.pub") for name in VOTERS]
    chair = verifai.load_signer(folder / "chair.key")
    beacon = folder / "beacon.json"
    with pytest.raises(verifai.EvidenceRejected) as unsigned, verifai.read_round(messages, beacon, keys, coordinator=keys[0]):
        pass
    assert unsigned.value.code == "terms-not-signed"
    nothing = verifai.ClaimedProofs((), verifai.read_lock(ROOT / "circuits" / "digits-mlp"), folder / "two.npz")
    with pytest.raises(verifai.UsageError) as empty, verifai.read_round(messages, beacon, keys, claim=nothing):
        pass
    assert empty.value.code == "claim-count"
    with verifai.read_round(messages, beacon, keys, coordinator=chair.public_key) as given:
        result = verifai.decide_round(given.request)
        written = verifai.write_decision(
            tmp_path / "decision", given.terms, given.calibration, given.request, result, payload={}, signers=[chair]
        )
    assert result.decision.outcome.value == "accept"
    assert verifai.inspect_bundle(written.path).bundle_id == written.bundle_id
    assert not verifai.read_weights([written.path], [])  # all agreed, so there is nothing to weigh
