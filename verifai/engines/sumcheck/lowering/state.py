"""The lowering's state: ONNX values by name, and how a lazy value becomes a held one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import ceil, log2, prod

import numpy as np

from verifai.engines.sumcheck.lowering import wide
from verifai.engines.sumcheck.lowering.affine import Affine, Value, affine_form
from verifai.engines.sumcheck.lowering.builder import MAX_WIDTH, SPLIT_BITS, Builder, signed_width, table_key
from verifai.engines.sumcheck.lowering.emit import MAX_SHIFT, emit_form, emit_select, form_reach, least_shift, most_shift
from verifai.engines.sumcheck.lowering.graph import SourceGraph, float_constant, unsupported
from verifai.engines.sumcheck.lowering.unrounded import feeds_products, meets_values, turned, unrounded_cells
from verifai.engines.sumcheck.lowering.values import (
    ZERO_CELL,
    CellTerm,
    Floats,
    Form,
    Held,
    Lazy,
    SelectTerm,
    SquaresTerm,
    affine,
    affine_program,
    whole,
)
from verifai.engines.sumcheck.lowering.views import materialise
from verifai.engines.sumcheck.lowering.wide import RECTIFIED, ROOM_BITS, is_wide
from verifai.engines.sumcheck.quantise.active import active_range, even_reach
from verifai.engines.sumcheck.quantise.functions import IDENTITY, Program, keeps_scale, substitute
from verifai.engines.sumcheck.quantise.scales import Range, Scale, choose_scale, narrow_scale, whole_scale
from verifai.errors import UnsupportedModel
from verifai.onnx_graph.graph import Node

MAX_LONE_WIDTH = 13
"""A function of one cell of a wider tensor reads the cell rounded, not from a table of all its values."""
ARGUMENT_BITS = 2
"""An activation's argument has this many bits more than its value's range would give."""


@dataclass
class State:
    """One lowering in progress.

    Attributes:
        fold: whether constants that move or stretch cells are folded into the next linear layer.
        unrounded: as :class:`..quantise.scales.QuantiserOptions` has it. shown: the model's public inputs and outputs.
        values: ONNX value → what it is. forced: (value, name whose scale it has) → its held form.
        reals: constants that nodes made from stored integers.
        finer: additional bits of shift, for models whose integers are to be met, not chosen.
        one_hots: places that a row's largest cells have → the same as rows of 0 and 1, with one axis more, at the end.
        chosen: constants whose rows public numbers choose.
        ordered: inputs by tensor whose integers are those of float32 numbers: no sum or product of them means anything.
        reshaped: a value that is another's cells in another shape → that other, whose scale and name it takes.
        exact_bounds: computed integers → the least and the largest they can be; their ranges are powers of two, and wider.
        exactly: whether bounds are being computed from these.
        stored: values that nothing but one kind of stored integers is made from → the scale of these.
    """

    graph: SourceGraph
    builder: Builder
    fold: bool = True
    unrounded: bool = False
    shown: frozenset[str] = frozenset()
    values: dict[str, Value] = field(default_factory=dict)
    forced: dict[tuple[str, str], Held] = field(default_factory=dict)
    cells: dict[str, Lazy] = field(default_factory=dict)
    reals: dict[str, Floats] = field(default_factory=dict)
    finer: int = 0
    reshaped: dict[str, str] = field(default_factory=dict)
    one_hots: dict[str, Held] = field(default_factory=dict)
    chosen: list[Floats] = field(default_factory=list)
    ordered: set[int] = field(default_factory=set)
    exact_bounds: dict[str, tuple[int, int]] = field(default_factory=dict)
    exactly: bool = False
    stored: Mapping[str, Scale] = field(default_factory=dict)

    def constant(self, node: Node, position: int) -> Floats | None:
        """The constant operand at ``position`` as float64, or None when it is absent or not constant."""
        if position < len(node.inputs) and node.inputs[position] in self.reals:
            return self.reals[node.inputs[position]]
        return float_constant(self.graph, node, position)

    def value(self, node: Node, position: int) -> Value:
        """Operand ``position``, which is not constant. Raises UnsupportedModel."""
        name = node.inputs[position]
        if name not in self.values:
            raise unsupported(node, f"operand {position} must not be constant")
        return self.values[name]

    def held(self, node: Node, position: int, scale_of: str = "") -> Held:
        """Operand ``position`` as cells of a tensor; ``scale_of``: with the scale of that value instead of its own."""
        self.value(node, position)
        return self.force(node.inputs[position], scale_of)

    def lazy(self, name: str) -> Lazy:
        """The value as a function of a form; the same form each time."""
        value = self.values[name]
        if isinstance(value, Lazy):
            return value
        if name not in self.cells:
            if isinstance(value, Affine):
                self.cells[name] = Lazy(affine_form(value, name))
            else:
                self.cells[name] = Lazy(Form((CellTerm(value, 1.0),), 0.0, value.shape, value.shape, name))
        return self.cells[name]

    def linear(self, name: str) -> Form | None:
        """The value as a linear form of which nothing else is read, else None: such a form may be merged into another."""
        value = self.values[name]
        if isinstance(value, Affine):
            return self.lazy(name).form
        if not isinstance(value, Lazy) or self.graph.readers.get(name, 0) != 1 or selected(value) is not None:
            return None
        found = affine_program(value.program)
        return None if found is None else affine(value.form, float(found[0]), float(found[1]), name)

    def force(self, name: str, scale_of: str = "") -> Held:
        """The value as cells of a held tensor or a view of one. Raises UnsupportedModel."""
        value, name = self.values[name], self.reshaped.get(name, name)
        target = scale_of or name
        if isinstance(value, Held) and (not scale_of or value.step == self.scale(target).step):
            return value
        if not isinstance(value, Lazy):
            value = self.lazy(name)
        if not scale_of and (name, "") not in self.forced and self.unrounded and feeds_products(self.graph, name):
            rotated = unrounded_cells(self.builder, value, name)
            if rotated is not None:
                self.forced[name, ""] = rotated
        if not scale_of and (name, "") in self.forced:
            target = ""
        if (name, target) not in self.forced:
            self.forced[name, target] = self.requantise(name, value, self.scale(target))
        found = self.forced[name, target]
        return found if found.shape == value.shape else found.at(found.index.reshape(value.shape))

    def scale(self, name: str) -> Scale:
        """The scale of a value; of a table's row, whose columns have scales of their own, one for all of it.

        Of a value that only becomes stored integers, their own scale: it is rounded once then, as the model rounds it.
        """
        if name in self.stored:
            return self.stored[name]
        scale = self.builder.scale(name)
        return whole_scale(scale) if scale.columns else scale

    def rescale(self, name: str, scale: Scale, result: str) -> Held:
        """The value under ``scale``: a new tensor named ``result``, unless it has that scale. Raises UnsupportedModel."""
        value = self.values[name]
        if isinstance(value, Held) and value.step == scale.step and self._within(value.tensor, scale):
            return replace(value, zero_point=scale.zero_point)
        return self.requantise(result, self.lazy(name), scale)

    def requantise(self, name: str, value: Lazy, scale: Scale, *, bounded: bool = False) -> Held:
        """The value as a tensor named ``name`` under ``scale``. Raises UnsupportedModel.

        ``bounded``: factors are rounded more coarsely where finer ones would break a bound: the value may reach far beyond
        its scale, which is fine.
        """
        choice = selected(value)
        if choice is not None:
            self.builder.sums.add(name)  # its tables have few arguments, and values as fine as may be
            tensor = emit_select(self.builder, choice, value.form, value.program, scale, name)
            return whole(tensor, value.form.logical, scale.step, scale.zero_point)
        found = affine_program(value.program)
        if found is not None:
            value = Lazy(affine(value.form, float(found[0]), float(found[1]), name))
        if is_wide(scale):
            if found is not None:
                return wide.wide_sum(self, name, value.form, scale)
            if value.program == RECTIFIED:
                return wide.wide_rectified(self, name, value.form, scale)
            if not self.builder.fine:
                scale = choose_scale(Range(float(scale.low * scale.step), float(scale.high * scale.step)), MAX_WIDTH - 1)
        form, program = value.form, value.program
        lone = form.terms[0] if len(form.terms) == 1 and isinstance(form.terms[0], CellTerm) else None
        if found is None and program != RECTIFIED:
            self.builder.functions.add(name)
        if lone is not None and not (self.fold and self._wide(lone)):
            return self._lookup(name, lone, form, program, scale)
        if found is not None and self._far_beyond(name, form, scale):
            return wide.rescaled(self, name, form, scale.step, signed_width(scale.low, scale.high) + ROOM_BITS)
        if found is None and self._spares_split(name, form, program):
            return self._looked_up(name, form, program, scale)
        if found is not None or program == RECTIFIED:
            self.builder.sums.add(name)
        if keeps_scale(program):
            wanted = signed_width(scale.low, scale.high)
            # A table has 16 bits with the sign: 16 bits without one are read every second step, not cut in half.
            coarser = max(0, wanted - MAX_WIDTH) if self.fold else 0
            step, floor = scale.step * (1 << coarser), wanted - coarser
        else:
            argument = self._argument(form, program, scale)
            step = argument.step / (1 << ARGUMENT_BITS)
            floor = signed_width(argument.low << ARGUMENT_BITS, argument.high << ARGUMENT_BITS)
        # Beyond what a split can cut off, the sum is read more coarsely: what is lost shows in the fidelity.
        reach = self.builder.told(Range(0.0, form_reach(self.builder, form))).high / float(step)
        excess = max(0, ceil(log2(max(reach, 1.0))) + 1 - MAX_WIDTH - SPLIT_BITS)
        step, floor = step * (1 << excess), max(1, floor - excess)
        least = least_shift(self.builder, form, step)
        if self.finer:
            # Better for an imported model's ties, but no need: a quotient may be near the bounds already.
            least = max(least, min(least + self.finer, MAX_SHIFT, most_shift(self.builder, form, step)))
        least = wide.fewer_limbs(self, least)
        limbs = self.builder.plan.limbs(least)
        if sum(limbs) > (narrow := wide.narrow(self, form, step)):
            least = min(least, narrow)
            limbs = self.builder.plan.exact_limbs(narrow)
        # Of a sum of squares, and of what lies beyond a function's active range, the reach is far larger than what is seen.
        bounded = bounded or self.builder.bounds_alone or any(isinstance(term, SquaresTerm) for term in form.terms)
        if bounded and sum(limbs) > (most := max(1, min(MAX_SHIFT, most_shift(self.builder, form, step)))):
            least = min(least, most)
            limbs = self.builder.plan.exact_limbs(least)
        if sum(limbs) > (fits := wide.fitting(form, step, sum(limbs))):  # a circuit that was refused before, no other
            least = min(least, fits)
            limbs = self.builder.plan.exact_limbs(fits)
        shift = sum(limbs)
        if shift > MAX_SHIFT:
            raise UnsupportedModel("circuit-bound", "the scales of operands and result differ too much", where=name)
        z = emit_form(self.builder, form, step, shift, name)
        key = table_key(program, step, scale.step, scale.low, scale.high)
        tensor = self.builder.requant(z, limbs, least, key, floor, name, scale)
        return whole(tensor, form.logical, scale.step, scale.zero_point)

    def _far_beyond(self, name: str, form: Form, scale: Scale) -> bool:
        """Whether a sum could lie beyond a table of what calibration saw of it, which with room fits one range.

        What is multiplied with another value stays within its range: room in both would not leave the product any.
        """
        width = signed_width(scale.low, scale.high)
        if not self.builder.unclamped or width + ROOM_BITS > MAX_WIDTH or scale.columns or scale.zero_point:
            return False
        if name in self.graph.outputs or (meets_values(self.graph, name) and not self.builder.sparing):
            return False
        return self._reach(form) / float(scale.step) >= 1 << width

    def _reach(self, form: Form) -> float:
        return self.builder.told(Range(0.0, form_reach(self.builder, form))).high

    def _spares_split(self, name: str, form: Form, program: Program) -> bool:
        """Whether a function's argument can lie far beyond what calibration saw of it, and cells are so many that a sum rounded
        without a table and a table of 2^16 rows cost less than one that cuts the argument off."""
        if not self.builder.sparing or name in self.graph.outputs or keeps_scale(program):
            return False
        own = self.scale(form.name)
        beyond = self._reach(form) > 4 * float(max(own.high, -own.low) * own.step)
        return beyond and own.zero_point == 0 and 2 * prod(form.shape) >= 1 << MAX_WIDTH

    def _looked_up(self, name: str, form: Form, program: Program, scale: Scale) -> Held:
        """A function of a sum that is rounded first, to 16 bits that reach four times as far as calibration saw it."""
        own = self.scale(form.name)
        largest = float(max(own.high, -own.low) * own.step)
        step = Fraction(2) ** (ceil(log2(largest)) + ROOM_BITS + 1 - MAX_WIDTH)
        argument = wide.rescaled(self, f"{name}.argument", form, step, MAX_WIDTH)
        key = table_key(program, step, scale.step, scale.low, scale.high)
        tensor = self.builder.lookup(argument.tensor, key, name, scale.step, scale.zero_point, calibrated=True)
        return Held(tensor, argument.index, scale.step, scale.zero_point)

    def _argument(self, form: Form, program: Program, scale: Scale) -> Scale:
        """The scale of a function's argument: of the part of its range where the function changes, as fine as bounds allow."""
        whole_range = self.scale(form.name)
        plain = narrow_scale(whole_range, MAX_WIDTH - ARGUMENT_BITS) if self.builder.fine else narrow_scale(whole_range)
        if not self.fold:
            return plain
        found = self._active_argument(form, program, scale, plain, whole_range)
        if not self.builder.fine:
            return found
        # A table reaches as far below 0 as above: on a range that leans to one side, so many bits would cut off its far end.
        fits = max(-found.low, found.high) << ARGUMENT_BITS < 1 << (MAX_WIDTH - 1)
        largest = even_reach(program, Range(float(found.low * found.step), float(found.high * found.step)), scale)
        even = choose_scale(Range(-largest, largest), MAX_WIDTH - ARGUMENT_BITS)
        return found if fits and found.step <= even.step else even

    def _active_argument(self, form: Form, program: Program, scale: Scale, plain: Scale, whole_range: Scale) -> Scale:
        """``plain``, or of the part of the range where the function changes."""
        values = Range(float(whole_range.low * whole_range.step), float(whole_range.high * whole_range.step))
        part = active_range(program, values, scale)
        # What lies beyond the table is split off: the whole reach has at most so many bits more.
        bits = (plain.high - plain.low).bit_length()
        reach = self.builder.told(Range(0.0, form_reach(self.builder, form))).high
        least = reach * 2.0 ** (bits + ARGUMENT_BITS + 2 - MAX_WIDTH - SPLIT_BITS)
        low, high = min(part.low, 0.0), max(part.high, 0.0)
        if part == values and high - low >= least:
            return plain
        stretch = max(1.0, least / (high - low)) if high > low else 1.0
        return choose_scale(Range(low * stretch, high * stretch), bits)

    def _lookup(self, name: str, term: CellTerm, form: Form, program: Program, scale: Scale) -> Held:
        """A function of one tensor's cells: looked up on the whole tensor, so that an index map stays one."""
        inner = linear_program(term.factor, form.constant)
        key = table_key(substitute(program, inner), term.x.step, scale.step, scale.low, scale.high)
        x = term.x
        if (x.index == ZERO_CELL).any():
            x = whole(materialise(self.builder, x, f"{name}.x"), x.shape, x.step)
        if key.program == IDENTITY and key.step_in == key.step_out and self._within(x.tensor, scale):
            return replace(x, index=x.index.reshape(form.logical), zero_point=scale.zero_point)
        tensor = self.builder.lookup(x.tensor, key, name, scale.step, scale.zero_point, calibrated=True)
        return Held(tensor, x.index.reshape(form.logical), scale.step, scale.zero_point)

    def _wide(self, term: CellTerm) -> bool:
        """Whether a table of all values of the cell's tensor would be larger than what rounding it first costs."""
        tensor = self.builder.tensors[term.x.tensor]
        return signed_width(tensor.low, tensor.high) > MAX_LONE_WIDTH

    def _within(self, tensor: int, scale: Scale) -> bool:
        return scale.low <= self.builder.tensors[tensor].low and self.builder.tensors[tensor].high <= scale.high

    def set_lazy(self, node: Node, form: Form, program: Program = IDENTITY) -> None:
        """The node's result is program(form)."""
        self.values[node.outputs[0]] = Lazy(form, program)

    def set_held(self, node: Node, value: Held) -> None:
        """The node's result is these cells."""
        self.values[node.outputs[0]] = value

    def unit_cells(self, node: Node, value: Held) -> None:
        """The node's result is these cells; those of a model output get the output's own scale."""
        if node.outputs[0] in self.graph.outputs:
            form = Form((CellTerm(value, 1.0),), 0.0, value.shape, value.shape, node.outputs[0])
            self.set_lazy(node, form)
        else:
            self.set_held(node, value)

    def new_form(self, node: Node, *terms: object, shape: tuple[int, ...] | None = None, constant: float = 0.0) -> Form:
        """A form named after the node's result, of its ONNX shape."""
        name = node.outputs[0]
        logical = self.graph.shapes[name]
        return Form(terms, constant, shape or logical or (1,), logical, name)  # type: ignore[arg-type]


