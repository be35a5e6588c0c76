"""``audit``: everything that can be done again is done again, and written down."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import typer

from verifai.bundle.find import NOTHING_FOUND, FoundBundles, find_distinct
from verifai.cli.arguments import BundlesArgument, MaxMemoryOption, memory_limit, read_named
from verifai.cli.cases import AnchorsOption, Unfolded, compared_anchors, unfolded
from verifai.cli.folders import FAILED_SHOWN, IN_FULL, SHOWN, combined_status, ended, other_lines, unchecked_lines
from verifai.cli.frame import Result, current, plain, verb
from verifai.cli.report_files import Target, report_targets, write_reports
from verifai.cli.text import finding_lines, value_lines
from verifai.cli.workforce_options import JobsOption, LocalOption, jobs_here
from verifai.domain.audit import AuditReport
from verifai.domain.audit_words import audit_sentence
from verifai.domain.circuit_spec import Budget
from verifai.domain.findings import Finding, Outcome
from verifai.domain.totals import count_outcomes
from verifai.domain.workforce import LOCAL
from verifai.errors import UsageError
from verifai.execution.streamed import Streamed
from verifai.reports.html_audit import html_pieces
from verifai.reports.markdown_audit import markdown_pieces
from verifai.reports.pdf import render_pdf
from verifai.stages.audit.options import AuditOptions
from verifai.stages.audit.several import audit_all
from verifai.stages.evaluation.lock_file import read_data_lock
from verifai.stages.handover import case_trust, judge_anchors
from verifai.stages.origin import HeldRelease
from verifai.stages.verify import Expectations
from verifai.trust_file import TrustFile, read_trust


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @verb(
        app,
        "audit",
        example=(
            "verifai srs import fixtures/srs/INSECURE-TEST-k12.srs --test && "
            "verifai audit evidence/000000 --trust trust.toml --report html=audit.html"
        ),
    )
    def audit(
        bundles: BundlesArgument,
        trust: Annotated[
            Path | None, typer.Option("--trust", help="Trust file: whom and what you trust; of a case, by default its own.")
        ] = None,
        anchors: AnchorsOption = None,
        report: Annotated[
            list[str] | None, typer.Option("--report", help="html, json, markdown or pdf; repeatable.", metavar="FORMAT=PATH")
        ] = None,
        input_: Annotated[
            str | None,
            typer.Option("--input", help="Input that must be the proven one; the model runs on it.", metavar="FILE"),
        ] = None,
        output: Annotated[
            str | None, typer.Option("--output", help="Output that must be the proven one (.npz).", metavar="FILE")
        ] = None,
        expect_context: Annotated[
            str | None,
            typer.Option("--expect-context", help="Nonce that the proof or a trusted signature must bind.", metavar="TEXT"),
        ] = None,
        data: Annotated[
            Path | None, typer.Option("--data", help="data.lock that an evaluation must be of.", metavar="FILE")
        ] = None,
        log: Annotated[Path | None, typer.Option("--log", help="Your copy of the audit log, to check all of it.")] = None,
        seen: Annotated[Path | None, typer.Option("--seen", help="Older checkpoint that must be a prefix of the log.")] = None,
        srs: Annotated[list[Path] | None, typer.Option("--srs", help="SRS file or folder; repeatable.")] = None,
        no_rederive: Annotated[bool, typer.Option("--no-rederive", help="Do not rebuild the key; the report says so.")] = False,
        evm: Annotated[
            bool, typer.Option("--evm", help="Run the proof's Solidity verifier too (extra evm, Node.js, npm package solc).")
        ] = False,
        max_spread_error: Annotated[
            float | None,
            typer.Option(
                "--max-spread-error",
                min=0.0,
                help="Largest error of a circuit, in standard deviations of the output; by default 0.03 in regressions.",
            ),
        ] = None,
        release: Annotated[
            Path | None, typer.Option("--release", help="Signed release of the model, to make the circuit from it again.")
        ] = None,
        model_signature: Annotated[
            Path | None, typer.Option("--model-signature", help="The release's signature; by default model.sig in it.")
        ] = None,
        secrets: Annotated[
            Path | None, typer.Option("--secrets", help="Circuit folder with the seeds of private weights, with --release.")
        ] = None,
        jobs: JobsOption = 1,
        on: LocalOption = LOCAL,
        max_memory: MaxMemoryOption = None,
    ) -> Result:
        """Check all that verify does, rebuild keys from the model, run the model again, check signatures and the log."""
        processes = jobs_here(jobs, on, "a verdict")
        targets = report_targets(report or [], ("html", "json", "markdown", "pdf"))
        if seen is not None and log is None:
            raise UsageError("bad-option", "--seen goes with --log", hint="Give your copy of the log.")
        if release is None and (model_signature is not None or secrets is not None):
            raise UsageError("bad-option", "it goes with --release", hint="Name the folder or file that was signed.")
        with unfolded(bundles, anchors) as opened:
            found = find_distinct(opened.paths)
            trust_file, came_along = _trusted(opened, trust, anchors)
            if trust_file.trust.allow_test_srs:
                current().note("INSECURE: the trust file accepts proofs that the maker of a test set-up can forge.")
            expect = Expectations(
                inputs=None if input_ is None else lambda tensors, names: read_named(input_, tensors, names, "--input"),
                outputs=None if output is None else lambda tensors, names: read_named(output, tensors, names, "--output"),
                context=expect_context,
            )
            with current().progress() as progress:
                options = AuditOptions(
                    expect=expect,
                    rederive=not no_rederive,
                    evm=evm,
                    data=None if data is None else read_data_lock(data),
                    log=log,
                    seen=seen,
                    setup_material=tuple(srs or ()),
                    release=None if release is None else HeldRelease(release, model_signature, secrets),
                    max_spread_error=max_spread_error,
                    budget=Budget(memory_bytes=memory_limit(max_memory)),
                    progress=progress,
                )
                reports = audit_all(found.paths, trust_file, options, jobs=processes)
            reports = reports.mapped(
                lambda _, one: replace(one, path=opened.named(one.path), findings=(*opened.said(one.findings), *came_along))
            )
            return _result(reports, targets, found)


def _trusted(opened: Unfolded, trust: Path | None, anchors: str | None) -> tuple[TrustFile, tuple[Finding, ...]]:
    """The trust file that the audit rests on, and what is to be said about where it came from."""
    if trust is not None:
        if opened.case is not None:
            current().note("The case's own locks and trust file are not used: yours is.")
        return read_trust(trust), compared_anchors(opened, anchors)
    if opened.case is None:
        hint = "Make one with: `verifai trust init -o trust.toml --lock LOCK`"
        raise UsageError("bad-option", "an audit rests on a trust file", where="--trust", hint=hint)
    return case_trust(opened.case), (judge_anchors(opened.case, anchors),)


def _result(reports: Sequence[AuditReport], targets: Sequence[Target], found: FoundBundles = NOTHING_FOUND) -> Result:
    others = found.other_findings()
    told = sum(len(report.findings) for report in reports) + len(others)
    findings = Streamed(told, lambda: chain((one for report in reports for one in report.findings), others))
    documents = Streamed(len(reports), lambda: (report.to_json() for report in reports))
    in_full = len(reports) <= IN_FULL or current().verbose
    lines: list[Any] = [*(_in_full(reports) if in_full else _in_short(reports)), *other_lines(found)]
    totals = count_outcomes(
        _OUTCOME.values(),
        ((_OUTCOME[report.outcome], [one.code for one in _failures(report)]) for report in reports),
        others=len(found.others),
    )
    page = {"schema": "verifai/audit/v1", "bundles": documents}
    result = ended(
        {"bundles": documents, "reports": [str(path) for _, path in targets]},
        lines,
        findings,
        combined_status({report.status for report in reports}, found),
        totals,
    )
    return write_reports(
        result,
        targets,
        {
            "html": lambda: html_pieces(reports),
            "json": lambda: (piece.encode() for piece in chain(json.JSONEncoder(indent=2).iterencode(page), ["\n"])),
            "markdown": lambda: markdown_pieces(reports),
            "pdf": lambda: render_pdf(html_pieces(reports)),
        },
    )


def _failures(report: AuditReport) -> list[Finding]:
    return [one for one in report.findings if one.outcome not in (Outcome.HOLDS, Outcome.NOT_CHECKED)]


_WORD = {
    Outcome.HOLDS: "[bold green]ACCEPTED[/]",
    Outcome.REJECTED: "[bold red]REJECTED[/]",
    Outcome.POLICY_NOT_MET: "[bold yellow]POLICY NOT MET[/]",
    Outcome.UNDECIDED: "[bold yellow]UNDECIDED[/]",
}


_OUTCOME = {
    Outcome.HOLDS: "accepted",
    Outcome.REJECTED: "rejected",
    Outcome.POLICY_NOT_MET: "policy-not-met",
    Outcome.UNDECIDED: "undecided",
}


def _in_full(reports: Sequence[AuditReport]) -> list[str]:
    lines = []
    for report in reports:
        lines += [_head(report), f"   {plain(audit_sentence(report))}", *value_lines(report.values)]
        lines += finding_lines(report.findings)
        if report.words:
            lines.append("   What the evidence says:")
            lines += [f"   {plain(line)}" for line in report.words]
    return lines


def _in_short(reports: Sequence[AuditReport]) -> list[str]:
    """Failures with their findings, a line each for some of the others, and what most bundles leave unchecked, once."""
    accepted = [number for number, report in enumerate(reports) if report.outcome is Outcome.HOLDS]
    lines = [_head(reports[number]) for number in accepted[:SHOWN]]
    if len(accepted) > SHOWN:
        lines.append(f" … and {len(accepted) - SHOWN} more bundles accepted")
    known = set(accepted)
    failed = [number for number in range(len(reports)) if number not in known]
    for number in failed[:FAILED_SHOWN]:
        report = reports[number]
        lines += [_head(report), *finding_lines(_failures(report))]
    if len(failed) > FAILED_SHOWN:
        lines.append(f" … and {len(failed) - FAILED_SHOWN} more bundles that are not; --json has all")
    return lines + unchecked_lines(Streamed(len(reports), lambda: (report.findings for report in reports)))


def _head(report: AuditReport) -> str:
    return f"{_WORD[report.outcome]} {plain(report.path)}"
