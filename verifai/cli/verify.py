"""``verify``: evidence checked. This module and what it imports is what a verifier runs, so it imports no more than that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from verifai.bundle.find import FoundBundles, find_distinct
from verifai.circuit_folder import read_lock
from verifai.cli.arguments import BundlesArgument, MaxMemoryOption, memory_limit, read_named
from verifai.cli.cases import AnchorsOption, Unfolded, compared_anchors, unfolded
from verifai.cli.folders import (
    FAILED_SHOWN,
    IN_FULL,
    SHOWN,
    combined_status,
    ended,
    grouped_lines,
    other_lines,
    unchecked_lines,
)
from verifai.cli.frame import Result, current, plain, verb
from verifai.cli.text import finding_lines, value_lines
from verifai.domain.circuit_lock import CircuitLock
from verifai.domain.circuit_spec import Budget
from verifai.domain.evaluation import words
from verifai.domain.evaluation.data_lock import DataLock
from verifai.domain.findings import STATUS, Finding, Outcome
from verifai.domain.openings import repeated_openings
from verifai.domain.privacy_words import privacy_document, privacy_words
from verifai.domain.progress import SILENT, Progress
from verifai.domain.shown import ShownTensor, statement_document
from verifai.domain.statement import Statement
from verifai.domain.totals import count_outcomes
from verifai.errors import EvidenceRejected, PolicyNotMet, UsageError, VerifaiError, undecided
from verifai.stages.inspect import inspect_bundle
from verifai.stages.verify import Expectations, VerifiedBundle, describe, verify_bundle

if TYPE_CHECKING:
    from verifai.stages.evaluation.judge import VerifiedEvaluation


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @verb(app, "verify", example="verifai verify evidence/000000 --lock circuits/digits-mlp/circuit.lock --allow-test-srs")
    def verify(
        bundles: BundlesArgument,
        lock: Annotated[
            Path | None,
            typer.Option("--lock", help="circuit.lock that you trust, or its folder; of a case, by default its own."),
        ] = None,
        anchors: AnchorsOption = None,
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
        data: Annotated[
            Path | None, typer.Option("--data", help="data.lock that an evaluation must be of.", metavar="FILE")
        ] = None,
        allow_test_srs: Annotated[
            bool, typer.Option("--allow-test-srs", help="INSECURE: accept a set-up whose maker can forge proofs.")
        ] = False,
        max_memory: MaxMemoryOption = None,
    ) -> Result:
        """Check bundles against a lock you trust.

        Says in plain words what was proven, what was public, hidden or hashed, and what is not claimed.
        """
        pinned = _data_lock(data, input_, output)
        if allow_test_srs:
            current().note("INSECURE: --allow-test-srs accepts proofs that the maker of the test set-up can forge.")
        expect, memory = _expectations(input_, output, expect_context, allow_test_srs), memory_limit(max_memory)
        with unfolded(bundles, anchors) as opened:
            found = find_distinct(opened.paths)
            lock_of, came_along = _locks(opened, lock, anchors)
            several = len(found.paths) > 1
            results = []
            with current().progress() as progress:
                if several:
                    progress.phase(f"verifying {len(found.paths)} bundles", len(found.paths))
                for path in found.paths:
                    results.append(_verify_one(path, lock_of, pinned, expect, memory, SILENT if several else progress))
                    if several:
                        progress.advance()
            return _result(results, found, opened, came_along)


def _locks(
    opened: Unfolded, lock: Path | None, anchors: str | None
) -> tuple[Callable[[Path], CircuitLock], tuple[Finding, ...]]:
    """The lock that each bundle is held to, and what is to be said about where it came from."""
    case = opened.case
    if lock is not None:
        trusted = read_lock(lock)
        if case is not None:
            current().note("The case's own locks are not used: yours is.")
        return lambda path: trusted, compared_anchors(opened, anchors)
    if case is None:
        message, hint = "evidence is held to a lock that you trust", "Give: --lock FILE"
        raise UsageError("bad-option", message, where="--lock", hint=hint)
    from verifai.stages.handover import (  # an audit's closure, which a verifier without a case is spared
        case_trust,
        judge_anchors,
    )

    case_trust(case)
    locks = {name: read_lock(path) for name, path in case.locks.items()}

    def claimed(path: Path) -> CircuitLock:
        if len(locks) == 1:
            return next(iter(locks.values()))
        circuit = inspect_bundle(path).circuit
        if circuit is None or circuit.name not in locks:
            raise EvidenceRejected("circuit-not-pinned", "the case holds no lock of its circuit", where=str(path))
        return locks[circuit.name]

    return claimed, (judge_anchors(case, anchors),)


def _expectations(input_: str | None, output: str | None, context: str | None, allow_test: bool) -> Expectations:
    return Expectations(
        inputs=None if input_ is None else lambda tensors, names: read_named(input_, tensors, names, "--input"),
        outputs=None if output is None else lambda tensors, names: read_named(output, tensors, names, "--output"),
        context=context,
        allow_test_srs=allow_test,
    )


def _data_lock(path: Path | None, input_: str | None, output: str | None) -> DataLock | None:
    if path is None:
        return None
    if input_ is not None or output is not None:
        raise UsageError(
            "bad-option",
            "an evaluation is matched with the pinned data set, not with one input or output",
            where="--data",
            hint="Leave out --input and --output.",
        )
    from verifai.stages.evaluation.lock_file import read_data_lock  # here and below: only evaluations need arrays

    return read_data_lock(path)


def _verify_one(
    path: Path,
    lock_of: Callable[[Path], CircuitLock],
    data: DataLock | None,
    expect: Expectations,
    max_memory: int | None,
    progress: Progress,
) -> tuple[Path, VerifiedBundle | VerifiedEvaluation | VerifaiError]:
    budget = Budget(memory_bytes=max_memory)
    try:
        if data is not None:
            from verifai.stages.evaluation.judge import verify_evaluation_at

            return path, verify_evaluation_at(path, lock_of(path), data, expect, budget=budget, progress=progress)
        return path, verify_bundle(path, lock_of(path), expect, budget=budget, progress=progress)
    except VerifaiError as problem:
        if problem.status in (70, 130):
            raise
        return path, problem
    except (OSError, MemoryError) as problem:  # of this bundle only; what the others came to is said all the same
        return path, undecided(problem)


@dataclass(frozen=True)
class _Shown:
    """One bundle's part of the result.

    Attributes:
        failed: the findings because of which it is not accepted.
        findings: all of them.
        statement, values: what was proven; ``None`` and none when nothing was.
        words: of an evaluation, its metrics.
    """

    path: Path
    verdict: str
    status: int
    failed: tuple[Finding, ...]
    findings: tuple[Finding, ...]
    document: dict[str, Any]
    statement: Statement | None = None
    values: tuple[ShownTensor, ...] = ()
    words: tuple[str, ...] = ()


_WORD = {1: "rejected", 2: "not-checked", 3: "policy-not-met"}
_COLOUR = {"accepted": "green", "policy-not-met": "yellow"}


def _shown(path: Path, outcome: VerifiedBundle | VerifiedEvaluation | VerifaiError, repeats: tuple[Finding, ...]) -> _Shown:
    if isinstance(outcome, VerifaiError):
        found = (Finding.from_error(outcome),)
        verdict = _WORD.get(outcome.status, "undecided")
        told = {"path": str(path), "verdict": verdict, "findings": [finding.to_json() for finding in found]}
        return _Shown(path, verdict, outcome.status, found, found, told)
    every = (*outcome.findings, *repeats)
    verdict = "policy-not-met" if repeats else "accepted"
    document: dict[str, Any] = {"path": str(path), "verdict": verdict, "bundle_id": outcome.bundle_id}
    status = PolicyNotMet.status if repeats else 0
    if not isinstance(outcome, VerifiedBundle):
        document["evaluation"] = words.document(outcome.data, outcome.metrics)
        document |= {"privacy": privacy_document(outcome.statement), "findings": [finding.to_json() for finding in every]}
        lines = (*words.lines(outcome.data, outcome.metrics), *privacy_words(outcome.statement))
        return _Shown(path, verdict, status, repeats, every, document, words=lines)
    document |= {
        "statement": statement_document(outcome.statement, outcome.values),
        "privacy": privacy_document(outcome.statement),
        "findings": [finding.to_json() for finding in every],
    }
    return _Shown(path, verdict, status, repeats, every, document, outcome.statement, outcome.values)


def _result(
    results: list[tuple[Path, VerifiedBundle | VerifiedEvaluation | VerifaiError]],
    found: FoundBundles,
    opened: Unfolded | None = None,
    more: tuple[Finding, ...] = (),
) -> Result:
    repeated = repeated_openings(
        [None if isinstance(one, VerifaiError) else replace(one.opened, where=str(path)) for path, one in results]
    )
    shown = [_shown(path, outcome, repeats) for (path, outcome), repeats in zip(results, repeated, strict=True)]
    if opened is not None and opened.case is not None:
        shown = [_said(one, opened, more) for one in shown]
    verdicts = ("accepted", "rejected", "policy-not-met", "undecided", "not-checked")
    totals = count_outcomes(
        verdicts, [(one.verdict, [finding.code for finding in one.failed]) for one in shown], others=len(found.others)
    )
    in_full = len(shown) <= IN_FULL or current().verbose
    findings = [*(finding for one in shown for finding in one.findings), *found.other_findings()]
    return ended(
        {"bundles": [one.document for one in shown]},
        [*(_in_full(shown) if in_full else _in_short(shown)), *other_lines(found)],
        findings,
        combined_status({one.status for one in shown}, found),
        totals,
    )


def _said(one: _Shown, opened: Unfolded, anchors: tuple[Finding, ...]) -> _Shown:
    """With the case's own path in it, and with what the lock's coming along makes of an acceptance."""
    findings, failed = (*opened.said(one.findings), *anchors), opened.said(one.failed)
    unmet = tuple(finding for finding in anchors if finding.outcome is not Outcome.HOLDS)
    verdict, status = one.verdict, one.status
    if unmet and not one.failed:
        verdict, status, failed = "policy-not-met", STATUS[unmet[0].outcome], unmet
    told = {"path": opened.named(one.path), "verdict": verdict, "findings": [finding.to_json() for finding in findings]}
    return replace(
        one,
        path=Path(opened.named(one.path)),
        verdict=verdict,
        status=status,
        failed=failed,
        findings=findings,
        document={**one.document, **told},
    )


def _head(one: _Shown) -> str:
    return f"[bold {_COLOUR.get(one.verdict, 'red')}]{one.verdict.upper().replace('-', ' ')}[/] {plain(str(one.path))}"


def _in_full(shown: Sequence[_Shown]) -> list[Any]:
    lines: list[Any] = []
    for one in shown:
        lines += [_head(one), *value_lines(one.values), *finding_lines(one.findings)]
        lines += ["   " + plain(line) for line in one.words]
        if one.statement is not None:
            lines += ["   " + plain(line) for line in describe(one.statement)]
    return lines


def _in_short(shown: Sequence[_Shown]) -> list[Any]:
    """Failures with their findings, a line each for some of the others, and what they all say but once."""
    failed = [one for one in shown if one.failed]
    accepted = [one for one in shown if not one.failed]
    lines: list[Any] = []
    for one in accepted[:SHOWN]:
        lines += [_head(one), *(["   " + plain(one.words[0])] if one.words else [])]
    if len(accepted) > SHOWN:
        lines.append(f" … and {len(accepted) - SHOWN} more bundles accepted")
    for one in failed[:FAILED_SHOWN]:
        lines += [_head(one), *finding_lines(one.failed)]
    if len(failed) > FAILED_SHOWN:
        lines.append(f" … and {len(failed) - FAILED_SHOWN} more bundles that are not; --json has all")
    texts = [
        (str(one.path), describe(replace(one.statement, openings=(), context=""))) for one in shown if one.statement is not None
    ]
    return lines + grouped_lines("What was proven", texts) + unchecked_lines([one.findings for one in accepted])
