"""What an attestation that is no proof says, in sentences: verdicts, evaluations, decisions of verifiers, terms of a round."""

from __future__ import annotations

from collections import Counter

from verifai.domain.attestation.evaluation import EvaluationPredicate
from verifai.domain.attestation.release import DerivationPredicate, ReleasePredicate
from verifai.domain.attestation.tee import HardwarePredicate
from verifai.domain.consensus.decision import ConsensusDecision
from verifai.domain.consensus.round import RoundTerms
from verifai.domain.digest import short
from verifai.domain.policy.attestation import GatePredicate


def claim_words(predicate: object) -> tuple[str, ...]:
    """The sentences, plain, with foreign text as it is; none for anything else."""
    if isinstance(predicate, GatePredicate):
        return _verdict(predicate)
    if isinstance(predicate, ConsensusDecision):
        return _decision(predicate)
    if isinstance(predicate, RoundTerms):
        return _terms(predicate)
    if isinstance(predicate, EvaluationPredicate):
        return _evaluation(predicate)
    if isinstance(predicate, ReleasePredicate):
        return (
            f"signature of release {predicate.pin.release!r} by {predicate.pin.signer}; exported was {predicate.pin.how()}",
        )
    if isinstance(predicate, DerivationPredicate):
        root = predicate.pins.get("weights_sha256", predicate.circuit_sha256)
        return (
            f"derivation of release {predicate.pin.release!r}: its model gives circuit {short(predicate.circuit_sha256)}… and "
            f"{predicate.weights.value} weights {short(root)}…, says its signer, {predicate.created}",
        )
    if isinstance(predicate, HardwarePredicate):
        return (f"{predicate.kind.value} hardware evidence about a {predicate.about.WORD}, made {predicate.created}",)
    return ()


def _verdict(found: GatePredicate) -> tuple[str, ...]:
    outcomes = Counter(one.outcome for one in found.inputs)
    counted = ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()))
    unreadable = f", {found.unreadable} unreadable" if found.unreadable else ""
    lines = [
        f"gate verdict {found.result.value}, by policy {found.policy_name!r} ({short(found.policy)}), "
        f"at {found.time_verified}, verifai {found.version}",
        f"judged {len(found.inputs)} bundles: {counted or 'none'}{unreadable}",
    ]
    if found.levels:
        lines.append("shown: " + ", ".join(found.levels))
    if found.waivers:
        lines.append("rests on waivers: " + ", ".join(found.waivers))
    return tuple(lines)


def _decision(found: ConsensusDecision) -> tuple[str, ...]:
    agreeing = len(found.agreeing_voters)
    lines = [
        f"decision {found.outcome.value} in round {short(found.round)}: {found.reason}",
        f"{agreeing} of {len(found.votes)} counted votes agree, from {len(found.agreeing_environments)} environments",
    ]
    if found.faults:
        faults = Counter(one.fault.value for one in found.faults)
        lines.append("faults: " + ", ".join(f"{count} {fault}" for fault, count in sorted(faults.items())))
    if found.claim:
        lines.append(f"claim {short(found.claim)}: {found.claim_relation}")
    return tuple(lines)


def _evaluation(found: EvaluationPredicate) -> tuple[str, ...]:
    whole = found.metrics["whole"]
    lines = [
        f"evaluation of a data set of {found.count:,} samples, root {short(found.data_root)}…, made {found.created}, by "
        f"{len(found.proofs):,} proofs"
    ]
    if "right" in whole:
        how = "counted" if "confusion" in whole else "counted inside the proofs"
        lines.append(f"{whole['right']:,} of {whole['samples']:,} answers of output {found.output!r} are right, {how}")
    else:
        errors = ", ".join(f"{name.replace('_', ' ')} {whole[name]}" for name in ("mean_absolute_error", "r2"))
        lines.append(f"of output {found.output!r}: {errors}")
    if found.left_out:
        lines.append(f"{len(found.left_out):,} samples are left out, since the circuit does not take them")
    return tuple(lines)


def _terms(found: RoundTerms) -> tuple[str, ...]:
    return (
        f"round that asks {len(found.voters)} verifiers about {found.job.samples} sample(s), "
        f"tolerating {found.tolerated_faults} faulty; commit by {found.commit_by}, reveal by {found.reveal_by}",
    )
