"""verify and re-derive: the payload's bytes against the pinned section."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from verifai.domain.digest import Sha256
from verifai.domain.findings import Finding, holds
from verifai.domain.statement import Role, WeightVisibility
from verifai.engines.interface import VerifiedProof, VerifyRequest
from verifai.engines.sumcheck.boundary import check_boundary
from verifai.engines.sumcheck.circuit.codec import MAX_BYTES as MAX_CIRCUIT
from verifai.engines.sumcheck.circuit.program import Circuit
from verifai.engines.sumcheck.lock_section import WHERE, LockSection, expect_suite, parse_section
from verifai.engines.sumcheck.payload.bindings import BINDINGS, weight_binding
from verifai.engines.sumcheck.payload.files import CIRCUIT_FILE, MAX_FILE, MAX_PROOF, PROOF_FILE, STATEMENT_FILE, WEIGHTS_FILE
from verifai.engines.sumcheck.payload.statement import decode_statement, domain_statement
from verifai.engines.sumcheck.payload.weight_roots import LINK_FILE, MAX_RELATION, REGISTRATION_FILE, WeightRoots, check_roots
from verifai.engines.sumcheck.saturation import saturated_outputs
from verifai.engines.sumcheck.verifier.verify import VerifiedStatement, trust_circuit, trust_weights, verify
from verifai.errors import EvidenceRejected, UsageError
from verifai.execution.files import read_limited
from verifai.execution.memory import require_memory

_HELD_PER_BYTE = 16
"""Bytes of memory per byte of payload, while it is verified: a number of 8 bytes is a Python integer in a list or two."""


def payload_names(section: LockSection) -> frozenset[str]:
    """The files that a payload of this section holds; beside them only ``link.bin``, where weights are private."""
    more = {WeightVisibility.PUBLIC: {WEIGHTS_FILE}, WeightVisibility.PRIVATE: {REGISTRATION_FILE}}
    return frozenset({CIRCUIT_FILE, STATEMENT_FILE, PROOF_FILE} | more.get(section.weights, set()))


@dataclass(frozen=True, slots=True)
class CheckedPayload:
    """A verified payload; ``roots``: of private weights, else None."""

    verified: VerifiedStatement
    roots: WeightRoots | None


def check_payload(section: LockSection, files: Mapping[str, bytes]) -> CheckedPayload:
    """The whole verification, on the bytes of a payload's files.

    Raises:
        EvidenceRejected: with the code of the step that fails (:mod:`.verifier.verify`), or ``payload-mismatch``.
    """
    optional = {LINK_FILE} if section.weights is WeightVisibility.PRIVATE else set()
    if set(files) - optional != payload_names(section):
        odd = ", ".join(sorted((set(files) - optional) ^ payload_names(section)))
        raise EvidenceRejected("payload-mismatch", "the payload's files are not those of a sumcheck proof", where=odd)
    trusted = trust_circuit(files[CIRCUIT_FILE], section.circuit_sha256)
    _check_section(section, trusted.circuit)
    roots = None
    if section.weights is WeightVisibility.PRIVATE:
        roots = check_roots(trusted, section.weights_sha256, files)
    identity = section.weights_sha256 if roots is None else roots.root
    weights = trust_weights(trusted, identity, files.get(WEIGHTS_FILE))
    statement = decode_statement(trusted.circuit, files[STATEMENT_FILE])
    if roots is not None and (identity, statement.opening_number) in {(one.root, one.number) for one in roots.spent}:
        raise EvidenceRejected("statement-invalid", "registration or link took the proof's own opening", where=STATEMENT_FILE)
    return CheckedPayload(verify(trusted, weights, statement, files[PROOF_FILE]), roots)


def _check_section(section: LockSection, circuit: Circuit) -> None:
    """The section describes the circuit that it pins; a contradiction is a broken lock, not false evidence.

    A verdict shows sides, visibilities, kind of weights and proven bits as the section has them, so all of it is compared.
    """
    sides = ((Role.INPUT, circuit.inputs), (Role.OUTPUT, circuit.outputs))
    found = [(role, circuit.tensors[port.tensor].shape, port.visibility) for role, ports in sides for port in ports]
    pinned = [(tensor.role, tensor.shape or (1,), BINDINGS[tensor.visibility]) for tensor in section.tensors]
    checks = (
        ("suite", "suite", circuit.suite == section.suite),
        ("tensors", "tensors", found == pinned),
        ("weights", "visibility of the weights", weight_binding(section.weights) is circuit.weight_visibility),
        ("opening_budget", "opening budget", section.opening_budget == circuit.opening_budget),
        ("soundness_millibits", "soundness", section.soundness_millibits == weakest_step(circuit)),
    )
    for field, what, same in checks:
        if not same:
            message = f"the pinned circuit has other {what} than the section says"
            raise UsageError("bad-lock", message, where=f"{WHERE}.{field}")
    check_boundary(section, circuit)


def weakest_step(circuit: Circuit) -> int:
    """Proven strength of the weakest step of the protocol, in thousandths of a bit."""
    return min(step.millibits for step in circuit.soundness)


_WEIGHTS = {
    WeightVisibility.PUBLIC: "the weights are the pinned ones, and keep the circuit's bounds",
    WeightVisibility.COMMITTED: (
        "the weights are those under the pinned root; that they are the model's, within the circuit's bounds, is not checked "
        "here: rely on the lock's author, or derive the root from the model"
    ),
    WeightVisibility.PRIVATE: (
        "the weights are those under the pinned hiding root; that they are the model's is not checked here: rely on the lock's "
        "author, since only the holder of the seed can derive the root"
    ),
}


def verify_request(request: VerifyRequest) -> VerifiedProof:
    """Verify a bundle's payload.

    Raises:
        EvidenceRejected: the evidence is false. UsageError: ``bad-lock``, ``engine-version``.
        ResourceExhausted: ``estimate-over-budget``.
    """
    section = parse_section(request.section)
    expect_suite(section)
    files = {name: _read(name, request) for name in request.files}
    require_memory(_HELD_PER_BYTE * sum(map(len, files.values())), request.budget.memory_bytes)
    request.progress.phase("verify")
    checked = check_payload(section, files)
    verified = checked.verified
    statement = domain_statement(verified.circuit, section, verified.statement, Sha256(request.model_sha256), checked.roots)
    bits = weakest_step(verified.circuit) / 1000
    findings = (
        holds(
            "sumcheck-circuit-pinned",
            "the circuit is the pinned one, and keeps every rule",
            "1",
            evidence=verified.circuit_digest,
        ),
        holds("sumcheck-weights-pinned", _WEIGHTS[section.weights], "2", evidence=section.weights_sha256),
        *_about_roots(checked.roots),
        holds("sumcheck-statement-bound", "statement and context fit the circuit and are bound by the proof", "3"),
        holds("proof-valid", f"the proof holds, with {bits:.1f} bits proven soundness", "4"),
        *saturated_outputs(section, verified.circuit, verified.statement),
    )
    return VerifiedProof(statement, findings)


def _about_roots(roots: WeightRoots | None) -> list[Finding]:
    if roots is None:
        return []
    message = "the weights under the pinned root are proven to keep the circuit's bounds, with padding 0"
    found = [holds("sumcheck-weights-registered", message, "2")]
    if roots.linked:
        message = "the proof opened an epoch root, proven to commit to the same weights as the pinned one"
        found.append(holds("sumcheck-weights-linked", message, "2", evidence=roots.root))
    return found


def _read(name: str, request: VerifyRequest) -> bytes:
    relations = {REGISTRATION_FILE: MAX_RELATION, LINK_FILE: MAX_RELATION}
    limits = {CIRCUIT_FILE: MAX_CIRCUIT, PROOF_FILE: MAX_PROOF, **relations}
    try:
        return read_limited(request.files[name], limit=limits.get(name, MAX_FILE))
    except UsageError as problem:
        raise EvidenceRejected("payload-mismatch", problem.message, where=name) from None
