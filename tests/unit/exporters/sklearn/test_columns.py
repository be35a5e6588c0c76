"""Tables of mixed columns: column transformers, codes, missing values, names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("skl2onnx", reason="needs the [sklearn] extra")
pytest.importorskip("skops.io", reason="needs the [sklearn] extra")

from sklearn.compose import ColumnTransformer
from sklearn.feature_selection import VarianceThreshold
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    StandardScaler,
)

from tests.support.estimators import DATA, Build, computed, fitted, gap, saved
from verifai.errors import UnsupportedModel, UsageError
from verifai.stages.export import export

NUMBERS, CODES = list(range(10)), [10, 11]


def table(*parts: Any, **options: Any) -> Pipeline:
    return make_pipeline(ColumnTransformer(list(parts), **options), Ridge())


MIXED: dict[str, Build] = {
    "numbers and codes": lambda: table(
        ("n", make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), NUMBERS),
        ("c", OneHotEncoder(handle_unknown="ignore"), CODES),
    ),
    "the rest passed through": lambda: table(("c", OneHotEncoder(sparse_output=False), CODES), remainder="passthrough"),
    "the rest scaled": lambda: table(("c", OneHotEncoder(drop="first"), CODES), remainder=StandardScaler()),
    "the rest dropped": lambda: table(("n", StandardScaler(), slice(0, 5)), ("d", "drop", [5])),
    "one of two dropped": lambda: table(("c", OneHotEncoder(drop="if_binary"), CODES), remainder=MinMaxScaler()),
    "rare codes together": lambda: table(
        ("c", OneHotEncoder(min_frequency=115, handle_unknown="infrequent_if_exist"), [10]), remainder="passthrough"
    ),
    "rare codes, the first dropped": lambda: table(
        ("c", OneHotEncoder(max_categories=3, drop="first", handle_unknown="ignore"), [10]), remainder="passthrough"
    ),
    "places of codes": lambda: table(
        ("c", OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), CODES), remainder="passthrough"
    ),
    "bins": lambda: table(("b", KBinsDiscretizer(4, encode="ordinal", strategy="uniform"), NUMBERS)),
    "a mask and a weight": lambda: table(
        ("m", MinMaxScaler(), [True] * 5 + [False] * 7),
        ("l", FunctionTransformer(np.square), [5, -1]),
        transformer_weights={"m": 2.0},
    ),
    "a number that means nothing": lambda: make_pipeline(SimpleImputer(missing_values=3.0), LinearRegression()),
    "neighbours fill in": lambda: make_pipeline(KNNImputer(), StandardScaler(), Ridge()),
    "columns that vary": lambda: make_pipeline(VarianceThreshold(0.5), Ridge()),
}


@pytest.mark.parametrize("name", MIXED)
def test_mixed_columns_are_one_input(name: str, tmp_path: Path) -> None:
    estimator, rows = fitted(MIXED[name], "mixed"), DATA["mixed"][0]
    result = export(saved(tmp_path, estimator))
    assert [(spec.name, spec.shape) for spec in result.model.inputs] == [("features", (1, 12))]
    assert gap(estimator.predict(rows), computed(result.model, rows)) < 1e-5


@pytest.mark.parametrize(
    "name", ["numbers and codes", "rare codes together", "rare codes, the first dropped", "places of codes"]
)
@pytest.mark.filterwarnings("ignore:Found unknown categories")  # what the test is about
def test_a_code_that_was_never_seen_is_treated_alike(name: str, tmp_path: Path) -> None:
    estimator = fitted(MIXED[name], "mixed")
    unknown = DATA["mixed"][0][:5].copy()
    unknown[:, 10] = 17
    assert np.allclose(estimator.predict(unknown), computed(export(saved(tmp_path, estimator)).model, unknown)[:, 0], rtol=1e-4)


@pytest.mark.filterwarnings("ignore:Skipping features without any observed values")  # what the test is about
def test_missing_values_are_left_out_with_a_notice(tmp_path: Path) -> None:
    rows, target = DATA["mixed"]
    holed = rows.copy()
    holed[::7, 2] = np.nan
    holed[:, 4] = np.nan
    estimator = make_pipeline(SimpleImputer(), StandardScaler(), Ridge()).fit(holed, target)
    result = export(saved(tmp_path, estimator))
    assert any("NaN" in notice and "fill them in" in notice for notice in result.notices)
    assert {node.op_type for node in result.model.proto.graph.node} <= {"Gather", "Sub", "Mul", "Gemm"}
    # The column without any value is gone.
    assert gap(estimator.predict(rows), computed(result.model, rows)) < 1e-5


def _people(count: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Ages, jobs and towns as an array of objects, and a target that follows from them."""
    random = np.random.default_rng(1)
    rows = np.empty((count, 3), dtype=object)
    rows[:, 0] = random.integers(18, 80, count).astype(float)
    rows[:, 1] = random.choice(["clerk", "doctor", "farmer"], count)
    rows[:, 2] = random.choice(["Bonn", "Köln", "New York, NY"], count)
    return rows, rows[:, 0].astype(float) / 10 + (rows[:, 1] == "doctor") * 3.0 + (rows[:, 2] == "Bonn")


