"""Matrix products beyond a value times a constant matrix: constants on the left or in batches, two values, any bias.

A·X with a constant A is a convolution of one cell: the rows of X are channels and its columns a line of pixels, so the result's
cells stand in the result's order. Constants with leading axes are groups of such channels.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np

from verifai.engines.sumcheck.circuit.program import padded_shape
from verifai.engines.sumcheck.lowering import linear
from verifai.engines.sumcheck.lowering.affine import Affine, folded_convolution
from verifai.engines.sumcheck.lowering.comparisons import sloped
from verifai.engines.sumcheck.lowering.graph import unsupported
from verifai.engines.sumcheck.lowering.state import State, broadcast
from verifai.engines.sumcheck.lowering.values import (
    ZERO_CELL,
    BatchedTerm,
    CellTerm,
    ConvTerm,
    Floats,
    Form,
    Held,
    Lazy,
    MatMulTerm,
)
from verifai.engines.sumcheck.quantise.scales import Range, choose_scale, integer_scale
from verifai.onnx_graph.graph import Node

_PRODUCT_BITS = 15
"""Of a product whose bias is added after it."""


def _matmul(state: State, node: Node) -> None:
    left, right = state.constant(node, 0), state.constant(node, 1)
    if left is not None and right is not None:
        raise unsupported(node, "nothing in it depends on an input")
    if left is not None:
        _left(state, node, left)
    elif right is not None and right.ndim == 1:
        shape = (*state.graph.shapes[node.inputs[0]][:-1], 1)
        state.set_lazy(node, state.new_form(node, *linear.product_terms(state, node, right[None, :], None), shape=shape))
    elif right is not None and right.ndim > 2:
        _batched_right(state, node, right)
    else:
        linear.HANDLERS["MatMul"](state, node)


def _left(state: State, node: Node, left: Floats) -> None:
    source, out = state.graph.shapes[node.inputs[1]], state.graph.shapes[node.outputs[0]]
    matrix = left if left.ndim > 1 else left[None, :]
    if prod(matrix.shape[:-2]) == 1 and len(matrix.shape) <= max(2, len(source)):
        term, shape = _line(state, node, matrix.reshape(matrix.shape[-2:]), None)
        state.set_lazy(node, state.new_form(node, term, shape=shape))
        return
    x = state.held(node, 1)
    columns = x if len(x.shape) > 1 else x.at(x.index[:, None])
    lead = np.broadcast_shapes(matrix.shape[:-2], columns.shape[:-2])
    weight = np.broadcast_to(matrix, (*lead, *matrix.shape[-2:]))
    index = np.broadcast_to(columns.index, (*lead, *columns.shape[-2:]))
    held = _grouped(state, node, weight, columns.at(index))
    state.set_held(node, held.at(held.index.reshape(out or (1,))))


def _line(state: State, node: Node, matrix: Floats, bias: Floats | None) -> tuple[ConvTerm, tuple[int, ...]]:
    """matrix @ operand 1 (…, K, N) with a bias per row, and the shape of its tensor; a scaler of the operand is folded in."""
    source = state.graph.shapes[node.inputs[1]]
    *lead, inner, count = source if len(source) > 1 else (*source, 1)
    batch, value = prod(lead), state.value(node, 1)
    planar, full = (batch, inner, 1, count), (batch, len(matrix), 1, count)

    def line(x: Held) -> ConvTerm:
        cells_of = x.at(np.ascontiguousarray(x.index).reshape(planar))
        return ConvTerm(cells_of, matrix[:, :, None, None], bias, (1, 1), (1, 1), (0, 0, 0, 0), 1)

    if isinstance(value, Affine) and len(value.used()) == 1:
        folded = folded_convolution(value.mapped(lambda one: one.reshape(planar)), line(value.part(value.used()[0])))
        if folded is not None:
            return folded, full
    return line(state.held(node, 1)), full


def _groups(weight: Floats, columns: Held) -> tuple[ConvTerm, tuple[int, ...]]:
    """weight (…, M, K) @ columns (…, K, N), of equal leading axes, as groups of channels, both padded to a power of two."""
    *lead, rows, inner = weight.shape
    groups, count = prod(lead), columns.shape[-1]
    outer, wide = (padded_shape((size,))[0] for size in (rows, inner))
    kernel = np.zeros((groups, outer, wide))
    kernel[:, :rows, :inner] = weight.reshape(groups, rows, inner)
    index = np.full((groups, wide, count), ZERO_CELL, np.int64)
    index[:, :inner] = columns.index.reshape(groups, inner, count)
    x = columns.at(index.reshape(1, groups * wide, 1, count))
    term = ConvTerm(x, kernel.reshape(-1, wide, 1, 1), None, (1, 1), (1, 1), (0, 0, 0, 0), groups)
    return term, (1, groups * outer, 1, count)


def _grouped(state: State, node: Node, weight: Floats, columns: Held) -> Held:
    """weight (…, M, K) @ columns (…, K, N), of equal leading axes, as cells: (…, M, N)."""
    *lead, rows, _ = weight.shape
    name, count = node.outputs[0], columns.shape[-1]
    term, full = _groups(weight, columns)
    made = state.requantise(name, Lazy(Form((term,), 0.0, full, full, name)), state.builder.scale(name))
    return made.at(np.ascontiguousarray(made.index.reshape(*lead, full[1] // prod(lead), count)[..., :rows, :]))


def _batched_right(state: State, node: Node, right: Floats) -> None:
    x, out = state.held(node, 0), state.graph.shapes[node.outputs[0]]
    rows = x if len(x.shape) > 1 else x.at(x.index[None, :])
    lead = np.broadcast_shapes(right.shape[:-2], rows.shape[:-2])
    weight = np.broadcast_to(np.swapaxes(right, -1, -2), (*lead, right.shape[-1], right.shape[-2]))
    index = np.swapaxes(np.broadcast_to(rows.index, (*lead, *rows.shape[-2:])), -1, -2)
    columns = rows.at(np.ascontiguousarray(index))
    if _counts(state, node, weight, columns):
        return
    held = _grouped(state, node, weight, columns)
    state.set_held(node, held.at(np.ascontiguousarray(np.swapaxes(held.index, -1, -2)).reshape(out or (1,))))


def _counts(state: State, node: Node, weight: Floats, columns: Held) -> bool:
    """Sums of bits times whole numbers, such as how much of a tree's path holds: exact, whatever calibration saw of them.

    Returns whether the product is one; (…, M, K) @ (…, K, 1), where no padding stands between the results.
    """
    name, rows = node.outputs[0], weight.shape[-2]
    tensor = state.builder.tensors[columns.tensor]
    bits = columns.step == 1 and (tensor.low, tensor.high) == (0, 1)
    alone = columns.shape[-1] == 1 and padded_shape((rows,))[0] == rows
    if not (bits and alone and bool((weight == np.rint(weight)).all())):
        return False
    positive, negative = (np.where(weight * sign > 0, weight, 0.0).sum(axis=-1) for sign in (1.0, -1.0))
    ends = (int(negative.min()), int(positive.max()))
    reach = Range(*(float(state.builder.told_whole(end)) for end in ends))
    if max(-reach.low, reach.high) >= 1 << _PRODUCT_BITS:
        return False
    state.builder.derived[name] = integer_scale(reach)
    term, full = _groups(weight, columns)
    state.set_lazy(node, Form((term,), 0.0, full, state.graph.shapes[name], name))
    return True


def _gemm(state: State, node: Node) -> None:
    matrix, bias = state.constant(node, 1), state.constant(node, 2)
    biased = len(node.inputs) > 2 and bool(node.inputs[2])
    per_column = not biased or (bias is not None and (bias.ndim < 2 or bias.shape[0] == 1))
    plain = not any(node.integer(flag, 0) for flag in ("transA", "transB"))
    scaled = (node.number("alpha", 1.0), node.number("beta", 1.0)) != (1.0, 1.0)
    if (matrix is not None and per_column) or not plain or scaled:
        linear.HANDLERS["Gemm"](state, node)
        return
    left = state.constant(node, 0)
    per_row = bias is not None and bias.ndim == 2 and bias.shape[1] == 1
    term, shape = _plain_product(state, node, left, matrix, bias if per_row and bias is not None else None)
    if not biased or (per_row and left is not None):
        state.set_lazy(node, state.new_form(node, term, shape=shape))
    elif bias is None:
        extra = CellTerm(broadcast(state.held(node, 2), state.graph.shapes[node.outputs[0]]), 1.0)
        state.set_lazy(node, state.new_form(node, term, extra, shape=shape))
    else:
        _add_after(state, node, term, shape, bias)


def _plain_product(
    state: State, node: Node, left: Floats | None, right: Floats | None, bias: Floats | None
) -> tuple[MatMulTerm | ConvTerm | BatchedTerm, tuple[int, ...]]:
    """The product of two matrices of which one at most is constant; ``bias`` per row goes in where the left one is."""
    out = state.graph.shapes[node.outputs[0]]
    if left is not None:
        line = None if bias is None else np.broadcast_to(bias.reshape(-1), (len(left),))
        return _line(state, node, left, line)
    if right is not None:
        return MatMulTerm(state.held(node, 0), right.T, None), out
    return BatchedTerm(state.held(node, 0), state.held(node, 1), 1.0), out


def _add_after(
    state: State, node: Node, term: MatMulTerm | ConvTerm | BatchedTerm, shape: tuple[int, ...], bias: Floats
) -> None:
    """A bias that differs from cell to cell, added to the product as a tensor of its own."""
    name, out = node.outputs[0], state.graph.shapes[node.outputs[0]]
    scale = state.builder.scale(name)
    reach = Range(float(scale.low * scale.step) - float(bias.max()), float(scale.high * scale.step) - float(bias.min()))
    label = f"{name}.product"
    form = Form((term,), 0.0, shape, out, label)
    product = state.requantise(label, Lazy(form), choose_scale(state.builder.told(reach), _PRODUCT_BITS))
    state.set_lazy(node, sloped(product, out, np.ones(()), bias, name))


HANDLERS: dict[str, Callable[[State, Node], None]] = {"Gemm": _gemm, "MatMul": _matmul}
