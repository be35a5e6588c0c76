"""Ahead of proving: compile the kernels, and say how much memory a proof will take."""

from __future__ import annotations

import numpy as np

from verifai.domain.progress import SILENT, Progress
from verifai.engines.sumcheck.circuit.program import Circuit
from verifai.engines.sumcheck.planning.plan import plan, planned
from verifai.engines.sumcheck.protocol.layout import Commitment, Layout
from verifai.engines.sumcheck.protocol.suite import ZERO_KNOWLEDGE
from verifai.engines.sumcheck.prover.jit import cache_notes

PROCESS_BYTES = 170 << 20
"""Python, NumPy, Numba and the loaded kernels."""


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
    from verifai.engines.sumcheck.prover.kernels import U64, add_powers, scale_base
    from verifai.engines.sumcheck.prover.prove import prepare, prove
    from verifai.engines.sumcheck.prover.warm_up_circuits import random_input, warm_up_circuits
    from verifai.engines.sumcheck.verifier.verify import trust_circuit, trust_weights, verify
    from verifai.errors import EvidenceRejected, InternalError

    circuits = warm_up_circuits()
    circuits += [(planned(circuit, ZERO_KNOWLEDGE), weights) for circuit, weights in circuits]
    progress.phase(phase, len(circuits))
    scale_base(np.zeros(1, np.uint64), np.uint64(1))  # which no honest proof calls, and a bug would
    RowHashes(1).finish(np.zeros((1, 1), np.uint64))  # small code words are kept
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


def _committed_bytes(commitment: Commitment) -> int:
    """Cells by address, code word with a tag per position, and the tree."""
    shape = commitment.shape
    hiding = 8 * shape.rows * shape.degree + 32 * shape.length if shape.hiding else 0  # rows with masks and tails; salts
    return 8 * commitment.stored_cells + 8 * shape.length * (shape.rows + 1) + 64 * shape.length + hiding


def peak_memory_bytes(circuit: Circuit, layout: Layout | None = None) -> int:
    """Peak resident memory of one proof, the process included; an estimate from array sizes, meant to be met within a fifth.

    Raises:
        UnsupportedModel: as the planner.
    """
    layout = layout or plan(circuit)
    commitments = layout.rooted()
    kept = sum(_committed_bytes(commitment) for commitment in commitments)
    cells = sum(1 << tensor.log_cells for tensor in circuit.tensors)
    kept += 3 * 8 * cells  # the trace, over the integers and over the field
    kept += 2 * 8 * sum(1 << weight.log_cells for weight in circuit.weights)
    # Leaves and layers of fractions hold 64 bytes a leaf, their columns 16, the first sumcheck's folds 24.
    lookups = (64 + 16 + 24) << layout.bus.log_leaves
    # An opening holds weights over F, and folds them and the cells into half their length beside it.
    openings = sum(16 * commitment.stored_cells + (16 << commitment.log_cells) for commitment in commitments)
    hashing = max(
        100 * commitment.shape.length + 16 * commitment.shape.length * commitment.shape.rows for commitment in commitments
    )
    # A level holds its vector, the weights, half of both folded beside them, rows, code word and tree.
    levels = sum((48 << level.log_cells) + 8 * level.shape.length * (level.shape.rows + 9) for level in layout.levels)
    return PROCESS_BYTES + kept + levels + max(lookups, openings, hashing)
