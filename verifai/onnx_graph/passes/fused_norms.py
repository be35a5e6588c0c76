"""What onnxruntime's optimisers fuse around a normalisation or a product, as plain operators.

Meaning as onnxruntime documents them (docs/ContribOperators.md).
"""

from __future__ import annotations

import numpy as np

from verifai.onnx_graph.graph import Graph, Node
from verifai.onnx_graph.passes.steps import Steps
from verifai.onnx_graph.tensors import ELEMENT_TYPES

_INT32 = ELEMENT_TYPES[np.dtype(np.int32)]


def simplified_layer_norm(graph: Graph, node: Node) -> list[Node]:
    """x / √(mean of x² over the last axes + ε) · scale."""
    steps = Steps(graph, node)
    rank = len(steps.shape(0))
    axis = node.integer("axis", -1)
    if not -rank <= axis < rank:
        raise steps.malformed(f"axis {axis} of a tensor of {rank} axes")
    _root_mean(steps, node.inputs[0], node.inputs[1], axis % rank, rank, node.number("epsilon", 1e-5), steps.wanted(1))
    return steps.nodes


def _root_mean(steps: Steps, x: str, scale: str, axis: int, rank: int, epsilon: float, inverse: str) -> None:
    axes = steps.constant("axes", np.arange(axis, rank))
    mean = steps.add("ReduceMean", [steps.add("Mul", [x, x], "squares"), axes], "mean", keepdims=1, noop_with_empty_axes=0)
    root = steps.add("Sqrt", [steps.add("Add", [mean, steps.real("epsilon", epsilon)], "safe")], "root")
    steps.add("Mul", [steps.add("Div", [x, root], "normal"), scale], "scaled", steps.node.outputs[0])
    if inverse:
        steps.add("Reciprocal", [root], "inverse", inverse)


def skip_layer_norm(graph: Graph, node: Node) -> list[Node]:
    """Layer normalisation of a sum, plain or by the root of the mean square; the sum may be asked for too."""
    steps = Steps(graph, node)
    simple = node.op_type == "SkipSimplifiedLayerNormalization"
    bias = steps.given(3 if simple else 4)
    total = steps.add("Add", node.inputs[:2], "sum")
    if bias:
        total = steps.add("Add", [total, bias], "biased")
    rank, epsilon = len(steps.shape(0)), node.number("epsilon", 1e-12)
    if simple:
        _root_mean(steps, total, node.inputs[2], rank - 1, rank, epsilon, steps.wanted(2))
        if steps.wanted(1):
            raise steps.cannot("a mean, which it does not compute")
    else:
        given = [total, node.inputs[2], *([steps.given(3)] if steps.given(3) else [])]
        steps.add("LayerNormalization", given, "normal", node.outputs[0], axis=-1, epsilon=epsilon, stash_type=1)
        steps.nodes[-1].outputs += [steps.wanted(1), steps.wanted(2)] if steps.wanted(1) or steps.wanted(2) else []
    if steps.wanted(3):
        steps.add("Identity", [total], "asked_sum", steps.wanted(3))
    return steps.nodes


def embed_layer_norm(graph: Graph, node: Node) -> list[Node]:
    """Embeddings of words, positions and segments, their sum normalised; and how many words the mask keeps."""
    steps = Steps(graph, node)
    shape = steps.shape(0)
    if len(shape) != 2 or bool(steps.given(1)) != bool(steps.given(4)):
        raise steps.malformed(f"words of shape {list(shape)}, or segments without their table")
    total = steps.add("Gather", [node.inputs[2], node.inputs[0]], "words", axis=0)
    numbers = steps.given(8) or steps.constant("numbers", np.arange(shape[1])[None])
    total = steps.add("Add", [total, steps.add("Gather", [node.inputs[3], numbers], "positions", axis=0)], "placed")
    if steps.given(1):
        total = steps.add("Add", [total, steps.add("Gather", [steps.given(4), steps.given(1)], "segments", axis=0)], "sum")
    given = [total, node.inputs[5], node.inputs[6]]
    epsilon = node.number("epsilon", 1e-12)
    steps.add("LayerNormalization", given, "normal", node.outputs[0], axis=-1, epsilon=epsilon, stash_type=1)
    if steps.wanted(1):
        if not steps.given(7) or node.integer("mask_index_type", 1) != 1:
            raise steps.cannot("numbers of words without a mask to count")
        axis = steps.constant("axis", np.array([1]))
        count = steps.add("ReduceSum", [steps.given(7), axis], "count", keepdims=0, noop_with_empty_axes=0)
        steps.add("Cast", [count], "counted", steps.wanted(1), to=_INT32)
    if steps.wanted(2):
        steps.add("Identity", [total], "asked_sum", steps.wanted(2))
    return steps.nodes


def fused_matmul(graph: Graph, node: Node) -> list[Node]:
    """α · A'·B', either with its last two axes exchanged."""
    steps = Steps(graph, node)
    operands = []
    for place, flag in ((0, "transA"), (1, "transB")):
        rank, name = len(steps.shape(place)), node.inputs[place]
        if node.integer(flag.replace("trans", "transBatch"), 0) and rank > 2:  # its first axis stands before the batch's
            name = steps.add("Transpose", [name], f"{flag}_batch", perm=(*range(1, rank - 1), 0, rank - 1))
        if node.integer(flag, 0) and rank > 1:
            name = steps.add("Transpose", [name], flag, perm=(*range(rank - 2), rank - 1, rank - 2))
        operands.append(name)
    alpha = node.number("alpha", 1.0)
    if alpha == 1.0:
        steps.add("MatMul", operands, "product", node.outputs[0])
    else:
        product = steps.add("MatMul", operands, "product")
        steps.add("Mul", [product, steps.real("alpha", alpha)], "scaled", node.outputs[0])
    return steps.nodes


def dynamic_matmul(graph: Graph, node: Node) -> list[Node]:
    """DynamicQuantizeMatMul: A by stored weights; that A is rounded to 8 bits as it runs is left out."""
    steps = Steps(graph, node)
    weight = steps.add("DequantizeLinear", [node.inputs[1], *[one for one in node.inputs[2:4] if one]], "weight", axis=1)
    graph.halves = True
    graph.note("A layer rounds its activations to 8 bits of their own range as it runs; the circuit does not.")
    if steps.given(4):
        product = steps.add("MatMul", [node.inputs[0], weight], "product")
        steps.add("Add", [product, steps.given(4)], "biased", node.outputs[0])
    else:
        steps.add("MatMul", [node.inputs[0], weight], "product", node.outputs[0])
    return steps.nodes
