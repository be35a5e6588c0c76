"""Between Python's pairs and integers and the kernels' arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifai.engines.sumcheck.protocol.field import Ext
from verifai.engines.sumcheck.prover.kernels import U64, eq_table

_EPSILON = np.int64(2**32 - 1)


def to_field(values: NDArray[Any]) -> U64:
    """Signed integers as canonical elements of F_p; shape kept, contiguous."""
    wide = np.ascontiguousarray(values, dtype=np.int64)
    field: NDArray[np.int64] = wide >> 63  # all bits of negative ones, and none of others
    field &= -_EPSILON  # p is −(2^32 − 1) modulo 2^64
    field += wide
    return field.view(np.uint64)


def vector(values: Sequence[Ext]) -> U64:
    """Pairs as (2, n)."""
    return np.ascontiguousarray(np.array(values, dtype=np.uint64).reshape(len(values), 2).T)


def scalars(value: Ext) -> tuple[np.uint64, np.uint64]:
    """One element as kernel arguments."""
    return np.uint64(value[0]), np.uint64(value[1])


def element(a: Any, b: Any) -> Ext:
    """Kernel results as one element."""
    return (int(a), int(b))


def eq_vector(point: Sequence[Ext]) -> U64:
    """eq(point, ·) as (2, 2^k)."""
    table: U64 = eq_table(np.array(point, dtype=np.uint64).reshape(len(point), 2))
    return table


def embed(values: U64) -> U64:
    """A vector over F_p as one over F: (n,) → (2, n)."""
    result = np.zeros((2, values.shape[0]), dtype=np.uint64)
    result[0] = values
    return result
