"""Proofs frozen under a suite keep their verdict in every later release, and the same prover still makes the same bytes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.golden.make_sumcheck_proofs import CASES, SUITES, frozen_key, frozen_proof, stated
from tests.support.sumcheck_examples import Sketch
from verifai.engines.sumcheck.circuit.codec import decode, encode
from verifai.engines.sumcheck.circuit.weights import decode_weights
from verifai.engines.sumcheck.interpreter.weights import decode_arrays
from verifai.engines.sumcheck.protocol.statement import Statement
from verifai.engines.sumcheck.verifier.verify import trust_circuit, trust_weights, verify
from verifai.errors import EvidenceRejected

FOLDER = Path(__file__).parent
FILES = sorted(f"{path.parent.name}/{path.stem}" for path in FOLDER.glob("sumcheck-*/*.json"))


def _case(name):
    document = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    data, blob, proof = ((FOLDER / f"{name}.{kind}").read_bytes() for kind in ("circuit", "weights", "proof"))
    tensors = tuple(stated(one) for one in document["tensors"])
    trusted = trust_circuit(data, document["circuit"])
    return (
        trusted,
        trust_weights(trusted, document["weights"], blob),
        Statement(tensors, document["context"].encode(), document.get("opening_number", 0)),
        blob,
        proof,
    )


def test_there_are_frozen_proofs_of_every_suite():
    assert sorted(f"{suite}/{name}" for suite, cases in CASES.items() for name in cases) == FILES
    assert [len(cases) for cases in CASES.values()] == [3, 4]
    sizes = [path.stat().st_size for path in FOLDER.glob("sumcheck-*/*")]
    assert max(sizes) < 400_000


@pytest.mark.parametrize("name", FILES)
def test_a_frozen_proof_holds_and_a_changed_one_does_not(name):
    trusted, weights, statement, _, proof = _case(name)
    assert verify(trusted, weights, statement, proof).statement == statement
    for changed in (replace(statement, context=b"thawed"), replace(statement, opening_number=statement.opening_number ^ 1)):
        with pytest.raises(EvidenceRejected):
            verify(trusted, weights, changed, proof)
    for at in (40, len(proof) // 2, len(proof) - 1):
        with pytest.raises(EvidenceRejected):
            verify(trusted, weights, statement, proof[:at] + bytes((proof[at] ^ 1,)) + proof[at + 1 :])


@pytest.mark.parametrize("name", FILES)
def test_the_prover_still_makes_the_frozen_bytes(name):
    trusted, weights, statement, blob, proof = _case(name)
    arrays = decode_arrays(decode((FOLDER / f"{name}.circuit").read_bytes()), blob)
    assert [list(cells) for cells in decode_weights(trusted.circuit, blob)] == [cells.reshape(-1).tolist() for cells in arrays]
    key = frozen_key(trusted.circuit, arrays)
    assert key.identity == weights.identity
    proven = frozen_proof(name.partition("/")[2], key, arrays)
    assert (proven.statement, proven.proof) == (statement, proof)


@pytest.mark.parametrize("name", FILES)
def test_the_planner_still_makes_the_frozen_circuit(name, monkeypatch):
    suite, _, case = name.partition("/")
    monkeypatch.setattr(Sketch, "suite", SUITES[suite])
    assert encode(CASES[suite][case]()[0]) == (FOLDER / f"{name}.circuit").read_bytes()
