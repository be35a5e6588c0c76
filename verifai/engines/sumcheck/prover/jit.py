"""Typed Numba compilation with a per-user cache.

Kernels compile on first use (seconds in all) and load from the cache afterwards (milliseconds). The cache folder is
``$NUMBA_CACHE_DIR`` where set, else ``verifai/numba`` below ``$XDG_CACHE_HOME`` or ``~/.cache``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba

_Kernel = TypeVar("_Kernel", bound=Callable[..., Any])


def _cache_folder() -> str:
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return str(Path(base) / "verifai" / "numba")


def kernel(function: _Kernel) -> _Kernel:
    """Compile ``function`` in nopython mode, releasing the GIL, cached on disk where the disk allows it."""
    previous = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = previous or _cache_folder()
    try:
        return cast(_Kernel, numba.njit(cache=True, nogil=True)(function))
    except RuntimeError:  # no writable cache folder: compile in memory, every time
        return cast(_Kernel, numba.njit(nogil=True)(function))
    finally:
        numba.config.CACHE_DIR = previous
