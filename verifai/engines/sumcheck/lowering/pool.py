"""Pooling and reductions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from math import prod

import numpy as np

from verifai.engines.sumcheck.circuit.bounds import MAX_DIGIT_BITS
from verifai.engines.sumcheck.circuit.ops import NONE, ArgMax, MatMul, TopIndex, WindowMax
from verifai.engines.sumcheck.lowering.builder import even_widths, table_key
from verifai.engines.sumcheck.lowering.cells import apply
from verifai.engines.sumcheck.lowering.comparisons import sloped
from verifai.engines.sumcheck.lowering.emit import rounded, table_step, table_weight
from verifai.engines.sumcheck.lowering.graph import unsupported
from verifai.engines.sumcheck.lowering.linear import (
    affine_squares,
    planar,
    planar_pads,
    planar_pair,
    planar_shape,
    resolve_pads,
)
from verifai.engines.sumcheck.lowering.state import State, broadcast, selected
from verifai.engines.sumcheck.lowering.values import (
    CellTerm,
    Floats,
    Form,
    Held,
    Lazy,
    MatMulTerm,
    RowTerm,
    WindowTerm,
    affine_program,
    whole,
)
from verifai.engines.sumcheck.lowering.views import concatenate, materialise
from verifai.engines.sumcheck.quantise.functions import Program, constant, substitute
from verifai.onnx_graph.graph import Node

MAX_TAPS = 4


def _maxpool(state: State, node: Node) -> None:
    if len(node.outputs) > 1 and node.outputs[1]:
        raise unsupported(node, "the indices output is not supported")
    x = state.held(node, 0)
    kernel = node.ints("kernel_shape") or ()
    pads = planar_pads(resolve_pads(state, node, x.shape[2:], kernel))
    strides = planar_pair(node.ints("strides") or (1,) * len(kernel), 1)
    dilations = planar_pair(node.ints("dilations") or (1,) * len(kernel), 1)
    kernel = planar_pair(kernel, 1)
    name = node.outputs[0]
    flat, result = planar(x, node), planar_shape(state.graph.shapes[name])
    _check_windows(node, flat.shape[2:], result[2:], kernel, strides, dilations, pads)
    tensor = materialise(state.builder, flat, f"{name}.x", windows=True)
    if prod(kernel) <= MAX_TAPS:
        tensor = _window(state, tensor, x, kernel, strides, dilations, pads, name)
    else:
        tensor = _line(state, tensor, x, 1, kernel[1], strides[1], dilations[1], (pads[1], pads[3]), f"{name}.rows")
        tensor = _line(state, tensor, x, 0, kernel[0], strides[0], dilations[0], (pads[0], pads[2]), name)
    shape = state.graph.shapes[name]
    if state.builder.tensors[tensor].shape != result:
        raise unsupported(node, f"a window of {kernel} with these pads does not come out at {shape}")
    state.set_held(node, whole(tensor, shape, x.step, x.zero_point))


def _window(
    state: State,
    tensor: int,
    x: Held,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
    pads: tuple[int, ...],
    name: str,
) -> int:
    op = WindowMax(tensor, state.builder.next, kernel, stride, dilation, pads)
    return state.builder.emit(op, name, step=x.step)[0]


def _line(
    state: State,
    tensor: int,
    x: Held,
    axis: int,
    kernel: int,
    stride: int,
    dilation: int,
    pads: tuple[int, int],
    name: str,
) -> int:
    """The maximum along one axis, in steps of at most four taps; the first step pads, the last strides."""

    def pair(value: int, other: int) -> tuple[int, ...]:
        return (value, other) if axis == 0 else (other, value)

    reach, before, after, number = 1, *pads, 0
    while True:
        taps, gap, last = _next_taps(kernel, reach)
        step = pair(stride if last else 1, 1)
        ends = (before, 0, after, 0) if axis == 0 else (0, before, 0, after)
        label = name if last else f"{name}.{number}"
        tensor = _window(state, tensor, x, pair(taps, 1), step, pair(gap * dilation, 1), ends, label)
        if last:
            return tensor
        reach, before, after, number = reach + gap * (taps - 1), 0, 0, number + 1


def _next_taps(kernel: int, reach: int) -> tuple[int, int, bool]:
    """(taps, their distance, whether this completes the window) for cells that hold maxima of ``reach`` neighbours already."""
    if kernel == reach:
        return 1, 1, True
    for taps in range(2, MAX_TAPS + 1):
        gap, rest = divmod(kernel - reach, taps - 1)
        # Neighbouring taps must meet or overlap.
        if rest == 0 and gap <= reach:
            return taps, gap, True
    return (MAX_TAPS, reach, False) if kernel > MAX_TAPS * reach else (2, reach, False)


def _check_windows(
    node: Node, sizes: tuple[int, ...], out: tuple[int, ...], kernel: tuple[int, ...], stride: tuple[int, ...],
    dilation: tuple[int, ...], pads: tuple[int, ...],
) -> None:  # fmt: skip
    """A maximum over padding alone is minus infinity in ONNX, which no integer is."""
    for axis in range(2):
        for position in range(out[axis]):
            start = position * stride[axis] - pads[axis]
            if not any(0 <= start + tap * dilation[axis] < sizes[axis] for tap in range(kernel[axis])):
                raise unsupported(node, "a window lies wholly in the padding")


def _fold_line(state: State, tensor: int, x: Held, axis: int, size: int, name: str) -> int:
    """The maximum along a whole axis of ``size`` cells, by windows that do not overlap: few cells are left after each step."""
    number = 0
    while size > 1:
        taps = min(MAX_TAPS, size)
        left = -(-size // taps)
        kernel = (taps, 1) if axis == 0 else (1, taps)
        spare = left * taps - size
        ends = (0, 0, spare, 0) if axis == 0 else (0, 0, 0, spare)
        tensor = _window(state, tensor, x, kernel, kernel, (1, 1), ends, name if left == 1 else f"{name}.{number}")
        size, number = left, number + 1
    return tensor


def row_max(state: State, rows: Held, name: str) -> Held:
    """The maximum of each row of (R, K), as windows along the row: no operation of its own is needed for it."""
    flat = rows.at(rows.index[None, :, None, :])
    tensor = materialise(state.builder, flat, f"{name}.x", windows=True)
    tensor = _fold_line(state, tensor, rows, 1, rows.shape[1], name)
    return whole(tensor, (rows.shape[0],), rows.step, rows.zero_point)


def _global_max(state: State, node: Node) -> None:
    x, name = state.held(node, 0), node.outputs[0]
    flat = planar(x, node)
    tensor = materialise(state.builder, flat, f"{name}.x", windows=True)
    tensor = _fold_line(state, tensor, x, 1, flat.shape[3], f"{name}.rows")
    tensor = _fold_line(state, tensor, x, 0, flat.shape[2], name)
    state.set_held(node, whole(tensor, state.graph.shapes[name], x.step, x.zero_point))


def reduced(state: State, node: Node) -> tuple[Held, int]:
    """The operand with the reduced axes last, and their number."""
    x = state.held(node, 0)
    axes = axes_of(state, node, len(x.shape))
    last = sorted({axis % len(x.shape) for axis in axes})
    order = [axis for axis in range(len(x.shape)) if axis not in last] + last
    return x.at(x.index.transpose(order)), len(last)


def axes_of(state: State, node: Node, rank: int) -> tuple[int, ...]:
    """The axes to reduce, as the node gives them; all where it gives none. Raises UnsupportedModel."""
    axes = node.ints("axes")
    if len(node.inputs) > 1 and node.inputs[1]:
        found = state.graph.constants.get(node.inputs[1])
        if found is None:
            raise unsupported(node, "the axes must be constant")
        axes = tuple(int(axis) for axis in found)
    if not axes:
        if node.integer("noop_with_empty_axes", 0):
            raise unsupported(node, "no axes to reduce")
        axes = tuple(range(rank))
    return axes


def _sum_of_affine_squares(state: State, node: Node, mean: bool) -> bool:
    """Σx² over a row of cells that constants move or stretch, such as a table's row behind a scaler. Returns whether it is."""
    name = node.inputs[0]
    value = state.value(node, 0)
    axes, rank = axes_of(state, node, len(value.shape)), len(value.shape)
    if not rank or tuple(axis % rank for axis in axes) != (rank - 1,):
        return False
    size = value.shape[-1]
    terms = affine_squares(state, name, np.full((1, size), 1.0 / size if mean else 1.0))
    if terms is None:
        return False
    state.set_lazy(node, state.new_form(node, *terms, shape=(*value.shape[:-1], 1)))
    return True


