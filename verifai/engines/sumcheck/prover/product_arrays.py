"""The two arrays of every sumcheck of a product, made from operands, weights and the functional on the result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.dispatch import Dispatch, dispatch, require
from verifai.engines.sumcheck.protocol import field, geometry
from verifai.engines.sumcheck.protocol.axes import Functional
from verifai.engines.sumcheck.protocol.buses import LINEAR_OR_VIEW
from verifai.engines.sumcheck.prover import functionals
from verifai.engines.sumcheck.prover.arrays import element, embed, scalars, vector
from verifai.engines.sumcheck.prover.kernels import U64, combine_columns, combine_columns_ext, combine_rows, outer, scaled
from verifai.engines.sumcheck.prover.witness import Witness

Arrays = tuple[U64, U64]
_REFUSED = "it is not part of this suite: the planner refuses it"


# --- products with weights --------------------------------------------------------------------------------------------------


def _matmul(witness: Witness, weights: Sequence[U64], op: ops.MatMul, axes: Functional) -> Arrays:
    """Σ_o g_o·W[o, k] and Σ_r g_r·x[r, k]."""
    weight = weights[op.weight]
    channel = functionals.axis_vector(axes[-1])
    rows = functionals.outer_all([functionals.axis_vector(axis) for axis in axes[:-1]])
    cells = witness.cells(op.x, masked=True)
    left: U64 = combine_rows(channel, weight.reshape(weight.shape[0], -1))
    right: U64 = combine_rows(rows, cells.reshape(rows.shape[1], -1))
    return left, right


def _conv(witness: Witness, weights: Sequence[U64], op: ops.Conv, axes: Functional) -> Arrays:
    """Σ_o g_o·W[o, c, u, v] per group, and the operand shifted by each tap, contracted with the output's functional."""
    circuit = witness.circuit
    source, out = circuit.tensors[op.x], circuit.tensors[op.out]
    weight = weights[op.weight]
    kernel = circuit.weights[op.weight].shape[2:]
    channel = functionals.axis_vector(axes[-3])
    channels = source.padded[-3]
    groups = channels // weight.shape[1]
    outer = weight.shape[0] // groups
    flat = weight.reshape(groups, outer, -1)
    parts = [combine_rows(np.ascontiguousarray(channel[:, g * outer : (g + 1) * outer]), flat[g]) for g in range(groups)]
    left = np.concatenate(parts, axis=1)
    height, width = weight.shape[2:]
    right = np.zeros((2, channels, height, width), dtype=np.uint64)
    batch = functionals.outer_all([functionals.axis_vector(axis) for axis in axes[:-3]])
    leading = batch.shape[1]
    cells = witness.cells(op.x, masked=True).reshape(source.padded)
    lines = None if leading == 1 else combine_rows(batch, cells.reshape(leading, -1))
    for v in range(kernel[1]):
        column = _tap_vector(witness, op, axes, 1, v)
        for_v = _contract(cells.reshape(-1, source.padded[-1]), lines, column)
        for u in range(kernel[0]):
            row = _tap_vector(witness, op, axes, 0, u)
            grid = for_v.reshape(2, channels, source.padded[-2])
            right[:, :, u, v] = combine_columns_ext(grid[0], grid[1], row)
    if lines is None:
        scale = element(*batch[:, 0])
        if scale != field.ONE:
            left = scaled(left, *scalars(scale))
    assert out.shape[-3] == circuit.weights[op.weight].shape[0]
    return left, np.ascontiguousarray(right.reshape(2, -1))


def _contract(cells: U64, lines: U64 | None, column: U64) -> U64:
    result: U64
    if lines is None:
        result = combine_columns(cells, column)
    else:
        grid = lines.reshape(2, -1, column.shape[1])
        result = combine_columns_ext(grid[0], grid[1], column)
    return result


def _tap_vector(witness: Witness, op: ops.Conv, axes: Functional, direction: int, tap: int) -> U64:
    source, out = witness.circuit.tensors[op.x], witness.circuit.tensors[op.out]
    d = direction - 2
    weights = [field.ZERO] * tap + [field.ONE]
    return vector(
        geometry.window_axis(
            axes[d],
            (out.shape[d], source.shape[d]),
            source.bits[d],
            op.stride[direction],
            op.dilation[direction],
            op.pads[direction],
            weights,
        ).values
    )


def _relabel(witness: Witness, weights: Sequence[U64], op: ops.Relabel, axes: Functional) -> Arrays:
    """The functional itself and the operand, which are the same cells in the same order."""
    vectors = [functionals.axis_vector(axis) for axis in axes]
    return functionals.outer_all(vectors), embed(witness.cells(op.x, masked=True))


def _top_index(witness: Witness, weights: Sequence[U64], op: ops.TopIndex, axes: Functional) -> Arrays:
    """g_t at the cell that row t shows as its largest, 0 elsewhere; and the operand."""
    source, out = witness.circuit.tensors[op.x], witness.circuit.tensors[op.out]
    rows = functionals.outer_all([functionals.axis_vector(axis) for axis in axes])
    chosen = np.zeros((2, *(source.padded[:-1] or (1,)), source.padded[-1]), dtype=np.uint64)
    true = witness.tensors[op.out].reshape(out.padded)[witness.box(op.out)]
    places = np.indices(true.shape)
    chosen[(slice(None), *places, true)] = rows.reshape(2, *out.padded)[(slice(None), *places)]
    return chosen.reshape(2, -1), embed(witness.cells(op.x, masked=True))


