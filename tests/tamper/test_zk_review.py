"""What a review of the zero-knowledge suite asked of it: attacks and mistakes, each held off here.

Findings and their state: docs/engine/zero-knowledge.md, section 7.
"""

from __future__ import annotations

import pytest

from verifai.engines.sumcheck import circuit_ops as ops
from verifai.engines.sumcheck.circuit_codec import circuit_digest, encode
from verifai.engines.sumcheck.circuit_weights import encode_weights
from verifai.engines.sumcheck.interpreter import run
from verifai.engines.sumcheck.prover import examples
from verifai.engines.sumcheck.prover.examples import Sketch
from verifai.engines.sumcheck.prover.prove import prepare, prove
from verifai.engines.sumcheck.verifier.suite import ZERO_KNOWLEDGE
from verifai.engines.sumcheck.verifier.verify import trust_circuit, trust_weights, verify


@pytest.fixture
def zero_knowledge(monkeypatch):
    monkeypatch.setattr(Sketch, "suite", ZERO_KNOWLEDGE)


def _trusted(circuit, key, cells):
    data = encode(circuit)
    trusted = trust_circuit(data, circuit_digest(data))
    blob = None if key.committed else encode_weights(circuit, [w.reshape(-1).tolist() for w in cells])
    return trusted, trust_weights(trusted, key.identity, blob)


# a rehearsal that foretells less than the script sends


@pytest.mark.parametrize("private", [True, False])
def test_a_product_of_a_tensor_with_itself_is_planned_with_every_message_that_it_needs(zero_knowledge, private):
    """The script reads both operands in one message where their points are equal; in a rehearsal all points were."""
    sketch = Sketch(1)
    x = sketch.input((2, 4, 4), -8, 7, private=private)
    z = sketch.add(ops.BatchedMatMul, x, x, multiplier=3)
    circuit = sketch.finish(sketch.requant(z, relu=False))
    key = prepare(circuit, sketch.cells)
    proven = prove(key, run(circuit, sketch.cells, examples.random_input(circuit)))
    verify(*_trusted(circuit, key, sketch.cells), proven.statement, proven.proof)
