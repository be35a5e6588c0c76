"""What a zero-knowledge proof is checked against: its circuit's plan and suite, and a statement of the circuit's own kinds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support import sumcheck_examples as examples
from tests.support.sumcheck_cheats import Cheat
from tests.support.sumcheck_examples import Sketch
from verifai.engines.sumcheck.circuit.codec import circuit_digest, encode
from verifai.engines.sumcheck.circuit.program import Port, Visibility, WeightVisibility
from verifai.engines.sumcheck.planning.plan import planned
from verifai.engines.sumcheck.protocol.statement import HashedTensor, PrivateTensor, PublicTensor
from verifai.engines.sumcheck.protocol.suite import INTEGRITY, ZERO_KNOWLEDGE
from verifai.engines.sumcheck.verifier.verify import trust_circuit, verify
from verifai.errors import EvidenceRejected

pytestmark = pytest.mark.usefixtures("hiding")


def _everything():
    """A private, a hashed and a public input; a hashed, a private and a public output; committed weights."""
    sketch = Sketch(63)
    parts = [sketch.input((1, 5)), sketch.input((1, 5), hashed=True), sketch.input((1, 5), private=True)]
    outs = [sketch.requant(sketch.matmul(x, 4), relu=False, offset=1) for x in parts]
    total = sketch.requant(sketch.add(examples.ops.LinearCombination, tuple(outs), (1, 2, 3), 0), relu=False)
    return sketch.finish(*outs, total, hashed=(outs[0],), private=(outs[1],), committed=True), sketch.cells


@pytest.fixture(scope="module")
def case():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Sketch, "suite", ZERO_KNOWLEDGE)
        cheat = Cheat(*_everything())
        proven = cheat.prove(b"context")
        assert verify(*cheat.given(), proven.statement, proven.proof)
        return cheat, proven


def _refused(circuit, *codes):
    """Under its own digest; nothing but the circuit itself can speak against it."""
    data = encode(circuit)
    with pytest.raises(EvidenceRejected) as caught:
        trust_circuit(data, circuit_digest(data))
    assert caught.value.code in (codes or ("circuit-invalid", "circuit-malformed"))


# --- the plan ---

_WEAKENED = {
    "one query less": lambda s: {"queries": s.queries - 1},
    "no query": lambda s: {"queries": 0},
    "a shorter tail": lambda s: {"tail": s.tail - 1},
    "a shorter tail and degree": lambda s: {"tail": s.tail - 1, "degree": s.degree - 1},
    "no tail": lambda s: {"tail": 0, "degree": s.degree - s.tail},
    "a smaller mask": lambda s: {"mask": max(0, s.mask - 2)} if s.mask else {"mask": 2},
    "no mask": lambda s: {"mask": 0, "degree": s.degree - s.mask} if s.mask else {"mask": 2, "degree": s.degree + 2},
    "no mask rows": lambda s: {"mask_rows": 0, "rows": s.rows - 2} if s.mask_rows else {"mask_rows": 2, "rows": s.rows + 2},
    "one mask row": lambda s: {"mask_rows": 1},
    "one opening more": lambda s: {"budget": s.budget + 1},
    "one opening less": lambda s: {"budget": s.budget - 1},
    "no budget": lambda s: {"budget": 0},
    "a blind row less": lambda s: {"reserved_rows": s.reserved_rows - 1, "rows": s.rows - 1},
    "no blind rows": lambda s: {"reserved_rows": 0, "rows": s.rows - s.reserved_rows},
    "a larger degree": lambda s: {"degree": s.degree + 1},
    "the degree of the values": lambda s: {"degree": s.message},
    "longer messages": lambda s: {"message": 2 * s.message},
    "a shorter code": lambda s: {"length": s.length // 2},
    "a longer code": lambda s: {"length": 2 * s.length},
    "a row less": lambda s: {"rows": s.rows - 1},
    "another label": lambda s: {"label": f"{s.label}x"},
}


@pytest.mark.parametrize("number", [0, 1, 2, 3], ids=["x", "w", "io of an input", "io of an output"])
@pytest.mark.parametrize("change", _WEAKENED.values(), ids=_WEAKENED.keys())
def test_a_commitment_that_does_not_follow_from_the_circuit(case, number, change):
    circuit = case[0].circuit
    shapes = list(circuit.commitments)
    changed = replace(shapes[number], **change(shapes[number]))
    assert changed != shapes[number]
    shapes[number] = changed
    _refused(replace(circuit, commitments=tuple(shapes)))


def test_weaker_errors_fewer_commitments_or_another_order_of_them(case):
    circuit = case[0].circuit
    _refused(replace(circuit, commitments=()))
    _refused(replace(circuit, commitments=circuit.commitments[:-1]))
    _refused(replace(circuit, commitments=circuit.commitments[::-1]))
    _refused(replace(circuit, soundness=circuit.soundness[:-1]))
    for i, step in enumerate(circuit.soundness):
        for change in (1, -1):
            steps = list(circuit.soundness)
            steps[i] = replace(step, millibits=step.millibits + change)
            _refused(replace(circuit, soundness=tuple(steps)))


@pytest.mark.parametrize("budget", [0, 1, 15, 17, 64, 65, 2**32 - 1])
def test_an_opening_budget_that_the_commitments_were_not_planned_for(case, budget):
    _refused(replace(case[0].circuit, opening_budget=budget))


def test_an_opening_budget_without_weights_to_open():
    circuit, _ = examples.mlp(private_input=True)
    _refused(replace(circuit, opening_budget=1), "circuit-invalid")


def test_a_plan_for_another_budget_is_another_circuit_with_another_root(case):
    """A smaller budget is no weakening, if the plan is made for it; but neither circuit's digest stands for the other."""
    circuit = case[0].circuit
    smaller = planned(replace(circuit, commitments=(), soundness=()), ZERO_KNOWLEDGE, 2)
    data = encode(smaller)
    assert trust_circuit(data, circuit_digest(data)).circuit.opening_budget == 2
    with pytest.raises(EvidenceRejected) as caught:
        trust_circuit(data, circuit_digest(encode(circuit)))
    assert caught.value.code == "circuit-mismatch"
    other = Cheat(smaller, case[0].true_weights)
    assert other.key.identity != case[0].key.identity
    with pytest.raises(EvidenceRejected):
        verify(*other.given(), case[1].statement, case[1].proof)


