"""Quantisation: from value ranges on calibration data to dyadic scales and integer ranges.

A scale is S = m·2^−e with m in [2^15, 2^16), rounded up from range/levels: real value = x·S with centred integers x. Dyadic
scales are exact in documents, and coarse enough that the last bits of a float sum, which differ between machines, seldom move
one; the lock pins them, so that a second compile does not calibrate again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from fractions import Fraction
from math import frexp
from typing import Any

from verifai.domain.digest import Sha256
from verifai.domain.ordered_floats import LARGEST
from verifai.domain.record import Record
from verifai.domain.statement import MAX_COLUMN_ZERO_POINT, MAX_COLUMNS
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
class ColumnScale:
    """How one column of a table's row is represented: real value = (x − zero_point)·2^exponent.

    Powers of two keep integers, halves and quarters exact, so that counts, flags and rounded prices are what they were.
    """

    exponent: int
    zero_point: int

    @property
    def step(self) -> Fraction:
        """The real value of one integer step."""
        return Fraction(2) ** self.exponent


@dataclass(frozen=True, slots=True)
class Scale:
    """How a tensor is represented: real value = x·mantissa·2^exponent, x in [low, high]; shown as q = x + zero_point.

    Attributes:
        columns: one per place of the last axis, when each has a scale of its own; then the step is 1 and the zero point 0.
        ordered: the integers are those of float32 numbers (:mod:`verifai.domain.ordered_floats`), which only comparisons may
            read; then the step is 1, the zero point 0, and the range that of all finite float32.
    """

    mantissa: int
    exponent: int
    low: int
    high: int
    zero_point: int = 0
    columns: tuple[ColumnScale, ...] = ()
    ordered: bool = False

    @property
    def step(self) -> Fraction:
        """The real value of one integer step."""
        return self.mantissa * Fraction(2) ** self.exponent

    def to_document(self) -> dict[str, Any]:
        """As TOML values."""
        document: dict[str, Any] = {name: getattr(self, name) for name in ("mantissa", "exponent", "low", "high", "zero_point")}
        if self.columns:
            document["columns"] = [[column.exponent, column.zero_point] for column in self.columns]
        if self.ordered:
            document["ordered"] = True
        return document


MAX_COLUMN_EXPONENT = 256
"""Of the step of a column, either sign: a float32 column needs none beyond 2^±166, and float64 has to hold its products."""

ORDERED = Scale(1 << (MANTISSA_BITS - 1), 1 - MANTISSA_BITS, -LARGEST, LARGEST, ordered=True)
"""Of every input whose integers are those of float32 numbers."""


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


FLOAT32_BITS = 24
"""Of a float32's significand: no column needs a step finer than its largest value's last bit."""
MAX_INPUT_BITS = 16
ALIKE = 16
"""Columns whose spans differ less than so many times share one scale: pixels of a picture, words of a vocabulary."""


def choose_column_scale(columns: Sequence[Range], bits: int) -> Scale:
    r"""A scale per column: the finest power of two on which each range fits 2^bits integers around 0.

    A column that is constant on the data gets the range [v − m, v + m], m = max(1, \|v\|): nothing is known of its spread.
    """
    half = 1 << (bits - 1)
    found = []
    for values in columns:
        low, high = values.low, values.high
        if high - low <= SMALLEST_RANGE:
            reach = max(1.0, abs(low))
            low, high = low - reach, high + reach
        # One step is left over at each end, for the rounding of the zero point.
        exponent = max(_log2_ceil((high - low) / ((1 << bits) - 2)), frexp(max(abs(low), abs(high)))[1] - FLOAT32_BITS)
        step = Fraction(2) ** exponent
        found.append(ColumnScale(exponent, -round((Fraction(low) + Fraction(high)) / 2 / step)))
    return Scale(1 << (MANTISSA_BITS - 1), 1 - MANTISSA_BITS, -half, half - 1, 0, tuple(found))


WHOLE_BITS = 12
"""Of a table's row that something else than a linear layer reads, under one scale for all its columns."""


