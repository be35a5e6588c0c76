"""Canonical bytes of a circuit, and its digest. Standard library only; strict, bounded, without recursion.

Layout: the magic ``verifai/circuit/1``, suite, weight visibility u8, to which 2 is added when the circuit has a batch axis,
whose length u32 follows then, in a zero-knowledge suite B u32, then the lists of :class:`.program.Circuit` in order: tensors,
weights, tables, ops, inputs, outputs, commitments, soundness. Little-endian: counts, indices and sizes u32, values i64. Lists:
count, then items. Strings: count, then printable ASCII. Tables: element width 1, 2, 4 or 8 (the least that holds all values),
then the values. Operations: code u8, then fields in order. Exactly one byte string belongs to each circuit: whatever decodes is
encoded again and compared.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.dispatch import require
from verifai.engines.sumcheck.circuit.program import (
    ZERO_KNOWLEDGE_PREFIX,
    Circuit,
    CommitmentShape,
    Port,
    SoundnessStep,
    Table,
    Tensor,
    Visibility,
    Weight,
    WeightVisibility,
)
from verifai.errors import EvidenceRejected

MAGIC = b"verifai/circuit/1"
MAX_BYTES = 1 << 28
MAX_RANK = 8
MAX_ITEMS = 1 << 16
MAX_INDICES = 1 << 24
MAX_TABLES = 1 << 12
MAX_TABLE_VALUES = 1 << 24
"""Of all tables together: many small ones cost no more than few large ones."""
MAX_NAME = 256
_BATCHED = 2

# Field kinds of operations: i index u32, v value i64, f flag u8, n list of u32, w list of i64, p pieces.
OPERATIONS: tuple[tuple[int, type[Any], str], ...] = (
    (1, ops.MatMul, "iiiii"),
    (2, ops.Conv, "iiiinnni"),
    (3, ops.BatchedMatMul, "iiiv"),
    (4, ops.Mul, "iiiv"),
    (5, ops.LinearCombination, "nwvi"),
    (6, ops.WindowSum, "iivnnn"),
    (7, ops.RowSum, "iiivi"),
    (8, ops.Requant, "iiiinf"),
    (9, ops.Lookup, "iii"),
    (10, ops.WindowMax, "iinnnn"),
    (11, ops.RowMax, "iiiif"),
    (12, ops.Recip, "ii"),
    (13, ops.Isqrt, "ii"),
    (14, ops.ArgMax, "ii"),
    (15, ops.Relabel, "ii"),
    (16, ops.View, "pvi"),
    (17, ops.Gather, "iinv"),
    (18, ops.Rescale, "iiinn"),
    (19, ops.GatedMatMul, "iiiiii"),
    (20, ops.RowScale, "iiiv"),
    (21, ops.WeightRows, "iii"),
    (22, ops.TopIndex, "iin"),
)
_WRITTEN: dict[type[Any], tuple[int, str]] = {kind: (code, fields) for code, kind, fields in OPERATIONS}
_KIND = {code: (kind, fields) for code, kind, fields in OPERATIONS}


# --- encoding -----------------------------------------------------------------------------------------------------------------


def _u32(value: int) -> bytes:
    return struct.pack("<I", value)


def _i64(value: int) -> bytes:
    return struct.pack("<q", value)


def _text(value: str) -> bytes:
    return _u32(len(value)) + value.encode("ascii")


def _many(values: tuple[int, ...]) -> bytes:
    return _u32(len(values)) + struct.pack(f"<{len(values)}I", *values)


def _many_values(values: tuple[int, ...]) -> bytes:
    return _u32(len(values)) + struct.pack(f"<{len(values)}q", *values)


def element_width(low: int, high: int) -> int:
    """Bytes of the least signed integer that holds [low, high]: 1, 2, 4 or 8."""
    for width in (1, 2, 4, 8):
        if -(1 << (8 * width - 1)) <= low and high < 1 << (8 * width - 1):
            return width
    raise ValueError(f"[{low}, {high}] does not fit in 64 bits")


_FORMAT = {1: "b", 2: "h", 4: "i", 8: "q"}


def _table(table: Table) -> bytes:
    width = element_width(min(table.values), max(table.values))
    body = struct.pack(f"<{len(table.values)}{_FORMAT[width]}", *table.values)
    return _text(table.name) + _i64(table.low) + _u32(len(table.values)) + bytes((width,)) + body


def _tensor(tensor: Tensor) -> bytes:
    numbers = (tensor.low, tensor.high, tensor.fill, *tensor.scale, tensor.zero_point)
    return _text(tensor.name) + _many(tensor.shape) + b"".join(map(_i64, numbers))


def _weight(weight: Weight) -> bytes:
    return _text(weight.name) + _many(weight.shape) + _i64(weight.bound) + _i64(weight.row_l1)


def _pieces(pieces: tuple[ops.Piece, ...]) -> bytes:
    parts = [_u32(len(pieces))]
    for piece in pieces:
        parts += [_u32(piece.source), _many(piece.axes), _u32(len(piece.indices))]
        parts += map(_many, piece.indices)
        parts.append(_many(piece.fixed))
    return b"".join(parts)


_ENCODE: dict[str, Callable[[Any], bytes]] = {
    "i": _u32,
    "v": _i64,
    "f": lambda flag: bytes((int(flag),)),
    "n": _many,
    "w": _many_values,
    "p": _pieces,
}


def _op(op: ops.Op) -> bytes:
    code, fields = require(_WRITTEN, op, "codes")
    values = (getattr(op, name) for name in type(op).__dataclass_fields__)
    return bytes((code,)) + b"".join(_ENCODE[field](value) for field, value in zip(fields, values, strict=True))


def _port(port: Port) -> bytes:
    return _u32(port.tensor) + bytes((port.visibility,))


def _commitment(shape: CommitmentShape) -> bytes:
    numbers = (shape.rows, shape.message, shape.degree, shape.length, shape.queries, shape.reserved_rows)
    return _text(shape.label) + b"".join(map(_u32, numbers))


def _hiding_commitment(shape: CommitmentShape) -> bytes:
    return _commitment(shape) + b"".join(map(_u32, (shape.mask, shape.tail, shape.budget, shape.mask_rows)))


def _step(step: SoundnessStep) -> bytes:
    return _text(step.label) + _u32(step.millibits)


def encode(circuit: Circuit) -> bytes:
    """The circuit's canonical bytes. Raises ValueError or struct.error when a field does not fit its type."""
    parts: list[bytes] = [MAGIC, _text(circuit.suite), bytes((circuit.weight_visibility | (_BATCHED if circuit.batch else 0),))]
    if circuit.batch:
        parts.append(_u32(circuit.batch))
    if circuit.zero_knowledge:
        parts.append(_u32(circuit.opening_budget))
    sections: tuple[tuple[tuple[Any, ...], Callable[[Any], bytes]], ...] = (
        (circuit.tensors, _tensor),
        (circuit.weights, _weight),
        (circuit.tables, _table),
        (circuit.ops, _op),
        (circuit.inputs, _port),
        (circuit.outputs, _port),
        (circuit.commitments, _hiding_commitment if circuit.zero_knowledge else _commitment),
        (circuit.soundness, _step),
    )
    for items, write in sections:
        parts.append(_u32(len(items)))
        parts += map(write, items)
    return b"".join(parts)


