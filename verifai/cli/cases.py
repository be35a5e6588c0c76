"""Cases (`verifai handover`) on a command line: unfolded for as long as a verb reads them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from verifai.bundle.case import OpenCase, is_case, open_case
from verifai.domain.findings import Finding
from verifai.errors import UsageError, VerifaiError

AnchorsOption = Annotated[
    str | None,
    typer.Option("--anchors", help="Of a case: the fingerprint of its locks and trust file, as you were told it."),
]


@dataclass(frozen=True)
class Unfolded:
    """What the paths of a command line stand for.

    Attributes:
        paths: bundles and folders; those of the case, when one was named.
    """

    paths: list[Path]
    case: OpenCase | None = None

    def said(self, findings: Sequence[Finding]) -> tuple[Finding, ...]:
        """Findings with the case's own path in them."""
        if self.case is None:
            return tuple(findings)
        said = self.case.said
        return tuple(replace(one, message=said(one.message), where=said(one.where)) for one in findings)

    def named(self, path: Path | str) -> str:
        """A path as a reader knows it."""
        return str(path) if self.case is None else self.case.said(str(path))


@contextmanager
def unfolded(paths: Sequence[Path], anchors: str | None = None) -> Iterator[Unfolded]:
    """The bundles behind ``paths``, one of which may be a case, alone.

    Raises:
        UsageError: ``bad-option``, when a case is not alone, or ``--anchors`` is given without one. EvidenceRejected: it is not
            exactly a case.
    """
    cases = [path for path in paths if is_case(path)]
    if not cases:
        if anchors is not None:
            raise UsageError(
                "bad-option", "--anchors goes with a case", where="--anchors", hint="Cases are what handover writes."
            )
        yield Unfolded(list(paths))
        return
    if len(paths) > 1:
        hint = "Name one case in one command."
        raise UsageError("bad-option", "a case is judged by itself", where=str(cases[0]), hint=hint)
    with open_case(cases[0]) as case:
        try:
            yield Unfolded(list(case.bundles), case)
        except VerifaiError as problem:
            problem.message, problem.where = case.said(problem.message), case.said(problem.where)
            raise


def compared_anchors(opened: Unfolded, anchors: str | None) -> tuple[Finding, ...]:
    """What a fingerprint says beside a lock or trust file of the reader's own: whoever gives one wants it compared.

    Raises:
        UsageError: ``bad-option``, when it is not a whole one. EvidenceRejected: ``anchors-differ``.
    """
    if opened.case is None or anchors is None:
        return ()
    from verifai.stages.handover import judge_anchors  # an audit's closure, which a verifier without a case is spared

    return (judge_anchors(opened.case, anchors),)
