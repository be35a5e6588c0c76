"""Seeded ±1 random projections (Achlioptas 2003): k numbers whose differences estimate the L2 distance of two vectors.

With E[(rᵀx)²] = ‖x‖² for a ±1 vector r, the k projections of a difference have root mean square ‖x − y‖. The matrix comes
from SHAKE-256 of the seed, because NumPy's random streams are not promised to be stable. Sums are taken in float64 by
halving, an order that no BLAS, thread count or vector width changes, so the code is bit-identical on every IEEE-754
machine.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifai.errors import EvidenceRejected

CHUNK = 1 << 16
"""Cells per block of the matrix: bounds memory at ``8 · CHUNK · rows`` bytes. Part of the scheme: changing it changes codes."""

_LARGEST = float(np.finfo(np.float32).max)


def project(values: NDArray[Any], seed: bytes, rows: int, label: str) -> NDArray[np.float64]:
    """``rows`` projections of the flattened ``values``.

    Args:
        values: any shape, real dtype, finite.
        seed: 32 bytes.
        rows: number of projections.
        label: keeps the matrices of different tensors independent.

    Returns:
        shape ``(rows,)``, float64.
    """
    flat = np.ascontiguousarray(values).reshape(-1).astype(np.float64)
    total = np.zeros(rows, dtype=np.float64)
    name = label.encode()
    for block, start in enumerate(range(0, flat.size, CHUNK)):
        part = flat[start : start + CHUNK]
        total = total + _halving_sum(np.where(_signs(seed, name, block, rows, part.size), part, -part))
    return total


def _signs(seed: bytes, label: bytes, block: int, rows: int, size: int) -> NDArray[np.bool_]:
    head = b"verifai/projection/v1\x00" + seed + len(label).to_bytes(2, "big") + label + block.to_bytes(8, "big")
    stream = hashlib.shake_256(head).digest((rows * size + 7) // 8)
    bits = np.unpackbits(np.frombuffer(stream, np.uint8), count=rows * size, bitorder="little")
    return bits.reshape(rows, size).astype(np.bool_)


def _halving_sum(products: NDArray[np.float64]) -> NDArray[np.float64]:
    """Row sums by repeated halving: element-wise additions only, so the order is fixed."""
    width = 1
    while width < products.shape[1]:
        width *= 2
    padded = np.zeros((products.shape[0], width), dtype=np.float64)
    padded[:, : products.shape[1]] = products
    while width > 1:
        width //= 2
        padded = padded[:, :width] + padded[:, width:]
    return np.asarray(padded[:, 0])


def pack(projections: NDArray[np.float64]) -> bytes:
    """As little-endian fp32. Raises EvidenceRejected (``output-not-finite``) when one does not fit."""
    if not np.all(np.abs(projections) <= _LARGEST):
        raise EvidenceRejected("output-not-finite", "the output's projections leave the range of fp32")
    return projections.astype("<f4").tobytes()


def unpack(code: bytes) -> NDArray[np.float64]:
    """The inverse of :func:`pack`, as float64. Raises EvidenceRejected (``fingerprint-malformed``)."""
    if not code or len(code) % 4:
        raise EvidenceRejected("fingerprint-malformed", f"{len(code)} bytes are no list of fp32 projections")
    values = np.frombuffer(code, "<f4").astype(np.float64)
    if not np.all(np.isfinite(values)):
        raise EvidenceRejected("fingerprint-malformed", "a projection is not a finite number")
    return values


def relative_distance(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """‖a − b‖ / max(‖a‖, ‖b‖), in [0, 2]; the larger norm keeps it symmetric and finite. 2 for codes of different length."""
    if first.shape != second.shape:
        return 2.0
    scale = max(norm(first), norm(second))
    return 0.0 if scale == 0.0 else norm(first - second) / scale


def norm(values: NDArray[np.float64]) -> float:
    """‖values‖₂, the same to the last bit on every machine: squares and root are IEEE's, and the sum is the exact one, rounded
    once. NumPy's own leaves the order of the sum to the processor's BLAS."""
    return math.sqrt(math.fsum((values * values).tolist()))


def require_finite(values: NDArray[Any], where: str) -> NDArray[Any]:
    """``values`` once they are known to be real and finite. Raises EvidenceRejected."""
    if values.dtype.kind not in "fiub" or values.size == 0:
        raise EvidenceRejected("output-unfit", f"{values.size} values of dtype {values.dtype} are not numbers", where=where)
    if values.dtype.kind == "f" and not np.all(np.isfinite(values)):
        raise EvidenceRejected("output-not-finite", "the output holds NaN or an infinity", where=where)
    return values


def split(code: bytes, rows: int) -> Iterable[NDArray[np.float64]]:
    """The code's projections in groups of ``rows``, one group per tensor."""
    values = unpack(code)
    if values.size % rows:
        raise EvidenceRejected("fingerprint-malformed", f"{values.size} projections are no multiple of {rows}")
    return values.reshape(-1, rows)
