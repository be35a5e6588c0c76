"""gate: evidence and a policy become a release decision.

Like ``audit`` it builds on ``verify``: a verdict may rest on nothing that was not verified in this very run
(``docs/decisions/0500-gate-verifies-itself.md``).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from verifai.bundle.find import find_bundles
from verifai.domain.circuit_spec import Budget
from verifai.domain.findings import Finding, Outcome
from verifai.domain.policy.verdict import GateVerdict, Judgement, decide
from verifai.domain.progress import SILENT, Progress
from verifai.execution.spool import Spool
from verifai.execution.workforce.judging import judge_by_processes
from verifai.execution.workforce.sizing import cores
from verifai.stages.gate.bundle import judge_bundle
from verifai.stages.gate.load import LoadedPolicy, check_releases, derive_models

Judge = Callable[[LoadedPolicy, Path, datetime, Budget], Judgement]
SMALL = 4
"""Up to this many bundles are judged in this process: starting workers costs more."""


def gate(
    loaded: LoadedPolicy,
    bundles: Sequence[Path],
    *,
    now: datetime,
    jobs: int | None = None,
    budget: Budget | None = None,
    progress: Progress = SILENT,
    judge: Judge = judge_bundle,
) -> GateVerdict:
    """Judge every bundle, then decide.

    Args:
        loaded: from :func:`verifai.stages.gate.load.load_policy`.
        bundles: bundle folders, single-file bundles, or folders of either.
        now: the gate's clock, with its zone.
        jobs: worker processes; by default one per core, or none for a few bundles.
        judge: how one bundle is judged; a function that a worker process can import.

    Returns:
        The verdict, also when it is a refusal: ``verdict.status`` is the exit status, and only ``verdict.passed`` lets a
        release through.

    Raises:
        UsageError: ``file-missing`` for a bundle, or a file to be released, that is not there.
        Undecided: ``nothing-to-check``, when there is no bundle at all.
    """
    # Also what does not look like a bundle is judged as one: a stray file fails the gate instead of being overlooked.
    paths = [entry.path for entry in find_bundles(bundles).entries]
    releases = check_releases(loaded)
    loaded = derive_models(loaded, now, budget or Budget())
    judgements = judge_all(loaded, paths, now, jobs=jobs, budget=budget or Budget(), progress=progress, judge=judge)
    return decide(loaded.policy, loaded.pins, judgements, now, anchors=loaded.anchors, releases=releases)


def judge_all(
    loaded: LoadedPolicy,
    paths: Sequence[Path],
    now: datetime,
    *,
    jobs: int | None,
    budget: Budget,
    progress: Progress,
    judge: Judge = judge_bundle,
) -> Spool[Judgement]:
    """Judge ``paths``: a sequence in their order, which lies on disk, since judgements of many would fill the memory."""
    progress.phase(f"judging {len(paths)} bundles", len(paths))
    workers = min(jobs or (1 if len(paths) <= SMALL else cores()), len(paths))
    judgements: Spool[Judgement] = Spool()

    def take(number: int, found: Judgement) -> None:
        judgements.put(number, found)
        progress.advance()

    if workers <= 1:
        for number, path in enumerate(paths):
            take(number, _judge((loaded, now, budget, judge), path))
    else:
        shared = (loaded, now, budget, judge)
        judge_by_processes(_judge, shared, paths, workers, take, lambda number, why: _lost(paths[number], why))
    return judgements


def _judge(shared: tuple[LoadedPolicy, datetime, Budget, Judge], path: Path) -> Judgement:
    loaded, now, budget, judge = shared
    start = time.perf_counter()
    judgement = judge(loaded, path, now, budget)
    return replace(judgement, seconds=time.perf_counter() - start)


def _lost(path: Path, why: str) -> Judgement:
    message = f"{why}, so this bundle was not judged"
    finding = Finding("worker-died", Outcome.UNDECIDED, message, where=os.fspath(path), remedy="Run again with --jobs 1.")
    return Judgement(str(path), None, {}, (finding,))