_HELD = (ops.Requant, ops.Rescale, ops.Lookup, ops.WindowMax, ops.RowMax, ops.Recip, ops.Isqrt, ops.ArgMax)

_OTHER_SUMS = (ops.MatMul, ops.Conv, ops.Relabel, ops.GatedMatMul, ops.WeightRows)

_INNER_PRODUCTS: Dispatch[Callable[[Witness, Sequence[U64], Any, Functional], Arrays]] = dispatch(
    {ops.MatMul: _matmul, ops.Conv: _conv, ops.Relabel: _relabel, ops.TopIndex: _top_index},
    ("it has no weights", (*(kind for kind in LINEAR_OR_VIEW if kind not in _OTHER_SUMS), *_HELD)),
    ("its product has two values: gated_product_arrays", (ops.GatedMatMul,)),
    ("it is a functional of its weight", (ops.WeightRows,)),
    (_REFUSED, (ops.Gather,)),
)


def inner_product_arrays(witness: Witness, weights: Sequence[U64], op: ops.Op, axes: Functional) -> Arrays:
    """The arrays (2, 2^k) of weights, or of a Relabel's functional, and of the operand: their inner product is the result under
    ``axes``.

    Raises:
        InternalError: code ``bug``, for an operation without such a product.
    """
    return require(_INNER_PRODUCTS, op, "inner products")(witness, weights, op, axes)


# --- products of two values -------------------------------------------------------------------------------------------------


def _batched(witness: Witness, number: int, op: ops.BatchedMatMul, which: int, axes: Functional) -> Arrays:
    """Per batch: Σ_i g_i·a[i, k] and Σ_j g_j·b[k, j]."""
    first, second = witness.circuit.tensors[op.a], witness.circuit.tensors[op.b]
    rows, columns = functionals.axis_vector(axes[-2]), functionals.axis_vector(axes[-1])
    a = witness.cells(op.a, masked=True).reshape(-1, *first.padded[-2:])
    b = witness.cells(op.b, masked=True).reshape(-1, second.padded[-1])
    left = np.concatenate([combine_rows(rows, one) for one in a], axis=1)
    right: U64 = combine_columns(b, columns)
    return left, right


def _row_scale(witness: Witness, number: int, op: ops.RowScale, which: int, axes: Functional) -> Arrays:
    """Σ_k g_k·x[r, k] and the factors."""
    source = witness.circuit.tensors[op.x]
    cells = witness.cells(op.x, masked=True).reshape(-1, source.padded[-1])
    left: U64 = combine_columns(cells, functionals.axis_vector(axes[-1]))
    return left, embed(witness.cells(op.factor, masked=True))


def _stored(witness: Witness, number: int, op: ops.Op, which: int, axes: Functional) -> Arrays:
    """Both factors as the witness has them."""
    left, right = witness.factors(number, which)
    return embed(left), embed(right)


_WEIGHTED_PRODUCTS: Dispatch[Callable[[Witness, int, Any, int, Functional], Arrays]] = dispatch(
    {
        ops.BatchedMatMul: _batched,
        ops.RowScale: _row_scale,
        ops.Mul: _stored,
        ops.RowSum: _stored,
        ops.Requant: _stored,
        ops.RowMax: _stored,
        ops.Recip: _stored,
        ops.Isqrt: _stored,
        ops.ArgMax: _stored,
    },
    ("it multiplies with weights alone: an inner product", (ops.MatMul, ops.Conv, ops.TopIndex)),
    ("its product has three factors: gated_product_arrays", (ops.GatedMatMul,)),
    (
        "it multiplies no two values",
        (ops.LinearCombination, ops.WindowSum, ops.Lookup, ops.Relabel, ops.View, ops.Rescale, ops.WeightRows),
    ),
    ("its product of taps is a zero-check", (ops.WindowMax,)),
    (_REFUSED, (ops.Gather,)),
)


def weighted_product_arrays(witness: Witness, number: int, which: int, axes: Functional) -> Arrays:
    """The arrays (2, 2^k) of the two factors of product ``which`` of operation ``number``.

    Raises:
        InternalError: code ``bug``, for an operation without such a product.
    """
    op = witness.circuit.ops[number]
    return require(_WEIGHTED_PRODUCTS, op, "weighted products")(witness, number, op, which, axes)


def gated_product_arrays(
    witness: Witness, weights: Sequence[U64], op: ops.GatedMatMul, axes: Functional
) -> tuple[U64, U64, U64]:
    """The arrays (2, 2^k) of g_r·Σ_o g_o·W[o, k] and of both operands, over rows and summed cells."""
    weight = weights[op.weight]
    channel = functionals.axis_vector(axes[-1])
    rows = functionals.outer_all([functionals.axis_vector(axis) for axis in axes[:-1]])
    left: U64 = outer(rows, combine_rows(channel, weight.reshape(weight.shape[0], -1)))
    return left, embed(witness.cells(op.a, masked=True)), embed(witness.cells(op.b, masked=True))
