"""What an operation's results must be: shape, bounds and fill, recomputed from its operands. Standard library only.

The lowering builds tensors with it; :func:`.check.check` compares. Bounds are exact interval arithmetic, with two facts
that intervals alone do not see: a square is not negative, and a softmax row's sum holds at least the largest cell's term.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isqrt, prod
from typing import Any, TypeAlias

from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.ops import NONE
from verifai.engines.sumcheck.circuit.program import Circuit, Tensor, log2_ceil
from verifai.errors import EvidenceRejected, InternalError

MAX_MAGNITUDE = 1 << 62
"""The no-wrap rule: every value lies strictly inside ±2^62, so congruent values below 2^64 − 2^32 + 1 are equal."""

RECIP_ONE = 1 << 46
RECIP_LIMIT = 1 << 30
ISQRT_LIMIT = 1 << 60
MAX_DIGIT_BITS = 40
"""Of a Rescale's result, and of the differences that a TopIndex proves."""


@dataclass(frozen=True, slots=True)
class Result:
    """One result of an operation: the parts of a Tensor that follow from its operands."""

    shape: tuple[int, ...]
    low: int
    high: int
    fill: int


def refuse(message: str) -> EvidenceRejected:
    """The error for a broken rule; :func:`.check.check` adds the place."""
    return EvidenceRejected("circuit-invalid", message)


def need(condition: bool, message: str) -> None:
    """Raise ``circuit-invalid`` unless ``condition``."""
    if not condition:
        raise refuse(message)


