"""The circuit under construction: every tensor's shape, bounds and fill are inferred; widths and limbs come from a plan.

A table's width depends on bounds that are known only once everything before it is lowered, and tables are shared, so a graph is
lowered repeatedly: each round records what it needed, :func:`next_plan` turns that into the plan of the next round, and the
rounds end when the plan repeats.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from hashlib import sha256
from math import copysign, frexp

import numpy as np

from verifai.engines.sumcheck.circuit.bounds import infer, requant_t
from verifai.engines.sumcheck.circuit.check import MAX_ITEM_RANK, MAX_LOG_CELLS
from verifai.engines.sumcheck.circuit.ops import Lookup, Op, Requant, Rescale
from verifai.engines.sumcheck.circuit.program import Circuit, Port, Table, Tensor, Weight, WeightVisibility, log2_ceil
from verifai.engines.sumcheck.interpreter.values import Ints
from verifai.engines.sumcheck.protocol.suite import INTEGRITY
from verifai.engines.sumcheck.quantise.functions import IDENTITY, Program, keeps_scale, tabulate
from verifai.engines.sumcheck.quantise.scales import Quantisation, Range, Scale
from verifai.errors import EvidenceRejected, UnsupportedModel

MAX_WIDTH = 16
UNIFORM_SHIFT = 24
COARSE_WIDTH = 6
LIMBS = (8, 10, 12, 13, 14, 15, 16)
"""Widths of remainder limbs to choose from; a range table has at most 2^16 rows."""
SPLIT_BITS = 15
"""A Requant's argument may have this many bits more than its table's."""
SPLIT_COLUMNS = 6
"""Committed cells and lookups, per cell, that a saturating Requant adds: the price weighed against a larger table."""


@dataclass(frozen=True, slots=True)
class TableKey:
    """One table's function: clamp(⌊program(t·step_in)/step_out + ½⌋, low, high).

    Attributes:
        rectified: whether the clamp at 0 is a rectifier's, and cuts nothing. The table is the same.
    """

    program: Program
    step_in: Fraction
    step_out: Fraction
    low: int
    high: int
    rectified: bool = field(default=False, compare=False)


def table_key(program: Program, step_in: Fraction, step_out: Fraction, low: int, high: int) -> TableKey:
    """The key, normalised so that equal functions of layers with different scales share one table."""
    rectified = program == (("x",), ("relu",)) and low >= 0
    if rectified:
        program = IDENTITY
    scale_free = keeps_scale(program) and all(instruction[0] != "const" for instruction in program)
    if scale_free and step_in == step_out:
        step_in = step_out = Fraction(1)
    return TableKey(program, step_in, step_out, low, high, rectified)


@dataclass(frozen=True, slots=True)
class Need:
    """What one Requant or Lookup asked of its table. ``width``: without saturation. ``floor``: the least sensible width."""

    key: TableKey
    cells: int
    width: int
    floor: int
    shift: int


@dataclass(frozen=True)
class Plan:
    """Choices that depend on the whole circuit.

    Attributes:
        limb: width of every remainder limb; shifts are its multiples.
        widths: per table function, w.
    """

    limb: int = 12
    widths: Mapping[TableKey, int] = field(default_factory=dict)

    def limbs(self, least: int) -> tuple[int, ...]:
        """Limb widths whose sum, the shift, is at least ``least`` and not 0: full limbs; for large shifts exactly ``least``.

        Rounding a large shift up would cost bits of the 62 that sums may have.
        """
        count = max(1, -(-least // self.limb))
        if count * self.limb <= UNIFORM_SHIFT:
            return (self.limb,) * count
        return self.exact_limbs(least)

    def exact_limbs(self, shift: int) -> tuple[int, ...]:
        """Limb widths whose sum is ``shift``, at least 1."""
        full, rest = divmod(shift, self.limb)
        return (*(self.limb,) * full, *((rest,) if rest else ()))


def next_plan(needs: Sequence[Need], *, split: bool) -> Plan:
    """The cheapest plan by committed and table cells.

    Args:
        split: whether saturating splits may replace larger tables where not forced.
    """
    limbs = {b: sum(n.cells * -(-n.shift // b) for n in needs if n.shift) + (1 << b) for b in LIMBS}
    limb = min(limbs, key=lambda b: (limbs[b], b))
    widths: dict[TableKey, int] = {}
    for key in {need.key for need in needs}:
        mine = [need for need in needs if need.key == key]
        floor = max(need.floor for need in mine)
        largest = max(need.width for need in mine)
        widths[key] = min(largest, MAX_WIDTH)
        if split:
            costs = {
                w: (1 << w) + SPLIT_COLUMNS * sum(need.cells for need in mine if need.width > w)
                for w in range(floor, max(floor, min(largest, MAX_WIDTH)) + 1)
            }
            widths[key] = min(costs, key=lambda w: (costs[w], w))
    return Plan(limb, widths)


def even_widths(bits: int) -> tuple[int, ...]:
    """The fewest widths of at most 16 that add up to ``bits``, as equal as may be."""
    count = -(-bits // MAX_WIDTH)
    return tuple(bits // count + (i < bits % count) for i in range(count))


def signed_width(low: int, high: int) -> int:
    """The least w with [low, high] inside [−2^(w−1), 2^(w−1))."""
    return max((-low - 1).bit_length() if low < 0 else 0, high.bit_length() if high > 0 else 0) + 1


def _power_above(end: float) -> float:
    """±2^k, the least that is not nearer to 0 than ``end``."""
    fraction, exponent = frexp(abs(end))
    return copysign(2.0 ** (exponent - (fraction == 0.5)), end) if end else 0.0


@dataclass
class Builder:
    """Collects one circuit. All ``emit`` methods return tensor numbers.

    Attributes:
        weights_in_tables: whether tables, which everybody reads, may hold the model's weights; not when these are committed.
        coarse: whether tables are computed at a few arguments only: for estimates, whose circuits nobody keeps.
        exact: model outputs whose scale is prescribed.
    """

    plan: Plan
    quantisation: Quantisation
    weights_in_tables: bool = True
    coarse: bool = False
    exact: Collection[str] = ()
    tensors: list[Tensor] = field(default_factory=list)
    weights: list[Weight] = field(default_factory=list)
    cells: list[Ints] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    ops: list[Op] = field(default_factory=list)
    needs: list[Need] = field(default_factory=list)
    used_scales: dict[str, Scale] = field(default_factory=dict)
    calibrated: dict[int, TableKey] = field(default_factory=dict)
    choice_steps: dict[int, Fraction] = field(default_factory=dict)
    """By operation, the function of a table that cuts its values off at a range that calibration chose."""
    derived: dict[str, Scale] = field(default_factory=dict)
    """Scales that follow from others: of booleans, and of values between the steps of one rule, unseen by calibration."""
    sums: set[str] = field(default_factory=set)
    """Values that are rounded to a table as sums, rectified or not: on a wide grid they need none."""
    functions: set[str] = field(default_factory=set)
    """Values that a function's table makes: its results may have any bits."""
    unrounded: bool = False
    unclamped: bool = False
    sparing: bool = False
    fine: bool = False
    """As :class:`..quantise.scales.QuantiserOptions` has it."""
    shown: frozenset[int] = frozenset()
    """The circuit inputs that statements show."""
    round_bounds: bool = False
    """Whether bounds that follow from weights are rounded up: hidden weights' are published, and exact ones tell more."""
    bounds_alone: bool = False
    """Whether a row's declared L1 norm is what follows from the bound: of hidden weights that are too many to show norms of."""
    _names: set[str] = field(default_factory=set)
    _shared: dict[tuple[tuple[int, ...], bytes] | None, int] = field(default_factory=dict)
    _tables: dict[tuple[int, tuple[int, ...]], int] = field(default_factory=dict)

    @property
    def next(self) -> int:
        """The number that the next tensor gets."""
        return len(self.tensors)

    def scale(self, name: str) -> Scale:
        """The scale of an ONNX value, recorded as used, or of a derived one. Raises UnsupportedModel (``no-scale``)."""
        if name in self.derived and name not in self.exact:
            return self.derived[name]
        found = self.quantisation.get(name)
        if found is None:
            raise UnsupportedModel(
                "no-scale",
                "calibration gave no range for this value: it is no real number, or infinite or not a number on some sample",
                where=name,
            )
        if max(found.step.numerator, found.step.denominator) >> 62:
            raise UnsupportedModel("circuit-bound", "its values are too large or too small for any scale", where=name)
        self.used_scales[name] = found
        return found

    def has_scale(self, name: str) -> bool:
        """Whether :meth:`scale` has one for this value."""
        return name in self.derived or self.quantisation.get(name) is not None

    def derive(self, label: str, scale: Scale) -> str:
        """The name under which :meth:`scale` then gives ``scale``: ``label``, or one like it that no ONNX value has."""
        while label in self.quantisation or label in self.derived:
            label += "'"
        self.derived[label] = scale
        return label

    def told(self, reach: Range) -> Range:
        """``reach``, which follows from the model's constants, for a scale that everybody reads: of hidden ones, the powers
        of two above its ends alone."""
        if not self.round_bounds:
            return reach
        return Range(_power_above(reach.low), _power_above(reach.high))

    def told_whole(self, bound: int) -> int:
        """The same for an integer bound: away from 0, to ±(2^k − 1)."""
        if not self.round_bounds:
            return bound
        magnitude = (1 << abs(bound).bit_length()) - 1
        return magnitude if bound > 0 else -magnitude

    def _unique(self, name: str) -> str:
        clean = "".join(c if " " <= c < "\x7f" else "?" for c in name)[:200] or "?"
        candidate, count = clean, 1
        while candidate in self._names:
            count += 1
            candidate = f"{clean}#{count}"
        self._names.add(candidate)
        return candidate

    def input(self, name: str, shape: tuple[int, ...], scale: Scale, zero_point: int = 0) -> int:
        """A circuit input."""
        step = (scale.step.numerator, scale.step.denominator)
        self.tensors.append(Tensor(self._unique(name), shape or (1,), scale.low, scale.high, 0, step, zero_point))
        return self.next - 1

    def weight(self, name: str, cells: Ints, *, shared: bool = False) -> int:
        """A weight tensor, with its exact bounds; ``shared``: or an equal one that is there already."""
        cells = np.ascontiguousarray(cells, np.int64)
        key = (cells.shape, sha256(cells.data).digest()) if shared else None
        if key in self._shared:
            return self._shared[key]
        magnitudes = np.abs(cells)
        rows = magnitudes.reshape(len(cells), -1).sum(axis=1)
        bound, row_l1 = int(magnitudes.max()), int(rows.max())
        if self.round_bounds:
            bound, row_l1 = ((1 << value.bit_length()) - 1 for value in (bound, row_l1))
            row_l1 = bound * (cells.size // len(cells)) if self.bounds_alone else row_l1
        self.weights.append(Weight(self._unique(name), cells.shape, bound, row_l1))
        self.cells.append(cells)
        if key is not None:
            self._shared[key] = len(self.weights) - 1
        return len(self.weights) - 1

    def draft(self) -> Circuit:
        """The circuit so far."""
        return Circuit(
            INTEGRITY.name,
            tuple(self.tensors),
            tuple(self.weights),
            tuple(self.tables),
            tuple(self.ops),
            (),
            (),
            WeightVisibility.PUBLIC,
        )

    def emit(
        self, op: Op, name: str, shape: tuple[int, ...] = (), *, step: Fraction = Fraction(1), zero_point: int = 0
    ) -> tuple[int, ...]:
        """Append an operation whose results are the next tensors; their bounds follow from its operands.

        Raises:
            UnsupportedModel: code ``circuit-bound``, when a bound breaks the no-wrap rule or another rule of the operation.
        """
        try:
            results = infer(self.draft(), op, shape)
        except EvidenceRejected as problem:
            raise UnsupportedModel("circuit-bound", f"{type(op).__name__}: {problem.message}", where=name) from None
        for result in results:
            if len(result.shape) > MAX_ITEM_RANK:
                raise UnsupportedModel("operator-unsupported", f"a value has more than {MAX_ITEM_RANK} axes", where=name)
            if sum(map(log2_ceil, result.shape)) > MAX_LOG_CELLS:
                raise UnsupportedModel("circuit-bound", f"a value has more than 2^{MAX_LOG_CELLS} cells", where=name)
        first = self.next
        pair = (step.numerator, step.denominator)
        for number, r in enumerate(results):
            label = self._unique(name if number == 0 else f"{name}.{number}")
            self.tensors.append(Tensor(label, r.shape, r.low, r.high, r.fill, pair, zero_point))
        self.ops.append(op)
        return tuple(range(first, self.next))

    def table(self, low: int, values: tuple[int, ...], name: str) -> int:
        """The number of the table with these values, added when it is new."""
        key = (low, values)
        if key not in self._tables:
            self._tables[key] = len(self.tables)
            self.tables.append(Table(self._unique(name), low, values))
        return self._tables[key]

    def function_table(self, key: TableKey, width: int, name: str) -> int:
        """The number of a Requant or Lookup table of the value ``name``. Raises UnsupportedModel."""
        label = ".".join(i[0] for i in key.program if i[0] != "x") or "clamp"
        skipped = max(0, width - COARSE_WIDTH) if self.coarse else 0
        step = key.step_in * (1 << skipped)
        try:
            values = tabulate(key.program, width - skipped, step, key.step_out, key.low, key.high)
        except EvidenceRejected as problem:
            raise UnsupportedModel("operator-unsupported", problem.message, where=name) from None
        if skipped:
            values = tuple(np.repeat(np.array(values, np.int64), 1 << skipped).tolist())
        return self.table(-(1 << (width - 1)), values, f"{label}[{width}]")

    def requant(
        self, z: int, limbs: tuple[int, ...], least_shift: int, key: TableKey, floor: int, name: str, scale: Scale
    ) -> int:
        """Requant with limbs and width by the plan; saturates when the width is less than t needs."""
        shift = sum(limbs)
        low, high = (requant_t(bound, shift) for bound in (self.tensors[z].low, self.tensors[z].high))
        wanted = signed_width(low, high)
        cells = 1 << self.tensors[z].log_cells
        # A split's upper half has at most 2^16 values.
        floor = min(max(floor, wanted - SPLIT_BITS), MAX_WIDTH)
        self.needs.append(Need(key, cells, wanted, floor, least_shift))
        width = self.plan.widths.get(key, min(wanted, MAX_WIDTH))
        op = Requant(z, self.next, self.function_table(key, width, name), shift, limbs, wanted > width)
        self.calibrated[len(self.ops)] = key
        return self.emit(op, name, step=scale.step, zero_point=scale.zero_point)[0]

    def rescale(self, z: int, shift: int, bits: int, name: str, step: Fraction = Fraction(1)) -> int:
        """Rescale by 2^shift to results of ``bits`` bits, in as few digits and limbs as ranges of 2^16 allow."""
        return self.emit(Rescale(z, self.next, shift, even_widths(shift), even_widths(bits)), name, step=step)[0]

    def lookup(
        self,
        x: int,
        key: TableKey,
        name: str,
        step: Fraction,
        zero_point: int = 0,
        floor: int = 1,
        *,
        calibrated: bool = False,
    ) -> int:
        """Lookup on a tensor whose bounds fit a table, which has at least 2^floor arguments.

        ``calibrated``: whether calibration chose the range that the table cuts at; else the function has it of itself.
        """
        tensor = self.tensors[x]
        wanted = max(signed_width(tensor.low, tensor.high), floor)
        if wanted > MAX_WIDTH:
            raise UnsupportedModel("circuit-bound", "more than 2^16 values reach an activation function", where=name)
        self.needs.append(Need(key, 1 << tensor.log_cells, wanted, wanted, 0))
        width = max(wanted, self.plan.widths.get(key, wanted))
        if calibrated:
            self.calibrated[len(self.ops)] = key
        return self.emit(Lookup(x, self.next, self.function_table(key, width, name)), name, step=step, zero_point=zero_point)[0]

    def finish(self, inputs: Sequence[Port], outputs: Sequence[Port], weights: WeightVisibility) -> Circuit:
        """The whole draft circuit, not yet checked."""
        draft = self.draft()
        return Circuit(
            INTEGRITY.name, draft.tensors, draft.weights, draft.tables, draft.ops, tuple(inputs), tuple(outputs), weights
        )
