"""The opening ledger: which opening numbers of a hiding commitment are spent (``docs/decisions/0701-opening-ledger.md``).

A commitment to private weights, or to a hashed tensor, hides its values only while each of its ``budget`` opening numbers is
used at most once. So the ledger is locked, and the record of a number is on disk, *before* the number is used in a computation.
A crash after that loses the number; no crash makes it free again.

On one machine the ledger prevents a second use by: two processes, threads or containers on one ledger file (exclusive
``flock``); a crash or kill at any moment; a full disk; a missing, shortened, lengthened or edited ledger. The *mark* detects a
ledger that was rolled back, restored or made anew, and a copy of the folder, if the state folder of the same user knows that
more numbers were used.

It does **not** prevent a second use by: a copy on another machine, of another user, or in a container with its own state
folder; a machine, or a disk with both files, that was put back to an earlier state; a file system whose locks do not reach
other machines (NFS mounted with ``nolock`` or ``local_lock``). Nothing on the machine can see these. A reader of both proofs
may then compute the hidden values. ``verify``, ``audit`` and ``gate`` report ``opening-repeated`` when they see two such
bundles.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from verifai.domain.digest import is_sha256, short
from verifai.domain.shell import shell
from verifai.engines.sumcheck.secrets.opening_ledger_format import (
    COMMIT_ANEW,
    LINE_BYTES,
    MAX_LEDGER_BYTES,
    LedgerState,
    new_ledger,
    pages,
    parse_ledger,
)
from verifai.errors import Undecided, UsageError
from verifai.execution.files import sync_folder
from verifai.execution.user_folders import state_home

MARKS_VARIABLE = "VERIFAI_OPENINGS_DIR"
"""Environment variable that names the folder of the marks; by default below ``$XDG_STATE_HOME`` or ``~/.local/state``."""
LOCK_SECONDS = 60.0

_FLAGS = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # opening a pipe in the ledger's place must not block


class OpeningLedger:
    """An existing ledger; made by :func:`create_ledger` and :func:`open_ledger`. Holds no open file, so it survives a fork."""

    def __init__(self, path: Path, root: str, budget: int) -> None:
        self._path = path
        self._root = root
        self.budget = budget

    @property
    def used(self) -> int:
        """How many numbers are spent, torn records included. Raises as :func:`open_ledger`."""
        return _look(self._path, self._root).used

    @property
    def remaining(self) -> int:
        """How many openings are left. Raises as :func:`open_ledger`."""
        return self.budget - self.used

    def reserve(self, purpose: str) -> int:
        """Take the next number. Its record is on disk when this returns, and no later call returns the same number.

        Args:
            purpose: for people who read the ledger; kept as printable ASCII, shortened. Nothing secret.

        Returns:
            The number, in ``[0, budget)``. On any error no number is returned, and one may be lost.

        Raises:
            UsageError: ``opening-budget-spent``; ``opening-ledger-missing``, ``-mismatch``, ``-malformed``, ``-unsafe``,
                ``-rolled-back``: the root must not be opened any more.
            Undecided: ``disk``; ``opening-ledger-busy``.
        """
        (number,) = self.reserve_block(1, purpose)
        return number

    def reserve_block(self, count: int, purpose: str, *, keep: int = 0) -> tuple[int, ...]:
        """Take the next numbers at once, as :meth:`reserve` takes one: up to ``count``, and fewer where fewer are left.

        Args:
            keep: how many of the last numbers are not taken.

        Returns:
            At least one number, in ascending order. On any error none is returned, and up to ``count`` may be lost.

        Raises:
            As :meth:`reserve`.
        """
        if count < 1:
            raise ValueError("a block has at least one number")
        with _opened(self._path, os.O_RDWR) as handle, _locked(handle, self._path):
            _check_place(handle, self._path)
            # What a killed process left in the cache has to be on disk before a record is linked to it.
            with _refusing(self._path):
                os.fsync(handle)
            data = _read(handle, self._path)
            state = _parse(data, self._path, self._root)
            with _mark(self._root) as mark:
                mark.check(state.used, self._path)
                count = min(count, state.budget - keep - state.used)
                if count < 1:
                    raise _spent(state, self._path)
                for lines in pages(state, purpose, count, data):
                    place = LINE_BYTES * (lines.first + 1)
                    with _refusing(self._path):
                        # Page by page: after a power cut no later page may be there where an earlier one is not.
                        _write(handle, lines.data, place)
                        _sync(handle)
                    data = data[:place] + lines.data + data[place + len(lines.data) :]
                if _read(handle, self._path) != data:
                    raise Undecided("disk", "the ledger changed while it was locked", where=str(self._path), hint=_NETWORK)
                # Last: a crash before this leaves the mark behind the ledger, which is no contradiction.
                mark.raise_to(state.used + count)
        return tuple(range(state.used, state.used + count))


def create_ledger(path: Path, root: str, budget: int) -> OpeningLedger:
    """Make the ledger of a new root, mode 0600, on disk when this returns.

    Args:
        root: 64 hex digits.
        budget: how many openings the root allows.

    Raises:
        UsageError: ``opening-ledger-exists``, whatever is there; ``opening-ledger-rolled-back``, when the root was opened
            before: a lost ledger is never made anew.
        Undecided: ``disk``.
        ValueError: ``root`` or ``budget`` are not what a ledger can hold.
    """
    data = new_ledger(root, budget)
    with _mark(root) as mark:
        mark.check(0, path)
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _FLAGS, 0o600)
        except FileExistsError:
            message = "there is something already where the opening ledger is to be made"
            raise UsageError("opening-ledger-exists", message, where=str(path), hint="Use another folder.") from None
        except (OSError, ValueError) as problem:
            raise _disk(problem, path) from None
        try:
            with _refusing(path):
                try:
                    os.fchmod(handle, 0o600)
                    _write(handle, data, 0)
                    _sync(handle)
                finally:
                    os.close(handle)
                sync_folder(path.parent)
        except BaseException:  # no other process has opened it, and no number was taken from it
            with contextlib.suppress(OSError):
                path.unlink()
            raise
    return OpeningLedger(path, root, budget)


def open_ledger(path: Path, root: str) -> OpeningLedger:
    """The existing ledger of ``root`` at ``path``.

    Raises:
        UsageError: ``opening-ledger-missing`` (it is never made anew), ``opening-ledger-mismatch`` (another root's),
            ``opening-ledger-malformed``, ``opening-ledger-unsafe`` (a link, no regular file, another owner, or open to other
            users), ``opening-ledger-rolled-back``.
        Undecided: ``disk``, ``opening-ledger-busy``.
        ValueError: ``root`` is not 64 hex digits.
    """
    state = _look(path, root)
    return OpeningLedger(path, root, state.budget)


def _look(path: Path, root: str) -> LedgerState:
    marked = _marked(root)  # first: a number reserved in between makes the ledger newer, never older
    with _opened(path, os.O_RDONLY) as handle, _locked(handle, path, fcntl.LOCK_SH):  # records may come while it is read
        state = _parse(_read(handle, path), path, root)
    if state.used < marked:
        raise _rolled_back(state.used, marked, path)
    return state


def _parse(data: bytes, path: Path, root: str) -> LedgerState:
    state = parse_ledger(data, str(path))
    if state.root != root:
        message = f"the ledger is of root {short(state.root)}, not of {short(root)}"
        raise UsageError("opening-ledger-mismatch", message, where=str(path), hint="Use the ledger made with this root.")
    return state


@contextlib.contextmanager
def _opened(path: Path, mode: int) -> Iterator[int]:
    try:
        _check_kind(os.lstat(path), path)  # before it is opened: opening a device may do something
        handle = os.open(path, mode | _FLAGS)
    except (FileNotFoundError, NotADirectoryError):
        message = "the opening ledger of this root is not there"
        raise UsageError("opening-ledger-missing", message, where=str(path), hint=COMMIT_ANEW) from None
    except (OSError, ValueError) as problem:
        if isinstance(problem, OSError) and problem.errno == errno.ELOOP:
            raise _unsafe("it is a link", path) from None
        raise _disk(problem, path) from None
    try:
        _check_kind(os.fstat(handle), path)
        yield handle
    finally:
        os.close(handle)


def _check_kind(found: os.stat_result, path: Path) -> None:
    if stat.S_ISLNK(found.st_mode):
        raise _unsafe("it is a link", path)
    if not stat.S_ISREG(found.st_mode):
        raise _unsafe("it is not a regular file", path)
    if found.st_uid != os.geteuid():
        raise _unsafe("it belongs to another user", path)
    if found.st_mode & 0o077:
        raise _unsafe("other users may read or write it", path, f"If nobody else used it: `chmod 600 {shell(path)}`")


def _check_place(handle: int, path: Path) -> None:
    """Whether the locked file is still the one at ``path``. Another process may have replaced it while this one waited."""
    try:
        found, held = os.lstat(path), os.fstat(handle)
    except OSError:
        found, held = None, None
    if found is None or held is None or (found.st_dev, found.st_ino) != (held.st_dev, held.st_ino):
        message = "the opening ledger was removed or replaced while it was waited for"
        raise UsageError("opening-ledger-missing", message, where=str(path), hint=COMMIT_ANEW)


@contextlib.contextmanager
def _locked(handle: int, path: Path, kind: int = fcntl.LOCK_EX) -> Iterator[None]:
    """A lock on the open file, by default exclusive: against other processes, and threads, which open it for themselves."""
    deadline = time.monotonic() + LOCK_SECONDS
    pause = 0.001
    while True:
        try:
            fcntl.flock(handle, kind | fcntl.LOCK_NB)
            break
        except OSError as problem:
            if problem.errno not in (errno.EWOULDBLOCK, errno.EACCES, errno.EINTR):
                message = f"the file system gives no lock: {problem.strerror}"
                raise Undecided("disk", message, where=str(path), hint=_NETWORK) from None
        if time.monotonic() > deadline:
            message = f"another process held the lock for {LOCK_SECONDS:g} seconds"
            raise Undecided("opening-ledger-busy", message, where=str(path), hint="See which process hangs, then try again.")
        time.sleep(pause)
        pause = min(2 * pause, 0.05)
    try:
        yield
    finally:
        # Not left to close(): a child forked by another thread meanwhile shares the lock, and may live long.
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_UN)


def _read(handle: int, path: Path, limit: int = MAX_LEDGER_BYTES) -> bytes:
    parts: list[bytes] = []
    size = 0
    with _refusing(path):
        while size <= limit:
            part = os.pread(handle, limit + 1 - size, size)
            if not part:
                break
            parts.append(part)
            size += len(part)
    return b"".join(parts)


def _write(handle: int, data: bytes, place: int) -> None:
    done = 0
    while done < len(data):
        written = os.pwrite(handle, data[done:], place + done)
        if written <= 0:
            raise OSError(errno.EIO, "nothing was written")
        done += written


def _sync(handle: int) -> None:
    os.fsync(handle)
    full = getattr(fcntl, "F_FULLFSYNC", None)  # macOS: fsync alone stops at the drive's own cache
    if full is not None:
        with contextlib.suppress(OSError):  # file systems without it
            fcntl.fcntl(handle, full)


class _Mark:
    """The highest count of spent numbers that this user's machine has seen for a root, kept away from the circuit folder.

    The count is the size of a file that only grows: nothing to parse, nothing to tear.
    """

    def __init__(self, handle: int, path: Path) -> None:
        self._handle = handle
        self._path = path

    def check(self, used: int, ledger: Path) -> None:
        """Raises UsageError (``opening-ledger-rolled-back``) when more numbers were spent than the ledger says."""
        marked = os.fstat(self._handle).st_size
        if used < marked:
            raise _rolled_back(used, marked, ledger)

    def raise_to(self, used: int) -> None:
        """Remember ``used``, on disk. Raises Undecided (``disk``)."""
        with _refusing(self._path):
            size = os.fstat(self._handle).st_size
            if size < used:
                _write(self._handle, b"." * (used - size), size)
                _sync(self._handle)


@contextlib.contextmanager
def _mark(root: str) -> Iterator[_Mark]:
    """The mark of ``root``, locked; made when there is none. Two ledgers of one root, one a copy, meet here."""
    path = _mark_path(root)
    with _refusing(path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _FLAGS, 0o600)
            try:
                os.fchmod(handle, 0o600)
            finally:
                os.close(handle)
            sync_folder(path.parent)
    with _opened(path, os.O_RDWR) as handle, _locked(handle, path):
        _check_place(handle, path)
        yield _Mark(handle, path)


def _marked(root: str) -> int:
    """How many spent numbers the mark knows of; 0 without one."""
    try:
        found = os.lstat(_mark_path(root))
    except OSError:
        return 0  # whether it can be written is found out before a number is taken
    _check_kind(found, _mark_path(root))
    return found.st_size


def _mark_path(root: str) -> Path:
    if not is_sha256(root):
        raise ValueError(f"{root[:80]!r} is no root: 64 hex digits")
    named = os.environ.get(MARKS_VARIABLE)
    if named:
        return Path(named) / f"{root}.mark"
    state = state_home()
    if state is None:
        message = "there is no home folder to remember spent opening numbers in"
        raise Undecided("disk", message, hint=f"Set {MARKS_VARIABLE} to a folder that lasts.")
    return state / "verifai" / "openings" / f"{root}.mark"


@contextlib.contextmanager
def _refusing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as problem:
        raise _disk(problem, path) from None


def _disk(problem: OSError | ValueError, path: Path) -> Undecided:
    reason = (problem.strerror or str(problem)) if isinstance(problem, OSError) else str(problem)
    hint = f"No opening number was given out. The ledger, and the folder that {MARKS_VARIABLE} names, must be writable."
    return Undecided("disk", f"the opening ledger cannot be used: {reason}", where=str(path), hint=hint)


def _unsafe(message: str, path: Path, hint: str = COMMIT_ANEW) -> UsageError:
    return UsageError("opening-ledger-unsafe", f"the opening ledger is not safe to use: {message}", where=str(path), hint=hint)


def _rolled_back(used: int, marked: int, path: Path) -> UsageError:
    return UsageError(
        "opening-ledger-rolled-back",
        f"the ledger knows {used} spent opening numbers, this machine has seen {marked}: it is a copy, or an older state",
        where=str(path),
        hint=COMMIT_ANEW,
    )


def _spent(state: LedgerState, path: Path) -> UsageError:
    return UsageError(
        "opening-budget-spent",
        f"all {state.budget} openings of root {short(state.root)} are spent",
        where=str(path),
        hint="Make a new root: compile again. Reusing a number would give away what the commitment hides.",
    )


_NETWORK = "Keep the ledger on a local disk: locks of network file systems may not reach other machines."
