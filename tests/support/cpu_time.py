"""What work costs in processor time, on a machine that may be busy or slow."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")

REFERENCE_SECONDS = 0.02
"""What :func:`_yardstick` takes on a slow core that does nothing else."""
TRIES = 8


def cpu_seconds(work: Callable[[], object]) -> float:
    """Processor time of this thread. A busy machine adds to it: cores share their parts, and caches are lost."""
    began = time.thread_time()
    work()
    return time.thread_time() - began


def slowness() -> float:
    """By how much this machine is now slower than the slow core that limits are stated for; at least 1."""
    return max(1.0, min(cpu_seconds(_yardstick) for _ in range(3)) / REFERENCE_SECONDS)


def takes_at_most(limit: float, work: Callable[[], object]) -> bool:
    """Whether ``work`` can be done in ``limit`` seconds of a slow core: the best of several tries, as few as needed."""
    for _ in range(TRIES):
        spent = cpu_seconds(work)
        if spent <= limit or spent <= limit * slowness():
            return True
    return False


def _yardstick() -> int:
    """Plain Python on large and small numbers, as verifiers do it."""
    found, prime = 1, (1 << 61) - 1
    for number in range(100_000):
        found = (found * found + number) % prime
    return found
