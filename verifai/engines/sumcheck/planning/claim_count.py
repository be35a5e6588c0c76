"""How many claims reach each tensor, and how long the vectors are that carry them: the script on numbers, not on values.

Part of :mod:`.price`. Standard library only. Each table has a rule for every operation and follows the same table of
:mod:`..protocol.operations`; a test holds the counts to the rehearsal.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from math import gcd
from typing import Any

from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.dispatch import Dispatch, dispatch, find, require
from verifai.engines.sumcheck.circuit.ops import NONE
from verifai.engines.sumcheck.circuit.program import Circuit, Tensor, Weight, WeightVisibility
from verifai.engines.sumcheck.protocol import buses
from verifai.engines.sumcheck.protocol.buses import LINEAR_OR_VIEW, RANGE, SIGNED, Bus, taps
from verifai.engines.sumcheck.protocol.convolution import DIRECT_RATIO, DIRECT_STEPS
from verifai.engines.sumcheck.protocol.layout import MAX_CLAIMS, public_tensors, ranged_tensors
from verifai.engines.sumcheck.protocol.operations import conv_bits
from verifai.engines.sumcheck.protocol.proof import MAX_MESSAGES
from verifai.engines.sumcheck.protocol.storage import NO_AXIS
from verifai.errors import UnsupportedModel

ENTRY_BYTES = 144
"""Of one element of F in a vector: a pair of integers."""
ENTRY_NS = 1_600
"""To make one entry of a vector, or to evaluate it at a point."""
CELL_NS = 120
"""Per cell of a public tensor or weight, each time that it is evaluated."""
ROW_NS = 1_500
"""Per row of them."""
TABLE_NS, TABLE_BYTES = 500, 64
"""Per row of a public table."""
VARIABLE_NS = 12_000
"""Per variable of a column and claim on it that is opened: for each of up to five pieces."""
KEPT_TABLES = 16
"""Tables of eq vectors that are kept for the next claim."""
STEP_NS = 1_000
"""Per product of entry and weight of a window."""

CLASSES = 8
"""Kinds of claims on one tensor that are told apart; beyond, all count as the most costly."""

Mask = int
"""Which axes of a functional are lists of entries: bit i is axis i. The others are eq vectors, given by their points, or one eq
vector per piece of the axis. A Relabel can cut these wherever it has to, as it can cut eq vectors: an axis of other axes has a
multiple of the inner ones' places, and so has each of its pieces."""

Places = Sequence[Hashable]
"""Per lookup of an operation, what tells its cells' weights apart: what is read under equal ones has one value."""


