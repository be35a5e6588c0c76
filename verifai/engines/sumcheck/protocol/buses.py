"""All lookups of a proof, as sums of fractions: which blocks of leaves belong to which operation and table.

A leaf is numerator / denominator. A lookup's leaves are 1 / d(row), a table's −count / d(row), everything else 0 / 1, where
d(c_0 … c_{W−1}) = α + (id + 1)·β^W − Σ β^k·c_k. Blocks are packed, largest first, upwards from leaf 0, so each is aligned.

A lookup has one row per stored cell of its tensor (:mod:`.storage`), in the same pieces. Lookups of one owner lie side by side
in groups of a power of two: a cell's address is (piece, place of the long axis, member of the group, other axes). So the
weights of the cells at a point are the same for all members but for one factor, and a column that several read has one value.

There is one sum as long as its error allows. Beyond, there are 2^s, each with its own copies of the tables that it looks up in;
all lookups of one owner are in one of them. Leaf i of sum k is leaf i·2^s + k of the tree, whose layer s has the sums as nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby
from typing import Any, NamedTuple, TypeAlias

from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.bounds import requant_t
from verifai.engines.sumcheck.circuit.dispatch import Dispatch, dispatch, find
from verifai.engines.sumcheck.circuit.program import Circuit, Tensor, Visibility, log2_ceil
from verifai.engines.sumcheck.protocol import soundness
from verifai.engines.sumcheck.protocol.storage import NO_AXIS, Piece, Storage, pieces_of, stored, whole
from verifai.errors import UnsupportedModel

FUNCTION, RANGE, SELECT, CLAMP, FLAG, POWER = "function", "range", "select", "clamp", "flag", "power"
SIGNED = "signed"
"""(SIGNED, k): all integers of [−(2^k − 1), 2^k − 1], row i being i − 2^k, and row 0 being 0; of hidden weights alone
(:mod:`.weight_ranges`)."""

TableName: TypeAlias = tuple[str, int]
"""(FUNCTION, table index): argument and value. (RANGE, bits): i in [0, 2^bits). (SELECT, operation) and (CLAMP, operation): of
a saturating operation, the upper part h with σ and with κ. (FLAG, bits): i with [i = 0]. (POWER, 5): i with 2^i, i < 32."""

WIDTH = 2
"""W: columns of every row on the bus; ranges leave the second at 0."""

MAX_RANGE_BITS = 16

MOST_LEAVES = soundness.most_leaves(WIDTH)
"""Of one sum: 89,478,485."""
MAX_LOG_SUMS = 3


@dataclass(frozen=True, slots=True)
class TableBlock:
    """One table, named by (kind, index) as :data:`TableName`."""

    kind: str
    index: int
    log_size: int
    offset: int
    sum: int = 0


@dataclass(frozen=True, slots=True)
class Group:
    """The leaves of 2^log_members lookups of one owner. ``addresses``: of the first leaf of every piece of the storage, in
    its sum."""

    storage: Storage
    log_members: int
    addresses: tuple[int, ...]
    sum: int = 0

    def log_block(self, piece: Piece) -> int:
        """log2 of the number of leaves of one piece."""
        return piece.log + self.log_members + self.storage.log_rest


@dataclass(frozen=True, slots=True)
class LookupBlock:
    """One column of rows that must lie in a table: lookup ``slot`` of operation, or hashed tensor, ``owner``."""

    owner: int
    slot: int
    table: int
    group: Group
    member: int


@dataclass(frozen=True, slots=True)
class Bus:
    """Every block. ``by_operation`` and ``by_tensor`` (hashed tensors, private inputs) list lookups in slot order.

    ``leaves``: of all blocks together. Those of a sum lie from its leaf 0 on without a gap; the others of the 2^log_leaves are
    filler. ``sums``: leaves of each, where there are several.
    """

    tables: tuple[TableBlock, ...]
    by_operation: tuple[tuple[LookupBlock, ...], ...]
    by_tensor: dict[int, tuple[LookupBlock, ...]]
    log_leaves: int
    width: int
    leaves: int
    sums: tuple[int, ...] = ()

    @property
    def log_sums(self) -> int:
        """s: log2 of the number of sums."""
        return log2_ceil(max(1, len(self.sums)))

    @property
    def largest(self) -> int:
        """Leaves of the largest sum."""
        return max(self.sums, default=self.leaves)


def span_bits(tensor: Tensor) -> int:
    """Bits of high − low; at least 1."""
    return max(1, (tensor.high - tensor.low).bit_length())


def taps(op: ops.WindowMax) -> list[tuple[int, int]]:
    """The window's positions (u, v), row-major."""
    return [(u, v) for u in range(op.kernel[0]) for v in range(op.kernel[1])]


