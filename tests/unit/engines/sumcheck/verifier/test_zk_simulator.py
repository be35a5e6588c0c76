"""The simulator's proofs convince the verifier where challenges are scripted, and nowhere else.

So the text's list of what a proof shows, and of the equations between these values, is complete: were there one equation more,
views drawn uniformly under the listed ones would be refused.
"""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from tests.support import sumcheck_examples as examples
from tests.support.sumcheck_examples import Sketch
from tests.support.sumcheck_levels import SHORT, force_levels
from tests.support.sumcheck_scripted import verify_scripted
from tests.support.zk_simulator import Root, ScriptedCoins, simulate
from verifai.engines.sumcheck.circuit.codec import encode
from verifai.engines.sumcheck.circuit.weights import encode_weights, weights_digest
from verifai.engines.sumcheck.protocol.statement import HashedTensor, PrivateTensor, PublicTensor, Statement
from verifai.engines.sumcheck.protocol.suite import ZERO_KNOWLEDGE
from verifai.engines.sumcheck.verifier.verify import circuit_digest, trust_circuit, trust_weights, verify
from verifai.errors import EvidenceRejected


@pytest.fixture(autouse=True, params=[(), SHORT], ids=["no levels", "two levels"])
def suite(monkeypatch, request):
    monkeypatch.setattr(Sketch, "suite", ZERO_KNOWLEDGE)
    force_levels(monkeypatch, *request.param)


def _trusted(circuit):
    data = encode(circuit)
    return trust_circuit(data, circuit_digest(data))


def _public(circuit, ports, seed):
    cells = np.random.default_rng(seed)
    described = [circuit.tensors[port.tensor] for port in ports]
    return {
        port.tensor: tuple(cells.integers(t.low, t.high + 1, t.size).tolist()) for port, t in zip(ports, described, strict=True)
    }


def test_a_private_input_needs_no_witness_when_challenges_are_known():
    circuit, weights = examples.mlp(private_input=True)
    trusted = _trusted(circuit)
    flat = tuple(tuple(np.asarray(w).reshape(-1).tolist()) for w in weights)
    shown = _public(circuit, circuit.outputs, 3)  # any output at all
    view = simulate(trusted, shown, {}, flat, b"one", random.Random(1))
    proof = view.proof({id(root): root.tree() for root in view.roots})
    statement = Statement((PrivateTensor(), PublicTensor(shown[circuit.outputs[0].tensor])))
    blob = encode_weights(circuit, flat)
    pinned = trust_weights(trusted, weights_digest(blob), blob)
    verify_scripted(trusted, pinned, statement, proof, ScriptedCoins(b"one"))
    with pytest.raises(EvidenceRejected):
        verify_scripted(trusted, pinned, statement, proof, ScriptedCoins(b"two"))
    with pytest.raises(EvidenceRejected):
        verify(trusted, pinned, statement, proof)


def _messages_start(trusted):
    from verifai.engines.sumcheck.protocol.proof import HIDING_MAGIC, opening_bytes

    return len(HIDING_MAGIC) + 32 + sum(opening_bytes(shape) for shape in trusted.layout.commitments())


def test_every_shown_value_is_held_by_an_equation_or_free():
    """A changed message that the simulator did not account for is refused: the equations are really checked."""
    circuit, weights = examples.mlp(private_input=True)
    trusted = _trusted(circuit)
    flat = tuple(tuple(np.asarray(w).reshape(-1).tolist()) for w in weights)
    shown = _public(circuit, circuit.outputs, 3)
    view = simulate(trusted, shown, {}, flat, b"one", random.Random(1))
    proof = bytearray(view.proof({id(root): root.tree() for root in view.roots}))
    statement = Statement((PrivateTensor(), PublicTensor(shown[circuit.outputs[0].tensor])))
    blob = encode_weights(circuit, flat)
    pinned = trust_weights(trusted, weights_digest(blob), blob)
    start = _messages_start(trusted)
    for message in range(0, (len(proof) - start) // 16, 97):
        changed = proof.copy()
        changed[start + 16 * message] ^= 1
        with pytest.raises(EvidenceRejected):
            verify_scripted(trusted, pinned, statement, bytes(changed), ScriptedCoins(b"one"))


def test_committed_weights_and_hashed_tensors_over_several_openings():
    """One root of weights and one hashed input serve three proofs; what they show agrees, and every proof is accepted."""
    circuit, _ = examples.mlp(hashed_input=True, committed=True)
    trusted = _trusted(circuit)
    rng = random.Random(2)
    held, tensor = Root(trusted.layout.weights, rng), circuit.inputs[0].tensor
    secret = Root(trusted.layout.hashed[tensor], rng)
    made = []
    for number, name in ((0, b"a"), (2, b"b"), (1, b"c")):
        shown = _public(circuit, circuit.outputs, number)
        made.append((number, name, shown, simulate(trusted, shown, {tensor: (secret, number)}, (held, number), name, rng)))
    trees = {id(root): root.tree() for *_, view in made for root in view.roots}
    root, weights_root = secret.digest(trees[id(secret)]), held.digest(trees[id(held)]).hex()
    pinned = trust_weights(trusted, weights_root, None)
    for number, name, shown, view in made:
        stated = (HashedTensor(root, number), PublicTensor(shown[circuit.outputs[0].tensor]))
        statement = Statement(stated, opening_number=number)
        proof = view.proof(trees)
        verify_scripted(trusted, pinned, statement, proof, ScriptedCoins(name))
        for wrong in (replace(statement, opening_number=3), replace(statement, tensors=(HashedTensor(root, 3), stated[1]))):
            with pytest.raises(EvidenceRejected):
                verify_scripted(trusted, pinned, wrong, proof, ScriptedCoins(name))