TEXTS: dict[str, Build] = {
    "one-hot": lambda: table(("c", OneHotEncoder(handle_unknown="ignore"), [1, 2]), ("n", StandardScaler(), [0])),
    "filled in before": lambda: table(
        ("n", make_pipeline(SimpleImputer(), StandardScaler()), [0]),
        ("c", make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(drop="first")), [1, 2]),
    ),
    "places": lambda: table(
        ("c", OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), [2, 1]), remainder="drop"
    ),
    "two encoders of one column": lambda: table(
        ("a", OneHotEncoder(handle_unknown="ignore"), [1]), ("b", OrdinalEncoder(), [1]), ("n", StandardScaler(), [0])
    ),
}


@pytest.mark.parametrize("name", TEXTS)
def test_texts_are_numbers_whose_meaning_goes_along(name: str, tmp_path: Path) -> None:
    rows, target = _people()
    estimator = TEXTS[name]().fit(rows, target)
    result = export(saved(tmp_path, estimator))
    assert result.facts is not None
    texts = {int(place): one for place, one in result.facts.categories.items()}
    assert texts[1].values == ("clerk", "doctor", "farmer")
    coded = rows.copy()
    for place, one in texts.items():
        coded[:, place] = [one.number(text) for text in rows[:, place]]
    coded[:, 2] = coded[:, 2] if 2 in texts else 0.0
    assert gap(estimator.predict(rows), computed(result.model, coded.astype(np.float64))) < 1e-5


def test_another_text_is_taken_for_none_of_them_where_the_encoder_does(tmp_path: Path) -> None:
    rows, target = _people()
    estimator = TEXTS["one-hot"]().fit(rows, target)
    facts = export(saved(tmp_path, estimator)).facts
    assert facts is not None and all(one.others for one in facts.categories.values())
    strange = np.array([[40.0, "astronaut", "Oslo"]], dtype=object)
    coded = np.array([[40.0, 3.0, 3.0]])
    assert abs(estimator.predict(strange) - computed(export(saved(tmp_path, estimator)).model, coded)).max() < 1e-5
    strict = TEXTS["two encoders of one column"]().fit(rows, target)
    facts = export(saved(tmp_path, strict)).facts
    assert facts is not None and not facts.categories["1"].others  # one of both knows no other text


@pytest.mark.parametrize(
    ("build", "told"),
    [
        (lambda: table(("c", OneHotEncoder(categories=[["clerk", "doctor", "farmer"]]), [1]),
                       ("d", OneHotEncoder(categories=[["doctor", "clerk", "farmer"]]), [1])), "other categories"),
        (lambda: table(("c", make_pipeline(SimpleImputer(strategy="constant", missing_values="farmer", fill_value="x"),
                                           OneHotEncoder()), [1])), "replaces the text"),
    ],
    ids=["two orders", "a text replaced"],
)  # fmt: skip
def test_texts_that_have_no_single_number_are_refused_with_a_way_on(build: Build, told: str, tmp_path: Path) -> None:
    estimator = build().fit(*_people())
    with pytest.raises(UnsupportedModel) as caught:
        export(saved(tmp_path, estimator))
    assert told in caught.value.message and caught.value.hint


