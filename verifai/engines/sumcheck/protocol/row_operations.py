"""The script of operations along rows: RowMax, ArgMax, Recip and Isqrt. Part of :mod:`.operations`.

The operand alone determines each result. Bounds that leave two possible results would let the prover choose one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.ops import NONE
from verifai.engines.sumcheck.circuit.program import Tensor
from verifai.engines.sumcheck.protocol import axes as ax
from verifai.engines.sumcheck.protocol import field
from verifai.engines.sumcheck.protocol.axes import Axis, Dense, Eq, Functional, point_axes
from verifai.engines.sumcheck.protocol.claim import Claim
from verifai.engines.sumcheck.protocol.field import ONE, ZERO, Ext, P
from verifai.engines.sumcheck.protocol.party import Party, read_masked

Rows = list[tuple[Claim, ...]]
Places = Sequence[Functional]
"""Per lookup of an operation, the weights of its cells at the leaves' point; the same object where they are the same."""
Reading = Callable[[Functional], Claim]


def once(read: Reading) -> Reading:
    """``read``, but one claim per functional however often it is asked for: one message, and one claim to carry or to open."""
    found: dict[int, Claim] = {}

    def reading(axes: Functional) -> Claim:
        if id(axes) not in found:
            found[id(axes)] = read(axes)
        return found[id(axes)]

    return reading


def _integer(value: int, axes: Functional, tensor: Tensor) -> Ext:
    """The functional of the constant ``value`` on all stored cells, padding included."""
    return field.scale(ax.stored_total(axes, tensor.shape), value)


def _upper(claim: Claim, low: Claim, bits: int) -> Claim:
    """(value − low limb) / 2^bits."""
    return (claim - low).scale(field.embed(pow(2, -bits, P)))


def _joined(low: Claim, high: Claim, bits: int) -> Claim:
    return low + high.scale(field.embed(1 << bits))


def _row_axes(axes: Functional) -> Functional:
    """The leading axes; one axis of one cell where there are none."""
    return axes[:-1] or (Eq(()),)


def _cell_axes(rows: Functional, column: Axis, source: Tensor) -> Functional:
    return (*rows, column) if len(source.shape) > 1 else (column,)


def _column_weights(source: Tensor, entries: list[Ext]) -> Dense:
    """Entries for the true cells of a row, zeros beyond."""
    return Dense(tuple(entries) + (ZERO,) * (source.padded[-1] - len(entries)))


# --- RowMax ---


def difference(party: Party, op: ops.RowMax, axes: Functional) -> Claim:
    """m − x on true cells, D on padding. The maxima's own padding is pinned to 0."""
    source, maxima = party.circuit.tensors[op.x], party.circuit.tensors[op.out]
    rows = _row_axes(axes)
    largest = party.read(op.out, rows, "rowmax.m")
    party.pin_padding(("tensor", op.out, 0), rows, maxima.shape, largest)
    value = largest.scale(axes[-1].first(source.shape[-1])) - read_masked(party, op.x, axes, "rowmax.x")
    last = party.circuit.tables[op.table].high
    return value.plus(field.scale(ax.padding_total(axes, source.shape), last))


def row_max_rows(party: Party, number: int, op: ops.RowMax, places: Places) -> Rows:
    """(d, E) in T, (d, [d = 0]) in the flags; and per row Σ flags − 1 ≥ 0. Saturated: u in place of d, as in Requant."""
    source, maxima, table = party.circuit.tensors[op.x], party.circuit.tensors[op.out], party.circuit.tables[op.table]
    at_exp, at_flag, *at_split, rows = places
    u = once(lambda axes: difference(party, op, axes))
    flag = party.column(number, 0, at_flag, "rowmax.flag")
    split: Rows = []
    if op.saturate:
        h, sigma, kappa = (_split(party, number, i) for i in (1, 2, 3))
        at_low, at_sigma, at_kappa = at_split
        split = [(u(at_low) - h(at_low).scale(field.embed(len(table.values))),)]
        split += [(h(at_sigma), sigma(at_sigma)), (h(at_kappa), kappa(at_kappa))]
        u = once(lambda axes: _saturated(party, number, kappa, axes))
    first = (u(at_exp),) if op.exp == NONE else (u(at_exp), party.read(op.exp, at_exp, "rowmax.exp"))
    second = (u(at_flag), flag)
    ones = _column_weights(source, [ONE] * source.shape[-1])
    flags = party.column(number, 0, _cell_axes(rows, ones, source), "rowmax.flags")
    more = flags.plus(field.scale(ax.true_total(rows, maxima.shape), -1))
    return [first, second, *split, (more,)]


def _split(party: Party, number: int, column: int) -> Reading:
    return once(lambda axes: party.column(number, column, axes, "rowmax.split"))


def _saturated(party: Party, number: int, kappa: Reading, axes: Functional) -> Claim:
    """u, with the check of its product."""
    u = party.message(number, 0, axes, "rowmax.u")
    party.defer(number, 0, axes, u - kappa(axes))
    return u


# --- Recip and Isqrt ---


