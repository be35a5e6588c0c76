"""Softmax and LayerNormalization, row by row. Every integer is determined by the operands.

Softmax: the maximum, E = T_exp[max − x], q = Σ E, K = Recip(q), y = Requant(E·K).
LayerNormalization: c = Requant(n·x − Σx), V = M·Σc² + ε', q = Isqrt(V), K = Recip(q), y = Requant(c·K), then scale and bias as
a convolution of one cell per channel. Centring first keeps every bound an interval bound: Σc² is not negative, V ≥ ε' ≥ 2^16.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from math import sqrt

import numpy as np

from verifai.engines.sumcheck.circuit.bounds import RECIP_LIMIT, RECIP_ONE
from verifai.engines.sumcheck.circuit.ops import NONE, BatchedMatMul, Isqrt, LinearCombination, Recip, RowMax, RowScale, RowSum
from verifai.engines.sumcheck.lowering.builder import MAX_WIDTH, SPLIT_COLUMNS, signed_width, table_key
from verifai.engines.sumcheck.lowering.graph import unsupported
from verifai.engines.sumcheck.lowering.masks import UNDERFLOW, masked_rows
from verifai.engines.sumcheck.lowering.pool import row_max
from verifai.engines.sumcheck.lowering.state import State, selected
from verifai.engines.sumcheck.lowering.values import (
    CellTerm,
    ConvTerm,
    Floats,
    Form,
    Held,
    Lazy,
    ProductTerm,
    RowTerm,
    affine,
    affine_program,
    whole,
)
from verifai.engines.sumcheck.lowering.views import materialise
from verifai.engines.sumcheck.lowering.wide import is_wide, quotient
from verifai.engines.sumcheck.quantise.functions import EXP_ONE, IDENTITY, exponential_table
from verifai.engines.sumcheck.quantise.scales import Range, Scale, choose_scale, dyadic
from verifai.onnx_graph.graph import Node


def table_width(span: int, step: Fraction) -> int:
    """The least w whose last row, which is 0, no true difference reads, or reads where the exponential is 0 anyway."""
    last = min(span + 1, int(UNDERFLOW / step) + 1)
    return min(max(last.bit_length(), 1), MAX_WIDTH)


def exponentials(state: State, node: Node, rows: Held, *, mixes: bool = False) -> tuple[int, int, int]:
    """Tensors of the maximum m of each row, of E = round(2^14·exp(x − m)), and of Σ E; ``rows`` has the softmax's axis last.

    ``mixes``: of a multiple of Σ E, which is the divisor of a mixture alone.
    """
    name, builder = node.outputs[0], state.builder
    if rows.shape[-1] * EXP_ONE >= RECIP_LIMIT:
        raise unsupported(node, f"rows of {rows.shape[-1]} cells are too long")
    tensor = materialise(builder, rows, f"{name}.x")
    span = builder.tensors[tensor].high - builder.tensors[tensor].low
    width = table_width(span, rows.step)
    if builder.sparing and span.bit_length() <= MAX_WIDTH and 1 << width <= span:
        # Layers whose steps are one power of two share the longer table, and all share its flags.
        longer = span.bit_length()
        width = longer if rows.index.size * SPLIT_COLUMNS >= 2 << longer else width
    table = builder.table(0, exponential_table(width, rows.step), f"exp[{width}]")
    op = RowMax(tensor, builder.next, builder.next + 1, table, span > (1 << width) - 1)
    maximum, exp = builder.emit(op, f"{name}.max", step=rows.step)
    total = RowSum(exp, NONE, builder.next, _fineness(state, rows) if mixes else 1, 1)
    return maximum, exp, builder.emit(total, f"{name}.sum")[0]


def _fineness(state: State, rows: Held) -> int:
    """By what a sum of exponentials is multiplied whose reciprocal weights a mixture: the reciprocal of a large number has
    fewer bits to round off, and as many that count."""
    return max(1, (RECIP_LIMIT - 1) >> (rows.shape[-1] * EXP_ONE).bit_length()) if state.builder.sparing else 1


def _softmax(state: State, node: Node) -> None:
    name, builder = node.outputs[0], state.builder
    axis = node.integer("axis", -1) % len(state.graph.shapes[node.inputs[0]])
    rows = masked_rows(state, node, axis)
    if rows is None:
        rows = _near_the_largest(state, node, axis)
    _, exp, total = exponentials(state, node, rows)
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


def _mixture(state: State, node: Node) -> None:
    """Rows of a second value, weighted by a softmax: (Σ E·v) / Σ E, so that no probability is rounded."""
    name, builder = node.outputs[0], state.builder
    axis = len(state.graph.shapes[node.inputs[0]]) - 1
    rows = masked_rows(state, node, axis)
    if rows is None:
        rows = _near_the_largest(state, node, axis)
    _, exp, total = exponentials(state, node, rows, mixes=True)
    values = state.held(node, 1)
    spread = values.at(np.broadcast_to(values.index, (*rows.shape[:-2], *values.shape[-2:])))
    right = materialise(builder, spread, f"{name}.values")
    reciprocal = builder.emit(Recip(total, builder.next), f"{name}.recip")[0]
    mixed = builder.emit(BatchedMatMul(exp, right, builder.next, 1), f"{name}.mixed")[0]
    mean = builder.emit(RowScale(mixed, reciprocal, builder.next, 1), f"{name}.mean")[0]
    unit = values.step * _fineness(state, rows) / RECIP_ONE
    own = state.scale(name)
    seen = max(own.high, -own.low) if builder.sparing else None
    state.unit_cells(node, quotient(state, mean, unit, own.step, rows_shape(state, node), name, seen))


def rows_shape(state: State, node: Node) -> tuple[int, ...]:
    """The shape of a node's result."""
    return state.graph.shapes[node.outputs[0]]