def test_texts_beside_missing_ones_are_refused(tmp_path: Path) -> None:
    rows, target = _people()
    rows[3, 1] = None
    estimator = table(("c", OneHotEncoder(), [1]), ("n", StandardScaler(), [0])).fit(rows, target)
    with pytest.raises(UnsupportedModel, match="beside other values"):
        export(saved(tmp_path, estimator))


@pytest.mark.parametrize(
    "codes", [np.array([0.1, 0.2, 0.1, 0.2]), np.array([1.0, np.nan, 1.0, 2.0])], ids=["no float32 numbers", "a missing one"]
)
def test_codes_that_a_proof_cannot_compare_are_refused(codes: np.ndarray, tmp_path: Path) -> None:
    estimator = table(("c", OneHotEncoder(), [0])).fit(codes[:, None], np.arange(4.0))
    with pytest.raises(UnsupportedModel) as caught:
        export(saved(tmp_path, estimator))
    assert "no exact float32 numbers" in caught.value.message


def test_marks_of_missing_values_are_refused(tmp_path: Path) -> None:
    rows, target = DATA["mixed"]
    holed = np.where(np.arange(rows.size).reshape(rows.shape) % 50 == 0, np.nan, rows)
    estimator = make_pipeline(SimpleImputer(add_indicator=True), Ridge()).fit(holed, target)
    with pytest.raises(UnsupportedModel) as caught:
        export(saved(tmp_path, estimator))
    assert "add_indicator=False" in caught.value.hint


def named(estimator: Any, names: list[str]) -> Any:
    """As if fitted on a table with these columns: what scikit-learn keeps of one, without pandas."""
    transformer = estimator[0]
    transformer.feature_names_in_ = np.array(names, dtype=object)
    transformer.transformers_ = [
        (name, step, [names[column] for column in columns]) for name, step, columns in transformer.transformers_
    ]
    return estimator


def test_names_of_columns_travel_with_the_model_and_select_them(tmp_path: Path) -> None:
    names = [f"n{place}" for place in range(10)] + ["zone", "flag"]
    estimator = fitted(MIXED["numbers and codes"], "mixed")
    rows, expected = DATA["mixed"][0], estimator.predict(DATA["mixed"][0])
    estimator = named(estimator, names)
    with pytest.raises(ValueError, match="dataframes"):
        estimator.predict(rows)
    result = export(saved(tmp_path, estimator))
    assert result.facts is not None and result.facts.columns == tuple(names)
    assert gap(expected, computed(result.model, rows)) < 1e-5


def test_a_name_that_is_no_column_is_refused(tmp_path: Path) -> None:
    estimator = named(fitted(MIXED["numbers and codes"], "mixed"), [f"n{place}" for place in range(12)])
    estimator[0].transformers_[0] = ("n", estimator[0].transformers_[0][1], ["nowhere"])
    with pytest.raises(UsageError) as caught:
        export(saved(tmp_path, estimator))
    assert (caught.value.code, "nowhere" in caught.value.message) == ("source-failed", True)


def test_names_that_a_file_of_facts_cannot_hold_are_left_out(tmp_path: Path) -> None:
    estimator = fitted(lambda: make_pipeline(StandardScaler(), Ridge()), "mixed")
    estimator[0].feature_names_in_ = np.array(["line\nbreak", *(f"n{place}" for place in range(11))], dtype=object)
    result = export(saved(tmp_path, estimator))
    assert result.facts is not None and result.facts.columns == ()
    assert any("columns were left out" in notice for notice in result.notices)
