"""The audit's own checks, A1 to A10 of ``docs/bundle-format.md``. Each returns a finding, or raises what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from verifai.bundle.log import open_log
from verifai.bundle.log_check import CHECKPOINT_FILE
from verifai.bundle.note import MAX_NOTE_BYTES, NoteKey, parse_checkpoint
from verifai.bundle.sbom import MAX_SBOM_BYTES, check_sbom
from verifai.domain.attestation.circuit import CircuitPredicate
from verifai.domain.attestation.manifest import MODEL_FILE, SBOM_FILE
from verifai.domain.attestation.proof import ProofPredicate
from verifai.domain.audit import OutputComparison
from verifai.domain.circuit_lock import CircuitLock
from verifai.domain.findings import Finding, Outcome, holds, not_checked
from verifai.domain.statement import EngineName, Role, Statement, TensorStatement, Visibility
from verifai.domain.trust import RE_DERIVE, LogTrust, TrustedCircuit
from verifai.engines.capabilities import OffersSecondOpinion
from verifai.engines.registry import engine_for
from verifai.errors import EvidenceRejected, PolicyNotMet, UsageError
from verifai.execution.child import Limits
from verifai.execution.files import read_limited
from verifai.onnx_graph.fenced import load_path_fenced, run_reference_fenced
from verifai.stages.evidence import section_digest
from verifai.stages.verify import Expectations

if TYPE_CHECKING:
    from verifai.bundle.reader import OpenBundle
    from verifai.engines.interface import VerifyRequest
    from verifai.onnx_graph.model import OnnxModel
    from verifai.stages.audit.options import AuditOptions

FAR = 4.0
"""An input may be harder than those of the calibration set: up to this multiple of the pinned largest error is still near."""


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


def check_model_shapes(statement: Statement, model: OnnxModel) -> Finding:
    """A4: names and shapes in the statement are the model's own, in its order."""
    # Order matters: it says which of the proof's instances belong to which name.
    claimed = [(role, tensor.name, tensor.shape) for role in Role for tensor in statement.of(role)]
    actual = [(Role.INPUT, spec.name, spec.shape) for spec in model.inputs]
    actual += [(Role.OUTPUT, spec.name, spec.shape) for spec in model.outputs]
    if claimed != actual:
        raise EvidenceRejected(
            "statement-mismatch",
            f"the statement is about {claimed}, the model has {actual}"[:400],
            hint="The statement is not about this model.",
        )
    return holds("shapes-match", f"the {len(actual)} tensors of the statement are the model's, by name and shape")


def _limits(options: AuditOptions) -> Limits:
    return Limits(memory_bytes=options.budget.memory_bytes)


def compare_with_reference(
    statement: Statement, circuit: CircuitPredicate, model: OnnxModel, options: AuditOptions
) -> tuple[list[Finding], tuple[OutputComparison, ...]]:
    """A5, A6: run the float model on the proven input, in a fenced child, and measure how far the proven output is from it."""
    inputs, missing = _inputs(statement, model, options.expect)
    if missing:
        message = f"the float model was not run: {', '.join(missing)} was not given, and the proof does not show it"
        return [not_checked("reference-not-run", message, "A5", "Give it with --input.")], ()
    values = run_reference_fenced(model, inputs, _limits(options), options.progress)
    comparisons = tuple(
        OutputComparison(
            tensor.name,
            tensor.shape,
            tensor.values(),
            tuple(float(value) for value in values[tensor.name].reshape(-1)),
        )
        for tensor in statement.of(Role.OUTPUT)
        if tensor.visibility is Visibility.PUBLIC
    )
    if not comparisons:
        return [not_checked("reference-not-run", "no output is public, so there is nothing to compare", "A5")], ()
    return [_distance(one, circuit) for one in comparisons], comparisons


def _inputs(statement: Statement, model: OnnxModel, expect: Expectations) -> tuple[dict[str, Any], list[str]]:
    import numpy as np

    given = _given(statement, expect)
    inputs: dict[str, Any] = {}
    missing: list[str] = []
    dtypes = {spec.name: spec.dtype for spec in model.inputs}
    for tensor in statement.of(Role.INPUT):
        if tensor.name in given:
            inputs[tensor.name] = given[tensor.name]
        elif tensor.visibility is Visibility.PUBLIC and tensor.name in dtypes:
            inputs[tensor.name] = np.array(tensor.values(), dtype=np.float64).reshape(tensor.shape).astype(dtypes[tensor.name])
        else:
            missing.append(f"{tensor.name!r} ({tensor.visibility.value})")
    return inputs, missing


