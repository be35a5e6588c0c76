"""Keeps Python's recursion limit where it is, whatever a library does to it while it is imported."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def recursion_limit_kept() -> Iterator[None]:
    """For imports of libraries that raise the limit of the whole process, as ``py_ecc`` does, to 100,000.

    Python's readers of JSON and TOML go down as deep as a file nests. Beyond the usual limit they end in RecursionError, which
    is refused as a broken file; with a limit that the machine's stack does not hold, they end the process.
    """
    limit = sys.getrecursionlimit()
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)
