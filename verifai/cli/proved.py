"""What ``prove`` has to say at its end: bundles, samples that were left out, totals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from verifai.circuit_folder import CircuitFolder
from verifai.cli.frame import VERDICTS, Result, current, plain
from verifai.cli.text import bytes_text, finding_lines, seconds_text, value_lines
from verifai.domain.findings import Finding, Outcome
from verifai.domain.proof_index import row_words
from verifai.domain.shell import shell
from verifai.domain.shown import statement_document
from verifai.stages.batch.report import BatchReport
from verifai.stages.outside import TOLD, SamplesOutside, outside_document, outside_words
from verifai.stages.ready import ProvedBundle

SHOWN = 20
"""How many bundles are listed one by one."""
PER_SAMPLE = "--context-per-sample"


def refused_result(problem: SamplesOutside) -> Result:
    """The end of a run before anything was spent: every sample that is in the way, and the error."""
    if current().json:
        error = {"code": problem.code, "message": problem.message, "where": problem.where, "hint": problem.hint}
        data = {"error": error, "out_of_range": [outside_document(one) for one in problem.outside]}
        return Result(data, status=problem.status, verdict=VERDICTS[problem.status])
    status = current().fail(problem)  # it tells the first
    rest, more = problem.outside[1 : TOLD + 1], len(problem.outside) - TOLD - 1
    console = current().err()
    for line in [*map(outside_words, rest), *([f"… and {more} more"] if more > 0 else [])]:
        console.print(f"  [dim]and[/]  {plain(line)}", soft_wrap=True, highlight=False)
    return Result(status=status)


def proved_result(report: BatchReport, folder: CircuitFolder, *, signed: bool) -> Result:
    """The end of a run that proved, all of it or what could be."""
    totals = report.totals()
    _note_collisions(report)
    sentence = plain(_sentence(totals))
    lines = [*_made_lines(report), *_missing_lines(report), *_told(report.made)]
    if report.made:
        target = report.made[0].path if totals["samples"] == 1 else report.folder
        option = " --allow-test-srs" if "test-srs" in report.made[0].insecure else ""
        lines.append(f"Next: verifai verify {plain(shell(target))} --lock {plain(shell(folder.lock_path))}{option}")
    data = {
        "bundles": [_document(one) for one in report.made],
        "signed": signed,
        "index": str(report.index_path),
        "totals": totals,
        "out_of_range": [outside_document(one) for one in report.outside],
        "failed": [
            {"row": row, "code": problem.code, "message": problem.message, "status": problem.status}
            for row, problem in report.problems.items()
        ],
    }
    findings = [finding for one in report.made for finding in _doubts(one)]
    verdict = "done" if not report.status else ""
    return Result(data, [*lines, f"[bold]{sentence}[/]"], findings, report.status, verdict, [sentence])


def _document(one: ProvedBundle) -> dict[str, Any]:
    return {
        "path": str(one.path),
        "bundle_id": one.bundle_id,
        "seconds": one.seconds,
        "peak_rss_bytes": one.peak_rss_bytes,
        "statement": statement_document(one.statement, one.values),
        "findings": [finding.to_json() for finding in one.findings],
    }


def _made_lines(report: BatchReport) -> list[str]:
    lines = [line for one in report.made[:SHOWN] for line in _bundle_lines(one)]
    if len(report.made) > SHOWN:
        lines.append(f"… and {len(report.made) - SHOWN} more bundles in {plain(str(report.folder))}")
    return lines


def _missing_lines(report: BatchReport) -> list[str]:
    """The samples without a bundle, and why."""
    index = plain(str(report.index_path))
    lines = [f"[yellow]skipped[/] {plain(outside_words(one))}" for one in report.outside[:TOLD]]
    if len(report.outside) > TOLD:
        lines.append(f"[yellow]skipped[/] … and {len(report.outside) - TOLD} more; {index} has all")
    for row, problem in list(report.problems.items())[:TOLD]:
        lines.append(f"[red]failed[/] {row_words(row)}: {plain(str(problem))} [dim]\\[{problem.code}][/]")
    if len(report.problems) > TOLD:
        lines.append(f"[red]failed[/] … and {len(report.problems) - TOLD} more; {index} has all")
    return lines


def _bundle_lines(one: ProvedBundle) -> list[str]:
    head = f"{plain(str(one.path))}  bundle {one.bundle_id[:12]}…  proven in {seconds_text(one.seconds)}, "
    return [head + f"peak memory {bytes_text(one.peak_rss_bytes)}", *value_lines(one.values), *finding_lines(_doubts(one))]


def _doubts(one: ProvedBundle) -> list[Finding]:
    """What keeps a proven value from standing for the float model's."""
    return [
        finding for finding in one.findings if finding.outcome is not Outcome.HOLDS and finding.code != "reference-distance"
    ]


def _told(made: Sequence[ProvedBundle]) -> list[str]:
    """How many of them are doubtful, by what."""
    told = {
        "output-saturated": "with values at the end of the circuit's range",
        "inner-saturated": "with inner values cut off at their range",
        "reference-far": "far from the float model",
    }
    counts = {code: sum(any(finding.code == code for finding in one.findings) for one in made) for code in told}
    found = [f"{count} {told[code]}" for code, count in counts.items() if count]
    return [f"[bold yellow]Of {len(made)} proven:[/] {'; '.join(found)}. The proofs hold, for the circuit."] if found else []


def _sentence(totals: dict[str, Any]) -> str:
    parts = [f"{totals['proven']} proven"]
    parts += [f"{totals['proven_earlier']} proven before"] if totals["proven_earlier"] else []
    parts += [f"{totals['failed']} failed"] if totals["failed"] else []
    parts += [f"{totals['skipped']} skipped (out of range)"] if totals["skipped"] else []
    count = f"{totals['samples']} sample{'s' * (totals['samples'] != 1)}"
    if "batch" in totals:
        bundles = f"{totals['bundles']} bundle{'s' * (totals['bundles'] != 1)}"
        count += f", {bundles} of up to {totals['batch']:,} each ({totals['inferences']:,} inferences)"
    return f"{count}: {', '.join(parts)}; {seconds_text(totals['seconds'])}, {bytes_text(totals['bytes'])}"


def _note_collisions(report: BatchReport) -> None:
    proven = len(report.made) + report.earlier
    if report.batch and report.hides_inputs:
        current().note(
            "The inputs are hidden, so a gate counts equal outputs once, and what is counted by context once per bundle."
        )
        return
    if not report.hides_inputs or report.index.header.context_per_sample or report.distinct == proven:
        return
    current().note(
        f"The {proven} statements are {report.distinct} distinct ones: what is hidden cannot tell them apart, and gates count "
        f"{report.distinct} inferences. {PER_SAMPLE} gives each its own context; docs/gate.md says what that shows."
    )
