"""CatBoost's JSON form of a model (``save_model(format="json")``) as a forest; its own format, .cbm, is read by CatBoost alone.

A symmetric tree asks the same at every node of a level: leaf Σ 2^i·[x > border_i]. Source: catboost,
catboost/libs/model/model_export/json_model_helpers.cpp, release 1.2.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from verifai.exporters.boosters.boosted import (
    MAX_COLUMNS,
    MAX_OUTPUTS,
    Boosted,
    Grower,
    Link,
    inconsistent,
    integer,
    numbers,
    unsupported,
)
from verifai.onnx_graph.passes.trees import Branching

_MAX_DEPTH = 16
_LINKS: dict[str, Link] = {
    **dict.fromkeys(("Logloss", "CrossEntropy", "MultiClassOneVsAll"), Link.SIGMOID),
    "MultiClass": Link.SOFTMAX,
    **dict.fromkeys(("Poisson", "Tweedie"), Link.EXPONENTIAL),
    **dict.fromkeys(("RMSE", "MAE", "MAPE", "Quantile", "Huber", "Expectile", "LogCosh", "Lq", "MultiRMSE"), Link.IDENTITY),
    **dict.fromkeys(("YetiRank", "YetiRankPairwise", "PairLogit", "PairLogitPairwise"), Link.IDENTITY),
    **dict.fromkeys(("QueryRMSE", "QuerySoftMax", "StochasticRank"), Link.IDENTITY),
}  # fmt: skip
_CLASSES = {"Logloss": 2, "MultiClass": 0, "MultiClassOneVsAll": 0}


def read(document: Any, loss: str) -> Boosted:
    """The model in CatBoost's own JSON.

    Args:
        loss: the name of its loss function, without parameters.

    Raises:
        UsageError: ``source-failed``. UnsupportedModel: ``model-unknown-operator``.
    """
    if loss not in _LINKS:
        raise unsupported(f"CatBoost's loss {loss[:40]!r} has no formula here", "Known are: " + ", ".join(sorted(_LINKS)) + ".")
    features = document.get("features_info", {}) if isinstance(document, dict) else {}
    others = [name for name, found in features.items() if name != "float_features" and found]
    if others:
        hint = "Encode categories and texts as numbers before training."
        raise unsupported(f"CatBoost's {others[0].replace('_', ' ')} have no formula here", hint)
    trees = document.get("oblivious_trees") if isinstance(document, dict) else None
    if not isinstance(trees, list):
        raise unsupported("CatBoost's asymmetric trees have no formula here", "Train with grow_policy='SymmetricTree'.")
    places = [
        integer(one.get("flat_feature_index"), 0, MAX_COLUMNS - 1, "a column") for one in features.get("float_features", [])
    ]
    scale, bias = document.get("scale_and_bias", (1, [0]))
    bias = numbers(bias if isinstance(bias, list) else [bias], len(bias) if isinstance(bias, list) else 1, "bias")
    outputs = _outputs(trees, len(bias))
    (factor,) = numbers([scale], 1, "scale")
    grower = Grower.empty()
    for tree in trees:
        _add(grower, tree, places, outputs, factor)
    start = np.zeros(outputs) + np.array(bias if len(bias) == outputs else bias[:1])
    classes = _CLASSES.get(loss, -1)
    return Boosted(
        forest=grower.done(),
        base=tuple(start.tolist()),
        columns=max(places, default=0) + 1,
        link=_LINKS[loss],
        classes=outputs if classes == 0 else max(classes, 0),
    )


def _outputs(trees: list[Any], biases: int) -> int:
    if not trees or not isinstance(trees[0], dict):
        raise inconsistent("it has no tree")
    leaves = 1 << len(trees[0].get("splits") or [])
    return integer(len(trees[0].get("leaf_values") or []) // leaves, 1, MAX_OUTPUTS, "the number of outputs") or biases


def _add(grower: Grower, tree: Any, places: list[int], outputs: int, factor: float) -> None:
    splits = (tree.get("splits") or []) if isinstance(tree, dict) else []
    if len(splits) > _MAX_DEPTH:
        raise inconsistent("a tree is deeper than CatBoost's are")
    values = numbers(tree.get("leaf_values"), outputs << len(splits), "leaf_values")
    tests: list[tuple[int, float]] = []
    for split in splits:
        if split.get("split_type") != "FloatFeature":
            raise unsupported("CatBoost's splits of categories have no formula here", "Encode them as numbers before training.")
        place = places[integer(split.get("float_feature_index"), 0, len(places) - 1, "float_feature_index")]
        (border,) = numbers([split.get("border")], 1, "a border")
        tests.append((place, border))
    start, depth = grower.start(), len(splits)
    grower.roots.append(start)
    inner = (1 << depth) - 1
    # Level by level from the last test, whose bit is the highest: node k of a level leads to 2k and 2k + 1 of the next.
    for level in range(depth):
        column, border = tests[depth - 1 - level]
        for at in range(1 << level):
            node = start + (1 << level) - 1 + at
            below = start + (2 << level) - 1 + 2 * at
            grower.inner[node] = Branching(column, "BRANCH_GT", border, below + 1, below)
    for leaf in range(1 << depth):
        own = values[leaf * outputs : (leaf + 1) * outputs]
        grower.weights[start + inner + leaf] = {output: factor * value for output, value in enumerate(own)}
