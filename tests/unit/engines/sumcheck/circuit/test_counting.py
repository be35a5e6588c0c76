"""The rule of circuits that count right answers: whoever made one, what it counts is what it says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.support.lowering_runs import FINE, feeds_of, n, net
from tests.support.sumcheck_models import scales_for
from verifai.domain import counting as domain
from verifai.engines.sumcheck.circuit import counting, ops
from verifai.engines.sumcheck.circuit.check import check
from verifai.engines.sumcheck.circuit.counting import Counting, check_counting
from verifai.engines.sumcheck.circuit.program import Circuit, Port, Visibility
from verifai.engines.sumcheck.interpreter.run import run
from verifai.engines.sumcheck.lowering.batched import batched
from verifai.engines.sumcheck.lowering.counted import counted
from verifai.engines.sumcheck.lowering.lower import Lowered, lower
from verifai.engines.sumcheck.protocol.suite import ZERO_KNOWLEDGE
from verifai.errors import EvidenceRejected, UnsupportedModel, UsageError
from verifai.onnx_graph.model import OnnxModel

ITEMS = 4
WEIGHTS = np.array([[1.0, -1.0, 0.5], [0.25, 0.75, -0.5]], np.float32)


def scores() -> OnnxModel:
    """x·w, put together of two parts, so that there is a View."""
    parts = (n("MatMul", "x", "v", out="a"), n("MatMul", "x", "u", out="b"), n("Concat", "a", "b", axis=1))
    return net((1, 2), (1, 3), *parts, v=WEIGHTS[:, :2], u=WEIGHTS[:, 2:])


def made(model: OnnxModel, seen: Visibility = Visibility.PRIVATE, items: int = ITEMS) -> Lowered:
    scales = scales_for(model, feeds_of(model), FINE)
    bound = {one.name: Visibility.PUBLIC for one in model.inputs} | {one.name: seen for one in model.outputs}
    return counted(batched(lower(model, scales, tensors=bound, split=True, suite=ZERO_KNOWLEDGE), items), model.outputs)


@pytest.fixture(scope="module")
def lowered() -> Lowered:
    return made(scores())


def count(lowered: Lowered, x: list[list[float]], labels: list[int]) -> int:
    circuit = lowered.circuit
    taken, shown = circuit.inputs[0].tensor, circuit.inputs[-1].tensor
    step = circuit.tensors[taken].scale
    cells = np.rint(np.array(x) * step[1] / step[0]).astype(np.int64).reshape(circuit.tensors[taken].shape)
    given = [cells, np.array(labels, np.int64).reshape(circuit.tensors[shown].shape)]
    return int(run(circuit, lowered.weights, given).outputs()[-1].reshape(-1)[0])


def test_it_counts_answers_that_equal_their_labels(lowered: Lowered) -> None:
    x = [[0.8, 0.0], [-0.8, 0.0], [0.0, 0.8], [0.0, -0.8]]
    answers = [int((np.array(one, np.float32) @ WEIGHTS).argmax()) for one in x]
    assert count(lowered, x, answers) == ITEMS
    assert count(lowered, x, [answers[0], -1, (answers[2] + 1) % 3, answers[3]]) == 2
    assert count(lowered, x, [-1] * ITEMS) == 0
    assert check_counting(lowered.circuit, ITEMS) == Counting(ITEMS, 0, True, 3)


def test_of_equal_scores_the_first_place_is_the_answer(lowered: Lowered) -> None:
    zeros = [[0.0, 0.0]] * ITEMS
    assert count(lowered, zeros, [0, 1, 2, -1]) == 1
    assert count(lowered, zeros, [0] * ITEMS) == ITEMS


def test_a_model_that_puts_out_the_class_itself_is_counted_by_it() -> None:
    model = net((1, 2), (1,), n("MatMul", "x", "w", out="z"), n("ArgMax", "z", axis=1, keepdims=0), w=WEIGHTS)
    found = check_counting(made(model).circuit, ITEMS)
    assert (found.scored, found.classes) == (False, 3)


def test_models_without_one_class_per_sample_and_shown_outputs_are_refused() -> None:
    single = net((1, 2), (1, 1), n("MatMul", "x", "w"), w=WEIGHTS[:, :1])
    with pytest.raises(UnsupportedModel) as caught:
        made(single)
    assert caught.value.code == "count-unsupported"
    rows = net((2, 2), (2, 3), n("MatMul", "x", "w"), w=WEIGHTS)
    with pytest.raises(UnsupportedModel):
        made(rows)
    with pytest.raises(UsageError) as shown:
        made(scores(), Visibility.PUBLIC)
    assert shown.value.code == "bad-spec"
    with pytest.raises(UsageError):
        made(scores(), items=1)


def test_both_sides_mean_the_same_numbers() -> None:
    assert (domain.MAX_ITEMS, domain.NO_LABEL) == (counting.MAX_ITEMS, counting.NO_LABEL)


def tail(circuit: Circuit, number: int, **fields: Any) -> Circuit:
    done = list(circuit.ops)
    done[number] = replace(done[number], **fields)  # type: ignore[type-var]
    return replace(circuit, ops=tuple(done))


def table(circuit: Circuit, number: int, change: Callable[[int, int], int]) -> Circuit:
    """The table of the operation ``number``, each value by argument and value."""
    op = circuit.ops[number]
    assert isinstance(op, ops.Lookup)
    one = circuit.tables[op.table]
    values = tuple(change(one.low + at, value) for at, value in enumerate(one.values))
    tables = [replace(each, values=values) if at == op.table else each for at, each in enumerate(circuit.tables)]
    return replace(circuit, tables=tuple(tables))


def bound(circuit: Circuit, tensor: int, **fields: Any) -> Circuit:
    tensors = [replace(one, **fields) if at == tensor else one for at, one in enumerate(circuit.tensors)]
    return replace(circuit, tensors=tuple(tensors))


def first(circuit: Circuit, kind: type[Any]) -> int:
    return next(number for number, op in enumerate(circuit.ops) if isinstance(op, kind))


def reads_labels(circuit: Circuit) -> Circuit:
    """The scores' matrix takes the labels in: a model that is told the answer."""
    return tail(circuit, first(circuit, ops.MatMul), x=circuit.inputs[-1].tensor)


