"""``statement.bin``: what a proof claims, as bytes, and as the statement type that all engines share.

Layout: the magic ``verifai/sumcheck-statement/1``; per input, then per output, of the circuit: a public tensor's centred cells,
row-major, i32 little-endian (i64 where the circuit's range is wider), or a hashed tensor's root, 32 bytes; then the context,
UTF-8, to the end. In the zero-knowledge suite the magic is ``verifai/sumcheck-zk-statement/1``, the number of the weights'
opening follows it, u64, a hashed tensor's root is followed by the number of its opening, u64, and a private tensor has no
bytes. Of a batch, the number of items that count, u64, stands before the tensors, and public tensors have the cells of these
items alone, in the least width that holds the circuit's range of the tensor: filler repeats the last item, so no byte could say
otherwise. Where the statement is about an answer of a language model, the lengths of prompt and answer stand before the context
(:mod:`verifai.domain.generation`). The proof binds every byte: the verifier's transcript absorbs what is decoded here.
"""

from __future__ import annotations

import struct
from fractions import Fraction
from typing import assert_never

from verifai.domain.digest import Sha256
from verifai.domain.generation import unbound
from verifai.domain.packed_cells import kind_of, pack, unpack, width_of
from verifai.domain.statement import (
    Column,
    CommitmentOpening,
    Encoding,
    EngineName,
    Privacy,
    TensorStatement,
    Visibility,
    WeightVisibility,
)
from verifai.domain.statement import Statement as DomainStatement
from verifai.engines.sumcheck.circuit.program import Circuit, Tensor
from verifai.engines.sumcheck.circuit.program import Visibility as Binding
from verifai.engines.sumcheck.lock_section import LockSection, PinnedTensor
from verifai.engines.sumcheck.payload.weight_roots import WeightRoots
from verifai.engines.sumcheck.planning.plan_hiding import TENSOR_BUDGET
from verifai.engines.sumcheck.protocol.statement import (
    MAX_CONTEXT,
    HashedTensor,
    PrivateTensor,
    PublicTensor,
    StatedTensor,
    Statement,
    shown_size,
    with_filler,
)
from verifai.errors import EvidenceRejected

MAGIC = b"verifai/sumcheck-statement/1"
HIDING_MAGIC = b"verifai/sumcheck-zk-statement/1"
_ROOT, _NUMBER = 32, 8


def statement_bytes(circuit: Circuit, items: int) -> int:
    """The length without the context; ``items``: of a batch, how many count, else 0."""
    number = _NUMBER if circuit.zero_knowledge else 0
    total = len(_magic(circuit)) + number + (_NUMBER if circuit.batch else 0)
    for port in (*circuit.inputs, *circuit.outputs):
        if port.visibility is Binding.PUBLIC:
            tensor = circuit.tensors[port.tensor]
            total += width_of(_kind(circuit, tensor)) * shown_size(tensor, items)
        elif port.visibility is Binding.HASHED:
            total += _ROOT + number
    return total


def _kind(circuit: Circuit, tensor: Tensor) -> str:
    """How public cells are written."""
    if circuit.batch:
        return kind_of(tensor.low, tensor.high)
    return "i32" if tensor.low >= -(1 << 31) and tensor.high < 1 << 31 else "i64"


def _magic(circuit: Circuit) -> bytes:
    return HIDING_MAGIC if circuit.zero_knowledge else MAGIC


def encode_statement(circuit: Circuit, statement: Statement) -> bytes:
    """The file's bytes."""
    parts = [_magic(circuit)]
    if circuit.zero_knowledge:
        parts.append(struct.pack("<Q", statement.opening_number))
    if circuit.batch:
        parts.append(struct.pack("<Q", statement.items))
    for port, stated in zip((*circuit.inputs, *circuit.outputs), statement.tensors, strict=True):
        if isinstance(stated, PublicTensor):
            tensor = circuit.tensors[port.tensor]
            shown = stated.cells[: shown_size(tensor, statement.items)]
            parts.append(pack(_kind(circuit, tensor), shown))
        elif isinstance(stated, HashedTensor):
            parts.append(stated.root)
            if circuit.zero_knowledge:
                parts.append(struct.pack("<Q", stated.number))
        elif not isinstance(stated, PrivateTensor):
            assert_never(stated)
    parts.append(statement.context)
    return b"".join(parts)


