"""Which bundles are meant by the paths that a verb is given: the one way of finding them. Nothing is left out in silence."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from pathlib import Path

from verifai.bundle.archive_format import LOCAL_SIZE
from verifai.domain.attestation.manifest import MANIFEST_NAME
from verifai.domain.findings import Finding, Outcome
from verifai.domain.policy.attestation import MAX_INPUTS
from verifai.domain.proof_index import INDEX_FILE, START
from verifai.errors import Undecided, UsageError

SIDECARS = (".sigstore.json", ".tlog-proof")
"""Endings of the files that `seal` and `consensus` write beside a bundle, because the bundle cannot hold them."""
PACKED = ".vbundle"
"""Ending of the files that `pack` writes when it is given a folder."""
MAX_ENTRIES = 2 * MAX_INPUTS
"""How many entries of folders are looked at."""
_FIRST_MEMBERS = (b"attestations/", MANIFEST_NAME.encode())
_CASE_MEMBERS = (b"bundles/", b"case.json")
_PARTS = (MANIFEST_NAME, "attestations", "payload")
"""A folder that has one of them is a bundle, if need be a broken one: its reader says what is wrong."""


class Kind(StrEnum):
    """What an entry of a folder looks like; its reader decides what it is."""

    BUNDLE = "bundle"
    FILE = "file"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that a path stands for.

    Attributes:
        kind: ``bundle`` for what was named itself, whatever it is.
        why: for what is no bundle, what it is.
    """

    path: Path
    kind: Kind = Kind.BUNDLE
    why: str = ""


@dataclass(frozen=True)
class FoundBundles:
    """What the given paths stand for, in the order given, the entries of a folder by name.

    Attributes:
        folders: whether a folder of bundles was among the paths.
    """

    entries: tuple[Entry, ...]
    folders: bool

    @property
    def paths(self) -> tuple[Path, ...]:
        """The bundles."""
        return tuple(entry.path for entry in self.entries if entry.kind is Kind.BUNDLE)

    @property
    def others(self) -> tuple[Entry, ...]:
        """What lies beside the bundles and is none."""
        return tuple(entry for entry in self.entries if entry.kind is not Kind.BUNDLE)

    def other_findings(self) -> tuple[Finding, ...]:
        """One finding (``not-a-bundle``) per entry that is no bundle.

        A plain file that does not look like a bundle is told and no more. A link, a device, a folder or a case might lead to
        evidence that nobody looked at, so it leaves the whole undecided.
        """
        return tuple(
            Finding(
                "not-a-bundle",
                Outcome.NOT_CHECKED if entry.kind is Kind.FILE else Outcome.UNDECIDED,
                f"{entry.why}, so it was not looked at",
                where=str(entry.path),
                remedy="Take it out of the folder, or name it by itself.",
            )
            for entry in self.others
        )


NOTHING_FOUND = FoundBundles((), False)


def find_bundles(paths: Sequence[Path], *, keep_absent: bool = False) -> FoundBundles:
    """The bundles behind ``paths``.

    A folder that holds a bundle's parts is a bundle; any other stands for what lies in it, one level deep. Left out are names
    that begin with a dot, because an interrupted writer leaves such; regular files named as the sidecar of a bundle that lies
    beside them (``NAME.sigstore.json``, ``NAME.tlog-proof``), because they are read with that bundle, if at all; and the index
    that `prove` keeps, also when a shell's pattern names it.

    Args:
        keep_absent: whether a path where nothing is counts as a bundle, so that its reader refuses it beside the others.

    Raises:
        UsageError: ``file-missing`` for what is not there, or cannot be listed; ``bad-option`` for too many bundles.
        Undecided: ``nothing-to-check``, when there is nothing at all.
    """
    found: list[Entry] = []
    folders = False
    for path in paths:
        listed = None if keep_absent and not os.path.lexists(path) else _names(path)
        folders |= listed is not None
        found += ([] if _is_index(path) else [Entry(path)]) if listed is None else _entries(path, listed)
        if len(found) > MAX_INPUTS:
            hint = "Name them in parts."
            raise UsageError("bad-option", f"more than {MAX_INPUTS} bundles", where=str(path), hint=hint)
    if not found:
        raise _nothing(paths, "there is no bundle to judge")
    return FoundBundles(tuple(found), folders)


