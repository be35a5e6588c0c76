"""How much memory a proof takes, from its layout alone; and what the prover keeps rather than makes again."""

from __future__ import annotations

from collections.abc import Sequence

from verifai.engines.sumcheck.circuit.program import Circuit, CommitmentShape, Weight
from verifai.engines.sumcheck.circuit.weights import weight_width
from verifai.engines.sumcheck.planning.plan import plan
from verifai.engines.sumcheck.planning.plan_relation import plan_relation
from verifai.engines.sumcheck.protocol.buses import Bus
from verifai.engines.sumcheck.protocol.layout import Commitment, Layout
from verifai.engines.sumcheck.protocol.proof import salt_bytes
from verifai.engines.sumcheck.protocol.relations import Kind
from verifai.engines.sumcheck.protocol.suite import RESERVED_ROWS

PROCESS_BYTES = 170 << 20
"""Python, NumPy, Numba and the loaded kernels."""
CODEWORD_BYTES = 1 << 30
"""The longest code word that is kept for its openings. To make one again takes a tenth of a proof."""
LEAF_BYTES = 64 + 16 + 24
"""Leaves and layers of fractions hold 64 bytes a leaf, their columns 16, the first sumcheck's folds 24."""
RANGED_LEAF_BYTES = 56 + 8 + 12
"""The same of hidden weights' own cells: one column, all numerators 1."""
PART_BYTES = 1 << 28
"""Of a code word that is not kept, what is there at a time."""
LONG_CELLS = 1 << 22
"""From here on, kept cells of a commitment are opened in parts until two variables are bound: their weights are never whole."""
PADDED_BYTES = 1 << 28
"""Padded weights that take no more are kept; of more, the true cells are, in as few bytes as the weight file has for them."""


def codeword_bytes(shape: CommitmentShape) -> int:
    """Of a code word with tags and salts."""
    return shape.length * (8 * (shape.rows + 1) + salt_bytes(shape))


def first_kept(commitment: Commitment) -> int:
    """The address from which on cells are kept: that of the first stored row, and never beyond the middle; all where no row is
    stored, and where the blind rows that one opening has at the beginning reach beyond it."""
    if not commitment.shape.rows:
        return 0
    first = min(commitment.first_row << commitment.log_message, 1 << commitment.log_cells >> 1)
    return 0 if commitment.shape.hiding and first < blind_cells(commitment) else first


def is_long(commitment: Commitment) -> bool:
    """Whether it is opened in parts."""
    return _kept_cells(commitment) >= LONG_CELLS


def blind_cells(commitment: Commitment) -> int:
    """Of the blind pair of one opening; 0 where nothing hides."""
    return RESERVED_ROWS * commitment.shape.message if commitment.shape.hiding else 0


def weights_bytes(weights: Sequence[Weight]) -> int:
    """Of a proving key's weights, and of the integers that it is made from."""
    padded = sum(8 << weight.log_cells for weight in weights)
    if padded <= PADDED_BYTES:
        return 2 * padded
    largest = max(8 << weight.log_cells for weight in weights)  # in its padded form, as integers and over the field
    return sum((8 + weight_width(weight)) * weight.size for weight in weights) + 3 * largest


def kept_weights_bytes(weights: Sequence[Weight]) -> int:
    """Of a proving key's weights, and of the file that they were read from."""
    if sum(8 << weight.log_cells for weight in weights) <= PADDED_BYTES:
        return weights_bytes(weights)
    return 2 * sum(weight_width(weight) * weight.size for weight in weights)


def peak_memory_bytes(circuit: Circuit, layout: Layout | None = None) -> int:
    """Peak resident memory of one proof, the process included; an estimate from array sizes, meant to be met within a fifth.

    Raises:
        UnsupportedModel: as the planner.
    """
    layout = layout or plan(circuit)
    cells = sum(1 << tensor.log_cells for tensor in circuit.tensors)
    kept = 3 * 8 * cells  # the trace, over the integers and over the field
    made = weights_bytes(circuit.weights)
    if layout.weights is not None:
        made += _committed_bytes(layout.weights) + _hashing_bytes(layout.weights)
    proof = kept_weights_bytes(circuit.weights) + _proof_bytes(layout, LEAF_BYTES * _places(layout.bus))
    return PROCESS_BYTES + kept + max(made, proof)


def registration_memory_bytes(circuit: Circuit) -> int:
    """Peak resident memory of a registration of hidden weights, as :func:`peak_memory_bytes`.

    Raises:
        EvidenceRejected, UnsupportedModel: as :func:`.plan_relation.plan_relation`.
    """
    found = plan_relation(Kind.REGISTRATION, circuit)
    parts = sum(1 << tensor.log_cells for tensor in found.circuit.tensors)
    kept = 3 * 8 * parts + weights_bytes(circuit.weights)
    lookups = max([LEAF_BYTES * _places(found.layout.bus), *(RANGED_LEAF_BYTES * one.leaves for one in found.sums)])
    return PROCESS_BYTES + kept + _proof_bytes(found.layout, lookups)


def _places(bus: Bus) -> int:
    """Leaves with the filler between those of several sums."""
    return bus.largest << bus.log_sums


def _proof_bytes(layout: Layout, lookups: int) -> int:
    """Of commitments, and of the greatest of ``lookups``, openings and hashing."""
    commitments = layout.rooted()
    kept = sum(_committed_bytes(commitment) for commitment in commitments)
    openings = sum(_opening_bytes(commitment) for commitment in commitments)
    hashing = max(_hashing_bytes(commitment) for commitment in commitments)
    # A level holds its vector, the weights, half of both folded beside them, rows, code word and tree.
    levels = sum((48 << level.log_cells) + 8 * level.shape.length * (level.shape.rows + 9) for level in layout.levels)
    return kept + levels + max(lookups, openings, hashing)


def _kept_cells(commitment: Commitment) -> int:
    return (1 << commitment.log_cells) - first_kept(commitment)


def _committed_bytes(commitment: Commitment) -> int:
    """What a commitment keeps: cells by address, the tree, and a code word that is not too long for it."""
    shape = commitment.shape
    kept, codeword = 64 * shape.length, codeword_bytes(shape)
    if shape.hiding:
        kept += 8 * shape.rows * shape.degree + salt_bytes(shape) * shape.length  # rows with masks and tails
    if codeword <= CODEWORD_BYTES:
        kept += codeword
    # Rows with masks hold the cells too; where these are not kept, they are there while the first variable is bound.
    return kept + (8 * _kept_cells(commitment) if codeword <= CODEWORD_BYTES or not shape.hiding else 0)


def _opening_bytes(commitment: Commitment) -> int:
    """Cells and weights with two variables bound, and one of them folded into half beside it. Of fewer cells, weights over F of
    what is kept, and both folded into half of the address space."""
    if is_long(commitment):
        return 10 << commitment.log_cells
    return 16 * _kept_cells(commitment) + (16 << commitment.log_cells)


def _hashing_bytes(commitment: Commitment) -> int:
    """While it is made: its rows transposed beside the code word, or beside a part of it; a hash's state for every leaf."""
    codeword = codeword_bytes(commitment.shape)
    part = 2 * codeword if codeword <= CODEWORD_BYTES else 3 * PART_BYTES
    return part + 100 * commitment.shape.length
