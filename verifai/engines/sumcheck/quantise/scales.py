"""Quantisation: from value ranges on calibration data to dyadic scales and integer ranges.

A scale is S = m·2^−e with m in [2^15, 2^16), rounded up from range/levels: real value = x·S with centred integers x. Dyadic
scales are exact in documents, and coarse enough that the last bits of a float sum, which differ between machines, seldom move
one; the lock pins them, so that a second compile does not calibrate again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from fractions import Fraction
from math import frexp
from typing import Any

from verifai.domain.digest import Sha256
from verifai.domain.record import Record
from verifai.engines.sumcheck.circuit.check import MAX_OPENINGS

MANTISSA_BITS = 16
CONSTANT_RANGE = 2.0**-4
"""The range of a tensor that is 0 on all calibration data: it still needs a scale, and one that its bounds do not overflow."""
SMALLEST_RANGE = 2.0**-900
"""Smaller spans count as 0."""


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
    """How a tensor is represented: real value = x·mantissa·2^exponent, x in [low, high]; shown as q = x + zero_point."""

    mantissa: int
    exponent: int
    low: int
    high: int
    zero_point: int = 0

    @property
    def step(self) -> Fraction:
        """The real value of one integer step."""
        return self.mantissa * Fraction(2) ** self.exponent

    def to_document(self) -> dict[str, int]:
        """As TOML values."""
        return asdict(self)


def dyadic_up(value: float) -> tuple[int, int]:
    """The least (m, e) with m·2^e ≥ value and m of 16 bits."""
    fraction, exponent = frexp(value)
    scaled = fraction * (1 << MANTISSA_BITS)
    mantissa = int(scaled) + (scaled > int(scaled))
    if mantissa == 1 << MANTISSA_BITS:
        mantissa, exponent = mantissa >> 1, exponent + 1
    return mantissa, exponent - MANTISSA_BITS


def dyadic(step: Fraction, low: int, high: int) -> Scale:
    """A scale with this dyadic step."""
    return Scale(step.numerator, 1 - step.denominator.bit_length(), low, high)


def choose_scale(values: Range, bits: int) -> Scale:
    """The finest scale on which ``values``, widened to hold 0, fit 2^bits consecutive integers.

    The bounds are rounded outwards to whole steps, so every value of the range is representable.
    """
    low, high = min(values.low, 0.0), max(values.high, 0.0)
    levels = (1 << bits) - 1
    # Two bounds rounded outwards may need one step more than the span has.
    usable = levels if low == 0.0 or high == 0.0 else levels - 1
    # A span this small is a constant's noise; dividing it further would leave no step at all.
    span = high - low if high - low > SMALLEST_RANGE else CONSTANT_RANGE
    mantissa, exponent = dyadic_up(span / usable)
    step = mantissa * Fraction(2) ** exponent
    if low == 0.0:
        return Scale(mantissa, exponent, 0, levels)
    if high == 0.0:
        return Scale(mantissa, exponent, -levels, 0)
    least = int(Fraction(low) // step)
    return Scale(mantissa, exponent, least, least + levels)


def integer_scale(values: Range) -> Scale:
    """Step 1, and the least range [0, 2^b) or [−2^b, 2^b) that holds ``values``."""
    low, high = int(values.low), int(values.high)
    bits = max(high.bit_length(), (-low - 1).bit_length() if low < 0 else 0)
    return Scale(1 << (MANTISSA_BITS - 1), 1 - MANTISSA_BITS, -(1 << bits) if low < 0 else 0, (1 << bits) - 1)


Quantisation = Mapping[str, Scale]
"""Scales by ONNX value name."""


class Method(StrEnum):
    """How a range is chosen from the values seen on calibration data.

    ``min-max``: all of them. ``percentile``: without the rarest share at each end. ``mse``: the clip with the least expected
    squared error on the levels available.
    """

    MIN_MAX = "min-max"
    PERCENTILE = "percentile"
    MSE = "mse"


@dataclass(frozen=True, slots=True)
class Segment:
    """Part ``number`` of ``of`` of the model with this digest, as ``verifai split`` numbered them, from 1."""

    model_sha256: Sha256
    number: int
    of: int


@dataclass(frozen=True, slots=True)
class QuantiserOptions:
    """``[engine.sumcheck]`` of ``circuit.toml``: what the quantiser and the lowering may choose from.

    Attributes:
        activation_bits, input_bits, output_bits: of inner tensors, model inputs and model outputs.
        input_margin, output_margin: how far their ranges are widened beyond the data, as a share of the span, at each end that
            is not 0: a later input outside the range is refused, a later output outside it saturates.
        percentile: for that method, the share of values kept, in per cent.
        split: whether a saturating split may replace a larger table where that is cheaper, not only where forced.
        boundary: for a segment of a split model, the exact scale and range of tensors shared with its neighbours.
        segment: which part of which model this is.
        opening_budget: of private weights, how many proofs may open their commitment; ``None`` for the suite's default.
    """

    method: Method = Method.MIN_MAX
    percentile: float = 99.99
    activation_bits: int = 8
    input_bits: int = 8
    output_bits: int = 10
    input_margin: float = 0.125
    output_margin: float = 0.25
    split: bool = True
    boundary: Mapping[str, Scale] = field(default_factory=dict)
    segment: Segment | None = None
    opening_budget: int | None = None

    def to_document(self) -> dict[str, Any]:
        """As TOML values; the inverse of :func:`parse_options`. A model that is not split has no fields for that."""
        plain = [entry.name for entry in fields(self) if entry.name not in ("boundary", "segment", "opening_budget")]
        document: dict[str, Any] = {name: getattr(self, name) for name in plain}
        document["method"] = self.method.value
        if self.boundary:
            document["boundary"] = [{"value": name, **scale.to_document()} for name, scale in sorted(self.boundary.items())]
        if self.segment is not None:
            document["segment"] = asdict(self.segment)
        if self.opening_budget is not None:
            document["opening_budget"] = self.opening_budget
        return document


def parse_options(record: Record) -> QuantiserOptions:
    """Read ``[engine.sumcheck]``. Raises the record's error, with the field named."""
    default = QuantiserOptions()
    options = QuantiserOptions(
        method=record.choice("method", Method, default.method.value),
        percentile=record.number("percentile", default.percentile, low=50.0, high=100.0),
        activation_bits=record.integer("activation_bits", default.activation_bits, low=2, high=15),
        input_bits=record.integer("input_bits", default.input_bits, low=1, high=16),
        output_bits=record.integer("output_bits", default.output_bits, low=2, high=16),
        input_margin=record.number("input_margin", default.input_margin, low=0.0, high=16.0),
        output_margin=record.number("output_margin", default.output_margin, low=0.0, high=16.0),
        split=record.flag("split", default.split),
        boundary=_boundary(record),
        segment=_segment(record.table("segment")) if record.has("segment") else None,
        opening_budget=record.integer("opening_budget", None, low=1, high=MAX_OPENINGS),
    )
    record.done()
    return options