def _near_the_largest(state: State, node: Node, axis: int) -> Held:
    """The operand with ``axis`` last: as it is, or, where its range is much wider than what a softmax tells apart, what is left
    of each cell when the largest of its row, as rounded, is taken away; a softmax does not change by that.

    A log density of −3000 leaves steps of a tenth; those near 0 decide, and get the steps there are.
    """
    name = node.inputs[0]
    value = state.value(node, 0)
    slope = affine_program(value.program) if isinstance(value, Lazy) and selected(value) is None else None
    scale = _reaching(state.scale(name)) if state.fold and slope is not None else None
    if scale is None or slope is None or not isinstance(value, Lazy):
        held = state.held(node, 0)
        return held.at(np.moveaxis(held.index, axis, -1))
    label = f"{node.outputs[0]}.left"
    rounded = state.requantise(f"{label}.rounded", value, scale)
    moved = np.ascontiguousarray(np.moveaxis(rounded.index.reshape(value.shape), axis, -1))
    largest = row_max(state, rounded.at(moved.reshape(-1, moved.shape[-1])), f"{label}.largest")
    spread = np.broadcast_to(largest.index.reshape(*moved.shape[:-1], 1), moved.shape)
    cells_of = largest.at(np.ascontiguousarray(np.moveaxis(spread, -1, axis)))
    form = affine(value.form, float(slope[0]), float(slope[1]), label)
    form = replace(form, terms=(*form.terms, CellTerm(cells_of, -1.0)))
    found = state.requantise(label, Lazy(form), _left(scale), bounded=True)
    return found.at(np.ascontiguousarray(np.moveaxis(found.index.reshape(value.shape), axis, -1)))


def _reaching(scale: Scale) -> Scale | None:
    """The scale, widened by its range at each end, so that a row beyond what was calibrated keeps its order; ``None`` where the
    range is not wide enough for any of this."""
    low, high = float(scale.low * scale.step), float(scale.high * scale.step)
    wide = choose_scale(Range(2 * low - high, 2 * high - low), (scale.high - scale.low).bit_length())
    return wide if scale.step >= _WORTH_IT * _left(wide).step else None


def _left(scale: Scale) -> Scale:
    """Of what is left of a cell without the largest of its row under ``scale``: below, a softmax is 0."""
    step = float(scale.step)
    return choose_scale(Range(-(UNDERFLOW + 2 * step), 2 * step), (scale.high - scale.low).bit_length())


_WORTH_IT = 4
"""How many times finer steps must become for that."""
CENTRE_BITS = 2
"""The centred row is this many bits finer than the operand, where 16 bits allow it."""
WANTED_EPSILON = 1 << 24
"""The least ε': the reciprocal's 34 + 1 bits leave the product with a centred row of 15 bits far below 2^62."""
LARGEST_VARIANCE = 1 << 58
LARGEST_FACTOR = 1 << 30
"""Of a row of few bits, that a sum of squares can be multiplied with."""
FACTOR_BITS = 12
NORMAL_BITS = 10
STORED_BITS = 23
"""Of a row from which stored integers are made, as good as not rounded."""
_UNIT_BITS = 8
"""Behind the point, of √(M·n), in which a wide quotient is told; M·n is below 2^60."""


def _spread(state: State, per_row: int, shape: tuple[int, ...]) -> Held:
    """One cell per row, on every cell of the row; steps of 1."""
    rows = np.arange(int(np.prod(shape[:-1])), dtype=np.int64).reshape(*shape[:-1], 1)
    return Held(per_row, np.broadcast_to(rows, shape), Fraction(1))