def _given(statement: Statement, expect: Expectations) -> Mapping[str, Any]:
    """The auditor's own tensors, when there are some; verify has matched them with the proof."""
    inputs: Any = expect.inputs
    if inputs is None:
        return {}
    if callable(inputs):
        reader: Callable[[tuple[TensorStatement, ...]], Mapping[str, Any]] = inputs
        return reader(statement.of(Role.INPUT))
    found: Mapping[str, Any] = inputs
    return found


def _distance(one: OutputComparison, circuit: CircuitPredicate) -> Finding:
    figures = (
        f"largest error {one.max_abs_error:.4g}, mean {one.mean_abs_error:.4g}; "
        f"largest value at {'the same place' if one.same_class else 'another place'}"
    )
    pinned = circuit.fidelity
    if pinned is None:
        return not_checked("reference-distance", f"{one.name!r}: {figures}; the lock pins no fidelity to compare with", "A6")
    limit = FAR * float(pinned.max_abs_error)
    evidence = f"{figures}; pinned largest error {float(pinned.max_abs_error):.4g} over {pinned.samples} samples"
    if one.max_abs_error > limit:
        return Finding(
            "reference-far",
            Outcome.POLICY_NOT_MET,
            f"the proven {one.name!r} is further from the float model than {FAR:g} times what was measured at compile time",
            where=one.name,
            evidence=evidence,
            remedy="Treat the float model's figures as not covered by this proof, or compile with finer scales.",
            step="A6",
        )
    return Finding(
        "reference-near", Outcome.HOLDS, f"the proven {one.name!r} is near the float model's", one.name, evidence, step="A6"
    )


def check_materials(bundle: OpenBundle, circuit: CircuitPredicate, proof: ProofPredicate) -> Finding:
    """A7: the bill of materials is the one of this evidence."""
    path = bundle.payload.get(SBOM_FILE)
    if path is None:
        return not_checked("sbom-missing", "there is no bill of materials", "A7", "Ask for evidence made by a newer release.")
    prefix = "payload/"
    files = {
        entry.path.removeprefix(prefix): entry.sha256
        for entry in bundle.manifest.files
        if entry.path.startswith(prefix) and entry.path != prefix + SBOM_FILE
    }
    if path.stat().st_size > MAX_SBOM_BYTES:
        raise EvidenceRejected("bundle-too-large", f"a bill of materials over {MAX_SBOM_BYTES} bytes", where=SBOM_FILE)
    packages = check_sbom(read_limited(path, limit=MAX_SBOM_BYTES), circuit, proof.created, files)
    listed = ", ".join(f"{name} {version}" for name, version in sorted(packages.items()))
    return holds("sbom-matches", "the bill of materials is about this model, circuit, engine and these files", evidence=listed)


def check_log_copy(bundle: OpenBundle, trust: LogTrust | None, log: Path | None, seen: Path | None) -> Finding:
    """A8: the log only grew: its whole tree, from the auditor's own copy, holds the checkpoint in the bundle."""
    if trust is None or log is None:
        why = "the trust file names no log" if trust is None else "no copy of the log was given"
        return not_checked("log-consistency-not-checked", f"{why}, so its past was not compared", "A8", "Give --log FILE.")
    shown: dict[str, bytes] = {}
    if CHECKPOINT_FILE in bundle.log:
        shown[f"log/{CHECKPOINT_FILE}"] = bundle.log[CHECKPOINT_FILE]
    if seen is not None:
        shown[str(seen)] = read_limited(seen, limit=MAX_NOTE_BYTES)
    with open_log(log) as audit_log:
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
    proofs = bundle.of_type(ProofPredicate.TYPE)
    related: set[str] = set()
    pending = [one.id for one in proofs]
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


def second_opinion(engine: EngineName, request: VerifyRequest) -> Finding:
    """A10: another verifier, asked about the same proof, gives the same verdict, be it yes or no."""
    offered = engine_for(engine)
    if not isinstance(offered, OffersSecondOpinion):
        return not_checked("evm-unavailable", f"the engine {engine.value!r} has no on-chain verifier", "A10")
    return offered.second_opinion(request)
