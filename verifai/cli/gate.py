"""``gate`` and ``gate-init``: evidence decides whether a release goes ahead."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from verifai.bundle.keys import FileSigner, load_signer
from verifai.bundle.log import check_log_key
from verifai.cli.arguments import MaxMemoryOption, memory_limit
from verifai.cli.cases import unfolded
from verifai.cli.frame import VERDICTS, Result, current, verb
from verifai.cli.text import finding_lines
from verifai.cli.workforce_options import JobsOption, LocalOption, jobs_here
from verifai.domain.circuit_spec import Budget
from verifai.domain.findings import Finding, Outcome
from verifai.domain.policy.places import Places
from verifai.domain.policy.verdict import GateVerdict
from verifai.domain.policy.words import explain_policy
from verifai.domain.shell import shell
from verifai.domain.shown import shown_blocks
from verifai.domain.utc_time import format_utc
from verifai.domain.workforce import LOCAL
from verifai.errors import InternalError, Interrupted, UsageError, VerifaiError
from verifai.execution.outputs import Kind
from verifai.execution.streamed import Streamed
from verifai.reports.from_gate import report_of, report_of_error
from verifai.reports.interface import Entry, Report
from verifai.reports.json_format import details
from verifai.reports.registry import ReportName, format_for
from verifai.reports.text import visible
from verifai.reports.write import ReportTarget, parse_targets, write_reports
from verifai.stages.gate.attest import AttestedVerdict, attest_verdict, check_attest_options
from verifai.stages.gate.gate import gate as run_gate
from verifai.stages.gate.init import init_policy
from verifai.stages.gate.load import LoadedPolicy, load_policy

SHOWN = 20
"""How many accepted bundles are listed one by one."""
FAILED_SHOWN = 200
"""How many that are not; reports have all."""

CODES_PAGE = "VERIFAI_CODES_URL"
"""Names the address of docs/codes.md wherever it is published; every code is an anchor of that page."""
_HTTPS = re.compile(r"https://[A-Za-z0-9.-]{1,255}(:[0-9]{1,5})?(/[A-Za-z0-9._~/@+-]{0,1000})?")

PolicyOption = Annotated[Path, typer.Option("--policy", help="Policy file.", metavar="FILE")]


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    _register_init(app)
    _register_gate(app)


def _register_gate(app: typer.Typer) -> None:
    @verb(
        app,
        "gate",
        example="verifai gate --policy verifai.toml evidence/000000 --report markdown=gate.md",
    )
    def gate(
        bundles: Annotated[
            list[Path] | None, typer.Argument(help="Bundles, or folders of bundles.", show_default=False)
        ] = None,
        policy: PolicyOption = Path("verifai.toml"),
        report: Annotated[
            list[str] | None,
            typer.Option("--report", help="json, sarif, junit, github, markdown or html; repeatable.", metavar="FORMAT=PATH"),
        ] = None,
        explain: Annotated[bool, typer.Option("--explain", help="Say what the policy demands; judge nothing.")] = False,
        attest: Annotated[
            Path | None, typer.Option("--attest", help="Write the signed verdict as a bundle.", metavar="DIR"), Kind.FOLDER
        ] = None,
        key: Annotated[list[Path] | None, typer.Option("--key", help="Private key that signs the verdict; repeatable.")] = None,
        log: Annotated[Path | None, typer.Option("--log", help="Audit log that gets the verdict.")] = None,
        log_key: Annotated[Path | None, typer.Option("--log-key", help="The log's private key.")] = None,
        jobs: JobsOption = None,
        on: LocalOption = LOCAL,
        max_memory: MaxMemoryOption = None,
    ) -> Result:
        """Let a release through only when its evidence meets the policy. Every bundle given must hold."""
        with unfolded(bundles or ()) as opened:
            if opened.case is not None:
                current().note("The case's own locks and trust file are not used: the policy's are.")
            run = _Run(policy, tuple(opened.paths), tuple(report or ()), datetime.now(UTC))
            if explain:
                return run.explain(attest)
            return run.judge(
                attest=attest,
                keys=tuple(key or ()),
                log=log,
                log_key=log_key,
                jobs=jobs,
                on=on,
                memory=memory_limit(max_memory),
            )


class _Run:
    """One run of the gate: whatever becomes of it, every report is written before it ends."""

    def __init__(self, policy: Path, bundles: Sequence[Path], reports: Sequence[str], now: datetime) -> None:
        self._policy = policy
        self._bundles = bundles
        self._now = now
        self._version = version("verifai")
        self._places = Places(_from_here(policy), "", ())
        self._codes_page = _codes_page(os.environ.get(CODES_PAGE, ""))
        self._targets, self._problem = parse_targets(reports, current().inputs)

    def explain(self, attest: Path | None) -> Result:
        if self._bundles or self._targets or self._problem or attest is not None:
            # A pipeline must not take an explanation for a verdict.
            raise UsageError(
                "bad-option", "--explain judges nothing", where="--explain", hint="Leave out bundles, --report and --attest."
            )
        loaded = load_policy(self._policy)
        lines = explain_policy(loaded.policy, loaded.pins, loaded.digest, self._now)
        anchors = dict(loaded.anchors)
        data = {"policy": loaded.policy.name, "policy_digest": loaded.digest, "anchors": anchors, "text": list(lines)}
        return Result(data, [_plain(line) for line in lines], verdict="done")

    def judge(
        self,
        *,
        attest: Path | None,
        keys: Sequence[Path],
        log: Path | None,
        log_key: Path | None,
        jobs: int | None,
        on: str,
        memory: int | None,
    ) -> Result:
        try:
            if self._problem is not None:
                raise self._problem
            jobs_here(jobs, on, "a verdict")
            report, attested = self._decide(attest, keys, log, log_key, jobs, memory)
        except BaseException as problem:
            told = report_of_error(
                _told(problem),
                created=self._created(),
                version=self._version,
                places=self._places,
                codes_page=self._codes_page,
            )
            try:
                write_reports(self._targets, told)
            except VerifaiError as lost:
                current().note(f"{lost.message} ({lost.code})")  # the first problem decides the status
            raise
        try:
            write_reports(self._targets, report)
        except VerifaiError as problem:
            # What could be written says what the verdict is; a verdict whose report is lost is not accepted.
            report = _with_error(report, problem)
        return _result(report, attested, self._targets)

    def _created(self) -> str:
        return format_utc(self._now)

    def _decide(
        self,
        attest: Path | None,
        keys: Sequence[Path],
        log: Path | None,
        log_key: Path | None,
        jobs: int | None,
        memory: int | None,
    ) -> tuple[Report, AttestedVerdict | None]:
        if attest is None and (keys or log or log_key):
            message = "--key, --log and --log-key go with --attest"
            raise UsageError("bad-option", message, where="--attest", hint="Name a folder for the verdict.")
        signers = [load_signer(path) for path in keys]
        log_signer = None if log_key is None else load_signer(log_key)
        if attest is not None:
            check_attest_options(attest, signers=len(signers), log=log, log_key=log_signer is not None)
            if log is not None and log_signer is not None:
                check_log_key(log, log_signer)
        loaded = load_policy(self._policy)
        self._places = loaded.places(_from_here)
        with current().progress() as progress:
            verdict = run_gate(
                loaded, self._bundles, now=self._now, jobs=jobs, budget=Budget(memory_bytes=memory), progress=progress
            )
        report = report_of(verdict, version=self._version, places=self._places, codes_page=self._codes_page)
        if attest is None:
            return report, None
        return self._attest(loaded, verdict, report, attest, signers, log, log_signer)

    def _attest(
        self,
        loaded: LoadedPolicy,
        verdict: GateVerdict,
        report: Report,
        target: Path,
        signers: Sequence[FileSigner],
        log: Path | None,
        log_signer: FileSigner | None,
    ) -> tuple[Report, AttestedVerdict | None]:
        try:
            attested = attest_verdict(
                loaded,
                verdict,
                target,
                report=format_for(ReportName.JSON).render(report),
                version=self._version,
                signers=signers,
                log=log,
                log_signer=log_signer,
            )
        except VerifaiError as problem:
            return _with_error(report, problem), None
        facts = {**report.facts, "attestation": attested.attestation_id, "attestation_bundle": attested.bundle_id}
        return replace(report, facts=facts), attested


def _from_here(path: Path) -> str:
    """A file as a pipeline's readers find it: relative to the folder that the gate runs in, where it lies below that."""
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _codes_page(given: str) -> str:
    """The page that SARIF's rules link to. What is no plain https address is left out, and that is said."""
    if given and not _HTTPS.fullmatch(given):
        current().note(f"{CODES_PAGE} is no https address without fragment: the SARIF report has no links to explanations.")
        return ""
    return given


