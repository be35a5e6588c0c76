"""The script of operations along rows: RowMax, ArgMax, Recip and Isqrt. Part of :mod:`.operations`.

The operand alone determines each result. Bounds that leave two possible results would let the prover choose one.
"""

from __future__ import annotations

from collections.abc import Callable

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
Local = Callable[[int], tuple[Ext, ...]]
"""The leaves' point within a block of 2^n leaves, by n."""


def _integer(value: int, axes: Functional) -> Ext:
    """The functional of the constant ``value`` on all cells, padding included."""
    return field.scale(ax.total(axes), value)


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


def row_max_rows(party: Party, number: int, op: ops.RowMax, local: Local) -> Rows:
    """(d, E) in T, (d, [d = 0]) in the flags; and per row Σ flags − 1 ≥ 0. Saturated: u in place of d, as in Requant."""
    source, maxima, table = party.circuit.tensors[op.x], party.circuit.tensors[op.out], party.circuit.tables[op.table]
    axes = point_axes(local(source.log_cells), source.bits)
    u = difference(party, op, axes)
    flag = party.column(number, 0, axes, "rowmax.flag")
    split: Rows = []
    if op.saturate:
        h, sigma, kappa = (party.column(number, i, axes, "rowmax.split") for i in (1, 2, 3))
        split = [(u - h.scale(field.embed(len(table.values))),), (h, sigma), (h, kappa)]
        u = party.message(number, 0, axes, "rowmax.u")
        party.defer(number, 0, axes, u - kappa)
    first = (u,) if op.exp == NONE else (u, party.read(op.exp, axes, "rowmax.exp"))
    rows = point_axes(local(maxima.log_cells), maxima.bits)
    ones = _column_weights(source, [ONE] * source.shape[-1])
    flags = party.column(number, 0, _cell_axes(rows, ones, source), "rowmax.flags")
    more = flags.plus(field.scale(ax.true_total(rows, maxima.shape), -1))
    return [first, (u, flag), *split, (more,)]


# --- Recip and Isqrt ---


def recip_rows(party: Party, number: int, op: ops.Recip, local: Local) -> Rows:
    """2^46 = R·q·2^e + ρ with 2^29 ≤ q·2^e < 2^30, 0 ≤ ρ < q·2^e, K = R·2^e.

    The range of q·2^e makes e, and with it R and K, unique. Products are checked later.
    """
    out = party.circuit.tensors[op.out]
    axes = point_axes(local(out.log_cells), out.bits)
    e, power, scaled, r0, r1, rho0, rho1, a0, s0 = (party.column(number, i, axes, "recip.column") for i in range(9))
    rho = _joined(rho0, rho1, 15)
    above = scaled.plus(_integer(-(1 << 29), axes))
    slack = (scaled - rho).plus(_integer(-1, axes))
    party.defer(number, 0, axes, scaled)
    party.defer(number, 1, axes, party.read(op.out, axes, "recip.k"))
    party.defer(number, 2, axes, rho.scale(field.embed(-1)).plus(_integer(1 << 46, axes)))
    limbs = [r0, r1, rho0, rho1, a0, _upper(above, a0, 15), s0, _upper(slack, s0, 15)]
    return [(e, power), *((limb,) for limb in limbs)]


def recip_factors(party: Party, number: int, op: ops.Recip, which: int, axes: Functional) -> Claim:
    """The product that defer number ``which`` stands for: q·2^e, R·2^e, R·(q·2^e)."""
    if which == 0:
        described = party.circuit.tensors[op.q]
        q = read_masked(party, op.q, axes, "recip.q").plus(ax.padding_total(axes, described.shape))
        return q.mul(party.column(number, 1, axes, "recip.column"))
    low, high = (party.column(number, i, axes, "recip.column") for i in (3, 4))
    quotient = _joined(low, high, 9)
    return quotient.mul(party.column(number, 1 if which == 1 else 2, axes, "recip.column"))


def isqrt_rows(party: Party, number: int, op: ops.Isqrt, local: Local) -> Rows:
    """q in [0, 2^30), v − q² and 2q − v + q² in [0, 2^31); q² is a message, checked later."""
    out = party.circuit.tensors[op.out]
    axes = point_axes(local(out.log_cells), out.bits)
    v, q = read_masked(party, op.v, axes, "isqrt.v"), party.read(op.out, axes, "isqrt.q")
    q0, d0, f0 = (party.column(number, i, axes, "isqrt.limb") for i in range(3))
    square = party.message(number, 0, axes, "isqrt.square")
    party.defer(number, 0, axes, square)
    below = v - square
    above = q + q - below
    limbs = [q0, _upper(q, q0, 15), d0, _upper(below, d0, 16), f0, _upper(above, f0, 16)]
    return [(limb,) for limb in limbs]


# --- ArgMax ---


def argmax_rows(party: Party, number: int, op: ops.ArgMax, local: Local) -> Rows:
    """One-hot cells g in {0, 1}, and v − x_j − [j < k] ≥ 0 on true cells, where [j < k] = 1 − Σ_{i ≤ j} g_i."""
    source, out = party.circuit.tensors[op.x], party.circuit.tensors[op.out]
    axes = point_axes(local(source.log_cells), source.bits)
    rows, size = _row_axes(axes), source.shape[-1]
    chosen = party.column(number, 0, axes, "argmax.g")
    party.pin_padding(("column", number, 0), axes, source.shape, chosen)
    largest = party.column(number, 1, rows, "argmax.v")
    party.pin_padding(("column", number, 1), rows, out.shape, largest)
    value = largest.scale(axes[-1].first(size)) - read_masked(party, op.x, axes, "argmax.x")
    suffix, entries = ZERO, axes[-1].dense()[:size]
    for i in range(size - 1, -1, -1):
        suffix = entries[i] = field.add(entries[i], suffix)
    reached = party.column(number, 0, (*axes[:-1], _column_weights(source, entries)), "argmax.reached")
    value = value + reached
    return [(chosen,), (value.plus(field.scale(ax.true_total(axes, source.shape), -1)),)]


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
