"""Trees in skops files: taken without a switch, and no array of them reaches compiled code before it was looked at."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("skl2onnx", reason="needs the [sklearn] extra")
pytest.importorskip("skops.io", reason="needs the [sklearn] extra")

from sklearn.ensemble import (
    AdaBoostClassifier,
    AdaBoostRegressor,
    BaggingClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeRegressor

from tests.support.estimators import DATA, Build, fitted, saved
from verifai.errors import UnsupportedModel, UsageError, VerifaiError
from verifai.exporters.interface import Source
from verifai.exporters.sklearn.archive import load_skops
from verifai.exporters.sklearn.plain_trees import PlainTree
from verifai.exporters.sklearn.stored import check_stored, reachable
from verifai.stages.export import export

KINDS: dict[str, tuple[Build, str]] = {
    "forest": (lambda: RandomForestClassifier(5, random_state=0), "wine"),
    "boosting": (lambda: GradientBoostingClassifier(n_estimators=4), "iris"),
    "histograms": (lambda: HistGradientBoostingClassifier(max_iter=3), "iris"),
    "histograms of a regressor": (lambda: HistGradientBoostingRegressor(max_iter=3), "diabetes"),
    "adaboost": (lambda: AdaBoostClassifier(n_estimators=4), "wine"),
    "adaboost of a regressor": (lambda: AdaBoostRegressor(n_estimators=7, random_state=0), "diabetes"),
    "isolation": (lambda: IsolationForest(n_estimators=6, random_state=0), "iris"),
    "bagging": (lambda: BaggingClassifier(n_estimators=3), "iris"),
    "votes": (lambda: VotingClassifier([("a", RandomForestClassifier(3)), ("b", LogisticRegression(max_iter=500))]), "iris"),
    "pipeline": (lambda: make_pipeline(StandardScaler(), DecisionTreeRegressor(max_depth=4)), "diabetes"),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_file_of_trees_needs_no_switch(name: str, tmp_path: Path) -> None:
    build, data = KINDS[name]
    estimator = fitted(build, data)
    found = load_skops(Source(str(saved(tmp_path, estimator)), {}))
    check_stored(found)
    rows = DATA[data][0]
    assert np.array_equal(found.predict(rows), estimator.predict(rows))


def test_it_is_exported_with_the_same_decisions(tmp_path: Path) -> None:
    result = export(saved(tmp_path, fitted(*KINDS["forest"])))
    assert result.parity.max_error < 1e-4 and result.parity.decisions_differ == 0


@pytest.mark.parametrize("count", [1, 2, 8, 13])
def test_a_median_of_trees_is_scikit_learns(count: int, tmp_path: Path) -> None:
    estimator = fitted(lambda: AdaBoostRegressor(n_estimators=count, random_state=1), "diabetes")
    estimator.estimator_weights_[:] = 1.0 if count == 8 else estimator.estimator_weights_
    rows = DATA["diabetes"][0].astype(np.float32)
    result = export(saved(tmp_path, estimator), samples=[{"features": row[None]} for row in rows[:200]])
    assert result.parity.max_error < 1e-4


def a_tree(state: Any) -> dict[str, Any] | None:
    """The first description of a compiled tree in a file's schema."""
    if isinstance(state, dict):
        if state.get("__loader__") == "TreeNode":
            return state
        state = list(state.values())
    if isinstance(state, list):
        return next((found for item in state if (found := a_tree(item)) is not None), None)
    return None


