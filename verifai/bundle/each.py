"""One piece of work on each of many bundles: one that cannot be worked on keeps no other from it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from verifai.bundle.find import PACKED
from verifai.domain.progress import SILENT, Progress
from verifai.errors import EvidenceRejected, Undecided, UsageError, VerifaiError

R = TypeVar("R")


@dataclass(frozen=True)
class Done(Generic[R]):
    """One bundle, and what came of it: exactly one of ``result`` and ``problem``."""

    path: Path
    result: R | None = None
    problem: VerifaiError | None = None


def each_bundle(
    paths: Sequence[Path], work: Callable[[Path], R], *, what: str, progress: Progress = SILENT
) -> tuple[Done[R], ...]:
    """``work`` on every bundle, in order.

    Args:
        what: the work in one word, such as ``sealing``.

    Raises:
        UsageError: the first bundle was refused because of how it was asked for, so no other would fare better.
    """
    progress.phase(f"{what} {len(paths)} bundle{'s' * (len(paths) != 1)}", len(paths))
    done: list[Done[R]] = []
    for path in paths:
        try:
            done.append(Done(path, result=work(path)))
        except (EvidenceRejected, Undecided) as problem:
            done.append(Done(path, problem=problem))
        except UsageError as problem:
            if not done and (problem.code != "file-missing" or len(paths) == 1):
                raise
            done.append(Done(path, problem=problem))
        progress.advance()
    return tuple(done)


def free_names(paths: Sequence[Path], output: Path, ending: str = "") -> dict[Path, Path]:
    """Where the outputs of several bundles go: under their own names, without the ending of a packed one, in ``output``.

    Raises:
        UsageError: ``file-exists`` when something is there already; ``bad-option`` when two bundles have one name.
    """
    targets: dict[Path, Path] = {}
    taken: set[Path] = set()
    for path in paths:
        target = output / (path.resolve().name.removesuffix(PACKED) + ending)
        if target in taken:
            hint = "Take one folder after the other, each with its own --output."
            raise UsageError("bad-option", "two of the bundles have this name", where=str(target), hint=hint)
        if os.path.lexists(target):
            hint = "Choose another --output folder."
            raise UsageError("file-exists", "the output exists already", where=str(target), hint=hint)
        targets[path] = target
        taken.add(target)
    return targets


def make_folder(output: Path) -> None:
    """Make the folder of outputs. Raises Undecided (``disk``)."""
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise Undecided("disk", f"cannot make the folder: {problem.strerror}", where=str(output)) from None
