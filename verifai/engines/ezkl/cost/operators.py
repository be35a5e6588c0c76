"""Which operators ezkl 23.0.5 proves. The onnx package's node tests were put through ezkl, and what came out wrong or not
at all is refused here (``docs/ezkl-operators.md``, held to the code by a test); what was not tried is not supported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from verifai.engines.ezkl.cost.flow import shapes_of
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
_NOT_NEGATIVE = frozenset({"Relu", "Sigmoid", "Softmax", "HardSigmoid", "Softplus", "Abs", "Exp", "Sqrt"})
_HUGE, _MASK_CELLS = 2.0**60, 1 << 22
_SUMS = frozenset({"Add", "Sub", "Mul", "Where"})
_INDEXED = frozenset({"Gather", "GatherElements", "GatherND"})
_HANDED_ON = frozenset({"MaxPool", "Reshape", "Transpose", "Flatten", "AveragePool", "Dropout"})
"""Operators whose results are not negative where what they read is not."""


@dataclass(frozen=True)
class GraphFacts:
    """What a node's support depends on beside the node.

    Attributes:
        constants: small ones and indices with their values; of others ``None``. shapes: of every value.
        not_negative: values that cannot be below 0. huge: constants with a number of 2^60 or more.
    """

    constants: Mapping[str, NDArray[Any] | None]
    shapes: Mapping[str, tuple[int, ...]]
    not_negative: frozenset[str]
    huge: frozenset[str] = frozenset()

    @classmethod
    def of(cls, proto: onnx.ModelProto) -> GraphFacts:
        """Of a canonical model."""
        graph = proto.graph
        kept = {name for node in graph.node if node.op_type in _INDEXED for name in node.input[1:2]}
        constants = {
            t.name: numpy_helper.to_array(t) if t.name in kept or prod(t.dims) <= 64 else None for t in graph.initializer
        }
        positive: set[str] = set()
        for node in graph.node:
            if node.op_type in _NOT_NEGATIVE or (node.op_type in _HANDED_ON and node.input[0] in positive):
                positive.update(node.output[:1])
        masks = {t.name for t in graph.initializer if t.data_type in _FLOATS and prod(t.dims) <= _MASK_CELLS and _is_huge(t)}
        return cls(constants, shapes_of(proto), frozenset(positive), frozenset(masks))


def _is_huge(tensor: onnx.TensorProto) -> bool:
    values = numpy_helper.to_array(tensor)
    return bool(values.size) and float(np.abs(values).max()) >= _HUGE


def support(node: onnx.NodeProto, facts: GraphFacts) -> OperatorSupport:
    """Whether ezkl proves ``node``."""
    name = node.name or (node.output[0] if node.output else "?")
    reason, suggestion = _refusal(node, facts)
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


def _refusal(node: onnx.NodeProto, facts: GraphFacts) -> tuple[str, str]:
    """Reason and suggestion; empty when the node is supported."""
    kind = node.op_type
    if node.domain not in ("", "ai.onnx"):
        return f"the domain {node.domain[:40]!r} is unknown to ezkl", "Export with standard operators."
    if kind in REFUSED:
        return REFUSED[kind]
    if kind not in EXACT | TABLES | DIVISIONS | {"Resize", "Cast", "Constant", "Dropout"}:
        return "not known to work with ezkl 23.0.5", "Replace it by simpler operators, or use the sumcheck engine."
    if any(0 in facts.shapes.get(name, ()) for name in (*node.input[:1], *node.output)):
        return "ezkl cannot make a circuit of a tensor without values", "Leave it out of the model."
    attributes: dict[str, Any] = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    for judge in (_windows, _shapes_and_indices, _values):
        reason, suggestion = judge(node, attributes, facts)
        if reason:
            return reason, suggestion
    return "", ""


def _windows(node: onnx.NodeProto, attributes: Mapping[str, Any], facts: GraphFacts) -> tuple[str, str]:
    """Operators that slide a window, or make a picture of another size."""
    kind = node.op_type
    if kind in ("Conv", "ConvTranspose", "MaxPool") and any(step != 1 for step in attributes.get("dilations", ())):
        return "ezkl refuses dilations other than 1", "Insert zeros into the kernel instead."
    if kind in ("MaxPool", "AveragePool") and attributes.get("ceil_mode", 0) and _beyond(node, attributes, facts):
        return "ezkl cannot make a circuit of windows beyond the border", "Set ceil_mode = 0, or pad so that the windows fit."
    padded = any(attributes.get("pads", ())) or attributes.get("auto_pad", b"NOTSET") in (b"SAME_UPPER", b"SAME_LOWER")
    if kind == "MaxPool" and len(node.output) > 1 and node.output[1]:
        return "ezkl does not say where a maximum was", "Leave that output out."
    if kind == "MaxPool" and padded and node.input[0] not in facts.not_negative:
        return (
            "ezkl pads with 0, which is wrong where all values of a window are negative",
            "Pool after Relu, or without padding.",
        )
    if kind == "AveragePool" and padded and not attributes.get("count_include_pad", 0):
        return (
            "ezkl divides by the whole window also at the padded border",
            "Set count_include_pad = 1, or pool without padding.",
        )
    if kind == "ConvTranspose" and (attributes.get("group", 1) != 1 or any(attributes.get("output_padding", ()))):
        return "ezkl takes neither groups nor output padding here", "Use Resize and Conv, or one ConvTranspose per group."
    if kind == "ConvTranspose" and attributes.get("output_shape"):
        return "ezkl does not take an output shape", "Give pads instead."
    if kind == "ConvTranspose" and not _alike_pads(attributes):
        return "ezkl takes one padding for all axes", "Cut the result with Slice instead."
    if kind == "Resize" and attributes.get("mode", b"nearest") != b"nearest":
        return "ezkl interpolates by nearest neighbour only", 'Use mode = "nearest", or resize before.'
    if kind == "Resize" and attributes.get("keep_aspect_ratio_policy", b"stretch") != b"stretch":
        return "ezkl does not keep an aspect ratio", "Give the size of every axis."
    return "", ""


def _beyond(node: onnx.NodeProto, attributes: Mapping[str, Any], facts: GraphFacts) -> bool:
    """Whether ``ceil_mode`` gives a window that begins inside and ends beyond the picture."""
    source, made = (facts.shapes[name][2:] for name in (node.input[0], node.output[0]))
    kernel, rank = attributes["kernel_shape"], len(source)
    pads, strides = attributes.get("pads") or [0] * 2 * rank, attributes.get("strides") or [1] * rank
    return any(
        (made[axis] - 1) * strides[axis] + kernel[axis] > source[axis] + pads[axis] + pads[axis + rank] for axis in range(rank)
    )


def _alike_pads(attributes: Mapping[str, Any]) -> bool:
    """Whether every axis is padded alike."""
    pads = list(attributes.get("pads") or ())
    half = len(pads) // 2
    return len(set(pads[:half])) <= 1 and len(set(pads[half:])) <= 1


def _shapes_and_indices(node: onnx.NodeProto, attributes: Mapping[str, Any], facts: GraphFacts) -> tuple[str, str]:
    """Operators that move cells, and those that ezkl takes for some shapes only."""
    kind, shapes = node.op_type, [facts.shapes.get(name, ()) for name in node.input]
    constants = [facts.constants.get(name) if name else None for name in node.input]
    if kind == "Pad":
        if attributes.get("mode", b"constant") != b"constant":
            return "ezkl pads with a constant only", "Use constant padding."
        if len(constants) > 2 and constants[2] is not None and np.any(constants[2] != 0):
            return "ezkl pads with 0 only", "Pad with 0, and add the value before and take it off after."
        if constants[1] is not None and (constants[1] < 0).any():
            return "ezkl does not cut with Pad", "Cut with Slice."
        if len(node.input) > 3 and node.input[3]:
            return "ezkl does not take axes here", "Give the pads of every axis."
    if kind == "Expand" and len(facts.shapes.get(node.output[0], ())) > len(shapes[0]):
        return "ezkl's result is wrong where Expand adds axes", "Add the axes with Unsqueeze first."
    if kind in _INDEXED and len(constants) > 1:
        indices = constants[1]
        if indices is not None and (indices < 0).any():
            return "ezkl reads other cells for indices below 0", "Count from the start of the axis."
    if kind == "MatMul" and len(shapes) == 2:
        left, right = shapes
        if len(left) == 1 and len(right) == 1:
            return "ezkl does not multiply two vectors", "Make one of them a matrix."
        if max(len(left), len(right)) > 2 and min(len(left), len(right)) > 1 and not _alike(left[:-2], right[:-2]):
            return "ezkl does not repeat matrices along an axis", "Write one product per matrix, or make the axes alike."
    if kind == "CumSum" and attributes.get("exclusive", 0):
        return "ezkl sums the cell itself too", "Set exclusive = 0, and subtract the cell."
    if kind in ("ArgMax", "ArgMin") and attributes.get("select_last_index", 0):
        return "ezkl chooses the first of equal values", "Set select_last_index = 0."
    return "", ""


def _alike(left: tuple[int, ...], right: tuple[int, ...]) -> bool:
    """Whether the leading axes of two factors are the same; a plain matrix goes with any."""
    return not left or not right or left == right


def _values(node: onnx.NodeProto, attributes: Mapping[str, Any], facts: GraphFacts) -> tuple[str, str]:
    """Operators that ezkl takes for some values only."""
    kind = node.op_type
    if kind in _SUMS and facts.huge.intersection(node.input):
        return (
            "a constant of 2^60 or more, as masks have, is beyond what ezkl takes",
            "Mask with -10000, or use the sumcheck engine.",
        )
    if kind == "Cast" and attributes.get("to") not in _FLOATS:
        return "ezkl rounds towards minus infinity, ONNX towards zero", "Keep floats inside the model."
    if kind == "Pow":
        power = facts.constants.get(node.input[1])
        if power is None or power.size != 1:
            return "ezkl takes constant scalar powers only", "Write the power as products, or use a constant."
    if kind == "Max" and any(name in facts.constants for name in node.input):
        return "ezkl refuses the maximum with a constant", "Use Relu or Clip: max(x, c) = relu(x − c) + c."
    return "", ""
