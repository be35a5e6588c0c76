"""Rewrites of the graph that keep the function and make ezkl's circuit smaller.

Each is a named, deterministic pass over a canonical model. The names that were applied are pinned in the lock, so an auditor
rewrites the same canonical ONNX file with the same code and must reach the same verification key. ``docs/tuning.md`` says why
each one is exact; ``tests/unit/ezkl_tuning`` compares both graphs on onnxruntime.

The passes expect what canonicalisation promises: static shapes, explicit attributes, every value typed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper, shape_inference

from verifai.errors import InternalError, UsageError

Array = NDArray[Any]


@dataclass
class _Model:
    """A model while it is rewritten. ``nodes`` replaces the graph's node list at the end."""

    proto: onnx.ModelProto
    shapes: dict[str, tuple[int, ...]]
    constants: dict[str, Array]
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    names: set[str] = field(default_factory=set)

    @classmethod
    def read(cls, data: bytes) -> _Model:
        proto = onnx.ModelProto.FromString(data)
        graph = proto.graph
        shapes = {
            value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
            for value in (*graph.input, *graph.output, *graph.value_info)
        }
        constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        shapes.update({name: array.shape for name, array in constants.items()})
        names = {*shapes, *(name for node in graph.node for name in (*node.input, *node.output))}
        return cls(proto, shapes, constants, [], names)

    def fresh(self, base: str) -> str:
        """An unused tensor name, deterministic in the order of calls."""
        name, count = base, 1
        while name in self.names:
            count += 1
            name = f"{base}_{count}"
        self.names.add(name)
        return name

    def constant(self, base: str, array: Array) -> str:
        name = self.fresh(base)
        self.constants[name] = array
        self.shapes[name] = array.shape
        return name

    def emit(self, op_type: str, inputs: Sequence[str], shape: Sequence[int], base: str, **attributes: Any) -> str:
        """Append a node with one output; returns the output's name."""
        output = self.fresh(base)
        self.shapes[output] = tuple(shape)
        self.nodes.append(helper.make_node(op_type, list(inputs), [output], name=output, **attributes))
        return output

    def readers(self, name: str) -> list[onnx.NodeProto]:
        return [node for node in self.proto.graph.node if name in node.input]

    def is_output(self, name: str) -> bool:
        return any(value.name == name for value in self.proto.graph.output)

    def write(self) -> bytes:
        """Serialise: only constants that are read, every value typed, nodes in order."""
        graph = self.proto.graph
        used = {name for node in self.nodes for name in node.input}
        del graph.node[:], graph.initializer[:], graph.value_info[:]
        graph.node.extend(self.nodes)
        graph.initializer.extend(
            numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in self.constants.items() if name in used
        )
        inferred = shape_inference.infer_shapes(self.proto, check_type=True, strict_mode=True, data_prop=True)
        onnx.checker.check_model(inferred)
        data: bytes = inferred.SerializeToString(deterministic=True)
        return data


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _rename_output(model: _Model, produced: str, wanted: str) -> None:
    """The last node emitted takes over the name of the value that it replaces."""
    last = model.nodes[-1]
    if list(last.output) != [produced]:
        raise InternalError("internal", f"rewrite of {wanted!r} does not end in its own node")
    last.output[0] = wanted
    model.shapes[wanted] = model.shapes.pop(produced)


def relu_after_max_pool(model: _Model) -> int:
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
                "MaxPool", [node.input[0]], model.shapes[pool.output[0]], pool.output[0] + "_raw", **_attributes(pool)
            )
            model.nodes.append(helper.make_node("Relu", [raw], [pool.output[0]], name=pool.output[0]))
            skip.add(pool.output[0])
            moved += 1
        elif node.output[0] not in skip:
            model.nodes.append(node)
    return moved


def absolute_values(model: _Model) -> int:
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
            _rename_output(model, model.emit("Add", [value, magnitude], shape, "rectified"), node.output[0])
        else:
            _pool(model, node, _sum_with_distance)
    return len(halved)


def _is_linear(model: _Model, node: onnx.NodeProto) -> bool:
    return node.op_type in ("Conv", "Gemm") and all(name in model.constants for name in node.input[1:] if name)


def _chain(model: _Model, value: str) -> tuple[int, set[str]]:
    """Factor and outputs of the Relu and MaxPool nodes that follow ``value`` and alone read it."""
    factor, found = 1, set()
    while not model.is_output(value) and len(readers := model.readers(value)) == 1:
        node = readers[0]
        if node.op_type == "Relu":
            gain = 2
        elif node.op_type == "MaxPool" and _plain_pool(model, node, _attributes(node)):
            gain = int(np.prod(_attributes(node)["kernel_shape"]))
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


def _divisible(model: _Model, node: onnx.NodeProto, factor: int) -> bool:
    """Whether the division loses no bit: not so for denormal numbers."""
    arrays = [model.constants[name] for name in node.input[1:] if name]
    return all(np.array_equal(array / np.float32(factor) * np.float32(factor), array) for array in arrays)


def _divided(model: _Model, node: onnx.NodeProto, factor: int) -> onnx.NodeProto:
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    for place, name in enumerate(node.input):
        if place > 0 and name:
            copy.input[place] = model.constant(
                name + "_divided", (model.constants[name] / np.float32(factor)).astype(np.float32)
            )
    return copy


