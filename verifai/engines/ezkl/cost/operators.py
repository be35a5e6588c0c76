"""Which operators ezkl 23.0.5 proves. Every line was tried with a one-operator circuit against onnxruntime
(``docs/tuning.md``); what was not tried is not supported."""

from __future__ import annotations

from collections.abc import Set
from typing import Any

import onnx
from onnx import TensorProto, helper

from verifai.engines.interface import OperatorSupport

EXACT = frozenset(
    {
        "Abs", "Add", "And", "ArgMax", "ArgMin", "BatchNormalization", "Ceil", "Clip", "Concat", "Conv", "ConvTranspose",
        "CumSum", "DepthToSpace", "Einsum", "Equal", "Expand", "Flatten", "Floor", "Gather", "GatherElements", "GatherND",
        "Gemm", "GlobalMaxPool", "Greater", "GreaterOrEqual", "Identity", "LeakyRelu", "Less", "LessOrEqual", "MatMul",
        "Max", "MaxPool", "Mean", "Min", "Mul", "Neg", "Not", "PRelu", "Pad", "ReduceL1", "ReduceMax", "ReduceMean",
        "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare", "Relu", "Reshape", "Sign", "Slice", "SpaceToDepth",
        "Split", "Squeeze", "Sub", "Sum", "ThresholdedRelu", "Transpose", "Unsqueeze",
    }
)  # fmt: skip
"""Proven by arithmetic and range checks: exact on the quantised values."""

TABLES = frozenset(
    {
        "Acos", "Asin", "Asinh", "Atan", "Celu", "Cos", "Cosh", "Elu", "Erf", "Exp", "GRU", "HardSwish", "LSTM", "Log",
        "LogSoftmax", "RNN", "ReduceLogSumExp", "Selu", "Sigmoid", "Sin", "Sinh", "Softmax", "Softplus", "Tanh",
    }
)  # fmt: skip
"""Proven by a table of the function over the lookup range: values outside are refused, and the table needs rows."""

DIVISIONS = frozenset(
    {
        "AveragePool", "Div", "GlobalAveragePool", "HardSigmoid", "InstanceNormalization", "LayerNormalization", "Pow",
        "Reciprocal", "ReduceL2", "Softsign", "Sqrt",
    }
)  # fmt: skip
"""Proven by division or square root with remainder: several range checks per cell, and coarse at small scales."""

REFUSED = {
    "Gelu": ("ezkl has no Gelu", "Export it as x · 0.5 · (1 + erf(x / √2))."),
    "Mish": ("ezkl has no Mish", "Use HardSwish, or export it as x · tanh(softplus(x))."),
    "Hardmax": ("it needs dynamic lookups and shuffles", "Use ArgMax, or leave the choice to whoever reads the logits."),
    "Round": ("ezkl rounds halves away from zero, ONNX to even", "Leave the rounding out, or quantise before the export."),
    "Tan": ("its table is useless near the poles", "Write it as Sin / Cos on a range without poles."),
    "Trilu": ("ezkl ignores it: the result is wrong", "Multiply by a constant mask of ones and zeros."),
    "Tile": ("ezkl cannot make a circuit of it", "Use Concat or Expand."),
    "Mod": ("ezkl cannot make a circuit of it", "Leave it out of the proven part."),
    "LRN": ("ezkl cannot make a circuit of it", "Use BatchNormalization."),
    "LpPool": ("ezkl has no LpPool", "Use AveragePool or MaxPool."),
    "Det": ("ezkl has no Det", "Leave it out of the proven part."),
    "ScatterND": ("ezkl crashes on it", "Use Concat and Slice."),
    "ScatterElements": ("ezkl crashes on it", "Use Concat and Slice."),
    "QuantizeLinear": ("ezkl turns it into the identity: the result is another one", "Export the float model."),
    "DequantizeLinear": ("ezkl turns it into the identity: the result is another one", "Export the float model."),
    "Loop": ("dynamic control flow has no circuit", "Unroll it."),
    "If": ("dynamic control flow has no circuit", "Export the branch that is used, or compute both and select."),
    "Scan": ("dynamic control flow has no circuit", "Unroll it."),
}
"""Operators with a known reason and a way round it."""

_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)


def support(node: onnx.NodeProto, constants: Set[str]) -> OperatorSupport:
    """Whether ezkl proves ``node``; ``constants`` are the names of the graph's initialisers."""
    name = node.name or (node.output[0] if node.output else "?")
    reason, suggestion = _refusal(node, constants)
    if reason:
        return OperatorSupport(name, node.op_type, supported=False, reason=reason, suggestion=suggestion)
    if node.op_type in TABLES:
        return OperatorSupport(
            name, node.op_type, supported=True, reason="by a lookup table; values outside its range are refused"
        )
    if node.op_type in DIVISIONS:
        return OperatorSupport(
            name, node.op_type, supported=True, reason="by division with remainder: expensive, coarse at small scales"
        )
    return OperatorSupport(name, node.op_type, supported=True)


def _refusal(node: onnx.NodeProto, constants: Set[str]) -> tuple[str, str]:
    """Reason and suggestion; empty when the node is supported."""
    kind = node.op_type
    if node.domain not in ("", "ai.onnx"):
        return f"the domain {node.domain[:40]!r} is unknown to ezkl", "Export with standard operators."
    if kind in REFUSED:
        return REFUSED[kind]
    attributes: dict[str, Any] = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    if kind in ("Conv", "ConvTranspose", "MaxPool") and any(step != 1 for step in attributes.get("dilations", ())):
        return "ezkl refuses dilations other than 1", "Insert zeros into the kernel instead."
    if kind == "AveragePool" and any(attributes.get("pads", ())) and not attributes.get("count_include_pad", 0):
        return (
            "ezkl divides by the whole window also at the padded border",
            "Set count_include_pad = 1, or pool without padding.",
        )
    if kind == "Pad" and attributes.get("mode", b"constant") != b"constant":
        return "ezkl pads with a constant only", "Use constant padding."
    if kind == "Resize":
        ok = attributes.get("mode", b"nearest") == b"nearest"
        return ("", "") if ok else ("ezkl interpolates by nearest neighbour only", 'Use mode = "nearest", or resize before.')
    if kind == "Cast":
        ok = attributes.get("to") in _FLOATS
        return ("", "") if ok else ("ezkl rounds towards minus infinity, ONNX towards zero", "Keep floats inside the model.")
    if kind == "Pow" and not (len(node.input) > 1 and node.input[1] in constants):
        return "ezkl takes constant scalar powers only", "Write the power as products, or use a constant."
    if kind == "Max" and any(name in constants for name in node.input):
        return "ezkl refuses the maximum with a constant", "Use Relu or Clip: max(x, c) = relu(x − c) + c."
    if (
        kind not in EXACT
        and kind not in TABLES
        and kind not in DIVISIONS
        and kind not in ("Resize", "Cast", "Constant", "Dropout")
    ):
        return "not known to work with ezkl 23.0.5", "Replace it by simpler operators, or use the sumcheck engine."
    return "", ""
