"""The k largest or smallest of a row: k times the first of the largest, each then masked; no operation of its own is needed.

Round t: i_t = ArgMax(x − B·M_{t−1}), where M_{t−1} is 1 at the places already chosen and B is more than any two cells differ.
u_j = (i_t − j) + 2n·M_{t−1}[j] is 0 just at the place newly chosen and above n just at the older ones, so one table makes M_t
of it, which is 0 or 1 by its table and not by what a prover says. M_t − M_{t−1} is the one-hot row of i_t, and costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from math import prod

import numpy as np

from verifai.engines.sumcheck.circuit.ops import NONE, ArgMax, LinearCombination, MatMul, RowSum
from verifai.engines.sumcheck.lowering.builder import MAX_WIDTH, signed_width, table_key
from verifai.engines.sumcheck.lowering.comparisons import BOOLEAN
from verifai.engines.sumcheck.lowering.graph import unsupported
from verifai.engines.sumcheck.lowering.state import State
from verifai.engines.sumcheck.lowering.values import Floats, Form, Held, MatMulTerm, whole
from verifai.engines.sumcheck.lowering.views import concatenate, materialise
from verifai.engines.sumcheck.quantise.functions import IDENTITY, Program, constant
from verifai.engines.sumcheck.quantise.scales import Range, Scale, choose_scale
from verifai.onnx_graph.graph import Node

MAX_BITS = 15
"""Of the cells that are compared: with masked cells below them they span 16 bits, which the largest range table holds."""
_FINER = 4
"""Cells that are ranked have so many bits more than inner tensors, as those that nearly tie decide."""
_FARTHER = 4.0
"""Cells are told apart to so many times the range of the chosen ones of the calibration beyond it."""
_NEAR = 0.25
"""The share of all cells' range that is told apart where chosen cells do not differ: the calibration's rows may all be points
of a table, whose nearest one is at no distance. As large a share of what is told apart is added beyond the end of all cells."""
SQUARED = "squared"
"""Attribute of a TopK that ranks the squares of what its values were calibrated as."""
MAX_PLACES = (1 << (MAX_WIDTH - 1)) - 2
MAX_CHOSEN = 256
_X: Program = (("x",),)


@dataclass(frozen=True)
class _Rows:
    """The rows to choose from: a tensor (R, n) whose largest cells are wanted, and the same cells unnegated."""

    largest: int
    plain: int
    step: Fraction
    lead: tuple[int, ...]


def _top_k(state: State, node: Node) -> None:
    shape = state.graph.shapes[node.inputs[0]]
    axis = node.integer("axis", -1) % max(len(shape), 1)
    count, places = _count(state, node), shape[axis]
    if not 0 < count <= places or places < 2:
        raise unsupported(node, f"{count} of {places} places are chosen")
    if places > MAX_PLACES or count > MAX_CHOSEN:
        raise unsupported(node, f"{count} of {places} places: at most {MAX_CHOSEN} of {MAX_PLACES} are chosen")
    rows = _rows(state, node, axis, count)
    values, indices = (*node.outputs, "", "")[:2]
    wanted = bool(values) and state.graph.readers.get(values, 0) > 0
    gathers = [one for one in state.graph.nodes if indices and _gathers(state, one, indices)]
    numbers = bool(indices) and state.graph.readers.get(indices, 0) > len(gathers)
    chosen, one_hot = _rounds(state, node, rows, count, last=bool(gathers) or wanted)

    def arranged(held: Held) -> Held:
        """(R, k, …) with the chosen places along their axis."""
        index = held.index.reshape(*rows.lead, count, *held.shape[2:])
        return held.at(np.ascontiguousarray(np.moveaxis(index, len(rows.lead), axis)))

    # What nothing reads is not made: a circuit has no tensor that is not read.
    if numbers:
        state.values[indices] = arranged(_joined(state, chosen, f"{node.name}.places"))
    if gathers:
        state.one_hots[indices] = arranged(_joined(state, one_hot, f"{node.name}.one_hot"))
    if wanted:
        found = [_value(state, node, rows, hot.tensor, t) for t, hot in enumerate(one_hot)]
        state.values[values] = arranged(_joined(state, found, f"{node.name}.values"))


def _count(state: State, node: Node) -> int:
    found = state.graph.constants.get(node.inputs[1]) if len(node.inputs) > 1 else None
    if found is None or found.size != 1:
        raise unsupported(node, "the number of places to choose must be one constant")
    return int(found.reshape(-1)[0])


def _rows(state: State, node: Node, axis: int, count: int) -> _Rows:
    builder, name = state.builder, node.name
    value = state.value(node, 0)
    tensor = builder.tensors[value.tensor] if isinstance(value, Held) else None
    if isinstance(value, Held) and tensor is not None and (tensor.high - tensor.low).bit_length() <= MAX_BITS:
        held = value
    else:
        scale = _scale(state, node)
        held = state.requantise(f"{name}.ranked", state.lazy(node.inputs[0]), scale)
        held = held.at(held.index.reshape(state.graph.shapes[node.inputs[0]]))
    index = np.moveaxis(held.index, axis, -1)
    lead = index.shape[:-1]
    plain = materialise(builder, held.at(np.ascontiguousarray(index).reshape(prod(lead), -1)), f"{name}.rows")
    if node.integer("largest", 1):
        return _Rows(plain, plain, held.step, lead)
    negative = builder.emit(LinearCombination((plain,), (-1,), 0, builder.next), f"{name}.negative", step=held.step)[0]
    return _Rows(negative, plain, held.step, lead)


def _scale(state: State, node: Node) -> Scale:
    """Of the cells to rank: as fine as 15 bits allow, from the end where chosen ones lie to a span beyond the least of them.

    Cells farther off are alike; no row of the calibration chose them.
    """
    scale = state.scale(node.inputs[0])
    low, high = float(scale.low * scale.step), float(scale.high * scale.step)
    largest, bits = bool(node.integer("largest", 1)), min(MAX_BITS, (scale.high - scale.low).bit_length() + _FINER)
    margin = (high - low) * _NEAR
    if not node.outputs[0] or not state.builder.has_scale(node.outputs[0]):
        return choose_scale(Range(low, high + margin) if largest else Range(low - margin, high), bits)
    chosen = state.builder.scale(node.outputs[0])
    power = node.integer(SQUARED, 0) + 1
    ends = sorted(float(end * chosen.step) ** power for end in (chosen.low, chosen.high))
    # As far again, and some, as chosen cells lie apart; where they do not, a share of all cells' range.
    reach = min((ends[1] - ends[0]) * _FARTHER, high - low) or margin
    beyond = reach * _NEAR
    if largest:
        return choose_scale(Range(max(low, ends[0] - reach), high + beyond), bits)
    return choose_scale(Range(low - beyond, min(high, ends[1] + reach)), bits)


def _rounds(state: State, node: Node, rows: _Rows, count: int, *, last: bool) -> tuple[list[Held], list[Held]]:
    """Per round: the place chosen, (R, 1), and its one-hot row, (R, 1, n); of the last round only where that is wanted."""
    builder, name = state.builder, node.name
    source = builder.tensors[rows.largest]
    lines, places = source.shape
    beyond = source.high - source.low + 1
    masks = count if last else count - 1
    offsets, taken = NONE, NONE
    chosen: list[Held] = []
    one_hot: list[Held] = []
    for t in range(count):
        label = f"{name}.{t}"
        left = rows.largest
        if taken != NONE:
            op = LinearCombination((rows.largest, taken), (1, -beyond), 0, builder.next)
            left = builder.emit(op, f"{label}.left", step=rows.step)[0]
        place = whole(builder.emit(ArgMax(left, builder.next), f"{label}.place")[0], (lines, 1), Fraction(1))
        chosen.append(place)
        if t == masks:
            break
        if masks > 1:
            spread = materialise(builder, place.at(np.broadcast_to(place.index, (lines, places))), f"{label}.spread")
        program: Program = (*_X, constant(0.0), ("eq",))
        if taken == NONE:
            gap = _first_gap(state, place, places, label)
            if masks > 1:
                op = LinearCombination((gap, spread), (1, -1), 0, builder.next)
                offsets = builder.emit(op, f"{label}.offsets")[0]
        else:
            op = LinearCombination((offsets, spread, taken), (1, 1, 2 * places), 0, builder.next)
            gap = builder.emit(op, f"{label}.gap")[0]
            program = (*program, *_X, constant(float(places)), ("gt",), ("add",))
        before, taken = taken, _mask(state, gap, program, f"{label}.taken")
        hot = taken
        if before != NONE:
            hot = builder.emit(LinearCombination((taken, before), (1, -1), 0, builder.next), f"{label}.hot")[0]
        one_hot.append(whole(hot, (lines, 1, places), Fraction(1)))
    return chosen, one_hot


def _first_gap(state: State, place: Held, places: int, label: str) -> int:
    """i − j for every place j, (R, n): the only weights that numbering the places takes."""
    builder = state.builder
    column = materialise(builder, place, f"{label}.column")
    ones = builder.weight(f"{label}.ones", np.ones((places, 1), np.int64))
    numbers = builder.weight(f"{label}.numbers", -np.arange(places, dtype=np.int64))
    return builder.emit(MatMul(column, ones, numbers, builder.next, 1), f"{label}.gap")[0]


def _mask(state: State, gap: int, program: Program, name: str) -> int:
    """The table of ``program``; of more places than a table has arguments, one that saturates: its ends are 0 and 1."""
    builder = state.builder
    tensor = builder.tensors[gap]
    key = table_key(program, Fraction(1), Fraction(1), 0, 1)
    if signed_width(tensor.low, tensor.high) <= MAX_WIDTH:
        return builder.lookup(gap, key, name, Fraction(1))
    return builder.requant(gap, (), 0, key, MAX_WIDTH, name, BOOLEAN)


def _value(state: State, node: Node, rows: _Rows, hot: int, t: int) -> Held:
    """The chosen cell, (R, 1): Σ x·(one-hot), brought back to the range of a cell."""
    builder, name = state.builder, f"{node.name}.{t}.value"
    tensor = builder.tensors[rows.plain]
    total = builder.emit(RowSum(rows.plain, hot, builder.next, 1, 1), f"{name}.sum", step=rows.step)[0]
    key = table_key(IDENTITY, rows.step, rows.step, tensor.low, tensor.high)
    width = signed_width(tensor.low, tensor.high)
    scale = Scale(1, 0, tensor.low, tensor.high)
    found = builder.requant(total, (), 0, key, width, name, scale)
    return whole(found, (tensor.shape[0], 1), rows.step)


def _joined(state: State, parts: list[Held], name: str) -> Held:
    return parts[0] if len(parts) == 1 else concatenate(state.builder, parts, 1, name, windows=True)


def _gathers(state: State, node: Node, indices: str) -> bool:
    """Whether the node chooses rows of a constant table by these places, and nothing else."""
    if node.op_type != "Gather" or node.domain or node.inputs[1] != indices or node.inputs[0] == indices:
        return False
    table = state.constant(node, 0)
    return table is not None and node.integer("axis", 0) % table.ndim == 0 and _real(state, node.outputs[0])


def _real(state: State, name: str) -> bool:
    return state.graph.types.get(name, "float32") == "float32"


def chosen_by_one_hot(state: State, node: Node, table: Floats) -> bool:
    """Rows of a constant table by places of the largest cells: their one-hot rows times the table. Returns whether they are."""
    hot = state.one_hots.get(node.inputs[1])
    if hot is None or not _gathers(state, node, node.inputs[1]):
        return False
    if len(table) < hot.shape[-1]:
        raise unsupported(node, f"a table of {len(table)} rows is read at {hot.shape[-1]} places")
    name, flat = node.outputs[0], table.reshape(len(table), -1)[: hot.shape[-1]]
    full = (*hot.shape[:-1], flat.shape[1])
    term = MatMulTerm(hot, np.ascontiguousarray(flat.T), None)
    state.set_lazy(node, Form((term,), 0.0, full, state.graph.shapes[name], name))
    return True


HANDLERS: dict[str, Callable[[State, Node], None]] = {"TopK": _top_k}
