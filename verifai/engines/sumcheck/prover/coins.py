"""The prover's coins: uniform field elements and salts from one secret key, by purpose.

Stream: SHAKE-256(key ‖ length ‖ purpose ‖ counter), little-endian words, those that are not below p left out. A key is used for
one proof, or for one long-lived commitment; no purpose is drawn twice from one key.
"""

from __future__ import annotations

from hashlib import shake_256
from typing import Protocol

import numpy as np

from verifai.engines.sumcheck.protocol.field import P
from verifai.engines.sumcheck.protocol.suite import SEED_BYTES
from verifai.engines.sumcheck.prover.kernels import U64

_BLOCK_WORDS = 1 << 17


class Coins(Protocol):
    """Where a hiding prover gets its coins; scripted in tests."""

    def field(self, purpose: str, count: int) -> U64:
        """``count`` uniform elements of F_p."""

    def salts(self, purpose: str, count: int) -> U64:
        """``count`` salts of 32 bytes, as (count, 4) words."""


class SecretCoins:
    """Coins from a secret key. Refuses to draw for one purpose twice: two secrets under equal coins would both be readable."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._drawn: set[str] = set()

    def field(self, purpose: str, count: int) -> U64:
        """``count`` uniform elements of F_p, by rejection."""
        self._once(purpose)
        result: U64 = np.empty(count, dtype=np.uint64)
        filled = counter = 0
        while filled < count:
            words = self._words(purpose, counter, min(_BLOCK_WORDS, count - filled))
            words = words[words < np.uint64(P)]
            result[filled : filled + len(words)] = words
            filled, counter = filled + len(words), counter + 1
        return result

    def salts(self, purpose: str, count: int) -> U64:
        """``count`` salts of 32 bytes, as (count, 4) words."""
        self._once(purpose)
        blocks = range(0, 4 * count, _BLOCK_WORDS)
        words = [self._words(purpose, i, min(_BLOCK_WORDS, 4 * count - start)) for i, start in enumerate(blocks)]
        return np.concatenate(words).reshape(count, 4)

    def _once(self, purpose: str) -> None:
        if purpose in self._drawn:
            raise ValueError(f"coins for {purpose!r} were drawn before")
        self._drawn.add(purpose)

    def _words(self, purpose: str, counter: int, count: int) -> U64:
        name = purpose.encode("ascii")
        seed = self._key + len(name).to_bytes(8, "little") + name + counter.to_bytes(8, "little")
        return np.frombuffer(shake_256(seed).digest(8 * count), dtype="<u8").astype(np.uint64, copy=False)


def proof_key(entropy: bytes, witness: bytes, statement: bytes) -> bytes:
    """The key of one proof: fresh entropy, and, should that fail, still different for every witness and statement.

    Args:
        entropy: 32 bytes of the system's. witness, statement: digests of 32 bytes each.
    """
    return shake_256(b"verifai/sumcheck-zk/proof-coins" + entropy + witness + statement).digest(SEED_BYTES)


def commitment_key(seed: bytes, shape: bytes, values: bytes) -> bytes:
    """The key of a long-lived commitment: a hashed tensor's or the weights'.

    Shape and values are part of it, so that one seed under two tensors, which would cancel each other's masks, is harmless:
    only equal values in an equal shape have equal coins, and then equal roots.

    Args:
        seed: the commitment's secret, 32 bytes. shape, values: digests of 32 bytes each.
    """
    return shake_256(b"verifai/sumcheck-zk/commitment-coins" + seed + shape + values).digest(SEED_BYTES)


def tensor_seed(entropy: bytes, witness: bytes, facts: bytes, tensor: int) -> bytes:
    """A fresh seed for one hashed tensor of one proof. Should the entropy repeat, as on a cloned machine, it still differs for
    every witness, and for everything that is public about the proof.

    Args:
        entropy: 32 bytes of the system's. witness, facts: digests of 32 bytes each. tensor: its number in the circuit.
    """
    body = entropy + witness + facts + tensor.to_bytes(8, "little")
    return shake_256(b"verifai/sumcheck-zk/tensor-seed" + body).digest(SEED_BYTES)
