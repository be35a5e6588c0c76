"""A signed decision is tallied again; forging one, or leaving its evidence out, does not pass."""

from __future__ import annotations

import dataclasses

import pytest

from tests.support.consensus_rounds import ABOUT, NOW, Simulation, claim, outputs
from verifai.bundle.dsse import attest
from verifai.domain.attestation.envelope import Attestation
from verifai.domain.consensus.decision import ConsensusDecision
from verifai.domain.consensus.tally import Relation, TallyOutcome
from verifai.domain.digest import Sha256, sha256
from verifai.errors import EvidenceRejected, PolicyNotMet
from verifai.stages.consensus.recheck import accepted, recheck

HONEST, NEAR, WRONG = outputs(), outputs(1e-7), outputs(1e-2, seed=5)


def _bundle(round_: Simulation, decision: ConsensusDecision) -> tuple[dict[Sha256, Attestation], Sha256]:
    assert round_.calibration is not None
    made = [
        attest(round_.calibration, ABOUT),
        attest(round_.terms, ABOUT),
        *round_.commitments.values(),
        *round_.votes.values(),
        attest(decision, ABOUT),
    ]
    return {one.id: one for one in made}, made[-1].id


def _keys(round_: Simulation):  # type: ignore[no-untyped-def]
    return {key.keyid: key.public_key for key in round_.keys}


@pytest.mark.parametrize(
    "forge",
    [
        lambda one: dataclasses.replace(one, outcome=TallyOutcome.ACCEPT),
        lambda one: dataclasses.replace(one, seed=sha256(b"another")),
        lambda one: dataclasses.replace(one, centre=one.votes[2].node.voter),
        lambda one: dataclasses.replace(
            one,
            votes=tuple(
                dataclasses.replace(v, node=dataclasses.replace(v.node, relation=Relation.WITHIN, distance=0.0))
                for v in one.votes
            ),
        ),
        lambda one: dataclasses.replace(one, votes=one.votes[:2]),
        lambda one: dataclasses.replace(one, calibration=sha256(b"another")),
    ],
)
def test_a_forged_decision_is_refused(forge) -> None:  # type: ignore[no-untyped-def]
    round_ = Simulation().play([HONEST, WRONG, outputs(1e-2, seed=6)])
    honest = round_.decide().decision
    assert honest.outcome is TallyOutcome.REJECT
    bundle, identifier = _bundle(round_, forge(honest))
    with pytest.raises(EvidenceRejected) as caught:
        recheck(bundle, identifier, keys=_keys(round_), now=NOW)
    assert caught.value.code == "consensus-false"


def test_a_missing_message_is_named() -> None:
    round_ = Simulation().play([HONEST, NEAR, NEAR])
    decision = round_.decide().decision
    for identifier in (decision.round, decision.commitments[0], decision.votes[0].vote, decision.calibration):
        bundle, which = _bundle(round_, decision)
        del bundle[identifier]
        with pytest.raises(EvidenceRejected) as caught:
            recheck(bundle, which, keys=_keys(round_), now=NOW)
        assert caught.value.code == "consensus-incomplete"
        assert caught.value.where == identifier


def test_votes_of_keys_that_are_not_trusted_do_not_count() -> None:
    round_ = Simulation().play([HONEST, NEAR, NEAR])
    bundle, identifier = _bundle(round_, round_.decide().decision)
    trusted = dict(list(_keys(round_).items())[:2])
    with pytest.raises(EvidenceRejected):
        recheck(bundle, identifier, keys=trusted, now=NOW)


def test_a_decision_outlives_its_calibration_as_little_as_any() -> None:
    round_ = Simulation().play([HONEST, NEAR, NEAR])
    bundle, identifier = _bundle(round_, round_.decide().decision)
    with pytest.raises(PolicyNotMet):
        recheck(bundle, identifier, keys=_keys(round_), now=NOW.replace(year=2030))


def test_an_honest_decision_holds_with_and_without_its_claim() -> None:
    round_ = Simulation().play([HONEST, NEAR, WRONG])
    asked = claim(NEAR)
    bundle, identifier = _bundle(round_, round_.decide(claim=asked).decision)
    for given in (None, asked):
        result = recheck(bundle, identifier, keys=_keys(round_), now=NOW, claim=given)
        assert accepted(result)
        assert len(result.decision.agreeing_voters) == 2
        assert len(result.decision.agreeing_environments) == 1
    with pytest.raises(EvidenceRejected):
        recheck(bundle, identifier, keys=_keys(round_), now=NOW, claim=claim(WRONG))


@pytest.mark.parametrize("how", ["left out", "marked late"])
def test_a_coordinator_cannot_drop_dissent(how: str) -> None:
    """Five commitments, f = 1: without the two dissenting reveals three of three would agree."""
    round_ = Simulation(count=5).play([HONEST, NEAR, NEAR, WRONG, outputs(1e-2, seed=6)])
    assert round_.decide().decision.outcome is TallyOutcome.REJECT
    dissent = [round_.votes[key.keyid] for key in round_.keys[3:]]
    if how == "left out":
        for key in round_.keys[3:]:
            del round_.votes[key.keyid]
        late = frozenset()
    else:
        late = frozenset(one.id for one in dissent)
    found = round_.decide(late=late).decision
    assert found.outcome is TallyOutcome.REJECT
    bundle, identifier = _bundle(round_, dataclasses.replace(found, outcome=TallyOutcome.ACCEPT))
    with pytest.raises(EvidenceRejected) as caught:
        recheck(bundle, identifier, keys=_keys(round_), now=NOW)
    assert caught.value.code == "consensus-false"


def test_f_absentees_do_not_stop_an_honest_round_of_3f_plus_1() -> None:
    round_ = Simulation(count=4).play([HONEST, NEAR, NEAR, NEAR])
    absent = round_.votes.pop(round_.keys[0].keyid)
    for late in (frozenset(), frozenset({absent.id})):
        decision = round_.decide(late=late).decision
        bundle, identifier = _bundle(round_, decision)
        assert accepted(recheck(bundle, identifier, keys=_keys(round_), now=NOW))


def test_commitments_that_came_late_count_against_f_when_tallied_again() -> None:
    round_ = Simulation(count=6)
    timely, tardy = round_.keys[:4], round_.keys[4:]
    for key in timely:
        round_.commit(key, HONEST)
    for key in timely:
        round_.reveal(key)
    for count, outcome in ((1, TallyOutcome.ACCEPT), (2, TallyOutcome.REJECT)):
        for key in tardy[:count]:
            round_.commit(key, WRONG)
        late = frozenset(round_.commitments[key.keyid].id for key in tardy[:count])
        decision = round_.decide(late=late).decision
        # One late commitment leaves four of five, which is all but f; a second one leaves four of six.
        assert decision.outcome is outcome
        bundle, identifier = _bundle(round_, decision)
        assert accepted(recheck(bundle, identifier, keys=_keys(round_), now=NOW)) is (outcome is TallyOutcome.ACCEPT)