def _reduce(mean: bool) -> Callable[[State, Node], None]:
    def lower(state: State, node: Node) -> None:
        if _sum_of_affine_squares(state, node, mean):
            return
        x, axes = reduced(state, node)
        cells = prod(x.shape[len(x.shape) - axes :])
        term = RowTerm(x, 1.0 / cells if mean else 1.0, axes)
        state.set_lazy(node, state.new_form(node, term, shape=x.shape[: len(x.shape) - axes] or (1,)))

    return lower


def _reduce_max(state: State, node: Node) -> None:
    x, axes = reduced(state, node)
    rows = prod(x.shape[: len(x.shape) - axes])
    found = row_max(state, x.at(x.index.reshape(rows, -1)), node.outputs[0])
    state.set_held(node, found.at(found.index.reshape(state.graph.shapes[node.outputs[0]])))


def _global_average(state: State, node: Node) -> None:
    x = state.held(node, 0)
    term = RowTerm(x, 1.0 / prod(x.shape[2:]), len(x.shape) - 2)
    state.set_lazy(node, state.new_form(node, term, shape=x.shape[:2]))


def _average(state: State, node: Node) -> None:
    x = state.held(node, 0)
    kernel = node.ints("kernel_shape") or ()
    if any(d != 1 for d in node.ints("dilations") or ()):
        raise unsupported(node, "dilation is not supported")
    declared = node.ints("pads") or (0,) * (2 * len(kernel))
    pads = resolve_pads(state, node, x.shape[2:], kernel)
    if any(pads) and (not node.integer("count_include_pad", 0) or any(p > d for p, d in zip(pads, declared, strict=True))):
        raise unsupported(
            node, "windows that count fewer cells at the border are not supported", "Set count_include_pad=1 and ceil_mode=0."
        )
    stride = planar_pair(node.ints("strides") or (1,) * len(kernel), 1)
    term = WindowTerm(planar(x, node), 1.0 / prod(kernel), planar_pair(kernel, 1), stride, planar_pads(pads))
    state.set_lazy(node, state.new_form(node, term, shape=planar_shape(state.graph.shapes[node.outputs[0]])))


