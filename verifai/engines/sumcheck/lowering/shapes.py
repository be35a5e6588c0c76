"""Operators that only rearrange cells: they rewrite the index map; operations appear when something needs the cells so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import partial

import numpy as np
from numpy.typing import NDArray

from verifai.engines.sumcheck.circuit.ops import View
from verifai.engines.sumcheck.lowering.affine import Affine, affine_of, constant_of, joined
from verifai.engines.sumcheck.lowering.constant_parts import with_constant_parts
from verifai.engines.sumcheck.lowering.graph import unsupported
from verifai.engines.sumcheck.lowering.moves import mirrored
from verifai.engines.sumcheck.lowering.select import chosen_rows, computed_rows
from verifai.engines.sumcheck.lowering.state import State, signed_parts
from verifai.engines.sumcheck.lowering.top_k import chosen_by_one_hot
from verifai.engines.sumcheck.lowering.values import ZERO_CELL, Held, Lazy, whole
from verifai.engines.sumcheck.lowering.views import concatenate, materialise, partition
from verifai.onnx_graph.graph import Node

Index = NDArray[np.int64]


def _ints(state: State, node: Node, position: int, what: str) -> tuple[int, ...] | None:
    if position >= len(node.inputs) or not node.inputs[position]:
        return None
    found = state.graph.constants.get(node.inputs[position])
    if found is None:
        raise unsupported(node, f"{what} must be constant")
    return tuple(int(value) for value in found.reshape(-1))


def _reshaped(state: State, node: Node) -> None:
    """Another shape of the same cells in the same order: a form that nothing else reads stays one."""
    value, shape = state.value(node, 0), state.graph.shapes[node.outputs[0]]
    if isinstance(value, Lazy) and state.graph.readers.get(node.inputs[0], 0) == 1:
        state.set_lazy(node, replace(value.form, logical=shape), value.program)
        state.reshaped[node.outputs[0]] = state.reshaped.get(node.inputs[0], node.inputs[0])
        return
    if isinstance(value, Affine):
        state.values[node.outputs[0]] = value.mapped(lambda one: one.reshape(shape))
        return
    held = state.held(node, 0)
    state.set_held(node, held.at(held.index.reshape(shape)))


def _rearrange(change: Callable[[State, Node, Index], Index]) -> Callable[[State, Node], None]:
    def lower(state: State, node: Node) -> None:
        value = state.value(node, 0)
        if isinstance(value, Affine):
            state.values[node.outputs[0]] = value.mapped(lambda one: change(state, node, one))
            return
        held = state.held(node, 0)
        state.set_held(node, held.at(np.ascontiguousarray(change(state, node, held.index))))

    return lower


def _transpose(state: State, node: Node, index: Index) -> Index:
    return index.transpose(node.ints("perm") or tuple(reversed(range(index.ndim))))


def _slice(state: State, node: Node, index: Index) -> Index:
    starts, ends = _ints(state, node, 1, "starts"), _ints(state, node, 2, "ends")
    axes, steps = _ints(state, node, 3, "axes"), _ints(state, node, 4, "steps")
    if starts is None or ends is None:
        raise unsupported(node, "starts and ends must be given")
    for number, axis in enumerate(axes or range(len(starts))):
        step = steps[number] if steps else 1
        if step == 0:
            raise unsupported(node, "a step of 0")
        size = index.shape[axis]
        start, stop = _bound(starts[number], size, step), _bound(ends[number], size, step)
        places = np.arange(start, stop, step)
        index = index.take(places, axis=axis)
    if index.size == 0:
        raise unsupported(node, "the result is empty")
    return index


def _sliced(state: State, node: Node) -> None:
    """A slice that takes everything in order, which exporters write, is no slice."""
    shape = state.graph.shapes[node.inputs[0]]
    cells = np.arange(int(np.prod(shape))).reshape(shape)
    if np.array_equal(_slice(state, node, cells), cells):
        _reshaped(state, node)
    else:
        _rearrange(_slice)(state, node)


def _bound(value: int, size: int, step: int) -> int:
    """ONNX Slice: negative counts from the end; clamped to [0, size] going up, [−1, size − 1] going down."""
    value = value + size if value < 0 else value
    return min(max(value, 0), size) if step > 0 else min(max(value, -1), size - 1)


def _gather(state: State, node: Node) -> None:
    table = state.constant(node, 0)
    if table is not None:
        if not chosen_by_one_hot(state, node, table):
            chosen_rows(state, node, table)
        return
    places = state.graph.constants.get(node.inputs[1])
    if places is None and state.graph.types.get(node.inputs[0], "float32") == "float32":
        shape = state.graph.shapes[node.inputs[0]]
        along = node.integer("axis", 0) % len(shape)
        computed_rows(state, node, state.held(node, 1), shape[along], along, shape)
        return
    if places is None:
        raise unsupported(node, "the indices must be constant")
    axis = node.integer("axis", 0)
    size = state.graph.shapes[node.inputs[0]][axis]
    if places.size == 0 or int(places.min()) < -size or int(places.max()) >= size:
        raise unsupported(node, f"an index lies outside the {size} places of axis {axis}, or there is none")
    wanted = np.where(places < 0, places + size, places).astype(np.int64)
    _rearrange(lambda state, node, one: one.take(wanted, axis=axis))(state, node)


def _expand(state: State, node: Node, index: Index) -> Index:
    return np.broadcast_to(index, state.graph.shapes[node.outputs[0]])


def _pad(state: State, node: Node) -> None:
    held = state.held(node, 0)
    mode = node.text("mode", "constant")
    if mode not in ("constant", "reflect", "edge"):
        raise unsupported(node, f"the mode {mode!r} is not supported")
    pads = _ints(state, node, 1, "pads")
    if pads is None or min(pads) < 0:
        raise unsupported(node, "the pads must be constant and not negative")
    filling = state.constant(node, 2)
    if len(node.inputs) > 2 and node.inputs[2] and (filling is None or filling.size != 1):
        raise unsupported(node, "the padding value must be one constant")
    axes = _ints(state, node, 3, "axes") or tuple(range(held.index.ndim))
    width = [(0, 0)] * held.index.ndim
    for number, axis in enumerate(axes):
        width[axis % held.index.ndim] = (pads[number], pads[len(axes) + number])
    if mode != "constant":
        state.set_held(node, held.at(mirrored(node, held.index, width, mode)))
        return
    index = np.pad(held.index, width, constant_values=ZERO_CELL)
    value = 0 if filling is None else round(Fraction(float(filling.reshape(-1)[0])) / held.step)
    if value == 0:
        state.set_held(node, held.at(index))
        return
    if (held.index == ZERO_CELL).any():
        held = whole(materialise(state.builder, held, f"{node.outputs[0]}.x"), held.shape, held.step, held.zero_point)
        index = np.pad(held.index, width, constant_values=ZERO_CELL)
    pieces = partition(index, state.builder.tensors[held.tensor].shape, held.tensor)
    if not pieces or abs(value) >= 1 << 31:
        raise unsupported(node, "padding with this value is not supported here")
    name = node.outputs[0]
    tensor = state.builder.emit(View(pieces, value, state.builder.next), name, index.shape, step=held.step)[0]
    state.set_held(node, whole(tensor, index.shape, held.step, held.zero_point))


def _split(state: State, node: Node) -> None:
    value = state.value(node, 0)
    value = value if isinstance(value, Affine) else state.held(node, 0)
    axis = node.integer("axis", 0) % len(value.shape)
    start = 0
    for name in node.outputs:
        places = np.arange(start, start + state.graph.shapes[name][axis])
        if isinstance(value, Affine):
            state.values[name] = value.mapped(partial(np.take, indices=places, axis=axis))
        else:
            state.values[name] = value.at(value.index.take(places, axis=axis))
        start += places.size


def _affine_parts(state: State, node: Node) -> list[Affine] | None:
    """The parts as affine functions of cells, where that spares a rounding: scales differ, or a part is constant."""
    if not state.fold or state.graph.types.get(node.outputs[0], "float32") != "float32":
        return None
    found: list[Affine] = []
    for position in range(len(node.inputs)):
        constant = state.constant(node, position)
        value = None if constant is not None else state.value(node, position)
        if isinstance(value, Lazy):
            return None
        if constant is not None:
            found.append(constant_of(constant))
        else:
            found.append(value if isinstance(value, Affine) else affine_of(value))  # type: ignore[arg-type]
    values = [state.values.get(name) for name in node.inputs]
    steps = {value.step for value in values if isinstance(value, Held)}
    plain = all(isinstance(value, Held) for value in values) and len(steps) == 1
    return None if plain or not any(part.sources for part in found) else found


def _concat(state: State, node: Node) -> None:
    affine = _affine_parts(state, node)
    if affine is not None:
        axis = node.integer("axis", 0) % len(affine[0].shape)
        state.values[node.outputs[0]] = joined(affine, axis)
        return
    if any(name not in state.values for name in node.inputs):
        with_constant_parts(state, node)
        return
    if state.graph.types.get(node.outputs[0], "float32") != "float32":
        stored = [state.held(node, position) for position in range(len(node.inputs))]
        if len({(part.step, part.zero_point) for part in stored}) > 1:
            raise unsupported(node, "its parts are stored under different scales or zero points")
        axis = node.integer("axis", 0) % len(stored[0].shape)
        state.set_held(node, concatenate(state.builder, stored, axis, node.outputs[0], windows=state.fold))
        return
    signed = signed_parts(state, node) if state.builder.sparing else None
    if signed is not None:
        axis = node.integer("axis", 0) % len(signed[0].shape)
        state.set_held(node, concatenate(state.builder, signed, axis, node.outputs[0], windows=state.fold))
        return
    steps = {state.values[name].step for name in node.inputs if isinstance(state.values[name], Held)}  # type: ignore[union-attr]
    shared = len(steps) == 1 and all(isinstance(state.values[name], Held) for name in node.inputs)
    if not shared:
        state.builder.sums.add(node.outputs[0])  # its parts are rounded to its scale
    parts = [state.held(node, i, "" if shared else node.outputs[0]) for i in range(len(node.inputs))]
    axis = node.integer("axis", 0) % len(parts[0].shape)
    state.set_held(node, concatenate(state.builder, parts, axis, node.outputs[0], windows=state.fold))


HANDLERS: dict[str, Callable[[State, Node], None]] = {
    "Reshape": _reshaped,
    "Flatten": _reshaped,
    "Squeeze": _reshaped,
    "Unsqueeze": _reshaped,
    "Transpose": _rearrange(_transpose),
    "Slice": _sliced,
    "Expand": _rearrange(_expand),
    "Pad": _pad,
    "Identity": _reshaped,
    "Dropout": _reshaped,
    "Gather": _gather,
    "Split": _split,
    "Concat": _concat,
}
