"""A gate's verdict as evidence: an attestation in a bundle of its own, signed, and on the audit log where one is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from verifai.bundle.dsse import attest
from verifai.bundle.log import open_log
from verifai.bundle.log_check import CHECKPOINT_FILE, proof_file
from verifai.bundle.writer import write_bundle
from verifai.domain.attestation.envelope import Attestation, Subject
from verifai.domain.digest import Sha256
from verifai.domain.policy.attestation import GateInput, GatePredicate, VerificationResult
from verifai.domain.policy.demands import EvidenceKind, ModelDemand, PrivacyLevel, SrsLevel
from verifai.domain.policy.verdict import GateVerdict, needed_of
from verifai.domain.policy.waiver import COSTS, Claim
from verifai.domain.trust_keys import Signer
from verifai.errors import UsageError
from verifai.stages.gate.load import LoadedPolicy

POLICY_FILE = "policy.toml"
REPORT_FILE = "report.json"


@dataclass(frozen=True)
class AttestedVerdict:
    """A verdict that was written down.

    Attributes:
        position: in the audit log; ``None`` without one.
    """

    path: Path
    bundle_id: Sha256
    attestation_id: Sha256
    position: int | None


def attest_verdict(
    loaded: LoadedPolicy,
    verdict: GateVerdict,
    target: Path,
    *,
    report: bytes,
    version: str,
    signers: Sequence[Signer],
    log: Path | None = None,
    log_signer: Signer | None = None,
) -> AttestedVerdict:
    """Write ``verdict``, passed or failed, as a bundle at ``target`` with the policy and the JSON report beside it.

    Raises:
        UsageError: no signer, ``file-exists``, or a log without its key.
        Undecided: ``disk``, ``log-busy``.
    """
    check_attest_options(target, signers=len(signers), log=log, log_key=log_signer is not None)
    subjects = [Subject(name, pin) for name, pin in loaded.pins.items()]
    attestation = attest(predicate_of(loaded, verdict, version), subjects, signers)
    logged, position = ({}, None) if log is None or log_signer is None else _append(log, log_signer, attestation)
    bundle_id = write_bundle(
        target,
        payload={POLICY_FILE: loaded.data, REPORT_FILE: report},
        attestations=[attestation],
        signers=signers,
        created=verdict.decided,
        log=logged,
    )
    return AttestedVerdict(target, bundle_id, attestation.id, position)


def check_attest_options(target: Path, *, signers: int, log: Path | None, log_key: bool) -> None:
    """What can be known to fail before any evidence is judged. Raises UsageError."""
    if not signers:
        raise UsageError(
            "bad-option",
            "an unsigned verdict proves nothing",
            where="--attest",
            hint="Give --key; make one with: `verifai key new PATH`",
        )
    if (log is not None) != log_key:
        raise UsageError("bad-option", "--log and --log-key go together", hint="The log signs its checkpoint with its own key.")
    if target.exists() or target.is_symlink():
        raise UsageError("file-exists", "the output exists already", where=str(target), hint="Choose another name.")


def predicate_of(loaded: LoadedPolicy, verdict: GateVerdict, version: str) -> GatePredicate:
    """What the attestation says."""
    inputs: dict[Sha256, str] = {}
    for bundle in verdict.bundles:
        if bundle.judgement.bundle_id is not None:
            inputs.setdefault(bundle.judgement.bundle_id, bundle.outcome.value)
    return GatePredicate(
        version=version,
        time_verified=verdict.decided,
        policy_name=verdict.policy,
        policy=verdict.policy_sha256,
        inputs=tuple(GateInput(one, inputs[one]) for one in sorted(inputs)),
        unreadable=sum(bundle.judgement.bundle_id is None for bundle in verdict.bundles),
        result=VerificationResult.PASSED if verdict.passed else VerificationResult.FAILED,
        levels=_levels(loaded.policy.models, verdict) if verdict.passed else (),
        waivers=tuple(sorted({waived.waiver.id for waived in verdict.all_waived()})),
    )


def _levels(models: Sequence[ModelDemand], verdict: GateVerdict) -> tuple[str, ...]:
    """What every model was asked for and has shown; a level that any model lacks, or that was waived, is not claimed."""
    waived = {COSTS[one.finding.code] for one in verdict.all_waived()}
    common: set[str] | None = None
    for demand in models:
        kinds = _shown(demand, verdict)
        levels = {f"VERIFAI_{kind.value.upper()}" for kind in kinds}
        if demand.proof is not None and EvidenceKind.PROOF in kinds:
            if demand.proof.srs is SrsLevel.TEST or Claim.SET_UP not in waived:  # every set-up is at least a test one
                levels.add(f"VERIFAI_SRS_{demand.proof.srs.value.upper()}")
            if demand.proof.privacy is not PrivacyLevel.INTEGRITY_ONLY and Claim.PRIVACY not in waived:
                levels.add(f"VERIFAI_{demand.proof.privacy.value.replace('-', '_').upper()}")
        if demand.signatures and Claim.SIGNED not in waived:
            levels.add("VERIFAI_SIGNED")
        if demand.log and Claim.LOGGED not in waived:
            levels.add("VERIFAI_LOGGED")
        common = levels if common is None else common & levels
    found = common or set()
    # Models of one policy may be asked for different kinds; the verdict then claims only that evidence was shown.
    return tuple(sorted(found or {"VERIFAI_EVIDENCE"}))


def _shown(demand: ModelDemand, verdict: GateVerdict) -> tuple[EvidenceKind, ...]:
    """The kinds that stand behind a passed verdict: where one was enough, those that were met, and no others."""
    if not demand.any_kind:
        return demand.evidence
    (counted,) = [one.counted for one in verdict.models if one.name == demand.name]
    return tuple(kind for kind in demand.evidence if counted[kind] >= needed_of(demand, kind))


def _append(log: Path, signer: Signer, attestation: Attestation) -> tuple[dict[str, bytes], int]:
    with open_log(log) as audit_log:
        audit_log.require_key(signer)
        (position,) = audit_log.append([attestation.id])
        checkpoint = audit_log.checkpoint(signer)
        proof = audit_log.prove(attestation.id, checkpoint)
        return {CHECKPOINT_FILE: checkpoint.to_bytes(), proof_file(attestation.id): proof.to_bytes()}, position