def split_range(circuit: Circuit, op: ops.Requant | ops.RowMax) -> tuple[int, int]:
    """(least h, log2 of how many) for t = 2^(w−1)·h + l, or d = 2^w·h + l.

    Padding has t = 0, so h = 0, whatever the bounds of z: they are about true cells. Where padding is stored, 0 is held too.
    """
    width = circuit.tables[op.table].width
    if isinstance(op, ops.RowMax):
        x = circuit.tensors[op.x]
        return 0, max(1, log2_ceil(((x.high - x.low) >> width) + 1))
    z, half = circuit.tensors[op.z], width - 1
    low, high = requant_t(z.low, op.shift) >> half, requant_t(z.high, op.shift) >> half
    if _stored(circuit, op.out).cells > z.size:
        low, high = min(low, 0), max(high, 0)
    return low, max(1, log2_ceil(high - low + 1))


def table_low(circuit: Circuit, block: TableBlock) -> int:
    """The least argument of a table; 0 of a range."""
    if block.kind == FUNCTION:
        return circuit.tables[block.index].low
    if block.kind in (RANGE, FLAG, POWER):
        return 0
    op = circuit.ops[block.index]
    assert isinstance(op, ops.Requant | ops.RowMax)
    return split_range(circuit, op)[0]


def table_values(circuit: Circuit, block: TableBlock) -> tuple[int, Sequence[int]]:
    """(least argument, values) of a table that is not a range."""
    if block.kind == FUNCTION:
        return circuit.tables[block.index].low, circuit.tables[block.index].values
    if block.kind == FLAG:
        return 0, [int(i == 0) for i in range(1 << block.log_size)]
    if block.kind == POWER:
        return 0, [1 << i for i in range(1 << block.log_size)]
    op = circuit.ops[block.index]
    assert isinstance(op, ops.Requant | ops.RowMax)
    low, bits = split_range(circuit, op)
    arguments = range(low, low + (1 << bits))
    inside = (-1, 0) if isinstance(op, ops.Requant) else (0,)
    if block.kind == SELECT:
        return low, [int(h in inside) for h in arguments]
    table = circuit.tables[op.table]
    least, most = table.low, table.high
    return low, [0 if h in inside else least if h < 0 else most for h in arguments]


def _log_size(circuit: Circuit, name: TableName) -> int:
    kind, index = name
    if kind in (RANGE, FLAG, POWER):
        return index
    if kind == FUNCTION:
        return circuit.tables[index].width
    op = circuit.ops[index]
    assert isinstance(op, ops.Requant | ops.RowMax)
    return split_range(circuit, op)[1]


def tables_of(circuit: Circuit, number: int) -> list[TableName]:
    """The table of each lookup of operation ``number``, in slot order. Raises UnsupportedModel beyond this suite."""
    return [name for name, _ in lookups_of(circuit, number)]


Lookups: TypeAlias = list[tuple[TableName, Storage]]
Columns: TypeAlias = list[tuple[str, Storage]]


def _stored(circuit: Circuit, tensor: int) -> Storage:
    return stored(circuit.tensors[tensor].shape)


def _requant_lookups(circuit: Circuit, number: int, op: ops.Requant) -> Lookups:
    names = [(FUNCTION, op.table), *((RANGE, bits) for bits in op.limbs)]
    if op.saturate:
        names += _split(circuit, number, op, circuit.tables[op.table].width - 1)
    return [(name, _stored(circuit, op.out)) for name in names]


def _lookup_lookups(circuit: Circuit, number: int, op: ops.Lookup) -> Lookups:
    return [((FUNCTION, op.table), _stored(circuit, op.out))]


def _window_max_lookups(circuit: Circuit, number: int, op: ops.WindowMax) -> Lookups:
    return [((RANGE, _span(circuit, op, op.x)), _stored(circuit, op.out))] * len(taps(op))


