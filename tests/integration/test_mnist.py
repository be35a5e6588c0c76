"""Real pictures as files: MNIST digits from a package, a pinned folder, counted inside proofs that hide weights and answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.paths import ROOT
from verifai.cli import app as cli
from verifai.onnx_graph.canonicalise import canonicalise
from verifai.onnx_graph.reference import Reference

FIXTURE = ROOT / "fixtures" / "mnist-mlp"
COUNT = 100


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Any]]:
    status = cli.run([*map(str, arguments), "--json"])
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return status, document


def held_out() -> tuple[np.ndarray, np.ndarray]:
    with np.load(FIXTURE / "heldout.npz") as file:
        return file["image"][:COUNT], file["label"][:COUNT]


def right_by_the_float_model() -> int:
    pixels, labels = held_out()
    reference = Reference(canonicalise((FIXTURE / "model.onnx").read_bytes(), where="mnist").model)
    found = [reference.run({"image": (one[np.newaxis] / 255).astype(np.float32)})["logits"].argmax() for one in pixels]
    return int((np.array(found) == labels).sum())


def test_a_folder_of_pictures_is_counted_inside_the_proofs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = pytest.importorskip("PIL.Image", reason="pictures need the extra [images]: Pillow is not installed")
    for at, (picture, label) in enumerate(zip(*held_out(), strict=True)):
        path = tmp_path / "pictures" / str(label) / f"{at:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        images.fromarray(picture[0]).save(path)
    folder = tmp_path / "mnist"
    folder.mkdir()
    (folder / "circuit.toml").write_text(
        f"""
        [circuit]
        name = "mnist"
        model = "{FIXTURE / "model.onnx"}"
        engine = "sumcheck"
        batch = 64
        count_right = true
        [tensors]
        image = "public"
        logits = "private"
        [weights]
        visibility = "private"
        [calibration]
        data = "{FIXTURE / "calibration.npz"}"
        samples = 50
        """
    )
    assert run(capsys, "compile", folder)[0] == 0
    status, pinned = run(capsys, "dataset", tmp_path / "pictures", "-o", tmp_path / "data.lock", "--name", "mnist")
    assert (status, pinned["count"], pinned["kind"]) == (0, COUNT, "pictures")
    status, made = run(capsys, "evaluate", folder, tmp_path / "data.lock", "-o", tmp_path / "evaluation")
    assert status == 0
    whole = made["evaluation"]["whole"]
    assert abs(whole["accuracy"]["right"] - right_by_the_float_model()) <= 1  # two scores may lie within one step
    assert whole["accuracy"]["samples"] == COUNT
    assert (whole["classes"], whole["confusion"]) == (None, None)
    (tmp_path / "verifai.toml").write_text(
        """
        schema = "verifai/policy/v1"
        [[model]]
        name = "mnist"
        lock = "mnist"
        evidence = ["evaluation"]
        [model.evaluation]
        data = "data.lock"
        accuracy = 0.85
        samples = 100
        srs = "transparent"
        privacy = "zero-knowledge-unaudited"
        """
    )
    status, verdict = run(capsys, "gate", tmp_path / "evaluation", "--policy", tmp_path / "verifai.toml")
    assert status == 0, verdict
    status, seen = run(capsys, "inspect", tmp_path / "evaluation")
    assert status == 0
    assert seen["values"] == []  # of a count there is no answer to show
