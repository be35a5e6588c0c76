"""The script of what language models need beside: Rescale, GatedMatMul, RowScale, WeightRows and TopIndex. Part of
:mod:`.operations`.

The operand alone determines each result; docs/engine/protocol.md, "Operations for language models", has the arguments.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.ops import NONE
from verifai.engines.sumcheck.protocol import axes as ax
from verifai.engines.sumcheck.protocol import field
from verifai.engines.sumcheck.protocol.axes import Eq, Functional, point_axes
from verifai.engines.sumcheck.protocol.claim import Claim
from verifai.engines.sumcheck.protocol.field import ONE, Ext, P
from verifai.engines.sumcheck.protocol.party import Party, read_masked
from verifai.engines.sumcheck.protocol.row_operations import Places, Reading, Rows, once


def _offsets(widths: Sequence[int]) -> list[int]:
    return [0, *accumulate(widths)]


def _digits(party: Party, number: int, first: int, count: int, label: str) -> list[Reading]:
    """The committed digits of an operation: all but the highest."""

    def digit(i: int) -> Reading:
        return once(lambda axes: party.column(number, first + i, axes, label))

    return [digit(i) for i in range(count)]


def _highest(whole: Claim, lower: Sequence[Claim], widths: Sequence[int]) -> Claim:
    """(value − Σ 2^offset·digit) / 2^(offset of the highest)."""
    offsets = _offsets(widths)
    for digit, offset in zip(lower, offsets, strict=False):
        whole = whole - digit.scale(field.embed(1 << offset))
    return whole.scale(field.embed(pow(2, -offsets[len(widths) - 1], P)))


def _digit_rows(
    whole: Reading, lower: Sequence[Reading], widths: Sequence[int], places: Sequence[Functional]
) -> list[tuple[Claim, ...]]:
    """One range row per digit; the highest follows from the whole and the others."""
    rows: list[tuple[Claim, ...]] = [(digit(axes),) for digit, axes in zip(lower, places, strict=False)]
    last = places[-1]
    return [*rows, (_highest(whole(last), [digit(last) for digit in lower], widths),)]


# --- Rescale ---


def rescale_rows(party: Party, number: int, op: ops.Rescale, places: Places) -> Rows:
    """Limbs of rem = z + 2^(s−1) − 2^s·y and digits of y − base, each in its range; the highest of both are not committed."""
    shape, count, bits = party.circuit.tensors[op.out].shape, len(op.limbs), sum(op.digits)
    limbs = _digits(party, number, 0, count - 1, "rescale.rem")
    digits = _digits(party, number, count - 1, len(op.digits) - 1, "rescale.digit")
    value = once(lambda axes: party.read(op.out, axes, "rescale.y"))

    def remainder(axes: Functional) -> Claim:
        rounded = read_masked(party, op.z, axes, "rescale.z").plus(
            field.scale(ax.stored_total(axes, shape), 1 << (op.shift - 1))
        )
        return rounded - value(axes).scale(field.embed(1 << op.shift))

    def above(axes: Functional) -> Claim:
        return value(axes).plus(field.scale(ax.stored_total(axes, shape), 1 << (bits - 1)))

    return [
        *_digit_rows(remainder, limbs, op.limbs, places[:count]),
        *_digit_rows(above, digits, op.digits, places[count:]),
    ]


# --- GatedMatMul, RowScale and WeightRows ---


def carry_gated(party: Party, number: int, op: ops.GatedMatMul, axes: Functional, claim: Claim) -> None:
    """z̃ − b̃·mask~ = Σ_{r, k} g(r)·W̃(·, k)·a(r, k)·b(r, k)."""
    source = party.circuit.tensors[op.a]
    rows, channel = axes[:-1], axes[-1:]
    if op.bias != NONE:
        bias = party.weight(op.bias, channel, "gated.bias")
        claim = claim - bias.scale(ax.true_total(rows, source.shape[: len(rows)]))
    claim, point = party.gated_product(number, axes, claim, source.log_cells, "gated")
    inner = point_axes(point, source.bits)
    summed = sum(source.bits[: len(rows)])
    weight = party.weight(op.weight, (*channel, *inner[len(rows) :]), "gated.w")
    first = read_masked(party, op.a, inner, "gated.x")
    second = first if op.a == op.b else read_masked(party, op.b, inner, "gated.x")
    value = weight.mul(first).mul(second)
    (value.scale(ax.weight_at(rows, point[:summed])) - claim).assert_zero("gated")


def carry_row_scale(party: Party, number: int, op: ops.RowScale, axes: Functional, claim: Claim) -> None:
    """Σ_r g(r)·x(r, g_k)·f(r): a sum over rows alone."""
    source, factor = party.circuit.tensors[op.x], party.circuit.tensors[op.factor]
    rows = axes[:-1] or (Eq(()),)
    claim = claim.scale(field.embed(pow(op.multiplier, -1, P)))
    claim, point = party.weighted_product(number, 0, rows, axes, claim, factor.log_cells, "scale")
    at = point_axes(point, factor.bits)
    cells = (*at, axes[-1]) if len(source.shape) > 1 else (axes[-1],)
    value = read_masked(party, op.x, cells, "scale.x").mul(read_masked(party, op.factor, at, "scale.f"))
    (value.scale(ax.weight_at(rows, point)) - claim).assert_zero("scale")


def carry_weight_rows(party: Party, number: int, op: ops.WeightRows, axes: Functional, claim: Claim) -> None:
    """One functional of the weight: along its rows, the entry Σ_t g(t)·[index_t = v] at v."""
    index, weight = party.circuit.tensors[op.index], party.circuit.weights[op.weight]
    rank = len(index.shape)
    chosen = ax.sparse(weight.bits[0], zip(party.shown(op.index), cell_weights(axes[:rank], index.shape), strict=True))
    value = party.weight(op.weight, (chosen, *axes[rank:]), "rows.w")
    (value - claim).assert_zero("rows")


def cell_weights(axes: Functional, shape: Sequence[int]) -> list[Ext]:
    """The functional's weight of every true cell, row-major."""
    weights = [ONE]
    for axis, size in zip(axes, shape, strict=True):
        entries = axis.dense()[:size]
        weights = [field.product(x, y) for x in weights for y in entries]
    return weights


