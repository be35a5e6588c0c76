"""Single columns of a code word that was not kept, without making the code word again.

A column at position q is every row's polynomial at one point x. All points of one opening are one product of matrices, which
BLAS does in double precision. It is exact: rows are cut into parts below 2^16, powers of x into limbs below 2^22, polynomials
into stretches of 2^14 coefficients. So no partial sum reaches 2^53, in whatever order it is added up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from verifai.engines.sumcheck.interpreter.values import Ints
from verifai.engines.sumcheck.protocol.field import P
from verifai.engines.sumcheck.protocol.levels import position_point
from verifai.engines.sumcheck.prover.arrays import to_field
from verifai.engines.sumcheck.prover.kernels import U64, centred, scale_base

Doubles: TypeAlias = NDArray[np.float64]

_PART_BITS, _LIMB_BITS, _LOG_STRETCH = 16, 22, 14
assert _PART_BITS + _LIMB_BITS + _LOG_STRETCH < 53
_LIMBS = 3
_EPSILON = np.uint64(2**32 - 1)
_MODULUS = np.uint64(P)


def columns_at(rows: U64, log_n: int, positions: Sequence[int]) -> U64:
    """The code word's columns at ``positions``: rows (R, K) over F_p, coefficients → (t, R). n = 2^log_n is its length."""
    points = [position_point(position, log_n) for position in positions]
    stretch = min(1 << _LOG_STRETCH, 1 << (rows.shape[1] - 1).bit_length())
    limbs, steps = _powers(points, stretch), [pow(x, stretch, P) for x in points]
    found: U64 = np.zeros((len(points), rows.shape[0]), dtype=np.uint64)
    for start in reversed(range(0, rows.shape[1], stretch)):  # Horner's rule, from the last stretch on
        for number, step in enumerate(steps):
            found[number] = scale_base(found[number], np.uint64(step))
        found = _added(found, _stretch(rows, start, min(start + stretch, rows.shape[1]), limbs))
    return found


def _powers(points: Sequence[int], count: int) -> Doubles:
    """1, x, x² … of every point, in limbs of 22 bits: (3, t, count)."""
    table: U64 = np.ones((len(points), count), dtype=np.uint64)
    for row, x in zip(table, points, strict=True):
        size = 1
        while size < count:
            row[size : 2 * size] = scale_base(np.ascontiguousarray(row[:size]), np.uint64(pow(x, size, P)))
            size *= 2
    mask = np.uint64((1 << _LIMB_BITS) - 1)
    return np.stack([(table >> np.uint64(_LIMB_BITS * limb) & mask).astype(np.float64) for limb in range(_LIMBS)])


def _stretch(rows: U64, start: int, stop: int, limbs: Doubles) -> U64:
    """Σ_k rows[:, start + k]·x^k for every point, over the columns [start, stop): (t, R)."""
    cells: Doubles = np.empty((len(rows), stop - start), dtype=np.float64)
    if int(centred(rows, start, stop, cells)) >> _PART_BITS == 0:
        return _products(cells, limbs)
    field = rows[:, start:stop]
    signed: Ints = np.where(field > np.uint64(P // 2), field - _MODULUS, field).view(np.int64)
    largest = np.maximum(signed.max(axis=1), -signed.min(axis=1))
    found: U64 = np.zeros((limbs.shape[1], len(rows)), dtype=np.uint64)
    for shift in range(0, int(largest.max()).bit_length(), _PART_BITS):
        longer = np.flatnonzero(largest >> shift)  # the rows that have such a part
        part = np.abs(signed[longer]) >> shift & ((1 << _PART_BITS) - 1)
        sums = _products(np.copysign(part, signed[longer]), limbs)
        scaled = scale_base(sums.reshape(-1), np.uint64(pow(2, shift, P)))
        found[:, longer] = _added(found[:, longer], scaled.reshape(sums.shape))
    return found


def _products(parts: Doubles, limbs: Doubles) -> U64:
    """Σ_k parts[:, k]·x^k for every point: (R, n) of integers below 2^16 → (t, R)."""
    used = limbs[..., : parts.shape[1]].reshape(-1, parts.shape[1])
    sums = to_field((used @ parts.T).astype(np.int64)).reshape(_LIMBS, -1)
    found: U64 = sums[0]
    for limb in range(1, _LIMBS):
        found = _added(found, scale_base(sums[limb], np.uint64(pow(2, _LIMB_BITS * limb, P))))
    shaped: U64 = found.reshape(limbs.shape[1], len(parts))
    return shaped


def _added(left: U64, right: U64) -> U64:
    """left + right over F_p."""
    total = left + right
    total += (total < left) * _EPSILON  # 2^64 ≡ 2^32 − 1
    total -= (total >= _MODULUS) * _MODULUS
    return total
