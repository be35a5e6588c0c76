"""Functionals as arrays: evaluating them on cells, and spreading them over weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from verifai.engines.sumcheck.protocol import field
from verifai.engines.sumcheck.protocol.axes import Axis, Dense, Eq, Functional, Sparse, eq_index
from verifai.engines.sumcheck.protocol.field import ONE, Ext
from verifai.engines.sumcheck.protocol.layout import Column
from verifai.engines.sumcheck.protocol.storage import NO_AXIS
from verifai.engines.sumcheck.prover.arrays import element, eq_vector, scalars, vector
from verifai.engines.sumcheck.prover.kernels import U64, combine_columns, dot, outer, outer_add, scaled

_LOG_SHORT = 6
_SHORT = 1 << _LOG_SHORT
"""Trailing axes are merged until they are at least this long."""


def axis_vector(axis: Axis) -> U64:
    """The axis as (2, 2^bits)."""
    if isinstance(axis, Eq):
        return eq_vector(axis.point)
    if isinstance(axis, Dense):
        return vector(axis.values)
    if isinstance(axis, Sparse):
        result = np.zeros((2, 1 << axis.bits), dtype=np.uint64)
        for place, entry in axis.entries:
            result[:, place] = entry
        return result
    result = np.zeros((2, 1 << axis.bits), dtype=np.uint64)
    for one in axis.segments:
        result[:, one.start : one.stop] = scaled(eq_vector(one.point), *scalars(one.weight))
    return result


def outer_all(vectors: Sequence[U64]) -> U64:
    """The outer product of vectors, row-major: (2, Π sizes); (2, 1) of one for none."""
    result: U64 = np.array([[1], [0]], dtype=np.uint64)
    for one in vectors:
        result = one if result.shape[1] == 1 and result[0, 0] == 1 and result[1, 0] == 0 else outer(result, one)
    return result


def split(axes: Functional) -> tuple[U64, U64]:
    """The functional as left ⊗ right, right being the trailing axes."""
    if all(isinstance(axis, Eq) for axis in axes):
        point = [r for axis in axes if isinstance(axis, Eq) for r in axis.point]
        middle = len(point) // 2
        return eq_vector(point[:middle]), eq_vector(point[middle:])
    count, length = 0, 1
    while count < len(axes) and length < _SHORT:
        count += 1
        length <<= axes[-count].bits
    vectors = [axis_vector(axis) for axis in axes]
    cut = len(vectors) - count
    return outer_all(vectors[:cut]), outer_all(vectors[cut:])


def evaluate(axes: Functional, cells: U64) -> Ext:
    """Σ cells·weights for padded cells over F_p, (2^k,)."""
    if isinstance(axes[0], Sparse) and len(axes) > 1:  # only the rows with an entry
        places = [place for place, _ in axes[0].entries]
        entries, right = vector([entry for _, entry in axes[0].entries]), outer_all([axis_vector(axis) for axis in axes[1:]])
        rows = np.ascontiguousarray(cells.reshape(1 << axes[0].bits, -1)[places])
        return element(*dot(combine_columns(rows, right), entries))
    left, right = split(axes)
    return element(*dot(combine_columns(cells.reshape(left.shape[1], right.shape[1]), right), left))


@dataclass(frozen=True, slots=True)
class Spread:
    """Weights at the addresses [start, stop): the outer product of ``left`` (2, n) and ``right`` (2, m), n·m addresses."""

    start: int
    stop: int
    left: U64
    right: U64


def spreads(column: Column, axes: Functional, factor: Ext) -> list[Spread]:
    """factor·weights of the column's stored cells, by address.

    Whoever opens in parts keeps them for all claims at once. So each is a product of vectors that are short beside its cells,
    however narrow the column; but for an axis that is a list of entries, with next to nothing beside it.
    """
    storage = column.storage
    if storage.axis == NO_AXIS:
        pure = all(isinstance(axis, Eq) for axis in axes)
        left, right = split(axes) if pure else _halves([axis_vector(axis) for axis in axes])
        ((_, block),) = column.blocks()
        return [Spread(block.start, block.stop, scaled(left, *scalars(factor)), right)]
    others = split((*axes[: storage.axis], *axes[storage.axis + 1 :]))
    long = axes[storage.axis]
    places = None if isinstance(long, Eq) else axis_vector(long)
    found = []
    for piece, block in column.blocks():
        if isinstance(long, Eq):  # a piece begins at a multiple of its size: one eq vector, scaled
            cut = len(long.point) - piece.log
            weight, point = eq_index(piece.start >> piece.log, long.point[:cut]), long.point[cut:]
            middle = max(0, len(point) - _LOG_SHORT) if others[1].shape[1] < _SHORT else len(point)
            mine = [eq_vector(point[:middle]), eq_vector(point[middle:])]
        else:
            assert places is not None
            weight, mine = ONE, [np.ascontiguousarray(places[:, piece.start : piece.start + (1 << piece.log)])]
        left, right = _halves([*mine, *others])
        found.append(Spread(block.start, block.stop, scaled(left, *scalars(field.product(weight, factor))), right))
    return found


def _halves(vectors: Sequence[U64]) -> tuple[U64, U64]:
    """Their outer product as left ⊗ right, right being of the last ones: a long inner loop, without a long vector in it."""
    cut, length = len(vectors) - 1, vectors[-1].shape[1]
    while cut and length < _SHORT and length * vectors[cut - 1].shape[1] <= _SHORT * _SHORT:
        cut -= 1
        length *= vectors[cut].shape[1]
    return outer_all(vectors[:cut]), outer_all(vectors[cut:])


def spread(target: U64, column: Column, axes: Functional, factor: Ext, first: int = 0) -> None:
    """target += factor·weights of the column's stored cells; target by component and address, from address ``first`` on."""
    for one in spreads(column, axes, factor):
        block = slice(one.start - first, one.stop - first)
        outer_add(target[0, block], target[1, block], one.left, one.right)
