"""The one decision of a consensus bundle, its round, and who signed the terms."""

from __future__ import annotations

from typing import TYPE_CHECKING

from verifai.bundle.dsse import check_signatures
from verifai.domain.attestation.envelope import Attestation
from verifai.domain.consensus.decision import ConsensusDecision
from verifai.domain.consensus.round import RoundTerms
from verifai.domain.digest import Sha256
from verifai.domain.trust import Trust, TrustRole
from verifai.errors import EvidenceRejected, PolicyNotMet

if TYPE_CHECKING:
    from verifai.bundle.reader import OpenBundle


def find_round(bundle: OpenBundle) -> tuple[Attestation, ConsensusDecision, RoundTerms]:
    """The one decision of a bundle, and its round's terms. Raises EvidenceRejected (``ambiguous-proof``, ``broken-chain``)."""
    decisions = bundle.of_type(ConsensusDecision.TYPE)
    if len(decisions) != 1:
        raise EvidenceRejected("ambiguous-proof", f"{len(decisions)} consensus decisions in one bundle", where=str(bundle.path))
    decision = decisions[0].predicate
    assert isinstance(decision, ConsensusDecision)
    terms = bundle.attestations.get(decision.round)
    if terms is None or not isinstance(terms.predicate, RoundTerms):
        raise EvidenceRejected("broken-chain", "the terms of the round are not in the bundle", where=decision.round)
    return decisions[0], decision, terms.predicate


def require_trusted(bundle: OpenBundle, identifier: Sha256, trust: Trust) -> None:
    """Enough keys of role ``consensus`` signed it. Raises EvidenceRejected, PolicyNotMet (``below-threshold``)."""
    where = f"attestations/{identifier}.dsse.json"
    attestation = bundle.attestations.get(identifier)
    if attestation is None:
        raise EvidenceRejected("consensus-incomplete", "the calibration of the round is not in the bundle", where=where)
    rule = trust.roles[TrustRole.CONSENSUS]
    signers = check_signatures(attestation.envelope, rule.keys, where=where).signers
    if len(signers) < rule.threshold:
        raise PolicyNotMet(
            "below-threshold",
            f"{len(signers)} of the {rule.threshold} required keys of role 'consensus' signed terms, calibration or decision",
            where=where,
            hint="The tolerance decides what agreement is: a key that the trust file names must sign it.",
        )
