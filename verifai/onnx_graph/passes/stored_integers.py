"""Stored integers that the canonical opset has no operators for: of 4 and 16 bits, and weights with a scale per block.

Weights become the real numbers that they stand for, (integer − zero point) · scale, computed in float32 as onnxruntime does.
QuantizeLinear of an activation becomes its own definition in real numbers, Clip(Round(x / scale) + zero point), whose results
are whole; nothing but DequantizeLinear may read them. Meaning: ONNX, QuantizeLinear and DequantizeLinear 23; MatMulNBits and
DynamicQuantizeLSTM as onnxruntime documents them (docs/ContribOperators.md).
"""

from __future__ import annotations

import ml_dtypes
import numpy as np

from verifai.onnx_graph.graph import Graph, Node, TensorType
from verifai.onnx_graph.refusal import refuse
from verifai.onnx_graph.tensors import DTYPES, Array, checked_size

_RANGES: dict[np.dtype[np.generic], tuple[int, int]] = {
    np.dtype(np.int16): (-(1 << 15), (1 << 15) - 1),
    np.dtype(np.uint16): (0, (1 << 16) - 1),
    np.dtype(ml_dtypes.int4): (-8, 7),
    np.dtype(ml_dtypes.uint4): (0, 15),
}
"""Least and largest integer of the types that are rewritten."""
_FLOAT32 = np.dtype(np.float32)
_HINT = "Quantise with constant scales and zero points, as onnxruntime's quantize_static does, or to 8 bits."


def require_dequantised(graph: Graph, node: Node) -> bool:
    """Whether the node reads a stored integer that is a real number here.

    Raises:
        UnsupportedModel: ``model-dtype`` for another operator than DequantizeLinear.
    """
    if not graph.stored or not any(name in graph.stored for name in node.inputs):
        return False
    if node.op_type != "DequantizeLinear" or node.inputs[0] not in graph.stored:
        raise refuse("model-dtype", "stored integers of 4 or 16 bits can be read by DequantizeLinear only", node.where, _HINT)
    return True


def quantised(graph: Graph, node: Node) -> list[Node] | None:
    """QuantizeLinear to 4 or 16 bits, in real numbers; ``None`` for another type.

    Raises:
        UnsupportedModel: ``model-dtype``.
    """
    zero_name = node.inputs[2] if len(node.inputs) > 2 else ""
    code = node.integer("output_dtype", 0)
    if zero_name:
        kind = graph.types[zero_name].dtype
    elif code in DTYPES:
        kind = DTYPES[code]
    else:
        return None
    if kind not in _RANGES:
        return None
    target = node.outputs[0]
    if target in graph.outputs:
        raise refuse("model-dtype", f"{kind.name} values cannot be outputs", node.where, _HINT)
    shape = graph.types[node.inputs[0]].shape
    scale = _spread(_given(graph, node, 1), shape, node)
    zero = _spread(_given(graph, node, 2).astype(np.int32), shape, node) if zero_name else np.array(0, np.int32)
    low, high = _RANGES[kind]

    def constant(label: str, array: Array) -> str:
        return graph.constant(f"{node.name}_{label}", np.asarray(array, np.float32))

    def step(op: str, inputs: list[str], label: str, result: str = "") -> Node:
        return Node(op, inputs, [result or graph.fresh(f"{node.name}_{label}")], {}, f"{node.name}_{label}")

    divided = step("Div", [node.inputs[0], constant("scale", scale)], "divided")
    rounded = step("Round", divided.outputs, "rounded")
    moved = step("Add", [rounded.outputs[0], constant("zero_point", zero)], "moved")
    ends = [constant("least", np.array(low)), constant("largest", np.array(high))]
    graph.stored.add(target)
    return [divided, rounded, moved, step("Clip", [moved.outputs[0], *ends], "stored", target)]


def dequantised(graph: Graph, node: Node) -> list[Node] | None:
    """DequantizeLinear of what has no operator in the canonical opset; ``None`` where it has one.

    Raises:
        UnsupportedModel: ``model-dtype``, ``model-malformed``, ``model-size-bomb``.
    """
    name = node.inputs[0]
    kind = graph.types[name]
    if name in graph.stored:
        scale = _spread(_given(graph, node, 1), kind.shape, node)
        steps, value = [], name
        if len(node.inputs) > 2 and node.inputs[2]:
            centre = _spread(_given(graph, node, 2).astype(np.int32), kind.shape, node).astype(np.float32)
            zero_name = graph.constant(f"{node.name}_zero_point", centre)
            value = graph.fresh(f"{node.name}_centred")
            steps = [Node("Sub", [name, zero_name], [value], {}, f"{node.name}_centred")]
        scale_name = graph.constant(f"{node.name}_scale", np.asarray(scale, np.float32))
        return [*steps, Node("Mul", [value, scale_name], node.outputs, {}, f"{node.name}_real")]
    if kind.dtype not in _RANGES and not node.integer("block_size", 0):
        return None
    if name not in graph.constants:
        raise refuse("model-dtype", f"its input 'x' is {kind.dtype.name}, and no constant", node.where, _HINT)
    zero = _given(graph, node, 2) if len(node.inputs) > 2 and node.inputs[2] else None
    keep(graph, node.outputs[0], real(graph.constants[name], _given(graph, node, 1), zero, node))
    return []


def keep(graph: Graph, name: str, array: Array) -> None:
    """Make a value that a node computes a constant."""
    graph.constants[name] = array
    graph.types[name] = TensorType(array.dtype, array.shape)


def real(stored: Array, scale: Array, zero: Array | None, node: Node) -> Array:
    """(stored − zero point) · scale in float32, with one scale, one per place of an axis, or one per block of it."""
    checked_size(list(stored.shape), _FLOAT32, node.where)
    whole = stored.astype(np.int32)
    if zero is not None:
        whole = whole - _spread(zero.astype(np.int32), stored.shape, node)
    found: Array = whole.astype(np.float32) * _spread(scale.astype(np.float32), stored.shape, node)
    return found


def _spread(values: Array, shape: tuple[int, ...], node: Node) -> Array:
    """Scales or zero points in a shape that broadcasts against the cells they belong to."""
    if values.size == 1:
        return values.reshape(())
    axis, block = node.integer("axis", 1), node.integer("block_size", 0)
    if not -len(shape) <= axis < len(shape):
        raise refuse("model-malformed", f"axis {axis} of a tensor of {len(shape)} axes", node.where)
    axis %= len(shape)
    if block:
        blocks = -(-shape[axis] // block) if block > 0 else 0
        if values.shape != (*shape[:axis], blocks, *shape[axis + 1 :]):
            raise refuse("model-malformed", f"scales of shape {values.shape} do not fit blocks of {block}", node.where)
        return np.repeat(values, block, axis=axis)[(slice(None),) * axis + (slice(shape[axis]),)]
    if values.shape != (shape[axis],):
        raise refuse("model-malformed", f"scales of shape {values.shape} do not fit axis {axis}", node.where)
    return values.reshape([-1 if place == axis else 1 for place in range(len(shape))])


def _given(graph: Graph, node: Node, position: int) -> Array:
    """A constant operand."""
    array = graph.constants.get(node.inputs[position])
    if array is None:
        raise refuse("model-dtype", "its scale and zero point must be constants", node.where, _HINT)
    if array.dtype.kind == "f" and not (np.isfinite(array).all() and (array != 0).all()):
        raise refuse("model-malformed", "a scale is 0, infinite or not a number", node.where)
    return array
