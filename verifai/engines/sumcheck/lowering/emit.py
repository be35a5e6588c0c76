"""Real linear forms become integer operations: z ≈ form·2^s/S_t, with every real factor rounded onto the grid of z.

Weights are rounded once, straight to W' = ⌊w·S_x·2^s/S_t⌉: the shift s is chosen so that all rounded weights of a row together
disturb t by at most an eighth of a step (root mean square), which a fixed 8-bit grid per channel does not give.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from math import ceil, log2, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifai.engines.sumcheck.circuit.ops import (
    NONE,
    BatchedMatMul,
    Conv,
    GatedMatMul,
    LinearCombination,
    Lookup,
    MatMul,
    Mul,
    Piece,
    RowSum,
    View,
    WeightRows,
    WindowSum,
)
from verifai.engines.sumcheck.circuit.program import padded_shape
from verifai.engines.sumcheck.lowering.builder import COARSE_WIDTH, MAX_WIDTH, Builder, signed_width
from verifai.engines.sumcheck.lowering.values import (
    ZERO_CELL,
    BatchedTerm,
    CellTerm,
    ConvTerm,
    Floats,
    Form,
    GatedTerm,
    Held,
    MatMulTerm,
    ProductTerm,
    RowTerm,
    SelectTerm,
    SquaresTerm,
    TableTerm,
    Term,
    WindowTerm,
    whole,
)
from verifai.engines.sumcheck.lowering.views import materialise
from verifai.engines.sumcheck.protocol.weight_ranges import WIDEST_BITS
from verifai.engines.sumcheck.quantise.functions import Program, tabulate_at
from verifai.engines.sumcheck.quantise.scales import Scale
from verifai.errors import UnsupportedModel

FACTOR_BITS = 10
"""A lone real factor becomes an integer of at least this many bits."""
WEIGHT_BITS = 7
"""So does the largest weight of a layer."""
MAX_SHIFT = 50
_STEPS_PER_NOISE = 8
_REACH_BITS = 60
"""Of a sum, and below of a cell's factor: less than 62 and 31, with one left for rounding."""
_CELL_FACTOR_BITS = 30


def rounded(values: Floats, factor: Fraction, where: str) -> NDArray[np.int64]:
    """⌊values·factor⌉ as int64. Raises UnsupportedModel when a value does not fit."""
    scaled = np.rint(values * float(factor))
    if not np.isfinite(scaled).all() or np.abs(scaled).max(initial=0.0) >= 2.0**53:
        raise UnsupportedModel("circuit-bound", "a weight is infinite or too large for its scale", where=where)
    return scaled.astype(np.int64)


FACTOR_LIMIT_BITS = 31
"""Of a factor beside its sign."""


def least_shift(builder: Builder, form: Form, step: Fraction) -> int:
    """The least s that keeps every factor of ``form`` precise enough for steps of size ``step``."""
    needed = 1
    for term in form.terms:
        if isinstance(term, MatMulTerm | ConvTerm | SquaresTerm | GatedTerm):
            needed = max(needed, _weights_shift(builder, term, step))
        elif not isinstance(term, SelectTerm):  # whose values are tables, without a shift
            ratio = abs(term.factor) * float(term_step(term) / step)
            if ratio == 0.0:
                continue
            needed = max(needed, FACTOR_BITS - 1 - int(np.floor(log2(ratio))))
    return needed


def narrow_shift(builder: Builder, form: Form, step: Fraction) -> int:
    """The greatest s with which no weight of ``form`` is wider than WIDEST_BITS; MAX_SHIFT where there is none."""
    found = MAX_SHIFT
    for term in form.terms:
        if isinstance(term, MatMulTerm | ConvTerm | SquaresTerm | GatedTerm):
            largest = float(np.abs(term.weight).max(initial=0.0)) * float(term_step(term) / step)
            if largest:
                found = min(found, int(np.floor(log2(((1 << WIDEST_BITS) - 2) / largest))))
    return found


TABLE_BITS = 13
"""Of the largest number in rows that tokens choose, beside its sign.

Their step is a power of two, so that an embedding and a head that are one matrix are one weight.
"""


