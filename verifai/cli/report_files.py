"""``--report FORMAT=PATH`` of the verbs whose reports are no gate's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from verifai.cli.frame import Result, current, plain
from verifai.cli.text import finding_lines
from verifai.domain.findings import Finding, Outcome
from verifai.errors import UsageError, VerifaiError
from verifai.execution.files import write_atomic
from verifai.execution.outputs import check_output

Target = tuple[str, Path]


def report_targets(requests: Sequence[str], kinds: Sequence[str] = ("html", "json")) -> list[Target]:
    """Each report to a file of its own, and none over what is read. Judged before any work. Raises UsageError."""
    known = " or ".join(f"{one}=PATH" for one in kinds)
    targets: list[Target] = []
    for request in requests:
        kind, equals, path = request.partition("=")
        if kind not in kinds or not equals or not path:
            hint = "Write: " + ", or ".join(f"--report {one}=PATH" for one in kinds)
            raise UsageError("bad-option", f"{request[:80]!r} is not {known}", where="--report", hint=hint)
        check_output(Path(path), inputs=[*(one for _, one in targets), *current().inputs])
        targets.append((kind, Path(path)))
    return targets


def write_reports(
    result: Result, targets: Sequence[Target], render: Mapping[str, Callable[[], bytes | Iterable[bytes]]]
) -> Result:
    """Write every report; what they came to is in the result returned, which is never better than ``result``."""
    for kind, path in targets:
        try:
            write_atomic(path, render[kind]())
        except VerifaiError as problem:
            result = not_handed_over(result, problem)
        else:
            result = replace(result, lines=[*result.lines, f"Report: {plain(str(path))}"])
    return result


def not_handed_over(result: Result, problem: VerifaiError) -> Result:
    """The result of a verdict whose report or bundle is lost: it stays what it is, but it is no acceptance."""
    finding = replace(Finding.from_error(problem), outcome=Outcome.UNDECIDED)
    return replace(
        result,
        status=result.status or problem.status,
        lines=[*result.lines, *finding_lines([finding])],
        findings=[*result.findings, finding],
    )
