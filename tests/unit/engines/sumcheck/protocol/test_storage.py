"""Columns in pieces, against brute force over all padded cells: what is stored, where, and what a functional of it is."""

from __future__ import annotations

from itertools import pairwise
from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verifai.engines.sumcheck.protocol import axes as ax
from verifai.engines.sumcheck.protocol import field, storage
from verifai.engines.sumcheck.protocol.field import P
from verifai.engines.sumcheck.protocol.layout import Column, place, reserve, stored_cells
from verifai.engines.sumcheck.protocol.storage import NO_AXIS, Piece, Storage, pieces_of, stored, whole
from verifai.engines.sumcheck.prover import functionals
from verifai.engines.sumcheck.prover import stored_cells as arrays
from verifai.engines.sumcheck.prover.arrays import element

randoms = st.randoms(use_true_random=False)
shapes = st.lists(st.integers(1, 9), min_size=1, max_size=3).map(tuple)


@pytest.fixture
def _every_cell_counts(monkeypatch):
    """Pieces wherever they save one cell."""
    stored.cache_clear()
    monkeypatch.setattr(storage, "LEAST_SAVED", 1)
    yield
    stored.cache_clear()


def _ext(pick):
    return (pick.randrange(P), pick.randrange(P))


def _point(pick, count):
    return tuple(_ext(pick) for _ in range(count))


def _axis(pick, bits):
    kind = pick.randrange(3)
    if kind == 0:
        return ax.Eq(_point(pick, bits))
    if kind == 1:
        return ax.Dense(tuple(_ext(pick) for _ in range(1 << bits)))
    return _pieces(pick, bits)


def _pieces(pick, bits):
    pieces = pieces_of(pick.randrange(1, (1 << bits) + 1))
    return ax.Pieces(bits, tuple(ax.Segment(piece.start, _ext(pick), _point(pick, piece.log)) for piece in pieces))


def _storage(pick, bits):
    axis = pick.randrange(-1, len(bits))
    return whole(bits) if axis == NO_AXIS else Storage(tuple(bits), axis, pieces_of(pick.randrange(1, (1 << bits[axis]) + 1)))


def _addresses(held):
    """Address by padded cell, −1 outside the stored box, from the layout's rule and nothing else."""
    order = np.full([1 << b for b in held.storage.bits], -1, dtype=np.int64)
    for index in np.ndindex(*order.shape):
        place_ = 0 if held.storage.axis == NO_AXIS else index[held.storage.axis]
        rest = 0
        for axis, (i, bits) in enumerate(zip(index, held.storage.bits, strict=True)):
            if axis != held.storage.axis:
                rest = (rest << bits) | i
        for piece, address in zip(held.storage.pieces, held.addresses, strict=True):
            if piece.start <= place_ < piece.start + (1 << piece.log):
                order[index] = address + ((place_ - piece.start) << held.storage.log_rest) + rest
    return order


@pytest.mark.parametrize(
    ("size", "pieces"),
    [(1, [(0, 0)]), (8, [(0, 3)]), (9, [(0, 3), (8, 0)]), (576, [(0, 9), (512, 6)]), (7, [(0, 2), (4, 1), (6, 0)])],
)
def test_pieces_are_the_binary_digits(size, pieces):
    assert pieces_of(size) == tuple(Piece(*piece) for piece in pieces)


@pytest.mark.parametrize(
    ("shape", "axis", "box"),
    [
        ((32, 384), 1, (32, 384)),  # 256 + 128
        ((1536, 384), 0, (1536, 512)),  # equals: the first
        ((384, 1536), 0, (384, 2048)),
        ((64, 3, 3, 3), 1, (64, 3, 4, 4)),
        ((1, 5, 24, 24), 1, (1, 5, 32, 32)),  # 8/5 is more than 32/24
        ((2048, 9), 1, (2048, 9)),
        ((1000, 8), NO_AXIS, (1024, 8)),  # in 32nds, nothing is saved
        ((960, 8), 0, (960, 8)),
        ((30522, 384), 1, (32768, 384)),
        ((30522,), 0, (30720,)),  # rounded up to 1,024ths of 32
        ((257,), 0, (272,)),
        ((5, 4), NO_AXIS, (8, 4)),  # saves 12 cells: too few
        ((64, 64), NO_AXIS, (64, 64)),
        ((1,), NO_AXIS, (1,)),
    ],
)
def test_the_axis_that_saves_most_is_cut(shape, axis, box):
    found = stored(shape)
    assert (found.axis, found.box) == (axis, box)
    assert found.cells == prod(box) and found.log_padded == sum((size - 1).bit_length() for size in shape)


