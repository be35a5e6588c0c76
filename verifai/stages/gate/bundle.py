"""One bundle against a policy: what it shows is verified first, then measured against what was demanded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from verifai.bundle.dates import decision_signers
from verifai.bundle.reader import open_bundle
from verifai.bundle.trust_check import check_trust
from verifai.domain.circuit_spec import Budget
from verifai.domain.findings import Outcome
from verifai.domain.policy.attestation import GatePredicate, VerificationResult
from verifai.domain.policy.demands import EvidenceKind, ModelDemand
from verifai.domain.policy.judge import (
    GateFacts,
    below_threshold,
    judge_consensus,
    judge_gate,
)
from verifai.domain.policy.verdict import Judgement
from verifai.domain.trust import TrustRole
from verifai.domain.utc_time import format_utc
from verifai.errors import EvidenceRejected, VerifaiError, undecided
from verifai.stages.gate.asked import asked_of, demands_of, kinds_of, not_judged
from verifai.stages.gate.case import GateCase, finding_of
from verifai.stages.gate.consensus import check_consensus
from verifai.stages.gate.evaluation import judge_evaluation_bundle
from verifai.stages.gate.hardware import judge_attested
from verifai.stages.gate.load import LoadedPolicy
from verifai.stages.gate.proof import judge_proof_bundle


def judge_bundle(loaded: LoadedPolicy, path: Path, now: datetime, budget: Budget) -> Judgement:
    """Judge the bundle at ``path``. Whatever is wrong with it becomes a finding; only a bug of ours or Ctrl-C is raised."""
    try:
        with open_bundle(path) as bundle:
            return _judge(GateCase(loaded, bundle, str(path), now, budget))
    except VerifaiError as problem:
        return Judgement(str(path), None, {}, (finding_of(problem),))
    except (OSError, MemoryError) as problem:
        return Judgement(str(path), None, {}, (finding_of(undecided(problem, where=str(path))),))


def _check_trust(case: GateCase, demands: Sequence[ModelDemand]) -> None:
    trust = case.trust
    if trust is None:
        return
    log = any(demand.log for demand in demands)
    for finding in check_trust(case.bundle, trust, format_utc(case.now)):
        if log and finding.step == "L" and finding.outcome is Outcome.NOT_CHECKED:  # whatever the log lacks is binding here
            finding = replace(finding, outcome=Outcome.POLICY_NOT_MET)
        case.findings.append(finding)
    demanded = max((demand.signatures for demand in demands), default=0)
    if demanded:
        try:
            signers = case.signers(TrustRole.RELEASE)
        except VerifaiError:
            return  # check_trust has reported the false signature
        if signers < demanded:
            case.findings.append(below_threshold(signers, demanded, TrustRole.RELEASE.value))


def _earlier_gate(case: GateCase, demand: ModelDemand) -> None:
    assert demand.gate is not None
    gates = case.bundle.of_type(GatePredicate.TYPE)
    if len(gates) != 1:
        raise EvidenceRejected("ambiguous-proof", f"{len(gates)} gate verdicts in one bundle", where=case.path)
    predicate = gates[0].predicate
    assert isinstance(predicate, GatePredicate)
    facts = GateFacts(
        gate_id=gates[0].id,
        passed=predicate.result is VerificationResult.PASSED,
        policy=predicate.policy,
        waivers=len(predicate.waivers),
        signers=case.signers_of(gates[0], TrustRole.GATE),
    )
    case.findings += judge_gate(demand.gate, facts)
    case.judge_age(demand, (predicate.time_verified, case.bundle.manifest.created), facts.signers)
    case.facts |= {"gate": predicate.result.value, "policy": predicate.policy, "decided": predicate.time_verified}
    if facts.signers:  # a verdict without a trusted signature is no evidence, whatever is waived
        case.shows[EvidenceKind.GATE] = (facts.gate_id,)


def _consensus(case: GateCase, demand: ModelDemand) -> None:
    assert demand.consensus is not None
    assert case.trust is not None
    lock = case.loaded.locks[demand.name]
    checked = check_consensus(case.bundle, case.trust, case.now, lock=lock, budget=case.budget)
    case.findings += checked.findings
    case.findings += judge_consensus(demand.consensus, checked.facts)
    created = case.bundle.manifest.created
    # Verifiers may be done before the deadline; the round is never younger than the bundle says. A deadline may lie far
    # ahead of the decision, so it shows no age: somebody trusted has to answer for the manifest's date.
    case.judge_age(demand, (created, min(created, checked.reveal_by)), decision_signers(case.bundle, case.trust))
    case.facts |= {"verifiers": str(checked.facts.agreeing), "environments": str(checked.facts.environments)}
    case.shows[EvidenceKind.CONSENSUS] = (checked.facts.consensus_id,)


_JUDGES: dict[EvidenceKind, Callable[[GateCase, ModelDemand], None]] = {
    EvidenceKind.PROOF: judge_proof_bundle,
    EvidenceKind.CONSENSUS: _consensus,
    EvidenceKind.GATE: _earlier_gate,
    EvidenceKind.TEE: judge_attested,
    EvidenceKind.EVALUATION: judge_evaluation_bundle,
}


def _judge(case: GateCase) -> Judgement:
    demands: tuple[ModelDemand, ...] = ()
    try:
        demands = demands_of(case)
    except VerifaiError as problem:
        case.add(problem)
    _check_trust(case, demands)
    for demand in demands:
        for kind in kinds_of(case, demand):
            try:
                _JUDGES[kind](case, demand)
            except VerifaiError as problem:
                case.add(problem)
    case.findings += not_judged(case, {kind for demand in demands for kind in asked_of(case, demand)})
    return Judgement(
        case.path,
        case.bundle.bundle_id,
        {demand.name: case.loaded.pins[demand.name] for demand in demands},
        tuple(case.findings),
        case.shows,
        case.facts,
        opened=case.opened,
        words=case.words,
        counted=case.counted,
        values=case.values,
        evaluation=case.evaluated,
    )
