"""Functionals as arrays: evaluating them on cells, and spreading them over weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from verifai.engines.sumcheck.protocol.axes import Axis, Dense, Eq, Functional, Sparse
from verifai.engines.sumcheck.protocol.field import Ext
from verifai.engines.sumcheck.protocol.layout import Column
from verifai.engines.sumcheck.protocol.storage import NO_AXIS
from verifai.engines.sumcheck.prover.arrays import element, eq_vector, scalars, vector
from verifai.engines.sumcheck.prover.kernels import U64, combine_columns, dot, outer, outer_add, scaled

_SHORT = 64
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
    """factor·weights of the column's stored cells, by address."""
    storage = column.storage
    if storage.axis == NO_AXIS:
        left, right = split(axes)
        ((_, block),) = column.blocks()
        return [Spread(block.start, block.stop, scaled(left, *scalars(factor)), right)]
    others = (*axes[: storage.axis], *axes[storage.axis + 1 :])
    places, (left, right) = scaled(axis_vector(axes[storage.axis]), *scalars(factor)), split(others)
    found = []
    for piece, block in column.blocks():
        mine = np.ascontiguousarray(places[:, piece.start : piece.start + (1 << piece.log)])
        if right.shape[1] < _SHORT:  # a long inner loop, whatever the axes
            mine, wide = outer_all([]), outer_all([mine, left, right])
        else:
            mine, wide = outer_all([mine, left]), right
        found.append(Spread(block.start, block.stop, mine, wide))
    return found


def spread(target: U64, column: Column, axes: Functional, factor: Ext, first: int = 0) -> None:
    """target += factor·weights of the column's stored cells; target by component and address, from address ``first`` on."""
    for one in spreads(column, axes, factor):
        block = slice(one.start - first, one.stop - first)
        outer_add(target[0, block], target[1, block], one.left, one.right)
