"""Multilayer perceptrons."""

from __future__ import annotations

from typing import Any

import numpy as np

from verifai.exporters.sklearn.build import Build, Rules, inconsistent, parts, unsupported
from verifai.exporters.sklearn.writer import Row

_ACTIVATIONS = {"relu": "Relu", "tanh": "Tanh", "logistic": "Sigmoid", "exp": "Exp"}


def _network(build: Build, estimator: Any, row: Row) -> Row:
    """All layers, the output's activation included."""
    weights, biases = parts(estimator, "coefs_"), parts(estimator, "intercepts_")
    if len(weights) != len(biases):
        raise inconsistent(estimator, f"it has {len(weights)} matrices and {len(biases)} biases")
    for index, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        weight, bias = np.asarray(weight, dtype=np.float64), np.asarray(bias, dtype=np.float64)
        if weight.ndim != 2 or len(weight) != row.width or bias.shape != weight.shape[1:]:
            raise inconsistent(estimator, f"layer {index} has the shapes {weight.shape} and {bias.shape}")
        row = build.linear(row, weight.T, bias)
        row = _activate(build, estimator, estimator.activation if index < len(weights) - 1 else estimator.out_activation_, row)
    return row


def _activate(build: Build, estimator: Any, name: str, row: Row) -> Row:
    if name == "identity":
        return row
    if name == "softmax":
        return build.softmax(row)
    if name not in _ACTIVATIONS:
        raise unsupported(estimator, f"with activation {name!r} has no rule", "Use relu, tanh, logistic or identity.")
    return build.apply(_ACTIVATIONS[name], row)


RULES = Rules(predictions={"MLPRegressor": _network}, probabilities={"MLPClassifier": _network})
