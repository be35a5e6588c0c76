"""A proof against a policy: verified first, then measured: engine, set-up, fidelity, privacy, origin and age."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from verifai.domain.attestation.circuit import CircuitPredicate
from verifai.domain.attestation.predicate_types import (
    PROOF_TYPE,
)
from verifai.domain.circuit_lock import CircuitLock
from verifai.domain.policy.contexts import CountedProof
from verifai.domain.policy.demands import PRIVACY_OF, EvidenceKind, ModelDemand, SrsLevel
from verifai.domain.policy.fidelity import judge_fidelity
from verifai.domain.policy.judge import (
    TEST_SRS,
    ProofFacts,
    judge_engine,
    judge_key,
    judge_proof,
)
from verifai.domain.privacy_words import privacy_words
from verifai.domain.progress import SILENT
from verifai.domain.provenance import judge_origin, worst_state
from verifai.domain.shown import first_items
from verifai.domain.statement import WeightVisibility
from verifai.domain.trust import TrustRole
from verifai.engines.interface import SectionSummary
from verifai.stages.evidence import fidelity_figures, inference_digests, shows_inputs, statement_digest
from verifai.stages.origin import check_origin
from verifai.stages.verify import Expectations, find_claims, verify_open

if TYPE_CHECKING:
    from verifai.stages.verify import VerifiedBundle


from verifai.stages.gate.case import GateCase

MAX_VALUES = 64
"""Values of a tensor that a judgement keeps: a gate judges thousands of bundles."""


def judge_proof_bundle(case: GateCase, demand: ModelDemand) -> None:
    """Verify the bundle's proof against the policy's lock, then judge what it shows.

    Raises:
        VerifaiError: the proof is refused, or could not be checked.
    """
    assert demand.proof is not None
    lock = case.loaded.locks[demand.name]
    engine = find_claims(case.bundle)[0].engine
    case.findings.append(judge_engine(demand.proof, engine))
    # A test set-up is judged by the policy below: first of all it has to be known whether the proof is true.
    verified = verify_open(case.bundle, lock, Expectations(allow_test_srs=True), budget=case.budget, progress=SILENT)
    summary = case.loaded.summaries[demand.name][engine]
    case.findings += verified.findings
    case.opened = replace(verified.opened, where=case.path)
    case.words = privacy_words(verified.statement)
    # Of a batch, the first items: its number of inferences is among the facts.
    case.values = tuple(one.cut(MAX_VALUES) for one in first_items(verified.values)[0])
    facts = proof_facts(verified, summary, proof_signers(case))
    trust = case.trust
    key = judge_key(None if trust is None else trust.circuits.get(lock.name), summary.circuit_sha256)
    case.findings += [key] if key is not None else []
    case.findings += judge_proof(demand.proof, facts)
    case.findings += judge_fidelity(demand.fidelity, facts.fidelity, verified.proof.clamped_cells)
    judge_origin_of(case, demand, lock, verified.circuit)
    signers = proof_signers(case)
    case.judge_age(demand, (verified.proof.created, case.bundle.manifest.created), signers)
    case.facts |= {
        "engine": f"{engine.value} {summary.engine_version}",
        "privacy": facts.privacy.value,
        "weights": verified.statement.weights.value,
        "set_up": facts.srs.value,
        "created": verified.proof.created,
        "statement": facts.statement_id,
    }
    if words := [one.words() for one in verified.statement.openings]:
        case.facts["openings"] = "; ".join(words)
    if verified.statement.batch:
        case.facts["inferences"] = str(verified.statement.inferences)
    case.shows[EvidenceKind.PROOF] = inference_digests(verified.statement)
    if demand.proof.by_context:
        shown = shows_inputs(verified.statement)
        claim = verified.statement.generation
        answer = "" if claim is None else f"{claim.prompt} {claim.answer} {claim.ending.value}"
        case.counted = CountedProof(demand.name, facts.context, facts.statement_id, shown, answer)
        if not shown:  # a batch too: its one context was asked for once
            case.shows[EvidenceKind.PROOF] = (case.counted.identity,)


def judge_origin_of(case: GateCase, demand: ModelDemand, lock: CircuitLock, circuit: CircuitPredicate) -> None:
    """P1 to P3: the chain from a signed release, told wherever there is one, and demanded where the policy does."""
    asked, trust = demand.provenance, case.trust
    if asked is None and lock.provenance is None and circuit.weights is WeightVisibility.PUBLIC:
        return
    entries = trust.model_signers if trust is not None else ()
    origin = check_origin(
        case.bundle,
        lock,
        circuit,
        trust,
        case.now,
        entries=entries if asked is None else [one for one in entries if one.name in asked.signed_by],
        derived=case.loaded.derived.get(demand.name),
    )
    case.findings += origin.findings() if asked is None else judge_origin(asked, origin)
    if lock.provenance is not None:
        case.facts |= {"release": lock.provenance.release, "origin": worst_state(origin.links).value}


def proof_facts(verified: VerifiedBundle, summary: SectionSummary, signed: int) -> ProofFacts:
    """What the policy's terms for proofs are held against; ``signed`` trusted keys answer for the context."""
    statement = verified.statement
    return ProofFacts(
        engine=statement.engine,
        statement_id=statement_digest(statement),
        context=statement.context,
        context_bound=statement.context_bound or bool(signed),
        privacy=PRIVACY_OF[statement.privacy],
        srs=srs_level(summary),
        insecure=summary.insecure,
        fidelity=fidelity_figures(summary.fidelity),
        context_bound_by_proof=statement.context_bound,
        answer=statement.generation is not None,
        ending=None if statement.generation is None else statement.generation.ending,
    )


def proof_signers(case: GateCase) -> int:
    """Trusted keys that answer for date and context: the manifest, or the proof's attestation, holds both."""
    trust = case.trust
    if signed := case.signers(TrustRole.RELEASE):
        return signed
    if trust is None or TrustRole.PROVER not in trust.roles:
        return 0
    (claim,) = case.bundle.of_type(PROOF_TYPE)
    return case.signers_of(claim, TrustRole.PROVER)


def srs_level(summary: SectionSummary) -> SrsLevel:
    """How the pinned set-up material came about. A set-up that the lock does not call a test one was imported by its owner."""
    if TEST_SRS in summary.insecure:
        return SrsLevel.TEST
    return SrsLevel.CEREMONY if "srs_sha256" in summary.pins else SrsLevel.TRANSPARENT
