"""The witness as the prover uses it: padded cells over F_p, rows of every lookup, multiplicities."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.dispatch import Dispatch, dispatch, find, require
from verifai.engines.sumcheck.circuit.program import Circuit, Visibility
from verifai.engines.sumcheck.interpreter.values import Ints
from verifai.engines.sumcheck.protocol.buses import LINEAR_OR_VIEW, columns_of, table_low, taps
from verifai.engines.sumcheck.protocol.field import P
from verifai.engines.sumcheck.protocol.layout import Key, Layout
from verifai.engines.sumcheck.protocol.storage import NO_AXIS, Storage, stored
from verifai.engines.sumcheck.prover import row_witness
from verifai.engines.sumcheck.prover.arrays import to_field
from verifai.engines.sumcheck.prover.kernels import U64, scale_base
from verifai.engines.sumcheck.prover.stored_cells import clear_outside, stored_part
from verifai.engines.sumcheck.prover.tables import BusTables, bus_tables

Rows: TypeAlias = list[tuple[Ints | U64, ...]]
Factors: TypeAlias = tuple[U64, U64]


class Witness:
    """Integers of one run. ``tensors``: padded cells by tensor, ``extra``: committed columns by (operation, number).

    Padded cells that are not stored are 0 in all of them, as in the columns' extensions.

    Mutable on purpose: tests that play a cheating prover change it before it is committed.
    """

    def __init__(
        self,
        circuit: Circuit,
        layout: Layout,
        tensors: Sequence[Ints],
        columns: Mapping[tuple[int, str], Ints],
        tables: BusTables | None = None,
    ) -> None:
        """``tables``: those of the bus, where a proving key has them already."""
        self.circuit, self.layout = circuit, layout
        self._tables = tables
        self.tensors: list[Ints] = [
            _stored_only(stored(described.shape), cells) for described, cells in zip(circuit.tensors, tensors, strict=True)
        ]
        self.trace = columns
        self.extra: dict[tuple[int, int], Ints] = {}
        for number, op in enumerate(circuit.ops):
            rule = find(_COLUMNS, op, "the witness's columns")
            found = {} if rule is None else rule(self, number, op)
            for i, (name, storage) in enumerate(columns_of(circuit, op)):
                self.extra[number, i] = _stored_only(storage, found[name])
        self.counts: dict[int, Ints] | None = None
        self.hashed = {port.tensor for port in circuit.inputs + circuit.outputs if port.visibility is Visibility.HASHED}
        self._field: dict[tuple[int, bool], U64] = {}

    def box(self, tensor: int) -> tuple[slice, ...]:
        """The true cells."""
        return tuple(slice(0, size) for size in self.circuit.tensors[tensor].shape)

    def masked_ints(self, tensor: int) -> Ints:
        """Padded cells with padding 0, flat."""
        described = self.circuit.tensors[tensor]
        if described.fill == 0:
            return self.tensors[tensor]
        result = np.zeros(described.padded, dtype=np.int64)
        box = self.box(tensor)
        result[box] = self.tensors[tensor].reshape(described.padded)[box]
        return result.reshape(-1)

    def cells(self, tensor: int, masked: bool) -> U64:
        """Padded cells over F_p, flat; ``masked``: with ``fill`` taken off padding."""
        masked = masked and self.circuit.tensors[tensor].fill != 0
        if (tensor, masked) not in self._field:
            described = self.circuit.tensors[tensor]
            cells = self.tensors[tensor]
            if masked:
                cells = cells - described.fill
                cells.reshape(described.padded)[self.box(tensor)] += described.fill
                clear_outside(stored(described.shape), cells)
            self._field[tensor, masked] = to_field(cells)
        return self._field[tensor, masked]

    def forget(self) -> None:
        """Drop what can be made again."""
        self._field.clear()

    def tap(self, op: ops.WindowMax, u: int, v: int) -> Ints:
        """One tap of a window on all padded output cells, flat; outside the operand's true cells: its least value."""
        source, out = self.circuit.tensors[op.x], self.circuit.tensors[op.out]
        cells = self.tensors[op.x].reshape(source.padded)[self.box(op.x)]
        result = np.full(out.padded, source.low, dtype=np.int64)
        rows = _window(out.shape[-2], source.shape[-2], op.stride[0], u * op.dilation[0] - op.pads[0])
        columns = _window(out.shape[-1], source.shape[-1], op.stride[1], v * op.dilation[1] - op.pads[1])
        leading = tuple(slice(size) for size in source.shape[:-2])
        result[(*leading, rows[0], columns[0])] = cells[..., rows[1], columns[1]]
        clear_outside(stored(out.shape), result)
        return result.reshape(-1)

    def rows(self, number: int) -> Rows:
        """What operation ``number`` looks up, in slot order: columns of integers, or of field elements where they are none."""
        op = self.circuit.ops[number]
        rule = find(_ROWS, op, "the witness's lookup rows")
        return [] if rule is None else rule(self, number, op)

    def message(self, number: int) -> U64:
        """The uncommitted column of an operation: u of a saturating one, q² of a root."""
        op = self.circuit.ops[number]
        return to_field(require(_MESSAGES, op, "the witness's uncommitted columns")(self, number, op))

    def factors(self, number: int, which: int) -> Factors:
        """The two columns of product ``which`` of an operation."""
        op = self.circuit.ops[number]
        return require(_FACTORS, op, "the witness's products")(self, number, op, which)

    def difference(self, op: ops.RowMax) -> Ints:
        """m − x on true cells, D on padding."""
        return row_witness.difference(self.circuit, op, self.tensors[op.x], self.tensors[op.out])

    def ones_on_padding(self, tensor: int) -> U64:
        """Padded cells over F_p with padding 1, flat."""
        described = self.circuit.tensors[tensor]
        result = np.ones(described.padded, dtype=np.int64)
        result[self.box(tensor)] = self.tensors[tensor].reshape(described.padded)[self.box(tensor)]
        clear_outside(stored(described.shape), result)
        return to_field(result.reshape(-1))

    def tensor_rows(self, tensor: int) -> list[tuple[Ints, ...]]:
        """Range rows of a hashed tensor."""
        described = self.circuit.tensors[tensor]
        cells = self.masked_ints(tensor)
        low, high = (np.zeros(described.padded, dtype=np.int64) for _ in range(2))
        low[self.box(tensor)], high[self.box(tensor)] = described.low, described.high
        rows: list[tuple[Ints, ...]] = [(cells - low.reshape(-1),), (high.reshape(-1) - cells,)]
        return rows[: len(self.layout.bus.by_tensor[tensor])]

    def multiplicities(self) -> dict[int, Ints]:
        """How often each table's rows are looked up; rows outside a table, which no honest prover has, count nowhere."""
        if self.counts is not None:
            return self.counts
        bus = self.layout.bus
        counts = {index: np.zeros(1 << table.log_size, dtype=np.int64) for index, table in enumerate(bus.tables)}
        lookups = [(blocks, self.rows(number)) for number, blocks in enumerate(bus.by_operation) if blocks]
        lookups += [(blocks, list(self.tensor_rows(tensor))) for tensor, blocks in bus.by_tensor.items()]
        for blocks, rows in lookups:
            for block, row in zip(blocks, rows, strict=True):
                table = bus.tables[block.table]
                arguments: Any = row[0]
                index = stored_part(block.group.storage, arguments.astype(np.int64, copy=False))
                if low := table_low(self.circuit, table):
                    index = index - low
                size = 1 << table.log_size
                if index.min() < 0 or index.max() >= size:
                    index = index[(index >= 0) & (index < size)]
                counts[block.table] += np.bincount(index, minlength=size)
        return counts

    def tables(self) -> BusTables:
        """The bus's tables."""
        if self._tables is None:
            self._tables = bus_tables(self.circuit, self.layout.bus)
        return self._tables

    def columns(self) -> dict[Key, U64]:
        """Every column of C_x over F_p."""
        result: dict[Key, U64] = {}
        for key in self.layout.witness.columns:
            kind, index, number = key
            if kind == "tensor":  # private inputs among them
                result[key] = self.cells(index, masked=False)
            elif kind == "column":
                result[key] = to_field(self.extra[index, number])
        for index, counts in self.multiplicities().items():
            result["count", index, 0] = to_field(counts)
        return result

    def own_columns(self, number: int) -> list[Ints]:
        """The columns that operation ``number`` commits beside its results, in order."""
        return [self.extra[number, i] for i in range(len(columns_of(self.circuit, self.circuit.ops[number])))]

    def saturated_quotient(self, number: int, op: ops.Requant) -> Ints:
        """u = σ·t + κ."""
        return self._saturated(number, len(op.limbs) + 1, self.quotient(number, op).astype(np.int64, copy=False))

    def saturated_difference(self, number: int, op: ops.RowMax) -> Ints:
        """u = σ·d + κ."""
        return self._saturated(number, 2, self.difference(op))

    def _saturated(self, number: int, sigma: int, value: Ints) -> Ints:
        result: Ints = self.extra[number, sigma] * value + self.extra[number, sigma + 1]
        return result

    def quotient(self, number: int, op: ops.Requant) -> Ints | U64:
        """t = (z + 2^(s−1) − rem) / 2^s: an exact shift, or a division in F_p when a cheater's limbs do not fit."""
        limbs = [self.extra[number, i] for i in range(len(op.limbs))]
        z = self.masked_ints(op.z)
        if op.shift == 0:
            return z
        value, offset = z + (1 << (op.shift - 1)), 0
        for limb, bits in zip(limbs, op.limbs, strict=True):
            value = value - (limb << offset)
            offset += bits
        clear_outside(stored(self.circuit.tensors[op.out].shape), value)
        if not np.any(value & ((1 << op.shift) - 1)):
            return value >> op.shift
        result: U64 = scale_base(to_field(value), np.uint64(pow(2, -op.shift, P)))
        return result


