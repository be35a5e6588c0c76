"""What a review of the sumcheck engine asked of its verifier, as provers that cheat and stay consistent.

These are the places where a constraint could be missing without any honest run noticing: paths that only stated tensors take,
ranges that are not powers of two, cells that no claim addresses, and messages of every operation along rows.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.support import sumcheck_examples as examples
from tests.support.sumcheck_cheats import Cheat, EncryptingLiar, Liar, PlainLiar
from tests.support.sumcheck_examples import Sketch, Table
from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.check import check
from verifai.engines.sumcheck.circuit.codec import circuit_digest, encode
from verifai.engines.sumcheck.circuit.program import Port, Visibility, WeightVisibility
from verifai.engines.sumcheck.circuit.weights import encode_weights
from verifai.engines.sumcheck.planning import rehearsal
from verifai.engines.sumcheck.planning.plan import planned
from verifai.engines.sumcheck.planning.rehearsal import RehearsalParty
from verifai.engines.sumcheck.protocol.operations import reduce_claim
from verifai.engines.sumcheck.protocol.suite import INTEGRITY
from verifai.engines.sumcheck.prover import commitment
from verifai.engines.sumcheck.prover import prove as proving
from verifai.engines.sumcheck.prover.prove import commit_and_prove, prepare
from verifai.engines.sumcheck.verifier.verify import trust_circuit, trust_weights, verify
from verifai.errors import EvidenceRejected, UnsupportedModel

NONE = ops.NONE

pytestmark = pytest.mark.usefixtures("suite")


def _hashed_range(low, high):
    sketch = Sketch(50)
    x = sketch.input((1, 13), low, high, hashed=True)
    return Cheat(sketch.finish(sketch.requant(sketch.matmul(x, 5), relu=False)), sketch.cells)


@pytest.mark.parametrize(("low", "high"), [(-100, 99), (0, 1), (3, 200), (-7, -7)])
def test_a_hashed_cell_beyond_either_end_of_a_range_that_is_no_power_of_two(low, high):
    """[low, low + 2^b) is wider than the declared range, so one lookup alone would let the cells between through."""
    assert _hashed_range(low, high).verify()
    for value in (low - 1, high + 1, low + 255, high - 255):
        cheat = _hashed_range(low, high)
        cheat.witness.tensors[cheat.circuit.inputs[0].tensor][3] = value
        if not low <= value <= high:
            cheat.refused()


def _stated_maxima(kind, hashed):
    """Three rows in four padded ones; the maxima, or their indices, are the output."""
    sketch = Sketch(51)
    x = sketch.requant(sketch.matmul(sketch.input((3, 4)), 5), relu=False)
    if kind is ops.RowMax:
        sketch.tables.append(Table("none", 0, (0,) * 512))
        out = sketch.add(ops.RowMax, x, exp=NONE, table=len(sketch.tables) - 1, saturate=False)
    else:
        out = sketch.add(ops.ArgMax, x)
    return Cheat(sketch.finish(out, hashed=(out,) if hashed else ()), sketch.cells), out


@pytest.mark.parametrize("kind", [ops.RowMax, ops.ArgMax])
def test_dirty_padding_of_hashed_results_whose_padding_no_operation_fixes(kind):
    """Padding of maxima is pinned by the operation only where they are not stated; where they are, the statement must do it."""
    assert _stated_maxima(kind, True)[0].verify()
    for cell, value in ((3, 1), (0, 1), (3, -1)):
        cheat, out = _stated_maxima(kind, True)
        cheat.witness.tensors[out][cell] += value
        cheat.refused()


@pytest.mark.parametrize("kind", [ops.RowMax, ops.ArgMax])
def test_stated_results_along_rows_that_are_off_by_one(kind):
    for row in range(3):
        cheat, out = _stated_maxima(kind, False)
        described = cheat.circuit.tensors[out]
        cells = cheat.witness.tensors[out]
        cells[row] += 1 if cells[row] < described.high else -1
        cheat.refused()


def _carried(kind):
    """A virtual result of ``kind``, then Requant; each is one operation whose only check is that its claim is carried on."""
    sketch = Sketch(52)
    x = sketch.input((2, 3, 4))
    if kind == "rowsum":
        z = sketch.add(ops.RowSum, x, NONE, multiplier=3, axes=2)
    elif kind == "relabel":
        z = sketch.add(ops.Relabel, x, shape=(1, 2, 3, 4))
    elif kind == "view":
        pieces = (
            ops.Piece(x, (0, 2, 1), ((0, 1), (3, 1, NONE), (2, 0)), (NONE, NONE, NONE)),
            ops.Piece(x, (0, NONE, 2), ((1, 0), (NONE, NONE, 0), (0, 3)), (NONE, 2, NONE)),
        )
        z = sketch.add(ops.View, pieces, 0, shape=(2, 3, 2))
    elif kind == "partial view":
        z = sketch.add(ops.View, (ops.Piece(x, (0, 1, 2), ((0, 1), (0, NONE, 2), (1, 2)), (NONE,) * 3),), 7, shape=(2, 3, 2))
    else:
        image = sketch.input((1, 4, 3, 3))
        z = sketch.conv(image, 8, (2, 2), groups=2)
        y = sketch.add(ops.RowSum, x, NONE, multiplier=1, axes=3)
        return sketch, sketch.requant(z, relu=False), sketch.requant(y, relu=False)
    return sketch, sketch.requant(z, relu=False)


def _carried_cheat(kind):
    sketch, *outs = _carried(kind)
    return Cheat(sketch.finish(*outs), sketch.cells)


@pytest.mark.parametrize(
    ("kind", "where"),
    [("rowsum", "rowsum"), ("relabel", "relabel"), ("view", "view"), ("partial view", "view"), ("grouped conv", "conv")],
)
def test_a_virtual_result_that_differs_from_what_its_operands_make_it(kind, where):
    """z is changed together with the quotient, remainder and output that follow from it."""
    cheat = _carried_cheat(kind)
    number = next(i for i, op in enumerate(cheat.circuit.ops) if isinstance(op, ops.Requant))
    op = cheat.circuit.ops[number]
    z = cheat.witness.tensors[op.z]
    z[0] += 1 if z[0] < cheat.circuit.tensors[op.z].high else -1
    rounded = int(z[0]) + ((1 << op.shift) >> 1)
    rest, offset = rounded & ((1 << op.shift) - 1), 0
    for i, bits in enumerate(op.limbs):
        cheat.witness.extra[number, i][0] = rest >> offset & ((1 << bits) - 1)
        offset += bits
    cheat.witness.tensors[op.out][0] = cheat.circuit.tables[op.table].at(rounded >> op.shift)
    assert cheat.refused().where == where


def _rows_of_everything():
    """Saturating softmax, reciprocal, root, arg-max; a hashed input, committed weights, a public and a hashed output."""
    sketch = Sketch(53)
    x = sketch.input((2, 3), hashed=True)
    hidden = sketch.requant(sketch.matmul(x, 5), relu=False, low=-20, high=20)
    sketch.tables.append(Table("exp", 0, (90, 60, 40, 20, 9, 4, 1, 0)))
    maxima = sketch.add(ops.RowMax, hidden, table=len(sketch.tables) - 1, saturate=True, outs=("out", "exp"))
    total = sketch.add(ops.RowSum, maxima + 1, NONE, multiplier=1, axes=1)
    reciprocal = sketch.add(ops.Recip, total)
    squares = sketch.add(ops.RowSum, hidden, hidden, multiplier=1, axes=1)
    root = sketch.add(ops.Isqrt, squares)
    first = sketch.requant(sketch.add(ops.LinearCombination, (reciprocal, root), (1, 3), 2), relu=False)
    index = sketch.add(ops.ArgMax, hidden)
    return Cheat(sketch.finish(first, index, hashed=(index,), committed=True), sketch.cells)


def test_a_lie_in_any_message_about_operations_along_rows(suite, monkeypatch):
    """The zero-knowledge suite's proofs take longer, so that one message of each kind has to do."""
    cheat = _rows_of_everything()
    assert cheat.verify()
    cheat.prove()
    labels = cheat.channel.labels
    monkeypatch.setattr(proving, "ProverChannel", PlainLiar)
    monkeypatch.setattr(proving, "HidingProverChannel", EncryptingLiar)
    places = {}
    for message, (label, count) in enumerate(labels):
        if label.split(".")[0] in ("rowmax", "recip", "isqrt", "argmax", "hashed", "deferred", "product", "rowsum"):
            places.setdefault(label, []).append((message, count))
    tried = dict.fromkeys(places, 0)
    for label, found in places.items():
        chosen = found if len(found) < 4 else found[:: len(found) // 3]
        for message, count in chosen[-1:] if suite.zero_knowledge else chosen:
            for element in {count - 1} if suite.zero_knowledge else {0, count - 1}:
                Liar.target = (message, element)
                cheat.refused()
                tried[label] += 1
    assert min(tried.values()) > 0 and {"rowmax.u", "recip.k", "isqrt.square", "argmax.reached", "hashed.x"} <= set(tried)


def _dirty(monkeypatch, chosen, cells_of):
    honest = commitment.stored_rows

    def dirty(plan, cells):
        rows = honest(plan, cells).copy()
        if plan.shape.label == chosen:
            cells_of(plan, rows)
        return rows

    monkeypatch.setattr(commitment, "stored_rows", dirty)


@pytest.mark.parametrize("suite", [INTEGRITY], indirect=True)  # the other suite's reserved rows are blind rows
@pytest.mark.parametrize("label", ["x", "io:t0"])
def test_cells_that_no_claim_addresses_change_roots_but_nothing_that_is_stated(monkeypatch, label):
    """Cells before the first column are not checked to be 0, and need not be: no claim reads them. Roots are therefore not
    canonical: a prover can give one tensor many, so unequal roots do not mean unequal tensors."""
    honest = examples.mlp(hashed_input=True)
    clean = Cheat(*honest).verify()

    def free(plan):
        """Address of an unused cell in the first stored row."""
        address = min(min(column.addresses) for column in plan.columns.values()) - 1
        assert address >= plan.first_row * plan.shape.message
        return address

    with monkeypatch.context() as patch:
        _dirty(patch, label, lambda plan, rows: rows.__setitem__((0, free(plan) % plan.shape.message), np.uint64(12345)))
        # The opening's value v is that of the whole matrix, so the prover's cells must show the garbage too.
        original = commitment.commit

        def commit(plan, columns, threads=1):
            made = original(plan, columns, threads)
            if plan.shape.label == label:
                made.cells[free(plan) - made.first] = 12345
            return made

        patch.setattr(proving, "commit", commit)
        found = Cheat(*honest, twin=False).verify()
    assert found.statement.tensors[1] == clean.statement.tensors[1]
    assert (found.statement.tensors[0] == clean.statement.tensors[0]) == (label == "x")


def test_a_pinned_root_is_taken_as_it_is_so_it_must_be_made_from_the_weights():
    """No proof shows that committed weights keep their declared bounds: with a root of other weights pinned, a proof holds.
    What the circuit promises about weights is worth as much as the pin."""
    circuit, weights = examples.mlp(committed=True)
    loud = replace(circuit, weights=tuple(replace(w, bound=w.bound * 2, row_l1=w.row_l1 * 2) for w in circuit.weights))
    excessive = [cells.copy() for cells in weights]
    excessive[0][0, 0] = circuit.weights[0].bound + 1
    with pytest.raises(EvidenceRejected) as caught:
        prepare(circuit, excessive)
    assert caught.value.code == "weights-malformed"
    other = prepare(planned(replace(loud, commitments=(), soundness=()), Sketch.suite), excessive)
    inputs = [np.zeros(circuit.tensors[port.tensor].shape, dtype=np.int64) for port in circuit.inputs]
    cheat = Cheat(circuit, weights, inputs)  # with an input of zeros, the first layer's weights do not matter
    data = encode(circuit)
    trusted = trust_circuit(data, circuit_digest(data))
    key = replace(cheat.key, weights=other.weights, committed=other.committed, identity=other.identity)
    proven = commit_and_prove(key, cheat.witness, opening_number=0)
    assert verify(trusted, trust_weights(trusted, other.identity, None), proven.statement, proven.proof)
    with pytest.raises(EvidenceRejected):
        verify(trusted, trust_weights(trusted, cheat.key.identity, None), proven.statement, proven.proof)


@pytest.mark.parametrize(
    "change",
    [
        lambda t: replace(t, scale=(3, 7)),
        lambda t: replace(t, zero_point=t.zero_point + 1),
        lambda t: replace(t, name=f"{t.name}x"),
    ],
)
@pytest.mark.parametrize("side", ["inputs", "outputs"])
def test_a_proof_under_another_meaning_of_the_same_integers(change, side):
    """Scale, zero point and names take no part in the arithmetic; the transcript alone binds them."""
    circuit, weights = examples.mlp()
    (port,) = getattr(circuit, side)
    tensors = list(circuit.tensors)
    tensors[port.tensor] = change(tensors[port.tensor])
    other = replace(circuit, tensors=tuple(tensors))
    cheat = Cheat(circuit, weights)
    proven = commit_and_prove(cheat.key, cheat.witness)
    data = encode(other)
    trusted = trust_circuit(data, circuit_digest(data))
    blob = encode_weights(other, [cells.reshape(-1).tolist() for cells in weights])
    given = trust_weights(trusted, cheat.key.identity, blob)
    with pytest.raises(EvidenceRejected) as caught:
        verify(trusted, given, proven.statement, proven.proof)
    assert caught.value.code == "proof-invalid"
    with pytest.raises(EvidenceRejected) as caught:
        trust_circuit(data, circuit_digest(encode(circuit)))
    assert caught.value.code == "circuit-mismatch"


def _circuits_that_state_what_nothing_computes():
    circuit, _ = examples.mlp()
    (x,), (y,) = circuit.inputs, circuit.outputs
    z = next(op.out for op in circuit.ops if isinstance(op, ops.MatMul))
    yield "an input as output", replace(circuit, outputs=(y, Port(x.tensor, Visibility.PUBLIC)))
    yield "a virtual tensor as output", replace(circuit, outputs=(y, Port(z, Visibility.PUBLIC)))
    yield "one output twice", replace(circuit, outputs=(y, Port(y.tensor, Visibility.HASHED)))
    yield "one input twice", replace(circuit, inputs=(x, Port(x.tensor, Visibility.HASHED)))
    hidden = next(op.out for op in circuit.ops if isinstance(op, ops.Requant))
    yield "a result as input", replace(circuit, inputs=(x, Port(hidden, Visibility.PUBLIC)))
    unread = replace(circuit.tensors[x.tensor], name="unread")
    more = replace(circuit, tensors=(*circuit.tensors, unread))
    yield "an input that nothing reads", replace(more, inputs=(x, Port(len(circuit.tensors), Visibility.PUBLIC)))
    many = tuple(replace(unread, name=f"n{i}") for i in range(255))
    ports = tuple(Port(len(circuit.tensors) + i, Visibility.PUBLIC) for i in range(255))
    yield "more inputs than a byte counts", replace(circuit, tensors=(*circuit.tensors, *many), inputs=(x, *ports))


@pytest.mark.parametrize(("what", "circuit"), list(_circuits_that_state_what_nothing_computes()))
def test_a_circuit_whose_statement_would_be_bound_to_nothing(what, circuit):
    with pytest.raises(EvidenceRejected) as caught:
        check(circuit)
    assert caught.value.code == "circuit-invalid"


def test_an_operation_that_carries_no_claims_is_never_passed_over():
    """Gather has a meaning but no proof in this suite: neither the plan nor the script lets a claim on its result lapse."""
    sketch = Sketch(54)
    gathered = sketch.add(ops.Gather, sketch.input((4,)), indices=(3, 0), constant=0, shape=(2,))
    with pytest.raises(UnsupportedModel):
        sketch.finish(sketch.requant(gathered, relu=False))
    draft = replace(sketch._circuit(), weight_visibility=WeightVisibility.PUBLIC)
    with pytest.raises(UnsupportedModel):
        reduce_claim(RehearsalParty(draft), 0, (), None)


@pytest.mark.parametrize("limit", ["MAX_MESSAGES", "MAX_CLAIMS"])
def test_claims_that_double_with_every_operation_are_refused_when_the_circuit_is_planned(limit, monkeypatch):
    """Each view reads its source twice, so that claims on the first number 2^24: neither side may be kept busy with them."""
    monkeypatch.setattr(rehearsal, limit, 1 << 10)
    sketch = Sketch(55)
    held = sketch.input((2,), hashed=True)
    for _ in range(24 if limit == "MAX_MESSAGES" else 11):
        halves = tuple(ops.Piece(held, (0,), ((NONE, i) if i else (0, NONE),), (NONE,)) for i in range(2))
        held = sketch.add(ops.View, halves, 0, shape=(2,))
    with pytest.raises(UnsupportedModel) as caught:
        sketch.finish(sketch.requant(held, relu=False))
    assert caught.value.code == "sumcheck-too-large"


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_a_matrix_whose_rows_are_no_code_words(share, monkeypatch):
    """The tree is over the changed columns, so only the comparison of code words at the opened positions speaks against it."""
    honest = commitment.encode

    def changed(rows, log_n, degree, threads=1, **more):
        codeword = honest(rows, log_n, degree, threads, **more)
        codeword[: int(share * len(codeword)), -1] ^= np.uint64(1)
        return codeword

    for committed in (False, True):
        circuit, weights = examples.mlp(committed=committed)
        assert Cheat(circuit, weights).verify()
        with monkeypatch.context() as patch:
            patch.setattr(commitment, "encode", changed)
            assert Cheat(circuit, weights, twin=False).refused().stopped in ("x", "w", "level:1")
