"""From the size of a circuit to its cost: columns, key size, memory and time.

The column counts follow ezkl 23.0.5's layout and are exact to a few per cent (``docs/tuning.md`` has the derivation and the
measured errors); times and memory are a regression over measured circuits on two cores of the reference machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

BLINDING_ROWS = 7
"""Rows of every column that halo2 keeps for blinding factors."""
_FIELD_BYTES = 32
_SELECTORS: dict[int, dict[int, float]] = {4: {1: 3, 2: 4.5, 3: 6, 4: 6}, 8: {1: 2, 2: 3, 3: 5, 4: 6}}
"""Simple selectors left per block after halo2 combined them, by extension factor and inner columns. Measured."""
_BASE_COLUMNS = 5
"""Two range tables, the constants and their permutation, the instances."""
_POSEIDON_COLUMNS = 11
_POSEIDON_ROWS_PER_CELL = 41
_SHUFFLE_COLUMNS = 8
_CHALLENGE_RESERVE = 0.9
MAX_INNER_COLUMNS = 4
SECONDS_PER_PROOF_BYTE = 0.01 / 1024

PROVE_CPU = (0.1043, 1.114e-4, 5.319e-6, 1.871e-5, 4.548e-6, 1.746e-5, 1.315e-4, 7.703e-6, 7.316e-5)
SETUP_CPU = (0.07027, 9.165e-5, 1.865e-6, 1.244e-5, 8.491e-6, 1.401e-5, 1.985e-4, 1.642e-6, 3.824e-5)
"""Processor seconds for the features of :func:`_features`, in their order. Regression over 150 measured circuits."""
MEMORY_BASE = 49 * 2**20
MEMORY_PER_KEY_BYTE = 2.26
PARALLELISM = 1.85
"""Processor seconds per elapsed second on two cores."""


@dataclass(frozen=True, slots=True)
class CircuitSize:
    """What decides a circuit's cost, as ezkl's settings state it or as :mod:`.flow` predicts it.

    Attributes:
        cells: assignments of the main columns. einsum_cells: of the columns of Freivalds' argument; 0 without it.
        einsum_longest: longest axis of any product of the circuit.
        shuffles: shuffle arguments. lookups: tables of non-linear functions.
        lookup_rows: rows of each such table. range_rows: rows of the range table: the decomposition base.
        hashed_cells: cells that are hashed inside the circuit.
        instances: public cells and digests.
    """

    cells: int
    range_rows: int
    einsum_cells: int = 0
    einsum_longest: int = 0
    shuffles: int = 0
    lookups: int = 0
    lookup_rows: int = 0
    hashed_cells: int = 0
    instances: int = 0


@dataclass(frozen=True, slots=True)
class CircuitCost:
    """Predicted cost at one logrows. Sizes in bytes, times in seconds on two cores."""

    logrows: int
    rows: int
    key_bytes: int
    memory_bytes: int
    proof_bytes: int
    setup_seconds: float
    prove_seconds: float

    @property
    def rank(self) -> float:
        """Cheapest first. A proof is made once, but kept and checked often, so its size counts too."""
        return round(self.prove_seconds + SECONDS_PER_PROOF_BYTE * self.proof_bytes, 3)


def predict(size: CircuitSize, logrows: int, inner_columns: int) -> CircuitCost | None:
    """The cost of a circuit of this size, or ``None`` when it does not fit into 2^logrows rows.

    Args:
        inner_columns: 1 to 4.
    """
    usable = 2**logrows - BLINDING_ROWS
    hash_rows = _POSEIDON_ROWS_PER_CELL * size.hashed_cells + 2
    tables = max(size.range_rows, 3)
    if tables > usable or max(hash_rows if size.hashed_cells else 0, size.instances) > usable:
        return None
    rows = ceil(size.cells / inner_columns)
    blocks = max(1, ceil(rows / usable))
    extension = 8 if size.hashed_cells or size.shuffles or inner_columns > 3 else 4
    columns = _BASE_COLUMNS + blocks * (5 * inner_columns + _SELECTORS[extension][inner_columns])
    if size.hashed_cells:
        columns += _POSEIDON_COLUMNS
    if size.shuffles:
        columns += _SHUFFLE_COLUMNS * max(1, ceil(size.shuffles * 4 / usable))
    columns += size.lookups * (blocks * inner_columns + 2 * ceil(size.lookup_rows / usable))
    einsum = _einsum_columns(size, usable, inner_columns)
    units = 3 * extension + (2 + extension) * (columns + einsum)
    key_bytes = int(units * _FIELD_BYTES * 2**logrows)
    features = _features(2**logrows, blocks, inner_columns, extension, einsum, size)
    return CircuitCost(
        logrows=logrows,
        rows=rows,
        key_bytes=key_bytes,
        memory_bytes=int(MEMORY_BASE + MEMORY_PER_KEY_BYTE * key_bytes),
        proof_bytes=int(150 * columns + 68 * einsum),
        setup_seconds=_dot(SETUP_CPU, features) / PARALLELISM,
        prove_seconds=_dot(PROVE_CPU, features) / PARALLELISM,
    )


def _einsum_columns(size: CircuitSize, usable: int, inner_columns: int) -> float:
    """Columns of Freivalds' argument. ezkl reserves cells for the powers of its challenges with the square of the longest axis;
    each further block costs more than the one before, because the selectors of all blocks are kept apart."""
    if not size.einsum_cells:
        return 0
    reserved = size.einsum_cells + _CHALLENGE_RESERVE * size.einsum_longest**2
    blocks = max(1, ceil(reserved / (usable * inner_columns)))
    first, step, growth = {1: (15, 26, 13), 2: (23, 35, 11), 3: (30, 42, 10), 4: (36, 45, 10)}[inner_columns]
    return first + step * (blocks - 1) + growth * (blocks - 1) * (blocks - 2) / 2


def _features(rows: int, blocks: int, inner: int, extension: int, einsum: float, size: CircuitSize) -> tuple[float, ...]:
    """``rows`` to the power 0.95: commitments of longer columns cost a little less per row."""
    work = float(rows) ** 0.95
    advice = blocks * inner
    return (
        1.0,
        work * advice,
        work * advice * extension,
        work * extension,
        work * einsum,
        work * extension * inner if size.einsum_cells else 0.0,
        work if size.hashed_cells else 0.0,
        work * size.lookups * advice * extension,
        work * advice if size.shuffles else 0.0,
    )


def _dot(weights: tuple[float, ...], features: tuple[float, ...]) -> float:
    return sum(weight * feature for weight, feature in zip(weights, features, strict=True))
