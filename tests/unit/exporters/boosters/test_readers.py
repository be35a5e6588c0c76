"""Our readers of boosting libraries' files: exact thresholds, and one clear refusal for whatever contradicts itself."""

from __future__ import annotations

import copy
import json
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verifai.errors import UnsupportedModel, UsageError, VerifaiError
from verifai.exporters.boosters import catboost_files, lightgbm_files, ubjson, xgboost_files
from verifai.exporters.boosters.boosted import Boosted, Link

TREE: dict[str, Any] = {
    "left_children": [1, -1, -1],
    "right_children": [2, -1, -1],
    "split_indices": [1, 0, 0],
    "split_conditions": [0.1, -1.5, 2.25],
    "split_type": [0, 0, 0],
    "default_left": [0, 0, 0],
    "categories": [],
    "categories_nodes": [],
    "categories_segments": [],
    "categories_sizes": [],
    "tree_param": {"num_nodes": "3", "size_leaf_vector": "1"},
}
XGBOOST: dict[str, Any] = {
    "learner": {
        "feature_names": ["a", "b"],
        "gradient_booster": {"name": "gbtree", "model": {"trees": [TREE], "tree_info": [0]}},
        "learner_model_param": {"base_score": "[2.5E-1]", "num_class": "0", "num_feature": "2", "num_target": "1"},
        "objective": {"name": "binary:logistic"},
    },
    "version": [3, 2, 0],
}
LIGHTGBM = """tree
version=v4
num_class=1
num_tree_per_iteration=1
label_index=0
max_feature_idx=1
objective=binary sigmoid:1
feature_names=a b

Tree=0
num_leaves=2
num_cat=0
split_feature=1
threshold=0.1
decision_type=2
left_child=-1
right_child=-2
leaf_value=-1.5 2.25
is_linear=0
shrinkage=1


end of trees
"""
CATBOOST: dict[str, Any] = {
    "features_info": {"float_features": [{"flat_feature_index": 0}, {"flat_feature_index": 1}]},
    "oblivious_trees": [
        {
            "leaf_values": [0.0, 1.0, 2.0, 3.0],
            "splits": [
                {"border": 0.5, "float_feature_index": 0, "split_type": "FloatFeature"},
                {"border": 0.25, "float_feature_index": 1, "split_type": "FloatFeature"},
            ],
        }
    ],
    "scale_and_bias": [2, [1.0]],
}


def xgboost(change: Callable[[dict[str, Any]], None] = lambda model: None) -> Boosted:
    document = copy.deepcopy(XGBOOST)
    change(document)
    return xgboost_files.read(json.dumps(document).encode())


def test_xgboost_has_float32_thresholds_and_a_start_before_the_link() -> None:
    found = xgboost()
    (branch,) = found.forest.inner.values()
    assert (branch.column, branch.mode) == (1, "BRANCH_LT")
    assert branch.threshold == float(np.float32(0.1)) != 0.1
    assert found.base == (float(np.log(0.25 / 0.75)),)
    assert (found.link, found.classes, found.names) == (Link.SIGMOID, 2, ("a", "b"))


def test_lightgbm_keeps_double_thresholds() -> None:
    found = lightgbm_files.read(LIGHTGBM.encode())
    (branch,) = found.forest.inner.values()
    assert (branch.column, branch.mode, branch.threshold) == (1, "BRANCH_LEQ", 0.1)
    assert sorted(found.forest.weights.values(), key=str) == [{0: -1.5}, {0: 2.25}]
    assert found.double and found.classes == 2


@pytest.mark.parametrize(
    "threshold, low, high", [("-1.0000000180025095e-35", -1e-34, -1e-35), ("1e-40", 1e-35, 2e-35), ("0", 1e-35, 2e-35)]
)
def test_lightgbm_takes_what_is_smallest_for_zero(threshold: str, low: float, high: float) -> None:
    found = lightgbm_files.read(LIGHTGBM.replace("threshold=0.1", f"threshold={threshold}").encode())
    (branch,) = found.forest.inner.values()
    assert float(np.float32(low)) <= branch.threshold < float(np.float32(high))


