"""A reader's way: numbers, classes and labels in every verb; audits on the true input; circuits that are not their model's."""

from __future__ import annotations

import json
import re
import shutil
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tomli_w
from onnx import helper
from sklearn.datasets import load_diabetes, load_wine
from sklearn.linear_model import LogisticRegression, Ridge

from tests.support.sumcheck_models import model
from verifai.circuit_folder import CircuitFolder
from verifai.cli import app as cli
from verifai.domain.fidelity import Task
from verifai.domain.statement import EngineName, Visibility
from verifai.stages.compile import compile_circuit
from verifai.stages.init import init_circuit

WINE = load_wine()
DIABETES = load_diabetes(scaled=False)
LABELS = ["barolo", "grignolino", "[red]barbera[/]"]
COLUMNS = [f"c{place}" for place in range(13)]


def ran(capsys: pytest.CaptureFixture[str], *arguments: Any) -> dict[str, Any]:
    status = cli.run([*map(str, arguments), "--json"])
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert document["status"] == status
    return document


def told(capsys: pytest.CaptureFixture[str], *arguments: Any) -> str:
    cli.run([*map(str, arguments)])
    return capsys.readouterr().out


def codes(document: dict[str, Any]) -> dict[str, str]:
    return {one["code"]: one["outcome"] for one in document["findings"]}


def circuit(root: Path, name: str, task: Task, hidden: Visibility = Visibility.PUBLIC, more: str = "") -> CircuitFolder:
    """A linear model of scikit-learn's own data, compiled; ``more`` is added to its circuit.toml."""
    if task is Task.CLASSIFICATION:
        data, fitted = WINE.data, LogisticRegression(max_iter=5000).fit(WINE.data, WINE.target)
        constants = {"w": fitted.coef_.T.astype(np.float32), "b": fitted.intercept_.astype(np.float32)}
        nodes, width = [helper.make_node("Gemm", ["x", "w", "b"], ["y"])], 3
    else:
        data, ridge = DIABETES.data, Ridge().fit(DIABETES.data, DIABETES.target)
        constants = {"w": ridge.coef_.reshape(-1, 1).astype(np.float32), "b": np.array([ridge.intercept_], np.float32)}
        nodes, width = [helper.make_node("Gemm", ["x", "w", "b"], ["y"])], 1
    net = model(nodes, {"x": (1, data.shape[1])}, {"y": (1, width)}, constants)
    onnx.save(net.proto, str(root / f"{name}.onnx"))
    np.savez(root / f"{name}-calibration.npz", x=data[::2].astype(np.float32))
    np.savez(root / f"{name}-input.npz", x=data[1:2].astype(np.float32))
    folder = init_circuit(
        root / f"{name}.onnx", net, root / name, engine=EngineName.SUMCHECK, visibility={"x": hidden},
        calibration=root / f"{name}-calibration.npz", task=task,
    )  # fmt: skip
    path = folder.folder / "circuit.toml"
    document = tomllib.loads(path.read_text())
    added = tomllib.loads(more)
    path.write_text(tomli_w.dumps({**document, **added}))
    folder = CircuitFolder(folder.folder)
    compile_circuit(folder)
    return folder


def proven(capsys: pytest.CaptureFixture[str], root: Path, folder: CircuitFolder, inputs: Path | None = None) -> Path:
    name = folder.folder.name
    out = root / f"{name}-evidence-{inputs.stem if inputs else 'own'}"
    if not out.exists():
        assert ran(capsys, "prove", folder.folder, inputs or root / f"{name}-input.npz", "-o", out)["status"] == 0
    return out / "000000"


def trust(capsys: pytest.CaptureFixture[str], root: Path, folder: CircuitFolder) -> Path:
    path = root / f"{folder.folder.name}-trust.toml"
    if not path.exists():
        assert ran(capsys, "trust", "init", "-o", path, "--lock", folder.lock_path)["status"] == 0
    return path


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("values")


@pytest.fixture(scope="module")
def wine(root: Path) -> CircuitFolder:
    return circuit(root, "wine", Task.CLASSIFICATION, more=f"[outputs]\nlabels = {LABELS}\n[inputs]\ncolumns = {COLUMNS}\n")


@pytest.fixture(scope="module")
def price(root: Path) -> CircuitFolder:
    return circuit(root, "price", Task.REGRESSION)


