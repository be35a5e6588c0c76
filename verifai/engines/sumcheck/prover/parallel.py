"""The kernels of long arrays, on as many threads as the caller gave: an array's pairs are cut into one range per thread.

Results do not depend on the number of threads: cells are computed alone, and sums in the field have no order. Arrays below
:data:`LARGE` stay on the caller's thread, where handing over would cost more than it gains.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from verifai.engines.sumcheck.protocol.field import P
from verifai.engines.sumcheck.prover import kernels, lookup_kernels
from verifai.engines.sumcheck.prover.kernels import U64

LARGE = 1 << 16
"""Pairs from which on a range per thread pays."""

_POOL: ContextVar[tuple[ThreadPoolExecutor, int] | None] = ContextVar("pool", default=None)


@contextmanager
def workers(threads: int) -> Iterator[None]:
    """Use ``threads`` threads for what follows in this context."""
    if threads < 2:
        yield
        return
    with ThreadPoolExecutor(threads) as pool:
        token = _POOL.set((pool, threads))
        try:
            yield
        finally:
            _POOL.reset(token)


def _ranges(count: int, parts: int) -> list[tuple[int, int]]:
    return [(count * i // parts, count * (i + 1) // parts) for i in range(parts)]


def _over(count: int, work: Callable[[int, int], Any]) -> list[Any]:
    """``work`` over ranges that make up [0, count)."""
    found = _POOL.get()
    if found is None or count < LARGE:
        return [work(0, count)]
    pool, threads = found
    return list(pool.map(lambda one: work(*one), _ranges(count, threads)))


def in_parts(count: int, work: Callable[[int, int], Any]) -> list[Any]:
    """``work`` over ranges that make up [0, count), one per thread: of parts that are long enough, however few they are."""
    found = _POOL.get()
    if found is None or count < 2:
        return [work(0, count)]
    pool, threads = found
    return list(pool.map(lambda one: work(*one), _ranges(count, min(threads, count))))


def _total(parts: list[Any]) -> tuple[int, ...]:
    return tuple(sum(map(int, words)) % P for words in zip(*parts, strict=True))


def threads() -> int:
    """How many threads the caller gave."""
    found = _POOL.get()
    return 1 if found is None else found[1]


def fold(values: U64, r0: Any, r1: Any, missing: int = 0) -> U64:
    """Bind the first variable to r: (2, n) → (2, n/2).

    Args:
        missing: cells at the beginning, at most half of n, that are 0 and not there: ``values`` has the last n − missing.
    """
    half = (values.shape[1] + missing) // 2
    out = np.empty((2, half), dtype=np.uint64)
    _over(half, lambda start, stop: kernels.fold_range(values, missing, r0, r1, out, start, stop))
    return out


def fold_base(values: U64, r0: Any, r1: Any, missing: int = 0) -> U64:
    """:func:`fold` of a vector over F_p, r in F: (n,) → (2, n/2)."""
    half = (values.shape[0] + missing) // 2
    out = np.empty((2, half), dtype=np.uint64)
    _over(half, lambda start, stop: kernels.fold_base_range(values, missing, r0, r1, out, start, stop))
    return out


def product_round(left: U64, right: U64) -> tuple[int, ...]:
    """Degree-2 round over F: (Σ l_low·r_low, Σ (l_high − l_low)(r_high − r_low)), as four words."""
    half = left.shape[1] // 2
    return _total(_over(half, lambda start, stop: kernels.product_round_range(left, right, start, stop)))


def product_round_base(left: U64, right: U64, missing: int = 0) -> tuple[int, ...]:
    """:func:`product_round` with ``left`` (n,) over F_p; ``missing`` as for :func:`fold`, of both."""
    half = (left.shape[0] + missing) // 2
    return _total(_over(half, lambda start, stop: kernels.product_round_base_range(left, right, missing, start, stop)))


def fraction_layer(p0: U64, p1: U64, q0: U64, q1: U64) -> tuple[U64, U64, U64, U64]:
    """The layer above, p0/q0 + p1/q1: its own p0, p1, q0, q1, (2, n/2) each.

    Args:
        p0, p1: (2, n) each, or of leaves (n,) and (V,) over F_p. q0, q1: (2, n) and (2, V); behind V, p1/q1 is 0/1.
    """
    half = q0.shape[1] // 2
    layer = lookup_kernels.leaf_layer_range if p0.ndim == 1 else lookup_kernels.fraction_layer_range
    outs = []
    for first in (0, half):
        out_p, out_q = (np.empty((2, half), dtype=np.uint64) for _ in range(2))
        _over(half, lambda a, b, p=out_p, q=out_q, at=first: layer(p0, p1, q0, q1, p, q, at, at + a, at + b))  # type: ignore[misc]
        outs.append((out_p, out_q))
    (low_p, low_q), (high_p, high_q) = outs
    return low_p, high_p, low_q, high_q


def add_scaled(p: U64, q: U64, s0: Any, s1: Any) -> U64:
    """p + s·q over F; (2, n) each."""
    out = np.empty_like(p)
    _over(p.shape[1], lambda start, stop: lookup_kernels.add_scaled_range(p, q, s0, s1, out, start, stop))
    return out


def fraction_start(eq: U64, arrays: Sequence[U64], m0: Any, m1: Any) -> tuple[int, ...]:
    """The first round of a layer, as four words. ``arrays``: p0, q1, q0, and p1, which becomes s1.

    As :func:`.lookup_kernels.fraction_start_range`.
    """
    p0, q1, q0, s1 = arrays
    work = lookup_kernels.fraction_start_range
    return _total(_over(q0.shape[1] // 2, lambda a, b: work(eq, p0, q1, q0, s1, m0, m1, a, b)))


def fraction_next(eq: U64, arrays: Sequence[U64], m0: Any, m1: Any, r0: Any, r1: Any, outs: Sequence[U64]) -> tuple[int, ...]:
    """Bind and the next round: :func:`.lookup_kernels.fraction_next_range`, as four words. ``arrays``: p0, q1, q0, s1."""
    p0, q1, q0, s1 = arrays
    o0, o1, o2, o3 = outs
    work = lookup_kernels.fraction_next_range
    count = q0.shape[1] // 4
    return _total(_over(count, lambda a, b: work(eq, p0, q1, q0, s1, m0, m1, r0, r1, o0, o1, o2, o3, a, b)))


def fraction_round(eq: U64, p0: U64, q1: U64, q0: U64, s1: U64) -> tuple[int, ...]:
    """One round of Σ eq·(p0·q1 + q0·s1), as :func:`.lookup_kernels.fraction_round_range`, as four words."""
    half = p0.shape[1] // 2
    return _total(_over(half, lambda a, b: lookup_kernels.fraction_round_range(eq, p0, q1, q0, s1, a, b)))
