"""A proof with any field, digest, length, order or statement changed is refused, and no bytes crash the verifier.

Altered proofs of one honest proof: 8,570 in suite sumcheck/2; 24,231 in sumcheck-zk/2, whose proofs are longer, of which every
13th of each kind (1,869) by default and all when slow tests run. Altered statements, weights, kinds of messages of a larger
proof, and circuits come on top.
"""

from __future__ import annotations

import random
import sys
from dataclasses import replace
from functools import lru_cache

import pytest

from tests.support import sumcheck_examples as examples
from tests.support.sumcheck_examples import Sketch
from tests.support.sumcheck_levels import SHORT, force_levels
from tests.support.sumcheck_scripted import prove_heard
from verifai.engines.sumcheck.circuit.codec import circuit_digest, encode
from verifai.engines.sumcheck.circuit.weights import encode_weights
from verifai.engines.sumcheck.interpreter.run import run
from verifai.engines.sumcheck.protocol import proof as proofs
from verifai.engines.sumcheck.protocol.field import P
from verifai.engines.sumcheck.protocol.merkle import cap_size, path_length
from verifai.engines.sumcheck.protocol.statement import HashedTensor, PrivateTensor, PublicTensor, Statement
from verifai.engines.sumcheck.protocol.suite import INTEGRITY, ZERO_KNOWLEDGE
from verifai.engines.sumcheck.prover.prove import prepare, prove
from verifai.engines.sumcheck.prover.witness import Witness
from verifai.engines.sumcheck.verifier.verify import trust_circuit, trust_weights, verify
from verifai.errors import EvidenceRejected, VerifaiError

WEIGHTS_SEED = bytes(range(32))
LEVELS: tuple = ()
"""Levels that the trial puts below the combinations."""
_TRIALS = [
    pytest.param((INTEGRITY, 1, ()), id="sumcheck/2"),
    pytest.param((INTEGRITY, 5, SHORT), id="sumcheck/2-levels"),
    pytest.param((ZERO_KNOWLEDGE, 13, ()), id="sumcheck-zk/2"),
    pytest.param((ZERO_KNOWLEDGE, 29, SHORT), id="sumcheck-zk/2-levels"),
    pytest.param((INTEGRITY, 1, SHORT), marks=[pytest.mark.slow, pytest.mark.timeout(7200)], id="sumcheck/2-levels-every"),
    pytest.param((ZERO_KNOWLEDGE, 1, ()), marks=[pytest.mark.slow, pytest.mark.timeout(7200)], id="sumcheck-zk/2-every"),
]


@pytest.fixture(autouse=True, params=_TRIALS)
def trial(request, monkeypatch):
    """(suite, step): in the zero-knowledge suite every 13th mutation by default, all of them when slow tests run."""
    monkeypatch.setattr(Sketch, "suite", request.param[0])
    monkeypatch.setattr(sys.modules[__name__], "LEVELS", request.param[2])
    if LEVELS:
        force_levels(monkeypatch, *LEVELS)
    return request.param[:2]


@pytest.fixture
def suite(trial):
    return trial[0]


@pytest.fixture
def some(trial):
    """Those of the mutations that this trial makes."""
    return lambda mutations: list(mutations)[:: trial[1]]


class Case:
    """One honest proof with everything its verifier was given."""

    def __init__(self, circuit, weights, seed=0, context=b"nonce"):
        trace = run(circuit, weights, examples.random_input(circuit, seed))
        self.key = prepare(circuit, weights, weights_seed=WEIGHTS_SEED)
        witness = Witness(circuit, self.key.layout, trace.tensors, trace.columns)
        proven, channel = prove_heard(self.key, witness, context, opening_number=0)
        self.labels = channel.labels
        self.statement, self.proof = proven.statement, proven.proof
        self.bytes = encode(circuit)
        self.trusted = trust_circuit(self.bytes, circuit_digest(self.bytes))
        self.blob = encode_weights(circuit, [cells.reshape(-1).tolist() for cells in weights])
        self.weights = trust_weights(self.trusted, self.key.identity, self.blob)
        self.shapes = self.trusted.layout.commitments()
        self.decoded = proofs.decode(self.proof, self.shapes)

    def verify(self, proof=None, statement=None, weights=None):
        return verify(
            self.trusted, weights or self.weights, statement or self.statement, self.proof if proof is None else proof
        )

    def refused(self, proof, **more):
        with pytest.raises(EvidenceRejected) as caught:
            self.verify(proofs.encode(proof) if isinstance(proof, proofs.Proof) else proof, **more)
        assert caught.value.code in ("proof-invalid", "proof-malformed", "statement-invalid")


