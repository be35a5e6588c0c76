"""Scattered values at constant places, as a chosen part of the one and the rest of the other; and places that data name.

ScatterElements and ScatterND put cells of ``updates`` into ``data`` at places that ``indices`` name. Where the places are
constant, that is a Gather of the updates beside the data; where several updates meet, a product with ones adds them.
"""

from __future__ import annotations

from math import prod

import numpy as np

from verifai.onnx_graph.graph import Graph, Node
from verifai.onnx_graph.passes.linear_maps import bounded_matrix
from verifai.onnx_graph.passes.steps import Steps
from verifai.onnx_graph.tensors import Array


def elements(graph: Graph, node: Node, opset: int) -> list[Node]:
    """ScatterElements (Scatter before opset 11). Raises UnsupportedModel."""
    del opset
    node.op_type = "ScatterElements"
    steps, places = Steps(graph, node), graph.constants.get(node.inputs[1])
    shape = steps.shape(0)
    axis = node.integer("axis", 0)
    if places is None or not shape or places.ndim != len(shape) or not -len(shape) <= axis < len(shape):
        return [node]
    axis %= len(shape)
    if ((places < -shape[axis]) | (places >= shape[axis])).any() or not places.size:
        raise steps.malformed("an index that lies beyond its axis")
    where: list[Array] = list(np.indices(places.shape))
    if any(one.max() >= size for at, (one, size) in enumerate(zip(where, shape, strict=True)) if at != axis):
        raise steps.malformed("indices of more cells than the data have")
    where[axis] = places % shape[axis]
    return _put(steps, np.ravel_multi_index(where, shape).reshape(-1), shape)


def slices(graph: Graph, node: Node, opset: int) -> list[Node]:
    """ScatterND. Raises UnsupportedModel."""
    del opset
    steps, places = Steps(graph, node), graph.constants.get(node.inputs[1])
    shape = steps.shape(0)
    if places is None or not shape or not places.size or places.shape[-1] > len(shape):
        return [node]
    depth = places.shape[-1]
    limits = np.array(shape[:depth])
    if ((places < -limits) | (places >= limits)).any():
        raise steps.malformed("an index that lies beyond its axis")
    rows = np.ravel_multi_index(tuple(np.moveaxis(places % limits, -1, 0)), shape[:depth]).reshape(-1)
    inner = prod(shape[depth:])
    return _put(steps, (rows[:, None] * inner + np.arange(inner)).reshape(-1), shape)


def _put(steps: Steps, targets: Array, shape: tuple[int, ...]) -> list[Node]:
    """``targets`` names, for each cell of the updates, the cell of the data that it goes to."""
    node, size = steps.node, prod(shape)
    how = node.text("reduction", "none")
    kind = steps.graph.types[node.inputs[0]].dtype
    known = [steps.graph.constants.get(node.inputs[place]) is not None for place in (0, 2)]
    zeros = known[0] and not steps.graph.constants[node.inputs[0]].any()
    if how == "none" and ((not any(known)) or (zeros and not known[1])) and len(np.unique(targets)) == len(targets):
        return [node]  # moved cells only
    if how not in ("none", "add") or kind != np.float32:
        return [node]
    if len(targets) != prod(steps.shape(2)):
        raise steps.malformed("updates that do not fit the indices")
    flat = steps.reshaped(node.inputs[2], [len(targets)], "updates")
    data = node.inputs[0]
    if how == "none":
        source, hit = np.zeros(size, np.int64), np.zeros(size, bool)
        source[targets], hit[targets] = np.arange(len(targets)), True  # of several, the last
        chosen = steps.add("Gather", [flat, steps.constant("sources", source)], "chosen", axis=0)
        moved = steps.add("Mul", [chosen, steps.constant("hit", hit.astype(np.float32))], "moved")
        data = steps.add("Mul", [data, steps.constant("kept", (~hit).reshape(shape).astype(np.float32))], "rest")
    elif len(np.unique(targets)) == len(targets):
        source, hit = np.zeros(size, np.int64), np.zeros(size, bool)
        source[targets], hit[targets] = np.arange(len(targets)), True
        chosen = steps.add("Gather", [flat, steps.constant("sources", source)], "chosen", axis=0)
        moved = steps.add("Mul", [chosen, steps.constant("hit", hit.astype(np.float32))], "moved")
    else:
        bounded_matrix(len(targets), size, node)
        matrix = np.zeros((len(targets), size), np.float32)
        matrix[np.arange(len(targets)), targets] = 1
        row = steps.reshaped(flat, [1, len(targets)], "row")
        moved = steps.add("MatMul", [row, steps.constant("places", matrix)], "sums")
    steps.add("Add", [data, steps.reshaped(moved, list(shape), "put")], "scattered", node.outputs[0])
    return steps.nodes


