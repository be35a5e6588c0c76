"""Numbers that no evaluation may meet: NaN and infinity in weights, zero as an integer divisor."""

from __future__ import annotations

import math

import numpy as np

from verifai.onnx_graph.graph import Graph
from verifai.onnx_graph.passes.masks import HINT as MASK_HINT
from verifai.onnx_graph.passes.trees import SPLITS
from verifai.onnx_graph.refusal import printable, refuse

_ML_MARKERS = SPLITS | {"replaced_value_float", "membership_values"}
"""Attributes of ``ai.onnx.ml`` that are checked where they are read: thresholds, Imputer's marker for a missing value, and what
ends a set."""


def require_finite(graph: Graph) -> None:
    """Check every weight and every real attribute.

    Raises:
        UnsupportedModel: ``model-non-finite``.
    """
    hint = f"Train or export the model again. {MASK_HINT}"
    for name, array in graph.constants.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise refuse("model-non-finite", "a weight is NaN or infinite", f"tensor {printable(name)!r}", hint)
    for node in graph.nodes:
        for key, value in node.attributes.items():
            if node.domain and key in _ML_MARKERS:
                continue
            if isinstance(value, np.ndarray):
                finite = value.dtype.kind != "f" or bool(np.isfinite(value).all())
            else:
                finite = all(
                    math.isfinite(v) for v in (value if isinstance(value, tuple) else (value,)) if isinstance(v, float)
                )
            if not finite:
                raise refuse("model-non-finite", f"the attribute {key!r} is NaN or infinite", node.where, hint)


def require_safe_division(graph: Graph) -> None:
    """Integer division by zero, or of the smallest integer by −1, ends the process that evaluates it.

    Raises:
        UnsupportedModel: ``model-malformed``, unless the divisor is constant and neither 0 nor −1.
    """
    for node in graph.nodes:
        if node.op_type not in ("Div", "Mod") or graph.types[node.inputs[1]].dtype.kind not in "iu":
            continue
        divisor = graph.constants.get(node.inputs[1])
        if divisor is None or bool(((divisor == 0) | (divisor == -1)).any()):
            raise refuse(
                "model-malformed",
                "an integer division whose divisor is not a constant other than 0 and -1",
                node.where,
                "Divide real numbers, or by a constant.",
            )
