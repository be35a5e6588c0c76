"""How scales and values run through a graph, and how many cells each node takes.

The rules follow ezkl 23.0.5: a product adds the scales of its factors; when that exceeds the larger of input and parameter
scale times the rebase multiplier, the result is divided back to that bound, cell by cell, at a high price; a sum takes the
larger scale.
Cell counts per operator were measured with one-operator circuits (``docs/tuning.md``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, prod

import onnx
from onnx import helper

LOOKUPS = frozenset({"Sigmoid", "Tanh", "Erf", "Exp", "Cos", "Sin", "Atan", "Tan", "Acos", "Asin", "Sinh", "Cosh", "HardSwish"})
"""Operators that ezkl proves by a table of the function over the lookup range: one cell each."""
COMPOSITE = {"Softmax": 5, "Div": 3, "Sqrt": 3, "Reciprocal": 3, "Pow": 3, "Log": 4, "ReduceMean": 2, "Elu": 3, "Selu": 3,
             "Softplus": 3, "Gelu": 4, "LayerNormalization": 6, "GlobalAveragePool": 1, "AveragePool": 1}  # fmt: skip
"""Operators that become several range checks per output cell: roughly how many rebasings one is worth."""
WITH_TABLES = frozenset({"Softmax", "Log", "Elu", "Selu", "Softplus", "Gelu"})
"""Of these, those that look something up as well."""
FREE = frozenset(
    {
        "Reshape",
        "Flatten",
        "Transpose",
        "Squeeze",
        "Unsqueeze",
        "Identity",
        "Concat",
        "Gather",
        "Split",
        "Pad",
        "Expand",
        "Cast",
        "Dropout",
        "Shape",
        "Constant",
        "Tile",
    }
)
"""Operators that only rename or copy cells."""


@dataclass(frozen=True, slots=True)
class Scales:
    """log2 of ezkl's quantisation multipliers. ``multiplier``: of the rebase bound."""

    inputs: int
    parameters: int
    multiplier: int

    @property
    def bound(self) -> int:
        """A product is scaled down to this."""
        return max(self.inputs, self.parameters) * self.multiplier


@dataclass(frozen=True, slots=True)
class Flow:
    """A graph under given scales.

    Attributes:
        scales: value → log2 of its multiplier.
        checked: values that are decomposed into digits: inputs, outputs, and what Relu, Abs, Max and their like read.
        rebased: outputs of nodes that are divided back.
    """

    scales: Mapping[str, int]
    checked: tuple[str, ...]
    rebased: frozenset[str]


@dataclass(frozen=True, slots=True)
class Cells:
    """Cells of a circuit: in the main columns, and in those of Freivalds' argument."""

    main: int
    einsum: int
    einsum_longest: int
    shuffles: int
    lookups: int


