"""The audit log: an append-only RFC 6962 tree over attestation identifiers, in one SQLite file.

An append is one transaction: it is there with all its tree nodes, or not at all, whatever kills the process. Appenders take
turns by SQLite's own lock; an identifier that is there already keeps its place.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from verifai.bundle.merkle import HASH_BYTES, consistency_proof, inclusion_proof, leaf_hash, node_hash, subtree_hash
from verifai.bundle.note import MAX_SIZE, Checkpoint, LogProof, check_name
from verifai.domain.digest import Sha256, is_sha256
from verifai.domain.foreign import other_than
from verifai.domain.trust_keys import PublicKey, Signer
from verifai.errors import EvidenceRejected, Undecided, UsageError
from verifai.execution.files import cannot_write

_FORMAT = "verifai/log/v1"
_BUSY_SECONDS = 60.0
_SCHEMA = f"""
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE entry (position INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE CHECK (length(id) = {HASH_BYTES}));
CREATE TABLE node (level INTEGER, position INTEGER, hash BLOB NOT NULL CHECK (length(hash) = {HASH_BYTES}),
                   PRIMARY KEY (level, position)) WITHOUT ROWID;
"""
_PARTS = {("table", one.split()[2]): " ".join(one.split()) for one in _SCHEMA.split(";") if one.strip()}
_LOOK_STEPS = 1000
"""Thousands of steps that SQLite may take to say what a log is; a file of ours takes some."""
_MAX_VALUE = 1 << 20
"""Bytes of one value or statement; ours have a hundred."""


class AuditLog:
    """An opened log. Use :func:`create_log` or :func:`open_log`."""

    def __init__(self, connection: sqlite3.Connection, path: Path, origin: str, key: PublicKey) -> None:
        self._connection = connection
        self._path = path
        self.origin = origin
        self.key = key

    @property
    def size(self) -> int:
        """Number of entries."""
        with self._reading():
            return self._size()

    def _size(self) -> int:
        size = self._connection.execute("SELECT coalesce(max(position) + 1, 0) FROM entry").fetchone()[0]
        if not isinstance(size, int) or not 0 <= size <= MAX_SIZE:
            raise self._corrupt("the positions of its entries are no numbers")
        return size

    def _hash(self, value: object, what: str) -> bytes:
        """A column of hashes as it is: SQLite lets whoever edits a file put anything anywhere."""
        if not isinstance(value, bytes) or len(value) != HASH_BYTES:
            raise self._corrupt(f"{what} is no hash")
        return value

    def append(self, ids: Sequence[Sha256]) -> tuple[int, ...]:
        """Append identifiers in one transaction; one that is there keeps its place. Returns their positions.

        Raises:
            UsageError: code ``bad-log-entry`` for anything but a SHA-256.
            Undecided: code ``log-busy`` or ``disk``.
        """
        for one in ids:
            if not is_sha256(one):
                raise UsageError("bad-log-entry", f"{str(one)[:80]!r} is not a SHA-256 in hex")
        with self._writing():
            return tuple(self._append(bytes.fromhex(one)) for one in ids)

    def _append(self, entry: bytes) -> int:
        found = self._connection.execute("SELECT position FROM entry WHERE id = ?", (entry,)).fetchone()
        if found is not None:
            return int(found[0])
        position = self._size()
        self._connection.execute("INSERT INTO entry VALUES (?, ?)", (position, entry))
        level, index, current = 0, position, leaf_hash(entry)
        self._insert(level, index, current)
        while index & 1:  # this node completes its parent
            current = node_hash(self._node(level, index - 1), current)
            level, index = level + 1, index >> 1
            self._insert(level, index, current)
        return position

    def _insert(self, level: int, index: int, value: bytes) -> None:
        self._connection.execute("INSERT INTO node VALUES (?, ?, ?)", (level, index, value))

    def _node(self, level: int, position: int) -> bytes:
        row = self._connection.execute("SELECT hash FROM node WHERE level = ? AND position = ?", (level, position)).fetchone()
        if row is None:
            raise self._corrupt(f"tree node {position} at level {level} is missing")
        return self._hash(row[0], f"tree node {position} at level {level}")

    def checkpoint(self, signer: Signer, *, size: int | None = None) -> Checkpoint:
        """The signed tree head, of the newest entries or of the first ``size``.

        Raises:
            UsageError: ``wrong-log-key``; ``log-empty`` for size 0; ``bad-option`` for more entries than there are.
        """
        self.require_key(signer)
        with self._reading():
            size = self._checked_size(size)
            return Checkpoint(self.origin, size, subtree_hash(self._node, 0, size)).signed_by(signer)

    def require_key(self, signer: Signer) -> None:
        """See that ``signer`` is the log's own, before anything is appended for ever. Raises UsageError (``wrong-log-key``)."""
        if signer.public_key != self.key:
            raise UsageError(
                "wrong-log-key",
                f"log {self.origin!r} signs with {self.key}",
                where=str(self._path),
                hint="Give the log's own key.",
            )

    def root(self, size: int) -> bytes:
        """The root of the first ``size`` entries, unsigned. Raises UsageError."""
        with self._reading():
            return subtree_hash(self._node, 0, self._checked_size(size))

    def _checked_size(self, size: int | None) -> int:
        current = self._size()
        if current == 0:
            raise UsageError("log-empty", "the log is empty", where=str(self._path), hint="Append something first.")
        if size is None:
            return current
        if not 1 <= size <= current:
            raise UsageError("bad-option", f"the log has {current} entries, so there is no size {size}", where=str(self._path))
        return size

    def prove(self, one: Sha256, checkpoint: Checkpoint) -> LogProof:
        """The proof that ``one`` is among the entries of ``checkpoint``, one of this log's own.

        Raises:
            UsageError: ``not-in-log``.
        """
        with self._reading():
            found = self._connection.execute("SELECT position FROM entry WHERE id = ?", (bytes.fromhex(one),)).fetchone()
            if found is None or int(found[0]) >= checkpoint.size:
                raise UsageError(
                    "not-in-log", f"{one} is not among the first {checkpoint.size} entries", where=str(self._path),
                    hint="Append it first: `verifai log append LOG BUNDLE`",
                )  # fmt: skip
            index = int(found[0])
            return LogProof(index, inclusion_proof(self._node, index, checkpoint.size), checkpoint)

    def prove_consistency(self, first: int, second: int) -> tuple[bytes, ...]:
        """The proof that the tree of size ``first`` is a prefix of that of size ``second``. Raises UsageError."""
        with self._reading():
            first, second = self._checked_size(first), self._checked_size(second)
            if first > second:
                raise UsageError("bad-option", f"size {first} is larger than {second}")
            return consistency_proof(self._node, first, second)

    def ids(self) -> Iterator[Sha256]:
        """Every identifier, in order."""
        with self._reading():
            for (value,) in self._connection.execute("SELECT id FROM entry ORDER BY position"):
                yield Sha256(self._hash(value, "an entry").hex())

    def check(self) -> int:
        """Recompute every node from the entries. Returns the size. Raises EvidenceRejected (``log-corrupt``)."""
        with self._reading():
            if self._connection.execute("PRAGMA integrity_check").fetchone()[0] != "ok":
                raise self._corrupt("SQLite finds the file damaged")
            count, nodes, stack = 0, 0, dict[int, bytes]()
            for position, entry in self._connection.execute("SELECT position, id FROM entry ORDER BY position"):
                if position != count:
                    raise self._corrupt(f"entry {count} is missing")
                level, index, current = 0, count, leaf_hash(self._hash(entry, f"entry {count}"))
                while True:
                    nodes += 1
                    if self._node(level, index) != current:
                        raise self._corrupt(f"tree node {index} at level {level} does not follow from the entries")
                    if not index & 1:
                        stack[level] = current
                        break
                    current = node_hash(stack[level], current)
                    level, index = level + 1, index >> 1
                count += 1
            if self._connection.execute("SELECT count(*) FROM node").fetchone()[0] != nodes:
                raise self._corrupt("there are tree nodes that belong to no entry")
            return count

    def _corrupt(self, message: str) -> EvidenceRejected:
        return EvidenceRejected("log-corrupt", message, where=str(self._path), hint="Restore the log from a copy.")

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with _transaction(self._connection, "BEGIN", self._path):
            yield

    @contextmanager
    def _writing(self) -> Iterator[None]:
        # IMMEDIATE takes the write lock before reading the size; DEFERRED would let two appenders see the same one.
        with _transaction(self._connection, "BEGIN IMMEDIATE", self._path):
            yield


