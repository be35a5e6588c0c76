"""The vector SHA-256 is SHA-256: every remainder of lanes and blocks, against hashlib."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from verifai.engines.sumcheck.protocol.merkle import leaf, node
from verifai.engines.sumcheck.protocol.suite import LEAF_TAG
from verifai.engines.sumcheck.prover.commitment import merkle_layers
from verifai.engines.sumcheck.prover.hash_kernels import LANES, sha256_rows


def _digests(rows: np.ndarray) -> list[bytes]:
    return [digest.tobytes() for digest in sha256_rows(rows)]


@pytest.mark.parametrize("count", [1, 2, LANES - 1, LANES, LANES + 1, 3 * LANES + 5])
@pytest.mark.parametrize("words", [1, 13, 14, 15, 16, 17, 18, 29, 30, 31, 32, 33, 200])
def test_every_length_and_number_of_messages(count: int, words: int) -> None:
    rows = np.random.default_rng(count * 1000 + words).integers(0, 2**32, (count, words), dtype=np.uint32)
    assert _digests(rows) == [hashlib.sha256(row.tobytes()).digest() for row in rows]


@pytest.mark.parametrize("value", [0, 1, 0x80000000, 0xFFFFFFFF])
def test_extreme_words(value: int) -> None:
    rows = np.full((LANES + 1, 18), value, dtype=np.uint32)
    assert _digests(rows) == [hashlib.sha256(row.tobytes()).digest() for row in rows]


@pytest.mark.parametrize(("leaves", "width", "threads"), [(1, 2, 1), (2, 3, 2), (64, 21, 1), (1 << 12, 40, 3)])
def test_a_tree_is_the_one_that_the_verifier_walks(leaves: int, width: int, threads: int) -> None:
    codeword = np.random.default_rng(leaves).integers(0, 2**64, (leaves, width), dtype=np.uint64)
    codeword[:, 0] = np.frombuffer(LEAF_TAG, dtype="<u8")[0]
    layer = [leaf(row[1:].tobytes()) for row in codeword]
    expected = [b"".join(layer)]
    while len(layer) > 1:
        layer = [node(layer[i], layer[i + 1]) for i in range(0, len(layer), 2)]
        expected.append(b"".join(layer))
    assert list(merkle_layers(codeword, threads)) == expected
