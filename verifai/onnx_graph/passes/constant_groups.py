"""Powers, remainders and quotients by a constant of several numbers: the cells of each number together, by that number alone.

Engines have rules for one exponent and one divisor, since each is a table of its own.
"""

from __future__ import annotations

import numpy as np

from verifai.onnx_graph.graph import Graph, Node
from verifai.onnx_graph.tensors import checked_size

_MOST = 64
"""Different numbers of one constant: each is a node of its own."""


def by_one_number(graph: Graph, node: Node) -> list[Node] | None:
    """The nodes that take cells apart by the number of ``node``'s second operand, and put the results back in their places.

    ``None`` where that is no constant, or one number already, or holds too many different ones; and where the result is that of
    one number throughout, which stays as it is.
    """
    if len(node.inputs) != 2 or node.inputs[0] in graph.constants:
        return None
    numbers, kind = graph.constants.get(node.inputs[1]), graph.types[node.inputs[0]]
    if numbers is None or numbers.size < 2 or not np.isfinite(numbers).all():
        return None
    try:
        shape = np.broadcast_shapes(kind.shape, numbers.shape)
    except ValueError:
        return None
    checked_size(list(shape), kind.dtype, node.where)
    wide = np.broadcast_to(numbers, shape).reshape(-1)
    different = np.unique(wide)
    if not different.size or different.size > _MOST:
        return None
    nodes: list[Node] = []

    def add(op: str, inputs: list[str], label: str, output: str = "", **attributes: int) -> str:
        name = graph.fresh(f"{node.name}_{label}")
        nodes.append(Node(op, inputs, [output or name], dict(attributes), name))
        return output or name

    def whole(label: str, values: object) -> str:
        return graph.constant(f"{node.name}_{label}", np.array(values, np.int64))

    x = node.inputs[0]
    if kind.shape != shape:
        x = add("Expand", [x, whole("shape", shape)], "wide")
    flat = add("Reshape", [x, whole("flat", [-1])], "cells", allowzero=0)
    places, results = [], []
    for at, number in enumerate(different):
        own = np.flatnonzero(wide == number)
        lone = graph.constant(
            f"{node.name}_number_{at}", np.array(number, kind.dtype if kind.dtype.kind == "f" else wide.dtype)
        )
        taken = add("Gather", [flat, whole(f"places_{at}", own)], f"taken_{at}", axis=0)
        results.append(graph.fresh(f"{node.name}_part_{at}"))
        nodes.append(Node(node.op_type, [taken, lone], results[-1:], dict(node.attributes), results[-1]))
        places.append(own)
    joined = add("Concat", results, "parts", axis=0) if len(results) > 1 else results[0]
    back = np.argsort(np.concatenate(places), kind="stable")
    turned = add("Gather", [joined, whole("back", back)], "turned", axis=0)
    add("Reshape", [turned, whole("result", shape)], "placed", node.outputs[0], allowzero=0)
    return nodes
