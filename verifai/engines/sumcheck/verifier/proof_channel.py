"""The verifier's side of the interaction: it reads the prover's messages and draws challenges, both through one transcript."""

from __future__ import annotations

from collections.abc import Sequence

from verifai.engines.sumcheck.protocol.channel import MaskForms
from verifai.engines.sumcheck.protocol.claim import Claim
from verifai.engines.sumcheck.protocol.field import Ext
from verifai.engines.sumcheck.protocol.hiding import LEFT, RIGHT, HiddenClaim, PadPlan, Pads
from verifai.engines.sumcheck.protocol.transcript import Transcript
from verifai.errors import EvidenceRejected


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
        return self.transcript.challenge(label)

    def finish(self) -> None:
        """Raise EvidenceRejected (``proof-malformed``) when messages are left over."""
        if self._next != len(self._messages):
            raise EvidenceRejected("proof-malformed", "messages follow the end of the proof", where="messages")


class HidingChannel(ProofChannel):
    """Replays encrypted messages: each is a form in the pads that the circuit plans for it."""

    def __init__(self, transcript: Transcript, messages: Sequence[Ext], plan: PadPlan) -> None:
        super().__init__(transcript, messages)
        self.pads = Pads(plan)

    def receive(self, label: str, count: int) -> list[Claim]:
        """The prover's next message, encrypted. Raises EvidenceRejected (``proof-malformed``) when the proof ends before."""
        values = self.receive_open(label, count)
        return self.pads.encrypted_messages(self, values, self.pads.next_messages(count))

    def multiply(self, left: HiddenClaim, right: HiddenClaim) -> Claim:
        """Both factors arrive again under a triple's pads."""
        sent = self.receive_open("product", RIGHT - LEFT + 1)
        return self.pads.product(self, (left, right), sent, self.pads.next_product())

    def hold(self, claim: HiddenClaim) -> None:
        """Collect the equation."""
        self.pads.equations.append(claim)

    def invert(self, claim: HiddenClaim, where: str) -> Claim:
        """Take the inverse from the proof."""
        return self.receive(f"{where}.inverse", 1)[0]


class MaskedChannel:
    """The verifier's channel for the final rounds, whose messages the mask rows encrypt."""

    def __init__(self, channel: HidingChannel) -> None:
        self._channel = channel
        self.forms = MaskForms(channel)

    def receive(self, label: str, count: int) -> list[Claim]:
        """The prover's next message, encrypted by the mask rows."""
        return self.forms.claims(self._channel.receive_open(label, count))

    def challenge(self, label: str) -> Ext:
        """A uniform element of F outside F_p."""
        return self._channel.challenge(label)
