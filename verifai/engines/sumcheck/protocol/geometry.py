"""How operations carry functionals from their output back to their operands: public algebra, shared with the prover."""

from __future__ import annotations

from collections.abc import Sequence

from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.ops import NONE
from verifai.engines.sumcheck.circuit.program import Tensor
from verifai.engines.sumcheck.protocol import field
from verifai.engines.sumcheck.protocol.axes import Axis, Dense, Eq, Functional, Pieces, Segment, eq_table
from verifai.engines.sumcheck.protocol.convolution import windows
from verifai.engines.sumcheck.protocol.field import ONE, ZERO, Ext


def window_axis(
    axis: Axis, sizes: tuple[int, int], bits: int, stride: int, dilation: int, pad: int, weights: Sequence[Ext]
) -> Dense:
    """a[i] = Σ_u weights_u·Σ_o axis[o]·[i = o·stride + u·dilation − pad], over true o < sizes[0] and true 0 ≤ i < sizes[1].

    True sizes only: padding of either side takes no part. 2^bits entries.
    """
    out_size, in_size = sizes
    return Dense(windows(axis.dense()[:out_size], weights, 1 << bits, in_size, stride, dilation, pad))


def window_axes(
    op: ops.Conv | ops.WindowSum | ops.WindowMax,
    axes: Functional,
    source: Tensor,
    out: Tensor,
    weights: Sequence[Sequence[Ext]],
) -> tuple[Axis, Axis]:
    """Height and width axes of the operand's functional; ``weights`` per tap and direction."""
    dilation = (1, 1) if isinstance(op, ops.WindowSum) else op.dilation
    height, width = (
        window_axis(
            axes[d - 2],
            (out.shape[d - 2], source.shape[d - 2]),
            source.bits[d - 2],
            op.stride[d],
            dilation[d],
            op.pads[d],
            weights[d],
        )
        for d in range(2)
    )
    return height, width


def one_tap(kernel: Sequence[int], u: int, v: int) -> tuple[list[Ext], list[Ext]]:
    """Weights that select the tap (u, v)."""
    rows = [ONE if i == u else ZERO for i in range(kernel[0])]
    columns = [ONE if i == v else ZERO for i in range(kernel[1])]
    return rows, columns


