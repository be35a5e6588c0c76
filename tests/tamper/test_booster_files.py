"""Files of boosting libraries that ask for more work than they are long: refused before it is done."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.cpu_time import takes_at_most
from verifai.errors import VerifaiError
from verifai.exporters.boosters import lightgbm_files, xgboost_files

NODES = 2000


def lightgbm(
    words: int, lists: Any, *, columns: int = 1, kind: int = 1, threshold: Callable[[int], Any] = lambda node: 0
) -> bytes:
    """One tree of ``NODES`` nodes in a row, which all ask for the one set of every second category up to 32 · words."""
    row = lambda values: " ".join(map(str, values))  # noqa: E731
    tree = {
        "num_leaves": NODES + 1, "num_cat": 1, "split_feature": row([0] * NODES),
        "threshold": row(map(threshold, range(NODES))),
        "decision_type": row([kind] * NODES), "left_child": row(-1 - node for node in range(NODES)),
        "right_child": row([*range(1, NODES), -1 - NODES]), "leaf_value": row([1] * (NODES + 1)),
        "cat_boundaries": f"0 {words}",
        "cat_threshold": row([0x55555555] * words), "is_linear": 0,
    }  # fmt: skip
    head = (
        f"tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nmax_feature_idx={columns - 1}\nobjective=binary sigmoid:1\n"
        f"feature_infos={row(['0:1'] * columns)}\n\nTree=0\n"
    )
    body = "\n".join(f"{key}={value}" for key, value in tree.items())
    return f"{head}{body}\n\n[categorical_feature: 0]\n\npandas_categorical:{json.dumps(lists)}\n".encode()


FILES = {
    "a set of 100,000 numbers in every node": lambda: lightgbm(4_000, [list(range(100_000))]),
    "thresholds among 100,000 numbers": lambda: lightgbm(
        1, [list(range(100_000))], kind=2, threshold=lambda node: node * 40 + 0.5
    ),
    "more bits than trees have": lambda: lightgbm((1 << 20) + 1, None),
    "as many lists as columns": lambda: lightgbm(1, [[1]] * 40_000, columns=40_000),
}


@pytest.mark.parametrize("name", FILES)
def test_a_small_lightgbm_file_cannot_ask_for_much(name: str) -> None:
    data = FILES[name]()

    def read() -> None:
        with pytest.raises(VerifaiError) as refused:
            lightgbm_files.read(data)
        assert refused.value.code == "model-size-bomb"

    assert takes_at_most(20, read)


def test_nodes_share_their_set() -> None:
    forest = lightgbm_files.read(lightgbm(2000, None)).forest
    assert len({id(branch.between) for branch in forest.inner.values()}) == 1


@pytest.mark.parametrize("threshold", ["inf", "nan", "1e300", "-1", "1", "0.5"])
def test_a_set_that_there_is_not_is_refused(threshold: str) -> None:
    with pytest.raises(VerifaiError) as refused:
        lightgbm_files.read(lightgbm(1, None, threshold=lambda node: threshold))
    assert refused.value.code == "source-failed"


@pytest.mark.parametrize("values", [[10**400, 1], [float("inf"), 1], [float("nan"), 1], [0.0, -0.0], [False, 0]])
def test_numbers_that_are_no_categories_are_refused(values: list[Any]) -> None:
    with pytest.raises(VerifaiError) as refused:
        lightgbm_files.read(lightgbm(1, [values]))
    assert refused.value.code == "model-unknown-operator"


def xgboost(change: Callable[[dict[str, Any]], object]) -> bytes:
    """One tree that asks for two sets, one after the other."""
    tree: dict[str, Any] = {
        "tree_param": {}, "left_children": [1, -1, 3, -1, -1], "right_children": [2, -1, 4, -1, -1],
        "split_conditions": [0.0, 1.0, 0.0, 2.0, 3.0], "split_indices": [0] * 5, "split_type": [1, 0, 1, 0, 0],
        "categories_nodes": [0, 2], "categories_segments": [0, 1], "categories_sizes": [1, 2], "categories": [3, 4, 5],
    }  # fmt: skip
    change(tree)
    learner = {
        "learner_model_param": {"num_feature": "1", "num_class": "0", "base_score": "5E-1"},
        "objective": {"name": "binary:logistic"},
        "gradient_booster": {"name": "gbtree", "model": {"trees": [tree], "tree_info": [0]}},
    }  # fmt: skip
    return json.dumps({"learner": learner}).encode()


def test_the_tree_is_read_as_it_is() -> None:
    assert len(xgboost_files.read(xgboost(lambda tree: None)).forest.inner) == 2


@pytest.mark.parametrize(
    "change",
    [
        lambda tree: tree.update(categories_segments=[0, 0], categories_sizes=[3, 3]),
        lambda tree: tree.update(categories_sizes=[1, 1 << 40]),
        lambda tree: tree.update(categories=[3, 4, 1 << 40]),
        lambda tree: tree.update(categories=[3, 4, 10**400]),
        lambda tree: tree.update(split_conditions=[10**400, 1.0, 0.0, 2.0, 3.0]),
        lambda tree: tree.update(default_left=[7] * 5),
        lambda tree: tree.update(default_left=[1]),
        # From 2²⁴ on XGBoost knows no category.
        lambda tree: tree.update(categories=[1 << 24, 4, 5]),
    ],
)
def test_sets_that_are_none_are_refused(change: Callable[[dict[str, Any]], object]) -> None:
    with pytest.raises(VerifaiError) as refused:
        xgboost_files.read(xgboost(change))
    assert refused.value.code == "source-failed"
