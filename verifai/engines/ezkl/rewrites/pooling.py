"""Rewrites of ReLU and max pooling."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import helper

from verifai.engines.ezkl.rewrites.graph import Rewriting, attributes_of, take_over


def relu_after_max_pool(model: Rewriting) -> int:
    """MaxPool(Relu(x)) = Relu(MaxPool(x)): both are monotone selections, so it is exact bit for bit.

    Relu then works on the pooled, smaller tensor.
    """
    pooled = {
        node.input[0]: node
        for node in model.proto.graph.node
        if node.op_type == "MaxPool" and len(node.output) == 1 and len(model.readers(node.input[0])) == 1
    }
    moved = 0
    skip: set[str] = set()
    for node in model.proto.graph.node:
        pool = pooled.get(node.output[0]) if node.op_type == "Relu" and not model.is_output(node.output[0]) else None
        if pool is not None:
            raw = model.emit(
                "MaxPool", [node.input[0]], model.shapes[pool.output[0]], pool.output[0] + "_raw", **attributes_of(pool)
            )
            model.nodes.append(helper.make_node("Relu", [raw], [pool.output[0]], name=pool.output[0]))
            skip.add(pool.output[0])
            moved += 1
        elif node.output[0] not in skip:
            model.nodes.append(node)
    return moved


def absolute_values(model: Rewriting) -> int:
    """relu(x) = x/2 + |x/2| and max(a, b) = (a + b)/2 + |(a − b)/2|; the halves go into the weights before.

    An absolute value takes four cells less than a ReLU in ezkl. In a chain Conv or Gemm → (MaxPool, Relu, Reshape)*, weights
    and bias are divided once by 2 for each Relu and by the number of cells for each pooling window, which is a power of two.
    Exact: a division by a power of two loses nothing, and the sums bring the factor back; in floats a pooling step rounds.
    """
    halved: dict[str, int] = {}
    replaced: set[str] = set()
    for node in model.proto.graph.node:
        if _is_linear(model, node):
            factor, chain = _chain(model, node.output[0])
            if factor > 1 and _divisible(model, node, factor):
                halved[node.output[0]] = factor
                replaced.update(chain)
    for node in model.proto.graph.node:
        if node.output[0] in halved:
            model.nodes.append(_divided(model, node, halved[node.output[0]]))
        elif node.output[0] not in replaced:
            model.nodes.append(node)
        elif node.op_type == "Relu":
            value, shape = node.input[0], model.shapes[node.input[0]]
            magnitude = model.emit("Abs", [value], shape, "magnitude")
            take_over(model, model.emit("Add", [value, magnitude], shape, "rectified"), node.output[0])
        else:
            _pool(model, node, _sum_with_distance)
    return len(halved)


def _is_linear(model: Rewriting, node: onnx.NodeProto) -> bool:
    return node.op_type in ("Conv", "Gemm") and all(name in model.constants for name in node.input[1:] if name)


def _chain(model: Rewriting, value: str) -> tuple[int, set[str]]:
    """Factor and outputs of the Relu and MaxPool nodes that follow ``value`` and alone read it."""
    factor, found = 1, set()
    while not model.is_output(value) and len(readers := model.readers(value)) == 1:
        node = readers[0]
        if node.op_type == "Relu":
            gain = 2
        elif node.op_type == "MaxPool" and _plain_pool(model, node, attributes_of(node)):
            gain = int(np.prod(attributes_of(node)["kernel_shape"]))
            if gain & (gain - 1):
                break
        elif node.op_type == "Reshape" and node.input[0] == value:
            gain = 1
        else:
            break
        value = node.output[0]
        factor *= gain
        if gain > 1:
            found.add(value)
    return factor, found


def _divisible(model: Rewriting, node: onnx.NodeProto, factor: int) -> bool:
    """Whether the division loses no bit: not so for denormal numbers."""
    arrays = [model.constants[name] for name in node.input[1:] if name]
    return all(np.array_equal(array / np.float32(factor) * np.float32(factor), array) for array in arrays)


def _divided(model: Rewriting, node: onnx.NodeProto, factor: int) -> onnx.NodeProto:
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    for place, name in enumerate(node.input):
        if place > 0 and name:
            copy.input[place] = model.constant(
                name + "_divided", (model.constants[name] / np.float32(factor)).astype(np.float32)
            )
    return copy


def max_pool_as_relu(model: Rewriting) -> int:
    """MaxPool without padding = max(a, b) = a + relu(b − a) over strided slices, first along the rows, then the columns.

    Exact in integers, hence in the circuit; in floats each step rounds once. ezkl proves its own MaxPool by sorting each
    window, which costs a shuffle argument and more cells.
    """
    count = 0
    for node in model.proto.graph.node:
        attributes = attributes_of(node) if node.op_type == "MaxPool" else {}
        if not attributes or not _plain_pool(model, node, attributes):
            model.nodes.append(node)
            continue
        _pool(model, node, _maximum)
        count += 1
    return count


def _pool(model: Rewriting, node: onnx.NodeProto, combine: Callable[[Rewriting, str, str, tuple[int, ...]], str]) -> None:
    """Combine the cells of each window pair by pair, as a balanced tree along each axis in turn."""
    attributes = attributes_of(node)
    value, shape = node.input[0], model.shapes[node.input[0]]
    for axis, (size, stride) in enumerate(zip(attributes["kernel_shape"], attributes["strides"], strict=True), start=2):
        length = model.shapes[node.output[0]][axis]
        windows = [_strided(model, value, shape, axis, start, stride, length) for start in range(size)]
        shape = (*shape[:axis], length, *shape[axis + 1 :])
        while len(windows) > 1:
            pairs = [combine(model, left, right, shape) for left, right in zip(windows[::2], windows[1::2], strict=False)]
            windows = pairs + windows[2 * len(pairs) :]
        value = windows[0]
    take_over(model, value, node.output[0])


def _plain_pool(model: Rewriting, node: onnx.NodeProto, attributes: Mapping[str, Any]) -> bool:
    spatial = len(model.shapes[node.input[0]]) - 2
    return (
        len(node.output) == 1
        and not any(attributes.get("pads", [0]))
        and all(step == 1 for step in attributes.get("dilations", [1]))
        and not attributes.get("ceil_mode", 0)
        and attributes.get("auto_pad", b"NOTSET") == b"NOTSET"
        and len(attributes.get("strides", [])) == spatial
        and max(attributes["kernel_shape"]) > 1
    )


def _strided(model: Rewriting, value: str, shape: tuple[int, ...], axis: int, start: int, stride: int, length: int) -> str:
    """``value[start : start + stride · (length − 1) + 1 : stride]`` along ``axis``; ``value`` where that is all of it."""
    if start == 0 and stride == 1 and length == shape[axis]:
        return value
    stop = start + stride * (length - 1) + 1
    bounds = [model.constant(f"slice_{name}", np.array([number], dtype=np.int64)) for name, number in
              (("start", start), ("stop", stop), ("axis", axis), ("step", stride))]  # fmt: skip
    return model.emit("Slice", [value, *bounds], (*shape[:axis], length, *shape[axis + 1 :]), "window")


def _maximum(model: Rewriting, left: str, right: str, shape: tuple[int, ...]) -> str:
    excess = model.emit("Relu", [model.emit("Sub", [right, left], shape, "difference")], shape, "excess")
    return model.emit("Add", [left, excess], shape, "maximum")


def _sum_with_distance(model: Rewriting, left: str, right: str, shape: tuple[int, ...]) -> str:
    """a + b + |a − b| = 2 · max(a, b)."""
    distance = model.emit("Abs", [model.emit("Sub", [left, right], shape, "difference")], shape, "distance")
    return model.emit("Add", [model.emit("Add", [left, right], shape, "sum"), distance], shape, "twice_maximum")