def product(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    """The interval of x·y for x in ``a``, y in ``b``."""
    corners = [x * y for x in a for y in b]
    return min(corners), max(corners)


def square(a: tuple[int, int]) -> tuple[int, int]:
    """The interval of x² for x in ``a``."""
    ends = (a[0] * a[0], a[1] * a[1])
    return (0 if a[0] <= 0 <= a[1] else min(ends)), max(ends)


def requant_t(z: int, shift: int) -> int:
    """⌊(z + 2^(s−1)) / 2^s⌋; z itself for s = 0."""
    return z if shift == 0 else (z + (1 << (shift - 1))) >> shift


def recip(q: int) -> int:
    """K = R·2^e of :class:`.ops.Recip`."""
    e = 30 - q.bit_length()
    return (RECIP_ONE // (q << e)) << e


def window_size(size: int, kernel: int, stride: int, dilation: int, before: int, after: int) -> int:
    """Output positions along one axis; 0 or less when the window does not fit."""
    return (size + before + after - dilation * (kernel - 1) - 1) // stride + 1


def _scaled(interval: tuple[int, int], multiplier: int) -> tuple[int, int]:
    need(0 < abs(multiplier) < 1 << 31, "a multiplier is 0 or too large")
    return product(interval, (multiplier, multiplier))


def _interval(tensor: Tensor) -> tuple[int, int]:
    return tensor.low, tensor.high


def _windows(
    op: Any, shape: Sequence[int], dilation: Sequence[int], kernel: Sequence[int], limit: int = 1 << 16
) -> tuple[int, int]:
    """Output height and width, after checking the window's parameters."""
    need(len(kernel) == len(op.stride) == len(dilation) == 2 and len(op.pads) == 4, "a window is not two-dimensional")
    need(all(0 < v < limit for v in (*kernel, *op.stride, *dilation)), "a window parameter is out of range")
    need(all(v < limit for v in op.pads), "a padding is out of range")
    sizes = tuple(window_size(shape[i - 2], kernel[i], op.stride[i], dilation[i], op.pads[i], op.pads[2 + i]) for i in range(2))
    need(min(sizes) > 0, "the window does not fit")
    return sizes[0], sizes[1]


class Facts:
    """What many rules ask about one circuit, found once. Without it, a hundred operations on one table of 2^16 values would
    look through it a hundred times, and every RowSum through all operations."""

    def __init__(self, circuit: Circuit) -> None:
        self._circuit = circuit
        self._ranges: dict[int, tuple[int, int]] = {}
        self._makers: dict[int, ops.Op] | None = None

    def table_range(self, table: int) -> tuple[int, int]:
        """The least and the greatest value of a table."""
        if table not in self._ranges:
            values = self._circuit.tables[table].values
            self._ranges[table] = (min(values), max(values))
        return self._ranges[table]

    def exponentials_of(self, tensor: int) -> ops.RowMax | None:
        """The operation whose exponentials ``tensor`` holds."""
        made = self.maker(tensor)
        return made if isinstance(made, ops.RowMax) and made.exp == tensor else None

    def maker(self, tensor: int) -> ops.Op | None:
        """The operation that ``tensor`` is the result of; None for an input.

        Should a broken circuit define it twice, the first definition: it comes before what reads the tensor, so it was checked.
        """
        if self._makers is None:
            self._makers = {out: op for op in reversed(self._circuit.ops) for out in ops.results(op)}
            for port in self._circuit.inputs:
                self._makers.pop(port.tensor, None)
        return self._makers.get(tensor)

    def quotient(self, x: int, factor: int) -> int | None:
        """A bound of |x·f| where f is the reciprocal of its row's norm, or of the sum that x's row is a weighted part of.

        f = R·2^e ≤ 2^46/q. (1) q = ⌊√v⌋ ≥ 1 and v = M·Σx² + c with M ≥ 1, c ≥ 0: √M·|x| ≤ √v < q + 1 ≤ 2q. (2) q = M·Σe over
        the cells of the same row of e ≥ 0, M ≥ 1, and x = N·Σ e·b: |x| ≤ |N|·max|b|·q/M. None in all other cases.
        """
        recip = self.maker(factor)
        if not isinstance(recip, ops.Recip):
            return None
        divisor = self.maker(recip.q)
        if isinstance(divisor, ops.Isqrt):
            factor_of_squares = self._sums_squares(divisor.v, x)
            return -(-2 * RECIP_ONE // isqrt(factor_of_squares)) if factor_of_squares else None
        mixed = self.maker(x)
        if not isinstance(divisor, ops.RowSum) or not isinstance(mixed, ops.BatchedMatMul):
            return None
        same = divisor.x == mixed.a and divisor.y == ops.NONE and divisor.axes == 1 and divisor.multiplier >= 1
        if not same or self._circuit.tensors[mixed.a].low < 0:
            return None
        return -(-RECIP_ONE * abs(mixed.multiplier) * self._circuit.tensors[mixed.b].magnitude // divisor.multiplier)

    def _sums_squares(self, v: int, x: int) -> int:
        """M when v is M·Σx² + c along the last axis, M ≥ 1, c ≥ 0; else 0."""
        made, factor = self.maker(v), 1
        if isinstance(made, ops.LinearCombination):
            if len(made.sources) != 1 or made.multipliers[0] < 1 or made.constant < 0:
                return 0
            factor, made = made.multipliers[0], self.maker(made.sources[0])
        if not isinstance(made, ops.RowSum) or not made.x == made.y == x or made.axes != 1:
            return 0
        return factor * max(0, made.multiplier)


def _matmul(c: Circuit, facts: Facts, op: ops.MatMul) -> tuple[Result, ...]:
    x, weight = c.tensors[op.x], c.weights[op.weight]
    need(0 < op.contract <= len(x.shape), "MatMul contracts more axes than there are")
    rows, inner = x.shape[: -op.contract], x.shape[len(x.shape) - op.contract :]
    need(weight.shape[1:] == inner and len(weight.shape) > 1, "the weight's shape does not match")
    bound = weight.row_l1 * x.magnitude + _bias(c, op.bias, weight.shape[0])
    return (Result((*rows, weight.shape[0]), -bound, bound, 0),)


def _bias(c: Circuit, index: int, channels: int) -> int:
    if index == NONE:
        return 0
    need(c.weights[index].shape == (channels,), "the bias has the wrong shape")
    return c.weights[index].bound


def _conv(c: Circuit, facts: Facts, op: ops.Conv) -> tuple[Result, ...]:
    x, weight = c.tensors[op.x], c.weights[op.weight]
    need(len(x.shape) >= 4 and len(weight.shape) == 4, "Conv takes four axes or more, and a weight of four")
    out_channels, inner, kernel = weight.shape[0], weight.shape[1], weight.shape[2:]
    need(op.groups > 0 and x.shape[-3] == op.groups * inner and out_channels % op.groups == 0, "the channels do not match")
    if op.groups > 1:
        outer = out_channels // op.groups
        need(inner & (inner - 1) == 0 and outer & (outer - 1) == 0, "channels per group are not a power of two")
    height, width = _windows(op, x.shape, op.dilation, kernel)
    bound = weight.row_l1 * x.magnitude + _bias(c, op.bias, out_channels)
    return (Result((*x.shape[:-3], out_channels, height, width), -bound, bound, 0),)


def _batched(c: Circuit, facts: Facts, op: ops.BatchedMatMul) -> tuple[Result, ...]:
    a, b = c.tensors[op.a], c.tensors[op.b]
    need(len(a.shape) == len(b.shape) >= 2 and a.shape[:-2] == b.shape[:-2], "the leading axes differ")
    need(a.shape[-1] == b.shape[-2], "the inner axes differ")
    low, high = product(_interval(a), _interval(b))
    terms = a.shape[-1]
    low, high = _scaled((low * terms, high * terms), op.multiplier)
    return (Result((*a.shape[:-1], b.shape[-1]), low, high, 0),)


def _mul(c: Circuit, facts: Facts, op: ops.Mul) -> tuple[Result, ...]:
    a, b = c.tensors[op.a], c.tensors[op.b]
    need(a.shape == b.shape, "the shapes differ")
    interval = square(_interval(a)) if op.a == op.b else product(_interval(a), _interval(b))
    return (Result(a.shape, *_scaled(interval, op.multiplier), 0),)


def _combination(c: Circuit, facts: Facts, op: ops.LinearCombination) -> tuple[Result, ...]:
    need(0 < len(op.sources) == len(op.multipliers), "sources and multipliers differ in number")
    need(len(set(op.sources)) == len(op.sources), "a source occurs twice")
    shape = c.tensors[op.sources[0]].shape
    low = high = op.constant
    for source, multiplier in zip(op.sources, op.multipliers, strict=True):
        need(c.tensors[source].shape == shape, "the shapes differ")
        least, most = _scaled(_interval(c.tensors[source]), multiplier)
        low, high = low + least, high + most
    return (Result(shape, low, high, 0),)


def _window_sum(c: Circuit, facts: Facts, op: ops.WindowSum) -> tuple[Result, ...]:
    x = c.tensors[op.x]
    need(len(x.shape) >= 4, "WindowSum takes four axes or more")
    height, width = _windows(op, x.shape, (1, 1), op.kernel)
    taps = prod(op.kernel)
    interval = (min(0, x.low) * taps, max(0, x.high) * taps) if any(op.pads) else (x.low * taps, x.high * taps)
    return (Result((*x.shape[:-2], height, width), *_scaled(interval, op.multiplier), 0),)


def _row_sum(c: Circuit, facts: Facts, op: ops.RowSum) -> tuple[Result, ...]:
    x = c.tensors[op.x]
    need(0 < op.axes <= len(x.shape), "RowSum sums more axes than there are")
    rows, terms = x.shape[: -op.axes] or (1,), prod(x.shape[len(x.shape) - op.axes :])
    if op.y == NONE:
        interval = (x.low * terms, x.high * terms)
        maximum = facts.exponentials_of(op.x)
        if maximum is not None and op.axes == 1:
            # One cell of the row is the maximum, so its term is T[0]; the others lie in T's range.
            top = c.tables[maximum.table].at(0)
            interval = (top + x.low * (terms - 1), top + x.high * (terms - 1))
    else:
        y = c.tensors[op.y]
        need(x.shape == y.shape, "the shapes differ")
        low, high = square(_interval(x)) if op.x == op.y else product(_interval(x), _interval(y))
        interval = (low * terms, high * terms)
    return (Result(rows, *_scaled(interval, op.multiplier), 0),)


def _requant(c: Circuit, facts: Facts, op: ops.Requant) -> tuple[Result, ...]:
    z, table = c.tensors[op.z], c.tables[op.table]
    need(table.low < 0, "the table's domain does not start at −2^(w−1)")
    need(sum(op.limbs) == op.shift and all(0 < b <= 16 for b in op.limbs), "the limb widths do not add up to the shift")
    need(op.shift + table.width <= 62, "s + w is greater than 62")
    low, high = requant_t(z.low, op.shift), requant_t(z.high, op.shift)
    need(op.saturate == (low < table.low or high > table.high), "the saturation flag does not follow from the bounds")
    if op.saturate:
        half = table.width - 1
        need((high >> half) - (low >> half) < 1 << 16, "the split's upper half has more than 2^16 values")
    return (Result(z.shape, *facts.table_range(op.table), table.at(0)),)


def _lookup(c: Circuit, facts: Facts, op: ops.Lookup) -> tuple[Result, ...]:
    x, table = c.tensors[op.x], c.tables[op.table]
    need(table.low < 0, "the table's domain does not start at −2^(w−1)")
    need(table.low <= x.low and x.high <= table.high, "a reachable value lies outside the table")
    return (Result(x.shape, *facts.table_range(op.table), table.at(0)),)


def _window_max(c: Circuit, facts: Facts, op: ops.WindowMax) -> tuple[Result, ...]:
    x = c.tensors[op.x]
    need(len(x.shape) >= 4, "WindowMax takes four axes or more")
    sizes = _windows(op, x.shape, op.dilation, op.kernel)
    need(prod(op.kernel) <= 4, "WindowMax takes at most four taps")
    need(x.high - x.low < 1 << 32, "the operand's span is too wide")
    return (Result((*x.shape[:-2], *sizes), x.low, x.high, x.low),)


def _row_max(c: Circuit, facts: Facts, op: ops.RowMax) -> tuple[Result, ...]:
    x, table = c.tensors[op.x], c.tables[op.table]
    need(table.low == 0 and table.at(table.high) == 0, "the table is not on [0, 2^w) with T[D] = 0")
    need(x.high - x.low < 1 << 32, "the operand's span is too wide")
    need(x.shape[-1] < 1 << 16, "a row has 2^16 cells or more")
    need(op.saturate == (x.high - x.low > table.high), "the saturation flag does not follow from the bounds")
    rows = Result(x.shape[:-1] or (1,), x.low, x.high, 0)
    if op.exp == NONE:
        need(facts.table_range(op.table) == (0, 0), "without E the table is all zeros")
        return (rows,)
    return rows, Result(x.shape, *facts.table_range(op.table), 0)


def _recip(c: Circuit, facts: Facts, op: ops.Recip) -> tuple[Result, ...]:
    q = c.tensors[op.q]
    need(q.low >= 1 and q.high < RECIP_LIMIT, "the operand is not in [1, 2^30)")
    return (Result(q.shape, recip(q.high), recip(q.low), RECIP_ONE),)


def _isqrt(c: Circuit, facts: Facts, op: ops.Isqrt) -> tuple[Result, ...]:
    v = c.tensors[op.v]
    need(v.low >= 0 and v.high < ISQRT_LIMIT, "the operand is not in [0, 2^60)")
    return (Result(v.shape, isqrt(v.low), isqrt(v.high), 0),)


def _argmax(c: Circuit, facts: Facts, op: ops.ArgMax) -> tuple[Result, ...]:
    x = c.tensors[op.x]
    need(x.high - x.low < 1 << 32, "the operand's span is too wide")
    need(x.shape[-1] < 1 << 16, "a row has 2^16 cells or more")
    return (Result(x.shape[:-1] or (1,), 0, x.shape[-1] - 1, 0),)


def _limbs(widths: tuple[int, ...], what: str) -> None:
    need(bool(widths) and all(0 < b <= 16 for b in widths), f"a width of the {what} is not in [1, 16]")


def _rescale(c: Circuit, facts: Facts, op: ops.Rescale) -> tuple[Result, ...]:
    z, bits = c.tensors[op.z], sum(op.digits)
    _limbs(op.limbs, "limbs")
    _limbs(op.digits, "digits")
    need(sum(op.limbs) == op.shift, "the limb widths do not add up to the shift")
    need(bits <= MAX_DIGIT_BITS and op.shift + bits <= 62, "more than 40 bits of digits, or more than 62 with the shift")
    low, high = max(requant_t(z.low, op.shift), -(1 << (bits - 1))), min(requant_t(z.high, op.shift), (1 << (bits - 1)) - 1)
    need(low <= high, "no value of the operand is in reach of the digits")
    return (Result(z.shape, low, high, 0),)


def _gated(c: Circuit, facts: Facts, op: ops.GatedMatMul) -> tuple[Result, ...]:
    a, b, weight = c.tensors[op.a], c.tensors[op.b], c.weights[op.weight]
    need(a.shape == b.shape, "the shapes differ")
    need(0 < op.contract <= len(a.shape), "GatedMatMul contracts more axes than there are")
    rows, inner = a.shape[: -op.contract], a.shape[len(a.shape) - op.contract :]
    need(weight.shape[1:] == inner and len(weight.shape) > 1, "the weight's shape does not match")
    bound = weight.row_l1 * a.magnitude * b.magnitude + _bias(c, op.bias, weight.shape[0])
    return (Result((*rows, weight.shape[0]), -bound, bound, 0),)


def _row_scale(c: Circuit, facts: Facts, op: ops.RowScale) -> tuple[Result, ...]:
    x, factor = c.tensors[op.x], c.tensors[op.factor]
    need(factor.shape == (x.shape[:-1] or (1,)), "the factors are not one per row")
    low, high = product(_interval(x), _interval(factor))
    quotient = facts.quotient(op.x, op.factor)
    if quotient is not None:
        low, high = max(low, -quotient), min(high, quotient)
    return (Result(x.shape, *_scaled((low, high), op.multiplier), 0),)


def _weight_rows(c: Circuit, facts: Facts, op: ops.WeightRows) -> tuple[Result, ...]:
    index, weight = c.tensors[op.index], c.weights[op.weight]
    need(len(weight.shape) > 1, "a weight of one axis has no rows")
    need(index.low >= 0 and index.high < weight.shape[0], "an index is not a row of the weight")
    return (Result((*index.shape, *weight.shape[1:]), -weight.bound, weight.bound, 0),)


def _top_index(c: Circuit, facts: Facts, op: ops.TopIndex) -> tuple[Result, ...]:
    x = c.tensors[op.x]
    _limbs(op.digits, "digits")
    need(sum(op.digits) <= MAX_DIGIT_BITS, "more than 40 bits of digits")
    need(x.shape[-1] < 1 << 20, "a row has 2^20 cells or more")
    return (Result(x.shape[:-1] or (1,), 0, x.shape[-1] - 1, 0),)


def box_form(shape: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Normal form of the set of true cells in the padded row-major order: (true, padded) with mergeable axes merged."""
    merged: list[tuple[int, int]] = []
    for size in shape:
        inner = (size, 1 << log2_ceil(size))
        if merged and (inner[0] == inner[1] or merged[-1][0] == 1):
            outer = merged.pop()
            true = outer[0] * inner[1] if inner[0] == inner[1] else inner[0]
            inner = (true, outer[1] * inner[1])
        if inner[1] > 1:
            merged.append(inner)
    return tuple(merged)


def same_cells(a: Sequence[int], b: Sequence[int]) -> bool:
    """Whether two shapes have the same true cells in the padded row-major order."""
    return box_form(a) == box_form(b)


def _relabel(c: Circuit, facts: Facts, op: ops.Relabel, shape: tuple[int, ...]) -> tuple[Result, ...]:
    x = c.tensors[op.x]
    need(same_cells(x.shape, shape), "the true cells are not the same set")
    return (Result(shape, x.low, x.high, 0),)


def _view(c: Circuit, facts: Facts, op: ops.View, shape: tuple[int, ...]) -> tuple[Result, ...]:
    need(bool(op.pieces), "a view without pieces")
    low, high, covered = op.constant, op.constant, 0
    takers: list[dict[int, int]] = [{} for _ in shape]
    for number, piece in enumerate(op.pieces):
        box = _piece(c.tensors[piece.source], piece, shape)
        covered += prod(map(len, box))
        low, high = min(low, c.tensors[piece.source].low), max(high, c.tensors[piece.source].high)
        need(not _taken(takers, box, number), "two pieces overlap")
    if covered == prod(shape):
        need(op.constant == 0, "a constant that no cell reads is not 0")
        low = min(c.tensors[piece.source].low for piece in op.pieces)
        high = max(c.tensors[piece.source].high for piece in op.pieces)
    return (Result(shape, low, high, 0),)


def _taken(takers: list[dict[int, int]], box: tuple[list[int], ...], number: int) -> bool:
    """Whether an earlier piece covers a cell of ``box``; if not, piece ``number`` takes it.

    Args:
        takers: per axis and coordinate, the pieces that cover it so far, as bits. So a piece costs as much as it has indices,
            and is not compared with every other one.
    """
    common = -1
    for axis, coordinates in zip(takers, box, strict=True):
        some = 0
        for coordinate in coordinates:
            some |= axis.get(coordinate, 0)
        common &= some
        if not common:
            break
    if common:
        return number > 0
    bit = 1 << number
    for axis, coordinates in zip(takers, box, strict=True):
        for coordinate in coordinates:
            axis[coordinate] = axis.get(coordinate, 0) | bit
    return False


def _piece(source: Tensor, piece: ops.Piece, shape: tuple[int, ...]) -> tuple[list[int], ...]:
    """The covered coordinates per output axis, after checking every index."""
    need(len(piece.axes) == len(piece.indices) == len(shape), "a piece does not have one map per output axis")
    need(len(piece.fixed) == len(source.shape), "a piece does not have one constant per source axis")
    driven = [axis for axis in piece.axes if axis != NONE]
    need(len(set(driven)) == len(driven) and all(axis < len(source.shape) for axis in driven), "a source axis is driven twice")
    for axis, constant in enumerate(piece.fixed):
        expected = constant == NONE if axis in driven else constant < source.shape[axis]
        need(expected, "a source axis is neither driven nor constant, or both")
    box = []
    for size, axis, indices in zip(shape, piece.axes, piece.indices, strict=True):
        limit = 1 if axis == NONE else source.shape[axis]
        need(len(indices) == size and all(i < limit or i == NONE for i in indices), "an index is out of range")
        box.append([position for position, index in enumerate(indices) if index != NONE])
        need(bool(box[-1]), "a piece covers nothing")
    return tuple(box)


def _gather(c: Circuit, facts: Facts, op: ops.Gather, shape: tuple[int, ...]) -> tuple[Result, ...]:
    x = c.tensors[op.x]
    need(len(op.indices) == prod(shape) and all(i < x.size or i == NONE for i in op.indices), "an index is out of range")
    constant = (op.constant,) if NONE in op.indices else ()
    need(bool(constant) or op.constant == 0, "a constant that no cell reads is not 0")
    need(any(i != NONE for i in op.indices), "a gather reads nothing")
    return (Result(shape, min(x.low, *constant, x.low), max(x.high, *constant, x.high), 0),)


_Rule: TypeAlias = Callable[[Circuit, Facts, Any, tuple[int, ...]], tuple[Result, ...]]


def _determined(rule: Callable[[Circuit, Facts, Any], tuple[Result, ...]]) -> _Rule:
    """The rule of an operation whose operands determine the output shape too."""
    return lambda circuit, facts, op, _: rule(circuit, facts, op)


_RULES: dict[type[Any], _Rule] = {
    ops.MatMul: _determined(_matmul),
    ops.Conv: _determined(_conv),
    ops.BatchedMatMul: _determined(_batched),
    ops.Mul: _determined(_mul),
    ops.LinearCombination: _determined(_combination),
    ops.WindowSum: _determined(_window_sum),
    ops.RowSum: _determined(_row_sum),
    ops.Requant: _determined(_requant),
    ops.Lookup: _determined(_lookup),
    ops.WindowMax: _determined(_window_max),
    ops.RowMax: _determined(_row_max),
    ops.Recip: _determined(_recip),
    ops.Isqrt: _determined(_isqrt),
    ops.ArgMax: _determined(_argmax),
    ops.Rescale: _determined(_rescale),
    ops.GatedMatMul: _determined(_gated),
    ops.RowScale: _determined(_row_scale),
    ops.WeightRows: _determined(_weight_rows),
    ops.TopIndex: _determined(_top_index),
    ops.Relabel: _relabel,
    ops.View: _view,
    ops.Gather: _gather,
}


def infer(circuit: Circuit, op: ops.Op, shape: tuple[int, ...] = (), facts: Facts | None = None) -> tuple[Result, ...]:
    """The results of ``op``, whose operands exist in ``circuit`` (all indices are in range).

    Args:
        shape: the output shape, for Relabel, View and Gather, which do not determine it.
        facts: of ``circuit``; whoever asks about many operations makes them once.

    Raises:
        EvidenceRejected: code ``circuit-invalid``, when a rule does not hold, the no-wrap rule among them.
        InternalError: code ``bug``, for an operation without a rule.
    """
    if type(op) not in _RULES:
        raise InternalError("bug", f"no rule says what bounds the results of {type(op).__name__} have")
    found = _RULES[type(op)](circuit, facts or Facts(circuit), op, shape)
    for result in found:
        need(result.low > -MAX_MAGNITUDE and result.high < MAX_MAGNITUDE, "no-wrap: a value could reach 2^62")
    return found