def table_step(table: Floats) -> Fraction:
    """The step of rows of a constant."""
    largest = float(np.abs(table).max(initial=0.0))
    return Fraction(2) ** (ceil(log2(largest)) - TABLE_BITS if largest > 0 else 0)


def _weights_shift(builder: Builder, term: MatMulTerm | ConvTerm | SquaresTerm | GatedTerm, step: Fraction) -> int:
    largest = float(np.abs(term.weight).max(initial=0.0)) * float(term_step(term) / step)
    if largest == 0.0:
        return 1
    inner = prod(term.weight.shape[1:])
    # Rounding errors are uniform on ±½, activations about a quarter of their bound in root mean square.
    if isinstance(term, GatedTerm):
        typical = builder.tensors[term.a.tensor].magnitude / 4 * builder.tensors[term.b.tensor].magnitude / 4
    else:
        quarter = builder.tensors[term.x.tensor].magnitude / 4
        typical = quarter**2 if isinstance(term, SquaresTerm) else quarter
    noise = 0.289 * inner**0.5 * typical
    return max(ceil(log2(max(noise * _STEPS_PER_NOISE, 2.0))), WEIGHT_BITS - 1 - int(np.floor(log2(largest))))


def term_step(term: Term) -> Fraction:
    """The value of one integer step of what a term multiplies."""
    assert not isinstance(term, SelectTerm)
    if isinstance(term, ProductTerm | BatchedTerm | GatedTerm):
        return term.a.step * term.b.step
    if isinstance(term, TableTerm):
        return table_step(term.table)
    if isinstance(term, SquaresTerm):
        return term.x.step**2
    return term.x.step


def most_shift(builder: Builder, form: Form, step: Fraction) -> int:
    """The greatest s, somewhat less at most, for which neither a sum of ``form`` nor a factor of its cells breaks a bound."""
    reach = form_reach(builder, form)
    cells = [term for term in form.terms if isinstance(term, CellTerm)]
    limits = [(_REACH_BITS, reach)]
    if cells:  # a form of products alone has no such factor: a softmax's needs a shift of 46 and more
        limits.append((_CELL_FACTOR_BITS, max(abs(term.factor) * float(term.x.step) for term in cells)))
    return min(bits - ceil(log2(max(real / float(step), 1.0))) for bits, real in limits)


def form_reach(builder: Builder, form: Form) -> float:
    """A bound on the form's real value, whatever its operands are."""
    return abs(form.constant) + sum(_term_reach(builder, term) for term in form.terms)


def _term_reach(builder: Builder, term: Term) -> float:
    def most(held: Held) -> float:
        return float(builder.tensors[held.tensor].magnitude * held.step)

    if isinstance(term, TableTerm):
        return abs(term.factor) * float(np.abs(term.table).max(initial=0.0))
    if isinstance(term, GatedTerm):
        rows = np.abs(term.weight).sum(axis=1).max(initial=0.0)
        bias = 0.0 if term.bias is None else float(np.abs(term.bias).max(initial=0.0))
        return bias + float(rows) * most(term.a) * most(term.b)
    if isinstance(term, SquaresTerm):
        # As the rule for sums of products bounds them: so many times the largest of each side.
        count = padded_shape((term.weight.shape[1],))[0]
        return count * float(np.abs(term.weight).max(initial=0.0)) * most(term.x) ** 2
    if isinstance(term, MatMulTerm | ConvTerm):
        rows = np.abs(term.weight).reshape(len(term.weight), -1).sum(axis=1).max(initial=0.0)
        bias = 0.0 if term.bias is None else float(np.abs(term.bias).max(initial=0.0))
        return bias + float(rows) * most(term.x)
    if isinstance(term, SelectTerm):
        return float(np.abs(term.rows).max(initial=0.0))
    if isinstance(term, ProductTerm | BatchedTerm):
        count = term.a.shape[-1] if isinstance(term, BatchedTerm) else 1
        return abs(term.factor) * count * most(term.a) * most(term.b)
    count = prod(term.kernel) if isinstance(term, WindowTerm) else 1
    count = prod(term.x.shape[len(term.x.shape) - term.axes :]) if isinstance(term, RowTerm) else count
    return abs(term.factor) * count * most(term.x)


