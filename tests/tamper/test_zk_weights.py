"""Registration and link of hiding roots: what holds is accepted, and a prover who cheats before it commits is refused."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest

from tests.support import sumcheck_examples as examples
from tests.support.sumcheck_examples import Sketch
from verifai.engines.sumcheck.circuit.codec import circuit_digest, encode
from verifai.engines.sumcheck.planning.plan import planned
from verifai.engines.sumcheck.planning.plan_relation import plan_relation
from verifai.engines.sumcheck.protocol import proof as proofs
from verifai.engines.sumcheck.protocol.field import P
from verifai.engines.sumcheck.protocol.relations import Kind, OpenedRoot, limb_widths
from verifai.engines.sumcheck.protocol.storage import stored
from verifai.engines.sumcheck.protocol.suite import ZERO_KNOWLEDGE
from verifai.engines.sumcheck.prover import relations as proving
from verifai.engines.sumcheck.prover.commitment import commit_hiding, commitment_coins
from verifai.engines.sumcheck.prover.padded_weights import PaddedWeights
from verifai.engines.sumcheck.prover.prove import prepare
from verifai.engines.sumcheck.verifier.relations import verify_relation
from verifai.errors import EvidenceRejected

ONE, TWO = bytes(32), bytes([1]) * 32
NARROW = 6
"""Bits of the declared bound; the weights of these examples use it up."""


def up(value):
    return (1 << int(value).bit_length()) - 1


@lru_cache(maxsize=1)
def model():
    """A small network whose declared bounds are 2^k − 1, as those of hidden weights are."""
    Sketch.suite = ZERO_KNOWLEDGE
    try:
        circuit, weights = examples.mlp(committed=True)
    finally:
        Sketch.suite = examples.INTEGRITY
    listed = tuple(replace(one, bound=up(one.bound), row_l1=up(one.row_l1)) for one in circuit.weights)
    draft = replace(circuit, weights=listed, commitments=(), soundness=())
    return planned(draft, ZERO_KNOWLEDGE), [cells.copy() for cells in weights]


@lru_cache(maxsize=4)
def key(seed=ONE):
    return prepare(*model(), weights_seed=seed)


def forged(change, seed=ONE):
    """A key whose committed weights were changed after they passed every check, padded cells included."""
    honest = key(seed)
    cells = tuple(one.copy() for one in honest.weights)
    change(cells)
    held = PaddedWeights(honest.circuit.weights, model()[1])
    held._kept = list(cells)
    columns, plan = held.columns(), honest.layout.weights
    matrix = commit_hiding(plan, columns, commitment_coins(plan, columns, seed), "weights")
    return replace(honest, weights=held, committed=matrix, identity=matrix.root.hex())


def registered(of, number=0, proof=None, **changes):
    data = proving.prove_registration(of, number) if proof is None else proof
    root = changes.get("root", of.committed.root)
    verify_relation(
        Kind.REGISTRATION,
        changes.get("circuit", of.circuit),
        changes.get("digest", of.digest),
        [OpenedRoot(root, changes.get("stated", number))],
        data,
        changes.get("context", b""),
    )


def linked(a, b, numbers=(1, 0), proof=None, stated=None, order=1):
    data = proving.prove_link(a, numbers[0], b, numbers[1]) if proof is None else proof
    stated = numbers if stated is None else stated
    roots = [OpenedRoot(a.committed.root, stated[0]), OpenedRoot(b.committed.root, stated[1])][::order]
    verify_relation(Kind.LINK, a.circuit, a.digest, roots, data)


def refused(call, *codes):
    with pytest.raises(EvidenceRejected) as caught:
        call()
    assert caught.value.code in (codes or ("proof-invalid",))


def test_honest_registrations_and_links_hold():
    registered(key())
    registered(key(TWO), number=15)
    linked(key(), key(TWO))
    linked(key(TWO), key(), (3, 7))
    assert key().committed.root != key(TWO).committed.root
    registered(forged(lambda cells: None))  # the harness itself forges nothing


def test_limbs_reach_exactly_the_bound():
    for bits in range(1, 50):
        widths = limb_widths((1 << bits) - 1)
        assert sum(widths) == bits and max(widths) <= 14
    assert limb_widths(0) == []
    for bound in (2, 5, 126, 1 << 20):
        refused(lambda bound=bound: limb_widths(bound), "circuit-invalid")


@pytest.mark.parametrize("which", [0, 1, 2, 3])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_weight_beyond_its_bound(which, sign):
    bound = model()[0].weights[which].bound

    def change(cells):
        cells[which].reshape(-1)[0] = (sign * (bound + 1)) % P

    refused(lambda: registered(forged(change)))


@pytest.mark.parametrize("value", [(1000 * pow(7, -1, P)) % P, P // 2, 1 << 40])
def test_a_field_element_that_is_no_small_integer(value):
    def change(cells):
        cells[0].reshape(-1)[1] = value

    refused(lambda: registered(forged(change)))


def test_weights_within_their_bound_but_a_row_beyond_its_norm():
    circuit, _ = model()
    described = circuit.weights[0]
    full = np.full(described.shape, described.bound, dtype=np.int64)
    assert np.abs(full).reshape(described.shape[0], -1).sum(axis=1).max() > described.row_l1

    def change(cells):
        cells[0][0, : described.shape[1]] = described.bound

    refused(lambda: registered(forged(change)))


def test_padding_that_is_not_zero():
    circuit, _ = model()
    assert circuit.weights[0].shape != circuit.weights[0].padded

    for cell in ((0, -1), (-1, -1)):  # stored; and not stored, so that the prover's claims do not fit what it committed

        def change(cells, cell=cell):
            cells[0][cell] = 1

        refused(lambda change=change: registered(forged(change)))


def test_parts_that_exceed_their_limbs(monkeypatch):
    """The prover splits a weight beyond the bound honestly, into limbs that their tables do not have."""
    honest = proving._limbs

    def unbounded(plan, tensors, values, found):
        honest(plan, tensors, values, found)
        if len(tensors) == 1:
            found[tensors[0]] = values.copy()

    def change(cells):
        cells[0].reshape(-1)[0] = model()[0].weights[0].bound + 1

    monkeypatch.setattr(proving, "_limbs", unbounded)
    registered(key())
    refused(lambda: registered(forged(change)))


def test_parts_of_the_right_difference_but_too_large_a_sum(monkeypatch):
    """p = bound and n = bound − w are in range and differ by w; the row's slack cannot make up for their sum."""
    honest = proving._parts

    def inflated(plan, of):
        found = honest(plan, of)
        mine, bound = plan.parts[0], of.circuit.weights[0].bound
        p, n = found[mine.positive[0]], found[mine.negative[0]]
        row = slice(0, of.circuit.weights[0].shape[1])
        extra = bound - np.maximum(p, n)[row]
        p[row] += extra
        n[row] += extra
        return found

    monkeypatch.setattr(proving, "_parts", inflated)
    refused(lambda: registered(key()))


