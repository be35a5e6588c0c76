"""Evaluations through the command line: hidden weights, a regression, groups, an interrupted run, a gate that says no."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.evaluations import ROWS, circuit, lock_of, rows_set
from tests.support.paths import ROOT
from verifai.cli import app as cli
from verifai.domain.statement import Visibility, WeightVisibility
from verifai.errors import UsageError
from verifai.stages.evaluate import evaluate, work_folder
from verifai.stages.evaluation.lock_file import write_data_lock
from verifai.stages.ready import ReadyCircuit


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("evaluations")


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Any]]:
    status = cli.run([*map(str, arguments), "--json"])
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return status, document


def codes(document: dict[str, Any]) -> set[str]:
    return {one["code"] for one in document["findings"] if one["outcome"] in ("rejected", "policy-not-met", "undecided")}


def test_hidden_weights_and_scores_show_only_the_classes_and_a_gate_counts_them(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = circuit(root, "hidden-weights", Visibility.PUBLIC, WeightVisibility.PRIVATE)
    data = rows_set()
    np.savez(
        root / "rows.npz",
        x=np.array(data.inputs["x"]),
        label=data.labels,
        who=np.array([0 if one == "a" else 1 for one in data.groups]),
    )
    status, pinned = run(capsys, "dataset", root / "rows.npz", "-o", root / "rows.lock", "--group", "who")
    assert status == 0
    assert pinned["groups"] == ["0", "1"]
    status, made = run(capsys, "evaluate", folder.folder, root / "rows.lock", "-o", root / "hidden.evaluation")
    assert status == 0
    counted = made["evaluation"]["whole"]["accuracy"]
    assert (counted["right"], counted["samples"]) == (8, ROWS)
    assert made["evaluation"]["whole"]["top_k"] == {}  # the scores are hidden
    # The same command again makes nothing: a bundle is never written over.
    status, again = run(capsys, "evaluate", folder.folder, root / "rows.lock", "-o", root / "hidden.evaluation")
    assert (status, again["error"]["code"]) == (2, "bad-output")
    policy = root / "policy.toml"
    text = f"""
        schema = "verifai/policy/v1"
        [[model]]
        name = "rows"
        lock = "{folder.folder.name}"
        evidence = ["evaluation"]
        [model.evaluation]
        data = "rows.lock"
        accuracy = 0.8
        largest_gap_between_groups = 1.0
        srs = "transparent"
        privacy = "zero-knowledge-unaudited"
    """
    policy.write_text(text)
    status, verdict = run(capsys, "gate", root / "hidden.evaluation", "--policy", policy)
    assert status == 0, verdict
    assert verdict["bundles"][0]["evaluation"]["whole"]["accuracy"]["right"] == 8
    for old, new, expected in (
        ("0.8", "0.81", "accuracy-below-floor"),
        ("accuracy = 0.8", 'accuracy = 0.8\nfloors_on = "lower-end"', "accuracy-below-floor"),
        ("largest_gap_between_groups = 1.0", "accuracy_of_each_group = 0.9", "accuracy-below-floor"),
        ('"zero-knowledge-unaudited"', '"zero-knowledge"', "privacy-below-policy"),
        ('srs = "tr', 'context = "release"\n        srs = "tr', "context-mismatch"),
    ):
        policy.write_text(text.replace(old, new, 1))
        status, verdict = run(capsys, "gate", root / "hidden.evaluation", "--policy", policy)
        assert expected in codes(verdict), (new, verdict["findings"])
        assert status in (1, 3)
    policy.write_text(text.replace("accuracy = 0.8", "recall_of.cat = 0.8", 1))
    status, verdict = run(capsys, "gate", root / "hidden.evaluation", "--policy", policy)
    assert (status, verdict["error"]["code"]) == (2, "bad-policy")
    policy.write_text(text.replace("accuracy = 0.8", "top_k_accuracy.2 = 0.8", 1))
    status, verdict = run(capsys, "gate", root / "hidden.evaluation", "--policy", policy)
    assert "evaluation-output-hidden" in codes(verdict)


def test_inferences_of_an_evaluation_count_as_proofs_where_the_policy_asks_for_both(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = circuit(root, "both")
    data = rows_set()
    lock = lock_of(data)
    write_data_lock(root / "both.lock", lock)
    evaluate(folder, data, lock, root / "both.evaluation")
    terms = 'engines = ["sumcheck"]\n        privacy = "integrity-only"\n        srs = "transparent"'
    text = f"""
        schema = "verifai/policy/v1"
        [[model]]
        name = "rows"
        lock = "both"
        evidence = ["proof", "evaluation"]
        [model.proof]
        inferences = {ROWS}
        {terms}
        [model.evaluation]
        data = "both.lock"
        accuracy = 0.5
        {terms}
    """
    policy = root / "both.toml"
    policy.write_text(text)
    status, verdict = run(capsys, "gate", root / "both.evaluation", "--policy", policy)
    assert status == 0, verdict
    policy.write_text(text.replace(f"inferences = {ROWS}", f"inferences = {ROWS + 1}"))
    status, verdict = run(capsys, "gate", root / "both.evaluation", "--policy", policy)
    assert "too-few-inferences" in codes(verdict)
    proofs_alone = text.replace('["proof", "evaluation"]', '["proof"]').partition("[model.evaluation]")[0]
    policy.write_text(proofs_alone)
    status, verdict = run(capsys, "gate", root / "both.evaluation", "--policy", policy)
    assert "evidence-not-asked" in codes(verdict)


def test_an_audit_names_who_signed_the_evaluation_and_says_once_what_all_proofs_share(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, data, key = circuit(root, "audited"), rows_set(), root / "signer.key"
    write_data_lock(root / "audited.lock", lock_of(data))
    evaluate(folder, data, lock_of(data), root / "audited.evaluation")
    assert run(capsys, "key", "new", key, "--no-passphrase")[0] == 0
    assert run(capsys, "seal", root / "audited.evaluation", "--key", key)[0] == 0
    trust = root / "audited.toml"
    assert run(capsys, "trust", "init", "-o", trust, "--lock", folder.lock_path, "--key", f"{key}.pub")[0] == 0
    status = cli.run(
        ["audit", *map(str, (root / "audited.evaluation", "--trust", trust, "--data", root / "audited.lock", "--no-rederive"))]
    )
    told = capsys.readouterr().out
    assert status in (0, 3)  # the key was not made again
    assert "signed by signer (key " in told.splitlines()[1]
    assert "nobody whom the trust file names" not in told
    assert told.count("[signature-not-required]") == 3  # of the circuit, of the evaluation, and of all proofs once
    assert ", and 2 more" in told


def test_an_interrupted_evaluation_goes_on_and_proves_nothing_twice(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = circuit(root, "interrupted")
    data = rows_set()
    lock, output = lock_of(data), root / "interrupted.evaluation"
    proven: list[int] = []
    original = ReadyCircuit.prove_sample

    def prove_sample(self: ReadyCircuit, index: int, *args: Any, **kwargs: Any) -> Any:
        if len(proven) == 2:
            raise KeyboardInterrupt
        proven.append(index)
        return original(self, index, *args, **kwargs)

    monkeypatch.setattr(ReadyCircuit, "prove_sample", prove_sample)
    with pytest.raises(BaseException):  # noqa: B017 - whatever the batch makes of Ctrl-C
        evaluate(folder, data, lock, output)
    assert not output.exists()
    assert work_folder(output).is_dir()
    monkeypatch.setattr(ReadyCircuit, "prove_sample", original)
    made = evaluate(folder, data, lock, output)
    assert (made.proofs, made.earlier) == (3, 2)
    assert not work_folder(output).exists()
    again = evaluate(folder, data, lock, output)
    assert (again.evaluation.bundle_id, again.earlier) == (made.evaluation.bundle_id, 3)
    # Something else at the output is never replaced.
    with pytest.raises(UsageError) as caught:
        evaluate(folder, rows_set(seed=9), lock_of(rows_set(seed=9)), output)
    assert caught.value.code == "evaluation-differs"
    with pytest.raises(UsageError) as caught:
        evaluate(folder, rows_set(seed=9), lock, root / "never")
    assert caught.value.code == "data-lock-differs"


@pytest.mark.slow
def test_a_regression_on_a_table_is_measured_in_the_unit_of_its_labels(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    datasets = pytest.importorskip("sklearn.datasets", reason="needs the [sklearn] extra")
    linear = pytest.importorskip("sklearn.linear_model", reason="needs the [sklearn] extra")
    skops = pytest.importorskip("skops.io", reason="needs the [sklearn] extra")
    found = datasets.load_diabetes()
    names = list(found.feature_names)
    model = linear.LinearRegression().fit(found.data, found.target)
    skops.dump(model, root / "diabetes.skops")
    lines = [",".join([*names, "target", "sex_name"])]
    for row, target in zip(found.data[:40], found.target[:40], strict=True):
        lines.append(",".join([*(repr(float(one)) for one in row), repr(float(target)), "f" if row[1] > 0 else "m"]))
    (root / "diabetes.csv").write_text("\n".join(lines) + "\n")
    np.savez(root / "diabetes-cal.npz", features=found.data.astype(np.float32))
    assert cli.run(["export", str(root / "diabetes.skops"), "-o", str(root / "diabetes.onnx")]) == 0
    capsys.readouterr()
    folder = root / "diabetes"
    folder.mkdir()
    (folder / "circuit.toml").write_text(
        f"""
        [circuit]
        name = "diabetes"
        task = "regression"
        model = "../diabetes.onnx"
        engine = "sumcheck"
        [tensors]
        features = "public"
        prediction = "public"
        [weights]
        visibility = "public"
        [fidelity]
        floor = "none"
        [calibration]
        data = "../diabetes-cal.npz"
        [inputs]
        columns = {json.dumps(names)}
        """
    )
    assert cli.run(["compile", str(folder), "--batch", "16"]) == 0
    capsys.readouterr()
    status, pinned = run(
        capsys, "dataset", root / "diabetes.csv", "-o", root / "diabetes.lock", "--label", "target", "--group", "sex_name"
    )
    assert (status, pinned["task"]) == (0, "regression")
    status, made = run(capsys, "evaluate", folder, root / "diabetes.lock", "-o", root / "diabetes.evaluation")
    assert status == 0, made
    whole = made["evaluation"]["whole"]
    expected = np.abs(model.predict(found.data[:40]) - found.target[:40]).mean()
    assert whole["mean_absolute_error"] == pytest.approx(expected, rel=0.02)
    assert set(made["evaluation"]["groups"]) == {"f", "m"}
    status, shown = run(capsys, "verify", root / "diabetes.evaluation", "--lock", folder, "--data", root / "diabetes.lock")
    assert (status, shown["bundles"][0]["evaluation"]["whole"]) == (0, whole)


def test_a_data_set_of_another_task_or_shape_is_refused_with_what_to_do(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = circuit(root, "other-shape")
    np.savez(root / "wide.npz", x=np.zeros((6, 7), np.float32), label=np.array([0, 1] * 3))
    status, told = run(capsys, "evaluate", folder.folder, root / "wide.npz", "-o", root / "never.evaluation")
    assert (status, told["error"]["code"]) == (2, "input-shape")
    np.savez(root / "numbers.npz", x=np.array(rows_set().inputs["x"]), label=np.linspace(0.1, 0.9, ROWS))
    status, told = run(capsys, "evaluate", folder.folder, root / "numbers.npz", "-o", root / "never.evaluation")
    assert status == 3, told
    assert told["error"]["code"] == "evaluation-no-answer"
    assert not (root / "never.evaluation").exists()
    status, told = run(capsys, "verify", root, "--lock", folder.folder, "--data", ROOT / "pyproject.toml")
    assert (status, told["error"]["code"]) == (2, "bad-data-lock")
