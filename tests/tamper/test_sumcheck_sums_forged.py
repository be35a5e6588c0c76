"""Several sums of fractions: forged proofs that stay consistent, every message at the sums changed, and hidden weights' sums.

``tests/conformance/test_several_sums.py`` gives the same forgeries to the second verifier.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support import several_sums as sums
from tests.support.several_sums import FORGERIES, SUMS
from tests.support.sumcheck_cheats import Cheat
from tests.tamper import test_zk_weights as hidden
from verifai.engines.sumcheck.planning.plan_relation import plan_relation
from verifai.engines.sumcheck.protocol import field
from verifai.engines.sumcheck.protocol import proof as proofs
from verifai.engines.sumcheck.protocol.relations import Kind
from verifai.engines.sumcheck.verifier import verifier_party
from verifai.engines.sumcheck.verifier.verify import verify
from verifai.errors import EvidenceRejected


@pytest.fixture(autouse=True)
def several(monkeypatch):
    sums.lower_limit(monkeypatch)


@pytest.mark.parametrize("forgery", FORGERIES, ids=lambda forgery: forgery.__name__)
def test_a_forgery_is_refused(forgery, suite, monkeypatch):
    cheat = Cheat(*sums.deep())
    assert len(cheat.key.layout.bus.sums) == SUMS
    cheat.given()
    forgery(cheat, monkeypatch)
    assert cheat.refused().where in FORGERIES[forgery]


def test_the_order_of_challenges_is_what_refuses_denominators_that_know_them(suite, monkeypatch):
    """The same proof convinces a verifier that draws first: nothing else in it is false."""
    cheat = Cheat(*sums.deep())
    cheat.given()
    sums.denominators_after_the_challenges(cheat, monkeypatch)
    monkeypatch.setattr(verifier_party, "check_layers", sums.layers_drawn_first)
    assert cheat.verify().circuit == cheat.circuit


def test_every_message_at_the_sums_changed_is_refused(suite):
    """Denominators, inverses and products of the suite that hides them, and the first layer below."""
    cheat = Cheat(*sums.deep())
    proven = cheat.prove()
    trusted, weights = cheat.given()
    decoded = proofs.decode(proven.proof, trusted.layout.commitments())
    labels = cheat.channel.labels
    last = [label for label, _ in labels].index("lookups.ends")
    count = sum(size for _, size in labels[: last + 1])
    inverses = suite.zero_knowledge * SUMS * (1 + 2)
    assert labels[0] == ("lookups.root", SUMS) and count == SUMS + inverses + 2 * 2 + 4
    for number in range(count):
        for other in (field.add(decoded.messages[number], field.ONE), field.ZERO):
            messages = (*decoded.messages[:number], other, *decoded.messages[number + 1 :])
            with pytest.raises(EvidenceRejected) as caught:
                verify(trusted, weights, proven.statement, proofs.encode(replace(decoded, messages=messages)))
            assert caught.value.code == "proof-invalid"


def test_messages_of_another_number_of_sums_are_refused(suite):
    """A denominator left out, one more, and those of two sums multiplied, as a verifier of two sums would take them."""
    cheat = Cheat(*sums.deep())
    proven = cheat.prove()
    trusted, weights = cheat.given()
    decoded = proofs.decode(proven.proof, trusted.layout.commitments())
    roots, rest = decoded.messages[:SUMS], decoded.messages[SUMS:]
    joined = tuple(field.product(roots[i], roots[i + 2]) for i in range(2))
    for first in (roots[1:], (*roots, field.ONE), joined, (*joined, field.ONE, field.ONE), roots[::-1]):
        with pytest.raises(EvidenceRejected) as caught:
            verify(trusted, weights, proven.statement, proofs.encode(replace(decoded, messages=(*first, *rest))))
        assert caught.value.code in ("proof-invalid", "proof-malformed")


@pytest.fixture
def registration(monkeypatch):
    """Registrations of hidden weights in two sums: which tensor of limbs is in which, the circuit alone decides."""
    plan_relation.cache_clear()
    sums.lower_limit(monkeypatch, 1 << 40)
    key = hidden.key(hidden.ONE)
    alone = plan_relation(Kind.REGISTRATION, key.circuit).layout.bus.leaves
    plan_relation.cache_clear()
    sums.lower_limit(monkeypatch, alone - 1)
    yield plan_relation(Kind.REGISTRATION, key.circuit)
    plan_relation.cache_clear()


def test_weights_beyond_their_bounds_in_any_sum_of_a_registration(registration):
    bus = registration.layout.bus
    assert len(bus.sums) > 1 and max(bus.sums) < bus.leaves
    hidden.registered(hidden.key(hidden.ONE))
    owners = {}
    for which, parts in enumerate(registration.parts):
        owners.setdefault(bus.by_tensor[parts.positive[0]][0].group.sum, which)
    assert len(owners) > 1
    for which in owners.values():
        bound = hidden.model()[0].weights[which].bound

        def change(cells, which=which, bound=bound):
            cells[which].reshape(-1)[0] = bound + 1

        hidden.refused(lambda change=change: hidden.registered(hidden.forged(change)))
