"""Bring one node from its source opset to the canonical one, keeping its meaning exactly.

Most changes between opset versions only widen type lists or add attributes whose defaults keep the old meaning. What changed
otherwise is listed here, from the operators' changelog in the ONNX specification (docs/Changelog.md); newer operators are
replaced by what their specification defines them as.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import onnx

from verifai.onnx_graph.graph import Graph, Node, TensorType, read_attribute
from verifai.onnx_graph.limits import OPSET
from verifai.onnx_graph.lint import ML_DOMAIN
from verifai.onnx_graph.passes import bits, contributed, scattered, stored_integers
from verifai.onnx_graph.passes.attention import attention
from verifai.onnx_graph.passes.compositions import (
    compress,
    cumulative_sum,
    gather_elements,
    grid_sample,
    hardmax,
    is_infinite,
    is_nan,
    local_response_normalization,
    one_hot,
    reduce_log_sum,
)
from verifai.onnx_graph.passes.einsum import einsum
from verifai.onnx_graph.passes.linear_maps import affine_grid, column_to_image, fourier, region_align, short_time_fourier
from verifai.onnx_graph.passes.losses import loss, nothing_reduced
from verifai.onnx_graph.passes.lp_pools import lp_pool
from verifai.onnx_graph.passes.ml_domain import lower_ml
from verifai.onnx_graph.passes.normalisations import (
    group_normalization,
    instance_normalization,
    mean_variance_normalization,
    resize,
    rms_normalization,
    whole_sizes,
)
from verifai.onnx_graph.passes.recurrent import unrolled
from verifai.onnx_graph.passes.rotary import rotary_embedding
from verifai.onnx_graph.passes.spatial import convolution, convolution_transpose, pool, wrapped
from verifai.onnx_graph.refusal import refuse, words
from verifai.onnx_graph.tensors import DTYPES, Array

Rewrite = Callable[[Graph, Node, int], list[Node]]
_OTHER_REALS = (onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)


def upgrade(graph: Graph, node: Node, opset: int) -> list[Node]:
    """The nodes of the canonical opset that mean what ``node`` meant in ``opset``; empty when it became a constant.

    Raises:
        UnsupportedModel: ``model-unknown-operator``, ``model-stochastic``, ``model-malformed``.
    """
    if node.domain == ML_DOMAIN:
        return lower_ml(graph, node)
    if node.domain == contributed.DOMAIN:
        made = contributed.plain(graph, node)
        return [fresh for one in made for fresh in _STORED.get(one.op_type, _as_it_is)(graph, one, OPSET)]
    if node.op_type == "Constant":
        _constant(graph, node)
        return []
    rewrite = _REWRITES.get(node.op_type)
    if rewrite is not None:
        return rewrite(graph, node, opset)
    if opset > OPSET:
        _drop_new_defaults(node, opset)
    return [node]


def _constant(graph: Graph, node: Node) -> None:
    values = [(name, value) for name, value in node.attributes.items()]
    if len(values) != 1:
        raise refuse("model-malformed", "a constant needs exactly one value", node.where)
    name, value = values[0]
    if name in ("value_int", "value_ints"):
        array: Array = np.array(value, dtype=np.int64)
    elif name in ("value_float", "value_floats"):
        array = np.array(value, dtype=np.float32)
    elif isinstance(value, np.ndarray):
        array = value
    else:
        raise refuse("model-dtype", "string constants are not supported", node.where, "Use plain tensors.")
    target = node.outputs[0]
    graph.constants[target] = array
    graph.types[target] = TensorType(array.dtype, array.shape)


def _drop_new_defaults(node: Node, opset: int) -> None:
    """Attributes that a newer opset added may go when they hold the default that keeps the old meaning."""
    old = onnx.defs.get_schema(node.op_type, OPSET) if _exists(node.op_type) else None
    if old is None:
        return
    new = onnx.defs.get_schema(node.op_type, opset)
    for name in [name for name in node.attributes if name not in old.attributes]:
        default = new.attributes[name].default_value
        neutral = read_attribute(default, node.where) if default.type != onnx.AttributeProto.UNDEFINED else 0
        if node.attributes[name] == neutral or (name == "dilations" and set(node.ints(name) or ()) == {1}):
            del node.attributes[name]


def _exists(op_type: str) -> bool:
    try:
        return not onnx.defs.get_schema(op_type, OPSET).deprecated
    except onnx.defs.SchemaError:
        return False


def _to_input(graph: Graph, node: Node, attribute: str, position: int, dtype: type = np.int64) -> None:
    """Move an attribute to the input that replaced it."""
    value = node.attributes.pop(attribute, None)
    if value is None:
        return
    while len(node.inputs) <= position:
        node.inputs.append("")
    node.inputs[position] = graph.constant(f"{node.name}_{attribute}", np.array(value, dtype=dtype))


def _axes(since: int) -> Rewrite:
    def rewrite(graph: Graph, node: Node, opset: int) -> list[Node]:
        if opset < since:
            _to_input(graph, node, "axes", 1)
        elif opset > OPSET:
            _drop_new_defaults(node, opset)
        return nothing_reduced(graph, node) or [node]

    return rewrite


def _clip(graph: Graph, node: Node, opset: int) -> list[Node]:
    if opset < 11:
        dtype = graph.types[node.inputs[0]].dtype.type
        _to_input(graph, node, "min", 1, dtype)
        _to_input(graph, node, "max", 2, dtype)
    return [node]


def _pad(graph: Graph, node: Node, opset: int) -> list[Node]:
    if node.text("mode", "constant") == "wrap":
        return wrapped(graph, node)
    if opset < 11:
        _to_input(graph, node, "pads", 1)
        _to_input(graph, node, "value", 2, graph.types[node.inputs[0]].dtype.type)
    return [node]


def _slice(graph: Graph, node: Node, opset: int) -> list[Node]:
    if opset < 10:
        for position, name in enumerate(("starts", "ends", "axes"), start=1):
            _to_input(graph, node, name, position)
    return [node]


def _split(graph: Graph, node: Node, opset: int) -> list[Node]:
    if opset < 13:
        _to_input(graph, node, "split", 1)
    if opset < 18 and not (len(node.inputs) > 1 and node.inputs[1]):
        node.attributes["num_outputs"] = len(node.outputs)
    return [node]


def _top_k(graph: Graph, node: Node, opset: int) -> list[Node]:
    if opset < 10:
        k = node.attributes.pop("k", 0)
        node.inputs.append(graph.constant(f"{node.name}_k", np.array([k], dtype=np.int64)))
    return [node]


def _dropout(graph: Graph, node: Node, opset: int) -> list[Node]:
    del graph, opset
    node.attributes.clear()
    return [node]


def _batch_normalization(graph: Graph, node: Node, opset: int) -> list[Node]:
    del graph
    spatial = node.attributes.pop("spatial", 1)
    if spatial != 1:
        raise refuse("model-unknown-operator", "batch normalisation per activation (spatial=0)", node.where)
    if node.integer("training_mode", 0) or (opset < 14 and any(node.outputs[1:])):
        raise refuse("model-stochastic", "batch normalisation in training mode", node.where, "Export after model.eval().")
    node.outputs = node.outputs[:1]
    return [node]


def _softmax(graph: Graph, node: Node, opset: int) -> list[Node]:
    """Before opset 13 the axes from ``axis`` on were flattened into one, and the default axis was 1."""
    if opset >= 13:
        return [node]
    shape = graph.types[node.inputs[0]].shape
    axis = node.integer("axis", 1)
    axis += len(shape) if axis < 0 else 0
    if not 0 <= axis <= len(shape):
        raise refuse("model-malformed", f"axis {axis} of a tensor of {len(shape)} axes", node.where)
    if axis == len(shape) - 1:
        node.attributes["axis"] = axis
        return [node]
    rows = math.prod(shape[:axis])
    flat_shape = graph.constant(f"{node.name}_flat_shape", np.array([rows, math.prod(shape[axis:])], dtype=np.int64))
    full_shape = graph.constant(f"{node.name}_full_shape", np.array(shape, dtype=np.int64))
    flat, result = graph.fresh(f"{node.name}_flat"), graph.fresh(f"{node.name}_flat_out")
    return [
        Node("Reshape", [node.inputs[0], flat_shape], [flat], {"allowzero": 0}, f"{node.name}_flatten"),
        Node(node.op_type, [flat], [result], {"axis": 1}, node.name),
        Node("Reshape", [result, full_shape], node.outputs, {"allowzero": 0}, f"{node.name}_unflatten"),
    ]


def _resize(graph: Graph, node: Node, opset: int) -> list[Node]:
    """Resize 10 and Upsample scale from the corner and round down; Resize 11 made that a choice."""
    if node.text("coordinate_transformation_mode", "") == "half_pixel_symmetric":
        if not whole_sizes(graph, node):
            raise refuse("model-unknown-operator", "resizing with half_pixel_symmetric", node.where, "Use half_pixel.")
        node.attributes["coordinate_transformation_mode"] = b"half_pixel"
    if opset >= 11:
        if opset > OPSET:
            _drop_new_defaults(node, opset)
        return resize(graph, node)
    if node.op_type == "Upsample" and "scales" in node.attributes:
        _to_input(graph, node, "scales", 1, np.float32)
    mode = node.attributes.get("mode", b"nearest")
    attributes = {
        "mode": mode if mode == b"nearest" else b"linear",
        "coordinate_transformation_mode": b"asymmetric",
        "nearest_mode": b"floor",
    }
    return resize(graph, Node("Resize", [node.inputs[0], "", *node.inputs[1:2]], node.outputs, dict(attributes), node.name))


def _grid_sample(graph: Graph, node: Node, opset: int) -> list[Node]:
    if opset >= 20:
        names = {b"linear": b"bilinear", b"cubic": b"bicubic"}
        mode = node.attributes.get("mode", b"linear")
        if len(graph.types[node.inputs[0]].shape) != 4:
            raise refuse("model-unknown-operator", "only two-dimensional grid sampling is supported", node.where)
        node.attributes["mode"] = names.get(mode, mode) if isinstance(mode, bytes) else mode
    return grid_sample(graph, node)


def _scalar(graph: Graph, node: Node, name: str, value: float) -> str:
    return graph.constant(f"{node.name}_{name}", np.array(value, dtype=graph.types[node.inputs[0]].dtype))


def _chain(graph: Graph, node: Node, steps: list[tuple[str, list[str]]]) -> list[Node]:
    """Nodes of ``steps``; the operand ``#`` is the last result, ``#i`` that of step i (from 0)."""
    results: list[str] = []
    nodes: list[Node] = []
    for index, (op_type, operands) in enumerate(steps):
        last = index == len(steps) - 1
        name = node.name if last else f"{node.name}_{op_type.lower()}_{index}"
        inputs = [
            results[int(operand[1:]) if operand[1:] else -1] if operand.startswith("#") else operand for operand in operands
        ]
        results.append(node.outputs[0] if last else graph.fresh(name))
        nodes.append(Node(op_type, inputs, [results[-1]], {}, name))
    return nodes


