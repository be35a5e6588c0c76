"""What claims on virtual results become, counted: follows the reductions of :mod:`..protocol.operations`.

Standard library only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.dispatch import Dispatch, dispatch, require
from verifai.engines.sumcheck.circuit.ops import NONE
from verifai.engines.sumcheck.planning.claim_counter import (
    CELL_NS,
    ENTRY_BYTES,
    ENTRY_NS,
    REFUSED,
    ClaimCounter,
    Mask,
    dense_entries,
)
from verifai.engines.sumcheck.planning.claim_readings import count_window, grid
from verifai.engines.sumcheck.protocol.operations import conv_bits


def count_claims(c: ClaimCounter, number: int, mask: Mask, times: int) -> None:
    """What ``times`` claims on its virtual result become."""
    op = c.circuit.ops[number]
    require(_REDUCTIONS, op, "counts of claims")(c, op, mask, times)


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
    count_window(c, op, kernel[2:], source, out, times)
    c.read(op.x, mask & ((1 << lead) - 1) | grid(source), times)


def _mul(c: ClaimCounter, op: ops.Mul, mask: Mask, times: int) -> None:
    described = c.circuit.tensors[op.a]
    _product(c, op.a, op.b, described.log_cells, dense_entries(described.bits, mask), times)


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
    c.look(2 * (dense_entries(first.bits[:-2], mask) + first.padded[-1]), times)
    row, column = mask >> (rank - 2) & 1, mask >> (rank - 1) & 1
    c.read(op.a, row << (rank - 2), times)
    # At one row and one column of a tensor with itself, both functionals are the same, and so is the reading.
    if op.a != op.b or first.bits[-1] or first.bits[-2] or row or column:
        c.read(op.b, column << (rank - 1), times)


def _combination(c: ClaimCounter, op: ops.LinearCombination, mask: Mask, times: int) -> None:
    for source in op.sources:
        c.read(source, mask, times)
    if op.constant:
        c.look(dense_entries(c.circuit.tensors[op.out].bits, mask), times)


def _window_sum(c: ClaimCounter, op: ops.WindowSum, mask: Mask, times: int) -> None:
    source, out = c.circuit.tensors[op.x], c.circuit.tensors[op.out]
    count_window(c, op, op.kernel, source, out, times, ones=True)
    c.read(op.x, mask | grid(source), times)


def _row_sum(c: ClaimCounter, op: ops.RowSum, mask: Mask, times: int) -> None:
    source = c.circuit.tensors[op.x]
    kept = len(source.shape) - op.axes
    summed = ((1 << op.axes) - 1) << kept
    c.make(dense_entries(source.bits, summed), times)
    weights = (mask & ((1 << kept) - 1)) | summed
    if op.y == NONE:
        c.read(op.x, weights, times)
    else:
        _product(c, op.x, op.y, source.log_cells, dense_entries(source.bits, weights), times)


def _gated(c: ClaimCounter, op: ops.GatedMatMul, mask: Mask, times: int) -> None:
    source = c.circuit.tensors[op.a]
    rows = len(source.shape) - op.contract
    channel = mask >> rows & 1
    if op.bias != NONE:
        c.weight(op.bias, channel, times)
    c.rounds(source.log_cells, 3, times)
    c.look(2 * dense_entries(source.bits[:rows], mask), times)
    c.weight(op.weight, channel, times)
    c.read(op.a, 0, times)
    if op.a != op.b:
        c.read(op.b, 0, times)


def _row_scale(c: ClaimCounter, op: ops.RowScale, mask: Mask, times: int) -> None:
    source, factor = c.circuit.tensors[op.x], c.circuit.tensors[op.factor]
    last = len(source.shape) - 1
    c.rounds(factor.log_cells, 3, times)
    c.look(2 * dense_entries(source.bits[:last], mask), times)
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
            c.look(2 * dense_entries(out.bits, mask), times)
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
    (REFUSED, (ops.Gather,)),
)
