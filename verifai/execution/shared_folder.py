"""A folder that strangers write into too: nothing in it is followed, listed, or believed to stay.

Only names that are asked for are looked at, so that nobody can slow a reader down by filling the folder. Links, pipes and
devices are as good as absent; a subfolder is opened once per access without following links, so none can be put in its place.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from verifai.errors import UsageError
from verifai.execution.files import cannot_write, temporary_name

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class SharedFolder:
    """One folder. ``path`` is its owner's own choice and may be a link; what lies below it may not."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.odd: dict[str, str] = {}
        """What was found under a name that no reader takes, and why."""

    def read(self, name: str, limit: int) -> bytes | None:
        """The content of ``name`` (``file`` or ``subfolder/file``); ``None`` when no regular file of at most ``limit`` bytes
        is there. Raises UsageError (``file-missing``): the folder itself cannot be read."""
        self.odd.pop(name, None)
        try:
            with self._parent(name) as (folder, last):
                handle = os.open(last, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        except FileNotFoundError:
            return None
        except OSError as problem:
            self.odd[name] = problem.strerror or "it cannot be read"
            return None
        with os.fdopen(handle, "rb") as stream:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                self.odd[name] = "it is no regular file"
                return None
            try:
                data = stream.read(limit + 1)
            except OSError as problem:
                self.odd[name] = problem.strerror or "it cannot be read"
                return None
        if len(data) > limit:
            self.odd[name] = f"it is larger than {limit} bytes"
            return None
        return data

    def publish(self, name: str, data: bytes) -> None:
        """Put ``data`` under ``name``, whole or not at all, whatever is there. Raises Undecided (``disk``), UsageError."""
        try:
            with self._parent(name, make=True) as (folder, last):
                temporary = temporary_name(Path(last))
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                handle = os.open(temporary, flags, 0o666, dir_fd=folder)
                try:
                    with os.fdopen(handle, "wb") as stream:
                        stream.write(data)
                        stream.flush()
                        os.fsync(stream.fileno())
                    os.rename(temporary, last, src_dir_fd=folder, dst_dir_fd=folder)
                    os.fsync(folder)
                except BaseException:
                    with contextlib.suppress(OSError):
                        os.unlink(temporary, dir_fd=folder)
                    raise
        except OSError as problem:
            raise cannot_write(problem, self.path / name) from None

    @contextlib.contextmanager
    def _parent(self, name: str, *, make: bool = False) -> Iterator[tuple[int, str]]:
        """The folder that ``name`` lies in, open, and its last part. Raises OSError, UsageError."""
        *above, last = name.split("/")
        handles = [self._root()]
        try:
            for one in above:
                if make:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(one, dir_fd=handles[-1])
                handles.append(os.open(one, _FOLDER | os.O_NOFOLLOW, dir_fd=handles[-1]))
            yield handles[-1], last
        finally:
            for one_handle in handles:
                os.close(one_handle)

    def _root(self) -> int:
        try:
            return os.open(self.path, _FOLDER)
        except OSError as problem:
            message = f"cannot read the shared folder: {problem.strerror}"
            raise UsageError("file-missing", message, where=str(self.path)) from None
