"""Losses of classes: minus the logarithm of the class that a label names, weighed and averaged as their specification says.

With M[n, c, …] = weight[c] where the label of n is c, and 0 elsewhere or where it is to be ignored, a loss is −Σ_c M·log p, and
the mean of all is their sum over ΣM.
"""

from __future__ import annotations

import numpy as np

from verifai.onnx_graph.graph import Graph, Node
from verifai.onnx_graph.tensors import Array, checked_size


def loss(graph: Graph, node: Node, opset: int) -> list[Node]:
    """SoftmaxCrossEntropyLoss and NegativeLogLikelihoodLoss; left alone where the mean's divisor depends on data."""
    del opset
    scores, labels = node.inputs[:2]
    kind = graph.types[scores]
    given = graph.constants.get(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] else None
    computed = len(node.inputs) > 2 and bool(node.inputs[2]) and given is None
    named, ignored = graph.constants.get(labels), node.attributes.get("ignore_index")
    reduction = node.text("reduction", "mean")
    plain = given is None and not isinstance(ignored, int)
    if len(kind.shape) < 2 or computed or (named is None and not plain) or reduction not in ("none", "sum", "mean"):
        return [node]
    classes, rank = kind.shape[1], len(kind.shape)
    nodes: list[Node] = []

    def add(op: str, inputs: list[str], label: str, **attributes: int) -> str:
        name = graph.fresh(f"{node.name}_{label}")
        nodes.append(Node(op, inputs, [name], dict(attributes), name))
        return name

    def constant(label: str, array: Array) -> str:
        return graph.constant(f"{node.name}_{label}", array)

    logs = scores
    if node.op_type == "SoftmaxCrossEntropyLoss":
        logs = add("LogSoftmax", [scores], "logarithms", axis=1)
    second = constant("classes_axis", np.array([1], np.int64))
    every = np.arange(classes).reshape(classes, *[1] * (rank - 2))
    count = float(np.prod([kind.shape[0], *kind.shape[2:]]))
    if named is not None:
        checked_size(list(kind.shape), kind.dtype, node.where)
        weights = (np.ones(classes) if given is None else given.reshape(-1).astype(np.float64)).reshape(every.shape)
        chosen = (np.expand_dims(named, 1) == every) * weights
        if isinstance(ignored, int):
            chosen = chosen * (np.expand_dims(named, 1) != ignored)
        count = float(chosen.sum())
        if reduction == "mean" and not count:
            return [node]
        mask = constant("chosen", np.asarray(-chosen, kind.dtype))
        picked = add("Mul", [logs, mask], "picked")
    else:
        places = constant("places", every.astype(graph.types[labels].dtype))
        same = add("Equal", [add("Unsqueeze", [labels, second], "label"), places], "same")
        bits = add("Cast", [same], "bits", to=1)
        picked = add("Neg", [add("Mul", [logs, bits], "of_label")], "picked")
    axes = second if reduction == "none" else constant("axes", np.arange(rank))
    keep = {"keepdims": 0, "noop_with_empty_axes": 0}
    result = add("ReduceSum", [picked, axes], "sum", **keep)
    if reduction == "mean":
        result = add("Mul", [result, constant("share", np.array(1 / count, kind.dtype))], "mean")
    nodes[-1].outputs = [node.outputs[0]]
    if len(node.outputs) > 1 and node.outputs[1]:
        nodes.append(Node("Identity", [logs], [node.outputs[1]], {}, graph.fresh(f"{node.name}_log_prob")))
    del result
    return nodes


_SAME = frozenset({"ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd"})


def nothing_reduced(graph: Graph, node: Node) -> list[Node] | None:
    """A reduction along no axis that is told to leave its operand: the operand; ``None`` where it is none."""
    axes = graph.constants.get(node.inputs[1]) if len(node.inputs) > 1 and node.inputs[1] else np.zeros(0)
    if not node.integer("noop_with_empty_axes", 0) or node.ints("axes") or axes is None or axes.size:
        return None
    if node.op_type not in _SAME:
        return None
    return [Node("Identity", node.inputs[:1], node.outputs, {}, node.name)]