# --- the suite ---


@pytest.mark.parametrize(
    "name",
    [
        "sumcheck-zk/2",
        "sumcheck-zk/2 ",
        " sumcheck-zk/2",
        "sumcheck-zk/",
        "sumcheck-zk/01",
        "sumcheck-zk/2\0",
        "SUMCHECK-ZK/1",
        "sumcheck-zk",
        "sumcheck/2",
        "sumcheck-zk/1x",
        "",
    ],
)
def test_a_circuit_of_a_suite_that_there_is_not(case, name):
    try:
        _refused(replace(case[0].circuit, suite=name))
    except (ValueError, UnicodeError):  # a name that no circuit can carry
        assert name == ""


def test_a_private_tensor_in_a_circuit_of_the_integrity_only_suite(case):
    """Planned for that suite as far as it goes: the rule against it stands alone."""
    circuit, _ = examples.mlp(private_input=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Sketch, "suite", INTEGRITY)
        public, _ = examples.mlp()
    data = encode(public)
    assert trust_circuit(data, circuit_digest(data))
    for port in ("inputs", "outputs"):
        (one,) = getattr(public, port)
        _refused(replace(public, **{port: (Port(one.tensor, Visibility.PRIVATE),)}), "circuit-invalid")
    _refused(replace(public, inputs=circuit.inputs, soundness=circuit.soundness), "circuit-invalid")


@pytest.mark.parametrize("hashed_input", [False, True])
@pytest.mark.parametrize("committed", [False, True])
def test_a_proof_of_the_other_suite_for_the_same_model(hashed_input, committed):
    """Same tensors, weights and run. A proof, a statement, and a weights' root of one suite are nothing in the other."""
    zk = Cheat(*examples.mlp(hashed_input=hashed_input, committed=committed))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Sketch, "suite", INTEGRITY)
        plain = Cheat(*examples.mlp(hashed_input=hashed_input, committed=committed))
    zk.given(), plain.given()
    proofs = {one: one.prove() for one in (zk, plain)}
    for mine, other in ((zk, plain), (plain, zk)):
        for statement in (proofs[mine].statement, proofs[other].statement):
            with pytest.raises(EvidenceRejected):
                verify(*mine.given(), statement, proofs[other].proof)
        trusted, given = mine.given()
        if committed:
            assert given.identity != other.given()[1].identity
            with pytest.raises(EvidenceRejected):
                verify(trusted, other.given()[1], proofs[mine].statement, proofs[mine].proof)