def chooses(circuit: Circuit, indices: tuple[int, ...]) -> Circuit:
    """A view that does with one item something else than with the others."""
    number = first(circuit, ops.View)
    view = circuit.ops[number]
    assert isinstance(view, ops.View)
    piece = view.pieces[0]
    changed = replace(piece, indices=(indices, *piece.indices[1:]))
    return tail(circuit, number, pieces=(changed, *view.pieces[1:]))


CHEATS: dict[str, Callable[[Circuit], Circuit]] = {
    "a batch axis": lambda one: replace(one, batch=ITEMS),
    "near answers count": lambda one: table(one, -3, lambda at, value: int(abs(at) <= 1)),
    "every answer counts": lambda one: table(one, -3, lambda at, value: 1),
    "a better count is shown": lambda one: table(one, -1, lambda at, value: value + (at == 2)),
    "counted twice": lambda one: tail(one, -2, multiplier=2),
    "counted with weights": lambda one: tail(one, -2, y=one.ops[-3].out),  # type: ignore[union-attr]
    "another thing is summed": lambda one: tail(one, -2, x=one.ops[-4].out),  # type: ignore[union-attr]
    "another thing is compared": lambda one: tail(one, -3, x=one.ops[-4].sources[0]),  # type: ignore[union-attr]
    "labels plus answers": lambda one: tail(one, -4, multipliers=(1, 1)),
    "an answer moved by one": lambda one: tail(one, -4, constant=1),
    "labels on both sides": lambda one: tail(one, -4, sources=(one.inputs[-1].tensor,) * 2),
    "the tail is cut": lambda one: replace(one, ops=one.ops[:-1]),
    "labels are not the last input": lambda one: replace(one, inputs=one.inputs[::-1]),
    "hidden labels": lambda one: replace(one, inputs=(one.inputs[0], Port(one.inputs[1].tensor, Visibility.PRIVATE))),
    "a hidden count": lambda one: replace(one, outputs=(one.outputs[0], Port(one.outputs[1].tensor, Visibility.PRIVATE))),
    "scores are shown": lambda one: replace(one, outputs=(Port(one.outputs[0].tensor, Visibility.PUBLIC), one.outputs[1])),
    "scores are no output": lambda one: replace(one, outputs=(Port(one.inputs[0].tensor, Visibility.PRIVATE), one.outputs[1])),
    "labels that reach no class": lambda one: bound(one, one.inputs[-1].tensor, high=1),
    "labels of another scale": lambda one: bound(one, one.inputs[-1].tensor, scale=(1, 2)),
    "labels that are moved": lambda one: bound(one, one.inputs[-1].tensor, zero_point=1),
    "a count of another scale": lambda one: bound(one, one.outputs[-1].tensor, scale=(2, 1)),
    "the model reads the labels": reads_labels,
    "one item is left to a constant": lambda one: chooses(one, (0, 1, 2, ops.NONE)),
    "one item takes another one's cells": lambda one: chooses(one, (0, 1, 2, 2)),
    "the axis of the items is another one": lambda one: bound(one, one.inputs[0].tensor, shape=(2, 4)),
}


@pytest.mark.parametrize("name", CHEATS)
def test_what_counts_otherwise_is_refused(lowered: Lowered, name: str) -> None:
    check(lowered.circuit)
    check_counting(lowered.circuit, ITEMS)
    with pytest.raises(EvidenceRejected) as caught:
        check_counting(CHEATS[name](lowered.circuit), ITEMS)
    assert caught.value.code == "circuit-invalid"


@pytest.mark.parametrize("items", [0, 1, 3, 8, 1 << 15])
def test_another_number_of_items_is_refused(lowered: Lowered, items: int) -> None:
    with pytest.raises(EvidenceRejected):
        check_counting(lowered.circuit, items)
