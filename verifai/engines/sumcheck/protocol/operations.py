"""The script of the protocol, operation by operation: what is looked up, and how claims move from results to operands.

Prover and verifier both run it (:mod:`.party`). Every equation here is about integers. The no-wrap rule bounds them, so it is
enough to check it modulo p.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.dispatch import Dispatch, dispatch, find, require
from verifai.engines.sumcheck.circuit.ops import NONE
from verifai.engines.sumcheck.circuit.program import Tensor
from verifai.engines.sumcheck.protocol import axes as ax
from verifai.engines.sumcheck.protocol import field, geometry, language_operations, row_operations
from verifai.engines.sumcheck.protocol.axes import Functional, point_axes
from verifai.engines.sumcheck.protocol.buses import LINEAR_OR_VIEW, taps
from verifai.engines.sumcheck.protocol.claim import Claim
from verifai.engines.sumcheck.protocol.field import ONE, P
from verifai.engines.sumcheck.protocol.party import Party, read_masked
from verifai.engines.sumcheck.protocol.row_operations import Places, Reading, Rows, once
from verifai.errors import UnsupportedModel

# --- lookups: the columns of each operation's rows at one point ---------------------------------------------------------------


def _lookup_rows(party: Party, number: int, op: ops.Lookup, places: Places) -> Rows:
    """(x, y) in the table."""
    (axes,) = places
    return [(read_masked(party, op.x, axes, "lookup.x"), party.read(op.out, axes, "lookup.y"))]


def _window_max_rows(party: Party, number: int, op: ops.WindowMax, places: Places) -> Rows:
    """y − tap in its range, for each tap."""
    largest = once(lambda axes: party.read(op.out, axes, "max.y"))
    return [(largest(axes) - _tap(party, op, axes, u, v),) for (u, v), axes in zip(taps(op), places, strict=True)]


def _requant_rows(party: Party, number: int, op: ops.Requant, places: Places) -> Rows:
    """(t, y) in the table and each limb of the remainder in its range, with t = (z + 2^(s−1) − rem) / 2^s.

    Limbs sit at offsets Σ of the widths before them, and the widths sum to s exactly, so 0 ≤ rem < 2^s. A saturating one splits
    t = 2^(w−1)·h + l with 0 ≤ l < 2^(w−1), takes (σ, κ) from h, and looks up u = σ·t + κ, whose product is checked later.
    """
    count = len(op.limbs)
    limbs = [_limb(party, number, i) for i in range(count)]
    h, sigma, kappa = (_split(party, number, count + i) for i in range(3))
    at_y, at_limbs = places[0], places[1 : 1 + count]
    at_t = places[1 + count] if op.saturate else at_y
    t = _quotient(party, op, limbs, at_t)
    y = party.read(op.out, at_y, "requant.y")
    rows: Rows = [(limb(axes),) for limb, axes in zip(limbs, at_limbs, strict=True)]
    if not op.saturate:
        return [(t, y), *rows]
    low = t - h(at_t).scale(field.embed(1 << (party.circuit.tables[op.table].width - 1)))
    split: Rows = [(h(axes), one(axes)) for one, axes in zip((sigma, kappa), places[2 + count :], strict=True)]
    u = party.message(number, 0, at_y, "requant.u")
    party.defer(number, 0, at_y, u - kappa(at_y))
    return [(u, y), *rows, (low,), *split]


def _limb(party: Party, number: int, limb: int) -> Reading:
    return once(lambda axes: party.column(number, limb, axes, "requant.rem"))


def _split(party: Party, number: int, column: int) -> Reading:
    return once(lambda axes: party.column(number, column, axes, "requant.split"))


def _quotient(party: Party, op: ops.Requant, limbs: Sequence[Reading], axes: Functional) -> Claim:
    """t = (z + 2^(s−1) − rem) / 2^s under ``axes``, of which its constant takes the total over stored cells."""
    t = read_masked(party, op.z, axes, "requant.z")
    values = [limb(axes) for limb in limbs]
    if op.shift:
        every = ax.stored_total(axes, party.circuit.tensors[op.out].shape)
        t, offset = t.plus(field.scale(every, 1 << (op.shift - 1))), 0
        for value, bits in zip(values, op.limbs, strict=True):
            t = t - value.scale(field.embed(1 << offset))
            offset += bits
        t = t.scale(field.embed(pow(2, -op.shift, P)))
    return t


_VIRTUAL = "its result is virtual: claims on it are carried to its operands"
_LOOKUPS_SUFFICE = (ops.Requant, ops.Rescale, ops.Lookup, ops.RowMax, ops.Recip, ops.Isqrt)
_REFUSED = "it is not part of this suite: the planner refuses it"

_LOOKUP_ROWS: Dispatch[Callable[[Party, int, Any, Places], Rows]] = dispatch(
    {
        ops.Requant: _requant_rows,
        ops.Lookup: _lookup_rows,
        ops.WindowMax: _window_max_rows,
        ops.RowMax: row_operations.row_max_rows,
        ops.Recip: row_operations.recip_rows,
        ops.Isqrt: row_operations.isqrt_rows,
        ops.ArgMax: row_operations.argmax_rows,
        ops.Rescale: language_operations.rescale_rows,
        ops.TopIndex: language_operations.top_index_rows,
    },
    (_VIRTUAL, LINEAR_OR_VIEW),
    (_REFUSED, (ops.Gather,)),
)


def lookup_rows(party: Party, number: int, places: Places) -> Rows:
    """The rows that operation ``number`` looks up, in slot order, each under its own functional; empty without lookups."""
    op = party.circuit.ops[number]
    rule = find(_LOOKUP_ROWS, op, "lookup rows")
    return [] if rule is None else rule(party, number, op, places)


def tensor_rows(party: Party, tensor: int, axes: Functional, slots: int) -> tuple[Rows, Claim]:
    """Range rows of a hashed tensor, x − low and high − x on true cells, 0 on padding; and its stored value under ``axes``."""
    described = party.circuit.tensors[tensor]
    value = read_masked(party, tensor, axes, "hashed.x")
    mask = ax.true_total(axes, described.shape)
    rows: Rows = [(value.plus(field.scale(mask, -described.low)),)]
    if slots == 2:
        rows.append((value.scale(field.embed(-1)).plus(field.scale(mask, described.high)),))
    return rows, value


def _tap(party: Party, op: ops.WindowMax, axes: Functional, u: int, v: int) -> Claim:
    """One tap of a window: the shifted operand, and the operand's least value wherever the tap is not a true cell."""
    source, out = party.circuit.tensors[op.x], party.circuit.tensors[op.out]
    height, width = geometry.window_axes(op, axes, source, out, geometry.one_tap(op.kernel, u, v))
    shifted = (*axes[:-2], height, width)
    inside = ax.true_total(shifted, source.shape)
    value = read_masked(party, op.x, shifted, "max.tap")
    return value.plus(field.scale(field.sub(ax.stored_total(axes, out.shape), inside), source.low))


