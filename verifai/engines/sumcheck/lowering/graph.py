"""A canonical ONNX model as the lowering reads it: nodes, constants, static shapes, who reads what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifai.errors import UnsupportedModel
from verifai.onnx_graph.graph import Node, read_attribute
from verifai.onnx_graph.model import OnnxModel
from verifai.onnx_graph.tensors import DTYPES, to_array

Array = NDArray[Any]

DOMAIN = "verifai"
"""Of nodes that no ONNX file has: what :mod:`.fuse` recognises."""


@dataclass(frozen=True)
class SourceGraph:
    """The graph to lower.

    Attributes:
        nodes: topologically sorted.
        constants: name → array.
        shapes: every value's static shape. types: the NumPy name of every activation's element type.
        readers: how often each value is read by nodes, plus one for each graph output.
    """

    nodes: tuple[Node, ...]
    constants: Mapping[str, Array]
    shapes: Mapping[str, tuple[int, ...]]
    types: Mapping[str, str]
    readers: Mapping[str, int]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def read_graph(model: OnnxModel) -> SourceGraph:
    """The graph of a canonical model."""
    graph = model.proto.graph
    constants = {tensor.name: to_array(tensor, "initialiser") for tensor in graph.initializer}
    shapes = {
        value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
        for values in (graph.input, graph.value_info, graph.output)
        for value in values
    }
    types = {
        value.name: DTYPES[value.type.tensor_type.elem_type].name
        for values in (graph.input, graph.value_info, graph.output)
        for value in values
    }
    shapes.update({name: array.shape for name, array in constants.items()})
    nodes = tuple(
        Node(
            node.op_type,
            list(node.input),
            list(node.output),
            {a.name: read_attribute(a, node.name) for a in node.attribute},
            node.name or f"{node.op_type}_{number}",
            node.domain,
        )
        for number, node in enumerate(graph.node)
    )
    readers: Counter[str] = Counter(name for node in nodes for name in node.inputs)
    readers.update(value.name for value in graph.output)
    return SourceGraph(
        nodes,
        constants,
        shapes,
        types,
        readers,
        tuple(spec.name for spec in model.inputs),
        tuple(spec.name for spec in model.outputs),
    )


def unsupported(node: Node, reason: str, hint: str = "") -> UnsupportedModel:
    """The error for a node that cannot be lowered."""
    return UnsupportedModel("operator-unsupported", f"{node.op_type}: {reason}", where=node.where, hint=hint)


def float_constant(graph: SourceGraph, node: Node, position: int) -> Array | None:
    """The constant operand at ``position`` as float64, or None when it is absent or not constant."""
    if position >= len(node.inputs) or not node.inputs[position]:
        return None
    array = graph.constants.get(node.inputs[position])
    return None if array is None else np.asarray(array, np.float64)
