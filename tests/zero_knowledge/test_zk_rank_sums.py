"""The rank test on a proof with several sums of fractions: each sum's denominator is a message with a pad of its own."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support import zk_circuits as circuits
from tests.support.zk_rank import Act, Stage
from verifai.engines.sumcheck.protocol import buses
from verifai.engines.sumcheck.protocol.suite import ZERO_KNOWLEDGE

BITS = 4


@pytest.fixture
def stage(monkeypatch):
    assert len(buses.build(circuits.mlp(private=True).circuit).sums) == 0
    alone = buses.build(circuits.mlp(private=True).circuit).leaves
    monkeypatch.setattr(buses, "MOST_LEAVES", alone - 1)
    with circuits.security(BITS):
        case = circuits.mlp(private=True)
        assert case.circuit.suite == ZERO_KNOWLEDGE.name
        random = np.random.default_rng(3)
        act = Act(case, case.witnesses(random, 3), random)
        yield act, Stage([act])


def test_views_of_random_witnesses_are_equally_distributed(stage):
    act, one = stage
    sums = len(act.key.layout.bus.sums)
    assert sums > 1
    shown, expected = act.predicted()
    assert np.array_equal(shown, expected)
    assert act.same_statement and act.same_weights
    assert not one.leaks().any()
    assert one.rank == one.height - act.equations()
    # Each denominator in clear, and each one's inverse, tells.
    half = len(one.coins("x0", "pads.messages")) // 2
    messages = range(act.key.layout.pads.messages)
    for label in ("lookups.root", "lookups.root.inverse"):
        numbers = [n for n in messages if act.view.name_of(n) == label]
        assert len(numbers) == sums
        told = [one.leaks(one.coins("x0", "pads.messages", [n, n + half])).any() for n in numbers]
        assert all(told)
    assert act.scene.verify().circuit == act.case.circuit
