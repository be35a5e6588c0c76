"""How much memory this process holds, and a limit on what it begins: none can be put on a running interpreter."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

from verifai.errors import ResourceExhausted


def peak_rss_bytes() -> int:
    """The most that was resident; Linux counts KiB, macOS bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def resident_bytes() -> int:
    """What is resident now; where the system does not say, the most that ever was."""
    try:
        return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return peak_rss_bytes()


def require_memory(more: int, limit: int | None) -> None:
    """See that ``more`` bytes on top of what is resident now stay below ``limit``, before they are needed.

    Raises:
        ResourceExhausted: code ``estimate-over-budget``.
    """
    if limit is None:
        return
    needed = resident_bytes() + more
    if needed > limit:
        message = f"about {needed / 2**20:,.0f} MiB needed, {limit / 2**20:,.0f} MiB allowed"
        raise ResourceExhausted("estimate-over-budget", message, hint="Raise --max-memory.")
