"""Integers that choose: comparisons with constants, casts, and the one-hot rows times a matrix that an embedding is.

An integer value takes few values, so everything that is a function of one of its cells is a table: a comparison with each of C
constants has C tables, and its product with a matrix has one table per column, which holds the column's own numbers.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from verifai.engines.sumcheck.lowering.graph import SourceGraph, unsupported
from verifai.engines.sumcheck.lowering.state import State, broadcast, selected
from verifai.engines.sumcheck.lowering.values import BatchedTerm, Floats, Form, Held, Lazy, MatMulTerm, SelectTerm, TableTerm
from verifai.engines.sumcheck.quantise.functions import IDENTITY
from verifai.engines.sumcheck.quantise.scales import Range, Scale, integer_scale
from verifai.onnx_graph.graph import Node

MAX_TABLE_CELLS = 1 << 20
"""Of all channels together: beyond, one row per value and channel costs more than the product it replaces."""
MAX_HIDDEN_ROWS = 256
SMALL_TABLE = 1 << 12
"""Cells of a constant whose rows are looked up even where the numbers that choose them are public."""
EXACT_FLOAT32 = 1 << 24
INTEGERS = frozenset({"int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"})


def _kind(state: State, name: str) -> str:
    return state.graph.types.get(name, "float32")


def one_per_place(state: State, node: Node) -> bool:
    """Whether the constants are one number, or one per place of the last axis where the other side has one: a choice."""
    sides = [name in state.graph.constants for name in node.inputs]
    if sum(sides) != 1:
        return True
    constants, other = (node.inputs[sides.index(flag)] for flag in (True, False))
    values, shape = state.graph.constants[constants], state.graph.shapes[other]
    wide = values.size == values.shape[-1] == state.graph.shapes[node.outputs[0]][-1] if values.ndim else False
    return values.size == 1 or (wide and (not shape or shape[-1] == 1))


def equal_integers(state: State, node: Node) -> None:
    """An integer compared with one constant, or with one per place of the last axis: rows of 0 and 1."""
    sides = [name in state.graph.constants for name in node.inputs]
    if sum(sides) != 1:
        raise unsupported(node, "one side must be constant")
    position = sides.index(False)
    constants = state.graph.constants[node.inputs[1 - position]].astype(np.int64)
    x, shape = state.held(node, position), state.graph.shapes[node.outputs[0]]
    if x.step != 1 or x.zero_point != 0:
        raise unsupported(node, "its operand is quantised; the stored integers are compared")
    if constants.size == 1:
        cells, channels = broadcast(x, shape), constants.reshape(1)
    elif constants.size == constants.shape[-1] == shape[-1] and (not x.shape or x.shape[-1] == 1):
        cells, channels = broadcast(x.at(x.index.reshape(x.shape[:-1])), shape[:-1]), constants.reshape(-1)
    else:
        raise unsupported(
            node, "the constants must be one number, or one per place of the last axis, where the other side has one"
        )
    if not cells.shape:
        cells = cells.at(cells.index.reshape(1))
    tensor = state.builder.tensors[x.tensor]
    low, high = min(tensor.low, 0), max(tensor.high, 0)
    if high - low >= MAX_TABLE_CELLS:
        raise unsupported(node, "its operand takes too many values")
    rows = (np.arange(low, high + 1)[:, None] == channels).astype(np.float64)
    form = Form((SelectTerm(cells, rows, low),), 0.0, (*cells.shape, channels.size), shape, node.outputs[0])
    state.set_lazy(node, form)


def cast_integers(state: State, node: Node) -> None:
    """A cast that changes no number: the value itself."""
    name = node.inputs[0]
    source, target = _kind(state, name), _kind(state, node.outputs[0])
    value = state.value(node, 0)
    if isinstance(value, Held) and (source in INTEGERS) and (value.step != 1 or value.zero_point != 0):
        raise unsupported(node, "its operand is quantised; use DequantizeLinear")
    if source == "float32" or target == "bool" or (target != "float32" and target not in INTEGERS):
        raise unsupported(node, f"from {source} to {target}")
    low, high = (0, 1) if source == "bool" or not isinstance(value, Held) else _range(state, value)
    limits = np.iinfo(target) if target in INTEGERS else None
    least, most = (-EXACT_FLOAT32, EXACT_FLOAT32) if limits is None else (int(limits.min), int(limits.max))
    if low < least or high > most:
        raise unsupported(node, f"values from {low} to {high} do not all fit {target}")
    state.values[node.outputs[0]] = value


def _range(state: State, value: Held) -> tuple[int, int]:
    tensor = state.builder.tensors[value.tensor]
    return min(tensor.low, 0), max(tensor.high, 0)


def chosen_product(state: State, node: Node, matrix: Floats) -> bool:
    """Lower (…, C) one-hot times (C, K) as rows of the matrix, where that is what the operand is. Returns whether it did."""
    value = state.value(node, 0)
    term = selected(value)
    if term is None or not isinstance(value, Lazy) or value.program != IDENTITY or value.form.constant != 0.0:
        return False
    if not state.builder.weights_in_tables or value.form.shape != value.form.logical or not _one_hot(term.rows):
        return False
    if term.rows.shape[0] * matrix.shape[1] > MAX_TABLE_CELLS:
        return False
    # Each row has at most one 1: picking, not summing, so that no rounding depends on an order of additions.
    picked = np.asarray(term.rows.sum(axis=1)).reshape(-1, 1)
    rows = np.where(picked > 0, matrix[term.rows.argmax(axis=1)], 0.0)
    shape = (*value.form.shape[:-1], matrix.shape[1])
    logical = state.graph.shapes[node.outputs[0]]
    state.set_lazy(node, Form((SelectTerm(term.x, rows, term.low),), 0.0, shape, logical, node.outputs[0]))
    return True


_SAME_NUMBERS = frozenset(
    {
        "Cast",
        "Gather",
        "Slice",
        "Split",
        "Reshape",
        "Flatten",
        "Squeeze",
        "Unsqueeze",
        "Transpose",
        "Concat",
        "Identity",
        "Tile",
    }
)


def rows_only(graph: SourceGraph, name: str, scale: Scale) -> Scale:
    """The scale of an integer input without the numbers that are no rows of the constant tables that it chooses from.

    Such a sample is refused, as onnxruntime does; a number counts from the end where it is negative.
    """
    counts: dict[str, int] = {}
    for node in reversed(graph.nodes):
        table = graph.constants.get(node.inputs[0]) if node.op_type == "Gather" else None
        if table is not None and table.ndim and node.integer("axis", 0) % table.ndim == 0:
            found, into = [len(table)], node.inputs[1:2]
        elif node.op_type in _SAME_NUMBERS:
            found, into = [counts[one] for one in node.outputs if one in counts], node.inputs
        elif node.op_type in ("ScatterElements", "ScatterND"):
            found, into = [counts[one] for one in node.outputs if one in counts], node.inputs[::2]
        else:
            continue
        for one in into if found else ():
            counts[one] = min(found + ([counts[one]] if one in counts else []))
    count = counts.get(name)
    return scale if count is None else replace(scale, low=max(scale.low, -count), high=min(scale.high, count - 1))


def chosen_rows(state: State, node: Node, table: Floats) -> None:
    """Rows of a constant table by computed numbers: an embedding, or class labels. A number may count from the end."""
    name, shape = node.outputs[0], state.graph.shapes[node.outputs[0]]
    if node.integer("axis", 0) % table.ndim or _kind(state, node.inputs[1]) not in INTEGERS:
        raise unsupported(node, "computed indices must be integers that choose along the first axis")
    x = state.held(node, 1)
    if x.step != 1 or x.zero_point != 0:
        raise unsupported(node, "its indices are quantised")
    x = x if x.shape else x.at(x.index.reshape(1))
    low, high = _range(state, x)
    count, flat = len(table), table.reshape(len(table), -1)
    # Ranges are powers of two; what integers are computed from may bound them more narrowly. Rows beyond are never chosen.
    least, most = state.exact_bounds.get(node.inputs[1], (low, high))
    beyond = (low < -count or high >= count) and -count <= least and most < count
    if high - low >= MAX_TABLE_CELLS // flat.shape[1] and not _by_public_numbers(state, flat.size, x, low):
        raise unsupported(
            node,
            f"its indices take too many values for a table of {flat.shape[1]} columns that is looked up",
            "Make the input that holds them public ([tensors] of circuit.toml): its rows are then chosen without a lookup.",
        )
    if (low < -count or high >= count) and not beyond:
        raise unsupported(node, f"an index may lie from {low} to {high}, outside the {count} rows of its table")
    values = np.clip(np.arange(low, high + 1), -count, count - 1)
    rows = flat[values]
    if not beyond and _by_public_numbers(state, flat.size, x, low) and _kind(state, name) not in INTEGERS:
        index = state.builder.tensors[x.tensor]
        term = TableTerm(x.tensor, flat, 1.0)
        state.chosen.append(flat)
        state.set_lazy(node, Form((term,), 0.0, (*index.shape, flat.shape[1]), shape, name))
        return
    if _kind(state, name) in INTEGERS:
        state.builder.derived[name] = integer_scale(Range(float(rows.min()), float(rows.max())))
    full = (*x.shape, flat.shape[1])
    if state.builder.weights_in_tables or _kind(state, name) in INTEGERS:
        state.set_lazy(node, Form((SelectTerm(x, rows, low),), 0.0, full, shape, name))
        return
    if count > MAX_HIDDEN_ROWS:
        raise unsupported(node, f"a hidden table of {count} rows: there is one lookup per row", "Make the weights public.")
    # The table is secret, so the row is chosen by a product with a one-hot row, whose tables are not.
    one_hot = values[:, None] % count == np.arange(count)
    label = f"{name}.one_hot"
    choice = Form((SelectTerm(x, one_hot.astype(np.float64), low),), 0.0, (*x.shape, count), (*x.shape, count), label)
    held = state.requantise(label, Lazy(choice), integer_scale(Range(0.0, 1.0)))
    state.set_lazy(node, Form((MatMulTerm(held, flat.T, None),), 0.0, full, shape, name))


MAX_CHOICES = 1 << 16
"""Zeros and ones, of all rows together, that choose from computed rows."""


def computed_rows(state: State, node: Node, numbers: Held, size: int, axis: int, shape: tuple[int, ...]) -> None:
    """Rows of computed values by computed numbers, the last token of a text, say: products with a one and zeros each.

    Args:
        numbers: of the rows; they may count from the end. size, axis, shape: of operand 0, seen in this shape.
    """
    name, logical = node.outputs[0], state.graph.shapes[node.outputs[0]]
    if _kind(state, node.inputs[1]) not in INTEGERS or numbers.step != 1 or numbers.zero_point != 0:
        raise unsupported(node, "computed indices must be integers")
    low, high = _range(state, numbers)
    least, most = state.exact_bounds.get(node.inputs[1], (low, high))
    if least < -size or most >= size:
        raise unsupported(node, f"an index may lie from {least} to {most}, outside the {size} places of axis {axis}")
    flat = numbers.at(np.ascontiguousarray(numbers.index).reshape(-1))
    count, outer, inner = flat.index.size, int(np.prod(shape[:axis])), int(np.prod(shape[axis + 1 :]))
    if outer * count * size > MAX_CHOICES or high - low >= MAX_TABLE_CELLS // size:
        raise unsupported(node, f"{count} computed indices into {size} places are too many")
    # Beyond what the numbers can be, rows are never chosen.
    rows = np.clip(np.arange(low, high + 1), -size, size - 1)[:, None] % size == np.arange(size)
    label, full = f"{name}.one_hot", (count, size)
    choice = Form((SelectTerm(flat, rows.astype(np.float64), low),), 0.0, full, full, label)
    held = state.requantise(label, Lazy(choice), integer_scale(Range(0.0, 1.0)))
    data = state.held(node, 0)
    left = held.at(np.broadcast_to(held.index, (outer, *full)))
    right = data.at(np.ascontiguousarray(data.index).reshape(outer, size, inner))
    state.set_lazy(node, Form((BatchedTerm(left, right, 1.0),), 0.0, (outer, count, inner), logical, name))


def _by_public_numbers(state: State, cells: int, x: Held, low: int) -> bool:
    """Whether the numbers are a public model input, all of it in order: its rows are then one functional of the table.

    A small table of public numbers costs little as one table per column, which rounds each number once.
    """
    if not state.unrounded or low < 0 or x.tensor not in state.builder.shown:
        return False
    if state.builder.weights_in_tables and cells <= SMALL_TABLE:
        return False
    size = state.builder.tensors[x.tensor].size
    return x.index.size == size and bool((x.index.reshape(-1) == np.arange(size)).all())


def _one_hot(rows: NDArray[np.float64]) -> bool:
    return bool(((rows == 0) | (rows == 1)).all()) and bool((rows.sum(axis=1) <= 1).all())