# --- checks besides the lookups -----------------------------------------------------------------------


def _check_maximum(party: Party, number: int, op: ops.WindowMax) -> None:
    """The zero-check is at a point drawn after the witness was committed."""
    out, window = party.circuit.tensors[op.out], taps(op)
    anchor = party.challenges("max.anchor", out.log_cells)
    claim, point = party.zero_check(number, anchor, len(window), "max")
    axes = point_axes(point, out.bits)
    largest = party.read(op.out, axes, "max.y")
    factors = [largest - _tap(party, op, axes, u, v) for u, v in window]
    while len(factors) > 2:
        factors = [*factors[2:], party.intermediate(factors[0].mul(factors[1]), "max.product")]
    ends = factors[0].mul(factors[1]) if len(factors) == 2 else factors[0]
    (ends - claim).assert_zero("max")


_CHECKS: Dispatch[Callable[[Party, int, Any], None]] = dispatch(
    {
        ops.WindowMax: _check_maximum,
        ops.ArgMax: row_operations.check_argmax,
        ops.TopIndex: language_operations.check_top_index,
    },
    (_VIRTUAL, LINEAR_OR_VIEW),
    ("its lookups, and the products that they defer, are all there is to check", _LOOKUPS_SUFFICE),
    (_REFUSED, (ops.Gather,)),
)