def circuit_digest(data: bytes) -> str:
    """SHA-256("verifai/circuit/1" ‖ canonical bytes), in lower-case hex."""
    return hashlib.sha256(MAGIC + data).hexdigest()


# --- decoding -----------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Reader:
    data: bytes
    at: int = 0

    def refuse(self, message: str) -> EvidenceRejected:
        return EvidenceRejected("circuit-malformed", f"not a circuit: {message}", where=f"byte {self.at}")

    def take(self, count: int) -> bytes:
        if count > len(self.data) - self.at:
            raise self.refuse("it ends too early")
        piece = self.data[self.at : self.at + count]
        self.at += count
        return piece

    def u8(self, high: int) -> int:
        value = self.take(1)[0]
        if value > high:
            raise self.refuse(f"{value} is greater than {high}")
        return value

    def u32(self) -> int:
        return int.from_bytes(self.take(4), "little")

    def i64(self) -> int:
        return int.from_bytes(self.take(8), "little", signed=True)

    def count(self, limit: int, item_bytes: int) -> int:
        """A list's length; checked against the bytes that are left before anything is allocated."""
        value = self.u32()
        if value > limit or value * item_bytes > len(self.data) - self.at:
            raise self.refuse(f"a list of {value} items")
        return value

    def text(self) -> str:
        raw = self.take(self.count(MAX_NAME, 1))
        if not raw or any(not 0x20 <= byte < 0x7F for byte in raw):
            raise self.refuse("a name is empty or not printable ASCII")
        return raw.decode("ascii")

    def many(self, limit: int = MAX_INDICES) -> tuple[int, ...]:
        count = self.count(limit, 4)
        return struct.unpack(f"<{count}I", self.take(4 * count))

    def many_values(self) -> tuple[int, ...]:
        count = self.count(MAX_ITEMS, 8)
        return struct.unpack(f"<{count}q", self.take(8 * count))


