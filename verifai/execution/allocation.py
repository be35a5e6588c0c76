"""Freed memory stays with the process, for the next long array.

A proof makes and drops arrays of hundreds of megabytes, and a run of the interpreter converts weights, layer by layer. The C
library gives each back to the system at once, which hands out the next one page by page, cleared: of a proof with 2^24 lookups
that was half of all CPU seconds, spent in the kernel.
"""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache

KEPT_BYTES = 1 << 30
"""What may stay free at the end of the heap; more goes back to the system."""
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
"""``M_TRIM_THRESHOLD`` and ``M_MMAP_MAX`` of glibc's ``malloc.h``."""
_CHOSEN = ("GLIBC_TUNABLES", "MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "LD_PRELOAD")
"""Whoever sets one of these has chosen how memory is allocated."""


@cache
def keep_freed_memory() -> bool:
    """Tell glibc, for the whole process. Elsewhere nothing happens; results and peaks are the same either way.

    Returns:
        Whether it was told.
    """
    if sys.platform != "linux" or any(name in os.environ for name in _CHOSEN):
        return False
    try:
        told = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    return bool(told(_MMAP_MAX, 0)) and bool(told(_TRIM_THRESHOLD, KEPT_BYTES))