def emit_form(builder: Builder, form: Form, step: Fraction, shift: int, name: str) -> int:
    """The virtual tensor z of ``form`` with 2^shift integer steps per ``step``; of shape ``form.shape``."""
    grid = Fraction(2) ** shift / step
    if builder.round_bounds:
        form = _with_hidden_constant(form)
    parts: list[int] = []
    factors: list[int] = []
    constant = round(Fraction(form.constant) * grid)
    for number, term in enumerate(form.terms):
        label = f"{name}.z" if len(form.terms) == 1 else f"{name}.z{number}"
        if isinstance(term, CellTerm):
            factor = _factor(term.factor, term.x.step * grid, name)
            if factor or term.factor == 0:
                x = materialise(builder, term.x.at(term.x.index.reshape(form.shape)), f"{name}.x{number}")
                parts.append(x if factor else _nothing_of(builder, x, f"{name}.zeros{number}"))
                factors.append(factor or 1)
            continue
        tensor = _EMIT[type(term)](builder, term, grid, label)
        if tensor is not None:
            parts.append(tensor)
            factors.append(1)
    if len(parts) == 1 and constant == 0 and factors == [1]:
        return parts[0]
    if not parts:
        raise UnsupportedModel("constant-value", "every factor of a sum rounds to 0", where=name)
    merged: dict[int, int] = {}
    for part, factor in zip(parts, factors, strict=True):
        merged[part] = merged.get(part, 0) + factor
    kept = {part: factor for part, factor in merged.items() if factor}
    for part in sorted(set(merged) - set(kept)):
        kept[_nothing_of(builder, part, f"{name}.cancelled")] = 1
    op = LinearCombination(tuple(kept), tuple(kept.values()), constant, builder.next)
    return builder.emit(op, f"{name}.sum")[0]


def _nothing_of(builder: Builder, x: int, name: str) -> int:
    """x − x: what is multiplied by 0, or cancels, is still read, since a circuit reads every tensor that it has."""
    opposite = builder.emit(LinearCombination((x,), (-1,), 0, builder.next), f"{name}.opposite")[0]
    return builder.emit(LinearCombination((x, opposite), (1, 1), 0, builder.next), name)[0]


def _with_hidden_constant(form: Form) -> Form:
    """The same form, its constant a part of the first bias: a sum's constant is published, a hidden layer's bias is not."""
    for number, term in enumerate(form.terms):
        if form.constant and isinstance(term, MatMulTerm | ConvTerm):
            bias = np.zeros(len(term.weight)) if term.bias is None else term.bias
            terms = (*form.terms[:number], replace(term, bias=bias + form.constant), *form.terms[number + 1 :])
            return replace(form, terms=terms, constant=0.0)
    return form


def _factor(real: float, grid: Fraction, name: str) -> int:
    value = round(Fraction(real) * grid)
    if abs(value) >= 1 << FACTOR_LIMIT_BITS:
        raise UnsupportedModel("circuit-bound", "a factor is too large for its scale", where=name)
    return value


def _emit_matmul(builder: Builder, term: MatMulTerm, grid: Fraction, name: str) -> int:
    weight = rounded(term.weight, term.x.step * grid, name)
    tensor, weight, contract = _absorb_columns(builder, term.x, weight, name)
    bias = _bias(builder, term.bias, grid, name)
    number = builder.weight(f"{name}.weight", weight)
    return builder.emit(MatMul(tensor, number, bias(), builder.next, contract), name)[0]


def _emit_gated(builder: Builder, term: GatedTerm, grid: Fraction, name: str) -> int:
    """W·(a·b), the product of the two values not being rounded."""
    weight = rounded(term.weight, term.a.step * term.b.step * grid, name)
    a = materialise(builder, term.a, f"{name}.a")
    b = a if term.b is term.a else materialise(builder, term.b, f"{name}.b")
    bias = _bias(builder, term.bias, grid, name)
    number = builder.weight(f"{name}.weight", weight)
    return builder.emit(GatedMatMul(a, b, number, bias(), builder.next, 1), name)[0]


