"""The field: F_p with p = 2^64 − 2^32 + 1 (Goldilocks), and F = F_p[x]/(x² − 7), where challenges live.

An element of F is a pair (a, b) of canonical integers, meaning a + b·x. 7 is a non-residue, so F is a field of p² elements.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import mul
from typing import TypeAlias

P = 2**64 - 2**32 + 1
NON_RESIDUE = 7
GENERATOR = 7
"""Generates the multiplicative group of F_p."""
TWO_ADICITY = 32

Ext: TypeAlias = tuple[int, int]

ZERO: Ext = (0, 0)
ONE: Ext = (1, 0)


def root_of_unity(log_order: int) -> int:
    """A primitive 2^log_order-th root of unity in F_p, log_order ≤ 32."""
    if not 0 <= log_order <= TWO_ADICITY:
        raise ValueError(f"no root of unity of order 2^{log_order}")
    return pow(GENERATOR, (P - 1) >> log_order, P)


def embed(value: int) -> Ext:
    """An integer as an element of F."""
    return (value % P, 0)


def add(x: Ext, y: Ext) -> Ext:
    """x + y."""
    return ((x[0] + y[0]) % P, (x[1] + y[1]) % P)


def sub(x: Ext, y: Ext) -> Ext:
    """x − y."""
    return ((x[0] - y[0]) % P, (x[1] - y[1]) % P)


def product(x: Ext, y: Ext) -> Ext:
    """x·y."""
    a, b = x
    c, d = y
    return ((a * c + NON_RESIDUE * b * d) % P, (a * d + b * c) % P)


def scale(x: Ext, factor: int) -> Ext:
    """x times an integer."""
    return (x[0] * factor % P, x[1] * factor % P)


def inverse(x: Ext) -> Ext:
    """1/x. Raises ZeroDivisionError for 0."""
    a, b = x
    norm = (a * a - NON_RESIDUE * b * b) % P
    if norm == 0:
        raise ZeroDivisionError("0 has no inverse")
    inv = pow(norm, -1, P)
    return (a * inv % P, -b * inv % P)


def total(values: Iterable[Ext]) -> Ext:
    """The sum."""
    a = b = 0
    for x in values:
        a += x[0]
        b += x[1]
    return (a % P, b % P)


# --- packed vectors: both components in one integer, so that one multiplication by a small factor serves both -------------

_SHIFT = 192
_HALF = 1 << (_SHIFT - 1)
_MASK = (1 << _SHIFT) - 1


def pack(values: Sequence[Ext]) -> list[int]:
    """(a, b) as a + b·2^192: sums of up to 2^60 products with factors below 2^64 in magnitude stay apart."""
    return [a | b << _SHIFT for a, b in values]


def packed_dot(factors: Sequence[int], packed: Sequence[int]) -> Ext:
    """Σ factors_i·packed_i, for integers of either sign, |factor| < 2^64; stops at the shorter sequence."""
    value = sum(map(mul, factors, packed))
    low = ((value + _HALF) & _MASK) - _HALF
    return (low % P, ((value - low) >> _SHIFT) % P)


def dot(left: Sequence[Ext], right: Sequence[Ext]) -> Ext:
    """Σ left_i·right_i; equal lengths."""
    a = b = 0
    for (v, w), (x, y) in zip(left, right, strict=True):
        a += v * x + NON_RESIDUE * w * y
        b += v * y + w * x
    return (a % P, b % P)
