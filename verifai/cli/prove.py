"""``prove``: evidence made."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from verifai.bundle.keys import load_signer
from verifai.circuit_folder import CircuitFolder
from verifai.cli.arguments import CircuitArgument, EngineOption, MaxMemoryOption, memory_limit, read_tensors
from verifai.cli.frame import VERDICTS, Result, current, plain, verb
from verifai.cli.text import bytes_text, seconds_text
from verifai.domain.statement import Visibility
from verifai.errors import UsageError
from verifai.stages.batch.outside import TOLD, SamplesOutside, outside_document, outside_words
from verifai.stages.batch.report import BatchOptions, BatchReport
from verifai.stages.batch.run import prove_batch
from verifai.stages.chain.output_tensors import check_target, write_outputs
from verifai.stages.chain.tensor_secrets import read_secrets, write_secrets

SHOWN = 20
"""How many bundles are listed one by one."""
PER_SAMPLE = "--context-per-sample"


class ProveCommand(TyperCommand):
    """Lets the value of ``--context-per-sample`` be left out: what begins with a dash, or is a path, is none."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Write the option with its value, or with an empty one."""
        return super().parse_args(ctx, list(_with_values(args)))


def _with_values(args: Sequence[str]) -> Iterator[str]:
    rest = iter(args)
    for arg in rest:
        if arg == "--":
            yield from (arg, *rest)
            return
        if arg != PER_SAMPLE:
            yield arg
            continue
        following = next(rest, None)
        if following is None or following.startswith("-") or os.path.lexists(following):
            yield f"{PER_SAMPLE}="
            yield from _with_values([] if following is None else [following, *rest])
            return
        yield f"{PER_SAMPLE}={following}"


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @verb(
        app,
        "prove",
        example="verifai prove circuits/digits-mlp fixtures/digits-mlp/heldout.npz -o evidence --limit 1",
        cls=ProveCommand,
    )
    def prove(
        circuit: CircuitArgument,
        inputs: Annotated[list[str], typer.Argument(help="Input files (.npz, .npy, .json, images) or -.", show_default=False)],
        output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the bundles: 000000, 000001, …")],
        engine: EngineOption = None,
        context: Annotated[str, typer.Option("--context", help="Text bound into the statement, such as a nonce.")] = "",
        context_per_sample: Annotated[
            str | None,
            typer.Option(PER_SAMPLE, help="A context of its own per sample: TEXT#000017, or 000017.", metavar="[TEXT]"),
        ] = None,
        key: Annotated[list[Path] | None, typer.Option("--key", help="Private key that signs; repeatable.")] = None,
        limit: Annotated[int | None, typer.Option("--limit", min=1, help="Prove only the first N samples.")] = None,
        threads: Annotated[int | None, typer.Option("--threads", min=1, help="Worker threads of the engine.")] = None,
        jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, max=256, help="Samples proven at once.")] = 1,
        keep_going: Annotated[
            bool, typer.Option("--keep-going", help="Leave out samples that cannot be proven; prove the others.")
        ] = False,
        resume: Annotated[bool, typer.Option("--resume", help="Go on with what an earlier run began in this folder.")] = False,
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

        Every proof is verified before its bundle is written. Bundles are never overwritten, no sample is proven twice.
        """
        folder = CircuitFolder(circuit)
        if output_tensors is not None:
            _refuse_partial(keep_going, resume)
            check_target(output_tensors, folder, engine)
        # A value that is not finite is found below, with the other samples that cannot be proven.
        samples = [sample for source in inputs for sample in read_tensors(source, folder.model, finite=False)]
        samples = samples[:limit] if limit is not None else samples
        options = BatchOptions(
            engine=engine,
            context=_context(context, context_per_sample),
            context_per_sample=context_per_sample is not None,
            signers=[load_signer(path) for path in key or []],
            threads=threads,
            jobs=jobs,
            max_memory=memory_limit(max_memory),
            keep_outputs=output_tensors is not None,
            input_secrets=read_secrets(input_secrets, len(samples)) if input_secrets is not None else [],
            keep_going=keep_going,
            resume=resume,
        )
        _note_beforehand(folder, options, len(samples))
        try:
            with current().progress() as progress:
                report = prove_batch(folder, samples, output, options, progress=progress)
        except SamplesOutside as problem:
            return _refused(problem)
        if output_tensors is not None:
            write_outputs(output_tensors, folder, report.made)
            seeds = write_secrets(output_tensors, report.made)
            if seeds is not None:
                current().note(
                    f"Seeds of the hashed outputs: {plain(str(seeds))}. For the next prover alone; never publish them."
                )
        return _result(report, folder, bool(options.signers))


def _refuse_partial(keep_going: bool, resume: bool) -> None:
    if keep_going or resume:
        raise UsageError(
            "bad-option",
            "--output-tensors needs the outputs of all samples, so all have to be proven in one run",
            where="--output-tensors",
            hint="Leave out --keep-going and --resume.",
        )


def _context(context: str, per_sample: str | None) -> str:
    if context and per_sample:
        raise UsageError(
            "bad-option",
            f"--context and {PER_SAMPLE} each give a text",
            where=PER_SAMPLE,
            hint=f"Give the text once: {PER_SAMPLE} TEXT.",
        )
    return context or per_sample or ""


def _note_beforehand(folder: CircuitFolder, options: BatchOptions, samples: int) -> None:
    """What is cheaper to know before hours of proofs than after them."""
    if not options.signers:
        current().note("No --key: the bundles are unsigned. They prove the statement, but not who made them.")
    private = [one.name for one in folder.model.inputs if folder.spec.tensors[one.name] is Visibility.PRIVATE]
    if private and samples > 1 and not options.context_per_sample:
        current().note(
            f"The input {private[0]!r} is private, so its statement is only its output: equal outputs are equal statements, "
            f"and a gate counts them once. {PER_SAMPLE} tells them apart (docs/gate.md)."
        )


def _refused(problem: SamplesOutside) -> Result:
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


def _result(report: BatchReport, folder: CircuitFolder, signed: bool) -> Result:
    totals = report.totals()
    _note_collisions(report)
    lines = [
        f"{plain(str(one.path))}  bundle {one.bundle_id[:12]}…  proven in {seconds_text(one.seconds)}, "
        f"peak memory {bytes_text(one.peak_rss_bytes)}"
        for one in report.made[:SHOWN]
    ]
    if len(report.made) > SHOWN:
        lines.append(f"… and {len(report.made) - SHOWN} more bundles in {plain(str(report.folder))}")
    lines += [f"[yellow]skipped[/] {plain(outside_words(one))}" for one in report.outside[:TOLD]]
    if len(report.outside) > TOLD:
        lines.append(f"[yellow]skipped[/] … and {len(report.outside) - TOLD} more; {plain(str(report.index_path))} has all")
    for row, problem in list(report.problems.items())[:TOLD]:
        lines.append(f"[red]failed[/] row {row}: {plain(str(problem))} [dim]{problem.code}[/]")
    if len(report.problems) > TOLD:
        lines.append(f"[red]failed[/] … and {len(report.problems) - TOLD} more; {plain(str(report.index_path))} has all")
    if report.made:
        target = report.made[0].path if totals["samples"] == 1 else report.folder
        lines.append(f"Next: verifai verify {plain(str(target))} --lock {plain(str(folder.lock_path))}")
    data = {
        "bundles": [
            {
                "path": str(one.path),
                "bundle_id": one.bundle_id,
                "seconds": one.seconds,
                "peak_rss_bytes": one.peak_rss_bytes,
                "statement": one.statement.to_json(),
            }
            for one in report.made
        ],
        "signed": signed,
        "index": str(report.index_path),
        "totals": totals,
        "out_of_range": [outside_document(one) for one in report.outside],
        "failed": [
            {"row": row, "code": problem.code, "message": problem.message, "status": problem.status}
            for row, problem in report.problems.items()
        ],
    }
    return Result(data, lines, status=report.status, verdict="done" if not report.status else "", summary=_summary(totals))


def _summary(totals: dict[str, Any]) -> str:
    parts = [f"{totals['proven']} proven"]
    parts += [f"{totals['proven_earlier']} proven before"] if totals["proven_earlier"] else []
    parts += [f"{totals['failed']} failed"] if totals["failed"] else []
    parts += [f"{totals['skipped']} skipped (out of range)"] if totals["skipped"] else []
    count = f"{totals['samples']} sample{'s' * (totals['samples'] != 1)}"
    return f"{count}: {', '.join(parts)}; {seconds_text(totals['seconds'])}, {bytes_text(totals['bytes'])}"


def _note_collisions(report: BatchReport) -> None:
    proven = len(report.made) + report.earlier
    if not report.hides_inputs or report.index.header.context_per_sample or report.distinct == proven:
        return
    current().note(
        f"The {proven} statements are {report.distinct} distinct ones: what is hidden cannot tell them apart, and gates count "
        f"{report.distinct} inferences. {PER_SAMPLE} gives each its own context; docs/gate.md says what that shows."
    )
