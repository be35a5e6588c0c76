"""Element-wise operators: functions of one form become programs; sums and products of several become terms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from math import prod

import numpy as np
from numpy.typing import NDArray

from verifai.engines.sumcheck.lowering.affine import Affine, affine_of
from verifai.engines.sumcheck.lowering.graph import unsupported
from verifai.engines.sumcheck.lowering.state import State, broadcast, selected
from verifai.engines.sumcheck.lowering.values import (
    CellTerm,
    ConvTerm,
    Form,
    Held,
    Lazy,
    MatMulTerm,
    ProductTerm,
    SelectTerm,
    Term,
    merged,
    scaled,
    widened,
)
from verifai.engines.sumcheck.quantise.functions import IDENTITY, Program, constant, evaluate, substitute
from verifai.onnx_graph.graph import Node

Floats = NDArray[np.float64]
MAX_PROGRAM = 256
_X = ("x",)


def apply(state: State, node: Node, program: Program, position: int = 0) -> None:
    """The node's result is program(operand)."""
    state.value(node, position)
    value = state.lazy(node.inputs[position])
    if value.shape != state.graph.shapes[node.outputs[0]]:
        raise unsupported(node, "its constant has more axes than its operand", "Reshape the constant to one number.")
    combined = substitute(program, value.program)
    if len(combined) > MAX_PROGRAM:
        held = state.force(node.inputs[position])
        value = Lazy(Form((CellTerm(held, 1.0),), 0.0, held.shape, held.shape, node.inputs[position]))
        combined = program
    state.set_lazy(node, value.form, combined)


def _simple(name: str) -> Callable[[State, Node], None]:
    return lambda state, node: apply(state, node, (_X, (name,)))


def _leaky(state: State, node: Node) -> None:
    alpha = node.number("alpha", 0.01)
    positive: Program = (_X, ("relu",))
    negative: Program = (_X, constant(0.0), ("min",), constant(alpha), ("mul",))
    apply(state, node, (*positive, *negative, ("add",)))


def _elu(state: State, node: Node) -> None:
    alpha = node.number("alpha", 1.0)
    tail: Program = (_X, constant(0.0), ("min",), ("exp",), constant(1.0), ("sub",), constant(alpha), ("mul",))
    apply(state, node, (_X, ("relu",), *tail, ("add",)))


def _clip(state: State, node: Node) -> None:
    program: Program = (_X,)
    for position, name in ((1, "max"), (2, "min")):
        if position < len(node.inputs) and node.inputs[position]:
            bound = state.constant(node, position)
            if bound is None or bound.size != 1:
                raise unsupported(node, "its bounds must be constants")
            program = (*program, constant(float(bound.reshape(-1)[0])), (name,))
    apply(state, node, program)


def _hard_sigmoid_program(alpha: float, beta: float) -> Program:
    return (
        _X, constant(alpha), ("mul",), constant(beta), ("add",), constant(0.0), ("max",), constant(1.0), ("min",),
    )  # fmt: skip


def _hard_sigmoid(state: State, node: Node) -> None:
    apply(state, node, _hard_sigmoid_program(node.number("alpha", 0.2), node.number("beta", 0.5)))


def _hard_swish(state: State, node: Node) -> None:
    apply(state, node, (*_hard_sigmoid_program(1 / 6, 0.5), _X, ("mul",)))


def _lone_channels(values: Floats, shape: tuple[int, ...], axis: int) -> Floats | None:
    """The constant per channel when ``values``, broadcast to ``shape``, vary along ``axis`` alone, else None."""
    full = np.broadcast_to(values, shape)
    line = np.moveaxis(full, axis, -1).reshape(-1, shape[axis])
    return np.array(line[0]) if bool((line == line[:1]).all()) else None