def max_pool_as_relu(model: _Model) -> int:
    """MaxPool without padding = max(a, b) = a + relu(b − a) over strided slices, first along the rows, then the columns.

    Exact in integers, hence in the circuit; in floats each step rounds once. ezkl proves its own MaxPool by sorting each
    window, which costs a shuffle argument and more cells.
    """
    count = 0
    for node in model.proto.graph.node:
        attributes = _attributes(node) if node.op_type == "MaxPool" else {}
        if not attributes or not _plain_pool(model, node, attributes):
            model.nodes.append(node)
            continue
        _pool(model, node, _maximum)
        count += 1
    return count


def _pool(model: _Model, node: onnx.NodeProto, combine: Callable[[_Model, str, str, tuple[int, ...]], str]) -> None:
    """Combine the cells of each window pair by pair, as a balanced tree along each axis in turn."""
    attributes = _attributes(node)
    value, shape = node.input[0], model.shapes[node.input[0]]
    for axis, (size, stride) in enumerate(zip(attributes["kernel_shape"], attributes["strides"], strict=True), start=2):
        length = model.shapes[node.output[0]][axis]
        windows = [_strided(model, value, shape, axis, start, stride, length) for start in range(size)]
        shape = (*shape[:axis], length, *shape[axis + 1 :])
        while len(windows) > 1:
            pairs = [combine(model, left, right, shape) for left, right in zip(windows[::2], windows[1::2], strict=False)]
            windows = pairs + windows[2 * len(pairs) :]
        value = windows[0]
    _rename_output(model, value, node.output[0])


def _plain_pool(model: _Model, node: onnx.NodeProto, attributes: Mapping[str, Any]) -> bool:
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


def _strided(model: _Model, value: str, shape: tuple[int, ...], axis: int, start: int, stride: int, length: int) -> str:
    """``value[start : start + stride · (length − 1) + 1 : stride]`` along ``axis``; ``value`` where that is all of it."""
    if start == 0 and stride == 1 and length == shape[axis]:
        return value
    stop = start + stride * (length - 1) + 1
    bounds = [model.constant(f"slice_{name}", np.array([number], dtype=np.int64)) for name, number in
              (("start", start), ("stop", stop), ("axis", axis), ("step", stride))]  # fmt: skip
    return model.emit("Slice", [value, *bounds], (*shape[:axis], length, *shape[axis + 1 :]), "window")


def _maximum(model: _Model, left: str, right: str, shape: tuple[int, ...]) -> str:
    excess = model.emit("Relu", [model.emit("Sub", [right, left], shape, "difference")], shape, "excess")
    return model.emit("Add", [left, excess], shape, "maximum")


def _sum_with_distance(model: _Model, left: str, right: str, shape: tuple[int, ...]) -> str:
    """a + b + |a − b| = 2 · max(a, b)."""
    distance = model.emit("Abs", [model.emit("Sub", [left, right], shape, "difference")], shape, "distance")
    return model.emit("Add", [model.emit("Add", [left, right], shape, "sum"), distance], shape, "twice_maximum")


def convolution_as_matmul(model: _Model) -> int:
    """Conv = MatMul of the input's patches [height, width, K] with the weight matrix [K, channels] (im2col), plus the bias.

    Gathering patches copies cells and costs nothing; ezkl then checks the whole matrix product with Freivalds' argument
    (a random combination of its rows and columns, at a challenge drawn after the witness is committed) instead of one dot
    product per output cell. Exact up to the order of float additions.
    """
    count = 0
    for node in model.proto.graph.node:
        attributes = _attributes(node) if node.op_type == "Conv" else {}
        weights = model.constants.get(node.input[1]) if attributes else None
        if weights is None or weights.ndim != 4 or attributes.get("group", 1) != 1 or "strides" not in attributes:
            model.nodes.append(node)
            continue
        _matmul_convolution(model, node, attributes, weights)
        count += 1
    return count


def _matmul_convolution(model: _Model, node: onnx.NodeProto, attributes: Mapping[str, Any], weights: Array) -> None:
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
    _rename_output(model, model.emit("Reshape", [first, wanted], target, "features"), node.output[0])


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


REWRITES: Mapping[str, Callable[[_Model], int]] = {
    "relu-after-max-pool": relu_after_max_pool,
    "absolute-values": absolute_values,
    "max-pool-as-relu": max_pool_as_relu,
    "convolution-as-matmul": convolution_as_matmul,
}
"""Every rewrite, in the order in which they are useful. Names are pinned in locks: never change what a name does."""


def apply(model_onnx: bytes, names: Sequence[str]) -> bytes:
    """Apply ``names`` in order to a canonical model.

    Returns:
        The rewritten ONNX file; ``model_onnx`` itself when there is nothing to do. Same input, same bytes.

    Raises:
        UsageError: code ``bad-lock``, for an unknown name.
    """
    data = model_onnx
    for name in names:
        if name not in REWRITES:
            raise UsageError("bad-lock", f"no such graph rewrite: {name[:60]!r}", hint="Known: " + ", ".join(REWRITES))
        model = _Model.read(data)
        if REWRITES[name](model):
            data = model.write()
    return data


def applicable(model_onnx: bytes) -> tuple[str, ...]:
    """The rewrites that would change this model, each on top of those before it."""
    names: list[str] = []
    data = model_onnx
    for name in REWRITES:
        changed = apply(data, (name,))
        if changed != data:
            names.append(name)
            data = changed
    return tuple(names)
