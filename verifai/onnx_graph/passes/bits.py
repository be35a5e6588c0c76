"""Bitwise operators on integers with a constant, and small determinants, as arithmetic.

x & c is a sum over the runs of ones in c: a run of the bits a to b − 1 leaves (x mod 2^b) − (x mod 2^a), in two's complement
too, where mod has the sign of its divisor. The other operators follow: x | c = x + c − (x & c), x ^ c = x + c − 2·(x & c).
"""

from __future__ import annotations

import numpy as np

from verifai.onnx_graph.graph import Graph, Node
from verifai.onnx_graph.passes.constant_groups import by_one_number
from verifai.onnx_graph.passes.steps import Steps

_MOST_BITS = 15
"""Integers have at most so many here."""


def with_constant(graph: Graph, node: Node, opset: int) -> list[Node]:
    """BitwiseAnd, BitwiseOr and BitwiseXor of a value and one constant number that is not negative."""
    del opset
    known = [graph.constants.get(name) for name in node.inputs]
    places = [place for place, array in enumerate(known) if array is not None]
    mask = known[places[0]] if len(places) == 1 else None
    if mask is None or mask.size != 1 or not 0 < int(mask.reshape(-1)[0]) < 1 << _MOST_BITS:
        return [node]
    steps, x, number = Steps(graph, node), node.inputs[1 - places[0]], int(mask.reshape(-1)[0])

    def whole(label: str, value: int) -> str:
        return steps.constant(label, np.full(mask.shape, value, mask.dtype))

    parts, at = "", 0
    while number >> at:
        if not number >> at & 1:
            at += 1
            continue
        end = at
        while number >> end & 1:
            end += 1
        part = steps.add("Mod", [x, whole(f"to_{end}", 1 << end)], "run", fmod=0)
        if at:
            below = steps.add("Mod", [x, whole(f"from_{at}", 1 << at)], "below", fmod=0)
            part = steps.add("Sub", [part, below], "run")
        parts = steps.add("Add", [parts, part], "and") if parts else part
        at = end
    if node.op_type != "BitwiseAnd":
        both = parts
        if node.op_type == "BitwiseXor":
            both = steps.add("Add", [parts, parts], "twice")
        rest = steps.add("Sub", [x, both], "rest")
        parts = steps.add("Add", [rest, whole("mask", number)], "set")
    steps.add("Identity", [parts], "result", node.outputs[0])
    return steps.nodes


def inverted(graph: Graph, node: Node, opset: int) -> list[Node]:
    """BitwiseNot: −1 − x, or the largest number less x where there are no negative ones."""
    del opset
    kind, steps = graph.types[node.inputs[0]].dtype, Steps(graph, node)
    if kind.kind not in "iu":
        return [node]
    top = -1 if kind.kind == "i" else int(np.iinfo(kind).max)
    steps.add("Sub", [steps.constant("top", np.array(top, kind)), node.inputs[0]], "inverted", node.outputs[0])
    return steps.nodes


def shifted(graph: Graph, node: Node, opset: int) -> list[Node]:
    """BitShift by one constant number: a product with a power of two, or the whole part of a quotient."""
    del opset
    by, steps = graph.constants.get(node.inputs[1]), Steps(graph, node)
    if by is None or by.size != 1 or not 0 <= int(by.reshape(-1)[0]) < _MOST_BITS:
        return [node]
    kind = graph.types[node.inputs[0]].dtype
    factor = steps.constant("factor", np.full(by.shape, 1 << int(by.reshape(-1)[0])).astype(kind))
    op = "Mul" if node.text("direction", "") == "LEFT" else "Div"
    steps.add(op, [node.inputs[0], factor], "shifted", node.outputs[0])
    return steps.nodes


def determinant(graph: Graph, node: Node, opset: int) -> list[Node]:
    """Det of matrices of one to four rows: expanded by the first of its rows."""
    del opset
    steps, shape = Steps(graph, node), graph.types[node.inputs[0]].shape
    if len(shape) < 2 or shape[-1] != shape[-2] or not 1 <= shape[-1] <= 4:
        return [node]
    size = shape[-1]
    flat = steps.reshaped(node.inputs[0], [*shape[:-2], size * size], "cells")

    def cell(row: int, column: int) -> str:
        place = steps.constant("place", np.array(row * size + column))
        return steps.add("Gather", [flat, place], "cell", axis=-1)

    def expanded(row: int, columns: tuple[int, ...]) -> str:
        if len(columns) == 1:
            return cell(row, columns[0])
        total = ""
        for place, column in enumerate(columns):
            minor = expanded(row + 1, tuple(one for one in columns if one != column))
            product = steps.add("Mul", [cell(row, column), minor], "product")
            total = steps.add("Sub" if place % 2 else "Add", [total, product], "sum") if total else product
        return total

    steps.add("Identity", [expanded(0, tuple(range(size)))], "determinant", node.outputs[0])
    return steps.nodes


def divided(graph: Graph, node: Node, opset: int) -> list[Node]:
    """Mod, and Div of integers, by a constant of several numbers."""
    del opset
    real = graph.types[node.inputs[0]].dtype.kind == "f"
    return [node] if real and node.op_type == "Div" else by_one_number(graph, node) or [node]


def power(graph: Graph, node: Node, opset: int) -> list[Node]:
    """Pow with an exponent for every cell: constant ones by their numbers; computed ones as exp(y · ln x), which holds for a
    positive x, as calibration has to show."""
    del opset
    steps, exponent = Steps(graph, node), graph.constants.get(node.inputs[1])
    if node.inputs[0] in graph.constants or (exponent is not None and exponent.size == 1):
        return [node]
    if exponent is not None and graph.types[node.inputs[0]].dtype == np.float32 and (apart := by_one_number(graph, node)):
        return apart
    if graph.types[node.inputs[0]].dtype != np.float32 or graph.types[node.inputs[1]].dtype != np.float32:
        return [node]
    if exponent is not None and bool((exponent == exponent.reshape(-1)[0]).all()):
        number = steps.constant("exponent", exponent.reshape(-1)[0].copy())
        return [Node("Pow", [node.inputs[0], number], node.outputs, {}, node.name)]
    wide = steps.add("Mul", [node.inputs[1], steps.add("Log", [node.inputs[0]], "logarithm")], "scaled")
    steps.add("Exp", [wide], "power", node.outputs[0])
    return steps.nodes
