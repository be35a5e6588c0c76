"""Values that a prover sent, and what may be done with them.

The verifier never branches on a message: it adds, scales by public numbers, multiplies two claims, and asserts. In this suite a
claim holds the field element itself; a zero-knowledge suite replaces it by an affine form in committed one-time pads, with the
same methods, and pays per :meth:`Claim.mul`.
"""

from __future__ import annotations

from dataclasses import dataclass

from verifai.engines.sumcheck.verifier import field
from verifai.engines.sumcheck.verifier.field import Ext
from verifai.errors import EvidenceRejected


@dataclass(frozen=True, slots=True)
class Claim:
    """A claimed element of F."""

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

    def mul(self, other: Claim) -> Claim:
        """The product of two claims."""
        return Claim(field.product(self.value, other.value))

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