def _with_channels(form: Form, values: Floats, shape: tuple[int, ...], op: str, position: int) -> Form | None:
    """``form``, operand ``position``, combined with one constant per output channel of its linear term; else None.

    Channels are those of the circuit's tensor, whatever shape the ONNX value has meanwhile.
    """
    term = form.terms[0]
    if len(form.terms) != 1 or form.constant != 0.0 or not isinstance(term, MatMulTerm | ConvTerm | SelectTerm):
        return None
    axis = 1 if isinstance(term, ConvTerm) else len(form.shape) - 1
    channels = _lone_channels(np.broadcast_to(values, shape).reshape(form.shape), form.shape, axis)
    if channels is None or (op == "div" and (position == 1 or not channels.all())):
        return None
    if op in ("add", "sub"):
        slope = -1.0 if op == "sub" and position == 1 else 1.0
        factor, shift = np.full_like(channels, slope), -channels if op == "sub" and position == 0 else channels
    else:
        factor, shift = channels if op == "mul" else 1.0 / channels, np.zeros_like(channels)
    if isinstance(term, SelectTerm):
        return replace(form, terms=(replace(term, rows=term.rows * factor + shift),))
    bias = np.zeros(len(term.weight)) if term.bias is None else term.bias
    weight = term.weight * factor.reshape(-1, *([1] * (term.weight.ndim - 1)))
    return replace(form, terms=(replace(term, weight=weight, bias=bias * factor + shift),))


def _with_constant(state: State, node: Node, position: int, values: Floats, op: str) -> None:
    """The node is operand ``position`` combined with a constant, which stands on the other side."""
    name = node.inputs[position]
    state.value(node, position)
    value = state.values[name]
    shape = state.graph.shapes[node.outputs[0]]
    if state.fold and not isinstance(value, Lazy):
        _fold(state, node, position, values, op)
        return
    if values.size and bool((values == values.flat[0]).all()) and value.shape == shape:
        if op == "div" and (position == 1 or values.flat[0] == 0):
            raise unsupported(node, "division by a value, or by 0")
        pair: Program = (_X, constant(float(values.flat[0])))
        apply(state, node, (*(pair if position == 0 else pair[::-1]), (op,)), position)
        return
    form = None
    if value.shape == shape:
        chosen = selected(value) is not None and state.builder.weights_in_tables
        lazy = chosen and isinstance(value, Lazy) and value.program == IDENTITY
        form = value.form if lazy and isinstance(value, Lazy) else state.linear(name)
    found = None if form is None else _with_channels(form, values, shape, op, position)
    if found is None and (op != "div" or (position == 0 and bool(values.all()))):
        found = _with_channels(channelwise(state.held(node, position), shape, values, name), values, shape, op, position)
    if found is None:
        raise unsupported(node, "division by a value, or by 0")
    state.set_lazy(node, replace(found, name=node.outputs[0]))


def _fold(state: State, node: Node, position: int, values: Floats, op: str) -> None:
    """Cells combined with a constant stay an affine function of them."""
    value, shape = state.values[node.inputs[position]], state.graph.shapes[node.outputs[0]]
    assert not isinstance(value, Lazy)
    affine = value if isinstance(value, Affine) else affine_of(value)
    if op == "div" and (position == 1 or not bool(values.all())):
        raise unsupported(node, "division by a value, or by 0")
    one, zero = np.ones(()), np.zeros(())
    if op == "sub" and position == 1:
        factor, offset = -one, values
    elif op in ("add", "sub"):
        factor, offset = one, values if op == "add" else -values
    else:
        factor, offset = (values if op == "mul" else 1.0 / values), zero
    state.values[node.outputs[0]] = affine.stretched(factor, offset, shape)


def channelwise(held: Held, shape: tuple[int, ...], values: Floats, name: str) -> Form:
    """``held``, broadcast to ``shape``, as a convolution of one cell per channel with weight 1, the channels being the places
    that ``values`` tell apart: whatever constant stands on the other side becomes its weight or bias."""
    held = broadcast(held, shape)
    sizes = (1,) * (len(shape) - values.ndim) + values.shape
    told = [axis for axis, size in enumerate(sizes) if size > 1]
    first, last = (min(told), max(told) + 1) if told else (0, 0)
    # Up to two axes after the channels stay as they are: windows cannot be proven over a reshape that merges axes.
    rest = (1, 1, *shape[last:])
    channels = prod(shape[first:last])
    planar = (prod(shape[:first]), channels, prod(rest[:-1]), rest[-1])
    cells = held.at(np.ascontiguousarray(held.index).reshape(planar))
    term = ConvTerm(cells, np.ones((channels, 1, 1, 1)), None, (1, 1), (1, 1), (0, 0, 0, 0), channels)
    return Form((term,), 0.0, planar, shape, name)


def _same_form(state: State, node: Node) -> tuple[Lazy, Lazy] | None:
    first, second = (state.lazy(name) for name in node.inputs)
    small = len(first.program) + len(second.program) < MAX_PROGRAM
    return (first, second) if first.form is second.form and small else None


