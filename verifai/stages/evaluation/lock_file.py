"""``data.lock`` on disk."""

from __future__ import annotations

from pathlib import Path

import tomli_w

from verifai.circuit_folder import read_toml
from verifai.domain.evaluation.data_lock import DataLock, parse_data_lock

_HEADER = (
    "# Written by `verifai dataset`; verdicts about evaluations rest on it.\n"
    "# Review changes to this file as you would review code.\n\n"
)


def read_data_lock(path: Path) -> DataLock:
    """Read a lock. Raises UsageError (``file-missing``, ``bad-data-lock``)."""
    return parse_data_lock(read_toml(path, code="bad-data-lock"), str(path))


def render_data_lock(lock: DataLock) -> bytes:
    """The lock's exact bytes: equal locks have equal bytes."""
    return (_HEADER + tomli_w.dumps(lock.to_document())).encode()
