"""The audit's own checks but A4 to A6, by their numbers in ``docs/bundle-format.md``: a finding, or what is wrong, raised."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from verifai.bundle.log import open_log
from verifai.bundle.log_check import CHECKPOINT_FILE
from verifai.bundle.note import MAX_NOTE_BYTES, NoteKey, parse_checkpoint
from verifai.bundle.sbom import MAX_SBOM_BYTES, check_sbom
from verifai.domain.attestation.circuit import CircuitPredicate
from verifai.domain.attestation.manifest import DOCUMENT_FILES, MODEL_FILE, SBOM_FILE
from verifai.domain.attestation.predicate_types import DERIVATION_TYPE, EVALUATION_TYPE, RELEASE_TYPE, TEE_TYPE
from verifai.domain.attestation.proof import ProofPredicate
from verifai.domain.attestation.tee import AboutReceipt
from verifai.domain.circuit_lock import CircuitLock
from verifai.domain.digest import short
from verifai.domain.findings import Finding, Outcome, holds, not_checked
from verifai.domain.statement import EngineName, Statement
from verifai.domain.trust import RE_DERIVE, LogTrust, TrustedCircuit
from verifai.engines.capabilities import OffersSecondOpinion
from verifai.engines.registry import engine_for
from verifai.errors import EvidenceRejected, PolicyNotMet, UsageError
from verifai.execution.child import Limits
from verifai.execution.files import read_limited
from verifai.onnx_graph.fenced import load_path_fenced
from verifai.stages.evidence import section_digest

if TYPE_CHECKING:
    from verifai.bundle.reader import OpenBundle
    from verifai.engines.interface import VerifyRequest
    from verifai.onnx_graph.model import OnnxModel
    from verifai.stages.audit.options import AuditOptions
    from verifai.trust_file import TrustFile


def check_section(circuit: CircuitPredicate, lock: CircuitLock) -> Finding:
    """A1: the whole lock section, not only its parts, is the one that the evidence names."""
    found = section_digest(lock.section(circuit.engine))
    if found != circuit.section_sha256:
        raise EvidenceRejected(
            "circuit-not-pinned",
            "the evidence names another lock section than the trusted one",
            where="section_sha256",
            hint="The circuit was compiled again since: use the lock of that release, or ask for new evidence.",
        )
    return holds(
        "section-pinned", "every parameter that the lock pins is the one that the evidence was made with", evidence=found
    )


def load_model(bundle: OpenBundle, options: AuditOptions) -> OnnxModel | None:
    """The model in the bundle, canonical and within its limits, read in a fenced child; ``None`` when its owner keeps it."""
    path = bundle.payload.get(MODEL_FILE)
    if path is None:
        return None
    try:
        return load_path_fenced(path, _limits(options), options.progress)
    except UsageError as problem:
        # What is a usage error for the owner of a model is false evidence in a bundle.
        message = f"the model in the bundle is not one that can be audited: {problem.message} ({problem.code})"
        raise EvidenceRejected("model-unreadable", message, where=problem.where, hint=problem.hint) from None


def check_circuit_key(circuit: CircuitPredicate, trusted: TrustedCircuit, findings: Iterable[Finding], step: str) -> Finding:
    """A3: the verification key is the one that the trust file demands, or was made again as it demands."""
    if trusted.verification_key != RE_DERIVE:
        if circuit.circuit_sha256 != trusted.verification_key:
            raise EvidenceRejected(
                "key-not-trusted",
                f"the circuit is {circuit.circuit_sha256}, the trust file pins {trusted.verification_key}",
                hint="The proof was made for another circuit than the one you trust.",
            )
        return holds("key-pinned", "the circuit's key is the one that the trust file pins", evidence=circuit.circuit_sha256)
    made = [one for one in findings if one.step.startswith(step)]
    if not made or any(one.outcome is not Outcome.HOLDS for one in made):
        raise PolicyNotMet(
            "key-rederivation-missing",
            "the trust file demands that the key is made again from the model, and that did not succeed",
            hint="See step A2; or pin the key: set verification_key in the trust file to its SHA-256.",
        )
    return holds(
        "key-rederived", "the key was made again from the model, as the trust file demands", evidence=circuit.circuit_sha256
    )


def _limits(options: AuditOptions) -> Limits:
    return Limits(memory_bytes=options.budget.memory_bytes)


def check_materials(bundle: OpenBundle, circuit: CircuitPredicate, created: str, statement: Statement | None) -> Finding:
    """A7: the bill of materials is the one of this evidence."""
    path = bundle.payload.get(SBOM_FILE)
    if path is None:
        return not_checked(
            "sbom-missing", "there is no bill of materials", "A7", remedy="Ask for evidence made by a newer release."
        )
    prefix = "payload/"
    files = {
        entry.path.removeprefix(prefix): entry.sha256
        for entry in bundle.manifest.files
        if entry.path.startswith(prefix) and entry.path.removeprefix(prefix) not in {SBOM_FILE, *DOCUMENT_FILES}
    }
    if path.stat().st_size > MAX_SBOM_BYTES:
        raise EvidenceRejected("bundle-too-large", f"a bill of materials over {MAX_SBOM_BYTES} bytes", where=SBOM_FILE)
    packages = check_sbom(read_limited(path, limit=MAX_SBOM_BYTES), circuit, created, files, statement)
    listed = ", ".join(f"{name} {version}" for name, version in sorted(packages.items()))
    return holds("sbom-matches", "the bill of materials is about this model, circuit, engine and these files", evidence=listed)


def check_log_copy(bundle: OpenBundle, trust: LogTrust | None, log: Path | None, seen: Path | None) -> Finding:
    """A8: the log only grew: its whole tree, from the auditor's own copy, holds the checkpoint in the bundle."""
    if trust is None or log is None:
        why = "the trust file names no log" if trust is None else "no copy of the log was given"
        return not_checked(
            "log-consistency-not-checked", f"{why}, so its past was not compared", "A8", remedy="Give --log FILE."
        )
    shown: dict[str, bytes] = {}
    if CHECKPOINT_FILE in bundle.log:
        shown[f"log/{CHECKPOINT_FILE}"] = bundle.log[CHECKPOINT_FILE]
    if seen is not None:
        shown[str(seen)] = read_limited(seen, limit=MAX_NOTE_BYTES)
    with open_log(log, read_only=True) as audit_log:
        size = audit_log.check()
        for where, data in shown.items():
            checkpoint = parse_checkpoint(data, where)
            checkpoint.check(NoteKey(trust.origin, trust.key), where=where)
            if checkpoint.size > size or audit_log.root(checkpoint.size) != checkpoint.root:
                raise EvidenceRejected(
                    "log-inconsistent",
                    f"the log does not hold the first {checkpoint.size} entries that it once signed",
                    where=where,
                    hint="Do not trust this log; tell its witnesses.",
                )
    return holds("log-consistent", f"the log's {size} entries were hashed again and extend {len(shown)} signed checkpoints")


