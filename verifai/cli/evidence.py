"""``prove`` and ``verify``: evidence made, evidence checked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from verifai.cli.arguments import CircuitArgument, EngineOption, MaxMemoryOption, memory_limit, read_named, read_tensors
from verifai.cli.frame import Result, current, plain, verb
from verifai.cli.text import bytes_text, finding_lines, seconds_text
from verifai.domain.findings import Finding
from verifai.errors import PolicyNotMet, UsageError, VerifaiError

if TYPE_CHECKING:
    from verifai.domain.circuit_lock import CircuitLock
    from verifai.stages.verify import Expectations, VerifiedBundle


def register(app: typer.Typer) -> None:
    """Add the verbs."""

    @verb(app, "prove", example="verifai prove circuits/digits-mlp fixtures/digits-mlp/heldout.npz -o evidence --limit 1")
    def prove(
        circuit: CircuitArgument,
        inputs: Annotated[list[str], typer.Argument(help="Input files (.npz, .npy, .json, images) or -.", show_default=False)],
        output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the bundles: 000000, 000001, …")],
        engine: EngineOption = None,
        context: Annotated[str, typer.Option("--context", help="Text bound into the statement, such as a nonce.")] = "",
        key: Annotated[list[Path] | None, typer.Option("--key", help="Private key that signs; repeatable.")] = None,
        limit: Annotated[int | None, typer.Option("--limit", min=1, help="Prove only the first N samples.")] = None,
        threads: Annotated[int | None, typer.Option("--threads", min=1, help="Worker threads of the engine.")] = None,
        jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, max=256, help="Samples proven at once.")] = 1,
        output_tensors: Annotated[
            Path | None,
            typer.Option(
                "--output-tensors", help="Private .npz of the outputs, for whoever proves the next segment.", metavar="FILE"
            ),
        ] = None,
        input_secrets: Annotated[
            Path | None,
            typer.Option(
                "--input-secrets", help="Private seeds that came with hashed inputs (zero-knowledge).", metavar="FILE"
            ),
        ] = None,
        max_memory: MaxMemoryOption = None,
    ) -> Result:
        """Prove samples: one evidence bundle each.

        Every proof is verified before its bundle is written. Bundles are never overwritten.
        """
        from verifai.circuit_folder import CircuitFolder
        from verifai.stages.chain.output_tensors import check_target, write_outputs
        from verifai.stages.chain.tensor_secrets import read_secrets, write_secrets
        from verifai.stages.prove import prove as run

        folder = CircuitFolder(circuit)
        if output_tensors is not None:
            check_target(output_tensors, folder, engine)
        samples = [sample for source in inputs for sample in read_tensors(source, folder.model)]
        samples = samples[:limit] if limit is not None else samples
        secrets = read_secrets(input_secrets, len(samples)) if input_secrets is not None else []
        signers = _signers(key or [])
        if not signers:
            current().note("No --key: the bundles are unsigned. They prove the statement, but not who made them.")
        made = []
        with current().progress() as progress:
            for bundle in run(
                folder,
                samples,
                output,
                engine=engine,
                context=context,
                signers=signers,
                threads=threads,
                jobs=jobs,
                max_memory=memory_limit(max_memory),
                keep_outputs=output_tensors is not None,
                input_secrets=secrets,
                progress=progress,
            ):
                made.append(bundle)
        if output_tensors is not None:
            write_outputs(output_tensors, folder, made)
            seeds = write_secrets(output_tensors, made)
            if seeds is not None:
                current().note(
                    f"Seeds of the hashed outputs: {plain(str(seeds))}. For the next prover alone; never publish them."
                )
        lines = [
            f"{plain(str(one.path))}  bundle {one.bundle_id[:12]}…  proven in {seconds_text(one.seconds)}, "
            f"peak memory {bytes_text(one.peak_rss_bytes)}"
            for one in made
        ]
        lines.append(f"Next: verifai verify {plain(str(made[0].path))} --lock {plain(str(folder.lock_path))}")
        bundles = [
            {
                "path": str(one.path),
                "bundle_id": one.bundle_id,
                "seconds": one.seconds,
                "peak_rss_bytes": one.peak_rss_bytes,
                "statement": one.statement.to_json(),
            }
            for one in made
        ]
        return Result({"bundles": bundles, "signed": bool(signers)}, lines, verdict="done")

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
        from verifai.circuit_folder import read_lock

        trusted = read_lock(lock)
        if allow_test_srs:
            current().note("INSECURE: --allow-test-srs accepts proofs that the maker of the test set-up can forge.")
        if len(set(bundles)) != len(bundles):
            raise UsageError("bad-option", "a bundle was named twice", hint="Name each bundle once.")
        results = []
        for path in bundles:
            expect = _expectations(path, trusted, input_, output, expect_context, allow_test_srs)
            results.append(_verify_one(path, trusted, expect, memory_limit(max_memory)))
        return _summary(results)


def _signers(paths: list[Path]) -> list[Any]:
    from verifai.bundle.keys import load_signer

    return [load_signer(path) for path in paths]


def _expectations(
    path: Path, lock: CircuitLock, input_: str | None, output: str | None, context: str | None, allow_test: bool
) -> Expectations:
    from verifai.stages.verify import Expectations

    return Expectations(
        inputs=None if input_ is None else lambda tensors: read_named(input_, tensors, "--input"),
        outputs=None if output is None else lambda tensors: read_named(output, tensors, "--output"),
        context=context,
        allow_test_srs=allow_test,
    )


def _verify_one(
    path: Path, lock: CircuitLock, expect: Expectations, max_memory: int | None
) -> tuple[Path, VerifiedBundle | VerifaiError]:
    from verifai.domain.circuit_spec import Budget
    from verifai.stages.verify import verify_bundle

    try:
        with current().progress() as progress:
            return path, verify_bundle(path, lock, expect, budget=Budget(memory_bytes=max_memory), progress=progress)
    except VerifaiError as problem:
        if problem.status in (70, 130):
            raise
        return path, problem


def _summary(results: list[tuple[Path, VerifiedBundle | VerifaiError]]) -> Result:
    from verifai.domain.openings import repeated_openings
    from verifai.domain.privacy_words import privacy_document
    from verifai.stages.verify import describe

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
        lines += [f"{head} {plain(str(path))}", *finding_lines(every)]
        lines += ["   " + plain(line) for line in describe(statement)]
        findings += every
        documents.append(
            {
                "path": str(path),
                "verdict": "policy-not-met" if repeats else "accepted",
                "bundle_id": outcome.bundle_id,
                "statement": statement.to_json(),
                "privacy": privacy_document(statement),
                "findings": [finding.to_json() for finding in every],
            }
        )
    statuses = {outcome.status for _, outcome in results if isinstance(outcome, VerifaiError)}
    statuses |= {PolicyNotMet.status} if any(repeated) else set()
    status = next((code for code in (1, 3, 4, 2) if code in statuses), 0)
    return Result({"bundles": documents}, lines, findings, status)
