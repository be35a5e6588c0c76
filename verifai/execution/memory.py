"""How much memory this process holds."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path


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


def available_bytes() -> int | None:
    """What can be filled without swapping: free memory of the machine, or of the container; ``None`` where nobody says."""
    found = [one for one in (_machine_free(), _container_free()) if one is not None]
    return min(found) if found else None


def _machine_free() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, IndexError, StopIteration):
        pass
    try:  # macOS says how much there is, and not how much is free
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (OSError, ValueError):
        return None


def _container_free(root: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Of a limit by control groups, version 2, what is left; files that can be dropped do not count as used."""
    try:
        limit = (root / "memory.max").read_text("ascii").strip()
        if limit == "max":
            return None
        used = int((root / "memory.current").read_text("ascii"))
        stat = dict(line.split() for line in (root / "memory.stat").read_text("ascii").splitlines())
        return max(0, int(limit) - used + int(stat.get("inactive_file", 0)))
    except (OSError, ValueError):
        return None