class ClaimCounter:
    """Plays the script on numbers of claims. What it counts is in its attributes.

    Attributes:
        messages, claims: elements sent, claims to be opened. nanoseconds: of vectors and public values.
        kept: bytes of vectors that live until the openings. most: the most that is needed for a while beside them.
    """

    def __init__(self, circuit: Circuit) -> None:
        self.circuit = circuit
        self.messages = self.claims = self.nanoseconds = self.kept = self.most = 0
        self._shown = frozenset(public_tensors(circuit))
        self.public_weights = circuit.weight_visibility is WeightVisibility.PUBLIC
        self._pending: dict[int, dict[Mask, int]] = {
            out: {} for op in circuit.ops if not ops.holds_results(op) for out in ops.results(op)
        }
        self._deferred: dict[int, list[int]] = {}

    # --- what the script asks a party for, ``times`` times ---

    def send(self, count: int) -> None:
        """Elements of messages."""
        self.messages += count
        if self.messages > MAX_MESSAGES:
            raise UnsupportedModel(
                "sumcheck-too-large", f"a proof would need more than {MAX_MESSAGES} messages", where="messages"
            )

    def open(self, bits: Sequence[int], mask: Mask, times: int) -> None:
        """Claims for the openings, on a column with axes of ``bits`` variables."""
        self.claims += times
        if self.claims > MAX_CLAIMS:
            raise UnsupportedModel("sumcheck-too-large", f"more than {MAX_CLAIMS} claims would be opened", where="openings")
        entries = sum(1 << width for axis, width in enumerate(bits) if mask >> axis & 1)
        self.nanoseconds += times * (ENTRY_NS * entries + VARIABLE_NS * sum(bits))
        self.most = max(self.most, KEPT_TABLES * ENTRY_BYTES * entries)

    def make(self, entries: int, times: int) -> None:
        """Vectors of ``entries`` entries, which their claims keep."""
        self.nanoseconds += times * ENTRY_NS * entries
        self.kept += times * ENTRY_BYTES * entries
        self.most = max(self.most, 2 * ENTRY_BYTES * entries)

    def look(self, entries: int, times: int) -> None:
        """Vectors that are made and forgotten."""
        self.nanoseconds += times * ENTRY_NS * entries
        self.most = max(self.most, 2 * ENTRY_BYTES * entries)

    def column(self, shape: Tensor, times: int, mask: Mask = 0) -> None:
        """A committed column of a tensor's shape."""
        self.send(times)
        self.open(shape.bits, mask, times)

    def read(self, tensor: int, mask: Mask, times: int) -> None:
        """A tensor under a functional, its padding masked."""
        described = self.circuit.tensors[tensor]
        if described.fill:
            self.nanoseconds += 2 * times * (ENTRY_NS >> 2) * _dense(described.bits, mask)
        if tensor in self._shown:
            self._evaluate(described, times)
        elif tensor in self._pending:
            self.send(times)
            classes = self._pending[tensor]
            if mask not in classes and len(classes) >= CLASSES:
                mask = (1 << len(described.shape)) - 1
            classes[mask] = classes.get(mask, 0) + times
        else:
            self.column(described, times, mask)

    def weight(self, weight: int, mask: Mask, times: int) -> None:
        """A weight under a functional."""
        described = self.circuit.weights[weight]
        if self.public_weights:
            self._evaluate(described, times)
        else:
            self.send(times)
            self.open(described.bits, mask, times)

    def _evaluate(self, described: Tensor | Weight, times: int) -> None:
        sizes = list(described.shape)
        row = sizes.pop()
        while sizes and sizes[-1] * row <= 4096:
            row *= sizes.pop()
        rows = described.size // row
        entries = sum(described.padded) + row
        self.nanoseconds += times * (CELL_NS * described.size + ROW_NS * rows + ENTRY_NS * entries)
        self.most = max(self.most, ENTRY_BYTES * (2 * entries + rows))

    def pin(self, shape: Sequence[int], bits: Sequence[int], times: int) -> None:
        """A second claim on a value, under its functional cut off at the true sizes."""
        mask = 0
        for axis, (size, width) in enumerate(zip(shape, bits, strict=True)):
            if size != 1 << width:
                mask |= 1 << axis
                self.make(1 << width, times)
        self.open(bits, mask, times)

    def rounds(self, count: int, elements: int, times: int) -> None:
        """Rounds of a sumcheck."""
        self.send(times * count * elements)

    def defer(self, number: int, which: int) -> None:
        """A claim on a product of the operation."""
        self._deferred.setdefault(number, []).append(which)

    # --- the script ---

    def lookups(self) -> None:
        """Steps 5 to 7."""
        circuit = self.circuit
        bus = buses.build(circuit)
        self.send(1 + sum(2 * layer + 4 for layer in range(bus.log_leaves)))
        for number, blocks in enumerate(bus.by_operation):
            groups = [block.group for block in blocks]
            places = [group.storage if group.storage.axis == NO_AXIS else group for group in groups]
            count_rows(self, number, places)
        for tensor in ranged_tensors(circuit):
            described = circuit.tensors[tensor]
            self.read(tensor, 0, 1)
            self.pin(described.shape, described.bits, 1)
        self._tables(bus)

    def ranges(self, bus: Bus) -> None:
        """A sum of fractions for weights' own cells."""
        self.send(1 + sum(2 * layer + 4 for layer in range(bus.log_leaves)))
        for owner in bus.by_tensor:
            weight = self.circuit.weights[owner]
            self.weight(owner, 0, 1)
            self.pin(weight.shape, weight.bits, 1)
        self._tables(bus)

    def _tables(self, bus: Bus) -> None:
        for table in bus.tables:
            self.send(1)
            self.open((table.log_size,), 0, 1)
            self.look(2 << (table.log_size + 1) // 2, 1)
            if table.kind not in (RANGE, SIGNED):
                self.nanoseconds += TABLE_NS << table.log_size
                self.most = max(self.most, TABLE_BYTES << table.log_size)

    def operations(self) -> None:
        """Step 8."""
        for number in range(len(self.circuit.ops) - 1, -1, -1):
            op = self.circuit.ops[number]
            count_check(self, number)
            for which in self._deferred.get(number, ()):
                count_product(self, number, which)
            if not ops.holds_results(op):
                for mask, times in self._pending[op.out].items():
                    count_claims(self, number, mask, times)


def _dense(bits: Sequence[int], mask: Mask) -> int:
    return sum(1 << width for axis, width in enumerate(bits) if mask >> axis & 1)


def count_rows(c: ClaimCounter, number: int, places: Places) -> None:
    """What the lookups of operation ``number`` read."""
    op = c.circuit.ops[number]
    rule = find(_ROWS, op, "counts of lookups")
    if rule is not None:
        rule(c, number, op, places)


def count_check(c: ClaimCounter, number: int) -> None:
    """What its own check reads."""
    op = c.circuit.ops[number]
    rule = find(_CHECKS, op, "counts of checks")
    if rule is not None:
        rule(c, number, op)


def count_product(c: ClaimCounter, number: int, which: int) -> None:
    """What the check of a product reads that its lookups took for granted."""
    op = c.circuit.ops[number]
    require(_PRODUCTS, op, "counts of products")(c, op, which)


def count_claims(c: ClaimCounter, number: int, mask: Mask, times: int) -> None:
    """What ``times`` claims on its virtual result become."""
    op = c.circuit.ops[number]
    require(_REDUCTIONS, op, "counts of claims")(c, op, mask, times)


# --- lookups ---


def _lookup_rows(c: ClaimCounter, number: int, op: ops.Lookup, places: Places) -> None:
    c.read(op.x, 0, 1)
    c.read(op.out, 0, 1)


def _once(*places: Hashable) -> int:
    """How often a value is read that is wanted at these places."""
    return len(set(places))


def _requant_rows(c: ClaimCounter, number: int, op: ops.Requant, places: Places) -> None:
    out, count = c.circuit.tensors[op.out], len(op.limbs)
    at_y, at_t = places[0], places[1 + count if op.saturate else 0]
    c.read(op.z, 0, 1)
    c.column(out, sum(_once(at_t, at_limb) for at_limb in places[1 : 1 + count]))
    c.read(op.out, 0, 1)
    if op.saturate:
        at_sigma, at_kappa = places[2 + count :]
        c.column(out, _once(at_t, at_sigma, at_kappa) + 1 + _once(at_kappa, at_y))
        c.send(1)
        c.defer(number, 0)


def _window(
    c: ClaimCounter, op: Any, kernel: Sequence[int], source: Tensor, out: Tensor, times: int, ones: bool = False
) -> None:
    """Height and width of the operand's functional: :func:`..protocol.convolution.windows`."""
    dilation = (1, 1) if isinstance(op, ops.WindowSum) else op.dilation
    for d in range(2):
        entries, taps_, stride = out.shape[d - 2], kernel[d], op.stride[d]
        c.look(out.padded[d - 2], times)
        c.make(source.padded[d - 2], times)
        spread = (entries * stride + taps_ * dilation[d]) // gcd(stride, dilation[d])
        steps = taps_ if ones or taps_ == 1 else 0
        if not ones and entries * taps_ <= max(DIRECT_STEPS, DIRECT_RATIO * spread):
            steps = entries * taps_
        elif not ones:
            # Karatsuba's method: the longer operand in pieces as long as the shorter one.
            short, long = sorted((entries * stride, taps_ * dilation[d]))
            steps = 6 * spread + int(short**0.585) * long
            c.most = max(c.most, 6 * ENTRY_BYTES * spread)
        c.nanoseconds += times * STEP_NS * steps


def _grid(source: Tensor) -> Mask:
    """Height and width."""
    return 0b11 << len(source.shape) - 2


def _taps(c: ClaimCounter, op: ops.WindowMax, times: int) -> None:
    source, out = c.circuit.tensors[op.x], c.circuit.tensors[op.out]
    for _ in taps(op):
        _window(c, op, (1, 1), source, out, times)
        c.look(2 * _dense(source.bits, _grid(source)), times)
        c.read(op.x, _grid(source), times)


def _window_max_rows(c: ClaimCounter, number: int, op: ops.WindowMax, places: Places) -> None:
    c.read(op.out, 0, _once(*places))
    _taps(c, op, 1)


def _difference(c: ClaimCounter, op: ops.RowMax) -> None:
    c.read(op.out, 0, 1)
    c.read(op.x, 0, 1)


def _row_max_rows(c: ClaimCounter, number: int, op: ops.RowMax, places: Places) -> None:
    source, maxima = c.circuit.tensors[op.x], c.circuit.tensors[op.out]
    at_exp, at_flag, *at_split = places[:-1]
    c.read(op.out, 0, 1)
    c.pin(maxima.shape, maxima.bits, 1)
    c.column(source, 1)
    for _ in range(1 if op.saturate else _once(at_exp, at_flag)):
        _difference(c, op)
    if op.saturate:
        at_low, at_sigma, at_kappa = at_split
        c.column(source, _once(at_low, at_sigma, at_kappa) + 1 + _once(at_kappa, at_exp, at_flag))
        for _ in range(_once(at_exp, at_flag)):
            c.send(1)
            c.defer(number, 0)
    if op.exp != NONE:
        c.read(op.exp, 0, 1)
    _along_rows(c, source)


def _along_rows(c: ClaimCounter, source: Tensor) -> None:
    """A column under weights of the last axis' places."""
    c.make(source.padded[-1], 1)
    c.column(source, 1, 1 << (len(source.shape) - 1))


def _recip_rows(c: ClaimCounter, number: int, op: ops.Recip, places: Places) -> None:
    first, r0, r1, rho0, rho1, a0, above, s0, slack = places
    scaled, halves = _once(first, above, slack), _once(first, rho0, slack) + _once(first, rho1, slack)
    limbs = _once(r0) + _once(r1) + _once(a0, above) + _once(s0, slack)
    c.column(c.circuit.tensors[op.out], 2 + scaled + halves + limbs)
    for which in range(3):
        c.defer(number, which)
    c.read(op.out, 0, 1)


def _isqrt_rows(c: ClaimCounter, number: int, op: ops.Isqrt, places: Places) -> None:
    q0, high_q, d0, high_d, f0, high_f = places
    c.read(op.v, 0, _once(high_d, high_f))
    c.read(op.out, 0, _once(high_q, high_f))
    c.column(c.circuit.tensors[op.out], _once(q0, high_q) + _once(d0, high_d) + _once(f0, high_f))
    for _ in range(_once(high_d, high_f)):
        c.send(1)
        c.defer(number, 0)


def _argmax_rows(c: ClaimCounter, number: int, op: ops.ArgMax, places: Places) -> None:
    source, out = c.circuit.tensors[op.x], c.circuit.tensors[op.out]
    for described in (source, out):
        c.column(described, 1)
        c.pin(described.shape, described.bits, 1)
    c.read(op.x, 0, 1)
    c.look(source.padded[-1], 1)
    _along_rows(c, source)


def _digits(c: ClaimCounter, shape: Tensor, at_lower: Places, at_highest: Hashable) -> None:
    """Digits that are committed, each read at its own place and at the highest's."""
    c.column(shape, sum(_once(place, at_highest) for place in at_lower))


def _rescale_rows(c: ClaimCounter, number: int, op: ops.Rescale, places: Places) -> None:
    out, count = c.circuit.tensors[op.out], len(op.limbs)
    at_limbs, at_digits = places[:count], places[count:]
    c.read(op.z, 0, 1)
    c.read(op.out, 0, _once(at_limbs[-1], at_digits[-1]))
    _digits(c, out, at_limbs[:-1], at_limbs[-1])
    _digits(c, out, at_digits[:-1], at_digits[-1])


def _top_index_rows(c: ClaimCounter, number: int, op: ops.TopIndex, places: Places) -> None:
    source, out = c.circuit.tensors[op.x], c.circuit.tensors[op.out]
    c.column(out, 1)
    c.read(op.x, 0, 1)
    _digits(c, source, places[:-1], places[-1])
    c.look(sum(out.padded) + out.size, 1)
    c.nanoseconds += 8 * ENTRY_NS * out.size * source.bits[-1]  # what comes before each row's index


_REFUSED = "it is not part of this suite: the planner refuses it"

_ROWS: Dispatch[Callable[[ClaimCounter, int, Any, Places], None]] = dispatch(
    {
        ops.Requant: _requant_rows,
        ops.Lookup: _lookup_rows,
        ops.WindowMax: _window_max_rows,
        ops.RowMax: _row_max_rows,
        ops.Recip: _recip_rows,
        ops.Isqrt: _isqrt_rows,
        ops.ArgMax: _argmax_rows,
        ops.Rescale: _rescale_rows,
        ops.TopIndex: _top_index_rows,
    },
    ("it looks nothing up", LINEAR_OR_VIEW),
    (_REFUSED, (ops.Gather,)),
)


# --- checks and products ---


def _check_maximum(c: ClaimCounter, number: int, op: ops.WindowMax) -> None:
    window = len(taps(op))
    c.rounds(c.circuit.tensors[op.out].log_cells, window, 1)
    c.read(op.out, 0, 1)
    _taps(c, op, 1)
    c.send(max(0, window - 2))


def _check_argmax(c: ClaimCounter, number: int, op: ops.ArgMax) -> None:
    source, out = c.circuit.tensors[op.x], c.circuit.tensors[op.out]
    _along_rows(c, source)
    _along_rows(c, source)
    c.read(op.out, 0, 1)
    c.column(out, 1)
    c.rounds(source.log_cells, 3, 1)
    c.column(source, 1)
    c.read(op.x, 0, 1)
    c.look(source.padded[-1], 1)


def _check_top_index(c: ClaimCounter, number: int, op: ops.TopIndex) -> None:
    source, out = c.circuit.tensors[op.x], c.circuit.tensors[op.out]
    c.column(out, 1)
    c.rounds(source.log_cells, 2, 1)
    c.read(op.x, 0, 1)
    c.look(2 * (sum(out.padded) + out.size), 1)
    c.nanoseconds += 2 * ENTRY_NS * out.size * source.bits[-1]


_CHECKS: Dispatch[Callable[[ClaimCounter, int, Any], None]] = dispatch(
    {ops.WindowMax: _check_maximum, ops.ArgMax: _check_argmax, ops.TopIndex: _check_top_index},
    ("claims on its results are carried on", LINEAR_OR_VIEW),
    ("its lookups are all there is to check", (ops.Requant, ops.Rescale, ops.Lookup, ops.RowMax, ops.Recip, ops.Isqrt)),
    (_REFUSED, (ops.Gather,)),
)


def _requant_product(c: ClaimCounter, op: ops.Requant, which: int) -> None:
    out = c.circuit.tensors[op.out]
    c.rounds(out.log_cells, 3, 1)
    c.read(op.z, 0, 1)
    c.column(out, len(op.limbs) + 1)


def _row_max_product(c: ClaimCounter, op: ops.RowMax, which: int) -> None:
    source = c.circuit.tensors[op.x]
    c.rounds(source.log_cells, 3, 1)
    c.column(source, 1)
    _difference(c, op)


def _recip_product(c: ClaimCounter, op: ops.Recip, which: int) -> None:
    out = c.circuit.tensors[op.out]
    c.rounds(out.log_cells, 3, 1)
    if which == 0:
        c.read(op.q, 0, 1)
    else:
        c.column(out, 2)
    c.column(out, 1)


def _isqrt_product(c: ClaimCounter, op: ops.Isqrt, which: int) -> None:
    c.rounds(c.circuit.tensors[op.out].log_cells, 3, 1)
    c.read(op.out, 0, 1)


_PRODUCTS: Dispatch[Callable[[ClaimCounter, Any, int], None]] = dispatch(
    {
        ops.Requant: _requant_product,
        ops.RowMax: _row_max_product,
        ops.Recip: _recip_product,
        ops.Isqrt: _isqrt_product,
    },
    ("claims on its results are carried on", LINEAR_OR_VIEW),
    ("it defers no product", (ops.Lookup, ops.WindowMax, ops.ArgMax, ops.Rescale, ops.TopIndex)),
    (_REFUSED, (ops.Gather,)),
)


# --- claims on virtual results ---


def _matmul(c: ClaimCounter, op: ops.MatMul, mask: Mask, times: int) -> None:
    source = c.circuit.tensors[op.x]
    rows = len(source.shape) - op.contract
    channel = mask >> rows & 1
    if op.bias != NONE:
        c.weight(op.bias, channel, times)
    c.rounds(sum(source.bits[rows:]), 2, times)
    c.weight(op.weight, channel, times)
    c.read(op.x, mask & ((1 << rows) - 1), times)


def _conv(c: ClaimCounter, op: ops.Conv, mask: Mask, times: int) -> None:
    source, out, kernel = c.circuit.tensors[op.x], c.circuit.tensors[op.out], c.circuit.weights[op.weight].shape
    lead = len(source.shape) - 3
    channel = mask >> lead & 1
    if op.bias != NONE:
        c.weight(op.bias, channel, times)
    bits = conv_bits(op, kernel, source)
    c.rounds(sum(bits), 2, times)
    if bits[0]:
        channel = 1
        c.make(out.padded[-3] + (1 << bits[0]), times)
    c.weight(op.weight, channel, times)
    c.look(sum(kernel[2:]) * 2, times)
    _window(c, op, kernel[2:], source, out, times)
    c.read(op.x, mask & ((1 << lead) - 1) | _grid(source), times)


def _mul(c: ClaimCounter, op: ops.Mul, mask: Mask, times: int) -> None:
    described = c.circuit.tensors[op.a]
    _product(c, op.a, op.b, described.log_cells, _dense(described.bits, mask), times)


def _product(c: ClaimCounter, a: int, b: int, rounds: int, dense: int, times: int) -> None:
    c.rounds(rounds, 3, times)
    c.look(2 * dense, times)
    c.read(a, 0, times)
    if a != b:
        c.read(b, 0, times)


def _batched(c: ClaimCounter, op: ops.BatchedMatMul, mask: Mask, times: int) -> None:
    first = c.circuit.tensors[op.a]
    rank = len(first.shape)
    c.rounds(sum(first.bits[:-2]) + first.bits[-1], 3, times)
    c.look(2 * (_dense(first.bits[:-2], mask) + first.padded[-1]), times)
    row, column = mask >> (rank - 2) & 1, mask >> (rank - 1) & 1
    c.read(op.a, row << (rank - 2), times)
    # At one row and one column of a tensor with itself, both functionals are the same, and so is the reading.
    if op.a != op.b or first.bits[-1] or first.bits[-2] or row or column:
        c.read(op.b, column << (rank - 1), times)


def _combination(c: ClaimCounter, op: ops.LinearCombination, mask: Mask, times: int) -> None:
    for source in op.sources:
        c.read(source, mask, times)
    if op.constant:
        c.look(_dense(c.circuit.tensors[op.out].bits, mask), times)


def _window_sum(c: ClaimCounter, op: ops.WindowSum, mask: Mask, times: int) -> None:
    source, out = c.circuit.tensors[op.x], c.circuit.tensors[op.out]
    _window(c, op, op.kernel, source, out, times, ones=True)
    c.read(op.x, mask | _grid(source), times)


def _row_sum(c: ClaimCounter, op: ops.RowSum, mask: Mask, times: int) -> None:
    source = c.circuit.tensors[op.x]
    kept = len(source.shape) - op.axes
    summed = ((1 << op.axes) - 1) << kept
    c.make(_dense(source.bits, summed), times)
    weights = (mask & ((1 << kept) - 1)) | summed
    if op.y == NONE:
        c.read(op.x, weights, times)
    else:
        _product(c, op.x, op.y, source.log_cells, _dense(source.bits, weights), times)


def _gated(c: ClaimCounter, op: ops.GatedMatMul, mask: Mask, times: int) -> None:
    source = c.circuit.tensors[op.a]
    rows = len(source.shape) - op.contract
    channel = mask >> rows & 1
    if op.bias != NONE:
        c.weight(op.bias, channel, times)
    c.rounds(source.log_cells, 3, times)
    c.look(2 * _dense(source.bits[:rows], mask), times)
    c.weight(op.weight, channel, times)
    c.read(op.a, 0, times)
    if op.a != op.b:
        c.read(op.b, 0, times)


def _row_scale(c: ClaimCounter, op: ops.RowScale, mask: Mask, times: int) -> None:
    source, factor = c.circuit.tensors[op.x], c.circuit.tensors[op.factor]
    last = len(source.shape) - 1
    c.rounds(factor.log_cells, 3, times)
    c.look(2 * _dense(source.bits[:last], mask), times)
    c.read(op.x, mask & 1 << last, times)
    c.read(op.factor, 0, times)


def _weight_rows(c: ClaimCounter, op: ops.WeightRows, mask: Mask, times: int) -> None:
    """A vector that is 0 but at the chosen rows: as many entries as there are indices."""
    index, weight = c.circuit.tensors[op.index], c.circuit.weights[op.weight]
    rank = len(index.shape)
    c.make(3 * index.size + sum(index.padded), times)
    c.nanoseconds += times * ENTRY_NS * index.size * weight.bits[0]  # each is evaluated at a point, in the end
    if c.public_weights:
        c.nanoseconds += (
            times * index.size * (2 * CELL_NS * weight.size // weight.shape[0] + 4 * ENTRY_NS * sum(weight.padded[1:]))
        )
        c.most = max(c.most, ENTRY_BYTES * 3 * sum(weight.padded[1:]))
    else:
        c.send(times)
        c.open(weight.bits, mask >> rank << 1, times)


def _relabel(c: ClaimCounter, op: ops.Relabel, mask: Mask, times: int) -> None:
    """As :func:`..protocol.geometry.relabelled` groups axes, cuts and merges them; where it cannot, a sumcheck."""
    source, out = c.circuit.tensors[op.x], c.circuit.tensors[op.out]
    rest, sizes = [(width, bool(mask >> axis & 1)) for axis, width in enumerate(out.bits)], list(source.bits)
    dense: list[bool] = []
    while sizes:
        group, wanted = list[tuple[int, bool]](), [sizes.pop(0)]
        while sum(width for width, _ in group) != sum(wanted):
            if sum(width for width, _ in group) < sum(wanted):
                group.append(rest.pop(0))
            else:
                wanted.append(sizes.pop(0))
        found = _regrouped(group, wanted)
        if found is None:
            c.rounds(source.log_cells, 2, times)
            c.look(2 * _dense(out.bits, mask), times)
            c.read(op.x, 0, times)
            return
        for width, listed in zip(wanted, found, strict=True):
            if listed:
                c.make(1 << width, times)
                c.look(2 << width, times)
        dense += found
    if mask and any(listed for _, listed in rest):
        dense[0] = True
        c.make(source.padded[0], times)
    c.read(op.x, sum(1 << axis for axis, listed in enumerate(dense) if listed), times)


def _regrouped(group: Sequence[tuple[int, bool]], sizes: Sequence[int]) -> list[bool] | None:
    """Which axes of ``sizes`` variables are lists, made from these vectors; None where a list would have to be cut."""
    rest, result = list(group), list[bool]()
    for size in reversed(sizes):
        missing, listed = size, False
        while missing:
            width, dense = rest.pop()
            if width > missing:
                if dense:
                    return None
                rest.append((width - missing, False))
                width = missing
            listed, missing = listed or dense, missing - width
        result.insert(0, listed)
    result[0] = result[0] or any(dense for _, dense in rest)
    return result


def _view(c: ClaimCounter, op: ops.View, mask: Mask, times: int) -> None:
    out = c.circuit.tensors[op.out]
    for piece in op.pieces:
        source = c.circuit.tensors[piece.source]
        found = 0
        for axis, (driven, indices) in enumerate(zip(piece.axes, piece.indices, strict=True)):
            if driven != NONE and len(indices) == source.shape[driven] and indices == tuple(range(len(indices))):
                found |= (mask >> axis & 1) << driven
                continue
            c.look(out.padded[axis], times)
            if driven != NONE:
                found |= 1 << driven
                c.make(source.padded[driven], times)
        for axis, constant in enumerate(piece.fixed):
            if constant != NONE:
                found |= 1 << axis
                c.make(source.padded[axis], times)
        if NONE in piece.axes:  # the sum along an axis that nothing drives goes into the first vector
            found |= 1
            c.make(source.padded[0], times)
        if op.constant:
            c.look(sum(out.padded), times)
        c.read(piece.source, found, times)


_REDUCTIONS: Dispatch[Callable[[ClaimCounter, Any, Mask, int], None]] = dispatch(
    {
        ops.MatMul: _matmul,
        ops.Conv: _conv,
        ops.BatchedMatMul: _batched,
        ops.Mul: _mul,
        ops.LinearCombination: _combination,
        ops.WindowSum: _window_sum,
        ops.RowSum: _row_sum,
        ops.GatedMatMul: _gated,
        ops.RowScale: _row_scale,
        ops.WeightRows: _weight_rows,
        ops.Relabel: _relabel,
        ops.View: _view,
    },
    (
        "its results are held: claims on them are opened",
        (ops.Requant, ops.Rescale, ops.Lookup, ops.WindowMax, ops.RowMax, ops.Recip, ops.Isqrt, ops.ArgMax, ops.TopIndex),
    ),
    (_REFUSED, (ops.Gather,)),
)
