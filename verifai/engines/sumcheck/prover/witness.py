"""The witness as the prover uses it: padded cells over F_p, rows of every lookup, multiplicities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.program import Circuit, Visibility
from verifai.engines.sumcheck.interpreter.values import Ints
from verifai.engines.sumcheck.protocol.buses import RANGE, columns_of, table_values, taps
from verifai.engines.sumcheck.protocol.field import P
from verifai.engines.sumcheck.protocol.layout import Key, Layout
from verifai.engines.sumcheck.prover import row_witness
from verifai.engines.sumcheck.prover.arrays import to_field
from verifai.engines.sumcheck.prover.kernels import U64, scale_base

Row = tuple[Ints, ...]


class Witness:
    """Integers of one run. ``tensors``: padded cells by tensor, ``extra``: committed columns by (operation, number).

    Mutable on purpose: tests that play a cheating prover change it before it is committed.
    """

    def __init__(
        self, circuit: Circuit, layout: Layout, tensors: Sequence[Ints], columns: Mapping[tuple[int, str], Ints]
    ) -> None:
        self.circuit, self.layout = circuit, layout
        self.tensors: list[Ints] = [np.ascontiguousarray(cells, dtype=np.int64).reshape(-1) for cells in tensors]
        self._trace = columns
        self.extra: dict[tuple[int, int], Ints] = {}
        for number, op in enumerate(circuit.ops):
            names = [name for name, _ in columns_of(circuit, op)]
            found = self._columns(number, op, names)
            self.extra |= {(number, i): np.ascontiguousarray(found[name]).reshape(-1) for i, name in enumerate(names)}
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
            self._field[tensor, masked] = to_field(cells)
        return self._field[tensor, masked]

    def tap(self, op: ops.WindowMax, u: int, v: int) -> Ints:
        """One tap of a window on all padded output cells, flat; outside the operand's true cells: its least value."""
        source, out = self.circuit.tensors[op.x], self.circuit.tensors[op.out]
        cells = self.tensors[op.x].reshape(source.padded)[self.box(op.x)]
        result = np.full(out.padded, source.low, dtype=np.int64)
        rows = _window(out.shape[2], source.shape[2], op.stride[0], u * op.dilation[0] - op.pads[0])
        columns = _window(out.shape[3], source.shape[3], op.stride[1], v * op.dilation[1] - op.pads[1])
        n, c = source.shape[:2]
        result[:n, :c, rows[0], columns[0]] = cells[:, :, rows[1], columns[1]]
        return result.reshape(-1)

    def _columns(self, number: int, op: ops.Op, names: Sequence[str]) -> Mapping[str, Ints]:
        if isinstance(op, ops.Recip):
            trace = ("e", "pow", "qe", "R", "rho")
            return row_witness.recip_columns({name: self._trace[number, name].reshape(-1) for name in trace})
        if isinstance(op, ops.Isqrt):
            return row_witness.isqrt_columns(self.masked_ints(op.v), self.tensors[op.out])
        if isinstance(op, ops.ArgMax):
            source, out = self.circuit.tensors[op.x], self.circuit.tensors[op.out]
            cells = self.tensors[op.x].reshape(source.padded)[self.box(op.x)]
            index = self.tensors[op.out].reshape(out.padded)[self.box(op.out)].reshape(source.shape[:-1])
            return row_witness.argmax_columns(cells, index, source)
        return {name: self._trace[number, name] for name in names}

    def rows(self, number: int) -> list[tuple[Ints | U64, ...]]:
        """What operation ``number`` looks up, in slot order: columns of integers, or of field elements where they are none."""
        op = self.circuit.ops[number]
        if isinstance(op, ops.Requant):
            return self._requant_rows(number, op)
        if isinstance(op, ops.Lookup):
            return [(self.masked_ints(op.x), self.tensors[op.out])]
        if isinstance(op, ops.WindowMax):
            return [(self.tensors[op.out] - self.tap(op, u, v),) for u, v in taps(op)]
        columns = [self.extra[number, i] for i in range(len(columns_of(self.circuit, op)))]
        rows: list[tuple[Ints | U64, ...]] = []
        if isinstance(op, ops.RowMax):
            return self._row_max_rows(number, op, columns)
        if isinstance(op, ops.Recip):
            rows += row_witness.recip_rows(columns)
        elif isinstance(op, ops.Isqrt):
            rows += row_witness.isqrt_rows(self.masked_ints(op.v), self.tensors[op.out], columns)
        elif isinstance(op, ops.ArgMax):
            rows += row_witness.argmax_rows(self.masked_ints(op.x), columns, self.circuit.tensors[op.x])
        return rows

    def _row_max_rows(self, number: int, op: ops.RowMax, columns: Sequence[Ints]) -> list[tuple[Ints | U64, ...]]:
        source, maxima = self.circuit.tensors[op.x], self.circuit.tensors[op.out]
        index = self.saturated(number, op) if op.saturate else self.difference(op)
        rows: list[tuple[Ints | U64, ...]] = [(index,) if op.exp == ops.NONE else (index, self.tensors[op.exp])]
        rows.append((index, columns[0]))
        if op.saturate:
            _, h, sigma, kappa = columns
            rows += [(self.difference(op) - (h << self.circuit.tables[op.table].width),), (h, sigma), (h, kappa)]
        flags = columns[0].reshape(source.padded)[..., : source.shape[-1]].sum(axis=-1).reshape(maxima.padded)
        flags[self.box(op.out)] -= 1
        return [*rows, (flags.reshape(-1),)]

    def difference(self, op: ops.RowMax) -> Ints:
        """m − x on true cells, D on padding."""
        return row_witness.difference(self.circuit, op, self.tensors[op.x], self.tensors[op.out])

    def message(self, number: int) -> U64:
        """The uncommitted column of an operation: u of a saturating one, q² of a root."""
        op = self.circuit.ops[number]
        if isinstance(op, ops.Requant | ops.RowMax):
            return to_field(self.saturated(number, op))
        assert isinstance(op, ops.Isqrt)
        return to_field(self.tensors[op.out] ** 2)

    def factors(self, number: int, which: int) -> tuple[U64, U64]:
        """The two columns of product ``which`` of an operation."""
        op = self.circuit.ops[number]
        if isinstance(op, ops.Requant):
            (quotient,) = field_row((self.quotient(number, op),))
            return to_field(self.extra[number, len(op.limbs) + 1]), quotient
        if isinstance(op, ops.RowMax):
            return to_field(self.extra[number, 2]), to_field(self.difference(op))
        if isinstance(op, ops.Isqrt):
            return self.cells(op.out, masked=False), self.cells(op.out, masked=False)
        if isinstance(op, ops.ArgMax):
            return to_field(self.extra[number, 0]), self.cells(op.x, masked=True)
        if isinstance(op, ops.Recip):
            power, scaled = to_field(self.extra[number, 1]), to_field(self.extra[number, 2])
            quotient = to_field(self.extra[number, 3] + (self.extra[number, 4] << 9))
            return ((self._ones_on_padding(op.q), power), (quotient, power), (quotient, scaled))[which]
        assert isinstance(op, ops.Mul | ops.RowSum)
        first, second = (op.a, op.b) if isinstance(op, ops.Mul) else (op.x, op.y)
        return self.cells(first, masked=True), self.cells(second, masked=True)

    def _ones_on_padding(self, tensor: int) -> U64:
        described = self.circuit.tensors[tensor]
        result = np.ones(described.padded, dtype=np.int64)
        result[self.box(tensor)] = self.tensors[tensor].reshape(described.padded)[self.box(tensor)]
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
                low = 0 if table.kind == RANGE else table_values(self.circuit, table)[0]
                index = arguments.astype(np.int64, copy=False) - low
                size = 1 << table.log_size
                if index.min() < 0 or index.max() >= size:
                    index = index[(index >= 0) & (index < size)]
                counts[block.table] += np.bincount(index, minlength=size)
        return counts

    def columns(self) -> dict[Key, U64]:
        """Every column of C_x over F_p."""
        result: dict[Key, U64] = {}
        for key in self.layout.witness.offsets:
            kind, index, number = key
            if kind == "tensor":  # private inputs among them
                result[key] = self.cells(index, masked=False)
            elif kind == "column":
                result[key] = to_field(self.extra[index, number])
        for index, counts in self.multiplicities().items():
            result["count", index, 0] = to_field(counts)
        return result

    def _requant_rows(self, number: int, op: ops.Requant) -> list[tuple[Ints | U64, ...]]:
        limbs = [(self.extra[number, i],) for i in range(len(op.limbs))]
        t, y = self.quotient(number, op), self.tensors[op.out]
        if not op.saturate:
            return [(t, y), *limbs]
        h, sigma, kappa = (self.extra[number, len(limbs) + i] for i in range(3))
        low = t - (h << (self.circuit.tables[op.table].width - 1))
        return [(self.saturated(number, op), y), *limbs, (low,), (h, sigma), (h, kappa)]

    def saturated(self, number: int, op: ops.Requant | ops.RowMax) -> Ints:
        """u = σ·t + κ, or σ·d + κ."""
        first = len(op.limbs) + 1 if isinstance(op, ops.Requant) else 2
        value = self.quotient(number, op).astype(np.int64, copy=False) if isinstance(op, ops.Requant) else self.difference(op)
        result: Ints = self.extra[number, first] * value + self.extra[number, first + 1]
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
        if not np.any(value & ((1 << op.shift) - 1)):
            return value >> op.shift
        result: U64 = scale_base(to_field(value), np.uint64(pow(2, -op.shift, P)))
        return result


def _window(out_size: int, in_size: int, stride: int, shift: int) -> tuple[slice, slice]:
    """Output and input slices of o ↦ o·stride + shift, where both are true."""
    first = max(0, -(shift // stride))
    last = min(out_size - 1, (in_size - 1 - shift) // stride)
    if last < first:
        return slice(0, 0), slice(0, 0)
    return slice(first, last + 1), slice(first * stride + shift, last * stride + shift + 1, stride)


def field_row(row: Sequence[Ints | U64]) -> tuple[U64, ...]:
    """A lookup's columns over F_p."""
    return tuple(to_field(one) if one.dtype == np.int64 else one.astype(np.uint64, copy=False) for one in row)
