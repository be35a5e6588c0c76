"""Histogram-based gradient boosting, with columns of numbers and of categories.

scikit-learn compares in float64 here, and what a row's cell is to a column of categories :mod:`.histogram_columns` says.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from verifai.exporters.sklearn.build import Build, Rules, inconsistent, parts
from verifai.exporters.sklearn.histogram_columns import check_predictor, columns_of, split_of
from verifai.exporters.sklearn.trees import scored
from verifai.exporters.sklearn.writer import Row
from verifai.onnx_graph.passes.trees import Branching, Forest


def _raw(build: Build, estimator: Any, row: Row) -> Row:
    """Raw predictions: one column, or one per class."""
    stages = parts(estimator, "_predictors")
    outputs = len(stages[0])
    order, kinds = columns_of(estimator)
    for place, one in enumerate(kinds):
        if one is not None and one.texts:
            build.text_column(estimator, row, order[place], one.texts, True)
        elif one is not None:
            build.note(f"Column {order[place]} holds categories: what is none of them goes where missing values go.")
    roots: list[int] = []
    inner: dict[int, Branching] = {}
    weights: dict[int, dict[int, float]] = {}
    start = 0
    for stage in stages:
        if len(stage) != outputs:
            raise inconsistent(estimator, "its stages differ in the number of trees")
        for output, predictor in enumerate(stage):
            check_predictor(estimator, predictor, kinds)
            roots.append(start)
            for number, node in enumerate(predictor.nodes):
                if node["is_leaf"]:
                    weights[start + number] = {output: float(node["value"])}
                    continue
                place, left, right = int(node["feature_idx"]), start + int(node["left"]), start + int(node["right"])
                column, one = order[place], kinds[place]
                if one is None:
                    inner[start + number] = Branching(column, "BRANCH_LEQ", float(node["num_threshold"]), left, right)
                else:
                    words = predictor.raw_left_cat_bitsets[int(node["bitset_idx"])]
                    inner[start + number] = split_of(one, words, bool(node["missing_go_to_left"]), column, left, right)
            start += len(predictor.nodes)
    base = np.asarray(estimator._baseline_prediction, np.float64).reshape(-1)
    if base.size not in (1, outputs):
        raise inconsistent(estimator, "its baseline has another number of outputs than its trees")
    start_sums, name = np.broadcast_to(base, (outputs,)), type(estimator).__name__
    return scored(build, name, row, Forest(tuple(roots), inner, weights), outputs, start_sums, double=True)


def _value(build: Build, estimator: Any, row: Row) -> Row:
    raw = _raw(build, estimator, row)
    return build.apply("Exp", raw) if estimator.loss in ("poisson", "gamma") else raw


def _probabilities(build: Build, estimator: Any, row: Row) -> Row:
    raw = _raw(build, estimator, row)
    return build.apply("Sigmoid", raw) if raw.width == 1 else build.softmax(raw)


RULES = Rules(
    predictions={"HistGradientBoostingRegressor": _value},
    decisions={"HistGradientBoostingClassifier": _raw},
    probabilities={"HistGradientBoostingClassifier": _probabilities},
)
