"""A file as it would be in float32, for a source that onnxruntime has no operators for: bfloat16, and float64 convolutions.

Only types change, not one operator: what is compared with it still shows that the canonical form computes what the file says.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, TypeProto

from verifai.onnx_graph.external import pull_in
from verifai.onnx_graph.tensors import from_array, to_array

_OTHERS = frozenset({TensorProto.BFLOAT16, TensorProto.FLOAT16, TensorProto.DOUBLE})
_TYPE_ATTRIBUTES = frozenset({"to", "dtype", "output_datatype", "output_dtype", "stash_type", "softmax_precision"})


def widened(model: ModelProto, folder: Path | None, where: str) -> bool:
    """Turn every other float of a file into float32, in place, its external data too. Returns whether there was any.

    Raises:
        UnsupportedModel: for tensors that cannot be read, as :func:`~verifai.onnx_graph.tensors.to_array`.
    """
    pull_in(model, folder, where)
    found = _graph(model.graph, where)
    for function in model.functions:
        found |= _nodes(function.node, where)
        found |= _all(_type(value.type) for value in function.value_info)
    return found


def _graph(graph: GraphProto, where: str) -> bool:
    found = _all(_tensor(tensor, where) for tensor in graph.initializer)
    found |= _all(_type(value.type) for value in (*graph.input, *graph.output, *graph.value_info))
    return _nodes(graph.node, where) or found


def _all(changed: Iterable[bool]) -> bool:
    """Whether any was changed, with every one looked at."""
    return sum(changed) > 0


def _nodes(nodes: Iterable[NodeProto], where: str) -> bool:
    found = False
    for node in nodes:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.TENSOR:
                found |= _tensor(attribute.t, where)
            elif attribute.type == AttributeProto.GRAPH:
                found |= _graph(attribute.g, where)
            elif attribute.type == AttributeProto.INT and attribute.name in _TYPE_ATTRIBUTES and attribute.i in _OTHERS:
                attribute.i = TensorProto.FLOAT
                found = True
    return found


def _type(kind: TypeProto) -> bool:
    if not kind.HasField("tensor_type") or kind.tensor_type.elem_type not in _OTHERS:
        return False
    kind.tensor_type.elem_type = TensorProto.FLOAT
    return True


def _tensor(tensor: TensorProto, where: str) -> bool:
    if tensor.data_type not in _OTHERS:
        return False
    with np.errstate(over="ignore"):  # what float32 cannot hold was refused when the file was made canonical
        tensor.CopyFrom(from_array(to_array(tensor, where).astype(np.float32), tensor.name))
    return True
