"""Along which axis a circuit's tensors follow the positions of a sequence: what an incremental run of it rests on.

A causal language model computes row i of each tensor from rows up to i of others. Only keys and values of attention are read
at other positions; what is read of later ones is masked. That the masks are there is not looked for: whoever runs a circuit
row by row compares with a whole run in the end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.dispatch import Dispatch, dispatch, find
from verifai.engines.sumcheck.circuit.ops import NONE
from verifai.engines.sumcheck.circuit.program import Circuit

Times = NDArray[np.int32]
EVER = -1
"""The position of a cell that no token decides."""


class NotByPositions(Exception):
    """The circuit has an operation whose result does not follow the positions along one axis."""


@dataclass(frozen=True)
class Rows:
    """How a tensor follows the positions: cells at coordinate c of ``axis`` belong to position ``times[c]``."""

    axis: int
    times: Times

    def at(self, first: int, end: int) -> NDArray[np.intp]:
        """The coordinates that belong to positions from ``first`` to before ``end``."""
        return np.flatnonzero((self.times >= first) & (self.times < end))


def rows_of(circuit: Circuit, starts: Sequence[int]) -> tuple[Rows, ...]:
    """By tensor, its rows.

    Args:
        starts: per input, the position of its first token; each is one row of tokens.

    Raises:
        NotByPositions: for a circuit that cannot be run row by row.
    """
    found: list[Rows | None] = [None] * len(circuit.tensors)
    for port, start in zip(circuit.inputs, starts, strict=True):
        shape = circuit.tensors[port.tensor].shape
        if len(shape) != 2 or shape[0] != 1:
            raise NotByPositions
        found[port.tensor] = Rows(1, np.arange(start, start + shape[1], dtype=np.int32))
    for op in circuit.ops:
        rule = find(_RULES, op, "the rows of positions")
        if rule is None:
            raise NotByPositions
        operands = [found[tensor] for tensor in ops.operands(op)]
        if any(one is None for one in operands):
            raise NotByPositions
        rows = rule(circuit, op, operands)
        for tensor in ops.results(op):
            shape = circuit.tensors[tensor].shape
            if rows.axis >= len(shape) or shape[rows.axis] != len(rows.times):
                raise NotByPositions
            found[tensor] = rows
    return tuple(one if one is not None else Rows(0, np.zeros(0, np.int32)) for one in found)


def _same(_: Circuit, __: Any, operands: Sequence[Rows]) -> Rows:
    """Cell by cell."""
    first = operands[0]
    if any(one.axis != first.axis or not np.array_equal(one.times, first.times) for one in operands[1:]):
        raise NotByPositions
    return first


def _leading(count: Callable[[Any], int]) -> Callable[[Circuit, Any, Sequence[Rows]], Rows]:
    """Row by row: the last ``count(op)`` axes are summed over or looked at together."""

    def rule(circuit: Circuit, op: Any, operands: Sequence[Rows]) -> Rows:
        rows = _same(circuit, op, operands)
        if rows.axis >= len(circuit.tensors[ops.operands(op)[0]].shape) - count(op):
            raise NotByPositions
        return rows

    return rule


def _row_scale(circuit: Circuit, op: ops.RowScale, operands: Sequence[Rows]) -> Rows:
    rows = _same(circuit, op, operands)
    if rows.axis >= len(circuit.tensors[op.x].shape) - 1:
        raise NotByPositions
    return rows


def _batched(circuit: Circuit, op: ops.BatchedMatMul, operands: Sequence[Rows]) -> Rows:
    """Rows of ``a`` with all of ``b``, whose later positions have to be masked: queries with keys, shares with values."""
    a, b = operands
    inner = len(circuit.tensors[op.a].shape)
    if a.axis != inner - 2 or b.axis < inner - 2:
        raise NotByPositions
    return a


def _conv(circuit: Circuit, op: ops.Conv, operands: Sequence[Rows]) -> Rows:
    """Picture by picture, pixel by pixel, or channel by channel with constants of each: rotary and learned positions."""
    (rows,) = operands
    shape, weight = circuit.tensors[op.x].shape, circuit.weights[op.weight].shape
    pixels = weight[2:] == (1, 1) and op.stride == (1, 1) and not any(op.pads)
    if rows.axis < len(shape) - 3 or (pixels and rows.axis > len(shape) - 3):
        return rows
    alone = rows.axis == len(shape) - 3 and weight[:2] == (op.groups, 1) and shape[rows.axis] == op.groups
    if not alone:
        raise NotByPositions
    return rows


def cells_of(rows: Rows, shape: Sequence[int]) -> Times:
    """The position of every cell of a tensor of this shape, as a view."""
    sizes = [1] * len(shape)
    sizes[rows.axis] = len(rows.times)
    return np.broadcast_to(rows.times.reshape(sizes), shape)


def _along(cells: Times) -> Rows:
    """The axis that alone decides a cell's position. Raises NotByPositions when there is none."""
    for axis in range(cells.ndim):
        others = tuple(other for other in range(cells.ndim) if other != axis)
        high = cells.max(axis=others)
        low = np.where(cells == EVER, np.iinfo(np.int32).max, cells).min(axis=others)
        if ((low == high) | (high == EVER)).all() and (high != EVER).any():
            if (high == EVER).any():
                raise NotByPositions  # rows of constants among the others: nothing says when they are due
            return Rows(axis, high.astype(np.int32))
    raise NotByPositions


