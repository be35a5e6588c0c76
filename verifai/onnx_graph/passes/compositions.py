"""Operators that are compositions of others, written as their specification defines them."""

from __future__ import annotations

from math import prod

import numpy as np

from verifai.onnx_graph.graph import Graph, Node
from verifai.onnx_graph.passes.fold import evaluate
from verifai.onnx_graph.passes.linear_maps import sampled
from verifai.onnx_graph.refusal import refuse
from verifai.onnx_graph.tensors import ELEMENT_TYPES, Array, checked_size

_MAX_MATRIX = 1 << 22
_LARGEST = float(np.finfo(np.float32).max)


class _Chain:
    """Nodes that are added one after another, named after the operator that they stand for."""

    def __init__(self, graph: Graph, node: Node) -> None:
        self._graph, self._node = graph, node
        self.nodes: list[Node] = []

    def constant(self, label: str, array: Array) -> str:
        return self._graph.constant(f"{self._node.name}_{label}", array)

    def add(self, op: str, inputs: list[str], label: str, **attributes: object) -> str:
        name = self._graph.fresh(f"{self._node.name}_{label}")
        self.nodes.append(Node(op, inputs, [name], dict(attributes), name))  # type: ignore[arg-type]
        return name

    def transposed(self, x: str, order: tuple[int, ...], label: str) -> str:
        return x if order == tuple(range(len(order))) else self.add("Transpose", [x], label, perm=order)

    def done(self, result: str) -> list[Node]:
        """The nodes, of which the last one's result is the operator's."""
        last = next(node for node in reversed(self.nodes) if result in node.outputs)
        last.outputs = [self._node.outputs[0] if name == result else name for name in last.outputs]
        return self.nodes


