"""A circuit for a batch computes what the single one computes, item by item, and mixes no two items."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.support import sumcheck_examples as examples
from tests.support.sumcheck_batches import CIRCUITS, in_batch, stacked
from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.batch import check_batch, keeps_apart
from verifai.engines.sumcheck.circuit.check import check
from verifai.engines.sumcheck.circuit.codec import decode, encode
from verifai.engines.sumcheck.interpreter.run import run
from verifai.engines.sumcheck.lowering.batched import batched_circuit
from verifai.engines.sumcheck.planning.plan import planned
from verifai.engines.sumcheck.planning.price import price_of
from verifai.engines.sumcheck.protocol.suite import INTEGRITY
from verifai.errors import EvidenceRejected, UnsupportedModel


@pytest.mark.parametrize("items", [2, 3, 6])
@pytest.mark.parametrize("name", CIRCUITS)
def test_each_item_is_computed_as_by_the_single_circuit(name, items):
    single, cells = CIRCUITS[name]()
    circuit, _ = in_batch((single, cells), items)
    each, whole = stacked(single, items, items)
    found = run(circuit, cells, whole).outputs()
    wanted = [run(single, cells, one).outputs() for one in each]
    for port, values in enumerate(found):
        assert np.array_equal(values, np.stack([one[port] for one in wanted]))


@pytest.mark.parametrize("name", CIRCUITS)
def test_bounds_weights_and_tables_are_those_of_the_single_circuit(name):
    single, _ = CIRCUITS[name]()
    circuit, numbers = batched_circuit(single, 5)
    assert (circuit.weights, circuit.tables) == (single.weights, single.tables)
    ports = zip((*single.inputs, *single.outputs), (*circuit.inputs, *circuit.outputs), strict=True)
    for mine, theirs in ports:
        one, many = single.tensors[mine.tensor], circuit.tensors[theirs.tensor]
        assert replace(many, shape=one.shape) == one
        assert many.shape == (5, *one.shape)
        assert mine.visibility is theirs.visibility
    for number, place in numbers.items():
        assert type(circuit.ops[place]) is type(single.ops[number])


@pytest.mark.parametrize("name", CIRCUITS)
def test_the_circuits_bytes_hold_the_batch_and_decode_to_it(name):
    circuit, _ = in_batch(CIRCUITS[name](), 3)
    assert decode(encode(circuit)) == circuit
    other = replace(circuit, batch=0)
    assert decode(encode(other)) == other != circuit


def test_a_circuit_without_a_batch_keeps_its_bytes():
    circuit, _ = examples.mlp()
    assert circuit.batch == 0
    assert encode(circuit)[len(b"verifai/circuit/1") + 4 + len(circuit.suite)] == 0


def test_the_claims_of_a_batch_are_those_of_the_single_circuit():
    """Weights enter once, and messages grow by rounds over the variables of the new axis alone."""
    single = examples.cnn(committed=True)
    circuits = [single[0], *(in_batch(single, items)[0] for items in (2, 64))]
    prices = [price_of(circuit) for circuit in circuits]
    claims = [price.claims for price in prices]
    assert max(claims) <= min(claims) + 2  # a column may be read once more, where lookups make other groups
    assert prices[2].messages < 2 * prices[0].messages


def refused(circuit, words):
    with pytest.raises(EvidenceRejected, match=words) as caught:
        check(circuit)
    assert caught.value.code == "circuit-invalid"


def test_a_number_of_items_that_is_not_the_first_axis():
    circuit, _ = in_batch(examples.mlp(), 4)
    refused(replace(circuit, batch=3), "first axis")
    refused(replace(circuit, batch=1), "a batch has")
    refused(replace(circuit, batch=1 << 20), "a batch has")


def test_a_view_that_reads_another_item():
    circuit, _ = in_batch(CIRCUITS["views"](), 3)
    number = next(i for i, op in enumerate(circuit.ops) if isinstance(op, ops.View))
    view = circuit.ops[number]
    for rows in [(1, 0, 2), (0, 0, 2), (0, 1, 1)]:
        piece = replace(view.pieces[0], indices=(rows, *view.pieces[0].indices[1:]))
        mixed = replace(circuit, ops=(*circuit.ops[:number], replace(view, pieces=(piece,)), *circuit.ops[number + 1 :]))
        refused(mixed, "mixes the items")
        check(replace(mixed, batch=0))  # a good circuit, but no batch


def test_a_view_whose_items_come_from_another_axis():
    sketch = examples.Sketch(3)
    x = sketch.input((3, 3))
    piece = ops.Piece(x, (1, 0), ((0, 1, 2), (0, 1, 2)), (ops.NONE, ops.NONE))
    out = sketch.requant(sketch.add(ops.View, (piece,), constant=0, shape=(3, 3)))
    refused(replace(sketch.finish(out), batch=3), "mixes the items")


@pytest.mark.parametrize(
    "make",
    [
        lambda sketch, x: sketch.matmul(x, 3, contract=2),
        lambda sketch, x: sketch.add(ops.BatchedMatMul, x, x, multiplier=1),
        lambda sketch, x: sketch.add(ops.RowSum, x, ops.NONE, multiplier=1, axes=2),
        lambda sketch, x: sketch.add(ops.GatedMatMul, x, x, sketch.weight((3, 3, 3)), ops.NONE, contract=2),
        lambda sketch, x: sketch.add(ops.RowScale, sketch.input((3,)), sketch.input((1,)), multiplier=1),
        lambda sketch, x: sketch.add(ops.TopIndex, sketch.input((3,)), digits=(9,)),
        lambda sketch, x: sketch.add(ops.ArgMax, sketch.input((3,))),
    ],
)
def test_an_operation_over_the_items(make):
    """Its result has a first axis of the right length only by chance; the operation itself is refused."""
    sketch = examples.Sketch(3)
    x = sketch.input((3, 3))
    made = make(sketch, x)
    assert made
    circuit = replace(sketch._circuit(), batch=3)
    assert not keeps_apart(circuit, sketch.operations[-1])
    with pytest.raises(EvidenceRejected):
        check_batch(circuit)


def test_a_batch_of_too_many_cells_is_refused_with_its_size():
    sketch = examples.Sketch(2)
    out = sketch.requant(sketch.matmul(sketch.input((1, 1 << 14)), 2))
    with pytest.raises(UnsupportedModel, match="2\\^28") as caught:
        batched_circuit(sketch.finish(out), 1 << 15)
    assert caught.value.code == "sumcheck-too-large"


def test_planning_keeps_the_batch():
    circuit, _ = in_batch(examples.mlp(), 4)
    assert planned(replace(circuit, commitments=(), soundness=()), INTEGRITY).batch == 4
