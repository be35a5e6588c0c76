"""Merkle trees of RFC 6962 section 2.1: hashes, and the proofs of RFC 9162 sections 2.1.3 and 2.1.4, checked strictly.

Every size is at least 1 and every hash has 32 bytes. Implementations that let an empty tree or a short hash through have
accepted proofs of nothing, so both are refused before any arithmetic.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence

from verifai.errors import EvidenceRejected

HASH_BYTES = 32
MAX_PROOF = 64

Lookup = Callable[[int, int], bytes]
"""``(level, position)`` → hash of the complete subtree over leaves ``[position·2^level, (position+1)·2^level)``."""


def leaf_hash(entry: bytes) -> bytes:
    """SHA-256(0x00 ‖ entry)."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 ‖ left ‖ right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class TreeHead:
    """MTH of entries that come one after another, in memory logarithmic in their number."""

    def __init__(self) -> None:
        self._complete: list[tuple[int, bytes]] = []  # (height, hash) of complete subtrees, from the left, heights descending

    def add(self, entry: bytes) -> None:
        """One more entry, behind all before it."""
        complete, height, current = self._complete, 0, leaf_hash(entry)
        while complete and complete[-1][0] == height:
            current = node_hash(complete.pop()[1], current)
            height += 1
        complete.append((height, current))

    def root(self) -> bytes:
        """Of the entries so far. Raises ValueError when there are none."""
        if not self._complete:
            raise ValueError("an empty tree has no hash here")
        *rest, (_, root) = self._complete
        for _, left in reversed(rest):
            root = node_hash(left, root)
        return root


def root_of(entries: Iterable[bytes]) -> bytes:
    """MTH of ``entries``, in order, in memory logarithmic in their number. Raises ValueError when there are none."""
    head = TreeHead()
    for entry in entries:
        head.add(entry)
    return head.root()


def subtree_hash(lookup: Lookup, start: int, end: int) -> bytes:
    """MTH(D[start:end]); ``start`` is a multiple of the largest power of two below ``end - start``, as the RFC's splits are."""
    size = end - start
    if size < 1:
        raise ValueError("an empty subtree has no hash here")
    if size & (size - 1) == 0:
        level = size.bit_length() - 1
        return lookup(level, start >> level)
    split = start + _split(size)
    return node_hash(subtree_hash(lookup, start, split), subtree_hash(lookup, split, end))


def _split(size: int) -> int:
    """The largest power of two smaller than ``size``."""
    return 1 << ((size - 1).bit_length() - 1)


def inclusion_proof(lookup: Lookup, index: int, size: int) -> tuple[bytes, ...]:
    """PATH(index, D[0:size]), from the leaf's sibling upwards. Raises ValueError unless ``0 <= index < size``."""
    if not 0 <= index < size:
        raise ValueError(f"no leaf {index} in a tree of {size}")
    path: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        split = start + _split(end - start)
        if index < split:
            path.append(subtree_hash(lookup, split, end))
            end = split
        else:
            path.append(subtree_hash(lookup, start, split))
            start = split
    return tuple(reversed(path))


def consistency_proof(lookup: Lookup, first: int, second: int) -> tuple[bytes, ...]:
    """PROOF(first, D[0:second]). Raises ValueError unless ``1 <= first <= second``."""
    if not 1 <= first <= second:
        raise ValueError(f"no consistency between sizes {first} and {second}")
    path: list[bytes] = []
    start, end, known = 0, second, True
    while first != end:
        split = start + _split(end - start)
        if first <= split:
            path.append(subtree_hash(lookup, split, end))
            end = split
        else:
            path.append(subtree_hash(lookup, start, split))
            start, known = split, False
    if not known:
        path.append(subtree_hash(lookup, start, end))
    return tuple(reversed(path))


def check_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes, *, where: str = "") -> None:
    """RFC 9162 section 2.1.3.2. Raises EvidenceRejected (``log-proof-invalid``)."""
    _check_hashes((leaf, root, *proof), where)
    if size < 1:
        raise _refuse("a tree of size 0 includes nothing", where)
    if not 0 <= index < size:
        raise _refuse(f"there is no leaf {index} in a tree of {size}", where)
    node, last, current = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise _refuse("the inclusion proof is too long", where)
        if node & 1 or node == last:
            current = node_hash(sibling, current)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            current = node_hash(current, sibling)
        node, last = node >> 1, last >> 1
    if last:
        raise _refuse("the inclusion proof is too short", where)
    if current != root:
        raise _refuse("the inclusion proof leads to another root", where)


def check_consistency(
    first: int, second: int, proof: Sequence[bytes], first_root: bytes, second_root: bytes, *, where: str = ""
) -> None:
    """RFC 9162 section 2.1.4.2. Raises EvidenceRejected (``log-inconsistent``)."""
    _check_hashes((first_root, second_root, *proof), where, "log-inconsistent")
    if first < 1:
        raise _refuse("everything is consistent with an empty tree, so that proves nothing", where, "log-inconsistent")
    if first > second:
        raise _refuse(f"size {second} is smaller than {first}: the log was cut", where, "log-inconsistent")
    if first == second:
        if proof or first_root != second_root:
            raise _refuse("two different trees of one size, or a proof where none is needed", where, "log-inconsistent")
        return
    path = list(proof)
    if first & (first - 1) == 0:
        path.insert(0, first_root)
    if not path:
        raise _refuse("the consistency proof is empty", where, "log-inconsistent")
    node, last = first - 1, second - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    old = new = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise _refuse("the consistency proof is too long", where, "log-inconsistent")
        if node & 1 or node == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            new = node_hash(new, sibling)
        node, last = node >> 1, last >> 1
    if last:
        raise _refuse("the consistency proof is too short", where, "log-inconsistent")
    if old != first_root or new != second_root:
        raise _refuse("the consistency proof leads to other roots: the log's past was changed", where, "log-inconsistent")


def _check_hashes(hashes: Sequence[bytes], where: str, code: str = "log-proof-invalid") -> None:
    if len(hashes) > MAX_PROOF + 2:
        raise _refuse(f"more than {MAX_PROOF} hashes", where, code)
    for one in hashes:
        if len(one) != HASH_BYTES:
            raise _refuse(f"a hash of {len(one)} bytes instead of {HASH_BYTES}", where, code)


def _refuse(message: str, where: str, code: str = "log-proof-invalid") -> EvidenceRejected:
    return EvidenceRejected(
        code, message, where=where, hint="Ask the log for a new proof; if that fails, do not trust the log."
    )