def check_unrelated(bundle: OpenBundle) -> list[Finding]:
    """A9: attestations that the proof does not build on were read, but nothing in this audit judged them."""
    proofs = (*bundle.of_type(ProofPredicate.TYPE), *bundle.of_type(EVALUATION_TYPE))
    related: set[str] = set()
    # Hardware attestations are judged by steps H1 to H3, those of provenance by P1 to P3.
    pending = [one.id for kind in (TEE_TYPE, RELEASE_TYPE, DERIVATION_TYPE) for one in bundle.of_type(kind)]
    pending += [one.id for one in proofs]
    while pending:
        one = pending.pop()
        if one not in related and one in bundle.attestations:
            related.add(one)
            pending.extend(bundle.attestations[one].predicate.parents())
    return [
        not_checked(
            "attestation-not-judged",
            f"an attestation of type {attestation.predicate.TYPE} is in the bundle; an audit of the proof does not judge it",
            "A9",
            where=f"attestations/{key}.dsse.json",
        )
        for key, attestation in sorted(bundle.attestations.items())
        if key not in related
    ]


def judge_receipt(receipt: AboutReceipt, trust_file: TrustFile) -> Finding:
    """H4: the model that a receipt names is one that a trusted lock pins."""
    for name in trust_file.trust.circuits:
        if trust_file.circuit(name)[1].model_sha256 == receipt.model_sha256:
            return holds(
                "model-matches", f"the receipt is about the model of circuit {name!r}", "H4", evidence=receipt.model_sha256
            )
    message = f"no lock of the trust file pins model {short(receipt.model_sha256)}"
    remedy = "Add [circuits.NAME] with the lock of that model, once you have reviewed it."
    return Finding("circuit-not-trusted", Outcome.POLICY_NOT_MET, message, where="model_sha256", remedy=remedy, step="H4")


def second_opinion(engine: EngineName, request: VerifyRequest) -> Finding:
    """A10: another verifier, asked about the same proof, gives the same verdict, be it yes or no."""
    offered = engine_for(engine)
    if not isinstance(offered, OffersSecondOpinion):
        return not_checked("evm-unavailable", f"the engine {engine.value!r} has no on-chain verifier", "A10")
    return offered.second_opinion(request)
