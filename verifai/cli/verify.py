"""``verify``: evidence checked. This module and what it imports is what a verifier runs, so it imports no more than that."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from verifai.circuit_folder import read_lock
from verifai.cli.arguments import MaxMemoryOption, memory_limit, no_link, read_named
from verifai.cli.frame import Result, current, plain, verb
from verifai.cli.text import finding_lines, value_lines
from verifai.domain.circuit_lock import CircuitLock
from verifai.domain.circuit_spec import Budget
from verifai.domain.findings import Finding
from verifai.domain.openings import repeated_openings
from verifai.domain.privacy_words import privacy_document
from verifai.domain.shown import statement_document
from verifai.errors import PolicyNotMet, UsageError, VerifaiError, undecided
from verifai.stages.verify import Expectations, VerifiedBundle, describe, verify_bundle


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @verb(app, "verify", example="verifai verify evidence/000000 --lock circuits/digits-mlp/circuit.lock --allow-test-srs")
    def verify(
        bundles: Annotated[list[Path], typer.Argument(help="Bundle folders or files.", show_default=False)],
        lock: Annotated[Path, typer.Option("--lock", help="circuit.lock that you trust, or its folder.")],
        input_: Annotated[
            str | None, typer.Option("--input", help="Input that must be the proven one.", metavar="FILE")
        ] = None,
        output: Annotated[
            str | None, typer.Option("--output", help="Output that must be the proven one (.npz).", metavar="FILE")
        ] = None,
        expect_context: Annotated[
            str | None,
            typer.Option("--expect-context", help="Nonce that the proof or a trusted signature must bind.", metavar="TEXT"),
        ] = None,
        allow_test_srs: Annotated[
            bool, typer.Option("--allow-test-srs", help="INSECURE: accept a set-up whose maker can forge proofs.")
        ] = False,
        max_memory: MaxMemoryOption = None,
    ) -> Result:
        """Check bundles against a lock you trust.

        Says in plain words what was proven, what was public, hidden or hashed, and what is not claimed.
        """
        trusted = read_lock(lock)
        if allow_test_srs:
            current().note("INSECURE: --allow-test-srs accepts proofs that the maker of the test set-up can forge.")
        if len(set(bundles)) != len(bundles):
            raise UsageError("bad-option", "a bundle was named twice", hint="Name each bundle once.")
        results = []
        for path in map(no_link, bundles):
            expect = _expectations(input_, output, expect_context, allow_test_srs)
            results.append(_verify_one(path, trusted, expect, memory_limit(max_memory)))
        return _summary(results)


def _expectations(input_: str | None, output: str | None, context: str | None, allow_test: bool) -> Expectations:
    return Expectations(
        inputs=None if input_ is None else lambda tensors: read_named(input_, tensors, "--input"),
        outputs=None if output is None else lambda tensors: read_named(output, tensors, "--output"),
        context=context,
        allow_test_srs=allow_test,
    )


def _verify_one(
    path: Path, lock: CircuitLock, expect: Expectations, max_memory: int | None
) -> tuple[Path, VerifiedBundle | VerifaiError]:
    try:
        with current().progress() as progress:
            return path, verify_bundle(path, lock, expect, budget=Budget(memory_bytes=max_memory), progress=progress)
    except VerifaiError as problem:
        if problem.status in (70, 130):
            raise
        return path, problem
    except (OSError, MemoryError) as problem:  # of this bundle only; what the others came to is said all the same
        return path, undecided(problem)


def _summary(results: list[tuple[Path, VerifiedBundle | VerifaiError]]) -> Result:
    lines: list[Any] = []
    documents: list[dict[str, Any]] = []
    findings: list[Finding] = []
    repeated = repeated_openings(
        [None if isinstance(one, VerifaiError) else replace(one.opened, where=str(path)) for path, one in results]
    )
    for (path, outcome), repeats in zip(results, repeated, strict=True):
        if isinstance(outcome, VerifaiError):
            finding = Finding.from_error(outcome)
            findings.append(finding)
            word = {1: "REJECTED", 2: "NOT CHECKED", 3: "POLICY NOT MET"}.get(outcome.status, "UNDECIDED")
            lines += [f"[bold red]{word}[/] {plain(str(path))}", *finding_lines([finding])]
            documents.append({"path": str(path), "verdict": word.lower().replace(" ", "-"), "findings": [finding.to_json()]})
            continue
        statement = outcome.statement
        every = (*outcome.findings, *repeats)
        head = "[bold yellow]POLICY NOT MET[/]" if repeats else "[bold green]ACCEPTED[/]"
        lines += [f"{head} {plain(str(path))}", *value_lines(outcome.values), *finding_lines(every)]
        lines += ["   " + plain(line) for line in describe(statement)]
        findings += every
        documents.append(
            {
                "path": str(path),
                "verdict": "policy-not-met" if repeats else "accepted",
                "bundle_id": outcome.bundle_id,
                "statement": statement_document(statement, outcome.values),
                "privacy": privacy_document(statement),
                "findings": [finding.to_json() for finding in every],
            }
        )
    statuses = {outcome.status for _, outcome in results if isinstance(outcome, VerifaiError)}
    statuses |= {PolicyNotMet.status} if any(repeated) else set()
    status = next((code for code in (1, 3, 4, 2) if code in statuses), 0)
    return Result({"bundles": documents}, lines, findings, status)
