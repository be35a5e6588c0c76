"""A round tied to a proof, on the command line: calibrated with the circuit's proven runs, one proves, the others vote."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.paths import ROOT
from verifai.bundle.keys import new_key
from verifai.cli.app import run
from verifai.consensus.attacks import swap_layer
from verifai.consensus.runner import VoteRunner
from verifai.domain.consensus.job import RuntimeOptions

NAME = "digits-mlp"
COUNT = 24
VOTERS = ("a", "b", "c")
DROWNED = (
    "weight-noise-1e-4", "weight-noise-1e-3", "weight-noise-1e-2", "prune-1%", "prune-10%", "fp16-weights", "int8-weights",
    "int4-weights", "input-edited",
)  # fmt: skip
"""What the circuit's fixed point moves the output as far as; only a swapped layer is farther."""


def _call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    status = run([*arguments, "--json"])
    return status, json.loads(capsys.readouterr().out)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A compiled circuit, proofs of 24 digits and of one more, keys and inputs."""
    made = tmp_path_factory.mktemp("proven")
    for part in (f"circuits/{NAME}", f"fixtures/{NAME}", "fixtures/srs"):
        shutil.copytree(ROOT / part, made / part, ignore=shutil.ignore_patterns("build", "*.local.lock"))
    for name in (*VOTERS, "coordinator"):
        new_key(made / f"{name}.key")
    with np.load(ROOT / "fixtures" / NAME / "heldout.npz") as rows:
        pixels = rows["pixels"][: COUNT + 2]
    np.savez(made / "data.npz", pixels=pixels[:COUNT])
    np.savez(made / "one.npz", pixels=pixels[COUNT : COUNT + 1])
    np.savez(made / "other.npz", pixels=pixels[COUNT + 1 :])
    circuit = str(made / "circuits" / NAME)
    assert run(["compile", circuit, "--locked", "--engine", "sumcheck", "-q"]) == 0
    for data in ("data", "one", "other"):
        assert run(["prove", circuit, str(made / f"{data}.npz"), "-o", str(made / data), "--engine", "sumcheck", "-q"]) == 0
    return made


def _files(folder: Path) -> dict[str, str]:
    return {
        "model": str(folder / "fixtures" / NAME / "model.onnx"),
        "data": str(folder / "data.npz"),
        "lock": str(folder / "circuits" / NAME / "circuit.lock"),
        "runs": str(folder / "proven.runs.json"),
        "tolerance": str(folder / "tolerance.json"),
        "round": str(folder / "round.json"),
    }


@pytest.fixture(scope="module")
def opened(folder: Path) -> Path:
    """The tolerance for proven claims, and a round about one digit in which three verifiers voted."""
    given = _files(folder)
    proofs = [str(path) for path in sorted((folder / "data").glob("0*"))]
    assert run(["record-proofs", given["model"], given["data"], *proofs, "--lock", given["lock"], "-o", given["runs"]]) == 0
    left_out = [part for name in DROWNED for part in ("--not-covered", name)]
    coordinator = ["--key", str(folder / "coordinator.key")]
    calibrated = ["calibrate", given["model"], given["data"], "--proven", given["runs"], "-o", given["tolerance"]]
    assert run([*calibrated, *left_out, *coordinator]) == 0
    one = str(folder / "one.npz")
    voters = [part for name in VOTERS for part in ("--voter", str(folder / f"{name}.key.pub"))]
    terms = ["--calibration", given["tolerance"], "--beacon-source", "lottery", "--beacon-number", "7", *coordinator]
    assert run(["vote-open", given["model"], one, "-o", given["round"], *voters, *terms]) == 0
    (folder / "beacon.json").write_text(json.dumps({"source": "lottery", "number": 7, "value": "5a" * 32}))
    for name in VOTERS:
        mine = ["--key", str(folder / f"{name}.key"), "-o", str(folder / f"{name}.commitment.json")]
        assert run(["vote-commit", given["round"], given["model"], one, *mine]) == 0
    commitments = [str(folder / f"{name}.commitment.json") for name in VOTERS]
    for name in VOTERS:
        mine = ["--secret", str(folder / f"{name}.commitment.json.secret"), "--key", str(folder / f"{name}.key")]
        target = ["--beacon", str(folder / "beacon.json"), "-o", str(folder / f"{name}.vote.json")]
        assert run(["vote-reveal", given["round"], *commitments, *mine, *target]) == 0
    return folder


def _decide(folder: Path, capsys: pytest.CaptureFixture[str], *claim: str) -> tuple[int, dict[str, Any]]:
    given = _files(folder)
    messages = [str(folder / f"{name}.{kind}.json") for name in VOTERS for kind in ("commitment", "vote")]
    voters = [part for name in VOTERS for part in ("--voter", str(folder / f"{name}.key.pub"))]
    rest = ["--beacon", str(folder / "beacon.json"), *voters, "--coordinator", str(folder / "coordinator.key.pub")]
    return _call(capsys, "consensus", given["round"], given["tolerance"], *messages, *rest, *claim)


def _proof(folder: Path, name: str) -> list[str]:
    return ["--claim", str(folder / name / "000000"), "--lock", _files(folder)["lock"], "--inputs", str(folder / "one.npz")]


def test_a_proven_output_is_accepted_in_a_ball_that_was_calibrated_for_it(
    opened: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, said = _decide(opened, capsys, *_proof(opened, "one"))
    assert (status, said["outcome"], said["claim"]) == (0, "accept", "within")


def test_a_proof_of_another_input_is_rejected(opened: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, said = _decide(opened, capsys, *_proof(opened, "other"))
    assert (status, said["error"]["code"]) == (1, "input-mismatch")


def test_a_false_claim_that_the_tolerance_covers_lies_outside(opened: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = swap_layer((opened / "fixtures" / NAME / "model.onnx").read_bytes())
    with np.load(opened / "one.npz") as rows:
        (found,) = VoteRunner(model, RuntimeOptions()).run([{"pixels": rows["pixels"]}])
    np.savez(opened / "swapped.npz", logits=found["logits"][None])
    status, said = _decide(opened, capsys, "--claim", str(opened / "swapped.npz"))
    assert (status, said["claim"]) == (1, "beyond")
    assert said["findings"][-1]["code"] == "claim-outside-ball"


def test_without_proven_runs_the_same_proof_lies_outside(opened: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """So the ball is what --proven made it, not wide from the start."""
    given = _files(opened)
    tight, wide = str(opened / "tight.json"), given["tolerance"]
    _, plain = _call(capsys, "calibrate", given["model"], given["data"], "-o", tight)
    document = json.loads(Path(given["runs"]).read_text())
    assert document["environment"]["machine"] == "circuit"
    assert len(document["proofs"]) == len(document["outputs"]) == COUNT
    status, said = _call(capsys, "calibrate", given["model"], given["data"], "--runs", given["runs"], "-o", wide + ".2")
    assert (status, said["error"]["code"]) == (2, "bad-runs")
    status, said = _call(capsys, "calibrate", given["model"], given["data"], "--proven", given["runs"], "-o", wide + ".2")
    assert (status, said["error"]["code"]) == (3, "not-separable")
    assert "--not-covered weight-noise-1e-4" in said["error"]["hint"]
    assert plain["tau"] < 1e-4


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"model": "fixtures/digits-cnn/model.onnx"}, 2, "input-shape"),
        ({"proofs": ["one/000000"], "limit": "1"}, 1, "input-mismatch"),
        ({"proofs": ["data/000000", "data/000000"], "limit": "2"}, 1, "input-mismatch"),
        ({"limit": "3"}, 2, "claim-count"),
        ({"tensor": "no-such-output"}, 2, "bad-option"),
        ({"lock": "circuits/digits-cnn/circuit.lock", "proofs": ["data/000000"], "limit": "1"}, 1, "claim-model"),
    ],
)
def test_what_cannot_be_recorded_is_said_and_leaves_no_file(
    change: dict[str, Any], status: int, code: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = _files(folder)
    model = str(ROOT / change["model"]) if "model" in change else given["model"]
    lock = str(ROOT / change["lock"]) if "lock" in change else given["lock"]
    proofs = [str(folder / one) for one in change.get("proofs", ["data/000000", "data/000001"])]
    more = [part for name in ("limit", "tensor") if name in change for part in (f"--{name}", change[name])]
    target = folder / "refused.json"
    found = _call(capsys, "record-proofs", model, given["data"], *proofs, "--lock", lock, "-o", str(target), *more)
    assert (found[0], found[1]["error"]["code"]) == (status, code)
    assert not target.exists()


def test_nothing_is_written_over(folder: Path, opened: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = _files(folder)
    before = Path(given["runs"]).read_bytes()
    proofs = [str(path) for path in sorted((folder / "data").glob("0*"))]
    status, said = _call(
        capsys, "record-proofs", given["model"], given["data"], *proofs, "--lock", given["lock"], "-o", given["runs"]
    )
    assert (status, said["error"]["code"]) == (2, "file-exists")
    again = folder / "again.json"
    _call(capsys, "record-proofs", given["model"], given["data"], *proofs, "--lock", given["lock"], "-o", str(again))
    assert again.read_bytes() == before  # the same proofs give the same bytes
