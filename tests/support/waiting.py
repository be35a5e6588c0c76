"""Waiting for what another process or thread does, however slow the machine is."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

PATIENCE = 300.0
"""Seconds: no machine is so slow. What is waited for comes at once, or never."""
FOR_EVER = 3600.0
"""How long something sleeps that must be ended from outside; no test waits for its end."""


def until(true: Callable[[], object], what: str = "it") -> None:
    """Wait until ``true`` holds; an assertion fails when that takes longer than anything can take."""
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, f"{what} never came"
        time.sleep(0.002)


def has_ended(pid: int) -> bool:
    """Whether the process has ended; one that nobody has reaped counts as ended. Needs /proc."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] in ("Z", "X")
    except OSError:
        return True
