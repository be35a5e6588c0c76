"""Typed Numba compilation with a per-user cache that proving does not depend on.

Kernels compile on first use (seconds in all) and load from the cache afterwards (milliseconds). The cache folder is
``$NUMBA_CACHE_DIR`` where set, else ``verifai/numba`` below ``$XDG_CACHE_HOME`` or ``~/.cache``.

A cache file is machine code that this process will run, so it is taken only from a folder that nobody else can write, and only
with the SHA-256 that it was written with. Whatever is wrong with the cache (cut off, damaged, full, not ours, no home for it),
kernels are compiled again and kept in memory; :func:`cache_notes` says so.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from numba.core.caching import CompileResultCacheImpl, FunctionCache, IndexDataCacheFile, UserProvidedCacheLocator

from verifai.execution.user_folders import cache_home

_Kernel = TypeVar("_Kernel", bound=Callable[..., Any])
_DIGEST_BYTES = 32
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_reasons: dict[str, None] = {}
_told: set[str] = set()
_KERNELS: list[Any] = []


def kernel(function: _Kernel) -> _Kernel:
    """Compile ``function`` in nopython mode, releasing the GIL, cached on disk where the disk allows it."""
    compiled = numba.njit(nogil=True)(function)
    folder = _cache_folder()
    if folder is not None:
        previous = numba.config.CACHE_DIR
        numba.config.CACHE_DIR = folder
        try:
            compiled._cache = _Cache(function)
        except (RuntimeError, OSError):
            _note(f"{folder} cannot be used")
        finally:
            numba.config.CACHE_DIR = previous
    _KERNELS.append(compiled)
    return cast(_Kernel, compiled)


def kernels() -> tuple[Any, ...]:
    """All kernels of the modules that were imported so far."""
    return tuple(_KERNELS)


def keeps(made: Any) -> bool:
    """Whether what is compiled of the kernel is kept on disk."""
    return isinstance(getattr(made, "_cache", None), _Cache)


def is_compiled(made: Any) -> bool:
    """Whether a call of the kernel finds machine code: in this process, or in a cache that fits source, processor and Numba."""
    cache = getattr(made, "_cache", None)
    if cache is None or made.signatures:  # no dispatcher at all: NUMBA_DISABLE_JIT runs Python
        return True
    try:
        return bool(cache._cache_file._load_index())
    except (AttributeError, OSError):  # no cache on disk, or one that cannot be read
        return False


def load(made: Any) -> None:
    """Take the machine code of every type that the cache has it for, so that no call waits for it."""
    files = getattr(getattr(made, "_cache", None), "_cache_file", None)
    for key in {} if files is None else files._load_index():
        made.compile(key[0])


def cache_notes() -> tuple[str, ...]:
    """Why kernels could not be kept, or had to be compiled again; each reason is told once per process."""
    fresh = tuple(reason for reason in _reasons if reason not in _told)
    _told.update(fresh)
    return tuple(f"Compiled kernels are not kept: {reason}." for reason in fresh)


def _note(reason: str) -> None:
    _reasons.setdefault(reason)


def _cache_folder() -> str | None:
    """The folder, made and looked at; ``None`` where there is none to trust."""
    home = cache_home()
    named = numba.config.CACHE_DIR
    if not named and home is None:
        _note("there is no home for a cache")
        return None
    folder = Path(named) if named or home is None else home / "verifai" / "numba"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        found = folder.stat()
        if not named and found.st_uid == os.geteuid() and found.st_mode & _OTHERS_WRITE:
            folder.chmod(0o700)  # made under a generous umask
            found = folder.stat()
    except OSError as problem:
        _note(f"{folder} cannot be used ({problem.strerror})")
        return None
    if found.st_uid != os.geteuid() or found.st_mode & _OTHERS_WRITE:
        _note(f"others may write to {folder}, and what lies there would be run")
        return None
    return str(folder)


class _Files(IndexDataCacheFile):  # type: ignore[misc]
    """Numba's cache files, each behind the SHA-256 of what follows it, and machine code beside the key that it was made for.

    Numba numbers the files of a kernel as its index says. Two processes that read one index and then write give one number to
    code for different types, and so does a new source while files of the old one lie there.
    """

    def save(self, key: Any, data: Any) -> None:
        """Keep what was compiled for ``key``: types of arguments, processor, and the function's bytecode."""
        super().save(key, {"key": key, "data": data})

    def load(self, key: Any) -> Any:
        """What was kept for ``key``; ``None`` when there is nothing, or code for another key in its place."""
        found = super().load(key)
        return found["data"] if isinstance(found, dict) and found.get("key") == key else None

    def _load_index(self) -> Any:
        try:
            version, stamp, overloads = self._read(Path(self._index_path))
        except (OSError, ValueError, EOFError, pickle.UnpicklingError, TypeError):
            return {}  # none yet, or a damaged one: it is written anew
        return overloads if (version, stamp) == (self._version, self._source_stamp) else {}

    def _save_index(self, overloads: Any) -> None:
        self._write(self._index_path, (self._version, self._source_stamp, overloads))

    def _load_data(self, name: str) -> Any:
        return self._read(Path(self._data_path(name)))

    def _save_data(self, name: str, data: Any) -> None:
        self._write(self._data_path(name), data)

    def _read(self, path: Path) -> Any:
        with path.open("rb") as stream:
            owner, content = os.fstat(stream.fileno()).st_uid, stream.read()
        if owner != os.geteuid() or hashlib.sha256(content[_DIGEST_BYTES:]).digest() != content[:_DIGEST_BYTES]:
            raise OSError("not what we wrote")  # which numba takes for a file that is not there, and writes anew
        return pickle.loads(content[_DIGEST_BYTES:])  # noqa: S301 - of our own folder, with its digest

    def _write(self, path: str, value: Any) -> None:
        data = self._dump(value)
        with self._open_for_write(path) as stream:
            stream.write(hashlib.sha256(data).digest() + data)


class _Place(CompileResultCacheImpl):  # type: ignore[misc]
    """In our own folder or nowhere: not in the package's folder, which may be shared."""

    _locator_classes = (UserProvidedCacheLocator,)


class _Cache(FunctionCache):  # type: ignore[misc]
    """A cache that can fail without anything else failing."""

    _impl_class = _Place

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self._cache_file = _Files(self._cache_path, self._impl.filename_base, self._impl.locator.get_source_stamp())

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except Exception as problem:  # noqa: BLE001 - another release's pickle, a kernel that does not link: compile it
            _note(f"{self._cache_path} could not be read ({type(problem).__name__})")
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except OSError as problem:
            _note(f"{self._cache_path} could not be written ({problem.strerror})")
            self.disable()
