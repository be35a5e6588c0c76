"""Freeze proofs of suite ``sumcheck/1``: run once per suite; the files are then verified for ever by every later release.

python tests/golden/make_sumcheck_proofs.py
"""

from __future__ import annotations

import json
from pathlib import Path

from verifai.engines.sumcheck.circuit_codec import circuit_digest, encode
from verifai.engines.sumcheck.circuit_weights import encode_weights
from verifai.engines.sumcheck.interpreter import run
from verifai.engines.sumcheck.prover import examples
from verifai.engines.sumcheck.prover.prove import prepare, prove
from verifai.engines.sumcheck.verifier.statement import HashedTensor

CASES = {
    "mlp-hashed-committed": lambda: examples.mlp(hashed_input=True, hashed_output=True, committed=True),
    "cnn-public": examples.cnn,
    "products-public": examples.products,
}


def main() -> None:
    """Write ``tests/golden/sumcheck-1/<case>.{circuit,weights,proof,json}``."""
    folder = Path(__file__).parent / "sumcheck-1"
    for name, make in CASES.items():
        circuit, weights = make()
        key = prepare(circuit, weights)
        proven = prove(key, run(circuit, weights, examples.random_input(circuit)), b"frozen")
        data = encode(circuit)
        (folder / f"{name}.circuit").write_bytes(data)
        (folder / f"{name}.weights").write_bytes(encode_weights(circuit, [cells.reshape(-1).tolist() for cells in weights]))
        (folder / f"{name}.proof").write_bytes(proven.proof)
        tensors = [
            {"root": one.root.hex()} if isinstance(one, HashedTensor) else {"cells": list(one.cells)}
            for one in proven.statement.tensors
        ]
        document = {"circuit": circuit_digest(data), "weights": key.identity, "context": "frozen", "tensors": tensors}
        (folder / f"{name}.json").write_text(json.dumps(document) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
