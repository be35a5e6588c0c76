"""The script of the protocol, operation by operation: what is looked up, and how claims move from results to operands.

Both sides run it (:mod:`.party`). Everything here is a statement about integers that the no-wrap rule lets us check mod p.
"""

from __future__ import annotations

from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.ops import NONE
from verifai.engines.sumcheck.circuit.program import Tensor
from verifai.engines.sumcheck.protocol import axes as ax
from verifai.engines.sumcheck.protocol import field, geometry, row_operations
from verifai.engines.sumcheck.protocol.axes import Functional, point_axes
from verifai.engines.sumcheck.protocol.buses import taps
from verifai.engines.sumcheck.protocol.claim import Claim
from verifai.engines.sumcheck.protocol.field import ONE, Ext, P
from verifai.engines.sumcheck.protocol.party import Party, read_masked, truncated
from verifai.engines.sumcheck.protocol.row_operations import Local, Rows
from verifai.errors import UnsupportedModel

# --- lookups: the columns of each operation's rows at one point ---------------------------------------------------------------


def lookup_rows(party: Party, number: int, local: Local) -> Rows:
    """The rows that operation ``number`` looks up, in slot order, at the leaves' point; empty for most operations."""
    op = party.circuit.ops[number]
    if isinstance(op, ops.RowMax):
        return row_operations.row_max_rows(party, number, op, local)
    if isinstance(op, ops.ArgMax):
        return row_operations.argmax_rows(party, number, op, local)
    if isinstance(op, ops.Recip):
        return row_operations.recip_rows(party, number, op, local)
    if isinstance(op, ops.Isqrt):
        return row_operations.isqrt_rows(party, number, op, local)
    if isinstance(op, ops.Requant):
        return _requant_rows(party, number, op, local(party.circuit.tensors[op.out].log_cells))
    if isinstance(op, ops.Lookup | ops.WindowMax):
        out = party.circuit.tensors[op.out]
        axes = point_axes(local(out.log_cells), out.bits)
        if isinstance(op, ops.Lookup):
            return [(read_masked(party, op.x, axes, "lookup.x"), party.read(op.out, axes, "lookup.y"))]
        largest = party.read(op.out, axes, "max.y")
        return [(largest - _tap(party, op, axes, u, v),) for u, v in taps(op)]
    return []


def _requant_rows(party: Party, number: int, op: ops.Requant, point: tuple[Ext, ...]) -> Rows:
    """(t, y) in the table and each limb of the remainder in its range, with t = (z + 2^(s−1) − rem) / 2^s.

    Limbs sit at offsets Σ of the widths before them, and the widths sum to s exactly, so 0 ≤ rem < 2^s. A saturating one splits
    t = 2^(w−1)·h + l with 0 ≤ l < 2^(w−1), takes (σ, κ) from h, and looks up u = σ·t + κ, whose product is checked later.
    """
    axes = point_axes(point, party.circuit.tensors[op.out].bits)
    t, limbs = _quotient(party, number, op, axes)
    y = party.read(op.out, axes, "requant.y")
    rows: Rows = [(limb,) for limb in limbs]
    if not op.saturate:
        return [(t, y), *rows]
    h, sigma, kappa = (party.column(number, len(limbs) + i, axes, "requant.split") for i in range(3))
    low = t - h.scale(field.embed(1 << (party.circuit.tables[op.table].width - 1)))
    u = party.message(number, 0, axes, "requant.u")
    party.defer(number, 0, axes, u - kappa)
    return [(u, y), *rows, (low,), (h, sigma), (h, kappa)]


def _quotient(party: Party, number: int, op: ops.Requant, axes: Functional) -> tuple[Claim, list[Claim]]:
    """t = (z + 2^(s−1) − rem) / 2^s and the limbs of rem, under ``axes``, of which t's constant takes the total."""
    t = read_masked(party, op.z, axes, "requant.z")
    limbs = [party.column(number, i, axes, "requant.rem") for i in range(len(op.limbs))]
    if op.shift:
        t, offset = t.plus(field.scale(ax.total(axes), 1 << (op.shift - 1))), 0
        for limb, bits in zip(limbs, op.limbs, strict=True):
            t = t - limb.scale(field.embed(1 << offset))
            offset += bits
        t = t.scale(field.embed(pow(2, -op.shift, P)))
    return t, limbs