def _gelu(graph: Graph, node: Node, opset: int) -> list[Node]:
    """Gelu 20: x/2 · (1 + erf(x/√2)), or its tanh approximation."""
    del opset
    x = node.inputs[0]
    half, one = _scalar(graph, node, "half", 0.5), _scalar(graph, node, "one", 1.0)
    if node.text("approximate", "none") == "tanh":
        cubic, root = _scalar(graph, node, "cubic", 0.044715), _scalar(graph, node, "root", math.sqrt(2 / math.pi))
        gate = [
            ("Mul", [x, x]),
            ("Mul", ["#", x]),
            ("Mul", ["#", cubic]),
            ("Add", ["#", x]),
            ("Mul", ["#", root]),
            ("Tanh", ["#"]),
        ]
    else:
        gate = [("Mul", [x, _scalar(graph, node, "root", math.sqrt(0.5))]), ("Erf", ["#"])]
    return _chain(graph, node, [*gate, ("Add", ["#", one]), ("Mul", ["#", x]), ("Mul", ["#", half])])


def _swish(graph: Graph, node: Node, opset: int) -> list[Node]:
    """Swish 24: x · sigmoid(alpha · x)."""
    del opset
    x, alpha = node.inputs[0], node.number("alpha", 1.0)
    steps = [("Sigmoid", [x])] if alpha == 1.0 else [("Mul", [x, _scalar(graph, node, "alpha", alpha)]), ("Sigmoid", ["#"])]
    return _chain(graph, node, [*steps, ("Mul", ["#", x])])