def _selected(party: Party, number: int, op: ops.Requant, which: int, axes: Functional) -> Claim:
    """σ·t."""
    t = _quotient(party, op, [_limb(party, number, i) for i in range(len(op.limbs))], axes)
    return party.column(number, len(op.limbs) + 1, axes, "requant.split").mul(t)


def _selected_difference(party: Party, number: int, op: ops.RowMax, which: int, axes: Functional) -> Claim:
    """σ·d."""
    return party.column(number, 2, axes, "rowmax.split").mul(row_operations.difference(party, op, axes))


def _square(party: Party, number: int, op: ops.Isqrt, which: int, axes: Functional) -> Claim:
    """q²."""
    root = party.read(op.out, axes, "isqrt.q")
    return root.mul(root)


@dataclass(frozen=True, slots=True)
class _Deferred:
    """The products that an operation's lookups took for granted.

    Attributes:
        cells: the tensor whose cells each product has. product: of claims; its ``which`` numbers those of one operation.
    """

    cells: Callable[[Any], int]
    product: Callable[[Party, int, Any, int, Functional], Claim]


_PRODUCTS: Dispatch[_Deferred] = dispatch(
    {
        ops.Requant: _Deferred(lambda op: op.out, _selected),
        ops.RowMax: _Deferred(lambda op: op.x, _selected_difference),
        ops.Recip: _Deferred(lambda op: op.out, row_operations.recip_factors),
        ops.Isqrt: _Deferred(lambda op: op.out, _square),
    },
    (_VIRTUAL, LINEAR_OR_VIEW),
    ("its lookups take no product for granted", (ops.Lookup, ops.WindowMax, ops.ArgMax, ops.Rescale, ops.TopIndex)),
    (_REFUSED, (ops.Gather,)),
)


def check_operation(party: Party, number: int) -> None:
    """The operation's own check, if it has one. Then every product that its lookups took for granted."""
    op = party.circuit.ops[number]
    check = find(_CHECKS, op, "checks")
    if check is not None:
        check(party, number, op)
    for deferred in party.deferred(number):
        rule = require(_PRODUCTS, op, "deferred products")
        bits = party.circuit.tensors[rule.cells(op)].bits
        axes, which, label = deferred.axes, deferred.which, "deferred"
        claim, point = party.weighted_product(number, which, axes, axes, deferred.value, sum(bits), label)
        value = rule.product(party, number, op, which, point_axes(point, bits))
        (value.scale(ax.weight_at(axes, point)) - claim).assert_zero(label)


# --- virtual tensors: from a claim on the result to claims on the operands ----------------------------------------------------


def _matmul(party: Party, number: int, op: ops.MatMul, axes: Functional, claim: Claim) -> None:
    """z̃ − b̃·mask~ = Σ_k W̃(·, k)·x̃(·, k)."""
    source = party.circuit.tensors[op.x]
    rows, channel = axes[:-1], axes[-1:]
    if op.bias != NONE:
        bias = party.weight(op.bias, channel, "matmul.bias")
        claim = claim - bias.scale(ax.true_total(rows, source.shape[: len(rows)]))
    bits = source.bits[len(source.shape) - op.contract :]
    claim, point = party.inner_product(number, axes, claim, sum(bits), "matmul")
    inner = point_axes(point, bits)
    weight = party.weight(op.weight, (*channel, *inner), "matmul.w")
    value = read_masked(party, op.x, (*rows, *inner), "matmul.x")
    (weight.mul(value) - claim).assert_zero("matmul")


def conv_bits(op: ops.Conv, weight_shape: tuple[int, ...], source: Tensor) -> tuple[int, int, int, int]:
    """Variables of the convolution's sum: group, channel within the group, height and width of the kernel."""
    inner, height, width = ((size - 1).bit_length() for size in weight_shape[1:])
    return source.bits[-3] - inner, inner, height, width


