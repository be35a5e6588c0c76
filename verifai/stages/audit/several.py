"""Several bundles audited, by one process or more: the reports lie on disk, so memory does not grow with their number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from verifai.domain.audit import AuditReport
from verifai.domain.findings import Finding, Outcome
from verifai.domain.openings import OpenedBy, repeated_openings
from verifai.domain.progress import SILENT
from verifai.errors import UsageError
from verifai.execution.spool import Spool
from verifai.execution.workforce.judging import judge_by_processes
from verifai.execution.workforce.sizing import cores
from verifai.stages.audit.audit import audit_bundle
from verifai.stages.audit.options import AuditOptions
from verifai.trust_file import TrustFile


def audit_all(paths: Sequence[Path], trust: TrustFile, options: AuditOptions, *, jobs: int | None = 1) -> Spool[AuditReport]:
    """Audit several bundles, each on its own: one that cannot be audited keeps no other from being judged.

    Step V10 compares them with each other: two proofs must not use one opening number of a hidden commitment. The audit log
    does not show this, because it holds identifiers only, so give the older bundles of a root as well.

    Args:
        jobs: how many processes; ``None`` for as many as there are cores. In this process where the auditor gives inputs,
            outputs or a release, which cannot be handed to others.

    Returns:
        A sequence that lies on disk: reports of many bundles would fill the memory.

    Raises:
        UsageError: none of them can be audited as asked. Undecided: ``disk``.
    """
    reports: Spool[AuditReport] = Spool()
    opened: dict[int, OpenedBy | None] = {}
    problems: list[UsageError] = []
    whole = options.progress
    if len(paths) > 1:  # one bar for all
        whole.phase(f"auditing {len(paths)} bundles", len(paths))
        options = replace(options, progress=SILENT)

    def take(number: int, found: AuditReport | UsageError) -> None:
        if isinstance(found, UsageError):
            problems.append(found)
            finding = replace(Finding.from_error(found, step="V1"), outcome=Outcome.UNDECIDED)
            found = AuditReport(str(paths[number]), None, (), (finding,), audited=options.now or "", usage=True)
        reports.put(number, found)
        opened[number] = found.opened
        if len(paths) > 1:
            whole.advance()

    expect = options.expect
    alone = expect.inputs is not None or expect.outputs is not None or options.release is not None
    workers = 1 if alone or len(paths) == 1 else min(jobs or cores(), len(paths))
    if workers == 1:
        for number, path in enumerate(paths):
            take(number, _audited(path, trust, options))
    else:
        judge_by_processes(
            _audit, (trust, options), paths, workers, take, lambda number, why: _lost(paths[number], why, options)
        )
    if problems and len(problems) == len(reports):
        raise problems[0]
    repeated = repeated_openings([opened[number] for number in range(len(paths))])
    extra = {number: found for number, found in enumerate(repeated) if found}
    if not extra:
        return reports
    return reports.mapped(lambda number, one: replace(one, findings=(*one.findings, *extra.get(number, ()))))


def _audited(path: Path, trust: TrustFile, options: AuditOptions) -> AuditReport | UsageError:
    try:
        return audit_bundle(path, trust, options)
    except UsageError as problem:
        return problem


def _audit(shared: tuple[TrustFile, AuditOptions], path: Path) -> AuditReport | UsageError:
    trust, options = shared
    return _audited(path, trust, options)


def _lost(path: Path, why: str, options: AuditOptions) -> AuditReport:
    message = f"{why}, so this bundle was not audited"
    finding = Finding("worker-died", Outcome.UNDECIDED, message, where=str(path), remedy="Run again with --jobs 1.")
    return AuditReport(str(path), None, (), (finding,), audited=options.now or "")
