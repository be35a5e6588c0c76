"""``handover``: evidence and what it is judged by in one file; ``lock show`` and ``trust show``: what two people compare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from verifai.bundle.find import find_distinct
from verifai.cli.arguments import BundlesArgument
from verifai.cli.frame import Result, current, plain, verb
from verifai.domain.findings import Outcome
from verifai.domain.shell import shell
from verifai.domain.spoken import BITS, spoken
from verifai.execution.outputs import Kind
from verifai.stages.handover import HandoverRequest, hand_over


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @verb(
        app,
        "handover",
        example="verifai handover evidence/000000 --trust trust.toml -o case.verifai",
    )
    def handover(
        bundles: BundlesArgument,
        output: Annotated[Path, typer.Option("--output", "-o", help="The case to write."), Kind.NEW],
        lock: Annotated[
            list[Path] | None, typer.Option("--lock", help="circuit.lock that judges them; by default those of --trust.")
        ] = None,
        trust: Annotated[Path | None, typer.Option("--trust", help="Trust file; by default one with the locks alone.")] = None,
        allow_test_srs: Annotated[
            bool,
            typer.Option("--allow-test-srs", help="INSECURE, without --trust: accept a set-up whose maker can forge proofs."),
        ] = False,
        page: Annotated[Path | None, typer.Option("--page", help="Evidence page to be put in; by default one is made.")] = None,
        no_page: Annotated[bool, typer.Option("--no-page", help="Put no evidence page in.")] = False,
        no_report: Annotated[bool, typer.Option("--no-report", help="Leave the audit report out; it is faster.")] = False,
        no_rederive: Annotated[
            bool, typer.Option("--no-rederive", help="Do not rebuild the key for the report; the report says so.")
        ] = False,
    ) -> Result:
        """Put bundles, locks, trust file and report into one file to mail.

        Whoever gets it runs `verifai audit` on it. The fingerprint that is printed says which locks and trust file are in it:
        tell it by telephone, not in the mail that carries the case.
        """
        found = find_distinct(bundles)
        with current().progress() as progress:
            made = hand_over(
                output,
                HandoverRequest(
                    found.paths,
                    tuple(lock or ()),
                    trust,
                    allow_test_srs,
                    page,
                    report=not no_report,
                    rederive=not no_rederive,
                    page=not no_page,
                ),
                progress=progress,
            )
        unmet = [one for report in made.reports for one in report.findings if one.outcome is not Outcome.HOLDS]
        unmet = [one for one in unmet if one.outcome is not Outcome.NOT_CHECKED]
        for one in unmet:
            current().note(f"Whoever audits it will see: {one.message} ({one.code})")
        if made.no_page:
            current().note(f"No evidence page is in it: {made.no_page}.")
        digits = spoken(made.anchors)
        lines: list[Any] = [
            f"Wrote {plain(str(output))}: {_counted(len(made.bundles), 'bundle')}, {_counted(len(made.circuits), 'lock')}",
            f"Tell by telephone: [bold]{digits}[/] ({BITS} bits)",
            f"They run: `verifai audit {plain(shell(output))} --anchors {plain(shell(digits))}`",
        ]
        data = {
            "path": str(output),
            "bundles": list(made.bundles),
            "circuits": list(made.circuits),
            "anchors": made.anchors,
            "fingerprint": digits,
            "unmet": [one.to_json() for one in unmet],
        }
        return Result(data, lines, verdict="done")


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"
