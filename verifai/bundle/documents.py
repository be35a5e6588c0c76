"""Documents about a bundle in the words of other tools: a computation receipt, and SLSA provenance of the compilation.

Both are in-toto Statements v1 among the payload files. Nothing in them is new: they are composed from the circuit attestation,
the proof attestation and the lock, and whoever verifies composes them again and compares bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from verifai.bundle import canonical
from verifai.domain.attestation.circuit import CircuitPredicate
from verifai.domain.attestation.envelope import STATEMENT_TYPE
from verifai.domain.attestation.manifest import MODEL_FILE, RECEIPT_FILE, SLSA_FILE
from verifai.domain.attestation.proof import ProofPredicate
from verifai.domain.digest import Sha256, sha256
from verifai.domain.model_signing import ProvenancePin
from verifai.domain.statement import Role, TensorStatement
from verifai.errors import EvidenceRejected

RECEIPT_TYPE = "urn:verifai:receipt:v1"
SLSA_TYPE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:verifai:compile:v1"
MAX_DOCUMENT_BYTES = 16 * 1024 * 1024


def make_receipt(circuit: CircuitPredicate, proof: ProofPredicate, proof_id: Sha256) -> bytes:
    """Which weights answered which request with which output, and under which parameters. RFC 8785 form."""
    statement = proof.statement
    tensors = {role: [one for one in statement.tensors if one.role is role] for role in Role}
    predicate: dict[str, Any] = {
        "weights": {
            "model_sha256": circuit.model_sha256,
            "visibility": circuit.weights.value,
            "pins": dict(circuit.pins),
        },
        "request": {
            "context": statement.context,
            "context_bound": statement.context_bound,
            "inputs": [one.to_json() for one in tensors[Role.INPUT]],
        },
        "parameters": {
            "circuit": circuit.name,
            "engine": circuit.engine.value,
            "engine_version": circuit.engine_version,
            "circuit_sha256": circuit.circuit_sha256,
            "section_sha256": circuit.section_sha256,
            "insecure": list(proof.insecure),
            "privacy": statement.privacy.value,
        },
        "output": {"outputs": [one.to_json() for one in tensors[Role.OUTPUT]]},
        "evidence": {"circuit": proof.circuit, "proof": proof_id, "created": proof.created},
    }
    subjects = [_subject(one.name, tensor_digest(one)) for one in tensors[Role.OUTPUT]]
    return _statement(subjects, RECEIPT_TYPE, predicate)


def tensor_digest(tensor: TensorStatement) -> Sha256:
    """SHA-256 of what is claimed about one tensor, in RFC 8785 form."""
    return sha256(canonical.encode(tensor.to_json()))


def make_slsa(circuit: CircuitPredicate, pin: ProvenancePin | None) -> bytes:
    """SLSA provenance of the compilation: which model became which circuit, by what. RFC 8785 form.

    Args:
        pin: the signed release that the model comes from; ``None`` where the lock names none.
    """
    dependencies: list[dict[str, Any]] = [_subject(MODEL_FILE, circuit.model_sha256)]
    if pin is not None:
        release = {"signer": pin.signer, "source": pin.source, "exporter": pin.exporter}
        dependencies.append({**_subject(pin.release, pin.manifest_sha256), "annotations": release})
    predicate = {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": {
                "circuit": circuit.name,
                "engine": circuit.engine.value,
                "weights": circuit.weights.value,
            },
            "internalParameters": {"engine_version": circuit.engine_version, "pins": dict(circuit.pins)},
            "resolvedDependencies": dependencies,
        },
        "runDetails": {"builder": {"id": BUILD_TYPE, "version": {circuit.engine.value: circuit.engine_version}}},
    }
    subjects = [
        _subject(f"{circuit.name} circuit", circuit.circuit_sha256),
        _subject(f"{circuit.name} lock section", circuit.section_sha256),
    ]
    return _statement(subjects, SLSA_TYPE, predicate)


def _subject(name: str, digest: str) -> dict[str, Any]:
    return {"name": name, "digest": {"sha256": digest}}


def _statement(subjects: list[dict[str, Any]], kind: str, predicate: Mapping[str, Any]) -> bytes:
    document = {"_type": STATEMENT_TYPE, "subject": subjects, "predicateType": kind, "predicate": dict(predicate)}
    return canonical.encode(document)


def check_documents(
    files: Mapping[str, bytes],
    circuit: CircuitPredicate,
    proof: ProofPredicate,
    proof_id: Sha256,
    pin: ProvenancePin | None,
) -> tuple[str, ...]:
    """Check that the documents among ``files`` say what the evidence says.

    Args:
        files: the payload files named :data:`RECEIPT_FILE` and :data:`SLSA_FILE`, where they are there.

    Returns:
        The names of those that were compared.

    Raises:
        EvidenceRejected: ``document-mismatch``.
    """
    # A document that was written before the lock was tied to a release names none; one about another release is false.
    expected = {
        RECEIPT_FILE: [make_receipt(circuit, proof, proof_id)],
        SLSA_FILE: [make_slsa(circuit, pin), make_slsa(circuit, None)],
    }
    for name in sorted(files):
        if files[name] not in expected[name]:
            raise EvidenceRejected(
                "document-mismatch",
                f"{name} does not say what the evidence says",
                where=f"payload/{name}",
                hint="It was written for other evidence, or edited.",
            )
    return tuple(sorted(files))
