"""All lookups of a proof, as one sum of fractions: which blocks of leaves belong to which operation and table.

A leaf is numerator / denominator. A lookup's leaves are 1 / d(row), a table's −count / d(row), everything else 0 / 1, where
d(c_0 … c_{W−1}) = α + (id + 1)·β^W − Σ β^k·c_k. Blocks are packed, largest first, upwards from leaf 0, so each is aligned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from verifai.engines.sumcheck import circuit_ops as ops
from verifai.engines.sumcheck.circuit import Circuit, Tensor, Visibility, log2_ceil
from verifai.engines.sumcheck.circuit_bounds import requant_t
from verifai.errors import UnsupportedModel

FUNCTION, RANGE, SELECT, CLAMP = "function", "range", "select", "clamp"

TableName: TypeAlias = tuple[str, int]
"""(FUNCTION, table index): argument and value. (RANGE, bits): i in [0, 2^bits). (SELECT, operation) and (CLAMP, operation): of
a saturating Requant, the upper half h of t with σ and with κ."""

WIDTH = 2
"""W: columns of every row on the bus; ranges leave the second at 0."""

MAX_RANGE_BITS = 16


@dataclass(frozen=True, slots=True)
class TableBlock:
    """One table, named by (kind, index) as :data:`TableName`."""

    kind: str
    index: int
    log_size: int
    offset: int


@dataclass(frozen=True, slots=True)
class LookupBlock:
    """One column of rows that must lie in a table: lookup ``slot`` of operation, or hashed tensor, ``owner``."""

    owner: int
    slot: int
    table: int
    log_size: int
    offset: int


@dataclass(frozen=True, slots=True)
class Bus:
    """Every block. ``by_operation`` and ``by_tensor`` list lookups in slot order."""

    tables: tuple[TableBlock, ...]
    by_operation: tuple[tuple[LookupBlock, ...], ...]
    by_tensor: dict[int, tuple[LookupBlock, ...]]
    log_leaves: int
    width: int


def span_bits(tensor: Tensor) -> int:
    """Bits of high − low; at least 1."""
    return max(1, (tensor.high - tensor.low).bit_length())


def taps(op: ops.WindowMax) -> list[tuple[int, int]]:
    """The window's positions (u, v), row-major."""
    return [(u, v) for u in range(op.kernel[0]) for v in range(op.kernel[1])]


def split_range(circuit: Circuit, op: ops.Requant) -> tuple[int, int]:
    """(least h, log2 of how many) for t = 2^(w−1)·h + l."""
    z, half = circuit.tensors[op.z], circuit.tables[op.table].width - 1
    low, high = requant_t(z.low, op.shift) >> half, requant_t(z.high, op.shift) >> half
    return low, max(1, log2_ceil(high - low + 1))


def table_values(circuit: Circuit, block: TableBlock) -> tuple[int, Sequence[int]]:
    """(least argument, values) of a table that is not a range."""
    if block.kind == FUNCTION:
        return circuit.tables[block.index].low, circuit.tables[block.index].values
    op = circuit.ops[block.index]
    assert isinstance(op, ops.Requant)
    low, bits = split_range(circuit, op)
    half = 1 << (circuit.tables[op.table].width - 1)
    arguments = range(low, low + (1 << bits))
    if block.kind == SELECT:
        return low, [int(h in (-1, 0)) for h in arguments]
    return low, [-half if h < -1 else half - 1 if h > 0 else 0 for h in arguments]


def _log_size(circuit: Circuit, name: TableName) -> int:
    kind, index = name
    if kind == RANGE:
        return index
    if kind == FUNCTION:
        return circuit.tables[index].width
    op = circuit.ops[index]
    assert isinstance(op, ops.Requant)
    return split_range(circuit, op)[1]


