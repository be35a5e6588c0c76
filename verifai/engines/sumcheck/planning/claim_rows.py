"""What the lookups of each operation read, counted: follows the tables of :mod:`..protocol.operations`.

Standard library only.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.dispatch import Dispatch, dispatch, find
from verifai.engines.sumcheck.circuit.ops import NONE
from verifai.engines.sumcheck.circuit.program import Tensor
from verifai.engines.sumcheck.planning.claim_counter import ENTRY_NS, REFUSED, ClaimCounter
from verifai.engines.sumcheck.planning.claim_readings import along_rows, read_difference, read_taps
from verifai.engines.sumcheck.protocol.buses import LINEAR_OR_VIEW

Places = Sequence[Hashable]
"""Per lookup of an operation, what tells its cells' weights apart: what is read under equal ones has one value."""


def count_rows(c: ClaimCounter, number: int, places: Places) -> None:
    """What the lookups of operation ``number`` read."""
    op = c.circuit.ops[number]
    rule = find(_ROWS, op, "counts of lookups")
    if rule is not None:
        rule(c, number, op, places)


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


def _window_max_rows(c: ClaimCounter, number: int, op: ops.WindowMax, places: Places) -> None:
    c.read(op.out, 0, _once(*places))
    read_taps(c, op, 1)


def _row_max_rows(c: ClaimCounter, number: int, op: ops.RowMax, places: Places) -> None:
    source, maxima = c.circuit.tensors[op.x], c.circuit.tensors[op.out]
    at_exp, at_flag, *at_split = places[:-1]
    c.read(op.out, 0, 1)
    c.pin(maxima.shape, maxima.bits, 1)
    c.column(source, 1)
    for _ in range(1 if op.saturate else _once(at_exp, at_flag)):
        read_difference(c, op)
    if op.saturate:
        at_low, at_sigma, at_kappa = at_split
        c.column(source, _once(at_low, at_sigma, at_kappa) + 1 + _once(at_kappa, at_exp, at_flag))
        for _ in range(_once(at_exp, at_flag)):
            c.send(1)
            c.defer(number, 0)
    if op.exp != NONE:
        c.read(op.exp, 0, 1)
    along_rows(c, source)


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
    along_rows(c, source)


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
    (REFUSED, (ops.Gather,)),
)
