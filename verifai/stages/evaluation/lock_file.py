"""``data.lock`` on disk."""

from __future__ import annotations

from pathlib import Path

import tomli_w

from verifai.circuit_folder import read_toml
from verifai.domain.evaluation.data_lock import DataLock, parse_data_lock
from verifai.domain.toml import parse_toml
from verifai.errors import UsageError
from verifai.execution.files import write_atomic

_HEADER = (
    "# Written by `verifai dataset`; verdicts about evaluations rest on it.\n"
    "# Review changes to this file as you would review code.\n\n"
)


def read_data_lock(path: Path) -> DataLock:
    """Read a lock. Raises UsageError (``file-missing``, ``bad-data-lock``)."""
    return parse_data_lock(read_toml(path, code="bad-data-lock"), str(path))


def write_data_lock(path: Path, lock: DataLock) -> None:
    """Write a lock whole, once it can be read back.

    Raises:
        UsageError: ``bad-option`` for what this release would refuse to read, such as a name that cannot be printed.
        Undecided: ``disk``.
    """
    data = render_data_lock(lock)
    try:
        parse_data_lock(parse_toml(data), str(path))
    except UsageError as problem:
        raise UsageError("bad-option", problem.message, where=problem.where, hint="Give another text.") from None
    write_atomic(path, data)


def render_data_lock(lock: DataLock) -> bytes:
    """The lock's exact bytes: equal locks have equal bytes."""
    return (_HEADER + tomli_w.dumps(lock.to_document())).encode()
