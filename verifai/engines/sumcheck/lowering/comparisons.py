"""Comparisons and the logic on their results: booleans are cells of 0 and 1 with step 1.

What is compared is what the circuit has: the quantised value. A cell of a tensor, or of a table's row after its scaler, is
compared as the integer it is, exactly, with the constant as it is (for equality: rounded to the cell's step). A value that is
a sum or a function of others is compared as the argument of its table, rounded to a quarter of the value's step; two values
are compared by the sign of their difference, at a quarter of the finer step. So a decision differs from the float model's only
where the float values lie nearer than that to each other, or to the constant.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from math import ceil, floor

import numpy as np
from numpy.typing import NDArray

from verifai.engines.sumcheck.circuit.ops import LinearCombination
from verifai.engines.sumcheck.lowering import cells
from verifai.engines.sumcheck.lowering.affine import CONSTANT, Value, affine_of
from verifai.engines.sumcheck.lowering.builder import signed_width, table_key
from verifai.engines.sumcheck.lowering.graph import SourceGraph, unsupported
from verifai.engines.sumcheck.lowering.integers import truncate
from verifai.engines.sumcheck.lowering.limbs import beyond_all
from verifai.engines.sumcheck.lowering.select import INTEGERS, cast_integers, equal_integers, one_per_place
from verifai.engines.sumcheck.lowering.state import MAX_LONE_WIDTH, State, broadcast, linear_program, selected
from verifai.engines.sumcheck.lowering.values import CellTerm, ConvTerm, Floats, Form, Held, Lazy, affine, affine_program, whole
from verifai.engines.sumcheck.lowering.views import materialise
from verifai.engines.sumcheck.quantise.functions import Program, constant, substitute
from verifai.engines.sumcheck.quantise.scales import Range, Scale, dyadic, integer_scale
from verifai.onnx_graph.graph import Node

_X = ("x",)
BOOLEAN = integer_scale(Range(0.0, 1.0))
_SIGN_STEPS = 4
"""A difference is kept within this many steps of 0, since only its sign is read."""

_REACH = 1 << 10
"""A sum of others may lie beyond its calibrated range; farther than this many times the range, its comparison saturates."""

_ORDER: dict[str, tuple[str, bool]] = {
    "Greater": ("gt", False), "Less": ("gt", True), "GreaterOrEqual": ("ge", False), "LessOrEqual": ("ge", True),
    "Equal": ("eq", False),
}  # fmt: skip
"""The instruction, and whether the operands change places."""


def boolean_scales(graph: SourceGraph) -> dict[str, Scale]:
    """The scale of every boolean value."""
    return {name: BOOLEAN for name, kind in graph.types.items() if kind == "bool"}


def _compare(state: State, node: Node) -> None:
    instruction, swapped = _ORDER[node.op_type]
    places = [position for position in (0, 1) if state.constant(node, position) is not None]
    if len(places) == 2:
        raise unsupported(node, "both sides are constant")
    if _integers(state, node) and places and node.op_type == "Equal" and one_per_place(state, node):
        equal_integers(state, node)
        return
    shape = state.graph.shapes[node.outputs[0]]
    if not places:
        _compare_values(state, node, instruction, swapped)
        return
    values, position = state.constant(node, places[0]), 1 - places[0]
    state.value(node, position)
    assert values is not None
    first = (position == 0) != swapped
    value = state.values[node.inputs[position]]
    uniform = bool((values == values.flat[0]).all()) and value.shape == shape
    if not (uniform and _by_table(state, value)) and _compare_cells(state, node, position, values, instruction, first):
        return
    if uniform:
        number = Fraction(float(values.flat[0]))
        if instruction == "eq" and isinstance(value, Held):
            number = floor(number / value.step + Fraction(1, 2)) * value.step
        pair: Program = (_X, constant(float(number)))
        cells.apply(state, node, (*(pair if first else pair[::-1]), (instruction,)), position)
        return
    step = _step(state, node.inputs[position])
    values = _within_reach(state, node.inputs[position], values)
    label = f"{node.outputs[0]}.threshold"
    state.reals[label] = values
    inputs = [node.inputs[position], label] if first else [label, node.inputs[position]]
    _sign(state, node, inputs, instruction, step)


def _integers(state: State, node: Node) -> bool:
    """Whether integers are compared. Raises UnsupportedModel for an imported model's, whose 0 is not the real 0."""
    names = [name for name in node.inputs if state.graph.types.get(name) in INTEGERS and name in state.values]
    for value in (state.values[name] for name in names):
        if isinstance(value, Held) and (value.step != 1 or value.zero_point != 0):
            raise unsupported(node, "its operand is quantised; the stored integers are compared")
    return bool(names)


