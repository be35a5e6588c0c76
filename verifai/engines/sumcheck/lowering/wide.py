"""Values on a wide grid: of more than 16 bits, so rounded without a table, and refused beyond their digits, not cut off."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from verifai.engines.sumcheck.circuit.bounds import requant_t
from verifai.engines.sumcheck.lowering.builder import MAX_WIDTH, signed_width
from verifai.engines.sumcheck.lowering.emit import (
    FACTOR_LIMIT_BITS,
    MAX_SHIFT,
    emit_form,
    least_shift,
    most_shift,
    narrow_shift,
    term_step,
)
from verifai.engines.sumcheck.lowering.unrounded import SPARED_BITS, cheapest_shift, floor_log2
from verifai.engines.sumcheck.lowering.values import (
    BatchedTerm,
    CellTerm,
    Form,
    Held,
    Lazy,
    ProductTerm,
    RowTerm,
    TableTerm,
    WindowTerm,
    whole,
)
from verifai.engines.sumcheck.quantise.functions import Program, constant
from verifai.engines.sumcheck.quantise.scales import Range, Scale, dyadic, integer_scale
from verifai.errors import UnsupportedModel

if TYPE_CHECKING:
    from verifai.engines.sumcheck.lowering.state import State

ROOM_BITS = 2
"""A sum that is not cut off reaches four times as far as calibration saw it."""
SCORE_BITS = 15
"""Of a product of two values, beside which a table of 2^16 rows has room for what a mask puts below it."""
RECTIFIED: Program = (("x",), ("relu",))
_POSITIVE: Program = (("x",), constant(0.0), ("gt",))
_BIT = integer_scale(Range(0.0, 1.0))
_FACTORED = (BatchedTerm, CellTerm, ProductTerm, RowTerm, TableTerm, WindowTerm)
"""Terms that one number multiplies."""
_SIGN_STEPS = 4
"""Of a cell whose sign alone is read, no more is kept."""


def fewer_limbs(state: State, shift: int) -> int:
    """A shift of a limb less, where it is nearly one already: sums are computed to 1/128 of a step, 1/8 does for many."""
    whole_limbs = (shift - 1) // MAX_WIDTH * MAX_WIDTH
    return whole_limbs if state.builder.unclamped and 0 < whole_limbs >= shift - SPARED_BITS else shift


def fitting(form: Form, step: Fraction, shift: int) -> int:
    """``shift``, or the greatest below it with which no number that multiplies a term of ``form`` is refused; at least 1.

    Where a coarse value is added to a fine one, as a mask of −1024 to a product of scores, the fine one asks for a great shift,
    and the coarse one's factor may not fit. The fine one's has some bits less then. Where none are left, ``shift`` stays, and
    the sum is refused: a term that nothing is left of is not dropped in silence.
    """
    factored = (term for term in form.terms if isinstance(term, _FACTORED))
    real = [size for term in factored if (size := abs(Fraction(term.factor)) * term_step(term) / step)]
    found = shift
    while real and found > 1 and round(max(real) * (1 << found)) >= 1 << FACTOR_LIMIT_BITS:
        found -= 1
    return found if real and round(min(real) * (1 << found)) > 0 else shift


def wide_sum(state: State, name: str, form: Form, scale: Scale) -> Held:
    """The form on a wide grid: rounded without a table, and not clamped."""
    return rescaled(state, name, form, scale.step, signed_width(scale.low, scale.high))


def wide_rectified(state: State, name: str, form: Form, scale: Scale) -> Held:
    """max(form, 0) on a wide grid: x·[x > 0] of the form x on the same grid, exactly.

    The bit is the sign of x − ½, which is never 0; read at a quarter of a step, nothing of it is rounded.
    """
    own = state.scale(form.name)
    reach = max(abs(end * own.step) for end in (own.low, own.high))
    bits = max(int(reach / scale.step).bit_length() + 1 + ROOM_BITS, signed_width(scale.low, scale.high))
    x = rescaled(state, f"{name}.argument", form, scale.step, bits)
    label = state.builder.derive(f"{name}.half", dyadic(scale.step, -_SIGN_STEPS, _SIGN_STEPS))
    cells = whole(x.tensor, form.shape, x.step)
    test = Form((CellTerm(cells, 1.0),), -float(scale.step) / 2, form.shape, form.shape, label)
    bit = state.requantise(f"{name}.positive", Lazy(test, _POSITIVE), _BIT)
    product = Form((ProductTerm(cells, bit, 1.0),), 0.0, form.shape, form.logical, name)
    return rescaled(state, name, product, scale.step, signed_width(scale.low, scale.high))


def rescaled(state: State, name: str, form: Form, step: Fraction, bits: int) -> Held:
    """The form in such steps and so many bits: rounded without a table, and refused beyond them."""
    builder = state.builder
    lone = len(form.terms) == 1 and not form.constant
    if (builder.sparing or builder.bounds_alone) and lone and isinstance(form.terms[0], BatchedTerm):
        # With the bounds that hidden weights are given, the products of a long head leave no room for a factor.
        return _product(state, name, form, form.terms[0], step, bits)
    shift = fewer_limbs(state, max(1, least_shift(builder, form, step) + state.finer))
    shift = min(shift, narrow(state, form, step))
    if builder.fine:
        # Factors are rounded more coarsely where finer ones would break a bound; what that costs shows in the fidelity.
        shift = max(1, min(shift, most_shift(builder, form, step)))
    shift = fitting(form, step, shift)
    if shift > MAX_SHIFT:
        raise UnsupportedModel("circuit-bound", "the scales of operands and result differ too much", where=name)
    z = emit_form(builder, form, step, shift, name)
    tensor = builder.rescale(z, shift, bits, name, step)
    return whole(tensor, form.logical, step)


def narrow(state: State, form: Form, step: Fraction) -> int:
    """The greatest shift with which cells of hidden weights are looked up themselves, where they are too many for parts: it
    takes them 15 bits, which is finer than most models' files have them."""
    return max(1, narrow_shift(state.builder, form, step)) if state.builder.bounds_alone else MAX_SHIFT + MAX_WIDTH