def rows_by_number(graph: Graph, node: Node, opset: int) -> list[Node]:
    """GatherND whose computed indices name one axis of data: rows chosen by products with zeros and ones, or of a table."""
    del opset
    steps = Steps(graph, node)
    if node.inputs[1] in graph.constants:
        return [node]
    shape, places = steps.shape(0), steps.shape(1)
    batch = node.integer("batch_dims", 0)
    if not places or places[-1] != 1 or batch >= len(shape) or not 0 <= batch < len(places):
        return [node]
    last = steps.constant("last", np.array([len(places) - 1]))
    numbers = steps.add("Squeeze", [node.inputs[1], last], "numbers")
    if batch == 0:
        steps.add("Gather", [node.inputs[0], numbers], "rows", node.outputs[0], axis=0)
        return steps.nodes
    size, inner, outer = shape[batch], shape[batch + 1 :], prod(shape[:batch])
    count = prod(places[batch:-1])
    if graph.types[node.inputs[0]].dtype != np.float32:
        return [node]
    bounded_matrix(outer * count, size, node)
    flat = steps.reshaped(numbers, [outer, count, 1], "flat")
    dtype = graph.types[node.inputs[1]].dtype
    hit = steps.add("Equal", [flat, steps.constant("places", np.arange(size).astype(dtype))], "hit")
    back = steps.add("Equal", [flat, steps.constant("back", (np.arange(size) - size).astype(dtype))], "back_hit")
    bits = steps.add("Cast", [steps.add("Or", [hit, back], "any")], "bits", to=1)
    table = steps.reshaped(node.inputs[0], [outer, size, prod(inner)], "table")
    made = steps.add("MatMul", [bits, table], "rows")
    steps.reshaped(made, [*shape[:batch], *places[batch:-1], *inner], "gathered", node.outputs[0])
    return steps.nodes


def cache_written(graph: Graph, node: Node, opset: int) -> list[Node]:
    """TensorScatter of opset 24 at constant places of its axis: the new cells in place of old ones. Raises UnsupportedModel."""
    del opset
    steps = Steps(graph, node)
    shape, new = steps.shape(0), steps.shape(1)
    axis = node.integer("axis", -2) % max(len(shape), 1)
    start = graph.constants.get(steps.given(2)) if steps.given(2) else np.zeros(shape[:1], np.int64)
    if start is None or len(set(start.reshape(-1).tolist())) != 1:
        raise steps.cannot("places that are computed, or that differ between sequences", "Write the cache with Concat.")
    if len(new) != len(shape) or new[axis] > shape[axis]:
        raise steps.malformed(f"an update of shape {list(new)} for a cache of shape {list(shape)}")
    places = int(start.reshape(-1)[0]) + np.arange(new[axis])
    if node.text("mode", "linear") == "circular":
        places %= shape[axis]
    if places.min() < 0 or places.max() >= shape[axis]:
        raise steps.malformed("an update that reaches beyond its cache")
    source = np.arange(shape[axis])
    source[places] = shape[axis] + np.arange(new[axis])
    both = steps.add("Concat", node.inputs[:2], "both", axis=axis)
    steps.add("Gather", [both, steps.constant("sources", source)], "written", node.outputs[0], axis=axis)
    return steps.nodes
