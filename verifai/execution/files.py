"""Atomic, durable files: a reader sees the old content or the new, never half of it."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from verifai.errors import Undecided, UsageError


def write_atomic(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Write ``data`` beside ``path`` under a temporary name, fsync, then rename over it.

    Raises:
        Undecided: code ``disk``, when the file system refuses; nothing is left behind.
    """
    temporary = ""
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name[:100]}.", suffix=".tmp", dir=path.parent)
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).chmod(mode)
        Path(temporary).replace(path)
        sync_folder(path.parent)
    except OSError as problem:
        if temporary:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()
        raise Undecided("disk", f"cannot write: {problem.strerror}", where=str(path)) from None
    except BaseException:
        if temporary:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()
        raise


def sync_folder(folder: Path) -> None:
    """Make the entries of ``folder`` durable. Raises OSError."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_limited(path: Path, *, limit: int) -> bytes:
    """Read a regular file of at most ``limit`` bytes.

    Raises:
        UsageError: code ``file-missing``, when it is absent, unreadable, not a regular file, or larger.
    """
    try:
        if not path.is_file():
            problem = "it is not a regular file" if path.exists() else "no such file"
            raise UsageError("file-missing", f"cannot read: {problem}", where=str(path))
        with path.open("rb") as stream:
            data = stream.read(limit + 1)
    except OSError as problem:
        raise UsageError("file-missing", f"cannot read: {problem.strerror}", where=str(path)) from None
    if len(data) > limit:
        raise UsageError("file-missing", f"larger than the limit of {limit} bytes", where=str(path))
    return data
