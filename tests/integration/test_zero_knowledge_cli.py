"""Zero knowledge from the command line: a class without its logits, both sides private, private chains, and kills at random."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from tests.support.paths import ROOT
from tests.support.waiting import until
from verifai.cli import app as cli
from verifai.engines.sumcheck.secrets.opening_ledger import MARKS_VARIABLE

FIXTURE = ROOT / "fixtures" / "digits-mlp"
HELDOUT = str(FIXTURE / "heldout.npz")


def ran(capsys: pytest.CaptureFixture[str], *arguments: Any) -> dict[str, Any]:
    status = cli.run([*map(str, arguments), "--json"])
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert document["status"] == status
    return document


def circuit(path: Path, model: Path, tensors: dict[str, str], weights: str = "public", more: str = "") -> Path:
    path.mkdir()
    named = "\n".join(f'"{name}" = "{kind}"' for name, kind in tensors.items())
    (path / "circuit.toml").write_text(
        f'[circuit]\nname = "hidden"\nmodel = "{model}"\nengine = "sumcheck"\n[tensors]\n{named}\n'
        f'[weights]\nvisibility = "{weights}"\n[calibration]\ndata = "{FIXTURE / "calibration.npz"}"\nsamples = 20\n{more}'
    )
    return path


def with_class_only(path: Path) -> Path:
    """The digits perceptron, its ten logits replaced by the index of the largest."""
    model = onnx.load(str(FIXTURE / "model.onnx"))
    (logits,) = model.graph.output
    shape = [size.dim_value for size in logits.type.tensor_type.shape.dim]
    model.graph.node.append(helper.make_node("ArgMax", [logits.name], ["digit"], axis=1, keepdims=0))
    model.graph.output.remove(logits)
    model.graph.output.append(helper.make_tensor_value_info("digit", onnx.TensorProto.INT64, shape[:1]))
    onnx.save(model, str(path / "source.onnx"))
    return path / "source.onnx"


def test_a_digit_is_proven_and_neither_the_picture_nor_the_logits_are_shown(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    model = tmp_path / "model.onnx"
    assert ran(capsys, "export", with_class_only(tmp_path), "-o", model)["status"] == 0
    folder = circuit(tmp_path / "c", model, {"pixels": "private", "digit": "public"})
    assert ran(capsys, "compile", folder)["status"] == 0
    assert ran(capsys, "prove", folder, HELDOUT, "--limit", 3, "-o", tmp_path / "e")["status"] == 0
    heldout = np.load(HELDOUT)
    expected = _logits(heldout["pixels"][:3]).argmax(axis=1)
    for number, bundle in enumerate(sorted((tmp_path / "e").glob("0*"))):
        document = ran(capsys, "verify", bundle, "--lock", folder)
        assert document["status"] == 0
        statement = document["bundles"][0]["statement"]
        assert statement["privacy"] == "zero-knowledge, unaudited"
        pixels, digit = statement["tensors"]
        assert (
            set(pixels) == {"role", "name", "shape", "visibility", "scale", "zero_point"} and pixels["visibility"] == "private"
        )
        assert digit["quantised"] == [str(int(expected[number]))]
        assert "logits" not in json.dumps(statement)
        wrong = tmp_path / f"wrong{number}.npz"
        np.savez(wrong, digit=np.array([[(int(expected[number]) + 1) % 10]]))
        assert ran(capsys, "verify", bundle, "--lock", folder, "--output", wrong)["status"] == 1
        assert ran(capsys, "verify", bundle, "--lock", folder, "--input", HELDOUT)["status"] != 0, (
            "a private input cannot be matched"
        )


def _logits(pixels: Any) -> Any:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(FIXTURE / "model.onnx"))
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: one.reshape(1, -1).astype(np.float32)})[0] for one in pixels])


def test_equal_inputs_have_different_proofs_of_equal_length(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = circuit(tmp_path / "c", FIXTURE / "model.onnx", {"pixels": "private", "logits": "public"})
    assert ran(capsys, "compile", folder)["status"] == 0
    for name in "ab":
        assert ran(capsys, "prove", folder, HELDOUT, "--limit", 2, "-o", tmp_path / name)["status"] == 0
    proofs = [(tmp_path / name / f"00000{i}" / "payload" / "proof.bin").read_bytes() for name in "ab" for i in (0, 1)]
    assert len({len(one) for one in proofs}) == 1 and len(set(proofs)) == 4
    for first in proofs:  # nothing but the magic stands at one place in two proofs
        for second in proofs:
            if first is not second:
                same = np.frombuffer(first, "u1") == np.frombuffer(second, "u1")
                assert same[32:].mean() < 0.01


PROVE = "import sys; from verifai.cli.app import run; sys.exit(run(sys.argv[1:]))"


def _killed_rounds(folder: Path, output: Path, rounds: int, seed: int) -> list[int]:
    """Two processes prove under one root at a time, both killed at a random moment; the numbers that their bundles show."""
    pick = random.Random(seed)
    for number in range(rounds):
        started = []
        for side in "ab":
            arguments = ["prove", str(folder), HELDOUT, "--limit", "3", "-o", str(output / f"{number}{side}"), "-q"]
            started.append(subprocess.Popen([sys.executable, "-c", PROVE, *arguments], start_new_session=True, cwd=ROOT))
        if number % 2 == 0:  # in the middle of the proofs; else anywhere from the start of the processes on
            until(lambda number=number: list(output.glob(f"{number}?/0*/payload/statement.bin")))
            time.sleep(pick.uniform(0.0, 0.3))
        else:
            time.sleep(pick.uniform(0.2, 6.0))
        for one in started:
            if one.poll() is None:
                os.killpg(one.pid, signal.SIGKILL)
            one.wait()
    return _numbers(sorted(output.glob("*/0*/payload/statement.bin")))


def _numbers(statements: list[Path]) -> list[int]:
    numbers, magic = [], b"verifai/sumcheck-zk-statement/1"
    for statement in statements:
        data = statement.read_bytes()
        assert data.startswith(magic)
        numbers.append(int.from_bytes(data[len(magic) : len(magic) + 8], "little"))
    return numbers


def _kill(capsys: pytest.CaptureFixture[str], tmp_path: Path, rounds: int) -> None:
    folder = circuit(
        tmp_path / "c",
        FIXTURE / "model.onnx",
        {"pixels": "private", "logits": "public"},
        "private",
        "[engine.sumcheck]\nopening_budget = 64\n",
    )
    assert ran(capsys, "compile", folder)["status"] == 0
    numbers = _killed_rounds(folder, tmp_path / "out", rounds, seed=rounds)
    (root,) = ran(capsys, "weights", "show", folder)["roots"]
    assert len(numbers) >= rounds // 2, "nothing was proven, so nothing is shown"
    assert len(set(numbers)) == len(numbers), "an opening number was used twice"
    assert 0 not in numbers, "the registration's number was used again"
    assert all(number < root["used"] <= 64 for number in numbers)
    # The root lives on: the next proof takes a number that nobody had.
    assert ran(capsys, "prove", folder, HELDOUT, "--limit", 1, "-o", tmp_path / "next")["status"] == 0
    (statement,) = (tmp_path / "next").glob("*/payload/statement.bin")
    assert _numbers([statement]) == [root["used"]]
    assert ran(capsys, "weights", "show", folder)["roots"][0]["used"] == root["used"] + 1


def test_no_opening_number_is_used_twice_whatever_is_killed_when(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MARKS_VARIABLE, str(tmp_path / "marks"))
    _kill(capsys, tmp_path, 2)


@pytest.mark.slow
def test_no_opening_number_is_used_twice_over_many_kills(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MARKS_VARIABLE, str(tmp_path / "marks"))
    _kill(capsys, tmp_path, 8)
