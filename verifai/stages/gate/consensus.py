"""A consensus bundle for the gate: the round is tallied again here, with trusted keys only."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from verifai.bundle.dates import decision_signers
from verifai.bundle.trust_check import check_trust
from verifai.domain.attestation.tee import AboutVoter
from verifai.domain.circuit_lock import CircuitLock
from verifai.domain.circuit_spec import Budget
from verifai.domain.consensus.job import NO_CALIBRATION
from verifai.domain.findings import Finding, Outcome
from verifai.domain.hardware import distinct_machines
from verifai.domain.policy.judge import ConsensusFacts, judge_key
from verifai.domain.trust import Trust, TrustRole
from verifai.domain.utc_time import format_utc
from verifai.stages.attested import CheckedHardware, check_hardware
from verifai.stages.consensus.claim import read_claim
from verifai.stages.consensus.find_round import find_round, require_trusted
from verifai.stages.consensus.recheck import recheck
from verifai.stages.verify import find_claims

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
        PolicyNotMet: the calibration is stale, or no trusted key signed the terms.
    """
    attestation, decision, terms = find_round(bundle)
    # The decision too: its author says which votes came late, and which value the beacon had.
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
    checked = check_hardware(bundle, trust.hardware, now, date_signed=bool(decision_signers(bundle, trust)))
    agreeing = result.decision.agreeing_voters & set(keys)
    # One machine that attests to several verifiers is one machine.
    attested = distinct_machines(
        (one.about.voter, f"{one.facts.kind.value} {one.facts.platform or one.about.voter}")
        for one in checked
        if one.counts
        and one.facts is not None
        and isinstance(one.about, AboutVoter)
        and one.about.round == decision.round
        and one.about.voter in agreeing
    )
    about_voters = [finding for one in checked if isinstance(one.about, AboutVoter) for finding in _in_words(one)]
    findings = [*about_proofs, *result.findings, *about_voters]
    facts = ConsensusFacts(
        consensus_id=attestation.id,
        agreeing=len(agreeing),
        environments=len(result.decision.agreeing_environments),
        attested=attested,
    )
    return CheckedConsensus(facts, tuple(findings), terms.reveal_by)


def _in_words(checked: CheckedHardware) -> list[Finding]:
    """What a report about a verifier came to. One that does not count takes nothing from the votes, so it is only told."""
    return [
        one
        if one.outcome in (Outcome.HOLDS, Outcome.NOT_CHECKED, Outcome.REJECTED)
        else replace(one, outcome=Outcome.NOT_CHECKED)
        for one in checked.findings
    ]


def _judge_proof(proof: OpenBundle, trust: Trust, now: datetime) -> list[Finding]:
    """A proof that is a claim is held to the trust file as if it were given by itself; what it lacks is told."""
    circuit = find_claims(proof)[0]  # the lock is held against it when the claim is verified
    key = judge_key(trust.circuits.get(circuit.name), circuit.circuit_sha256)
    found = [*check_trust(proof, trust, format_utc(now)), *([key] if key is not None else [])]
    where = proof.path.name
    return [
        replace(one, where=f"{where}: {one.where}" if one.where else where)
        for one in found
        if one.outcome not in (Outcome.HOLDS, Outcome.NOT_CHECKED)
    ]
