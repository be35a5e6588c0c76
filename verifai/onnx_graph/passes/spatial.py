"""Convolutions and pools over three axes as such over two, transposed convolutions in groups one by one, padding that wraps.

Each is an identity of the operators' definitions: a window of three axes is one of two axes in each of its planes, and the
largest, or the mean, of a window is that of its planes'.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from verifai.onnx_graph.graph import Attribute, Graph, Node, TensorType
from verifai.onnx_graph.passes.linear_maps import dilated_average
from verifai.onnx_graph.passes.normalisations import average_pool
from verifai.onnx_graph.refusal import refuse
from verifai.onnx_graph.tensors import Array, checked_size

_MAX_PLANES = 512
"""Along the first of three axes: each is pooled by a node of its own."""
_MAX_GROUPS = 512
"""Of a transposed convolution: each is a node of its own."""


@dataclass(frozen=True)
class Window:
    """The window along one axis of ``size`` cells, and how many places it has."""

    size: int
    kernel: int
    stride: int
    dilation: int
    before: int
    after: int
    count: int


def windows(node: Node, sizes: Sequence[int], kernel: Sequence[int]) -> list[Window]:
    """Per axis, with the padding that ``auto_pad`` stands for. Raises UnsupportedModel (``model-malformed``)."""
    rank = len(sizes)
    strides, dilations = (node.ints(name) or (1,) * rank for name in ("strides", "dilations"))
    pads, auto = node.ints("pads") or (0,) * (2 * rank), node.text("auto_pad", "NOTSET")
    if not len(kernel) == len(strides) == len(dilations) == len(pads) // 2 == rank or len(pads) % 2:
        raise refuse("model-malformed", f"its attributes are not of {rank} axes", node.where)
    if min(*kernel, *strides, *dilations) < 1 or min(pads) < 0:
        raise refuse("model-malformed", "a window, stride or dilation is not positive, or a pad negative", node.where)
    found = []
    for axis, size in enumerate(sizes):
        window, stride, before, after = (kernel[axis] - 1) * dilations[axis] + 1, strides[axis], pads[axis], pads[rank + axis]
        if auto == "VALID":
            before = after = 0
        elif auto != "NOTSET":
            total = max(0, (-(-size // stride) - 1) * stride + window - size)
            before = total // 2 if auto == "SAME_UPPER" else total - total // 2
            after = total - before
        reach = size + before + after - window
        if reach < 0:
            raise refuse("model-malformed", "its window is larger than what it goes over", node.where)
        up = bool(node.integer("ceil_mode", 0)) and auto == "NOTSET"
        count = (-(-reach // stride) if up else reach // stride) + 1
        if up and (count - 1) * stride >= size + before:
            count -= 1  # a last window that begins beyond the cells and the padding before them is left out
        found.append(Window(size, kernel[axis], stride, dilations[axis], before, after, count))
    return found


class Writer:
    """Nodes named after the operator that they stand for."""

    def __init__(self, graph: Graph, node: Node) -> None:
        self.graph, self._node = graph, node
        self.nodes: list[Node] = []

    def add(self, op: str, inputs: list[str], label: str, output: str = "", **attributes: Attribute) -> str:
        return self.put(op, inputs, label, attributes, output)

    def put(self, op: str, inputs: list[str], label: str, attributes: dict[str, Attribute], output: str = "") -> str:
        name = self.graph.fresh(f"{self._node.name}_{label}")
        self.nodes.append(Node(op, inputs, [output or name], attributes, name))
        return output or name

    def reshaped(self, x: str, shape: Sequence[int], label: str, output: str = "") -> str:
        checked_size(list(shape), np.dtype(np.float32), self._node.where)
        target = self.graph.constant(f"{self._node.name}_{label}_shape", np.array(shape, np.int64))
        return self.add("Reshape", [x, target], label, output, allowzero=0)


def convolution(graph: Graph, node: Node, opset: int) -> list[Node]:
    """Conv over three axes: the planes of each window beside each other as channels, and a Conv over two axes."""
    del opset
    kinds = [graph.types[name] for name in node.inputs[:2]]
    if len(kinds[0].shape) != 5 or len(kinds[1].shape) != 5 or node.inputs[1] not in graph.constants:
        return [node]
    batch, channels, *sizes = kinds[0].shape
    outputs, inner, *kernel = kinds[1].shape
    if tuple(node.ints("kernel_shape") or kernel) != tuple(kernel):
        raise refuse("model-malformed", "its kernel_shape is not that of its weights", node.where)
    deep, *flat = windows(node, sizes, kernel)
    writer, x = Writer(graph, node), node.inputs[0]
    if deep.before or deep.after:
        pads = graph.constant(f"{node.name}_depth_pads", np.array([0, 0, deep.before, 0, 0, 0, 0, deep.after, 0, 0], np.int64))
        x = writer.add("Pad", [x, pads], "padded", mode=b"constant")
    places = np.arange(deep.count)[:, None] * deep.stride + np.arange(deep.kernel) * deep.dilation
    checked_size([batch, channels * deep.kernel, deep.count, *sizes[1:]], kinds[0].dtype, node.where)
    x = writer.add("Gather", [x, graph.constant(f"{node.name}_planes", places.astype(np.int64))], "windows", axis=2)
    x = writer.add("Transpose", [x], "stacked", perm=(0, 2, 1, 3, 4, 5))
    x = writer.reshaped(x, [batch * deep.count, channels * deep.kernel, *sizes[1:]], "pictures")
    weight = np.ascontiguousarray(graph.constants[node.inputs[1]].reshape(outputs, inner * kernel[0], *kernel[1:]))
    operands = [x, graph.constant(f"{node.name}_weight", weight), *node.inputs[2:]]
    attributes: dict[str, Attribute] = {
        "auto_pad": b"NOTSET",
        "dilations": tuple(one.dilation for one in flat),
        "group": node.integer("group", 1),
        "kernel_shape": tuple(kernel[1:]),
        "pads": (*(one.before for one in flat), *(one.after for one in flat)),
        "strides": tuple(one.stride for one in flat),
    }
    x = writer.put("Conv", operands, "planes_conv", attributes)
    x = writer.reshaped(x, [batch, deep.count, outputs, *(one.count for one in flat)], "volumes")
    writer.add("Transpose", [x], "back", node.outputs[0], perm=(0, 2, 1, 3, 4))
    return writer.nodes


def pool(graph: Graph, node: Node, opset: int) -> list[Node]:
    """MaxPool or AveragePool over three axes: plane by plane over the last two, then over the first."""
    single = average_pool if node.op_type == "AveragePool" else _as_it_is
    kind, kernel = graph.types[node.inputs[0]], node.ints("kernel_shape") or ()
    if node.op_type == "AveragePool" and set(node.ints("dilations") or ()) - {1} and len(kernel) == len(kind.shape) - 2 < 3:
        each = windows(node, kind.shape[2:], kernel)
        return dilated_average(
            graph, node, [(one.size, one.kernel, one.stride, one.dilation, one.before, one.count) for one in each]
        )
    if node.op_type == "AveragePool" and set(node.ints("dilations") or ()) - {1}:
        return single(graph, node, opset)
    if len(kind.shape) != 5 or len(kernel) != 3 or len(node.outputs) > 1:
        return single(graph, node, opset)
    depth = kind.shape[2]
    deep, *flat = windows(node, kind.shape[2:], kernel)
    if depth > _MAX_PLANES:
        return [node]
    checked_size([*kind.shape[:2], depth, *(one.count for one in flat)], kind.dtype, node.where)
    writer, planes = Writer(graph, node), []
    attributes: dict[str, Attribute] = {
        "auto_pad": b"NOTSET",
        "ceil_mode": node.integer("ceil_mode", 0),
        "kernel_shape": tuple(one.kernel for one in flat),
        "pads": (*(one.before for one in flat), *(one.after for one in flat)),
        "strides": tuple(one.stride for one in flat),
    }
    counted = bool(node.integer("count_include_pad", 0))
    if node.op_type == "AveragePool":
        attributes["count_include_pad"] = int(counted)
    else:
        attributes["dilations"] = tuple(one.dilation for one in flat)
    for number in range(depth):
        place = graph.constant(f"{node.name}_place_{number}", np.array(number, np.int64))
        plane = writer.add("Gather", [node.inputs[0], place], f"plane_{number}", axis=2)
        graph.types[plane] = TensorType(kind.dtype, (*kind.shape[:2], *kind.shape[3:]))
        pooled = graph.fresh(f"{node.name}_pooled_{number}")
        writer.nodes.extend(single(graph, Node(node.op_type, [plane], [pooled], dict(attributes), pooled), opset))
        planes.append(pooled)
    axis = graph.constant(f"{node.name}_depth", np.array([2], np.int64))
    results = []
    for place_out in range(deep.count):
        start = place_out * deep.stride - deep.before
        touched = [start + step * deep.dilation for step in range(deep.kernel)]
        inside = [planes[one] for one in touched if 0 <= one < depth]
        if not inside:
            raise refuse("model-malformed", "a window lies wholly in the padding", node.where)
        label = f"depth_{place_out}"
        if node.op_type == "MaxPool":
            found = writer.add("Max", inside, label) if len(inside) > 1 else inside[0]
        else:
            share = len([one for one in touched if one < depth + deep.after]) if counted else len(inside)
            total = writer.add("Sum", inside, f"{label}_sum") if len(inside) > 1 else inside[0]
            factor = graph.constant(f"{node.name}_{label}_share", np.array(1 / share, kind.dtype))
            found = writer.add("Mul", [total, factor], label)
        results.append(writer.add("Unsqueeze", [found, axis], f"{label}_volume"))
    writer.add("Concat", results, "volumes", node.outputs[0], axis=2)
    return writer.nodes


def _as_it_is(graph: Graph, node: Node, opset: int) -> list[Node]:
    del graph, opset
    return [node]


def convolution_transpose(graph: Graph, node: Node, opset: int) -> list[Node]:
    """ConvTranspose in groups: each group's own, side by side."""
    del opset
    groups, shape = node.integer("group", 1), graph.types[node.inputs[0]].shape
    weight = graph.constants.get(node.inputs[1])
    if len(shape) == 5 and weight is not None and weight.ndim == 5 and groups == 1:
        return _spread(graph, node, weight)
    biased = len(node.inputs) > 2 and bool(node.inputs[2])
    bias = graph.constants.get(node.inputs[2]) if biased else None
    if groups < 2 or weight is None or (biased and bias is None) or len(shape) < 3 or groups > _MAX_GROUPS:
        return [node]
    if shape[1] % groups or weight.shape[0] != shape[1]:
        raise refuse("model-malformed", f"{shape[1]} channels in {groups} groups", node.where)
    if bias is not None and bias.shape != (weight.shape[1] * groups,):
        raise refuse("model-malformed", "its bias does not fit its weights", node.where)
    writer, parts = Writer(graph, node), []
    for number in range(groups):
        each = shape[1] // groups
        places = np.arange(number * each, (number + 1) * each, dtype=np.int64)
        chosen = graph.constant(f"{node.name}_channels_{number}", places)
        operands = [writer.add("Gather", [node.inputs[0], chosen], f"group_{number}", axis=1)]
        operands.append(graph.constant(f"{node.name}_weight_{number}", np.ascontiguousarray(weight[places])))
        if bias is not None:
            own = bias[number * weight.shape[1] : (number + 1) * weight.shape[1]]
            operands.append(graph.constant(f"{node.name}_bias_{number}", np.ascontiguousarray(own)))
        part = graph.fresh(f"{node.name}_part_{number}")
        alone = Node("ConvTranspose", operands, [part], {**node.attributes, "group": 1}, part)
        graph.types[operands[0]] = TensorType(graph.types[node.inputs[0]].dtype, (shape[0], each, *shape[2:]))
        writer.nodes += _spread(graph, alone, weight[places]) if weight.ndim == 5 else [alone]
        parts.append(part)
    writer.add("Concat", parts, "groups", node.outputs[0], axis=1)
    return writer.nodes


