"""Which models a bundle speaks of, which kinds of evidence the policy asks for about them, and what nobody asked for."""

from __future__ import annotations

from verifai.domain.attestation.envelope import Attestation
from verifai.domain.attestation.predicate_types import (
    CONSENSUS_TYPE,
    DERIVATION_TYPE,
    EVALUATION_TYPE,
    GATE_TYPE,
    PROOF_TYPE,
    RELEASE_TYPE,
    TEE_TYPE,
)
from verifai.domain.attestation.tee import AboutReceipt, AboutVoter, HardwarePredicate
from verifai.domain.consensus.decision import ConsensusDecision
from verifai.domain.consensus.vote import Vote, VoteCommitment
from verifai.domain.consensus.vote_replay import VoteReplay
from verifai.domain.digest import short
from verifai.domain.findings import Finding, Outcome
from verifai.domain.policy.attestation import GatePredicate
from verifai.domain.policy.demands import EvidenceKind, ModelDemand
from verifai.errors import EvidenceRejected, PolicyNotMet
from verifai.stages.consensus.find_round import find_round
from verifai.stages.evaluation.claims import find_evaluation
from verifai.stages.gate.case import GateCase
from verifai.stages.verify import find_claims

_TYPE_OF = {
    EvidenceKind.PROOF: PROOF_TYPE,
    EvidenceKind.CONSENSUS: CONSENSUS_TYPE,
    EvidenceKind.GATE: GATE_TYPE,
    EvidenceKind.TEE: TEE_TYPE,
    EvidenceKind.EVALUATION: EVALUATION_TYPE,
}

_BALLOTS = VoteCommitment | Vote | VoteReplay


def demands_of(case: GateCase) -> tuple[ModelDemand, ...]:
    """The demands that the bundle speaks to: one model's, or for an earlier gate's verdict those of all it names."""
    digests: set[str] = set()
    if case.bundle.of_type(EVALUATION_TYPE):
        digests.add(find_evaluation(case.bundle).circuit.model_sha256)
    elif case.bundle.of_type(PROOF_TYPE):
        digests.add(find_claims(case.bundle)[0].model_sha256)
    if case.bundle.of_type(CONSENSUS_TYPE):
        digests.add(find_round(case.bundle)[2].job.subject.model_sha256)
    digests |= {one.about.model_sha256 for one in _attested(case) if isinstance(one.about, AboutReceipt)}
    gates = case.bundle.of_type(GatePredicate.TYPE)
    if len(digests) > 1 or (digests and not all(_names(gate, digests) for gate in gates)):
        raise EvidenceRejected("broken-chain", "the bundle's evidence is about different models", where=case.path)
    if not digests:
        named = {subject.sha256 for gate in gates for subject in gate.subjects}
        asked = {digest for digest in named if _asks_for_gate(case, digest)}
        # Models that the policy leaves to other evidence, or does not know, are none of this policy's business here.
        digests |= asked or named
    if not digests:
        raise PolicyNotMet("no-proof", "the bundle holds no evidence of a kind that a gate knows", where=case.path)
    return tuple(_demand(case, digest) for digest in sorted(digests))


def _names(gate: Attestation, digests: set[str]) -> bool:
    return digests <= {subject.sha256 for subject in gate.subjects}


def _asks_for_gate(case: GateCase, digest: str) -> bool:
    demand = case.loaded.demand_for(digest)
    return demand is not None and EvidenceKind.GATE in demand.evidence


def _demand(case: GateCase, digest: str) -> ModelDemand:
    demand = case.loaded.demand_for(digest)
    if demand is None:
        pinned = ", ".join(f"{name} {short(pin)}" for name, pin in case.loaded.pins.items())
        raise EvidenceRejected(
            "model-not-pinned",
            f"the evidence is about model {short(digest)}, which no lock of the policy pins (pinned: {pinned})",
            where=case.path,
            hint="The model was changed, or the policy does not know it: reject the release, or review the change.",
        )
    return demand


def kinds_of(case: GateCase, demand: ModelDemand) -> list[EvidenceKind]:
    """The kinds of evidence to judge; where nothing in the bundle was asked for, a finding says so."""
    asked = asked_of(case, demand)
    if not asked:
        here = ", ".join(_present(case))
        case.findings.append(
            Finding(
                "evidence-not-asked",
                Outcome.POLICY_NOT_MET,
                f"the bundle shows {here}, model {demand.name!r} is asked for {', '.join(demand.evidence)}",
                where=case.path,
                remedy="Leave the bundle out, or demand that kind of evidence.",
            )
        )
    return asked


def asked_of(case: GateCase, demand: ModelDemand) -> list[EvidenceKind]:
    """The kinds of evidence that the bundle holds and the policy asks for."""
    return [kind for kind in _present(case) if kind in demand.evidence]


def _present(case: GateCase) -> list[EvidenceKind]:
    kinds = [kind for kind in EvidenceKind if kind is not EvidenceKind.TEE and case.bundle.of_type(_TYPE_OF[kind])]
    if EvidenceKind.EVALUATION in kinds:  # its proofs are judged with it
        kinds = [kind for kind in kinds if kind is not EvidenceKind.PROOF]
    # What attests to a verifier speaks for the consensus, not by itself.
    attested = any(not isinstance(one.about, AboutVoter) for one in _attested(case))
    return [*kinds, *([EvidenceKind.TEE] if attested else [])]


def _attested(case: GateCase) -> list[HardwarePredicate]:
    found = (one.predicate for one in case.bundle.of_type(TEE_TYPE))
    return [one for one in found if isinstance(one, HardwarePredicate)]


def not_judged(case: GateCase, asked: set[EvidenceKind]) -> list[Finding]:
    """One finding per attestation that no demanded evidence rests on, so that no reader takes it for judged."""
    if not asked:
        return []  # nothing was judged at all, and that is said
    rounds = {one.predicate.round for one in case.bundle.attestations.values() if isinstance(one.predicate, ConsensusDecision)}
    # All messages of a round are tallied, also those that the decision does not name because they came late or are false.
    related = {
        one.id
        for one in case.bundle.attestations.values()
        if EvidenceKind.CONSENSUS in asked and isinstance(one.predicate, _BALLOTS) and one.predicate.round in rounds
    }
    if EvidenceKind.PROOF in asked:  # judged with the proof, whether or not the policy demands provenance
        related |= {one.id for kind in (RELEASE_TYPE, DERIVATION_TYPE) for one in case.bundle.of_type(kind)}
    related |= {
        one.id
        for one in case.bundle.of_type(TEE_TYPE)
        if EvidenceKind.CONSENSUS in asked
        and isinstance(one.predicate, HardwarePredicate)
        and isinstance(one.predicate.about, AboutVoter)
    }
    pending = [
        one.id
        for kind in asked
        for one in case.bundle.of_type(_TYPE_OF[kind])
        if not (isinstance(one.predicate, HardwarePredicate) and isinstance(one.predicate.about, AboutVoter))
    ]
    while pending:
        one = case.bundle.attestations.get(pending.pop())
        if one is not None and one.id not in related:
            related.add(one.id)
            pending.extend(one.predicate.parents())
    return [
        Finding(
            "attestation-not-judged",
            Outcome.NOT_CHECKED,
            f"an attestation of type {one.predicate.TYPE} is in the bundle; nothing that the policy asks for rests on it",
            where=f"attestations/{key}.dsse.json",
            remedy="Demand that kind of evidence, or leave it out.",
        )
        for key, one in sorted(case.bundle.attestations.items())
        if key not in related
    ]
