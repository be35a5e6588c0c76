"""quickstart: a model and real data to a verified private proof in one command, and the five commands that do the same."""

from __future__ import annotations

import csv
import json
import os
import pickle
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from onnx import TensorProto, helper

from tests.support.paths import ROOT
from verifai.circuit_folder import CircuitFolder
from verifai.cli import app as cli
from verifai.cli.app import app
from verifai.cli.quickstart import _OF_EXPORT
from verifai.domain.fidelity import Task
from verifai.domain.statement import EngineName, Visibility
from verifai.onnx_graph.facts import facts_path, read_facts

sklearn = pytest.importorskip("sklearn", reason="needs the [sklearn] extra")
skops_io = pytest.importorskip("skops.io", reason="needs the [sklearn] extra")

FIXTURE = ROOT / "fixtures" / "digits-mlp"


def ran(capsys: pytest.CaptureFixture[str], *arguments: Any) -> tuple[int, dict[str, Any]]:
    status = cli.run([*map(str, arguments), "--json"])
    return status, json.loads(capsys.readouterr().out)


def write_csv(path: Path, names: list[str], rows: Any) -> None:
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(names)
        writer.writerows(rows)


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a blank in its name, as current folder: a pipeline, and its training data with names and a target."""
    from sklearn.datasets import load_wine
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    folder = tmp_path / "my work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    data = load_wine()
    pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(data.data[::2], data.target[::2])
    skops_io.dump(pipeline, folder / "wine model.skops")
    rows = [[*map(float, row), int(target)] for row, target in zip(data.data, data.target, strict=True)]
    write_csv(folder / "wine data.csv", [*data.feature_names, "target"], rows)
    return folder


REFUSED: dict[str, tuple[list[str], str]] = {
    "data that are not there": (["wine model.skops", "none.csv"], "file-missing"),
    "a model that is not there": (["none.skops", "wine data.csv", "--target", "target"], "file-missing"),
    "a model of no known kind": (["wine data.csv", "wine data.csv"], "source-unknown"),
    "a target that is not named": (["wine model.skops", "wine data.csv"], "input-shape"),
    "a tensor that is not there": (
        ["wine model.skops", "wine data.csv", "--target", "target", "--private", "x"],
        "unknown-tensor",
    ),
    "a folder that is there": (["wine model.skops", "wine data.csv", "--target", "target", "-o", "."], "file-exists"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_is_refused_and_leaves_nothing(case: str, work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(work.iterdir())
    arguments, code = REFUSED[case]
    status, document = ran(capsys, "quickstart", *arguments)
    assert (status, document["error"]["code"]) == (2, code)
    assert sorted(work.iterdir()) == before


def test_a_column_cannot_be_hidden_alone_and_the_hint_says_what_can(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--target", "target", "--private", "alcohol")
    document = ran(capsys, "quickstart", "wine model.skops", "wine data.csv", *options)[1]
    assert document["error"]["code"] == "unknown-tensor"
    assert "--private features" in document["error"]["hint"]


def test_a_hint_that_only_export_can_follow_names_the_command(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = skops_io.load("wine model.skops", trusted=[])
    (work / "wine model.pkl").write_bytes(pickle.dumps(model))
    error = ran(capsys, "quickstart", "wine model.pkl", "wine data.csv", "--target", "target")[1]["error"]
    assert error["code"] == "pickle-refused"
    (command,) = re.findall(r"`([^`]+)`", error["hint"])
    assert command == "verifai export 'wine model.pkl' -o 'wine model.canonical.onnx' --trust-pickle"
    assert cli.run([*shlex.split(command)[1:], "-q"]) == 0
    assert (work / "wine model.canonical.onnx").is_file()


def test_every_option_that_only_export_has_is_known_to_quickstart() -> None:
    def options(verb: str) -> set[str]:
        group = typer.main.get_command(app)
        command = group.get_command(group.make_context("verifai", [], resilient_parsing=True), verb)  # type: ignore[attr-defined]
        return {name.removeprefix("--") for one in command.params for name in one.opts if name.startswith("--")}

    assert options("export") - options("quickstart") - {"force"} == set(_OF_EXPORT)


def test_a_cell_that_is_no_number_is_named(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (work / "wine data.csv").read_text().splitlines()
    text[3] = "red," + text[3].partition(",")[2]
    (work / "wine data.csv").write_text("\n".join(text) + "\n")
    document = ran(capsys, "quickstart", "wine model.skops", "wine data.csv", "--target", "target")[1]
    assert document["error"]["code"] == "input-dtype"
    assert "row 3 (line 4), column 'alcohol'" in document["error"]["where"]
    assert not (work / "wine model-verifai").exists()


def test_a_table_without_one_whole_row_is_refused(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    head, *rows = (work / "wine data.csv").read_text().splitlines()
    gaps = ["," + row.partition(",")[2] for row in rows]
    (work / "wine data.csv").write_text("\n".join([head, *gaps]) + "\n")
    status, document = ran(capsys, "quickstart", "wine model.skops", "wine data.csv", "--target", "target")
    assert (status, document["error"]["code"]) == (2, "input-non-finite") and "178 samples" in document["error"]["message"]


def test_columns_of_text_are_those_that_a_hint_drops(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    head, *rows = (work / "wine data.csv").read_text().splitlines()
    (work / "wine data.csv").write_text(
        "\n".join([f"cellar,{head}", *(f"no. {row}" for row in rows)]).replace("no. ", "A,") + "\n"
    )
    document = ran(capsys, "quickstart", "wine model.skops", "wine data.csv")[1]
    assert document["error"]["code"] == "input-shape"
    assert "--drop cellar --drop target" in document["error"]["hint"]


def test_a_private_proof_in_one_command_and_by_the_five_that_it_stands_for(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--target", "target", "--private", "input", "-o", "my first")
    status, document = ran(capsys, "quickstart", "wine model.skops", "wine data.csv", *options)
    assert (status, document["verdict"], document["engine"], document["task"]) == (0, "accepted", "sumcheck", "classification")
    private, public = document["statement"]["tensors"]
    assert (private["name"], private["visibility"], public["visibility"]) == ("features", "private", "public")
    folder = CircuitFolder(work / "my first" / "circuit")
    assert folder.spec.tensors["features"] is Visibility.PRIVATE
    assert folder.spec.dropped == {"target"}
    assert folder.names.columns["features"][0] == "alcohol"
    assert folder.names.labels["probabilities"] == ("0", "1", "2")
    assert len(document["commands"]) == 5
    elsewhere = work / "an empty folder"
    elsewhere.mkdir()
    os.chdir(elsewhere)  # the fixture leads back
    for command in document["commands"]:
        name, *words = shlex.split(command)
        assert name == "verifai"
        assert cli.run([*words, "-q"]) == 0
    for name in ("circuit/circuit.lock", "model.onnx", "model.onnx.facts.json"):
        assert (elsewhere / "my first" / name).read_bytes() == (work / "my first" / name).read_bytes()


def test_a_table_with_gaps_text_and_columns_in_another_order_gives_a_private_proof(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from sklearn.datasets import load_wine
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    data = load_wine()
    pipeline = make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression()).fit(data.data, data.target)
    pipeline.named_steps["simpleimputer"].feature_names_in_ = np.array(data.feature_names, object)
    skops_io.dump(pipeline, work / "gaps.skops")
    turned = [f"cellar {at}; Ltd.;{';'.join(map(str, row[::-1].tolist()))}" for at, row in enumerate(data.data)]
    turned = [line.replace(f"cellar {at}; Ltd.", f'"cellar {at}; Ltd."') for at, line in enumerate(turned)]
    turned[0] = turned[0].rpartition(";")[0] + ";"
    turned[5] = turned[5].rpartition(";")[0] + ";NA"
    (work / "gaps.csv").write_text("\n".join([";".join(["maker", *data.feature_names[::-1]]), *turned]) + "\n")
    output = work / "elsewhere" / "made"
    output.parent.mkdir()
    status, document = ran(
        capsys, "quickstart", "gaps.skops", "gaps.csv", "--drop", "maker", "--private", "input", "-o", output
    )
    assert (status, document["verdict"]) == (0, "accepted"), document.get("error")
    assert document["fidelity"]["samples"] == 176
    assert "--skip 1 --limit 1" in document["commands"][3]
    named = document["statement"]["tensors"][0]
    assert (named["visibility"], len(CircuitFolder(output / "circuit").names.columns["features"])) == ("private", 13)
    wanted = pipeline[1:].predict_proba(data.data[1:2])[0]  # the imputer, which knows names, has nothing to fill in
    assert np.abs(np.array(document["statement"]["tensors"][1]["values"]).reshape(-1) - wanted).max() < 0.02
    for command in document["commands"]:
        assert cli.run([*shlex.split(command)[1:], "-q"]) == 0
    assert (work / "made" / "circuit" / "circuit.lock").read_bytes() == (output / "circuit" / "circuit.lock").read_bytes()


def test_the_text_ends_with_the_commands(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["quickstart", "wine model.skops", "wine data.csv", "--target", "target"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert any(line.startswith("ACCEPTED") for line in shown)
    assert any(line.strip().startswith("Not claimed:") for line in shown)
    assert "folder of your choice" in shown[-6]
    assert [line.split()[1] for line in shown[-5:]] == ["export", "init", "compile", "prove", "verify"]


def test_a_regression_with_its_own_task_and_engine(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from sklearn.datasets import load_diabetes
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    data = load_diabetes(scaled=False)
    skops_io.dump(make_pipeline(StandardScaler(), Ridge()).fit(data.data, data.target), work / "ridge.skops")
    write_csv(work / "rows.csv", list(data.feature_names), data.data.tolist())
    status, document = ran(capsys, "quickstart", "ridge.skops", "rows.csv", "--engine", "sumcheck")
    assert (status, document["task"]) == (0, "regression")
    assert document["fidelity"]["spread_error"] <= 0.01
    assert "--engine sumcheck" in document["commands"][1]


def test_facts_beside_a_canonical_model_are_kept(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ran(capsys, "export", "wine model.skops", "-o", "wine.onnx")[0] == 0
    assert ran(capsys, "quickstart", "wine.onnx", "wine data.csv", "--target", "target")[0] == 0
    kept = read_facts(work / "wine-verifai" / "model.onnx")
    assert kept is not None
    assert (kept, kept.labels) == (read_facts(work / "wine.onnx"), ("0", "1", "2"))
    assert facts_path(work / "wine.onnx").exists()


def test_columns_are_matched_by_the_names_that_the_model_was_trained_with(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from sklearn.datasets import load_wine
    from sklearn.linear_model import LogisticRegression

    data = load_wine()
    estimator = LogisticRegression(max_iter=5000).fit(data.data, data.target)
    estimator.feature_names_in_ = np.array(data.feature_names, object)
    skops_io.dump(estimator, work / "named.skops")
    turned = data.data[:, ::-1]
    write_csv(work / "turned.csv", list(data.feature_names)[::-1], turned.tolist())
    assert cli.run(["quickstart", "named.skops", "turned.csv", "-o", "turned"]) == 0
    assert "taken by their names" in " ".join(capsys.readouterr().err.split())
    write_csv(work / "straight.csv", list(data.feature_names), data.data.tolist())
    status, document = ran(capsys, "quickstart", "named.skops", "straight.csv", "-o", "straight")
    assert status == 0
    locks = [CircuitFolder(work / name / "circuit").lock_path.read_bytes() for name in ("turned", "straight")]
    assert locks[0] == locks[1]
    write_csv(work / "other.csv", ["alcohol %", *data.feature_names[1:]], data.data.tolist())
    status, document = ran(capsys, "quickstart", "named.skops", "other.csv", "-o", "other")
    assert (status, document["error"]["code"], "'alcohol'" in document["error"]["message"]) == (2, "input-missing", True)


def test_a_model_that_only_ezkl_takes_is_told_why_it_needs_a_set_up_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VERIFAI_SRS_DIR", str(tmp_path / "store"))
    graph = helper.make_graph(
        [helper.make_node("ReduceProd", ["x"], ["y"], axes=[1], keepdims=0)],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 12])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    np.savez(tmp_path / "data.npz", x=np.random.default_rng(1).uniform(0.5, 1.8, (20, 1, 12)).astype(np.float32))
    out = tmp_path / "out"
    assert cli.run(["quickstart", str(tmp_path / "model.onnx"), str(tmp_path / "data.npz"), "-o", str(out)]) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "srs-missing" in told and "the sumcheck engine cannot prove this model: ReduceProd" in told


def test_arrays_serve_as_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "q"
    status, document = ran(capsys, "quickstart", FIXTURE / "model.onnx", FIXTURE / "heldout.npz", "-o", output)
    assert (status, document["task"]) == (0, Task.CLASSIFICATION.value)
    assert CircuitFolder(output / "circuit").engine() is EngineName.SUMCHECK


def test_parquet_serves_as_data(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="needs the [tables] extra")
    from pyarrow import parquet

    with (work / "wine data.csv").open(newline="") as stream:
        names, *rows = csv.reader(stream)
    columns = {name: np.array([float(row[index]) for row in rows]) for index, name in enumerate(names)}
    parquet.write_table(pyarrow.table(columns), work / "wine.parquet")
    status, _ = ran(capsys, "quickstart", "wine model.skops", "wine.parquet", "--target", "target", "--private", "features")
    assert status == 0


def test_a_table_with_texts_and_missing_cells_in_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Numbers are imputed and scaled, texts are one-hot; statements say the text and not its number."""
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    rows = np.empty((160, 3), dtype=object)
    rows[:, 0], rows[:, 1] = random.integers(18, 80, 160).astype(float), random.choice(["clerk", "doctor"], 160)
    rows[:, 2] = random.choice(["Köln", "New York, NY"], 160)
    target = np.where(rows[:, 0].astype(float) / 20 + (rows[:, 1] == "doctor") + random.normal(size=160) > 3, "yes", "no")
    holed = rows.copy()
    holed[::9, 0], holed[::7, 1] = np.nan, np.nan
    columns = ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), [0]),
            ("texts", make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore")), [1, 2]),
        ]
    )
    skops_io.dump(make_pipeline(columns, LogisticRegression()).fit(holed, target), tmp_path / "people.skops")
    write_csv(tmp_path / "people.csv", ["age", "job", "town"], rows)
    status, made = ran(capsys, "quickstart", "people.skops", "people.csv", "-o", "out")
    assert (status, made["verdict"]) == (0, "accepted"), made
    folder = CircuitFolder(tmp_path / "out" / "circuit")
    assert folder.lock().names.texts("features")[1].values == ("clerk", "doctor")
    assert cli.run(["verify", "out/evidence/000000", "--lock", "out/circuit/circuit.lock"]) == 0
    shown = capsys.readouterr().out
    assert f"job {rows[0, 1]}" in shown and f"town {rows[0, 2]}" in shown
    write_csv(tmp_path / "later.csv", ["town", "age", "job"], [["Oslo", 40, "clerk"]])
    status, _ = ran(capsys, "prove", "out/circuit", "later.csv", "-o", "later")
    assert status == 0
    assert cli.run(["verify", "later/000000", "--lock", "out/circuit/circuit.lock"]) == 0
    assert "town (other)" in capsys.readouterr().out
