"""The index of a batch on disk: begun whole, one row added after each sample, put in order at the end.

A row is added with one write and synced before the next sample is told as done. What a crash leaves is the index up to its last
whole line, and at most one bundle per running job that no line tells of; :mod:`.resume` takes such a bundle up.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from threading import Lock

from verifai.domain.proof_index import INDEX_FILE, MAX_INDEX_BYTES, IndexRow, ProofIndex, parse_index, row_line
from verifai.errors import Undecided, UsageError
from verifai.execution.files import read_limited, write_atomic

_UNFINISHED = re.compile(rf"\.([0-9]{{6,}}|reserved|{re.escape(INDEX_FILE)})\.[a-z0-9_]+\.tmp")
"""Temporary names of bundles, of room on the disk, and of the index."""


class IndexFile:
    """The index in a folder whose lock is held. Safe to use from several threads."""

    def __init__(self, path: Path, index: ProofIndex) -> None:
        """Write ``index`` as it is now, whole. Raises Undecided (``disk``)."""
        self.path = path
        self.header = index.header
        self._rows = dict(index.rows)
        self._lock = Lock()
        write_atomic(path, index.to_bytes())

    @property
    def index(self) -> ProofIndex:
        """As it is now."""
        with self._lock:
            return ProofIndex(self.header, dict(self._rows))

    def add(self, row: IndexRow) -> None:
        """Add one row; it is on disk when this returns. Raises Undecided (``disk``), and then it is not there."""
        with self._lock:
            try:
                handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
                try:
                    _append(handle, row_line(row))
                finally:
                    os.close(handle)
            except OSError as problem:
                raise Undecided("disk", f"cannot write: {problem.strerror}", where=str(self.path)) from None
            self._rows[row.row] = row

    def finish(self) -> None:
        """Put the rows in order, one line per sample. Raises Undecided (``disk``)."""
        write_atomic(self.path, self.index.to_bytes())


def _append(handle: int, line: bytes) -> None:
    before = os.fstat(handle).st_size
    try:
        done = 0
        while done < len(line):
            done += os.write(handle, line[done:])
        os.fsync(handle)
    except OSError:  # a full disk may have taken half of it
        with contextlib.suppress(OSError):
            os.ftruncate(handle, before)
        raise


def read_index(folder: Path) -> ProofIndex | None:
    """The index in ``folder``; ``None`` when there is none.

    Raises:
        UsageError: ``index-malformed``; ``file-missing`` when it cannot be read.
    """
    path = folder / INDEX_FILE
    if not os.path.lexists(path):
        return None
    if path.is_symlink():
        raise UsageError("index-malformed", "it is a link", where=str(path), hint="Prove into another folder.")
    return parse_index(read_limited(path, limit=MAX_INDEX_BYTES), str(path))


def remove_unfinished(folder: Path) -> None:
    """Remove what a killed run was writing: folders and files that begin with a dot and are named as this batch names them.

    Only with the folder's lock held: no other run can be writing them. What cannot be removed stays; no reader looks at it.
    """
    with contextlib.suppress(OSError):
        for entry in folder.iterdir():
            if _UNFINISHED.fullmatch(entry.name) is None or entry.is_symlink():
                continue
            if entry.is_dir():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)


@contextlib.contextmanager
def held_folder(folder: Path) -> Iterator[None]:
    """Make ``folder`` if need be, and keep every other batch out of it.

    Raises:
        Undecided: ``batch-busy`` when another process proves into it; ``disk``.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as problem:
        raise Undecided("disk", f"cannot use the folder: {problem.strerror}", where=str(folder)) from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as problem:
            if problem.errno in (errno.EWOULDBLOCK, errno.EACCES):
                message = "another process proves into this folder"
                raise Undecided("batch-busy", message, where=str(folder), hint="Wait for it to end.") from None
            # Some network file systems lock no folders; bundles are never overwritten there either.
        yield
    finally:
        os.close(handle)
