"""Sign-256 codes for finding near answers across jobs: replays, duplicates, free riders. Never for deciding.

A sign (random-hyperplane) hash of 256 bits calls 1 %-noise weights equal 6.6 % of the time, so what the index finds is
confirmed with projections. All answers in one index share one seed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from verifai.fingerprints.projection import project, require_finite

if TYPE_CHECKING:
    from datasketch import MinHashLSH

BITS = 256
BANDS = 16
WORDS = BITS // 64


def sign_code(values: NDArray[Any], seed: bytes) -> NDArray[np.uint64]:
    """Signs of 256 projections as four 64-bit words; a projection of zero counts as positive."""
    signs = project(require_finite(values, "output"), seed, BITS, "sign") >= 0.0
    return np.packbits(signs, bitorder="little").view("<u8").astype(np.uint64)


def hamming(first: NDArray[np.uint64], second: NDArray[np.uint64]) -> NDArray[np.uint16]:
    """All distances between ``(n, 4)`` and ``(m, 4)`` codes: ``(n, m)``."""
    total = np.bitwise_count(first[:, None, 0] ^ second[None, :, 0]).astype(np.uint16)
    for word in range(1, WORDS):
        total += np.bitwise_count(first[:, None, word] ^ second[None, :, word])
    return np.asarray(total)


def near_pairs(
    first: NDArray[np.uint64], second: NDArray[np.uint64], radius: int, *, block: int = 256
) -> Iterator[tuple[int, int, int]]:
    """Brute force: every (row, column, distance) within ``radius``; memory is bounded by ``block`` rows."""
    for start in range(0, len(first), block):
        distances = hamming(first[start : start + block], second)
        for row, column in zip(*np.nonzero(distances <= radius), strict=True):
            yield start + int(row), int(column), int(distances[row, column])


def band_recall(distance: float) -> float:
    """Chance that two codes at a Hamming distance share a band, when flips are independent: 1 − (1 − (1 − h/256)¹⁶)¹⁶."""
    width = BITS // BANDS
    return float(1.0 - (1.0 - (1.0 - distance / BITS) ** width) ** BANDS)


class BandIndex:
    """16 bands of 16 bits in a datasketch ``MinHashLSH``: each band is one value of a sketch with 16 values."""

    def __init__(self) -> None:
        from datasketch import MinHashLSH

        self._index: MinHashLSH = MinHashLSH(num_perm=BANDS, params=(BANDS, 1))

    def insert(self, keys: Sequence[str], codes: NDArray[np.uint64]) -> None:
        """Add ``(n, 4)`` codes under distinct keys."""
        with self._index.insertion_session() as session:
            for key, code in zip(keys, codes, strict=True):
                session.insert(key, _banded(code))

    def candidates(self, code: NDArray[np.uint64]) -> tuple[str, ...]:
        """Keys that share at least one band, ascending."""
        return tuple(sorted(self._index.query(_banded(code))))


def _banded(code: NDArray[np.uint64]) -> Any:
    from datasketch import MinHash

    bands = np.ascontiguousarray(code, dtype="<u8").view("<u2").astype(np.uint32)
    ones = np.ones(BANDS, dtype=np.uint32)
    return MinHash(num_perm=BANDS, hashvalues=bands, permutations=(ones, ones), scheme="affine32")
