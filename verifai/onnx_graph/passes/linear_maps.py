"""Operators that are linear in what they are given, as products with a matrix: of waves, of windows, of places in pictures.

The matrices of Fourier transforms are computed from their definition; those of the others are what onnxruntime makes of unit
vectors, so that they cannot disagree with it.
"""

from __future__ import annotations

from math import prod

import numpy as np

from verifai.onnx_graph.graph import Graph, Node
from verifai.onnx_graph.passes.fold import evaluate
from verifai.onnx_graph.passes.steps import Steps
from verifai.onnx_graph.refusal import refuse
from verifai.onnx_graph.tensors import Array

MAX_MATRIX = 1 << 22
"""Cells of a matrix."""


def bounded_matrix(rows: int, columns: int, node: Node) -> None:
    """Raises UnsupportedModel (``model-size-bomb``) for a matrix of too many cells."""
    if rows * columns > MAX_MATRIX:
        raise refuse("model-size-bomb", f"its matrix of {rows} by {columns} cells is too large", node.where)


def column_to_image(graph: Graph, node: Node, opset: int) -> list[Node]:
    """Col2Im: each channel's blocks, added up where they lie."""
    del opset
    image, block = (graph.constants.get(name) for name in node.inputs[1:3])
    shape = graph.types[node.inputs[0]].shape
    if image is None or block is None or len(shape) != 3 or (image < 1).any() or (block < 1).any():
        return [node]
    steps, cells, size = Steps(graph, node), prod(block.tolist()), prod(image.tolist())
    if shape[1] % cells:
        raise steps.malformed(f"{shape[1]} channels in blocks of {cells} cells")
    channels = shape[1] // cells
    bounded_matrix(cells * shape[2], size, node)
    units = np.eye(cells * shape[2], dtype=np.float32).reshape(-1, cells, shape[2])
    one = Node("Col2Im", ["x", "i", "b"], ["y"], node.attributes, node.name)
    matrix = evaluate(one, {"x": units, "i": image, "b": block})["y"].reshape(cells * shape[2], size)
    flat = steps.reshaped(node.inputs[0], [shape[0], channels, cells * shape[2]], "columns")
    made = steps.add("MatMul", [flat, steps.constant("places", np.ascontiguousarray(matrix))], "cells")
    steps.reshaped(made, [shape[0], channels, *image.tolist()], "image", node.outputs[0])
    return steps.nodes


def region_align(graph: Graph, node: Node, opset: int) -> list[Node]:
    """RoiAlign of constant regions by averages: each region's cells are weighted sums of its picture's."""
    if opset < 16:
        node.attributes["coordinate_transformation_mode"] = b"output_half_pixel"
    regions, pictures = (graph.constants.get(name) for name in node.inputs[1:3])
    shape = graph.types[node.inputs[0]].shape
    if regions is None or pictures is None or len(shape) != 4 or node.text("mode", "avg") != "avg" or regions.ndim != 2:
        return [node]
    if ((pictures < 0) | (pictures >= shape[0])).any() or len(pictures) != len(regions):
        raise refuse("model-malformed", "it names a picture that is not there", node.where)
    count, height, width = len(regions), node.integer("output_height", 1), node.integer("output_width", 1)
    if min(count, height, width) < 1:
        raise refuse("model-malformed", "a region without a cell", node.where)
    cells = shape[2] * shape[3]
    bounded_matrix(cells, count * height * width, node)
    units = np.eye(cells, dtype=np.float32).reshape(1, cells, shape[2], shape[3])
    one = Node("RoiAlign", ["x", "r", "p"], ["y"], node.attributes, node.name)
    found = evaluate(one, {"x": units, "r": regions, "p": np.zeros(count, np.int64)})["y"]
    steps = Steps(graph, node)
    flat = steps.reshaped(node.inputs[0], [shape[0], shape[1], cells], "cells")
    chosen = steps.add("Gather", [flat, steps.constant("pictures", pictures)], "pictures", axis=0)
    made = steps.add("MatMul", [chosen, steps.constant("weights", found.reshape(count, cells, -1))], "averages")
    steps.reshaped(made, [count, shape[1], height, width], "aligned", node.outputs[0])
    return steps.nodes


def _waves(count: int, length: int, found: int, inverse: bool, parts: int) -> Array:
    """[count · parts, found · 2]: a Fourier transform of ``length``, of the first ``count`` cells of real or complex ones."""
    angles = 2 * np.pi * np.outer(np.arange(count), np.arange(found)) / length * (1 if inverse else -1)
    share = 1 / length if inverse else 1.0
    real, imaginary = np.cos(angles) * share, np.sin(angles) * share
    matrix = np.empty((count, parts, found, 2))
    matrix[:, 0] = np.stack([real, imaginary], -1)
    if parts == 2:
        matrix[:, 1] = np.stack([-imaginary, real], -1)
    return matrix.reshape(count * parts, found * 2)


