"""Reductions beyond sums, means and maxima; sums and means of several values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from math import prod, sqrt

import numpy as np

from verifai.engines.sumcheck.circuit.bounds import MAX_MAGNITUDE
from verifai.engines.sumcheck.circuit.ops import ArgMax, LinearCombination, Mul
from verifai.engines.sumcheck.lowering.builder import MAX_WIDTH, table_key
from verifai.engines.sumcheck.lowering.cells import combine
from verifai.engines.sumcheck.lowering.comparisons import sloped
from verifai.engines.sumcheck.lowering.division import root_of_squares
from verifai.engines.sumcheck.lowering.graph import unsupported
from verifai.engines.sumcheck.lowering.pool import reduced, row_max
from verifai.engines.sumcheck.lowering.state import State
from verifai.engines.sumcheck.lowering.values import BatchedTerm, CellTerm, Floats, Form, Held, ProductTerm, RowTerm, whole
from verifai.engines.sumcheck.lowering.views import Index, materialise
from verifai.engines.sumcheck.quantise.scales import Range, choose_scale
from verifai.onnx_graph.graph import Node

_HEADROOM = 1 << 14
"""Left free below 2^62 in a product of several cells, for the factor that brings it to the result's scale."""


def _negative(state: State, x: Held, name: str) -> Held:
    """−x, as a tensor that costs nothing."""
    tensor = state.builder.emit(LinearCombination((x.tensor,), (-1,), 0, state.builder.next), name, step=x.step)[0]
    return Held(tensor, x.index, x.step)


def _reduce_min(state: State, node: Node) -> None:
    """The least cell: the negative of the largest negative."""
    x, axes = reduced(state, node)
    name, shape = node.outputs[0], state.graph.shapes[node.outputs[0]]
    rows = x.at(np.ascontiguousarray(x.index).reshape(prod(x.shape[: len(x.shape) - axes]), -1))
    largest = row_max(state, _negative(state, rows, f"{name}.negative"), f"{name}.largest")
    cells = largest.at(largest.index.reshape(shape or (1,)))
    state.set_lazy(node, Form((CellTerm(cells, -1.0),), 0.0, cells.shape, shape, name))


def _reduce_l1(state: State, node: Node) -> None:
    """The sum of magnitudes."""
    x, axes = reduced(state, node)
    name, tensor = node.outputs[0], state.builder.tensors[x.tensor]
    if tensor.low < 0:
        key = table_key((("x",), ("abs",)), x.step, x.step, 0, tensor.magnitude)
        x = Held(state.builder.lookup(x.tensor, key, f"{name}.magnitudes", x.step), x.index, x.step)
    shape = x.shape[: len(x.shape) - axes] or (1,)
    state.set_lazy(node, state.new_form(node, RowTerm(x, 1.0, axes), shape=shape))


def _reduce_squares(state: State, node: Node) -> None:
    """The sum of squares: each row times itself."""
    x, axes = reduced(state, node)
    lead = x.shape[: len(x.shape) - axes]
    flat = np.ascontiguousarray(x.index).reshape(prod(lead), -1)
    term = BatchedTerm(x.at(flat[:, None, :]), x.at(flat[:, :, None]), 1.0)
    state.set_lazy(node, state.new_form(node, term, shape=(len(flat), 1, 1)))


def _squares_sum(state: State, node: Node) -> None:
    """Σx², found by :mod:`.joins`: x has the scale that follows from the range that the squares had in the model."""
    squares = state.builder.scale(node.text("squares", ""))
    limit = sqrt(max(float(squares.high * squares.step), 0.0))
    bits = min((squares.high - squares.low).bit_length() + 1, MAX_WIDTH - 1)
    state.builder.derived[node.inputs[0]] = choose_scale(Range(-limit, limit), bits)
    _reduce_squares(state, node)


def _reduce_l2(state: State, node: Node) -> None:
    """The root of the sum of squares, by the integer root of the integer sum."""
    x, axes = reduced(state, node)
    rows = x.at(np.ascontiguousarray(x.index).reshape(prod(x.shape[: len(x.shape) - axes]), -1))
    state.set_held(node, root_of_squares(state, node, rows))


def _reduce_product(state: State, node: Node) -> None:
    """The product of all cells of a row, as integers; rounded once, at its end."""
    x, axes = reduced(state, node)
    lead = x.shape[: len(x.shape) - axes] or (1,)
    flat = np.ascontiguousarray(x.index).reshape(*lead, -1)
    _product(state, node, x, flat)


