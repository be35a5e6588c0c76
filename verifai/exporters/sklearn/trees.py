"""Decision trees and sums of them: forests, boosting, isolation. Each is one forest whose leaves weigh what the estimator adds.

scikit-learn compares a float32 column with a float64 threshold; :mod:`verifai.onnx_graph.passes.trees` keeps each decision.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from verifai.exporters.sklearn.build import Build, NoRule, Rules, class_count, inconsistent, numbers, parts, unsupported
from verifai.exporters.sklearn.moved import taken_back
from verifai.exporters.sklearn.writer import Array, Row
from verifai.onnx_graph.passes.trees import Branching, Forest, laid_out

_LEAF = -1
_Weigh = Callable[[Array], Array]
"""Values of leaves, (leaves, …) → what they weigh, (leaves, outputs)."""


def _grown(estimator: Any, trees: Iterable[tuple[Any, Array, Sequence[int] | None]]) -> Forest:
    """A forest of scikit-learn's trees: each with what its nodes weigh, (nodes, outputs), and which columns it is given."""
    roots: list[int] = []
    inner: dict[int, Branching] = {}
    weights: dict[int, dict[int, float]] = {}
    start = 0
    for tree, values, columns in trees:
        left, right, features, thresholds = (
            np.asarray(getattr(tree, name)) for name in ("children_left", "children_right", "feature", "threshold")
        )
        count = len(left)
        if not count or any(len(one) != count for one in (right, features, thresholds, values)):
            raise inconsistent(estimator, "a tree's arrays differ in length")
        roots.append(start)
        for number in range(count):
            if left[number] == _LEAF:
                row = np.asarray(values[number], np.float64).reshape(-1)
                weights[start + number] = {output: float(row[output]) for output in np.flatnonzero(row).tolist()}
                continue
            yes, no = int(left[number]), int(right[number])
            column = int(features[number])
            if not (0 <= yes < count and 0 <= no < count and 0 <= column < (10**9 if columns is None else len(columns))):
                raise inconsistent(estimator, "a tree leads to a node or a column that there is not")
            column = column if columns is None else int(columns[column])
            inner[start + number] = Branching(column, "BRANCH_LEQ", float(thresholds[number]), start + yes, start + no)
        start += count
    return Forest(tuple(roots), inner, weights)


def _scored(build: Build, estimator: Any, row: Row, forest: Forest, outputs: int, base: Any = None) -> Row:
    return scored(build, type(estimator).__name__, row, forest, outputs, base)


def scored(build: Build, where: str, row: Row, forest: Forest, outputs: int, base: Any = None, *, double: bool = False) -> Row:
    """Σ of the weights of the leaves that are reached, plus ``base``.

    Args:
        where: the model's name, for messages. double: whether it compares float64 that a step before it gives, not float32.
    """
    moved = build.moved(row)
    if moved is not None and any(functions for _, functions in moved):
        back = taken_back(forest, moved, double=double)
        row, forest = (row, forest) if back is None else (build.features, back)
    found = laid_out(forest, row.width, outputs, where)
    count, wide, size = found.paths.shape
    read = build.columns(row, found.columns.reshape(-1))
    under = build.node("LessOrEqual", [read.name, build.constant(found.thresholds.reshape(-1), "thresholds")], "below")
    bits = build.node("Cast", [under], "bits", to=1)
    if found.places is not None:
        bits = build.node("Gather", [bits, build.constant(found.places.reshape(-1), "places")], "needed", axis=1)
    stacked = build.node("Reshape", [bits, build.constant(np.array([count, 1, wide]), "shape")], "chunks")
    sums = build.node("MatMul", [stacked, build.constant(found.paths, "paths")], "sums")
    met = build.node("Greater", [sums, build.constant(found.least, "least")], "is_reached")
    ends = build.node("Cast", [met], "reached", to=1)
    width = count * size
    flat = build.apply("Reshape", ends, build.constant(np.array([1, width]), "shape"), width=width, base="leaves")
    return build.linear(flat, found.weights.T, base)


def _single(tree: Any) -> Any:
    inner = getattr(tree, "tree_", None)
    if inner is None:
        raise inconsistent(tree, "tree_ is missing")
    if int(getattr(inner, "n_outputs", 1)) != 1:
        raise unsupported(tree, "with several targets has no rule", "Export one estimator per target.")
    return inner


def _classes(estimator: Any, trees: Sequence[Any], shares: Array) -> Forest:
    """Trees whose leaves are distributions over the classes, each with its share."""
    grown = []
    for tree, share in zip(trees, shares, strict=True):
        inner = _single(tree)
        values = np.asarray(inner.value, np.float64)[:, 0, :]
        total = values.sum(axis=1, keepdims=True)
        grown.append((inner, share * values / np.where(total == 0, 1.0, total), None))
    return _grown(estimator, grown)


def _tree_probabilities(build: Build, estimator: Any, row: Row) -> Row:
    return _scored(build, estimator, row, _classes(estimator, [estimator], np.ones(1)), class_count(estimator))


