"""Arithmetic on integers: exact, under step 1, while the bounds of its results fit a table.

Bounds follow from the operands' (a constant's own numbers, a tensor's range), never from calibration, so nothing saturates and
nothing wraps around: what could is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import trunc

import numpy as np

from verifai.engines.sumcheck.lowering import cells
from verifai.engines.sumcheck.lowering.graph import unsupported
from verifai.engines.sumcheck.lowering.select import INTEGERS
from verifai.engines.sumcheck.lowering.state import State
from verifai.engines.sumcheck.lowering.values import Held
from verifai.engines.sumcheck.quantise.functions import Program, constant
from verifai.engines.sumcheck.quantise.scales import Range, integer_scale
from verifai.errors import UnsupportedModel
from verifai.onnx_graph.graph import Node

MAX_BITS = 15
Bounds = tuple[int, int]


def _bounds(state: State, node: Node, position: int) -> Bounds:
    """The least and the largest number that an operand may be. Raises UnsupportedModel."""
    name = node.inputs[position]
    array = state.graph.constants.get(name)
    if array is not None:
        return (int(array.min()), int(array.max())) if array.size else (0, 0)
    if state.exactly and name in state.exact_bounds:
        return state.exact_bounds[name]
    value = state.value(node, position)
    if isinstance(value, Held):
        if value.step != 1 or value.zero_point != 0:
            raise unsupported(node, "its operand is quantised; use DequantizeLinear")
        tensor = state.builder.tensors[value.tensor]
        return min(tensor.low, 0), max(tensor.high, 0)
    scale = state.scale(state.reshaped.get(name, name))
    if scale.step != 1:
        raise unsupported(node, "its operand has no step of 1")
    return min(scale.low, 0), max(scale.high, 0)


def _corners(state: State, node: Node, function: Callable[[int, int], int]) -> Bounds:
    first, second = (_bounds(state, node, position) for position in (0, 1))
    found = [function(a, b) for a in first for b in second]
    return min(found), max(found)


def _hull(state: State, node: Node, first: int = 0) -> Bounds:
    found = [_bounds(state, node, position) for position in range(first, len(node.inputs)) if node.inputs[position]]
    return min(low for low, _ in found), max(high for _, high in found)


def _total(state: State, node: Node) -> Bounds:
    found = [_bounds(state, node, position) for position in range(len(node.inputs))]
    return sum(low for low, _ in found), sum(high for _, high in found)


def _absolute(state: State, node: Node) -> Bounds:
    low, high = _bounds(state, node, 0)
    return 0, max(-low, high)


def _negative(state: State, node: Node) -> Bounds:
    low, high = _bounds(state, node, 0)
    return -high, -low


def _divisor(state: State, node: Node) -> int:
    array = state.graph.constants.get(node.inputs[1])
    if array is None or array.size != 1 or int(array.reshape(-1)[0]) == 0:
        raise unsupported(node, "the divisor must be one constant number other than 0")
    return int(array.reshape(-1)[0])


def _remainder(state: State, node: Node) -> Bounds:
    divisor = _divisor(state, node)
    if node.integer("fmod", 0):
        return -abs(divisor) + 1, abs(divisor) - 1
    return (0, divisor - 1) if divisor > 0 else (divisor + 1, 0)


def _quotient(state: State, node: Node) -> Bounds:
    ends = [trunc(end / _divisor(state, node)) for end in _bounds(state, node, 0)]
    return min(ends), max(ends)


def _summed(state: State, node: Node) -> Bounds:
    low, high = _bounds(state, node, 0)
    source, result = (int(np.prod(state.graph.shapes[name])) for name in (node.inputs[0], node.outputs[0]))
    return low * (source // max(result, 1)), high * (source // max(result, 1))


_BOUNDS: dict[str, Callable[[State, Node], Bounds]] = {
    "Add": lambda state, node: _corners(state, node, lambda a, b: a + b),
    "Sub": lambda state, node: _corners(state, node, lambda a, b: a - b),
    "Mul": lambda state, node: _corners(state, node, lambda a, b: a * b),
    "Div": _quotient,
    "Mod": _remainder,
    "Neg": _negative,
    "Abs": _absolute,
    "Sign": lambda state, node: (-1, 1),
    "Relu": _absolute,
    "Sum": _total,
    "Max": _hull,
    "Min": _hull,
    "Clip": _hull,
    "Where": lambda state, node: _hull(state, node, 1),
    "ReduceSum": _summed,
    "ReduceMax": lambda state, node: _bounds(state, node, 0),
    "ReduceMin": lambda state, node: _bounds(state, node, 0),
}
OPERATORS = frozenset(_BOUNDS)
"""Operators whose results may be integers that are computed."""


def note_joined(state: State, node: Node, positions: Sequence[int]) -> None:
    """Note the scale of integers that are put together from operands, constants among them. Raises UnsupportedModel."""
    kind = state.graph.types.get(node.outputs[0], "float32")
    if kind in INTEGERS:
        found = [_bounds(state, node, position) for position in positions]
        _note(state, node, (min(low for low, _ in found), max(high for _, high in found)), kind)


def derive(state: State, node: Node) -> None:
    """Note the scale of an integer result, which follows from its operands. Raises UnsupportedModel."""
    name = node.outputs[0]
    kind = state.graph.types.get(name, "float32")
    if kind not in INTEGERS or node.op_type not in OPERATORS or node.domain:
        return
    _note(state, node, _BOUNDS[node.op_type](state, node), kind)
    state.exactly = True
    try:
        state.exact_bounds[name] = _BOUNDS[node.op_type](state, node)
    finally:
        state.exactly = False


_REARRANGED = frozenset(
    {
        "Reshape",
        "Flatten",
        "Squeeze",
        "Unsqueeze",
        "Transpose",
        "Slice",
        "Expand",
        "Identity",
        "Tile",
        "Pad",
        "Cast",
        "Concat",
        "ScatterElements",
        "ScatterND",
    }
)


def _keep_bounds(state: State, node: Node) -> None:
    """Numbers that only moved, with zeros beside them at most, are within the same bounds; a truth value is 0 or 1."""
    if node.op_type in ("ArgMax", "ArgMin") and not node.domain:
        shape = state.graph.shapes[node.inputs[0]]
        state.exact_bounds[node.outputs[0]] = 0, shape[node.integer("axis", 0)] - 1
        return
    if node.op_type not in _REARRANGED or node.domain or state.graph.types.get(node.outputs[0]) not in INTEGERS:
        return
    several = {"Concat": slice(None), "ScatterElements": slice(0, 3, 2), "ScatterND": slice(0, 3, 2)}
    moved = node.inputs[several.get(node.op_type, slice(1))]
    found = [_exact(state, name) for name in moved if name not in state.graph.constants]
    known = [one for one in found if one is not None]
    arrays = [state.graph.constants[name] for name in moved if name in state.graph.constants]
    known += [(int(one.min()), int(one.max())) for one in arrays if one.size]
    if len(known) == len(moved) and (node.op_type != "Pad" or len(node.inputs) < 3 or not node.inputs[2]):
        state.exact_bounds[node.outputs[0]] = min(0, *(low for low, _ in known)), max(0, *(high for _, high in known))


def _exact(state: State, name: str) -> Bounds | None:
    """What is known of computed integers, or of an input: the numbers that it is refused beyond."""
    if state.graph.types.get(name) == "bool":
        return 0, 1
    value = state.values.get(name)
    if name in state.graph.inputs and isinstance(value, Held) and value.step == 1 and not value.zero_point:
        tensor = state.builder.tensors[value.tensor]
        return tensor.low, tensor.high
    return state.exact_bounds.get(name)


def _note(state: State, node: Node, bounds: Bounds, kind: str) -> None:
    low, high = min(bounds[0], 0), max(bounds[1], 0)
    limits = np.iinfo(kind)
    if low < limits.min or high > limits.max:
        raise _bound(node, f"its result may lie from {low} to {high}, and {kind} would wrap around")
    if max(-low, high) >= 1 << MAX_BITS:
        raise _bound(node, f"its integers may lie from {low} to {high}; at most {MAX_BITS} bits can be proven")
    state.builder.derived[node.outputs[0]] = integer_scale(Range(float(low), float(high)))


def _bound(node: Node, reason: str) -> UnsupportedModel:
    """A bound depends on the ranges of inputs, so whether it holds shows at compile."""
    return UnsupportedModel("circuit-bound", f"{node.op_type}: {reason}", where=node.where)


def keep(state: State, node: Node) -> None:
    """Note the scale of integers that were moved or cast, and are not cells yet: it is that of what they were."""
    _keep_bounds(state, node)
    for name in node.outputs:
        if state.graph.types.get(name, "float32") not in INTEGERS or isinstance(state.values.get(name), Held | None):
            continue
        # Calibration knows the integers of inputs alone; check's stand-in for it has a scale for every name.
        if (known := state.reshaped.get(name, name)) in state.builder.derived or known in state.graph.inputs:
            continue
        scales = [
            state.scale(known)
            for known in (state.reshaped.get(one, one) for one in node.inputs if one in state.values)
            if state.builder.has_scale(known)
        ]
        if scales and all(scale.step == 1 for scale in scales):
            reach = Range(float(min(scale.low for scale in scales)), float(max(scale.high for scale in scales)))
            state.builder.derived[name] = integer_scale(reach)


def divide(state: State, node: Node) -> bool:
    """A quotient of integers, which is cut off after the point. Returns whether it is one."""
    if state.graph.types.get(node.outputs[0], "float32") not in INTEGERS:
        return False
    cells.apply(state, node, (("x",), constant(float(_divisor(state, node))), ("div",), ("trunc",)))
    return True


def truncate(state: State, node: Node) -> None:
    """A real number cut off after the point.

    ONNX leaves open what a number beyond the type's becomes; onnxruntime, which is the float model here, wraps it around. Where
    a range reaches a little beyond, since ranges end at powers of two, the circuit does the same; further off it is refused.
    """
    kind, name = state.graph.types[node.outputs[0]], node.inputs[0]
    scale, limits = state.scale(state.reshaped.get(name, name)), np.iinfo(kind)
    low, high = (trunc(end * scale.step) for end in (scale.low, scale.high))
    count = int(limits.max) - int(limits.min) + 1
    program: Program = (("x",), ("trunc",))
    beyond = low < limits.min or high > limits.max
    if beyond and count <= 1 << MAX_BITS and limits.min - count <= low and high <= limits.max + count:
        least, size = constant(float(limits.min)), constant(float(count))
        turns: Program = (*program, least, ("sub",), size, ("div",), ("floor",), size, ("mul",))
        program, low, high = (*program, *turns, ("sub",)), int(limits.min), int(limits.max)
    _note(state, node, (low, high), kind)
    cells.apply(state, node, program)