def signed_parts(state: State, node: Node) -> list[Held] | None:
    """The operands, if all are cells of tensors with one step, or such cells with the other sign: none of them is rounded."""
    parts: list[Held] = []
    for name in node.inputs:
        value = state.values[name]
        held = value if isinstance(value, Held) else turned(state.builder, value, name)
        if held is None or held.zero_point or (parts and held.step != parts[0].step):
            return None
        parts.append(held)
    return parts


def selected(value: Value) -> SelectTerm | None:
    """The term of a value whose cells each choose a row of constants."""
    lone = value.form.terms[0] if isinstance(value, Lazy) and len(value.form.terms) == 1 else None
    return lone if isinstance(lone, SelectTerm) else None


def linear_program(factor: float, constant: float) -> Program:
    """factor·x + constant."""
    if factor == 1.0 and constant == 0.0:
        return IDENTITY
    slope, intercept = Fraction(factor), Fraction(constant)
    program: Program = (("x",), ("const", slope.numerator, slope.denominator), ("mul",))
    if intercept:
        program = (*program, ("const", intercept.numerator, intercept.denominator), ("add",))
    return program


def broadcast(value: Held, shape: tuple[int, ...]) -> Held:
    """The value under ONNX broadcasting to ``shape``."""
    return value.at(np.broadcast_to(value.index, shape or (1,)))  # one number alone is held as a row of one