def test_roots_of_other_weights_are_not_linked():
    def change(cells):
        cells[1].reshape(-1)[0] += np.uint64(1)

    other = forged(change, TWO)
    refused(lambda: linked(key(), other))
    refused(lambda: linked(other, key()))

    def pad(cells):
        cells[0][0, -1] = 1

    refused(lambda: linked(key(), forged(pad, TWO)))


def test_padding_that_is_not_stored_is_nothing_to_link():
    """Cells outside the stored box are in no commitment, whatever an array of the prover has there."""

    def outside(cells):
        assert stored(model()[0].weights[0].shape).box == (10, 16) and cells[0].shape == (16, 16)
        cells[0][-1, -1] = 1

    linked(key(), forged(outside, TWO))


def test_a_proof_is_for_its_own_kind_root_number_circuit_and_context():
    proof = proving.prove_registration(key(), 2, b"here")
    registered(key(), 2, proof, context=b"here")
    for changes in (
        {"context": b""},
        {"stated": 3},
        {"root": key(TWO).committed.root},
        {"digest": "0" * 64},
    ):
        refused(lambda changes=changes: registered(key(), 2, proof, **{"context": b"here", **changes}))
    link = proving.prove_link(key(), 1, key(TWO), 0)
    linked(key(), key(TWO), proof=link)
    refused(lambda: linked(key(), key(TWO), proof=link, stated=(1, 1)))
    refused(lambda: linked(key(), key(TWO), proof=link, stated=(0, 0)))
    refused(lambda: linked(key(), key(TWO), proof=link, order=-1))
    refused(lambda: registered(key(), proof=link), "proof-malformed", "proof-invalid")


def test_numbers_beyond_the_budget_and_one_root_twice_are_refused():
    proof = proving.prove_registration(key(), 0)
    refused(lambda: registered(key(), 0, proof, stated=16), "statement-invalid")
    with pytest.raises(ValueError):
        proving.prove_registration(key(), 16)
    refused(lambda: linked(key(), key(), (1, 2)), "statement-invalid")


def test_a_circuit_that_hides_no_weights_has_nothing_to_register():
    circuit, _ = examples.mlp(committed=True)
    digest = circuit_digest(encode(circuit))
    for kind in Kind:
        refused(lambda kind=kind: verify_relation(kind, circuit, digest, [OpenedRoot(ONE, 0)], b""), "circuit-invalid")


@pytest.mark.parametrize("kind", Kind)
def test_changed_elements_digests_and_lengths_are_refused(kind):
    proof = proving.prove_registration(key(), 0) if kind is Kind.REGISTRATION else proving.prove_link(key(), 1, key(TWO), 0)
    plan = plan_relation(kind, key().circuit)
    decoded = proofs.decode(proof, [plan.layout.witness.shape, *(one.shape for one in plan.weights)])

    def check(data):
        if kind is Kind.REGISTRATION:
            registered(key(), 0, data)
        else:
            linked(key(), key(TWO), proof=data)

    check(proofs.encode(decoded))
    tried = 0
    count = len(decoded.messages)
    for index in [*range(0, count, max(1, count // 40)), count - 1]:
        a, b = decoded.messages[index]
        messages = (*decoded.messages[:index], ((a + 1) % P, b), *decoded.messages[index + 1 :])
        refused(lambda messages=messages: check(proofs.encode(replace(decoded, messages=messages))))
        tried += 1
    for number, opening in enumerate(decoded.openings):
        column = opening.columns[0]
        for name, value in (
            ("columns", ((*column[:-1], (column[-1] + 1) % P), *opening.columns[1:])),
            ("salts", (bytes(32), *opening.salts[1:])),
            ("cap", (bytes(32), *opening.cap[1:])),
            ("paths", ((bytes(32), *opening.paths[0][1:]), *opening.paths[1:])),
        ):
            openings = list(decoded.openings)
            openings[number] = replace(opening, **{name: value})
            refused(lambda openings=openings: check(proofs.encode(replace(decoded, openings=tuple(openings)))))
            tried += 1
    for data in (proof[:-16], proof[:-8], proof + bytes(16), proof[:100], b""):
        refused(lambda data=data: check(data), "proof-malformed", "proof-invalid")
        tried += 1
    assert tried > 50
