"""Pooling and reductions."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import prod

import numpy as np

from verifai.engines.sumcheck.circuit_ops import NONE, ArgMax, RowMax, WindowMax
from verifai.engines.sumcheck.lowering_graph import unsupported
from verifai.engines.sumcheck.lowering_linear import planar, planar_pads, planar_pair, planar_shape, resolve_pads
from verifai.engines.sumcheck.lowering_state import State
from verifai.engines.sumcheck.lowering_values import Held, RowTerm, WindowTerm, whole
from verifai.engines.sumcheck.lowering_views import materialise
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
    tensor = materialise(state.builder, planar(x, node), f"{node.outputs[0]}.x")
    name = node.outputs[0]
    if prod(kernel) <= MAX_TAPS:
        tensor = _window(state, tensor, x, kernel, strides, dilations, pads, name)
    else:
        tensor = _line(state, tensor, x, 1, kernel[1], strides[1], dilations[1], (pads[1], pads[3]), f"{name}.rows")
        tensor = _line(state, tensor, x, 0, kernel[0], strides[0], dilations[0], (pads[0], pads[2]), name)
    shape = state.graph.shapes[name]
    if state.builder.tensors[tensor].shape != planar_shape(shape):
        raise unsupported(node, f"a window of {kernel} with these pads does not come out at {shape}")
    state.set_held(node, whole(tensor, shape, x.step))


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

    reach, before, after = 1, *pads
    number = 0
    while True:
        if kernel <= MAX_TAPS * reach and (kernel - reach) % max(1, (-(-kernel // reach)) - 1) == 0:
            taps = -(-kernel // reach)
            gap = (kernel - reach) // (taps - 1) if taps > 1 else 1
            last = True
        else:
            # Doubling keeps every window aligned; the last step closes what is left with two overlapping windows.
            last = kernel <= 2 * reach
            taps, gap = 2, (kernel - reach if last else reach)
        step = pair(stride if last else 1, 1)
        ends = (before, 0, after, 0) if axis == 0 else (0, before, 0, after)
        label = name if last else f"{name}.{number}"
        tensor = _window(state, tensor, x, pair(taps, 1), step, pair(gap * dilation, 1), ends, label)
        if last:
            return tensor
        reach, before, after, number = reach + gap * (taps - 1), 0, 0, number + 1


def _global_max(state: State, node: Node) -> None:
    x = state.held(node, 0)
    flat = x.at(x.index.reshape(*x.shape[:2], -1))
    state.set_held(node, _row_max(state, flat, node.outputs[0]).at(
        np.arange(prod(x.shape[:2]), dtype=np.int64).reshape(state.graph.shapes[node.outputs[0]])
    ))  # fmt: skip


def _row_max(state: State, rows: Held, name: str) -> Held:
    builder = state.builder
    tensor = materialise(builder, rows, f"{name}.x")
    span = builder.tensors[tensor].high - builder.tensors[tensor].low
    width = min(span.bit_length(), 16)
    if span == (1 << width) - 1 and width < 16:
        width += 1
    table = builder.table(0, (0,) * (1 << width), f"zero[{width}]")
    op = RowMax(tensor, builder.next, NONE, table, span > (1 << width) - 1)
    return whole(builder.emit(op, name, step=rows.step)[0], rows.shape[:-1] or (1,), rows.step)


def _reduced(state: State, node: Node) -> tuple[Held, int]:
    """The operand with the reduced axes last, and their number."""
    x = state.held(node, 0)
    axes = node.ints("axes")
    if len(node.inputs) > 1 and node.inputs[1]:
        found = state.graph.constants.get(node.inputs[1])
        if found is None:
            raise unsupported(node, "the axes must be constant")
        axes = tuple(int(axis) for axis in found)
    if not axes:
        if node.integer("noop_with_empty_axes", 0):
            raise unsupported(node, "no axes to reduce")
        axes = tuple(range(len(x.shape)))
    last = sorted({axis % len(x.shape) for axis in axes})
    order = [axis for axis in range(len(x.shape)) if axis not in last] + last
    return x.at(x.index.transpose(order)), len(last)


def _reduce(mean: bool) -> Callable[[State, Node], None]:
    def lower(state: State, node: Node) -> None:
        x, axes = _reduced(state, node)
        cells = prod(x.shape[len(x.shape) - axes :])
        term = RowTerm(x, 1.0 / cells if mean else 1.0, axes)
        state.set_lazy(node, state.new_form(node, term, shape=x.shape[: len(x.shape) - axes] or (1,)))

    return lower


def _reduce_max(state: State, node: Node) -> None:
    x, axes = _reduced(state, node)
    rows = x.shape[: len(x.shape) - axes]
    found = _row_max(state, x.at(x.index.reshape(*rows, -1)), node.outputs[0])
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


def _argmax(state: State, node: Node) -> None:
    x = state.held(node, 0)
    axis = node.integer("axis", 0) % len(x.shape)
    if node.integer("select_last_index", 0):
        raise unsupported(node, "select_last_index is not supported")
    tensor = materialise(state.builder, x.at(np.moveaxis(x.index, axis, -1)), f"{node.outputs[0]}.x")
    found = state.builder.emit(ArgMax(tensor, state.builder.next), node.outputs[0])[0]
    state.set_held(node, whole(found, state.graph.shapes[node.outputs[0]], Fraction(1)))


HANDLERS: dict[str, Callable[[State, Node], None]] = {
    "MaxPool": _maxpool,
    "GlobalMaxPool": _global_max,
    "AveragePool": _average,
    "GlobalAveragePool": _global_average,
    "ReduceMean": _reduce(True),
    "ReduceSum": _reduce(False),
    "ReduceMax": _reduce_max,
    "ArgMax": _argmax,
}
