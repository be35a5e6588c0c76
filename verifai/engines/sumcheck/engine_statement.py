"""``statement.bin``: what a proof claims, as bytes; and the same in the domain's terms.

Layout: the magic ``verifai/sumcheck-statement/1``; per input, then per output, of the circuit: a public tensor's centred cells,
row-major, i32 little-endian, or a hashed tensor's root, 32 bytes; then the context, UTF-8, to the end. The proof binds every
byte: the verifier's transcript absorbs what is decoded here.
"""

from __future__ import annotations

import struct
from fractions import Fraction

from verifai.domain.digest import Sha256
from verifai.domain.statement import (
    EngineName,
    Privacy,
    TensorStatement,
    Visibility,
    WeightVisibility,
)
from verifai.domain.statement import Statement as DomainStatement
from verifai.engines.sumcheck.circuit import Circuit
from verifai.engines.sumcheck.circuit import Visibility as Binding
from verifai.engines.sumcheck.engine_tensors import DIGEST_SCHEME
from verifai.engines.sumcheck.lock_section import LockSection
from verifai.engines.sumcheck.verifier.statement import MAX_CONTEXT, HashedTensor, PublicTensor, StatedTensor, Statement
from verifai.errors import EvidenceRejected

MAGIC = b"verifai/sumcheck-statement/1"
_ROOT = 32


def statement_bytes(circuit: Circuit) -> int:
    """The length without the context."""
    ports = (*circuit.inputs, *circuit.outputs)
    sizes = (4 * circuit.tensors[port.tensor].size if port.visibility is Binding.PUBLIC else _ROOT for port in ports)
    return len(MAGIC) + sum(sizes)


def encode_statement(statement: Statement) -> bytes:
    """The file's bytes."""
    parts = [MAGIC]
    for stated in statement.tensors:
        if isinstance(stated, PublicTensor):
            parts.append(struct.pack(f"<{len(stated.cells)}i", *stated.cells))
        elif isinstance(stated, HashedTensor):
            parts.append(stated.root)
    parts.append(statement.context)
    return b"".join(parts)


def decode_statement(circuit: Circuit, data: bytes) -> Statement:
    """The statement in ``data``.

    Raises:
        EvidenceRejected: code ``statement-malformed``, on a wrong magic or length, or a context that is not UTF-8.
    """
    fixed = statement_bytes(circuit)
    if data[: len(MAGIC)] != MAGIC or not fixed <= len(data) <= fixed + MAX_CONTEXT:
        raise _refuse("wrong magic or length")
    at = len(MAGIC)
    tensors: list[StatedTensor] = []
    for port in (*circuit.inputs, *circuit.outputs):
        size = circuit.tensors[port.tensor].size
        if port.visibility is Binding.PUBLIC:
            tensors.append(PublicTensor(struct.unpack_from(f"<{size}i", data, at)))
            at += 4 * size
        else:
            tensors.append(HashedTensor(data[at : at + _ROOT]))
            at += _ROOT
    context = data[at:]
    try:
        context.decode("utf-8")
    except UnicodeDecodeError:
        raise _refuse("the context is not UTF-8") from None
    return Statement(tuple(tensors), context)


def domain_statement(circuit: Circuit, section: LockSection, statement: Statement, model_sha256: Sha256) -> DomainStatement:
    """A verified statement in the terms of every engine."""
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
                visibility=Visibility.PUBLIC if public is not None else Visibility.HASHED,
                scale=Fraction(*tensor.scale),
                zero_point=tensor.zero_point,
                quantised=None if public is None else tuple(cell + tensor.zero_point for cell in public),
                digest=root,
                digest_scheme=None if root is None else DIGEST_SCHEME,
            )
        )
    return DomainStatement(
        engine=EngineName.SUMCHECK,
        model_sha256=model_sha256,
        circuit_sha256=section.circuit_sha256,
        tensors=tuple(tensors),
        context=statement.context.decode("utf-8"),
        context_bound=True,
        privacy=Privacy.INTEGRITY_ONLY,
        weights=WeightVisibility(section.weights),
    )


def _refuse(message: str) -> EvidenceRejected:
    return EvidenceRejected("statement-malformed", f"not a statement of this circuit: {message}", where="statement.bin")
