"""Trees and sums of them: on all rows of real data the export computes the same, and decides as ``predict`` does."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("skl2onnx", reason="needs the [sklearn] extra")
pytest.importorskip("skops.io", reason="needs the [sklearn] extra")

from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor, ExtraTreeClassifier, ExtraTreeRegressor

from tests.support.estimators import DATA, Build, computed, fitted
from verifai.errors import UnsupportedModel, UsageError
from verifai.exporters.sklearn import choice
from verifai.stages.export import ExportResult, export


def exported(folder: Path, estimator: Any) -> ExportResult:
    """By a trusted pickle, which holds what skops does not take apart."""
    path = folder / "model.pkl"
    path.write_bytes(pickle.dumps(estimator))
    return export(path, trust_pickle=True)


CLASSIFIERS: dict[str, tuple[Build, str]] = {
    "tree": (lambda: DecisionTreeClassifier(random_state=0), "iris"),
    "tree of two classes": (lambda: DecisionTreeClassifier(random_state=0, max_depth=4), "cancer"),
    "extra tree": (lambda: ExtraTreeClassifier(random_state=0), "wine"),
    "forest": (lambda: RandomForestClassifier(12, random_state=0), "wine"),
    "forest of two classes": (lambda: RandomForestClassifier(12, random_state=1), "cancer"),
    "extra trees": (lambda: ExtraTreesClassifier(6, random_state=0), "iris"),
    "boosting": (lambda: GradientBoostingClassifier(n_estimators=8, random_state=0), "cancer"),
    "boosting of three classes": (lambda: GradientBoostingClassifier(n_estimators=5, random_state=0), "iris"),
    "exponential boosting": (lambda: GradientBoostingClassifier(loss="exponential", n_estimators=8), "cancer"),
    "boosting from zero": (lambda: GradientBoostingClassifier(init="zero", n_estimators=5), "iris"),
    "histograms": (lambda: HistGradientBoostingClassifier(max_iter=8), "cancer"),
    "histograms of three classes": (lambda: HistGradientBoostingClassifier(max_iter=5), "iris"),
    "AdaBoost": (lambda: AdaBoostClassifier(n_estimators=8, random_state=0), "cancer"),
    "AdaBoost of three classes": (
        lambda: AdaBoostClassifier(DecisionTreeClassifier(max_depth=2), n_estimators=8, random_state=0),
        "iris",
    ),
    "bag": (lambda: BaggingClassifier(n_estimators=4, random_state=0), "iris"),
    "after a scaler": (lambda: make_pipeline(StandardScaler(), RandomForestClassifier(4, random_state=0)), "wine"),
    "vote": (
        lambda: VotingClassifier(
            [("a", DecisionTreeClassifier(max_depth=3)), ("b", LogisticRegression(max_iter=3000))], voting="soft"
        ),
        "iris",
    ),
    "stack": (
        lambda: StackingClassifier([("a", DecisionTreeClassifier(max_depth=3)), ("b", RandomForestClassifier(3))]),
        "iris",
    ),
    "isolation": (lambda: IsolationForest(n_estimators=8, random_state=0), "cancer"),
    "isolation by some columns": (lambda: IsolationForest(n_estimators=8, max_features=3, contamination=0.1), "wine"),
}


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifiers(name: str, tmp_path: Path) -> None:
    build, data = CLASSIFIERS[name]
    estimator, (rows, _) = fitted(build, data), DATA[data]
    result = exported(tmp_path, estimator)
    chosen = choice.choose(estimator)
    found = computed(result.model, rows)
    truth = np.asarray(choice.truth(estimator, chosen.output, rows))
    np.testing.assert_allclose(found.reshape(truth.shape), truth, atol=2e-6 * max(1.0, float(np.abs(truth).max())))
    named = choice.named(estimator, chosen, rows)
    assert named is not None
    clear = np.abs(np.sort(truth, axis=1)[:, -1] - np.sort(truth, axis=1)[:, -2]) > 1e-6
    assert (found.reshape(truth.shape).argmax(axis=1) == named)[clear].all()


REGRESSORS: dict[str, Build] = {
    "tree": lambda: DecisionTreeRegressor(random_state=0),
    "extra tree": lambda: ExtraTreeRegressor(random_state=0),
    "forest": lambda: RandomForestRegressor(8, random_state=0),
    "extra trees": lambda: ExtraTreesRegressor(3, max_depth=7, random_state=0),
    "boosting": lambda: GradientBoostingRegressor(n_estimators=20),
    "huber": lambda: GradientBoostingRegressor(loss="huber", n_estimators=10),
    "histograms": lambda: HistGradientBoostingRegressor(max_iter=10),
    "counts by histograms": lambda: HistGradientBoostingRegressor(loss="poisson", max_iter=10),
}


@pytest.mark.parametrize("name", REGRESSORS)
def test_regressors(name: str, tmp_path: Path) -> None:
    estimator, (rows, _) = fitted(REGRESSORS[name], "diabetes"), DATA["diabetes"]
    found = computed(exported(tmp_path, estimator).model, rows)
    np.testing.assert_allclose(found.reshape(-1), estimator.predict(rows), rtol=3e-6)


def test_a_threshold_between_two_float32_numbers_keeps_its_side(tmp_path: Path) -> None:
    low = np.float32(3.0)  # scikit-learn splits at distances over 1e-7 only
    high = np.nextafter(low, np.float32(4))
    rows = np.array([[low], [high]], np.float64)
    estimator = DecisionTreeRegressor().fit(np.repeat(rows, 4, axis=0), [0.0] * 4 + [1.0] * 4)
    found = computed(exported(tmp_path, estimator).model, rows)
    assert found.reshape(-1).tolist() == estimator.predict(rows).tolist() == [0.0, 1.0]


def test_what_is_left_out_is_refused_by_name(tmp_path: Path) -> None:
    several = fitted(lambda: RandomForestRegressor(3), "three targets")
    with pytest.raises(UnsupportedModel, match="several targets"):
        exported(tmp_path, several)


def test_a_start_that_differs_from_row_to_row_is_not_left_out(tmp_path: Path) -> None:
    """Boosting may begin with an estimator of one's own, whose prediction is part of the sum."""
    estimator = fitted(lambda: GradientBoostingRegressor(init=Ridge(), n_estimators=3), "diabetes")
    try:
        found = computed(exported(tmp_path, estimator).model, DATA["diabetes"][0])
    except UsageError:
        return
    np.testing.assert_allclose(found.reshape(-1), estimator.predict(DATA["diabetes"][0]), rtol=1e-4)


def test_a_tree_that_leads_out_of_itself_is_refused(tmp_path: Path) -> None:
    estimator = fitted(lambda: DecisionTreeRegressor(max_depth=2), "diabetes")
    state = estimator.tree_.__getstate__()
    state["nodes"]["left_child"][0] = 0
    estimator.tree_.__setstate__(state)
    with pytest.raises(UnsupportedModel, match="reached twice"):
        exported(tmp_path, estimator)
