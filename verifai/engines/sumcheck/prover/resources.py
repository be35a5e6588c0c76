"""Ahead of proving: compile the kernels, and say how much memory a proof will take."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from verifai.domain.progress import SILENT, Progress
from verifai.engines.sumcheck.circuit.program import Circuit, Weight
from verifai.engines.sumcheck.circuit.weights import weight_width
from verifai.engines.sumcheck.planning.plan import plan, planned
from verifai.engines.sumcheck.protocol.layout import Commitment, Layout
from verifai.engines.sumcheck.protocol.suite import ZERO_KNOWLEDGE
from verifai.engines.sumcheck.prover.commitment import KEPT_BYTES, PART_BYTES, codeword_bytes, kept_cells
from verifai.engines.sumcheck.prover.jit import cache_notes
from verifai.engines.sumcheck.prover.padded_weights import KEPT_BYTES as PADDED_BYTES

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
    """What a commitment keeps: cells by address, the tree, and a code word that is not too long for it."""
    shape = commitment.shape
    kept = 8 * kept_cells(commitment) + 64 * shape.length
    if shape.hiding:
        kept += 8 * shape.rows * shape.degree + 32 * shape.length  # rows with masks and tails; salts
    codeword = codeword_bytes(shape)
    return kept + (codeword if codeword <= KEPT_BYTES else 0)


def _opening_bytes(commitment: Commitment) -> int:
    """Weights over F of what is kept, and both folded into half of the address space beside it."""
    return 16 * kept_cells(commitment) + (16 << commitment.log_cells)


def _hashing_bytes(commitment: Commitment) -> int:
    """While it is made: its rows transposed beside the code word, or beside a part of it; a hash's state for every leaf."""
    codeword = codeword_bytes(commitment.shape)
    part = codeword if codeword <= KEPT_BYTES else 3 * PART_BYTES
    return part + 100 * commitment.shape.length


def weights_bytes(weights: Sequence[Weight]) -> int:
    """Of a proving key's weights, and of the integers that it is made from."""
    padded = sum(8 << weight.log_cells for weight in weights)
    if padded <= PADDED_BYTES:
        return 2 * padded
    largest = max(8 << weight.log_cells for weight in weights)  # in its padded form, as integers and over the field
    return sum((8 + weight_width(weight)) * weight.size for weight in weights) + 3 * largest


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
    kept += weights_bytes(circuit.weights)
    # Leaves and layers of fractions hold 64 bytes a leaf, their columns 16, the first sumcheck's folds 24.
    lookups = (64 + 16 + 24) * layout.bus.leaves
    openings = sum(_opening_bytes(commitment) for commitment in commitments)
    hashing = max(_hashing_bytes(commitment) for commitment in commitments)
    # A level holds its vector, the weights, half of both folded beside them, rows, code word and tree.
    levels = sum((48 << level.log_cells) + 8 * level.shape.length * (level.shape.rows + 9) for level in layout.levels)
    return PROCESS_BYTES + kept + levels + max(lookups, openings, hashing)