def tables_of(circuit: Circuit, op: ops.Op) -> list[TableName]:
    """The table of each lookup of ``op``, in slot order. Raises UnsupportedModel beyond this suite."""
    if isinstance(op, ops.Requant):
        limbs = [(RANGE, bits) for bits in op.limbs]
        if not op.saturate:
            return [(FUNCTION, op.table), *limbs]
        half = circuit.tables[op.table].width - 1
        if half == 0 or split_range(circuit, op)[1] > MAX_RANGE_BITS:
            raise _unsupported(circuit, op, "its table is too narrow for its range")
        number = circuit.ops.index(op)
        return [(FUNCTION, op.table), *limbs, (RANGE, half), (SELECT, number), (CLAMP, number)]
    if isinstance(op, ops.Lookup):
        return [(FUNCTION, op.table)]
    if isinstance(op, ops.WindowMax):
        bits = span_bits(circuit.tensors[op.x])
        if bits > MAX_RANGE_BITS:
            raise _unsupported(circuit, op, f"its values span {bits} bits")
        return [(RANGE, bits)] * len(taps(op))
    if isinstance(op, _VIRTUAL):
        return []
    raise _unsupported(circuit, op, "it is not part of this suite")


_VIRTUAL = (
    ops.MatMul,
    ops.Conv,
    ops.BatchedMatMul,
    ops.Mul,
    ops.LinearCombination,
    ops.WindowSum,
    ops.RowSum,
    ops.Relabel,
    ops.View,
)


def column_names(op: ops.Op) -> list[str]:
    """The trace columns that ``op`` commits beside its results, each of its result's size."""
    if not isinstance(op, ops.Requant):
        return []
    return [*(f"rem{i}" for i in range(len(op.limbs))), *(("h", "sigma", "kappa") if op.saturate else ())]


def tensor_tables(tensor: Tensor) -> list[TableName]:
    """Range lookups of a hashed tensor: x − low, and high − x unless the first bound implies it."""
    bits = span_bits(tensor)
    exact = tensor.high - tensor.low + 1 == 1 << bits
    return [(RANGE, bits)] * (1 if exact else 2)


def build(circuit: Circuit) -> Bus:
    """The bus of ``circuit``. Raises UnsupportedModel (``sumcheck-unsupported``)."""
    wanted: list[tuple[bool, int, int, TableName, int]] = []
    for number, op in enumerate(circuit.ops):
        log_size = circuit.tensors[ops.results(op)[0]].log_cells
        wanted += [(False, number, slot, table, log_size) for slot, table in enumerate(tables_of(circuit, op))]
    for port in circuit.inputs + circuit.outputs:
        if port.visibility is Visibility.HASHED:
            tensor = circuit.tensors[port.tensor]
            if span_bits(tensor) > MAX_RANGE_BITS:
                raise UnsupportedModel("sumcheck-unsupported", "a hashed tensor spans more than 16 bits", where=tensor.name)
            wanted += [(True, port.tensor, slot, table, tensor.log_cells) for slot, table in enumerate(tensor_tables(tensor))]
    kinds = sorted({table for _, _, _, table, _ in wanted})
    sizes = [_log_size(circuit, name) for name in kinds]
    blocks = [(log_size, ("lookup", i)) for i, (_, _, _, _, log_size) in enumerate(wanted)]
    blocks += [(log_size, ("table", i)) for i, log_size in enumerate(sizes)]
    offsets, address = {}, 0
    for log_size, block in sorted(blocks, key=lambda block: -block[0]):
        offsets[block] = address
        address += 1 << log_size
    tables = tuple(TableBlock(kind, index, sizes[i], offsets["table", i]) for i, (kind, index) in enumerate(kinds))
    lookups = [
        (is_tensor, LookupBlock(owner, slot, kinds.index(table), log_size, offsets["lookup", i]))
        for i, (is_tensor, owner, slot, table, log_size) in enumerate(wanted)
    ]
    by_operation = tuple(
        tuple(block for is_tensor, block in lookups if not is_tensor and block.owner == number)
        for number in range(len(circuit.ops))
    )
    owners = {block.owner for is_tensor, block in lookups if is_tensor}
    by_tensor = {owner: tuple(block for is_tensor, block in lookups if is_tensor and block.owner == owner) for owner in owners}
    return Bus(tables, by_operation, by_tensor, max(1, log2_ceil(address)), WIDTH)


def _unsupported(circuit: Circuit, op: ops.Op, reason: str) -> UnsupportedModel:
    where = circuit.tensors[ops.results(op)[0]].name
    return UnsupportedModel("sumcheck-unsupported", f"{type(op).__name__} cannot be proven: {reason}", where=where)
