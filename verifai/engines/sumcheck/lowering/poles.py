"""Functions of one value that not every number has: reciprocals, logarithms, roots, powers; and others that tables hold.

The operand's calibrated range decides on which side of the pole it lies; a range that reaches beyond the pole is refused, with
the value named, since the float model has no number there. Like every value, the operand saturates at its range's ends and the
result at its own, so next to the pole, where the result outgrows its calibrated range, it is that range's end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from verifai.engines.sumcheck.lowering.cells import apply
from verifai.engines.sumcheck.lowering.graph import Array, unsupported
from verifai.engines.sumcheck.lowering.state import State
from verifai.engines.sumcheck.quantise.functions import Program, constant
from verifai.errors import UnsupportedModel
from verifai.onnx_graph.graph import Node

_X = ("x",)
_SMALL_POWERS = (1.0, 2.0, 3.0, 4.0)
_SELU_ALPHA, _SELU_GAMMA = 1.6732631921768188, 1.0507010221481323


def side_of_zero(state: State, node: Node, position: int = 0) -> int:
    """1 where the calibrated range of operand ``position`` has nothing below 0, −1 where it has nothing above.

    Raises:
        UnsupportedModel: ``range-holds-pole``; ``no-scale``.
    """
    name = state.reshaped.get(node.inputs[position], node.inputs[position])
    scale = state.scale(name)
    if scale.low >= 0 or scale.high <= 0:
        return 1 if scale.low >= 0 else -1
    low, high = (float(bound * scale.step) for bound in (scale.low, scale.high))
    raise UnsupportedModel(
        "range-holds-pole",
        f"{node.op_type}: its operand ranges from {low:.3g} to {high:.3g}, and has to stay on one side of 0",
        where=name,
    )


def small_power(exponent: Array) -> bool:
    """Whether this is one exponent from 1 to 4, whose power every number has."""
    return exponent.size == 1 and exponent.dtype.kind in "fiu" and float(exponent.reshape(-1)[0]) in _SMALL_POWERS


def _not_negative(state: State, node: Node) -> None:
    if side_of_zero(state, node) < 0:
        raise UnsupportedModel("range-holds-pole", f"{node.op_type}: its operand is negative", where=node.inputs[0])


def reciprocal_program(side: int) -> Program:
    """1/x on one side of 0; at 0 and beyond, that side's infinity."""
    return (_X, ("relu",), ("recip",)) if side > 0 else (_X, ("neg",), ("relu",), ("recip",), ("neg",))


def _reciprocal(state: State, node: Node) -> None:
    """1/x. Of an x that becomes infinite, such as 1 + exp(−z), the side of 0 is its reciprocal's."""
    state.value(node, 0)
    infinite = not state.builder.has_scale(state.reshaped.get(node.inputs[0], node.inputs[0]))
    side = side_of_zero(state, replace(node, inputs=node.outputs)) if infinite else side_of_zero(state, node)
    apply(state, node, reciprocal_program(side))


def _log(state: State, node: Node) -> None:
    """ln x."""
    state.value(node, 0)
    _not_negative(state, node)
    apply(state, node, (_X, ("log",)))


def _sqrt(state: State, node: Node) -> None:
    """√x."""
    state.value(node, 0)
    _not_negative(state, node)
    apply(state, node, (_X, constant(0.5), ("pow",)))


def _pow(state: State, node: Node) -> None:
    """x^c for one number c, or c^x for one number c > 0."""
    base, exponent = state.constant(node, 0), state.constant(node, 1)
    if base is not None:
        if base.size != 1 or float(base.reshape(-1)[0]) <= 0:
            raise unsupported(node, "a constant base must be one positive number")
        apply(state, node, (constant(float(base.reshape(-1)[0])), _X, ("pow",)), 1)
        return
    if exponent is None or exponent.size != 1:
        raise unsupported(node, "the exponent must be one constant number")
    power = float(exponent.reshape(-1)[0])
    state.value(node, 0)
    if small_power(exponent):
        program: Program = (_X,)
        for _ in range(int(power) - 1):
            program = (*program, _X, ("mul",))
        apply(state, node, program)
        return
    whole = power == int(power)
    if power == 0.0:
        raise unsupported(node, "its exponent is 0, so its result is the constant 1")
    if not whole:
        _not_negative(state, node)
    elif power < 0 and side_of_zero(state, node) < 0:
        turned: Program = (_X, ("neg",), ("relu",), constant(power), ("pow",))
        apply(state, node, (*turned, ("neg",)) if power % 2 else turned)
        return
    start: Program = (_X, ("relu",)) if power < 0 else (_X,)
    apply(state, node, (*start, constant(power), ("pow",)))


