"""Division by a value that is above 0: norms and quotients. Every integer is determined by the operands.

The divisor becomes q = M·z + C with 1 ≤ q < 2^30, where z cannot be negative by its bounds; or q is the divisor rounded to a
part of its own step and at least C. C is the least that bounds allow: a divisor at which the largest dividend's quotient lies
2^14 times beyond the result's range. Then K = Recip(q) and y = Requant(x·K), whose table brings x·K to the result's scale, so
that no real factor is rounded on the way.

At a divisor of 0 the float model divides 0 by 0 where the dividend is part of the norm (y = 0 here, as where exporters guard
it), or has no number (y is then an end of its calibrated range, as it is for every value beyond it).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from math import prod, sqrt

import numpy as np

from verifai.engines.sumcheck.circuit.bounds import MAX_MAGNITUDE, RECIP_LIMIT, RECIP_ONE
from verifai.engines.sumcheck.circuit.ops import NONE, Isqrt, LinearCombination, Mul, Recip, RowScale, RowSum
from verifai.engines.sumcheck.lowering import cells
from verifai.engines.sumcheck.lowering.affine import Affine, folded_product
from verifai.engines.sumcheck.lowering.builder import MAX_WIDTH, Builder, signed_width, table_key
from verifai.engines.sumcheck.lowering.comparisons import sloped
from verifai.engines.sumcheck.lowering.emit import emit_form
from verifai.engines.sumcheck.lowering.graph import unsupported
from verifai.engines.sumcheck.lowering.poles import reciprocal_program, side_of_zero
from verifai.engines.sumcheck.lowering.state import State, broadcast
from verifai.engines.sumcheck.lowering.values import (
    CellTerm,
    Floats,
    Form,
    Held,
    Lazy,
    MatMulTerm,
    RowTerm,
    WindowTerm,
    affine,
    affine_program,
    whole,
)
from verifai.engines.sumcheck.lowering.views import concatenate, materialise
from verifai.engines.sumcheck.lowering.wide import is_wide, quotient
from verifai.engines.sumcheck.quantise.functions import IDENTITY, Program, constant, substitute
from verifai.engines.sumcheck.quantise.scales import Range, Scale, choose_scale
from verifai.errors import UnsupportedModel
from verifai.onnx_graph.graph import Node

_FINER = 3
"""A quotient is rounded to a grid finer than the result's by this many bits before its table brings it to the result's."""
_LAYER_BITS = 15
"""Of a layer's result over a norm, before its bias."""
_SPLIT = 14
"""A Requant's argument may exceed its table by 15 bits; one is kept in hand."""
_ARGUMENT = 2
"""A rounded divisor has this many bits more than its range gives, where 16 bits allow it."""


@dataclass(frozen=True)
class _Grid:
    """How x·K is brought to the result's scale.

    Attributes:
        shift: bits of x·K to drop. width: of the table. unit: the real value of 1 in x·K. least: the least q.
    """

    shift: int
    width: int
    unit: Fraction
    least: int


def _log2(value: Fraction) -> int:
    """⌊log2 value⌋ for value > 0."""
    found = value.numerator.bit_length() - value.denominator.bit_length()
    return found if Fraction(2) ** found <= value else found - 1


def _grid(name: str, largest: int, unit: Fraction, scale: Scale) -> _Grid:
    """For dividends up to ``largest`` whose product with K has this unit. Raises UnsupportedModel (``circuit-bound``)."""
    wanted = signed_width(scale.low, scale.high)
    finer = min(_FINER, MAX_WIDTH - 1 - wanted)
    shift, width = _log2(scale.step / unit) - finer, wanted + finer + 1
    if not 1 <= shift <= 62 - width:
        raise UnsupportedModel("circuit-bound", "the scales of dividend, divisor and quotient differ too much", where=name)
    return _Grid(shift, width, unit, max(1, -(-RECIP_ONE * largest >> (shift + width + _SPLIT))))


