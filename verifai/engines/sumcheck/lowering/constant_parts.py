"""Concat with constant parts: the other parts in their places, 0 in the constants' places, plus the constants as a bias."""

from __future__ import annotations

import numpy as np

from verifai.engines.sumcheck.lowering.comparisons import narrowed, sloped
from verifai.engines.sumcheck.lowering.graph import unsupported
from verifai.engines.sumcheck.lowering.integers import note_joined
from verifai.engines.sumcheck.lowering.state import State
from verifai.engines.sumcheck.lowering.values import ZERO_CELL
from verifai.engines.sumcheck.lowering.views import concatenate
from verifai.onnx_graph.graph import Node


def with_constant_parts(state: State, node: Node) -> None:
    """The node's result, where some operand of it is constant. Raises UnsupportedModel."""
    name, shape = node.outputs[0], state.graph.shapes[node.outputs[0]]
    if state.graph.types.get(name, "float32") == "bool":
        raise unsupported(node, "constant parts of truth values are not supported", "Cast them to int32 first, and back after.")
    note_joined(state, node, range(len(node.inputs)))
    axis = node.integer("axis", 0) % len(shape)
    constants, places = np.zeros(shape), np.zeros(shape, bool)
    start = 0
    for position, operand in enumerate(node.inputs):
        size = state.graph.shapes[operand][axis]
        window = (*(slice(None),) * axis, slice(start, start + size))
        values = state.constant(node, position)
        places[window] = values is None
        if values is not None:
            constants[window] = values
        start += size
    parts = [state.held(node, i, name) for i in range(len(node.inputs)) if state.constant(node, i) is None]
    if not parts:
        raise unsupported(node, "nothing in it depends on an input")
    joined = concatenate(state.builder, parts, axis, f"{name}.parts", windows=True) if len(parts) > 1 else parts[0]
    index = np.full(shape, ZERO_CELL, np.int64)
    along = np.flatnonzero(places.any(axis=tuple(a for a in range(len(shape)) if a != axis)))
    np.moveaxis(index, axis, 0)[along] = np.moveaxis(joined.index, axis, 0)
    state.set_lazy(node, sloped(joined.at(index), shape, np.ones(()), narrowed(constants), name))