def _celu(state: State, node: Node) -> None:
    """max(x, 0) + min(0, α·(exp(x/α) − 1))."""
    alpha = node.number("alpha", 1.0)
    if alpha <= 0:
        raise unsupported(node, "alpha must be positive")
    tail: Program = (_X, constant(0.0), ("min",), constant(alpha), ("div",), ("exp",), constant(1.0), ("sub",))
    apply(state, node, (_X, ("relu",), *tail, constant(alpha), ("mul",), ("add",)))


def _selu(state: State, node: Node) -> None:
    """γ·(max(x, 0) + min(0, α·(exp x − 1)))."""
    alpha, gamma = node.number("alpha", _SELU_ALPHA), node.number("gamma", _SELU_GAMMA)
    tail: Program = (_X, constant(0.0), ("min",), ("exp",), constant(1.0), ("sub",), constant(alpha), ("mul",))
    apply(state, node, (_X, ("relu",), *tail, ("add",), constant(gamma), ("mul",)))


def _thresholded(state: State, node: Node) -> None:
    """x where x > α, else 0."""
    above: Program = (_X, constant(node.number("alpha", 1.0)), ("gt",))
    apply(state, node, (*above, _X, constant(0.0), ("select",)))


def _shrink(state: State, node: Node) -> None:
    """x + bias below −λ, x − bias above λ, else 0."""
    edge, bias = node.number("lambd", 0.5), node.number("bias", 0.0)
    above: Program = (_X, constant(edge), ("gt",), _X, constant(bias), ("sub",), constant(0.0), ("select",))
    below: Program = (constant(-edge), _X, ("gt",), _X, constant(bias), ("add",), constant(0.0), ("select",))
    apply(state, node, (*above, *below, ("add",)))


def _mod(state: State, node: Node) -> None:
    """The remainder by one number: of the sign of x (fmod), or of the divisor."""
    divisor = state.constant(node, 1)
    if divisor is None or divisor.size != 1 or float(divisor.reshape(-1)[0]) == 0:
        raise unsupported(node, "the divisor must be one constant number other than 0")
    number = constant(float(divisor.reshape(-1)[0]))
    turned = "trunc" if node.integer("fmod", 0) else "floor"
    apply(state, node, (_X, _X, number, ("div",), (turned,), number, ("mul",), ("sub",)))


def _table(*program: tuple[str, *tuple[int, ...]]) -> Callable[[State, Node], None]:
    return lambda state, node: apply(state, node, program)


_ZERO, _ONE = constant(0.0), constant(1.0)

HANDLERS: dict[str, Callable[[State, Node], None]] = {
    "Reciprocal": _reciprocal,
    "Log": _log,
    "Sqrt": _sqrt,
    "Pow": _pow,
    "Celu": _celu,
    "Selu": _selu,
    "ThresholdedRelu": _thresholded,
    "Shrink": _shrink,
    "Mod": _mod,
    **{
        kind: _table(_X, (kind.lower(),))
        for kind in ("Sin", "Cos", "Tan", "Asin", "Acos", "Atan", "Sinh", "Cosh", "Asinh", "Acosh", "Atanh")
    },
    "Softsign": _table(_X, _X, ("abs",), _ONE, ("add",), ("div",)),
    "Sign": _table(_X, _ZERO, ("gt",), _ZERO, _X, ("gt",), ("sub",)),
    "Floor": _table(_X, ("floor",)),
    "Ceil": _table(_X, ("ceil",)),
    "Round": _table(_X, ("round",)),
}
