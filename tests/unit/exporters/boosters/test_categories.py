"""Categories that XGBoost and LightGBM code themselves, of pandas' tables: files, wrappers and pipelines decide as they do."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="needs the [sklearn] extra")

from tests.support.estimators import DATA, computed
from verifai.errors import UsageError, VerifaiError
from verifai.exporters.boosters import lightgbm_files, xgboost_files
from verifai.stages.export import ExportResult, export

pytestmark = [
    pytest.mark.boosters,
    pytest.mark.filterwarnings("default"),  # the libraries' own, about pandas and about each other
]
pandas = pytest.importorskip("pandas", reason="the libraries take categories from tables")
xgboost = pytest.importorskip("xgboost", reason="needs the [boosters] extra")
lightgbm = pytest.importorskip("lightgbm", reason="needs the [boosters] extra")

XGB = {"n_estimators": 8, "max_depth": 4, "n_jobs": 1, "enable_categorical": True, "max_cat_to_onehot": 2}
LGB = {"n_estimators": 8, "num_leaves": 12, "n_jobs": 1, "verbose": -1, "min_data_per_group": 1, "cat_smooth": 1}
GRADES = ["A", "B", "C", "D"]


def table(*, ordered: bool = False) -> tuple[Any, np.ndarray]:
    """Two numbers, a column of texts, one of numbers that are categories, and with ``ordered`` one of ordered grades."""
    rows, target = DATA["diabetes"]
    random = np.random.default_rng(5)
    words, codes = (
        random.choice(["red", "green", "blue", "yellow", "violet"], len(rows)),
        random.choice([10, 20, 30, 45], len(rows)),
    )
    found = pandas.DataFrame({"bmi": rows[:, 2], "shade": words, "code": codes, "bp": rows[:, 3]})
    found = found.astype({"shade": "category", "code": "category"})
    target = target + 80 * np.isin(words, ["green", "violet"]) - 70 * np.isin(codes, [10, 45])
    if ordered:
        found["grade"] = pandas.cut(found["bp"], [-10, 0, 0.02, 0.05, 10] if found["bp"].max() < 5 else 4, labels=GRADES)
    return found, target


def taken(found: ExportResult, rows: Any) -> np.ndarray:
    assert found.facts is not None
    known = found.facts.categories
    columns = [[known[name].number(cell) for cell in rows[name]] if name in known else rows[name] for name in rows.columns]
    return np.array([np.asarray(column, np.float64) for column in columns], np.float32).T


def agree(path: Path, model: Any, rows: Any) -> ExportResult:
    found = export(path, trust_pickle=True)
    expected = model.predict(rows)
    np.testing.assert_allclose(computed(found.model, taken(found, rows)).reshape(-1), expected, rtol=1e-5, atol=1e-4)
    return found


@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
def test_files_and_wrappers_take_the_texts_and_numbers_of_the_table(library: str, tmp_path: Path) -> None:
    rows, target = table()
    model = xgboost.XGBRegressor(**XGB) if library == "xgboost" else lightgbm.LGBMRegressor(**LGB)
    model.fit(rows, target)
    paths = [tmp_path / name for name in (("m.json", "m.ubj") if library == "xgboost" else ("m.txt",))]
    for path in paths:
        (model if library == "xgboost" else model.booster_).save_model(path)
    (tmp_path / "m.pkl").write_bytes(pickle.dumps(model))
    for path in (*paths, tmp_path / "m.pkl"):
        found = agree(path, model, rows)
        assert set(found.facts.categories) == {"shade"}
        assert found.facts.categories["shade"].others == (library == "lightgbm")


def test_what_lightgbm_does_not_know_is_a_missing_value(tmp_path: Path) -> None:
    rows, target = table()
    model = lightgbm.LGBMRegressor(**LGB).fit(rows, target)
    model.booster_.save_model(tmp_path / "m.txt")
    other = rows[:80].copy()
    other["shade"] = pandas.Categorical(["black"] * 40 + list(other["shade"][40:]))
    other["code"] = pandas.Categorical(np.where(np.arange(80) % 2, 77, rows["code"][:80].astype(int)))
    found = agree(tmp_path / "m.txt", model, rows)
    np.testing.assert_allclose(
        computed(found.model, taken(found, other)).reshape(-1), model.predict(other), rtol=1e-5, atol=1e-4
    )


def test_ordered_categories_of_lightgbm_are_found_by_their_codes(tmp_path: Path) -> None:
    rows, target = table(ordered=True)
    model = lightgbm.LGBMRegressor(**LGB).fit(rows, target + 30 * rows["grade"].cat.codes)
    model.booster_.save_model(tmp_path / "m.txt")
    found = agree(tmp_path / "m.txt", model, rows)
    assert found.facts.categories["grade"].values == tuple(GRADES)
    assert not found.facts.categories["grade"].others


def test_where_two_columns_may_be_it_the_model_takes_codes(tmp_path: Path) -> None:
    rows, target = table(ordered=True)
    rows["sex"] = (np.arange(len(rows)) % 3).astype(float)
    model = lightgbm.LGBMRegressor(**LGB).fit(rows, target)
    model.booster_.save_model(tmp_path / "m.txt")
    found = export(tmp_path / "m.txt")
    assert not found.facts.categories
    assert any("takes their codes" in one for one in found.notices)


def test_texts_that_xgboost_cuts_wrongly_are_taken_as_codes(tmp_path: Path) -> None:
    rows, target = table()
    rows["shade"] = rows["shade"].cat.rename_categories({"green": "grün", "red": "rötlich"})
    model = xgboost.XGBRegressor(**XGB).fit(rows, target)
    model.save_model(tmp_path / "m.json")
    (tmp_path / "m.pkl").write_bytes(pickle.dumps(model))
    codes = np.column_stack([rows[name].cat.codes if name in ("shade", "code") else rows[name] for name in rows.columns])
    for name in ("m.json", "m.pkl"):
        found = export(tmp_path / name, trust_pickle=True)
        assert not found.facts.categories and any("takes the codes" in one for one in found.notices)
        np.testing.assert_allclose(computed(found.model, codes).reshape(-1), model.predict(rows), rtol=1e-5, atol=1e-4)


def document(folder: Path) -> dict[str, Any]:
    rows, target = table()
    xgboost.XGBRegressor(**XGB).fit(rows, target).save_model(folder / "m.json")
    found: dict[str, Any] = json.loads((folder / "m.json").read_bytes())
    return found


def lists(found: dict[str, Any]) -> list[dict[str, Any]]:
    held: list[dict[str, Any]] = found["learner"]["gradient_booster"]["model"]["cats"]["enc"]
    return held


@pytest.mark.parametrize(
    "change",
    [
        lambda enc: enc.pop(),
        lambda enc: enc[1]["offsets"].append(10_000),
        lambda enc: enc[1]["offsets"].reverse(),
        lambda enc: enc[1]["values"].append("a"),
        lambda enc: enc[1].update(values=None),
        lambda enc: enc[2].update(values=[10, 10, 20, 30]),
        lambda enc: enc[2].update(values=[10, "a", 20, 30]),
        lambda enc: enc[2].update(values=[0.1, 1, 20, 30]),
    ],
)
def test_lists_of_categories_that_are_none_are_refused(change: Any, tmp_path: Path) -> None:
    found = document(tmp_path)
    change(lists(found))
    with pytest.raises(VerifaiError) as refused:
        xgboost_files.read(json.dumps(found).encode())
    assert refused.value.code in ("source-failed", "model-unknown-operator")


@pytest.mark.parametrize("tail", ["[[", "[[1, 1], [2, 3]]", '[["a", 1], ["b"]]'])
def test_lightgbm_lists_that_are_none_are_refused(tail: str, tmp_path: Path) -> None:
    rows, target = table()
    text = lightgbm.LGBMRegressor(**LGB).fit(rows, target).booster_.model_to_string()
    assert lightgbm_files.read(text.encode()).coded
    head = text.rpartition("\npandas_categorical:")[0]
    try:
        found = lightgbm_files.read(f"{head}\npandas_categorical:{tail}\n".encode())
    except VerifaiError as refused:
        assert isinstance(refused, UsageError) or refused.code == "model-unknown-operator"
    else:
        assert not found.coded and found.notes


def exact(path: Path, model: Any, rows: Any) -> ExportResult:
    """The same probabilities on every row, and so the same class."""
    found = export(path, trust_pickle=True)
    probabilities = model.predict_proba(rows)
    assert len(set(probabilities.argmax(axis=1))) == 2
    np.testing.assert_allclose(computed(found.model, taken(found, rows)), probabilities, atol=1e-6)
    return found


@pytest.mark.parametrize("how", ["parameter", "callback", "parameter taken away"])
def test_an_xgboost_estimator_that_stopped_early_keeps_its_best_trees_and_its_categories(how: str, tmp_path: Path) -> None:
    """Its ``predict`` uses the best iteration, however training was stopped, and so does what reads its files."""
    rows, target = table()
    label, random = (target > np.median(target)).astype(int), np.random.default_rng(1)
    stopping = {"callbacks": [xgboost.callback.EarlyStopping(rounds=3)]} if how == "callback" else {"early_stopping_rounds": 3}
    model = xgboost.XGBClassifier(**XGB | {"n_estimators": 50, "learning_rate": 1.0} | stopping)
    noisy = np.where(random.random(200) < 0.3, 1 - label[:200], label[:200])
    model.fit(rows[200:], label[200:], eval_set=[(rows[:200], noisy)], verbose=False)
    assert model.best_iteration + 1 < model.get_booster().num_boosted_rounds()
    if how == "parameter taken away":
        model.set_params(early_stopping_rounds=None)
    model.save_model(tmp_path / "m.json")
    (tmp_path / "m.pkl").write_bytes(pickle.dumps(model))
    for name in ("m.json", "m.pkl"):
        assert set(exact(tmp_path / name, model, rows).facts.categories) == {"shade"}


def test_a_booster_that_stopped_early_uses_all_trees_and_says_so(tmp_path: Path) -> None:
    rows, target = table()
    matrix = xgboost.DMatrix(rows, target, enable_categorical=True)
    other = xgboost.DMatrix(rows, np.random.default_rng(2).permutation(target), enable_categorical=True)
    options = {"max_depth": 4, "nthread": 1, "learning_rate": 1.0}
    model = xgboost.train(options, matrix, 30, evals=[(other, "other")], early_stopping_rounds=2, verbose_eval=False)
    assert model.best_iteration + 1 < model.num_boosted_rounds()
    model.save_model(tmp_path / "m.json")
    found = export(tmp_path / "m.json")
    assert any("uses all trees" in one for one in found.notices)
    np.testing.assert_allclose(
        computed(found.model, taken(found, rows)).reshape(-1), model.predict(matrix), rtol=1e-4, atol=1e-3
    )


@pytest.mark.parametrize("value", [-1, 10_000, "x", 1 << 60])
def test_a_best_iteration_that_is_none_is_refused(value: Any, tmp_path: Path) -> None:
    found = document(tmp_path)
    found["learner"]["attributes"] = {"best_iteration": str(value), "scikit_learn": "{}"}
    with pytest.raises(UsageError) as refused:
        xgboost_files.read(json.dumps(found).encode())
    assert refused.value.code == "source-failed"


def test_a_column_of_one_category_keeps_the_places_of_the_others(tmp_path: Path) -> None:
    """LightGBM says nothing of a constant column's values; the column after it is of whole numbers that could be its codes."""
    rows, target = table()
    rows.insert(0, "one", pandas.Categorical(["only"] * len(rows), categories=["other", "only", "third", "fourth"]))
    rows.insert(1, "count", (np.arange(len(rows)) % 3).astype(float))
    model = lightgbm.LGBMRegressor(**LGB).fit(rows, target + 40 * rows["count"])
    model.booster_.save_model(tmp_path / "m.txt")
    assert set(agree(tmp_path / "m.txt", model, rows).facts.categories) == {"one", "shade"}


