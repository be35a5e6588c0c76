"""The verifier's own bookkeeping: stated tensors must take part, and claims are counted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support import sumcheck_examples as examples
from verifai.engines.sumcheck.circuit.codec import circuit_digest, encode
from verifai.engines.sumcheck.circuit.weights import encode_weights
from verifai.engines.sumcheck.interpreter.run import run
from verifai.engines.sumcheck.protocol.statement import PublicTensor, Statement, check_statement
from verifai.engines.sumcheck.prover.prove import prepare, prove
from verifai.engines.sumcheck.verifier import opening
from verifai.engines.sumcheck.verifier import verify as verifying
from verifai.engines.sumcheck.verifier.verifier_party import VerifierParty
from verifai.engines.sumcheck.verifier.verify import TrustedCircuit, trust_circuit, trust_weights, verify
from verifai.errors import EvidenceRejected


@pytest.fixture(scope="module")
def case():
    circuit, weights = examples.mlp()
    key = prepare(circuit, weights)
    proven = prove(key, run(circuit, weights, examples.random_input(circuit)))
    data = encode(circuit)
    trusted = trust_circuit(data, circuit_digest(data))
    blob = encode_weights(circuit, [cells.reshape(-1).tolist() for cells in weights])
    return trusted, trust_weights(trusted, key.identity, blob), proven


def test_a_stated_tensor_that_no_claim_touches_is_refused(case, monkeypatch):
    """Were an operation's script to forget a tensor, its stated values would be bound to nothing."""
    trusted, weights, proven = case
    honest = VerifierParty.read

    def forgetful(self, tensor, axes, label):
        value = honest(self, tensor, axes, label)
        self.claimed.discard(trusted.circuit.inputs[0].tensor)
        return value

    monkeypatch.setattr(verifying.VerifierParty, "read", forgetful)
    with pytest.raises(EvidenceRejected) as caught:
        verify(trusted, weights, proven.statement, proven.proof)
    assert caught.value.where == trusted.circuit.tensors[trusted.circuit.inputs[0].tensor].name


def test_more_claims_than_the_error_bound_counts_are_refused(case, monkeypatch):
    trusted, weights, proven = case
    monkeypatch.setattr(opening, "MAX_CLAIMS", 3)
    with pytest.raises(EvidenceRejected) as caught:
        verify(trusted, weights, proven.statement, proven.proof)
    assert caught.value.where == "openings"


def test_a_proof_for_one_circuit_is_none_for_another_of_equal_shape(case):
    trusted, weights, proven = case
    other = replace(trusted, digest="00" * 32)
    assert isinstance(other, TrustedCircuit)
    with pytest.raises(EvidenceRejected):
        verify(other, weights, proven.statement, proven.proof)


@pytest.mark.parametrize("cells", [(), (0,) * 12, (0,) * 14, (128, *(0,) * 12), (*(0,) * 12, -129)])
def test_public_cells_must_have_the_tensors_count_and_range(case, cells):
    trusted, _, proven = case
    with pytest.raises(EvidenceRejected) as caught:
        check_statement(trusted.circuit, Statement((PublicTensor(cells), proven.statement.tensors[1])))
    assert caught.value.code == "statement-invalid"
