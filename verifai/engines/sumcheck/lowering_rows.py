"""Softmax: exponentials of the distance from the row's maximum, times the reciprocal of their sum.

Every integer is determined by the operands: the maximum, E = T_exp[max − x], q = Σ E, K = ⌊2^46 / …⌋ and y = Requant(E·K).
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np

from verifai.engines.sumcheck.circuit_bounds import RECIP_LIMIT, RECIP_ONE
from verifai.engines.sumcheck.circuit_ops import NONE, Recip, RowMax, RowSum
from verifai.engines.sumcheck.lowering_builder import MAX_WIDTH
from verifai.engines.sumcheck.lowering_graph import unsupported
from verifai.engines.sumcheck.lowering_state import State
from verifai.engines.sumcheck.lowering_values import Form, Lazy, ProductTerm, whole
from verifai.engines.sumcheck.lowering_views import materialise
from verifai.engines.sumcheck.quantise_functions import EXP_ONE, exponential_table
from verifai.onnx_graph.graph import Node

_UNDERFLOW = 11
"""2^14·exp(−11) < ½: from there on the table is 0."""


def table_width(span: int, step: Fraction) -> int:
    """The least w whose last row, which is 0, no true difference reads, or reads where the exponential is 0 anyway."""
    last = min(span + 1, int(_UNDERFLOW / step) + 1)
    return min(max(last.bit_length(), 1), MAX_WIDTH)


def _softmax(state: State, node: Node) -> None:
    name, builder = node.outputs[0], state.builder
    held = state.held(node, 0)
    axis = node.integer("axis", -1) % len(held.shape)
    rows = held.at(np.moveaxis(held.index, axis, -1))
    if rows.shape[-1] * EXP_ONE >= RECIP_LIMIT:
        raise unsupported(node, f"rows of {rows.shape[-1]} cells are too long")
    tensor = materialise(builder, rows, f"{name}.x")
    span = builder.tensors[tensor].high - builder.tensors[tensor].low
    width = table_width(span, held.step)
    table = builder.table(0, exponential_table(width, held.step), f"exp[{width}]")
    op = RowMax(tensor, builder.next, builder.next + 1, table, span > (1 << width) - 1)
    _, exp = builder.emit(op, f"{name}.max", step=held.step)
    total = builder.emit(RowSum(exp, NONE, builder.next, 1, 1), f"{name}.sum")[0]
    reciprocal = builder.emit(Recip(total, builder.next), f"{name}.recip")[0]
    one = Fraction(1)
    numerators = whole(exp, rows.shape, one)
    per_row = whole(reciprocal, rows.shape[:-1] or (1,), one)
    spread = per_row.at(np.broadcast_to(per_row.index.reshape(*rows.shape[:-1], 1), rows.shape))
    form = Form((ProductTerm(numerators, spread, 1.0 / RECIP_ONE),), 0.0, rows.shape, rows.shape, name)
    # Forced here, in the rows' own order; the result is the same cells with the axis back in its place.
    state.values[name] = Lazy(form)
    result = state.force(name)
    state.set_held(node, result.at(np.moveaxis(result.index, -1, axis)))


HANDLERS: dict[str, Callable[[State, Node], None]] = {"Softmax": _softmax}