# --- TopIndex ---


def top_index_rows(party: Party, number: int, op: ops.TopIndex, places: Places) -> Rows:
    """Digits of v − x_j − [j < k] on true cells, 0 on padding; k is known to both sides.

    v is committed; :func:`check_top_index` determines all of its cells, padding included.
    """
    source, out = party.circuit.tensors[op.x], party.circuit.tensors[op.out]
    size, top = source.shape[-1], party.shown(op.out)
    digits = _digits(party, number, 1, len(op.digits) - 1, "top.digit")

    def slack(axes: Functional) -> Claim:
        rows = axes[:-1] or (Eq(()),)
        largest = party.column(number, 0, rows, "top.v")
        before = field.ZERO
        for weight, k in zip(cell_weights(rows, out.shape), top, strict=True):
            before = field.add(before, field.product(weight, axes[-1].first(k)))
        value = largest.scale(axes[-1].first(size)) - read_masked(party, op.x, axes, "top.x")
        return value.plus(field.scale(before, -1))

    return _digit_rows(slack, digits, op.digits, places)


def check_top_index(party: Party, number: int, op: ops.TopIndex) -> None:
    """v = x_k, at a random point of the rows: Σ_{t, j} eq(point, t)·[j = k_t]·x(t, j)."""
    source, out = party.circuit.tensors[op.x], party.circuit.tensors[op.out]
    rows = point_axes(party.challenges("top.anchor", out.log_cells), out.bits)
    claim = party.column(number, 0, rows, "top.v")
    claim, point = party.inner_product(number, rows, claim, source.log_cells, "top")
    value = read_masked(party, op.x, point_axes(point, source.bits), "top.x")
    (value.scale(_selection_at(party, op, rows, point)) - claim).assert_zero("top")


def _selection_at(party: Party, op: ops.TopIndex, rows: Functional, point: Sequence[Ext]) -> Ext:
    """The extension at ``point`` of the weights eq(rows, t)·[j = k_t]."""
    source, out = party.circuit.tensors[op.x], party.circuit.tensors[op.out]
    cut = len(point) - source.bits[-1]
    at = cell_weights(point_axes(point[:cut], source.bits[:-1]), source.shape[:-1])
    total = field.ZERO
    for mine, its, k in zip(cell_weights(rows, out.shape), at, party.shown(op.out), strict=True):
        total = field.add(total, field.product(field.product(mine, its), ax.eq_index(k, point[cut:])))
    return total