def _spread(graph: Graph, node: Node, weight: Array) -> list[Node]:
    """ConvTranspose over three axes: zeros between the cells, and a Conv with the kernel turned round."""
    shape, sizes = graph.types[node.inputs[0]].shape, graph.types[node.inputs[0]].shape[2:]
    kernel = weight.shape[2:]
    strides, dilations, beyond = (
        node.ints(name) or (default,) * 3 for name, default in (("strides", 1), ("dilations", 1), ("output_padding", 0))
    )
    pads = node.ints("pads") or (0,) * 6
    known = len(strides) == len(dilations) == len(beyond) == 3 and len(pads) == 6 and shape[1] == weight.shape[0]
    named = tuple(node.ints("kernel_shape") or kernel) == tuple(kernel)
    if not known or not named or min(*strides, *dilations) < 1 or min(*pads, *beyond) < 0:
        raise refuse("model-malformed", "its attributes do not fit its weights", node.where)
    if node.ints("output_shape") or node.text("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return [node]
    writer, x = Writer(graph, node), node.inputs[0]
    for axis, (size, stride) in enumerate(zip(sizes, strides, strict=True)):
        if stride == 1:
            continue
        now = [
            *shape[:2],
            *((size_ - 1) * stride_ + 1 for size_, stride_ in zip(sizes[:axis], strides, strict=False)),
            *sizes[axis:],
        ]
        apart = writer.reshaped(x, [*now[: axis + 3], 1, *now[axis + 3 :]], f"apart_{axis}")
        ends = np.zeros(2 * (len(now) + 1), np.int64)
        ends[len(now) + 1 + axis + 3] = stride - 1
        zeros = writer.add("Pad", [apart, graph.constant(f"{node.name}_zeros_{axis}", ends)], f"zeros_{axis}", mode=b"constant")
        wide = writer.reshaped(zeros, [*now[: axis + 2], size * stride, *now[axis + 3 :]], f"wide_{axis}")
        x = _cut(graph, writer, node, wide, axis + 2, 0, (size - 1) * stride + 1)
    reach = [(width - 1) * dilation for width, dilation in zip(kernel, dilations, strict=True)]
    around = [(reach[at] - pads[at], reach[at] - pads[3 + at] + beyond[at]) for at in range(3)]
    for at, (before, after) in enumerate(around):
        full = (sizes[at] - 1) * strides[at] + 1
        if full + before + after < reach[at] + 1 or full + min(before, 0) + min(after, 0) < 1:
            raise refuse("model-malformed", "its padding leaves nothing", node.where)
        if min(before, after) < 0:
            x = _cut(graph, writer, node, x, at + 2, max(-before, 0), full - max(-after, 0))
    turned = np.ascontiguousarray(weight.transpose(1, 0, 2, 3, 4)[:, :, ::-1, ::-1, ::-1])
    attributes: dict[str, Attribute] = {
        "auto_pad": b"NOTSET", "dilations": tuple(dilations), "group": 1, "kernel_shape": tuple(kernel),
        "pads": (*(max(before, 0) for before, _ in around), *(max(after, 0) for _, after in around)), "strides": (1, 1, 1),
    }  # fmt: skip
    full_shape = [
        (size - 1) * stride + 1 + min(before, 0) + min(after, 0)
        for size, stride, (before, after) in zip(sizes, strides, around, strict=True)
    ]
    graph.types[x] = TensorType(graph.types[node.inputs[0]].dtype, (*shape[:2], *full_shape))
    operands = [x, graph.constant(f"{node.name}_turned", turned), *node.inputs[2:]]
    graph.types[operands[1]] = TensorType(turned.dtype, turned.shape)
    return [*writer.nodes, *convolution(graph, Node("Conv", operands, node.outputs, attributes, f"{node.name}_conv"), 0)]


def _cut(graph: Graph, writer: Writer, node: Node, x: str, axis: int, start: int, end: int) -> str:
    places = [graph.constant(f"{node.name}_cut_{axis}_{label}", np.array([at], np.int64))
              for label, at in (("from", start), ("to", end), ("axis", axis))]  # fmt: skip
    return writer.add("Slice", [x, *places], f"cut_{axis}")


def wrapped(graph: Graph, node: Node) -> list[Node]:
    """Padding with the cells of the other end: each axis by the numbers of its cells."""
    rank = len(graph.types[node.inputs[0]].shape)
    pads = graph.constants.get(node.inputs[1]) if len(node.inputs) > 1 else None
    named = graph.constants.get(node.inputs[3]) if len(node.inputs) > 3 and node.inputs[3] else np.arange(rank)
    if pads is None or named is None or pads.size != 2 * named.size or ((named < -rank) | (named >= rank)).any():
        raise refuse("model-unknown-operator", "padding that wraps around by computed numbers", node.where)
    writer, x = Writer(graph, node), node.inputs[0]
    for place, axis in enumerate(int(one) % rank for one in named):
        size = graph.types[node.inputs[0]].shape[axis]
        before, after = int(pads.reshape(-1)[place]), int(pads.reshape(-1)[place + named.size])
        if not before and not after:
            continue
        if not -size < before <= size or not -size < after <= size or size + before + after < 1:
            raise refuse("model-malformed", f"padding by {before} and {after} cells of an axis of {size}", node.where)
        places = np.arange(-before, size + after, dtype=np.int64) % size
        x = writer.add("Gather", [x, graph.constant(f"{node.name}_places", places)], f"axis_{axis}", axis=axis)
    writer.add("Identity", [x], "wrapped", node.outputs[0])
    return writer.nodes
