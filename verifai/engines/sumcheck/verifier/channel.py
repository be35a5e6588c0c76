"""The verifier's end of the conversation: prover messages in, challenges out, both through one transcript."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from verifai.engines.sumcheck.verifier.claim import Claim
from verifai.engines.sumcheck.verifier.field import Ext
from verifai.engines.sumcheck.verifier.transcript import Domain, Transcript
from verifai.errors import EvidenceRejected


class Channel(Protocol):
    """What sumchecks need: messages and challenges."""

    def receive(self, label: str, count: int) -> list[Claim]:
        """The prover's next message of ``count`` elements."""

    def challenge(self, label: str) -> Ext:
        """A uniform element of F outside F_p."""


class ProofChannel:
    """Replays a proof's messages."""

    def __init__(self, transcript: Transcript, messages: Sequence[Ext]) -> None:
        self.transcript = transcript
        self._messages = messages
        self._next = 0

    def receive(self, label: str, count: int) -> list[Claim]:
        """The prover's next message. Raises EvidenceRejected (``proof-malformed``) when the proof ends before."""
        return [Claim(value) for value in self.receive_open(label, count)]

    def receive_open(self, label: str, count: int) -> list[Ext]:
        """A message that no suite encrypts, such as an opening's combination."""
        values = list(self._messages[self._next : self._next + count])
        if len(values) != count:
            raise EvidenceRejected("proof-malformed", "the proof ends before its last message", where=label)
        self._next += count
        self.transcript.send(label, values)
        return values

    def challenge(self, label: str) -> Ext:
        """A uniform element of F outside F_p."""
        return self.transcript.challenge(label, Domain.OUTSIDE_BASE)

    def finish(self) -> None:
        """Raise EvidenceRejected (``proof-malformed``) when messages are left over."""
        if self._next != len(self._messages):
            raise EvidenceRejected("proof-malformed", "messages follow the end of the proof", where="messages")