def _last(rank: int, axis: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The order that puts an axis last, and the one that puts it back."""
    order = (*(one for one in range(rank) if one != axis), axis)
    return order, tuple(order.index(one) for one in range(rank))


def _axis(graph: Graph, node: Node, default: int, rank: int) -> int:
    del graph
    axis = node.integer("axis", default)
    if not -rank <= axis < rank:
        raise refuse("model-malformed", f"axis {axis} of a tensor of {rank} axes", node.where)
    return axis % rank


def hardmax(graph: Graph, node: Node, opset: int) -> list[Node]:
    """1 at the first of the largest cells of an axis, 0 elsewhere; before opset 13 axes from ``axis`` on are one."""
    x = node.inputs[0]
    shape = graph.types[x].shape
    axis = _axis(graph, node, -1 if opset >= 13 else 1, len(shape))
    chain = _Chain(graph, node)
    if opset < 13 and axis != len(shape) - 1:
        flat = chain.constant("flat", np.array([prod(shape[:axis]), prod(shape[axis:])], np.int64))
        found = _hardmax(
            chain, chain.add("Reshape", [x, flat], "flat", allowzero=0), 1, (prod(shape[:axis]), prod(shape[axis:]))
        )
        return chain.done(chain.add("Reshape", [found, chain.constant("full", np.array(shape, np.int64))], "back", allowzero=0))
    return chain.done(_hardmax(chain, x, axis, shape))


def _hardmax(chain: _Chain, x: str, axis: int, shape: tuple[int, ...]) -> str:
    order, back = _last(len(shape), axis)
    turned = chain.transposed(x, order, "turned")
    place = chain.add("ArgMax", [turned], "place", axis=-1, keepdims=1, select_last_index=0)
    chosen = chain.add("Equal", [place, chain.constant("places", np.arange(shape[axis]))], "chosen")
    bits = chain.add("Cast", [chosen], "bits", to=1)
    return chain.transposed(bits, back, "back")


def one_hot(graph: Graph, node: Node, opset: int) -> list[Node]:
    """``values[1]`` in the place that an index names, ``values[0]`` elsewhere; a negative one counts from the end."""
    del opset
    depth, values = (graph.constants.get(name) for name in node.inputs[1:3])
    kind = graph.types[node.inputs[0]]
    if depth is None or values is None or depth.size != 1 or values.size != 2:
        return [node]
    count = int(depth.reshape(-1)[0])
    if count < 1:
        raise refuse("model-malformed", f"a depth of {count}", node.where)
    checked_size([*kind.shape, count], np.dtype(np.int64), node.where)
    off, on = values.reshape(-1).tolist()
    rank = len(kind.shape) + 1
    axis = _axis(graph, node, -1, rank)
    chain = _Chain(graph, node)
    x = node.inputs[0]
    if kind.dtype.kind == "f":
        x = chain.add("Cast", [x], "whole", to=ELEMENT_TYPES[np.dtype(np.int64)])
    column = chain.add("Unsqueeze", [x, chain.constant("last", np.array([rank - 1]))], "column")
    dtype = graph.types[node.inputs[0]].dtype if kind.dtype.kind != "f" else np.dtype(np.int64)
    places = np.arange(count).astype(dtype)
    hit = chain.add("Equal", [column, chain.constant("places", places)], "hit")
    if dtype.kind == "i":
        back_hit = chain.add(
            "Equal", [column, chain.constant("back_places", (np.arange(count) - count).astype(dtype))], "back_hit"
        )
        hit = chain.add("Or", [hit, back_hit], "any")
    order = (*range(axis), rank - 1, *range(axis, rank - 1))
    bits = chain.transposed(chain.add("Cast", [hit], "bits", to=ELEMENT_TYPES[values.dtype]), order, "turned")
    if (off, on) == (0, 1):
        return chain.done(bits)
    if values.dtype.kind == "f":
        wide = chain.add("Mul", [bits, chain.constant("span", np.array(on - off, values.dtype))], "wide")
        return chain.done(chain.add("Add", [wide, chain.constant("off", np.array(off, values.dtype))], "moved"))
    ends = [chain.constant(label, np.array(value, values.dtype)) for label, value in (("on", on), ("off", off))]
    chosen = chain.transposed(hit, order, "hit_turned")
    return chain.done(chain.add("Where", [chosen, *ends], "chosen"))


def cumulative_sum(graph: Graph, node: Node, opset: int) -> list[Node]:
    """CumSum: a product with a triangle of ones."""
    del opset
    kind, given = graph.types[node.inputs[0]], graph.constants.get(node.inputs[1])
    if given is None or not kind.shape or given.size != 1:
        return [node]
    axis = int(given.reshape(-1)[0])
    if not -len(kind.shape) <= axis < len(kind.shape):
        raise refuse("model-malformed", f"axis {axis} of a tensor of {len(kind.shape)} axes", node.where)
    axis %= len(kind.shape)
    size = kind.shape[axis]
    if kind.dtype.kind != "f":
        return _whole_sums(graph, node, axis)
    if size * size > _MAX_MATRIX:
        return [node]
    before = np.triu(np.ones((size, size), kind.dtype), 1 if node.integer("exclusive", 0) else 0)
    before = before[::-1, ::-1] if node.integer("reverse", 0) else before
    chain = _Chain(graph, node)
    order, back = _last(len(kind.shape), axis)
    turned = chain.transposed(node.inputs[0], order, "turned")
    made = chain.add("MatMul", [turned, chain.constant("before", np.ascontiguousarray(before))], "sums")
    return chain.done(chain.transposed(made, back, "back"))


def gather_elements(graph: Graph, node: Node, opset: int) -> list[Node]:
    """GatherElements by computed numbers: rows of a table where all lines of data are one, else one-hot rows times it."""
    del opset
    data, index = (graph.types[name] for name in node.inputs)
    axis = _axis(graph, node, 0, max(len(data.shape), 1))
    if node.inputs[1] in graph.constants or not data.shape or len(index.shape) != len(data.shape):
        return [node]
    size, chain = data.shape[axis], _Chain(graph, node)
    table = graph.constants.get(node.inputs[0])
    if table is not None:
        lines = np.moveaxis(table, axis, -1).reshape(-1, size)
        if len(lines) and bool((lines == lines[0]).all()):
            return [
                Node("Gather", [chain.constant("line", lines[0].copy()), node.inputs[1]], node.outputs, {"axis": 0}, node.name)
            ]
    outer = [one for at, one in enumerate(data.shape) if at != axis]
    whole = data.dtype == np.int64 and _never_negative(graph, node.inputs[0])  # places: float32 holds them exactly
    if not (data.dtype == np.float32 or whole) or outer != [one for at, one in enumerate(index.shape) if at != axis]:
        return [node]
    order, back = _last(len(data.shape), axis)
    places = np.arange(size, dtype=index.dtype.type)
    if not _never_negative(graph, node.inputs[1]):
        places = np.concatenate([places, places - size])  # a negative number counts from the end
    chosen = index.shape[axis]
    checked_size([*outer, chosen, len(places)], data.dtype, node.where)
    cells = chain.transposed(chain.add("Cast", [node.inputs[0]], "real", to=1) if whole else node.inputs[0], order, "lines")
    if len(places) > size:
        cells = chain.add("Concat", [cells, cells], "twice", axis=len(order) - 1)
    last = chain.constant("last", np.array([-1], np.int64))
    column = chain.add("Unsqueeze", [cells, last], "column")
    numbers = chain.add("Unsqueeze", [chain.transposed(node.inputs[1], order, "numbers"), last], "number")
    same = chain.add("Equal", [numbers, chain.constant("places", places)], "same")
    one_hot = chain.add("Cast", [same], "one_hot", to=1)
    picked = chain.add("Squeeze", [chain.add("MatMul", [one_hot, column], "picked"), last], "cells")
    picked = chain.add("Cast", [picked], "whole", to=7) if whole else picked
    return chain.done(chain.transposed(picked, back, "back"))


_MOVES = frozenset({"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Slice", "Gather", "Identity", "Expand", "Flatten"})


def _never_negative(graph: Graph, name: str) -> bool:
    """Whether the value is places that an operator found, or booleans, moved at most."""
    made = {one: node for node in graph.nodes for one in node.outputs}
    while (node := made.get(name)) is not None and not node.domain:
        if node.op_type in ("TopK", "ArgMax", "ArgMin"):
            return True
        if node.op_type == "Cast":
            kind = graph.types[node.inputs[0]].dtype.kind
            if kind in "bu":
                return True
            if kind != "i":
                return False
        elif node.op_type not in _MOVES:
            return False
        name = node.inputs[0]
    return False


def _whole_sums(graph: Graph, node: Node, axis: int) -> list[Node]:
    """CumSum of integers, exactly: what is there, plus the same moved by 1, by 2, by 4 … places, zeros from outside."""
    kind, chain = graph.types[node.inputs[0]], _Chain(graph, node)
    size, reverse = kind.shape[axis], bool(node.integer("reverse", 0))
    place = chain.constant("axis", np.array([axis], np.int64))

    def moved(x: str, by: int) -> str:
        if by >= size:
            return chain.add("Mul", [x, chain.constant("none", np.zeros((), kind.dtype))], "moved")
        first, last = (by, size) if reverse else (0, size - by)
        ends = [chain.constant(f"{label}_{by}", np.array([end], np.int64)) for label, end in (("from", first), ("to", last))]
        kept = chain.add("Slice", [x, *ends, place], "kept")
        pads = np.zeros(2 * len(kind.shape), np.int64)
        pads[axis + (len(kind.shape) if reverse else 0)] = by
        return chain.add("Pad", [kept, chain.constant(f"zeros_{by}", pads)], "moved", mode=b"constant")

    result = moved(node.inputs[0], 1) if node.integer("exclusive", 0) else node.inputs[0]
    by = 1
    while by < size:
        result = chain.add("Add", [result, moved(result, by)], "sum")
        by *= 2
    if not chain.nodes:
        return [Node("Identity", node.inputs[:1], node.outputs, {}, node.name)]
    return chain.done(result)


def local_response_normalization(graph: Graph, node: Node, opset: int) -> list[Node]:
    """LRN: x / (bias + α/size · Σ of squares of channels nearby)^β."""
    del opset
    shape, size = graph.types[node.inputs[0]].shape, node.integer("size", 1)
    if len(shape) != 4 or size < 1 or shape[1] ** 2 > _MAX_MATRIX:
        return [node]
    channels = np.arange(shape[1])
    gap = channels[None, :] - channels[:, None]
    near = (gap >= -((size - 1) // 2)) & (gap <= size // 2)
    weight = (node.number("alpha", 1e-4) / size * near).astype(np.float32)
    bias = np.full(shape[1], node.number("bias", 1.0), np.float32)
    chain = _Chain(graph, node)
    squares = chain.add("Mul", [node.inputs[0]] * 2, "squares")
    operands = [squares, chain.constant("near", weight[:, :, None, None]), chain.constant("bias", bias)]
    total = chain.add("Conv", operands, "sums", kernel_shape=(1, 1))
    power = chain.add("Pow", [total, chain.constant("power", np.array(-node.number("beta", 0.75), np.float32))], "factor")
    return chain.done(chain.add("Mul", [node.inputs[0], power], "scaled"))


def reduce_log_sum(graph: Graph, node: Node, opset: int) -> list[Node]:
    """ReduceLogSum: the logarithm of the sum."""
    operands = list(node.inputs)
    chain = _Chain(graph, node)
    attributes = {"keepdims": node.integer("keepdims", 1), "noop_with_empty_axes": node.integer("noop_with_empty_axes", 0)}
    axes = node.ints("axes")
    if opset < 18 and axes is not None:
        operands = [operands[0], chain.constant("axes", np.array(axes, np.int64))]
    return chain.done(chain.add("Log", [chain.add("ReduceSum", operands, "sum", **attributes)], "log"))


def compress(graph: Graph, node: Node, opset: int) -> list[Node]:
    """Compress by a constant condition: Gather."""
    del opset
    kept, shape = graph.constants.get(node.inputs[1]), graph.types[node.inputs[0]].shape
    axis = node.attributes.get("axis")
    if kept is None or kept.ndim != 1:
        return [node]
    chain = _Chain(graph, node)
    x, size = node.inputs[0], prod(shape)
    if isinstance(axis, int):
        size = shape[_axis(graph, node, axis, len(shape))]
    else:
        x = chain.add("Reshape", [x, chain.constant("flat", np.array([-1]))], "flat", allowzero=0)
    places = np.flatnonzero(kept)
    if len(kept) > size or not places.size:
        raise refuse("model-malformed", "its condition keeps nothing, or is too long", node.where)
    return chain.done(
        chain.add("Gather", [x, chain.constant("places", places)], "kept", axis=axis if isinstance(axis, int) else 0)
    )


def is_nan(graph: Graph, node: Node, opset: int) -> list[Node]:
    """IsNaN: what does not equal itself."""
    del opset
    chain = _Chain(graph, node)
    return chain.done(chain.add("Not", [chain.add("Equal", [node.inputs[0]] * 2, "same")], "other"))


def is_infinite(graph: Graph, node: Node, opset: int) -> list[Node]:
    """IsInf: what lies beyond the largest float32."""
    del opset
    chain = _Chain(graph, node)
    ends = []
    if node.integer("detect_positive", 1):
        ends.append(chain.add("Greater", [node.inputs[0], chain.constant("most", np.array(_LARGEST, np.float32))], "above"))
    if node.integer("detect_negative", 1):
        ends.append(chain.add("Less", [node.inputs[0], chain.constant("least", np.array(-_LARGEST, np.float32))], "below"))
    if not ends:
        return [node]
    return chain.done(ends[0] if len(ends) == 1 else chain.add("Or", ends, "either"))


def grid_sample(graph: Graph, node: Node) -> list[Node]:
    """GridSample as a product: with the matrix that onnxruntime makes of unit vectors, or with weights of computed places."""
    shape, grid = graph.types[node.inputs[0]].shape, graph.constants.get(node.inputs[1])
    if graph.types[node.inputs[0]].dtype != np.float32:
        return [node]
    if grid is None:
        return sampled(graph, node)
    if len(shape) != 4 or shape[0] != 1:
        return [node]
    cells, found = shape[2] * shape[3], prod(grid.shape[1:3])
    if cells * found > _MAX_MATRIX:
        return [node]
    unit = np.eye(cells, dtype=np.float32).reshape(1, cells, shape[2], shape[3])
    one = Node("GridSample", ["x", "g"], ["y"], node.attributes, node.name)
    matrix = evaluate(one, {"x": unit, "g": grid})["y"].reshape(cells, found)
    chain = _Chain(graph, node)
    flat = chain.add("Reshape", [node.inputs[0], chain.constant("flat", np.array([shape[1], cells]))], "cells", allowzero=0)
    made = chain.add("MatMul", [flat, chain.constant("matrix", matrix)], "sampled")
    target = chain.constant("full", np.array([1, shape[1], *grid.shape[1:3]]))
    return chain.done(chain.add("Reshape", [made, target], "picture", allowzero=0))