def _centred(state: State, rows: Held, name: str) -> Held:
    """x − mean(x), as a tensor of its own: M·(n·x − Σx) / 2^s."""
    builder, size = state.builder, rows.shape[-1]
    tensor = materialise(builder, rows, f"{name}.x", windows=True)
    span = builder.tensors[tensor].high - builder.tensors[tensor].low
    if builder.fine and span.bit_length() > MAX_WIDTH - 1:
        return _centred_wide(state, rows, tensor, span, name)
    # What stored integers are made of again is to be met, and rows of such integers have few bits.
    fine = max(0, min(MAX_WIDTH if name in state.stored else CENTRE_BITS, 15 - span.bit_length()))
    total = builder.emit(RowSum(tensor, NONE, builder.next, 1, 1), f"{name}.sum")[0]
    spread = materialise(builder, _spread(state, total, rows.shape), f"{name}.sums")
    exact = size & (size - 1) == 0  # 1/n is then a power of two, which no rounding touches
    least = max(1, size.bit_length() - 1 - fine) if exact else FACTOR_BITS + size.bit_length() - fine
    limbs = builder.plan.limbs(least)
    factor = round(Fraction(1 << (sum(limbs) + fine), size))
    op = LinearCombination((tensor, spread), (factor * size, -factor), 0, builder.next)
    z = builder.emit(op, f"{name}.centred.z")[0]
    scale = dyadic(rows.step / (1 << fine), -(span << fine), span << fine)
    key = table_key(IDENTITY, scale.step, scale.step, scale.low, scale.high)
    made = builder.requant(z, limbs, least, key, signed_width(scale.low, scale.high), f"{name}.centred", scale)
    return whole(made, rows.shape, scale.step)


