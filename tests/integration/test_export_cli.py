"""``verifai export`` as a person uses it: files beside each other, options that the messages name, statuses."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("skl2onnx", reason="needs the [sklearn] extra")
pytest.importorskip("skops.io", reason="needs the [sklearn] extra")

import skl2onnx
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import SplineTransformer, StandardScaler

from tests.support.estimators import DATA, fitted, saved
from verifai.cli import app as cli
from verifai.domain.model_facts import Task
from verifai.onnx_graph.facts import facts_path, read_facts


def ran(capsys: pytest.CaptureFixture[str], *arguments: Any) -> dict[str, Any]:
    status = cli.run([*map(str, arguments), "--json"])
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert document["status"] == status
    return document


def wine() -> Any:
    rows, target = DATA["wine"]
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(rows, np.array(["red", "white", "rosé"])[target])


def test_facts_lie_beside_the_model(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "out.onnx"
    document = ran(capsys, "export", saved(tmp_path, wine()), "-o", path)
    facts = read_facts(path)
    assert facts is not None
    assert (facts.task, facts.labels) == (Task.CLASSIFICATION, ("red", "rosé", "white"))
    assert document["facts"] == facts.to_document()
    assert document["parity"]["decisions_differ"] == 0
    assert cli.run(["export", str(tmp_path / "model.skops"), "-o", str(path), "--force"]) == 0
    assert "out.onnx.facts.json" in capsys.readouterr().out


def test_old_facts_do_not_outlive_their_model(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "out.onnx"
    assert ran(capsys, "export", saved(tmp_path, wine()), "-o", path)["status"] == 0
    (tmp_path / "plain.onnx").write_bytes(
        skl2onnx.to_onnx(fitted(Ridge, "diabetes"), DATA["diabetes"][0][:1].astype(np.float32)).SerializeToString()
    )
    document = ran(capsys, "export", tmp_path / "plain.onnx", "-o", path, "--force", "--dim", "X:0=1")
    assert (document["status"], document["facts"]) == (0, None)
    assert not facts_path(path).exists()


def test_what_skl2onnx_writes_by_default_is_exported(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "zip.onnx").write_bytes(skl2onnx.to_onnx(wine(), DATA["wine"][0][:1].astype(np.float32)).SerializeToString())
    path = tmp_path / "out.onnx"
    document = ran(capsys, "export", tmp_path / "zip.onnx", "-o", path, "--dim", "X:0=1")
    assert document["facts"]["labels"] == ["red", "rosé", "white"]
    label = ran(capsys, "export", tmp_path / "zip.onnx", "-o", path, "--force", "--dim", "X:0=1", "--select", "output_label")
    assert label["status"] == 2
    missing = ran(capsys, "export", tmp_path / "zip.onnx", "-o", path, "--force", "--dim", "X:0=1", "--select", "y")
    assert (missing["status"], "output_probability" in json.dumps(missing)) == (2, True)


def test_the_command_in_the_hint_works(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    saved(tmp_path, make_pipeline(SplineTransformer(), Ridge()).fit(*DATA["diabetes"]))
    (tmp_path / "model.skops").rename("my model.skops")
    assert cli.run(["export", "my model.skops", "-o", "x.onnx"]) == 2
    hint = next(line for line in capsys.readouterr().err.splitlines() if "verifai export" in line)
    words = shlex.split(hint[hint.index("verifai export") :])
    assert words[:3] == ["verifai", "export", "my model.skops"]
    assert cli.run(words[1:]) == 2
    said = capsys.readouterr().err
    # The types are trusted now, loudly; that splines have no formula is another matter.
    assert "INSECURE: --trust-type" in said and "SplineTransformer.transform" in said
