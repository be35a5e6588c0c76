"""The zero-knowledge suite's commitments: pads beside the witness, masks and tails in every row, blind rows for every opening.

A row is a polynomial: C coefficients of values, G for the pads of the final rounds (zero but in blind and mask rows), τ uniform
ones. t opened positions then show t uniform field elements per row, as long as one commitment is opened at most B = τ/t times.
K = C + G + τ takes the place of C in the code's rate, so t and K are found together.
"""

from __future__ import annotations

from verifai.engines.sumcheck.circuit.program import Circuit, CommitmentShape, WeightVisibility
from verifai.engines.sumcheck.planning.rehearsal import foretell
from verifai.engines.sumcheck.protocol import soundness
from verifai.engines.sumcheck.protocol.buses import Bus
from verifai.engines.sumcheck.protocol.hiding import LEFT, MESSAGES, PRODUCT, RIGHT, PadPlan
from verifai.engines.sumcheck.protocol.layout import (
    LARGE_LOG_CELLS,
    MAX_LOG_MESSAGE,
    MIN_LOG_MESSAGE,
    Commitment,
    Key,
    Layout,
    hashed_tensors,
    place,
    reserve,
    stored_cells,
)
from verifai.engines.sumcheck.protocol.merkle import DIGEST_BYTES, cap_size, path_length
from verifai.engines.sumcheck.protocol.storage import Storage, whole
from verifai.engines.sumcheck.protocol.suite import RESERVED_ROWS, ZERO_KNOWLEDGE
from verifai.errors import UnsupportedModel

TENSOR_BUDGET = 4
"""How many proofs may open a hashed tensor's commitment: the one that makes the tensor, and those that take it as an input."""
MASK_ROWS = 2


def plan_hiding(circuit: Circuit, bus: Bus, columns: dict[Key, Storage], weights: dict[Key, Storage]) -> Layout:
    """The layout without its table of errors. Raises UnsupportedModel (``sumcheck-too-large``)."""
    pads = foretell(circuit, bus)
    columns = {**columns, **pad_columns(pads)}
    hashed = {
        tensor: hiding_tensor(circuit.tensors[tensor].name, tensor, circuit.tensors[tensor].log_cells)
        for tensor in hashed_tensors(circuit)
    }
    least = max((commitment.log_cells for commitment in hashed.values()), default=0)
    groups = [columns]
    if circuit.weight_visibility is WeightVisibility.COMMITTED:
        groups.append(weights)
    budget = max(1, circuit.opening_budget)
    log_message, log_rate, queries = _code(groups, budget, least)
    size = 1 << log_message
    mask = 2 * max(least, *(reserve(group, size) for group in groups))
    shape = CommitmentShape("", 0, size, size + mask + budget * queries, size << log_rate, queries, 0, mask, budget * queries)
    joint = [_commitment("x", columns, shape, 1, MASK_ROWS)]
    joint += [_commitment("w", group, shape, budget, 0) for group in groups[1:]]
    return Layout(bus, joint[0], joint[1] if len(joint) > 1 else None, hashed, (), pads)


def plan_witness(columns: dict[Key, Storage], pads: PadPlan, least: int) -> Commitment:
    """C_x when every other commitment is opened alone. ``least``: variables of the final rounds at least."""
    columns = {**columns, **pad_columns(pads)}
    log_message, log_rate, queries = _code([columns], 1, least)
    size = 1 << log_message
    mask = 2 * max(least, reserve(columns, size))
    shape = CommitmentShape("", 0, size, size + mask + queries, size << log_rate, queries, 0, mask, queries)
    return _commitment("x", columns, shape, 1, MASK_ROWS)


def pad_columns(pads: PadPlan) -> dict[Key, Storage]:
    """The pads' columns and how they are stored: two cells a pad."""
    return {("pad", column, 0): whole((1 + pads.log_size(column),)) for column in (MESSAGES, LEFT, RIGHT, PRODUCT)}


def hiding_tensor(name: str, tensor: int, log_cells: int) -> Commitment:
    """C_io of a hashed tensor. Its shape, and so its root's, depends on ``log_cells`` alone."""
    columns: dict[Key, Storage] = {("tensor", tensor, 0): whole((log_cells,))}
    log_message, log_rate, queries = _code([columns], TENSOR_BUDGET, None)
    size, tail = 1 << log_message, TENSOR_BUDGET * queries
    shape = CommitmentShape("", 0, size, size + tail, size << log_rate, queries, 0, 0, tail)
    return _commitment(f"io:{name}", columns, shape, TENSOR_BUDGET, 0)


def _queries(filled: int, budget: int, length: int) -> int:
    """The least t for which t positions of a code with K = filled + B·t suffice. Raises ValueError when none does."""
    queries = 0
    while True:
        degree = filled + budget * queries
        if degree >= length:
            raise ValueError("the code is too short for its masks")
        wanted = soundness.queries_needed(degree, length)
        if wanted <= queries:
            return queries
        queries = wanted


def _code(groups: list[dict[Key, Storage]], budget: int, least: int | None) -> tuple[int, int, int]:
    """(log2 C, log2 1/rate, t): the shortest rows whose opening is at most 1/16 above the best. ``least``: variables of the
    final rounds at least; None when a commitment is opened alone, so that it carries no pads of these rounds."""
    cells = [stored_cells(group) for group in groups]
    log_rate = 2 if max(cells) >= 1 << LARGE_LOG_CELLS else 3
    found: dict[int, tuple[int, int]] = {}
    for log_message in range(MIN_LOG_MESSAGE, MAX_LOG_MESSAGE + 1):
        size = 1 << log_message
        mask = 0 if least is None else 2 * max(least, *(reserve(group, size) for group in groups))
        try:
            queries = _queries(size + mask, budget, size << log_rate)
        except ValueError:
            continue
        rows = sum(2 * budget + MASK_ROWS + -(-count // size) for count in cells)
        log_length = log_message + log_rate
        digests = len(groups) * DIGEST_BYTES * (queries * path_length(log_length) + cap_size(log_length))
        salts = len(groups) * queries * ZERO_KNOWLEDGE.salt_bytes
        found[log_message] = (16 * (size + mask + budget * queries) + 8 * queries * rows + digests + salts, queries)
    if not found:
        raise UnsupportedModel("sumcheck-too-large", f"no code leaves room for {budget} openings", where="commitments")
    limit = min(length for length, _ in found.values()) * 17 // 16
    log_message = next(size for size, (length, _) in found.items() if length <= limit)
    return log_message, log_rate, found[log_message][1]


def _commitment(label: str, columns: dict[Key, Storage], shape: CommitmentShape, budget: int, mask_rows: int) -> Commitment:
    """One commitment of the given row length and code."""
    log_message = shape.message.bit_length() - 1
    log_cells = reserve(columns, shape.message)
    placed, first_row = place(columns, log_cells, log_message)
    blind = RESERVED_ROWS * budget
    rows = blind + (1 << (log_cells - log_message)) - first_row + mask_rows
    numbers = (shape.message, shape.degree, shape.length, shape.queries)
    described = CommitmentShape(label, rows, *numbers, blind, shape.mask, shape.tail, budget, mask_rows)
    return Commitment(described, log_cells, first_row, placed)
