"""Tally an attested decision again from the messages that it names. A signature under a decision does not make it true."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from verifai.domain.attestation.envelope import Attestation
from verifai.domain.consensus.beacons import PublishedBeacon
from verifai.domain.consensus.calibration import Calibration
from verifai.domain.consensus.decision import ConsensusDecision, CountedVote
from verifai.domain.consensus.exchange import VoteOpening
from verifai.domain.consensus.job import NO_CALIBRATION
from verifai.domain.consensus.round import Beacon, RoundTerms
from verifai.domain.consensus.tally import TallyOutcome
from verifai.domain.consensus.vote import Vote, VoteCommitment
from verifai.domain.digest import Sha256
from verifai.domain.trust_keys import PublicKey
from verifai.errors import EvidenceRejected
from verifai.stages.consensus.decide import Claim, ConsensusRequest, ConsensusResult, decide

P = TypeVar("P")
_LAST_DIGITS = 1e-9


def recheck(
    attestations: Mapping[Sha256, Attestation],
    decision_id: Sha256,
    *,
    keys: Mapping[str, PublicKey],
    now: datetime,
    claim: Claim | None = None,
) -> ConsensusResult:
    """Decide again, and refuse when something else comes out.

    Who signed the terms, the calibration and the decision is the caller's question; the votes' signatures are checked here.

    Args:
        attestations: a bundle's, by identifier.
        keys: trusted verifiers by key identifier, from outside the bundle; votes of others do not count.
        claim: the claimed outputs, when the decision is about a claim; without them that part is not checked again, and the
            result's decision keeps no claim.

    Raises:
        EvidenceRejected: ``consensus-incomplete``, ``consensus-false``, and whatever :func:`decide` raises.
        PolicyNotMet: the calibration is stale.
    """
    decision = _predicate(attestations, decision_id, ConsensusDecision)
    terms = _predicate(attestations, decision.round, RoundTerms)
    calibration = None
    if terms.job.calibration != NO_CALIBRATION:
        calibration = _predicate(attestations, terms.job.calibration, Calibration)
    if decision.calibration != terms.job.calibration:
        raise EvidenceRejected("consensus-false", "the decision names another calibration than the round's terms")
    votes = [one for one in attestations.values() if isinstance(one.predicate, Vote) and one.predicate.round == decision.round]
    missing = {one.vote for one in decision.votes} - {one.id for one in votes}
    if missing:
        raise EvidenceRejected("consensus-incomplete", "a vote that was counted is not there", where=min(missing))
    result = decide(
        ConsensusRequest(
            terms=terms,
            terms_id=decision.round,
            commitments=_commitments(attestations, decision),
            beacon=Beacon(terms.beacon.source, terms.beacon.number, decision.beacon),
            votes=votes,
            keys=keys,
            calibration=calibration,
            now=now,
            replays=[_attestation(attestations, one) for one in decision.replays],
            late=frozenset(decision.late),
            claim=claim,
            openings=[one for one in attestations.values() if isinstance(one.predicate, VoteOpening)],
            published=_published(attestations, decision),
        )
    )
    _require_same(decision, result.decision, with_claim=claim is not None)
    return result


def _published(attestations: Mapping[Sha256, Attestation], decision: ConsensusDecision) -> PublishedBeacon | None:
    """What proves the randomness, when it is a drand chain's: another value than the decision's would not fit the votes."""
    found = (one.predicate for one in attestations.values())
    return next((one for one in found if isinstance(one, PublishedBeacon) and one.round == decision.round), None)


def _commitments(attestations: Mapping[Sha256, Attestation], decision: ConsensusDecision) -> list[Attestation]:
    """Those that the seed rests on, and those that came late: the latter draw nothing, but count against f."""
    late = [
        one
        for one in (attestations[key] for key in decision.late if key in attestations)
        if isinstance(one.predicate, VoteCommitment) and one.id not in decision.commitments
    ]
    return [*(_attestation(attestations, one) for one in decision.commitments), *late]


def _require_same(attested: ConsensusDecision, found: ConsensusDecision, *, with_claim: bool) -> None:
    # Messages that could not be attributed may be left out of a bundle; what decides may not differ.
    parts = ("seed", "votes", "outcome", "centre") + (("claim", "claim_relation") if with_claim else ())
    for part in parts:
        if part == "votes" and _same_votes(attested.votes, found.votes):
            continue
        if getattr(attested, part) != getattr(found, part):
            raise EvidenceRejected(
                "consensus-false", f"tallied again, another {part} comes out ({found.outcome.value})", where=part
            )


def _same_votes(attested: Sequence[CountedVote], found: Sequence[CountedVote]) -> bool:
    """Equal but for the last digits of a distance, which a release that summed in another order may have written. Relations,
    which decide, are equal; and what a reader goes by is what was found here."""
    return len(attested) == len(found) and all(
        replace(one, node=replace(one.node, distance=other.node.distance)) == other
        and math.isclose(one.node.distance, other.node.distance, rel_tol=_LAST_DIGITS, abs_tol=_LAST_DIGITS)
        for one, other in zip(attested, found, strict=True)
    )


def accepted(result: ConsensusResult) -> bool:
    """Whether the decision is an acceptance, claim included."""
    return result.decision.outcome is TallyOutcome.ACCEPT and result.decision.claim_relation in ("", "within")


def _attestation(attestations: Mapping[Sha256, Attestation], identifier: Sha256) -> Attestation:
    found = attestations.get(identifier)
    if found is None:
        raise EvidenceRejected("consensus-incomplete", "a message that the decision rests on is not there", where=identifier)
    return found


def _predicate(attestations: Mapping[Sha256, Attestation], identifier: Sha256, kind: type[P]) -> P:
    found = _attestation(attestations, identifier).predicate
    if not isinstance(found, kind):
        raise EvidenceRejected(
            "consensus-incomplete", f"{type(found).__name__} stands where another type belongs", where=identifier
        )
    return found
