"""A consensus bundle for the gate: the round is tallied again here, with trusted keys only."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from verifai.domain.attestation import Attestation
from verifai.domain.circuit_lock import CircuitLock
from verifai.domain.circuit_spec import Budget
from verifai.domain.digest import Sha256
from verifai.domain.findings import Finding, Outcome
from verifai.domain.gate_judge import ConsensusFacts, judge_key
from verifai.domain.job import NO_CALIBRATION
from verifai.domain.manifest_time import format_utc
from verifai.domain.round import RoundTerms
from verifai.domain.tally_decision import ConsensusDecision
from verifai.domain.trust import Trust, TrustRole
from verifai.errors import EvidenceRejected, PolicyNotMet

if TYPE_CHECKING:
    from verifai.bundle.reader import OpenBundle


@dataclass(frozen=True)
class CheckedConsensus:
    """A consensus, tallied again.

    Attributes:
        findings: what the tally came to; only an acceptance holds.
        reveal_by: the round's deadline, from the signed terms.
    """

    facts: ConsensusFacts
    findings: tuple[Finding, ...]
    reveal_by: str


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


def check_consensus(
    bundle: OpenBundle, trust: Trust, now: datetime, *, lock: CircuitLock, budget: Budget | None = None
) -> CheckedConsensus:
    """Tally the round of ``bundle`` again, and place its claim again, from the claim's own evidence.

    The tolerance and the list of verifiers decide everything, so terms, calibration and decision must be signed by a key of
    role ``consensus``; votes count only by keys of role ``voter``.

    Args:
        lock: of the round's model; a proof that is the claim must hold against it.

    Raises:
        EvidenceRejected: the decision does not follow from the votes, its claim not from its proof, or a signature is false.
        PolicyNotMet: the calibration is stale, or nobody trusted set the terms.
    """
    from verifai.stages.consensus_claim import read_claim
    from verifai.stages.consensus_recheck import recheck

    attestation, decision, terms = find_round(bundle)
    # The decision too: whoever writes it says which votes came late, and which value the beacon had.
    named = [attestation.id, decision.round, *([] if terms.job.calibration == NO_CALIBRATION else [terms.job.calibration])]
    for identifier in named:
        require_trusted(bundle, identifier, trust)
    keys = {key.keyid: key for key in trust.roles[TrustRole.VOTER].keys}
    about_proofs: list[Finding] = []
    claim = None
    if decision.claim:
        claim = read_claim(
            bundle.payload,
            terms.job,
            lock,
            allow_test_srs=trust.allow_test_srs,
            budget=budget or Budget(),
            inspect=lambda proof: about_proofs.extend(_judge_proof(proof, trust, now)),
        )
    result = recheck(bundle.attestations, attestation.id, keys=keys, now=now, claim=claim)
    findings = [*about_proofs, *result.findings]
    facts = ConsensusFacts(
        consensus_id=attestation.id,
        agreeing=len(result.decision.agreeing_voters & set(keys)),
        environments=len(result.decision.agreeing_environments),
    )
    return CheckedConsensus(facts, tuple(findings), terms.reveal_by)


def _judge_proof(proof: OpenBundle, trust: Trust, now: datetime) -> list[Finding]:
    """A proof that is a claim is held to the trust file as if it were given by itself; what it lacks is told."""
    from verifai.bundle.trust_check import check_trust
    from verifai.stages.verify import find_claims

    circuit = find_claims(proof)[0]  # the lock is held against it when the claim is verified
    key = judge_key(trust.circuits.get(circuit.name), circuit.circuit_sha256)
    found = [*check_trust(proof, trust, format_utc(now)), *([key] if key is not None else [])]
    where = proof.path.name
    return [
        replace(one, where=f"{where}: {one.where}" if one.where else where)
        for one in found
        if one.outcome not in (Outcome.HOLDS, Outcome.NOT_CHECKED)
    ]


def require_trusted(bundle: OpenBundle, identifier: Sha256, trust: Trust) -> None:
    """Enough keys of role ``consensus`` signed it. Raises EvidenceRejected, PolicyNotMet (``below-threshold``)."""
    from verifai.bundle.dsse import check_signatures

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
            hint="Whoever sets the tolerance decides what agreement is: let a trusted key sign it.",
        )
