"""A proof as a value, and its bytes.

Layout: the suite's magic; C_x root; per commitment, in the circuit's order, then per level, t columns of R u64, t salts where
it hides, t paths, and the cap; then the messages, pairs of u64, to the end. All integers little-endian. Nothing describes its
own length: lengths follow from the circuit, and the number of messages is checked by playing them.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from verifai.engines.sumcheck.circuit.program import CommitmentShape
from verifai.engines.sumcheck.protocol.field import Ext, P
from verifai.engines.sumcheck.protocol.merkle import DIGEST_BYTES, cap_size, path_length
from verifai.engines.sumcheck.protocol.suite import INTEGRITY, ZERO_KNOWLEDGE
from verifai.errors import EvidenceRejected

MAGIC = b"verifai/sumcheck-proof/2"
HIDING_MAGIC = b"verifai/sumcheck-zk-proof/2"
MAX_MESSAGES = 1 << 20


@dataclass(frozen=True, slots=True)
class Opening:
    """What an opening shows of one commitment.

    Attributes:
        columns: per query its R rows.
        paths: per query its siblings, lowest first. cap: the layer where paths end.
        salts: per query the leaf's salt; none unless the commitment hides.
    """

    columns: tuple[tuple[int, ...], ...]
    paths: tuple[tuple[bytes, ...], ...]
    cap: tuple[bytes, ...]
    salts: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Proof:
    """C_x's root, the openings in the circuit's order, those of levels last, and all messages."""

    root: bytes
    openings: tuple[Opening, ...]
    messages: tuple[Ext, ...]


def log_length(shape: CommitmentShape) -> int:
    """log2 n."""
    return shape.length.bit_length() - 1


def salt_bytes(shape: CommitmentShape) -> int:
    """Length of a leaf's salt."""
    return (ZERO_KNOWLEDGE if shape.hiding else INTEGRITY).salt_bytes


def magic_of(shapes: Sequence[CommitmentShape]) -> bytes:
    """The magic of proofs with these commitments: the first, C_x, hides in one suite and not in the other."""
    return HIDING_MAGIC if shapes[0].hiding else MAGIC


def opening_bytes(shape: CommitmentShape) -> int:
    """Length of one opening."""
    log = log_length(shape)
    column = 8 * shape.rows + salt_bytes(shape) + DIGEST_BYTES * path_length(log)
    return shape.queries * column + DIGEST_BYTES * cap_size(log)


def encode(proof: Proof) -> bytes:
    """The proof's bytes."""
    parts = [HIDING_MAGIC if proof.openings[0].salts else MAGIC, proof.root]
    for opening in proof.openings:
        parts += [struct.pack(f"<{len(column)}Q", *column) for column in opening.columns]
        parts += opening.salts
        parts += [sibling for path in opening.paths for sibling in path]
        parts += opening.cap
    parts.append(struct.pack(f"<{2 * len(proof.messages)}Q", *chain.from_iterable(proof.messages)))
    return b"".join(parts)


def decode(data: bytes, shapes: Sequence[CommitmentShape], most_messages: int = MAX_MESSAGES) -> Proof:
    """The proof of ``data`` for a circuit with ``shapes``. Its length is judged before anything is read from it.

    Args:
        most_messages: elements that no proof of the circuit exceeds.

    Raises:
        EvidenceRejected: code ``proof-malformed``, on a wrong magic or length, or an element that is not below p.
    """
    magic = magic_of(shapes)
    fixed = len(magic) + DIGEST_BYTES + sum(opening_bytes(shape) for shape in shapes)
    messages, rest = divmod(len(data) - fixed, 16)
    if data[: len(magic)] != magic or messages < 0 or rest or messages > min(most_messages, MAX_MESSAGES):
        raise EvidenceRejected("proof-malformed", "the proof has the wrong magic or length", where="proof")
    at = len(magic) + DIGEST_BYTES
    root = data[len(magic) : at]
    openings = []
    for shape in shapes:
        openings.append(_opening(data, at, shape))
        at += opening_bytes(shape)
    words = _words(data[at:], "messages")
    return Proof(root, tuple(openings), tuple(zip(words[::2], words[1::2], strict=True)))


def _words(data: bytes, where: str) -> tuple[int, ...]:
    words = struct.unpack(f"<{len(data) // 8}Q", data)
    if words and max(words) >= P:
        raise EvidenceRejected("proof-malformed", "a field element is not below p", where=where)
    return words


def _opening(data: bytes, at: int, shape: CommitmentShape) -> Opening:
    end = at + 8 * shape.rows * shape.queries
    words = _words(data[at:end], f"opening {shape.label}")
    columns = tuple(words[i * shape.rows : (i + 1) * shape.rows] for i in range(shape.queries))
    salt = salt_bytes(shape)
    salts = tuple(data[end + salt * i : end + salt * (i + 1)] for i in range(shape.queries)) if salt else ()
    end += salt * shape.queries
    steps = path_length(log_length(shape))
    count = shape.queries * steps + cap_size(log_length(shape))
    digests = [data[end + DIGEST_BYTES * i : end + DIGEST_BYTES * (i + 1)] for i in range(count)]
    paths = tuple(tuple(digests[i * steps : (i + 1) * steps]) for i in range(shape.queries))
    return Opening(columns, paths, tuple(digests[shape.queries * steps :]), salts)
