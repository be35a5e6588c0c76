"""The zero-knowledge suite's commitments: pads beside the witness, masks and tails in every row, blind rows for every opening.

A row is a polynomial: C coefficients of values, G for the pads of the final rounds (zero but in blind and mask rows), τ uniform
ones. t opened positions then show t uniform field elements per row, as long as one commitment is opened at most B = τ/t times.
K = C + G + τ takes the place of C in the code's rate, so t and K are found together.
"""

from __future__ import annotations

from verifai.engines.sumcheck.circuit.program import Circuit, CommitmentShape, WeightVisibility
from verifai.engines.sumcheck.planning.levels import cells_price, combination_price, shape_price, strong
from verifai.engines.sumcheck.planning.rehearsal import foretell
from verifai.engines.sumcheck.protocol import soundness
from verifai.engines.sumcheck.protocol.buses import Bus
from verifai.engines.sumcheck.protocol.hiding import LEFT, MESSAGES, PRODUCT, RIGHT, PadPlan
from verifai.engines.sumcheck.protocol.layout import (
    LARGE_LOG_CELLS,
    MIN_LOG_MESSAGE,
    Commitment,
    Key,
    Layout,
    hashed_tensors,
    place,
    reserve,
    stored_cells,
)
from verifai.engines.sumcheck.protocol.storage import Storage, whole
from verifai.engines.sumcheck.protocol.suite import RESERVED_ROWS
from verifai.errors import UnsupportedModel

TENSOR_BUDGET = 4
"""How many proofs may open a hashed tensor's commitment: the one that makes the tensor, and those that take it as an input."""
MASK_ROWS = 2
_ROOM = 512
"""Coefficients per opening that a row has room for, however few cells there are."""


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
    shape = _hiding_shape(groups, budget, least, log_message, log_rate, queries)
    joint = [_commitment("x", columns, shape, 1, MASK_ROWS)]
    joint += [_commitment("w", group, shape, budget, 0) for group in groups[1:]]
    return Layout(bus, joint[0], joint[1] if len(joint) > 1 else None, hashed, (), pads)


def plan_witness(columns: dict[Key, Storage], pads: PadPlan, least: int) -> Commitment:
    """C_x when every other commitment is opened alone. ``least``: variables of the final rounds at least."""
    columns = {**columns, **pad_columns(pads)}
    log_message, log_rate, queries = _code([columns], 1, least)
    shape = _hiding_shape([columns], 1, least, log_message, log_rate, queries)
    return _commitment("x", columns, shape, 1, MASK_ROWS)


def pad_columns(pads: PadPlan) -> dict[Key, Storage]:
    """The pads' columns and how they are stored: two cells a pad."""
    return {("pad", column, 0): whole((1 + pads.log_size(column),)) for column in (MESSAGES, LEFT, RIGHT, PRODUCT)}


def hiding_tensor(name: str, tensor: int, log_cells: int) -> Commitment:
    """C_io of a hashed tensor. Its shape, and so its root's, depends on ``log_cells`` alone."""
    columns: dict[Key, Storage] = {("tensor", tensor, 0): whole((log_cells,))}
    log_message, log_rate, queries = _code([columns], TENSOR_BUDGET, None)
    shape = _hiding_shape([columns], TENSOR_BUDGET, None, log_message, log_rate, queries)
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
    """(log2 C, log2 1/rate, t): rows of the length that has the least price. ``least``: variables of the final rounds at least;
    None when a commitment is opened alone, so that it carries no pads of these rounds."""
    cells = [stored_cells(group) for group in groups]
    log_rate = 2 if max(cells) >= 1 << LARGE_LOG_CELLS else 3
    found: dict[int, tuple[int, int]] = {}
    longest = max(max(cells), _ROOM * budget).bit_length()
    for log_message in range(MIN_LOG_MESSAGE, longest + 1):
        size = 1 << log_message
        try:
            queries = _queries(size + _mask(groups, least, size), budget, size << log_rate)
        except ValueError:
            continue
        shape = _hiding_shape(groups, budget, least, log_message, log_rate, queries)
        mine = [_commitment("", groups[0], shape, budget if least is None else 1, 0 if least is None else MASK_ROWS)]
        made = mine + [_commitment("", group, shape, budget, 0) for group in groups[1:]]
        folds = sum(commitment.log_rows for commitment in made) + len(made)
        if found and not strong(folds * shape.length):
            break
        price = sum(shape_price(one.shape) + cells_price(one.log_cells) for one in made)
        found[log_message] = price + combination_price(shape.degree), queries
    if not found:
        raise UnsupportedModel("sumcheck-too-large", f"no code leaves room for {budget} openings", where="commitments")
    log_message = min(found, key=lambda size: found[size][0])
    return log_message, log_rate, found[log_message][1]


def _mask(groups: list[dict[Key, Storage]], least: int | None, size: int) -> int:
    """G: two pads per final round."""
    return 0 if least is None else 2 * max(least, *(reserve(group, RESERVED_ROWS * size) for group in groups))


def _hiding_shape(
    groups: list[dict[Key, Storage]], budget: int, least: int | None, log_message: int, log_rate: int, queries: int
) -> CommitmentShape:
    """The code that the commitments to ``groups`` share, without rows."""
    size, tail = 1 << log_message, budget * queries
    mask = _mask(groups, least, size)
    return CommitmentShape("", 0, size, size + mask + tail, size << log_rate, queries, 0, mask, tail)


def _commitment(label: str, columns: dict[Key, Storage], shape: CommitmentShape, budget: int, mask_rows: int) -> Commitment:
    """One commitment of the given row length and code."""
    log_message = shape.message.bit_length() - 1
    log_cells = reserve(columns, RESERVED_ROWS * shape.message)
    placed, first_row = place(columns, log_cells, log_message)
    blind = RESERVED_ROWS * budget
    rows = blind + (1 << (log_cells - log_message)) - first_row + mask_rows
    numbers = (shape.message, shape.degree, shape.length, shape.queries)
    described = CommitmentShape(label, rows, *numbers, blind, shape.mask, shape.tail, budget, mask_rows)
    return Commitment(described, log_cells, first_row, placed)
