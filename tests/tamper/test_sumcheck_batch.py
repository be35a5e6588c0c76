"""Batches: honest ones are accepted, whatever is bound how; items exchanged, joined, miscounted or invented are refused."""

from __future__ import annotations

import struct
from dataclasses import replace

import numpy as np
import pytest

from tests.support import sumcheck_examples as examples
from tests.support.sumcheck_batches import CIRCUITS, in_batch, stacked
from tests.support.sumcheck_cheats import WEIGHTS_SEED, Cheat
from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.codec import circuit_digest, encode
from verifai.engines.sumcheck.payload.statement import decode_statement, encode_statement
from verifai.engines.sumcheck.planning.plan import planned
from verifai.engines.sumcheck.protocol.statement import HashedTensor, PublicTensor, check_statement
from verifai.engines.sumcheck.protocol.storage import stored
from verifai.engines.sumcheck.prover.prove import prepare
from verifai.engines.sumcheck.tensor_roots import root_of
from verifai.engines.sumcheck.tensors import filled
from verifai.engines.sumcheck.verifier.verify import trust_circuit, trust_weights, verify
from verifai.errors import EvidenceRejected

pytestmark = pytest.mark.usefixtures("suite")

ITEMS, BATCH = 3, 5


def world(made=None, items=ITEMS, batch=BATCH):
    """A prover of ``items`` items in a circuit that takes ``batch``."""
    single, cells = made or examples.mlp(committed=True)
    circuit, _ = in_batch((single, cells), batch)
    return Cheat(circuit, cells, stacked(single, items, batch)[1])


def proven(cheat, items=ITEMS):
    return cheat.prove(items=items)


def refused(cheat, statement, proof, code="proof-invalid"):
    with pytest.raises(EvidenceRejected) as caught:
        verify(*cheat.given(), statement, proof)
    assert caught.value.code == code


def shown(cheat, port):
    """A public tensor's place in the statement, and its cells by item."""
    tensor = cheat.circuit.tensors[(*cheat.circuit.inputs, *cheat.circuit.outputs)[port].tensor]
    return tensor, tensor.size // tensor.shape[0]


def with_cells(statement, port, cells):
    tensors = list(statement.tensors)
    tensors[port] = PublicTensor(tuple(cells))
    return replace(statement, tensors=tuple(tensors))


@pytest.mark.parametrize("items", [1, 3, 5])
@pytest.mark.parametrize("name", CIRCUITS)
def test_an_honest_batch_is_accepted_full_or_not(name, items):
    cheat = world(CIRCUITS[name](), items)
    one = proven(cheat, items)
    assert verify(*cheat.given(), one.statement, one.proof).statement.items == items
    data = encode_statement(cheat.circuit, one.statement)
    assert decode_statement(cheat.circuit, data) == one.statement


def test_filler_is_not_in_the_statements_bytes():
    few, many = (len(encode_statement(c.circuit, proven(c, n).statement)) for c, n in ((world(), 3), (world(items=5), 5)))
    assert few < many


@pytest.mark.parametrize("port", [0, 1], ids=["inputs", "outputs"])
def test_two_items_exchanged_on_one_side(port):
    cheat = world()
    one = proven(cheat)
    _, size = shown(cheat, port)
    cells = list(one.statement.tensors[port].cells)
    assert cells[:size] != cells[size : 2 * size]
    cells[:size], cells[size : 2 * size] = cells[size : 2 * size], cells[:size]
    refused(cheat, with_cells(one.statement, port, cells), one.proof)


def test_two_items_exchanged_on_both_sides_are_another_statement():
    """True, but not what this proof is of: items have an order."""
    cheat = world()
    one = proven(cheat)
    statement = one.statement
    for port in (0, 1):
        _, size = shown(cheat, port)
        cells = list(statement.tensors[port].cells)
        cells[:size], cells[size : 2 * size] = cells[size : 2 * size], cells[:size]
        statement = with_cells(statement, port, cells)
    refused(cheat, statement, one.proof)


@pytest.mark.parametrize("port", [0, 1], ids=["inputs", "outputs"])
def test_one_item_put_in_another_ones_place(port):
    cheat = world()
    one = proven(cheat)
    _, size = shown(cheat, port)
    cells = list(one.statement.tensors[port].cells)
    cells[:size] = cells[size : 2 * size]
    refused(cheat, with_cells(one.statement, port, cells), one.proof)


