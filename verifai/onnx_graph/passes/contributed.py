"""Operators of ``com.microsoft`` that onnxruntime's own tools write → plain operators: quantised ones, and fused activations.

Meaning as onnxruntime documents them (docs/ContribOperators.md). A quantised operator is what it stands for between
DequantizeLinear and QuantizeLinear; integers that differ from onnxruntime's by a rounding are counted where a circuit is made.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from verifai.onnx_graph.graph import Attribute, Graph, Node
from verifai.onnx_graph.passes.attention import multi_head_attention, plain_attention
from verifai.onnx_graph.passes.compositions import grid_sample
from verifai.onnx_graph.passes.fused_norms import (
    dynamic_matmul,
    embed_layer_norm,
    fused_matmul,
    simplified_layer_norm,
    skip_layer_norm,
)
from verifai.onnx_graph.passes.grouped_attention import group_query_attention
from verifai.onnx_graph.passes.pairwise import distances
from verifai.onnx_graph.passes.rotary import rotary_embedding
from verifai.onnx_graph.passes.stored_weights import dynamic_lstm, matmul_nbits
from verifai.onnx_graph.refusal import refuse

DOMAIN = "com.microsoft"
_ACTIVATIONS = frozenset({"Relu", "Tanh", "Sigmoid", "LeakyRelu", "HardSigmoid", "Clip"})
_PARAMETERS = {"LeakyRelu": ("alpha",), "HardSigmoid": ("alpha", "beta")}
UNDER_STANDARD = frozenset({"SimplifiedLayerNormalization"})
"""onnxruntime writes these without a domain, though the standard does not have them."""


class _Writer:
    def __init__(self, graph: Graph, node: Node) -> None:
        self._graph, self._node = graph, node
        self.nodes: list[Node] = []

    def add(self, op: str, inputs: list[str], label: str, result: str = "", **attributes: Attribute) -> str:
        name = result or self._graph.fresh(f"{self._node.name}_{label}")
        self.nodes.append(Node(op, inputs, [name], dict(attributes), name))
        return name

    def constant(self, label: str, value: float) -> str:
        return self._graph.constant(f"{self._node.name}_{label}", np.array(value, np.float32))

    def real(self, position: int, label: str, axis: int = 1) -> str:
        """The real value of operand ``position``, whose scale and zero point follow it."""
        inputs = self._node.inputs
        given = [inputs[at] for at in range(position, min(position + 3, len(inputs)))]
        while len(given) > 2 and not given[-1]:
            given.pop()
        return self.add("DequantizeLinear", given, label, axis=axis)

    def stored(self, x: str, position: int) -> list[Node]:
        """The value as integers again, under the scale and zero point at ``position``."""
        given = [one for one in self._node.inputs[position : position + 2] if one]
        self.add("QuantizeLinear", [x, *given], "stored", self._node.outputs[0])
        return self.nodes


def _binary(op: str) -> Callable[[Graph, Node], list[Node]]:
    def rewrite(graph: Graph, node: Node) -> list[Node]:
        writer = _Writer(graph, node)
        made = writer.add(op, [writer.real(0, "a"), writer.real(3, "b")], op.lower())
        return writer.stored(made, 6)

    return rewrite


def _unary(op: str, *attributes: str) -> Callable[[Graph, Node], list[Node]]:
    def rewrite(graph: Graph, node: Node) -> list[Node]:
        if node.integer("channels_last", 0):
            raise refuse(
                "model-unknown-operator", "channels that stand last", node.where, "Quantise the model with channels first."
            )
        writer = _Writer(graph, node)
        made = writer.add(op, [writer.real(0, "x")], op.lower())
        writer.nodes[-1].attributes = {name: node.attributes[name] for name in attributes if name in node.attributes}
        return writer.stored(made, 3)

    return rewrite


def _concat(graph: Graph, node: Node) -> list[Node]:
    writer = _Writer(graph, node)
    parts = [writer.real(position, f"part_{position}") for position in range(2, len(node.inputs), 3)]
    made = writer.add("Concat", parts, "joined", axis=node.integer("axis", 0))
    given = [one for one in node.inputs[:2] if one]
    writer.add("QuantizeLinear", [made, *given], "stored", node.outputs[0])
    return writer.nodes


def _gemm(graph: Graph, node: Node) -> list[Node]:
    """QGemm: α·A'·B' + C, where C is in steps of α·(A's scale)·(B's scale)."""
    writer = _Writer(graph, node)
    turned = node.integer("transB", 0)
    a, b = writer.real(0, "a"), writer.real(3, "b", axis=0 if turned else 1)
    operands, alpha = [a, b], node.number("alpha", 1.0)
    if len(node.inputs) > 6 and node.inputs[6]:
        scales = [graph.constants.get(node.inputs[position]) for position in (1, 4)]
        if any(one is None for one in scales):
            raise refuse("model-unknown-operator", "its scales must be constants", node.where)
        step = np.float32(alpha) * np.asarray(scales[0], np.float32).reshape(-1) * np.asarray(scales[1], np.float32).reshape(-1)
        step = step.reshape(()) if step.size == 1 else step
        scale = graph.constant(f"{node.name}_bias_scale", np.asarray(step, np.float32))
        rank = len(graph.types[node.inputs[6]].shape)
        operands.append(writer.add("DequantizeLinear", [node.inputs[6], scale], "c", axis=max(rank - 1, 0)))
    flags = {"transA": node.integer("transA", 0), "transB": turned}
    quantised = len(node.inputs) > 7 and bool(node.inputs[7])
    made = writer.add("Gemm", operands, "product", "" if quantised else node.outputs[0], alpha=alpha, beta=1.0, **flags)
    return writer.stored(made, 7) if quantised else writer.nodes


def _renamed(graph: Graph, node: Node) -> list[Node]:
    """Operators that the standard has under the same name and with the same meaning."""
    del graph
    return [Node(node.op_type, node.inputs, node.outputs, node.attributes, node.name)]


def _gelu(graph: Graph, node: Node) -> list[Node]:
    """Gelu, BiasGelu, FastGelu (its tanh approximation) and QuickGelu (x·sigmoid(αx))."""
    writer = _Writer(graph, node)
    x = node.inputs[0]
    if len(node.inputs) > 1 and node.inputs[1]:
        x = writer.add("Add", [x, node.inputs[1]], "biased")
    if node.op_type == "QuickGelu":
        wide = writer.add("Mul", [x, writer.constant("alpha", node.number("alpha", 1.702))], "wide")
        writer.add("Mul", [x, writer.add("Sigmoid", [wide], "gate")], "gelu", node.outputs[0])
        return writer.nodes
    if node.op_type == "FastGelu":
        cube = writer.add("Mul", [writer.add("Mul", [x, x], "square"), x], "cube")
        inner = writer.add("Add", [writer.add("Mul", [cube, writer.constant("cubic", 0.044715)], "small"), x], "inner")
        gate = writer.add(
            "Tanh", [writer.add("Mul", [inner, writer.constant("root", math.sqrt(2 / math.pi))], "scaled")], "gate"
        )
    else:
        gate = writer.add("Erf", [writer.add("Mul", [x, writer.constant("root", math.sqrt(0.5))], "scaled")], "gate")
    twice = writer.add("Mul", [x, writer.add("Add", [gate, writer.constant("one", 1.0)], "share")], "twice")
    writer.add("Mul", [twice, writer.constant("half", 0.5)], "gelu", node.outputs[0])
    return writer.nodes


def _fused(graph: Graph, node: Node) -> list[Node]:
    """FusedConv and FusedGemm: the layer, a sum with another value, then the activation."""
    name = node.text("activation", "")
    if name and name not in _ACTIVATIONS:
        raise refuse("model-unknown-operator", f"the activation {name[:40]!r}", node.where)
    given = node.attributes.get("activation_params")
    numbers = [float(one) for one in given if isinstance(one, float | int)] if isinstance(given, tuple) else []
    if node.op_type == "FusedGemm":
        numbers = [node.number(key, default) for key, default in (("activation_alpha", 0.01), ("activation_beta", 0.0))]
    writer = _Writer(graph, node)
    summed = node.inputs[3] if node.op_type == "FusedConv" and len(node.inputs) > 3 else ""
    last = writer.add(node.op_type.removeprefix("Fused"), [one for one in node.inputs[:3] if one], "layer")
    writer.nodes[-1].attributes = {key: one for key, one in node.attributes.items() if not key.startswith("activation")}
    if summed:
        last = writer.add("Add", [last, summed], "sum")
    if name == "Clip":
        bounds = [writer.constant(f"bound_{at}", one) for at, one in enumerate(numbers[:2])]
        writer.add("Clip", [last, *bounds], "clip", node.outputs[0])
    elif not name:
        writer.add("Identity", [last], "result", node.outputs[0])
    else:
        keys = _PARAMETERS.get(name, ())
        values: dict[str, Attribute] = dict(zip(keys, numbers, strict=False))
        writer.add(name, [last], name.lower(), node.outputs[0], **values)
    return writer.nodes


def _grid_sample(graph: Graph, node: Node) -> list[Node]:
    return grid_sample(graph, Node("GridSample", node.inputs, node.outputs, node.attributes, node.name))


_REWRITES: dict[str, Callable[[Graph, Node], list[Node]]] = {
    "Attention": plain_attention,
    "BiasGelu": _gelu,
    "CDist": distances,
    "DequantizeLinear": _renamed,
    "DynamicQuantizeLSTM": dynamic_lstm,
    "DynamicQuantizeMatMul": dynamic_matmul,
    "EmbedLayerNormalization": embed_layer_norm,
    "FastGelu": _gelu,
    "FusedConv": _fused,
    "FusedGemm": _fused,
    "FusedMatMul": fused_matmul,
    "Gelu": _gelu,
    "GridSample": _grid_sample,
    "GroupQueryAttention": group_query_attention,
    "MatMulNBits": matmul_nbits,
    "MultiHeadAttention": multi_head_attention,
    "QGemm": _gemm,
    "QLinearAdd": _binary("Add"),
    "QLinearAveragePool": _unary(
        "AveragePool", "auto_pad", "ceil_mode", "count_include_pad", "kernel_shape", "pads", "strides"
    ),
    "QLinearConcat": _concat,
    "QLinearGlobalAveragePool": _unary("GlobalAveragePool"),
    "QLinearLeakyRelu": _unary("LeakyRelu", "alpha"),
    "QLinearMul": _binary("Mul"),
    "QLinearSigmoid": _unary("Sigmoid"),
    "QLinearSoftmax": _unary("Softmax", "axis"),
    "QuantizeLinear": _renamed,
    "QuickGelu": _gelu,
    "RotaryEmbedding": partial(rotary_embedding, opset=0),
    "SimplifiedLayerNormalization": simplified_layer_norm,
    "SkipLayerNormalization": skip_layer_norm,
    "SkipSimplifiedLayerNormalization": skip_layer_norm,
    "TransposeMatMul": fused_matmul,
    "Trilu": _renamed,
}
_LEAST_INPUTS = {
    "QGemm": 6, "QLinearAdd": 7, "QLinearMul": 7, "QLinearConcat": 5, "QLinearAveragePool": 4, "QLinearGlobalAveragePool": 4,
    "QLinearLeakyRelu": 4, "QLinearSigmoid": 4, "QLinearSoftmax": 4, "FusedConv": 2, "FusedGemm": 2, "BiasGelu": 2,
    "QuantizeLinear": 2, "DequantizeLinear": 2, "CDist": 2, "MatMulNBits": 3,
    "DynamicQuantizeLSTM": 12, "Attention": 2, "MultiHeadAttention": 1, "GroupQueryAttention": 7, "RotaryEmbedding": 4,
    "EmbedLayerNormalization": 7, "FusedMatMul": 2, "TransposeMatMul": 2, "GridSample": 2, "DynamicQuantizeMatMul": 3,
    "SimplifiedLayerNormalization": 2, "SkipLayerNormalization": 3, "SkipSimplifiedLayerNormalization": 3,
}  # fmt: skip
_MOST_OUTPUTS = {
    "DynamicQuantizeLSTM": 3, "Attention": 2, "MultiHeadAttention": 4, "GroupQueryAttention": 4, "EmbedLayerNormalization": 3,
    "SimplifiedLayerNormalization": 2, "SkipLayerNormalization": 4, "SkipSimplifiedLayerNormalization": 4,
}  # fmt: skip


def known(op_type: str, inputs: int, outputs: int) -> bool:
    """Whether an operator of the domain has a plain form, and may have so many operands."""
    return op_type in _REWRITES and _LEAST_INPUTS.get(op_type, 1) <= inputs and 1 <= outputs <= _MOST_OUTPUTS.get(op_type, 1)


def plain(graph: Graph, node: Node) -> list[Node]:
    """The plain nodes that mean what ``node`` means. Raises UnsupportedModel (``model-unknown-operator``)."""
    return _REWRITES[node.op_type](graph, node)
