"""Activation functions as postfix programs over one variable, and their tables from decimal arithmetic at 60 digits.

A program is a tuple of instructions for a stack machine, so that composing two is concatenation, equal functions have equal
programs, and nothing recurses. Tables depend on the program and on dyadic scales only: the same on every machine. Where
:mod:`.estimates` is certain of a cell, no decimals are computed.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, ROUND_HALF_EVEN, Context, Decimal, localcontext
from fractions import Fraction
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from verifai.engines.sumcheck.circuit.bounds import refuse
from verifai.engines.sumcheck.quantise.estimates import estimated_cells

Instruction: TypeAlias = tuple[str, *tuple[int, ...]]
Program: TypeAlias = tuple[Instruction, ...]

DIGITS = 60
IDENTITY: Program = ()
_CONTEXT = Context(prec=DIGITS, Emax=999_999, Emin=-999_999)
_HALF = Decimal("0.5")


def constant(value: float) -> Instruction:
    """The instruction that pushes exactly this float."""
    exact = Fraction(value)
    return ("const", exact.numerator, exact.denominator)


def _exp(x: Decimal) -> Decimal:
    # Below −1000 the result has no digit that any table shows; it keeps exp from underflowing.
    return Decimal(0) if x < -1000 else x.exp()


def _sigmoid(x: Decimal) -> Decimal:
    return 1 / (1 + _exp(-x)) if x >= 0 else _exp(x) / (1 + _exp(x))


def _tanh(x: Decimal) -> Decimal:
    tail = _exp(-2 * abs(x))
    value = (1 - tail) / (1 + tail)
    return value if x >= 0 else -value


_PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459230781640628620899862803482534211706798")
with localcontext(Context(prec=90)):
    _TWO_OVER_ROOT_PI = 2 / _PI.sqrt()


def _erf(x: Decimal) -> Decimal:
    """By its Maclaurin series in fixed point; beyond 12, 1 − |erf| < 10^-63."""
    if abs(x) >= 12:
        return Decimal(1).copy_sign(x)
    # Terms reach e^(x²) < 2^(3x²/2), which cancels; 240 bits are left.
    bits = 240 + int(x * x * 3 / 2)
    with localcontext(Context(prec=160)):
        value = int(abs(x) * (1 << bits))
        square, term, total, n = value * value >> bits, value, value, 0
        while term:
            n += 1
            term = (term * square >> bits) // n
            total += term // (2 * n + 1) if n % 2 == 0 else -(term // (2 * n + 1))
        return (Decimal(total) / (1 << bits) * _TWO_OVER_ROOT_PI).copy_sign(x)


def _softplus(x: Decimal) -> Decimal:
    return max(x, Decimal(0)) + (1 + _exp(-abs(x))).ln()


def _exponential(x: Decimal) -> Decimal:
    # Larger arguments saturate any table; capping keeps the exponent in the context's range.
    return _exp(min(x, Decimal(1000)))


_INFINITY = Decimal("Infinity")
"""A pole's value: it saturates the table at its end. Sums of opposite infinities have no value and are refused."""


def _recip(x: Decimal) -> Decimal:
    """1/x; at 0 the limit from above."""
    return 1 / x if x else _INFINITY


def _log(x: Decimal) -> Decimal:
    """ln x; the limit at 0, and the same below, where the argument has saturated."""
    return x.ln() if x > 0 else -_INFINITY


def _pow(x: Decimal, exponent: Decimal) -> Decimal:
    """x^exponent; at 0 the limit from above. Below 0, unless the exponent is an integer, the same: the argument saturated."""
    whole = exponent == exponent.to_integral_value()
    if x < 0 and whole:
        sign = -1 if exponent % 2 else 1
        return sign * _pow(-x, exponent)
    if x <= 0:
        return Decimal(1) if exponent == 0 else Decimal(0) if exponent > 0 else _INFINITY
    # Integers and halves by operations that round once; exp and ln are correctly rounded, so the rest is the same everywhere.
    if abs(exponent) == _HALF:
        return x.sqrt() if exponent > 0 else 1 / x.sqrt()
    return x ** int(exponent) if whole else _exponential(exponent * x.ln())


_GUARD = 12
"""Digits of a series beyond those that its result keeps."""


def _sine_and_cosine(x: Decimal) -> tuple[Decimal, Decimal]:
    """By the Maclaurin series of x brought into [−π/4, π/4]; arguments beyond 10^30 have no digits left."""
    with localcontext(Context(prec=DIGITS + 40)):
        turns = (x * 2 / _PI).to_integral_value(ROUND_HALF_EVEN)
        rest = x - turns * _PI / 2
        limit = Decimal(10) ** -(DIGITS + _GUARD)
        parts, term, place = [Decimal(0), Decimal(0), Decimal(0), Decimal(0)], Decimal(1), 0
        while abs(term) > limit or place < 2:
            parts[place % 4] += term
            place += 1
            term = term * rest / place
        sine, cosine = parts[1] - parts[3], parts[0] - parts[2]
    turned = ((sine, cosine), (cosine, -sine), (-sine, -cosine), (-cosine, sine))
    return turned[int(turns) % 4]


