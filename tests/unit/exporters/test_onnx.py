"""ONNX files as skl2onnx writes them: labels and maps are left out, the classes are kept."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from verifai.errors import UnsupportedModel, UsageError
from verifai.stages.export import export

pytest.importorskip("skl2onnx", reason="needs the [sklearn] extra")

import skl2onnx
from sklearn.linear_model import LinearRegression, LogisticRegression, SGDClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, SVR

from tests.support.estimators import DATA, fitted

NAMES = np.array(["setosa", "versicolor", "virginica"])


def converted(folder: Path, estimator: Any, data: str = "iris", **options: Any) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = skl2onnx.to_onnx(estimator, DATA[data][0][:1].astype(np.float32), **options)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return folder / "model.onnx"


def named() -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(DATA["iris"][0], NAMES[DATA["iris"][1]])


@pytest.mark.parametrize("options", [{}, {"options": {"zipmap": False}}], ids=["a map", "plain"])
def test_labels_and_maps_are_left_out_and_the_classes_kept(options: Any, tmp_path: Path) -> None:
    result = export(converted(tmp_path, named(), **options), dims={"X:0": 1})
    assert [spec.shape for spec in result.model.outputs] == [(1, 3)]
    assert result.facts is not None
    assert (result.facts.labels, result.facts.task) == (tuple(NAMES), "classification")
    assert (result.facts.input, result.facts.output) == ("X", result.model.outputs[0].name)
    assert any("Left out of the outputs" in notice and "--select" in notice for notice in result.notices)
    assert (result.parity.decisions, result.parity.decisions_differ) == (8, 0)


@pytest.mark.parametrize("build", [GaussianNB, lambda: MLPClassifier((4,), max_iter=20), lambda: SGDClassifier(random_state=0)])
def test_labels_made_of_standard_operators_are_found(build: Any, tmp_path: Path) -> None:
    result = export(converted(tmp_path, fitted(build, "iris")), dims={"X:0": 1})
    assert result.facts is not None and result.facts.labels == ("0", "1", "2")


def test_the_public_name_of_a_map_stays(tmp_path: Path) -> None:
    assert [spec.name for spec in export(converted(tmp_path, named()), dims={"X:0": 1}).model.outputs] == ["output_probability"]


def test_an_output_can_be_chosen(tmp_path: Path) -> None:
    path = converted(tmp_path, named(), options={"zipmap": False})
    assert export(path, dims={"X:0": 1}, select=["probabilities"]).parity.max_error < 1e-5
    with pytest.raises(UnsupportedModel) as caught:
        export(path, dims={"X:0": 1}, select=["label"])
    assert "--select" in caught.value.hint or "plain tensors" in caught.value.hint
    with pytest.raises(UsageError) as refused:
        export(path, dims={"X:0": 1}, select=["nothing"])
    assert (refused.value.code, "probabilities" in refused.value.hint) == ("bad-option", True)


def test_scores_that_do_not_follow_the_label_give_no_labels(tmp_path: Path) -> None:
    """onnxruntime writes the scores of two classes of an SVMClassifier the other way round."""
    estimator = fitted(lambda: make_pipeline(StandardScaler(), SVC()), "cancer")
    result = export(converted(tmp_path, estimator, "cancer"), dims={"X:0": 1})
    assert result.facts is None
    assert any("no labels were kept" in notice for notice in result.notices)


@pytest.mark.parametrize("kernel", ["linear", "poly", "rbf", "sigmoid"])
def test_support_vector_machines_become_products(kernel: str, tmp_path: Path) -> None:
    scaled = lambda machine: make_pipeline(StandardScaler(), machine)  # noqa: E731
    classes = export(converted(tmp_path, fitted(lambda: scaled(SVC(kernel=kernel)), "iris")), dims={"X:0": 1})
    assert {node.domain for node in classes.model.proto.graph.node} == {""}
    assert classes.parity.max_error < 1e-4
    numbers = export(converted(tmp_path, fitted(lambda: scaled(SVR(kernel=kernel)), "diabetes"), "diabetes"), dims={"X:0": 1})
    assert numbers.parity.max_error < 1e-4


def test_neighbours_have_no_step_per_point(tmp_path: Path) -> None:
    """Of skl2onnx's Scan over the 75 points."""
    result = export(converted(tmp_path, fitted(KNeighborsClassifier, "iris")), dims={"X:0": 1})
    nodes = [node.op_type for node in result.model.proto.graph.node]
    assert "Scan" not in nodes and len(nodes) < 40
    assert not result.parity.decisions_differ


def test_a_model_without_classes_has_no_facts(tmp_path: Path) -> None:
    result = export(converted(tmp_path, fitted(LinearRegression, "diabetes"), "diabetes"), dims={"X:0": 1})
    assert result.facts is None and not result.parity.decisions
