"""Affine functions of cells: constants that move or stretch cells fold into the next linear layer, exactly.

A scaler (x − μ)/σ before a layer W·x + b is the layer W/σ and b − W·μ/σ. Were it an operation of its own, its result would be
rounded to the few bits of an inner tensor; so would rows of a table whose columns have scales of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from typing import Any, TypeAlias

import numpy as np

from verifai.engines.sumcheck.lowering.values import (
    ZERO_CELL,
    CellTerm,
    ConvTerm,
    Floats,
    Form,
    Held,
    Index,
    Lazy,
    MatMulTerm,
    SquaresTerm,
    Term,
)

CONSTANT = -1
"""In ``source``: the cell is its offset alone."""


@dataclass(frozen=True, eq=False)
class Affine:
    """factor·x + offset, cell by cell, x being cells of held tensors; not computed until something needs its cells.

    Attributes:
        sources: the held tensors, each once; their own index maps are not looked at.
        source: of the value's shape: which of them a cell is from, or CONSTANT. index: the flat true cell there.
        factor, offset: of the value's shape, real.
    """

    sources: tuple[Held, ...]
    source: Index
    index: Index
    factor: Floats
    offset: Floats

    @property
    def shape(self) -> tuple[int, ...]:
        """The value's shape, as ONNX has it."""
        return self.index.shape

    def mapped(self, change: Callable[[Any], Any]) -> Affine:
        """The same cells in another arrangement: ``change`` is applied to every array."""
        arrays = (self.source, self.index, self.factor, self.offset)
        return Affine(self.sources, *(np.ascontiguousarray(change(one)) for one in arrays))

    def stretched(self, factor: Floats, offset: Floats, shape: tuple[int, ...]) -> Affine:
        """factor·value + offset, both broadcast to ``shape``."""
        wide = self.mapped(lambda one: np.broadcast_to(one, shape))
        return replace(wide, factor=wide.factor * factor, offset=wide.offset * factor + offset)

    def part(self, number: int) -> Held:
        """The cells that are from source ``number``, the others 0."""
        held = self.sources[number]
        return held.at(np.where(self.source == number, self.index, ZERO_CELL))

    def used(self) -> list[int]:
        """The sources that some cell is from, in order."""
        return [number for number in range(len(self.sources)) if bool((self.source == number).any())]


Value: TypeAlias = Held | Lazy | Affine


def affine_of(value: Held) -> Affine:
    """A held value as the affine function that it is."""
    shape = value.shape
    source = np.where(value.index == ZERO_CELL, CONSTANT, 0).astype(np.int64)
    return Affine((value,), source, value.index, np.ones(shape), np.zeros(shape))


def constant_of(values: Floats) -> Affine:
    """Constants as an affine function of nothing."""
    return Affine((), np.full(values.shape, CONSTANT, np.int64), np.full(values.shape, ZERO_CELL, np.int64), values * 0, values)


def joined(parts: list[Affine], axis: int) -> Affine:
    """The values one after another along ``axis``."""
    sources: list[Held] = []
    renumbered = []
    for part in parts:
        numbers = []
        for held in part.sources:
            known = [at for at, other in enumerate(sources) if other.tensor == held.tensor]
            numbers.append(known[0] if known else len(sources))
            sources += [] if known else [held]
        table = np.array([*numbers, CONSTANT], np.int64)
        renumbered.append(replace(part, source=table[part.source]))
    columns = ("source", "index", "factor", "offset")
    arrays = [np.concatenate([getattr(part, name) for part in renumbered], axis=axis) for name in columns]
    return Affine(tuple(sources), *arrays)


def folded_product(value: Affine, weight: Floats, bias: Floats | None) -> tuple[Term, ...] | None:
    """value @ weightᵀ + bias with the affine part folded in: one term per source. ``None`` when rows differ.

    Args:
        weight: (O, K) for a value of shape (…, K).
    """
    inner = value.shape[-1]
    rows = [one.reshape(-1, inner) for one in (value.source, value.factor, value.offset)]
    if any(bool((one != one[:1]).any()) for one in rows):
        return None
    source, factor, offset = (one[0] for one in rows)
    total = weight @ offset + (0.0 if bias is None else bias)
    terms: list[Term] = []
    for number in value.used():
        mine = source == number
        held = value.sources[number].at(np.ascontiguousarray(value.index[..., mine]))
        terms.append(MatMulTerm(held, weight[:, mine] * factor[mine], total if not terms else None))
    return tuple(terms) or None


