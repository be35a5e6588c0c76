"""Private temporary folders that go away: at the end of their block, or, where a process was killed, with the next run."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from verifai.errors import Undecided

PREFIX = ".verifai-"
"""A folder of this name is locked by the process that uses it; one that nobody holds is left by one that was killed."""
UNNAMED = ".verifai_new-"
"""A folder that was made and is not locked yet; then it gets its name."""
STALE_SECONDS = 3600.0
"""A folder without its name is given this long."""

_swept: set[Path] = set()


@contextlib.contextmanager
def private_directory(parent: Path | None = None) -> Iterator[Path]:
    """A fresh 0700 folder, deleted afterwards.

    Args:
        parent: where to make it; files can be renamed out of it only within one file system.

    Raises:
        Undecided: code ``disk``, when it cannot be made.
    """
    try:
        place = Path(parent or tempfile.gettempdir())
        _sweep(place)
        made = Path(tempfile.mkdtemp(prefix=UNNAMED, dir=place)).resolve()
        handle = _hold(made)
        folder = made.rename(made.with_name(PREFIX + made.name.removeprefix(UNNAMED)))
    except OSError as problem:
        reason = problem.strerror or str(problem)
        hint = "Make room, or name a folder that can be written: TMPDIR" if parent is None else ""
        raise Undecided("disk", f"cannot make a private folder: {reason}", where=str(parent or ""), hint=hint) from None
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)


def _hold(folder: Path) -> int:
    """Lock the folder as long as this process lives: so others know that it is in use."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    with contextlib.suppress(OSError):  # without locks on this file system nothing is ever swept from it
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return handle


def _sweep(place: Path) -> None:
    """Remove what killed processes of this user left in ``place``: it may hold private inputs. Once per process."""
    if place in _swept:
        return
    _swept.add(place)
    with contextlib.suppress(OSError), os.scandir(place) as entries:
        for entry in entries:
            if entry.name.startswith((PREFIX, UNNAMED)) and _may_be_left(entry):
                _remove_unheld(Path(entry.path))


def _may_be_left(entry: os.DirEntry[str]) -> bool:
    try:
        found = entry.stat(follow_symlinks=False)
        mine = entry.is_dir(follow_symlinks=False) and found.st_uid == os.geteuid()
    except OSError:
        return False
    return mine and (entry.name.startswith(PREFIX) or time.time() - found.st_mtime > STALE_SECONDS)


def _remove_unheld(folder: Path) -> None:
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    except OSError:
        pass  # it is in use
    finally:
        os.close(handle)