def shapes_of(proto: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Shape of every value of a static graph, constants included."""
    graph = proto.graph
    shapes = {
        value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
        for value in (*graph.input, *graph.output, *graph.value_info)
    }
    shapes.update({tensor.name: tuple(tensor.dims) for tensor in graph.initializer})
    return shapes


def flow(proto: onnx.ModelProto, scales: Scales) -> Flow:
    """Run the scales through the graph."""
    constants = {tensor.name for tensor in proto.graph.initializer}
    found = {value.name: scales.inputs for value in proto.graph.input}
    checked = list(found)
    rebased: set[str] = set()
    for node in proto.graph.node:
        data = [name for name in node.input if name and name not in constants]
        weights = [name for name in node.input if name in constants]
        incoming = [found.get(name, scales.inputs) for name in data]
        scale = max(incoming, default=scales.parameters)
        if node.op_type in ("Conv", "Gemm", "MatMul", "Mul"):
            scale = sum(incoming[:2]) + (scales.parameters if weights and len(data) == 1 else 0)
            if scale > scales.bound:
                scale = scales.bound
                rebased.update(node.output)
        elif node.op_type in LOOKUPS or node.op_type in COMPOSITE:
            checked.extend(data)
            scale = max(scales.inputs, scales.parameters)
        elif node.op_type in ("Relu", "Abs", "Max", "Min", "MaxPool", "LeakyRelu", "Clip", "Sign"):
            checked.extend(data)
        found.update({name: scale for name in node.output if name})
    checked.extend(value.name for value in proto.graph.output)
    return Flow(found, tuple(dict.fromkeys(checked)), frozenset(rebased))


def count(proto: onnx.ModelProto, run: Flow, legs: int, inner: int) -> Cells:
    """Cells with this many decomposition digits and inner columns."""
    shapes = shapes_of(proto)
    constants = {tensor.name for tensor in proto.graph.initializer}
    digits = ceil(legs / inner) * inner
    check = 2 * legs + digits + 5
    two_sided = 2 * check - 2
    main = sum(prod(shapes[value.name]) for value in proto.graph.input) * check
    main += sum(prod(shapes[value.name]) for value in proto.graph.output) * two_sided
    einsum = longest = shuffles = lookups = 0
    for node in proto.graph.node:
        size = prod(shapes[node.output[0]])
        freivalds, product = _product(node, shapes, inner)
        if node.output[0] in run.rebased:
            main += size * (check + two_sided + 15)
        if node.op_type in ("Gemm", "MatMul"):
            longest = max(longest, *shapes[node.input[0]], *shapes[node.input[1]])
        if freivalds:
            einsum += product
            main += size
        elif product:
            main += product + (size if node.op_type == "Conv" and len(node.input) > 2 else 0)
        elif node.op_type in LOOKUPS:
            main, lookups = main + size, lookups + 1
        elif node.op_type in COMPOSITE:
            main += size * COMPOSITE[node.op_type] * (check + two_sided + 15)
            lookups += node.op_type in WITH_TABLES
        elif node.op_type == "MaxPool":
            window = prod(helper.get_attribute_value(next(a for a in node.attribute if a.name == "kernel_shape")))
            main, shuffles = main + size * (window - 1) * (check + 15), shuffles + size
        elif node.op_type in ("Relu", "Clip", "LeakyRelu", "Sign"):
            main += size * (check + 5)
        elif node.op_type == "Slice":
            main += ceil(size * 5 / 3)
        elif node.op_type == "Abs":
            main += size * check
        elif node.op_type in ("Max", "Min"):
            main += size * (check + 20) * (len(node.input) - 1)
        elif node.op_type not in FREE and not all(name in constants for name in node.input):
            main += size
    return Cells(main, einsum, longest, shuffles, lookups)


def _product(node: onnx.NodeProto, shapes: Mapping[str, tuple[int, ...]], inner: int) -> tuple[bool, int]:
    """Whether ezkl checks this product with Freivalds' argument, and its cells; 0 for a node that is no product."""
    output = shapes[node.output[0]]
    if node.op_type == "Conv":
        terms = prod(shapes[node.input[1]][1:])
        # A kernel that covers its whole input costs twice; measured, the reason is inside ezkl.
        passes = 2 if prod(output[2:]) == 1 else 1
        return False, passes * prod(output) * ceil(terms / inner) * inner
    if node.op_type not in ("Gemm", "MatMul"):
        return False, 0
    left, right = shapes[node.input[0]], shapes[node.input[1]]
    terms = left[-1] if node.op_type == "MatMul" else prod(left) // output[0]
    if prod(output[:-1]) == 1 or output[-1] == 1:
        return False, prod(output) * ceil(terms / inner) * inner
    # The output and both factors are each squeezed to a vector by powers of the challenges, axis by axis.
    axes = [size for size in output if size > 1]
    squeezed = sum(prod(axes[: place + 1]) for place in range(len(axes)))
    return True, squeezed + prod(left) + prod(right) + 3 * terms