def _within_reach(state: State, name: str, values: Floats) -> Floats:
    """Thresholds that no value comes near, moved to just beyond where values are: their difference then keeps its bounds."""
    scale = state.scale(state.reshaped.get(name, name))
    low, high = float(min(scale.low, 0) * scale.step), float(max(scale.high, 0) * scale.step)
    margin = _REACH * (high - low)
    return np.clip(values, low - margin, high + margin)


def _by_table(state: State, value: Value) -> bool:
    """Whether a function of the value is a table of all its tensor's values, so that others of it may join it there."""
    tensor = state.builder.tensors[value.tensor] if isinstance(value, Held) else None
    return tensor is not None and (not state.fold or signed_width(tensor.low, tensor.high) <= MAX_LONE_WIDTH)


def _compare_cells(state: State, node: Node, position: int, values: Floats, instruction: str, first: bool) -> bool:
    """Compare cells of one tensor, or factor·cell + offset of them, as the integers that they are. Returns whether they are."""
    value, name = state.values[node.inputs[position]], node.outputs[0]
    if isinstance(value, Lazy):
        return False
    found = affine_of(value) if isinstance(value, Held) else value
    if len(found.used()) != 1 or bool((found.source == CONSTANT).any()) or not bool(found.factor.all()):
        return False
    x, shape = found.part(found.used()[0]), state.graph.shapes[name]
    if x.tensor in state.ordered:
        _compare_ordered(state, node, x, np.broadcast_to(values, shape), instruction, first)
        return True
    slope, offset = (np.broadcast_to(one, shape) for one in (found.factor, found.offset))
    sign = np.sign(slope) * (1.0 if first else -1.0)
    tensor = state.builder.tensors[x.tensor]
    edges = _edges((np.broadcast_to(values, shape) - offset) / slope, x.step, sign, instruction, tensor.low, tensor.high)
    label = state.builder.derive(f"{name}.difference", dyadic(x.step, -_SIGN_STEPS, _SIGN_STEPS))
    # d > 0 just when the comparison holds; for equality d = 0.
    form = difference(x, shape, sign, edges, label)
    test: Program = (_X, constant(0.0), ("eq" if instruction == "eq" else "gt",))
    state.set_lazy(node, form, test)
    return True


_HALF = 1 << 16
"""Differences of the integers of float32 numbers are read in steps of twice this many: 16 bits hold what is left of 33."""


def _compare_ordered(state: State, node: Node, x: Held, values: Floats, instruction: str, first: bool) -> None:
    """Order cells that are the integers of float32 numbers, by the integers of the thresholds: exact for every float32.

    With d = ±(x − edge), which is never whole: d > 0 just when ⌊(d + h − ½ + h) / 2h⌋ > 0, h = 2^16; d − ½ is whole.
    """
    shape, name = state.graph.shapes[node.outputs[0]], node.outputs[0]
    thresholds = ordered_cells_of(values).astype(np.float64)
    sign = np.full(shape, 1.0 if first else -1.0)
    above = (instruction == "ge") == first
    edges = thresholds - 0.5 if above else thresholds + 0.5
    if x.tensor not in state.builder.shown:  # made of limbs
        edges = beyond_all(edges)
    label = state.builder.derive(f"{name}.difference", dyadic(Fraction(4 * 2 * _HALF), -_SIGN_STEPS, _SIGN_STEPS))
    moved = edges - sign * (_HALF - 0.5)
    form = difference(x, shape, sign, moved, label)
    state.set_lazy(node, form, (_X, constant(0.0), ("gt",)))


def ordered_cells_of(values: Floats) -> NDArray[np.int64]:
    """The integers of thresholds that are float32 numbers, infinities among them, as :mod:`verifai.domain.ordered_floats` has
    them."""
    bits = np.ascontiguousarray(values.astype(np.float32)).view(np.uint32).astype(np.int64).reshape(values.shape)
    magnitude = bits & 0x7FFF_FFFF
    return np.where(bits >> 31 != 0, -magnitude, magnitude)


def _edges(values: Floats, step: Fraction, sign: Floats, instruction: str, low: int, high: int) -> Floats:
    """Thresholds moved to where no cell of this step is, so that no rounding decides: X > c just when X > ⌊c⌋ + ½."""
    down, up, nearest = _whole_steps(values, step)
    between = np.where((instruction == "ge") == (sign > 0), up - 0.5, down + 0.5)
    edges = nearest if instruction == "eq" else between
    return np.asarray(np.clip(edges, low - 1.5, high + 1.5) * float(step), np.float64)


