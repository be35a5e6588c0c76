"""Past decisions as the record that reputation is computed from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from verifai.domain.consensus.decision import ConsensusDecision
from verifai.domain.consensus.reputation import PastRound, contests, strengths, weights
from verifai.domain.consensus.round import ACCIDENTS, OUTSIDERS, Fault
from verifai.domain.consensus.tally import Relation, TallyOutcome

_NO_LIE = ACCIDENTS | OUTSIDERS | {Fault.COPIED_COMMITMENT}


def past_round(decision: ConsensusDecision, *, canary: bool = False) -> PastRound:
    """What a decision says about its voters.

    An ordinary round teaches only when it accepted. A canary is a round whose claim was the known answer: those near it passed.
    When the claim lies outside the ball, the ball as a whole failed, however many were in it; nothing is known of the others.
    """
    agreed = tuple(sorted(decision.agreeing_voters))
    outside = {one.node.voter for one in decision.votes if one.node.relation is Relation.BEYOND}
    outside |= {one.voter for one in decision.faults if one.fault not in _NO_LIE}
    failed = tuple(sorted(outside - set(agreed)))
    if not canary:
        accepted = decision.outcome is TallyOutcome.ACCEPT
        return PastRound(agreed if accepted else (), failed if accepted else ())
    if decision.claim_relation == Relation.WITHIN.value:
        return PastRound(agreed, failed, canary=True)
    if decision.claim_relation == Relation.BEYOND.value:
        return PastRound((), agreed, canary=True)
    return PastRound((), (), canary=True)


def weights_from(history: Iterable[ConsensusDecision], canaries: Iterable[ConsensusDecision]) -> Mapping[str, float]:
    """Weights of all voters that the record knows; each round counts once."""
    seen: dict[str, PastRound] = {}
    for canary, decisions in ((False, history), (True, canaries)):
        for one in decisions:
            seen[one.round] = past_round(one, canary=canary)
    return weights(strengths(contests(seen.values())))
