"""The planner: from a circuit to the layout of its proof, with its table of errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from verifai.engines.sumcheck.circuit.program import Circuit, CommitmentShape, SoundnessStep, WeightVisibility
from verifai.engines.sumcheck.planning.levels import (
    cells_price,
    combination_price,
    level_steps,
    plan_levels,
    shape_price,
    strong,
)
from verifai.engines.sumcheck.planning.plan_hiding import plan_hiding
from verifai.engines.sumcheck.planning.price import DEFAULT, Price, price_of, price_with_openings
from verifai.engines.sumcheck.planning.rehearsal import rehearse
from verifai.engines.sumcheck.protocol import buses, soundness
from verifai.engines.sumcheck.protocol.layout import (
    LARGE_LOG_CELLS,
    MAX_CLAIMS,
    MIN_LOG_MESSAGE,
    Commitment,
    Key,
    Layout,
    hashed_tensors,
    place,
    reserve,
    stored_cells,
    weight_columns,
    witness_columns,
)
from verifai.engines.sumcheck.protocol.storage import Storage, whole
from verifai.engines.sumcheck.protocol.suite import HASH_BITS, INTEGRITY, SECURITY_BITS, Suite
from verifai.errors import UnsupportedModel

MAX_LOG_LEAVES = 30
"""Bounds memory. The error of one sum's lookups refuses more than 89,478,485 of them (``buses.MOST_LEAVES``)."""

DEFAULT_BUDGET = 16
"""Openings of a hiding commitment to weights."""


def plan(circuit: Circuit) -> Layout:
    """The layout of ``circuit``, whose own ``commitments`` and ``soundness`` are ignored.

    Raises:
        UnsupportedModel: code ``sumcheck-unsupported``, when an operation cannot be proven by this suite;
            ``sumcheck-too-large``, when sizes exceed the suite's.
    """
    bus = buses.build(circuit)
    if bus.log_leaves > MAX_LOG_LEAVES:
        raise UnsupportedModel("sumcheck-too-large", f"2^{bus.log_leaves} lookups exceed 2^{MAX_LOG_LEAVES}", where="lookups")
    columns = witness_columns(circuit, bus)
    weights = weight_columns(circuit)
    if circuit.zero_knowledge:
        return with_soundness(plan_hiding(circuit, bus, columns, weights))
    committed = circuit.weight_visibility is WeightVisibility.COMMITTED
    log_message, log_rate = _code([columns, weights] if committed else [columns])
    witness = _commitment("x", columns, log_message, log_rate)
    weight_commitment = _commitment("w", weights, log_message, log_rate) if committed else None
    hashed = {}
    for tensor in hashed_tensors(circuit):
        hashed[tensor] = hashed_commitment(circuit.tensors[tensor].name, tensor, circuit.tensors[tensor].log_cells)
    return with_soundness(Layout(bus, witness, weight_commitment, hashed, ()))


def with_soundness(layout: Layout) -> Layout:
    """``layout`` with its levels and its table of errors. Raises UnsupportedModel (``sumcheck-too-large``) when a step is too
    weak."""
    layout = replace(layout, levels=plan_levels([group[0].shape.degree for group in layout.groups()]))
    steps = error_steps(layout)
    weakest = min(steps, key=lambda step: step.millibits)
    if weakest.millibits < 1000 * SECURITY_BITS:
        raise UnsupportedModel(
            "sumcheck-too-large",
            f"only {weakest.millibits / 1000} bits in one step, {SECURITY_BITS} are needed",
            where=weakest.label,
        )
    return replace(layout, soundness=steps)


def planned(circuit: Circuit, suite: Suite = INTEGRITY, opening_budget: int = DEFAULT_BUDGET) -> Circuit:
    """``circuit`` with suite, commitments and soundness filled in, after a rehearsal. Raises as :func:`plan`.

    ``opening_budget`` is for hidden weights: how many proofs their commitment serves.
    """
    hidden = suite.zero_knowledge and circuit.weight_visibility is WeightVisibility.COMMITTED
    draft = replace(circuit, suite=suite.name, opening_budget=opening_budget if hidden else 0)
    require_verifiable(price_of(draft))
    layout = plan(draft)
    require_verifiable(price_with_openings(price_of(draft), layout))
    rehearse(draft, layout)
    return replace(draft, commitments=layout.commitments(), soundness=layout.soundness)