def _relabel(circuit: Circuit, op: ops.Relabel, operands: Sequence[Rows]) -> Rows:
    cells = cells_of(operands[0], circuit.tensors[op.x].shape)
    return _along(np.ascontiguousarray(cells).reshape(circuit.tensors[op.out].shape))


def _view(circuit: Circuit, op: ops.View, operands: Sequence[Rows]) -> Rows:
    cells = np.full(circuit.tensors[op.out].shape, EVER, np.int32)
    for piece, rows in zip(op.pieces, operands, strict=True):
        fill_piece(cells, piece, cells_of(rows, circuit.tensors[piece.source].shape))
    return _along(cells)


def fill_piece(
    out: NDArray[Any], piece: ops.Piece, source: NDArray[Any], only: tuple[int, NDArray[np.intp]] | None = None
) -> None:
    """Write what one piece of a View says into ``out``.

    Args:
        only: an axis of the result, and the coordinates of it that ``out`` has; all where ``None``.
    """
    maps = [np.array(indices, np.int64) for indices in piece.indices]
    if only is not None:
        maps[only[0]] = maps[only[0]][only[1]]
    covered = [np.flatnonzero(indices != NONE) for indices in maps]
    at: list[Any] = [np.int64(constant) for constant in piece.fixed]
    for position, (axis, indices, where) in enumerate(zip(piece.axes, maps, covered, strict=True)):
        if axis != NONE:
            shape = [1] * out.ndim
            shape[position] = len(where)
            at[axis] = indices[where].reshape(shape)
    if all(len(where) for where in covered):
        out[np.ix_(*covered)] = source[tuple(at)]


def _gather(circuit: Circuit, op: ops.Gather, operands: Sequence[Rows]) -> Rows:
    indices = np.array(op.indices, np.int64)
    inside = indices != NONE
    cells = np.ascontiguousarray(cells_of(operands[0], circuit.tensors[op.x].shape)).reshape(-1)[np.where(inside, indices, 0)]
    return _along(np.where(inside, cells, EVER).astype(np.int32).reshape(circuit.tensors[op.out].shape))


_RULES: Dispatch[Callable[[Circuit, Any, Sequence[Any]], Rows]] = dispatch(
    {
        ops.MatMul: _leading(lambda op: op.contract),
        ops.GatedMatMul: _leading(lambda op: op.contract),
        ops.Conv: _conv,
        ops.BatchedMatMul: _batched,
        ops.Mul: _same,
        ops.LinearCombination: _same,
        ops.RowSum: _leading(lambda op: op.axes),
        ops.Requant: _same,
        ops.Lookup: _same,
        ops.RowMax: _leading(lambda op: 1),
        ops.Recip: _same,
        ops.Isqrt: _same,
        ops.ArgMax: _leading(lambda op: 1),
        ops.Rescale: _same,
        ops.RowScale: _row_scale,
        ops.WeightRows: _same,
        ops.TopIndex: _leading(lambda op: 1),
        ops.Relabel: _relabel,
        ops.View: _view,
        ops.Gather: _gather,
    },
    ("its windows may reach over positions", (ops.WindowSum, ops.WindowMax)),
)
