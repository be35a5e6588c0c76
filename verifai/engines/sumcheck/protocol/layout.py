"""The plan of a proof: what is committed where, what is looked up where. A function of the circuit alone.

Columns are stored in pieces of power-of-two size (:mod:`.storage`). Pieces of all columns are packed, largest first, downwards
from the end of an address space of 2^v cells, so that each is aligned and none overlap; an address is row·C + message
coefficient. The rows at the bottom that hold nothing are not stored, except two reserved rows of zeros.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.program import Circuit, CommitmentShape, SoundnessStep, Visibility, log2_ceil
from verifai.engines.sumcheck.protocol import buses
from verifai.engines.sumcheck.protocol.buses import Bus
from verifai.engines.sumcheck.protocol.hiding import PadPlan
from verifai.engines.sumcheck.protocol.storage import Piece, Storage, stored, whole
from verifai.engines.sumcheck.protocol.suite import RESERVED_ROWS

Key: TypeAlias = tuple[str, int, int]
"""A column: ("tensor", index, 0), ("column", operation, number), ("count", table block, 0), ("weight", index, 0) or
("pad", column of pads, 0)."""

MAX_CLAIMS = 1 << 16
"""Claims and equations that one opening batches: the degree in α of their sum (docs/engine/protocol.md, "Soundness")."""


@dataclass(frozen=True, slots=True)
class Column:
    """Where one column lies: the addresses of its pieces' first cells, in the order of ``storage.pieces``."""

    storage: Storage
    addresses: tuple[int, ...]

    def blocks(self) -> Iterator[tuple[Piece, slice]]:
        """Every piece with its cells' addresses."""
        for piece, address in zip(self.storage.pieces, self.addresses, strict=True):
            yield piece, slice(address, address + (1 << (piece.log + self.storage.log_rest)))


@dataclass(frozen=True, slots=True)
class Commitment:
    """One committed matrix.

    Stored rows are, in this order: the reserved rows (of a hiding commitment the 2·B blind rows, whose pair b takes the
    reserved row indices 0 and 1 in opening b), the rows of values, and the mask rows, which have no row index.

    Attributes:
        log_cells: v, variables of the extension. first_row: index of the first row of values that is stored.
        columns: what it holds.
    """

    shape: CommitmentShape
    log_cells: int
    first_row: int
    columns: dict[Key, Column]

    @property
    def log_message(self) -> int:
        """log2 C."""
        return self.shape.message.bit_length() - 1

    @property
    def log_rows(self) -> int:
        """Variables of the row index."""
        return self.log_cells - self.log_message

    @property
    def stored_cells(self) -> int:
        """Cells that hold values."""
        return sum(column.storage.cells for column in self.columns.values())

    def value_rows(self) -> range:
        """The row indices that hold values."""
        return range(self.first_row, 1 << self.log_rows)


@dataclass(frozen=True, slots=True)
class Layout:
    """The plan.

    Attributes:
        bus: all lookups.
        witness: C_x. weights: C_w, or None when the weights are public. hashed: C_io by tensor, in statement order.
        pads: what the zero-knowledge suite encrypts with; None in the integrity-only suite.
    """

    bus: Bus
    witness: Commitment
    weights: Commitment | None
    hashed: dict[int, Commitment]
    soundness: tuple[SoundnessStep, ...]
    pads: PadPlan | None = None

    def commitments(self) -> tuple[CommitmentShape, ...]:
        """The shapes in the circuit's order: x, w, then the hashed tensors."""
        some = [self.witness] + ([self.weights] if self.weights else []) + list(self.hashed.values())
        return tuple(commitment.shape for commitment in some)


def public_tensors(circuit: Circuit) -> tuple[int, ...]:
    """Inputs, then outputs, whose values the statement shows."""
    return tuple(port.tensor for port in circuit.inputs + circuit.outputs if port.visibility is Visibility.PUBLIC)


def hashed_tensors(circuit: Circuit) -> tuple[int, ...]:
    """Inputs, then outputs, bound by a commitment of their own."""
    return tuple(port.tensor for port in circuit.inputs + circuit.outputs if port.visibility is Visibility.HASHED)


def ranged_tensors(circuit: Circuit) -> tuple[int, ...]:
    """Tensors that no operation keeps in range and padded: the hashed ones, then private inputs. Each is looked up itself."""
    private = (port.tensor for port in circuit.inputs if port.visibility is Visibility.PRIVATE)
    return (*hashed_tensors(circuit), *private)


def witness_columns(circuit: Circuit, bus: Bus) -> dict[Key, Storage]:
    """The columns of C_x and how they are stored, in the circuit's order; the zero-knowledge suite's pads come on top."""
    stated = set(public_tensors(circuit)) | set(hashed_tensors(circuit))
    columns: dict[Key, Storage] = {
        ("tensor", port.tensor, 0): stored(circuit.tensors[port.tensor].shape)
        for port in circuit.inputs
        if port.visibility is Visibility.PRIVATE
    }
    for number, op in enumerate(circuit.ops):
        if ops.holds_results(op):
            for out in ops.results(op):
                if out not in stated:
                    columns["tensor", out, 0] = stored(circuit.tensors[out].shape)
        for index, (_, storage) in enumerate(buses.columns_of(circuit, op)):
            columns["column", number, index] = storage
    for index, table in enumerate(bus.tables):
        columns["count", index, 0] = whole((table.log_size,))
    return columns


def weight_columns(circuit: Circuit) -> dict[Key, Storage]:
    """The columns of C_w and how they are stored."""
    return {("weight", index, 0): stored(weight.shape) for index, weight in enumerate(circuit.weights)}


def stored_cells(columns: Mapping[Key, Storage]) -> int:
    """Number of cells of all columns."""
    return sum(storage.cells for storage in columns.values())


def reserve(columns: Mapping[Key, Storage], size: int) -> int:
    """v for these columns in rows of ``size`` cells, two of which are reserved."""
    return log2_ceil(stored_cells(columns) + RESERVED_ROWS * size)


def place(columns: Mapping[Key, Storage], log_cells: int, log_message: int) -> tuple[dict[Key, Column], int]:
    """The columns' addresses, largest piece first, downwards from the end; and the first row that holds one."""
    pieces = [
        (piece.log + storage.log_rest, key, i) for key, storage in columns.items() for i, piece in enumerate(storage.pieces)
    ]
    found, address = dict[tuple[Key, int], int](), 1 << log_cells
    for log_size, key, i in sorted(pieces, key=lambda piece: -piece[0]):
        address -= 1 << log_size
        found[key, i] = address
    placed = {
        key: Column(storage, tuple(found[key, i] for i in range(len(storage.pieces)))) for key, storage in columns.items()
    }
    return placed, address >> log_message


MIN_LOG_MESSAGE, MAX_LOG_MESSAGE = 5, 15


LARGE_LOG_CELLS = 22
"""From here on the code's rate is 1/4 instead of 1/8: half the time and memory for a little more proof."""