def _centred_wide(state: State, rows: Held, tensor: int, span: int, name: str) -> Held:
    """The same of rows on a wide grid: rounded without a table, by as many bits as leave room for the sum of their squares."""
    builder, size = state.builder, rows.shape[-1]
    bits = span.bit_length() + 1
    dropped = max(0, bits - (LARGEST_VARIANCE.bit_length() - 2 - size.bit_length()) // 2)
    total = builder.emit(RowSum(tensor, NONE, builder.next, 1, 1), f"{name}.sum")[0]
    spread = materialise(builder, _spread(state, total, rows.shape), f"{name}.sums")
    shift = FACTOR_BITS + size.bit_length() + dropped
    factor = round(Fraction(1 << (shift - dropped), size))
    op = LinearCombination((tensor, spread), (factor * size, -factor), 0, builder.next)
    z = builder.emit(op, f"{name}.centred.z")[0]
    step = rows.step * (1 << dropped)
    return whole(builder.rescale(z, shift, bits - dropped, f"{name}.centred", step), rows.shape, step)


def _variance(state: State, node: Node, centred: Held, epsilon: float) -> tuple[int, int]:
    """V = M·Σc² + ε' with M·n·(variance + ε) = V·S_c², and M."""
    builder, size, name = state.builder, centred.shape[-1], node.outputs[0]
    per_unit = Fraction(epsilon) * size / centred.step**2
    largest = size * builder.tensors[centred.tensor].magnitude ** 2
    factor = 1
    while round(factor * per_unit) < WANTED_EPSILON and 2 * factor * largest < LARGEST_VARIANCE and factor < LARGEST_FACTOR:
        factor *= 2
    if factor * largest >= LARGEST_VARIANCE:
        raise unsupported(node, "its rows are too long for the operand's scale", "Lower activation_bits.")
    # An ε below half a squared step of the centred row is lost in its rounding: it is raised to what the bounds need.
    offset = max(round(factor * per_unit), WANTED_EPSILON)
    squares = builder.emit(RowSum(centred.tensor, centred.tensor, builder.next, factor, 1), f"{name}.squares")[0]
    op = LinearCombination((squares,), (1,), offset, builder.next)
    return builder.emit(op, f"{name}.variance")[0], factor


def _layer_norm(state: State, node: Node) -> None:
    rank = len(state.graph.shapes[node.inputs[0]])
    if state.constant(node, 1) is None:
        raise unsupported(node, "scale and bias must be constant")
    _normalise(state, node, tuple(range(node.integer("axis", -1) % rank, rank)))


def _fused(state: State, node: Node) -> None:
    """A normalisation found by :mod:`.fuse`."""
    _normalise(state, node, node.ints("axes") or ())


def _normalise(state: State, node: Node, axes: tuple[int, ...]) -> None:
    """(x − mean)/√(variance + ε)·gain + bias along ``axes``; inputs x, gain, bias, of which the last two may be absent."""
    name, builder = node.outputs[0], state.builder
    held = state.held(node, 0)
    order = [axis for axis in range(len(held.shape)) if axis not in axes] + list(axes)
    moved = held.index.transpose(order)
    size = int(np.prod([held.shape[axis] for axis in axes]))
    rows = held.at(np.ascontiguousarray(moved).reshape(-1, size))
    gain, bias = state.constant(node, 1), state.constant(node, 2)
    for position, found in ((1, gain), (2, bias)):
        if len(node.inputs) > position and node.inputs[position] and found is None:
            raise unsupported(node, "scale and bias must be constant")
    gains, biases = (
        np.full(size, fill) if one is None else np.broadcast_to(one, held.shape).transpose(order).reshape(-1, size)[0]
        for one, fill in ((gain, 1.0), (bias, 0.0))
    )
    centred = _centred(state, rows, name)
    variance, factor = _variance(state, node, centred, node.number("epsilon", 1e-5))
    root = builder.emit(Isqrt(variance, builder.next), f"{name}.root")[0]
    reciprocal = builder.emit(Recip(root, builder.next), f"{name}.recip")[0]
    weight = sqrt(factor * size) / RECIP_ONE
    normal = _normal(state, centred, reciprocal, weight, _normal_limit(builder.scale(name), gains, biases, size), name)
    count = rows.shape[0]
    channels = normal.at(np.ascontiguousarray(normal.index.T).reshape(1, size, 1, count))
    term = ConvTerm(channels, gains.reshape(-1, 1, 1, 1), biases, (1, 1), (1, 1), (0, 0, 0, 0), size)
    shape = (1, size, 1, count)
    result = state.requantise(name, Lazy(Form((term,), 0.0, shape, shape, name)), state.scale(name))
    _statistics(state, node, rows, Held(reciprocal, np.arange(count), Fraction(1)), weight / float(centred.step))
    back = np.ascontiguousarray(result.index.reshape(size, count).T).reshape(moved.shape)
    state.set_held(node, result.at(np.ascontiguousarray(back.transpose(np.argsort(order)))))


def _normal(state: State, centred: Held, reciprocal: int, weight: float, limit: float, name: str) -> Held:
    """Centred rows times their reciprocals times ``weight``, as fine as the result: a coarser one would decide what more bits
    of it can show.

    Args:
        limit: how far the result reaches, as calibration saw it.
    """
    builder, scale, label = state.builder, state.builder.scale(name), f"{name}.normal"
    wide = builder.fine and (is_wide(scale) or signed_width(0, builder.tensors[centred.tensor].high) > MAX_WIDTH)
    if wide or name in state.stored:
        # No cell is longer than its row, whatever the input, so nothing is cut off; see the bound of a quotient.
        z = builder.emit(RowScale(centred.tensor, reciprocal, builder.next, 1), f"{label}.unit")[0]
        unit = Fraction(round(Fraction(weight) * RECIP_ONE * (1 << _UNIT_BITS)), RECIP_ONE << _UNIT_BITS)
        bits = max(STORED_BITS if name in state.stored else MAX_WIDTH, (scale.high - scale.low).bit_length())
        return quotient(state, z, unit, choose_scale(Range(-limit, limit), bits).step, centred.shape, label)
    cells = Held(centred.tensor, centred.index, Fraction(1))
    form = Form(
        (ProductTerm(cells, _spread(state, reciprocal, centred.shape), weight),), 0.0, centred.shape, centred.shape, label
    )
    reach = builder.told(Range(0.0, limit)).high
    bits = max(NORMAL_BITS, min((scale.high - scale.low).bit_length(), MAX_WIDTH - 1))
    return state.requantise(label, Lazy(form), choose_scale(Range(-reach, reach), bits))


def _statistics(state: State, node: Node, rows: Held, reciprocal: Held, weight: float) -> None:
    """LayerNormalization's other results where they are wanted: each row's mean, and its reciprocal deviation."""
    sources = ((1, rows, 1.0 / rows.shape[1]), (2, reciprocal.at(reciprocal.index[:, None]), weight))
    for position, cells, factor in sources:
        if position < len(node.outputs) and node.outputs[position]:
            name = node.outputs[position]
            form = Form((RowTerm(cells, factor, 1),), 0.0, cells.shape[:1], state.graph.shapes[name], name)
            state.values[name] = Lazy(form)


def _normal_limit(scale: Scale, gains: Floats, biases: Floats, size: int) -> float:
    """How far a normalised value reaches, from the result's calibrated range; never beyond √n."""
    ends = [float(bound * scale.step) for bound in (scale.low, scale.high)]
    used = np.abs(gains) > 0
    reach = max((float((np.abs(end - biases[used]) / np.abs(gains[used])).max(initial=0.0)) for end in ends), default=0.0)
    return max(min(reach, sqrt(size)), 1.0)


HANDLERS: dict[str, Callable[[State, Node], None]] = {"Softmax": _softmax, "LayerNormalization": _layer_norm}
FUSED: dict[str, Callable[[State, Node], None]] = {"Normalize": _fused, "Mixture": _mixture}
"""Of nodes in :data:`.graph.DOMAIN`."""
