"""Proofs frozen under a suite keep their verdict in every later release, and the same prover still makes the same bytes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from verifai.engines.sumcheck.circuit_codec import decode
from verifai.engines.sumcheck.circuit_weights import decode_weights
from verifai.engines.sumcheck.interpreter import run
from verifai.engines.sumcheck.prover import examples
from verifai.engines.sumcheck.prover.prove import prepare, prove
from verifai.engines.sumcheck.verifier.statement import HashedTensor, PublicTensor, Statement
from verifai.engines.sumcheck.verifier.verify import trust_circuit, trust_weights, verify
from verifai.engines.sumcheck.weights_arrays import decode_arrays
from verifai.errors import EvidenceRejected

FOLDER = Path(__file__).parent / "sumcheck-1"
CASES = sorted(path.stem for path in FOLDER.glob("*.json"))


def _case(name):
    document = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    data, blob, proof = ((FOLDER / f"{name}.{kind}").read_bytes() for kind in ("circuit", "weights", "proof"))
    tensors = tuple(
        HashedTensor(bytes.fromhex(one["root"])) if "root" in one else PublicTensor(tuple(one["cells"]))
        for one in document["tensors"]
    )
    trusted = trust_circuit(data, document["circuit"])
    return (
        trusted,
        trust_weights(trusted, document["weights"], blob),
        Statement(tensors, document["context"].encode()),
        blob,
        proof,
    )


def test_there_are_frozen_proofs():
    assert len(CASES) == 3


@pytest.mark.parametrize("name", CASES)
def test_a_frozen_proof_holds_and_a_changed_one_does_not(name):
    trusted, weights, statement, _, proof = _case(name)
    assert verify(trusted, weights, statement, proof).statement == statement
    with pytest.raises(EvidenceRejected):
        verify(trusted, weights, replace(statement, context=b"thawed"), proof)
    with pytest.raises(EvidenceRejected):
        verify(trusted, weights, statement, proof[:-1] + bytes((proof[-1] ^ 1,)))


@pytest.mark.parametrize("name", CASES)
def test_the_prover_still_makes_the_frozen_bytes(name):
    trusted, weights, statement, blob, proof = _case(name)
    arrays = decode_arrays(decode((FOLDER / f"{name}.circuit").read_bytes()), blob)
    assert [list(cells) for cells in decode_weights(trusted.circuit, blob)] == [cells.reshape(-1).tolist() for cells in arrays]
    key = prepare(trusted.circuit, arrays)
    assert key.identity == weights.identity
    proven = prove(key, run(trusted.circuit, arrays, examples.random_input(trusted.circuit)), statement.context)
    assert (proven.statement, proven.proof) == (statement, proof)
