"""Models that are quantised already: QDQ pairs and QLinear operators of onnxruntime, with their own scales and zero points.

Stored integers enter exactly: (q − zero point)·scale is a real that float64 holds, and a quantised activation gets the scale,
zero point and range of its QuantizeLinear. onnxruntime rounds half to even after a float32 product; the circuit rounds its
exact integer half up. Where these differ the circuit's integer differs by one step: such cells are counted, not hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import frexp

import numpy as np
from numpy.typing import NDArray

from verifai.engines.sumcheck.lowering.graph import SourceGraph, unsupported
from verifai.engines.sumcheck.lowering.linear import conv_term
from verifai.engines.sumcheck.lowering.quantised_means import rounded_mean
from verifai.engines.sumcheck.lowering.state import State
from verifai.engines.sumcheck.lowering.values import BatchedTerm, Form, Held, Lazy, MatMulTerm, Term
from verifai.engines.sumcheck.quantise.scales import Scale
from verifai.errors import UnsupportedModel
from verifai.onnx_graph.graph import Node

Floats = NDArray[np.float64]

QUANTISED_TYPES = frozenset({"uint8", "int8", "uint16", "int16"})


def stored_scale(scale: float, zero_point: int, low: int, high: int) -> Scale:
    """A float32 scale as it is, with the range of the stored type."""
    fraction, exponent = frexp(scale)
    return Scale(int(fraction * (1 << 24)), exponent - 24, low - zero_point, high - zero_point, zero_point)


def _parameters(graph: SourceGraph, node: Node, position: int) -> tuple[Floats, NDArray[np.int64], str]:
    """Scale, zero point and stored type from inputs ``position`` and ``position`` + 1."""
    scale = graph.constants.get(node.inputs[position])
    present = len(node.inputs) > position + 1 and node.inputs[position + 1]
    zero = graph.constants.get(node.inputs[position + 1]) if present else np.zeros((), np.uint8)
    if scale is None or zero is None or zero.dtype.name not in (*QUANTISED_TYPES, "int32"):
        raise unsupported(node, "scale and zero point must be constants of 8 or 16 bits")
    if not bool((scale > 0).all()) or not np.isfinite(scale).all():
        raise unsupported(node, "a scale is not positive")
    return np.asarray(scale, np.float64), np.asarray(zero, np.int64), zero.dtype.name


def activation_scale(graph: SourceGraph, node: Node, position: int) -> Scale:
    """The one scale of a quantised activation. Raises UnsupportedModel when there is one per channel."""
    scale, zero, stored = _parameters(graph, node, position)
    if scale.size != 1 or zero.size != 1 or stored not in QUANTISED_TYPES:
        raise unsupported(node, "an activation needs one scale and one zero point of 8 or 16 bits")
    limits = np.iinfo(stored)
    return stored_scale(float(scale.flat[0]), int(zero.flat[0]), int(limits.min), int(limits.max))


def input_scale(graph: SourceGraph, name: str) -> Scale | None:
    """The scale that the model's own quantisation gives to a model input, or None."""
    readers = [node for node in graph.nodes if name in node.inputs]
    kinds = {"QuantizeLinear", "DequantizeLinear", "QLinearConv", "QLinearMatMul"}
    if not readers or any(node.op_type not in kinds for node in readers):
        return None
    # Each scale stands right behind its tensor.
    scales = {activation_scale(graph, node, node.inputs.index(name) + 1) for node in readers}
    return scales.pop() if len(scales) == 1 else None


