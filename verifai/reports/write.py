"""Writing reports to files: all of them, whole, before the command ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from verifai.errors import Undecided, UsageError, VerifaiError
from verifai.execution.files import write_atomic
from verifai.execution.outputs import check_output
from verifai.reports.interface import Report
from verifai.reports.registry import ReportName, format_for


@dataclass(frozen=True, slots=True)
class ReportTarget:
    """One ``--report FORMAT=PATH``."""

    format: ReportName
    path: Path


def parse_targets(options: Sequence[str], inputs: Sequence[Path] = ()) -> tuple[tuple[ReportTarget, ...], UsageError | None]:
    """Read ``FORMAT=PATH`` options, and see that each can be written, before any work is done.

    Args:
        inputs: what the command reads; no report may take its place.

    Returns:
        The usable targets, and what is wrong with the first that is not: the usable ones are still to be told of it.
    """
    targets: list[ReportTarget] = []
    problem: UsageError | None = None
    for option in options:
        try:
            targets.append(_target(option, targets, inputs))
        except UsageError as found:
            problem = problem or found
    return tuple(targets), problem


def _target(option: str, taken: Sequence[ReportTarget], inputs: Sequence[Path]) -> ReportTarget:
    word, _, path_text = option.partition("=")
    if word not in set(ReportName):
        hint = "Write: " + "|".join(ReportName) + "=PATH"
        raise UsageError("bad-option", f"{option[:120]!r} is not FORMAT=PATH", where="--report", hint=hint)
    if not path_text:
        raise UsageError("bad-option", f"{option[:120]!r} names no file", where="--report")
    target = ReportTarget(ReportName(word), Path(path_text))
    try:
        check_output(target.path, inputs=[*(one.path for one in taken), *inputs])
    except UsageError as problem:
        raise UsageError("bad-option", f"{option[:120]!r}: {problem.message}", where="--report", hint=problem.hint) from None
    return target


def write_reports(targets: Sequence[ReportTarget], report: Report) -> None:
    """Write every report; one that fails does not keep the others from being written.

    Raises:
        Undecided: ``report-not-written``, naming those that failed.
    """
    failed: list[str] = []
    for target in targets:
        try:
            write_atomic(target.path, format_for(target.format).pieces(report))
        except VerifaiError as problem:
            failed.append(f"{target.path}: {problem.message}")
    if failed:
        raise Undecided("report-not-written", "; ".join(failed), hint="Check the folder and the space on the disk.")
