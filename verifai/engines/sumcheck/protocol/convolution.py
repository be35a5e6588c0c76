"""Sums over windows of vectors over F: how a functional of a convolution's output becomes one of its operand. Standard library
only.

a[i] = Σ_u weights_u·Σ_o entries_o·[i = o·stride + u·dilation − pad]. Entry by entry this takes kernel × outputs steps, which a
circuit of a few hundred bytes can make 2^32. So windows of ones are running sums, and large kernels are products of large
integers, which Python multiplies by Karatsuba's method.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import gcd

from verifai.engines.sumcheck.protocol.field import NON_RESIDUE, ONE, ZERO, Ext, P

DIRECT_STEPS = 1 << 13
"""Up to so many products of entry and weight, taking them one by one is fastest."""
DIRECT_RATIO = 8
"""Also up to so many products per coefficient of the two polynomials: wide strides leave most of these 0."""
_LIMB = 24
"""Bytes per coefficient of a product of polynomials: sums of up to 2^60 products of numbers below 2^66."""


def windows(
    entries: Sequence[Ext], weights: Sequence[Ext], length: int, size: int, stride: int, dilation: int, pad: int
) -> tuple[Ext, ...]:
    """The vector a above for i < ``size``, then zeros up to ``length``."""
    taps = [u for u, weight in enumerate(weights) if weight != ZERO]
    if not taps:
        return (ZERO,) * length
    if dilation == 1 and len(taps) == len(weights) > 1 and all(weight == ONE for weight in weights):
        return _running(entries, len(weights), length, size, stride, pad)
    products, spread = len(taps) * len(entries), len(entries) * stride + len(weights) * dilation
    if products <= max(DIRECT_STEPS, DIRECT_RATIO * spread // gcd(stride, dilation)):
        return _direct(entries, [(u, weights[u]) for u in taps], length, size, stride, dilation, pad)
    return _multiplied(entries, weights, length, size, stride, dilation, pad)


def _direct(
    entries: Sequence[Ext], taps: Sequence[tuple[int, Ext]], length: int, size: int, stride: int, dilation: int, pad: int
) -> tuple[Ext, ...]:
    first, second = [0] * length, [0] * length
    for u, (x, y) in taps:
        plain = (x, y) == ONE
        for o, (a, b) in enumerate(entries):
            i = o * stride + u * dilation - pad
            if 0 <= i < size:
                first[i] += a if plain else a * x + NON_RESIDUE * b * y
                second[i] += b if plain else a * y + b * x
    return tuple((a % P, b % P) for a, b in zip(first, second, strict=True))


def _running(entries: Sequence[Ext], kernel: int, length: int, size: int, stride: int, pad: int) -> tuple[Ext, ...]:
    """Weights of one: each entry begins to count at one place and ends at another."""
    first, second = [0] * (length + 1), [0] * (length + 1)
    for o, (a, b) in enumerate(entries):
        start, end = max(0, o * stride - pad), min(size, o * stride - pad + kernel)
        if start < end:
            first[start] += a
            second[start] += b
            first[end] -= a
            second[end] -= b
    result, x, y = [], 0, 0
    for a, b in zip(first[:length], second[:length], strict=True):
        x, y = (x + a) % P, (y + b) % P
        result.append((x, y))
    return tuple(result)


def _multiplied(
    entries: Sequence[Ext], weights: Sequence[Ext], length: int, size: int, stride: int, dilation: int, pad: int
) -> tuple[Ext, ...]:
    """As a product of polynomials in X^g, g = gcd(stride, dilation), whose coefficients are limbs of integers."""
    step = gcd(stride, dilation)
    left, right = _spread(entries, stride // step), _spread(weights, dilation // step)
    low = _packed(x for x, _ in left) * _packed(x for x, _ in right)
    high = _packed(y for _, y in left) * _packed(y for _, y in right)
    both = _packed(x + y for x, y in left) * _packed(x + y for x, y in right)
    count = len(left) + len(right) - 1
    result = [ZERO] * length
    parts = (_limbs(part, count) for part in (low, high, both))
    for k, (a, b, c) in enumerate(zip(*parts, strict=True)):
        i = k * step - pad
        if 0 <= i < size:
            result[i] = ((a + NON_RESIDUE * b) % P, (c - a - b) % P)
    return tuple(result)


def _spread(values: Sequence[Ext], stride: int) -> list[Ext]:
    """With stride − 1 zeros between two values."""
    spread = [ZERO] * ((len(values) - 1) * stride + 1)
    spread[::stride] = values
    return spread


def _packed(values: Iterable[int]) -> int:
    return int.from_bytes(b"".join(value.to_bytes(_LIMB, "little") for value in values), "little")


def _limbs(value: int, count: int) -> list[int]:
    data = value.to_bytes(_LIMB * (count + 1), "little")
    return [int.from_bytes(data[i : i + _LIMB], "little") for i in range(0, _LIMB * count, _LIMB)]