def test_an_output_written_to_another_item_before_committing():
    """A consistent prover: the witness itself holds item 1's output in item 0's place."""
    cheat = world()
    out = cheat.circuit.outputs[0].tensor
    cells = cheat.witness.tensors[out].reshape(cheat.circuit.tensors[out].padded)
    cells[0] = cells[1]
    assert cheat.refused(items=ITEMS).code == "proof-invalid"


@pytest.mark.parametrize("name", ["mlp", "hashed mlp", "cnn", "odd rows", "whole rows", "language model"])
def test_the_whole_trace_of_two_items_exchanged_but_for_the_inputs(name):
    """Every later tensor and column has its items exchanged, so all lookups and sums hold; only the first link does not."""
    cheat = world(CIRCUITS[name]())
    given = {port.tensor for port in cheat.circuit.inputs}
    held = [n for op in cheat.circuit.ops for n in ops.results(op) if n not in given]
    for number in held:
        _exchange(cheat.witness.tensors[number], cheat.circuit.batch)
    for column in cheat.witness.extra.values():
        _exchange(column, cheat.circuit.batch)
    cheat.refused(items=ITEMS)


def _exchange(cells, batch):
    """Items 0 and 1 of a padded tensor or column, whose first axis has the batch's padded size."""
    rows = cells.reshape(1 << (batch - 1).bit_length(), -1)
    rows[[0, 1]] = rows[[1, 0]]


@pytest.mark.parametrize("hidden", ["input", "output"])
def test_items_of_a_hashed_tensor_exchanged(hidden):
    """Their root is another one, and the proof is not of it."""
    cheat = world(CIRCUITS["hashed mlp"]())
    tensor = (cheat.circuit.inputs if hidden == "input" else cheat.circuit.outputs)[0].tensor
    _exchange(cheat.witness.tensors[tensor], cheat.circuit.batch)
    cheat.refused(items=ITEMS)


@pytest.mark.parametrize("which", ["item 0", "last item", "filler"])
def test_one_items_input_exchanged_for_another(which):
    """The witness goes on with the honest rest."""
    cheat = world(CIRCUITS["hashed mlp"]())
    place = {"item 0": 0, "last item": ITEMS - 1, "filler": BATCH - 1}[which]
    tensor = cheat.circuit.inputs[0].tensor
    cells = cheat.witness.tensors[tensor].reshape(cheat.circuit.tensors[tensor].padded)
    cells[place, 0, 0] += 1 if cells[place, 0, 0] < 100 else -1
    cheat.refused(items=ITEMS)


@pytest.mark.parametrize("claimed", [0, 1, 2, 4, 5, 6, 2**32, 2**63])
def test_another_number_of_items_under_the_same_proof(claimed):
    """Also when the public cells fit it: all items beyond the third are the third."""
    cheat = world()
    one = proven(cheat)
    statement = replace(one.statement, items=claimed)
    fits = 1 <= claimed <= BATCH
    if claimed in (1, 2):
        for port in (0, 1):
            _, size = shown(cheat, port)
            cells = one.statement.tensors[port].cells
            kept = cells[: claimed * size]
            statement = with_cells(statement, port, kept + kept[-size:] * (BATCH - claimed))
    refused(cheat, statement, one.proof, "proof-invalid" if fits else "statement-invalid")


def test_another_number_of_items_where_all_items_are_hidden():
    cheat = world(CIRCUITS["hashed mlp"]())
    one = proven(cheat)
    for claimed in (2, 4, 5):
        refused(cheat, replace(one.statement, items=claimed), one.proof)


def test_a_number_of_items_in_a_statement_without_a_batch():
    cheat = Cheat(*examples.mlp())
    one = cheat.prove()
    refused(cheat, replace(one.statement, items=1), one.proof, "statement-invalid")


def test_filler_that_is_an_item_of_its_own():
    """Five true rows of which three are said to count: the public rest would be claimed by no one and seen by everyone."""
    cheat = world(items=5)
    with pytest.raises(EvidenceRejected, match="filler"):
        check_statement(cheat.circuit, proven(cheat, 3).statement)
    one = proven(cheat, 3)
    refused(cheat, one.statement, one.proof, "statement-invalid")


