"""What the own checks of operations, and of products that lookups took for granted, read, counted. Standard library only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.dispatch import Dispatch, dispatch, find, require
from verifai.engines.sumcheck.planning.claim_counter import ENTRY_NS, REFUSED, ClaimCounter
from verifai.engines.sumcheck.planning.claim_readings import along_rows, read_difference, read_taps
from verifai.engines.sumcheck.protocol.buses import LINEAR_OR_VIEW, taps


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


def _check_maximum(c: ClaimCounter, number: int, op: ops.WindowMax) -> None:
    window = len(taps(op))
    c.rounds(c.circuit.tensors[op.out].log_cells, window, 1)
    c.read(op.out, 0, 1)
    read_taps(c, op, 1)
    c.send(max(0, window - 2))


def _check_argmax(c: ClaimCounter, number: int, op: ops.ArgMax) -> None:
    source, out = c.circuit.tensors[op.x], c.circuit.tensors[op.out]
    along_rows(c, source)
    along_rows(c, source)
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
    (REFUSED, (ops.Gather,)),
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
    read_difference(c, op)


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
    (REFUSED, (ops.Gather,)),
)
