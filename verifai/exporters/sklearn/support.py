"""Support vector machines: kernels, dual coefficients, and the vote between pairs of classes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifai.exporters.sklearn.build import Build, Rules, class_count, numbers, unsupported
from verifai.exporters.sklearn.kernels import kernel
from verifai.exporters.sklearn.writer import Array, Row


def _machine(build: Build, estimator: Any, row: Row, weights: Array, bias: Array) -> Row:
    """kernel(row, support vectors) · weightsᵀ + bias; with a linear kernel one product without the vectors."""
    points = numbers(estimator, "support_vectors_", weights.shape[1], row.width)
    if estimator.kernel == "linear":
        return build.linear(row, weights @ points, bias)
    gamma = numbers(estimator, "_gamma").item()
    values = kernel(build, estimator, row, points, estimator.kernel, gamma, float(estimator.coef0), float(estimator.degree))
    return build.linear(values, weights, bias)


def _dual(estimator: Any) -> Array:
    """The dual coefficients, one row less than classes. Raises UnsupportedModel for sparse data and kernels of one's own."""
    if not isinstance(estimator.support_vectors_, np.ndarray):
        raise unsupported(estimator, "was fitted on sparse data", "Fit it on a dense array.")
    if estimator.kernel not in ("linear", "poly", "rbf", "sigmoid"):
        raise unsupported(estimator, "has a kernel of its own, or a precomputed one", "Use linear, poly, rbf or sigmoid.")
    return numbers(estimator, "_dual_coef_", None, len(estimator.support_vectors_))


def _one(build: Build, estimator: Any, row: Row) -> Row:
    """SVR, NuSVR and OneClassSVM: one number."""
    return _machine(build, estimator, row, _dual(estimator), numbers(estimator, "_intercept_", 1))


def _decision(build: Build, estimator: Any, row: Row) -> Row:
    """SVC and NuSVC: one number for two classes; else scikit-learn's ``ovr`` form of the votes between pairs."""
    dual, classes = _dual(estimator), class_count(estimator)
    if classes == 2:
        # libsvm's number is positive for the first class.
        return _machine(build, estimator, row, -dual, -numbers(estimator, "_intercept_", 1))
    owner = np.repeat(np.arange(classes), estimator._n_support)
    weights = np.zeros((classes * (classes - 1) // 2, dual.shape[1]))
    for pair, (first, second) in enumerate(_pairs(classes)):
        weights[pair] = np.where(owner == first, dual[second - 1], 0) + np.where(owner == second, dual[first], 0)
    # Positive for the second class of a pair, as `voted` takes it.
    return voted(build, _machine(build, estimator, row, -weights, -numbers(estimator, "_intercept_", len(weights))), classes)


def _pairs(classes: int) -> list[tuple[int, int]]:
    return [(first, second) for first in range(classes) for second in range(first + 1, classes)]


def voted(build: Build, confidences: Row, classes: int, threshold: float = 0.0) -> Row:
    """Votes between pairs of classes, ties broken by confidence (``sklearn.utils.multiclass._ovr_decision_function``).

    Args:
        confidences: one column per pair (0, 1), (0, 2), …; above ``threshold`` it is a vote for the pair's second class.
    """
    sides: NDArray[np.float64] = np.zeros((classes, confidences.width))
    for pair, (first, second) in enumerate(_pairs(classes)):
        sides[first, pair], sides[second, pair] = -1, 1
    choice = build.apply("Cast", build.apply("Greater", confidences, build.constant(np.array(threshold))), to=1)
    votes = build.linear(choice, sides, (sides == -1).sum(axis=1))
    total = build.linear(confidences, sides)
    size = build.add(build.multiply(build.apply("Abs", total), 3.0), 3.0)
    return build.apply("Add", votes, build.apply("Div", total, size))


def _probability(build: Build, estimator: Any, row: Row) -> Row:
    raise unsupported(
        estimator,
        "finds its probabilities by an iteration that stops early, which is no fixed formula",
        "Export its scores; or wrap it: CalibratedClassifierCV(SVC(), ensemble=False).",
    )


RULES = Rules(
    predictions=dict.fromkeys(("SVR", "NuSVR"), _one),
    decisions={**dict.fromkeys(("SVC", "NuSVC"), _decision), "OneClassSVM": _one},
    probabilities=dict.fromkeys(("SVC", "NuSVC"), _probability),
)
