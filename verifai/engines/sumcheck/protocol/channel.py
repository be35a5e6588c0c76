"""The interface between the script and its messages: what the script receives, and the challenges that it draws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from verifai.engines.sumcheck.protocol.claim import Claim
from verifai.engines.sumcheck.protocol.field import Ext
from verifai.engines.sumcheck.protocol.hiding import MINUS_ONE, Conversation, HiddenClaim, Tape


class Channel(Protocol):
    """What the script needs: messages and challenges."""

    def receive(self, label: str, count: int) -> list[Claim]:
        """The prover's next message of ``count`` elements."""

    def challenge(self, label: str) -> Ext:
        """A uniform element of F outside F_p."""


class MaskForms:
    """The final rounds' messages as forms in the pads of the mask rows, which no equation but the last may mention."""

    def __init__(self, talk: Conversation) -> None:
        self._talk = talk
        self.tape = Tape()
        self.count = 0

    def claims(self, values: Sequence[Ext]) -> list[Claim]:
        """The claims that ``values`` are the next messages plus the next pads."""
        found: list[Claim] = []
        for value in values:
            found.append(HiddenClaim(value, self._talk, self.tape, self.tape.pad(self.count), MINUS_ONE))
            self.count += 1
        return found

    def coefficients(self, claim: Claim) -> list[Ext]:
        """D: the pads' coefficients in the claim that the rounds leave."""
        assert isinstance(claim, HiddenClaim)
        return self.tape.coefficients([(claim.form, claim.factor)], self.count)