def _conv(party: Party, number: int, op: ops.Conv, axes: Functional, claim: Claim) -> None:
    """z̃ − b̃·mask~ = Σ_{group, c, u, v} W̃·P, where P, the shifted operand, is itself a functional of the operand."""
    source, out = party.circuit.tensors[op.x], party.circuit.tensors[op.out]
    kernel = party.circuit.weights[op.weight].shape
    if op.bias != NONE:
        bias = party.weight(op.bias, axes[-3:-2], "conv.bias")
        rest = (*axes[:-3], *axes[-2:])
        claim = claim - bias.scale(ax.true_total(rest, (*out.shape[:-3], *out.shape[-2:])))
    bits = conv_bits(op, kernel, source)
    claim, point = party.inner_product(number, axes, claim, sum(bits), "conv")
    group, inner, u, v = (axis.point for axis in point_axes(point, bits) if isinstance(axis, ax.Eq))
    channel = geometry.group_axis(axes[-3], group)
    weight = party.weight(op.weight, (channel, ax.Eq(inner), ax.Eq(u), ax.Eq(v)), "conv.w")
    taps_ = (ax.eq_table(u)[: kernel[2]], ax.eq_table(v)[: kernel[3]])
    height, width = geometry.window_axes(op, axes, source, out, taps_)
    value = read_masked(party, op.x, (*axes[:-3], ax.Eq(group + inner), height, width), "conv.x")
    (weight.mul(value) - claim).assert_zero("conv")


def _pair(party: Party, a: int, b: int, axes: tuple[Functional, Functional], label: str) -> Claim:
    """ã·b̃ under the functionals; one reading where both are the same."""
    first = read_masked(party, a, axes[0], label)
    second = first if a == b and axes[0] == axes[1] else read_masked(party, b, axes[1], label)
    return first.mul(second)


def _mul(party: Party, number: int, op: ops.Mul, axes: Functional, claim: Claim) -> None:
    """Σ g·a·b over cells."""
    bits = party.circuit.tensors[op.a].bits
    claim = claim.scale(field.embed(pow(op.multiplier, -1, P)))
    claim, point = party.weighted_product(number, 0, axes, axes, claim, sum(bits), "product")
    inner = point_axes(point, bits)
    value = _pair(party, op.a, op.b, (inner, inner), "product.x")
    (value.scale(ax.weight_at(axes, point)) - claim).assert_zero("product")


def _batched(party: Party, number: int, op: ops.BatchedMatMul, axes: Functional, claim: Claim) -> None:
    """Σ g_b·(Σ_i g_i·a[b, i, k])·(Σ_j g_j·b[b, k, j]) over b and k."""
    first = party.circuit.tensors[op.a]
    weights, bits = geometry.batch_axes(axes, first), (*first.bits[:-2], first.bits[-1])
    claim = claim.scale(field.embed(pow(op.multiplier, -1, P)))
    claim, point = party.weighted_product(number, 0, weights, axes, claim, sum(bits), "product")
    inner = point_axes(point, bits)
    operands = ((*inner[:-1], axes[-2], inner[-1]), (*inner, axes[-1]))
    value = _pair(party, op.a, op.b, operands, "product.x")
    (value.scale(ax.weight_at(weights, point)) - claim).assert_zero("product")


def _window_sum(party: Party, number: int, op: ops.WindowSum, axes: Functional, claim: Claim) -> None:
    """One functional of the operand, all taps together."""
    source, out = party.circuit.tensors[op.x], party.circuit.tensors[op.out]
    ones = ([ONE] * op.kernel[0], [ONE] * op.kernel[1])
    height, width = geometry.window_axes(op, axes, source, out, ones)
    value = read_masked(party, op.x, (*axes[:-2], height, width), "window.x")
    (value.scale(field.embed(op.multiplier)) - claim).assert_zero("window")


def _row_sum(party: Party, number: int, op: ops.RowSum, axes: Functional, claim: Claim) -> None:
    """One functional of the operand; of a product, a sumcheck."""
    if op.y != NONE:
        _row_product(party, number, op, axes, claim)
        return
    value = read_masked(party, op.x, geometry.row_sum_axes(op, axes, party.circuit.tensors[op.x]), "rowsum.x")
    (value.scale(field.embed(op.multiplier)) - claim).assert_zero("rowsum")