def require_verifiable(price: Price) -> None:
    """Refuse what verifiers refuse to begin. Raises UnsupportedModel (``sumcheck-too-large``)."""
    if price.memory_bytes > DEFAULT.memory_bytes or price.seconds > DEFAULT.seconds:
        needed = f"up to {price.memory_bytes / 2**20:,.0f} MiB and {price.seconds:,.0f} s"
        most = f"{DEFAULT.memory_bytes / 2**20:,.0f} MiB and {DEFAULT.seconds:,.0f} s"
        raise UnsupportedModel(
            "sumcheck-too-large",
            f"verifying a proof would take {needed}; verifiers allow {most}",
            where="circuit",
            hint="Split the model into segments, or use a smaller one.",
        )


def hashed_commitment(name: str, tensor: int, log_cells: int) -> Commitment:
    """C_io of a tensor with 2^log_cells padded cells. Its shape, and so its root, depends on ``log_cells`` alone."""
    columns: dict[Key, Storage] = {("tensor", tensor, 0): whole((log_cells,))}
    return _commitment(f"io:{name}", columns, *_code([columns]))


def _code(groups: Sequence[Mapping[Key, Storage]]) -> tuple[int, int]:
    """(log2 C, log2 1/ρ) for matrices of these columns: rows of the length that has the least price."""
    largest = max(reserve(group, 0) for group in groups)
    log_rate = 2 if max(stored_cells(group) for group in groups) >= 1 << LARGE_LOG_CELLS else 3
    prices = {}
    for log_message in range(MIN_LOG_MESSAGE, max(MIN_LOG_MESSAGE, largest) + 1):
        made = [_commitment("", group, log_message, log_rate) for group in groups]
        folds = sum(commitment.log_rows for commitment in made) + len(made) - 1
        if log_message > MIN_LOG_MESSAGE and not strong(max(1, folds) << log_message + log_rate):
            break
        price = sum(shape_price(one.shape) + cells_price(one.log_cells) for one in made)
        prices[log_message] = price + combination_price(1 << log_message)
    return min(prices, key=lambda log_message: prices[log_message]), log_rate


def _commitment(label: str, columns: Mapping[Key, Storage], log_message: int, log_rate: int) -> Commitment:
    """One commitment. Nothing is hidden, so no row is reserved, and one row may hold everything."""
    size = 1 << log_message
    log_cells = max(log_message, reserve(columns, 0))
    placed, first_row = place(columns, log_cells, log_message)
    rows = (1 << (log_cells - log_message)) - first_row
    queries = soundness.queries_needed(size, size << log_rate)
    return Commitment(CommitmentShape(label, rows, size, size, size << log_rate, queries, 0), log_cells, first_row, placed)


def error_steps(layout: Layout) -> tuple[SoundnessStep, ...]:
    """The bound of every kind of step. docs/engine/protocol.md, section "Soundness", derives each of them."""
    bus, field = layout.bus, soundness.FIELD_SIZE
    groups = layout.groups()
    bounds: list[tuple[str, int, int]] = [
        ("lookups: fractions", soundness.fractions_numerator(bus.largest, bus.log_leaves - bus.log_sums, bus.width), field),
        ("lookups: layers", soundness.LAYER_DEGREE, field),
        ("lookups: rounds", soundness.LAYER_ROUND_DEGREE, field),
        ("operations: points", soundness.POINT_VARIABLES, field),
        ("operations: rounds", soundness.ROUND_DEGREE, field),
        ("batching of claims", MAX_CLAIMS, field),
        ("final rounds", soundness.FINAL_ROUND_DEGREE, field),
    ]
    joint = groups[0]
    folds = sum(c.log_rows for c in joint) + len(joint) - 1
    asked = sum(1 + group[0].shape.queries for group in groups)
    if layout.pads is not None:
        folds += 1  # κ, which brings in the mask rows
        asked += 1  # the mask region
        bounds += [
            ("products: point", layout.pads.log_products, field),
            ("products: rounds", soundness.PRODUCTS_ROUND_DEGREE, field),
            ("masks", soundness.MASK_DEGREE, field),
        ]
    shape = layout.witness.shape
    bounds.append(("proximity", max(1, folds) * shape.length, field))
    bounds.append(("queries", *soundness.query_error(shape.degree, shape.length, shape.queries)))
    for commitment in layout.hashed.values():
        shape = commitment.shape
        bounds.append((f"proximity {shape.label}", max(1, commitment.log_rows) * shape.length, field))
        bounds.append((f"queries {shape.label}", *soundness.query_error(shape.degree, shape.length, shape.queries)))
    bounds += level_steps(layout.levels, asked)
    steps = [SoundnessStep(label, soundness.millibits(*bound)) for label, *bound in bounds]
    return (*steps, SoundnessStep("hash", 1000 * HASH_BITS))
