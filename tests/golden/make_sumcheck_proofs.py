"""Freeze proofs of a sumcheck suite: run once per suite; the files are then verified for ever by every later release.

python -m tests.golden.make_sumcheck_proofs sumcheck-2|sumcheck-zk-2

Zero-knowledge proofs are frozen with fixed coins, so that the same prover makes the same bytes again. Nobody else may do that.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.support import sumcheck_examples as examples
from tests.support.sumcheck_examples import Sketch
from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.codec import circuit_digest, encode
from verifai.engines.sumcheck.circuit.weights import encode_weights
from verifai.engines.sumcheck.interpreter.run import run
from verifai.engines.sumcheck.protocol.statement import HashedTensor, PrivateTensor, PublicTensor, StatedTensor
from verifai.engines.sumcheck.protocol.suite import INTEGRITY, ZERO_KNOWLEDGE
from verifai.engines.sumcheck.prover.prove import ProvenStatement, ProvingKey, TensorOpening, prepare, prove

WEIGHTS_SEED = bytes(range(32))
OPENINGS = {"mlp-hashed-committed": (3, (2, 1)), "cnn-committed": (15, ())}
"""Zero-knowledge cases that open a root a later time: number of the weights' opening, and those of the hashed tensors."""


def _arg_max():
    """A private input, hidden logits, committed weights; only the index is shown."""
    sketch = Sketch(4)
    logits = sketch.requant(sketch.matmul(sketch.input((1, 9), private=True), 6), relu=False)
    return sketch.finish(sketch.add(ops.ArgMax, logits), committed=True), sketch.cells


def _hashed():
    return examples.mlp(hashed_input=True, hashed_output=True, committed=True)


CASES = {
    "sumcheck-2": {"mlp-hashed-committed": _hashed, "cnn-public": examples.cnn, "products-public": examples.products},
    "sumcheck-zk-2": {
        "mlp-private": lambda: examples.mlp(private_input=True),
        "mlp-hashed-committed": _hashed,
        "cnn-committed": lambda: examples.cnn(committed=True),
        "argmax-private-committed": _arg_max,
    },
}
SUITES = {"sumcheck-2": INTEGRITY, "sumcheck-zk-2": ZERO_KNOWLEDGE}


def frozen_key(circuit, weights) -> ProvingKey:
    """The key of a case."""
    return prepare(circuit, weights, weights_seed=WEIGHTS_SEED)


def frozen_proof(name: str, key: ProvingKey, weights) -> ProvenStatement:
    """The proof of a case, from coins that are all fixed."""
    number, numbers = OPENINGS.get(name, (0, ())) if key.circuit.zero_knowledge else (0, ())
    tensors = list(key.layout.hashed)
    secrets = {tensor: TensorOpening(bytes((i,)) * 32, n) for i, (tensor, n) in enumerate(zip(tensors, numbers, strict=False))}
    trace = run(key.circuit, weights, examples.random_input(key.circuit))
    return prove(key, trace, b"frozen", opening_number=number, secrets=secrets, rng=bytes)


def describe(stated: StatedTensor) -> dict[str, object]:
    """A stated tensor in JSON."""
    if isinstance(stated, PrivateTensor):
        return {"private": True}
    if isinstance(stated, HashedTensor):
        return {"root": stated.root.hex(), **({"number": stated.number} if stated.number else {})}
    return {"cells": list(stated.cells)}


def stated(one: dict[str, object]) -> StatedTensor:
    """The inverse of :func:`describe`."""
    if "private" in one:
        return PrivateTensor()
    if "root" in one:
        return HashedTensor(bytes.fromhex(one["root"]), one.get("number", 0))
    return PublicTensor(tuple(one["cells"]))


def main(suite: str) -> None:
    """Write ``tests/golden/<suite>/<case>.{circuit,weights,proof,json}``."""
    folder = Path(__file__).parent / suite
    folder.mkdir(exist_ok=True)
    Sketch.suite = SUITES[suite]
    for name, make in CASES[suite].items():
        circuit, weights = make()
        key = frozen_key(circuit, weights)
        proven = frozen_proof(name, key, weights)
        data = encode(circuit)
        (folder / f"{name}.circuit").write_bytes(data)
        (folder / f"{name}.weights").write_bytes(encode_weights(circuit, [cells.reshape(-1).tolist() for cells in weights]))
        (folder / f"{name}.proof").write_bytes(proven.proof)
        tensors = [describe(one) for one in proven.statement.tensors]
        document = {"circuit": circuit_digest(data), "weights": key.identity, "context": "frozen", "tensors": tensors}
        if proven.statement.opening_number:
            document["opening_number"] = proven.statement.opening_number
        (folder / f"{name}.json").write_text(json.dumps(document) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
