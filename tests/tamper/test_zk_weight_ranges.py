"""Registrations whose weights are looked up themselves, in one sum of fractions and in several, beside some made of parts."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest

from tests.tamper.test_zk_weights import ONE, TWO, linked, model, refused, registered
from verifai.engines.sumcheck.planning.plan import planned
from verifai.engines.sumcheck.planning.plan_relation import parts_fit, plan_relation
from verifai.engines.sumcheck.protocol import weight_ranges
from verifai.engines.sumcheck.protocol.field import P
from verifai.engines.sumcheck.protocol.relations import Kind
from verifai.engines.sumcheck.protocol.storage import stored
from verifai.engines.sumcheck.protocol.suite import ZERO_KNOWLEDGE
from verifai.engines.sumcheck.prover import relations as proving
from verifai.engines.sumcheck.prover.commitment import commit_hiding, commitment_coins
from verifai.engines.sumcheck.prover.padded_weights import PaddedWeights
from verifai.engines.sumcheck.prover.prove import prepare
from verifai.errors import EvidenceRejected, InternalError

WIDE = 3
"""The weight that gets a bound of 2^20 − 1 in half of the tests, so that it is made of parts."""


@contextmanager
def several():
    """A sum for each weight: 2^11 leaves at most, which one table nearly fills."""
    before, weight_ranges.MOST_LOG_LEAVES = weight_ranges.MOST_LOG_LEAVES, 11
    plan_relation.cache_clear()
    try:
        yield
    finally:
        weight_ranges.MOST_LOG_LEAVES = before
        plan_relation.cache_clear()


@pytest.fixture(params=["one sum", "several sums"], autouse=True)
def sums(request):
    if request.param == "one sum":
        yield 1
        return
    with several():
        yield 4


@lru_cache(maxsize=4)
def ranged(wide=False):
    """The network of the other tests, its rows' norms declared as they follow from the bounds."""
    circuit, weights = model()
    bounds = [(1 << 20) - 1 if wide and index == WIDE else one.bound for index, one in enumerate(circuit.weights)]
    listed = tuple(
        replace(one, bound=bound, row_l1=bound * (one.size // one.shape[0]))
        for one, bound in zip(circuit.weights, bounds, strict=True)
    )
    return planned(replace(circuit, weights=listed, commitments=(), soundness=()), ZERO_KNOWLEDGE), weights


@lru_cache(maxsize=4)
def key(seed=ONE, wide=False):
    return prepare(*ranged(wide), weights_seed=seed)


def committed_to(honest, cells, seed=ONE):
    """A key that has committed to these padded cells, whatever they are."""
    held = PaddedWeights(honest.circuit.weights, model()[1])
    held._kept = list(cells)
    columns, plan = held.columns(), honest.layout.weights
    matrix = commit_hiding(plan, columns, commitment_coins(plan, columns, seed), "weights")
    return replace(honest, weights=held, committed=matrix, identity=matrix.root.hex())


def forged(change, wide=False):
    honest = key(wide=wide)
    cells = [one.copy() for one in honest.weights]
    change(cells)
    return committed_to(honest, cells)


@pytest.mark.parametrize("wide", [False, True])
def test_an_honest_registration_holds_and_commits_to_counts_alone(sums, wide):
    plan = plan_relation(Kind.REGISTRATION, key(wide=wide).circuit)
    assert len(plan.sums) == (sums - wide if sums > 1 else 1)
    owners = [owner for one in plan.sums for owner in one.by_tensor]
    assert owners == [index for index in range(4) if not (wide and index == WIDE)]
    columns = {column[0] for column in plan.layout.witness.columns}
    assert columns == ({"count", "pad", "tensor"} if wide else {"count", "pad"})
    registered(key(wide=wide), 3)
    registered(key(TWO, wide))
    registered(forged(lambda cells: None, wide))  # the harness itself forges nothing
    linked(key(wide=wide), key(TWO, wide))


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("which", range(4))
@pytest.mark.parametrize("sign", [1, -1])
def test_a_weight_beyond_its_bound_by_one(wide, which, sign):
    bound = ranged(wide)[0].weights[which].bound

    def reach(cells):
        cells[which].reshape(-1)[1] = (sign * bound) % P

    def exceed(cells):
        cells[which].reshape(-1)[1] = (sign * (bound + 1)) % P

    registered(forged(reach, wide))
    refused(lambda: registered(forged(exceed, wide)))


@pytest.mark.parametrize("value", [(1000 * pow(7, -1, P)) % P, P // 2, 1 << 40, P - (1 << 20)])
@pytest.mark.parametrize("which", [0, 2])
def test_a_field_element_that_is_no_small_integer(value, which):
    def change(cells):
        cells[which].reshape(-1)[1] = value

    refused(lambda: registered(forged(change)))


def test_padding_that_is_not_zero():
    circuit, _ = ranged()
    assert circuit.weights[0].shape == (10, 13) and circuit.weights[0].padded == (16, 16)
    for which, cell in ((0, (0, -1)), (0, (9, 13)), (1, -1), (2, (4, 10)), (2, (-1, 0)), (3, -1)):

        def change(cells, which=which, cell=cell):
            cells[which][cell] = 1

        refused(lambda change=change: registered(forged(change)))


def test_padding_that_is_not_stored_is_nothing_to_register():
    """Cells outside the stored box are in no commitment, whatever an array of the prover has there."""

    def outside(cells):
        assert stored((10, 13)).box == (10, 16)
        cells[0][-1, -1] = 1

    registered(forged(outside))


def test_cells_looked_up_that_are_not_those_committed():
    """The prover commits to a weight out of range and proves everything about honest ones."""

    def change(cells):
        cells[2].reshape(-1)[0] = 1 << 30

    bad = forged(change)
    refused(lambda: registered(replace(bad, weights=key().weights)))


def test_counts_that_make_up_for_a_weight_out_of_range(monkeypatch, sums):
    """Counts of its own sum, and of another one: each sum has to be 0 by itself."""
    bound = ranged()[0].weights[0].bound
    honest = proving.ranged_counts

    def change(cells):
        cells[0].reshape(-1)[0] = bound + 1

    bad = forged(change)
    for table in range(2):
        for row in (0, 1, -1):

            def counted(plan, weights, first, table=table, row=row):
                found = honest(plan, weights, first)
                found[list(found)[table]][row] += 1
                return found

            monkeypatch.setattr(proving, "ranged_counts", counted)
            refused(lambda: registered(bad))
            refused(lambda: registered(key()))  # a count too much, of honest weights


def test_counts_moved_from_one_sum_to_another(monkeypatch):
    honest = proving.ranged_counts

    def moved(plan, weights, first):
        found = honest(plan, weights, first)
        a, b = list(found)[:2]
        middle = len(found[a]) // 2, len(found[b]) // 2  # of cells that are 0
        found[a][middle[0]] += 1
        found[b][middle[1]] -= 1
        return found

    monkeypatch.setattr(proving, "ranged_counts", moved)
    refused(lambda: registered(key()))


def test_row_zero_of_a_table_is_a_second_zero(monkeypatch):
    """It stands for no cell of its own: not for −2^k, which would be one beyond the bound."""
    honest = proving.ranged_counts

    def twice(plan, weights, first):
        found = honest(plan, weights, first)
        one = found[next(iter(found))]
        one[0] += 2
        one[len(one) // 2] -= 2
        return found

    monkeypatch.setattr(proving, "ranged_counts", twice)
    registered(key())


def test_sums_left_out_repeated_or_exchanged_are_refused(sums):
    honest = plan_relation(Kind.REGISTRATION, key().circuit).sums
    registered(key(), 0, proven_with(lambda found: found))
    if sums == 1:
        refused(lambda: registered(key(), 0, proven_with(lambda found: found * 2)), *CODES)
        return
    for order in ([1, 2, 3], [0, 1, 2], [0, 1, 2, 3, 3], [1, 2, 3, 0], [0, 2, 1, 3]):
        made = proven_with(lambda found, order=order: [found[i] for i in order])
        refused(lambda made=made: registered(key(), 0, made), *CODES)
    assert len(honest) == 4


CODES = ("proof-invalid", "proof-malformed")


def proven_with(order):
    """A proof of a prover that runs other sums of fractions than the plan has, over the commitment that the plan has."""
    before = proving.check_relation

    def changed(kind, party, weights, parts, bus, sums):
        numbers = {id(one): sum(len(other.tables) for other in sums[:i]) for i, one in enumerate(sums)}
        for one in order(list(sums)):
            weight_ranges.check_ranges(party, weights, [one], numbers[id(one)])

    proving.check_relation = changed
    try:
        return proving.prove_registration(key(), 0)
    except InternalError:  # more messages than there are pads: such a prover has nothing to send
        return b""
    finally:
        proving.check_relation = before


def test_norms_that_neither_follow_from_bounds_nor_can_be_shown():
    circuit, _ = ranged()
    for index, one in enumerate(circuit.weights):
        row = one.size // one.shape[0]
        less = one.bound * row - 2 if row > 1 else None
        for norm in [] if less is None else [less, (1 << less.bit_length() - 1) - 1]:
            listed = tuple(replace(w, row_l1=norm) if i == index else w for i, w in enumerate(circuit.weights))
            with pytest.raises(EvidenceRejected) as caught:
                plan_relation(Kind.REGISTRATION, replace(circuit, weights=listed))
            assert caught.value.code == "circuit-invalid" and caught.value.where == one.name
            assert not parts_fit(replace(circuit, weights=listed))
    odd = tuple(replace(w, bound=w.bound - 1) for w in circuit.weights)
    with pytest.raises(EvidenceRejected) as caught:
        plan_relation(Kind.REGISTRATION, replace(circuit, weights=odd))
    assert caught.value.code == "circuit-invalid"


def test_bounds_of_zero_and_the_widest_that_are_looked_up():
    circuit, _ = ranged()
    for bound, is_ranged in ((0, False), (1, True), ((1 << 15) - 1, True), ((1 << 16) - 1, False)):
        listed = tuple(
            replace(w, bound=bound, row_l1=max(bound, 1) * (w.size // w.shape[0])) if i == 2 else w
            for i, w in enumerate(circuit.weights)
        )
        plan = plan_relation(
            Kind.REGISTRATION, planned(replace(circuit, weights=listed, commitments=(), soundness=()), ZERO_KNOWLEDGE)
        )
        assert plan.parts[2].ranged == is_ranged
        assert bool(plan.parts[2].positive) == (not is_ranged and bound > 0)

    def nothing(cells):
        cells[2][:] = 0

    listed = tuple(replace(w, bound=0, row_l1=1) if i == 2 else w for i, w in enumerate(circuit.weights))
    none = planned(replace(circuit, weights=listed, commitments=(), soundness=()), ZERO_KNOWLEDGE)
    cells = [one.copy() for one in model()[1]]
    cells[2][:] = 0
    made = prepare(none, cells, weights_seed=ONE)
    registered(made)
    kept = [one.copy() for one in made.weights]
    kept[2].reshape(-1)[0] = 1
    refused(lambda: registered(committed_to(made, kept)))


def test_a_registration_of_parts_is_none_of_ranges():
    by_parts = prepare(*model(), weights_seed=ONE)
    assert plan_relation(Kind.REGISTRATION, by_parts.circuit).sums == ()
    proof = proving.prove_registration(by_parts, 0)
    refused(lambda: registered(key(), 0, proof), "proof-invalid", "proof-malformed")
    other = proving.prove_registration(key(), 0)
    refused(lambda: registered(by_parts, 0, other), "proof-invalid", "proof-malformed")


def test_changed_messages_are_refused():
    from verifai.engines.sumcheck.protocol import proof as proofs

    proof = proving.prove_registration(key(), 0)
    plan = plan_relation(Kind.REGISTRATION, key().circuit)
    decoded = proofs.decode(proof, [plan.layout.witness.shape, *(one.shape for one in plan.weights)])
    count = len(decoded.messages)
    for index in [*range(0, count, max(1, count // 25)), count - 1]:
        a, b = decoded.messages[index]
        messages = (*decoded.messages[:index], ((a + 1) % P, b), *decoded.messages[index + 1 :])
        refused(lambda messages=messages: registered(key(), 0, proofs.encode(replace(decoded, messages=messages))))
    assert np.sum([len(opening.columns) for opening in decoded.openings]) > 0
