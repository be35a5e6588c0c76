"""What a round in a shared folder says beside commitments and votes: lists that close a step, and shares of the randomness."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar

from verifai.domain.attestation.predicate_types import ROUND_CUT_TYPE, VOTE_OPENING_TYPE
from verifai.domain.consensus.round import MAX_COMMITMENTS_OF_ONE, MAX_VOTERS
from verifai.domain.digest import Sha256, is_sha256
from verifai.domain.record import Record

_HEX64 = r"[0-9a-f]{64}"


class Step(StrEnum):
    """A step of a round that ends with a list."""

    COMMITMENTS = "commitments"
    OPENINGS = "openings"


@dataclass(frozen=True, slots=True)
class RoundCut:
    """``urn:verifai:round-cut:v1``: the coordinator's list of the messages that a step came to. What comes later is late.

    Attributes:
        messages: identifiers, ascending.
    """

    TYPE: ClassVar[str] = ROUND_CUT_TYPE

    round: Sha256
    step: Step
    messages: tuple[Sha256, ...]

    def parents(self) -> tuple[Sha256, ...]:
        """The round's terms, and the messages."""
        return (self.round, *self.messages)

    def to_json(self) -> Mapping[str, Any]:
        """Integers and strings only."""
        return {"round": self.round, "step": self.step.value, "messages": list(self.messages)}

    @classmethod
    def from_record(cls, record: Record) -> RoundCut:
        """The inverse of :meth:`to_json`, strict."""
        messages = record.texts("messages", max_length=MAX_COMMITMENTS_OF_ONE * MAX_VOTERS)
        if list(messages) != sorted(set(messages)) or not all(is_sha256(one) for one in messages):
            raise record.refuse("expected identifiers in ascending order, each once", "messages")
        predicate = cls(record.sha256("round"), record.choice("step", Step), tuple(Sha256(one) for one in messages))
        record.done()
        return predicate


@dataclass(frozen=True, slots=True)
class VoteOpening:
    """``urn:verifai:vote-opening:v1``: a verifier opens its commitment before the seed exists; the salt is its share of it.

    Attributes:
        commitment: identifier of this voter's commitment attestation.
        salt: 32 bytes, hex. outputs_root: Merkle root over the encoded outputs.
    """

    TYPE: ClassVar[str] = VOTE_OPENING_TYPE

    round: Sha256
    voter: str
    commitment: Sha256
    salt: str
    outputs_root: Sha256

    def parents(self) -> tuple[Sha256, ...]:
        """The commitment."""
        return (self.commitment,)

    def to_json(self) -> Mapping[str, Any]:
        """Integers and strings only."""
        return {
            "round": self.round,
            "voter": self.voter,
            "commitment": self.commitment,
            "salt": self.salt,
            "outputs_root": self.outputs_root,
        }

    @classmethod
    def from_record(cls, record: Record) -> VoteOpening:
        """The inverse of :meth:`to_json`, strict."""
        predicate = cls(
            record.sha256("round"),
            record.text("voter", pattern=_HEX64),
            record.sha256("commitment"),
            record.text("salt", pattern=_HEX64),
            record.sha256("outputs_root"),
        )
        record.done()
        return predicate
