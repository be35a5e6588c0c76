"""Where a user's caches, data and states lie (XDG base directories), also for users who have no home."""

from __future__ import annotations

import os
from pathlib import Path

NO_HOME = Path("/nonexistent")
"""The home of users without one, by Debian's convention; nothing is ever made below it."""


def cache_home() -> Path | None:
    """``$XDG_CACHE_HOME`` or ``~/.cache``; ``None`` for a user without a home."""
    return _folder("XDG_CACHE_HOME", ".cache")


def data_home() -> Path | None:
    """``$XDG_DATA_HOME`` or ``~/.local/share``; ``None`` for a user without a home."""
    return _folder("XDG_DATA_HOME", ".local/share")


def state_home() -> Path | None:
    """``$XDG_STATE_HOME`` or ``~/.local/state``; ``None`` for a user without a home."""
    return _folder("XDG_STATE_HOME", ".local/state")


def _folder(variable: str, below_home: str) -> Path | None:
    named = os.environ.get(variable, "")
    if named and Path(named).is_absolute():  # the specification tells to ignore relative ones
        return Path(named)
    try:
        home = Path.home()
    except (RuntimeError, KeyError):  # no HOME, and a user number that no account has
        return None
    return home / below_home if home.is_absolute() and home != Path("/") else None  # HOME=/ is how containers say none
