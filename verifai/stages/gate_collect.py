"""Which bundles a gate is given: those named, and everything in the folders named. Nothing is left out in silence."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from verifai.domain.gate_attestation import MAX_INPUTS
from verifai.domain.manifest import MANIFEST_NAME
from verifai.errors import Undecided, UsageError


def collect_bundles(paths: Sequence[Path]) -> tuple[Path, ...]:
    """The bundles behind ``paths``, in the order given, those of a folder by name.

    A folder that holds a manifest is a bundle; any other folder stands for all that is in it, one level deep. Whatever lies
    there is taken for a bundle, so a stray file fails the gate instead of being overlooked; only names that begin with a dot
    are left out, because an interrupted writer leaves such.

    Raises:
        UsageError: ``file-missing`` for a path that is not there; ``bad-option`` for too many bundles.
        Undecided: ``nothing-to-check``.
    """
    found: list[Path] = []
    for path in paths:
        found += _behind(path)
        if len(found) > MAX_INPUTS:
            raise UsageError("bad-option", f"more than {MAX_INPUTS} bundles", where=str(path), hint="Gate them in parts.")
    if not found:
        raise Undecided(
            "nothing-to-check",
            "there is no bundle to judge",
            where=", ".join(str(path) for path in paths)[:200],
            hint="A release without evidence does not pass; name bundles, or the folder that they lie in.",
        )
    return tuple(found)


def _behind(path: Path) -> list[Path]:
    try:
        kind = path.lstat().st_mode
        if not stat.S_ISDIR(kind) or os.path.lexists(path / MANIFEST_NAME):
            return [path]
        names = sorted(entry.name for entry in os.scandir(path) if not entry.name.startswith("."))
    except (OSError, ValueError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else str(problem)
        raise UsageError("file-missing", f"cannot read: {reason}", where=str(path)) from None
    return [path / name for name in names]
