"""Values that a model's outputs are made of by operators that only rearrange or rank cells, or by one function.

A later row may lie a little beyond what calibration saw. Outputs have a margin for that; where the output only rearranges a
layer's result, or is its largest cell, that result is the one that is rounded and clamped, and needs the same.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from verifai.onnx_graph.model import OnnxModel

_REARRANGE = frozenset(
    {
        "Reshape",
        "Flatten",
        "Squeeze",
        "Unsqueeze",
        "Transpose",
        "Slice",
        "Expand",
        "Identity",
        "Dropout",
        "Gather",
        "Split",
        "Concat",
    }
    | {"Pad", "ReduceMax", "ReduceMin", "MaxPool", "GlobalMaxPool"}
)
"""The result's cells are cells of the operand, under its scale."""
_DECIDE = frozenset({"Softmax", "LogSoftmax", "ArgMax", "ArgMin", "Hardmax", "ReduceLogSumExp"})
_FUNCTIONS = frozenset(
    {"Sigmoid", "Tanh", "Exp", "Log", "Sqrt", "Softplus", "Relu", "Clip", "Abs", "Neg", "Erf", "Elu", "LeakyRelu"}
)


@dataclass(frozen=True)
class Ends:
    """What an output's cells come from.

    Attributes:
        cells: values whose cells are the output's, which need its bits and its margin.
        arguments: values that one more function or softmax makes cells of, which need its margin.
    """

    cells: frozenset[str]
    arguments: frozenset[str]


def ends(model: OnnxModel, pinned: Collection[str] = ()) -> Ends:
    """Of a canonical model; values with integer or other types too, which nobody asks for.

    Args:
        pinned: outputs that are boundaries of a split model: their scale is that of an inner tensor, and so are their sources'.
    """
    graph = model.proto.graph
    cells = {spec.name for spec in model.outputs if spec.name not in pinned}
    arguments: set[str] = set()
    for node in reversed(graph.node):  # sorted topologically
        made = set(node.output)
        operands = {name for name in (node.input if node.op_type == "Concat" else node.input[:1]) if name}
        if made & cells and node.op_type in _REARRANGE:
            cells |= operands
            continue
        rearranged = made & arguments and node.op_type in _REARRANGE
        if rearranged or (made & cells and node.op_type in _DECIDE | _FUNCTIONS):
            arguments |= operands
    return Ends(frozenset(cells), frozenset(arguments - cells))


_POLES = {"Log": (0,), "Sqrt": (0,), "Reciprocal": (0,), "Pow": (0,), "Div": (1,)}
"""Operands that have a pole, or no value, on the other side of 0."""
_SAME_CELLS = frozenset({"Reshape", "Squeeze", "Unsqueeze", "Transpose", "Flatten", "Identity", "Expand"})


def one_sided(model: OnnxModel) -> frozenset[str]:
    """Values that a root, a logarithm or a quotient is taken of: where they lie on one side of 0, their margin stays there."""
    found: set[str] = set()
    for node in reversed(model.proto.graph.node):
        places = _POLES.get(node.op_type, ())
        found.update(node.input[place] for place in places if place < len(node.input))
        if node.op_type in _SAME_CELLS and node.output[0] in found:
            found.add(node.input[0])
    return frozenset(found)
