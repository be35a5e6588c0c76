"""Boosting libraries' models: on rows of real data the export gives what the library gives, and decides as it does."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="needs the [sklearn] extra")

from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from tests.support.estimators import DATA
from verifai.domain.statement import Encoding, Role
from verifai.errors import UsageError
from verifai.stages.export import ExportResult, export
from verifai.stages.quickstart import QuickstartRequest, quickstart

pytestmark = [
    pytest.mark.boosters,
    pytest.mark.filterwarnings("default"),  # the libraries' own, about pandas and about each other
]
xgboost = pytest.importorskip("xgboost", reason="needs the [boosters] extra")
lightgbm = pytest.importorskip("lightgbm", reason="needs the [boosters] extra")

XGB = {"n_estimators": 12, "max_depth": 4, "n_jobs": 1}
LGB = {"n_estimators": 12, "num_leaves": 12, "n_jobs": 1, "verbose": -1}


def data(name: str) -> tuple[np.ndarray, np.ndarray]:
    return DATA[name][0].astype(np.float32), DATA[name][1]


def exported(path: Path, rows: np.ndarray) -> ExportResult:
    """Compared on real rows, thresholds among them: boosting makes data values thresholds."""
    samples = [{"features": row[None]} for row in rows[:: max(1, len(rows) // 150)]]
    found = export(path, trust_pickle=path.suffix in (".pkl", ".cbm"), samples=samples)
    assert found.parity.samples >= len(samples)
    assert found.parity.max_error < 1e-4
    assert found.parity.decisions_differ == 0
    return found


MODELS: dict[str, tuple[Callable[[], Any], str]] = {
    "xgboost, two classes": (lambda: xgboost.XGBClassifier(**XGB), "cancer"),
    "xgboost, three classes": (lambda: xgboost.XGBClassifier(**XGB), "wine"),
    "xgboost, a number": (lambda: xgboost.XGBRegressor(**XGB), "diabetes"),
    "xgboost, dropout": (lambda: xgboost.XGBRegressor(booster="dart", rate_drop=0.3, **XGB), "diabetes"),
    "xgboost, counts": (lambda: xgboost.XGBRegressor(objective="count:poisson", **XGB), "diabetes"),
    "xgboost, a start": (lambda: xgboost.XGBClassifier(base_score=0.2, **XGB), "cancer"),
    "xgboost, a forest": (lambda: xgboost.XGBRFClassifier(**XGB), "cancer"),
    "lightgbm, two classes": (lambda: lightgbm.LGBMClassifier(**LGB), "cancer"),
    "lightgbm, three classes": (lambda: lightgbm.LGBMClassifier(**LGB), "wine"),
    "lightgbm, a number": (lambda: lightgbm.LGBMRegressor(**LGB), "diabetes"),
    "lightgbm, counts": (lambda: lightgbm.LGBMRegressor(objective="poisson", **LGB), "diabetes"),
    "lightgbm, dropout": (lambda: lightgbm.LGBMClassifier(boosting_type="dart", **LGB), "cancer"),
    "lightgbm, a forest": (
        lambda: lightgbm.LGBMClassifier(boosting_type="rf", bagging_freq=1, bagging_fraction=0.7, **LGB),
        "cancer",
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_files_and_wrappers_are_exported_alike(name: str, tmp_path: Path) -> None:
    build, kind = MODELS[name]
    rows, targets = data(kind)
    model = build().fit(rows, targets)
    suffixes = [".json", ".ubj"] if name.startswith("xgboost") else [".txt"]
    for suffix in suffixes:
        path = tmp_path / f"model{suffix}"
        (model if suffix != ".txt" else model.booster_).save_model(path)
        exported(path, rows)
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(model))
    exported(path, rows)


def categorical() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    rows = np.column_stack([random.integers(0, 9, 300), random.normal(size=300), random.integers(0, 40, 300)])
    return rows.astype(np.float32), ((rows[:, 0] % 3 == 1) ^ (rows[:, 2] % 5 == 2) ^ (rows[:, 1] > 0)).astype(int)


def test_categorical_splits_are_exact_for_whole_numbers_and_between(tmp_path: Path) -> None:
    rows, targets = categorical()
    model = lightgbm.LGBMClassifier(min_data_per_group=1, cat_smooth=1, **LGB).fit(rows, targets, categorical_feature=[0, 2])
    model.booster_.save_model(tmp_path / "model.txt")
    matrix = xgboost.DMatrix(rows, targets, feature_types=["c", "q", "c"], enable_categorical=True)
    settings = {"objective": "binary:logistic", "max_depth": 4, "max_cat_to_onehot": 1, "nthread": 1}
    xgboost.train(settings, matrix, 10).save_model(tmp_path / "model.json")
    between = np.concatenate([rows, rows + np.float32([[0.5, 0, 0.75]]), np.float32([[-0.5, 0, -0.25], [-1, 0, 1e6]])])
    exported(tmp_path / "model.txt", between)
    exported(tmp_path / "model.json", rows)


PIPELINES: dict[str, Callable[[], Any]] = {
    "standardised": lambda: make_pipeline(StandardScaler(), xgboost.XGBClassifier(**XGB)),
    "scaled twice": lambda: make_pipeline(MinMaxScaler(), StandardScaler(), lightgbm.LGBMClassifier(**LGB)),
    "voted": lambda: VotingClassifier(
        [("x", xgboost.XGBClassifier(**XGB)), ("r", make_pipeline(StandardScaler(), LogisticRegression()))], voting="soft"
    ),
    "calibrated": lambda: CalibratedClassifierCV(xgboost.XGBClassifier(**XGB), cv=2),
}


@pytest.mark.parametrize("name", PIPELINES)
def test_inside_scikit_learn_they_decide_as_predict_does(name: str, tmp_path: Path) -> None:
    rows, targets = data("cancer")
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(PIPELINES[name]().fit(rows.astype(np.float64), targets)))
    exported(path, rows)


def test_labels_of_a_wrapper_are_its_own(tmp_path: Path) -> None:
    rows, targets = data("cancer")
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(lightgbm.LGBMClassifier(**LGB).fit(rows, np.where(targets, "good", "bad"))))
    found = exported(path, rows)
    assert found.facts is not None and found.facts.labels == ("bad", "good")


def test_early_stopping_keeps_the_trees_that_predict_uses(tmp_path: Path) -> None:
    rows, targets = data("diabetes")
    model = xgboost.XGBRegressor(early_stopping_rounds=3, **{**XGB, "n_estimators": 60})
    model.fit(rows[:300], targets[:300], eval_set=[(rows[300:], targets[300:])], verbose=False)
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(model))
    exported(path, rows)


def test_rankers_yield_their_score(tmp_path: Path) -> None:
    rows, targets = data("diabetes")
    model = lightgbm.LGBMRanker(**LGB).fit(rows[:440], (targets[:440] // 80).astype(int), group=np.repeat(40, 11))
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(model))
    exported(path, rows)


def test_a_model_of_raw_rows_is_proven_as_it_is(tmp_path: Path) -> None:
    rows, targets = data("diabetes")
    xgboost.XGBRegressor(**XGB).fit(rows, targets).save_model(tmp_path / "model.json")
    np.savez(tmp_path / "data.npz", features=rows[:40, None])
    made = quickstart(QuickstartRequest(str(tmp_path / "model.json"), tmp_path / "data.npz", tmp_path / "made"))
    (tensor,) = made.verified.statement.of(Role.INPUT)
    assert tensor.encoding is Encoding.FLOAT32
    assert np.array_equal(np.array(tensor.values(), np.float32), rows[0])


def test_catboost(tmp_path: Path) -> None:
    catboost = pytest.importorskip("catboost", reason="needs the [catboost] extra")
    quiet = {"iterations": 12, "depth": 4, "verbose": 0, "allow_writing_files": False, "thread_count": 1}
    for kind, build in (
        ("cancer", lambda: catboost.CatBoostClassifier(**quiet)),
        ("wine", lambda: catboost.CatBoostClassifier(**quiet)),
        ("wine", lambda: catboost.CatBoostClassifier(loss_function="MultiClassOneVsAll", **quiet)),
        ("diabetes", lambda: catboost.CatBoostRegressor(**quiet)),
        ("diabetes", lambda: catboost.CatBoostRegressor(loss_function="Poisson", **quiet)),
    ):
        rows, targets = data(kind)
        model = build().fit(rows, targets)
        model.save_model(str(tmp_path / "model.cbm"))
        with pytest.raises(UsageError) as refused:
            export(tmp_path / "model.cbm")
        assert refused.value.code == "pickle-refused"
        exported(tmp_path / "model.cbm", rows)
        (tmp_path / "model.pkl").write_bytes(pickle.dumps(model))
        exported(tmp_path / "model.pkl", rows)
