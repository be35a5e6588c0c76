"""check --data predicts from data what compile does: yes only when compile would succeed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.ezkl_small import small_onnx
from tests.support.paths import ROOT
from verifai.cli import app as cli
from verifai.onnx_graph.canonicalise import canonicalise

FIXTURE = ROOT / "fixtures" / "digits-mlp"
MODEL, DATA = FIXTURE / "model.onnx", FIXTURE / "calibration.npz"


def ran(capsys: pytest.CaptureFixture[str], *arguments: Any) -> tuple[int, dict[str, Any]]:
    status = cli.run([*map(str, arguments), "--json"])
    return status, json.loads(capsys.readouterr().out)


def engine(document: dict[str, Any], name: str) -> dict[str, Any]:
    return next(one for one in document["engines"] if one["engine"] == name)


@pytest.fixture
def circuit(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Path:
    folder = tmp_path / "c"
    assert ran(capsys, "init", MODEL, "-o", folder, "--calibration", DATA, "--yes")[0] == 0
    return folder


def test_a_floor_that_nothing_meets_is_a_no_here_as_in_compile(circuit: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (circuit / "circuit.toml").read_text()
    (circuit / "circuit.toml").write_text(text.replace("spread_error = 0.05", "spread_error = 1e-12"))
    checked = ran(capsys, "check", circuit, "--engine", "sumcheck", "--data", DATA)
    compiled = ran(capsys, "compile", circuit)
    for status, document in (checked, compiled):
        assert (status, document["error"]["code"]) == (3, "fidelity-below-floor")
    assert checked[1]["error"]["hint"] == compiled[1]["error"]["hint"]


def test_a_yes_says_what_compile_then_finds(circuit: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, document = ran(capsys, "check", circuit, "--engine", "sumcheck", "--data", DATA)
    assert (status, engine(document, "sumcheck")["provable"]) == (0, True)
    found = engine(document, "sumcheck")["prediction"]
    assert found["bits"]["activation_bits"] >= 8 and found["rows"] > 0
    compiled = ran(capsys, "compile", circuit)[1]
    assert compiled["fidelity"] == found["fidelity"]


def test_a_missing_set_up_file_is_a_no(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VERIFAI_SRS_DIR", str(tmp_path / "empty"))
    status, document = ran(capsys, "check", MODEL, "--data", DATA)
    assert status == 0
    assert (engine(document, "ezkl")["provable"], engine(document, "ezkl")["refusal"]["code"]) == (False, "srs-missing")
    assert engine(document, "sumcheck")["provable"]
    status, document = ran(capsys, "check", MODEL, "--data", DATA, "--engine", "ezkl")
    assert (status, document["error"]["code"]) == (2, "srs-missing")


def test_ezkl_runs_a_circuit_on_the_data(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    model = canonicalise(small_onnx(), where="small").model
    (tmp_path / "model.onnx").write_bytes(model.data)
    (spec,) = model.inputs
    rows = np.random.default_rng(0).uniform(-1, 1, (8, *spec.shape[1:])).astype(np.float32)
    np.savez(tmp_path / "data.npz", **{spec.name: rows})
    srs = ROOT / "fixtures" / "srs" / "INSECURE-TEST-k12.srs"
    options = ("--calibration", tmp_path / "data.npz", "--srs", srs, "--yes")
    assert ran(capsys, "init", tmp_path / "model.onnx", "-o", tmp_path / "c", *options)[0] == 0
    status, document = ran(capsys, "check", tmp_path / "c", "--engine", "ezkl", "--data", tmp_path / "data.npz")
    assert (status, engine(document, "ezkl")["provable"]) == (0, True)
    assert engine(document, "ezkl")["prediction"]["fidelity"]["samples"] == 8


def test_without_data_the_text_says_that_fidelity_depends_on_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["check", str(MODEL)]) == 0
    assert "add --data FILE" in capsys.readouterr().out