def _forest_probabilities(build: Build, estimator: Any, row: Row) -> Row:
    trees = parts(estimator)
    return _scored(
        build, estimator, row, _classes(estimator, trees, np.full(len(trees), 1 / len(trees))), class_count(estimator)
    )


def _values(estimator: Any, trees: Sequence[Any], share: float) -> Forest:
    inner = [_single(tree) for tree in trees]
    return _grown(estimator, [(tree, share * np.asarray(tree.value, np.float64)[:, 0, :1], None) for tree in inner])


def _tree_value(build: Build, estimator: Any, row: Row) -> Row:
    return _scored(build, estimator, row, _values(estimator, [estimator], 1.0), 1)


def _forest_value(build: Build, estimator: Any, row: Row) -> Row:
    trees = parts(estimator)
    return _scored(build, estimator, row, _values(estimator, trees, 1 / len(trees)), 1)


# Gradient boosting


def _start(estimator: Any, outputs: int) -> Array:
    """What gradient boosting adds its trees to, where that is the same for every row."""
    init = getattr(estimator, "init_", None)
    if isinstance(init, str) and init == "zero":
        return np.zeros(outputs)
    if type(init).__name__ not in ("DummyClassifier", "DummyRegressor") or not hasattr(estimator, "_raw_predict_init"):
        raise NoRule(f"{type(estimator).__name__} with init={type(init).__name__}")
    return np.asarray(estimator._raw_predict_init(np.zeros((1, estimator.n_features_in_), np.float32)), np.float64).reshape(-1)


def _boosted(build: Build, estimator: Any, row: Row) -> Row:
    """Gradient boosting's raw predictions: one column, or one per class."""
    stages = np.asarray(getattr(estimator, "estimators_", ()), dtype=object)
    if stages.ndim != 2 or not stages.size:
        raise inconsistent(estimator, "estimators_ holds no trees")
    outputs, rate = stages.shape[1], float(estimator.learning_rate)
    grown = []
    for stage in stages:
        for output, tree in enumerate(stage):
            inner = _single(tree)
            column = rate * np.asarray(inner.value, np.float64)[:, 0, :1]
            grown.append((inner, column * np.eye(outputs)[output], None))
    start = _start(estimator, outputs)
    if start.shape != (outputs,):
        raise inconsistent(estimator, "its start has another number of outputs than its trees")
    return _scored(build, estimator, row, _grown(estimator, grown), outputs, start)


def _boosted_probabilities(build: Build, estimator: Any, row: Row) -> Row:
    raw = _boosted(build, estimator, row)
    if estimator.loss == "exponential":
        return build.apply("Sigmoid", build.multiply(raw, 2.0))
    return build.apply("Sigmoid", raw) if raw.width == 1 else build.softmax(raw)


# AdaBoost and isolation


def _adaboost(build: Build, estimator: Any, row: Row) -> Row:
    """AdaBoost's decision, where its estimators are trees: a vote of each, weighted; one column for two classes."""
    trees, classes = parts(estimator), np.asarray(estimator.classes_)
    if any(type(tree).__name__ not in ("DecisionTreeClassifier", "ExtraTreeClassifier") for tree in trees):
        raise NoRule("AdaBoostClassifier of other estimators than trees")
    count, shares = class_count(estimator), numbers(estimator, "estimator_weights_", None)[: len(trees)]
    if len(shares) != len(trees) or not shares.sum():
        raise inconsistent(estimator, f"it has {len(shares)} weights for {len(trees)} estimators")
    shares = shares / shares.sum()
    grown = []
    for tree, share in zip(trees, shares, strict=True):
        inner = _single(tree)
        known = np.asarray(tree.classes_)[np.asarray(inner.value)[:, 0, :].argmax(axis=1)]
        votes = np.where(known[:, None] == classes[None, :], share, -share / (count - 1))
        # For two classes scikit-learn takes the second column less the first.
        grown.append((inner, 2 * votes[:, 1:] if count == 2 else votes, None))
    return _scored(build, estimator, row, _grown(estimator, grown), 1 if count == 2 else count)


def _adaboost_probabilities(build: Build, estimator: Any, row: Row) -> Row:
    decision = _adaboost(build, estimator, row)
    if decision.width == 1:
        return build.apply("Sigmoid", decision)
    return build.softmax(build.multiply(decision, 1 / (decision.width - 1)))


