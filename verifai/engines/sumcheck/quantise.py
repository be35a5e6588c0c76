"""Quantisation: from value ranges on calibration data to dyadic scales and integer ranges.

A scale is S = m·2^−e with m in [2^15, 2^16), rounded up from range/levels: real value = x·S with centred integers x. Dyadic
scales are exact in documents, and coarse enough that the last bits of a float sum, which differ between machines, seldom move
one; the lock pins them, so that a second compile does not calibrate again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import frexp

MANTISSA_BITS = 16
MIN_RANGE = 2.0**-20
"""Ranges below this are taken as this: a constant tensor still needs a scale."""


@dataclass(frozen=True, slots=True)
class Range:
    """The real values that a tensor takes, low ≤ high."""

    low: float
    high: float

    def hull(self, other: Range) -> Range:
        """The least range that holds both."""
        return Range(min(self.low, other.low), max(self.high, other.high))


@dataclass(frozen=True, slots=True)
class Scale:
    """How a tensor is represented: real value = x·mantissa·2^exponent, x in [low, high]."""

    mantissa: int
    exponent: int
    low: int
    high: int

    @property
    def step(self) -> Fraction:
        """The real value of one integer step."""
        return self.mantissa * Fraction(2) ** self.exponent

    def to_document(self) -> dict[str, int]:
        """As TOML values."""
        return {"mantissa": self.mantissa, "exponent": self.exponent, "low": self.low, "high": self.high}


def dyadic_up(value: float) -> tuple[int, int]:
    """The least (m, e) with m·2^e ≥ value and m of 16 bits."""
    fraction, exponent = frexp(value)
    scaled = fraction * (1 << MANTISSA_BITS)
    mantissa = int(scaled) + (scaled > int(scaled))
    if mantissa == 1 << MANTISSA_BITS:
        mantissa, exponent = mantissa >> 1, exponent + 1
    return mantissa, exponent - MANTISSA_BITS


def choose_scale(values: Range, bits: int) -> Scale:
    """The finest scale on which ``values``, widened to hold 0, fit 2^bits consecutive integers.

    The bounds are rounded outwards to whole steps, so every value of the range is representable.
    """
    low, high = min(values.low, 0.0), max(values.high, 0.0)
    levels = (1 << bits) - 1
    # Two bounds rounded outwards may need one step more than the span has.
    usable = levels if low == 0.0 or high == 0.0 else levels - 1
    mantissa, exponent = dyadic_up(max((high - low) / usable, MIN_RANGE / usable))
    step = mantissa * Fraction(2) ** exponent
    if low == 0.0:
        return Scale(mantissa, exponent, 0, levels)
    if high == 0.0:
        return Scale(mantissa, exponent, -levels, 0)
    least = int(Fraction(low) // step)
    return Scale(mantissa, exponent, least, least + levels)


Quantisation = Mapping[str, Scale]
"""Scales by ONNX value name."""