_MOVES = frozenset(
    {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice", "Expand", "Identity", "Gather", "Split", "Tile"}
)
"""Operators whose results are cells of their first operand, which rounding does not tell apart."""


def stored_results(graph: SourceGraph) -> dict[str, Scale]:
    """Values of which nothing but stored integers of one scale are made, moved before or not → that scale."""
    readers: dict[str, list[Node]] = {}
    for node in graph.nodes:
        for name in dict.fromkeys(node.inputs):
            readers.setdefault(name, []).append(node)
    found: dict[str, Scale | None] = {}
    for node in reversed(graph.nodes):
        for name in node.outputs:
            found[name] = _stored_as(graph, readers, found, name)
    for name in graph.inputs:
        found[name] = _stored_as(graph, readers, found, name) if graph.types.get(name, "float32") == "float32" else None
    return {name: scale for name, scale in found.items() if scale is not None}


def _stored_as(
    graph: SourceGraph, readers: Mapping[str, Sequence[Node]], known: Mapping[str, Scale | None], name: str
) -> Scale | None:
    scales: set[Scale | None] = set()
    for node in readers.get(name, ()):
        if node.op_type == "QuantizeLinear" and not node.domain and node.inputs[0] == name and _one_scale(graph, node):
            scales.add(activation_scale(graph, node, 1))
        elif node.op_type in _MOVES and not node.domain and node.inputs[0] == name and name not in node.inputs[1:]:
            scales |= {known.get(output) for output in node.outputs}
        else:
            return None
    return scales.pop() if len(scales) == 1 and name not in graph.outputs else None


def own_scales(graph: SourceGraph) -> frozenset[str]:
    """Values whose scale is the model's own, whatever else is chosen for them: inputs, and what stored integers are made of."""
    inputs = {name for name in graph.inputs if graph.readers.get(name, 0) and _given(graph, name)}
    return frozenset({*inputs, *stored_results(graph)})


def _given(graph: SourceGraph, name: str) -> bool:
    try:
        return input_scale(graph, name) is not None
    except UnsupportedModel:
        return False  # whoever lowers the node says why


def _one_scale(graph: SourceGraph, node: Node) -> bool:
    """Whether a QuantizeLinear's scale and zero point are one constant number each, as :func:`activation_scale` wants them."""
    given = [graph.constants.get(name) for name in (*node.inputs, "", "")[1:3] if name]
    return all(one is not None and one.size == 1 for one in given) and bool((np.asarray(given[0]) > 0).all())


def _quantise(state: State, node: Node) -> None:
    scale = activation_scale(state.graph, node, 1)
    value = state.value(node, 0)
    mean = rounded_mean(state.builder, value, scale, node.outputs[0]) if state.fold else None
    state.set_held(node, state.rescale(node.inputs[0], scale, node.outputs[0]) if mean is None else mean)


def _dequantise(state: State, node: Node) -> None:
    stored = state.graph.constants.get(node.inputs[0])
    if stored is None:
        wanted = activation_scale(state.graph, node, 1)
        held = state.held(node, 0)
        if (held.step, held.zero_point) != (wanted.step, wanted.zero_point):
            raise unsupported(node, "it reads a tensor under another scale or zero point than the one it was written with")
        state.set_held(node, held)
        return
    state.reals[node.outputs[0]] = _reals(state.graph, node, stored, 1, node.integer("axis", 1))


def _reals(graph: SourceGraph, node: Node, stored: NDArray[np.generic], position: int, axis: int) -> Floats:
    """(q − zero point)·scale; exact in float64 while q − zero point has at most 29 bits."""
    scale, zero, _ = _parameters(graph, node, position)
    shape = [1] * stored.ndim
    if scale.size > 1:
        shape[axis % stored.ndim] = scale.size
        scale, zero = scale.reshape(shape), np.broadcast_to(zero.reshape(-1), (scale.size,)).reshape(shape)
    return (stored.astype(np.int64) - zero.reshape(shape if zero.size > 1 else ())).astype(np.float64) * (
        scale if scale.size > 1 else float(scale.flat[0])
    )


def _activation(state: State, node: Node, position: int) -> Held:
    """A quantised operand, whose scale is the one that the operator names."""
    held, wanted = state.held(node, position), activation_scale(state.graph, node, position + 1)
    if (held.step, held.zero_point) != (wanted.step, wanted.zero_point):
        raise unsupported(node, "it reads a tensor under another scale than the one it was written with")
    return held


def _finish(state: State, node: Node, term: Term, shape: tuple[int, ...], position: int) -> None:
    """Requantise a term to the scale at ``position``."""
    name = node.outputs[0]
    logical = state.graph.shapes[name] or (1,)
    state.values[name] = Lazy(Form((term,), 0.0, shape, logical, name))
    state.set_held(node, state.rescale(name, activation_scale(state.graph, node, position), name))


def _qlinear_conv(state: State, node: Node) -> None:
    stored = state.graph.constants.get(node.inputs[3])
    bias = state.graph.constants.get(node.inputs[8]) if len(node.inputs) > 8 and node.inputs[8] else None
    if stored is None or (len(node.inputs) > 8 and node.inputs[8] and bias is None):
        raise unsupported(node, "weights and bias must be constant")
    x = _activation(state, node, 0)
    weight = _reals(state.graph, node, stored, 4, 0)
    real_bias = None
    if bias is not None:
        scale, _, _ = _parameters(state.graph, node, 4)
        real_bias = bias.astype(np.float64) * scale.reshape(-1) * float(x.step)
    term, shape = conv_term(state, node, x, weight, real_bias)
    _finish(state, node, term, shape, 6)


def _qlinear_matmul(state: State, node: Node) -> None:
    a = _activation(state, node, 0)
    stored = state.graph.constants.get(node.inputs[3])
    shape = state.graph.shapes[node.outputs[0]]
    if stored is None:
        b = _activation(state, node, 3)
        leading = shape[:-2]
        left, right = (h.at(np.broadcast_to(h.index, (*leading, *h.shape[-2:]))) for h in (a, b))
        _finish(state, node, BatchedTerm(left, right, 1.0), shape, 6)
        return
    weight = _reals(state.graph, node, stored, 4, -1)
    if weight.ndim != 2:
        raise unsupported(node, "constant weights must be a matrix")
    _finish(state, node, MatMulTerm(a, weight.T, None), shape, 6)


_RESHAPES = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity"})


def move_weights(state: State, node: Node) -> bool:
    """Weights made from stored integers, then transposed or reshaped, stay weights. Returns whether the node is such a one."""
    array = state.reals.get(node.inputs[0]) if node.inputs else None
    if array is None or node.domain or node.op_type not in _RESHAPES | {"Transpose"}:
        return False
    moved = array.transpose(node.ints("perm") or None) if node.op_type == "Transpose" else array
    state.reals[node.outputs[0]] = np.ascontiguousarray(moved).reshape(state.graph.shapes[node.outputs[0]])
    return True


HANDLERS: dict[str, Callable[[State, Node], None]] = {
    "QuantizeLinear": _quantise,
    "DequantizeLinear": _dequantise,
    "QLinearConv": _qlinear_conv,
    "QLinearMatMul": _qlinear_matmul,
}
