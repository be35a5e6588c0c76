"""Bounds that bind nothing: the maximum with −∞, the minimum with +∞, and clipping at either.

Exporters write them (a softmax in JAX starts its maximum at −∞). No integer and no proof knows an infinity, and these have no
effect, so they are removed before every other infinity is refused.
"""

from __future__ import annotations

import numpy as np

from verifai.onnx_graph.graph import Graph, Node
from verifai.onnx_graph.tensors import Array

_NEUTRAL = {"Max": -np.inf, "Min": np.inf}


def drop_infinite_bounds(graph: Graph) -> None:
    """Remove scalar operands of Max, Min and Clip that are the operator's neutral element, and constants then unread."""
    made = {node.outputs[0]: node for node in graph.nodes if node.op_type == "Constant"}
    dropped: set[str] = set()
    for node in graph.nodes:
        if node.domain:
            continue
        if node.op_type in _NEUTRAL:
            neutral = _NEUTRAL[node.op_type]
            kept = [name for name in node.inputs if not _is(_array(graph, made, name), neutral)]
            if kept and len(kept) < len(node.inputs):
                dropped.update(set(node.inputs) - set(kept))
                node.inputs = kept
                if len(kept) == 1:
                    node.op_type, node.attributes = "Identity", {}
        elif node.op_type == "Clip":
            dropped.update(_plain_clip(graph, made, node))
    read = {name for node in graph.nodes for name in node.inputs} | set(graph.outputs)
    for name in dropped - read:
        graph.constants.pop(name, None)
    graph.nodes = [node for node in graph.nodes if node.op_type != "Constant" or node.outputs[0] not in dropped - read]


def _plain_clip(graph: Graph, made: dict[str, Node], node: Node) -> set[str]:
    dropped = set()
    for position, neutral in ((1, -np.inf), (2, np.inf)):
        if position < len(node.inputs) and _is(_array(graph, made, node.inputs[position]), neutral):
            dropped.add(node.inputs[position])
            node.inputs[position] = ""
    for name, neutral in (("min", -np.inf), ("max", np.inf)):
        if node.attributes.get(name) == neutral:  # opset 10 and earlier
            del node.attributes[name]
    while len(node.inputs) > 1 and not node.inputs[-1]:
        node.inputs.pop()
    return dropped


def _array(graph: Graph, made: dict[str, Node], name: str) -> Array | None:
    if name in graph.constants:
        return graph.constants[name]
    node = made.get(name)
    if node is None:
        return None
    value = node.attributes.get("value", node.attributes.get("value_float"))
    return None if value is None else np.asarray(value)


def _is(array: Array | None, value: float) -> bool:
    """Whether the constant is this one number, and of rank 0, so that it widens no shape."""
    return array is not None and array.ndim == 0 and array.dtype.kind == "f" and bool(array == value)
