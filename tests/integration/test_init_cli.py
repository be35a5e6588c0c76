"""init chooses the engine and the task, says why, and takes calibration data only when they fit; refusals first."""

from __future__ import annotations

import io
import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.onnx_builders import canonical, model, node, weights
from tests.support.paths import ROOT
from verifai.circuit_folder import CircuitFolder
from verifai.cli import app as cli
from verifai.domain.digest import Sha256
from verifai.domain.fidelity import Task
from verifai.domain.model_facts import ModelFacts
from verifai.domain.model_facts import Task as SourceTask
from verifai.domain.statement import EngineName
from verifai.engines.ezkl.engine import EzklEngine
from verifai.engines.interface import OperatorSupport
from verifai.engines.sumcheck.engine import SumcheckEngine
from verifai.onnx_graph.facts import write_facts
from verifai.stages.compile import untold_task

FIXTURE = ROOT / "fixtures" / "digits-mlp"
MODEL = FIXTURE / "model.onnx"


def ran(capsys: pytest.CaptureFixture[str], *arguments: Any) -> tuple[int, dict[str, Any]]:
    status = cli.run([*map(str, arguments), "--json"])
    return status, json.loads(capsys.readouterr().out)


def small(folder: Path, cells: int = 1, output: str = "y") -> Path:
    """A model of four numbers to ``cells``."""
    nodes = [node("MatMul", ["x", "w"], [output])]
    path = folder / "model.onnx"
    path.write_bytes(canonical(model(nodes, {"w": weights(4, cells)}, outputs=(output,))).model.data)
    return path


CSV = "a,b,c,d,price\n" + "".join(f"{i},{i / 2},{-i},{i % 3},{i}\n" for i in range(20))

REFUSED = {
    "a file that is not there": (None, "file-missing"),
    "an array of another shape": (lambda: npz(pixels=np.zeros((5, 7), np.float32)), "input-shape"),
    "an array of another name beside one": (
        lambda: npz(pixels=np.zeros((5, 64), np.float32), more=np.zeros((5, 64), np.float32)),
        "input-unknown",
    ),
    "a pointer": (lambda: b"version https://git-lfs.github.com/spec/v1\n", "input-malformed"),
    "a table of other columns": (lambda: b"a,b\n1,2\n", "input-shape"),
    "an empty file": (lambda: b"", "input-malformed"),
}


def npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


