"""MinHash by datasketch, with everything that its releases may change pinned: scheme, hash function, permutations."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from verifai.errors import EvidenceRejected

if TYPE_CHECKING:
    from datasketch import MinHash

SCHEME = "affine32"
"""datasketch's permutation scheme. Its default changed with release 2.0, so codes name it and never take the default."""


_BATCH = 4096
"""Items hashed at once: all permutations of all of them are held, and a text of 4 MiB has millions."""


def _hash(data: bytes) -> int:
    return int.from_bytes(hashlib.sha256(data).digest()[:4], "little")


def _permutations(seed: bytes, count: int) -> np.ndarray[tuple[int, int], np.dtype[np.uint32]]:
    stream = hashlib.shake_256(b"verifai/minhash/v1\x00" + seed).digest(8 * count)
    values = np.frombuffer(stream, "<u4").astype(np.uint32).reshape(2, count).copy()
    values[0] |= 1  # h ↦ a·h + b mod 2³² is a permutation for odd a
    return values


def sketch(items: Iterable[bytes], seed: bytes, count: int) -> MinHash:
    """MinHash of a set of byte strings with ``count`` permutations drawn from the seed; one that comes twice counts once."""
    from datasketch import MinHash

    found = MinHash(num_perm=count, hashfunc=_hash, permutations=_permutations(seed, count), scheme=SCHEME)
    rest = iter(items)
    while batch := list(islice(rest, _BATCH)):
        found.update_batch(batch)
    return found


def to_bytes(minhash: MinHash) -> bytes:
    """4 bytes per permutation."""
    return np.asarray(minhash.hashvalues).astype("<u4").tobytes()


def from_bytes(code: bytes, count: int) -> MinHash:
    """The inverse of :func:`to_bytes`, to be put into a ``MinHashLSH`` or compared."""
    from datasketch import MinHash

    if len(code) != 4 * count:
        raise EvidenceRejected("fingerprint-malformed", f"{len(code)} bytes are not {count} MinHash values")
    values = np.frombuffer(code, "<u4").astype(np.uint32)
    return MinHash(num_perm=count, hashvalues=values, permutations=_permutations(b"", count), scheme=SCHEME)


def jaccard(first: bytes, second: bytes, count: int) -> float:
    """Estimated Jaccard similarity of two sketches with one seed; standard error at most 0.5/√count."""
    return float(from_bytes(first, count).jaccard(from_bytes(second, count)))