def group_axis(axis: Axis, group_point: Sequence[Ext]) -> Axis:
    """The output channel's functional, weighted by eq(group_point, group), the group being the channel's top bits."""
    if not group_point:
        return axis
    closed = _both(axis, group_point) if isinstance(axis, Eq) else None
    if closed is not None:
        return closed
    groups, entries = eq_table(group_point), axis.dense()
    inner = len(entries) // len(groups)
    return Dense(tuple(field.product(entry, groups[i // inner]) for i, entry in enumerate(entries)))


def _both(axis: Eq, top: Sequence[Ext]) -> Pieces | None:
    """eq(point, i)·eq(top, top bits of i): per variable (1 − a)(1 − b) at 0 and a·b at 1, so again an eq vector, scaled.

    With s = (1 − a)(1 − b) + a·b, its coordinate is a·b/s. None where some s is 0.
    """
    weight, point = ONE, list[Ext]()
    for a, b in zip(axis.point, top, strict=False):
        both = field.product(a, b)
        total = field.add(field.sub(field.sub(ONE, a), b), field.add(both, both))
        if total == ZERO:
            return None
        weight = field.product(weight, total)
        point.append(field.product(both, field.inverse(total)))
    return Pieces(axis.bits, (Segment(0, weight, (*point, *axis.point[len(point) :])),))


def truncated(axis: Axis, size: int) -> Axis:
    """The axis with zeros from ``size`` on."""
    length = 1 << axis.bits
    if size == length:  # before anything of that length is made
        return axis
    return Dense(tuple(axis.dense()[:size]) + (ZERO,) * (length - size))


def relabelled(axes: Functional, source: Tensor) -> Functional | None:
    """A functional on a Relabel's output as one on its operand: the same cells under another shape.

    Axes are matched in the smallest groups that cover the same variables on both sides. Within a group, vectors are cut where
    they are outer products, and merged. None when a vector would have to be cut where it is none.
    """
    result: list[Axis] = []
    rest = list(axes)
    bits = list(source.bits)
    while bits:
        group, sizes = [], [bits.pop(0)]
        covered = 0
        while covered != sum(sizes):
            if covered < sum(sizes):
                group.append(rest.pop(0))
                covered += group[-1].bits
            else:
                sizes.append(bits.pop(0))
        cut = _regrouped(group, sizes)
        if cut is None:
            return None
        result += cut
    weight = ONE
    for axis in rest:  # axes of one cell
        weight = field.product(weight, axis.total())
    if weight != ONE:
        result[0] = Dense(tuple(field.product(entry, weight) for entry in result[0].dense()))
    return tuple(result)


def _regrouped(group: Sequence[Axis], sizes: Sequence[int]) -> list[Axis] | None:
    """Vectors over the same variables, as axes of ``sizes`` variables, the last first; None where one cannot be cut."""
    rest, result = list(group), list[Axis]()
    for size in reversed(sizes):
        taken: list[Axis] = []
        missing = size
        while missing:
            axis = rest.pop()
            if axis.bits > missing:
                parts = _cut(axis, missing)
                if parts is None:
                    return None
                rest.append(parts[0])
                axis = parts[1]
            taken.insert(0, axis)
            missing -= axis.bits
        result.insert(0, _merged(taken))
    scale = ONE
    for axis in rest:  # axes of one cell
        scale = field.product(scale, axis.total())
    if scale != ONE:
        result[0] = Dense(tuple(field.product(entry, scale) for entry in result[0].dense()))
    return result


def _cut(axis: Axis, low: int) -> tuple[Axis, Axis] | None:
    """The axis as an outer product whose second factor has ``low`` variables."""
    if isinstance(axis, Eq):
        split = len(axis.point) - low
        return Eq(axis.point[:split]), Eq(axis.point[split:])
    return axis.cut(low) if isinstance(axis, Pieces) else None


def _merged(axes: Sequence[Axis]) -> Axis:
    """The outer product as one axis."""
    used = [axis for axis in axes if axis.bits or axis.total() != ONE]
    if all(isinstance(axis, Eq) for axis in used):
        return Eq(tuple(r for axis in used if isinstance(axis, Eq) for r in axis.point))
    first, rest = used[0], used[1:]
    if isinstance(first, Pieces) and all(isinstance(axis, Eq) for axis in rest):
        return first.extended([r for axis in rest if isinstance(axis, Eq) for r in axis.point])
    if not rest:
        return first
    entries = [ONE]
    for axis in used:
        entries = [field.product(x, y) for x in entries for y in axis.dense()]
    return Dense(tuple(entries))


def piece_axes(piece: ops.Piece, axes: Functional, source: Tensor) -> Functional:
    """A functional on a View's output as one on the source of ``piece``, over the cells that the piece covers.

    An axis that the piece takes over whole stays as it is: the source is read masked, so its padding adds nothing.
    """
    result: list[Axis | None] = [None] * len(source.shape)
    scale = ONE
    for axis, driven, indices in zip(axes, piece.axes, piece.indices, strict=True):
        if driven != NONE and len(indices) == source.shape[driven] and indices == tuple(range(len(indices))):
            result[driven] = axis
            continue
        if driven == NONE:
            scale = field.product(scale, _covered(axis, indices))
            continue
        entries = axis.dense()
        target = [ZERO] * source.padded[driven]
        for j, index in enumerate(indices):
            if index != NONE:
                target[index] = field.add(target[index], entries[j])
        result[driven] = Dense(tuple(target))
    for number, constant in enumerate(piece.fixed):
        if result[number] is None:
            target = [ZERO] * source.padded[number]
            target[constant] = ONE
            result[number] = Dense(tuple(target))
    done = [axis for axis in result if axis is not None]
    if scale != ONE:
        done[0] = Dense(tuple(field.product(entry, scale) for entry in done[0].dense()))
    return tuple(done)


def piece_total(piece: ops.Piece, axes: Functional) -> Ext:
    """The functional's value on the indicator of the cells that ``piece`` covers."""
    result = ONE
    for axis, indices in zip(axes, piece.indices, strict=True):
        result = field.product(result, _covered(axis, indices))
    return result


def _covered(axis: Axis, indices: Sequence[int]) -> Ext:
    """Sum of the entries that have an index; of the first ones, as all are and those of a mask's row, in closed form."""
    count = len(indices) - indices.count(NONE)
    if NONE not in indices[:count]:
        return axis.first(count)
    entries = axis.dense()
    return field.total(entries[j] for j, index in enumerate(indices) if index != NONE)


def batch_axes(axes: Functional, first: Tensor) -> Functional:
    """Weights of a BatchedMatMul's sum: the output's functional over the leading axes, ones over k."""
    return (*axes[:-2], Dense((ONE,) * first.padded[-1]))


def row_sum_axes(op: ops.RowSum, axes: Functional, source: Tensor) -> Functional:
    """A functional on a RowSum's output as one on its operand: ones over the true cells of the summed axes."""
    kept = len(source.shape) - op.axes
    sizes = list(zip(source.shape, source.padded, strict=True))
    if kept:
        return (*axes[:kept], *(_filled(ONE, *size) for size in sizes[kept:]))
    # The output is one cell, whose weight goes into the first summed axis.
    return (_filled(axes[0].total(), *sizes[0]), *(_filled(ONE, *size) for size in sizes[1:]))


def _filled(entry: Ext, size: int, length: int) -> Dense:
    """``size`` times ``entry``, then zeros."""
    return Dense((entry,) * size + (ZERO,) * (length - size))