def _mish(graph: Graph, node: Node, opset: int) -> list[Node]:
    """Mish 18: x · tanh(softplus(x)); ezkl has no Mish of its own."""
    del opset
    x = node.inputs[0]
    return _chain(graph, node, [("Softplus", [x]), ("Tanh", ["#"]), ("Mul", ["#", x])])


def _cast(graph: Graph, node: Node, opset: int) -> list[Node]:
    """``saturate`` and ``round_mode`` (opsets 19 and 24) concern eight-bit floats only."""
    del graph, opset
    for name in ("saturate", "round_mode"):
        node.attributes.pop(name, None)
    return [_as_float32(node)]


def _cast_like(graph: Graph, node: Node, opset: int) -> list[Node]:
    del opset
    kind = graph.types[node.inputs[1]].dtype
    number = next(number for number, dtype in DTYPES.items() if dtype == kind)
    return [_as_float32(Node("Cast", node.inputs[:1], node.outputs, {"to": number}, node.name))]


def _dequantise(graph: Graph, node: Node, opset: int) -> list[Node]:
    found = stored_integers.dequantised(graph, node)
    return _unchanged(node, opset) if found is None else found


def _quantise(graph: Graph, node: Node, opset: int) -> list[Node]:
    found = stored_integers.quantised(graph, node)
    return _unchanged(node, opset) if found is None else found