def _whole_steps(values: Floats, step: Fraction) -> tuple[Floats, Floats, Floats]:
    """⌊v/step⌋, ⌈v/step⌉ and ⌊v/step + ½⌋ of every value, exactly."""
    quotient = values / float(step)
    found = [np.floor(quotient), np.ceil(quotient), np.floor(quotient + 0.5)]
    # float64's quotient is within 2^-52 of the real one: only next to a whole or half number can that decide.
    doubled = 2 * quotient
    close = np.abs(doubled - np.rint(doubled)) <= 2.0**-48 * np.maximum(1.0, np.abs(doubled))
    for place in zip(*np.nonzero(close), strict=True):
        exact = Fraction(float(values[place])) / step
        for array, whole_number in zip(found, (floor(exact), ceil(exact), floor(exact + Fraction(1, 2))), strict=True):
            array[place] = whole_number
    return found[0], found[1], found[2]


def difference(x: Held, shape: tuple[int, ...], sign: Floats, edges: Floats, name: str) -> Form:
    """sign·(x − edge), cell by cell; one sum where all cells have the same."""
    if bool((sign == sign.flat[0]).all()) and bool((edges == edges.flat[0]).all()):
        held = broadcast(x, shape)
        held = held if held.shape else held.at(held.index.reshape(1))
        factor = float(sign.flat[0])
        return Form((CellTerm(held, factor),), -factor * float(edges.flat[0]), held.shape, shape, name)
    return sloped(x, shape, narrowed(sign), narrowed(-sign * edges), name)


def _compare_values(state: State, node: Node, instruction: str, swapped: bool) -> None:
    for position in (0, 1):
        state.value(node, position)
    shared = shared_form(state, node.inputs[::-1] if swapped else node.inputs)
    if shared is not None and len(program := (*shared[1][0], *shared[1][1], (instruction,))) < cells.MAX_PROGRAM:
        state.set_lazy(node, shared[0], program)
        return
    step = min(_step(state, name) for name in node.inputs)
    _sign(state, node, list(node.inputs[::-1] if swapped else node.inputs), instruction, step)


def shared_form(state: State, names: Sequence[str]) -> tuple[Form, list[Program]] | None:
    """One form, and the programs of it that the values are; None when they are functions of different ones."""
    lazies = [state.lazy(name) for name in names]
    form, shape = lazies[0].form, lazies[0].shape
    if all(lazy.form is form and lazy.shape == shape for lazy in lazies):
        return form, [lazy.program or (_X,) for lazy in lazies]
    lone = [lazy.form.terms[0] for lazy in lazies if len(lazy.form.terms) == 1]
    terms = [term for term in lone if isinstance(term, CellTerm)]
    same = len(terms) == len(lazies) and all(lazy.shape == shape for lazy in lazies)
    if not same or any(t.x.tensor != terms[0].x.tensor or not np.array_equal(t.x.index, terms[0].x.index) for t in terms):
        return None
    if any(lazy.form.name in state.builder.derived for lazy in lazies) and not _by_table(state, terms[0].x):
        # A comparison's difference is as wide as its threshold needs, and decides by exact integers: no scale for a value.
        return None
    # The same cells, stretched or moved in different ways.
    inner = [linear_program(term.factor, lazy.form.constant) for term, lazy in zip(terms, lazies, strict=True)]
    programs = [substitute(lazy.program or (_X,), one) or (_X,) for lazy, one in zip(lazies, inner, strict=True)]
    plain = replace(form, terms=(replace(terms[0], factor=1.0),), constant=0.0)
    return plain, programs


def _step(state: State, name: str) -> Fraction:
    value = state.values[name]
    return value.step if isinstance(value, Held) else state.scale(state.reshaped.get(name, name)).step


def _sign(state: State, node: Node, inputs: list[str], instruction: str, step: Fraction) -> None:
    """The comparison of the difference of two operands with 0."""
    cells.HANDLERS["Sub"](state, replace(node, op_type="Sub", inputs=inputs))
    name = node.outputs[0]
    lazy = state.lazy(name)
    linear = affine_program(lazy.program)
    test: Program = (_X, constant(0.0), (instruction,))
    if linear is None:  # a function of one form: the table compares
        state.set_lazy(node, lazy.form, substitute(test, lazy.program))
        return
    label = state.builder.derive(f"{name}.difference", dyadic(step, -_SIGN_STEPS, _SIGN_STEPS))
    state.set_lazy(node, affine(lazy.form, float(linear[0]), float(linear[1]), label), test)