def parse_scale(record: Record) -> tuple[str, Scale]:
    """A value's name and its scale. Raises the record's error, with the field named."""
    name = record.text("value", max_length=512)
    scale = Scale(
        record.integer("mantissa", low=1, high=2**24),
        record.integer("exponent", low=-1100, high=1100),
        record.integer("low", low=-(2**32), high=2**32),
        record.integer("high", low=-(2**32), high=2**32),
        record.integer("zero_point", low=-(2**31), high=2**31),
    )
    record.done()
    if scale.low > scale.high:
        raise record.refuse("low is greater than high", "low")
    return name, scale


def _boundary(record: Record) -> dict[str, Scale]:
    entries = [parse_scale(item) for item in record.tables("boundary", (), max_length=512)]
    found = dict(entries)
    if len(found) != len(entries):
        raise record.refuse("a value has two scales", "boundary")
    return found


def _segment(record: Record) -> Segment:
    segment = Segment(
        record.sha256("model_sha256"),
        record.integer("number", low=1, high=4096),
        record.integer("of", low=2, high=4096),
    )
    record.done()
    if segment.number > segment.of:
        raise record.refuse("its number is greater than the number of segments", "number")
    return segment


def _widened(values: Range, margin: float) -> Range:
    span = (values.high - values.low) * margin
    return Range(values.low - span if values.low != 0 else values.low, values.high + span if values.high != 0 else values.high)


def choose_scales(
    ranges: Mapping[str, Range],
    inputs: Collection[str],
    outputs: Collection[str],
    options: QuantiserOptions,
    integers: Collection[str] = (),
) -> dict[str, Scale]:
    """One scale per value with a range; ``integers``: inputs of an integer type, which are taken as they are."""
    scales = {}
    for name, values in ranges.items():
        if name in integers:
            scales[name] = integer_scale(values)
        elif name in inputs:
            scales[name] = choose_scale(_widened(values, options.input_margin), options.input_bits)
        elif name in outputs:
            scales[name] = choose_scale(_widened(values, options.output_margin), options.output_bits)
        else:
            scales[name] = choose_scale(values, options.activation_bits)
    return scales