@contextmanager
def _transaction(connection: sqlite3.Connection, begin: str, path: Path) -> Iterator[None]:
    try:
        if connection.in_transaction:
            yield
            return
        connection.execute(begin)
        try:
            yield
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
    except sqlite3.DatabaseError as problem:
        raise _translate(problem, path) from None


_SQLITE = b"SQLite format 3\0"


def _translate(problem: sqlite3.DatabaseError, path: Path) -> UsageError | Undecided:
    name = getattr(problem, "sqlite_errorname", "")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return Undecided("log-busy", "another process holds the log", where=str(path), hint="Try again.")
    if name.startswith(("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
        hint = "Free some space, or give yourself the right to write the log and its folder."
        return Undecided("disk", f"the file system refused: {problem}", where=str(path), hint=hint)
    if name.startswith("SQLITE_INTERRUPT"):
        return UsageError("bad-log", "not an audit log: it takes too long to say what it is", where=str(path))
    message, hint = other_than(
        "an audit log", _head(path), str(problem), "Make one with: `verifai log init LOG --origin NAME --key PUBLIC_KEY`"
    )
    return UsageError("bad-log", message, where=str(path), hint=hint)


def _head(path: Path) -> bytes:
    """What tells a foreign file from a database; of a database, or where it cannot be read, nothing that tells anything."""
    try:
        with path.open("rb") as stream:
            head = stream.read(4096)
    except OSError:
        head = _SQLITE
    return b"\0" if head.startswith(_SQLITE) else head


def create_log(path: Path, *, origin: str, key: PublicKey) -> None:
    """Make an empty log.

    Args:
        origin: its name for ever, such as ``example.org/verifai``; part of everything it signs.
        key: the only key that may sign its checkpoints.

    Raises:
        UsageError: ``file-exists``, or ``bad-option`` for an origin that cannot be one.
    """
    try:
        check_name(origin)
    except ValueError as problem:
        raise UsageError("bad-option", str(problem), where="--origin") from None
    try:
        path.open("xb").close()
    except FileExistsError:
        raise UsageError("file-exists", "the log exists already", where=str(path), hint="Choose another name.") from None
    except OSError as problem:
        raise cannot_write(problem, path) from None
    try:
        connection = _connect(path, "rw")
        try:
            with _transaction(connection, "BEGIN IMMEDIATE", path):
                for statement in _SCHEMA.split(";"):
                    connection.execute(statement)
                rows = (("format", _FORMAT), ("origin", origin), ("key", str(key)))
                connection.executemany("INSERT INTO meta VALUES (?, ?)", rows)
        finally:
            connection.close()
    except BaseException:
        path.unlink(missing_ok=True)
        raise


@contextmanager
def open_log(path: Path, *, read_only: bool = False) -> Iterator[AuditLog]:
    """Open an existing log.

    Raises:
        UsageError: ``file-missing``; ``bad-log``, when it is not a log of ours, column for column. Undecided: ``log-busy``,
            ``disk``.
    """
    if not path.is_file():
        hint = "Make one with: `verifai log init LOG --origin NAME --key PUBLIC_KEY`"
        raise UsageError("file-missing", "no such log", where=str(path), hint=hint)
    if not path.stat().st_size:  # SQLite takes an empty file for a database without tables
        message, hint = other_than("an audit log", b"")
        raise UsageError("bad-log", message, where=str(path), hint=hint)
    connection = _connect(path, "ro" if read_only and not _was_interrupted(path) else "rw")
    try:
        yield _look(connection, path)
    finally:
        connection.close()


def check_log_key(path: Path, signer: Signer) -> None:
    """See that there is a log at ``path`` and ``signer`` is its own, before work is done that is to be logged.

    Raises:
        UsageError: ``wrong-log-key``, and as :func:`open_log`. Undecided: as there.
    """
    with open_log(path, read_only=True) as log:
        log.require_key(signer)


def _was_interrupted(path: Path) -> bool:
    """Whether a writer died in the middle of a transaction: reading then begins with rolling that back, which writes."""
    return os.path.lexists(f"{path}-journal")


def _look(connection: sqlite3.Connection, path: Path) -> AuditLog:
    """What the file says of itself, once it is known to be tables of ours and nothing else."""
    steps = iter(range(_LOOK_STEPS))
    connection.set_progress_handler(lambda: next(steps, None) is None, 1000)
    with _transaction(connection, "BEGIN", path):
        found = connection.execute("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL LIMIT 16")
        parts = {(kind, name): " ".join(str(sql).split()) for kind, name, sql in found}
        if parts != _PARTS:  # a view or trigger of somebody else's would run inside our queries
            raise UsageError("bad-log", "not an audit log: it holds other tables, views or triggers", where=str(path))
        meta = dict(connection.execute("SELECT name, value FROM meta LIMIT 16"))
    connection.set_progress_handler(None, 0)
    try:
        if meta["format"] != _FORMAT:
            raise ValueError(f"format {str(meta['format'])[:40]!r}")
        return AuditLog(connection, path, check_name(meta["origin"]), PublicKey.from_text(meta["key"]))
    except (KeyError, ValueError, TypeError, AttributeError) as problem:
        raise UsageError("bad-log", f"not an audit log of this release: {problem}", where=str(path)) from None


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    # As a URI of an absolute path: SQLite reads `file:…` and `:memory:` as something else than names of files.
    address = f"file:{quote(os.fsencode(path.absolute()))}?mode={mode}"
    try:
        connection = sqlite3.connect(address, timeout=_BUSY_SECONDS, isolation_level=None, uri=True)
    except sqlite3.DatabaseError as problem:
        raise _translate(problem, path) from None
    # A rollback journal keeps the log one file at rest; EXTRA also syncs the folder after the journal is gone, so a commit that
    # was reported survives a power cut.
    try:
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cell_size_check = ON")
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_VALUE)
        if mode == "rw":
            connection.execute("PRAGMA journal_mode = DELETE")
            connection.execute("PRAGMA synchronous = EXTRA")
    except sqlite3.DatabaseError as problem:
        connection.close()
        raise _translate(problem, path) from None
    return connection
