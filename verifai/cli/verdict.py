"""``gate-show`` and ``gate-verify``: a signed verdict, shown and judged."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from verifai.cli.frame import Result, plain, verb
from verifai.cli.text import finding_lines
from verifai.domain.findings import STATUS, worst
from verifai.domain.policy.attestation import VerificationResult
from verifai.domain.spoken import BITS, spoken
from verifai.stages.gate.verdict import ReadVerdict, judge_verdict, read_verdict
from verifai.trust_file import read_trust

VerdictArgument = Annotated[Path, typer.Argument(help="What `gate --attest` wrote.", metavar="VERDICT", show_default=False)]
SHOWN = 20


def register(app: typer.Typer) -> None:
    """Add the verbs."""

    @verb(
        app,
        "gate-show",
        example="verifai gate --policy verifai.toml evidence/000000 --attest verdict --key signing.key && "
        "verifai gate-show verdict",
    )
    def show(verdict: VerdictArgument) -> Result:
        """Show what a signed verdict says. Nothing of it is verified."""
        found = read_verdict(verdict)
        lines = [*_lines(found), "Nothing here was verified: `verifai gate-verify VERDICT --trust FILE` does."]
        return Result(_document(found), lines, verdict="done")

    @verb(
        app,
        "gate-verify",
        example="verifai trust add trust.toml --role gate --key signing.key.pub && "
        "verifai gate-verify verdict --trust trust.toml --policy verifai.toml --bundle evidence/000000",
    )
    def verify(
        verdict: VerdictArgument,
        trust: Annotated[Path, typer.Option("--trust", help="Trust file; its role gate must have signed.")],
        policy: Annotated[Path | None, typer.Option("--policy", help="Policy that must have been used.")] = None,
        bundle: Annotated[
            list[Path] | None, typer.Option("--bundle", help="Bundle that must be among those let through; repeatable.")
        ] = None,
    ) -> Result:
        """Check who signed a verdict, that it let the release through, by which policy, and which bundles."""
        judged = judge_verdict(verdict, read_trust(trust), datetime.now(UTC), policy=policy, bundles=bundle or ())
        status = STATUS[worst(judged.findings)]
        word = "[bold green]ACCEPTED[/]" if status == 0 else "[bold red]NOT ACCEPTED[/]"
        lines = [f"{word} {plain(str(verdict))}", *finding_lines(judged.findings)]
        return Result(_document(judged.read), lines, judged.findings, status)


def _lines(found: ReadVerdict) -> Sequence[str]:
    said = found.verdict
    passed = said.result is VerificationResult.PASSED
    word = "[green]passed[/]" if passed else "[red]failed[/]"
    lines = [
        f"{word}: policy {plain(said.policy_name)}, {said.time_verified}, verifai {plain(said.version)}",
        f"  policy with all that it names {said.policy}",
        *(f"  shown: {plain(level)}" for level in said.levels),
        *(f"  [yellow]waived[/]: {plain(one)}" for one in said.waivers),
        *(f"  bundle {one.sha256} {one.outcome}" for one in said.inputs[:SHOWN]),
    ]
    if len(said.inputs) > SHOWN:
        lines.append(f"  … and {len(said.inputs) - SHOWN} more bundles; --json has all")
    if said.unreadable:
        lines.append(f"  {said.unreadable} more could not be read")
    lines += [f"  signed in the name of key {one}" for one in found.signers]
    return [*lines, f"  fingerprint {spoken(found.attestation_id)} ({BITS} bits)"]


def _document(found: ReadVerdict) -> dict[str, Any]:
    return {
        "path": str(found.path),
        "bundle_id": found.bundle_id,
        "attestation": found.attestation_id,
        "fingerprint": spoken(found.attestation_id),
        "signers": list(found.signers),
        "said": dict(found.verdict.to_json()),
    }
