"""A policy in plain words: what it demands, and what would satisfy each demand."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from verifai.domain.digest import Sha256
from verifai.domain.evaluation.words import confidence_words
from verifai.domain.policy.demands import (
    ContextsDemand,
    EvidenceKind,
    FidelityDemand,
    ModelDemand,
    Policy,
    ProofDemand,
    SrsLevel,
)
from verifai.domain.policy.evaluation import EvaluationDemand, FloorsOn
from verifai.domain.proof_index import sample_id
from verifai.domain.provenance import Derivation, ProvenanceDemand
from verifai.domain.shell import shell


def explain_policy(policy: Policy, pins: Mapping[str, Sha256], digest: Sha256, now: datetime) -> tuple[str, ...]:
    """One line per demand.

    Args:
        pins: the pinned model digest per model name.
        digest: of the policy with all anchors, as a later gate names it.
    """
    lines = [
        f"Policy {policy.name!r}, digest {digest} (the file and every file that it names).",
        f"It lets a release through when every bundle it is given holds, and when {_count(len(policy.models), 'model')} "
        f"{'has' if len(policy.models) == 1 else 'have'} shown the following.",
    ]
    for demand in policy.models:
        lines += ["", *_model(demand, pins[demand.name])]
    lines += ["", *_waivers(policy, now)]
    return tuple(lines)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _model(demand: ModelDemand, pin: Sha256) -> list[str]:
    lines = [
        f"Model {demand.name!r}: the one whose canonical ONNX file has SHA-256 {pin}, as {demand.lock} pins it.",
    ]
    if demand.release is not None:
        lines.append(f"  The released file {demand.release} must be that file, byte for byte.")
    if demand.any_kind:
        lines.append(f"  One of these is enough: {' or '.join(demand.evidence)}. What is given all the same must hold.")
    if demand.proof is not None:
        lines += _proof(demand.proof, demand)
        lines += _fidelity(demand.fidelity)
    if demand.evaluation is not None and demand.evaluation_proofs is not None:
        lines += _evaluation(demand.evaluation, demand.evaluation_proofs, demand)
        lines += _fidelity(demand.fidelity) if demand.proof is None else []
    if demand.consensus is not None:
        lines += [
            f"  Consensus: at least {demand.consensus.verifiers} verifiers with distinct trusted keys agree, "
            f"in {_count(demand.consensus.environments, 'environment')} or more.",
            "    To satisfy it: `verifai vote-commit`, `verifai vote-reveal`, then `verifai consensus` for a bundle.",
        ]
        if demand.consensus.attested:
            lines.append(
                f"    {demand.consensus.attested} of them or more ran on machines of their own that the trust file names."
            )
    if demand.tee is not None:
        lines += [
            f"  Hardware: at least {_count(demand.tee.inferences, 'distinct inference')} attested by machines and code of the "
            "trust file. That is no proof: whoever can open such a machine can forge it.",
            "    To satisfy it: `verifai tee claim`, a report of the machine over these bytes, then `verifai tee attach`.",
        ]
        if demand.tee.context is not None:
            lines.append(f"  Context: every one of them carries {demand.tee.context!r}.")
    if demand.provenance is not None:
        lines += _provenance(demand.provenance)
    if demand.gate is not None:
        wanted = ", ".join(demand.gate.policies)
        lines += [
            f"  Earlier gate: a verdict PASSED under policy {wanted}, signed by {_count(demand.gate.signatures, 'gate key')}"
            + ("; it may rest on waivers." if demand.gate.waivers else "; it may not rest on waivers."),
            "    To satisfy it: `verifai gate --attest DIR --key KEY` with that policy, then give DIR to this gate.",
        ]
    lines += _always(demand)
    return lines


def _provenance(demand: ProvenanceDemand) -> list[str]:
    made = "derived here from the release" if demand.derivation is Derivation.REDERIVED else "derived here, or so says a notary"
    return [
        f"  Provenance: the model comes from a release that {' or '.join(map(repr, demand.signed_by))} signed, and the "
        f"circuit and its weights from that model: {made}.",
        "    To satisfy it: `verifai provenance CIRCUIT --model-signature model.sig --trust FILE`, then for a notary "
        "`verifai notarise`; prove after that, so that the bundles carry both.",
    ]


_PER_ENGINE = "    Counted per engine: one input proven with two engines counts as two; allow one engine to count inputs."


def _proof(proof: ProofDemand, demand: ModelDemand) -> list[str]:
    engines = " or ".join(engine.value for engine in proof.engines)
    counted = f"{_count(proof.inferences, 'proof')} under as many contexts" if proof.by_context else ""
    lines = [
        f"  Proof: at least {counted or _count(proof.inferences, 'distinct inference')}, proven with {engines}.",
        *([_PER_ENGINE] if len(proof.engines) > 1 and proof.inferences > 1 else []),
        f"    To satisfy it: `verifai prove CIRCUIT INPUT -o DIR`, with the circuit that {demand.lock} pins.",
        f"  Privacy: {proof.privacy.value} or stronger.",
    ]
    if proof.srs is SrsLevel.TEST:
        lines.append("  Set-up: INSECURE, a test set-up is accepted, whose maker can forge proofs.")
    elif proof.srs is SrsLevel.CEREMONY:
        lines.append("  Set-up: the SRS of a public ceremony, or none at all (transparent).")
    else:
        lines.append("  Set-up: none at all (transparent).")
    lines += [f"  INSECURE: mode {mode!r} is accepted." for mode in proof.insecure]
    if proof.answers:
        lines += [
            "  Answers: every proof is of an answer of a language model, each token put out by the position before it.",
            "    To satisfy it: `verifai generate CIRCUIT --prompt TEXT -o BUNDLE`.",
        ]
    if proof.answers_end is not None:
        lines.append(
            f"    Each ends by {proof.answers_end.value}: none that was cut is accepted. `--max-tokens` gives it room."
        )
    if proof.context is not None:
        lines += [
            f"  Context: every statement carries {proof.context!r}, bound by the proof or by a trusted signature.",
            "    To satisfy it: `verifai prove CIRCUIT INPUT -o DIR --context TEXT`.",
        ]
    return lines + _contexts(proof.contexts)


def _evaluation(demand: EvaluationDemand, proofs: ProofDemand, model: ModelDemand) -> list[str]:
    interval = demand.floors_on is FloorsOn.LOWER_END
    what = f"the lower end of the interval (with {confidence_words(demand.confidence)})" if interval else "the rate"
    floors = [f"{name} {getattr(demand, name):g}" for name in ("accuracy", "accuracy_of_each_group") if _given(demand, name)]
    for name in ("recall_of", "precision_of", "top_k_accuracy"):
        floors += [f"{name}.{one} {floor:g}" for one, floor in sorted((getattr(demand, name) or {}).items())]
    limits = [
        f"{name} {getattr(demand, name):g}"
        for name in ("largest_share_left_out", "largest_gap_between_groups", "mean_absolute_error", "root_mean_squared_error")
        if _given(demand, name)
    ]
    lines = [
        f"  Evaluation: every sample of the data set that {demand.data} pins, {_count(demand.samples, 'sample')} or more, "
        f"proven with {' or '.join(engine.value for engine in proofs.engines)}.",
        f"    To satisfy it: `verifai evaluate CIRCUIT {shell(demand.data)} -o DIR`, with the circuit that {model.lock} pins.",
        *([f"    Floors, on {what}: {', '.join(floors)}."] if floors else []),
        *([f"    Floor: R² of {demand.r2:g} or more."] if demand.r2 is not None else []),
        *([f"    Limits: {', '.join(limits)}."] if limits else []),
        f"    Privacy of each proof: {proofs.privacy.value} or stronger; set-up: {proofs.srs.value} or better.",
        *(f"    INSECURE: mode {mode!r} is accepted." for mode in proofs.insecure),
    ]
    return lines if proofs.context is None else [*lines, f"    Context: every proof carries {proofs.context!r}, bound."]


def _given(demand: EvaluationDemand, name: str) -> bool:
    return getattr(demand, name) is not None


def _contexts(demand: ContextsDemand | None) -> list[str]:
    if demand is None:
        return []
    first, last = demand.prefix + sample_id(0), demand.prefix + sample_id(demand.numbers - 1)
    prefix = demand.prefix.removesuffix("#")
    binds = "the proof itself" if demand.counts else "the proof or a trusted signature"
    lines = [
        f"  Contexts: every statement carries one of {first!r} to {last!r}, bound by {binds}.",
        f"    To satisfy it: `verifai prove CIRCUIT INPUT -o DIR --context-per-sample {shell(prefix)}`.",
    ]
    if demand.counts:
        lines += [
            "    Counted by context, each once; statements that show equal inputs still count once.",
            "    That shows a proof made for each number. It does not show that hidden inputs differ, nor which input belongs",
            "    to which number: whoever proves can put one input under all of them.",
        ]
    return lines


def _fidelity(demand: FidelityDemand) -> list[str]:
    if demand == FidelityDemand():
        return ["  Fidelity: no floor; whatever the lock pins is accepted."]
    floors = []
    if demand.top1_agreement is not None:
        floors.append(f"top-1 agreement of {demand.top1_agreement:g} or more")
    if demand.max_abs_error is not None:
        floors.append(f"largest error {demand.max_abs_error:g} or less")
    if demand.spread_error is not None:
        floors.append(f"99th percentile of the error {demand.spread_error:g} spreads of the output or less")
    if demand.perplexity_ratio is not None:
        floors.append(f"perplexity {demand.perplexity_ratio:g} times the float model's or less")
    floors.append(f"measured on {_count(demand.samples, 'sample')} or more")
    lines = [f"  Fidelity, as the lock pins it: {', '.join(floors)}."]
    if demand.clamped_cells is not None:
        lines.append(
            f"    At most {_count(demand.clamped_cells, 'inner cell')} cut off at the range, as the prover counted them."
        )
    return lines


def _always(demand: ModelDemand) -> list[str]:
    lines = []
    if demand.signatures:
        lines.append(f"  Signatures: {_count(demand.signatures, 'distinct trusted release key')} signed each bundle.")
        lines.append("    To satisfy it: `verifai seal BUNDLE --key KEY`.")
    elif EvidenceKind.PROOF in demand.evidence:
        lines.append("  Signatures: the policy itself asks for none; the trust file may.")
    if demand.max_age_seconds is not None:
        lines.append(f"  Age: made at most {demand.max_age_seconds / 86400:g} days ago.")
    else:
        lines.append("  Age: no limit.")
    if demand.log:
        lines.append("  Log: the trusted audit log holds every attestation.")
        lines.append("    To satisfy it: `verifai seal BUNDLE --log LOG --log-key KEY -o NEW`.")
    return lines


def _waivers(policy: Policy, now: datetime) -> list[str]:
    in_force = policy.waivers.at(now)
    if not in_force.waivers and not in_force.findings:
        return ["Waivers: none."]
    lines = [
        f"Waiver {waiver.id}: {waiver.code} on {waiver.scope} until {waiver.expires}, "
        f"approved by {waiver.approver}: {waiver.reason}"
        for waiver in in_force.waivers
    ]
    lines += [f"Waiver that does not hold, so the gate fails: {one.message} ({one.code})" for one in in_force.findings]
    return lines
