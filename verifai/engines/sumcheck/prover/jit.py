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


_KERNELS: list[Any] = []


def kernel(function: _Kernel) -> _Kernel:
    """Compile ``function`` in nopython mode, releasing the GIL, cached on disk where the disk allows it."""
    previous = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = previous or _cache_folder()
    try:
        made = numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:  # no writable cache folder: compile in memory, every time
        made = numba.njit(nogil=True)(function)
    finally:
        numba.config.CACHE_DIR = previous
    _KERNELS.append(made)
    return cast(_Kernel, made)


def kernels() -> tuple[Any, ...]:
    """All kernels of the modules that were imported so far."""
    return tuple(_KERNELS)


def is_compiled(made: Any) -> bool:
    """Whether a call of the kernel finds machine code: in this process, or in a cache that fits source, processor and Numba."""
    cache = getattr(made, "_cache", None)
    if cache is None or made.signatures:  # no dispatcher at all: NUMBA_DISABLE_JIT runs Python
        return True
    try:
        return bool(cache._cache_file._load_index())
    except (AttributeError, OSError):  # no cache on disk, or one that cannot be read
        return False