def recip_rows(party: Party, number: int, op: ops.Recip, places: Places) -> Rows:
    """2^46 = R·q·2^e + ρ with 2^29 ≤ q·2^e < 2^30, 0 ≤ ρ < q·2^e, K = R·2^e.

    The range of q·2^e makes e, and with it R and K, unique. Products are checked later.
    """
    out = party.circuit.tensors[op.out]
    e, power, scaled, r0, r1, rho0, rho1, a0, s0 = (_recip_column(party, number, i) for i in range(9))

    def rho(axes: Functional) -> Claim:
        return _joined(rho0(axes), rho1(axes), 15)

    def above(axes: Functional) -> Claim:
        return _upper(scaled(axes).plus(_integer(-(1 << 29), axes, out)), a0(axes), 15)

    def slack(axes: Functional) -> Claim:
        return _upper((scaled(axes) - rho(axes)).plus(_integer(-1, axes, out)), s0(axes), 15)

    first = places[0]
    limbs = (r0, r1, rho0, rho1, a0, above, s0, slack)
    rows: Rows = [(e(first), power(first)), *((limb(axes),) for limb, axes in zip(limbs, places[1:], strict=True))]
    party.defer(number, 0, first, scaled(first))
    party.defer(number, 1, first, party.read(op.out, first, "recip.k"))
    party.defer(number, 2, first, rho(first).scale(field.embed(-1)).plus(_integer(1 << 46, first, out)))
    return rows


def _recip_column(party: Party, number: int, column: int) -> Reading:
    return once(lambda axes: party.column(number, column, axes, "recip.column"))


def recip_factors(party: Party, number: int, op: ops.Recip, which: int, axes: Functional) -> Claim:
    """The product that defer number ``which`` stands for: q·2^e, R·2^e, R·(q·2^e)."""
    if which == 0:
        described = party.circuit.tensors[op.q]
        q = read_masked(party, op.q, axes, "recip.q").plus(ax.padding_total(axes, described.shape))
        return q.mul(party.column(number, 1, axes, "recip.column"))
    low, high = (party.column(number, i, axes, "recip.column") for i in (3, 4))
    quotient = _joined(low, high, 9)
    return quotient.mul(party.column(number, 1 if which == 1 else 2, axes, "recip.column"))


def isqrt_rows(party: Party, number: int, op: ops.Isqrt, places: Places) -> Rows:
    """q in [0, 2^30), v − q² and 2q − v + q² in [0, 2^31); q² is a message, checked later."""
    root = once(lambda axes: party.read(op.out, axes, "isqrt.q"))
    q0, d0, f0 = (_isqrt_limb(party, number, i) for i in range(3))
    below = once(lambda axes: read_masked(party, op.v, axes, "isqrt.v") - _squared(party, number, axes))

    def high_q(axes: Functional) -> Claim:
        return _upper(root(axes), q0(axes), 15)

    def high_d(axes: Functional) -> Claim:
        return _upper(below(axes), d0(axes), 16)

    def high_f(axes: Functional) -> Claim:
        return _upper(root(axes) + root(axes) - below(axes), f0(axes), 16)

    limbs = (q0, high_q, d0, high_d, f0, high_f)
    return [(limb(axes),) for limb, axes in zip(limbs, places, strict=True)]


def _isqrt_limb(party: Party, number: int, column: int) -> Reading:
    return once(lambda axes: party.column(number, column, axes, "isqrt.limb"))


def _squared(party: Party, number: int, axes: Functional) -> Claim:
    """q², with the check of its product."""
    square = party.message(number, 0, axes, "isqrt.square")
    party.defer(number, 0, axes, square)
    return square


# --- ArgMax ---


def argmax_rows(party: Party, number: int, op: ops.ArgMax, places: Places) -> Rows:
    """One-hot cells g in {0, 1}, and v − x_j − [j < k] ≥ 0 on true cells, where [j < k] = 1 − Σ_{i ≤ j} g_i."""
    source, out = party.circuit.tensors[op.x], party.circuit.tensors[op.out]
    first, axes = places
    chosen = once(lambda axes: party.column(number, 0, axes, "argmax.g"))
    party.pin_padding(("column", number, 0), first, source.shape, chosen(first))
    rows, size = _row_axes(axes), source.shape[-1]
    largest = party.column(number, 1, rows, "argmax.v")
    party.pin_padding(("column", number, 1), rows, out.shape, largest)
    value = largest.scale(axes[-1].first(size)) - read_masked(party, op.x, axes, "argmax.x")
    suffix, entries = ZERO, axes[-1].dense()[:size]
    for i in range(size - 1, -1, -1):
        suffix = entries[i] = field.add(entries[i], suffix)
    reached = party.column(number, 0, (*axes[:-1], _column_weights(source, entries)), "argmax.reached")
    value = value + reached
    return [(chosen(first),), (value.plus(field.scale(ax.true_total(axes, source.shape), -1)),)]


def check_argmax(party: Party, number: int, op: ops.ArgMax) -> None:
    """At a random row point: Σ g = 1 on true rows, Σ j·g = k, Σ g·x = v."""
    source, out = party.circuit.tensors[op.x], party.circuit.tensors[op.out]
    size = source.shape[-1]
    rows = point_axes(party.challenges("argmax.anchor", out.log_cells), out.bits)
    ones = _cell_axes(rows, _column_weights(source, [ONE] * size), source)
    indices = _cell_axes(rows, _column_weights(source, [(j, 0) for j in range(size)]), source)
    one = party.column(number, 0, ones, "argmax.one")
    one.plus(field.scale(ax.true_total(rows, out.shape), -1)).assert_zero("argmax")
    index = party.column(number, 0, indices, "argmax.index")
    (index - party.read(op.out, rows, "argmax.k")).assert_zero("argmax")
    largest = party.column(number, 1, rows, "argmax.v")
    claim, point = party.weighted_product(number, 0, ones, ones, largest, source.log_cells, "argmax")
    inner = point_axes(point, source.bits)
    value = party.column(number, 0, inner, "argmax.g").mul(read_masked(party, op.x, inner, "argmax.x"))
    (value.scale(ax.weight_at(ones, point)) - claim).assert_zero("argmax")
