"""Rewrites of convolutions and matrix products."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from verifai.engines.ezkl.rewrites.graph import Array, Rewriting, attributes_of, take_over


def convolution_as_matmul(model: Rewriting) -> int:
    """Conv = MatMul of the input's patches [height, width, K] with the weight matrix [K, channels] (im2col), plus the bias.

    Gathering patches copies cells and costs nothing; ezkl then checks the whole matrix product with Freivalds' argument
    (a random combination of its rows and columns, at a challenge drawn after the witness is committed) instead of one dot
    product per output cell. Exact up to the order of float additions.
    """
    count = 0
    for node in model.proto.graph.node:
        attributes = attributes_of(node) if node.op_type == "Conv" else {}
        weights = model.constants.get(node.input[1]) if attributes else None
        if weights is None or weights.ndim != 4 or attributes.get("group", 1) != 1 or "strides" not in attributes:
            model.nodes.append(node)
            continue
        _matmul_convolution(model, node, attributes, weights)
        count += 1
    return count


def _matmul_convolution(model: Rewriting, node: onnx.NodeProto, attributes: Mapping[str, Any], weights: Array) -> None:
    source, target = model.shapes[node.input[0]], model.shapes[node.output[0]]
    pads = attributes.get("pads", [0, 0, 0, 0])
    cells, value = int(np.prod(source)), node.input[0]
    flat = model.emit("Reshape", [value, model.constant("flat_shape", np.array([cells], dtype=np.int64))], (cells,), "flat")
    if any(pads):
        flat = model.emit("Concat", [flat, model.constant("zero", np.zeros(1, np.float32))], (cells + 1,), "padded", axis=0)
    index = _patches(source, target, weights.shape, attributes["strides"], attributes.get("dilations", [1, 1]), pads)
    patches = model.emit("Gather", [flat, model.constant("patch_index", index)], index.shape, "patches", axis=0)
    matrix = model.constant("weight_matrix", np.ascontiguousarray(weights.reshape(len(weights), -1).T))
    shape = (*index.shape[:2], len(weights))
    product = model.emit("MatMul", [patches, matrix], shape, "product")
    if len(node.input) > 2 and node.input[2]:
        product = model.emit("Add", [product, node.input[2]], shape, "biased")
    first = model.emit("Transpose", [product], (shape[2], *shape[:2]), "channels_first", perm=[2, 0, 1])
    wanted = model.constant("feature_shape", np.array(target, dtype=np.int64))
    take_over(model, model.emit("Reshape", [first, wanted], target, "features"), node.output[0])


def _patches(
    source: Sequence[int], target: Sequence[int], weights: Sequence[int], strides: Sequence[int], dilations: Sequence[int],
    pads: Sequence[int],
) -> NDArray[np.int64]:  # fmt: skip
    """Index of each patch cell in the flat input: [output height, output width, channels · height · width of the kernel].

    Padding points one past the input's end, at the appended zero.
    """
    _, channels, height, width = source
    rows = np.arange(target[2])[None, :] * strides[0] - pads[0] + np.arange(weights[2])[:, None] * dilations[0]
    columns = np.arange(target[3])[None, :] * strides[1] - pads[1] + np.arange(weights[3])[:, None] * dilations[1]
    row, column = rows.T[:, None, None, :, None], columns.T[None, :, None, None, :]
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    index = np.arange(channels)[None, None, :, None, None] * (height * width) + row * width + column
    index = np.where(inside, index, channels * height * width)
    return index.reshape(target[2], target[3], channels * weights[2] * weights[3]).astype(np.int64)


def vector_product_as_convolution(model: Rewriting) -> int:
    """Gemm of one row = Conv whose kernel covers the whole row; only where another product uses Freivalds' argument.

    ezkl reserves columns for that argument with the square of the longest axis of *any* matrix product, also of those that do
    not use it. A product with a single row gains nothing from the argument, and as a convolution it is left out of that count.
    Exact up to the order of float additions.
    """
    if not any(node.op_type == "MatMul" for node in model.proto.graph.node):
        model.nodes.extend(model.proto.graph.node)
        return 0
    count = 0
    for node in model.proto.graph.node:
        if node.op_type == "Gemm" and _row_product(model, node):
            _convolve(model, node)
            count += 1
        else:
            model.nodes.append(node)
    return count


def _row_product(model: Rewriting, node: onnx.NodeProto) -> bool:
    attributes = attributes_of(node)
    return (
        model.shapes[node.input[0]][0] == 1
        and len(model.shapes[node.input[0]]) == 2
        and all(name in model.constants for name in node.input[1:])
        and attributes.get("alpha", 1.0) == attributes.get("beta", 1.0) == 1.0
        and not attributes.get("transA", 0)
    )


def _convolve(model: Rewriting, node: onnx.NodeProto) -> None:
    weights = model.constants[node.input[1]]
    kernel = weights if attributes_of(node).get("transB", 0) else weights.T
    outputs, length = kernel.shape
    row = model.constant("row_shape", np.array([1, 1, 1, length], dtype=np.int64))
    inputs = [model.emit("Reshape", [node.input[0], row], (1, 1, 1, length), "row")]
    inputs.append(model.constant("kernel", np.ascontiguousarray(kernel).reshape(outputs, 1, 1, length)))
    if len(node.input) > 2 and node.input[2]:
        bias = np.broadcast_to(model.constants[node.input[2]], (1, outputs)).reshape(outputs)
        inputs.append(model.constant("bias", np.ascontiguousarray(bias)))
    ones, none = [1, 1], [0, 0, 0, 0]
    shape = (1, outputs, 1, 1)
    value = model.emit(
        "Conv", inputs, shape, "columns", kernel_shape=[1, length], strides=ones, pads=none, dilations=ones, group=1
    )
    wanted = model.constant("output_shape", np.array([1, outputs], dtype=np.int64))
    take_over(model, model.emit("Reshape", [value, wanted], (1, outputs), "flat_columns"), node.output[0])
