"""What is to be written, judged before any work begins: the place, the name, what is there already, and the room for it."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from types import TracebackType

from verifai.domain.attestation.manifest import MANIFEST_NAME
from verifai.domain.our_files import HEAD, kept_file
from verifai.errors import Undecided, UsageError
from verifai.execution.files import odd_target, temporary_name

CODE = "bad-output"


class Kind(StrEnum):
    """What is to be written."""

    FILE = "file"  # may take the place of an older one that the same verb wrote
    NEW = "new"  # one that must not be there yet, or whose verb asks before it replaces it
    NEW_TREE = "new in tree"  # as NEW, in a folder whose missing parents are made
    FOLDER = "folder"  # a new one, in a folder that is there
    TREE = "tree"  # one whose missing parents are made, and which may be there


def check_output(path: Path, kind: Kind = Kind.FILE, *, inputs: Iterable[Path] = ()) -> None:
    """Whether ``path`` can be written, as far as can be known without writing it.

    Args:
        inputs: what the same command reads: none of it may be written over.

    Raises:
        UsageError: code ``bad-output``, with what to do.
    """
    try:
        _check_place(path, kind)
        found = odd_target(path) if kind in (Kind.FILE, Kind.NEW, Kind.NEW_TREE) else ""
        if kind is Kind.TREE and os.path.lexists(path) and not path.is_dir():
            found = odd_target(path) or "a file"
        if found:
            raise _refuse(f"{found} is where the output is to be written", path, _NOT_TAKEN)
        for one in inputs:
            if _same(path, one):
                raise _refuse("the output would take the place of what is read", path, "Choose another name.")
        if kind is Kind.FILE:
            check_replaced(path)
        if owner := _owner(path if kind is Kind.TREE else path.parent):
            raise _refuse(f"the output would lie inside {owner}, to which nothing may be added", path, "Choose another folder.")
    except (OSError, ValueError) as problem:
        reason = (problem.strerror or str(problem)) if isinstance(problem, OSError) else str(problem)
        hint = "Choose a shorter name." if getattr(problem, "errno", 0) == errno.ENAMETOOLONG else "Choose another name."
        raise _refuse(f"this name cannot be used: {reason}", path, hint) from None


_NOT_TAKEN = "Choose a name that is not taken."


def _kept(path: Path) -> str:
    """What is at ``path`` that no output may replace; empty for nothing, and for what an output of ours looks like."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return ""
    except OSError:
        return "a file that cannot be read"
    with os.fdopen(handle, "rb") as stream:
        return kept_file(stream.read(HEAD))


def check_replaced(path: Path, *allowed: str) -> None:
    """Whether what is at ``path`` may be written over by a verb that was told to.

    Args:
        allowed: what it may be, in the words of :func:`verifai.domain.our_files.kept_file`, beside a text.

    Raises:
        UsageError: code ``bad-output``.
    """
    if (found := _kept(path)) and found not in allowed:
        raise _refuse(f"{found} is where the output is to be written, and would be lost", path, _NOT_TAKEN)


def _owner(place: Path) -> str:
    """The bundle, or the folder of a circuit's own files, that ``place`` is or lies in; empty for neither."""
    start = place.resolve()
    for folder in (start, *start.parents):
        if os.path.lexists(folder / MANIFEST_NAME):
            return f"the bundle {folder.name!r}"
        if folder.name in _OWN and (folder.parent / "circuit.toml").is_file():
            return f"{folder.name!r} of the circuit {folder.parent.name!r}"
    return ""


_OWN = ("build", "secrets")
"""Folders of a circuit that compile and prove keep for themselves."""


def _check_place(path: Path, kind: Kind) -> None:
    if path.name in ("", "..") and not path.is_dir():
        raise _refuse("this is no name for an output", path, "Choose another name.")
    # Asked of the system, which alone knows how long a name may be here. What it answers otherwise is looked at below.
    with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
        os.lstat(path)
    folder = path if kind is Kind.TREE else path.parent
    while kind in (Kind.TREE, Kind.NEW_TREE) and not os.path.lexists(folder):
        folder = folder.parent
    if kind is Kind.TREE and folder == path and not path.is_dir():
        return  # said by the caller
    if not folder.is_dir():
        raise _refuse("the folder to write into does not exist", folder, "Make it first, or choose another.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise _refuse("the folder to write into may not be written", folder, "Choose another, or give yourself the right to.")


def _same(path: Path, other: Path) -> bool:
    try:
        if path.samefile(other):
            return True
    except OSError:
        pass  # one of them is not there
    return path.resolve() == other.resolve()


def _refuse(message: str, path: Path, hint: str) -> UsageError:
    return UsageError(CODE, message, where=str(path), hint=hint)


class ReservedSpace:
    """Room on the disk of a folder, held until it is needed: so that nothing scarce is spent on what cannot be kept.

    Use it in a ``with`` block. Where a file system cannot hold room, it is asked how much there is.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: Path | None = None

    def __enter__(self) -> ReservedSpace:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()

    def take(self, count: int) -> None:
        """Hold ``count`` bytes. Raises Undecided (``disk``)."""
        self.release()
        path = self._folder / temporary_name(Path("reserved"))
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            self._held = path
            try:
                _allocate(handle, count)
            finally:
                os.close(handle)
        except OSError as problem:
            self.release()
            message = f"there is no room for {count:,} bytes: {problem.strerror}; nothing was spent"
            hint = "Free some space, or write to another disk."
            raise Undecided("disk", message, where=str(self._folder), hint=hint) from None

    def release(self) -> None:
        """Give the room back, to write into it."""
        if self._held is not None:
            with contextlib.suppress(OSError):
                self._held.unlink()
            self._held = None


def _allocate(handle: int, count: int) -> None:
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(handle, 0, max(count, 1))
            return
        except OSError as problem:
            if problem.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                raise
    room = os.fstatvfs(handle)
    if room.f_bavail * room.f_frsize < count:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