def test_the_bytes_of_a_statement_cannot_say_what_fills_a_batch():
    """Whatever stands behind the items that count is context, and the proof is of another one."""
    cheat = world()
    one = proven(cheat)
    data = encode_statement(cheat.circuit, one.statement)
    assert decode_statement(cheat.circuit, data + b"more").context == b"more"
    refused(cheat, decode_statement(cheat.circuit, data + b"more"), one.proof)


def test_the_count_in_a_statements_bytes_is_judged_before_anything_is_made_of_it():
    cheat = world()
    data = bytearray(encode_statement(cheat.circuit, proven(cheat).statement))
    at = data.index(struct.pack("<Q", ITEMS), len(b"verifai/sumcheck-statement/1"))
    for count in (0, BATCH + 1, 2**40, 2**64 - 1):
        data[at : at + 8] = struct.pack("<Q", count)
        with pytest.raises(EvidenceRejected) as caught:
            decode_statement(cheat.circuit, bytes(data))
        assert caught.value.code == "statement-malformed"


@pytest.mark.parametrize("batch", [0, 2, 4, 6, 8])
def test_another_batch_in_the_circuits_bytes(batch):
    """It is another circuit by its digest; and one that breaks the rules, but for a circuit that is said to have no batch."""
    cheat = world()
    data = encode(replace(cheat.circuit, batch=batch))
    assert circuit_digest(data) != circuit_digest(encode(cheat.circuit))
    with pytest.raises(EvidenceRejected) as caught:
        trust_circuit(data, circuit_digest(encode(cheat.circuit)))
    assert caught.value.code == "circuit-mismatch"
    if batch:
        with pytest.raises(EvidenceRejected) as caught:
            trust_circuit(data, circuit_digest(data))
        assert caught.value.code == "circuit-invalid"


def test_a_proof_of_a_batch_for_the_circuit_of_another_size():
    """The same items, weights and roots of the same cells: but 5 places or 6."""
    single = examples.mlp(committed=True)
    one = proven(world(single, ITEMS, 5))
    other = world(single, ITEMS, 6)
    with pytest.raises(EvidenceRejected):
        verify(*other.given(), one.statement, one.proof)
    for port in (0, 1):
        _, size = shown(other, port)
        cells = one.statement.tensors[port].cells
        statement = with_cells(one.statement, port, cells + cells[-size:])
        one = replace(one, statement=statement)
    with pytest.raises(EvidenceRejected):
        verify(*other.given(), one.statement, one.proof)


def _batch_in_pieces():
    """So large and odd a batch that its axis is the one that is cut into pieces."""
    sketch = examples.Sketch(4)
    x = sketch.input((1, 4))
    hidden = sketch.requant(sketch.matmul(x, 8), offset=2)
    pooled = sketch.add(ops.RowMax, hidden, exp=ops.NONE, table=_zeros(sketch), saturate=False)
    out = sketch.requant(sketch.add(ops.LinearCombination, (pooled,), (3,), 1), relu=False)
    return sketch.finish(out, committed=True), sketch.cells


def _zeros(sketch):
    sketch.tables.append(examples.Table("zeros", 0, (0,) * 256))
    return len(sketch.tables) - 1


@pytest.mark.parametrize("which", ["activation", "limb", "flag", "maximum"])
def test_dirty_padding_in_a_piece_of_the_batch_axis(which):
    """37 items are stored as 32 and 4 and 2: one row beyond the last is padding, and has a cell in the commitment."""
    cheat = world(_batch_in_pieces(), 37, 37)
    requant, maximum = cheat.op(ops.Requant), cheat.op(ops.RowMax)
    shape = cheat.circuit.tensors[requant.out].shape
    assert stored(shape).box == (38, 1, 8)
    place = np.ravel_multi_index((37, 0, 3), (64, 1, 8))
    if which == "activation":
        cheat.witness.tensors[requant.out][place] += 1
    elif which == "limb":
        cheat.witness.extra[cheat.number(ops.Requant), 0][place] ^= 1
    elif which == "flag":
        cheat.witness.extra[cheat.number(ops.RowMax), 0][place] ^= 1
    else:
        assert stored(cheat.circuit.tensors[maximum.out].shape).box[0] > 37
        cheat.witness.tensors[maximum.out][37] += 1
    cheat.refused(items=37)


