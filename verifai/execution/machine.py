"""What this machine has: how much memory a process may use at most."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_CONTROL_GROUPS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def memory_bytes(control_groups: tuple[Path, ...] = _CONTROL_GROUPS) -> int | None:
    """Memory of the machine, or of the container when that has less; ``None`` where the system does not say."""
    found = []
    with suppress(ValueError, OSError):
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for path in control_groups:
        try:
            text = path.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            continue
        if text.isdecimal() and int(text) > 0:  # "max" where there is no limit
            found.append(int(text))
    return min(found, default=None)
