"""Masks before a softmax: a cell that no kept cell of its row can come near has probability 0.

Attention masks are added (0 and a large negative number) or chosen by Where. Rounded with its operand, such a number leaves no
step for the other cells. But a cell that lies 11 or more below another one of its row has 2^14·exp(−11) < ½, which the table of
:mod:`.rows` rounds to 0; so where the ranges alone show that, the cell is set to an integer that far below all others, and the
softmax is what it would be with the mask in full.

A *computed* mask (which positions of a sentence are padding) chooses a constant instead of a cell: there K is taken away from
the cell, on its own step, with K its range and 11 more. So a cell that is masked is 0 beside any that is kept; a row that is
masked in full is what it would be without a mask.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from verifai.engines.sumcheck.circuit.ops import LinearCombination
from verifai.engines.sumcheck.lowering.comparisons import sloped
from verifai.engines.sumcheck.lowering.graph import SourceGraph
from verifai.engines.sumcheck.lowering.state import State, broadcast
from verifai.engines.sumcheck.lowering.values import ZERO_CELL, Floats, Held, Lazy, whole
from verifai.engines.sumcheck.lowering.views import materialise
from verifai.engines.sumcheck.quantise.scales import dyadic
from verifai.onnx_graph.graph import Node

UNDERFLOW = 11
"""2^14·exp(−11) < ½: from there on the table is 0."""
_ABSORBS = 2.0**24
"""A number this many times larger leaves nothing of a float32 that is added to it: such a row is uniform."""
_BEYOND_TABLES = 1 << 17
"""More than any table's last row, which is 0."""


def masked_rows(state: State, node: Node, axis: int) -> Held | None:
    """The softmax's operand with ``axis`` last and masked cells far below all others; None where no mask is known.

    Circuits pinned before masks were looked for were lowered without (``state.fold``).
    """
    made = _maker(state.graph, node.inputs[0]) if state.fold else None
    shape = state.graph.shapes[node.inputs[0]]
    computed = None if made is None or made.op_type != "Where" else _computed(state, made)
    if made is not None and computed is not None:
        return _lowered(state, made, *computed, axis)
    found = None if made is None else _added(state, made) if made.op_type == "Add" else _chosen(state, made)
    if made is None or found is None:
        return None
    position, constants, inside = found
    constants = np.moveaxis(np.broadcast_to(constants, shape), axis, -1)
    top = constants.max(axis=-1, keepdims=True)
    if inside is None and bool((constants > top - UNDERFLOW).all()) and float(np.ptp(top)) < UNDERFLOW:
        return None
    low, high = _range(state, made.inputs[position])
    if inside is None:
        masked = constants + high <= top + low - UNDERFLOW
        absorbed = np.broadcast_to(top <= -_ABSORBS * max(high, -low), masked.shape)
        if (absorbed & (constants != top)).any():
            return None
        masked |= absorbed
        rest = np.where(masked, 0.0, constants - top)
    else:
        outside = ~np.moveaxis(np.broadcast_to(inside, shape), axis, -1)
        masked = outside & (constants <= low - UNDERFLOW)
        empty = outside.all(axis=-1)
        # A row that is masked in full is uniform, which it is here too if one number stands in all its cells.
        if (outside & ~masked).any() or (np.ptp(constants, axis=-1)[empty] != 0).any():
            return None
        rest = np.zeros(())
    if not masked.any() or not (state.builder.weights_in_tables or _triangular(masked)):
        return None
    held = broadcast(state.held(made, position), shape)
    x = held.at(np.ascontiguousarray(np.moveaxis(held.index, axis, -1)))
    if rest.any():
        x = _shifted(state, x, rest, low, high, f"{node.outputs[0]}.shifted")
    return _filled(state, x, masked, f"{node.outputs[0]}.masked")


def _triangular(masked: NDArray[np.bool_]) -> bool:
    """Whether the mask is that of causal attention, which is no secret; others are when the weights are: circuits show them."""
    matrix = masked.reshape(-1, *masked.shape[-2:])[0] if masked.ndim > 1 else masked[None, :]
    rows, columns = matrix.shape
    bands = (np.triu(np.ones((rows, columns), bool), k) for k in range(1 - rows, columns))
    return bool((masked == matrix).all()) and any(bool((matrix == band).all()) for band in bands)


