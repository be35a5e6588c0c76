"""verify and re-derive: the payload's bytes against the pinned section."""

from __future__ import annotations

from collections.abc import Mapping

from verifai.domain.digest import Sha256
from verifai.domain.findings import Finding, Outcome
from verifai.domain.statement import Visibility, WeightVisibility
from verifai.engines.interface import VerifiedProof, VerifyRequest
from verifai.engines.sumcheck.circuit import Circuit
from verifai.engines.sumcheck.circuit import Visibility as Binding
from verifai.engines.sumcheck.circuit_codec import MAX_BYTES as MAX_CIRCUIT
from verifai.engines.sumcheck.engine_compiling import CIRCUIT_FILE, WEIGHTS_FILE
from verifai.engines.sumcheck.engine_statement import decode_statement, domain_statement
from verifai.engines.sumcheck.lock_section import LockSection, expect_suite, parse_section
from verifai.engines.sumcheck.verifier.verify import VerifiedStatement, trust_circuit, trust_weights, verify
from verifai.errors import EvidenceRejected, UsageError, VerifaiError
from verifai.execution.files import read_limited
from verifai.onnx_graph.model import OnnxModel

STATEMENT_FILE, PROOF_FILE = "statement.bin", "proof.bin"
MAX_FILE = 1 << 30


def payload_names(section: LockSection) -> frozenset[str]:
    """Exactly the files that a payload of this section holds."""
    names = {CIRCUIT_FILE, STATEMENT_FILE, PROOF_FILE}
    return frozenset(names | {WEIGHTS_FILE} if section.weights is WeightVisibility.PUBLIC else names)


def check_payload(section: LockSection, files: Mapping[str, bytes]) -> VerifiedStatement:
    """All of verification on bytes.

    Raises:
        EvidenceRejected: with the code of the step that fails (:mod:`.verifier.verify`), or ``payload-mismatch``.
    """
    if set(files) != payload_names(section):
        odd = ", ".join(sorted(set(files) ^ payload_names(section)))
        raise EvidenceRejected("payload-mismatch", "the payload's files are not those of a sumcheck proof", where=odd)
    trusted = trust_circuit(files[CIRCUIT_FILE], section.circuit_sha256)
    _check_ports(section, trusted.circuit)
    weights = trust_weights(trusted, section.weights_sha256, files.get(WEIGHTS_FILE))
    statement = decode_statement(trusted.circuit, files[STATEMENT_FILE])
    return verify(trusted, weights, statement, files[PROOF_FILE])


def _check_ports(section: LockSection, circuit: Circuit) -> None:
    """The section describes the circuit that it pins; a contradiction is a broken lock, not false evidence."""
    ports = (*circuit.inputs, *circuit.outputs)
    kinds = {Visibility.PUBLIC: Binding.PUBLIC, Visibility.HASHED: Binding.HASHED}
    found = [(circuit.tensors[port.tensor].shape, port.visibility) for port in ports]
    if found != [(tensor.shape or (1,), kinds[tensor.visibility]) for tensor in section.tensors]:
        raise UsageError(
            "bad-lock", "the pinned tensors are not those of the pinned circuit", where="[engine.sumcheck].tensors"
        )


def verify_request(request: VerifyRequest) -> VerifiedProof:
    """Verify a bundle's payload.

    Raises:
        EvidenceRejected: the evidence is false. UsageError: ``bad-lock``, ``engine-version``.
    """
    section = parse_section(request.section)
    expect_suite(section)
    files = {name: _read(name, request) for name in request.files}
    request.progress.phase("verify")
    verified = check_payload(section, files)
    statement = domain_statement(verified.circuit, section, verified.statement, Sha256(request.model_sha256))
    bits = section.soundness_millibits / 1000
    findings = (
        _holds("sumcheck-circuit-pinned", "the circuit is the pinned one, and keeps every rule", verified.circuit_digest, "1"),
        _holds("sumcheck-weights-pinned", "the weights are the pinned ones", verified.weights_identity, "2"),
        _holds("sumcheck-statement-bound", "statement and context fit the circuit and are bound by the proof", "", "3"),
        _holds("proof-valid", f"the proof holds, with {bits:.1f} bits proven soundness", "", "4"),
    )
    return VerifiedProof(statement, findings)


def _read(name: str, request: VerifyRequest) -> bytes:
    limit = MAX_CIRCUIT if name == CIRCUIT_FILE else MAX_FILE
    try:
        return read_limited(request.files[name], limit=limit)
    except UsageError as problem:
        raise EvidenceRejected("payload-mismatch", problem.message, where=name) from None


def _holds(code: str, message: str, evidence: str, step: str) -> Finding:
    return Finding(code, Outcome.HOLDS, message, evidence=evidence, step=step)


def rederive(request: VerifyRequest, model: OnnxModel) -> tuple[Finding, ...]:
    """Lower the model again with the pinned scales and compare digests: one finding per comparison."""
    from verifai.engines.sumcheck.circuit_codec import circuit_digest, encode
    from verifai.engines.sumcheck.engine_compiling import build_circuit, weights_identity

    section = parse_section(request.section)
    expect_suite(section)
    if model.sha256 != request.model_sha256:
        return (_compared("sumcheck-model", model.sha256, request.model_sha256, "the model"),)
    kinds = {Visibility.PUBLIC: Binding.PUBLIC, Visibility.HASHED: Binding.HASHED}
    tensors = {tensor.name: kinds[tensor.visibility] for tensor in section.tensors}
    request.progress.phase("lower")
    try:
        lowered = build_circuit(model, tensors, section.weights, section.scales, section.options.split)
        identity = weights_identity(lowered)
    except (VerifaiError, KeyError) as problem:
        message = f"the pinned section does not fit the model: {problem}"
        return (Finding("sumcheck-not-rederived", Outcome.REJECTED, message, remedy="Compile the model again."),)
    return (
        _compared("sumcheck-circuit", circuit_digest(encode(lowered.circuit)), section.circuit_sha256, "the circuit"),
        _compared("sumcheck-weights", identity, section.weights_sha256, "the weights"),
    )


def _compared(code: str, found: str, pinned: str, what: str) -> Finding:
    evidence = f"derived {found}, pinned {pinned}"
    if found == pinned:
        return Finding(
            f"{code}-rederived", Outcome.HOLDS, f"{what}, derived again from the model, equal the pinned", evidence=evidence
        )
    return Finding(
        f"{code}-differs",
        Outcome.REJECTED,
        f"{what}, derived again from the model, differ from the pinned",
        evidence=evidence,
        remedy="The lock does not belong to this model: compile again, or do not trust it.",
    )
