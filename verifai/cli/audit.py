"""``audit``: everything that can be done again is done again, and written down."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from verifai.cli.arguments import MaxMemoryOption, memory_limit, no_link, read_named
from verifai.cli.frame import Result, current, plain, verb
from verifai.cli.report_files import Target, report_targets, write_reports
from verifai.cli.text import finding_lines, value_lines
from verifai.domain.audit import AuditReport
from verifai.domain.circuit_spec import Budget
from verifai.domain.findings import Outcome
from verifai.errors import UsageError
from verifai.reports.html_audit import render_html
from verifai.stages.audit.audit import audit_all
from verifai.stages.audit.options import AuditOptions
from verifai.stages.verify import Expectations
from verifai.trust_file import read_trust


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
        bundles: Annotated[list[Path], typer.Argument(help="Bundle folders or files.", show_default=False)],
        trust: Annotated[Path, typer.Option("--trust", help="Trust file: whom and what you trust.")],
        report: Annotated[
            list[str] | None, typer.Option("--report", help="html=PATH or json=PATH; repeatable.", metavar="FORMAT=PATH")
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
        max_memory: MaxMemoryOption = None,
    ) -> Result:
        """Check all that verify does, rebuild keys from the model, run the model again, check signatures and the log."""
        targets = report_targets(report or [])
        if len(set(bundles)) != len(bundles):
            raise UsageError("bad-option", "a bundle was named twice", hint="Name each bundle once.")
        if seen is not None and log is None:
            raise UsageError("bad-option", "--seen goes with --log", hint="Give your copy of the log.")
        trust_file = read_trust(trust)
        if trust_file.trust.allow_test_srs:
            current().note("INSECURE: the trust file accepts proofs that the maker of a test set-up can forge.")
        expect = Expectations(
            inputs=None if input_ is None else lambda tensors: read_named(input_, tensors, "--input"),
            outputs=None if output is None else lambda tensors: read_named(output, tensors, "--output"),
            context=expect_context,
        )
        with current().progress() as progress:
            options = AuditOptions(
                expect=expect,
                rederive=not no_rederive,
                evm=evm,
                log=log,
                seen=seen,
                setup_material=tuple(srs or ()),
                max_spread_error=max_spread_error,
                budget=Budget(memory_bytes=memory_limit(max_memory)),
                progress=progress,
            )
            reports = audit_all([no_link(path) for path in bundles], trust_file, options)
        return _result(reports, targets)


def _result(reports: tuple[AuditReport, ...], targets: Sequence[Target]) -> Result:
    findings = [finding for report in reports for finding in report.findings]
    documents = [report.to_json() for report in reports]
    lines: list[Any] = []
    for report in reports:
        lines += _describe(report)
    statuses = {report.status for report in reports}
    status = next((code for code in (1, 3, 4, 2) if code in statuses), 0)
    data = {"bundles": documents, "reports": [str(path) for _, path in targets]}
    page = {"schema": "verifai/audit/v1", "bundles": documents}
    return write_reports(
        Result(data, lines, findings, status),
        targets,
        {"html": lambda: render_html(reports), "json": lambda: (json.dumps(page, indent=2) + "\n").encode()},
    )


_WORD = {
    Outcome.HOLDS: "[bold green]ACCEPTED[/]",
    Outcome.REJECTED: "[bold red]REJECTED[/]",
    Outcome.POLICY_NOT_MET: "[bold yellow]POLICY NOT MET[/]",
    Outcome.UNDECIDED: "[bold yellow]UNDECIDED[/]",
}


def _describe(report: AuditReport) -> list[str]:
    lines = [f"{_WORD[report.outcome]} {plain(report.path)}", *value_lines(report.values), *finding_lines(report.findings)]
    if report.words:
        lines.append("   What the evidence says:")
        lines += [f"   {plain(line)}" for line in report.words]
    return lines
