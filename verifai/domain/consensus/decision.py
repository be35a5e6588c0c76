"""The consensus attestation: what a round came to, and everything that the decision follows from, by identifier."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from verifai.domain.attestation.circuit import ratio_from_record, ratio_to_json
from verifai.domain.attestation.predicate_types import CONSENSUS_TYPE
from verifai.domain.consensus.round import MAX_DETAIL, MAX_VOTERS, Fault, NamedFault
from verifai.domain.consensus.tally import NodeResult, Relation, TallyOutcome
from verifai.domain.digest import Sha256, is_sha256
from verifai.domain.record import Record

_KEYID = r"[0-9a-f]{64}"
MAX_FAULTS = 16 * MAX_VOTERS
"""Faults that a decision names."""


@dataclass(frozen=True, slots=True)
class CountedVote:
    """A valid vote's place in the decision.

    Attributes:
        vote: identifier of its attestation. environment: digest of the environment that the voter claims.
        node: distance to the centre as a multiple of τ, and the relation.
    """

    vote: Sha256
    environment: Sha256
    node: NodeResult

    def to_json(self) -> dict[str, Any]:
        """Integers and strings only."""
        return {
            "vote": self.vote,
            "environment": self.environment,
            "voter": self.node.voter,
            "ratio": ratio_to_json(self.node.distance),
            "relation": self.node.relation.value,
        }

    @classmethod
    def from_record(cls, record: Record) -> CountedVote:
        """The inverse of :meth:`to_json`, strict."""
        found = cls(
            record.sha256("vote"),
            record.sha256("environment"),
            NodeResult(
                record.text("voter", pattern=_KEYID),
                float(ratio_from_record(record, "ratio")),
                record.choice("relation", Relation),
            ),
        )
        record.done()
        return found


@dataclass(frozen=True, slots=True)
class ConsensusDecision:
    """``urn:verifai:consensus:v1``.

    Attributes:
        beacon: the beacon's value. seed: drawn from the commitments and it.
        late: identifiers of messages that came after their deadline, as the coordinator saw it; ascending.
        replays: identifiers of the token replays that were used; ascending.
        outcome, reason: of the unweighted tally.
        claim: identifier of the proof or output whose place was asked for, or empty.
        claim_relation: its relation to the centre; empty without a claim.
    """

    TYPE: ClassVar[str] = CONSENSUS_TYPE

    round: Sha256
    calibration: Sha256
    commitments: tuple[Sha256, ...]
    beacon: Sha256
    seed: Sha256
    votes: tuple[CountedVote, ...]
    late: tuple[Sha256, ...]
    replays: tuple[Sha256, ...]
    faults: tuple[NamedFault, ...]
    outcome: TallyOutcome
    reason: str
    centre: str
    claim: str = ""
    claim_relation: str = ""

    def parents(self) -> tuple[Sha256, ...]:
        """Terms, commitments and votes."""
        return (self.round, *self.commitments, *(one.vote for one in self.votes), *self.replays)

    @property
    def agreeing_voters(self) -> frozenset[str]:
        """Distinct keys inside the ball; a gate counts these."""
        return frozenset(one.node.voter for one in self.votes if one.node.relation is Relation.WITHIN)

    @property
    def agreeing_environments(self) -> frozenset[str]:
        """Distinct environments inside the ball, as the voters state them; a gate counts these."""
        return frozenset(one.environment for one in self.votes if one.node.relation is Relation.WITHIN)

    def to_json(self) -> Mapping[str, Any]:
        """Integers and strings only."""
        return {
            "round": self.round,
            "calibration": self.calibration,
            "commitments": list(self.commitments),
            "beacon": self.beacon,
            "seed": self.seed,
            "votes": [one.to_json() for one in self.votes],
            "late": list(self.late),
            "replays": list(self.replays),
            "faults": [{"voter": one.voter, "fault": one.fault.value, "detail": one.detail} for one in self.faults],
            "outcome": self.outcome.value,
            "reason": self.reason,
            "centre": self.centre,
            "claim": self.claim,
            "claim_relation": self.claim_relation,
        }

    @classmethod
    def from_record(cls, record: Record) -> ConsensusDecision:
        """The inverse of :meth:`to_json`, strict."""
        decision = cls(
            round=record.sha256("round"),
            calibration=record.sha256("calibration"),
            commitments=_identifiers(record, "commitments"),
            beacon=record.sha256("beacon"),
            seed=record.sha256("seed"),
            votes=tuple(CountedVote.from_record(item) for item in record.tables("votes", max_length=MAX_VOTERS)),
            late=_identifiers(record, "late"),
            replays=_identifiers(record, "replays"),
            faults=tuple(_fault(item) for item in record.tables("faults", max_length=MAX_FAULTS)),
            outcome=record.choice("outcome", TallyOutcome),
            reason=record.text("reason"),
            centre=record.text("centre", pattern=r"([0-9a-f]{64})?", empty=True),
            claim=record.text("claim", pattern=r"([0-9a-f]{64})?", empty=True),
            claim_relation=record.text("claim_relation", pattern=r"(within|beyond|indeterminate)?", empty=True),
        )
        record.done()
        return decision


def _identifiers(record: Record, field: str) -> tuple[Sha256, ...]:
    found = record.texts(field, max_length=16 * MAX_VOTERS)
    if list(found) != sorted(set(found)) or not all(is_sha256(one) for one in found):
        raise record.refuse("expected identifiers in ascending order, each once", field)
    return tuple(Sha256(one) for one in found)


def _fault(record: Record) -> NamedFault:
    fault = NamedFault(
        record.text("voter", max_length=64), record.choice("fault", Fault), record.text("detail", max_length=MAX_DETAIL)
    )
    record.done()
    return fault
