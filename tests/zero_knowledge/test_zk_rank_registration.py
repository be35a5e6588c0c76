"""The rank test on a registration by bounds alone: weights' own cells are looked up, in one sum of fractions and in several."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.support import zk_circuits as circuits
from tests.support.zk_rank import Act, Stage
from tests.support.zk_views import GivenCoins, Scene, View, _flat
from verifai.engines.sumcheck.planning.plan_relation import plan_relation
from verifai.engines.sumcheck.protocol import weight_ranges
from verifai.engines.sumcheck.protocol.field import ZERO
from verifai.engines.sumcheck.protocol.proof import decode
from verifai.engines.sumcheck.protocol.relations import Kind
from verifai.engines.sumcheck.prover import opening_hiding
from verifai.engines.sumcheck.prover import relations as proving
from verifai.engines.sumcheck.prover.channel import HidingProverChannel
from verifai.engines.sumcheck.prover.commitment import commit_hiding
from verifai.engines.sumcheck.prover.padded_weights import PaddedWeights

BITS = 4


class Registration(Scene):
    """A registration to be made, apart from its coins. The key's layout is the registration's."""

    def prove(self, coins, seen=None, own=None):
        """The view with ``coins``, as that of an inference."""
        key = self.key
        plan = plan_relation(Kind.REGISTRATION, key.circuit)
        weights = PaddedWeights(key.circuit.weights, self.weights)
        committed = commit_hiding(plan.weights[0], weights.columns(), GivenCoins(coins.get("w")), "weights", number=self.number)
        given, channels = own or GivenCoins(coins.get("x")), []
        honest = (proving.begin, proving.begin_session, proving.SecretCoins, opening_hiding.FinalRounds)

        def begin(*of):
            return honest[0](*of) if len(of) > 5 else honest[0](*of, self.script())

        def begin_session(*of):
            session = honest[1](*of)
            channels.append(session.channel)
            return session

        def listening(members):
            if seen is not None:
                seen.extend(np.pad(member.weights, ((0, 0), (member.matrix.first, 0))) for member in members)  # 0 before it
            return honest[3](members)

        proving.begin, proving.begin_session, proving.SecretCoins = begin, begin_session, lambda _: given
        opening_hiding.FinalRounds = listening
        try:
            made = proving.prove_registration(replace(key, weights=weights, committed=committed), self.number)
        finally:
            proving.begin, proving.begin_session, proving.SecretCoins, opening_hiding.FinalRounds = honest
        vector = _flat(decode(made, plan.layout.commitments()))
        return View(self, vector, tuple(channels[0].labels), channels[0].pads, given.sizes, ())

    def members(self):
        """The witness commitment, and that of the weights, opened alone."""
        layout = self.key.layout
        return [("x", "witness", layout.witness, 0, 0), ("w", "weights", layout.hashed[0], self.number, 1)]


@pytest.fixture(scope="module", params=[26, 5], ids=["one sum", "several sums"])
def stage(request):
    before, weight_ranges.MOST_LOG_LEAVES = weight_ranges.MOST_LOG_LEAVES, request.param
    plan_relation.cache_clear()
    try:
        with circuits.security(BITS):
            case = circuits.mlp(committed=True)
            plan = plan_relation(Kind.REGISTRATION, case.circuit)
            assert len(plan.sums) == (1 if request.param == 26 else 2) and not plan.circuit.tensors
            random = np.random.default_rng(3)
            act = Act(case, [case.draw(random) for _ in range(3)], random, number=1, scene=Registration, layout=plan.layout)
            yield act, Stage([act]), plan
    finally:
        weight_ranges.MOST_LOG_LEAVES = before
        plan_relation.cache_clear()


def test_registrations_of_random_weights_are_equally_distributed(stage):
    act, one, _ = stage
    shown, expected = act.predicted()
    assert np.array_equal(shown, expected)  # the matrix is the engine's
    assert act.same_weights and all(difference.any() for difference in act.differences)
    assert not one.leaks().any()
    # Rows of the weights' commitment are 0 in its mask region, which is for openings beside a witness: so is their combination.
    known = 2 * act.key.layout.hashed[0].shape.mask
    assert one.rank == one.height - act.equations() - known


def test_every_message_of_every_sum_needs_its_pad(stage):
    """Roots and their inverses, layers, weights at the leaves, multiplicities: each tells when it is in clear."""
    act, one, plan = stage
    count, half = act.key.layout.pads.messages, one.starts["x0", "pads.messages"][1] // 2
    names = [act.view.name_of(number) for number in range(count)]
    assert names.count("lookups.root") == names.count("lookups.root.inverse") == len(plan.sums)
    assert names.count("relation.w") == len(plan.circuit.weights)
    assert names.count("lookups.count") == sum(len(bus.tables) for bus in plan.sums)
    places = act.view.encrypted()
    used = one.coins("x0", "pads.messages", np.arange(count), np.arange(half, half + count))
    depends = [any(d[places[i % count] + i // count] for d in act.differences) for i in range(2 * count)]
    assert one.needed(used) == [int(coin) for coin, needed in zip(used, depends, strict=True) if needed]
    telling = {names[i % count] for i, needed in enumerate(depends) if needed}
    assert telling == set(names)


def test_every_row_of_multiplicities_needs_its_tail(stage):
    act, one, _ = stage
    shape = act.key.layout.witness.shape
    first = sum(2 * count for _, count in act.view.labels)
    shown = [d[first : first + shape.queries * shape.rows].reshape(shape.queries, shape.rows) for d in act.differences]
    caught = 0
    for row in range(shape.reserved_rows, shape.rows - shape.mask_rows):
        tail = one.coins("x0", "witness.tail", np.arange(row * shape.tail, (row + 1) * shape.tail))
        depends = np.array([bool(columns[:, row].any()) for columns in shown])
        leaks = one.leaks(tail[shape.queries - 1 :])
        assert (leaks | ~depends).all() and not one.leaks(tail[shape.queries :]).any()
        caught += leaks.all()
    assert caught > (shape.rows - shape.reserved_rows - shape.mask_rows) // 2


def test_an_engine_that_sends_in_clear_is_not_the_one_of_the_matrix(stage, monkeypatch):
    act, _, _ = stage
    monkeypatch.setattr(HidingProverChannel, "_pad", lambda self, column, number: ZERO)
    shown, expected = act.predicted()
    assert not np.array_equal(shown, expected)
