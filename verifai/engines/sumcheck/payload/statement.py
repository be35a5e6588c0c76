"""``statement.bin``: what a proof claims, as bytes, and as the statement type that all engines share.

Layout: the magic ``verifai/sumcheck-statement/1``; per input, then per output, of the circuit: a public tensor's centred cells,
row-major, i32 little-endian, or a hashed tensor's root, 32 bytes; then the context, UTF-8, to the end. In the zero-knowledge
suite the magic is ``verifai/sumcheck-zk-statement/1``, the number of the weights' opening follows it, u64, a hashed tensor's
root is followed by the number of its opening, u64, and a private tensor has no bytes. The proof binds every byte: the
verifier's transcript absorbs what is decoded here.
"""

from __future__ import annotations

import struct
from fractions import Fraction
from typing import assert_never

from verifai.domain.digest import Sha256
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
from verifai.engines.sumcheck.circuit.program import Circuit
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
)
from verifai.errors import EvidenceRejected

MAGIC = b"verifai/sumcheck-statement/1"
HIDING_MAGIC = b"verifai/sumcheck-zk-statement/1"
_ROOT, _NUMBER = 32, 8


def statement_bytes(circuit: Circuit) -> int:
    """The length without the context."""
    number = _NUMBER if circuit.zero_knowledge else 0
    total = len(_magic(circuit)) + number
    for port in (*circuit.inputs, *circuit.outputs):
        if port.visibility is Binding.PUBLIC:
            total += 4 * circuit.tensors[port.tensor].size
        elif port.visibility is Binding.HASHED:
            total += _ROOT + number
    return total


def _magic(circuit: Circuit) -> bytes:
    return HIDING_MAGIC if circuit.zero_knowledge else MAGIC


def encode_statement(circuit: Circuit, statement: Statement) -> bytes:
    """The file's bytes."""
    parts = [_magic(circuit)]
    if circuit.zero_knowledge:
        parts.append(struct.pack("<Q", statement.opening_number))
    for stated in statement.tensors:
        if isinstance(stated, PublicTensor):
            parts.append(struct.pack(f"<{len(stated.cells)}i", *stated.cells))
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
    fixed = statement_bytes(circuit)
    magic = _magic(circuit)
    if data[: len(magic)] != magic or not fixed <= len(data) <= fixed + MAX_CONTEXT:
        raise _refuse("wrong magic or length")
    at, opening = len(magic), 0
    if circuit.zero_knowledge:
        (opening,) = struct.unpack_from("<Q", data, at)
        at += _NUMBER
    tensors: list[StatedTensor] = []
    for port in (*circuit.inputs, *circuit.outputs):
        size = circuit.tensors[port.tensor].size
        if port.visibility is Binding.PUBLIC:
            tensors.append(PublicTensor(struct.unpack_from(f"<{size}i", data, at)))
            at += 4 * size
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
    return Statement(tuple(tensors), context, opening)


_VISIBILITY = {Binding.PUBLIC: Visibility.PUBLIC, Binding.HASHED: Visibility.HASHED, Binding.PRIVATE: Visibility.PRIVATE}


def domain_statement(
    circuit: Circuit, section: LockSection, statement: Statement, model_sha256: Sha256, roots: WeightRoots | None
) -> DomainStatement:
    """A verified statement as the type that all engines share. ``roots``: of private weights, else None."""
    tensors = []
    ports = (*circuit.inputs, *circuit.outputs)
    for pinned, port, stated in zip(section.tensors, ports, statement.tensors, strict=True):
        tensor = circuit.tensors[port.tensor]
        public = stated.cells if isinstance(stated, PublicTensor) else None
        root = stated.root.hex() if isinstance(stated, HashedTensor) else None
        tensors.append(
            TensorStatement(
                role=pinned.role,
                name=pinned.name,
                shape=pinned.shape,
                visibility=_VISIBILITY[port.visibility],
                scale=Fraction(*tensor.scale),
                zero_point=tensor.zero_point,
                quantised=None if public is None else tuple(cell + tensor.zero_point for cell in public),
                digest=root,
                digest_scheme=None if root is None else HIDING_SCHEME if circuit.zero_knowledge else DIGEST_SCHEME,
                columns=_columns(section, pinned),
                stored=pinned.stored,
                encoding=Encoding.FLOAT32 if _ordered(section, pinned) else Encoding.LINEAR,
            )
        )
    return DomainStatement(
        engine=EngineName.SUMCHECK,
        model_sha256=model_sha256,
        circuit_sha256=section.circuit_sha256,
        tensors=tuple(tensors),
        context=statement.context.decode("utf-8"),
        context_bound=True,
        privacy=Privacy.ZERO_KNOWLEDGE_UNAUDITED if circuit.zero_knowledge else Privacy.INTEGRITY_ONLY,
        weights=WeightVisibility(section.weights),
        openings=_openings(circuit, section, statement, roots),
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