def _maker(graph: SourceGraph, name: str) -> Node | None:
    return next((node for node in graph.nodes if name in node.outputs and node.op_type in ("Add", "Where")), None)


def _added(state: State, node: Node) -> tuple[int, Floats, None] | None:
    """(operand, constants added to it, None)."""
    for position in (0, 1):
        values = state.constant(node, 1 - position)
        if values is not None and node.inputs[position] in state.values:
            return position, values, None
    return None


def _chosen(state: State, node: Node) -> tuple[int, Floats, NDArray[np.bool_]] | None:
    """(operand, constants that replace it, where it stays)."""
    mask = state.constant(node, 0)
    for position in (1, 2):
        values = state.constant(node, 3 - position)
        if mask is not None and values is not None and node.inputs[position] in state.values:
            return position, values, np.equal(mask != 0, position == 1)
    return None


def _computed(state: State, node: Node) -> tuple[int, bool] | None:
    """(operand, whether the condition keeps it), where a condition that is computed chooses a number far below the operand."""
    if state.constant(node, 0) is not None or node.inputs[0] not in state.values:
        return None
    for position in (1, 2):
        values = state.constant(node, 3 - position)
        if values is None or state.constant(node, position) is not None or node.inputs[position] not in state.values:
            continue
        low, _ = _range(state, node.inputs[position])
        return (position, position == 1) if bool((values <= low - UNDERFLOW).all()) else None
    return None


def _lowered(state: State, node: Node, position: int, keeps: bool, axis: int) -> Held:
    """x − K where the condition masks it, with ``axis`` last."""
    shape, name, builder = state.graph.shapes[node.outputs[0]], f"{node.outputs[0]}.masked", state.builder
    x, condition = (
        broadcast(held, shape).at(np.ascontiguousarray(np.moveaxis(np.broadcast_to(held.index, shape), axis, -1)))
        for held in (state.held(node, position), state.held(node, 0))
    )
    cells, masks = materialise(builder, x, f"{name}.x"), materialise(builder, condition, f"{name}.mask")
    tensor = builder.tensors[cells]
    far = tensor.high - tensor.low + min(int(np.ceil(UNDERFLOW / float(x.step))), _BEYOND_TABLES)
    op = LinearCombination((cells, masks), (1, far if keeps else -far), -far if keeps else 0, builder.next)
    return whole(builder.emit(op, name, step=x.step)[0], x.shape, x.step)


def _range(state: State, name: str) -> tuple[float, float]:
    value = state.values[name]
    if isinstance(value, Held):
        tensor, step = state.builder.tensors[value.tensor], value.step
        low, high = tensor.low, tensor.high
    else:
        scale = state.scale(state.reshaped.get(name, name))
        step, low, high = scale.step, scale.low, scale.high
    return float(min(low, 0) * step), float(max(high, 0) * step)


def _shifted(state: State, x: Held, rest: Floats, low: float, high: float, name: str) -> Held:
    """x + rest on x's own step."""
    least, most = (int(np.floor((bound + end) / float(x.step))) for bound, end in ((low, rest.min()), (high, 1 + rest.max())))
    scale = dyadic(x.step, *map(state.builder.told_whole, (least, most)))
    form = sloped(x, x.shape, np.ones(()), rest, name)
    return state.requantise(name, Lazy(form), scale)


def _filled(state: State, x: Held, masked: NDArray[np.bool_], name: str) -> Held:
    tensor = state.builder.tensors[x.tensor]
    lowest = min(tensor.low, 0) - min(int(np.ceil(UNDERFLOW / float(x.step))), _BEYOND_TABLES)
    if (x.index == ZERO_CELL).any():
        x = whole(materialise(state.builder, x, f"{name}.x"), x.shape, x.step)
    made = materialise(state.builder, x.at(np.where(masked, ZERO_CELL, x.index)), name, filling=lowest)
    return whole(made, x.shape, x.step)
