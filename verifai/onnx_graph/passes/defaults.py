"""Every attribute that has a default is written out, and every pad, stride and axis is a plain number."""

from __future__ import annotations

import onnx

from verifai.onnx_graph.graph import Graph, Node, read_attribute
from verifai.onnx_graph.limits import OPSET
from verifai.onnx_graph.refusal import refuse, words

_WINDOWED = frozenset({"Conv", "ConvTranspose", "MaxPool", "AveragePool", "LpPool"})
_AXIS_BY_RANK = frozenset(
    words(
        "ArgMax ArgMin Concat Flatten Gather GatherElements Hardmax LayerNormalization LogSoftmax LpNormalization OneHot"
        " ScatterElements Softmax Split TopK"
    )
)


def explicit_defaults(graph: Graph) -> None:
    """Write out schema defaults; resolve auto_pad and negative axes."""
    for node in graph.nodes:
        if node.op_type in _WINDOWED:
            _window(graph, node)
        schema = onnx.defs.get_schema(node.op_type, OPSET, node.domain)
        for name, formal in schema.attributes.items():
            if _meaningless(graph, node, name):
                continue
            if name not in node.attributes and formal.default_value.type != onnx.AttributeProto.UNDEFINED:
                node.attributes[name] = read_attribute(formal.default_value, node.where)
        if node.op_type in _AXIS_BY_RANK:
            _axis(graph, node)


def _meaningless(graph: Graph, node: Node, name: str) -> bool:
    """The axis of a quantisation that has one scale for all cells, where there are fewer axes than its default counts."""
    rank = len(graph.types[node.inputs[0]].shape) if node.inputs and node.inputs[0] else 0
    return node.op_type in ("QuantizeLinear", "DequantizeLinear") and name == "axis" and rank == 0


def _axis(graph: Graph, node: Node) -> None:
    axis = node.attributes.get("axis")
    if not isinstance(axis, int):
        return
    rank = len(graph.types[node.outputs[0] if node.op_type == "OneHot" else node.inputs[0]].shape)
    # Flatten may also cut after the last axis.
    if not -rank <= axis < rank + (node.op_type == "Flatten"):
        raise refuse("model-malformed", f"axis {axis} of a tensor of {rank} axes", node.where)
    node.attributes["axis"] = axis + rank if axis < 0 else axis


def _window(graph: Graph, node: Node) -> None:
    data = graph.types[node.inputs[0]].shape
    spatial = len(data) - 2
    if node.op_type in ("Conv", "ConvTranspose"):
        node.attributes["kernel_shape"] = graph.types[node.inputs[1]].shape[2:]
    kernel = node.ints("kernel_shape") or ()
    strides = node.ints("strides") or (1,) * spatial
    node.attributes["strides"] = strides
    dilations = node.ints("dilations") or (1,) * spatial
    schema = onnx.defs.get_schema(node.op_type, OPSET)
    if "dilations" in schema.attributes:
        node.attributes["dilations"] = dilations
    if node.op_type == "ConvTranspose":
        node.attributes.setdefault("output_padding", (0,) * spatial)
    if not len(kernel) == len(strides) == len(dilations) == spatial:
        raise refuse("model-malformed", "kernel, strides and dilations differ in length", node.where)
    reach = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True))
    node.attributes["pads"] = _pads(graph, node, reach, strides)
    node.attributes["auto_pad"] = b"NOTSET"
    node.attributes.pop("output_shape", None)


def _pads(graph: Graph, node: Node, reach: tuple[int, ...], strides: tuple[int, ...]) -> tuple[int, ...]:
    """Explicit pads, begins then ends, as the operator's specification defines auto_pad."""
    mode = node.text("auto_pad", "NOTSET")
    data = graph.types[node.inputs[0]].shape[2:]
    result = graph.types[node.outputs[0]].shape[2:]
    transposed = node.op_type == "ConvTranspose"
    if mode == "VALID" or (mode == "NOTSET" and "pads" not in node.attributes and "output_shape" not in node.attributes):
        return (0,) * (2 * len(data))
    if mode == "NOTSET" and not (transposed and "output_shape" in node.attributes):
        return node.ints("pads") or ()
    begins, ends = [], []
    extra = node.ints("output_padding") or (0,) * len(data)
    for axis, (size, out, window, stride) in enumerate(zip(data, result, reach, strides, strict=True)):
        need = stride * (size - 1) + extra[axis] + window - out if transposed else (out - 1) * stride + window - size
        total = max(need, 0)
        if transposed and need < 0:  # more is asked for than the windows reach
            extra = (*extra[:axis], extra[axis] - need, *extra[axis + 1 :])
            node.attributes["output_padding"] = extra
        # The odd cell goes to the end for SAME_UPPER; ConvTranspose's specification puts it at the begin otherwise.
        small, large = total // 2, total - total // 2
        upper = mode == "SAME_UPPER"
        begins.append(small if upper else large)
        ends.append(large if upper else small)
    return (*begins, *ends)