def tensor_rows(party: Party, tensor: int, point: tuple[Ext, ...], slots: int) -> tuple[Rows, Claim]:
    """Range rows of a hashed tensor, x − low and high − x on true cells, 0 on padding; and its stored value at ``point``."""
    described = party.circuit.tensors[tensor]
    axes = point_axes(point, described.bits)
    value = read_masked(party, tensor, axes, "hashed.x")
    mask = ax.true_total(axes, described.shape)
    rows: Rows = [(value.plus(field.scale(mask, -described.low)),)]
    if slots == 2:
        rows.append((value.scale(field.embed(-1)).plus(field.scale(mask, described.high)),))
    return rows, value


def truncated_axes(described: Tensor, point: tuple[Ext, ...]) -> Functional:
    """eq(point, ·) on true cells, 0 on padding: equal values under this and under eq mean that padding is 0."""
    return truncated(point_axes(point, described.bits), described.shape)


def _tap(party: Party, op: ops.WindowMax, axes: Functional, u: int, v: int) -> Claim:
    """One tap of a window: the shifted operand, and the operand's least value wherever the tap is not a true cell."""
    source, out = party.circuit.tensors[op.x], party.circuit.tensors[op.out]
    height, width = geometry.window_axes(op, axes, source, out, geometry.one_tap(op.kernel, u, v))
    shifted = (axes[0], axes[1], height, width)
    inside = ax.true_total(shifted, source.shape)
    value = read_masked(party, op.x, shifted, "max.tap")
    return value.plus(field.scale(field.sub(ax.total(axes), inside), source.low))


# --- checks that an operation needs besides its lookups -----------------------------------------------------------------------


def check_operation(party: Party, number: int) -> None:
    """WindowMax and ArgMax: their own checks. Then every product that the operation's lookups took for granted."""
    op = party.circuit.ops[number]
    if isinstance(op, ops.WindowMax):
        _check_maximum(party, number, op)
    elif isinstance(op, ops.ArgMax):
        row_operations.check_argmax(party, number, op)
    for deferred in party.deferred(number):
        bits = party.circuit.tensors[op.x if isinstance(op, ops.RowMax) else ops.results(op)[0]].bits
        axes, which, label = deferred.axes, deferred.which, "deferred"
        claim, point = party.weighted_product(number, which, axes, axes, deferred.value, sum(bits), label)
        value = _deferred_product(party, number, which, point_axes(point, bits))
        (value.scale(ax.weight_at(axes, point)) - claim).assert_zero(label)


def _deferred_product(party: Party, number: int, which: int, axes: Functional) -> Claim:
    """σ·t, σ·d, q², or one of the three products of a reciprocal."""
    op = party.circuit.ops[number]
    if isinstance(op, ops.Requant):
        t, limbs = _quotient(party, number, op, axes)
        return party.column(number, len(limbs) + 1, axes, "requant.split").mul(t)
    if isinstance(op, ops.RowMax):
        return party.column(number, 2, axes, "rowmax.split").mul(row_operations.difference(party, op, axes))
    if isinstance(op, ops.Recip):
        return row_operations.recip_factors(party, number, op, which, axes)
    root = party.read(ops.results(op)[0], axes, "isqrt.q")
    return root.mul(root)


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


# --- virtual tensors: from a claim on the result to claims on the operands ----------------------------------------------------


def reduce_claim(party: Party, number: int, axes: Functional, claim: Claim) -> None:
    """Carry ``claim`` about the result of operation ``number`` under ``axes`` to its operands.

    Raises:
        EvidenceRejected: code ``proof-invalid``.
        UnsupportedModel: an operation that carries no claims; the planner refuses those.
    """
    op = party.circuit.ops[number]
    if isinstance(op, ops.MatMul):
        _matmul(party, number, op, axes, claim)
    elif isinstance(op, ops.Conv):
        _conv(party, number, op, axes, claim)
    elif isinstance(op, ops.Mul | ops.BatchedMatMul):
        _product(party, number, op, axes, claim)
    elif isinstance(op, ops.LinearCombination):
        _combination(party, op, axes, claim)
    elif isinstance(op, ops.WindowSum):
        source, out = party.circuit.tensors[op.x], party.circuit.tensors[op.out]
        ones = ([ONE] * op.kernel[0], [ONE] * op.kernel[1])
        height, width = geometry.window_axes(op, axes, source, out, ones)
        value = read_masked(party, op.x, (axes[0], axes[1], height, width), "window.x")
        (value.scale(field.embed(op.multiplier)) - claim).assert_zero("window")
    elif isinstance(op, ops.RowSum) and op.y != NONE:
        _row_product(party, number, op, axes, claim)
    elif isinstance(op, ops.RowSum):
        value = read_masked(party, op.x, geometry.row_sum_axes(op, axes, party.circuit.tensors[op.x]), "rowsum.x")
        (value.scale(field.embed(op.multiplier)) - claim).assert_zero("rowsum")
    elif isinstance(op, ops.Relabel):
        value = read_masked(party, op.x, geometry.relabelled(axes, party.circuit.tensors[op.x]), "relabel.x")
        (value - claim).assert_zero("relabel")
    elif isinstance(op, ops.View):
        _view(party, op, axes, claim)
    else:  # a claim that nothing carries on would bind nothing
        raise UnsupportedModel("sumcheck-unsupported", f"{type(op).__name__} carries no claims", where=f"op {number}")


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
    return source.bits[1] - inner, inner, height, width


