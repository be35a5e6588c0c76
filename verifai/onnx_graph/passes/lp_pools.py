"""LpPool and GlobalLpPool: the p-th root of the sum of p-th powers, over windows of any kind."""

from __future__ import annotations

import numpy as np

from verifai.onnx_graph.graph import Attribute, Graph, Node, TensorType
from verifai.onnx_graph.passes.spatial import Writer, convolution, windows

_MAX_CHANNELS = 1 << 12


def lp_pool(graph: Graph, node: Node, opset: int) -> list[Node]:
    """A sum of magnitudes, of squares or of other powers: over everything, or as a convolution of each channel by ones."""
    del opset
    power, kind = node.integer("p", 2), graph.types[node.inputs[0]]
    if power < 1 or len(kind.shape) < 3:
        return [node]
    writer, x = Writer(graph, node), node.inputs[0]
    x = writer.add("Mul", [x, x], "squares") if power == 2 else writer.add("Abs", [x], "sizes")
    if power > 2:
        exponent = graph.constant(f"{node.name}_power", np.array(power, kind.dtype))
        x = writer.add("Pow", [x, exponent], "powers")
    graph.types[x] = kind
    if node.op_type == "GlobalLpPool":
        axes = graph.constant(f"{node.name}_axes", np.arange(2, len(kind.shape)))
        x = writer.add("ReduceSum", [x, axes], "total", keepdims=1, noop_with_empty_axes=0)
    else:
        kernel = node.ints("kernel_shape") or ()
        if len(kernel) != len(kind.shape) - 2 or not 1 <= len(kernel) <= 3 or kind.shape[1] > _MAX_CHANNELS:
            return [node]
        total = graph.fresh(f"{node.name}_total")
        writer.nodes += _summed(graph, node, x, kind, total)
        x = total
    if power > 2:
        root = graph.constant(f"{node.name}_root", np.array(1 / power, kind.dtype))
        writer.add("Pow", [x, root], "rooted", node.outputs[0])
    elif power == 2:
        writer.add("Sqrt", [x], "rooted", node.outputs[0])
    else:
        writer.nodes[-1].outputs = [node.outputs[0]]
    return writer.nodes


def _summed(graph: Graph, node: Node, x: str, kind: TensorType, total: str) -> list[Node]:
    """The sum of every window: cells beyond the border count as 0."""
    kernel, channels = node.ints("kernel_shape") or (), kind.shape[1]
    each = windows(node, kind.shape[2:], kernel)
    ends = [max((one.count - 1) * one.stride + (one.kernel - 1) * one.dilation + 1 - one.size - one.before, 0) for one in each]
    ones = graph.constant(f"{node.name}_ones", np.ones((channels, 1, *kernel), kind.dtype))
    graph.types[ones] = TensorType(kind.dtype, (channels, 1, *kernel))
    attributes: dict[str, Attribute] = {
        "auto_pad": b"NOTSET",
        "dilations": tuple(one.dilation for one in each),
        "group": channels,
        "kernel_shape": tuple(kernel),
        "pads": (*(one.before for one in each), *ends),
        "strides": tuple(one.stride for one in each),
    }
    return convolution(graph, Node("Conv", [x, ones], [total], attributes, f"{node.name}_summed"), 0)
