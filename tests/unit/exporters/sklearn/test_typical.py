"""Inputs made up for the parity check look like the data that an estimator was fitted on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("skl2onnx", reason="needs the [sklearn] extra")

from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import VotingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.naive_bayes import CategoricalNB, GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, RobustScaler, StandardScaler
from sklearn.svm import SVC

from tests.support.estimators import DATA, fitted
from verifai.exporters.sklearn.typical import typical_rows

LIKE_DATA: dict[str, Callable[[], Any]] = {
    "a scaler": lambda: make_pipeline(StandardScaler(), LogisticRegression(max_iter=5)),
    "a robust scaler": RobustScaler,
    "a range": lambda: make_pipeline(MinMaxScaler(), SVC()),
    "an imputer first": lambda: make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression(max_iter=5)),
    "side by side": lambda: make_pipeline(make_union(StandardScaler(), MinMaxScaler()), LogisticRegression(max_iter=5)),
    "densities": GaussianNB,
    "points": KNeighborsClassifier,
    "support vectors": SVC,
    "inside a vote": lambda: VotingClassifier([("a", GaussianNB()), ("b", LogisticRegression(max_iter=5))]),
    "inside a calibration": lambda: CalibratedClassifierCV(GaussianNB(), cv=2),
}


@pytest.mark.parametrize("name", LIKE_DATA)
def test_rows_lie_where_the_data_lie(name: str) -> None:
    rows = DATA["wine"][0]
    made = typical_rows(fitted(LIKE_DATA[name], "wine"), rows.shape[1], np.random.default_rng(0), 400)
    assert made is not None and made.dtype == np.float32
    assert (np.abs(made.mean(axis=0) - rows.mean(axis=0)) < 1.5 * rows.std(axis=0) + 0.5 * rows.mean(axis=0)).all()
    assert (made.std(axis=0) > 0.2 * rows.std(axis=0)).all()


def test_codes_are_codes() -> None:
    estimator = fitted(
        lambda: make_pipeline(
            ColumnTransformer([("c", OneHotEncoder(), [10, 11])], remainder=StandardScaler()), LinearRegression()
        ),
        "mixed",
    )
    made = typical_rows(estimator, 12, np.random.default_rng(0), 50)
    assert made is not None
    assert set(np.unique(made[:, 10])) == {0, 1, 2, 3} and set(np.unique(made[:, 11])) == {0, 3}
    counted = CategoricalNB().fit([[0, 2], [1, 0], [2, 1]], [0, 1, 1])
    numbers = typical_rows(counted, 2, np.random.default_rng(0), 50)
    assert numbers is not None and set(np.unique(numbers)) <= {0, 1, 2}


def test_stored_points_are_among_them() -> None:
    """A kernel too narrow for float32 shows nowhere else."""
    points = DATA["iris"][0].astype(np.float32)
    made = typical_rows(fitted(KNeighborsClassifier, "iris"), 4, np.random.default_rng(0), 10)
    assert made is not None
    assert all((points == row).all(axis=1).any() for row in made[::2])


def test_nothing_remembered_and_nothing_usable_give_none() -> None:
    generator = np.random.default_rng(0)
    assert typical_rows(fitted(LinearRegression, "diabetes"), 10, generator, 3) is None
    scaler = fitted(StandardScaler, "iris")
    for mean in (np.full(4, np.nan), np.full(4, 1e300), np.zeros(3), "text"):
        scaler.mean_ = mean
        assert typical_rows(make_pipeline(scaler), 4, generator, 3) is None
