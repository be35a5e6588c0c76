"""How many jobs a machine can hold: as many as it has cores, and no more than its free memory is enough for."""

from __future__ import annotations

import os

from verifai.execution.memory import available_bytes

SHARE = 0.85
"""Of the free memory that jobs may fill: estimates are met within a fifth, and others live on the machine."""


def cores() -> int:
    """Processor cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        return os.cpu_count() or 1


def fitting_jobs(asked: int | None, each_bytes: int, items: int, *, free: int | None = None) -> int:
    """How many jobs to run.

    Args:
        asked: by the user; ``None`` for as many as there are cores.
        each_bytes: what one job takes, about.
        items: how many there are to do.
        free: bytes that may be filled; by default what is free now.
    """
    free = available_bytes() if free is None else free
    held = max(1, int(free * SHARE) // max(1, each_bytes)) if free else 1_000_000
    return max(1, min(asked or cores(), held, items))
