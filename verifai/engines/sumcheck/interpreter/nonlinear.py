"""Exact non-linear operations on integer arrays, with every column that the proof needs beside the result."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock

import numpy as np

from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.bounds import RECIP_ONE
from verifai.engines.sumcheck.circuit.program import Table
from verifai.engines.sumcheck.interpreter.linear import pad_axes, tap
from verifai.engines.sumcheck.interpreter.values import Ints

Columns = dict[str, Ints]


_MAX_ARRAYS = 64
_ARRAYS: OrderedDict[int, tuple[tuple[int, ...], Ints]] = OrderedDict()
_LOCK = Lock()


def table_array(table: Table) -> Ints:
    """The table's values as int64, read-only. Those of the tables used last are kept: a run reads the same ones many times.

    They are found by the values' identity, as hashing 2^16 integers costs as much as converting them; an entry keeps the values
    alive, so that no other tuple can take their place.
    """
    values = table.values
    with _LOCK:
        found = _ARRAYS.get(id(values))
        if found is None:
            array = np.array(values, np.int64)
            array.flags.writeable = False
            found = _ARRAYS[id(values)] = (values, array)
        _ARRAYS.move_to_end(id(values))
        while len(_ARRAYS) > _MAX_ARRAYS:
            _ARRAYS.popitem(last=False)
    return found[1]


def requant(z: Ints, op: ops.Requant, table: Table) -> tuple[Ints, Columns]:
    """y and the columns of :class:`..circuit.ops.Requant`, on any array of z."""
    shift = op.shift
    rounded = z + ((1 << (shift - 1)) if shift else 0)
    t = rounded >> shift
    remainder = rounded - (t << shift)
    columns: Columns = {}
    offset = 0
    for number, bits in enumerate(op.limbs):
        columns[f"rem{number}"] = (remainder >> offset) & ((1 << bits) - 1)
        offset += bits
    index = t
    if op.saturate:
        half = table.width - 1
        high = t >> half
        inside = (high == -1) | (high == 0)
        columns["h"] = high
        columns["l"] = t - (high << half)
        columns["sigma"] = inside.astype(np.int64)
        columns["kappa"] = np.where(inside, 0, np.where(high < 0, table.low, table.high))
        index = columns["u"] = columns["sigma"] * t + columns["kappa"]
    return table_array(table)[index - table.low], columns


def rescale(z: Ints, op: ops.Rescale) -> tuple[Ints, Columns]:
    """y and the columns of :class:`..circuit.ops.Rescale`."""
    rounded = z + (1 << (op.shift - 1))
    y = rounded >> op.shift
    columns: Columns = {}
    for name, whole, widths in (
        ("rem", rounded - (y << op.shift), op.limbs),
        ("y", y + (1 << (sum(op.digits) - 1)), op.digits),
    ):
        offset = 0
        for number, bits in enumerate(widths):
            columns[f"{name}{number}"] = (whole >> offset) & ((1 << bits) - 1)
            offset += bits
    return y, columns


def window_max(x: Ints, op: ops.WindowMax, size: Sequence[int], low: int) -> Ints:
    """The maximum of each window of x (n…, C, H, W); taps outside read as ``low``."""
    values = pad_axes(x, op.pads, low)
    best: Ints | None = None
    for u in range(op.kernel[0]):
        for v in range(op.kernel[1]):
            seen = tap(values, (u, v), op.stride, op.dilation, size)
            best = seen if best is None else np.maximum(best, seen)
    assert best is not None
    return np.array(best, np.int64)


def row_max(x: Ints, op: ops.RowMax, table: Table) -> tuple[Ints, Ints, Columns]:
    """(m, E, columns) of :class:`..circuit.ops.RowMax` for x (…, K)."""
    maximum = x.max(axis=-1)
    difference = maximum[..., None] - x
    last = table.high
    columns: Columns = {"g": (difference == 0).astype(np.int64)}
    index = difference
    if op.saturate:
        columns["h"] = difference >> table.width
        columns["l"] = difference & last
        columns["sigma"] = (columns["h"] == 0).astype(np.int64)
        columns["kappa"] = np.where(columns["h"] == 0, 0, last)
        index = columns["u"] = columns["sigma"] * difference + columns["kappa"]
    return maximum, table_array(table)[index], columns


def recip(q: Ints) -> tuple[Ints, Columns]:
    """K = R·2^e and the columns of :class:`..circuit.ops.Recip` for 1 ≤ q < 2^30."""
    length = np.frexp(q.astype(np.float64))[1].astype(np.int64)
    e = 30 - length
    power = np.int64(1) << e
    scaled = q * power
    quotient = RECIP_ONE // scaled
    columns = {"e": e, "pow": power, "qe": scaled, "R": quotient, "rho": RECIP_ONE - quotient * scaled}
    return quotient * power, columns


def isqrt(v: Ints) -> Ints:
    """⌊√v⌋ for 0 ≤ v < 2^60."""
    # float64's root is off by at most one here; both corrections are exact in int64.
    root = np.sqrt(v.astype(np.float64)).astype(np.int64)
    root -= root * root > v
    root += (root + 1) * (root + 1) <= v
    return root