def _told(problem: BaseException) -> VerifaiError:
    """What a report says of an ending that is not a verdict."""
    if isinstance(problem, VerifaiError):
        return problem
    if isinstance(problem, KeyboardInterrupt):
        return Interrupted("interrupted", "stopped before a verdict")
    return InternalError("bug", f"{type(problem).__name__}: {str(problem)[:300]}")


def _with_error(report: Report, problem: VerifaiError) -> Report:
    """The report of a verdict that could not be handed over: never better than the verdict, never accepted."""
    status = report.status or problem.status
    finding = replace(Finding.from_error(problem), outcome=Outcome.UNDECIDED)
    return replace(report, error=finding, status=status, verdict=VERDICTS[status])


def _plain(text: str) -> str:
    return str(escape(visible(text)))


def _result(report: Report, attested: AttestedVerdict | None, targets: Sequence[ReportTarget]) -> Result:
    colour = "green" if report.status == 0 else "red"
    headline = f"[bold {colour}]{report.verdict.upper().replace('-', ' ')}[/] {_plain(report.summary)}"
    lines = [headline]
    for entry in islice((one for one in report.all_entries() if one.outcome is not Outcome.HOLDS), FAILED_SHOWN):
        lines += _entry_lines(entry)
    holding = Counter(one.kind for one in report.all_entries() if one.outcome is Outcome.HOLDS)
    failed = len(report.all_entries()) - holding.total() - FAILED_SHOWN
    if failed > 0:
        lines.append(f" … and {failed} more that are not accepted; --json and reports have all")
    accepted = 0
    for entry in (one for one in report.all_entries() if one.outcome is Outcome.HOLDS):
        accepted += entry.kind == "bundle"
        if entry.kind != "bundle" or accepted <= SHOWN:
            lines += _entry_lines(entry)
    if holding["bundle"] > SHOWN:
        lines.append(f" … and {holding['bundle'] - SHOWN} more bundles accepted")
    for words, names in report.words():
        lines.append(f"What the proofs hide ({_plain(names[0]) if len(names) == 1 else f'{len(names)} bundles'}):")
        lines += [f"   {_plain(line)}" for line in words]
    if attested is not None:
        lines.append(f"Verdict attested in {_plain(str(attested.path))}: attestation {attested.attestation_id}")
        if attested.position is not None:
            lines.append(f"  audit log entry {attested.position}")
    lines += [f"Wrote {target.format.value} report {_plain(str(target.path))}" for target in targets]
    told = sum(len(entry.findings) for entry in report.all_entries())
    findings = Streamed(told, lambda: (_clean(one) for entry in report.all_entries() for one in entry.findings))
    return Result(details(report), lines, findings, report.status, report.verdict, brief=[headline])


