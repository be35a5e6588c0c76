"""Reputation from past decisions: it is shown, it is capped, and it never decides."""

from __future__ import annotations

import dataclasses

from tests.support.consensus_rounds import Simulation, claim, outputs
from verifai.domain.consensus.decision import ConsensusDecision
from verifai.domain.consensus.reputation import WEIGHT_CAP
from verifai.domain.consensus.reputation_history import past_round, weights_from
from verifai.domain.consensus.tally import TallyOutcome

HONEST, NEAR, WRONG = outputs(), outputs(1e-7), outputs(1e-2, seed=5)


def _history(count: int, answers, **changes):  # type: ignore[no-untyped-def]
    return [Simulation(nonce=f"past {i}").play(answers).decide(**changes).decision for i in range(count)]


def test_a_liar_of_old_loses_weight_and_the_honest_do_not_pass_the_cap() -> None:
    voters = [key.keyid for key in Simulation().keys]
    found = weights_from(_history(12, [HONEST, NEAR, WRONG]), [])
    assert found[voters[2]] < 0.5 < found[voters[0]] <= WEIGHT_CAP


def test_one_decision_given_often_counts_once() -> None:
    (decision,) = _history(1, [HONEST, NEAR, WRONG])
    assert weights_from([decision] * 50, []) == weights_from([decision], [])


def test_a_round_without_agreement_teaches_nothing() -> None:
    (decision,) = _history(1, [HONEST, WRONG, outputs(1e-2, seed=6)])
    assert decision.outcome is TallyOutcome.REJECT
    assert past_round(decision) == past_round(decision)
    assert weights_from([decision], []) == {}


def test_a_ring_that_agrees_with_itself_fails_the_canary() -> None:
    """Two colluders of three win the round, and lose weight where the answer was known."""
    ring = _history(8, [HONEST, WRONG, WRONG], claim=claim(HONEST))
    assert {one.claim_relation for one in ring} == {"beyond"}
    voters = [key.keyid for key in Simulation().keys]
    found = weights_from([], ring)
    assert found[voters[1]] < 0.5
    assert found[voters[2]] < 0.5


def test_weights_never_change_the_outcome() -> None:
    round_ = Simulation().play([HONEST, NEAR, WRONG])
    voters = [key.keyid for key in round_.keys]
    plain: ConsensusDecision = round_.decide().decision
    weighted = round_.decide(weights={voters[0]: 0.0, voters[1]: 0.0, voters[2]: WEIGHT_CAP})
    assert weighted.decision == plain
    assert any(one.code == "weighted-differs" for one in weighted.findings)


def test_a_lie_counts_as_a_failure_and_an_absence_does_not() -> None:
    round_ = Simulation(count=4).play([HONEST, NEAR, NEAR, NEAR])
    liar, absent = round_.keys[3], round_.keys[2]
    round_.reveal(liar, lambda vote: dataclasses.replace(vote, openings=()))
    del round_.votes[absent.keyid]
    decision = round_.decide().decision
    assert decision.outcome is TallyOutcome.REJECT or past_round(decision).failed == (liar.keyid,)
    accepted = dataclasses.replace(decision, outcome=TallyOutcome.ACCEPT)
    assert past_round(accepted).failed == (liar.keyid,)