def test_catboost_counts_leaves_by_the_bits_of_its_tests() -> None:
    found = catboost_files.read(CATBOOST, "RMSE")
    inner, weights = found.forest.inner, found.forest.weights

    def reached(row: tuple[float, float]) -> float:
        at = found.forest.roots[0]
        while at in inner:
            branch = inner[at]
            at = branch.yes if row[branch.column] > branch.threshold else branch.no
        return weights[at].get(0, 0.0)

    assert [reached(row) for row in ((0, 0), (1, 0), (0, 1), (1, 1))] == [0.0, 2.0, 4.0, 6.0]
    assert found.base == (1.0,)


def _tree(model: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = model["learner"]["gradient_booster"]["model"]["trees"][0]
    return found


def _set(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    *way, last = path.split(".")

    def change(model: dict[str, Any]) -> None:
        at: Any = model
        for key in way:
            at = at[int(key)] if isinstance(at, list) else at[key]
        at[int(last) if isinstance(at, list) else last] = value

    return change


_FIRST = "learner.gradient_booster.model.trees.0"
BROKEN: dict[str, Callable[[dict[str, Any]], None]] = {
    "a child beyond the nodes": _set(f"{_FIRST}.left_children.0", 7),
    "a child before the first": _set(f"{_FIRST}.right_children.0", -3),
    "a leaf with one child": _set(f"{_FIRST}.left_children.1", 2),
    "a column that there is not": _set(f"{_FIRST}.split_indices.0", 2),
    "a list that is too short": _set(f"{_FIRST}.split_conditions", [1.0]),
    "a text for a list": _set(f"{_FIRST}.left_children", "abc"),
    "no nodes": _set(f"{_FIRST}.left_children", []),
    "an infinite leaf": _set(f"{_FIRST}.split_conditions.1", float("inf")),
    "a boolean for a number": _set(f"{_FIRST}.split_conditions.0", True),
    "a set without categories": _set(f"{_FIRST}.split_type.0", 1),
    "an output that there is not": _set("learner.gradient_booster.model.tree_info.0", 1),
    "more owners than trees": _set("learner.gradient_booster.model.tree_info", [0, 0]),
    "no trees": _set("learner.gradient_booster.model", {"trees": [], "tree_info": []}),
    "columns without end": _set("learner.learner_model_param.num_feature", str(1 << 40)),
    "classes without end": _set("learner.learner_model_param.num_class", str(1 << 40)),
    "a start that is no probability": _set("learner.learner_model_param.base_score", "[1.5E0]"),
    "a start that is no number": _set("learner.learner_model_param.base_score", "abc"),
    "no learner": _set("learner", None),
}


@pytest.mark.parametrize("name", BROKEN)
def test_an_xgboost_file_that_contradicts_itself_is_refused(name: str) -> None:
    with pytest.raises(UsageError) as refused:
        xgboost(BROKEN[name])
    assert refused.value.code == "source-failed"


@pytest.mark.parametrize(
    "path, value",
    [
        ("learner.objective.name", "survival:weird"),
        ("learner.gradient_booster.name", "gblinear"),
        (f"{_FIRST}.tree_param.size_leaf_vector", "3"),
    ],
)
def test_what_has_no_formula_is_refused_by_name(path: str, value: Any) -> None:
    with pytest.raises(UnsupportedModel) as refused:
        xgboost(_set(path, value))
    assert refused.value.code == "model-unknown-operator" and refused.value.hint


@pytest.mark.parametrize(
    "old, new",
    [
        ("left_child=-1", "left_child=-9"),
        ("left_child=-1", "left_child=1"),
        ("left_child=-1", "left_child=x"),
        ("split_feature=1", "split_feature=2"),
        ("threshold=0.1", "threshold=nan"),
        ("threshold=0.1", "threshold=0.1 0.2"),
        ("leaf_value=-1.5 2.25", "leaf_value=-1.5"),
        ("leaf_value=-1.5 2.25", "leaf_value=-1.5 inf"),
        ("num_leaves=2", "num_leaves=0"),
        ("num_leaves=2", "num_leaves=99999999999"),
        ("num_tree_per_iteration=1", "num_tree_per_iteration=2"),
        ("decision_type=2", "decision_type=1"),
        ("Tree=0", "Leaf=0"),
        ("max_feature_idx=1", "max_feature_idx=-5"),
    ],
)
def test_a_lightgbm_file_that_contradicts_itself_is_refused(old: str, new: str) -> None:
    assert old in LIGHTGBM
    with pytest.raises(UsageError) as refused:
        lightgbm_files.read(LIGHTGBM.replace(old, new).encode())
    assert refused.value.code == "source-failed"


@pytest.mark.parametrize(
    "old, new",
    [("is_linear=0", "is_linear=1"), ("decision_type=2", "decision_type=4"), ("binary sigmoid:1", "regression sqrt")],
)
def test_lightgbm_forms_without_a_formula_are_refused_by_name(old: str, new: str) -> None:
    with pytest.raises(UnsupportedModel):
        lightgbm_files.read(LIGHTGBM.replace(old, new).encode())


def test_catboost_categories_are_refused_by_name() -> None:
    document = copy.deepcopy(CATBOOST)
    document["features_info"]["categorical_features"] = [{"flat_feature_index": 2}]
    with pytest.raises(UnsupportedModel, match="categorical features"):
        catboost_files.read(document, "RMSE")
    document = copy.deepcopy(CATBOOST)
    document["oblivious_trees"][0]["leaf_values"].pop()
    with pytest.raises(UsageError):
        catboost_files.read(document, "RMSE")


# UBJSON


def _packed(value: Any) -> bytes:
    """As XGBoost writes it: texts and lengths with 64-bit counts, lists of numbers typed."""
    if isinstance(value, str):
        raw = value.encode()
        return b"SL" + struct.pack(">q", len(raw)) + raw
    if isinstance(value, dict):
        body = b"".join(b"L" + struct.pack(">q", len(key.encode())) + key.encode() + _packed(one) for key, one in value.items())
        return b"{" + body + b"}"
    if isinstance(value, list) and value and all(isinstance(one, float) for one in value):
        return b"[$d#L" + struct.pack(">q", len(value)) + b"".join(struct.pack(">f", one) for one in value)
    if isinstance(value, list) and value and all(isinstance(one, int) for one in value):
        return b"[$l#L" + struct.pack(">q", len(value)) + b"".join(struct.pack(">i", one) for one in value)
    if isinstance(value, list):
        return b"[#L" + struct.pack(">q", len(value)) + b"".join(map(_packed, value))
    return b"L" + struct.pack(">q", value)


def test_both_forms_of_xgboosts_files_say_the_same() -> None:
    assert xgboost_files.read(_packed(XGBOOST)) == xgboost()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"{}x",
        b"[$d#L" + struct.pack(">q", 1 << 60),
        b"[#L" + struct.pack(">q", 1 << 60),
        b"[$T#L" + struct.pack(">q", 1 << 40),
        b"[#L" + struct.pack(">q", -1),
        b"[$d",
        b"[" * 500,
        b"SL" + struct.pack(">q", 1 << 50),
        b"SU\x01\xff",
        b"{U\x01aTU\x01aT}",
        b"Q",
    ],
)
def test_ubjson_that_lies_about_its_size_is_refused_at_once(data: bytes) -> None:
    with pytest.raises(UsageError):
        ubjson.loads(data)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_changed_bytes_are_read_or_refused(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["json", "ubj", "txt"]))
    whole = {"json": json.dumps(XGBOOST).encode(), "ubj": _packed(XGBOOST), "txt": LIGHTGBM.encode()}[kind]
    at = data.draw(st.integers(0, len(whole) - 1))
    changed = whole[:at] + data.draw(st.binary(max_size=3)) + whole[at + data.draw(st.integers(0, 3)) :]
    try:
        (lightgbm_files if kind == "txt" else xgboost_files).read(changed)
    except VerifaiError as problem:
        assert problem.code in ("source-failed", "model-unknown-operator", "model-size-bomb")


def test_catboosts_json_is_not_taken_for_a_broken_file_of_xgboost() -> None:
    document = {"features_info": {"float_features": []}, "model_info": {}, "oblivious_trees": [], "scale_and_bias": [1, [0]]}
    with pytest.raises(UsageError, match="one of CatBoost, as JSON") as caught:
        xgboost_files.read(json.dumps(document).encode())
    assert (caught.value.code, "format='onnx'" in caught.value.hint) == ("source-failed", True)