def folded_squares(value: Affine, weight: Floats) -> tuple[SquaresTerm, MatMulTerm] | None:
    """Σ_k weight[o, k]·value[…, k]² of one row, (a·x + b)² being a²·x² + 2ab·x + b² of the cells themselves, whatever scale
    each of them has: nothing is rounded but the weights. ``None`` where the value is more than one row of one source.

    Args:
        weight: (O, K) for a value of shape (…, K).
    """
    used = value.used()
    if len(used) != 1 or value.index.size != value.shape[-1]:
        return None
    mine = (value.source == used[0]).reshape(-1)
    factor, offset = value.factor.reshape(-1), value.offset.reshape(-1)
    cells = value.sources[used[0]].at(np.ascontiguousarray(value.index[..., mine]))
    kept = weight[:, mine]
    squares = SquaresTerm(cells, kept * factor[mine] ** 2)
    return squares, MatMulTerm(cells, 2 * kept * (factor * offset)[mine], weight @ offset**2)


def folded_convolution(value: Affine, term: ConvTerm) -> ConvTerm | None:
    """``term``, a convolution of the value's one source, as that of the value: factors per channel go into the weights, offsets
    into the bias. ``None`` where that is not exact: padding stands for the real 0, which an offset would move."""
    if term.groups != 1 or len(value.used()) != 1 or bool((value.source == CONSTANT).any()):
        return None
    channels = [np.moveaxis(one, 1, 0).reshape(value.shape[1], -1) for one in (value.factor, value.offset)]
    if any(bool((one != one[:, :1]).any()) for one in channels):
        return None
    factor, offset = (one[:, 0] for one in channels)
    if any(term.pads) and bool(offset.any()):
        return None
    shift = (term.weight * offset[:, None, None]).sum(axis=(1, 2, 3))
    bias = shift + (0.0 if term.bias is None else term.bias)
    return replace(term, weight=term.weight * factor[:, None, None], bias=bias)


def affine_form(value: Affine, name: str) -> Form:
    """The value as a linear form of its own shape."""
    shape = value.shape or (1,)
    wide = value.mapped(lambda one: one.reshape(shape))
    plain = [bool((one == one.flat[0]).all()) for one in (wide.factor, wide.offset)]
    if all(plain) and len(wide.used()) == 1 and not bool((wide.source == CONSTANT).any()):
        terms: tuple[Term, ...] = (CellTerm(wide.part(wide.used()[0]), float(wide.factor.flat[0])),)
        return Form(terms, float(wide.offset.flat[0]), shape, value.shape, name)
    # A convolution of one cell per channel, every cell of the last axes being a channel that has a constant of its own.
    told = [axis for axis in range(len(shape)) if any(_varies(one, axis) for one in (wide.factor, wide.offset, wide.source))]
    first, last = (min(told), max(told) + 1) if told else (0, 0)
    rest = (1, 1, *shape[last:])
    count = prod(shape[first:last])
    planar = (prod(shape[:first]), count, prod(rest[:-1]), rest[-1])
    terms = ()
    for number in wide.used():
        mine = np.where(wide.source == number, wide.factor, 0.0)
        held = wide.part(number)
        factor = mine.reshape(planar)[0, :, 0, 0]
        bias = wide.offset.reshape(planar)[0, :, 0, 0] if not terms else None
        x = held.at(np.ascontiguousarray(held.index).reshape(planar))
        terms = (*terms, ConvTerm(x, factor.reshape(count, 1, 1, 1), bias, (1, 1), (1, 1), (0, 0, 0, 0), count))
    return Form(terms, 0.0, planar, value.shape, name)


def _varies(array: Any, axis: int) -> bool:
    return bool((array != array.take([0], axis=axis)).any())