def _top_index(state: State, node: Node) -> bool:
    """The largest of a form's cells, which are not rounded, as a public model output. Returns whether the node is that."""
    name = node.outputs[0]
    value = state.value(node, 0)
    rank = len(state.graph.shapes[node.inputs[0]])
    last = node.integer("axis", 0) % max(rank, 1) == rank - 1 and not node.integer("select_last_index", 0)
    shown = state.unrounded and name in state.graph.outputs and name in state.shown
    if not (shown and last) or not isinstance(value, Lazy) or affine_program(value.program) != (Fraction(1), Fraction(0)):
        return False
    form, builder = value.form, state.builder
    term = form.terms[0] if len(form.terms) == 1 and form.constant == 0.0 else None
    if not isinstance(term, MatMulTerm) or form.shape != form.logical or selected(value) is not None:
        return False
    step = table_step(term.weight)
    x = materialise(builder, term.x, f"{name}.x")
    bias = NONE
    if term.bias is not None and term.bias.any():
        bias = builder.weight(f"{name}.bias", rounded(term.bias, 1 / (step * term.x.step), name))
    weight = table_weight(builder, term.weight, name)
    z = builder.emit(MatMul(x, weight, bias, builder.next, 1), f"{name}.logits")[0]
    tensor = builder.tensors[z]
    bits = (tensor.high - tensor.low).bit_length()
    if builder.has_scale(node.inputs[0]):
        # As far apart as calibration saw cells of a row, and _ROOM times farther; an input beyond that has no proof.
        scale = state.scale(node.inputs[0])
        seen = Fraction(_ROOM * (scale.high - scale.low)) * scale.step / (step * term.x.step)
        bits = min(bits, max(int(seen).bit_length(), 1))
    if bits > MAX_DIGIT_BITS:
        return False
    builder.choice_steps[len(builder.ops)] = step * term.x.step
    found = builder.emit(TopIndex(z, builder.next, even_widths(bits)), name)[0]
    state.set_held(node, whole(found, state.graph.shapes[name] or (1,), Fraction(1)))
    return True


_ROOM = 4