def fourier(graph: Graph, node: Node, opset: int) -> list[Node]:
    """DFT of opsets 17 and 20, whose axis became an operand."""
    shape, steps = graph.types[node.inputs[0]].shape, Steps(graph, node)
    axis, given = node.integer("axis", 1), graph.constants.get(steps.given(1))
    if opset >= 20:
        named = graph.constants.get(steps.given(2))
        if steps.given(2) and (named is None or named.size != 1):
            raise steps.cannot("an axis that is computed")
        axis = -2 if named is None else int(named.reshape(-1)[0])
    rank = len(shape)
    if steps.given(1) and (given is None or given.size != 1):
        raise steps.cannot("a length that is computed")
    if rank < 2 or shape[-1] not in (1, 2) or not -rank <= axis < rank or axis % rank == rank - 1:
        raise steps.malformed(f"axis {axis} of a tensor of shape {list(shape)}")
    axis %= rank
    parts, size = shape[-1], shape[axis]
    length = size if given is None else int(given.reshape(-1)[0])
    one_sided, inverse = bool(node.integer("onesided", 0)), bool(node.integer("inverse", 0))
    if length < 1 or (one_sided and inverse):
        raise steps.cannot("an inverse of one side, or of no length")
    found, used = length // 2 + 1 if one_sided else length, min(size, length)
    bounded_matrix(size * parts, found * 2, node)
    matrix = np.zeros((size * parts, found * 2))
    matrix[: used * parts] = _waves(used, length, found, inverse, parts)
    order = (*(one for one in range(rank - 1) if one != axis), axis, rank - 1)
    back = tuple(order.index(one) for one in range(rank))
    turned = steps.add("Transpose", [node.inputs[0]], "turned", perm=order)
    rest = [shape[one] for one in order[:-2]]
    flat = steps.reshaped(turned, [*rest, size * parts], "flat")
    made = steps.add("MatMul", [flat, steps.constant("waves", matrix.astype(np.float32))], "waves")
    pairs = steps.reshaped(made, [*rest, found, 2], "pairs")
    steps.add("Transpose", [pairs], "spectrum", node.outputs[0], perm=back)
    return steps.nodes


def short_time_fourier(graph: Graph, node: Node, opset: int) -> list[Node]:
    """STFT: windows of a signal, each transformed."""
    del opset
    shape, steps = graph.types[node.inputs[0]].shape, Steps(graph, node)
    pace, window, wanted = (graph.constants.get(steps.given(place)) for place in (1, 2, 3))
    if pace is None or (steps.given(2) and window is None) or (steps.given(3) and wanted is None) or len(shape) not in (2, 3):
        raise steps.cannot("a step, a window or a length that is computed")
    parts = shape[2] if len(shape) == 3 else 1
    length = int(wanted.reshape(-1)[0]) if wanted is not None else 0 if window is None else window.size
    pace_by = int(pace.reshape(-1)[0])
    one_sided = bool(node.integer("onesided", 1))
    if not 1 <= length <= shape[1] or pace_by < 1 or parts not in (1, 2) or (window is not None and window.size != length):
        raise steps.malformed(f"windows of {length} cells by {pace_by} of a signal of {shape[1]}")
    found = length // 2 + 1 if one_sided else length
    bounded_matrix(length * parts, found * 2, node)
    weights = np.ones(length) if window is None else window.reshape(-1).astype(np.float64)
    matrix = (np.repeat(weights, parts)[:, None] * _waves(length, length, found, False, parts)).astype(np.float32)
    frames = (shape[1] - length) // pace_by + 1
    bounded_matrix(frames, length, node)
    places = np.arange(frames)[:, None] * pace_by + np.arange(length)
    cut = steps.add("Gather", [node.inputs[0], steps.constant("frames", places)], "frames", axis=1)
    flat = steps.reshaped(cut, [shape[0], frames, length * parts], "flat")
    made = steps.add("MatMul", [flat, steps.constant("waves", matrix)], "waves")
    steps.reshaped(made, [shape[0], frames, found, 2], "spectrum", node.outputs[0])
    return steps.nodes


def affine_grid(graph: Graph, node: Node, opset: int) -> list[Node]:
    """AffineGrid of a constant size: the places of a picture, moved by the matrix that is given."""
    del opset
    size, steps = graph.constants.get(node.inputs[1]), Steps(graph, node)
    shape = graph.types[node.inputs[0]].shape
    if size is None or size.size not in (4, 5) or (size < 1).any() or len(shape) != 3:
        raise steps.cannot("a size that is computed, or of other than 4 or 5 axes")
    extents = [int(one) for one in size.reshape(-1)[2:]]
    rank = len(extents)
    if shape[1:] != (rank, rank + 1):
        raise steps.malformed(f"matrices of shape {list(shape[1:])} for {rank} axes")
    bounded_matrix(prod(extents), rank + 1, node)
    ends = [
        np.linspace(-1, 1, one) if node.integer("align_corners", 0) else (2 * np.arange(one) + 1) / one - 1 for one in extents
    ]
    grid = np.meshgrid(*ends, indexing="ij")[::-1]
    places = np.stack([*(one.reshape(-1) for one in grid), np.ones(prod(extents))], -1).astype(np.float32)
    turned = steps.add("Transpose", [node.inputs[0]], "turned", perm=(0, 2, 1))
    made = steps.add("MatMul", [steps.constant("places", places), turned], "moved")
    steps.reshaped(made, [shape[0], *extents, rank], "grid", node.outputs[0])
    return steps.nodes