@lru_cache(maxsize=4)
def _small(suite, levels) -> Case:
    return Case(*examples.mlp(hashed_input=True))


@lru_cache(maxsize=4)
def _large(suite, levels) -> Case:
    return Case(*examples.cnn(committed=True))


def small() -> Case:
    return _small(Sketch.suite, LEVELS)


def large() -> Case:
    return _large(Sketch.suite, LEVELS)


def _with_message(proof, index, value):
    return replace(proof, messages=(*proof.messages[:index], value, *proof.messages[index + 1 :]))


def _with_opening(proof, number, **changes):
    opening = replace(proof.openings[number], **changes)
    return replace(proof, openings=(*proof.openings[:number], opening, *proof.openings[number + 1 :]))


def _replaced(items, index, value):
    return (*items[:index], value, *items[index + 1 :])


def _flip(digest):
    return bytes((digest[0] ^ 1,)) + digest[1:]


def test_the_honest_proofs_hold_and_encode_back_to_the_same_bytes():
    # Where the trial forces none, the planner chooses: the large circuit of the hiding suite has one of its own.
    chosen = [0, 1 if Sketch.suite is ZERO_KNOWLEDGE else 0]
    for case, planned in zip((small(), large()), chosen, strict=True):
        assert case.verify().statement == case.statement
        assert proofs.encode(case.decoded) == case.proof
        assert len(case.trusted.layout.levels) == (len(LEVELS) or planned)


def test_every_message_element_changed_by_one_is_refused(some, trial):
    case = small()
    components = [(index, half) for index in range(len(case.decoded.messages)) for half in (0, 1)]
    for index, half in some(components):
        a, b = case.decoded.messages[index]
        case.refused(_with_message(case.decoded, index, (a, (b + P - 1) % P) if half else ((a + 1) % P, b)))
    print(f"mutations tried: {len(some(components))} of {len(components)} message components")
    assert len(components) == 2 * sum(count for _, count in case.labels)
    assert trial[1] > 1 or some(components) == components


def test_the_first_and_last_element_of_every_kind_of_message_changed_at_random_is_refused(trial):
    case, seen, at = large(), {}, 0
    for label, count in case.labels:
        seen.setdefault(label, []).extend(range(at, at + count))
        at += count
    pick = random.Random(5)
    assert len(seen) > 20
    for indices in seen.values():
        for index in {indices[0], indices[-1], pick.choice(indices)} if trial[1] == 1 else {pick.choice(indices)}:
            case.refused(_with_message(case.decoded, index, (pick.randrange(P), pick.randrange(P))))


OPENINGS = 2 + len(SHORT)
"""Of the smaller case: witness and hashed input; and levels, in trials that have them."""


@pytest.mark.parametrize("number", range(OPENINGS))
def test_opened_cells_changed_are_refused_in_every_column_and_every_row(number, some):
    case, pick = small(), random.Random(3)
    if number >= len(case.decoded.openings):
        assert not LEVELS
        return
    opening = case.decoded.openings[number]
    cells = [
        (q, row)
        for q, column in enumerate(opening.columns)
        for row in (range(len(column)) if q < 8 else [pick.randrange(len(column))])
    ]
    for q, row in some(cells):
        column = opening.columns[q]
        columns = _replaced(opening.columns, q, _replaced(column, row, (column[row] + 1) % P))
        case.refused(_with_opening(case.decoded, number, columns=columns))