def table_weight(builder: Builder, table: Floats, name: str) -> int:
    """The weight that holds rows of a constant; one that is there already, if it has the same cells."""
    return builder.weight(f"{name}.weight", rounded(table, 1 / table_step(table), name), shared=True)


def _emit_table(builder: Builder, term: TableTerm, grid: Fraction, name: str) -> int | None:
    factor = _factor(term.factor, table_step(term.table) * grid, name)
    if factor == 0:
        return None
    rows = builder.emit(WeightRows(term.index, table_weight(builder, term.table, name), builder.next), f"{name}.rows")[0]
    if factor == 1:
        return rows
    return builder.emit(LinearCombination((rows,), (factor,), 0, builder.next), name)[0]


def _bias(builder: Builder, bias: Floats | None, grid: Fraction, name: str) -> Callable[[], int]:
    """Adds the bias after the weight, so that a layer's weights stand in that order."""
    values = None if bias is None else rounded(bias, grid, name)
    if values is None or not values.any():
        return lambda: NONE
    return lambda: builder.weight(f"{name}.bias", values)


def _absorb_columns(builder: Builder, x: Held, weight: NDArray[np.int64], name: str) -> tuple[int, NDArray[np.int64], int]:
    """Operand, weight and number of contracted axes; a flattening index map is absorbed by permuting weight columns."""
    source = builder.tensors[x.tensor].shape
    rows, inner = x.index.size // x.shape[-1], x.shape[-1]
    flat = x.index.reshape(rows, inner)
    for contract in range(1, len(source) + 1):
        leading, trailing = source[: len(source) - contract], source[len(source) - contract :]
        size = prod(trailing)
        if leading != x.shape[:-1] or (flat == ZERO_CELL).any():
            continue
        local = flat - (np.arange(rows) * size)[:, None]
        if (local == local[:1]).all() and local.min() >= 0 and local.max() < size:
            columns = np.zeros((size, len(weight)), np.int64)
            # A cell that is read twice gets the sum of its columns.
            np.add.at(columns, local[0], weight.T)
            return x.tensor, np.ascontiguousarray(columns.T).reshape(len(weight), *trailing), contract
    return materialise(builder, x, f"{name}.x"), weight, 1


def _emit_conv(builder: Builder, term: ConvTerm, grid: Fraction, name: str) -> int:
    weight = rounded(term.weight, term.x.step * grid, name)
    tensor = materialise(builder, term.x, f"{name}.x", windows=True)
    bias = _bias(builder, term.bias, grid, name)
    number = builder.weight(f"{name}.weight", weight)
    op = Conv(tensor, number, bias(), builder.next, term.stride, term.dilation, term.pads, term.groups)
    return builder.emit(op, name)[0]


def _emit_product(builder: Builder, term: ProductTerm, grid: Fraction, name: str) -> int | None:
    factor = _factor(term.factor, term.a.step * term.b.step * grid, name)
    if factor == 0:
        return None
    a = materialise(builder, term.a, f"{name}.a")
    b = a if term.b is term.a else materialise(builder, term.b, f"{name}.b")
    return builder.emit(Mul(a, b, builder.next, factor), name)[0]


def _emit_batched(builder: Builder, term: BatchedTerm, grid: Fraction, name: str) -> int | None:
    factor = _factor(term.factor, term.a.step * term.b.step * grid, name)
    if factor == 0:
        return None
    a, b = materialise(builder, term.a, f"{name}.a"), materialise(builder, term.b, f"{name}.b")
    return builder.emit(BatchedMatMul(a, b, builder.next, factor), name)[0]


