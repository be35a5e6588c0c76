"""Normalisations, resizing and averages at borders, written with operators that engines have rules for.

Each is what the operator's specification defines it as; where a definition is long (how Resize chooses its cells), onnxruntime
itself gives the matrix.
"""

from __future__ import annotations

from math import prod

import numpy as np

from verifai.onnx_graph.graph import Attribute, Graph, Node
from verifai.onnx_graph.passes.fold import evaluate
from verifai.onnx_graph.refusal import refuse
from verifai.onnx_graph.tensors import Array, checked_size

_MAX_MATRIX = 1 << 22
"""Cells of the matrix that resizes one axis."""


def _integers(*values: int) -> Array:
    return np.array(values, np.int64)


def _grouped(graph: Graph, node: Node, groups: int, epsilon: float, per_channel: bool) -> list[Node]:
    """Normalise each group of channels of each sample; then scale and bias, per channel or per group."""
    name, x = node.name, node.inputs[0]
    shape = graph.types[x].shape
    if len(shape) < 3 or groups < 1 or shape[1] % groups:
        raise refuse("model-malformed", f"{groups} groups of a tensor of shape {list(shape)}", node.where)
    size = prod(shape[1:]) // groups
    dtype = graph.types[x].dtype
    flat, normal, back = (graph.fresh(f"{name}_{label}") for label in ("groups", "normal", "back"))
    rows = graph.constant(f"{flat}_shape", _integers(shape[0] * groups, size))
    ones = graph.constant(f"{name}_ones", np.ones(size, dtype))
    full = graph.constant(f"{back}_shape", _integers(*shape))
    nodes = [
        Node("Reshape", [x, rows], [flat], {"allowzero": 0}, flat),
        Node("LayerNormalization", [flat, ones], [normal], {"axis": -1, "epsilon": epsilon, "stash_type": 1}, normal),
        Node("Reshape", [normal, full], [back], {"allowzero": 0}, back),
    ]
    scale, bias = (_along_channels(graph, node, position, len(shape), shape[1], groups, per_channel) for position in (1, 2))
    scaled = graph.fresh(f"{name}_scaled")
    nodes.append(Node("Mul", [back, scale], [scaled], {}, scaled))
    return [*nodes, Node("Add", [scaled, bias], node.outputs[:1], {}, name)]


