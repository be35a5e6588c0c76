"""Cells of tables by floating point, where an error bound shows that exact arithmetic gives the same integer.

Decimal arithmetic at 60 digits takes tens of microseconds per cell, and nearly every cell is far from where rounding changes
it. Every value carries a bound on its error; a step that may be discontinuous nearby, or has no bound here, makes it infinite,
and the cell is left to decimals. So tables do not depend on a machine's floating point.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import erf
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

_Program: TypeAlias = tuple[tuple[str, *tuple[int, ...]], ...]
"""As :data:`.functions.Program`."""

_Floats: TypeAlias = NDArray[np.float64]
_Bounded: TypeAlias = tuple[_Floats, _Floats]
"""Values, and bounds on their errors."""

_UNIT = 2.0**-45
"""Relative error of one operation: 128 units in the last place, where the mathematical functions in use err by a few."""
_TINY = 1e-290
"""Absolute error that covers underflow."""
_LARGEST = 2.0**40
"""Cells beyond this are left to decimals."""


def estimated_cells(
    program: _Program, arguments: range, input_scale: Fraction, output_scale: Fraction
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """⌊f(t·S_in)/S_out + ½⌋ for each argument t, and whether it is certain; what is not certain is 0."""
    with np.errstate(all="ignore"):
        x = np.arange(arguments.start, arguments.stop, dtype=np.float64) * float(input_scale)
        value, error = _estimate(program, (x, np.abs(x) * _UNIT))
        scaled = value / float(output_scale) + 0.5
        error = error / float(output_scale) + (np.abs(scaled) + 1) * _UNIT
        cells = np.floor(scaled)
        certain = (np.floor(scaled - error) == np.floor(scaled + error)) & (np.abs(scaled) < _LARGEST) & np.isfinite(error)
        return np.where(certain, cells, 0).astype(np.int64), certain


def _estimate(program: _Program, x: _Bounded) -> _Bounded:
    stack: list[tuple[_Bounded, bool]] = []  # with whether it is 0 or 1 by its kind
    for instruction in program or (("x",),):
        name, *numbers = instruction
        if name == "x":
            stack.append((x, False))
        elif name == "const":
            exact = float(Fraction(numbers[0], numbers[1]))
            stack.append(((np.full_like(x[0], exact), np.full_like(x[0], abs(exact) * _UNIT)), exact in (0.0, 1.0)))
        elif name == "select":
            (otherwise, _), (chosen, _), (condition, truth) = stack.pop(), stack.pop(), stack.pop()
            stack.append((_select(condition, chosen, otherwise) if truth else _unknown(x[0]), False))
        elif name in _UNARY:
            stack.append((_checked(_UNARY[name](*stack.pop()[0])), False))
        elif name not in _BINARY and name not in _BINARY_WITHOUT_BOUND:
            stack.pop()  # a function of one value without a bound here
            stack.append((_unknown(x[0]), False))
        else:
            (second, truth), (first, other_truth) = stack.pop(), stack.pop()
            rule = _BINARY.get(name)
            value = _unknown(x[0]) if rule is None else _checked(rule(*first, *second))
            stack.append((value, name in _COMPARISONS or (name in _KEEP_TRUTH and truth and other_truth)))
    ((result, _),) = stack
    return result


def _unknown(like: _Floats) -> _Bounded:
    return np.zeros_like(like), np.full_like(like, np.inf)


def _checked(result: tuple[Any, Any]) -> _Bounded:
    """The value 0 with an infinite error where there is no number, so that nothing is concluded from it."""
    value, error = result
    error = np.where(np.isnan(error), np.inf, error + np.abs(value) * _UNIT + _TINY)
    finite = np.isfinite(value)
    return np.where(finite, value, 0.0), np.where(finite, error, np.inf)


def _step(function: Callable[[_Floats], _Floats]) -> Callable[[_Floats, _Floats], tuple[Any, Any]]:
    """A step function: exact where no step lies within the error."""

    def rule(a: _Floats, ea: _Floats) -> tuple[Any, Any]:
        return function(a), np.where((function(a - ea) == function(a + ea)) & (ea < 0.25), 0.0, np.inf)

    return rule


def _compared(function: Callable[[_Floats, _Floats], Any]) -> Callable[[_Floats, _Floats, _Floats, _Floats], tuple[Any, Any]]:
    def rule(a: _Floats, ea: _Floats, b: _Floats, eb: _Floats) -> tuple[Any, Any]:
        return function(a, b).astype(np.float64), np.where(np.abs(a - b) > 2 * (ea + eb), 0.0, np.inf)

    return rule


def _select(condition: _Bounded, chosen: _Bounded, otherwise: _Bounded) -> _Bounded:
    """By a condition of 0 or 1. A branch that is not taken still has to have a value: exact arithmetic computes both."""
    taken = condition[0] > 0.5
    both = np.where(np.isfinite(chosen[1]) & np.isfinite(otherwise[1]) & (condition[1] < 0.25), 0.0, np.inf)
    return np.where(taken, chosen[0], otherwise[0]), np.where(taken, chosen[1], otherwise[1]) + both


def _quotient(a: _Floats, ea: _Floats, b: _Floats, eb: _Floats) -> tuple[Any, Any]:
    value = a / b
    return value, np.where(np.abs(b) > 2 * eb, (ea + np.abs(value) * eb) / (np.abs(b) - eb), np.inf)


def _exponential(a: _Floats, ea: _Floats) -> tuple[Any, Any]:
    value = np.exp(a)
    return value, np.where((ea < 0.5) & (a < 700), value * 2 * ea, np.inf)


def _log(a: _Floats, ea: _Floats) -> tuple[Any, Any]:
    return np.log(a), np.where(a > 2 * ea, ea / (a - ea) + _UNIT, np.inf)


_TURNS = 2.0**20
"""Angles beyond this are left to decimals, whatever a machine makes of them."""
_ERF = np.frompyfunc(erf, 1, 1)

_UNARY: dict[str, Callable[[_Floats, _Floats], tuple[Any, Any]]] = {
    "relu": lambda a, ea: (np.maximum(a, 0.0), ea),
    "neg": lambda a, ea: (-a, ea),
    "abs": lambda a, ea: (np.abs(a), ea),
    # Slopes are at most 1/4, 1, 2/√π, 1; values are at most 1 but for softplus, whose own size is added by _checked.
    "sigmoid": lambda a, ea: (1 / (1 + np.exp(-a)), ea / 4 + _UNIT),
    "tanh": lambda a, ea: (np.tanh(a), ea + _UNIT),
    "erf": lambda a, ea: (np.asarray(_ERF(a), np.float64), 1.13 * ea + _UNIT),
    "softplus": lambda a, ea: (np.maximum(a, 0.0) + np.log1p(np.exp(-np.abs(a))), ea + _UNIT),
    "exp": _exponential,
    "recip": lambda b, eb: _quotient(np.ones_like(b), np.zeros_like(b), b, eb),
    "log": _log,
    # Slopes are at most 1.
    "sin": lambda a, ea: (np.sin(a), np.where(np.abs(a) < _TURNS, ea + _UNIT, np.inf)),
    "cos": lambda a, ea: (np.cos(a), np.where(np.abs(a) < _TURNS, ea + _UNIT, np.inf)),
    "atan": lambda a, ea: (np.arctan(a), ea + _UNIT),
    "trunc": _step(np.trunc),
    "floor": _step(np.floor),
    "ceil": _step(np.ceil),
    "round": _step(np.rint),
}
_BINARY: dict[str, Callable[[_Floats, _Floats, _Floats, _Floats], tuple[Any, Any]]] = {
    "add": lambda a, ea, b, eb: (a + b, ea + eb),
    "sub": lambda a, ea, b, eb: (a - b, ea + eb),
    "mul": lambda a, ea, b, eb: (a * b, np.abs(a) * eb + np.abs(b) * ea + ea * eb),
    "div": _quotient,
    "min": lambda a, ea, b, eb: (np.minimum(a, b), np.maximum(ea, eb)),
    "max": lambda a, ea, b, eb: (np.maximum(a, b), np.maximum(ea, eb)),
    "gt": _compared(np.greater),
    "ge": _compared(np.greater_equal),
    "eq": _compared(np.equal),
}
_BINARY_WITHOUT_BOUND = frozenset({"pow"})
_COMPARISONS, _KEEP_TRUTH = frozenset({"gt", "ge", "eq"}), frozenset({"mul", "min", "max"})