def sampled(graph: Graph, node: Node) -> list[Node]:
    """GridSample by computed places, linear, of zeros or the border beyond: per place, weights max(0, 1 − distance)."""
    steps = Steps(graph, node)
    shape, grid = steps.shape(0), steps.shape(1)
    mode, beyond = node.text("mode", "bilinear"), node.text("padding_mode", "zeros")
    if len(shape) != 4 or len(grid) != 4 or mode not in ("bilinear", "linear") or beyond not in ("zeros", "border"):
        return [node]
    height, width, count = shape[2], shape[3], grid[1] * grid[2]
    bounded_matrix(shape[0] * count, height * width, node)
    flat = steps.reshaped(node.inputs[1], [grid[0], count, 2], "places")
    weights = []
    for place, extent in ((1, height), (0, width)):
        one = steps.add("Gather", [flat, steps.constant(f"axis_{place}", np.array([place]))], "axis", axis=2)
        scale, shift = ((extent - 1) / 2,) * 2 if node.integer("align_corners", 0) else (extent / 2, (extent - 1) / 2)
        one = steps.add("Mul", [one, steps.real("scale", scale)], "scaled")
        one = steps.add("Add", [one, steps.real("shift", shift)], "pixel")
        if beyond == "border":
            one = steps.add("Clip", [one, steps.real("first", 0.0), steps.real("last", extent - 1)], "inside")
        gap = steps.add("Sub", [one, steps.constant("cells", np.arange(extent, dtype=np.float32))], "gap")
        near = steps.add("Sub", [steps.real("one", 1.0), steps.add("Abs", [gap], "distance")], "near")
        weights.append(steps.add("Relu", [near], "weight"))
    rows = steps.add("Unsqueeze", [weights[0], steps.constant("after", np.array([3]))], "rows")
    columns = steps.add("Unsqueeze", [weights[1], steps.constant("before", np.array([2]))], "columns")
    both = steps.reshaped(steps.add("Mul", [rows, columns], "weights"), [grid[0], count, height * width], "matrix")
    turned = steps.add(
        "Transpose", [steps.reshaped(node.inputs[0], [shape[0], shape[1], height * width], "cells")], "turned", perm=(0, 2, 1)
    )
    made = steps.add("Transpose", [steps.add("MatMul", [both, turned], "sums")], "channels", perm=(0, 2, 1))
    steps.reshaped(made, [shape[0], shape[1], grid[1], grid[2]], "picture", node.outputs[0])
    return steps.nodes


def dilated_average(graph: Graph, node: Node, windows: list[tuple[int, int, int, int, int, int]]) -> list[Node]:
    """AveragePool with gaps in its windows: a convolution of each channel by ones, and a table of shares.

    Args:
        windows: per axis, size, kernel, stride, dilation, padding before, and number of places.
    """
    steps, shape = Steps(graph, node), graph.types[node.inputs[0]].shape
    rank, counted = len(windows), bool(node.integer("count_include_pad", 0))
    kernel = [one[1] for one in windows]
    bounded_matrix(prod(one[5] for one in windows), 1, node)
    bounded_matrix(shape[1], prod(kernel), node)
    for one in windows:
        bounded_matrix(one[5], one[1], node)
    share, ends = np.ones([1, 1, *(one[5] for one in windows)], np.float64), []
    for axis, (size, width, stride, dilation, before, places) in enumerate(windows):
        touched = np.arange(places)[:, None] * stride - before + np.arange(width) * dilation
        after = max(0, int(touched.max()) + 1 - size)
        ends.append(after)
        reach = size + (node.ints("pads") or (0,) * (2 * rank))[rank + axis]
        inside = (touched < reach) if counted else (touched >= 0) & (touched < size)
        number = inside.sum(axis=1)
        if (number < 1).any():
            raise steps.malformed("a window lies wholly in the padding")
        share = share / number.reshape([1, 1, *(-1 if at == axis else 1 for at in range(rank))])
    weight = steps.constant("ones", np.ones([shape[1], 1, *kernel], np.float32))
    total = steps.add(
        "Conv", [node.inputs[0], weight], "sums", auto_pad=b"NOTSET", group=shape[1],
        dilations=tuple(one[3] for one in windows),
        kernel_shape=tuple(kernel), pads=(*(one[4] for one in windows), *ends),
        strides=tuple(one[2] for one in windows),
    )  # fmt: skip
    steps.add("Mul", [total, steps.constant("shares", share.astype(np.float32))], "means", node.outputs[0])
    return steps.nodes