def _relabel(party: Party, number: int, op: ops.Relabel, axes: Functional, claim: Claim) -> None:
    """The same functional under the operand's shape; one that is no product along the operand's axes is brought to a point."""
    source = party.circuit.tensors[op.x]
    carried = geometry.relabelled(axes, source)
    if carried is not None:
        (read_masked(party, op.x, carried, "relabel.x") - claim).assert_zero("relabel")
        return
    claim, point = party.inner_product(number, axes, claim, source.log_cells, "relabel")
    value = read_masked(party, op.x, point_axes(point, source.bits), "relabel.x")
    (value.scale(ax.weight_at(axes, point)) - claim).assert_zero("relabel")


def _row_product(party: Party, number: int, op: ops.RowSum, axes: Functional, claim: Claim) -> None:
    """Σ over rows and summed cells of g·x·y."""
    source = party.circuit.tensors[op.x]
    weights = geometry.row_sum_axes(op, axes, source)
    claim = claim.scale(field.embed(pow(op.multiplier, -1, P)))
    claim, point = party.weighted_product(number, 0, weights, axes, claim, source.log_cells, "product")
    inner = point_axes(point, source.bits)
    value = _pair(party, op.x, op.y, (inner, inner), "product.x")
    (value.scale(ax.weight_at(weights, point)) - claim).assert_zero("product")


def _combination(party: Party, number: int, op: ops.LinearCombination, axes: Functional, claim: Claim) -> None:
    """z̃ = Σ M_i·x̃_i + c·mask~."""
    shape = party.circuit.tensors[op.out].shape
    for source, multiplier in zip(op.sources, op.multipliers, strict=True):
        value = read_masked(party, source, axes, "sum.x")
        claim = claim - value.scale(field.embed(multiplier))
    if op.constant:
        claim = claim.plus(field.scale(ax.true_total(axes, shape), -op.constant))
    claim.assert_zero("sum")


def _view(party: Party, number: int, op: ops.View, axes: Functional, claim: Claim) -> None:
    """Each piece is a functional of its source; what no piece covers is the constant."""
    covered = field.ZERO
    for piece in op.pieces:
        value = read_masked(
            party, piece.source, geometry.piece_axes(piece, axes, party.circuit.tensors[piece.source]), "view.x"
        )
        claim = claim - value
        if op.constant:
            covered = field.add(covered, geometry.piece_total(piece, axes))
    if op.constant:
        uncovered = field.sub(ax.true_total(axes, party.circuit.tensors[op.out].shape), covered)
        claim = claim.plus(field.scale(uncovered, -op.constant))
    claim.assert_zero("view")


_REDUCTIONS: Dispatch[Callable[[Party, int, Any, Functional, Claim], None]] = dispatch(
    {
        ops.MatMul: _matmul,
        ops.Conv: _conv,
        ops.BatchedMatMul: _batched,
        ops.Mul: _mul,
        ops.LinearCombination: _combination,
        ops.WindowSum: _window_sum,
        ops.RowSum: _row_sum,
        ops.GatedMatMul: language_operations.carry_gated,
        ops.RowScale: language_operations.carry_row_scale,
        ops.WeightRows: language_operations.carry_weight_rows,
        ops.Relabel: _relabel,
        ops.View: _view,
    },
    (
        "its results are held: claims on them are opened, or computed from the statement",
        (*_LOOKUPS_SUFFICE, ops.WindowMax, ops.ArgMax, ops.TopIndex),
    ),
    (_REFUSED, (ops.Gather,)),
)


def reduce_claim(party: Party, number: int, axes: Functional, claim: Claim) -> None:
    """Carry ``claim`` about the result of operation ``number`` under ``axes`` to its operands.

    Raises:
        EvidenceRejected: code ``proof-invalid``.
        UnsupportedModel: an operation that carries no claims; the planner refuses those.
    """
    op = party.circuit.ops[number]
    rule = find(_REDUCTIONS, op, "claims on virtual results")
    if rule is None:  # a claim that nothing carries on would bind nothing
        raise UnsupportedModel("sumcheck-unsupported", f"{type(op).__name__} carries no claims", where=f"op {number}")
    rule(party, number, op, axes, claim)