def test_padding_of_a_hashed_batch_is_zero():
    """Behind the last item, where no item is, a hashed tensor holds no other one."""
    cheat = world(CIRCUITS["hashed mlp"]())
    tensor = cheat.circuit.inputs[0].tensor
    cheat.witness.tensors[tensor].reshape(cheat.circuit.tensors[tensor].padded)[BATCH, 0, 0] = 1
    cheat.refused(items=ITEMS)


def test_the_root_of_a_hashed_batch_is_that_of_its_items_and_filler():
    """So whoever holds the items derives it, and no other number of them has it."""
    cheat = world(CIRCUITS["hashed mlp"]())
    root = next(one for one in proven(cheat).statement.tensors if isinstance(one, HashedTensor)).root
    tensor = cheat.circuit.tensors[cheat.circuit.inputs[0].tensor]
    cells = cheat.trace.true(cheat.circuit.inputs[0].tensor)
    # A hiding root depends on a secret seed: nobody but its holder derives it.
    assert (root_of(tensor.shape, cells.reshape(-1).tolist()) == root) is not cheat.circuit.zero_knowledge
    for items in (1, 2, 4):
        assert root_of((items, *tensor.shape[1:]), cells[:items].reshape(-1).tolist()) != root


def test_weights_enter_once():
    """One commitment of the same cells, whatever the batch, and one opening of it per proof."""
    single, cells = examples.mlp(committed=True)
    for items in (2, 9):
        circuit, _ = in_batch((single, cells), items)
        key = prepare(circuit, cells, weights_seed=WEIGHTS_SEED)
        assert sum(shape.label == "w" for shape in circuit.commitments) == 1
        assert trust_weights(trust_circuit(encode(circuit), key.digest), key.identity, None).identity == key.identity


def choosing(left, items):
    """A circuit that whoever has the weights may make: a View leaves one place of the batch to its constant."""
    sketch = examples.Sketch(3)
    a = sketch.requant(sketch.matmul(sketch.input((1, 4)), 3), relu=False)
    piece = ops.Piece(a, (0, 1), ((0,), (0, 1, 2)), (ops.NONE, ops.NONE))
    view = sketch.add(ops.View, (piece,), constant=0, shape=(1, 3))
    circuit, cells = in_batch((sketch.finish(sketch.requant(view, relu=False)), sketch.cells), 4)
    number = next(at for at, op in enumerate(circuit.ops) if isinstance(op, ops.View))
    (piece,) = circuit.ops[number].pieces
    places = tuple(ops.NONE if at == left else at for at in range(4))
    changed = replace(circuit.ops[number], pieces=(replace(piece, indices=(places, *piece.indices[1:])),))
    circuit = planned(replace(circuit, ops=(*circuit.ops[:number], changed, *circuit.ops[number + 1 :])), examples.Sketch.suite)
    return Cheat(circuit, cells, [filled(examples.random_input(circuit, 1)[0][:items], 4)], twin=False)


@pytest.mark.parametrize("left", [0, 1, 3])
def test_a_circuit_that_chooses_by_the_place_proves_all_its_places_and_no_filler_that_differs(left):
    """A statement of fewer items is about all places: it repeats the last output, which the circuit does not."""
    assert choosing(left, 4).verify(items=4)
    for items in (1, 2, 3):
        cheat = choosing(left, items)
        one = proven(cheat, items)
        shown = decode_statement(cheat.circuit, encode_statement(cheat.circuit, one.statement))
        if left < items - 1:  # filler repeats the last item, which is no exception
            assert verify(*cheat.given(), shown, one.proof)
        else:
            refused(cheat, shown, one.proof)


@pytest.mark.parametrize("items", [1, 2, 3])
def test_filler_made_to_fit_where_the_circuit_has_its_constant(items):
    """The prover commits to what the statement repeats, in place of what the circuit computes there."""
    cheat = choosing(3, items)
    out = cheat.circuit.outputs[0].tensor
    cells = cheat.witness.tensors[out].reshape(cheat.circuit.tensors[out].padded)
    assert (cells[3] != cells[2]).any()
    cells[3] = cells[2]
    one = cheat.prove(items=items)
    shown = decode_statement(cheat.circuit, encode_statement(cheat.circuit, one.statement))
    assert shown == one.statement
    refused(cheat, shown, one.proof)
