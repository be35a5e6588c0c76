"""Values that a prover sent, and what may be done with them.

No code branches on the value of a message. Claims are added, scaled by public numbers, multiplied, and asserted to be 0 or not.
A plain claim holds the field element itself. The claims of the zero-knowledge suite (:mod:`.hiding`) are affine forms in
committed one-time pads, with the same methods; multiplying two of those costs a committed product of pads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from verifai.engines.sumcheck.protocol import field
from verifai.engines.sumcheck.protocol.field import Ext
from verifai.errors import EvidenceRejected


@dataclass(slots=True)
class Claim:
    """A known element of F. In ``plain + hidden`` the hidden claim's reflected operator computes the result.

    Claims are never changed. The class is not frozen, because a proof makes thousands: frozen ones take three times as long.
    """

    value: Ext

    def __add__(self, other: Claim) -> Claim:
        return Claim(field.add(self.value, other.value))

    def __sub__(self, other: Claim) -> Claim:
        return Claim(field.sub(self.value, other.value))

    def plus(self, public: Ext) -> Claim:
        """self + a public number."""
        return Claim(field.add(self.value, public))

    def scale(self, public: Ext) -> Claim:
        """self times a public number."""
        return Claim(field.product(self.value, public))

    def mixed(self, factor: Ext, others: Sequence[tuple[Claim, Ext]]) -> Claim:
        """factor·self + Σ factor_i·other_i, all factors public."""
        result = self.scale(factor)
        for claim, scale in others:
            result = result + claim.scale(scale)
        return result

    def mul(self, other: Claim) -> Claim:
        """The product of two claims; a known factor only scales the other."""
        return other.scale(self.value)

    def assert_zero(self, where: str) -> None:
        """Raise EvidenceRejected (``proof-invalid``) unless the claim is 0."""
        if self.value != field.ZERO:
            raise EvidenceRejected("proof-invalid", "an equation of the proof does not hold", where=where)

    def assert_nonzero(self, where: str) -> None:
        """Raise EvidenceRejected (``proof-invalid``) when the claim is 0."""
        if self.value == field.ZERO:
            raise EvidenceRejected("proof-invalid", "a denominator of the proof is zero", where=where)


ZERO = Claim(field.ZERO)
"""The claim that is publicly 0."""


def public(value: Ext) -> Claim:
    """A public number as a claim."""
    return Claim(value)
