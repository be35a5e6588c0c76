"""Targets for everything that the sumcheck verifier reads: circuit, weights, statement, proof, and the lock's section.

The circuit's digest is taken from the fuzzed bytes, so that what comes after the comparison with a pinned digest is reached:
an auditor may be handed a hostile circuit together with its digest.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from tests.support.paths import ROOT
from verifai.domain.circuit_lock import parse_lock
from verifai.domain.statement import EngineName
from verifai.engines.sumcheck.circuit import codec
from verifai.engines.sumcheck.circuit.weights import decode_weights
from verifai.engines.sumcheck.constraints import audit
from verifai.engines.sumcheck.interpreter.weights import decode_arrays
from verifai.engines.sumcheck.lock_section import parse_section
from verifai.engines.sumcheck.payload.statement import decode_statement, encode_statement
from verifai.engines.sumcheck.protocol import proof as proofs
from verifai.engines.sumcheck.protocol.statement import HashedTensor, PublicTensor, Statement
from verifai.engines.sumcheck.verifier.verify import TrustedCircuit, trust_circuit, trust_weights, verify
from verifai.errors import EvidenceRejected

FROZEN = ROOT / "tests" / "golden" / "sumcheck-2"
NAMES = ("products-public", "mlp-hashed-committed", "cnn-public")


@dataclass(frozen=True)
class Frozen:
    """One frozen proof's files."""

    circuit: bytes
    weights: bytes
    proof: bytes
    identity: str
    statement: Statement

    @property
    def trusted(self) -> TrustedCircuit:
        return trust_circuit(self.circuit, codec.circuit_digest(self.circuit))


def frozen(name: str) -> Frozen:
    """By name."""
    document = json.loads((FROZEN / f"{name}.json").read_text(encoding="utf-8"))
    circuit, weights, proof = ((FROZEN / f"{name}.{kind}").read_bytes() for kind in ("circuit", "weights", "proof"))
    tensors = tuple(
        HashedTensor(bytes.fromhex(one["root"])) if "root" in one else PublicTensor(tuple(one["cells"]))
        for one in document["tensors"]
    )
    return Frozen(circuit, weights, proof, document["weights"], Statement(tensors, document["context"].encode()))


def read_circuit(data: bytes) -> object:
    """Decode, every rule, the plan and the constraint list; what decodes must be what it encodes to."""
    circuit = codec.decode(data)
    assert codec.encode(circuit) == data
    trusted = trust_circuit(data, codec.circuit_digest(data))
    audit(trusted.circuit)
    return trusted


def weights_reader(case: Frozen) -> Callable[[bytes], object]:
    """Both readers of weights, for one circuit."""
    circuit = case.trusted.circuit

    def read(data: bytes) -> object:
        """Both readers, the auditor's and the prover's, agree on what is a blob and what it holds."""
        try:
            plain = decode_weights(circuit, data)
        except EvidenceRejected:
            try:
                decode_arrays(circuit, data)
            except EvidenceRejected:
                return None
            raise AssertionError("only the fast reader takes this blob") from None
        assert [list(cells) for cells in plain] == [cells.reshape(-1).tolist() for cells in decode_arrays(circuit, data)]
        return plain

    return read


def statement_reader(case: Frozen) -> Callable[[bytes], object]:
    """The statement's codec, for one circuit."""
    circuit = case.trusted.circuit

    def read(data: bytes) -> object:
        statement = decode_statement(circuit, data)
        assert encode_statement(circuit, statement) == data
        return statement

    return read


def proof_reader(case: Frozen) -> Callable[[bytes], object]:
    """The proof's codec, for the shapes of one circuit."""
    shapes = case.trusted.layout.commitments()

    def read(data: bytes) -> object:
        proof = proofs.decode(data, shapes)
        assert proofs.encode(proof) == data
        return proof

    return read


def verifier(case: Frozen) -> Callable[[bytes], object]:
    """All of verification of one statement."""
    trusted = case.trusted
    weights = trust_weights(trusted, case.identity, case.weights)

    def check(data: bytes) -> object:
        """Whatever is accepted is the frozen proof itself: no second proof of the same statement is a mutation away."""
        found = verify(trusted, weights, case.statement, data)
        assert data == case.proof, "a changed proof was accepted"
        return found

    return check


def read_section(document: object) -> object:
    """``[engine.sumcheck]`` of a lock."""
    return parse_section(parse_lock(document, "").section(EngineName.SUMCHECK))  # type: ignore[arg-type]
