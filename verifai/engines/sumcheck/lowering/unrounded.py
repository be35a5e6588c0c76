"""What need not be rounded, and how little of the rest has to be looked up: for models of many cells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import numpy as np

from verifai.engines.sumcheck.circuit.ops import LinearCombination
from verifai.engines.sumcheck.lowering.affine import Value
from verifai.engines.sumcheck.lowering.builder import MAX_WIDTH, Builder
from verifai.engines.sumcheck.lowering.emit import emit_form, form_reach
from verifai.engines.sumcheck.lowering.graph import SourceGraph
from verifai.engines.sumcheck.lowering.values import ZERO_CELL, CellTerm, ConvTerm, Held, Lazy, affine, affine_program, whole
from verifai.engines.sumcheck.lowering.views import materialise

SPARED_BITS = 4
"""So much coarser than by default sums may be, for a remainder of one limb less."""


def floor_log2(value: Fraction) -> int:
    """⌊log2 value⌋ for value > 0."""
    found = value.numerator.bit_length() - value.denominator.bit_length()
    return found if Fraction(2) ** found <= value else found - 1


def cheapest_shift(digits: Callable[[int], int], usual: int, most: int) -> int:
    """The shift, from a few bits finer than ``usual`` to ``most``, with the fewest limbs and digits; of equals the one nearest
    to the usual. ``digits``: bits of the result by the shift."""

    def lookups(shift: int) -> int:
        return -(-shift // MAX_WIDTH) - (-digits(shift) // MAX_WIDTH)

    return min(range(max(1, usual - SPARED_BITS), max(usual, most) + 1), key=lambda one: (lookups(one), abs(one - usual)))


def turned(builder: Builder, value: Value, name: str) -> Held | None:
    """−x for the cells x of a tensor, as a virtual tensor."""
    lone = value.form.terms[0] if isinstance(value, Lazy) and len(value.form.terms) == 1 else None
    if not isinstance(value, Lazy) or not isinstance(lone, CellTerm) or (lone.x.index == ZERO_CELL).any():
        return None
    slope = affine_program(value.program)
    if slope is None or (float(slope[0]) * lone.factor, float(slope[1]) + float(slope[0]) * value.form.constant) != (-1.0, 0.0):
        return None
    opposite = builder.emit(LinearCombination((lone.x.tensor,), (-1,), 0, builder.next), name, step=lone.x.step)[0]
    return replace(lone.x, tensor=opposite, index=lone.x.index.reshape(value.form.logical))


_THROUGH = frozenset({"Transpose", "Reshape", "Expand", "Squeeze", "Unsqueeze", "Identity"})
"""What moves cells between a value and a product that reads it."""


def feeds_products(graph: SourceGraph, name: str) -> bool:
    """Whether all that reads a value are products of two values, its cells moved in between at most."""
    found = False
    for node in graph.nodes:
        if name not in node.inputs:
            continue
        if node.op_type == "MatMul" and not node.domain:
            found = all(one not in graph.constants for one in node.inputs)
        else:
            found = node.op_type in _THROUGH and not node.domain and feeds_products(graph, node.outputs[0])
        if not found:
            return False
    return found and name not in graph.outputs


_ROTATED = frozenset({"Mul", "Add", "Sub", "Neg", "Slice", "Concat", "Split"})
"""What a rotary embedding is made of, beside moves."""


def meets_values(graph: SourceGraph, name: str) -> bool:
    """Whether a value, turned by constants at most, is multiplied with another that also is more than shares of a softmax."""
    reached, pending = {name}, [name]
    shares = {output for node in graph.nodes if node.op_type == "Softmax" for output in node.outputs}
    while pending:
        at = pending.pop()
        for node in graph.nodes:
            if at not in node.inputs or node.domain:
                continue
            if node.op_type == "MatMul":
                if not any(one in graph.constants or one in shares for one in node.inputs):
                    return True
            elif node.op_type in _THROUGH or node.op_type in _ROTATED:
                new = [one for one in node.outputs if one not in reached]
                reached.update(new)
                pending += new
    return False


_ROTATION_BITS = 11
"""Of the largest factor of cells that are not rounded before a product, beside its sign."""
_OPERAND_BITS = 27
"""Of such cells: a sum of 2^6 products of two stays below 2^60."""


def unrounded_cells(builder: Builder, value: Lazy, name: str) -> Held | None:
    """Cells times constants, and sums of such (a rotary embedding), as cells of a virtual tensor; None for other values."""
    slope = affine_program(value.program)
    if slope is None:
        return None
    form = affine(value.form, float(slope[0]), float(slope[1]), name)
    if not any(isinstance(term, ConvTerm) for term in form.terms):
        return None
    largest = 0.0
    for term in form.terms:
        if isinstance(term, ConvTerm) and term.groups == len(term.weight) == term.weight.size and not any(term.pads):
            largest = max(largest, float(np.abs(term.weight).max(initial=0.0)) * float(term.x.step))
        elif isinstance(term, CellTerm):
            largest = max(largest, abs(term.factor) * float(term.x.step))
        else:
            return None
    if largest == 0.0:
        return None
    unit = Fraction(2) ** (int(np.ceil(np.log2(largest))) - _ROTATION_BITS)
    reach = form_reach(builder, form) / float(unit)
    if reach >= 1 << _OPERAND_BITS:
        return None
    z = emit_form(builder, form, unit, 0, f"{name}.unrounded")
    # In its own shape: what reads it moves whole axes, where it would have to cut channels that merge several.
    return whole(materialise(builder, whole(z, form.logical or (1,), unit), f"{name}.cells"), form.logical, unit)