def _read_tensor(reader: _Reader) -> Tensor:
    name, shape = reader.text(), reader.many(MAX_RANK)
    low, high, fill, numerator, denominator, zero_point = (reader.i64() for _ in range(6))
    return Tensor(name, shape, low, high, fill, (numerator, denominator), zero_point)


def _read_weight(reader: _Reader) -> Weight:
    return Weight(reader.text(), reader.many(MAX_RANK), reader.i64(), reader.i64())


def _read_tables(reader: _Reader) -> tuple[Table, ...]:
    tables, left = [], MAX_TABLE_VALUES
    for _ in range(reader.count(MAX_TABLES, 8)):
        name, low, count = reader.text(), reader.i64(), reader.u32()
        width = reader.u8(8)
        if width not in _FORMAT or not 0 < count <= 1 << 16:
            raise reader.refuse("a table of an impossible size")
        left -= count
        if left < 0:  # before they are made
            raise reader.refuse(f"tables of more than {MAX_TABLE_VALUES} values together")
        tables.append(Table(name, low, struct.unpack(f"<{count}{_FORMAT[width]}", reader.take(count * width))))
    return tuple(tables)


def _read_pieces(reader: _Reader) -> tuple[ops.Piece, ...]:
    pieces = []
    for _ in range(reader.count(MAX_ITEMS, 16)):
        source, axes = reader.u32(), reader.many(MAX_RANK)
        indices = tuple(reader.many() for _ in range(reader.count(MAX_RANK, 4)))
        pieces.append(ops.Piece(source, axes, indices, reader.many(MAX_RANK)))
    return tuple(pieces)


_DECODE: dict[str, Callable[[_Reader], Any]] = {
    "i": _Reader.u32,
    "v": _Reader.i64,
    "f": lambda reader: bool(reader.u8(1)),
    "n": _Reader.many,
    "w": _Reader.many_values,
    "p": _read_pieces,
}


def _read_op(reader: _Reader) -> ops.Op:
    code = reader.u8(255)
    if code not in _KIND:
        raise reader.refuse(f"no operation has code {code}")
    kind, fields = _KIND[code]
    op: ops.Op = kind(*(_DECODE[field](reader) for field in fields))
    return op


def _read_port(reader: _Reader) -> Port:
    return Port(reader.u32(), Visibility(reader.u8(2)))


def _read_commitment(reader: _Reader, hiding: bool) -> CommitmentShape:
    return CommitmentShape(reader.text(), *(reader.u32() for _ in range(10 if hiding else 6)))


def _read_step(reader: _Reader) -> SoundnessStep:
    return SoundnessStep(reader.text(), reader.u32())


def decode(data: bytes) -> Circuit:
    """The circuit of canonical ``data``, its structure checked but not its rules (:func:`.check.check`).

    Raises:
        EvidenceRejected: code ``circuit-malformed``, on anything that :func:`encode` does not produce.
    """
    reader = _Reader(data)
    if len(data) > MAX_BYTES or reader.take(len(MAGIC)) != MAGIC:
        raise reader.refuse("wrong magic or too large")
    suite, kind = reader.text(), reader.u8(_BATCHED | 1)
    visibility, batch = WeightVisibility(kind & 1), reader.u32() if kind & _BATCHED else 0
    hiding = suite.startswith(ZERO_KNOWLEDGE_PREFIX)
    budget = reader.u32() if hiding else 0
    tensors = tuple(_read_tensor(reader) for _ in range(reader.count(MAX_ITEMS, 8)))
    weights = tuple(_read_weight(reader) for _ in range(reader.count(MAX_ITEMS, 8)))
    tables = _read_tables(reader)
    operations = tuple(_read_op(reader) for _ in range(reader.count(MAX_ITEMS, 1)))
    inputs = tuple(_read_port(reader) for _ in range(reader.count(256, 5)))
    outputs = tuple(_read_port(reader) for _ in range(reader.count(256, 5)))
    commitments = tuple(_read_commitment(reader, hiding) for _ in range(reader.count(1024, 8)))
    soundness = tuple(_read_step(reader) for _ in range(reader.count(MAX_ITEMS, 8)))
    listed = (tensors, weights, tables, operations, inputs, outputs)
    circuit = Circuit(suite, *listed, visibility, commitments, soundness, budget, batch)
    if reader.at != len(data):
        raise reader.refuse("bytes follow the end")
    if encode(circuit) != data:
        raise reader.refuse("not the canonical bytes of what it holds")
    return circuit
