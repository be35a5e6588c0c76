"""float64, float16 and bfloat16 → float32: circuits compute with one real type."""

from __future__ import annotations

import ml_dtypes
import numpy as np

from verifai.onnx_graph.graph import Graph, TensorType
from verifai.onnx_graph.passes.trees import SPLITS
from verifai.onnx_graph.refusal import printable, refuse
from verifai.onnx_graph.tensors import Array

_OTHERS = (np.dtype(np.float64), np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16))
_FLOAT32 = np.dtype(np.float32)


def to_float32(graph: Graph) -> None:
    """Convert inputs, weights and tensor attributes.

    Raises:
        UnsupportedModel: ``model-non-finite`` for a weight that float32 cannot hold.
    """
    seen: set[str] = set()
    for name, kind in graph.inputs.items():
        if kind.dtype in _OTHERS:
            seen.add(kind.dtype.name)
            graph.inputs[name] = TensorType(_FLOAT32, kind.shape)
    for name, array in graph.constants.items():
        if array.dtype in _OTHERS:
            seen.add(array.dtype.name)
            graph.constants[name] = _converted(array, f"tensor {printable(name)!r}")
    for node in graph.nodes:
        for key, value in node.attributes.items():
            if isinstance(value, np.ndarray) and value.dtype in _OTHERS and not (node.domain and key in SPLITS):
                seen.add(value.dtype.name)
                node.attributes[key] = _converted(value, node.where)
    graph.halves = graph.halves or "float16" in seen
    graph.brains = graph.brains or "bfloat16" in seen
    for kind_name in sorted(seen):
        graph.note(f"The model holds {kind_name} tensors; they were converted to float32.")


def _converted(array: Array, where: str) -> Array:
    with np.errstate(over="ignore"):
        result = array.astype(_FLOAT32)
    if np.isinf(result).any() and not np.isinf(array).any():
        raise refuse("model-non-finite", "a weight is too large for float32", where, "Rescale the model.")
    return result