def _row_max_lookups(circuit: Circuit, number: int, op: ops.RowMax) -> Lookups:
    source, width = circuit.tensors[op.x], circuit.tables[op.table].width
    names = [(RANGE, width) if op.exp == ops.NONE else (FUNCTION, op.table), (FLAG, width)]
    names += _split(circuit, number, op, width) if op.saturate else []
    flags = (RANGE, max(1, log2_ceil(source.shape[-1])))
    return [*((name, _stored(circuit, op.x)) for name in names), (flags, _stored(circuit, op.out))]


def _recip_lookups(circuit: Circuit, number: int, op: ops.Recip) -> Lookups:
    out = _stored(circuit, op.out)
    return [((POWER, 5), out), *(((RANGE, bits), out) for bits in (9, 9, 15, 15, 15, 14, 15, 15))]


def _isqrt_lookups(circuit: Circuit, number: int, op: ops.Isqrt) -> Lookups:
    return [((RANGE, bits), _stored(circuit, op.out)) for bits in (15, 15, 16, 15, 16, 15)]


def _argmax_lookups(circuit: Circuit, number: int, op: ops.ArgMax) -> Lookups:
    cells = _stored(circuit, op.x)
    return [((RANGE, 1), cells), ((RANGE, _span(circuit, op, op.x)), cells)]


def _rescale_lookups(circuit: Circuit, number: int, op: ops.Rescale) -> Lookups:
    return [((RANGE, bits), _stored(circuit, op.out)) for bits in (*op.limbs, *op.digits)]


def _top_index_lookups(circuit: Circuit, number: int, op: ops.TopIndex) -> Lookups:
    return [((RANGE, bits), _stored(circuit, op.x)) for bits in op.digits]


def _beyond_this_suite(circuit: Circuit, number: int, op: ops.Gather) -> Lookups:
    raise _unsupported(circuit, op, "it is not part of this suite")


LINEAR_OR_VIEW = (
    ops.MatMul,
    ops.Conv,
    ops.BatchedMatMul,
    ops.Mul,
    ops.LinearCombination,
    ops.WindowSum,
    ops.RowSum,
    ops.GatedMatMul,
    ops.RowScale,
    ops.WeightRows,
    ops.Relabel,
    ops.View,
)
"""Operations with virtual results that this suite proves."""

_LOOKUPS: Dispatch[Callable[[Circuit, int, Any], Lookups]] = dispatch(
    {
        ops.Requant: _requant_lookups,
        ops.Lookup: _lookup_lookups,
        ops.WindowMax: _window_max_lookups,
        ops.RowMax: _row_max_lookups,
        ops.Recip: _recip_lookups,
        ops.Isqrt: _isqrt_lookups,
        ops.ArgMax: _argmax_lookups,
        ops.Rescale: _rescale_lookups,
        ops.TopIndex: _top_index_lookups,
        ops.Gather: _beyond_this_suite,
    },
    ("a sumcheck or a functional carries claims on its result to its operands; it looks nothing up", LINEAR_OR_VIEW),
)


def lookups_of(circuit: Circuit, number: int) -> Lookups:
    """Table, and the storage that has a row per cell, of each lookup of operation ``number``, in slot order.

    Raises UnsupportedModel.
    """
    op = circuit.ops[number]
    rule = find(_LOOKUPS, op, "lookups")
    return [] if rule is None else rule(circuit, number, op)


def _split(circuit: Circuit, number: int, op: ops.Requant | ops.RowMax, low_bits: int) -> list[TableName]:
    low, bits = split_range(circuit, op)
    if low_bits == 0 or bits > MAX_RANGE_BITS:
        raise _unsupported(circuit, op, "its table is too narrow for its range")
    # The table of h is padded to a power of two: no row of it may stand for a value that is congruent to a reachable one.
    shift = low_bits + (op.shift if isinstance(op, ops.Requant) else 0)
    if max(-low, low + (1 << bits)) << shift >= 1 << 62:
        raise _unsupported(circuit, op, "its split could reach 2^62")
    return [(RANGE, low_bits), (SELECT, number), (CLAMP, number)]


def _span(circuit: Circuit, op: ops.Op, tensor: int) -> int:
    bits = span_bits(circuit.tensors[tensor])
    if bits > MAX_RANGE_BITS:
        raise _unsupported(circuit, op, f"its values span {bits} bits")
    return bits


def _requant_columns(circuit: Circuit, op: ops.Requant) -> Columns:
    names = [*(f"rem{i}" for i in range(len(op.limbs))), *(("h", "sigma", "kappa") if op.saturate else ())]
    return [(name, _stored(circuit, op.out)) for name in names]