def changed(path: Path, change: Callable[[dict[str, Any], dict[str, np.ndarray]], None]) -> Path:
    """The file with the description and the arrays (nodes, values, classes) of its first tree changed."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    schema = json.loads(members["schema.json"])
    tree = a_tree(schema)
    assert tree is not None
    content = tree["content"]["content"]
    files = {
        "nodes": content["nodes"]["file"],
        "values": content["values"]["file"],
        "classes": tree["__reduce__"]["args"]["content"][1]["file"],
    }
    arrays = {name: np.load(io.BytesIO(members[file])) for name, file in files.items()}
    change(tree, arrays)
    for name, file in files.items():
        buffer = io.BytesIO()
        np.save(buffer, arrays[name])
        members[file] = buffer.getvalue()
    members["schema.json"] = json.dumps(schema).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def node(field: str, value: float, place: int = 0) -> Callable[[dict[str, Any], dict[str, np.ndarray]], None]:
    def change(tree: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        arrays["nodes"][field][place] = value

    return change


def resized(name: str, size: int) -> Callable[[dict[str, Any], dict[str, np.ndarray]], None]:
    def change(tree: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        arrays[name] = np.resize(arrays[name], (size, *arrays[name].shape[1:]))

    return change


def argument(place: int, text: str) -> Callable[[dict[str, Any], dict[str, np.ndarray]], None]:
    def change(tree: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        found = tree["__reduce__"]["args"]["content"][place]
        found["content"] = text
        found.pop("__id__", None)  # else skops takes what it read under this number before

    return change


def of_state(name: str, text: str) -> Callable[[dict[str, Any], dict[str, np.ndarray]], None]:
    def change(tree: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        tree["content"]["content"][name] = {**tree["__reduce__"]["args"]["content"][0], "content": text}
        tree["content"]["content"][name].pop("__id__", None)

    return change


def retyped(tree: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    arrays["nodes"] = np.zeros(len(arrays["nodes"]), np.float64)


def a_class_of_many(tree: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    arrays["classes"][0] = 1 << 40


HOSTILE = {
    "a child beyond the nodes": node("left_child", 1 << 40),
    "a child before the first": node("right_child", -7),
    "a node that is its own child": node("left_child", 0),
    "one child on both sides": node("right_child", 1),
    "half a leaf": node("left_child", -1),
    "a column beyond the others": node("feature", 1 << 20),
    "a column before the first": node("feature", -2),
    "a threshold that is no number": node("threshold", float("nan")),
    "fewer values than nodes": resized("values", 1),
    "fewer nodes than values": resized("nodes", 1),
    "no nodes": resized("nodes", 0),
    "no classes": resized("classes", 0),
    "more classes than outputs": resized("classes", 3),
    "a class count beyond memory": a_class_of_many,
    "nodes of another type": retyped,
    "more outputs than it has classes for": argument(2, "4000"),
    "outputs without end": argument(2, str(1 << 60)),
    "a negative number of outputs": argument(2, "-1"),
    "more columns than the estimator": argument(0, "500"),
    "a text for a number": argument(0, '"x"'),
    "a depth without end": of_state("max_depth", str(1 << 60)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_arrays_are_refused_before_compiled_code_reads_them(name: str, tmp_path: Path) -> None:
    path = changed(saved(tmp_path, fitted(lambda: DecisionTreeRegressor(max_depth=3), "diabetes")), HOSTILE[name])
    with pytest.raises(UsageError) as refused:
        export(path)
    assert refused.value.code == "source-failed"


def test_a_node_count_of_its_own_is_not_read(tmp_path: Path) -> None:
    path = changed(
        saved(tmp_path, fitted(lambda: DecisionTreeRegressor(max_depth=3), "diabetes")), of_state("node_count", str(1 << 40))
    )
    loaded = load_skops(Source(str(path), {}))
    check_stored(loaded)
    assert loaded.tree_.node_count == len(loaded.tree_.__getstate__()["nodes"])


@pytest.mark.parametrize(
    "field, value", [("left", 1 << 30), ("right", 0), ("feature_idx", 99), ("feature_idx", -1), ("is_categorical", 1)]
)
def test_hostile_histogram_trees_are_refused(field: str, value: int, tmp_path: Path) -> None:
    estimator = fitted(lambda: HistGradientBoostingRegressor(max_iter=2), "diabetes")
    estimator._predictors[0][0].nodes[field][0] = value
    with pytest.raises((UsageError, UnsupportedModel)):
        export(saved(tmp_path, estimator))


def longer(estimator: Any) -> None:
    estimator._predictors[0] *= 2


def other_nodes(estimator: Any) -> None:
    estimator._predictors[0][0].nodes = np.zeros(4)


def categories(estimator: Any) -> None:
    estimator._bin_mapper.is_categorical_[0] = 1


def no_predictor(estimator: Any) -> None:
    estimator._predictors[0][0] = None


@pytest.mark.parametrize("change", [longer, other_nodes, categories, no_predictor])
def test_hostile_boosting_is_refused(change: Callable[[Any], None], tmp_path: Path) -> None:
    estimator = fitted(lambda: HistGradientBoostingRegressor(max_iter=2), "diabetes")
    change(estimator)
    with pytest.raises(VerifaiError) as refused:
        export(saved(tmp_path, estimator))
    assert refused.value.code in ("source-failed", "model-unknown-operator")


def test_a_plain_tree_elsewhere_stays_what_it_is(tmp_path: Path) -> None:
    """Nothing but an estimator's own tree becomes compiled code."""
    estimator = fitted(lambda: DecisionTreeRegressor(max_depth=2), "diabetes")
    estimator.min_weight_fraction_leaf = estimator.tree_
    loaded = load_skops(Source(str(saved(tmp_path, estimator)), {}))
    check_stored(loaded)
    assert isinstance(loaded.min_weight_fraction_leaf, PlainTree)


def test_no_estimator_among_many_goes_unseen() -> None:
    """A list that is made from an array of estimators takes the place in memory of one made before: that is none seen."""
    boosting = [fitted(lambda: GradientBoostingRegressor(n_estimators=3, max_depth=1), "diabetes") for _ in range(3)]
    many = [pickle.loads(pickle.dumps(boosting[at % 3])) for at in range(60)]
    owner = make_pipeline(StandardScaler())
    owner.steps = [(str(at), one) for at, one in enumerate(many)]
    trees = {id(one) for one in reachable(owner) if isinstance(one, DecisionTreeRegressor)}
    assert trees == {id(tree) for one in many for tree in one.estimators_.reshape(-1)}
