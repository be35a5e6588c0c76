"""When evidence was made, and whether somebody trusted says so. A date that nobody trusted signed can be written anew.

Signatures are over what carries the date: a proof's or a gate verdict's own attestation, or the manifest, which lists every
attestation by digest. A decision of verifiers carries no date of its own, so for it only the manifest counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from verifai.bundle.dsse import check_signatures
from verifai.domain.attestation.envelope import Envelope
from verifai.domain.attestation.evaluation import EvaluationPredicate
from verifai.domain.attestation.manifest import MANIFEST_NAME
from verifai.domain.attestation.proof import ProofPredicate
from verifai.domain.attestation.tee import HardwarePredicate
from verifai.domain.consensus.decision import ConsensusDecision
from verifai.domain.consensus.round import RoundTerms
from verifai.domain.policy.attestation import GatePredicate
from verifai.domain.trust import Trust, TrustRole
from verifai.domain.utc_time import parse_utc
from verifai.errors import EvidenceRejected

if TYPE_CHECKING:
    from verifai.bundle.reader import OpenBundle


@dataclass(frozen=True, slots=True)
class EvidenceDate:
    """When one piece of evidence was made.

    Attributes:
        kind: word for people.
        made: at the earliest.
        signers: how many distinct trusted keys answer for that.
    """

    kind: str
    made: datetime
    signers: int


def evidence_dates(bundle: OpenBundle, trust: Trust) -> Iterator[EvidenceDate]:
    """The dates of proofs, verdicts, decisions and hardware reports in ``bundle``; without any, that of the bundle itself."""
    written = parse_utc(bundle.manifest.created)
    release = date_signers(bundle.envelope, trust, TrustRole.RELEASE)
    found = False
    for one in bundle.attestations.values():
        message = one.predicate
        if isinstance(message, ProofPredicate):
            signed = release or date_signers(one.envelope, trust, TrustRole.PROVER)
            yield EvidenceDate("proof", parse_utc(message.created), signed)
        elif isinstance(message, EvaluationPredicate):
            signed = release or date_signers(one.envelope, trust, TrustRole.PROVER)
            yield EvidenceDate("evaluation", parse_utc(message.created), signed)
        elif isinstance(message, GatePredicate):
            signed = release or date_signers(one.envelope, trust, TrustRole.GATE)
            yield EvidenceDate("gate verdict", parse_utc(message.time_verified), signed)
        elif isinstance(message, ConsensusDecision):
            yield EvidenceDate("decision", _decided(bundle, message, written), decision_signers(bundle, trust))
        elif isinstance(message, HardwarePredicate):
            yield EvidenceDate("hardware report", parse_utc(message.created), release)
        else:
            continue
        found = True
    if not found:
        yield EvidenceDate("bundle", written, release)


def decision_signers(bundle: OpenBundle, trust: Trust) -> int:
    """Trusted keys that answer for the date of a decision: those that signed the manifest around it."""
    return date_signers(bundle.envelope, trust, TrustRole.RELEASE, TrustRole.CONSENSUS)


def date_signers(envelope: Envelope, trust: Trust, *roles: TrustRole) -> int:
    """How many distinct keys of ``roles`` signed; a signature that is false counts for nothing, and T2 or T3 reports it."""
    keys = {key for role in roles if role in trust.roles for key in trust.roles[role].keys}
    try:
        return len(check_signatures(envelope, keys, where=MANIFEST_NAME).signers)
    except EvidenceRejected:
        return 0


def _decided(bundle: OpenBundle, decision: ConsensusDecision, written: datetime) -> datetime:
    """Not after the deadline of its round: what is older stays old in a younger manifest."""
    terms = bundle.attestations.get(decision.round)
    if terms is None or not isinstance(terms.predicate, RoundTerms):
        return written
    return min(written, parse_utc(terms.predicate.reveal_by))
