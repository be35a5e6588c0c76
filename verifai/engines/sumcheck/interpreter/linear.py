"""Exact linear operations on integer arrays: float64 BLAS where every partial sum stays below 2^53, int64 otherwise.

A partial sum of Σ W·x is bounded by max_c Σ|W_c|·max|x|, as is the whole; below 2^53 float64 holds each exactly, in any order
of summation. int64 products and sums stay below 2^62 by the no-wrap rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifai.engines.sumcheck.interpreter.values import Ints

EXACT_FLOAT = 1 << 53


def matmul(a: Ints, b: Ints, bound: int) -> Ints:
    """a @ b with NumPy's broadcasting, exactly.

    Args:
        bound: no partial sum exceeds it in magnitude; < 2^62.
    """
    if bound < EXACT_FLOAT:
        return np.asarray(np.matmul(a.astype(np.float64), b.astype(np.float64)), np.int64)
    return np.asarray(np.matmul(a, b), np.int64)


def pad_axes(x: Ints, pads: Sequence[int], value: int) -> Ints:
    """The last two axes extended by (top, left, bottom, right) cells of ``value``."""
    top, left, bottom, right = pads
    width = [(0, 0)] * (x.ndim - 2) + [(top, bottom), (left, right)]
    return np.pad(x, width, constant_values=value)


def tap(
    x: NDArray[Any], at: tuple[int, int], stride: Sequence[int], dilation: Sequence[int], size: Sequence[int]
) -> NDArray[Any]:
    """What tap ``at`` (u, v) of a window sees for each output position: a strided view of padded ``x``."""
    rows, columns = (
        slice(at[i] * dilation[i], at[i] * dilation[i] + (size[i] - 1) * stride[i] + 1, stride[i]) for i in range(2)
    )
    return x[..., rows, columns]


def convolve(
    x: Ints, weight: Ints, stride: Sequence[int], dilation: Sequence[int], pads: Sequence[int], size: Sequence[int], bound: int
) -> Ints:
    """The sum of :class:`..circuit.ops.Conv` without bias.

    Args:
        x: (N, G, C/g, H, W). weight: (G, Co/g, C/g, Kh, Kw). size: (OH, OW).

    Returns:
        (N, G, Co/g, OH, OW).
    """
    kind = np.float64 if bound < EXACT_FLOAT else np.int64
    values, kernel = pad_axes(x, pads, 0).astype(kind), weight.astype(kind)
    batch, groups, inner = x.shape[:3]
    total = np.zeros((batch, groups, weight.shape[1], size[0] * size[1]), kind)
    for u in range(weight.shape[3]):
        for v in range(weight.shape[4]):
            seen = tap(values, (u, v), stride, dilation, size).reshape(batch, groups, inner, -1)
            total += np.matmul(kernel[:, :, :, u, v], seen)
    return total.astype(np.int64).reshape(batch, groups, weight.shape[1], *size)