def _tan(x: Decimal) -> Decimal:
    sine, cosine = _sine_and_cosine(x)
    return sine / cosine


def _atan(x: Decimal) -> Decimal:
    """By its Maclaurin series after halving the angle until |x| < 1/8: atan x = 2·atan(x / (1 + √(1 + x²)))."""
    with localcontext(Context(prec=DIGITS + 20)):
        halved, y = 0, x
        while abs(y) > Decimal("0.125"):
            y, halved = y / (1 + (1 + y * y).sqrt()), halved + 1
        total, term, place, limit = Decimal(0), y, 1, Decimal(10) ** -(DIGITS + _GUARD)
        while abs(term) > limit:
            total += term / place if place % 4 == 1 else -term / place
            term, place = term * y * y, place + 2
        return total * (1 << halved)


def _asin(x: Decimal) -> Decimal:
    """Beyond [−1, 1], where the argument has saturated, as at its end."""
    with localcontext(Context(prec=DIGITS + 20)):
        if abs(x) >= 1:
            return (_PI / 2).copy_sign(x)
        return _atan(x / (1 - x * x).sqrt())


def _sinh(x: Decimal) -> Decimal:
    return (_exponential(x) - _exponential(-x)) / 2


def _cosh(x: Decimal) -> Decimal:
    return (_exponential(x) + _exponential(-x)) / 2


def _asinh(x: Decimal) -> Decimal:
    # Of the magnitude, since x + √(x² + 1) cancels below 0.
    return (abs(x) + (x * x + 1).sqrt()).ln().copy_sign(x)


def _acosh(x: Decimal) -> Decimal:
    """Below 1, where the argument has saturated, 0."""
    return (x + (x * x - 1).sqrt()).ln() if x > 1 else Decimal(0)


def _atanh(x: Decimal) -> Decimal:
    """At ±1 and beyond the limit."""
    return ((1 + x) / (1 - x)).ln() / 2 if abs(x) < 1 else _INFINITY.copy_sign(x)


_UNARY: dict[str, Callable[[Decimal], Decimal]] = {
    "relu": lambda x: max(x, Decimal(0)),
    "neg": lambda x: -x,
    "abs": abs,
    "sigmoid": _sigmoid,
    "tanh": _tanh,
    "erf": _erf,
    "exp": _exponential,
    "softplus": _softplus,
    "recip": _recip,
    "log": _log,
    "sin": lambda x: _sine_and_cosine(x)[0],
    "cos": lambda x: _sine_and_cosine(x)[1],
    "tan": _tan,
    "asin": _asin,
    "acos": lambda x: _PI / 2 - _asin(x),
    "atan": _atan,
    "sinh": _sinh,
    "cosh": _cosh,
    "asinh": _asinh,
    "acosh": _acosh,
    "atanh": _atanh,
    "trunc": lambda x: x.to_integral_value(ROUND_DOWN),
    "floor": lambda x: x.to_integral_value(ROUND_FLOOR),
    "ceil": lambda x: x.to_integral_value(ROUND_CEILING),
    "round": lambda x: x.to_integral_value(ROUND_HALF_EVEN),
}
_BINARY: dict[str, Callable[[Decimal, Decimal], Decimal]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "min": min,
    "max": max,
    "pow": _pow,
    "gt": lambda a, b: Decimal(a > b),
    "ge": lambda a, b: Decimal(a >= b),
    "eq": lambda a, b: Decimal(a == b),
}


def evaluate(program: Program, x: Decimal) -> Decimal:
    """The program's value at ``x``, in the current decimal context. The empty program is the identity.

    ``select`` takes condition, value and other value: the condition 0 chooses the last. Comparisons yield 0 and 1.
    """
    stack: list[Decimal] = []
    for instruction in program or (("x",),):
        name, *numbers = instruction
        if name == "x":
            stack.append(x)
        elif name == "const":
            stack.append(Decimal(numbers[0]) / Decimal(numbers[1]))
        elif name == "div":
            divisor = stack.pop()
            stack.append(stack.pop() / divisor)
        elif name == "select":
            otherwise, chosen, condition = stack.pop(), stack.pop(), stack.pop()
            stack.append(chosen if condition else otherwise)
        elif name in _UNARY:
            stack.append(_UNARY[name](stack.pop()))
        else:
            second = stack.pop()
            stack.append(_BINARY[name](stack.pop(), second))
    (result,) = stack
    return result


