"""Means of stored integers, rounded as onnxruntime rounds them: half to even.

A mean of four cells ends in .5 for every fourth sum, so that half up and half to even differ in an eighth of all cells. The sum
itself takes few values, so a table of it holds each rounded mean exactly, for the one lookup that rounding costs anyway.
"""

from __future__ import annotations

from fractions import Fraction

from verifai.engines.sumcheck.circuit.ops import NONE, Lookup, RowSum, WindowSum
from verifai.engines.sumcheck.lowering.affine import Affine
from verifai.engines.sumcheck.lowering.builder import MAX_WIDTH, Builder, signed_width
from verifai.engines.sumcheck.lowering.values import Held, Lazy, RowTerm, WindowTerm, whole
from verifai.engines.sumcheck.lowering.views import materialise
from verifai.engines.sumcheck.quantise.functions import IDENTITY
from verifai.engines.sumcheck.quantise.scales import Scale


def rounded_mean(builder: Builder, value: Held | Lazy | Affine, scale: Scale, name: str) -> Held | None:
    """The mean under ``scale`` as a tensor named ``name``; ``None`` for another value, or where its sum fits no table."""
    if not isinstance(value, Lazy) or value.program != IDENTITY or value.form.constant or len(value.form.terms) != 1:
        return None
    (term,) = value.form.terms
    if not isinstance(term, WindowTerm | RowTerm) or not 0 < term.factor <= 1:
        return None
    count = round(1 / term.factor)
    if 1.0 / count != term.factor or not _fits(builder, term.x, count):
        return None
    x = materialise(builder, term.x, f"{name}.x", windows=True)
    if isinstance(term, WindowTerm):
        z = builder.emit(WindowSum(x, builder.next, 1, term.kernel, term.stride, term.pads), f"{name}.sum")[0]
    else:
        z = builder.emit(RowSum(x, NONE, builder.next, 1, term.axes), f"{name}.sum")[0]
    width = signed_width(builder.tensors[z].low, builder.tensors[z].high)
    ratio = Fraction(term.x.step) / (count * Fraction(scale.step))
    low = -(1 << (width - 1))
    means = (_half_to_even(total * ratio.numerator, ratio.denominator) for total in range(low, -low))
    table = builder.table(low, tuple(min(max(one, scale.low), scale.high) for one in means), f"mean[{width}]")
    tensor = builder.emit(Lookup(z, builder.next, table), name, step=scale.step, zero_point=scale.zero_point)[0]
    return whole(tensor, value.form.logical, scale.step, scale.zero_point)


def _fits(builder: Builder, x: Held, count: int) -> bool:
    """Whether every sum of so many cells has a row in a table."""
    tensor = builder.tensors[x.tensor]
    return signed_width(count * min(tensor.low, 0), count * max(tensor.high, 0)) <= MAX_WIDTH


def _half_to_even(numerator: int, denominator: int) -> int:
    """The nearest whole number; of two, the even one."""
    whole_part, rest = divmod(numerator, denominator)
    twice = 2 * rest
    return whole_part + (twice > denominator or (twice == denominator and whole_part % 2 == 1))