def _product(state: State, name: str, form: Form, term: BatchedTerm, step: Fraction, bits: int) -> Held:
    """A product of two values as it is, without a factor, in steps that are its own unit times a power of two."""
    unit = abs(Fraction(term.factor)) * term.a.step * term.b.step
    shift = max(1, floor_log2(step / unit))
    own = unit * (1 << shift)
    z = emit_form(state.builder, form, own, shift, name)
    finer = max(0, -floor_log2(own / step))  # so many bits more reach as far
    # On a finer grid, so few bits would not hold what calibration saw.
    spared = state.builder.sparing and bits <= MAX_WIDTH
    reach = min(bits + finer, SCORE_BITS) if spared else bits + finer
    tensor = state.builder.rescale(z, shift, reach, name, own)
    return whole(tensor, form.logical, own)


def quotient(
    state: State, z: int, unit: Fraction, step: Fraction, shape: tuple[int, ...], name: str, seen: int | None = None
) -> Held:
    """A virtual tensor of cells of this unit as a held one of steps of at most ``step``, rounded without a table.

    Its digits hold all that its bounds reach, so that no input is refused for it; or, where ``seen`` says how many steps
    calibration saw, four times as many at least. Raises UnsupportedModel.
    """
    ratio = step / unit
    shift = ratio.numerator.bit_length() - ratio.denominator.bit_length() - 1
    if not 1 <= shift <= MAX_SHIFT:
        raise UnsupportedModel("circuit-bound", "the scales of dividend, divisor and quotient differ too much", where=name)
    tensor = state.builder.tensors[z]

    def digits(shift: int) -> int:
        bits = signed_width(requant_t(tensor.low, shift), requant_t(tensor.high, shift))
        if seen is None:
            return bits
        enough = floor_log2(seen * ratio / (1 << shift)) + 1 + 1 + ROOM_BITS
        return min(bits, max(enough, MAX_WIDTH))

    if state.builder.sparing:
        shift = cheapest_shift(digits, shift, floor_log2(ratio))
    bits = digits(shift)
    return whole(state.builder.rescale(z, shift, bits, name), shape, unit * (1 << shift))


def is_wide(scale: Scale) -> bool:
    """Whether the integers of this scale have more bits than a table has."""
    return scale.high - scale.low >= 1 << MAX_WIDTH and not scale.columns and not scale.ordered
