"""Trees behind encoders, bins and rising functions: nothing but orderings reads the model's columns, and every decision is
scikit-learn's, also where a cell is a category, an edge or a number beside one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("skl2onnx", reason="needs the [sklearn] extra")
pytest.importorskip("skops.io", reason="needs the [sklearn] extra")

from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingRegressor, RandomForestRegressor, RandomTreesEmbedding
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    Binarizer,
    FunctionTransformer,
    KBinsDiscretizer,
    OneHotEncoder,
    OrdinalEncoder,
    QuantileTransformer,
    StandardScaler,
    TargetEncoder,
)

from tests.support.estimators import DATA, Build, computed, fitted, saved
from verifai.engines.sumcheck.quantise.ranges import ordered_inputs
from verifai.exporters.sklearn.moved import Steps, steps_at
from verifai.stages.export import export


def codes(encoder: Any) -> ColumnTransformer:
    return ColumnTransformer([("codes", encoder, [10, 11])], remainder="passthrough")


def forest() -> RandomForestRegressor:
    return RandomForestRegressor(4, max_depth=6, random_state=0)


CASES: dict[str, tuple[Build, str]] = {
    "one-hot": (lambda: make_pipeline(codes(OneHotEncoder(handle_unknown="ignore")), forest()), "mixed"),
    "one-hot, rare ones together": (
        lambda: make_pipeline(codes(OneHotEncoder(min_frequency=110, handle_unknown="infrequent_if_exist")), forest()),
        "mixed",
    ),
    "one-hot, one dropped, then scaled": (
        lambda: make_pipeline(codes(OneHotEncoder(drop="first", sparse_output=False)), StandardScaler(), forest()),
        "mixed",
    ),
    "ordinal": (
        lambda: make_pipeline(codes(OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)), forest()),
        "mixed",
    ),
    "mean targets": (lambda: make_pipeline(codes(TargetEncoder(random_state=0)), forest()), "mixed"),
    "bins": (lambda: make_pipeline(KBinsDiscretizer(5, encode="ordinal"), forest()), "diabetes"),
    "bins as columns": (lambda: make_pipeline(KBinsDiscretizer(4), forest()), "wine"),
    "scaled, then bins": (lambda: make_pipeline(StandardScaler(), KBinsDiscretizer(5, encode="ordinal"), forest()), "wine"),
    "binary": (lambda: make_pipeline(Binarizer(threshold=2.36), forest()), "wine"),
    "a logarithm": (
        lambda: make_pipeline(FunctionTransformer(np.log1p), GradientBoostingRegressor(n_estimators=8, random_state=0)),
        "wine",
    ),
    "quantiles": (lambda: make_pipeline(QuantileTransformer(n_quantiles=30), forest()), "wine"),
}


def rows_of(data: str) -> np.ndarray:
    """Rows of the data, with codes that no category has, and cells that are moved to the next float32."""
    random = np.random.default_rng(0)
    rows = DATA[data][0][:40].copy()
    near = np.nextafter(rows.astype(np.float32), np.float32(np.inf)).astype(np.float64)
    rows[20:] = np.where(random.random(rows[20:].shape) < 0.3, near[20:], rows[20:])
    if data == "mixed":
        rows[::4, 10] = random.choice([-1.0, 0.5, 1.0, 7.0], len(rows[::4]))
    return rows


@pytest.mark.parametrize("name", CASES)
def test_only_orderings_read_the_columns_and_decide_alike(name: str, tmp_path: Path) -> None:
    build, data = CASES[name]
    estimator = fitted(build, data)
    model = export(saved(tmp_path, estimator)).model
    assert ordered_inputs(model) == {"features"}
    rows = rows_of(data)
    if "dropped" in name:  # an unknown category is refused there
        rows = DATA[data][0][:40]
    expected = estimator.predict(rows)
    assert np.allclose(computed(model, rows).reshape(-1), expected, rtol=1e-5, atol=1e-4 * expected.std())


@pytest.mark.parametrize("data", ["wine", "iris"])
def test_quantiles_are_scikit_learns(data: str, tmp_path: Path) -> None:
    """Where quantiles are equal, or no float32 number lies between them, too; and beyond all of them."""
    estimator = fitted(lambda: QuantileTransformer(n_quantiles=60), data)
    model = export(saved(tmp_path, estimator)).model
    rows = np.concatenate([rows_of(data), DATA[data][0][:1] * 100, DATA[data][0][:1] * -100])
    assert np.abs(computed(model, rows) - estimator.transform(rows)).max() < 2e-6


def test_the_leaves_of_random_trees_are_columns(tmp_path: Path) -> None:
    estimator = fitted(lambda: RandomTreesEmbedding(5, max_depth=3, random_state=0), "wine")
    model = export(saved(tmp_path, estimator)).model
    assert ordered_inputs(model) == {"features"}
    rows = DATA["wine"][0][:40]
    assert np.array_equal(computed(model, rows), estimator.transform(rows).toarray())


def test_steps_are_constant_between_their_ends() -> None:
    steps = steps_at({2.0: 5.0, -1.0: 7.0}, 0.0)
    cells = np.array([-1.5, -1.0, np.nextafter(-1.0, 0), 0.0, np.nextafter(2.0, 0), 2.0, 2.5])
    assert steps(cells).tolist() == [0, 7, 0, 0, 0, 5, 0]
    assert Steps((1.0,), (0.0, 1.0))(np.array([1.0, np.nextafter(1.0, 2)])).tolist() == [0, 1]
