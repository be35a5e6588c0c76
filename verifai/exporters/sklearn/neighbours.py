"""Distances to stored points: nearest neighbours, nearest centroids, clusters."""

from __future__ import annotations

from typing import Any

import numpy as np

from verifai.exporters.sklearn.build import Build, Rules, class_count, numbers, unsupported
from verifai.exporters.sklearn.kernels import squared_distances
from verifai.exporters.sklearn.writer import Array, Row

_EXPONENTS = {
    "euclidean": 2.0,
    "l2": 2.0,
    "manhattan": 1.0,
    "l1": 1.0,
    "cityblock": 1.0,
    "chebyshev": np.inf,
    "infinity": np.inf,
}


_NOTHING = 1e-6
"""A distance, in spreads of the points, that counts as none."""


def _exponent(estimator: Any) -> float:
    """The p of the Minkowski distance: 1, 2 or infinity. Raises UnsupportedModel for other metrics."""
    name = estimator.effective_metric_
    named = isinstance(name, str) and name in _EXPONENTS and estimator.metric in (*_EXPONENTS, "minkowski")
    if named and not estimator.metric_params and not estimator.effective_metric_params_:
        return _EXPONENTS[name]
    raise unsupported(
        estimator,
        f"with metric {str(estimator.metric)[:40]!r} has no rule",
        "Use metric='euclidean', 'manhattan' or 'chebyshev'.",
    )


def _table(estimator: Any, row: Row) -> tuple[Array, Array]:
    """Training points (points, columns) and one row per point of what neighbours contribute.

    Raises:
        UnsupportedModel: for sparse data, weights of the user's own, and several targets that are classes.
    """
    if not isinstance(estimator._fit_X, np.ndarray):
        raise unsupported(estimator, "was fitted on sparse data", "Fit it on a dense array.")
    if estimator.weights not in (None, "uniform", "distance"):
        raise unsupported(estimator, "weighs neighbours by a function of its own", "Use weights='uniform' or 'distance'.")
    points, targets = numbers(estimator, "_fit_X", None, row.width), np.asarray(estimator._y)
    if not hasattr(estimator, "classes_"):
        return points, np.asarray(targets, dtype=np.float64).reshape(len(points), -1)
    return points, np.eye(class_count(estimator))[targets.reshape(-1)]


def _neighbours(build: Build, estimator: Any, row: Row) -> Row:
    """The (weighted) mean over the nearest points of their target, or of [1 at their class, else 0].

    Values with three axes are (1, points or neighbours, columns).
    """
    points, targets = _table(estimator, row)
    exponent = _exponent(estimator)
    if exponent == 2:
        distances = squared_distances(build, row, points)
    else:
        distances = Row(_distances(build, row, build.constant(points[None], "points"), exponent), len(points))
    nearest = build.smallest(distances, estimator.n_neighbors)
    chosen = build.node("Gather", [build.constant(targets, "targets"), nearest], "chosen", axis=0)
    if estimator.weights != "distance":
        axis = build.constant(np.array([1]))
        return Row(build.node("ReduceMean", [chosen, axis], "mean", keepdims=0), targets.shape[1])
    near = build.node("Gather", [build.constant(points, "points"), nearest], "near", axis=0)
    weights = _inverse(build, near, row, points, exponent, estimator.n_neighbors)
    three = build.node("Reshape", [weights.name, build.constant(np.array([1, 1, estimator.n_neighbors]), "shape")], "weights")
    product = build.node("MatMul", [three, chosen], "weighted")
    flat = build.node("Reshape", [product, build.constant(np.array([1, targets.shape[1]]), "shape")], "flat")
    return Row(flat, targets.shape[1])


def _distances(build: Build, row: Row, points: str, exponent: float) -> str:
    """Minkowski distances (1, count) of the row to points (1, count, columns), each taken directly: 0 for equal points.

    Of the exponent 2 the squares of the distances: what is done with them needs no root.
    """
    three = build.node("Reshape", [row.name, build.constant(np.array([1, 1, row.width]), "shape")], "query")
    gap = build.node("Sub", [points, three], "gap")
    axis = build.constant(np.array([2]))
    if exponent == 2:
        return build.node("ReduceSum", [build.node("Mul", [gap, gap], "square"), axis], "sum", keepdims=0)
    size = build.node("Abs", [gap], "size")
    return build.node("ReduceSum" if exponent == 1 else "ReduceMax", [size, axis], "distance", keepdims=0)


def _inverse(build: Build, near: str, row: Row, points: Array, exponent: float, count: int) -> Row:
    """1 / distance over their sum, as the softmax of −ln distance, which divides by nothing that may be 0.

    Where a distance is 0, scikit-learn weighs that point 1 and all others 0; here the others weigh a millionth of it at most,
    since a millionth of the points' spread is added to each distance.
    """
    distances = Row(_distances(build, row, near, exponent), count)
    spread = float(np.sqrt(points.var(axis=0).sum())) or 1.0
    power = 2 if exponent == 2 else 1
    logarithm = build.apply("Log", build.add(distances, (_NOTHING * spread) ** power))
    return build.softmax(build.multiply(logarithm, -1.0 / power))


def equal_priors(estimator: Any) -> bool:
    """Whether a nearest-centroid classifier weighs all classes alike, and then compares plain distances."""
    priors = getattr(estimator, "class_prior_", None)
    return priors is None or bool(np.isclose(priors, 1 / len(estimator.classes_)).all())


def _centroid(build: Build, estimator: Any, row: Row) -> Row:
    """Minus the squared distance to each centroid; with unequal priors, in within-class deviations and with 2 log prior."""
    centroids = numbers(estimator, "centroids_", class_count(estimator), row.width)
    if equal_priors(estimator) and estimator.metric == "manhattan":
        distances = _distances(build, row, build.constant(centroids[None], "centroids"), 1.0)
        return build.multiply(Row(distances, len(centroids)), -1.0)
    if estimator.metric != "euclidean":
        raise unsupported(estimator, f"with metric {str(estimator.metric)[:40]!r} has no rule", "Use metric='euclidean'.")
    if equal_priors(estimator):
        return squared_distances(build, row, centroids, -1.0)
    deviations = numbers(estimator, "within_class_std_dev_", row.width)
    factors = 1 / np.where(deviations == 0, 1.0, deviations)
    scores = squared_distances(build, build.multiply(row, factors), centroids * factors, -1.0)
    return build.add(scores, 2 * np.log(numbers(estimator, "class_prior_", len(centroids))))


def _clusters(build: Build, estimator: Any, row: Row) -> Row:
    """Minus the squared distance to each cluster's centre."""
    return squared_distances(build, row, numbers(estimator, "cluster_centers_", None, row.width), -1.0)


def _cluster_distances(build: Build, estimator: Any, row: Row) -> Row:
    """``transform``: the distance to each cluster's centre."""
    squares = squared_distances(build, row, numbers(estimator, "cluster_centers_", None, row.width))
    return build.apply("Sqrt", build.apply("Relu", squares))


RULES = Rules(
    transforms=dict.fromkeys(("KMeans", "MiniBatchKMeans", "BisectingKMeans"), _cluster_distances),
    predictions={"KNeighborsRegressor": _neighbours},
    scores={"NearestCentroid": _centroid, "KMeans": _clusters, "MiniBatchKMeans": _clusters},
    probabilities={"KNeighborsClassifier": _neighbours},
)