def _unchanged(node: Node, opset: int) -> list[Node]:
    if opset > OPSET:
        _drop_new_defaults(node, opset)
    return [node]


def _typed_output(graph: Graph, node: Node, opset: int) -> list[Node]:
    del graph
    if opset > OPSET:
        _drop_new_defaults(node, opset)
    return [_as_float32(node)]


def _eye_like(graph: Graph, node: Node, opset: int) -> list[Node]:
    """A constant: only the shape of its operand counts."""
    del opset
    kind = graph.types[node.inputs[0]]
    if len(kind.shape) != 2:
        raise refuse("model-malformed", f"an operand of {len(kind.shape)} axes", node.where)
    dtype = DTYPES.get(node.integer("dtype", 0), kind.dtype)
    eye = np.eye(*kind.shape, k=node.integer("k", 0), dtype=np.float32 if dtype.kind == "f" else dtype)
    graph.constants[node.outputs[0]] = eye
    graph.types[node.outputs[0]] = TensorType(eye.dtype, eye.shape)
    return []


def _as_float32(node: Node) -> Node:
    for name in ("to", "dtype", "output_datatype"):
        if node.attributes.get(name) in _OTHER_REALS:
            node.attributes[name] = int(onnx.TensorProto.FLOAT)
    return node


def _as_it_is(graph: Graph, node: Node, opset: int) -> list[Node]:
    del graph, opset
    return [node]


_STORED: dict[str, Rewrite] = {"DequantizeLinear": _dequantise, "QuantizeLinear": _quantise}
_REWRITES: dict[str, Rewrite] = {
    **dict.fromkeys(("Squeeze", "Unsqueeze", "ReduceSum"), _axes(13)),
    **dict.fromkeys(
        words("ReduceL1 ReduceL2 ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSumSquare"),
        _axes(18),
    ),
    **dict.fromkeys(("Softmax", "LogSoftmax"), _softmax),
    **dict.fromkeys(("LpPool", "GlobalLpPool"), lp_pool),
    **dict.fromkeys(("HannWindow", "HammingWindow", "BlackmanWindow", "MelWeightMatrix"), _typed_output),
    "EyeLike": _eye_like,
    **dict.fromkeys(("RNN", "GRU", "LSTM"), unrolled),
    **dict.fromkeys(("BitwiseAnd", "BitwiseOr", "BitwiseXor"), bits.with_constant),
    "AffineGrid": affine_grid,
    "Attention": attention,
    "BitShift": bits.shifted,
    "BitwiseNot": bits.inverted,
    "Col2Im": column_to_image,
    "Det": bits.determinant,
    "GatherND": scattered.rows_by_number,
    "Pow": bits.power,
    **dict.fromkeys(("Div", "Mod"), bits.divided),
    **dict.fromkeys(("SoftmaxCrossEntropyLoss", "NegativeLogLikelihoodLoss"), loss),
    "AveragePool": pool,
    "Conv": convolution,
    "ConvTranspose": convolution_transpose,
    "MaxPool": pool,
    "DFT": fourier,
    "GroupNormalization": group_normalization,
    "InstanceNormalization": instance_normalization,
    "MeanVarianceNormalization": mean_variance_normalization,
    "RMSNormalization": rms_normalization,
    "BatchNormalization": _batch_normalization,
    "Cast": _cast,
    "CastLike": _cast_like,
    "Clip": _clip,
    "Compress": compress,
    "DequantizeLinear": _dequantise,
    "QuantizeLinear": _quantise,
    "CumSum": cumulative_sum,
    "Einsum": einsum,
    "Hardmax": hardmax,
    "IsInf": is_infinite,
    "IsNaN": is_nan,
    "LRN": local_response_normalization,
    "OneHot": one_hot,
    "ReduceLogSum": reduce_log_sum,
    "Dropout": _dropout,
    "Gelu": _gelu,
    "GatherElements": gather_elements,
    "GridSample": _grid_sample,
    "Mish": _mish,
    "Pad": _pad,
    "Resize": _resize,
    "RotaryEmbedding": rotary_embedding,
    "RoiAlign": region_align,
    **dict.fromkeys(("Scatter", "ScatterElements"), scattered.elements),
    "ScatterND": scattered.slices,
    "STFT": short_time_fourier,
    "TensorScatter": scattered.cache_written,
    "Slice": _slice,
    "Split": _split,
    "Swish": _swish,
    "TopK": _top_k,
    "Upsample": _resize,
}