def _quotient(builder: Builder, x: Held, reciprocal: Held, grid: _Grid, scale: Scale, name: str, sign: int = 1) -> Held:
    """Requant(x·K) under ``scale``; both operands of the result's shape."""
    a, k = materialise(builder, x, f"{name}.dividend"), materialise(builder, reciprocal, f"{name}.reciprocals")
    largest = builder.tensors[a].magnitude * builder.tensors[k].magnitude
    limbs = builder.plan.limbs(grid.shift)
    spare = sum(limbs) - grid.shift
    if largest << spare >= MAX_MAGNITUDE:
        limbs, spare = _limbs(builder, grid.shift), 0
    z = builder.emit(Mul(a, k, builder.next, 1 << spare), f"{name}.z")[0]
    program: Program = IDENTITY if sign > 0 else (("x",), ("neg",))
    key = table_key(program, grid.unit * (1 << grid.shift), scale.step, scale.low, scale.high)
    made = builder.requant(z, limbs, grid.shift, key, grid.width, name, scale)
    return whole(made, x.shape, scale.step, scale.zero_point)


def _limbs(builder: Builder, shift: int) -> tuple[int, ...]:
    """Limb widths that add up to ``shift`` exactly."""
    count, rest = divmod(shift, builder.plan.limb)
    return (builder.plan.limb,) * count + ((rest,) if rest else ())


def _plus(builder: Builder, tensor: int, number: int, name: str) -> int:
    return builder.emit(LinearCombination((tensor,), (1,), number, builder.next), name)[0] if number else tensor


def _finest(largest: int, limit: int) -> int:
    """The largest k with largest·2^k < limit; negative when there is none from 0 on."""
    return (limit - 1).bit_length() - 1 - largest.bit_length()


def _lp_normalization(state: State, node: Node) -> None:
    """x over the norm of its row: the sum of magnitudes (p = 1), or the root of the sum of squares (p = 2)."""
    _normed(state, node, (node.integer("axis", -1) % len(state.graph.shapes[node.inputs[0]]),))


def _norm(state: State, node: Node) -> None:
    """A norm found by :mod:`.fuse`: factor·x / (norm + shift); for p = 2 with epsilon under the root."""
    _normed(state, node, node.ints("axes") or ())


def _normed(state: State, node: Node, axes: tuple[int, ...]) -> None:
    name, builder, scale = node.outputs[0], state.builder, state.builder.scale(node.outputs[0])
    quotient = (
        state.unrounded and node.integer("p", 2) == 2 and not node.number("shift", 0.0) and name not in state.graph.outputs
    )
    held = _row_of_squares(state, node, axes) if quotient else None
    if held is None:
        held = _operand(state, node, scale)
    order = [axis for axis in range(len(held.shape)) if axis not in axes] + list(axes)
    moved = held.index.transpose(order)
    rows = held.at(np.ascontiguousarray(moved).reshape(-1, prod(held.shape[axis] for axis in axes)))
    tensor = materialise(builder, rows, f"{name}.x", windows=True)
    if quotient:
        result = _wide_norm(state, node, tensor, held.step, scale)
        back = result.index.reshape(moved.shape).transpose(np.argsort(order))
        state.unit_cells(node, result.at(np.ascontiguousarray(back)))
        return
    make = {1: _sum_of_magnitudes, 2: _root_of_squares}.get(node.integer("p", 2))
    if make is None:
        raise unsupported(node, "only the norms 1 and 2 are supported")
    q, grid = make(state, node, tensor, held.step, scale)
    k = builder.emit(Recip(q, builder.next), f"{name}.recip")[0]
    per_row = np.broadcast_to(np.arange(rows.shape[0], dtype=np.int64)[:, None], rows.shape)
    cells_of = whole(tensor, rows.shape, held.step)
    result = _quotient(builder, cells_of, Held(k, per_row, Fraction(1)), grid, scale, name)
    back = result.index.reshape(moved.shape).transpose(np.argsort(order))
    state.set_held(node, result.at(np.ascontiguousarray(back)))


