"""drand chains whose key a test knows, and numbers that they publish."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from verifai.domain.consensus.beacons import CHAINS, DrandChain, PublishedBeacon
from verifai.domain.digest import Sha256
from verifai.execution.recursion import recursion_limit_kept

with recursion_limit_kept():
    from py_ecc.bls import hash_to_curve
    from py_ecc.bls.point_compression import compress_G1, compress_G2
    from py_ecc.optimized_bls12_381 import G1, G2, multiply

SECRET = 0x1234567890ABCDEF1234567890ABCDEF
ROUND = Sha256("ab" * 32)


def g1_bytes(point: Any) -> bytes:
    return int(compress_G1(point)).to_bytes(48, "big")


def g2_bytes(point: Any) -> bytes:
    return b"".join(int(one).to_bytes(48, "big") for one in compress_G2(point))


def pin_own_chains(monkeypatch: pytest.MonkeyPatch) -> dict[str, DrandChain]:
    """Pin one chain of each scheme beside the real ones, for this test."""
    made = {
        "drand:chained": DrandChain("chained", "", g1_bytes(multiply(G1, SECRET)).hex(), True, 30, 1_600_000_000, ""),
        "drand:unchained": DrandChain("unchained", "", g2_bytes(multiply(G2, SECRET)).hex(), False, 3, 1_600_000_000, ""),
    }
    for source, chain in made.items():
        monkeypatch.setitem(CHAINS, source, chain)  # type: ignore[arg-type]
    return made


def signed(
    chain: DrandChain, number: int, previous: bytes = b"", secret: int = SECRET, round_id: Sha256 = ROUND
) -> PublishedBeacon:
    """What the chain publishes."""
    message = chain.message(number, previous)
    dst = b"BLS_SIG_BLS12381G%d_XMD:SHA-256_SSWU_RO_NUL_" % (2 if chain.chained else 1)
    if chain.chained:
        signature = g2_bytes(multiply(hash_to_curve.hash_to_G2(message, dst, hashlib.sha256), secret))
    else:
        signature = g1_bytes(multiply(hash_to_curve.hash_to_G1(message, dst, hashlib.sha256), secret))
    return PublishedBeacon(round_id, chain.source, number, signature.hex(), previous.hex())
