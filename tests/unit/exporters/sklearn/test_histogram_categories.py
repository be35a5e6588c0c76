"""Histogram-based boosting with columns of categories, texts and numbers, unknown ones too: split as scikit-learn does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("skl2onnx", reason="needs the [sklearn] extra")
pytest.importorskip("skops.io", reason="needs the [sklearn] extra")

from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder, StandardScaler

from tests.support.estimators import DATA, computed, saved
from verifai.engines.sumcheck.quantise.ranges import ordered_inputs
from verifai.errors import UsageError
from verifai.stages.export import ExportResult, export

ROWS, TARGET = DATA["mixed"]
RANDOM = np.random.default_rng(3)
SHADES = np.array([f"shade {number:02}" for number in range(40)], object)


def texts() -> tuple[np.ndarray, np.ndarray]:
    """Two numbers and two columns of texts, one of 40, of which the target depends."""
    drawn = RANDOM.integers(0, 40, len(ROWS))
    rows = np.column_stack([ROWS[:, :2].astype(object), SHADES[drawn], np.where(ROWS[:, 11] > 0, "wet", "dry").astype(object)])
    return rows, TARGET + 60.0 * np.isin(drawn, [1, 2, 3, 17, 31]) - 40.0 * (ROWS[:, 11] > 0)


def taken(found: ExportResult, rows: np.ndarray) -> np.ndarray:
    """The rows as the model takes them: numbers for texts."""
    assert found.facts is not None
    numbers = [
        [known.number(cell) for cell in rows[:, at]] if (known := found.facts.categories.get(str(at))) else rows[:, at]
        for at in range(rows.shape[1])
    ]
    return np.array(numbers, np.float32).T


def test_texts_reach_the_leaves_that_scikit_learn_sends_them_to(tmp_path: Path) -> None:
    rows, target = texts()
    estimator = HistGradientBoostingRegressor(max_iter=8, categorical_features=[2, 3]).fit(rows, target)
    found = export(saved(tmp_path, estimator))
    assert {len(one.values) for one in found.facts.categories.values()} == {40, 2}
    others = rows[:60].copy()
    others[::2, 2], others[1::3, 3] = "no shade", "unheard of"
    for some in (rows, others):
        np.testing.assert_allclose(computed(found.model, taken(found, some)).reshape(-1), estimator.predict(some), rtol=2e-6)
    assert ordered_inputs(found.model) == {"features"}


def test_a_column_with_missing_texts_has_an_unknown_one_go_as_they_go(tmp_path: Path) -> None:
    rows, target = texts()
    rows[::5, 2] = np.nan
    estimator = HistGradientBoostingRegressor(max_iter=5, categorical_features=[2, 3]).fit(
        rows, target + 90.0 * (np.arange(len(rows)) % 5 == 0)
    )
    found, whole = export(saved(tmp_path, estimator)), rows[np.arange(len(rows)) % 5 != 0]
    unknown = whole.copy()
    unknown[:, 2] = "no shade"
    for some in (whole, unknown):
        np.testing.assert_allclose(computed(found.model, taken(found, some)).reshape(-1), estimator.predict(some), rtol=2e-6)
    assert np.abs(estimator.predict(unknown) - estimator.predict(whole)).max() > 20


KINDS: dict[str, Callable[[], Any]] = {
    "numbers": lambda: HistGradientBoostingRegressor(max_iter=6, categorical_features=[10, 11]),
    "behind a scaler": lambda: make_pipeline(
        StandardScaler(), HistGradientBoostingRegressor(max_iter=6, categorical_features=[10, 11])
    ),
    "coded by an encoder before": lambda: make_pipeline(
        ColumnTransformer([("codes", OrdinalEncoder(), [10, 11])], remainder="passthrough"),
        HistGradientBoostingRegressor(max_iter=6, categorical_features=[0, 1]),
    ),
}


@pytest.mark.parametrize("name", KINDS)
def test_numbers_are_equal_to_a_category_or_to_none(name: str, tmp_path: Path) -> None:
    estimator = KINDS[name]().fit(ROWS, TARGET + 50 * (ROWS[:, 10] % 2))
    if name == "behind a scaler":  # whose results are no float32 numbers
        with pytest.raises(Exception, match="no exact float32"):
            export(saved(tmp_path, estimator))
        return
    found, rows = export(saved(tmp_path, estimator)), ROWS.copy()
    if name == "numbers":
        rows[::3, 10] = RANDOM.choice([-1.0, 0.5, 7.0, np.nextafter(np.float32(1), np.float32(2))], len(rows[::3]))
    np.testing.assert_allclose(computed(found.model, rows).reshape(-1), estimator.predict(rows), rtol=2e-6)
    assert ordered_inputs(found.model) == {"features"}


def test_classes_are_those_that_predict_names(tmp_path: Path) -> None:
    rows, target = texts()
    kinds = np.digitize(target, np.quantile(target, [0.3, 0.7]))
    estimator = HistGradientBoostingClassifier(max_iter=4, categorical_features=[2, 3]).fit(rows, kinds)
    found = export(saved(tmp_path, estimator))
    shown = computed(found.model, taken(found, rows)).reshape(len(rows), -1)
    np.testing.assert_allclose(shown, estimator.predict_proba(rows), atol=2e-6)
    assert np.array_equal(shown.argmax(axis=1), estimator.predict(rows))


def few_words(estimator: Any) -> None:
    for stage in estimator._predictors:
        stage[0].raw_left_cat_bitsets = stage[0].raw_left_cat_bitsets[:, :2].copy()


def no_words(estimator: Any) -> None:
    for stage in estimator._predictors:
        stage[0].raw_left_cat_bitsets = stage[0].raw_left_cat_bitsets[:0]


def numbers_for_categories(estimator: Any) -> None:
    for stage in estimator._predictors:
        stage[0].nodes["is_categorical"] = 0


def other_bins(estimator: Any) -> None:
    estimator._bin_mapper.bin_thresholds_[0] = np.array([0.0, 300.0])


def fewer_columns(estimator: Any) -> None:
    """scikit-learn's compiled code would read beyond what this leaves of a row."""
    estimator._preprocessor.transformers_ = estimator._preprocessor.transformers_[:1]


def columns_twice(estimator: Any) -> None:
    name, step, _ = estimator._preprocessor.transformers_[1]
    estimator._preprocessor.transformers_[1] = (name, step, [2, 3])


def another_function(estimator: Any) -> None:
    estimator._preprocessor.transformers_[1][1].func = np.log1p


def other_codes(estimator: Any) -> None:
    estimator._preprocessor.transformers_[0][1].unknown_value = 3


@pytest.mark.parametrize(
    "change",
    [few_words, no_words, numbers_for_categories, other_bins, fewer_columns, columns_twice, another_function, other_codes],
)
def test_files_that_contradict_themselves_are_refused(change: Callable[[Any], None], tmp_path: Path) -> None:
    rows, target = texts()
    estimator = HistGradientBoostingRegressor(max_iter=2, categorical_features=[2, 3]).fit(rows, target)
    change(estimator)
    with pytest.raises(UsageError) as refused:
        export(saved(tmp_path, estimator))
    assert refused.value.code in ("source-failed", "pickle-refused")