@pytest.mark.parametrize("case", REFUSED)
def test_calibration_data_that_do_not_fit_are_refused_and_nothing_is_written(
    case: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    content, code = REFUSED[case]
    data = tmp_path / "data"
    if content is not None:
        data.write_bytes(content())
    status, document = ran(capsys, "init", MODEL, "-o", tmp_path / "c", "--calibration", data, "--yes")
    assert (status, document["error"]["code"]) == (2, code)
    assert not (tmp_path / "c").exists()


def test_facts_of_another_model_are_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = small(tmp_path)
    write_facts(path, ModelFacts(Sha256("0" * 64), SourceTask.REGRESSION, "x", (), "y", ()))
    status, document = ran(capsys, "init", path, "-o", tmp_path / "c", "--yes")
    assert (status, document["error"]["code"]) == (2, "bad-facts")


ENGINES = {
    "nothing asks for ezkl": ((), "sumcheck", "no set-up file"),
    "private weights": (("--private-weights",), "sumcheck", "no set-up file"),
    "ezkl is named": (("--engine", "ezkl"), "ezkl", "asked for"),
    "a contract verifies": (("--on-chain",), "ezkl", "smart contract"),
    "withheld weights": (("--weights", "withheld"), "ezkl", "withholds"),
    "a set-up file": (("--srs", FIXTURE / "model.onnx"), "ezkl", "--srs"),
}


@pytest.mark.parametrize("case", ENGINES)
def test_the_engine_is_chosen_and_the_reason_said(case: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    options, engine, reason = ENGINES[case]
    status, document = ran(capsys, "init", MODEL, "-o", tmp_path / "c", "--yes", *options)
    assert (status, document["engine"], reason in document["engine_reason"]) == (0, engine, True)
    assert CircuitFolder(tmp_path / "c").spec.engine.value == engine
    assert document["privacy"]["level"]


def test_ezkl_is_chosen_where_only_it_can_prove_the_model(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lacks = lambda self, net: (OperatorSupport("n", "Quux", False, "no rule"),)  # noqa: E731
    monkeypatch.setattr(SumcheckEngine, "operator_support", lacks)
    document = ran(capsys, "init", MODEL, "-o", tmp_path / "a", "--yes")[1]
    assert (document["engine"], "Quux" in document["engine_reason"]) == ("ezkl", True)
    monkeypatch.setattr(EzklEngine, "operator_support", lacks)
    document = ran(capsys, "init", MODEL, "-o", tmp_path / "b", "--yes")[1]
    assert (document["engine"], "neither" in document["engine_reason"]) == ("sumcheck", True)


def test_the_text_says_engine_privacy_task_and_what_is_next(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert cli.run(["init", str(small(tmp_path)), "-o", str(tmp_path / "my circuit"), "--yes"]) == 0
    shown = capsys.readouterr().out
    assert "Engine: sumcheck, because" in shown
    assert "Privacy: integrity-only" in shown
    assert "Task: regression, because the output 'y' is one number." in shown
    assert f"Next: verifai compile '{tmp_path}/my circuit'" in shown


TASKS = {
    "the option": (("--task", "multi-label"), SourceTask.CLASSIFICATION, Task.MULTI_LABEL),
    "the facts": ((), SourceTask.MULTILABEL, Task.MULTI_LABEL),
    "facts of clusters": ((), SourceTask.CLUSTERING, Task.CLASSIFICATION),
    "facts of a transform": ((), SourceTask.TRANSFORM, Task.REGRESSION),
    "the graph": ((), None, Task.CLASSIFICATION),
}


@pytest.mark.parametrize("case", TASKS)
def test_the_task_is_asked_for_told_or_guessed(case: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    options, facts, task = TASKS[case]
    path = small(tmp_path, 3, "logits")
    if facts is not None:
        digest = canonical(model([node("MatMul", ["x", "w"], ["logits"])], {"w": weights(4, 3)}, outputs=("logits",)))
        write_facts(path, ModelFacts(digest.model.sha256, facts, "x", (), "logits", ()))
    status, document = ran(capsys, "init", path, "-o", tmp_path / "c", "--yes", *options)
    assert (status, document["task"]) == (0, task.value)
    spec = CircuitFolder(tmp_path / "c").spec
    assert spec.task is task
    assert (spec.floor.top1_agreement is None) == (task is Task.REGRESSION)


def test_an_unsure_guess_is_asked_for(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = small(tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO("\n\nclassification\n"))
    assert cli.run(["init", str(path), "-o", str(tmp_path / "c")]) == 0
    assert "What do the outputs mean?" in capsys.readouterr().err
    assert CircuitFolder(tmp_path / "c").spec.task is Task.CLASSIFICATION
    monkeypatch.setattr("sys.stdin", io.StringIO("\n\nguesswork\n"))
    assert cli.run(["init", str(path), "-o", str(tmp_path / "d")]) == 2
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert cli.run(["init", str(path), "-o", str(tmp_path / "e")]) == 2
    assert "--yes" in capsys.readouterr().err


def test_columns_and_labels_are_written_for_later_tables(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = small(tmp_path)
    (tmp_path / "data.csv").write_text(CSV)
    options = ("--calibration", tmp_path / "data.csv", "--yes")
    status, document = ran(capsys, "init", path, "-o", tmp_path / "c", *options)
    assert (status, document["error"]["code"], "--drop price" in document["error"]["hint"]) == (2, "input-shape", True)
    assert ran(capsys, "init", path, "-o", tmp_path / "c", *options, "--drop", "price")[0] == 0
    written = tomllib.loads((tmp_path / "c" / "circuit.toml").read_text())
    assert written["inputs"]["columns"] == ["a", "b", "c", "d"]
    assert written["tables"]["drop"] == ["price"]
    assert ran(capsys, "compile", tmp_path / "c")[0] == 0
    (tmp_path / "turned.csv").write_text("d,c,b,a\n1,-4,2,4\n")
    assert ran(capsys, "prove", tmp_path / "c", tmp_path / "turned.csv", "-o", tmp_path / "e")[0] == 0
    (tmp_path / "other.csv").write_text("d,c,b,z\n1,-4,2,4\n")
    status, document = ran(capsys, "prove", tmp_path / "c", tmp_path / "other.csv", "-o", tmp_path / "f")
    assert (status, document["error"]["code"], "'a'" in document["error"]["message"]) == (2, "input-missing", True)


def test_the_lock_says_which_engine_a_verb_works_with(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    calibration = FIXTURE / "calibration.npz"
    assert ran(capsys, "init", MODEL, "-o", tmp_path / "c", "--engine", "ezkl", "--calibration", calibration, "--yes")[0] == 0
    folder = CircuitFolder(tmp_path / "c")
    assert folder.engine() is EngineName.EZKL
    assert ran(capsys, "compile", tmp_path / "c", "--engine", "sumcheck")[0] == 0
    assert folder.engine() is EngineName.SUMCHECK
    assert folder.engine(EngineName.EZKL) is EngineName.EZKL
    assert ran(capsys, "prove", tmp_path / "c", calibration, "-o", tmp_path / "e", "--limit", 1)[0] == 0
    status, document = ran(capsys, "compile", tmp_path / "c", "--locked")
    assert (status, document["engine"]) == (0, "sumcheck")


@pytest.mark.parametrize(
    ("cells", "task", "told"),
    [(1, "", True), (1, 'task = "regression"', False), (1, 'task = "classification"', False), (3, "", False)],
)
def test_a_lone_number_that_nobody_explains_is_told_at_compile_time(cells: int, task: str, told: bool, tmp_path: Path) -> None:
    source = small(tmp_path, cells)
    np.savez(tmp_path / "data.npz", x=np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32))
    options = ["--calibration", str(tmp_path / "data.npz"), "--engine", "sumcheck", "-o", str(tmp_path / "circuit"), "--yes"]
    assert cli.run(["init", str(source), *options]) == 0
    toml = tmp_path / "circuit" / "circuit.toml"
    lines = [line for line in toml.read_text().splitlines() if not line.lstrip("# ").startswith("task")]
    toml.write_text("\n".join(lines).replace("[circuit]", f"[circuit]\n{task}", 1) + "\n")
    assert ("task = " in untold_task(CircuitFolder(tmp_path / "circuit"))) is told
