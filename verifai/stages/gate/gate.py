"""gate: evidence and a policy become a release decision.

Like ``audit`` it builds on ``verify``: a verdict may rest on nothing that was not verified in this very run
(``docs/decisions/0500-gate-verifies-itself.md``).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from verifai.bundle.find import find_bundles
from verifai.domain.circuit_spec import Budget
from verifai.domain.policy.verdict import GateVerdict, decide
from verifai.domain.progress import SILENT, Progress
from verifai.stages.gate.bundle import judge_bundle
from verifai.stages.gate.load import LoadedPolicy, check_releases, derive_models
from verifai.stages.gate.pool import Judge, judge_all


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
        jobs: worker processes; by default one per core.
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
    judgements = list(judge_all(loaded, paths, now, jobs=jobs, budget=budget or Budget(), progress=progress, judge=judge))
    return decide(loaded.policy, loaded.pins, judgements, now, anchors=loaded.anchors, releases=releases)
