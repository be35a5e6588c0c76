"""A whole data set against a policy: every proof, and the metrics counted from all of them."""

from __future__ import annotations

from dataclasses import replace

from verifai.domain.attestation.predicate_types import (
    EVALUATION_TYPE,
    PROOF_TYPE,
)
from verifai.domain.digest import Sha256
from verifai.domain.evaluation.words import sentence
from verifai.domain.findings import Finding
from verifai.domain.policy.demands import PRIVACY_OF, EvidenceKind, ModelDemand
from verifai.domain.policy.evaluation import judge_evaluation
from verifai.domain.policy.fidelity import judge_fidelity
from verifai.domain.policy.judge import (
    judge_engine,
    judge_key,
    judge_proof,
)
from verifai.domain.privacy_words import privacy_words
from verifai.domain.trust import TrustRole
from verifai.stages.evaluation.claims import find_evaluation
from verifai.stages.evaluation.judge import ProvenPart, verify_evaluation
from verifai.stages.evaluation.shown import shown_evaluation
from verifai.stages.evidence import fidelity_figures, inference_digests
from verifai.stages.gate.case import GateCase
from verifai.stages.gate.proof import judge_origin_of, proof_facts, srs_level


def judge_evaluation_bundle(case: GateCase, demand: ModelDemand) -> None:
    """A whole data set: every proof against the policy's terms for proofs, then the metrics counted from all of them.

    Raises:
        VerifaiError: the evaluation is refused, or could not be checked.
    """
    assert demand.evaluation is not None
    assert demand.evaluation_proofs is not None
    lock, data = case.loaded.locks[demand.name], case.loaded.data_locks[demand.name]
    engine = find_evaluation(case.bundle).circuit.engine
    terms = [demand.evaluation_proofs, *([demand.proof] if demand.proof is not None else [])]
    signers = _evaluation_signers(case)
    created: list[str] = []
    clamped: list[int | None] = []
    shown: list[Sha256] = []

    def visit(part: ProvenPart) -> tuple[Finding, ...]:
        facts = proof_facts(part.verified, case.loaded.summaries[demand.name][engine], signers)
        created.append(part.verified.proof.created)
        clamped.append(part.verified.proof.clamped_cells)
        if demand.proof is not None and not demand.proof.by_context:
            shown.extend(inference_digests(part.verified.statement))
        return tuple(finding for one in terms for finding in (judge_engine(one, facts.engine), *judge_proof(one, facts)))

    # A test set-up is judged by the policy: first of all it has to be known whether the proofs are true.
    verified = verify_evaluation(case.bundle, lock, data, allow_test_srs=True, budget=case.budget, visit=visit)
    summary = case.loaded.summaries[demand.name][verified.circuit.engine]
    case.findings += verified.findings
    case.opened = replace(verified.opened, where=case.path)
    trust = case.trust
    key = judge_key(None if trust is None else trust.circuits.get(lock.name), summary.circuit_sha256)
    case.findings += [key] if key is not None else []
    counted = None if None in clamped else max((one for one in clamped if one is not None), default=None)
    case.findings += judge_fidelity(demand.fidelity, fidelity_figures(summary.fidelity), counted)
    case.findings += judge_evaluation(demand.evaluation, data, verified.metrics)
    judge_origin_of(case, demand, lock, verified.circuit)
    case.judge_age(demand, (*created, verified.predicate.created, case.bundle.manifest.created), signers)
    case.evaluated = shown_evaluation(verified, demand.evaluation.confidence)
    case.words = (sentence(data, verified.metrics, demand.evaluation.confidence), *privacy_words(verified.statement))
    case.facts |= {
        "engine": f"{verified.circuit.engine.value} {summary.engine_version}",
        "privacy": PRIVACY_OF[verified.statement.privacy].value,
        "weights": verified.statement.weights.value,
        "set_up": srs_level(summary).value,
        "created": verified.predicate.created,
        "data_root": data.root,
        "samples": str(data.count),
        "proofs": str(len(verified.predicate.proofs)),
    }
    case.shows[EvidenceKind.EVALUATION] = (data.root,)
    if shown:
        case.shows[EvidenceKind.PROOF] = tuple(dict.fromkeys(shown))


def _evaluation_signers(case: GateCase) -> int:
    """Trusted keys that answer for date and context: the manifest holds both, or the evaluation and each of its proofs."""
    trust = case.trust
    if signed := case.signers(TrustRole.RELEASE):
        return signed
    if trust is None or TrustRole.PROVER not in trust.roles:
        return 0
    claims = (*case.bundle.of_type(EVALUATION_TYPE), *case.bundle.of_type(PROOF_TYPE))
    return min(case.signers_of(one, TrustRole.PROVER) for one in claims)
