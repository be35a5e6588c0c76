"""What a verifier's model says to token sequences that other verifiers claim: an attestation of its own, after the reveals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from verifai.domain.attestation.circuit import ratio_from_record, ratio_to_json
from verifai.domain.attestation.predicate_types import VOTE_REPLAY_TYPE
from verifai.domain.consensus.job import MAX_SAMPLES
from verifai.domain.digest import Sha256
from verifai.domain.record import Record

_MAX_TOKENS = 10**7


@dataclass(frozen=True, slots=True)
class ReplayedClaim:
    """One claimed sequence, replayed.

    Attributes:
        sample: the job's sample.
        claimed: the seeded digest of the sequence: the first 32 bytes of the claimant's fingerprint, hex.
        positions, agreeing, worst_margin: as in :class:`verifai.fingerprints.tokens.Replay`; the margin is in logits.
    """

    sample: int
    claimed: Sha256
    positions: int
    agreeing: int
    worst_margin: float

    def to_json(self) -> dict[str, Any]:
        """Integers and strings only."""
        return {
            "sample": self.sample,
            "claimed": self.claimed,
            "positions": self.positions,
            "agreeing": self.agreeing,
            "worst_margin": ratio_to_json(self.worst_margin),
        }

    @classmethod
    def from_record(cls, record: Record) -> ReplayedClaim:
        """The inverse of :meth:`to_json`, strict."""
        positions = record.integer("positions", low=1, high=_MAX_TOKENS)
        claim = cls(
            record.integer("sample", low=0, high=MAX_SAMPLES - 1),
            record.sha256("claimed"),
            positions,
            record.integer("agreeing", low=0, high=positions),
            float(ratio_from_record(record, "worst_margin")),
        )
        record.done()
        return claim


@dataclass(frozen=True, slots=True)
class VoteReplay:
    """``urn:verifai:vote-replay:v1``.

    Attributes:
        vote: identifier of this voter's own vote.
    """

    TYPE: ClassVar[str] = VOTE_REPLAY_TYPE

    round: Sha256
    voter: str
    vote: Sha256
    claims: tuple[ReplayedClaim, ...]

    def parents(self) -> tuple[Sha256, ...]:
        """The voter's vote."""
        return (self.vote,)

    def to_json(self) -> Mapping[str, Any]:
        """Integers and strings only."""
        return {
            "round": self.round,
            "voter": self.voter,
            "vote": self.vote,
            "claims": [one.to_json() for one in self.claims],
        }

    @classmethod
    def from_record(cls, record: Record) -> VoteReplay:
        """The inverse of :meth:`to_json`, strict."""
        predicate = cls(
            record.sha256("round"),
            record.text("voter", pattern=r"[0-9a-f]{64}"),
            record.sha256("vote"),
            tuple(ReplayedClaim.from_record(item) for item in record.tables("claims", max_length=MAX_SAMPLES)),
        )
        record.done()
        return predicate
