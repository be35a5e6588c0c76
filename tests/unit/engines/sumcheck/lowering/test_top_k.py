"""The k largest cells of a row: what is chosen, in which order, and that nothing else can be proven."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.support.lowering_runs import SUITES, built, feeds_of, n, outputs, prove_in_both_suites, supported, worst_steps
from tests.support.sumcheck_cheats import Cheat
from tests.support.sumcheck_models import lowered, model, scales_for
from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.program import Visibility, WeightVisibility
from verifai.engines.sumcheck.interpreter import run as interpreter
from verifai.engines.sumcheck.lowering.lower import lower
from verifai.engines.sumcheck.planning.plan import planned
from verifai.engines.sumcheck.prover import witness
from verifai.engines.sumcheck.quantise.scales import QuantiserOptions
from verifai.engines.sumcheck.tensors import circuit_inputs
from verifai.errors import UnsupportedModel
from verifai.onnx_graph.model import OnnxModel

RNG = np.random.default_rng(3)
TABLE = RNG.normal(size=(9, 2)).astype(np.float32)
FORMS: dict[str, tuple[tuple[int, ...], int, dict[str, Any]]] = {
    "of one row": ((1, 9), 3, {"axis": 1}),
    "the smallest": ((1, 9), 3, {"axis": 1, "largest": 0}),
    "the one largest": ((2, 9), 1, {}),
    "all, in order": ((2, 5), 5, {"axis": -1}),
    "of columns": ((9, 3), 2, {"axis": 0}),
    "of a middle axis": ((2, 6, 3), 4, {"axis": 1, "largest": 0}),
}


def top(shape: tuple[int, ...], count: int, attributes: dict[str, Any], *, product: bool = False) -> OnnxModel:
    """Values and places of the k largest of x, or of x·W."""
    axis = attributes.get("axis", -1) % len(shape)
    found = tuple(count if place == axis else size for place, size in enumerate(shape))
    nodes = [n("MatMul", "x", "w", out="s")] if product else []
    nodes.append(_several("TopK", ["s" if product else "x", "k"], ["values", "places"], **attributes))
    constants: dict[str, Any] = {"k": np.array([count])}
    if product:
        constants["w"] = RNG.normal(size=(shape[-1], shape[-1])).astype(np.float32)
    return model(nodes, {"x": shape}, {"values": found, "places": found}, constants, whole=["places"])


def _several(kind: str, inputs: list[str], outs: list[str], **attributes: Any) -> Any:
    node = n(kind, *inputs, out=outs[0], **attributes)
    node.output.extend(outs[1:])
    return node


def nearest(table: Any = TABLE) -> OnnxModel:
    """The mean of the rows of a table that belong to the smallest of nine distances."""
    points = np.random.default_rng(5).normal(size=(4, 9)).astype(np.float32)
    nodes = [
        n("MatMul", "x", "points", out="d"),
        _several("TopK", ["d", "k"], ["unread", "places"], axis=1, largest=0),
        n("Gather", "table", "places", out="rows", axis=0),
        n("ReduceMean", "rows", "axis", keepdims=0),
    ]
    constants = {"points": points, "k": np.array([3]), "table": table, "axis": np.array([1])}
    return model(nodes, {"x": (1, 4)}, {"y": (1, 2)}, constants)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("product", [False, True])
def test_the_largest_are_those_of_onnxruntime_in_its_order(form: str, product: bool) -> None:
    source = top(*FORMS[form], product=product)
    feeds = feeds_of(source, count=6)
    made = built(source, feeds)
    assert supported(source)
    for feed in feeds:
        (values, expected, step), (places, wanted, _) = outputs(source, made, feed)
        assert np.abs(values - expected).max() <= 2 * step
        if not product:  # cells of the input are exact; sums that nearly tie may change places
            assert np.array_equal(places, wanted)


def test_of_equal_cells_the_first_come_first() -> None:
    source = top((1, 6), 4, {"axis": 1})
    feeds = [{"x": np.array([row], np.float32)} for row in ([1, 0, 1, 0, 1, 0], [0] * 6, [-1, 1, -1, 1, -1, 1])]
    made = built(source, feeds)
    for feed in feeds:
        (values, expected, step), (places, wanted, _) = outputs(source, made, feed)
        assert np.abs(values - expected).max() < step and np.array_equal(places, wanted)


def test_rows_of_a_table_are_chosen_by_the_smallest() -> None:
    source = nearest()
    feeds = feeds_of(source, count=20)
    assert worst_steps(source, built(source, feeds), feeds) <= 4
    assert supported(source)


def test_cells_beyond_what_was_calibrated_are_still_ranked() -> None:
    source = top((1, 9), 3, {"axis": 1, "largest": 0}, product=True)
    made = built(source, feeds_of(source, low=-0.7, high=0.7, count=20), QuantiserOptions(activation_bits=12, input_margin=0.5))
    missed = 0
    for feed in feeds_of(source, count=50, seed=9):
        _, (places, wanted, _) = outputs(source, made, feed)
        missed += not np.array_equal(places, wanted)
    assert missed <= 1  # sums that nearly tie


def test_no_table_holds_numbers_of_a_hidden_one() -> None:
    circuits = []
    for table in (TABLE, np.ascontiguousarray(TABLE[::-1])):
        source = nearest(table)
        made = lower(
            source, scales_for(nearest(), feeds_of(source, count=6)), tensors={"x": Visibility.PRIVATE, "y": Visibility.PUBLIC},
            weights=WeightVisibility.COMMITTED, suite=SUITES["zero knowledge"], opening_budget=64,
        )  # fmt: skip
        circuits.append({tuple(table.values) for table in made.circuit.tables})
    assert circuits[0] == circuits[1]


@pytest.mark.parametrize("build", [nearest, lambda: top((2, 5), 3, {"axis": 1}), lambda: top((1, 4), 1, {"largest": 0})])
def test_it_is_proven_in_both_suites(build: Any) -> None:
    source = build()
    prove_in_both_suites(source, feeds_of(source, count=4))


def test_of_more_places_than_a_table_has_arguments() -> None:
    source = top((1, 12000), 2, {"axis": 1})
    feeds = feeds_of(source, count=2)
    made = built(source, feeds)
    for feed in feeds:
        for found, expected, step in outputs(source, made, feed):
            assert np.abs(found - expected).max() <= step


@pytest.mark.parametrize("round_", [0, 1, 2])
@pytest.mark.parametrize("honest_value", [True, False])
def test_another_place_is_refused_though_all_that_follows_is_consistent(
    monkeypatch: pytest.MonkeyPatch, round_: int, honest_value: bool
) -> None:
    """Round t takes the second largest; masks, later rounds, sums and outputs follow from it as the circuit says."""
    source = nearest()
    made = lowered(source, feeds_of(source, count=4))
    circuit = planned(made.circuit, SUITES["integrity"])
    inputs = circuit_inputs(circuit, ["x"], feeds_of(source, count=1)[0])
    cheat = Cheat(circuit, made.weights, inputs)
    target = cheat.number(ops.ArgMax, round_)
    honest, columns = interpreter.STEPS[ops.ArgMax], witness.row_witness.argmax_columns

    def second(state: Any, op: ops.ArgMax) -> None:
        honest(state, op)
        if state.number == target:
            order = np.argsort(-state.read(op.x), axis=-1, kind="stable")
            state.write(op.out, np.ascontiguousarray(order[..., 1]).reshape(circuit.tensors[op.out].shape))

    def chosen(x: Any, index: Any, tensor: Any) -> Any:
        found = columns(x, index, tensor)
        if not honest_value:
            taken = np.take_along_axis(x, index[..., None], axis=-1)[..., 0]
            found["v"].reshape(tensor.padded[:-1] or (1,))[tuple(slice(0, size) for size in taken.shape)] = taken
        return found

    monkeypatch.setitem(interpreter.STEPS, ops.ArgMax, second)
    monkeypatch.setattr(witness.row_witness, "argmax_columns", chosen)
    cheat.trace = interpreter.run(circuit, made.weights, inputs)
    cheat.witness = witness.Witness(circuit, cheat.key.layout, cheat.trace.tensors, cheat.trace.columns)
    cheat.refused()


@pytest.mark.parametrize(
    ("change", "told"),
    [({"k": np.array([0])}, "0 of 9"), ({"k": np.array([300])}, "")],
)
def test_numbers_that_cannot_be_chosen_are_refused_by_name(change: dict[str, Any], told: str) -> None:
    size = 9 if change["k"][0] < 9 else 400
    nodes = [_several("TopK", ["x", "k"], ["values", "places"])]
    count = int(change["k"][0])
    try:
        source = model(nodes, {"x": (1, size)}, {"values": (1, count), "places": (1, count)}, change, whole=["places"])
    except UnsupportedModel:
        return  # an empty tensor is refused before
    with pytest.raises(UnsupportedModel) as caught:
        lowered(source, feeds_of(source, count=1))
    assert told in caught.value.message and "TopK" in caught.value.message
