"""One at a time: an exclusive lock on a folder, from reading what is there to writing what follows from it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from verifai.errors import Undecided

LOCK_SECONDS = 60.0


@contextlib.contextmanager
def folder_locked(folder: Path, *, seconds: float = LOCK_SECONDS) -> Iterator[None]:
    """Hold the lock of ``folder``. It ends with the process, whatever ends that, and leaves no file behind.

    Raises:
        Undecided: ``disk``, when the folder cannot be opened or its file system has no locks; ``busy`` after ``seconds``.
    """
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as problem:
        raise Undecided("disk", f"cannot open the folder: {problem.strerror}", where=str(folder)) from None
    try:
        _lock(handle, folder, seconds)
        yield
    finally:
        os.close(handle)


def _lock(handle: int, folder: Path, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError as problem:
            if problem.errno not in (errno.EWOULDBLOCK, errno.EACCES, errno.EINTR):
                message = f"the file system gives no lock: {problem.strerror}"
                raise Undecided("disk", message, where=str(folder), hint="Use a folder on a local disk.") from None
        if time.monotonic() > deadline:
            message = f"another process held the lock for {seconds:g} seconds"
            raise Undecided("busy", message, where=str(folder), hint="See which process hangs, then try again.")
        time.sleep(0.02)