def _conv(party: Party, number: int, op: ops.Conv, axes: Functional, claim: Claim) -> None:
    """z̃ − b̃·mask~ = Σ_{group, c, u, v} W̃·P, where P, the shifted operand, is itself a functional of the operand."""
    source, out = party.circuit.tensors[op.x], party.circuit.tensors[op.out]
    kernel = party.circuit.weights[op.weight].shape
    if op.bias != NONE:
        bias = party.weight(op.bias, axes[1:2], "conv.bias")
        rest = (axes[0], *axes[2:])
        claim = claim - bias.scale(ax.true_total(rest, (out.shape[0], *out.shape[2:])))
    bits = conv_bits(op, kernel, source)
    claim, point = party.inner_product(number, axes, claim, sum(bits), "conv")
    group, inner, u, v = (axis.point for axis in point_axes(point, bits) if isinstance(axis, ax.Eq))
    channel = geometry.group_axis(axes[1], group)
    weight = party.weight(op.weight, (channel, ax.Eq(inner), ax.Eq(u), ax.Eq(v)), "conv.w")
    taps_ = (ax.eq_table(u)[: kernel[2]], ax.eq_table(v)[: kernel[3]])
    height, width = geometry.window_axes(op, axes, source, out, taps_)
    value = read_masked(party, op.x, (axes[0], ax.Eq(group + inner), height, width), "conv.x")
    (weight.mul(value) - claim).assert_zero("conv")


def _pair(party: Party, a: int, b: int, axes: tuple[Functional, Functional], label: str) -> Claim:
    """ã·b̃ under the functionals; one reading where both are the same."""
    first = read_masked(party, a, axes[0], label)
    second = first if a == b and axes[0] == axes[1] else read_masked(party, b, axes[1], label)
    return first.mul(second)


def _product(party: Party, number: int, op: ops.Mul | ops.BatchedMatMul, axes: Functional, claim: Claim) -> None:
    """Mul: Σ g·a·b over cells. BatchedMatMul: Σ g_b·(Σ_i g_i·a[b, i, k])·(Σ_j g_j·b[b, k, j]) over b and k."""
    first = party.circuit.tensors[op.a]
    claim = claim.scale(field.embed(pow(op.multiplier, -1, P)))
    if isinstance(op, ops.Mul):
        weights, bits = axes, first.bits
    else:
        weights, bits = geometry.batch_axes(axes, first), (*first.bits[:-2], first.bits[-1])
    claim, point = party.weighted_product(number, 0, weights, axes, claim, sum(bits), "product")
    inner = point_axes(point, bits)
    operands = (inner, inner)
    if isinstance(op, ops.BatchedMatMul):
        operands = (*inner[:-1], axes[-2], inner[-1]), (*inner, axes[-1])
    value = _pair(party, op.a, op.b, operands, "product.x")
    (value.scale(ax.weight_at(weights, point)) - claim).assert_zero("product")


def _row_product(party: Party, number: int, op: ops.RowSum, axes: Functional, claim: Claim) -> None:
    """Σ over rows and summed cells of g·x·y."""
    source = party.circuit.tensors[op.x]
    weights = geometry.row_sum_axes(op, axes, source)
    claim = claim.scale(field.embed(pow(op.multiplier, -1, P)))
    claim, point = party.weighted_product(number, 0, weights, axes, claim, source.log_cells, "product")
    inner = point_axes(point, source.bits)
    value = _pair(party, op.x, op.y, (inner, inner), "product.x")
    (value.scale(ax.weight_at(weights, point)) - claim).assert_zero("product")


def _combination(party: Party, op: ops.LinearCombination, axes: Functional, claim: Claim) -> None:
    shape = party.circuit.tensors[op.out].shape
    for source, multiplier in zip(op.sources, op.multipliers, strict=True):
        value = read_masked(party, source, axes, "sum.x")
        claim = claim - value.scale(field.embed(multiplier))
    if op.constant:
        claim = claim.plus(field.scale(ax.true_total(axes, shape), -op.constant))
    claim.assert_zero("sum")


def _view(party: Party, op: ops.View, axes: Functional, claim: Claim) -> None:
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
