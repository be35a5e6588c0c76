"""The folder form of a bundle, read through directory handles so that a renamed or linked path cannot redirect a read."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Generator
from itertools import islice
from pathlib import Path

from verifai.bundle.limits import Limits
from verifai.bundle.source import CHUNK, check_count, check_listing, unreadable
from verifai.domain.attestation.manifest import MANIFEST_NAME, check_path
from verifai.domain.shell import shell
from verifai.errors import EvidenceRejected, UsageError

FOLDERS = ("attestations", "log", "payload")
PARTS = frozenset({MANIFEST_NAME, *FOLDERS})
"""A folder that has one of them is a bundle, if need be a broken one."""
_LOOKED_AT = 1000
"""How many entries of a folder are looked at for a part of a bundle."""
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Without O_NONBLOCK, opening a FIFO in the file's place would wait for ever.
_FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class FolderSource:
    """A bundle folder, listed once."""

    def __init__(self, path: Path, limits: Limits) -> None:
        self._where = str(path)
        self._handles: dict[str, int] = {}
        self.sizes: dict[str, int] = {}
        self.folders: set[str] = set()
        try:
            try:
                self._handles[""] = os.open(path, _FOLDER_FLAGS)
            except OSError as problem:
                raise UsageError("file-missing", f"cannot read: {problem.strerror}", where=self._where) from None
            self._require_parts()
            self._list("", limits)
            for folder in FOLDERS:
                if folder in self._handles:
                    before = self._count()
                    self._list(folder, limits)
                    if self._count() == before:
                        raise EvidenceRejected("bad-path", "an empty folder belongs to no bundle", where=folder)
            check_listing(self.sizes, limits, self._where, self.folders)
        except OSError as problem:
            self.close()
            raise unreadable(problem, self._where) from None
        except BaseException:
            self.close()
            raise

    def _require_parts(self) -> None:
        """A folder without any part of a bundle was named by mistake: that says nothing about evidence."""
        with os.scandir(self._handles[""]) as entries:
            names = sorted(entry.name for entry in islice(entries, _LOOKED_AT))
        if set(names) & PARTS:
            return
        inner = next((name for name in names if os.path.lexists(Path(self._where) / name / MANIFEST_NAME)), None)
        if inner is None:
            hint = "Name the folder that prove or seal wrote, or the file that pack wrote."
            raise UsageError("not-a-bundle", "a folder, but no bundle", where=self._where, hint=hint)
        hint = f"Name one of them, such as {shell(Path(self._where) / inner)}."
        raise UsageError("not-a-bundle", "a folder of bundles, but one bundle is asked for", where=self._where, hint=hint)

    def _count(self) -> int:
        return len(self.sizes) + len(self.folders)

    def _list(self, folder: str, limits: Limits) -> None:
        handle = self._handles[folder]
        with os.scandir(handle) as entries:
            for entry in entries:
                check_count(self._count() + 1, limits, self._where)
                path = f"{folder}/{entry.name}" if folder else entry.name
                kind = entry.stat(follow_symlinks=False)
                if stat.S_ISLNK(kind.st_mode):
                    raise EvidenceRejected("link", "a link could lead outside the bundle", where=repr(path[:200]))
                if not folder and entry.name in FOLDERS and stat.S_ISDIR(kind.st_mode):
                    self._handles[entry.name] = self._open(entry.name, handle, _FOLDER_FLAGS)
                elif stat.S_ISDIR(kind.st_mode) and (folder or entry.name == MANIFEST_NAME):
                    check_path(path)
                    self.folders.add(path)
                elif not stat.S_ISREG(kind.st_mode):
                    raise EvidenceRejected("bad-path", "neither a file nor a folder of a bundle", where=repr(path[:200]))
                elif not folder and entry.name != MANIFEST_NAME:
                    raise EvidenceRejected("file-unlisted", "no such file belongs to a bundle", where=repr(path[:200]))
                else:
                    self.sizes[path] = kind.st_size

    def _open(self, name: str, folder: int, flags: int) -> int:
        try:
            return os.open(name, flags, dir_fd=folder)
        except OSError as problem:
            raise unreadable(problem, name) from None

    def chunks(self, path: str) -> Generator[bytes, None, None]:
        """The bytes of one listed file; a link or a device put in its place since is refused."""
        folder, _, name = path.rpartition("/")
        with os.fdopen(self._open(name, self._handles[folder], _FILE_FLAGS), "rb", buffering=0) as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise EvidenceRejected("bad-path", "no longer a regular file", where=path)
            while chunk := stream.read(CHUNK):
                yield chunk

    def close(self) -> None:
        """Close the folder handles."""
        for handle in self._handles.values():
            with contextlib.suppress(OSError):
                os.close(handle)
        self._handles = {}
