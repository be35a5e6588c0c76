"""Exact outputs: SHA-256 of the encoded output. The first rung of every ladder, and the whole one for integers."""

from __future__ import annotations

import hashlib

from verifai.domain.consensus.job import OutputKind
from verifai.domain.consensus.tally import MAX_RATIO, SAME, Comparison, Relation
from verifai.errors import EvidenceRejected
from verifai.fingerprints.interface import Parameters, fill
from verifai.fingerprints.output import Output, encode_output


class ExactFingerprint:
    """32 bytes; equal or not."""

    kind = OutputKind.EXACT
    needs_calibration = False

    def parameters(self, given: Parameters) -> Parameters:
        """None."""
        return fill(given, {}, {})

    def make(self, output: Output, seed: bytes, parameters: Parameters) -> bytes:
        """Seeded, so that a digest of an earlier round says nothing about this one."""
        return hashlib.sha256(b"verifai/exact/v1\x00" + seed + encode_output(output)).digest()

    def compare(self, first: bytes, second: bytes, tau: float, parameters: Parameters) -> Comparison:
        """τ plays no part."""
        return compare_digests(first, second)


def compare_digests(first: bytes, second: bytes) -> Comparison:
    """Two 32-byte digests."""
    if len(first) != 32 or len(second) != 32:
        raise EvidenceRejected("fingerprint-malformed", "a digest has 32 bytes")
    return SAME if first == second else Comparison(MAX_RATIO, Relation.BEYOND)


def ratio_of(distance: float, tau: float) -> float:
    """distance / τ, capped; with τ = 0 only equality is within."""
    if distance == 0.0:
        return 0.0
    return MAX_RATIO if tau <= 0.0 else min(distance / tau, MAX_RATIO)


def within_or_beyond(distance: float, tau: float) -> Comparison:
    """The plain decision."""
    ratio = ratio_of(distance, tau)
    return Comparison(ratio, Relation.WITHIN if ratio <= 1.0 else Relation.BEYOND)