def substitute(outer: Program, inner: Program) -> Program:
    """outer ∘ inner."""
    if not outer or not inner:
        return outer or inner
    result: list[Instruction] = []
    for instruction in outer:
        result.extend(inner if instruction == ("x",) else (instruction,))
    return tuple(result)


_PIECEWISE_LINEAR = frozenset({"x", "relu", "min", "max", "const", "neg", "abs"})


def keeps_scale(program: Program) -> bool:
    """Whether the argument can share the result's scale: each piece is ±x or a constant."""
    return all(instruction[0] in _PIECEWISE_LINEAR for instruction in program)


class _Known:
    """⌊f(t·S_in)/S_out + ½⌋ on the widest domain asked for so far, cut to ±:data:`_FAR`."""

    __slots__ = ("values",)

    def __init__(self) -> None:
        self.values: NDArray[np.int64] = np.empty(0, np.int64)

    def widened(self, half: int, compute: Callable[[range], list[int]]) -> NDArray[np.int64]:
        """The values of t in [−half, half), half a power of two."""
        values = self.values  # one look: another thread may widen it meanwhile, to the same values
        have = len(values) // 2
        if half <= have:
            return values[have - half : have + half]
        below, above = compute(range(-half, -have)), compute(range(have, half))
        self.values = values = np.concatenate([np.array(below, np.int64), values, np.array(above, np.int64)])
        return values


@lru_cache(maxsize=256)
def _known(program: Program, input_scale: Fraction, output_scale: Fraction) -> _Known:
    """What is known of one function: a lowering asks for it at several widths, and a search in every lowering."""
    return _Known()


_FAR = Decimal(1 << 62)
"""Beyond any bound that a table is clamped to."""


def tabulate(
    program: Program, width: int, input_scale: Fraction, output_scale: Fraction, low: int, high: int
) -> tuple[int, ...]:
    """T[t] = clamp(⌊f(t·S_in)/S_out + ½⌋, low, high) for t in [−2^(w−1), 2^(w−1)).

    Raises:
        EvidenceRejected: code ``circuit-invalid``, when f has no value somewhere on the domain.
    """
    half = 1 << (width - 1)
    if program == IDENTITY and input_scale == output_scale:
        return _clamped(np.arange(-half, half, dtype=np.int64), low, high)

    def compute(arguments: range) -> list[int]:
        values, certain = estimated_cells(program, arguments, input_scale, output_scale)
        with localcontext(_CONTEXT):
            s_in = Decimal(input_scale.numerator) / Decimal(input_scale.denominator)
            s_out = Decimal(output_scale.numerator) / Decimal(output_scale.denominator)
            return [
                value if known else _cell(evaluate(program, t * s_in) / s_out, -_FAR, _FAR)
                for t, value, known in zip(arguments, values.tolist(), certain.tolist(), strict=True)
            ]

    try:
        return _clamped(_known(program, input_scale, output_scale).widened(half, compute), low, high)
    except ArithmeticError:
        raise refuse("an activation function has no value somewhere on its table's domain") from None


def _clamped(values: NDArray[np.int64], low: int, high: int) -> tuple[int, ...]:
    return tuple(np.clip(values, low, high).tolist())


@lru_cache(maxsize=4096)
def tabulate_at(program: Program, arguments: tuple[float, ...], output_scale: Fraction, low: int, high: int) -> tuple[int, ...]:
    """clamp(⌊f(a)/S_out + ½⌋, low, high) for these exact reals. Raises as :func:`tabulate`."""
    with localcontext(_CONTEXT):
        s_out = Decimal(output_scale.numerator) / Decimal(output_scale.denominator)
        try:
            least, most = Decimal(low), Decimal(high)
            known = {a: _cell(evaluate(program, Decimal(a)) / s_out, least, most) for a in set(arguments)}
            return tuple(known[a] for a in arguments)
        except ArithmeticError:
            raise refuse("an activation function has no value somewhere on its table's domain") from None


def _cell(value: Decimal, low: Decimal, high: Decimal) -> int:
    return int(min(max((value + _HALF).to_integral_value(ROUND_FLOOR), low), high))


EXP_ONE = 1 << 14
"""What softmax's table holds for exp(0)."""


def exponential_table(width: int, scale: Fraction) -> tuple[int, ...]:
    """Softmax's T_exp on [0, 2^w): round(2^14·exp(−S·d)), the last row 0."""
    with localcontext(_CONTEXT):
        step = Decimal(scale.numerator) / Decimal(scale.denominator)
        top = Decimal(EXP_ONE)
        values = [_cell(top * _exp(-step * d), Decimal(0), top) for d in range((1 << width) - 1)]
    return (*values, 0)
