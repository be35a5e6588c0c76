"""Merkle tree over a vote's outputs (RFC 6962 hashing): what a verifier commits to before the seed is known."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from verifai.domain.digest import Sha256


def leaf_hash(data: bytes) -> bytes:
    """RFC 6962 section 2.1: SHA-256 of 0x00 and the leaf."""
    return hashlib.sha256(b"\x00" + data).digest()


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def _levels(leaves: Sequence[bytes]) -> list[list[bytes]]:
    if not leaves:
        raise ValueError("a tree of no leaves has no meaning here")
    levels = [list(leaves)]
    while len(levels[-1]) > 1:
        row = levels[-1]
        # An odd last node moves up unchanged, which is RFC 6962's split at the largest power of two.
        above = [_node(row[i], row[i + 1]) for i in range(0, len(row) - 1, 2)]
        if len(row) % 2:
            above.append(row[-1])
        levels.append(above)
    return levels


def root(leaves: Sequence[bytes]) -> Sha256:
    """Root over leaf hashes. Raises ValueError when there is none."""
    return Sha256(_levels(leaves)[-1][0].hex())


def path(leaves: Sequence[bytes], index: int) -> tuple[str, ...]:
    """Audit path of leaf ``index``, from the leaf upwards, as hex."""
    found = []
    for row in _levels(leaves)[:-1]:
        sibling = index ^ 1
        if sibling < len(row):
            found.append(row[sibling].hex())
        index //= 2
    return tuple(found)


def root_from_path(leaf: bytes, index: int, size: int, siblings: Sequence[str]) -> Sha256 | None:
    """The root that leaf, position and path lead to (RFC 9162 section 2.1.3.2); ``None`` for a path of wrong length."""
    if not 0 <= index < size:
        return None
    node, width = leaf, size
    remaining = iter(siblings)
    while width > 1:
        last_alone = index == width - 1 and width % 2
        if not last_alone:
            sibling = next(remaining, None)
            if sibling is None:
                return None
            other = bytes.fromhex(sibling)
            node = _node(other, node) if index % 2 else _node(node, other)
        index //= 2
        width = (width + 1) // 2
    return None if next(remaining, None) is not None else Sha256(node.hex())