def _has_value_at_zero(program: Program) -> bool:
    """Whether 0 has a value; x·ln x has none, as 0 times an infinity has none: such functions stay two tables and a product."""
    try:
        evaluate(program, Decimal(0))
    except ArithmeticError:
        return False
    return True


def _binary(op: str) -> Callable[[State, Node], None]:
    def lower(state: State, node: Node) -> None:
        for position in (0, 1):
            values = state.constant(node, 1 - position)
            if values is not None:
                _with_constant(state, node, position, values, op)
                return
        for position in (0, 1):
            state.value(node, position)
        same = _same_form(state, node)
        programs = [] if same is None else [lazy.program or (_X,) for lazy in same]
        joined: Program = (*programs[0], *programs[1], (op,)) if programs else ()
        if same is not None and (same[0].form.constant != 0.0 or _has_value_at_zero(joined)):
            state.set_lazy(node, same[0].form, joined)
        elif op in ("add", "sub"):
            combine(state, node, list(zip(node.inputs, (1.0, -1.0 if op == "sub" else 1.0), strict=True)))
        elif op == "mul":
            a, b = (broadcast(state.held(node, i), state.graph.shapes[node.outputs[0]]) for i in (0, 1))
            state.set_lazy(node, state.new_form(node, ProductTerm(a, b, 1.0)))
        else:
            raise unsupported(node, "the divisor must be a constant")

    return lower


def combine(state: State, node: Node, parts: Sequence[tuple[str, float]], constant_part: float = 0.0) -> None:
    """The node is the sum of factor·value, broadcast, and a number; linear forms that nothing else reads are merged."""
    shape = state.graph.shapes[node.outputs[0]]
    terms: list[Term] = []
    circuit_shape, fixed = shape, False  # cells take any shape, every other term has its own
    for name, factor in parts:
        form = state.linear(name)
        form = None if form is None else widened(form, shape)
        fits = form is not None and (form.shape == circuit_shape or (circuit_shape == shape and not fixed))
        if form is not None and form.logical == shape and fits:
            terms.extend(scaled(term, factor) for term in form.terms)
            constant_part += factor * form.constant
            circuit_shape, fixed = form.shape, fixed or any(not isinstance(term, CellTerm) for term in form.terms)
        else:
            terms.append(CellTerm(broadcast(state.force(name), shape), factor))
    state.set_lazy(node, Form(merged(terms), constant_part, circuit_shape, shape, node.outputs[0]))


def _prelu(state: State, node: Node) -> None:
    slope = state.constant(node, 1)
    if slope is None:
        raise unsupported(node, "the slope must be constant")
    if bool((slope == slope.flat[0]).all()):
        _leaky(state, replace(node, attributes={"alpha": float(slope.flat[0])}))
        return
    # max(x, 0) + slope·min(x, 0), each part under the operand's scale.
    state.value(node, 0)
    name, shape = node.inputs[0], state.graph.shapes[node.outputs[0]]
    lazy, scale = state.lazy(name), state.builder.scale(name)
    parts = []
    for label in ("max", "min"):
        program = substitute((_X, constant(0.0), (label,)), lazy.program)
        parts.append(state.requantise(f"{node.outputs[0]}.{label}", Lazy(lazy.form, program), scale))
    sloped = _with_channels(channelwise(parts[1], shape, slope, name), slope, shape, "mul", 0)
    assert sloped is not None
    terms = (CellTerm(broadcast(parts[0], shape), 1.0), *sloped.terms)
    state.set_lazy(node, replace(sloped, terms=terms, name=node.outputs[0]))


HANDLERS: dict[str, Callable[[State, Node], None]] = {
    "Relu": _simple("relu"),
    "Neg": _simple("neg"),
    "Abs": _simple("abs"),
    "Sigmoid": _simple("sigmoid"),
    "Tanh": _simple("tanh"),
    "Erf": _simple("erf"),
    "Exp": _simple("exp"),
    "Softplus": _simple("softplus"),
    "LeakyRelu": _leaky,
    "PRelu": _prelu,
    "Elu": _elu,
    "Clip": _clip,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _hard_swish,
    "Add": _binary("add"),
    "Sub": _binary("sub"),
    "Mul": _binary("mul"),
    "Div": _binary("div"),
}