def _entry_lines(entry: Entry) -> list[str]:
    mark = {Outcome.HOLDS: "[green]✓[/]", Outcome.REJECTED: "[red]✗[/]"}.get(entry.outcome, "[yellow]![/]")
    name = f" {mark} {entry.kind} [bold]{_plain(entry.name)}[/] [dim]{entry.identifier[:12]}[/]"
    lines = [name if entry.kind != "run" else f" {mark} the run itself"]
    lines += [f"    {'  ' if at else ''}{_plain(line)}" for one in shown_blocks(entry.values) for at, line in enumerate(one)]
    lines += ["  " + line for line in finding_lines([_clean(finding) for finding in entry.failures()])]
    if "openings" in entry.facts:
        lines.append(f"    {_plain(entry.facts['openings'])}")
    for one in entry.waived:
        waiver = one.waiver
        lines.append(
            f"    [yellow]waived[/] {_plain(one.finding.message)} [dim]\\[{one.finding.code}][/] by {_plain(waiver.id)} "
            f"({_plain(waiver.approver)}, until {waiver.expires})"
        )
    return lines


def _clean(finding: Finding) -> Finding:
    """Foreign names on one line: a line break in one could start a line that looks like ours, or a workflow command."""
    return replace(finding, message=visible(finding.message), where=visible(finding.where), remedy=visible(finding.remedy))


def _register_init(app: typer.Typer) -> None:
    @verb(
        app,
        "gate-init",
        example="verifai gate-init evidence/000000 --lock circuits/digits-mlp/circuit.lock -o verifai.toml",
    )
    def gate_init(
        bundles: Annotated[
            list[Path], typer.Argument(help="Bundles as releases should have them, or folders of such.", show_default=False)
        ],
        lock: Annotated[
            Path | None, typer.Option("--lock", help="circuit.lock that you trust; else the one below circuits/.")
        ] = None,
        trust: Annotated[Path | None, typer.Option("--trust", help="Trust file, for signatures and the log.")] = None,
        output: Annotated[Path, typer.Option("--output", "-o", help="Policy file to write."), Kind.NEW] = Path("verifai.toml"),
        force: Annotated[bool, typer.Option("--force", help="Write over an existing policy.")] = False,
    ) -> Result:
        """Write a commented policy that these bundles meet. They are verified first.

        The floors under their circuit's fidelity are the default ones; where the circuit misses them, that is said.
        """
        made = init_policy(bundles, output, lock=lock, trust=trust, force=force, now=datetime.now(UTC))
        for warning in made.warnings:
            current().note(warning)
        path = _plain(str(made.path))
        lines = [f"Wrote {path}: what was given meets it."] if not made.missed else _missed_lines(path, made.missed)
        lines.append(f"Next: verifai gate --explain --policy {_plain(shell(made.path))}")
        data = {
            "path": str(made.path),
            "model": made.model,
            "policy_digest": made.digest,
            "warnings": list(made.warnings),
            "missed": list(made.missed),
        }
        return Result(data, lines, verdict="done")


def _missed_lines(path: str, missed: Sequence[str]) -> list[str]:
    return [
        f"Wrote {path}. [bold yellow]The bundle does not meet it[/]: its circuit is not near enough to the float model.",
        *(f"  {_plain(one)}" for one in missed),
        "  Leave \\[fidelity] out of circuit.toml, so that compile asks for the default floor; compile, and prove again.",
        f"  Or, if so much error is what you want to release, change the numbers below \\[model.fidelity] in {path}.",
    ]
