"""Writing reports to files: all of them, whole, before the command ends."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from verifai.errors import Undecided, UsageError, VerifaiError
from verifai.execution.files import write_atomic
from verifai.reports.interface import Report
from verifai.reports.registry import ReportName, format_for


@dataclass(frozen=True, slots=True)
class ReportTarget:
    """One ``--report FORMAT=PATH``."""

    format: ReportName
    path: Path


def parse_targets(options: Sequence[str]) -> tuple[tuple[ReportTarget, ...], UsageError | None]:
    """Read ``FORMAT=PATH`` options, and see that each can be written, before any work is done.

    Returns:
        The usable targets, and what is wrong with the first that is not: the usable ones are still to be told of it.
    """
    targets: list[ReportTarget] = []
    problem: UsageError | None = None
    for option in options:
        try:
            targets.append(_target(option, targets))
        except UsageError as found:
            problem = problem or found
    return tuple(targets), problem


def _target(option: str, taken: Sequence[ReportTarget]) -> ReportTarget:
    word, _, path_text = option.partition("=")
    if word not in set(ReportName):
        hint = "Write: " + "|".join(ReportName) + "=PATH"
        raise UsageError("bad-option", f"{option[:120]!r} is not FORMAT=PATH", where="--report", hint=hint)
    if not path_text:
        raise UsageError("bad-option", f"{option[:120]!r} names no file", where="--report")
    target = ReportTarget(ReportName(word), Path(path_text))
    if target.path.absolute() in [one.path.absolute() for one in taken]:
        raise UsageError("bad-option", f"two reports would be {target.path}", where="--report")
    _check_writable(target.path)
    return target


def _check_writable(path: Path) -> None:
    # A rename would replace a device or a link such as /dev/stdout by a plain file.
    if os.path.lexists(path) and not stat.S_ISREG(path.lstat().st_mode):
        raise UsageError("bad-option", "a report is written to a regular file only", where=str(path), hint="Name a plain file.")
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise UsageError("bad-option", "this folder does not exist or cannot be written", where=str(path.parent))


def write_reports(targets: Sequence[ReportTarget], report: Report) -> None:
    """Write every report; one that fails does not keep the others from being written.

    Raises:
        Undecided: ``report-not-written``, naming those that failed.
    """
    failed: list[str] = []
    for target in targets:
        try:
            write_atomic(target.path, format_for(target.format).render(report))
        except VerifaiError as problem:
            failed.append(f"{target.path}: {problem.message}")
    if failed:
        raise Undecided("report-not-written", "; ".join(failed), hint="Check the folder and the space on the disk.")
