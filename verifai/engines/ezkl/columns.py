"""Scales of a table's columns: what stands in the lock, what the statement says of it, and the integers that a row becomes.

ezkl has one scale for every input. So a circuit whose columns differ takes x' = (x − centre)·2^−span in place of x, at ezkl's
own scale s, and the first linear layer is that of x' (:mod:`.rewrites.affine`). In the statement's terms a column is
real value = (q − zero point)·2^exponent with exponent = span − s and zero point = −centre·2^−exponent.

Standard library only: a verifier reads it too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from verifai.domain.record import Record
from verifai.domain.statement import MAX_COLUMN_ZERO_POINT, MAX_COLUMNS, Column

MAX_EXPONENT = 300
"""Of a column's step, in either direction: float32 values lie well within."""
MAX_QUANTISED = 2**62
LARGEST_EXACT = 2**52
"""A row's integer reaches ezkl as a double, which has to hold it exactly."""
_CENTRE_GRID = 2
"""Centres are multiples of 2^(span − 2), so that every input scale from 2 on has a whole zero point for them."""


@dataclass(frozen=True, slots=True)
class InputColumn:
    """How one column is represented: real value = (q − zero_point)·2^exponent."""

    exponent: int
    zero_point: int

    @property
    def stated(self) -> Column:
        """In the statement's terms."""
        return Column(Fraction(2) ** self.exponent, self.zero_point)

    def affine(self, input_scale: int) -> tuple[float, float]:
        """(factor, offset) of x = factor·x' + offset, x' being what ezkl quantises at ``input_scale``; both exact."""
        return math.ldexp(1.0, self.exponent + input_scale), math.ldexp(-float(self.zero_point), self.exponent)

    def quantise(self, value: float) -> int:
        """round(value·2^−exponent) + zero_point, halves away from zero.

        Raises:
            ValueError: not finite, or too far from the column's centre for any circuit.
        """
        found = quantise_value(value, -self.exponent) + self.zero_point
        if abs(found) > LARGEST_EXACT:
            raise ValueError("too far from what its column holds")
        return found


@dataclass(frozen=True, slots=True)
class TensorColumns:
    """The columns of one input: a row of a table, one column for each place of its last axis."""

    tensor: str
    columns: tuple[InputColumn, ...]

    def to_toml(self) -> dict[str, object]:
        """As TOML values; the inverse of :func:`parse_columns`."""
        return {"tensor": self.tensor, "columns": [[one.exponent, one.zero_point] for one in self.columns]}


def parse_columns(record: Record) -> tuple[TensorColumns, ...]:
    """The field ``columns``, strict; empty without it. Raises what ``record`` raises."""
    if not record.has("columns"):
        return ()
    found = []
    for item in record.tables("columns", max_length=64):
        tensor = item.text("tensor", max_length=256)
        pairs = item.array("columns", _pair(item), max_length=MAX_COLUMNS)
        if not pairs:
            raise item.refuse("an empty list of columns is left out", "columns")
        item.done()
        found.append(TensorColumns(tensor, pairs))
    if not found or len({one.tensor for one in found}) != len(found):
        raise record.refuse("each tensor has its columns once, and no empty list is written", "columns")
    return tuple(found)


def _pair(record: Record) -> Callable[[object, str], InputColumn]:
    def pair(value: object, place: str) -> InputColumn:
        if (
            not isinstance(value, list | tuple)
            or len(value) != 2
            or not all(isinstance(one, int) and not isinstance(one, bool) for one in value)
            or abs(value[0]) > MAX_EXPONENT
            or abs(value[1]) > MAX_COLUMN_ZERO_POINT
        ):
            raise record.refuse(f"expected [exponent, zero point] within bounds at {place}", "columns")
        return InputColumn(value[0], value[1])

    return pair


def quantise_value(value: float, scale: int) -> int:
    """round(value · 2^scale), halves away from zero.

    Raises:
        ValueError: not finite, or too large for any circuit.
    """
    if not math.isfinite(value):
        raise ValueError("not a finite number")
    try:
        scaled = math.ldexp(value, scale)
    except OverflowError:
        scaled = math.inf
    if abs(scaled) > MAX_QUANTISED:
        raise ValueError(f"too large for a circuit at scale {scale}")
    whole = math.trunc(scaled)
    # Exact: where a double has a fraction at all, the subtraction has no rounding.
    if abs(scaled - whole) >= 0.5:
        whole += 1 if scaled > 0 else -1
    return whole


@dataclass(frozen=True, slots=True)
class Frame:
    """Where a column lies on the calibration data, whatever the input scale: x = x'·2^span + centre·2^(span − 2), with x' in
    [−1.25, 1.25] there."""

    span: int
    centre: int

    @property
    def affine(self) -> tuple[float, float]:
        """(factor, offset) of x = factor·x' + offset; both exact."""
        return math.ldexp(1.0, self.span), math.ldexp(float(self.centre), self.span - _CENTRE_GRID)

    def column(self, input_scale: int) -> InputColumn:
        """At ezkl's input scale, which is at least 2."""
        return InputColumn(self.span - input_scale, -self.centre << (input_scale - _CENTRE_GRID))


ALIKE = 16
"""Columns whose spans differ less than so many times share one scale: pixels of a picture, words of a vocabulary."""
_FLOAT32_BITS = 24
_SMALLEST = 2.0**-120
"""A span below is a constant's: nothing is known of the column's spread."""


def choose_frames(ranges: Sequence[tuple[float, float]]) -> tuple[Frame, ...]:
    """A frame for each column that has these smallest and largest values; none where one scale suits all.

    A column that is constant on the data gets the range [v − m, v + m], m = max(1, |v|).
    """
    spans = [high - low for low, high in ranges if high - low > _SMALLEST]
    whole = max(0.0, *(high for _, high in ranges)) - min(0.0, *(low for low, _ in ranges)) if ranges else 0.0
    if not spans or whole <= ALIKE * min(spans):
        return ()
    found = []
    for low, high in ranges:
        if high - low <= _SMALLEST:
            reach = max(1.0, abs(low))
            low, high = low - reach, high + reach
        # No step has to be finer than the last bit of the largest value.
        largest = math.frexp(max(abs(low), abs(high)))[1]
        span = max(_log2_ceil((high - low) / 2), largest - _FLOAT32_BITS)
        centre = round(Fraction(low + high) / 2 / Fraction(2) ** (span - _CENTRE_GRID))
        found.append(Frame(span, centre))
    return tuple(found)


def _log2_ceil(value: float) -> int:
    fraction, exponent = math.frexp(value)
    return exponent - (fraction == 0.5)