def _along_channels(graph: Graph, node: Node, position: int, rank: int, channels: int, groups: int, per_channel: bool) -> str:
    values = graph.constants.get(node.inputs[position])
    count = channels if per_channel else groups
    if values is None or values.size != count:
        raise refuse("model-unknown-operator", "scale and bias must be constants, one per channel", node.where)
    full = values.reshape(-1) if per_channel else np.repeat(values.reshape(-1), channels // groups)
    return graph.constant(f"{node.name}_of_{position}", full.reshape(channels, *[1] * (rank - 2)))


def instance_normalization(graph: Graph, node: Node, opset: int) -> list[Node]:
    """InstanceNormalization: each channel of each sample for itself."""
    del opset
    return _grouped(graph, node, graph.types[node.inputs[0]].shape[1], node.number("epsilon", 1e-5), True)


def group_normalization(graph: Graph, node: Node, opset: int) -> list[Node]:
    """GroupNormalization: scale and bias per group before opset 21, per channel since."""
    groups = node.integer("num_groups", 1)
    return _grouped(graph, node, groups, node.number("epsilon", 1e-5), opset >= 21)


def mean_variance_normalization(graph: Graph, node: Node, opset: int) -> list[Node]:
    """MeanVarianceNormalization: (x − E x) / (√(E x² − (E x)²) + 1e-9)."""
    del opset
    x, axes = node.inputs[0], node.ints("axes") or (0, 2, 3)
    rank = len(graph.types[x].shape)
    axes = tuple(axis % rank for axis in axes if -rank <= axis < rank)
    rest = [axis for axis in range(rank) if axis not in axes]
    shape = [graph.types[x].shape[axis] for axis in (*rest, *axes)]
    size = prod(graph.types[x].shape[axis] for axis in axes)
    turned, flat, normal, unflat = (graph.fresh(f"{node.name}_{label}") for label in ("turned", "flat", "normal", "unflat"))
    order = (*rest, *axes)
    back = tuple(order.index(axis) for axis in range(rank))
    ones = graph.constant(f"{node.name}_ones", np.ones(size, graph.types[x].dtype))
    return [
        Node("Transpose", [x], [turned], {"perm": order}, turned),
        Node("Reshape", [turned, graph.constant(f"{flat}_shape", _integers(-1, size))], [flat], {"allowzero": 0}, flat),
        # The square of 1e-9, which stands beside the deviation there and beside the variance here.
        Node("LayerNormalization", [flat, ones], [normal], {"axis": -1, "epsilon": 1e-18, "stash_type": 1}, normal),
        Node("Reshape", [normal, graph.constant(f"{unflat}_shape", _integers(*shape))], [unflat], {"allowzero": 0}, unflat),
        Node("Transpose", [unflat], node.outputs[:1], {"perm": back}, node.name),
    ]


def rms_normalization(graph: Graph, node: Node, opset: int) -> list[Node]:
    """RMSNormalization 23: x / √(mean of x² over the last axes + ε) · scale."""
    del opset
    x, name = node.inputs[0], node.name
    rank = len(graph.types[x].shape)
    axis = node.integer("axis", -1)
    axes = _integers(*range(axis % rank, rank))
    epsilon = graph.constant(f"{name}_epsilon", np.array(node.number("epsilon", 1e-5), graph.types[x].dtype))
    squares, mean, safe, root, normal = (graph.fresh(f"{name}_{one}") for one in ("squares", "mean", "safe", "root", "normal"))
    keep = {"keepdims": 1, "noop_with_empty_axes": 0}
    return [
        Node("Mul", [x, x], [squares], {}, squares),
        Node("ReduceMean", [squares, graph.constant(f"{name}_axes", axes)], [mean], dict(keep), mean),
        Node("Add", [mean, epsilon], [safe], {}, safe),
        Node("Sqrt", [safe], [root], {}, root),
        Node("Div", [x, root], [normal], {}, normal),
        Node("Mul", [normal, node.inputs[1]], node.outputs[:1], {}, name),
    ]


def average_pool(graph: Graph, node: Node, opset: int) -> list[Node]:
    """AveragePool whose windows do not all count as many cells: with all counted, times what it then divides too much.

    The padding counts where the operator says so; what ``ceil_mode`` adds beyond it never does.
    """
    shape, kernel = graph.types[node.inputs[0]].shape, node.ints("kernel_shape") or ()
    rank = len(kernel)
    strides, pads = node.ints("strides") or (1,) * rank, node.ints("pads") or (0,) * (2 * rank)
    plain = node.text("auto_pad", "NOTSET") in ("NOTSET", "VALID")
    dilated = opset >= 19 and any(one != 1 for one in node.ints("dilations") or ())
    fits = rank == len(shape) - 2 and len(strides) == rank and len(pads) == 2 * rank
    counted = bool(node.integer("count_include_pad", 0))
    if (
        dilated
        or not fits
        or (counted and not node.integer("ceil_mode", 0))
        or not (any(pads) or not plain or node.integer("ceil_mode", 0))
    ):
        return [_without_dilation(node)]
    begin, sizes, ends, limits = [], [], [], []
    for axis in range(rank):
        size, window, stride = shape[2 + axis], kernel[axis], strides[axis]
        if window < 1 or stride < 1:
            return [_without_dilation(node)]
        auto = node.text("auto_pad", "NOTSET")
        before, after = pads[axis], pads[rank + axis]
        if auto == "VALID":
            before = after = 0
        elif auto != "NOTSET":
            count = -(-size // stride)
            total = max(0, (count - 1) * stride + window - size)
            before = total // 2 if auto == "SAME_UPPER" else total - total // 2
            after = total - before
        reach = size + before + after - window
        count = (-(-reach // stride) if node.integer("ceil_mode", 0) else reach // stride) + 1
        # A last window that begins beyond the picture and its padding before it is left out.
        if node.integer("ceil_mode", 0) and (count - 1) * stride >= size + before:
            count -= 1
        begin.append(before)
        sizes.append(count)
        ends.append(max(0, (count - 1) * stride + window - size - before))
        limits.append(size + after if counted else size)
    beyond = any(end + size > limit for end, size, limit in zip(ends, shape[2:], limits, strict=True))
    if not beyond and (counted or not any(begin)):
        return [_without_dilation(node)]
    checked_size(
        [*shape[:2], *(end + size for end, size in zip(ends, shape[2:], strict=True))], np.dtype(np.float32), node.where
    )
    checked_size([*shape[:2], *sizes], np.dtype(np.float32), node.where)
    factor = np.ones([1, 1, *sizes])
    for axis in range(rank):
        starts = np.arange(sizes[axis]) * strides[axis] - begin[axis]
        inside = np.minimum(starts + kernel[axis], limits[axis]) - np.maximum(starts, -begin[axis] if counted else 0)
        if (inside < 1).any():
            raise refuse("model-malformed", "a window lies wholly in the padding", node.where)
        factor = factor * (kernel[axis] / inside).reshape([1, 1, *(-1 if at == axis else 1 for at in range(rank))])
    whole = graph.fresh(f"{node.name}_whole")
    attributes: dict[str, Attribute] = {
        "kernel_shape": kernel,
        "strides": strides,
        "pads": (0,) * (2 * rank),
        "count_include_pad": 1,
        "ceil_mode": 0,
        "auto_pad": b"NOTSET",
    }
    table = graph.constant(f"{node.name}_border", factor.astype(graph.types[node.inputs[0]].dtype))
    # The padding may be wider than the window, which AveragePool does not take.
    padded = graph.fresh(f"{node.name}_padded")
    wide = graph.constant(f"{padded}_pads", _integers(0, 0, *begin, 0, 0, *ends))
    return [
        Node("Pad", [node.inputs[0], wide], [padded], {"mode": b"constant"}, padded),
        Node("AveragePool", [padded], [whole], attributes, whole),
        Node("Mul", [whole, table], node.outputs[:1], {}, node.name),
    ]


def _without_dilation(node: Node) -> Node:
    if set(node.ints("dilations") or ()) <= {1}:
        node.attributes.pop("dilations", None)
    return node


def resize(graph: Graph, node: Node) -> list[Node]:
    """Resize, whose every axis is resized for itself: by choosing cells, or by a matrix that onnxruntime gives."""
    x = node.inputs[0]
    source = graph.types[x].shape
    operands = [graph.constants.get(name) if name else None for name in node.inputs[1:]]
    known = all(array is not None or not name for array, name in zip(operands, node.inputs[1:], strict=True))
    if not known or graph.types[x].dtype != np.float32 or not source:
        return [node]
    if len(operands) > 2 and node.text("keep_aspect_ratio_policy", "stretch") != "stretch":
        return [node]  # its axes depend on each other
    named = [axis % len(source) for axis in node.ints("axes") or range(len(source))]
    nodes: list[Node] = []
    at = x
    beyond = np.zeros((1,) * len(source), bool)
    for axis in range(len(source)):
        if axis not in named:
            continue
        matrix = _matrix(node, axis, source, named, operands, np.eye(source[axis], dtype=np.float32), 0.0)
        if _extrapolates(node):
            outside = _matrix(node, axis, source, named, operands, np.zeros((source[axis],) * 2, np.float32), 1.0)[:, 0] > 0
            beyond = beyond | outside.reshape([-1 if one == axis else 1 for one in range(len(source))])
        if np.array_equal(matrix, np.eye(source[axis])):
            continue
        result = graph.fresh(f"{node.name}_axis_{axis}")
        nodes += _one_axis(graph, result, at, axis, len(source), matrix)
        at = result
    if beyond.any():
        # Cells from beyond the picture are a constant: 0 by the matrices, and the value is added.
        value = np.float32(node.number("extrapolation_value", 0.0))
        result = graph.fresh(f"{node.name}_beyond")
        nodes.append(
            Node("Add", [at, graph.constant(f"{result}_value", beyond.astype(np.float32) * value)], [result], {}, result)
        )
        at = result
    if not nodes:
        return [Node("Identity", [x], node.outputs[:1], {}, node.name)]
    for one in nodes:
        one.outputs = [node.outputs[0] if output == at else output for output in one.outputs]
    return nodes


def _extrapolates(node: Node) -> bool:
    """Whether cells from beyond the picture are a number other than 0."""
    crops = node.text("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize"
    return crops and node.number("extrapolation_value", 0.0) != 0.0


def _matrix(
    node: Node,
    axis: int,
    source: tuple[int, ...],
    named: list[int],
    operands: list[Array | None],
    given_cells: Array,
    extrapolated: float,
) -> Array:
    """What onnxruntime makes of each column of ``given_cells`` along one axis, (new, columns).

    Of the unit vectors, that is how the new cells depend on the old ones.
    """
    size, place = source[axis], named.index(axis)
    # Four axes, since not every mode takes other numbers of them.
    given: dict[str, Array] = {"x": given_cells.reshape(1, size, 1, size)}
    names = ["x"]
    for position, array in enumerate(operands):
        if array is None or not array.size:
            names.append("")
            continue
        if array.size != len(named) * (2 if position == 0 else 1):
            raise refuse("model-malformed", "its operands do not fit its axes", node.where)
        if position == 0:
            part = np.array([0, 0, 0, array[place], 1, 1, 1, array[len(named) + place]], array.dtype)
        else:
            wanted = float(array[place]) * (size if position == 1 else 1)
            if not 0 < wanted * size <= _MAX_MATRIX:
                raise refuse("model-size-bomb", f"axis {axis} is resized to {wanted:g}", node.where)
            part = np.array([1, size if position == 2 else 1, 1, array[place]], array.dtype)
        names.append(f"i{position}")
        given[names[-1]] = part
    attributes = {key: value for key, value in node.attributes.items() if key != "axes"}
    if _extrapolates(node):
        attributes["extrapolation_value"] = extrapolated
    one = Node("Resize", names, ["y"], attributes, node.name)
    return evaluate(one, given)["y"].reshape(size, -1).T


def _one_axis(graph: Graph, result: str, x: str, axis: int, rank: int, matrix: Array) -> list[Node]:
    chosen = matrix.argmax(axis=1)
    if np.array_equal(matrix, np.eye(matrix.shape[1], dtype=matrix.dtype)[chosen]):
        places = graph.constant(f"{result}_cells", chosen.astype(np.int64))
        return [Node("Gather", [x, places], [result], {"axis": axis}, result)]
    if axis == rank - 1:
        return [Node("MatMul", [x, graph.constant(f"{result}_matrix", np.ascontiguousarray(matrix.T))], [result], {}, result)]
    weights = graph.constant(f"{result}_matrix", np.ascontiguousarray(matrix))
    if axis == rank - 2:
        return [Node("MatMul", [weights, x], [result], {}, result)]
    order = (*(one for one in range(rank) if one != axis), axis)
    turned, made = graph.fresh(f"{result}_turned"), graph.fresh(f"{result}_made")
    back = tuple(order.index(one) for one in range(rank))
    transposed = graph.constant(f"{result}_columns", np.ascontiguousarray(matrix.T))
    return [
        Node("Transpose", [x], [turned], {"perm": order}, turned),
        Node("MatMul", [turned, transposed], [made], {}, made),
        Node("Transpose", [made], [result], {"perm": back}, result),
    ]


def whole_sizes(graph: Graph, node: Node) -> bool:
    """Whether every axis comes to a whole number of cells, so that nothing is left for half_pixel_symmetric to share out."""
    if len(node.inputs) > 3 and node.inputs[3]:
        return True  # sizes: the scale is their quotient
    scales = graph.constants.get(node.inputs[2]) if len(node.inputs) > 2 else None
    named, sizes = node.ints("axes"), graph.types[node.inputs[0]].shape
    chosen = [sizes[axis] for axis in named] if named else list(sizes)
    if scales is None or scales.size != len(chosen):
        return False
    reached = scales.reshape(-1).astype(np.float64) * np.array(chosen)
    return bool(np.array_equal(reached, np.round(reached)))