@pytest.mark.parametrize("number", range(OPENINGS))
def test_every_digest_and_every_salt_changed_is_refused(number, some, suite):
    case = small()
    case.refused(replace(case.decoded, root=_flip(case.decoded.root)))
    if number >= len(case.decoded.openings):
        assert not LEVELS
        return
    opening = case.decoded.openings[number]
    for index, digest in some(enumerate(opening.cap)):
        case.refused(_with_opening(case.decoded, number, cap=_replaced(opening.cap, index, _flip(digest))))
    siblings = [(q, level) for q, path in enumerate(opening.paths) for level in range(len(path[: None if q < 20 else 1]))]
    for q, level in some(siblings):
        path = opening.paths[q]
        paths = _replaced(opening.paths, q, _replaced(path, level, _flip(path[level])))
        case.refused(_with_opening(case.decoded, number, paths=paths))
    assert len(opening.salts) == (len(opening.columns) if suite.zero_knowledge and number < 2 else 0)
    for q, salt in some(enumerate(opening.salts)):
        case.refused(_with_opening(case.decoded, number, salts=_replaced(opening.salts, q, _flip(salt))))
        case.refused(_with_opening(case.decoded, number, salts=_replaced(opening.salts, q, salt[:-1] + bytes((salt[-1] ^ 1,)))))


def test_neighbours_in_any_order_but_the_right_one_are_refused(some):
    case = small()
    messages = case.decoded.messages
    for i in some(range(len(messages) - 1)):
        if messages[i] != messages[i + 1]:
            swapped = (*messages[:i], messages[i + 1], messages[i], *messages[i + 2 :])
            case.refused(replace(case.decoded, messages=swapped))
    for number, opening in enumerate(case.decoded.openings):
        for name in ("columns", "paths", "cap", "salts"):
            items = getattr(opening, name)
            for i in some(range(0, len(items) - 1, 7)):
                if items[i] != items[i + 1]:
                    swapped = (*items[:i], items[i + 1], items[i], *items[i + 2 :])
                    case.refused(_with_opening(case.decoded, number, **{name: swapped}))
    case.refused(replace(case.decoded, openings=case.decoded.openings[::-1]))


def test_truncation_at_every_boundary_is_refused(some):
    case = small()
    magic = proofs.magic_of(case.shapes)
    boundaries, at = [0, len(magic), len(magic) + 32], len(magic) + 32
    for shape in case.shapes:
        log = proofs.log_length(shape)
        salts = shape.queries if shape.hiding else 0
        digests = salts + shape.queries * path_length(log) + cap_size(log)
        for piece, count in ((8, shape.rows * shape.queries), (32, digests)):
            boundaries += range(at, at + piece * count, piece)
            at += piece * count
    boundaries += range(at, len(case.proof), 8)
    for boundary in some(boundaries):
        case.refused(case.proof[:boundary])
    assert at == len(case.proof) - 16 * len(case.decoded.messages)
    assert boundaries[-1] == len(case.proof) - 8


def test_trailing_bytes_and_messages_are_refused():
    case = small()
    for extra in (b"\0", b"\0" * 8, b"\0" * 16, b"\0" * 32, case.proof):
        case.refused(case.proof + extra)


def test_an_element_that_is_not_below_p_is_refused(some):
    """Before anything is computed, so that no element has two encodings."""
    case = small()
    start = len(proofs.magic_of(case.shapes)) + 32
    places = [start, *range(len(case.proof) - 16 * len(case.decoded.messages), len(case.proof), 8)]
    for place in some(places):
        for word in (P, 2**64 - 1):
            with pytest.raises(EvidenceRejected) as caught:
                case.verify(case.proof[:place] + word.to_bytes(8, "little") + case.proof[place + 8 :])
            assert caught.value.code == "proof-malformed"


def test_a_proof_of_one_suite_is_none_of_the_other(suite):
    """Not under its own magic, not under the other's, and not with the other's circuit."""
    case = small()
    magics = {proofs.MAGIC, proofs.HIDING_MAGIC}
    mine = proofs.magic_of(case.shapes)
    (other,) = magics - {mine}
    case.refused(other + case.proof[len(mine) :])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Sketch, "suite", INTEGRITY if suite.zero_knowledge else ZERO_KNOWLEDGE)
        theirs = small()
    assert theirs.verify() and theirs.bytes != case.bytes
    case.refused(theirs.proof)
    case.refused(mine + theirs.proof[len(other) :])


