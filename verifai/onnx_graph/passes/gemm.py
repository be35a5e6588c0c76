"""Gemm in its plain form: alpha = beta = 1, nothing transposed."""

from __future__ import annotations

import numpy as np

from verifai.onnx_graph.graph import Graph, Node, TensorType
from verifai.onnx_graph.refusal import refuse


def plain_gemm(graph: Graph) -> None:
    """Fold factors and transpositions into the constant operands, or make them nodes of their own."""
    nodes: list[Node] = []
    for node in graph.nodes:
        if node.op_type == "Gemm":
            _plain(graph, node, nodes)
        nodes.append(node)
    graph.nodes = nodes


def _plain(graph: Graph, node: Node, before: list[Node]) -> None:
    alpha, beta = node.number("alpha", 1.0), node.number("beta", 1.0)
    if graph.types[node.inputs[0]].dtype.kind != "f" and (alpha, beta) != (1.0, 1.0):
        raise refuse("model-unknown-operator", "a scaled product of integers", node.where)
    for position, flag in ((0, "transA"), (1, "transB")):
        if node.integer(flag, 0):
            node.inputs[position] = _transposed(graph, node, node.inputs[position], flag, before)
        node.attributes[flag] = 0
    if alpha != 1.0:
        node.inputs[1] = _scaled(graph, node, node.inputs[1], "alpha", alpha, before)
    if beta != 1.0 and len(node.inputs) > 2 and node.inputs[2]:
        node.inputs[2] = _scaled(graph, node, node.inputs[2], "beta", beta, before)
    node.attributes["alpha"] = node.attributes["beta"] = 1.0


def _transposed(graph: Graph, node: Node, name: str, flag: str, before: list[Node]) -> str:
    array = graph.constants.get(name)
    if array is not None:
        return graph.constant(f"{name}_transposed", np.ascontiguousarray(array.T))
    kind = graph.types[name]
    result = graph.fresh(f"{node.name}_{flag}")
    graph.types[result] = TensorType(kind.dtype, kind.shape[::-1])
    before.append(Node("Transpose", [name], [result], {"perm": (1, 0)}, f"{node.name}_{flag}"))
    return result


def _scaled(graph: Graph, node: Node, name: str, label: str, factor: float, before: list[Node]) -> str:
    array = graph.constants.get(name)
    if array is not None:
        with np.errstate(over="ignore"):  # the check for finite weights comes last
            return graph.constant(f"{name}_scaled", (array.astype(np.float64) * factor).astype(array.dtype))
    kind = graph.types[name]
    result = graph.fresh(f"{node.name}_{label}")
    graph.types[result] = kind
    scale = graph.constant(f"{node.name}_{label}_factor", np.array(factor, dtype=kind.dtype))
    before.append(Node("Mul", [name, scale], [result], {}, f"{node.name}_{label}"))
    return result
