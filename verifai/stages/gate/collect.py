"""Which bundles a gate is given: those named, and everything in the folders named. Nothing is left out in silence."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from verifai.domain.attestation.manifest import MANIFEST_NAME
from verifai.domain.policy.attestation import MAX_INPUTS
from verifai.errors import Undecided, UsageError

SIDECARS = (".sigstore.json", ".tlog-proof")
"""Endings of the files that `seal` and `consensus` write beside a bundle, because the bundle cannot hold them."""


def collect_bundles(paths: Sequence[Path]) -> tuple[Path, ...]:
    """The bundles behind ``paths``, in the order given, those of a folder by name.

    A folder that holds a manifest is a bundle; any other folder stands for all that is in it, one level deep. Whatever lies
    there is taken for a bundle, so a stray file fails the gate instead of being overlooked. Left out are names that begin with
    a dot, because an interrupted writer leaves such, and regular files named as the sidecar of a bundle that lies beside them
    (``NAME.sigstore.json``, ``NAME.tlog-proof``), because they are read with that bundle, if at all.

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
    return [path / name for name in names if not _is_sidecar(path, name, names)]


def _is_sidecar(folder: Path, name: str, names: Sequence[str]) -> bool:
    """Whether ``name`` belongs to a bundle in ``names``; the bundle itself is judged, so nothing hides behind this."""
    owner = next((name.removesuffix(ending) for ending in SIDECARS if name.endswith(ending)), name)
    if owner == name or owner not in names or _is_sidecar(folder, owner, names):
        return False
    path = folder / name
    return path.is_file() and not path.is_symlink()