def _emit_squares(builder: Builder, term: SquaresTerm, grid: Fraction, name: str) -> int:
    """Σ x·(W·x), the weighted cells being a convolution of one cell per channel: nothing is rounded but the weights."""
    outer, inner = term.weight.shape
    if outer > 1 and bool((term.weight == term.weight[:1]).all()):
        one = _emit_squares(builder, replace(term, weight=term.weight[:1]), grid, name)
        line = whole(one, (*term.x.shape[:-1], 1), Fraction(1))
        return materialise(builder, line.at(np.repeat(line.index, outer, axis=-1)), f"{name}.wide")
    shape = (*term.x.shape[:-1], outer, inner)
    wide = term.x.at(np.broadcast_to(term.x.index[..., None, :], shape))
    planar = (prod(term.x.shape[:-1]), outer * inner, 1, 1)
    weight = rounded(term.weight, term.x.step**2 * grid, name).reshape(-1, 1, 1, 1)
    source = materialise(builder, wide.at(np.ascontiguousarray(wide.index).reshape(planar)), f"{name}.cells", windows=True)
    number = builder.weight(f"{name}.weight", weight)
    op = Conv(source, number, NONE, builder.next, (1, 1), (1, 1), (0, 0, 0, 0), outer * inner)
    weighted = whole(builder.emit(op, f"{name}.weighted")[0], shape, Fraction(1))
    left = materialise(builder, wide, f"{name}.x", windows=True)
    right = materialise(builder, weighted, f"{name}.wx", windows=True)
    return builder.emit(RowSum(left, right, builder.next, 1, 1), name)[0]


def _emit_window(builder: Builder, term: WindowTerm, grid: Fraction, name: str) -> int | None:
    factor = _factor(term.factor, term.x.step * grid, name)
    if factor == 0:
        return None
    tensor = materialise(builder, term.x, f"{name}.x", windows=True)
    return builder.emit(WindowSum(tensor, builder.next, factor, term.kernel, term.stride, term.pads), name)[0]


def _emit_rows(builder: Builder, term: RowTerm, grid: Fraction, name: str) -> int | None:
    factor = _factor(term.factor, term.x.step * grid, name)
    if factor == 0:
        return None
    tensor = materialise(builder, term.x, f"{name}.x", windows=True)
    return builder.emit(RowSum(tensor, NONE, builder.next, factor, term.axes), name)[0]


def emit_select(builder: Builder, term: SelectTerm, form: Form, program: Program, scale: Scale, name: str) -> int:
    """The tensor program(rows[x − low, c] + constant), of ``form.shape``: one lookup per channel, in a table of its own."""
    x = materialise(builder, term.x, f"{name}.x")
    low, high = builder.tensors[x].low, builder.tensors[x].high
    width = signed_width(low, high)
    if width > MAX_WIDTH:
        raise UnsupportedModel("circuit-bound", "more than 2^16 values choose a row", where=name)
    # Outside the operand's range nothing is read; the nearest row keeps the table's bounds.
    arguments = np.clip(np.arange(-(1 << (width - 1)), 1 << (width - 1)), low, high) - term.low
    shape = builder.tensors[x].shape
    pieces = []
    for channel in range(term.rows.shape[1]):
        wanted = arguments // (1 << COARSE_WIDTH) * (1 << COARSE_WIDTH) if builder.coarse else arguments
        reals = tuple((term.rows[wanted, channel] + form.constant).tolist())
        values = tabulate_at(program, reals, scale.step, scale.low, scale.high)
        table = builder.table(-(1 << (width - 1)), values, f"{name}.rows.{channel}")
        found = builder.emit(Lookup(x, builder.next, table), f"{name}.{channel}", step=scale.step)[0]
        places = tuple(0 if at == channel else NONE for at in range(term.rows.shape[1]))
        along = tuple(tuple(range(size)) for size in shape)
        pieces.append(Piece(found, (*range(len(shape)), NONE), (*along, places), (NONE,) * len(shape)))
    return builder.emit(View(tuple(pieces), 0, builder.next), name, form.shape, step=scale.step, zero_point=scale.zero_point)[0]


_EMIT: dict[type[Any], Callable[[Builder, Any, Fraction, str], int | None]] = {
    MatMulTerm: _emit_matmul,
    ConvTerm: _emit_conv,
    ProductTerm: _emit_product,
    BatchedTerm: _emit_batched,
    SquaresTerm: _emit_squares,
    GatedTerm: _emit_gated,
    TableTerm: _emit_table,
    WindowTerm: _emit_window,
    RowTerm: _emit_rows,
}
