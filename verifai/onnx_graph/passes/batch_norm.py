"""Batch normalisation at inference is y = a·x + b per channel: into the layer before it, or as one Mul and one Add."""

from __future__ import annotations

import numpy as np

from verifai.onnx_graph.graph import Graph, Node
from verifai.onnx_graph.refusal import refuse
from verifai.onnx_graph.tensors import Array


def fold_batch_norm(graph: Graph) -> None:
    """Fold every BatchNormalization. Factors are computed in float64 and rounded once.

    Raises:
        UnsupportedModel: ``model-unknown-operator`` when its statistics are not constants.
    """
    readers = graph.consumers()
    producers = {output: node for node in graph.nodes for output in node.outputs}
    nodes: list[Node] = []
    for node in graph.nodes:
        if node.op_type != "BatchNormalization":
            nodes.append(node)
            continue
        factor, shift = _affine(graph, node)
        before = producers.get(node.inputs[0])
        alone = len(readers.get(node.inputs[0], [])) == 1 and node.inputs[0] not in graph.outputs
        if before is not None and alone and _absorb(graph, before, factor, shift):
            producers[node.outputs[0]] = before
            before.outputs[0] = node.outputs[0]
            continue
        nodes.extend(_mul_add(graph, node, factor, shift))
    graph.nodes = nodes


def _affine(graph: Graph, node: Node) -> tuple[Array, Array]:
    names = node.inputs[1:5]
    missing = [name for name in names if name not in graph.constants]
    if missing:
        raise refuse("model-unknown-operator", "batch normalisation with statistics that are not constants", node.where)
    scale, bias, mean, variance = (graph.constants[name].astype(np.float64) for name in names)
    if not (np.isfinite(variance).all() and (variance + node.number("epsilon", 1e-5) > 0).all()):
        raise refuse("model-non-finite", "a variance is not positive", node.where, "Train or export the model again.")
    factor = scale / np.sqrt(variance + node.number("epsilon", 1e-5))
    return factor, bias - mean * factor


def _absorb(graph: Graph, node: Node, factor: Array, shift: Array) -> bool:
    """Scale the output channels of a Conv, ConvTranspose or Gemm with constant weights."""
    if node.op_type not in ("Conv", "ConvTranspose", "Gemm") or node.inputs[1] not in graph.constants:
        return False
    bias_name = node.inputs[2] if len(node.inputs) > 2 else ""
    if bias_name and bias_name not in graph.constants:
        return False
    weight = graph.constants[node.inputs[1]].astype(np.float64)
    bias = graph.constants[bias_name].astype(np.float64) if bias_name else np.zeros(1)
    if node.op_type == "Conv":
        scaled = weight * factor.reshape(-1, *[1] * (weight.ndim - 1))
    elif node.op_type == "ConvTranspose":
        groups = node.integer("group", 1)
        if groups != 1:
            return False
        scaled = weight * factor.reshape(1, -1, *[1] * (weight.ndim - 2))
    else:
        scaled = weight * (factor.reshape(-1, 1) if node.integer("transB", 0) else factor.reshape(1, -1))
        bias = bias * node.number("beta", 1.0)
        node.attributes["beta"] = 1.0
    dtype = graph.constants[node.inputs[1]].dtype
    node.inputs[1] = graph.constant(f"{node.inputs[1]}_normalised", scaled.astype(dtype))
    base = f"{bias_name}_normalised" if bias_name else f"{node.name}_bias"
    node.inputs[2:] = [graph.constant(base, (bias * factor + shift).astype(dtype))]
    return True


def _mul_add(graph: Graph, node: Node, factor: Array, shift: Array) -> list[Node]:
    kind = graph.types[node.inputs[0]]
    shape = (-1, *[1] * (len(kind.shape) - 2))
    scale = graph.constant(f"{node.name}_scale", factor.reshape(shape).astype(kind.dtype))
    offset = graph.constant(f"{node.name}_shift", shift.reshape(shape).astype(kind.dtype))
    middle = graph.fresh(f"{node.name}_scaled")
    graph.types[middle] = kind
    return [
        Node("Mul", [node.inputs[0], scale], [middle], {}, f"{node.name}_mul"),
        Node("Add", [middle, offset], node.outputs, {}, f"{node.name}_add"),
    ]
