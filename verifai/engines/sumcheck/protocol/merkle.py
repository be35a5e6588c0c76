"""Merkle tree over the columns of a codeword: SHA-256, leaves and nodes tagged apart, paths up to a cap of fixed size."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence

from verifai.engines.sumcheck.protocol.suite import CAP_LOG, LEAF_TAG, NODE_TAG
from verifai.errors import EvidenceRejected

DIGEST_BYTES = 32


def leaf(column: bytes, salt: bytes = b"") -> bytes:
    """Digest of one column: its rows as u64, little-endian, after the salt."""
    return hashlib.sha256(LEAF_TAG + salt + column).digest()


def column_leaf(column: Sequence[int], salt: bytes = b"") -> bytes:
    """:func:`leaf` of a column's elements of F_p."""
    return leaf(struct.pack(f"<{len(column)}Q", *column), salt)


def node(left: bytes, right: bytes) -> bytes:
    """Digest of an inner node."""
    return hashlib.sha256(NODE_TAG + left + right).digest()


def path_length(log_leaves: int) -> int:
    """Siblings between a leaf and the cap."""
    return max(0, log_leaves - CAP_LOG)


def cap_size(log_leaves: int) -> int:
    """Number of nodes of the cap."""
    return 1 << min(CAP_LOG, log_leaves)


def root_of_cap(cap: Sequence[bytes]) -> bytes:
    """The Merkle root above a cap of 2^k nodes."""
    layer = list(cap)
    while len(layer) > 1:
        layer = [node(layer[i], layer[i + 1]) for i in range(0, len(layer), 2)]
    return layer[0]


def check_path(position: int, digest: bytes, path: Sequence[bytes], cap: Sequence[bytes], where: str) -> None:
    """Raise EvidenceRejected (``proof-invalid``) unless the leaf digest at ``position`` leads into the cap."""
    for sibling in path:
        digest = node(sibling, digest) if position & 1 else node(digest, sibling)
        position >>= 1
    if cap[position] != digest:
        raise EvidenceRejected("proof-invalid", "an opened column is not in the commitment", where=where)