def _not(state: State, node: Node) -> None:
    state.value(node, 0)
    cells.apply(state, node, (constant(1.0), _X, ("sub",)))


_JOINED: Mapping[str, Program] = {
    "And": (_X, constant(2.0), ("ge",)), "Or": (_X, constant(1.0), ("ge",)), "Xor": (_X, constant(1.0), ("eq",)),
}  # fmt: skip
"""Of the sum of two booleans."""


def _logic(state: State, node: Node) -> None:
    """And, Or, Xor: a function of the operands' sum, or of the one form that both are functions of."""
    name, shape = node.outputs[0], state.graph.shapes[node.outputs[0]]
    for position in (0, 1):
        mask = state.constant(node, position)
        if mask is not None:
            _with_mask(state, node, 1 - position, mask)
            return
    for position in (0, 1):
        state.value(node, position)
    shared = shared_form(state, node.inputs)
    if shared is not None and shared[0].logical == shape:
        program = substitute(_JOINED[node.op_type], (*shared[1][0], *shared[1][1], ("add",)))
        if len(program) < cells.MAX_PROGRAM:
            state.set_lazy(node, shared[0], program)
            return
    tensors = []
    for position in (0, 1):
        held = broadcast(state.held(node, position), shape)
        tensors.append(materialise(state.builder, held, f"{name}.of{position}"))
    builder = state.builder
    key = table_key(_JOINED[node.op_type], Fraction(1), Fraction(1), 0, 1)
    factors = (1, 1) if tensors[0] != tensors[1] else (2,)
    total = builder.emit(LinearCombination(tuple(dict.fromkeys(tensors)), factors, 0, builder.next), f"{name}.sum")[0]
    state.set_held(node, whole(builder.lookup(total, key, name, Fraction(1)), shape or (1,), Fraction(1)))


def _with_mask(state: State, node: Node, position: int, mask: Floats) -> None:
    """Logic with constants: at each place the value, its negation, or a constant, all of which are slope·x + shift."""
    state.value(node, position)
    slope, shift = {
        "And": (mask, np.zeros_like(mask)), "Or": (1.0 - mask, mask), "Xor": (1.0 - 2.0 * mask, mask),
    }[node.op_type]  # fmt: skip
    form = sloped(state.held(node, position), state.graph.shapes[node.outputs[0]], slope, shift, node.outputs[0])
    state.set_lazy(node, form)


def sloped(x: Held, shape: tuple[int, ...], slope: Floats, shift: Floats, name: str) -> Form:
    """slope·x + shift, cell by cell, for constants that broadcast to ``shape``, as ``x`` does."""
    told = np.broadcast_arrays(slope, shift)[0]
    form = cells.channelwise(x, shape, told, name)
    (term,) = form.terms
    assert isinstance(term, ConvTerm)
    weight, bias = (_per_channel(values, form) for values in (slope, shift))
    return replace(form, terms=(replace(term, weight=weight.reshape(-1, 1, 1, 1), bias=bias),))


def narrowed(values: Floats) -> Floats:
    """The array without the axes along which nothing changes, as axes of size 1: fewer channels to tell apart."""
    for axis in range(values.ndim):
        if bool((values == values.take([0], axis=axis)).all()):
            values = values.take([0], axis=axis)
    return values


def _per_channel(values: Floats, form: Form) -> NDArray[np.float64]:
    cells_of = np.broadcast_to(values, form.logical).reshape(form.shape)
    return np.ascontiguousarray(np.moveaxis(cells_of, 1, -1).reshape(-1, form.shape[1])[0], np.float64)


def _cast(state: State, node: Node) -> None:
    """To bool: whether a number is not 0. From bool: the cell itself, 0 or 1. From reals to integers: cut off after the point.
    Other casts as :mod:`.select` has them."""
    name, source = node.outputs[0], state.graph.types.get(node.inputs[0], "float32")
    target = state.graph.types.get(name, "float32")
    state.value(node, 0)
    if target == "bool" and source != "bool":
        cells.apply(state, node, (constant(1.0), _X, constant(0.0), ("eq",), ("sub",)))
        return
    if source == "float32" and target in INTEGERS:
        truncate(state, node)
        return
    value = state.values[node.inputs[0]]
    if source == "bool" and isinstance(value, Lazy) and selected(value) is None:
        state.builder.derived[name] = BOOLEAN
    cast_integers(state, node)


HANDLERS: dict[str, Callable[[State, Node], None]] = {
    **dict.fromkeys(_ORDER, _compare),
    **dict.fromkeys(_JOINED, _logic),
    "Not": _not,
    "Cast": _cast,
}