def _stored_only(storage: Storage, cells: Ints) -> Ints:
    """Padded cells, flat, with 0 where nothing is stored; ``cells`` itself is left as it is."""
    flat: Ints = np.ascontiguousarray(cells, dtype=np.int64).reshape(-1)
    if storage.axis != NO_AXIS:
        flat = flat.copy()
        clear_outside(storage, flat)
    return flat


def _window(out_size: int, in_size: int, stride: int, shift: int) -> tuple[slice, slice]:
    """Output and input slices of o ↦ o·stride + shift, where both are true."""
    first = max(0, -(shift // stride))
    last = min(out_size - 1, (in_size - 1 - shift) // stride)
    if last < first:
        return slice(0, 0), slice(0, 0)
    return slice(first, last + 1), slice(first * stride + shift, last * stride + shift + 1, stride)


# --- what each operation contributes ----------------------------------------------------------------------------------------

_VIRTUAL = "its result is virtual: nothing is committed or looked up"
_REFUSED = "it is not part of this suite: the planner refuses it"


def _traced(witness: Witness, number: int, op: ops.Requant | ops.RowMax | ops.Rescale) -> Mapping[str, Ints]:
    """The interpreter's own columns."""
    return {name: witness.trace[number, name] for name, _ in columns_of(witness.circuit, op)}


def _recip_columns(witness: Witness, number: int, op: ops.Recip) -> Mapping[str, Ints]:
    trace = ("e", "pow", "qe", "R", "rho")
    return row_witness.recip_columns({name: witness.trace[number, name].reshape(-1) for name in trace})


def _isqrt_columns(witness: Witness, number: int, op: ops.Isqrt) -> Mapping[str, Ints]:
    return row_witness.isqrt_columns(witness.masked_ints(op.v), witness.tensors[op.out])


def _argmax_columns(witness: Witness, number: int, op: ops.ArgMax) -> Mapping[str, Ints]:
    source, out = witness.circuit.tensors[op.x], witness.circuit.tensors[op.out]
    cells = witness.tensors[op.x].reshape(source.padded)[witness.box(op.x)]
    index = witness.tensors[op.out].reshape(out.padded)[witness.box(op.out)].reshape(source.shape[:-1])
    return row_witness.argmax_columns(cells, index, source)


def _top_index_columns(witness: Witness, number: int, op: ops.TopIndex) -> Mapping[str, Ints]:
    source, out = witness.circuit.tensors[op.x], witness.circuit.tensors[op.out]
    cells = witness.tensors[op.x].reshape(source.padded)[witness.box(op.x)]
    index = witness.tensors[op.out].reshape(out.padded)[witness.box(op.out)]
    return row_witness.top_index_columns(cells, index, source, op.digits)


_COLUMNS: Dispatch[Callable[[Witness, int, Any], Mapping[str, Ints]]] = dispatch(
    {
        ops.Requant: _traced,
        ops.RowMax: _traced,
        ops.Recip: _recip_columns,
        ops.Isqrt: _isqrt_columns,
        ops.ArgMax: _argmax_columns,
        ops.Rescale: _traced,
        ops.TopIndex: _top_index_columns,
    },
    (_VIRTUAL, LINEAR_OR_VIEW),
    ("its result alone is committed", (ops.Lookup, ops.WindowMax)),
    (_REFUSED, (ops.Gather,)),
)
"""The columns that an operation commits beside its results, by the names of :func:`..protocol.buses.columns_of`."""


def _requant_rows(witness: Witness, number: int, op: ops.Requant) -> Rows:
    limbs = [(witness.extra[number, i],) for i in range(len(op.limbs))]
    t, y = witness.quotient(number, op), witness.tensors[op.out]
    if not op.saturate:
        return [(t, y), *limbs]
    h, sigma, kappa = (witness.extra[number, len(limbs) + i] for i in range(3))
    low = t - (h << (witness.circuit.tables[op.table].width - 1))
    return [(witness.saturated_quotient(number, op), y), *limbs, (low,), (h, sigma), (h, kappa)]


def _lookup_rows(witness: Witness, number: int, op: ops.Lookup) -> Rows:
    return [(witness.masked_ints(op.x), witness.tensors[op.out])]


def _window_max_rows(witness: Witness, number: int, op: ops.WindowMax) -> Rows:
    return [(witness.tensors[op.out] - witness.tap(op, u, v),) for u, v in taps(op)]


def _row_max_rows(witness: Witness, number: int, op: ops.RowMax) -> Rows:
    source, maxima = witness.circuit.tensors[op.x], witness.circuit.tensors[op.out]
    flags, difference = witness.extra[number, 0], witness.difference(op)
    index = witness.saturated_difference(number, op) if op.saturate else difference
    rows: Rows = [(index,) if op.exp == ops.NONE else (index, witness.tensors[op.exp])]
    rows.append((index, flags))
    if op.saturate:
        h, sigma, kappa = (witness.extra[number, i] for i in (1, 2, 3))
        rows += [(difference - (h << witness.circuit.tables[op.table].width),), (h, sigma), (h, kappa)]
    more = flags.reshape(source.padded)[..., : source.shape[-1]].sum(axis=-1).reshape(maxima.padded)
    more[witness.box(op.out)] -= 1
    return [*rows, (more.reshape(-1),)]


def _recip_rows(witness: Witness, number: int, op: ops.Recip) -> Rows:
    return [*row_witness.recip_rows(witness.own_columns(number))]


def _isqrt_rows(witness: Witness, number: int, op: ops.Isqrt) -> Rows:
    return [*row_witness.isqrt_rows(witness.masked_ints(op.v), witness.tensors[op.out], witness.own_columns(number))]


def _argmax_rows(witness: Witness, number: int, op: ops.ArgMax) -> Rows:
    columns, source = witness.own_columns(number), witness.circuit.tensors[op.x]
    return [*row_witness.argmax_rows(witness.masked_ints(op.x), columns, source)]


def _rescale_rows(witness: Witness, number: int, op: ops.Rescale) -> Rows:
    columns, y = witness.own_columns(number), witness.tensors[op.out]
    storage = stored(witness.circuit.tensors[op.out].shape)
    remainder = witness.masked_ints(op.z) + (1 << (op.shift - 1)) - (y << op.shift)
    above = y + (1 << (sum(op.digits) - 1))
    clear_outside(storage, remainder)
    clear_outside(storage, above)
    count = len(op.limbs) - 1
    limbs = row_witness.with_highest(remainder, columns[:count], op.limbs)
    return [(one,) for one in (*limbs, *row_witness.with_highest(above, columns[count:], op.digits))]


def _top_index_rows(witness: Witness, number: int, op: ops.TopIndex) -> Rows:
    source, out = witness.circuit.tensors[op.x], witness.circuit.tensors[op.out]
    largest, *lower = witness.own_columns(number)
    index = witness.tensors[op.out].reshape(out.padded)[witness.box(op.out)]
    slack = row_witness.top_index_slack(witness.masked_ints(op.x), largest, index, source)
    return [(one,) for one in row_witness.with_highest(slack, lower, op.digits)]


_ROWS: Dispatch[Callable[[Witness, int, Any], Rows]] = dispatch(
    {
        ops.Requant: _requant_rows,
        ops.Lookup: _lookup_rows,
        ops.WindowMax: _window_max_rows,
        ops.RowMax: _row_max_rows,
        ops.Recip: _recip_rows,
        ops.Isqrt: _isqrt_rows,
        ops.ArgMax: _argmax_rows,
        ops.Rescale: _rescale_rows,
        ops.TopIndex: _top_index_rows,
    },
    (_VIRTUAL, LINEAR_OR_VIEW),
    (_REFUSED, (ops.Gather,)),
)


def _square(witness: Witness, number: int, op: ops.Isqrt) -> Ints:
    result: Ints = witness.tensors[op.out] ** 2
    return result


_MESSAGES: Dispatch[Callable[[Witness, int, Any], Ints]] = dispatch(
    {
        ops.Requant: lambda witness, number, op: witness.saturated_quotient(number, op),
        ops.RowMax: lambda witness, number, op: witness.saturated_difference(number, op),
        ops.Isqrt: _square,
    },
    (_VIRTUAL, LINEAR_OR_VIEW),
    (
        "every column that its lookups read is committed, or follows from such",
        (ops.Lookup, ops.WindowMax, ops.Recip, ops.ArgMax, ops.Rescale, ops.TopIndex),
    ),
    (_REFUSED, (ops.Gather,)),
)


def _requant_factors(witness: Witness, number: int, op: ops.Requant, which: int) -> Factors:
    return to_field(witness.extra[number, len(op.limbs) + 1]), _over_field(witness.quotient(number, op))


def _over_field(column: Ints | U64) -> U64:
    """Over F_p, which a cheater's column is already."""
    return to_field(column) if column.dtype == np.int64 else column.astype(np.uint64, copy=False)


def _row_max_factors(witness: Witness, number: int, op: ops.RowMax, which: int) -> Factors:
    return to_field(witness.extra[number, 2]), to_field(witness.difference(op))


def _isqrt_factors(witness: Witness, number: int, op: ops.Isqrt, which: int) -> Factors:
    return witness.cells(op.out, masked=False), witness.cells(op.out, masked=False)


def _argmax_factors(witness: Witness, number: int, op: ops.ArgMax, which: int) -> Factors:
    return to_field(witness.extra[number, 0]), witness.cells(op.x, masked=True)


def _recip_factors(witness: Witness, number: int, op: ops.Recip, which: int) -> Factors:
    power, scaled = to_field(witness.extra[number, 1]), to_field(witness.extra[number, 2])
    quotient = to_field(witness.extra[number, 3] + (witness.extra[number, 4] << 9))
    return ((witness.ones_on_padding(op.q), power), (quotient, power), (quotient, scaled))[which]


def _mul_factors(witness: Witness, number: int, op: ops.Mul, which: int) -> Factors:
    return witness.cells(op.a, masked=True), witness.cells(op.b, masked=True)


def _row_sum_factors(witness: Witness, number: int, op: ops.RowSum, which: int) -> Factors:
    return witness.cells(op.x, masked=True), witness.cells(op.y, masked=True)


_FACTORS: Dispatch[Callable[[Witness, int, Any, int], Factors]] = dispatch(
    {
        ops.Mul: _mul_factors,
        ops.RowSum: _row_sum_factors,
        ops.Requant: _requant_factors,
        ops.RowMax: _row_max_factors,
        ops.Recip: _recip_factors,
        ops.Isqrt: _isqrt_factors,
        ops.ArgMax: _argmax_factors,
    },
    ("its factors depend on the claim's functional: see product_arrays", (ops.BatchedMatMul, ops.RowScale, ops.GatedMatMul)),
    ("it multiplies with weights alone: an inner product", (ops.MatMul, ops.Conv, ops.TopIndex)),
    (
        "it multiplies no two values",
        (ops.LinearCombination, ops.WindowSum, ops.Lookup, ops.Relabel, ops.View, ops.Rescale, ops.WeightRows),
    ),
    ("its product of taps is a zero-check", (ops.WindowMax,)),
    (_REFUSED, (ops.Gather,)),
)