def whole_scale(scale: Scale, bits: int = WHOLE_BITS) -> Scale:
    """One scale for a row whose columns have scales of their own, over the hull of their ranges."""
    ends = [(end - column.zero_point) * column.step for column in scale.columns for end in (scale.low, scale.high)]
    return choose_scale(Range(float(min(ends)), float(max(ends))), bits)


def narrow_scale(scale: Scale, bits: int = WHOLE_BITS) -> Scale:
    """The scale, or one of as many bits as an activation's argument may have."""
    if scale.high - scale.low < 1 << bits:
        return scale
    return choose_scale(Range(float(scale.low * scale.step), float(scale.high * scale.step)), bits)


def _log2_ceil(value: float) -> int:
    fraction, exponent = frexp(value)
    return exponent - (fraction == 0.5)


def alike(columns: Sequence[Range]) -> bool:
    """Whether one scale suits all columns: the hull of all ranges is not much wider than the narrowest that is no constant."""
    spans = [values.high - values.low for values in columns if values.high - values.low > SMALLEST_RANGE]
    whole = max(0.0, *(values.high for values in columns)) - min(0.0, *(values.low for values in columns))
    return not spans or whole <= ALIKE * min(spans)


def exact_scale(values: Range, exponent: int, margin: float) -> Scale | None:
    """Step 2^exponent, which every value is a multiple of, and the least range of 2^b steps that holds values and margin.

    ``None`` when that takes more than 16 bits: pixels, counts and flags fit, measurements do not.
    """
    step = Fraction(2) ** exponent
    span = (values.high - values.low) * margin
    low = 0 if values.low >= 0 else int((Fraction(values.low) - Fraction(span)) // step)
    high = int((Fraction(values.high) + Fraction(span)) / step)
    bits = max(1, (high - low).bit_length())
    if bits > MAX_INPUT_BITS:
        return None
    return Scale(1 << (MANTISSA_BITS - 1), exponent + 1 - MANTISSA_BITS, low, low + (1 << bits) - 1)


def integer_scale(values: Range) -> Scale:
    """Step 1, and the least range [0, 2^b) or [−2^b, 2^b) that holds ``values``."""
    low, high = int(values.low), int(values.high)
    bits = max(high.bit_length(), (-low - 1).bit_length() if low < 0 else 0)
    return Scale(1 << (MANTISSA_BITS - 1), 1 - MANTISSA_BITS, -(1 << bits) if low < 0 else 0, (1 << bits) - 1)


ACTIVATION_MARGIN = 0.125

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
        activation_margin: the same of inner values: a later one outside its range is cut off, and no proof shows it.
        percentile: for that method, the share of values kept, in per cent.
        column_bits, column_margin: the same of inputs that are one row of a table; its columns have scales of their own unless
            one suits all. The
            margin also holds at an end that is 0, and is wider: rows that nobody has seen yet lie outside more often.
        split: whether a saturating split may replace a larger table where that is cheaper, not only where forced.
        fold: whether constants that move or stretch input cells, such as a scaler's, are folded into the next linear layer, and
            columns have scales of their own. Circuits pinned before either existed were lowered without.
        unrounded: whether products that only a layer reads, quotients of a softmax, rotated rows and rows of an embedding stay
            unrounded, and sums that cells of very different sizes run through are held on a wide grid. Circuits pinned before
            were lowered without.
        unclamped: whether inner sums that can lie far beyond what calibration saw are rounded without a table and not cut off:
            an input that takes one beyond four times its range is refused. Set for language models, whose sums are many.
        sparing: whether more values are rounded without a table, and steps are chosen for fewer lookups. Set for language
            models. Circuits pinned before were lowered without.
        fine: whether arguments of functions have all the bits of a table. Set where values are held on finer grids.
        rounds_once: whether what a quantised model makes stored integers of is rounded to these at once, as the model does it.
            Set for models with scales of their own. Circuits pinned before were lowered without.
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
    activation_margin: float = ACTIVATION_MARGIN
    column_bits: int = 16
    column_margin: float = 1.0
    split: bool = True
    fold: bool = True
    unrounded: bool = True
    unclamped: bool = False
    sparing: bool = False
    fine: bool = False
    rounds_once: bool = False
    boundary: Mapping[str, Scale] = field(default_factory=dict)
    segment: Segment | None = None
    opening_budget: int | None = None

    def to_document(self) -> dict[str, Any]:
        """As TOML values; the inverse of :func:`parse_options`. A model that is not split has no fields for that."""
        plain = [entry.name for entry in fields(self) if entry.name not in ("boundary", "segment", "opening_budget")]
        document: dict[str, Any] = {name: getattr(self, name) for name in plain}
        if not self.fold:
            for name in ("fold", "column_bits", "column_margin"):
                del document[name]
        if not self.unrounded:
            del document["unrounded"]
        for name in ("unclamped", "sparing", "fine", "rounds_once"):
            if not getattr(self, name):
                del document[name]
        if not self.activation_margin:  # circuits pinned before there was one have none
            del document["activation_margin"]
        document["method"] = self.method.value
        if self.boundary:
            document["boundary"] = [{"value": name, **scale.to_document()} for name, scale in sorted(self.boundary.items())]
        if self.segment is not None:
            document["segment"] = asdict(self.segment)
        if self.opening_budget is not None:
            document["opening_budget"] = self.opening_budget
        return document


def parse_options(record: Record, *, pinned: bool = False) -> QuantiserOptions:
    """Read ``[engine.sumcheck]``. Raises the record's error, with the field named.

    Args:
        pinned: whether it is a lock's; one without ``fold``, ``unrounded`` or ``activation_margin`` was written before these.
    """
    default = QuantiserOptions(fold=not pinned, unrounded=not pinned, activation_margin=0.0 if pinned else ACTIVATION_MARGIN)
    options = QuantiserOptions(
        method=record.choice("method", Method, default.method.value),
        percentile=record.number("percentile", default.percentile, low=50.0, high=100.0),
        activation_bits=record.integer("activation_bits", default.activation_bits, low=2, high=15),
        input_bits=record.integer("input_bits", default.input_bits, low=1, high=16),
        output_bits=record.integer("output_bits", default.output_bits, low=2, high=16),
        input_margin=record.number("input_margin", default.input_margin, low=0.0, high=16.0),
        output_margin=record.number("output_margin", default.output_margin, low=0.0, high=16.0),
        activation_margin=record.number("activation_margin", default.activation_margin, low=0.0, high=16.0),
        column_bits=record.integer("column_bits", default.column_bits, low=4, high=16),
        column_margin=record.number("column_margin", default.column_margin, low=0.0, high=16.0),
        split=record.flag("split", default.split),
        fold=record.flag("fold", default.fold),
        unrounded=record.flag("unrounded", default.unrounded),
        unclamped=record.flag("unclamped", default.unclamped),
        sparing=record.flag("sparing", default.sparing),
        fine=record.flag("fine", default.fine),
        rounds_once=record.flag("rounds_once", default.rounds_once),
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
        record.array("columns", lambda value, _: _column(record, value), (), max_length=MAX_COLUMNS),
        record.flag("ordered", False),
    )
    record.done()
    if scale.low > scale.high:
        raise record.refuse("low is greater than high", "low")
    if scale.columns and (scale.step != 1 or scale.zero_point != 0):
        raise record.refuse("scales of columns stand beside a scale of the whole", "columns")
    if record.has("ordered") and scale != ORDERED:
        raise record.refuse("`ordered` is left out, or true for the integers of float32 numbers", "ordered")
    if record.has("columns") and not scale.columns:
        raise record.refuse("an empty list is left out", "columns")
    return name, scale


def _column(record: Record, value: object) -> ColumnScale:
    numbers = value if isinstance(value, list | tuple) else ()
    whole = all(isinstance(number, int) and not isinstance(number, bool) for number in numbers)
    if len(numbers) != 2 or not whole or abs(numbers[0]) > MAX_COLUMN_EXPONENT or abs(numbers[1]) > MAX_COLUMN_ZERO_POINT:
        raise record.refuse("a column is an exponent and a zero point", "columns")
    return ColumnScale(numbers[0], numbers[1])


def _boundary(record: Record) -> dict[str, Scale]:
    entries = [parse_scale(item) for item in record.tables("boundary", (), max_length=512)]
    found = dict(entries)
    if len(found) != len(entries):
        raise record.refuse("a value has two scales", "boundary")
    if any(scale.columns or scale.ordered for scale in found.values()):
        raise record.refuse("a boundary has one scale, which its neighbour has too", "boundary")
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


def outwards(values: Range, margin: float) -> Range:
    """Widened away from 0 only: a value that was never negative, such as a variance, stays so."""
    span = (values.high - values.low) * margin
    return Range(values.low - span if values.low < 0 else values.low, values.high + span if values.high > 0 else values.high)


def _on_its_side(reach: Range, values: Range) -> Range:
    """``reach``, cut at 0 where ``values`` lie on one side of it."""
    if values.low >= 0:
        return Range(max(reach.low, 0.0), reach.high)
    return Range(reach.low, min(reach.high, 0.0)) if values.high <= 0 else reach


def _as_it_is(reach: Range, values: Range) -> Range:
    del values
    return reach


def _spread(values: Range, margin: float) -> Range:
    span = (values.high - values.low) * margin
    return Range(values.low - span, values.high + span)


def choose_scales(
    ranges: Mapping[str, Range],
    inputs: Collection[str],
    outputs: Collection[str],
    options: QuantiserOptions,
    integers: Collection[str] = (),
    columns: Mapping[str, Sequence[Range]] | None = None,
    exact: Mapping[str, int] | None = None,
    arguments: Collection[str] = (),
    output_columns: Mapping[str, Sequence[Range]] | None = None,
    compared: Collection[str] = (),
    wide: Mapping[str, Scale] | None = None,
    ordered: Collection[str] = (),
    one_sided: Collection[str] = (),
) -> dict[str, Scale]:
    """One scale per value with a range.

    Args:
        integers: inputs of an integer type, which are taken as they are.
        columns: ranges per column, of inputs that are one row of a table.
        exact: exponent of a power of two that all values of an input are multiples of.
        compared: inputs of which only comparisons are read: as fine as may be, and their columns by powers of two, so that
            whole numbers and halves, where thresholds lie, are what they are.
        wide: scales of sums that are held on a wide grid.
        ordered: inputs whose float32 numbers are compared as they are, unless few bits hold all their values exactly.
        one_sided: values that, where they lie on one side of 0, must not reach over it with their margin.
        output_columns: ranges per column, of outputs whose columns are to have scales of their own.
        outputs: also values whose cells outputs are made of. arguments: inner values that need the outputs' margin.
    """
    scales: dict[str, Scale] = {}
    tried = {
        name: exact_scale(ranges[name], exponent, options.input_margin)
        for name, exponent in (exact or {}).items()
        if options.fold and name in ranges
    }
    whole = {name: scale for name, scale in tried.items() if scale is not None}
    for name, values in ranges.items():
        table = (columns or {}).get(name)
        within = _on_its_side if name in one_sided and options.fold else _as_it_is
        if name in integers:
            scales[name] = integer_scale(values)
        elif name in ordered and options.fold and not (name in whole and (table is None or alike(table))):
            scales[name] = ORDERED
        elif table is not None and options.fold:
            if alike(table) and name in whole:
                scales[name] = whole[name]
            elif alike(table) and name not in compared:
                scales[name] = choose_scale(within(_spread(values, options.column_margin), values), options.column_bits)
            else:
                reaches = [within(_spread(one, options.column_margin), one) for one in table]
                scales[name] = choose_column_scale(reaches, options.column_bits)
        elif name in whole:
            scales[name] = whole[name]
        elif name in inputs:
            bits = options.column_bits if name in compared and options.fold else options.input_bits
            scales[name] = choose_scale(within(_widened(values, options.input_margin), values), bits)
        elif name in (output_columns or {}):
            spread = [_spread(one, options.output_margin) for one in (output_columns or {})[name]]
            scales[name] = choose_column_scale(spread, options.output_bits)
        elif name in outputs:
            scales[name] = choose_scale(_widened(values, options.output_margin), options.output_bits)
        elif name in (wide or {}) and options.unrounded:
            scales[name] = (wide or {})[name]
        else:
            if name in arguments and options.fold:
                reach = _widened(values, options.output_margin)
            else:
                reach = outwards(values, options.activation_margin)
            scales[name] = choose_scale(within(reach, values), options.activation_bits)
    return scales