def decode_statement(circuit: Circuit, data: bytes) -> Statement:
    """The statement in ``data``.

    Raises:
        EvidenceRejected: code ``statement-malformed``, on a wrong magic or length, or a context that is not UTF-8.
    """
    magic = _magic(circuit)
    at, numbers = len(magic), []
    for _ in range(circuit.zero_knowledge + bool(circuit.batch)):
        numbers.append(int.from_bytes(data[at : at + _NUMBER], "little"))
        at += _NUMBER
    opening = numbers[0] if circuit.zero_knowledge else 0
    items = numbers[-1] if circuit.batch else 0
    if circuit.batch and not 1 <= items <= circuit.batch:  # before anything is made of that length
        raise _refuse(f"{items} items, where the circuit takes 1 to {circuit.batch}")
    fixed = statement_bytes(circuit, items)
    if data[: len(magic)] != magic or not fixed <= len(data) <= fixed + MAX_CONTEXT:
        raise _refuse("wrong magic or length")
    tensors: list[StatedTensor] = []
    for port in (*circuit.inputs, *circuit.outputs):
        if port.visibility is Binding.PUBLIC:
            tensor = circuit.tensors[port.tensor]
            kind, size = _kind(circuit, tensor), shown_size(tensor, items)
            cells = unpack(kind, data, at, size)
            tensors.append(PublicTensor(with_filler(cells, tensor) if items else cells))
            at += width_of(kind) * size
        elif port.visibility is Binding.PRIVATE:
            tensors.append(PrivateTensor())
        elif port.visibility is Binding.HASHED:
            root, number = data[at : at + _ROOT], 0
            at += _ROOT
            if circuit.zero_knowledge:
                (number,) = struct.unpack_from("<Q", data, at)
                at += _NUMBER
            tensors.append(HashedTensor(root, number))
        else:
            assert_never(port.visibility)
    context = data[at:]
    try:
        context.decode("utf-8")
    except UnicodeDecodeError:
        raise _refuse("the context is not UTF-8") from None
    return Statement(tuple(tensors), context, opening, items)


_VISIBILITY = {Binding.PUBLIC: Visibility.PUBLIC, Binding.HASHED: Visibility.HASHED, Binding.PRIVATE: Visibility.PRIVATE}


def domain_statement(
    circuit: Circuit, section: LockSection, statement: Statement, model_sha256: Sha256, roots: WeightRoots | None
) -> DomainStatement:
    """A verified statement as the type that all engines share. ``roots``: of private weights, else None.

    Raises:
        EvidenceRejected: ``statement-malformed``, for lengths of an answer that are not as we write them.
    """
    tensors = []
    ports = (*circuit.inputs, *circuit.outputs)
    for pinned, port, stated in zip(section.tensors, ports, statement.tensors, strict=True):
        tensor = circuit.tensors[port.tensor]
        public = stated.cells[: shown_size(tensor, statement.items)] if isinstance(stated, PublicTensor) else None
        root = stated.root.hex() if isinstance(stated, HashedTensor) else None
        tensors.append(
            TensorStatement(
                role=pinned.role,
                name=pinned.name,
                shape=(statement.items, *pinned.shape) if circuit.batch else pinned.shape,
                visibility=_VISIBILITY[port.visibility],
                scale=Fraction(*tensor.scale),
                zero_point=tensor.zero_point,
                quantised=None if public is None else tuple(cell + tensor.zero_point for cell in public),
                digest=root,
                digest_scheme=None if root is None else HIDING_SCHEME if circuit.zero_knowledge else DIGEST_SCHEME,
                columns=_columns(section, pinned),
                stored=pinned.stored,
                batch=circuit.batch,
                encoding=Encoding.FLOAT32 if _ordered(section, pinned) else Encoding.LINEAR,
            )
        )
    generation, context = unbound(statement.context.decode("utf-8"))
    return DomainStatement(
        engine=EngineName.SUMCHECK,
        model_sha256=model_sha256,
        circuit_sha256=section.circuit_sha256,
        tensors=tuple(tensors),
        context=context,
        context_bound=True,
        privacy=Privacy.ZERO_KNOWLEDGE_UNAUDITED if circuit.zero_knowledge else Privacy.INTEGRITY_ONLY,
        weights=WeightVisibility(section.weights),
        openings=_openings(circuit, section, statement, roots),
        generation=generation,
    )


def _columns(section: LockSection, pinned: PinnedTensor) -> tuple[Column, ...]:
    """Scales of a tensor's columns: the lock says what the circuit's integers stand for."""
    if pinned.name not in section.scales:
        return ()
    return tuple(Column(one.step, one.zero_point) for one in section.scales[pinned.name].columns)


def _ordered(section: LockSection, pinned: PinnedTensor) -> bool:
    return pinned.name in section.scales and section.scales[pinned.name].ordered


def _openings(
    circuit: Circuit, section: LockSection, statement: Statement, roots: WeightRoots | None
) -> tuple[CommitmentOpening, ...]:
    """Every opening of a hiding commitment that other proofs open too, so that repeated numbers can be found across bundles."""
    if not circuit.zero_knowledge:
        return ()
    found = []
    if roots is not None:
        budget = circuit.opening_budget
        found.append(CommitmentOpening("weights", roots.root, statement.opening_number, budget))
        for one in roots.spent:
            what = f"weights, by their {one.kind.value}"
            found.append(CommitmentOpening(what, one.root, one.number, budget, one.proof_sha256))
    for pinned, stated in zip(section.tensors, statement.tensors, strict=True):
        if isinstance(stated, HashedTensor):
            found.append(CommitmentOpening(pinned.name, Sha256(stated.root.hex()), stated.number, TENSOR_BUDGET))
    return tuple(found)


def _refuse(message: str) -> EvidenceRejected:
    return EvidenceRejected("statement-malformed", f"not a statement of this circuit: {message}", where="statement.bin")


DIGEST_SCHEME = "sumcheck-root/1"
"""The root of the tensor's own commitment (suite ``sumcheck/2``)."""


HIDING_SCHEME = "sumcheck-zk-root/1"
"""The root of the tensor's own hiding commitment: it depends on a secret seed too."""
