"""Columns and lookup rows of operations along rows, as integers: RowMax, ArgMax, Recip, Isqrt and TopIndex; digits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.program import Circuit, Tensor
from verifai.engines.sumcheck.interpreter.values import Ints
from verifai.engines.sumcheck.protocol.storage import stored
from verifai.engines.sumcheck.prover.stored_cells import clear_outside

Row = tuple[Ints, ...]


def recip_columns(trace: Mapping[str, Ints]) -> dict[str, Ints]:
    """The committed limbs of a reciprocal from the interpreter's columns, padded and flat."""
    scaled, quotient, rho = trace["qe"], trace["R"], trace["rho"]
    columns = {"e": trace["e"], "pow": trace["pow"], "qe": scaled, "r0": quotient & 511, "r1": quotient >> 9}
    columns |= {"rho0": rho & 32767, "rho1": rho >> 15}
    return columns | {"a0": (scaled - (1 << 29)) & 32767, "s0": (scaled - 1 - rho) & 32767}


def isqrt_columns(v: Ints, q: Ints) -> dict[str, Ints]:
    """Low limbs of q, v − q² and 2q − v + q²."""
    below = v - q * q
    return {"q0": q & 32767, "d0": below & 65535, "f0": (2 * q - below) & 65535}


def argmax_columns(x: Ints, index: Ints, source: Tensor) -> dict[str, Ints]:
    """One-hot cells and maxima, padded and flat, from true cells x (…, n) and indices (…)."""
    hot = np.zeros(source.padded, dtype=np.int64)
    box = tuple(slice(0, size) for size in source.shape)
    hot[box] = index[..., None] == np.arange(source.shape[-1])
    largest = np.zeros(source.padded[:-1] or (1,), dtype=np.int64)
    largest[box[:-1] or (slice(0, 1),)] = x.max(axis=-1)
    return {"g": hot.reshape(-1), "v": largest.reshape(-1)}


def with_highest(value: Ints, lower: Sequence[Ints], widths: Sequence[int]) -> list[Ints]:
    """The digits of ``value``, of which the highest is not committed: (value − Σ 2^offset·digit) / 2^(its offset)."""
    rest, offset = value, 0
    for digit, bits in zip(lower, widths, strict=False):
        rest = rest - (digit << offset)
        offset += bits
    return [*lower, rest >> offset]


def top_index_slack(x: Ints, largest: Ints, index: Ints, source: Tensor) -> Ints:
    """v − x_j − [j < k] on true cells, 0 on padding; flat.

    ``x``: padded and flat. ``largest``: padded. ``index``: true cells.
    """
    box = tuple(slice(0, size) for size in source.shape)
    rows = box[:-1] or (slice(0, 1),)
    top = largest.reshape(source.padded[:-1] or (1,))[rows].reshape(*source.shape[:-1], 1)
    before = np.arange(source.shape[-1]) < index.reshape(*source.shape[:-1], 1)
    result = np.zeros(source.padded, dtype=np.int64)
    result[box] = top - x.reshape(source.padded)[box] - before
    return result.reshape(-1)


def top_index_columns(x: Ints, index: Ints, source: Tensor, widths: Sequence[int]) -> dict[str, Ints]:
    """The largest cells and the lower digits, padded and flat, from true cells x (…, n) and indices (…)."""
    largest = np.zeros(source.padded[:-1] or (1,), dtype=np.int64)
    rows = tuple(slice(0, size) for size in source.shape[:-1]) or (slice(0, 1),)
    chosen = np.take_along_axis(x, index.reshape(*source.shape[:-1], 1), axis=-1)
    largest[rows] = chosen.reshape(index.shape)
    cells = np.zeros(source.padded, dtype=np.int64)
    cells[tuple(slice(0, size) for size in source.shape)] = x
    rest, columns = top_index_slack(cells.reshape(-1), largest, index, source), {"v": largest.reshape(-1)}
    for i, bits in enumerate(widths[:-1]):
        columns[f"d{i}"] = rest & ((1 << bits) - 1)
        rest = rest >> bits
    return columns


def recip_rows(columns: list[Ints]) -> list[Row]:
    """(e, 2^e), then the limbs in slot order."""
    e, power, scaled, r0, r1, rho0, rho1, a0, s0 = columns
    slack = scaled - 1 - (rho0 + (rho1 << 15))
    limbs = [r0, r1, rho0, rho1, a0, (scaled - (1 << 29) - a0) >> 15, s0, (slack - s0) >> 15]
    return [(e, power), *((limb,) for limb in limbs)]


def isqrt_rows(v: Ints, q: Ints, columns: list[Ints]) -> list[Row]:
    """Limbs in slot order."""
    q0, d0, f0 = columns
    below = v - q * q
    limbs = [q0, (q - q0) >> 15, d0, (below - d0) >> 16, f0, (2 * q - below - f0) >> 16]
    return [(limb,) for limb in limbs]


def argmax_rows(x: Ints, columns: list[Ints], source: Tensor) -> list[Row]:
    """(g), (v − x − [j < k]) with x (…, n) in its padded box, padding 0."""
    hot, largest = columns[0].reshape(source.padded), columns[1].reshape(source.padded[:-1] or (1,))
    box = tuple(slice(0, size) for size in source.shape)
    result = np.zeros(source.padded, dtype=np.int64)
    top = largest[box[:-1] or (slice(0, 1),)].reshape(*source.shape[:-1], 1)
    result[box] = top - x.reshape(source.padded)[box] - (1 - np.cumsum(hot[box], axis=-1))
    return [(columns[0],), (result.reshape(-1),)]


def difference(circuit: Circuit, op: ops.RowMax, x: Ints, maxima: Ints) -> Ints:
    """m − x on true cells, D on padding; flat."""
    source, rows = circuit.tensors[op.x], circuit.tensors[op.out]
    box = tuple(slice(0, size) for size in source.shape)
    result = np.full(source.padded, circuit.tables[op.table].high, dtype=np.int64)
    top = maxima.reshape(rows.padded)[tuple(slice(0, size) for size in rows.shape)].reshape(*source.shape[:-1], 1)
    result[box] = top - x.reshape(source.padded)[box]
    clear_outside(stored(source.shape), result)
    return result.reshape(-1)
