"""Ahead of proving: compile the kernels."""

from __future__ import annotations

import numpy as np

from verifai.domain.progress import SILENT, Progress
from verifai.engines.sumcheck.planning.plan import planned
from verifai.engines.sumcheck.protocol.suite import ZERO_KNOWLEDGE
from verifai.engines.sumcheck.prover.jit import cache_notes


def warm_up(progress: Progress = SILENT, phase: str = "warm-up") -> None:
    """Compile every kernel, or load it from the cache, by proving small circuits; they are verified too.

    Args:
        phase: its name for ``progress``.

    Raises:
        InternalError: code ``bug``, when a proof of ours does not hold.
    """
    from verifai.engines.sumcheck.circuit.codec import circuit_digest, encode
    from verifai.engines.sumcheck.circuit.weights import encode_weights
    from verifai.engines.sumcheck.interpreter.run import run
    from verifai.engines.sumcheck.prover.hash_kernels import RowHashes
    from verifai.engines.sumcheck.prover.kernels import U64, add_powers
    from verifai.engines.sumcheck.prover.opened_columns import columns_at
    from verifai.engines.sumcheck.prover.paired_rounds import PartedWeights, Quarters
    from verifai.engines.sumcheck.prover.prove import prepare, prove
    from verifai.engines.sumcheck.prover.warm_up_circuits import random_input, warm_up_circuits
    from verifai.engines.sumcheck.verifier.verify import trust_circuit, trust_weights, verify
    from verifai.errors import EvidenceRejected, InternalError

    circuits = warm_up_circuits()
    circuits += [(planned(circuit, ZERO_KNOWLEDGE), weights) for circuit, weights in circuits]
    progress.phase(phase, len(circuits))
    columns_at(np.zeros((1, 1), np.uint64), 1, [0])  # small code words are kept,
    RowHashes(1).finish(np.zeros((1, 1), np.uint64))  # and hashed at once
    quarters = Quarters(2, lambda start, target: True, PartedWeights([]))  # small commitments are opened whole
    quarters.measure()
    quarters.bound((0, 1), (0, 1), (1, 0))
    nothing: U64 = np.zeros((2, 1), np.uint64)
    add_powers(nothing[0], nothing[1], nothing[0].copy(), nothing.copy())  # small proofs have no levels
    for circuit, weights in circuits:
        key = prepare(circuit, weights)
        proven = prove(key, run(circuit, weights, random_input(circuit)), opening_number=0)
        data = encode(circuit)
        trusted = trust_circuit(data, circuit_digest(data))
        blob = encode_weights(circuit, [cells.reshape(-1).tolist() for cells in weights])
        try:
            verify(trusted, trust_weights(trusted, key.identity, blob), proven.statement, proven.proof)
        except EvidenceRejected as problem:
            raise InternalError("bug", f"the kernels compute wrongly here: {problem}", where="warm-up") from problem
        progress.advance()
    for note in cache_notes():
        progress.note(note)