def _argmax(state: State, node: Node) -> None:
    if _top_index(state, node):
        return
    x = state.held(node, 0)
    axis = node.integer("axis", 0) % len(x.shape)
    name, size = node.outputs[0], x.shape[axis]
    rows = np.moveaxis(x.index, axis, -1)
    last = bool(node.integer("select_last_index", 0))
    tensor = materialise(state.builder, x.at(np.ascontiguousarray(rows[..., ::-1]) if last else rows), f"{name}.x")
    if not last:
        state.builder.choice_steps[len(state.builder.ops)] = x.step
    found = state.builder.emit(ArgMax(tensor, state.builder.next), f"{name}.reversed" if last else name)[0]
    if last:  # the first of the largest, counted from the other end
        program: Program = (constant(float(size - 1)), ("x",), ("sub",))
        key = table_key(program, Fraction(1), Fraction(1), 0, size - 1)
        found = state.builder.lookup(found, key, name, Fraction(1))
    state.set_held(node, whole(found, state.graph.shapes[node.outputs[0]], Fraction(1)))


def _extreme(op: str) -> Callable[[State, Node], None]:
    """Max or Min of any number of operands: numbers join the function of the one value there is, or of the result."""

    def lower(state: State, node: Node) -> None:
        numbers: list[float] = []
        values: list[int] = []
        for position in range(len(node.inputs)):
            found = state.constant(node, position)
            if found is None:
                values.append(position)
            elif found.size != 1 and len(node.inputs) == 2:
                _extreme_of_row(state, node, 1 - position, found, 1.0 if op == "max" else -1.0)
                return
            elif found.size != 1:
                raise unsupported(node, "a constant operand beside two others must be one number")
            else:
                numbers.append(float(found.reshape(-1)[0]))
        state.value(node, values[0] if values else 0)
        program: Program = (("x",),)
        for number in numbers:
            program = (*program, constant(number), (op,))
        if len(values) == 1:
            apply(state, node, program, values[0])
            return
        largest = _largest(state, node, values, op == "min")
        # The least value is the negative of the largest negative.
        turned: Program = (("x",), ("neg",)) if op == "min" else (("x",),)
        form = Form((CellTerm(largest, 1.0),), 0.0, largest.shape, largest.shape, node.outputs[0])
        state.set_lazy(node, form, substitute(program, turned))

    return lower


def _extreme_of_row(state: State, node: Node, position: int, row: Floats, sign: float) -> None:
    """max(x, c) = c + max(x − c, 0), and min(x, c) = c − max(c − x, 0), for constants c that differ from cell to cell."""
    name, shape, scale = node.outputs[0], state.graph.shapes[node.outputs[0]], state.builder.scale(node.outputs[0])
    x = broadcast(state.held(node, position), shape)
    above = sloped(x, shape, np.full((), sign), -sign * row, f"{name}.above")
    end = scale.high if sign > 0 else -scale.low
    most = state.builder.told_whole(max(1, end - int(np.floor(float((sign * row).min()) / float(scale.step)))))
    held = state.requantise(f"{name}.above", Lazy(above, (("x",), ("relu",))), replace(scale, low=0, high=most))
    state.set_lazy(node, sloped(held, shape, np.full((), sign), row, name))


def _largest(state: State, node: Node, positions: list[int], negated: bool) -> Held:
    """The largest of several values, or of their negatives, cell by cell, under the result's scale."""
    name, shape = node.outputs[0], state.graph.shapes[node.outputs[0]]
    scale = state.builder.scale(name)
    if negated:
        scale = replace(scale, low=-scale.high, high=-scale.low)
    rows = []
    for position in positions:
        lazy = state.lazy(node.inputs[position])
        program = substitute((("x",), ("neg",)), lazy.program) if negated else lazy.program
        held = broadcast(state.requantise(f"{name}.of{position}", Lazy(lazy.form, program), scale), shape)
        rows.append(held.at(np.ascontiguousarray(held.index).reshape(1, 1, 1, -1)))
    stacked = concatenate(state.builder, rows, 2, f"{name}.all", windows=True)
    tensor = _fold_line(state, stacked.tensor, stacked, 0, len(rows), name)
    return whole(tensor, shape or (1,), scale.step)


HANDLERS: dict[str, Callable[[State, Node], None]] = {
    "MaxPool": _maxpool,
    "GlobalMaxPool": _global_max,
    "AveragePool": _average,
    "GlobalAveragePool": _global_average,
    "ReduceMean": _reduce(True),
    "ReduceSum": _reduce(False),
    "ReduceMax": _reduce_max,
    "ArgMax": _argmax,
    "Max": _extreme("max"),
    "Min": _extreme("min"),
}
