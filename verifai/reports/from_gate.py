"""A gate's verdict as a report; also a run that ended before a verdict."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from verifai.domain.codes import all_codes
from verifai.domain.findings import Finding, Outcome, worst
from verifai.domain.on_demand import Placed
from verifai.domain.policy.places import Places
from verifai.domain.policy.verdict import BundleVerdict, GateVerdict, summary
from verifai.errors import VerifaiError
from verifai.reports.interface import Entry, Report

_WORDS = {0: "accepted", 1: "rejected", 2: "usage", 3: "policy-not-met", 4: "undecided", 70: "bug", 130: "interrupted"}


def _remedied(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Failures that say no remedy of their own get the one that their code is listed with."""
    known = all_codes()
    quiet = (Outcome.HOLDS, Outcome.NOT_CHECKED)
    return tuple(
        replace(one, remedy=known[one.code].remedy)
        if not one.remedy and one.outcome not in quiet and one.code in known
        else one
        for one in findings
    )


def report_of(verdict: GateVerdict, *, version: str, places: Places | None = None, codes_page: str = "") -> Report:
    """The verdict, failures of any entry included, as a report. ``places``, ``codes_page``: as :class:`Report` has them."""
    entries: list[Entry] = []
    if verdict.findings:
        entries.append(
            Entry("policy", verdict.policy, verdict.policy_sha256, worst(verdict.findings), _remedied(verdict.findings))
        )
    for model in verdict.models:
        counted = {f"{kind.value}_shown": str(count) for kind, count in model.counted.items()}
        entries.append(
            Entry(
                "model",
                model.name,
                model.model_sha256,
                model.outcome,
                _remedied(model.findings),
                model.waived,
                counted,
                models=(model.name,),
            )
        )
    bundles = verdict.bundles
    own = len(entries)
    return Report(
        command="gate",
        verdict=verdict.verdict,
        status=verdict.status,
        summary=summary(verdict),
        created=verdict.decided,
        version=version,
        entries=Placed(own + len(bundles), lambda place: entries[place] if place < own else _entry(bundles[place - own])),
        facts={
            "policy": verdict.policy,
            "policy_digest": verdict.policy_sha256,
            **{f"anchor {name}": digest for name, digest in verdict.anchors},
        },
        places=places,
        codes_page=codes_page,
    )


def _entry(bundle: BundleVerdict) -> Entry:
    one = bundle.judgement
    facts = {"model": ", ".join(one.models), **one.facts} if one.models else dict(one.facts)
    return Entry(
        "bundle",
        one.path,
        one.bundle_id or "",
        bundle.outcome,
        _remedied(one.findings),
        bundle.waived,
        facts,
        one.words,
        one.values,
        one.evaluation,
        tuple(one.models),
        one.seconds,
    )


def report_of_error(
    problem: VerifaiError,
    *,
    created: str,
    version: str,
    command: str = "gate",
    places: Places | None = None,
    codes_page: str = "",
) -> Report:
    """A run that judged nothing: every format still says so, and no format can be read as a pass."""
    finding = Finding.from_error(problem)
    if problem.status not in (1, 3, 4):
        finding = Finding(problem.code, Outcome.UNDECIDED, problem.message, where=problem.where, remedy=problem.hint)
    return Report(
        command=command,
        verdict=_WORDS[problem.status],
        status=problem.status,
        summary=f"nothing was decided: {problem.message}",
        created=created,
        version=version,
        error=finding,
        places=places,
        codes_page=codes_page,
    )
