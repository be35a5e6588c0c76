"""The interface between the script and its messages: what the script receives, and the challenges that it draws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from verifai.engines.sumcheck.protocol.claim import Claim
from verifai.engines.sumcheck.protocol.field import Ext
from verifai.engines.sumcheck.protocol.hiding import MINUS_ONE, HiddenClaim, Session, Tape


class Channel(Protocol):
    """The messages and challenges of one side, in the order of the script."""

    def receive(self, label: str, count: int) -> list[Claim]:
        """The prover's next message of ``count`` elements."""

    def challenge(self, label: str) -> Ext:
        """A uniform element of F outside F_p."""


class MaskForms:
    """The final rounds' messages as forms in the pads of the mask rows. Only an opening's last equation uses these pads."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.tape = Tape()
        self.count = 0

    def claims(self, values: Sequence[Ext]) -> list[Claim]:
        """The claims that ``values`` are the next messages plus the next pads."""
        found: list[Claim] = []
        for value in values:
            found.append(HiddenClaim(value, self._session, self.tape, self.tape.pad(self.count), MINUS_ONE))
            self.count += 1
        return found

    def coefficients(self, claim: Claim) -> list[Ext]:
        """D of docs/engine/zero-knowledge.md, section 2, step 9: the pads' coefficients in the claim after the last round."""
        assert isinstance(claim, HiddenClaim)
        return self.tape.coefficients([(claim.form, claim.factor)], self.count)
