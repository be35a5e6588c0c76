"""Atomic, durable files: a reader sees the old content or the new, never half of it."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Callable, Iterable
from pathlib import Path

from verifai.errors import Undecided, UsageError


def write_atomic(path: Path, data: bytes | Iterable[bytes], *, mode: int | None = None) -> None:
    """Write ``data`` beside ``path`` under a temporary name, fsync, then rename over it.

    Args:
        data: the whole, or its pieces in order, so that a large file need not be in memory.
        mode: exactly this for what others must not read; by default what the umask and the folder leave of 0666, so that
            whoever may read the folder may read the file.

    Raises:
        UsageError: code ``bad-output``, when a link, a folder, a pipe or a device is in its place.
        Undecided: code ``disk``, when the file system refuses; nothing is left behind.
    """
    refuse_odd_target(path)
    _write(path, data, mode, lambda temporary: temporary.replace(path))


def write_new(path: Path, data: bytes, *, mode: int | None = None) -> None:
    """The same for a file that must not be there yet: of two writers at once, one has to fail.

    Raises:
        UsageError: code ``file-exists``. Undecided: code ``disk``.
    """
    _write(path, data, mode, lambda temporary: place_file(temporary, path))


def _write(path: Path, data: bytes | Iterable[bytes], mode: int | None, place: Callable[[Path], object]) -> None:
    temporary: Path | None = None
    try:
        handle, temporary = new_beside(path, 0o600 if mode is not None else 0o666)
        with os.fdopen(handle, "wb") as stream:
            stream.writelines([data] if isinstance(data, bytes) else data)
            stream.flush()
            os.fsync(stream.fileno())
        if mode is not None:
            temporary.chmod(mode)
        place(temporary)
        sync_folder(path.parent)
    except (OSError, ValueError) as problem:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink()
        raise cannot_write(problem, path) from None
    except BaseException:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink()
        raise


def place_file(temporary: Path, target: Path) -> None:
    """Give the finished file its name, which nobody may have taken. Raises UsageError (``file-exists``), OSError."""
    try:
        os.link(temporary, target, follow_symlinks=False)
        temporary.unlink()
        return
    except FileExistsError:
        raise _exists(target) from None
    except OSError as problem:
        if problem.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV):
            raise
    # A file system without hard links: take the name first, then put the content there.
    try:
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        raise _exists(target) from None
    temporary.replace(target)


def place_folder(temporary: Path, target: Path) -> None:
    """Give the finished folder its name, which nobody may have taken. Raises UsageError (``file-exists``), OSError."""
    try:
        target.mkdir()  # takes the name: renaming over an empty folder is what renaming a folder allows
    except FileExistsError:
        raise _exists(target) from None
    try:
        temporary.rename(target)
    except OSError:
        target.rmdir()
        raise


def _exists(path: Path) -> UsageError:
    return UsageError("file-exists", "the output exists already", where=str(path), hint="Choose another name.")


def new_beside(path: Path, mode: int) -> tuple[int, Path]:
    """An open, new, empty file beside ``path``; its mode is what the umask leaves of ``mode``. Raises OSError, ValueError."""
    temporary = path.parent / temporary_name(path)
    return os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, mode), temporary


def temporary_name(path: Path) -> str:
    """A name that no other file has; it begins with a dot, so that nobody takes it for a result."""
    # Names have at most 255 bytes, and what is cut from a name must not be half a character.
    start = os.fsencode(path.name)[:100].decode("utf-8", errors="ignore")
    return f".{start}.{secrets.token_hex(8)}.tmp"


def cannot_write(problem: OSError | ValueError, path: Path) -> Undecided:
    """The error for a file that the system does not take."""
    reason = (problem.strerror or str(problem)) if isinstance(problem, OSError) else str(problem)
    return Undecided(
        "disk", f"cannot write: {reason}", where=str(path), hint=_WRITE_HINTS.get(getattr(problem, "errno", 0), "")
    )


_WRITE_HINTS = {
    errno.ENOSPC: "Free some space, or write to another disk.",
    errno.EDQUOT: "Free some space, or write to another disk.",
    errno.EACCES: "Give yourself the right to write there, or name another place.",
    errno.EPERM: "Give yourself the right to write there, or name another place.",
    errno.EROFS: "Name a place that is not mounted read-only.",
    errno.ENOENT: "Make the folder first.",
    errno.ENAMETOOLONG: "Choose a shorter name.",
}


def refuse_odd_target(path: Path) -> None:
    """Raises UsageError (``bad-output``) when something else than a regular file, or nothing, is at ``path``."""
    if found := odd_target(path):
        hint = "Name a regular file, or a free name."
        raise UsageError("bad-output", f"{found} is where the output is to be written", where=str(path), hint=hint)


def odd_target(path: Path) -> str:
    """What is at ``path`` where a file would be written; empty for a regular file, for nothing, and for what cannot be seen."""
    try:
        kind = path.lstat().st_mode
    except (OSError, ValueError):
        return ""
    if stat.S_ISREG(kind):
        return ""
    return next((word for test, word in _KINDS if test(kind)), "something else")


_KINDS = (
    (stat.S_ISLNK, "a link"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


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