def test_roots_and_openings_of_another_run_are_refused():
    case = small()
    other = Case(*examples.mlp(hashed_input=True), seed=9)
    assert other.decoded.root != case.decoded.root
    case.refused(replace(case.decoded, root=other.decoded.root))
    for number in range(2):
        case.refused(_with_opening(case.decoded, number, columns=other.decoded.openings[number].columns))
        mixed = _replaced(case.decoded.openings, number, other.decoded.openings[number])
        case.refused(replace(case.decoded, openings=mixed))
    case.refused(replace(case.decoded, messages=other.decoded.messages))
    case.refused(other.proof)
    case.refused(case.decoded, statement=other.statement)


def test_every_part_of_the_statement_is_bound(suite):
    case = small()
    shown = case.statement.tensors[1]
    assert isinstance(shown, PublicTensor) and isinstance(case.statement.tensors[0], HashedTensor)
    tensor = case.trusted.circuit.tensors[case.trusted.circuit.outputs[0].tensor]
    changes = [
        (i, value)
        for i, cell in enumerate(shown.cells)
        for value in (cell + 1, cell - 1, tensor.low, tensor.high, tensor.high + 1, cell + P)
        if value != cell
    ]
    for i, value in changes:
        cells = PublicTensor(_replaced(shown.cells, i, value))
        case.refused(case.decoded, statement=replace(case.statement, tensors=(case.statement.tensors[0], cells)))
    root = case.statement.tensors[0].root
    for changed in (
        HashedTensor(_flip(root)),
        HashedTensor(case.decoded.root),
        HashedTensor(root[:31]),
        PublicTensor((0,) * 13),
        PrivateTensor(),
        *(HashedTensor(root, number) for number in (1, 3, 4, -1, 2**64)),
    ):
        case.refused(case.decoded, statement=replace(case.statement, tensors=(changed, shown)))
    stated = case.statement.tensors[0]
    for tensors in ((), (shown,), (*case.statement.tensors, shown), case.statement.tensors[::-1], (stated, PrivateTensor())):
        case.refused(case.decoded, statement=replace(case.statement, tensors=tensors))


def test_every_opening_number_but_the_proofs_own_is_refused(suite):
    """Of the weights' root and of a hashed tensor's: within the budget, at its end, and beyond."""
    case = Case(*examples.mlp(hashed_input=True, committed=True))
    stated = case.statement.tensors[0]
    assert case.verify() and (case.statement.opening_number, stated.number) == (0, 0)
    for number in (1, 15, 16, -1, 2**64):
        case.refused(case.decoded, statement=replace(case.statement, opening_number=number))
    for number in (1, 3, 4, -1, 2**64):
        changed = (replace(stated, number=number), *case.statement.tensors[1:])
        case.refused(case.decoded, statement=replace(case.statement, tensors=changed))


def test_a_stale_context_is_refused():
    case = small()
    for context in (b"", b"nonce2", b"nonce\0", b"NONCE", b"x" * (1 << 17)):
        case.refused(case.decoded, statement=replace(case.statement, context=context))
    case.refused(case.decoded, statement=replace(case.statement, opening_number=1))


@lru_cache(maxsize=4)
def _other_model(suite, levels) -> Case:
    return Case(*examples.cnn(committed=True, seed=7))


def test_another_models_weights_are_refused(some):
    case = large()
    other = _other_model(Sketch.suite, LEVELS)
    if other.bytes == case.bytes:
        case.refused(case.decoded, weights=other.weights)
    changed = replace(case.weights, identity=_flip(bytes.fromhex(case.weights.identity)).hex())
    case.refused(case.decoded, weights=changed)
    public = Case(*examples.mlp())
    cells = [list(one) for one in public.weights.cells]
    for number, one in enumerate(cells):
        for i in some(range(0, len(one), 13)):
            altered = [*cells[:number], [*one[:i], one[i] + 1, *one[i + 1 :]], *cells[number + 1 :]]
            with pytest.raises(EvidenceRejected):
                public.verify(weights=replace(public.weights, cells=tuple(altered)))