def _row_of_squares(state: State, node: Node, axes: tuple[int, ...]) -> Held | None:
    """The operand as it is held, however wide, if its squares add up within bounds; else None."""
    if isinstance(state.value(node, 0), Affine):
        return None
    held = state.held(node, 0)
    size = prod(held.shape[axis] for axis in axes)
    magnitude = max(state.builder.tensors[held.tensor].magnitude, 1)
    return held if _finest(size * magnitude**2, RECIP_LIMIT**2 // 4) >= 0 else None


def _wide_norm(state: State, node: Node, tensor: int, step: Fraction, scale: Scale) -> Held:
    """factor·x / √(Σx² + ε) of rows on a wide grid: ⌊√(M²·Σx² + c)⌋, its reciprocal, and x times it, rounded once.

    A row is no longer than its norm, so the quotient needs no clamp, whatever the input.
    """
    builder, name, source = state.builder, node.outputs[0], state.builder.tensors[tensor]
    finer = _finest(source.shape[1] * source.magnitude**2, RECIP_LIMIT**2 // 4)
    if finer < 0 or node.number("shift", 0.0):
        raise unsupported(node, f"rows of {source.shape[1]} cells of {source.magnitude.bit_length()} bits are too long")
    multiplier = 1 << min(finer, 2 * (MAX_WIDTH - 1)) // 2
    constant_part = max(1, round(Fraction(node.number("epsilon", 0.0)) / step**2 * multiplier**2))
    squares = builder.emit(RowSum(tensor, tensor, builder.next, multiplier**2, 1), f"{name}.squares")[0]
    total = _plus(builder, squares, _within(constant_part, node, RECIP_LIMIT**2 // 2), f"{name}.square")
    root = builder.emit(Isqrt(total, builder.next), f"{name}.root")[0]
    reciprocal = builder.emit(Recip(root, builder.next), f"{name}.recip")[0]
    z = builder.emit(RowScale(tensor, reciprocal, builder.next, 1), f"{name}.unit")[0]
    unit = Fraction(node.number("factor", 1.0)) * multiplier / RECIP_ONE
    return quotient(state, z, unit, scale.step, source.shape, name)


def _normed_layer(state: State, node: Node) -> None:
    """(W·x)·factor / (norm + shift) + b, found by :mod:`.fuse`: the row itself is weighted, as fine as its columns are."""
    name, builder = node.outputs[0], state.builder
    weight, bias = state.constant(node, 1), state.constant(node, 2)
    assert weight is not None
    weight = (weight if node.integer("transB", 0) else weight.T) * node.number("alpha", 1.0)
    shift = (
        np.zeros(len(weight)) if bias is None else np.broadcast_to(bias.reshape(-1), (len(weight),)) * node.number("beta", 1.0)
    )
    own = builder.scale(name)
    low, high = (float(end * own.step) for end in (own.low, own.high))
    scale = choose_scale(builder.told(Range(low - float(shift.max()), high - float(shift.min()))), _LAYER_BITS)
    held = _operand(state, node, scale)
    tensor = materialise(builder, held, f"{name}.x", windows=True)
    value, full = state.value(node, 0), (1, len(weight))
    terms = folded_product(value, weight, None) if isinstance(value, Affine) else None
    form = Form(terms or (MatMulTerm(state.held(node, 0), weight, None),), 0.0, full, full, f"{name}.dividend")
    # |W·x| is at most the largest result times the largest divisor, as calibration saw them: what is beyond saturates.
    reach = max(-float(scale.low * scale.step), float(scale.high * scale.step)) * _largest_divisor(state, node, tensor, held)
    dividend = state.requantise(form.name, Lazy(form), choose_scale(Range(-reach, reach), MAX_WIDTH), bounded=True)
    make = {1: _sum_of_magnitudes, 2: _root_of_squares}[node.integer("p", 2)]
    q, grid = make(state, node, tensor, held.step, scale, dividend)
    k = builder.emit(Recip(q, builder.next), f"{name}.recip")[0]
    reciprocal = Held(k, np.zeros(dividend.shape, np.int64), Fraction(1))
    quotient = _quotient(builder, dividend, reciprocal, grid, scale, f"{name}.quotient")
    if bias is None:
        state.set_held(node, quotient)
    else:
        state.set_lazy(node, sloped(quotient, (1, len(weight)), np.ones(()), shift[None], name))


def _largest_divisor(state: State, node: Node, tensor: int, row: Held) -> float:
    """By calibration where the model has the divisor as a value, else by the row's own bounds."""
    name, builder = node.text("divisor", ""), state.builder
    if name and builder.has_scale(name):
        scale = builder.scale(name)
        return float(max(scale.high, -scale.low) * scale.step)
    cells_of = builder.tensors[tensor]
    cells, largest = float(cells_of.shape[1]), float(cells_of.magnitude * row.step)
    longest = largest * (cells if node.integer("p", 2) == 1 else sqrt(cells))
    return (longest + node.number("shift", 0.0)) / node.number("factor", 1.0)


def root_of_squares(state: State, node: Node, rows: Held) -> Held:
    """√(Σx²) of each row of (R, n), under the result's scale: the integer root of M²·Σx², rounded to it."""
    name, builder, scale = node.outputs[0], state.builder, state.builder.scale(node.outputs[0])
    tensor = materialise(builder, rows, f"{name}.x", windows=True)
    root, fine = _root(state, node, tensor, rows.step, 0)
    shape = state.graph.shapes[name] or (1,)
    if is_wide(scale):
        # The root is held as it is; where it is much finer than asked for, its last bits are dropped.
        return quotient(state, root, fine, scale.step, shape, name) if scale.step > 4 * fine else whole(root, shape, fine)
    builder.sums.add(name)
    width = signed_width(scale.low, scale.high)
    finer = min(_FINER, MAX_WIDTH - 1 - width)
    shift = max(0, _log2(scale.step / fine) - finer)
    key = table_key(IDENTITY, fine * (1 << shift), scale.step, scale.low, scale.high)
    floor = min(width + finer + 1, signed_width(0, builder.tensors[root].high >> shift))
    made = builder.requant(root, _limbs(builder, shift), shift, key, floor, name, scale)
    return whole(made, shape, scale.step, scale.zero_point)


def _magnitude(state: State, node: Node) -> None:
    """√(a² + b²) of two values, cell by cell, found by :mod:`.dynamic`: both under the scale of the wider one."""
    for position in (0, 1):
        state.value(node, position)
    if _one_grid(state, node):
        parts = [state.held(node, position) for position in (0, 1)]
    else:
        widest = max(node.inputs, key=lambda name: (max(-(scale := state.scale(name)).low, scale.high) * scale.step, name))
        parts = [state.held(node, position, widest) for position in (0, 1)]
    columns = [part.at(np.ascontiguousarray(part.index).reshape(-1, 1)) for part in parts]
    rows = concatenate(state.builder, columns, 1, f"{node.name}.pairs", windows=True)
    found = root_of_squares(state, node, rows)
    state.set_held(node, found.at(found.index.reshape(state.graph.shapes[node.outputs[0]] or (1,))))


def _one_grid(state: State, node: Node) -> bool:
    """Whether both operands are cells on one wide grid, such as the real and the imaginary half of a transform: nothing is to
    be rounded then."""
    values = [state.values[name] for name in node.inputs]
    cells_of = [value for value in values if isinstance(value, Held)]
    wide = [signed_width((one := state.builder.tensors[value.tensor]).low, one.high) > MAX_WIDTH for value in cells_of]
    return len(wide) == 2 and all(wide) and cells_of[0].step == cells_of[1].step


def _operand(state: State, node: Node, scale: Scale) -> Held:
    """The row to normalise. One whose columns have scales of their own needs one for all, no coarser than the result's."""
    source = node.inputs[0]
    value = state.value(node, 0)
    if not isinstance(value, Affine):
        held = state.held(node, 0)
        cells_of = state.builder.tensors[held.tensor]
        if signed_width(cells_of.low, cells_of.high) <= MAX_WIDTH:
            return held
    whole_row = state.scale(source)
    bits = min(max((scale.high - scale.low).bit_length(), (whole_row.high - whole_row.low).bit_length()) + 1, MAX_WIDTH - 1)
    reach = Range(float(whole_row.low * whole_row.step), float(whole_row.high * whole_row.step))
    return state.requantise(f"{node.outputs[0]}.row", state.lazy(source), choose_scale(reach, bits))


def _sum_of_magnitudes(
    state: State, node: Node, tensor: int, step: Fraction, scale: Scale, dividend: Held | None = None
) -> tuple[int, _Grid]:
    """q = M·Σ|x| + C, and the grid of x·K, or of ``dividend``·K."""
    builder, name = state.builder, node.outputs[0]
    source, magnitude = builder.tensors[tensor], builder.tensors[tensor].magnitude
    finer = _finest(source.shape[1] * max(magnitude, 1), RECIP_LIMIT // 2)
    if finer < 0:
        raise _too_long(node, source.shape[1])
    factor = Fraction(node.number("factor", 1.0))
    largest, unit = (magnitude, step) if dividend is None else (builder.tensors[dividend.tensor].magnitude, dividend.step)
    grid = _grid(name, largest, unit * factor / (step / (1 << finer) * RECIP_ONE), scale)
    if source.low < 0:
        key = table_key((("x",), ("abs",)), step, step, 0, magnitude)
        tensor = builder.lookup(tensor, key, f"{name}.magnitudes", step)
    total = builder.emit(RowSum(tensor, NONE, builder.next, 1 << finer, 1), f"{name}.sum")[0]
    shift = round(Fraction(node.number("shift", 0.0)) / step * (1 << finer))
    return _plus(builder, total, _within(grid.least + shift, node), f"{name}.norm"), grid


def _root_of_squares(
    state: State, node: Node, tensor: int, step: Fraction, scale: Scale, dividend: Held | None = None
) -> tuple[int, _Grid]:
    """q = ⌊√(M²·Σx² + C²)⌋, and the grid of x·K, or of ``dividend``·K."""
    builder, name = state.builder, node.outputs[0]
    magnitude = builder.tensors[tensor].magnitude
    factor, fine = Fraction(node.number("factor", 1.0)), _fine(state, node, tensor, step)
    largest, unit = (magnitude, step) if dividend is None else (builder.tensors[dividend.tensor].magnitude, dividend.step)
    grid = _grid(name, largest, unit * factor / (fine * RECIP_ONE), scale)
    epsilon = round(Fraction(node.number("epsilon", 0.0)) / fine**2)
    root, _ = _root(state, node, tensor, step, _within(grid.least**2 + epsilon, node, RECIP_LIMIT**2 // 2))
    shift = round(Fraction(node.number("shift", 0.0)) / fine)
    return _plus(builder, root, _within(shift, node), f"{name}.norm"), grid


def _fine(state: State, node: Node, tensor: int, step: Fraction) -> Fraction:
    """The unit of the root: step/M, as fine as bounds allow."""
    source = state.builder.tensors[tensor]
    finer = _finest(source.shape[1] * max(source.magnitude, 1) ** 2, RECIP_LIMIT**2 // 4) // 2
    if finer < 0:
        raise _too_long(node, source.shape[1])
    return step / (1 << min(finer, MAX_WIDTH - 1))


def _root(state: State, node: Node, tensor: int, step: Fraction, constant_part: int) -> tuple[int, Fraction]:
    """⌊√(M²·Σx² + constant)⌋, and its unit."""
    builder, name, fine = state.builder, node.outputs[0], _fine(state, node, tensor, step)
    factor = int(step / fine) ** 2
    squares = builder.emit(RowSum(tensor, tensor, builder.next, factor, 1), f"{name}.squares")[0]
    total = _plus(builder, squares, constant_part, f"{name}.square")
    return builder.emit(Isqrt(total, builder.next), f"{name}.root")[0], fine


def _too_long(node: Node, count: int) -> UnsupportedModel:
    message = f"{node.op_type}: rows of {count} cells are too long for this scale"
    return UnsupportedModel("circuit-bound", message, where=node.outputs[0])


def _within(number: int, node: Node, limit: int = RECIP_LIMIT // 2) -> int:
    if number >= limit:
        raise UnsupportedModel(
            "circuit-bound", f"{node.op_type}: a constant in the divisor is too large", where=node.outputs[0]
        )
    return number


def _divide(state: State, node: Node) -> None:
    """A quotient whose divisor is constant, a function of the dividend's own form, or a value on one side of 0."""
    if state.constant(node, 1) is not None:
        cells.HANDLERS["Div"](state, node)
        return
    state.value(node, 1)
    dividend, shape = state.constant(node, 0), state.graph.shapes[node.outputs[0]]
    if dividend is not None:
        _constant_dividend(state, node, dividend)
        return
    state.value(node, 0)
    if state.lazy(node.inputs[0]).form is state.lazy(node.inputs[1]).form:
        cells.HANDLERS["Div"](state, node)
        return
    builder, name, scale = state.builder, node.outputs[0], state.builder.scale(node.outputs[0])
    x = broadcast(state.held(node, 0), shape)
    x = x if x.shape else x.at(x.index.reshape(1))
    largest = builder.tensors[x.tensor].magnitude
    form = _sum_of_positives(state, node.inputs[1])
    sign = 1 if form is not None else side_of_zero(state, node, 1)
    if form is not None:
        q, grid = _summed(state, name, form, largest, x.step, scale)
    else:
        q, grid = _rounded(state, node, sign, largest, x.step, scale)
    k = builder.emit(Recip(q.tensor, builder.next), f"{name}.recip")[0]
    reciprocal = Held(k, np.broadcast_to(q.index, x.shape), Fraction(1))
    found = _quotient(builder, x, reciprocal, grid, scale, name, sign)
    state.set_held(node, found.at(found.index.reshape(shape)))


def _constant_dividend(state: State, node: Node, dividend: Floats) -> None:
    """c/x: a function of x for one number c; else c·(1/x), with 1/x on a scale of its own."""
    name, shape = node.outputs[0], state.graph.shapes[node.outputs[0]]
    program = reciprocal_program(side_of_zero(state, node, 1))
    if bool((dividend == dividend.flat[0]).all()) and state.values[node.inputs[1]].shape == shape:
        cells.apply(state, node, (*program, constant(float(dividend.flat[0])), ("mul",)), 1)
        return
    if not dividend.any():
        raise unsupported(node, "its dividend is 0")
    scale, value = state.builder.scale(name), state.lazy(node.inputs[1])
    ends = [bound * float(scale.step) / c for bound in (scale.low, scale.high) for c in dividend[dividend != 0].tolist()]
    label = f"{name}.reciprocal"
    inverse = Lazy(value.form, substitute(program, value.program))
    reach = state.builder.told(Range(min(ends), max(ends)))
    held = state.requantise(label, inverse, choose_scale(reach, MAX_WIDTH - 1))
    state.set_lazy(node, sloped(held, shape, dividend, np.zeros(()), name))


def _sum_of_positives(state: State, name: str) -> Form | None:
    """The value as a form that cannot be negative: sums of cells that are not, with positive factors, on one step."""
    value = state.values[name]
    found = affine_program(value.program) if isinstance(value, Lazy) else None
    if found is None or not isinstance(value, Lazy):
        return None
    form = affine(value.form, float(found[0]), float(found[1]), name)
    steps = set()
    for term in form.terms:
        if not isinstance(term, CellTerm | RowTerm | WindowTerm) or term.factor <= 0:
            return None
        if state.builder.tensors[term.x.tensor].low < 0:
            return None
        steps.add(term.x.step)
    return form if form.constant >= 0 and len(steps) == 1 else None


def _summed(state: State, name: str, form: Form, largest: int, step: Fraction, scale: Scale) -> tuple[Held, _Grid]:
    """q = M·form + C."""
    builder, unit = state.builder, form.terms[0].x.step  # type: ignore[union-attr]
    most = Fraction(form.constant) / unit
    for term in form.terms:
        assert isinstance(term, CellTerm | RowTerm | WindowTerm)
        count = 1
        if isinstance(term, RowTerm):
            count = prod(term.x.shape[len(term.x.shape) - term.axes :])
        elif isinstance(term, WindowTerm):
            count = prod(term.kernel)
        most += Fraction(term.factor) * count * builder.tensors[term.x.tensor].high
    finer = _log2(Fraction(RECIP_LIMIT // 4) / max(most, Fraction(1)))
    fine = unit / Fraction(2) ** finer
    grid = _grid(name, largest, step / (fine * RECIP_ONE), scale)
    form = replace(form, constant=float(Fraction(form.constant) + grid.least * fine))
    q = emit_form(builder, form, unit, finer, f"{name}.divisor")
    return whole(q, form.logical or (1,), Fraction(1)), grid


def _rounded(state: State, node: Node, sign: int, largest: int, step: Fraction, scale: Scale) -> tuple[Held, _Grid]:
    """q: the divisor's magnitude on a part of its own step, at least C; functions of one form stay such."""
    name, source = node.outputs[0], node.inputs[1]
    own = state.scale(state.reshaped.get(source, source))
    most = max(own.high, -own.low)
    finer = max(0, min(_ARGUMENT, MAX_WIDTH - 1 - most.bit_length()))
    fine = own.step / (1 << finer)
    grid = _grid(name, largest, step / (fine * RECIP_ONE), scale)
    if grid.least > most << finer:
        raise UnsupportedModel("circuit-bound", "Div: its divisor's range is too small for the quotient's", where=source)
    value = state.lazy(source)
    turned: Program = value.program if sign > 0 else substitute((("x",), ("neg",)), value.program)
    rounded = Scale(own.mantissa, own.exponent - finer, grid.least, most << finer)
    q = state.requantise(f"{name}.divisor", Lazy(value.form, turned), rounded)
    return q, grid


HANDLERS: dict[str, Callable[[State, Node], None]] = {"Div": _divide, "LpNormalization": _lp_normalization}
FUSED: dict[str, Callable[[State, Node], None]] = {"Magnitude": _magnitude, "Norm": _norm, "NormedLayer": _normed_layer}
"""Of nodes in :data:`.graph.DOMAIN`."""
