"""Logarithms of sums of exponentials: LogSoftmax and ReduceLogSumExp, from softmax's own parts.

m is the row's maximum, Σ E the sum of round(2^14·exp(x − m)), which lies in [2^14, n·2^14]; its logarithm is a table of its
upper 15 bits, so it is off by at most n·2^-15 and the table's rounding. Then ln Σ exp x = m + ln(Σ E / 2^14).
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import log

import numpy as np

from verifai.engines.sumcheck.lowering.builder import MAX_WIDTH, signed_width, table_key
from verifai.engines.sumcheck.lowering.graph import unsupported
from verifai.engines.sumcheck.lowering.pool import reduced
from verifai.engines.sumcheck.lowering.rows import exponentials
from verifai.engines.sumcheck.lowering.state import State
from verifai.engines.sumcheck.lowering.values import CellTerm, Form, Held, whole
from verifai.engines.sumcheck.quantise.functions import EXP_ONE
from verifai.engines.sumcheck.quantise.scales import Range, choose_scale
from verifai.onnx_graph.graph import Node

_BITS = 14
_LONGEST = 1 << 8
"""Rows of more cells would have a logarithm that is off by more than 2^-7."""


def _parts(state: State, node: Node, rows: Held) -> tuple[Held, Held]:
    """(m, ln Σ exp(x − m)) of each of (…, n)."""
    builder, name = state.builder, node.outputs[0]
    if rows.shape[-1] > _LONGEST:
        raise unsupported(node, f"rows of {rows.shape[-1]} cells are too long")
    maximum, _, total = exponentials(state, node, rows)
    lead = rows.shape[:-1] or (1,)
    scale = choose_scale(Range(0.0, log(max(rows.shape[-1], 2))), _BITS)
    least = max(0, builder.tensors[total].high.bit_length() - (MAX_WIDTH - 1))
    limbs = (least,) if least else ()
    key = table_key((("x",), ("log",)), Fraction(1 << least, EXP_ONE), scale.step, scale.low, scale.high)
    floor = signed_width(0, builder.tensors[total].high >> least)
    logarithm = builder.requant(total, limbs, least, key, floor, f"{name}.log", scale)
    return whole(maximum, lead, rows.step), whole(logarithm, lead, scale.step)


def _log_softmax(state: State, node: Node) -> None:
    """x − m − ln Σ exp(x − m)."""
    held = state.held(node, 0)
    axis = node.integer("axis", -1) % len(held.shape)
    rows = held.at(np.moveaxis(held.index, axis, -1))
    per_row = _parts(state, node, rows)
    terms = [CellTerm(held, 1.0)]
    for part in per_row:
        spread = np.broadcast_to(part.index.reshape(rows.shape[:-1])[..., None], rows.shape)
        terms.append(CellTerm(part.at(np.ascontiguousarray(np.moveaxis(spread, -1, axis))), -1.0))
    state.set_lazy(node, state.new_form(node, *terms))


def _reduce_log_sum_exp(state: State, node: Node) -> None:
    """m + ln Σ exp(x − m)."""
    x, axes = reduced(state, node)
    lead = x.shape[: len(x.shape) - axes]
    rows = x.at(np.ascontiguousarray(x.index).reshape(*lead, -1))
    terms = tuple(CellTerm(part, 1.0) for part in _parts(state, node, rows))
    state.set_lazy(node, Form(terms, 0.0, lead or (1,), state.graph.shapes[node.outputs[0]], node.outputs[0]))


HANDLERS: dict[str, Callable[[State, Node], None]] = {
    "LogSoftmax": _log_softmax,
    "ReduceLogSumExp": _reduce_log_sum_exp,
}