def find_distinct(paths: Sequence[Path]) -> FoundBundles:
    """As :func:`find_bundles`, for verbs that take each bundle once and leave aside what is none.

    Raises:
        UsageError: ``bad-option`` also when one bundle is meant twice.
        Undecided: ``nothing-to-check`` also when nothing found is a bundle.
    """
    found = find_bundles(paths, keep_absent=True)
    if not found.paths:
        first = found.others[0]
        raise _nothing(paths, f"there is no bundle here; of {first.path.name!r}: {first.why}")
    seen: set[str] = set()
    for path in found.paths:
        name = os.path.normpath(path)
        if name in seen:
            raise UsageError("bad-option", "a bundle was named twice", where=str(path), hint="Name each bundle once.")
        seen.add(name)
    return found


def _nothing(paths: Sequence[Path], message: str) -> Undecided:
    return Undecided(
        "nothing-to-check",
        message,
        where=", ".join(str(path) for path in paths)[:200],
        hint="Name bundles, or the folder that they lie in. A release without evidence does not pass.",
    )


def _names(path: Path) -> list[str] | None:
    """The names in a folder of bundles, sorted; ``None`` for anything else, which then is a bundle or is refused as one."""
    try:
        if not stat.S_ISDIR(path.lstat().st_mode) or _has_parts(path):
            return None
        with os.scandir(path) as entries:
            names = [entry.name for entry in islice(entries, MAX_ENTRIES + 1)]
    except (OSError, ValueError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else str(problem)
        raise UsageError("file-missing", f"cannot read: {reason}", where=str(path)) from None
    if len(names) > MAX_ENTRIES:
        raise UsageError("bad-option", f"more than {MAX_ENTRIES} entries", where=str(path), hint="Name the bundles in parts.")
    return sorted(name for name in names if not name.startswith("."))


def _has_parts(folder: Path) -> bool:
    return any(os.path.lexists(folder / part) for part in _PARTS)


def _entries(folder: Path, names: Sequence[str]) -> Iterator[Entry]:
    known = frozenset(names)
    for name in names:
        path = folder / name
        if not _is_sidecar(path, known) and not _is_index(path):
            yield _entry(path)


def _is_sidecar(path: Path, names: frozenset[str]) -> bool:
    """Whether it belongs to a bundle in ``names``; the bundle itself is judged, so nothing hides behind this."""
    owner = next((path.name.removesuffix(ending) for ending in SIDECARS if path.name.endswith(ending)), path.name)
    if owner == path.name or owner not in names or _is_sidecar(path.with_name(owner), names):
        return False
    return path.is_file() and not path.is_symlink()


def _is_index(path: Path) -> bool:
    return path.name == INDEX_FILE and _start(path, len(START)) == START


def _is_packed(path: Path) -> bool:
    """Whether it begins as our archives do: other zip files, such as arrays, have another first member."""
    start = _start(path, LOCAL_SIZE + max(map(len, _FIRST_MEMBERS)))
    return start.startswith(b"PK") and start[LOCAL_SIZE:].startswith(_FIRST_MEMBERS)


def _is_case(path: Path) -> bool:
    start = _start(path, LOCAL_SIZE + max(map(len, _CASE_MEMBERS)))
    return start.startswith(b"PK") and start[LOCAL_SIZE:].startswith(_CASE_MEMBERS)


def _start(path: Path, size: int) -> bytes:
    """The first bytes of a regular file; of anything else, also of what cannot be read, none."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        handle = os.open(path, flags)
    except (OSError, ValueError):
        return b""
    try:
        return os.read(handle, size) if stat.S_ISREG(os.fstat(handle).st_mode) else b""
    except OSError:
        return b""
    finally:
        os.close(handle)


def _entry(path: Path) -> Entry:
    try:
        kind = path.lstat().st_mode
    except OSError as problem:
        return Entry(path, Kind.UNKNOWN, f"it cannot be read: {problem.strerror}")
    if stat.S_ISDIR(kind):
        return Entry(path) if _has_parts(path) else Entry(path, Kind.UNKNOWN, "it is a folder, but no bundle")
    if not stat.S_ISREG(kind):
        return Entry(path, Kind.UNKNOWN, "it is a link" if stat.S_ISLNK(kind) else "it is no regular file")
    if path.name.endswith(PACKED) or _is_packed(path):
        return Entry(path)
    if _is_case(path):  # it holds bundles, which nobody looked at
        return Entry(path, Kind.UNKNOWN, "it is a case, which is judged by itself")
    return Entry(path, Kind.FILE, "it is a file, but no bundle")
