"""What scikit-learn's compiled code believes of an estimator without looking, looked at before anything is run.

skops loads every estimator of scikit-learn with whatever arrays the file holds. libsvm and the searches for neighbours then
read as many numbers as one field says from the array of another; a file in which they disagree reads foreign memory, or ends
the process (CVE-2020-28975 is one such case). An export runs the estimator for its parity check, so it compares those fields
first.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from verifai.exporters.sklearn.build import inconsistent, numbers, own
from verifai.exporters.sklearn.histogram_columns import check_predictor, columns_of
from verifai.exporters.sklearn.plain_trees import PlainTree, check_nodes, compiled

_MACHINES = {"SVC": True, "NuSVC": True, "SVR": False, "NuSVR": False, "OneClassSVM": False}
"""Support vector machines by name, and whether they are classifiers."""
_MAX_OBJECTS = 1_000_000


def check_stored(estimator: Any) -> None:
    """Check every estimator inside, and itself; plain trees become scikit-learn's own.

    Raises:
        UsageError: ``source-failed``, with the estimator and the field named.
    """
    for part in reachable(estimator):
        fields = vars(part)
        if type(part).__name__ in _MACHINES and "support_vectors_" in fields:
            _check_machine(part, _MACHINES[type(part).__name__])
        if "_fit_X" in fields and type(part).__name__ != "KNNImputer":
            _check_points(part)
        if isinstance(fields.get("tree_"), PlainTree):
            part.tree_ = compiled(part, fields["tree_"])
        if type(part).__name__ == "TreePredictor":
            _check_predictor(part)
        if "_predictors" in fields:
            _check_boosting(part)
        if isinstance(fields.get("cluster_centers_"), np.ndarray):
            numbers(part, "cluster_centers_", None, part.n_features_in_)


def reachable(estimator: Any) -> Iterator[Any]:
    """Every estimator of scikit-learn's own that is reachable through fields, lists, tuples and dictionaries.

    Raises:
        UsageError: ``source-failed``, when there are too many to look at.
    """
    seen: set[int] = set()
    stack = [estimator]
    # A list made here keeps its place in memory as long as this runs: another one there would pass for seen.
    made: list[list[Any]] = []
    while stack:
        value = stack.pop()
        if isinstance(value, np.ndarray) and value.dtype.hasobject:
            if id(value) in seen:
                continue
            seen.add(id(value))
            value = value.reshape(-1).tolist()
            made.append(value)
        container = isinstance(value, (list, tuple, dict))
        if id(value) in seen or not (container or (own(value) and hasattr(value, "__dict__") and not isinstance(value, type))):
            continue
        seen.add(id(value))
        if len(seen) > _MAX_OBJECTS:
            raise inconsistent(estimator, "it holds more objects than an estimator needs")
        if isinstance(value, dict):
            stack.extend(value.values())
        elif container:
            stack.extend(value)
        else:
            yield value
            stack.extend(vars(value).values())


def _check_predictor(predictor: Any) -> None:
    """A tree of histogram-based gradient boosting: its nodes lead to nodes; how many columns there are, its owner knows."""
    from sklearn.ensemble._hist_gradient_boosting.common import PREDICTOR_RECORD_DTYPE

    nodes = getattr(predictor, "nodes", None)
    if not isinstance(nodes, np.ndarray) or nodes.dtype != PREDICTOR_RECORD_DTYPE or nodes.ndim != 1 or not len(nodes):
        raise inconsistent(predictor, "its nodes are not those that fit leaves")


def _check_boosting(estimator: Any) -> None:
    """Histogram-based gradient boosting: trees of its own columns, no more of them per stage than it has outputs."""
    stages = estimator._predictors
    outputs = getattr(estimator, "n_trees_per_iteration_", 0)
    if not isinstance(stages, list) or not all(isinstance(stage, list) and len(stage) == outputs for stage in stages):
        raise inconsistent(estimator, "its stages differ in the number of trees")
    _, kinds = columns_of(estimator)
    for predictor in (one for stage in stages for one in stage):
        if type(predictor).__name__ != "TreePredictor":
            raise inconsistent(estimator, "it holds something else than its trees")
        _check_predictor(predictor)
        nodes = predictor.nodes
        leaf = nodes["is_leaf"].astype(bool)
        sides = [np.where(leaf, -1, nodes[side].astype(np.int64)) for side in ("left", "right")]
        check_nodes(estimator, sides[0], sides[1], nodes["feature_idx"], nodes["num_threshold"], estimator.n_features_in_)
        check_predictor(estimator, predictor, kinds)


def _check_machine(machine: Any, classifier: bool) -> None:
    """libsvm: one coefficient per vector and pair of classes, as many vectors as the counts say."""
    if "_impl" in vars(machine):
        raise inconsistent(machine, "its kind of machine was changed")
    if not isinstance(machine.support_vectors_, np.ndarray):
        return  # fitted on sparse data, which is refused by the rule that converts it
    classes = len(machine.classes_) if classifier else 2
    pairs = classes * (classes - 1) // 2
    vectors = len(numbers(machine, "support_vectors_", None, machine.n_features_in_))
    numbers(machine, "_dual_coef_", classes - 1, vectors)
    numbers(machine, "_intercept_", pairs)
    counts = np.asarray(machine._n_support)
    held = counts if classifier else counts[:1]
    if counts.shape != (classes,) or counts.dtype.kind != "i" or (counts < 0).any() or held.sum() != vectors:
        raise inconsistent(machine, "its numbers of support vectors contradict each other")
    if np.shape(machine.support_) != (vectors,):
        raise inconsistent(machine, "support_ has the wrong size")
    for attribute in ("_probA", "_probB"):
        if np.shape(getattr(machine, attribute)) not in ((0,), (pairs,)):
            raise inconsistent(machine, f"{attribute} has the wrong size")


def _check_points(estimator: Any) -> None:
    """Nearest neighbours: as many targets as points, each one of the classes, and no more neighbours than points."""
    stored = estimator._fit_X
    if not isinstance(stored, np.ndarray):
        return  # sparse data, as above
    count = len(numbers(estimator, "_fit_X", None, estimator.n_features_in_))
    if not stored.flags.c_contiguous or stored.dtype not in (np.float32, np.float64):
        raise inconsistent(estimator, "its points are not stored as fit stores them")
    wanted = getattr(estimator, "n_neighbors", None)
    if getattr(estimator, "n_samples_fit_", None) != count or (
        isinstance(wanted, (int, np.integer)) and not 0 < wanted <= count
    ):
        raise inconsistent(estimator, f"it looks for {wanted} neighbours among {count} points")
    if "_y" not in vars(estimator):
        return
    targets = np.asarray(estimator._y)
    if targets.ndim not in (1, 2) or len(targets) != count:
        raise inconsistent(estimator, f"it holds {count} points and targets of the shape {targets.shape}")
    if "classes_" in vars(estimator):
        classes = estimator.classes_ if isinstance(estimator.classes_, list) else [estimator.classes_]
        columns = targets.reshape(count, -1)
        fits = targets.dtype.kind in "iu" and columns.shape[1] == len(classes)
        if not fits or any((c < 0).any() or (c >= len(k)).any() for c, k in zip(columns.T, classes, strict=True)):
            raise inconsistent(estimator, "its targets are not numbers of its classes")
