"""What a proof claims: this circuit, these weights, these tensors, this context."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias, assert_never

from verifai.engines.sumcheck.circuit.program import Circuit, Port, Tensor, Visibility, WeightVisibility
from verifai.engines.sumcheck.protocol.merkle import DIGEST_BYTES
from verifai.engines.sumcheck.protocol.transcript import Transcript
from verifai.errors import EvidenceRejected

MAX_CONTEXT = 1 << 16


@dataclass(frozen=True, slots=True)
class PublicTensor:
    """A tensor whose cells are shown: centred integers x = q − zero_point, true cells, row-major."""

    cells: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class HashedTensor:
    """A tensor bound by the root of a commitment of its own.

    Attributes:
        number: which opening of the root this proof makes; 0 in the integrity-only suite, whose roots have no budget.
    """

    root: bytes
    number: int = 0


@dataclass(frozen=True, slots=True)
class PrivateTensor:
    """A tensor of which nothing is stated but that it exists, with the circuit's shape and range."""


StatedTensor: TypeAlias = PublicTensor | HashedTensor | PrivateTensor

_KINDS: dict[Visibility, type[StatedTensor]] = {
    Visibility.PUBLIC: PublicTensor,
    Visibility.HASHED: HashedTensor,
    Visibility.PRIVATE: PrivateTensor,
}


@dataclass(frozen=True, slots=True)
class Statement:
    """Inputs, then outputs, in the circuit's order; the caller's context, such as a nonce.

    Attributes:
        opening_number: which opening of the weights' root this proof makes; 0 where weights are public, and in the
            integrity-only suite, whose roots have no budget.
        items: of a batch, how many of the circuit's items count, from the first; 0 where the circuit has no batch axis. The
            others are filler, which repeats the last one that counts.
    """

    tensors: tuple[StatedTensor, ...]
    context: bytes = b""
    opening_number: int = 0
    items: int = 0


def check_statement(circuit: Circuit, statement: Statement) -> None:
    """Check the statement against the circuit: kinds, counts, ranges.

    Raises:
        EvidenceRejected: code ``statement-invalid``, the tensor named.
    """
    ports = circuit.inputs + circuit.outputs
    if len(ports) != len(statement.tensors):
        raise _refuse(f"{len(statement.tensors)} tensors are stated, the circuit has {len(ports)}", "statement")
    if len(statement.context) > MAX_CONTEXT:
        raise _refuse("the context is too long", "statement")
    if not 0 <= statement.opening_number < max(1, circuit.opening_budget):
        raise _refuse(f"opening number {statement.opening_number} is beyond the weights' budget", "statement")
    if not (1 <= statement.items <= circuit.batch if circuit.batch else statement.items == 0):
        raise _refuse(f"{statement.items} items are stated, the circuit takes {circuit.batch}", "statement")
    opened = [(stated.root, stated.number) for stated in statement.tensors if isinstance(stated, HashedTensor)]
    if circuit.zero_knowledge and len(set(opened)) != len(opened):
        raise _refuse("one opening of one root is stated twice", "statement")
    budgets = {shape.label: shape.budget for shape in circuit.commitments}
    for port, stated in zip(ports, statement.tensors, strict=True):
        tensor = circuit.tensors[port.tensor]
        if not isinstance(stated, _KINDS[port.visibility]):
            raise _refuse(f"the circuit has a {port.visibility.name.lower()} tensor here", tensor.name)
        if isinstance(stated, PrivateTensor):
            continue
        if isinstance(stated, HashedTensor):
            if len(stated.root) != DIGEST_BYTES:
                raise _refuse("the root does not have 32 bytes", tensor.name)
            if not 0 <= stated.number < max(1, budgets.get(f"io:{tensor.name}", 0)):
                raise _refuse(f"opening number {stated.number} is beyond the root's budget", tensor.name)
        elif len(stated.cells) != tensor.size:
            raise _refuse(f"{len(stated.cells)} cells for shape {tensor.shape}", tensor.name)
        elif min(stated.cells) < tensor.low or max(stated.cells) > tensor.high:
            raise _refuse(f"a cell lies outside [{tensor.low}, {tensor.high}]", tensor.name)
        elif circuit.batch and stated.cells != with_filler(stated.cells[: shown_size(tensor, statement.items)], tensor):
            raise _refuse("filler does not repeat the last item", tensor.name)


def shown_size(tensor: Tensor, items: int) -> int:
    """How many cells of a public tensor a statement of ``items`` items shows: all of them where there is no batch (0)."""
    return tensor.size // tensor.shape[0] * items if items else tensor.size


def with_filler(cells: tuple[int, ...], tensor: Tensor) -> tuple[int, ...]:
    """The items that count, and the last of them again and again, until the tensor is full."""
    item = tensor.size // tensor.shape[0]
    return cells + cells[-item:] * ((tensor.size - len(cells)) // item)


def absorb_statement(transcript: Transcript, circuit: Circuit, statement: Statement, digest: bytes, weights: bytes) -> None:
    """Enter circuit digest, weights' identity and the whole statement."""
    transcript.absorb("circuit", digest)
    kind = "weights.root" if circuit.weight_visibility is WeightVisibility.COMMITTED else "weights.digest"
    transcript.absorb(kind, weights)
    flags = bytes((len(circuit.inputs), len(circuit.outputs), circuit.weight_visibility, circuit.zero_knowledge))
    transcript.absorb("statement.flags", flags)
    transcript.absorb("statement.opening_number", statement.opening_number.to_bytes(8, "little"))
    if circuit.batch:
        transcript.absorb("statement.items", statement.items.to_bytes(8, "little"))
    for port, stated in zip(circuit.inputs + circuit.outputs, statement.tensors, strict=True):
        transcript.absorb("statement.tensor", _description(circuit.tensors[port.tensor], port))
        if isinstance(stated, PublicTensor):
            transcript.absorb("statement.cells", _cells(stated.cells))
        elif isinstance(stated, HashedTensor):
            transcript.absorb("statement.root", stated.root)
            if circuit.zero_knowledge:
                transcript.absorb("statement.number", stated.number.to_bytes(8, "little"))
        elif not isinstance(stated, PrivateTensor):
            assert_never(stated)
    transcript.absorb("statement.context", statement.context)


def _cells(values: Sequence[int]) -> bytes:
    return struct.pack(f"<{len(values)}q", *values)


def _description(tensor: Tensor, port: Port) -> bytes:
    """Visibility, shape, range, scale and zero point: u64 or i64 each."""
    numbers = (port.visibility, len(tensor.shape), *tensor.shape, tensor.low, tensor.high, *tensor.scale, tensor.zero_point)
    return _cells(numbers)


def _refuse(message: str, where: str) -> EvidenceRejected:
    return EvidenceRejected("statement-invalid", message, where=where)