@given(st.lists(st.integers(1, 3000), min_size=1, max_size=3).map(tuple))
def test_true_cells_are_stored_and_hardly_more_than_the_best_axis_needs(shape):
    found = stored(shape)
    padded = [1 << (size - 1).bit_length() for size in shape]
    assert all(size <= kept <= full for size, kept, full in zip(shape, found.box, padded, strict=True))
    best = min(prod(padded) // full * size for size, full in zip(shape, padded, strict=True))
    assert found.cells <= max(best * 17 / 16 + 0, best + storage.LEAST_SAVED)
    assert len(found.pieces) <= storage.FINEST_LOG + (found.axis == NO_AXIS)
    ends = [(piece.start, piece.start + (1 << piece.log)) for piece in found.pieces]
    assert ends[0][0] == 0 and all(one[1] == other[0] for one, other in pairwise(ends))
    assert all(start % (stop - start) == 0 for start, stop in ends)


@settings(max_examples=80, deadline=None)
@given(randoms, st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=3), min_size=1, max_size=4), st.integers(0, 3))
def test_columns_are_aligned_disjoint_and_complete(pick, boxes, log_message):
    columns = {("tensor", i, 0): _storage(pick, bits) for i, bits in enumerate(boxes)}
    log_cells = reserve(columns, 1 << log_message)
    placed, first_row = place(columns, log_cells, log_message)
    taken: list[int] = []
    for held in placed.values():
        taken += [int(address) for address in _addresses(held).ravel() if address >= 0]
        for piece, block in held.blocks():
            size = 1 << (piece.log + held.storage.log_rest)
            assert block.start % size == 0 and block.stop - block.start == size
    assert len(taken) == len(set(taken)) == stored_cells(columns)
    assert sorted(taken) == list(range((1 << log_cells) - len(taken), 1 << log_cells))
    assert first_row == min(taken) >> log_message and first_row >= 2


@settings(max_examples=80, deadline=None)
@given(randoms, st.lists(st.integers(0, 3), min_size=1, max_size=3))
def test_a_functional_of_pieces_is_one_functional_of_their_cells(pick, bits):
    held = _storage(pick, bits)
    other = ("tensor", 1, 0)
    placed, _ = place({("tensor", 0, 0): held, other: whole((1,))}, reserve({0: held, other: whole((1,))}, 2), 1)
    column = placed["tensor", 0, 0]
    log_cells = reserve({0: held, other: whole((1,))}, 2)
    axes = tuple(_axis(pick, b) for b in bits)
    factor = _ext(pick)
    weights = np.zeros((2, 1 << log_cells), dtype=np.uint64)
    functionals.spread(weights, column, axes, factor)
    expected = [field.ZERO] * (1 << log_cells)
    dense = [axis.dense() for axis in axes]
    for index, address in np.ndenumerate(_addresses(column)):
        weight = factor
        for entries, i in zip(dense, index, strict=True):
            weight = field.product(weight, entries[i])
        if address >= 0:
            expected[address] = weight
    assert [element(*weights[:, i]) for i in range(1 << log_cells)] == expected
    z = _point(pick, log_cells)
    found = ax.located_weight(held, axes, ax.located(held, column.addresses, z), z)
    assert field.product(found, factor) == field.dot(expected, ax.eq_table(z))


@settings(max_examples=60, deadline=None)
@given(randoms, st.integers(0, 4))
def test_pieces_sum_up_pair_and_extend_as_their_entries_do(pick, bits):
    axis = _pieces(pick, bits)
    entries = axis.dense()
    assert axis.total() == field.total(entries)
    for count in range(len(entries) + 1):
        assert axis.first(count) == field.total(entries[:count])
    point = _point(pick, bits)
    assert axis.at(point) == ax.Dense(tuple(entries)).at(point)
    again = ax.Pieces(bits, tuple(ax.Segment(one.start, _ext(pick), _point(pick, len(one.point))) for one in axis.segments))
    for other in (again, _axis(pick, bits), ax.Eq(point), axis):
        assert axis.pairing(other) == field.dot(entries, other.dense())
    below = _point(pick, 2)
    table = ax.eq_table(below)
    assert axis.extended(below).dense() == [field.product(entry, low) for entry in entries for low in table]


@settings(max_examples=60, deadline=None)
@given(randoms, st.integers(1, 40))
def test_pieces_of_one_point_are_cut_within_the_shortest_and_not_above(pick, size):
    bits = (size - 1).bit_length()
    pieces = pieces_of(size)
    tail = _point(pick, bits)
    segments = tuple(
        ax.Segment(p.start, _ext(pick), (*_point(pick, p.log - pieces[-1].log), *tail[bits - pieces[-1].log :])) for p in pieces
    )
    axis = ax.Pieces(bits, segments)
    for low in range(bits + 1):
        cut = axis.cut(low)
        if low > pieces[-1].log:
            assert cut is None or len(pieces) == 1
        if low <= pieces[-1].log:
            assert cut is not None
            head, rest = cut
            assert [field.product(x, y) for x in head.dense() for y in rest.dense()] == axis.dense()


@settings(max_examples=60, deadline=None)
@given(randoms, shapes)
@pytest.mark.usefixtures("_every_cell_counts")
def test_arrays_are_cut_where_the_layout_says(pick, shape):
    held = Column(stored(shape), ())
    starts, at = [], 0
    for piece in held.storage.pieces:
        starts.append(at)
        at += 1 << (piece.log + held.storage.log_rest)
    held = Column(held.storage, tuple(starts))
    order = _addresses(held)
    cells = np.arange(1, order.size + 1)
    wanted = np.zeros(at, dtype=np.int64)
    wanted[order[order >= 0]] = cells.reshape(order.shape)[order >= 0]
    parts = [part.reshape(-1) for part in arrays.pieces_in(held.storage, cells)]
    assert np.array_equal(np.concatenate(parts), wanted)
    assert sorted(arrays.stored_part(held.storage, cells)) == sorted(wanted)
    arrays.clear_outside(held.storage, cells)
    assert np.array_equal(cells != 0, (order >= 0).reshape(-1))
