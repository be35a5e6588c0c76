"""Small, made-up bundles for tests of the container; what they claim was never computed by anything."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from verifai.bundle.dsse import attest
from verifai.bundle.writer import write_bundle
from verifai.domain.attestation.circuit import CircuitPredicate, FidelityFigures
from verifai.domain.attestation.envelope import Attestation, Subject
from verifai.domain.attestation.proof import ProofPredicate
from verifai.domain.digest import Sha256, sha256
from verifai.domain.statement import EngineName, Privacy, Role, Statement, TensorStatement, Visibility, WeightVisibility
from verifai.domain.trust_keys import PublicKey

CREATED = "2026-01-31T12:00:00Z"
PAYLOAD = {"proof.json": b'{"proof":"00"}', "model.onnx": b"a model", "vk.bin": bytes(range(64))}


@dataclass(frozen=True)
class TestSigner:
    """A signer whose key is made from a small number, so that test bundles have the same bytes every time."""

    __test__ = False
    seed: int

    @property
    def _private(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self.seed.to_bytes(32, "big"))

    @property
    def public_key(self) -> PublicKey:
        return PublicKey(self._private.public_key().public_bytes_raw())

    def sign(self, message: bytes) -> bytes:
        return self._private.sign(message)


def circuit_predicate(name: str = "sample") -> CircuitPredicate:
    return CircuitPredicate(
        name=name,
        engine=EngineName.EZKL,
        engine_version="23.0.5",
        model_sha256=sha256(PAYLOAD["model.onnx"]),
        circuit_sha256=sha256(PAYLOAD["vk.bin"]),
        section_sha256=sha256(b"section"),
        weights=WeightVisibility.PUBLIC,
        pins={"srs_sha256": sha256(b"srs")},
        fidelity=FidelityFigures(10, 9, Fraction(1, 8), Fraction(1, 64), 3),
        insecure=("test-srs",),
    )


def statement(context: str = "nonce-1") -> Statement:
    return Statement(
        engine=EngineName.EZKL,
        model_sha256=sha256(PAYLOAD["model.onnx"]),
        circuit_sha256=sha256(PAYLOAD["vk.bin"]),
        tensors=(
            TensorStatement(Role.INPUT, "pixels", (1, 2), Visibility.PUBLIC, Fraction(1, 128), 0, (3, -4)),
            TensorStatement(Role.OUTPUT, "logits", (1, 2), Visibility.PUBLIC, Fraction(1, 16384), 0, (70000, -123456)),
        ),
        context=context,
        context_bound=False,
        privacy=Privacy.ZERO_KNOWLEDGE,
        weights=WeightVisibility.PUBLIC,
    )


def proof_predicate(circuit: Sha256, context: str = "nonce-1") -> ProofPredicate:
    return ProofPredicate(circuit, statement(context), "23.0.5", CREATED, ("test-srs",))


def attestations(signers: tuple[TestSigner, ...] = (), payload: dict[str, bytes] = PAYLOAD) -> tuple[Attestation, Attestation]:
    circuit = attest(circuit_predicate(), [Subject("model.onnx", sha256(PAYLOAD["model.onnx"]))], signers)
    subjects = [Subject(f"payload/{name}", sha256(data)) for name, data in payload.items()]
    return circuit, attest(proof_predicate(circuit.id), subjects, signers)


def write_sample(folder: Path, signers: tuple[TestSigner, ...] = (), payload: dict[str, bytes] = PAYLOAD) -> Sha256:
    return write_bundle(folder, payload=payload, attestations=attestations(signers, payload), signers=signers, created=CREATED)
