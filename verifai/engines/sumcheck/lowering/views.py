"""Index maps as operations: the cheapest of nothing, Relabel, View and Gather that puts cells in the wanted arrangement."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from verifai.engines.sumcheck.circuit.bounds import same_cells
from verifai.engines.sumcheck.circuit.check import MAX_ITEM_RANK
from verifai.engines.sumcheck.circuit.ops import NONE, Gather, MatMul, Piece, Relabel, View
from verifai.engines.sumcheck.circuit.program import log2_ceil
from verifai.engines.sumcheck.lowering.builder import Builder
from verifai.engines.sumcheck.lowering.values import ZERO_CELL, Held, whole

Index = NDArray[np.int64]


def materialise(builder: Builder, value: Held, name: str, *, windows: bool = False, filling: int = 0) -> int:
    """A circuit tensor of the value's own shape that holds its cells.

    Args:
        windows: whether windows or sums will run over it: those cannot be proven over a Relabel that merges axes.
        filling: the integer that stands at ZERO_CELL.
    """
    source = builder.tensors[value.tensor]
    value = value if value.shape else value.at(value.index.reshape(1))
    identity = value.index.size == source.size and bool((value.index.reshape(-1) == np.arange(source.size)).all())
    if identity and source.shape == value.shape:
        return value.tensor
    lone = builder.unrounded and len(value.shape) == 4 and value.shape[2:] == (1, 1)  # windows of one cell: channels may merge
    plain = not windows or lone or _refines(value.shape, source.shape)
    if plain and identity and same_cells(source.shape, value.shape):
        return builder.emit(Relabel(value.tensor, builder.next), name, value.shape, step=value.step)[0]
    pieces = partition(value.index, source.shape, value.tensor)
    finer = None if pieces or not builder.unrounded else _by_refinement(builder, value, name, filling)
    if finer is not None:
        return finer
    pieces = pieces or partition(value.index, source.shape, value.tensor, _many(value.index.size, source.size))
    if not pieces and filling:
        pieces = partition(value.index, source.shape, value.tensor, MAX_ROWS)
    if pieces:
        return builder.emit(View(pieces, filling, builder.next), name, value.shape, step=value.step)[0]
    made = _by_matrix(builder, value, name, filling)
    if made is not None:
        return made
    pieces = _by_patterns(value.index, source.shape, value.tensor) or _by_blocks(value.index, source.shape, value.tensor)
    if pieces:
        return builder.emit(View(pieces, filling, builder.next), name, value.shape, step=value.step)[0]
    flat = value.index.reshape(-1)
    indices = tuple(np.where(flat == ZERO_CELL, NONE, flat).tolist())
    return builder.emit(Gather(value.tensor, builder.next, indices, filling), name, value.shape, step=value.step)[0]


MAX_MATRIX = 1 << 22
"""Cells of the matrix of 0 and 1 that stands for a rearrangement of any kind."""


def _by_refinement(builder: Builder, value: Held, name: str, filling: int) -> int | None:
    """A View of few pieces with one axis more, and a Relabel that merges two of its axes; None where there is none.

    Places of a head and cells within it, (tokens·64), are one axis of channels where constants differ from cell to cell.
    """
    source = builder.tensors[value.tensor].shape
    kept = [size for size in value.shape if size > 1]
    for axis, size in enumerate(kept):
        inner = 2
        while inner < size and size % inner == 0:
            shape = (*kept[:axis], size // inner, inner, *kept[axis + 1 :])
            if len(shape) <= MAX_ITEM_RANK and same_cells(shape, value.shape):
                pieces = partition(value.index.reshape(shape), source, value.tensor)
                if pieces:
                    made = builder.emit(View(pieces, filling, builder.next), f"{name}.finer", shape, step=value.step)[0]
                    return builder.emit(Relabel(made, builder.next), name, value.shape, step=value.step)[0]
            inner *= 2
    return None


def _by_matrix(builder: Builder, value: Held, name: str, filling: int) -> int | None:
    """The cells as a product with a matrix that has one 1 per result; None where it would be too large, or hold a filling."""
    flat, size = value.index.reshape(-1), builder.tensors[value.tensor].size
    if flat.size * size > MAX_MATRIX or (filling and (flat == ZERO_CELL).any()):
        return None
    order = np.arange(flat.size).reshape(value.shape)
    if value.shape != (flat.size,) and not same_cells((flat.size,), value.shape) and not partition(order, (flat.size,), 0):
        return None
    source = builder.tensors[value.tensor].shape
    chosen = np.zeros((flat.size, size), np.int64)
    chosen[np.flatnonzero(flat != ZERO_CELL), flat[flat != ZERO_CELL]] = 1
    weight = builder.weight(f"{name}.places", chosen.reshape(flat.size, *source))
    line = builder.emit(MatMul(value.tensor, weight, NONE, builder.next, len(source)), f"{name}.line", step=value.step)[0]
    if value.shape == (flat.size,):
        return line
    if same_cells((flat.size,), value.shape):
        return builder.emit(Relabel(line, builder.next), name, value.shape, step=value.step)[0]
    pieces = partition(order, (flat.size,), line)
    return builder.emit(View(pieces, 0, builder.next), name, value.shape, step=value.step)[0]


def _refines(shape: tuple[int, ...], source: tuple[int, ...]) -> bool:
    """Whether every axis of ``source`` is made of whole axes of ``shape``, so that none is merged."""
    ends = [{sum(log2_ceil(size) for size in sizes[:count]) for count in range(len(sizes) + 1)} for sizes in (shape, source)]
    return ends[0] >= ends[1]


_FEW_CELLS = 1 << 21
MAX_PIECES = 64
"""Each piece of a View costs the prover one pass over its source."""
MAX_ROWS = 256
"""The same of a causal mask of many positions, which has a piece per row."""


def _many(cells: int, source: int) -> int:
    """How many pieces a small rearrangement may have that few pieces do not express."""
    return min(1 << 10, _FEW_CELLS // cells, _FEW_CELLS // source)


def partition(index: Index, source: tuple[int, ...], tensor: int, limit: int = MAX_PIECES) -> tuple[Piece, ...]:
    """The index map as the fewest separable pieces, cut along leading axes of the source or of the result, or into equal
    blocks of one axis of the result; empty when too many.

    A reshape that merges axes is separable once the outer source axes are fixed, one that splits them once the outer result
    axes are. One that splits an axis and merges the rest, such as (512·4, 64) to (512, 4·64), is separable block by block.
    """
    coordinates = np.stack([np.where(index == ZERO_CELL, -1, c) for c in coordinates_of(np.maximum(index, 0), source)])
    places = np.indices(index.shape)
    best: tuple[Piece, ...] = ()
    for space, sizes in ((coordinates, source), (places, index.shape)):
        for fixed in range(len(sizes) + 1):
            count = int(np.prod(sizes[:fixed]))
            if count > limit or (best and count >= len(best)):
                break
            cuts = (
                np.all([space[axis] == at for axis, at in enumerate(cut)], axis=0) if cut else np.ones(index.shape, bool)
                for cut in np.ndindex(*sizes[:fixed])
            )
            pieces = _pieces(index, cuts, source, tensor)
            if pieces:
                best = pieces
                break
    for axis, size in enumerate(index.shape):
        for count in range(2, limit + 1):
            if best and count >= len(best):
                break
            if size % count:
                continue
            block = places[axis] // (size // count)
            pieces = _pieces(index, (block == number for number in range(count)), source, tensor)
            if pieces:
                best = pieces
                break
    return best


def _by_patterns(index: Index, source: tuple[int, ...], tensor: int) -> tuple[Piece, ...]:
    """The index map cut where rows read different places of their own, as the mask of shifted windows does: the same few
    patterns again and again. Empty where there is one pattern, too many, or one whose rows are no box."""
    inside = index != ZERO_CELL
    if index.ndim < 2 or inside.all():
        return ()
    slices = np.unique(inside.reshape(len(index), -1), axis=0, return_inverse=True)[1].reshape(-1)
    rows = np.unique(inside.reshape(-1, index.shape[-1]), axis=0, return_inverse=True)[1].reshape(index.shape[:-1])
    labels = slices.reshape(-1, *[1] * (rows.ndim - 1)) * (int(rows.max()) + 1) + rows
    kinds = np.unique(labels)
    if len(kinds) > MAX_ROWS:
        return ()
    return _pieces(index, (np.broadcast_to((labels == kind)[..., None], index.shape) for kind in kinds), source, tensor)


def _by_blocks(index: Index, source: tuple[int, ...], tensor: int) -> tuple[Piece, ...]:
    """The index map cut along leading axes of the result and into equal blocks of the next one; empty when too many.

    So are scores by distance, whose rows are moved by a place more each, of every head.
    """
    places = np.indices(index.shape)
    for axis, size in enumerate(index.shape):
        outer = int(np.prod(index.shape[:axis]))
        for count in range(2, MAX_ROWS // outer + 1):
            if size % count:
                continue
            block = places[axis] // (size // count)
            cuts = (
                np.all([block == number, *(places[at] == place for at, place in enumerate(cut))], axis=0)
                for cut in np.ndindex(*index.shape[:axis])
                for number in range(count)
            )
            if pieces := _pieces(index, cuts, source, tensor):
                return pieces
    return ()


def coordinates_of(flat: Index, shape: tuple[int, ...]) -> list[Index]:
    """The coordinates of flat, row-major cells of ``shape``, per axis and each of the shape of ``flat``.

    Not ``np.unravel_index``: NumPy 2.4 gives wrong ones for more than 8192 cells whose last axis has size 1.
    """
    found: list[Index] = []
    for size in reversed(shape):
        flat, place = np.divmod(flat, size)
        found.append(place)
    return found[::-1]


def _pieces(index: Index, cuts: Iterable[NDArray[np.bool_]], source: tuple[int, ...], tensor: int) -> tuple[Piece, ...]:
    """One piece per cut that reads anything; empty when some cut is not separable."""
    pieces = []
    for inside in cuts:
        part = np.where(inside, index, ZERO_CELL)
        piece = separable(part, source, tensor)
        if piece is not None:
            pieces.append(piece)
        elif (part != ZERO_CELL).any():
            return ()
    return tuple(pieces)


def separable(index: Index, source: tuple[int, ...], tensor: int) -> Piece | None:
    """The index map as one piece of a View, or None when it is not separable per axis."""
    inside = index != ZERO_CELL
    if not inside.any():
        return None
    # A box of covered cells: per output axis, the coordinates where anything is covered.
    covered = [inside.any(axis=tuple(a for a in range(index.ndim) if a != axis)) for axis in range(index.ndim)]
    box = np.ix_(*(np.flatnonzero(c) for c in covered))
    if not inside[box].all():
        return None
    coordinates = coordinates_of(index[box], source)
    axes = [NONE] * index.ndim
    maps = [np.where(c, 0, NONE) for c in covered]
    fixed = [NONE] * len(source)
    for source_axis, found in enumerate(coordinates):
        varies = [axis for axis in range(index.ndim) if bool((found != found.take([0], axis=axis)).any())]
        if len(varies) > 1 or (varies and axes[varies[0]] != NONE):
            return None
        if not varies:
            fixed[source_axis] = int(found.flat[0])
            continue
        axis = varies[0]
        axes[axis] = source_axis
        line = np.moveaxis(found, axis, 0).reshape(found.shape[axis], -1)[:, 0]
        maps[axis][covered[axis]] = line
    return Piece(tensor, tuple(axes), tuple(tuple(m.tolist()) for m in maps), tuple(fixed))


def concatenate(builder: Builder, values: list[Held], axis: int, name: str, *, windows: bool) -> Held:
    """The values one after another along ``axis``; equal steps. ``windows``: as :func:`materialise` has it."""
    shape = list(values[0].shape)
    shape[axis] = sum(value.shape[axis] for value in values)
    pieces, start = [], 0
    for value in values:
        spread = np.full(shape, ZERO_CELL, np.int64)
        window = [slice(None)] * len(shape)
        window[axis] = slice(start, start + value.shape[axis])
        start += value.shape[axis]
        spread[tuple(window)] = value.index
        piece = separable(spread, builder.tensors[value.tensor].shape, value.tensor)
        if piece is None or (value.index == ZERO_CELL).any():
            tensor = materialise(builder, value, f"{name}.part", windows=windows)
            spread[tuple(window)] = np.arange(value.index.size).reshape(value.shape)
            piece = separable(spread, value.shape, tensor)
        assert piece is not None
        pieces.append(piece)
    tensor = builder.emit(View(tuple(pieces), 0, builder.next), name, tuple(shape), step=values[0].step)[0]
    return whole(tensor, tuple(shape), values[0].step, values[0].zero_point)