def test_circuit_and_weights_must_be_the_ones_named_from_outside():
    case = Case(*examples.mlp())
    with pytest.raises(EvidenceRejected) as caught:
        trust_circuit(case.bytes, "0" * 64)
    assert caught.value.code == "circuit-mismatch"
    for identity, blob in (("0" * 64, case.blob), (case.key.identity, case.blob[:-1]), (case.key.identity, None)):
        with pytest.raises(EvidenceRejected) as caught:
            trust_weights(case.trusted, identity, blob)
        assert caught.value.code == "weights-mismatch"
    with pytest.raises(EvidenceRejected):
        trust_weights(large().trusted, "not a root", None)


def test_a_circuit_with_a_weaker_plan_is_refused_even_under_its_own_digest():
    circuit, _ = examples.mlp()
    weaker = [
        replace(circuit, commitments=_replaced(circuit.commitments, number, replace(shape, **{name: value})))
        for number, shape in enumerate(circuit.commitments)
        for name, value in (
            ("queries", shape.queries - 1),
            ("length", shape.length * 2),
            ("message", shape.message * 2),
            ("rows", shape.rows + 1),
            ("reserved_rows", 2 - shape.reserved_rows),
        )
    ]
    weaker += [
        replace(circuit, commitments=circuit.commitments[:-1]),
        replace(circuit, commitments=()),
        replace(circuit, soundness=circuit.soundness[:-1]),
        replace(circuit, soundness=tuple(replace(step, millibits=step.millibits + 1) for step in circuit.soundness)),
        replace(circuit, suite=f"{circuit.suite[:-1]}3"),
    ]
    for one in weaker:
        data = encode(one)
        with pytest.raises(EvidenceRejected) as caught:
            trust_circuit(data, circuit_digest(data))
        assert caught.value.code == "circuit-invalid"


def test_arbitrary_bytes_are_refused_and_never_crash(some):
    case, pick, runs = small(), random.Random(11), 0
    samples = [pick.randbytes(pick.choice([0, 1, 31, 100, 5000, len(case.proof)])) for _ in range(200)]
    start = len(proofs.magic_of(case.shapes))
    samples += [case.proof[:start] + pick.randbytes(len(case.proof) - start) for _ in range(50)]
    for _ in range(400):
        data = bytearray(case.proof)
        for _ in range(pick.choice([1, 1, 2, 8])):
            data[pick.randrange(len(data))] ^= 1 << pick.randrange(8)
        samples.append(bytes(data))
    for _ in range(100):
        start, stop = sorted(pick.randrange(len(case.proof)) for _ in range(2))
        at = pick.randrange(len(case.proof))
        samples.append(case.proof[:at] + case.proof[start:stop] + case.proof[at + (stop - start) :])
    for data in some(samples):
        if data != case.proof:
            with pytest.raises(VerifaiError):
                case.verify(data)
            runs += 1
    assert len(samples) == 750 and runs >= len(some(samples)) - 10


def test_a_proof_as_large_as_a_file_may_be_is_refused_before_it_is_taken_apart():
    case = small()
    case.refused(case.proof + b"\0" * (16 << 20))


def test_a_statement_may_not_reuse_a_proof_of_another_statement_with_equal_tensors():
    circuit, weights = examples.mlp()
    key = prepare(circuit, weights)
    trace = run(circuit, weights, examples.random_input(circuit))
    first, second = prove(key, trace, b"1", rng=bytes), prove(key, trace, b"2", rng=bytes)
    assert isinstance(first.statement, Statement) and first.proof != second.proof
    data = encode(circuit)
    trusted = trust_circuit(data, circuit_digest(data))
    blob = encode_weights(circuit, [cells.reshape(-1).tolist() for cells in weights])
    given = trust_weights(trusted, key.identity, blob)
    with pytest.raises(EvidenceRejected):
        verify(trusted, given, second.statement, first.proof)
