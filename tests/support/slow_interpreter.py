"""The operations of the integer circuit in plain Python integers, written from their definitions and from nothing else.

Cells are dictionaries from coordinates to integers; nothing is vectorised, padded or shared with the interpreter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from math import isqrt
from typing import Any

from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.ops import NONE
from verifai.engines.sumcheck.circuit.program import Circuit

Cells = dict[tuple[int, ...], int]


def every(shape: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    return product(*(range(size) for size in shape))


def matmul(c: Circuit, op: ops.MatMul, x: Cells, weights: list[Cells]) -> Cells:
    out = c.tensors[op.out].shape
    inner = c.weights[op.weight].shape[1:]
    result = {}
    for *rows, o in every(out):
        total = weights[op.bias][(o,)] if op.bias != NONE else 0
        for k in every(inner):
            total += weights[op.weight][(o, *k)] * x[(*rows, *k)]
        result[(*rows, o)] = total
    return result


def conv(c: Circuit, op: ops.Conv, x: Cells, weights: list[Cells]) -> Cells:
    outer, inner, kernel_h, kernel_w = c.weights[op.weight].shape
    result = {}
    for n, o, i, j in every(c.tensors[op.out].shape):
        total = weights[op.bias][(o,)] if op.bias != NONE else 0
        group = o // (outer // op.groups)
        for ch, u, v in every((inner, kernel_h, kernel_w)):
            row = i * op.stride[0] + u * op.dilation[0] - op.pads[0]
            column = j * op.stride[1] + v * op.dilation[1] - op.pads[1]
            total += weights[op.weight][(o, ch, u, v)] * x.get((n, group * inner + ch, row, column), 0)
        result[(n, o, i, j)] = total
    return result


def window(op: Any, kernel: tuple[int, ...], dilation: tuple[int, ...], i: int, j: int) -> Iterator[tuple[int, int]]:
    for u, v in every(kernel):
        yield i * op.stride[0] + u * dilation[0] - op.pads[0], j * op.stride[1] + v * dilation[1] - op.pads[1]


def window_sum(c: Circuit, op: ops.WindowSum, x: Cells) -> Cells:
    return {
        (n, ch, i, j): op.multiplier * sum(x.get((n, ch, r, s), 0) for r, s in window(op, op.kernel, (1, 1), i, j))
        for n, ch, i, j in every(c.tensors[op.out].shape)
    }


def window_max(c: Circuit, op: ops.WindowMax, x: Cells) -> Cells:
    low = c.tensors[op.x].low
    return {
        (n, ch, i, j): max(x.get((n, ch, r, s), low) for r, s in window(op, op.kernel, op.dilation, i, j))
        for n, ch, i, j in every(c.tensors[op.out].shape)
    }


def batched(c: Circuit, op: ops.BatchedMatMul, a: Cells, b: Cells) -> Cells:
    inner = c.tensors[op.a].shape[-1]
    return {
        (*lead, i, j): op.multiplier * sum(a[(*lead, i, k)] * b[(*lead, k, j)] for k in range(inner))
        for *lead, i, j in every(c.tensors[op.out].shape)
    }


def row_sum(c: Circuit, op: ops.RowSum, x: Cells, y: Cells | None) -> Cells:
    shape = c.tensors[op.x].shape
    rows, inner = shape[: len(shape) - op.axes], shape[len(shape) - op.axes :]
    result = {}
    for row in every(rows):
        total = sum(x[(*row, *k)] * (y[(*row, *k)] if y is not None else 1) for k in every(inner))
        result[row if rows else (0,)] = op.multiplier * total
    return result


def requant(c: Circuit, op: ops.Requant, z: Cells) -> Cells:
    table = c.tables[op.table]
    result = {}
    for at, value in z.items():
        t = value if op.shift == 0 else (value + 2 ** (op.shift - 1)) // 2**op.shift
        result[at] = table.values[max(table.low, min(t, table.high)) - table.low]
    return result


def row_max(c: Circuit, op: ops.RowMax, x: Cells) -> tuple[Cells, Cells]:
    *rows, size = c.tensors[op.x].shape
    table = c.tables[op.table]
    largest, exp = {}, {}
    for row in every(tuple(rows)):
        best = max(x[(*row, k)] for k in range(size))
        largest[row if rows else (0,)] = best
        for k in range(size):
            exp[(*row, k)] = table.values[min(best - x[(*row, k)], table.high)]
    return largest, exp


def recip(q: int) -> int:
    e = 29 - (q.bit_length() - 1)
    return 2**46 // (q * 2**e) * 2**e


def argmax(c: Circuit, op: ops.ArgMax | ops.TopIndex, x: Cells) -> Cells:
    *rows, size = c.tensors[op.x].shape
    result = {}
    for row in every(tuple(rows)):
        line = [x[(*row, k)] for k in range(size)]
        result[row if rows else (0,)] = line.index(max(line))
    return result


def view(c: Circuit, op: ops.View, cells: list[Cells]) -> Cells:
    result = {}
    for at in every(c.tensors[op.out].shape):
        value = op.constant
        for piece in op.pieces:
            picked = [indices[place] for indices, place in zip(piece.indices, at, strict=True)]
            if NONE in picked:
                continue
            source = list(piece.fixed)
            for axis, index in zip(piece.axes, picked, strict=True):
                if axis != NONE:
                    source[axis] = index
            value = cells[piece.source][tuple(source)]
        result[at] = value
    return result


def rescale(c: Circuit, op: ops.Rescale, z: Cells) -> Cells:
    return {at: (value + 2 ** (op.shift - 1)) // 2**op.shift for at, value in z.items()}


def gated(c: Circuit, op: ops.GatedMatMul, a: Cells, b: Cells, weights: list[Cells]) -> Cells:
    out, inner, result = c.tensors[op.out].shape, c.weights[op.weight].shape[1:], {}
    for *rows, o in every(out):
        total = weights[op.bias][(o,)] if op.bias != NONE else 0
        result[(*rows, o)] = total + sum(weights[op.weight][(o, *k)] * a[(*rows, *k)] * b[(*rows, *k)] for k in every(inner))
    return result


def row_scale(c: Circuit, op: ops.RowScale, x: Cells, factor: Cells) -> Cells:
    return {at: op.multiplier * value * factor[at[:-1] or (0,)] for at, value in x.items()}


def weight_rows(c: Circuit, op: ops.WeightRows, index: Cells, weights: list[Cells]) -> Cells:
    rank = len(c.tensors[op.index].shape)
    return {at: weights[op.weight][(index[at[:rank]], *at[rank:])] for at in every(c.tensors[op.out].shape)}


def flat(cells: Cells) -> list[int]:
    return [cells[at] for at in sorted(cells)]


def in_order(shape: tuple[int, ...], values: list[int]) -> Cells:
    return dict(zip(every(shape), values, strict=True))


_ONE: dict[type[Any], Callable[..., Cells]] = {
    ops.WindowSum: window_sum,
    ops.WindowMax: window_max,
    ops.ArgMax: argmax,
    ops.TopIndex: argmax,
    ops.Requant: requant,
}


def evaluate(c: Circuit, weights: list[Cells], inputs: list[Cells]) -> list[Cells]:
    """Every tensor of the circuit, true cells."""
    cells: list[Cells] = [{} for _ in c.tensors]
    for port, values in zip(c.inputs, inputs, strict=True):
        cells[port.tensor] = values
    for op in c.ops:
        if isinstance(op, ops.MatMul):
            cells[op.out] = matmul(c, op, cells[op.x], weights)
        elif isinstance(op, ops.Conv):
            cells[op.out] = conv(c, op, cells[op.x], weights)
        elif isinstance(op, ops.BatchedMatMul):
            cells[op.out] = batched(c, op, cells[op.a], cells[op.b])
        elif isinstance(op, ops.Mul):
            cells[op.out] = {at: op.multiplier * value * cells[op.b][at] for at, value in cells[op.a].items()}
        elif isinstance(op, ops.LinearCombination):
            cells[op.out] = {
                at: op.constant + sum(m * cells[s][at] for s, m in zip(op.sources, op.multipliers, strict=True))
                for at in every(c.tensors[op.out].shape)
            }
        elif isinstance(op, ops.RowSum):
            cells[op.out] = row_sum(c, op, cells[op.x], None if op.y == NONE else cells[op.y])
        elif isinstance(op, ops.Requant):
            cells[op.out] = requant(c, op, cells[op.z])
        elif isinstance(op, ops.Lookup):
            table = c.tables[op.table]
            cells[op.out] = {at: table.values[value - table.low] for at, value in cells[op.x].items()}
        elif isinstance(op, ops.RowMax):
            cells[op.out], exp = row_max(c, op, cells[op.x])
            if op.exp != NONE:
                cells[op.exp] = exp
        elif isinstance(op, ops.Recip):
            cells[op.out] = {at: recip(value) for at, value in cells[op.q].items()}
        elif isinstance(op, ops.Rescale):
            cells[op.out] = rescale(c, op, cells[op.z])
        elif isinstance(op, ops.GatedMatMul):
            cells[op.out] = gated(c, op, cells[op.a], cells[op.b], weights)
        elif isinstance(op, ops.RowScale):
            cells[op.out] = row_scale(c, op, cells[op.x], cells[op.factor])
        elif isinstance(op, ops.WeightRows):
            cells[op.out] = weight_rows(c, op, cells[op.index], weights)
        elif isinstance(op, ops.Isqrt):
            cells[op.out] = {at: isqrt(value) for at, value in cells[op.v].items()}
        elif isinstance(op, ops.Relabel):
            cells[op.out] = in_order(c.tensors[op.out].shape, flat(cells[op.x]))
        elif isinstance(op, ops.View):
            cells[op.out] = view(c, op, cells)
        elif isinstance(op, ops.Gather):
            source = flat(cells[op.x])
            values = [op.constant if i == NONE else source[i] for i in op.indices]
            cells[op.out] = in_order(c.tensors[op.out].shape, values)
        else:
            cells[op.out] = _ONE[type(op)](c, op, cells[op.x])
    return cells