@pytest.mark.parametrize("gaps", [False, True])
def test_unknown_ordered_numbers_go_where_lightgbm_sends_missing_ones(gaps: bool, tmp_path: Path) -> None:
    """Where training knew missing values, its splits say where these go; else they are code 0."""
    rows, target = table()
    random = np.random.default_rng(3)
    codes = rows["code"].astype(int).to_numpy()
    cells = np.where((random.random(len(rows)) < 0.3) & gaps, np.nan, codes.astype(float))
    rows["code"] = pandas.Categorical(cells, categories=[10.0, 20.0, 30.0, 45.0], ordered=True)
    model = lightgbm.LGBMRegressor(**LGB).fit(rows, target + 100 * np.isnan(cells) + 3 * codes)
    model.booster_.save_model(tmp_path / "m.txt")
    other, rows["code"] = rows.copy(), np.where(np.arange(len(rows)) % 2, codes, 33.0)
    known = [None if code == 33.0 else code for code in rows["code"]]
    other["code"] = pandas.Categorical(known, categories=[10.0, 20.0, 30.0, 45.0], ordered=True)
    found = export(tmp_path / "m.txt")
    assert not any("XGBoost" in one for one in found.notices)
    np.testing.assert_allclose(
        computed(found.model, taken(found, rows)).reshape(-1), model.predict(other), rtol=1e-5, atol=1e-4
    )


@pytest.mark.parametrize("gaps", [False, True])
def test_unknown_numbers_are_missing_values_to_xgboost_too(gaps: bool, tmp_path: Path) -> None:
    """A table that was given the categories of training has them so; for others XGBoost raises an error."""
    rows, target = table()
    codes = rows["code"].astype(int).to_numpy()
    lost = (np.random.default_rng(3).random(len(rows)) < 0.3) & gaps
    kinds = pandas.CategoricalDtype([10, 20, 30, 45])

    def given(cells: Any, absent: Any) -> Any:
        return pandas.Series([None if gone else int(cell) for cell, gone in zip(cells, absent, strict=True)]).astype(kinds)

    rows["code"] = given(codes, lost)
    model = xgboost.XGBRegressor(**XGB).fit(rows, target + 100 * lost)
    model.save_model(tmp_path / "m.json")
    other, rows["code"] = rows.copy(), np.where(np.arange(len(rows)) % 2, codes, 33)
    other["code"] = given(rows["code"], rows["code"] == 33)
    found = export(tmp_path / "m.json")
    np.testing.assert_allclose(
        computed(found.model, taken(found, rows)).reshape(-1), model.predict(other), rtol=1e-5, atol=1e-4
    )
