"""Provers that take liberties with pieces: exchange them, order them otherwise, dirty what lies between or outside them.

Every cheat has an honest twin, which is proven and verified first. Both circuits have tensors in several pieces and lookups in
several groups (see :func:`test_the_circuits_have_what_is_attacked`).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.support import sumcheck_examples as examples
from tests.support.sumcheck_cheats import Cheat, EncryptingLiar, Liar, PlainLiar
from tests.support.sumcheck_examples import Sketch
from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.interpreter.run import run
from verifai.engines.sumcheck.planning.plan import plan, planned
from verifai.engines.sumcheck.protocol import field, storage
from verifai.engines.sumcheck.protocol.storage import NO_AXIS, stored
from verifai.engines.sumcheck.prover import commitment
from verifai.engines.sumcheck.prover import lookups as prover_lookups
from verifai.engines.sumcheck.prover import prove as proving
from verifai.engines.sumcheck.prover.arrays import element
from verifai.engines.sumcheck.prover.prove import prepare
from verifai.engines.sumcheck.verifier.verify import trust_circuit, verify
from verifai.errors import EvidenceRejected

pytestmark = pytest.mark.usefixtures("suite")

MAKE = {"rows": examples.odd_rows, "image": examples.odd_image}
COLUMNS = 37
EDGES = (0, 31, 32, 35, 36)
"""Columns of 37, at the ends of pieces of 32, 4 and 2 (the last one's second column is stored padding)."""


def _cheat(name="rows", **more):
    return Cheat(*MAKE[name](**more))


def _grid(cheat, tensor):
    return cheat.witness.tensors[tensor].reshape(cheat.circuit.tensors[tensor].padded)


def test_the_circuits_have_what_is_attacked():
    rows, image = (plan(MAKE[name](committed=True)[0]) for name in MAKE)
    assert stored((3, COLUMNS)).box == (4, 38) and len(stored((3, COLUMNS)).pieces) == 3
    for layout in (rows, image):
        assert sum(len(column.addresses) > 1 for column in layout.witness.columns.values()) >= 4
        assert any(len(column.addresses) > 1 for column in layout.weights.columns.values())
        blocks = [block for blocks in layout.bus.by_operation for block in blocks]
        assert {block.group.log_members for block in blocks if block.group.storage.axis != NO_AXIS} >= {0, 1}


@pytest.mark.parametrize("place", EDGES)
def test_a_wrong_cell_in_any_piece(place):
    for row in (0, 2):
        cheat = _cheat()
        op = cheat.op(ops.Requant)
        cells = _grid(cheat, op.out)
        cells[row, place] += 1 if cells[row, place] < cheat.circuit.tensors[op.out].high else -1
        cheat.refused()


@pytest.mark.parametrize("place", EDGES)
def test_places_of_two_pieces_exchanged_in_every_column_of_an_operation(place):
    """All lookups hold, with the same multiplicities; only the product that makes z sees it."""
    sketch = Sketch(9)
    hidden = sketch.requant(sketch.matmul(sketch.input((3, 21)), COLUMNS), relu=False, offset=2)
    cheat = Cheat(sketch.finish(sketch.requant(sketch.matmul(hidden, 2))), sketch.cells)
    number = cheat.number(ops.Requant)
    op = cheat.circuit.ops[number]
    honest = {table: counts.copy() for table, counts in cheat.witness.multiplicities().items()}
    columns = [_grid(cheat, op.z), _grid(cheat, op.out)]
    columns += [cheat.witness.extra[number, i].reshape(4, 64) for i in range(len(op.limbs))]
    other = 33 if place < 32 else 7
    assert (columns[0][:3, place] != columns[0][:3, other]).any()
    for cells in columns:
        cells[:, [place, other]] = cells[:, [other, place]]
    # What follows is computed from the exchanged cells, so nothing else is false.
    last = cheat.circuit.ops[-1]
    after = run(cheat.circuit, cheat.true_weights, examples.random_input(cheat.circuit))
    weights, bias = cheat.true_weights[2], cheat.true_weights[3]
    z = _grid(cheat, op.out)[:3, :COLUMNS] @ weights.T + bias
    _grid(cheat, last.z)[:3, :2] = z
    rounded = z + (1 << last.shift >> 1)
    _grid(cheat, last.out)[:3, :2] = np.vectorize(cheat.circuit.tables[last.table].at)(rounded >> last.shift)
    rest, offset = rounded & ((1 << last.shift) - 1), 0
    for i, bits in enumerate(last.limbs):
        limb = cheat.witness.extra[len(cheat.circuit.ops) - 1, i].reshape(after.tensors[last.out].shape)
        limb[:3, :2] = rest >> offset & ((1 << bits) - 1)
        offset += bits
    table = cheat.key.layout.bus.by_operation[number][0].table
    cheat.witness.counts = None
    assert np.array_equal(cheat.witness.multiplicities()[table], honest[table])
    assert cheat.refused().where == "matmul"


@pytest.mark.parametrize("cell", [(0, 37), (3, 0), (3, 36), (3, 37)])
def test_stored_padding_that_is_not_filler(cell):
    """Of results, of remainders, of flags and exponentials: padding within the box has rows, as true cells have."""
    for kind, column in ((ops.Requant, "out"), (ops.Requant, 0), (ops.RowMax, "exp"), (ops.RowMax, 0), (ops.ArgMax, 0)):
        cheat = _cheat()
        number = cheat.number(kind)
        if isinstance(column, str):
            cells = _grid(cheat, getattr(cheat.circuit.ops[number], column))
        else:
            cells = cheat.witness.extra[number, column].reshape(4, 64)
        cells[cell] += 1
        cheat.refused()


@pytest.mark.parametrize("cell", [(0, 38), (2, 63), (3, 40)])
def test_values_outside_the_box_are_in_no_commitment(cell, suite):
    """A prover that counts on cells which do not exist.

    Where a column is read at a random point, its claims hold for its arrays, not for what it committed. Where lookups alone
    read it, the cells have no weight, and the honest proof comes out.
    """
    seen = {(ops.Requant, "out"): True, (ops.RowMax, 2): True, (ops.Requant, 0): False, (ops.RowMax, 0): False}
    for (kind, column), counts in seen.items():
        cheat = _cheat()
        number = cheat.number(kind)
        if isinstance(column, str):
            cells = _grid(cheat, getattr(cheat.circuit.ops[number], column))
        else:
            cells = cheat.witness.extra[number, column].reshape(4, 64)
        assert cells[cell] == 0
        cells[cell] = 7
        if counts:
            cheat.refused()
        else:
            assert cheat.verify()
            assert suite.zero_knowledge or cheat.prove() == _cheat().prove()  # coins depend on the prover's arrays


def _exchanged(parts):
    """The last piece's cells and as many of the first one's."""
    parts = [part.copy() for part in parts]
    if len(parts) > 1:
        count = len(parts[-1])
        parts[0][:count], parts[-1][:] = parts[-1].copy(), parts[0][:count].copy()
    return parts


def _reordered(parts):
    """The same places, the smallest piece first."""
    if len(parts) == 1:
        return parts
    places = np.concatenate(parts[::-1])
    ends = np.cumsum([len(part) for part in parts])[:-1]
    return np.split(places, ends)


def _shifted(parts):
    """Every place one further on, round the whole box."""
    if len(parts) == 1:
        return parts
    ends = np.cumsum([len(part) for part in parts])[:-1]
    return np.split(np.roll(np.concatenate(parts), 1, axis=0), ends)


ORDERS = {"exchanged": _exchanged, "in another order": _reordered, "shifted": _shifted}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", MAKE)
@pytest.mark.parametrize("where", [commitment, proving], ids=["commitment", "lookups"])
def test_pieces_in_another_order_than_the_plan(name, where, order, monkeypatch):
    cheat = _cheat(name)
    cheat.given()
    honest = where.pieces_in
    monkeypatch.setattr(where, "pieces_in", lambda held, cells: ORDERS[order](honest(held, cells)))
    cheat.refused()


@pytest.mark.parametrize("order", ORDERS)
def test_committed_weights_in_another_order_have_another_root(order, monkeypatch):
    """A root is made from the weights by whoever pins it: an order of one's own does not lead to it."""
    circuit, weights = examples.odd_rows(committed=True)
    cheat = Cheat(circuit, weights)
    cheat.given()
    honest = commitment.pieces_in
    with monkeypatch.context() as patch:
        patch.setattr(commitment, "pieces_in", lambda held, cells: ORDERS[order](honest(held, cells)))
        other = prepare(circuit, weights, weights_seed=bytes(range(32)))
    assert other.identity != cheat.key.identity
    cheat.key = replace(cheat.key, committed=other.committed)
    cheat.refused()


@pytest.mark.parametrize("name", MAKE)
def test_members_of_a_group_exchanged(name, monkeypatch):
    """The same leaves in another order: all fractions still add up to 0, but their extensions are other ones."""
    cheat = _cheat(name)
    cheat.given()
    honest = proving.Member
    monkeypatch.setattr(proving, "Member", lambda index, logs, rest: honest(index ^ 1 if logs else 0, logs, rest))
    assert cheat.refused().where in ("lookups.denominators", "lookups.numerators")


@pytest.mark.parametrize("name", MAKE)
def test_filler_leaves_that_cancel_each_other(name, monkeypatch):
    """1/1 and −1/1 where 0/1 belongs: the sum stays 0."""
    cheat = _cheat(name)
    cheat.given()
    honest = prover_lookups.build_leaves

    def filled(bus, blocks, alpha, beta):
        layer = honest(bus, blocks, alpha, beta)
        used, size = len(layer.p1), len(layer.p0)
        assert used <= size - 2
        p1, q1 = np.zeros(size, dtype=np.uint64), np.zeros((2, size), dtype=np.uint64)
        p1[:used], q1[:, :used], q1[0, used:] = layer.p1, layer.q1, 1
        p1[-2:] = 1, proving.to_field(np.array([-1]))[0]
        return replace(layer, p1=p1, q1=q1)

    monkeypatch.setattr("verifai.engines.sumcheck.prover.party.build_leaves", filled)
    assert cheat.refused().where == "lookups.numerators"


@pytest.mark.parametrize("name", MAKE)
def test_a_filler_leaf_that_makes_up_for_a_false_row(name, monkeypatch):
    """The output's row is in no table. One filler leaf, 1/(−1/S), brings the sum S of all others back to 0."""
    cheat = _cheat(name)
    cheat.given()
    out = cheat.circuit.outputs[0].tensor
    cells, described = cheat.witness.tensors[out], cheat.circuit.tensors[out]
    cells[0] += 1 if cells[0] < described.high else -1
    honest = prover_lookups.build_leaves

    def filled(bus, blocks, alpha, beta):
        layer = honest(bus, blocks, alpha, beta)
        top = prover_lookups._Layers(cheat.channel, layer)._layers[-1]
        (p0, p1, q0, q1) = (element(*one[:, 0]) for one in (top.p0, top.p1, top.q0, top.q1))
        total = field.add(field.product(p0, field.inverse(q0)), field.product(p1, field.inverse(q1)))
        assert total != field.ZERO
        last = np.array(field.sub(field.ZERO, field.inverse(total)), dtype=np.uint64).reshape(2, 1)
        p1, q1 = np.append(layer.p1, np.uint64(1)), np.concatenate([layer.q1, last], axis=1)
        assert len(p1) <= len(layer.p0)
        return replace(layer, p1=p1, q1=q1)

    monkeypatch.setattr("verifai.engines.sumcheck.prover.party.build_leaves", filled)
    assert cheat.refused().where == "lookups.numerators"


@pytest.mark.parametrize("name", MAKE)
def test_filler_with_another_denominator(name, monkeypatch):
    """0/2 where 0/1 belongs leaves the sum as it is, and would add to the degree that leaves are counted for."""
    cheat = _cheat(name)
    cheat.given()
    honest = prover_lookups.build_leaves

    def filled(bus, blocks, alpha, beta):
        layer = honest(bus, blocks, alpha, beta)
        assert len(layer.p1) < len(layer.p0)
        two = np.array([[2], [0]], dtype=np.uint64)
        return replace(layer, p1=np.append(layer.p1, np.uint64(0)), q1=np.concatenate([layer.q1, two], axis=1))

    monkeypatch.setattr("verifai.engines.sumcheck.prover.party.build_leaves", filled)
    assert cheat.refused().where == "lookups.denominators"


@pytest.mark.parametrize("name", MAKE)
def test_a_prover_that_stores_whole_tensors(name, monkeypatch):
    """Another plan is another circuit, and its proof is not one of this circuit."""
    circuit, weights = MAKE[name]()
    cheat = Cheat(circuit, weights)
    given = cheat.given()
    monkeypatch.setattr(storage, "LEAST_SAVED", 1 << 40)
    stored.cache_clear()
    try:
        draft = replace(circuit, commitments=(), soundness=())
        other = Cheat(planned(draft, Sketch.suite), weights, twin=False)
        proven = other.prove()
        assert other.verify()
    finally:
        monkeypatch.undo()
        stored.cache_clear()
    with pytest.raises(EvidenceRejected):
        verify(*given, proven.statement, proven.proof)
    from verifai.engines.sumcheck.circuit.codec import circuit_digest, encode

    data = encode(other.circuit)
    with pytest.raises(EvidenceRejected) as caught:
        trust_circuit(data, circuit_digest(data))
    assert caught.value.code == "circuit-invalid"


@pytest.mark.parametrize("name", MAKE)
def test_a_lie_in_any_message(name, suite, monkeypatch):
    """Messages read in the second group of an operation's lookups among them, and sums over functionals with pieces."""
    cheat = _cheat(name)
    cheat.given()
    cheat.prove()
    labels = cheat.channel.labels
    monkeypatch.setattr(proving, "ProverChannel", PlainLiar)
    monkeypatch.setattr(proving, "HidingProverChannel", EncryptingLiar)
    places = {}
    for message, (label, count) in enumerate(labels):
        places.setdefault(label, []).append((message, count))
    tried = 0
    for label, found in places.items():
        if label.startswith(("lookups.round", "openings.", "products.")):
            found = found[-1:]
        for message, count in found[:: 1 + len(found) // 3] if suite.zero_knowledge else found[:: 1 + len(found) // 8]:
            Liar.target = (message, count - 1)
            cheat.refused()
            tried += 1
    assert tried > 30
