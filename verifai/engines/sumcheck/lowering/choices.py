"""Where: by a constant mask a rearrangement with weights 1 and 0; by a computed condition c ∈ {0, 1} the sum c·(a − b) + b."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from verifai.engines.sumcheck.lowering import cells
from verifai.engines.sumcheck.lowering.comparisons import shared_form, sloped
from verifai.engines.sumcheck.lowering.graph import unsupported
from verifai.engines.sumcheck.lowering.state import State, broadcast
from verifai.engines.sumcheck.lowering.values import CellTerm, Floats, Form, Held, ProductTerm, Term
from verifai.engines.sumcheck.quantise.functions import Program, constant
from verifai.onnx_graph.graph import Node


def _where(state: State, node: Node) -> None:
    """a where the condition holds, else b."""
    mask = state.constant(node, 0)
    if mask is not None:
        _by_mask(state, node, mask)
        return
    state.value(node, 0)
    if _by_table(state, node):
        return
    shape = state.graph.shapes[node.outputs[0]]
    condition = broadcast(state.held(node, 0), shape)
    slope, shift = np.zeros(()), np.zeros(())
    terms: list[Term] = []
    for position, sign in ((1, 1.0), (2, -1.0)):
        values = state.constant(node, position)
        if values is not None:
            slope = slope + sign * values
            shift = shift + (values if position == 2 else 0.0)
            continue
        held = broadcast(state.held(node, position), shape)
        terms.append(ProductTerm(condition, held, sign))
        if position == 2:
            terms.append(CellTerm(held, 1.0))
    _set_sum(state, node, condition, terms, slope, shift)


def _set_sum(state: State, node: Node, x: Held, terms: list[Term], slope: Floats, shift: Floats) -> None:
    """terms + slope·x + shift, in one form; every part in the shape that constants of several numbers need."""
    name, shape = node.outputs[0], state.graph.shapes[node.outputs[0]]
    if slope.size == shift.size == 1:
        if slope.flat[0]:
            terms.append(CellTerm(x, float(slope.flat[0])))
        state.set_lazy(node, Form(tuple(terms), float(shift.flat[0]), shape or (1,), shape, name))
        return
    form = sloped(x, shape, slope, shift, name)
    state.set_lazy(node, replace(form, terms=(*(_moved(term, form.shape) for term in terms), *form.terms)))


def _moved(term: Term, shape: tuple[int, ...]) -> Term:
    def at(held: Held) -> Held:
        return held.at(np.ascontiguousarray(held.index).reshape(shape))

    if isinstance(term, ProductTerm):
        return replace(term, a=at(term.a), b=at(term.b))
    assert isinstance(term, CellTerm)
    return replace(term, x=at(term.x))


def _by_mask(state: State, node: Node, mask: Floats) -> None:
    name, shape = node.outputs[0], state.graph.shapes[node.outputs[0]]
    weights = {1: np.not_equal(mask, 0).astype(np.float64), 2: np.equal(mask, 0).astype(np.float64)}
    shift = np.zeros(())
    places = []
    for position, weight in weights.items():
        values = state.constant(node, position)
        if values is None:
            state.value(node, position)
            places.append(position)
        else:
            # Not weight·value: a masked constant may be as large as a float gets.
            shift = shift + np.where(weight != 0, values, 0.0)
    if not places:
        raise unsupported(node, "nothing in it depends on an input")
    form = sloped(state.held(node, places[0]), shape, weights[places[0]], shift, name)
    if len(places) == 2:
        told = np.broadcast_to(weights[2], np.broadcast_shapes(weights[2].shape, shift.shape))
        other = sloped(state.held(node, 2), shape, told, np.zeros(()), name)
        form = replace(form, terms=(*form.terms, *other.terms))
    state.set_lazy(node, form)


def _by_table(state: State, node: Node) -> bool:
    """Where all three are functions of one form, or numbers, so is the result: such as a leaky ReLU. Returns whether it is."""
    numbers = {position: state.constant(node, position) for position in (1, 2)}
    if any(values is not None and values.size != 1 for values in numbers.values()):
        return False
    shared = shared_form(state, [name for place, name in enumerate(node.inputs) if numbers.get(place) is None])
    if shared is None or shared[0].logical != state.graph.shapes[node.outputs[0]]:
        return False
    form, programs = shared
    found = iter(programs)
    program: Program = next(found)
    for values in numbers.values():
        program = (*program, *(next(found) if values is None else (constant(float(values.flat[0])),)))
    if len(program) >= cells.MAX_PROGRAM:
        return False
    state.set_lazy(node, form, (*program, ("select",)))
    return True


HANDLERS: dict[str, Callable[[State, Node], None]] = {"Where": _where}
