"""The bus's tables as arrays: they depend on the circuit alone, so a proving key makes them once for all its proofs."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from verifai.engines.sumcheck.circuit.program import Circuit
from verifai.engines.sumcheck.protocol.buses import RANGE, Bus, TableBlock, table_values
from verifai.engines.sumcheck.prover.arrays import to_field
from verifai.engines.sumcheck.prover.kernels import U64

BusTables: TypeAlias = tuple[tuple[U64, ...], ...]
"""Per table of the bus its columns over F_p, (2^log_size,) each: arguments, and values unless it is a range."""


def bus_tables(circuit: Circuit, bus: Bus) -> BusTables:
    """The columns of every table. Equal columns are one array."""
    known: dict[bytes, U64] = {}

    def shared(column: U64) -> U64:
        return known.setdefault(column.tobytes(), column)

    return tuple(tuple(map(shared, _columns(circuit, block))) for block in bus.tables)


def _columns(circuit: Circuit, block: TableBlock) -> tuple[U64, ...]:
    arguments = np.arange(1 << block.log_size, dtype=np.int64)
    if block.kind == RANGE:
        return (to_field(arguments),)
    low, values = table_values(circuit, block)
    return (to_field(arguments + low), to_field(np.array(values, dtype=np.int64)))