def _products(state: State, node: Node) -> None:
    """Products of columns of x, found by :mod:`.joins`: one per row of ``columns``."""
    x, columns = state.held(node, 0), node.attributes["columns"]
    assert isinstance(columns, np.ndarray)
    _product(state, node, x, x.index[:, columns])


def _product(state: State, node: Node, x: Held, flat: Index) -> None:
    """The products along the last axis of ``flat``, cells of x."""
    name, builder, lead = node.outputs[0], state.builder, flat.shape[:-1]
    count, magnitude = flat.shape[-1], max(builder.tensors[x.tensor].magnitude, 1)
    if count == 1:
        state.set_held(node, x.at(np.ascontiguousarray(flat).reshape(state.graph.shapes[name])))
        return
    if magnitude**count >= MAX_MAGNITUDE // _HEADROOM:
        raise unsupported(node, f"a product of {count} values of this range is too large", "Use fewer activation_bits.")
    found, step = x.at(flat[..., 0]), x.step
    for number in range(1, count - 1):
        first = materialise(builder, found, f"{name}.first{number}")
        second = materialise(builder, x.at(flat[..., number]), f"{name}.second{number}")
        step *= x.step
        found = whole(builder.emit(Mul(first, second, builder.next, 1), f"{name}.product{number}")[0], lead, step)
    term = ProductTerm(x.at(flat[..., count - 1]), found, 1.0)
    state.set_lazy(node, state.new_form(node, term, shape=lead))


def _arg_min(state: State, node: Node) -> None:
    """The place of the first of the least cells, or of the last."""
    x = state.held(node, 0)
    axis, name = node.integer("axis", 0) % len(x.shape), node.outputs[0]
    negative = _negative(state, x, f"{name}.negative")
    rows = np.moveaxis(negative.index, axis, -1)
    last = bool(node.integer("select_last_index", 0))
    rows = np.ascontiguousarray(rows[..., ::-1]) if last else rows
    tensor = materialise(state.builder, negative.at(rows), f"{name}.x")
    found = state.builder.emit(ArgMax(tensor, state.builder.next), f"{name}.reversed" if last else name)[0]
    if last:
        key = table_key((("const", x.shape[axis] - 1, 1), ("x",), ("sub",)), Fraction(1), Fraction(1), 0, x.shape[axis] - 1)
        found = state.builder.lookup(found, key, name, Fraction(1))
    state.set_held(node, whole(found, state.graph.shapes[name], Fraction(1)))


def _add_row(state: State, node: Node, row: Floats) -> None:
    """A constant that differs from cell to cell, on top of the sum of cells that the node is so far."""
    name, shape = node.outputs[0], state.graph.shapes[node.outputs[0]]
    lazy = state.lazy(name)
    cells = [term for term in lazy.form.terms if isinstance(term, CellTerm)]
    if lazy.form.shape != shape or len(cells) != len(lazy.form.terms):
        raise unsupported(node, "a constant operand beside layers must be one number", "Add it with an Add.")
    # A convolution by 0 carries the constant as its bias.
    form = sloped(cells[0].x, shape, np.zeros(()), row, name)
    moved = [replace(term, x=term.x.at(term.x.index.reshape(form.shape))) for term in cells]
    state.set_lazy(node, replace(form, terms=(*moved, *form.terms), constant=lazy.form.constant))


def _several(mean: bool) -> Callable[[State, Node], None]:
    def lower(state: State, node: Node) -> None:
        """The sum, or mean, of values and numbers."""
        factor = 1.0 / len(node.inputs) if mean else 1.0
        parts, number, row = [], 0.0, np.zeros(())
        for position, name in enumerate(node.inputs):
            values = state.constant(node, position)
            if values is None:
                state.value(node, position)
                parts.append((name, factor))
            elif bool((values == values.flat[0]).all()):
                number += factor * float(values.flat[0])
            else:
                row = row + factor * values
        if not parts:
            raise unsupported(node, "nothing in it depends on an input")
        combine(state, node, parts, number)
        if row.any():
            _add_row(state, node, row)

    return lower


FUSED: dict[str, Callable[[State, Node], None]] = {"Products": _products, "SquaresSum": _squares_sum}
"""Of nodes in :data:`.graph.DOMAIN`."""
HANDLERS: dict[str, Callable[[State, Node], None]] = {
    "ReduceMin": _reduce_min,
    "ReduceL1": _reduce_l1,
    "ReduceL2": _reduce_l2,
    "ReduceSumSquare": _reduce_squares,
    "ReduceProd": _reduce_product,
    "ArgMin": _arg_min,
    "Sum": _several(False),
    "Mean": _several(True),
}