@pytest.fixture(scope="module")
def hidden(root: Path) -> CircuitFolder:
    return circuit(root, "hidden", Task.REGRESSION, Visibility.PRIVATE)


@pytest.fixture(scope="module")
def coarse(root: Path) -> CircuitFolder:
    """Off by 5 % of the output's spread, because its author asked that nothing is required."""
    more = '[fidelity]\nfloor = "none"\n[engine.sumcheck]\noutput_bits = 6\n'
    return circuit(root, "coarse", Task.REGRESSION, more=more)


# Values


def test_a_lock_names_classes_and_columns_apart_from_every_section(wine: CircuitFolder) -> None:
    document = tomllib.loads(wine.lock_path.read_text())
    assert document["circuit"]["labels"] == {"y": LABELS} and document["circuit"]["columns"] == {"x": COLUMNS}
    fidelity = document["engine"]["sumcheck"]["fidelity"]
    assert fidelity["task"] == "classification" and len(fidelity["outputs"][0]["spread"]) == 3


def test_every_verb_prints_what_was_proven(
    wine: CircuitFolder, root: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    bundle, anchor = proven(capsys, root, wine), trust(capsys, root, wine)
    policy = tmp_path / "verifai.toml"
    assert ran(capsys, "gate-init", bundle, "--lock", wine.lock_path, "-o", policy)["missed"] == []
    for arguments in (
        ("prove", wine.folder, root / "wine-input.npz", "-o", tmp_path / "again"),
        ("verify", bundle, "--lock", wine.lock_path),
        ("audit", bundle, "--trust", anchor),
        ("gate", bundle, "--policy", policy),
    ):
        text = told(capsys, *arguments)
        assert "output y = barolo " in text and "; class 0, barolo" in text, arguments[0]
        assert "[red]barbera[/] " in text, "a label is shown as it is"
        assert "input x = c0: 13.2" in text and "… and 7 more (13 values)" in text
    claimed = told(capsys, "inspect", bundle)
    assert "As the bundle claims, not verified: output y = " in claimed
    assert "barolo" not in claimed and "class" not in claimed, "no lock is trusted, so nothing is called anything"


def test_json_has_numbers_beside_integers(wine: CircuitFolder, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = proven(capsys, root, wine)
    (one,) = ran(capsys, "verify", bundle, "--lock", wine.lock_path)["bundles"]
    x, y = one["statement"]["tensors"]
    scale = int(y["scale"][0]) / int(y["scale"][1])
    assert y["values"] == pytest.approx([int(q) * scale for q in y["quantised"]])
    assert np.allclose(x["values"], WINE.data[1], atol=max(x["steps"])) and x["column_names"] == COLUMNS
    assert y["decisions"] == [{"row": 0, "index": 0, "label": "barolo"}] and y["labels"] == LABELS
    (report,) = ran(capsys, "audit", bundle, "--trust", trust(capsys, root, wine))["bundles"]
    assert report["values"][0]["values"] == y["values"]
    assert report["comparisons"][0]["same_class"] is True and report["comparisons"][0]["proven"] == y["values"]
    inspected = ran(capsys, "inspect", bundle)["values"][0]
    assert inspected["values"] == y["values"] and "labels" not in inspected and "decisions" not in inspected


def test_a_table_is_matched_by_the_columns_of_the_lock_and_not_by_their_order(
    wine: CircuitFolder, root: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The file that was proven from may hold more than inputs; one whose header says something else is another input."""
    bundle, anchor, table = proven(capsys, root, wine), trust(capsys, root, wine), tmp_path / "row.csv"
    row = [repr(float(cell)) for cell in WINE.data[1].astype(np.float32)]
    turned, swapped = [*COLUMNS[::-1], "quality"], [COLUMNS[1], COLUMNS[0], *COLUMNS[2:]]
    for names, cells, status, code in (
        (turned, [*row[::-1], "good"], 0, "input-matches"),
        (swapped, row, 1, "input-mismatch"),
        (COLUMNS[:-1], row[:-1], 2, "input-missing"),
    ):
        table.write_text(f"{','.join(names)}\n{','.join(cells)}\n")
        for verb in (("verify", bundle, "--lock", wine.lock_path), ("audit", bundle, "--trust", anchor)):
            document = ran(capsys, *verb, "--input", table)
            found = [one["code"] for part in document.get("bundles", []) for one in part["findings"]]
            found += [document["error"]["code"]] if "error" in document else []
            assert (document["status"], code in found) == (status, True), (verb[0], names, document)


def test_compiling_again_with_other_labels_is_no_reproduction(
    wine: CircuitFolder, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert ran(capsys, "compile", wine.folder, "--locked")["status"] == 0
    path = wine.folder / "circuit.toml"
    before = path.read_text()
    try:
        path.write_text(before.replace("grignolino", "nebbiolo"))
        refused = ran(capsys, "compile", wine.folder, "--locked")
        assert (refused["status"], refused["error"]["code"]) == (2, "lock-not-reproduced")
        path.write_text(before.replace('    "grignolino",\n', ""))
        refused = ran(capsys, "compile", wine.folder)
        assert (refused["status"], refused["error"]["code"]) == (2, "bad-spec")
    finally:
        path.write_text(before)


def test_the_page_shows_rows_and_classes(
    wine: CircuitFolder, root: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    page = tmp_path / "audit.html"
    anchor = trust(capsys, root, wine)
    told(capsys, "audit", proven(capsys, root, wine), "--trust", anchor, "--report", f"html={page}")
    text = page.read_text()
    assert "Class <b>0, barolo</b>" in text and "<th>c12</th>" in text


# The true input


def test_the_float_model_runs_on_the_given_input_and_it_is_said(
    price: CircuitFolder, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle, anchor = proven(capsys, root, price), trust(capsys, root, price)
    rounded = ran(capsys, "audit", bundle, "--trust", anchor)
    given = ran(capsys, "audit", bundle, "--trust", anchor, "--input", root / "price-input.npz")
    for document, how in (
        (rounded, "on the proven input, which is rounded to the circuit's steps"),
        (given, "on the given input"),
    ):
        assert document["status"] == 0
        (near,) = [one for one in document["findings"] if one["code"] == "reference-near"]
        assert how in near["message"] and "spreads of the output" in near["evidence"]
    expected = Ridge().fit(DIABETES.data, DIABETES.target).predict(DIABETES.data[1:2].astype(np.float32))
    assert given["bundles"][0]["comparisons"][0]["reference"] == pytest.approx(expected.tolist(), rel=1e-5)
    assert given["bundles"][0]["comparisons"][0]["same_class"] is None


def test_an_input_for_a_private_tensor_serves_the_model_and_is_no_lie(
    hidden: CircuitFolder, root: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The report used to say that the proof does not hold, once its own hint was followed."""
    bundle, anchor = proven(capsys, root, hidden), trust(capsys, root, hidden)
    without = ran(capsys, "audit", bundle, "--trust", anchor)
    (missed,) = [one for one in without["findings"] if one["code"] == "reference-not-run"]
    assert missed["remedy"] == "Give it with --input." and without["status"] == 0
    followed = ran(capsys, "audit", bundle, "--trust", anchor, "--input", root / "hidden-input.npz")
    assert followed["status"] == 0 and "does not hold" not in json.dumps(followed)
    found = codes(followed)
    assert (found["input-not-matched"], found["reference-near"]) == ("not-checked", "holds")
    assert followed["bundles"][0]["statement"] and followed["bundles"][0]["values"]
    # Another input: it cannot be told from the proven one, but the numbers do not fit it.
    np.savez(tmp_path / "other.npz", x=DIABETES.data[9:10].astype(np.float32))
    other = ran(capsys, "audit", bundle, "--trust", anchor, "--input", tmp_path / "other.npz")
    (far,) = [one for one in other["findings"] if one["code"] == "reference-far"]
    assert (other["status"], far["outcome"]) == (3, "policy-not-met")
    assert "nothing here shows" in far["message"] and far["remedy"].startswith("If another input was proven")
    assert "rejected" not in codes(other).values()


def test_a_public_input_that_was_not_proven_is_false_and_the_model_runs_on_the_proven_one(
    price: CircuitFolder, root: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    np.savez(tmp_path / "other.npz", x=DIABETES.data[9:10].astype(np.float32))
    anchor = trust(capsys, root, price)
    document = ran(capsys, "audit", proven(capsys, root, price), "--trust", anchor, "--input", tmp_path / "other.npz")
    found = codes(document)
    assert document["status"] == 1 and found["input-mismatch"] == "rejected"
    assert found["reference-near"] == "holds", "the proof holds, and its own numbers fit its own input"
    assert document["bundles"][0]["statement"] == [] and document["bundles"][0]["openings"] == []


def test_another_context_does_not_make_the_proof_false(
    price: CircuitFolder, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    anchor = trust(capsys, root, price)
    document = ran(capsys, "audit", proven(capsys, root, price), "--trust", anchor, "--expect-context", "fresh")
    assert (document["status"], codes(document)["context-mismatch"]) == (1, "rejected")
    assert "does not hold" not in json.dumps(document) and codes(document)["reference-near"] == "holds"


# Circuits that are not their model's


def test_compile_refuses_a_regression_that_is_off_by_five_per_cent(
    coarse: CircuitFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same circuit, once its author no longer says that nothing is required; and it names the field that is in the way."""
    asked = (coarse.folder / "circuit.toml").read_text()
    folder = coarse.folder.with_name("asked")  # whose paths are relative
    shutil.copytree(coarse.folder, folder)
    (folder / "circuit.toml").write_text(asked.replace('floor = "none"\n', ""))
    (folder / "circuit.lock").unlink()
    document = ran(capsys, "compile", folder)
    assert (document["status"], document["error"]["code"]) == (3, "fidelity-below-floor")
    error = float(re.search(r"percentile\) (?:of the worst output column )?([0-9.]+)", document["error"]["message"])[1])  # type: ignore[index]
    assert 0.03 < error < 0.08 and "output_bits" in document["error"]["hint"]
    assert not (folder / "circuit.lock").exists(), "nothing is pinned"
    (folder / "circuit.toml").write_text((folder / "circuit.toml").read_text().replace("output_bits = 6\n", ""))
    assert ran(capsys, "compile", folder)["status"] == 0, "what the hint says helps"


def test_an_audit_refuses_a_regression_that_is_off_by_five_per_cent(
    coarse: CircuitFolder, root: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    figures = tomllib.loads(coarse.lock_path.read_text())["engine"]["sumcheck"]["fidelity"]
    assert 0.03 < figures["spread_error"] < 0.08 and "top1_matches" not in figures
    anchor = trust(capsys, root, coarse)
    for row in range(1, 30, 2):
        inputs = tmp_path / f"row-{row}.npz"
        np.savez(inputs, x=DIABETES.data[row : row + 1].astype(np.float32))
        bundle = proven(capsys, root, coarse, inputs)
        assert ran(capsys, "verify", bundle, "--lock", coarse.lock_path)["status"] == 0, "the proof holds, for the circuit"
        document = ran(capsys, "audit", bundle, "--trust", anchor, "--input", inputs)
        assert (document["status"], codes(document)["fidelity-poor"]) == (3, "policy-not-met"), "also when this row is near"
        if "reference-far" in codes(document):
            break
    else:
        raise AssertionError("no row is far")
    accepted = ran(capsys, "audit", bundle, "--trust", anchor, "--input", inputs, "--max-spread-error", 0.2)
    assert accepted["status"] == 0, "an auditor may ask for less, by name"


def test_prove_says_at_once_that_an_output_is_far(
    coarse: CircuitFolder, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    np.savez(tmp_path / "rows.npz", x=DIABETES.data[1:13].astype(np.float32))
    assert cli.run(["prove", str(coarse.folder), str(tmp_path / "rows.npz"), "-o", str(tmp_path / "e"), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    far = [one for one in document["bundles"] if "reference-far" in {finding["code"] for finding in one["findings"]}]
    assert far and len(document["findings"]) >= len(far)


def test_a_policy_drafted_from_a_bad_circuit_is_one_that_it_misses(
    coarse: CircuitFolder, root: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    bundle, policy = proven(capsys, root, coarse), tmp_path / "verifai.toml"
    drafted = ran(capsys, "gate-init", bundle, "--lock", coarse.lock_path, "-o", policy)
    assert drafted["status"] == 0 and len(drafted["missed"]) == 1 and "spreads of the output" in drafted["missed"][0]
    assert tomllib.loads(policy.read_text())["model"][0]["fidelity"]["spread_error"] == 0.01
    verdict = ran(capsys, "gate", bundle, "--policy", policy)
    assert (verdict["status"], codes(verdict)["fidelity-below-floor"]) == (3, "policy-not-met")
    text = told(capsys, "gate-init", bundle, "--lock", coarse.lock_path, "-o", policy, "--force")
    assert "does not meet it" in text and "Leave [fidelity] out of circuit.toml" in text and "[model.fidelity]" in text


def test_a_policy_drafted_from_a_good_circuit_is_met(
    price: CircuitFolder, root: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    bundle, policy = proven(capsys, root, price), tmp_path / "verifai.toml"
    assert ran(capsys, "gate-init", bundle, "--lock", price.lock_path, "-o", policy)["missed"] == []
    assert ran(capsys, "gate", bundle, "--policy", policy)["status"] == 0


# Saturation


@pytest.mark.parametrize("which", ["price", "hidden"])
def test_a_value_beyond_the_calibrated_range_is_told_by_prove_verify_and_audit(
    which: str, root: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(which)
    row = DIABETES.data[1:2].copy()
    row[0, 2:] = DIABETES.data[:, 2:].max(axis=0)  # each column within its range, all of them at its end
    np.savez(tmp_path / "beyond.npz", x=row.astype(np.float32))
    out = tmp_path / "e"
    text = told(capsys, "prove", folder.folder, tmp_path / "beyond.npz", "-o", out)
    assert "1 of 1 values of output 'y' lie at the end of the circuit's range" in text
    assert "Of 1 proven: 1 with values at the end of the circuit's range; 1 far from the float model" in text
    verified = ran(capsys, "verify", out / "000000", "--lock", folder.lock_path)
    assert (verified["status"], codes(verified)["output-saturated"]) == (0, "not-checked")
    audited = ran(capsys, "audit", out / "000000", "--trust", trust(capsys, root, folder), "--input", tmp_path / "beyond.npz")
    assert (audited["status"], codes(audited)["output-saturated"]) == (3, "not-checked")
    assert codes(audited)["reference-far"] == "policy-not-met"


# Older locks


def test_a_lock_of_an_older_release_is_judged_by_what_it_has(
    price: CircuitFolder, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    old = tmp_path / "price"
    shutil.copytree(price.folder, old)
    document = tomllib.loads((old / "circuit.lock").read_text())
    for name in ("task", "outputs", "spread_error", "r2"):
        document["engine"]["sumcheck"]["fidelity"].pop(name)
    (old / "circuit.lock").write_text(tomli_w.dumps(document))
    shutil.copy(price.folder.parent / "price.onnx", tmp_path / "price.onnx")
    assert ran(capsys, "prove", old, price.folder.parent / "price-input.npz", "-o", tmp_path / "e")["status"] == 0
    assert ran(capsys, "trust", "init", "-o", tmp_path / "trust.toml", "--lock", old / "circuit.lock")["status"] == 0
    audited = ran(capsys, "audit", tmp_path / "e" / "000000", "--trust", tmp_path / "trust.toml")
    found = codes(audited)
    assert audited["status"] == 0
    assert (found["fidelity-not-judged"], found["reference-distance"]) == ("not-checked", "not-checked")
    assert found["reference-near"] == "holds"


def test_an_output_that_the_proof_hides_is_compared_for_its_owner_without_a_figure(
    root: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = circuit(root, "hashed", Task.REGRESSION)
    path = folder.folder / "circuit.toml"
    path.write_text(path.read_text().replace('\ny = "public"', '\ny = "hashed"'))
    compile_circuit(CircuitFolder(folder.folder))
    row = DIABETES.data[1:2].copy()
    row[0, 2:] = DIABETES.data[:, 2:].max(axis=0)
    np.savez(tmp_path / "beyond.npz", x=row.astype(np.float32))
    (one,) = ran(capsys, "prove", folder.folder, tmp_path / "beyond.npz", "-o", tmp_path / "e")["bundles"]
    (far,) = [finding for finding in one["findings"] if finding["code"] == "reference-far"]
    assert far["message"] == "the proven 'y', which the proof hides, is far from the float model's" and "evidence" not in far
    assert "values" not in one["statement"]["tensors"][1]