def _row_max_columns(circuit: Circuit, op: ops.RowMax) -> Columns:
    names = ("g", "h", "sigma", "kappa") if op.saturate else ("g",)
    return [(name, _stored(circuit, op.x)) for name in names]


def _recip_columns(circuit: Circuit, op: ops.Recip) -> Columns:
    names = ("e", "pow", "qe", "r0", "r1", "rho0", "rho1", "a0", "s0")
    return [(name, _stored(circuit, op.out)) for name in names]


def _isqrt_columns(circuit: Circuit, op: ops.Isqrt) -> Columns:
    return [(name, _stored(circuit, op.out)) for name in ("q0", "d0", "f0")]


def _argmax_columns(circuit: Circuit, op: ops.ArgMax) -> Columns:
    return [("g", _stored(circuit, op.x)), ("v", _stored(circuit, op.out))]


def _rescale_columns(circuit: Circuit, op: ops.Rescale) -> Columns:
    names = [f"rem{i}" for i in range(len(op.limbs) - 1)] + [f"y{i}" for i in range(len(op.digits) - 1)]
    return [(name, _stored(circuit, op.out)) for name in names]


def _top_index_columns(circuit: Circuit, op: ops.TopIndex) -> Columns:
    lower = [(f"d{i}", _stored(circuit, op.x)) for i in range(len(op.digits) - 1)]
    return [("v", _stored(circuit, op.out)), *lower]


_COLUMNS: Dispatch[Callable[[Circuit, Any], Columns]] = dispatch(
    {
        ops.Requant: _requant_columns,
        ops.RowMax: _row_max_columns,
        ops.Recip: _recip_columns,
        ops.Isqrt: _isqrt_columns,
        ops.ArgMax: _argmax_columns,
        ops.Rescale: _rescale_columns,
        ops.TopIndex: _top_index_columns,
    },
    ("its result is virtual and determined by its operands; nothing is committed", LINEAR_OR_VIEW),
    ("its result alone is committed; the lookups read nothing but operand and result", (ops.Lookup, ops.WindowMax)),
    ("it is not part of this suite; lookups_of refuses it first", (ops.Gather,)),
)


def columns_of(circuit: Circuit, op: ops.Op) -> Columns:
    """Name and storage of the columns that ``op`` commits beside its results."""
    rule = find(_COLUMNS, op, "columns")
    return [] if rule is None else rule(circuit, op)


def tensor_tables(tensor: Tensor) -> list[TableName]:
    """Range lookups of a hashed tensor: x − low, and high − x unless the first bound implies it."""
    bits = span_bits(tensor)
    exact = tensor.high - tensor.low + 1 == 1 << bits
    return [(RANGE, bits)] * (1 if exact else 2)


def build(circuit: Circuit) -> Bus:
    """The bus of ``circuit``: with the fewest sums of which none is too long; one, which is, where 2^MAX_LOG_SUMS do not do.

    Raises UnsupportedModel (``sumcheck-unsupported``).
    """
    wanted = _wanted(circuit)
    cells = sum(one.storage.cells for one in wanted)
    for log_sums in range(MAX_LOG_SUMS + 1):
        if cells > MOST_LEAVES << log_sums:  # not even without tables: it takes no arrangement to see that
            continue
        bus = _arranged(circuit, wanted, log_sums)
        if bus.largest <= MOST_LEAVES:
            return bus
    return _arranged(circuit, wanted, 0)


def _wanted(circuit: Circuit) -> list[_Wanted]:
    """All lookups, in the order of their owners."""
    wanted: list[_Wanted] = []
    for number in range(len(circuit.ops)):
        wanted += [_Wanted(False, number, slot, *lookup) for slot, lookup in enumerate(lookups_of(circuit, number))]
    ports = [port for port in circuit.inputs + circuit.outputs if port.visibility is Visibility.HASHED]
    for port in ports + [port for port in circuit.inputs if port.visibility is Visibility.PRIVATE]:
        tensor = circuit.tensors[port.tensor]
        if span_bits(tensor) > MAX_RANGE_BITS:
            raise UnsupportedModel(
                "sumcheck-unsupported", "a hashed or private tensor spans more than 16 bits", where=tensor.name
            )
        # A hashed tensor's own commitment holds all padded cells, so all of them have a row here.
        storage = whole(tensor.bits) if port.visibility is Visibility.HASHED else stored(tensor.shape)
        wanted += [_Wanted(True, port.tensor, slot, table, storage) for slot, table in enumerate(tensor_tables(tensor))]
    return wanted