def _adaboost_value(build: Build, estimator: Any, row: Row) -> Row:
    """AdaBoost's prediction: the weighted median of its trees' values, the least that half of the weight does not exceed.

    The weight of the values up to each one is a sum of comparisons, so nothing is sorted.
    """
    trees = parts(estimator)
    if any(type(tree).__name__ not in ("DecisionTreeRegressor", "ExtraTreeRegressor") for tree in trees):
        raise NoRule("AdaBoostRegressor of other estimators than trees")
    shares = numbers(estimator, "estimator_weights_", None)[: len(trees)]
    if len(shares) != len(trees) or not shares.sum() > 0 or (shares < 0).any():
        raise inconsistent(estimator, f"it has {len(shares)} weights for {len(trees)} estimators")
    count, inner = len(trees), [_single(tree) for tree in trees]
    values = [np.asarray(tree.value, np.float64)[:, 0, :1] for tree in inner]
    grown = [(tree, value * np.eye(count)[place], None) for place, (tree, value) in enumerate(zip(inner, values, strict=True))]
    found = _scored(build, estimator, row, _grown(estimator, grown), count)
    if count == 1:
        return found
    one, others = (
        build.node("Reshape", [found.name, build.constant(np.array(shape), "shape")], "values")
        for shape in ((count, 1), (1, count))
    )
    up_to = build.node("Cast", [build.node("LessOrEqual", [others, one], "is_up_to")], "up_to", to=1)
    shares = shares / shares.sum()
    weight = build.node("MatMul", [up_to, build.constant(shares[:, None].astype(np.float32), "shares")], "weight")
    # Half of the weight, and less by what sums in float32 may differ: scikit-learn adds in float64.
    half = build.constant(np.array(0.5 - min(1e-6, shares[shares > 0].min() / 4), np.float32), "half")
    reached = build.node("GreaterOrEqual", [weight, half], "is_reached")
    most = build.constant(np.array(max(float(value.max()) for value in values), np.float32), "most")
    candidates = build.node("Where", [reached, one, most], "candidates")
    axes = build.constant(np.array([0]), "axes")
    least = build.node("ReduceMin", [candidates, axes], "median", keepdims=1, noop_with_empty_axes=0)
    return build.apply("Reshape", least, build.constant(np.array([1, 1]), "shape"), width=1, base="prediction")


def _isolation(build: Build, estimator: Any, row: Row) -> Row:
    """IsolationForest's decision: 2^(−depth/c) of the mean depth, turned and moved."""
    trees, features = parts(estimator), parts(estimator, "estimators_features_")
    depths, means = (list(getattr(estimator, name, ())) for name in ("_decision_path_lengths", "_average_path_length_per_tree"))
    if not len(depths) == len(means) == len(features) == len(trees):
        raise NoRule("IsolationForest.decision_function of this release of scikit-learn")
    from sklearn.ensemble._iforest import _average_path_length

    grown = []
    for tree, columns, depth, average in zip(trees, features, depths, means, strict=True):
        weighed = (np.asarray(depth, np.float64) + np.asarray(average, np.float64) - 1.0)[:, None]
        grown.append((_single(tree), weighed, np.asarray(columns).tolist()))
    scale = len(trees) * float(_average_path_length([estimator._max_samples])[0])
    total = _scored(build, estimator, row, _grown(estimator, grown), 1)
    score = build.apply("Exp", build.multiply(total, -np.log(2.0) / scale))
    return build.subtract(build.multiply(score, -1.0), float(estimator.offset_))


def _embedded(build: Build, estimator: Any, row: Row) -> Row:
    """RandomTreesEmbedding: one column per leaf of each tree that a row of the data reached, 1 where this row reaches it."""
    trees, encoder = [_single(tree) for tree in parts(estimator)], estimator.one_hot_encoder_
    reached = [np.asarray(one) for one in encoder.categories_]
    plain = getattr(encoder, "drop_idx_", None) is None
    if len(reached) != len(trees) or not plain or getattr(encoder, "_infrequent_enabled", False):
        raise inconsistent(estimator, "its encoder is not the one that fit makes")
    forest = _grown(estimator, [(tree, np.ones((len(tree.children_left), 1)), None) for tree in trees])
    places: dict[int, int] = {}
    for root, leaves in zip(forest.roots, reached, strict=True):
        if leaves.ndim != 1 or leaves.dtype.kind not in "fiu" or not all(root + int(one) in forest.weights for one in leaves):
            raise inconsistent(estimator, "its encoder knows leaves that no tree has")
        places |= {root + int(leaf): len(places) + at for at, leaf in enumerate(leaves)}
    weights = {leaf: {places[leaf]: 1.0} if leaf in places else {} for leaf in forest.weights}
    return _scored(build, estimator, row, Forest(forest.roots, forest.inner, weights), len(places))


RULES = Rules(
    transforms={"RandomTreesEmbedding": _embedded},
    predictions={
        **dict.fromkeys(("DecisionTreeRegressor", "ExtraTreeRegressor"), _tree_value),
        **dict.fromkeys(("RandomForestRegressor", "ExtraTreesRegressor"), _forest_value),
        "AdaBoostRegressor": _adaboost_value,
        "GradientBoostingRegressor": _boosted,
    },
    decisions={
        "AdaBoostClassifier": _adaboost,
        "GradientBoostingClassifier": _boosted,
        "IsolationForest": _isolation,
    },
    probabilities={
        **dict.fromkeys(("DecisionTreeClassifier", "ExtraTreeClassifier"), _tree_probabilities),
        **dict.fromkeys(("RandomForestClassifier", "ExtraTreesClassifier"), _forest_probabilities),
        "AdaBoostClassifier": _adaboost_probabilities,
        "GradientBoostingClassifier": _boosted_probabilities,
    },
)