def test_the_kind_of_weights_is_the_circuits_to_say(case):
    _refused(replace(case[0].circuit, weight_visibility=WeightVisibility.PUBLIC))
    circuit, _ = examples.mlp(private_input=True)
    _refused(replace(circuit, weight_visibility=WeightVisibility.COMMITTED))


# --- the statement ---


def test_a_tensor_stated_as_another_kind_than_the_circuits(case):
    cheat, proven = case
    circuit, stated = cheat.circuit, proven.statement.tensors
    tried = 0
    for i, port in enumerate(circuit.inputs + circuit.outputs):
        tensor = circuit.tensors[port.tensor]
        for kind in (PublicTensor((tensor.low,) * tensor.size), HashedTensor(bytes(32)), PrivateTensor()):
            if isinstance(kind, type(stated[i])):
                continue
            tensors = (*stated[:i], kind, *stated[i + 1 :])
            with pytest.raises(EvidenceRejected) as caught:
                verify(*cheat.given(), replace(proven.statement, tensors=tensors), proven.proof)
            assert (caught.value.code, caught.value.where) == ("statement-invalid", tensor.name)
            tried += 1
    assert tried == 2 * 7


def test_a_circuit_whose_port_is_of_another_kind_has_another_digest_and_none_of_this_ones_proofs(case):
    """Public where it was private, and so on; planned anew, it is a circuit of its own, whose own proofs hold."""
    circuit, weights = case[0].circuit, case[0].true_weights
    for side in ("inputs", "outputs"):
        ports = getattr(circuit, side)
        for i, port in enumerate(ports):
            for kind in set(Visibility) - {port.visibility}:
                changed = replace(circuit, **{side: (*ports[:i], Port(port.tensor, kind), *ports[i + 1 :])})
                with pytest.raises(EvidenceRejected):
                    trust_circuit(encode(changed), case[0].key.digest)
                other = planned(replace(changed, commitments=(), soundness=()), ZERO_KNOWLEDGE)
                mine = Cheat(other, weights, twin=False)
                proven = mine.prove(b"context")
                assert verify(*mine.given(), proven.statement, proven.proof)
                for statement in (proven.statement, case[1].statement):
                    with pytest.raises(EvidenceRejected):
                        verify(*mine.given(), statement, case[1].proof)


def test_stated_values_that_are_not_the_proofs(case):
    cheat, proven = case
    stated = proven.statement.tensors
    public = [i for i, one in enumerate(stated) if isinstance(one, PublicTensor)]
    hashed = [i for i, one in enumerate(stated) if isinstance(one, HashedTensor)]
    changes = [(i, PublicTensor(((1 if stated[i].cells[0] != 1 else 2), *stated[i].cells[1:]))) for i in public]
    changes += [(a, replace(stated[a], root=stated[b].root, number=1)) for a in hashed for b in hashed if a != b]
    changes += [(i, replace(stated[i], number=1)) for i in hashed]
    assert len(changes) == len(public) + 4
    for i, changed in changes:
        tensors = (*stated[:i], changed, *stated[i + 1 :])
        with pytest.raises(EvidenceRejected) as caught:
            verify(*cheat.given(), replace(proven.statement, tensors=tensors), proven.proof)
        assert caught.value.code == "proof-invalid"
    for number, code in ((1, "proof-invalid"), (15, "proof-invalid"), (16, "statement-invalid"), (-1, "statement-invalid")):
        with pytest.raises(EvidenceRejected) as caught:
            verify(*cheat.given(), replace(proven.statement, opening_number=number), proven.proof)
        assert caught.value.code == code
    with pytest.raises(EvidenceRejected):
        verify(*cheat.given(), replace(proven.statement, context=b"another"), proven.proof)
    first, second = hashed
    twice = (*stated[:second], stated[first], *stated[second + 1 :])
    with pytest.raises(EvidenceRejected) as caught:
        verify(*cheat.given(), replace(proven.statement, tensors=twice), proven.proof)
    assert (caught.value.code, caught.value.where) == ("statement-invalid", "statement")