def _sums_of(wanted: Sequence[_Wanted], log_sums: int) -> list[int]:
    """The sum of each lookup: that of its owner's first leaf when all leaves, in their order, are cut into equal parts."""
    total = sum(one.storage.cells for one in wanted)
    found: list[int] = []
    before = 0
    for _, run in groupby(wanted, key=lambda one: (one.tensor, one.owner)):
        members = list(run)
        found += [(before << log_sums) // total] * len(members)
        before += sum(one.storage.cells for one in members)
    return found


def _arranged(circuit: Circuit, wanted: Sequence[_Wanted], log_sums: int) -> Bus:
    """The bus with 2^log_sums sums."""
    sums = _sums_of(wanted, log_sums)
    kinds = sorted({(number, one.table) for number, one in zip(sums, wanted, strict=True)})
    numbers = {name: number for number, name in enumerate(kinds)}
    sizes = [_log_size(circuit, name) for _, name in kinds]
    groups = _groups(wanted)
    starts = list(accumulate((1 << log_members for log_members, _ in groups), initial=0))
    blocks: list[tuple[int, int, _Block]] = []
    for number, (log_members, storage) in enumerate(groups):
        below, share = log_members + storage.log_rest, sums[starts[number]]
        blocks += [(piece.log + below, share, ("lookup", number, i)) for i, piece in enumerate(storage.pieces)]
    blocks += [(sizes[number], share, ("table", number, 0)) for number, (share, _) in enumerate(kinds)]
    offsets, ends = dict[_Block, int](), [0] * (1 << log_sums)
    for log_size, share, block in sorted(blocks, key=lambda block: -block[0]):
        offsets[block] = ends[share]
        ends[share] += 1 << log_size
    tables = tuple(
        TableBlock(kind, index, sizes[i], offsets["table", i, 0], share) for i, (share, (kind, index)) in enumerate(kinds)
    )
    by_operation: list[list[LookupBlock]] = [[] for _ in circuit.ops]
    by_tensor: dict[int, list[LookupBlock]] = {}
    for number, (log_members, storage) in enumerate(groups):
        addresses = tuple(offsets["lookup", number, i] for i in range(len(storage.pieces)))
        group = Group(storage, log_members, addresses, sums[starts[number]])
        for member, one in enumerate(wanted[starts[number] : starts[number + 1]]):
            found = LookupBlock(one.owner, one.slot, numbers[group.sum, one.table], group, member)
            (by_tensor.setdefault(one.owner, []) if one.tensor else by_operation[one.owner]).append(found)
    return Bus(
        tables,
        tuple(map(tuple, by_operation)),
        {owner: tuple(lookups) for owner, lookups in by_tensor.items()},
        log_sums + max(1, log2_ceil(max(ends))),
        WIDTH,
        sum(ends),
        tuple(ends) if log_sums else (),
    )


_Block: TypeAlias = tuple[str, int, int]
"""("lookup", group, piece) or ("table", number, 0)."""


class _Wanted(NamedTuple):
    """One lookup before it has its place. ``tensor``: whether the owner is a tensor, not an operation."""

    tensor: bool
    owner: int
    slot: int
    table: TableName
    storage: Storage


def _groups(wanted: Sequence[_Wanted]) -> list[tuple[int, Storage]]:
    """How the lookups, in their order, fall into groups: log2 of how many, and their storage. Larger groups of an owner first.

    Lookups of columns that are stored whole stay alone: their weights at a point are the same wherever they lie.
    """
    found: list[tuple[int, Storage]] = []
    for (_, _, storage), run in groupby(wanted, key=lambda one: (one.tensor, one.owner, one.storage)):
        count = len(list(run))
        logs = [0] * count if storage.axis == NO_AXIS else [piece.log for piece in pieces_of(count)]
        found += [(log_members, storage) for log_members in logs]
    return found


def _unsupported(circuit: Circuit, op: ops.Op, reason: str) -> UnsupportedModel:
    where = circuit.tensors[ops.results(op)[0]].name
    return UnsupportedModel("sumcheck-unsupported", f"{type(op).__name__} cannot be proven: {reason}", where=where)
