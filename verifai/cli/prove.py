"""``prove``: evidence made."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from verifai.bundle.keys import load_signer
from verifai.circuit_folder import CircuitFolder
from verifai.cli.arguments import CircuitArgument, DropOption, EngineOption, MaxMemoryOption, memory_limit, read_tensors
from verifai.cli.frame import Result, current, plain, verb
from verifai.cli.help import VerbCommand
from verifai.cli.proved import PER_SAMPLE, proved_result, refused_result
from verifai.cli.workforce_options import JobsOption, OnOption, ShipInputsOption, ShipWeightsOption, workforce_of
from verifai.domain.statement import Visibility
from verifai.domain.workforce import LOCAL
from verifai.errors import UsageError
from verifai.execution.outputs import Kind
from verifai.stages.batch.report import BatchOptions
from verifai.stages.batch.run import prove_batch
from verifai.stages.chain.output_tensors import check_target, write_outputs
from verifai.stages.chain.tensor_secrets import read_secrets, write_secrets
from verifai.stages.outside import SamplesOutside
from verifai.stages.prove import bundle_count
from verifai.stages.texts import text_samples
from verifai.tokenization.samples import read_text


class ProveCommand(VerbCommand):
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
        inputs: Annotated[
            list[str] | None,
            typer.Argument(help="Inputs (.npz, .npy, CSV, Parquet, .json, images) or -.", show_default=False),
        ] = None,
        *,
        output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the bundles: 000000, 000001, …"), Kind.TREE],
        text: Annotated[
            list[str] | None,
            typer.Option("--text", help="A text, where the circuit pins a tokenizer; repeatable.", metavar="TEXT"),
        ] = None,
        then: Annotated[
            list[str] | None,
            typer.Option("--then", help="What follows a --text that is a prompt, an input of its own.", metavar="TEXT"),
        ] = None,
        text_file: Annotated[
            list[Path] | None, typer.Option("--text-file", help="A file with one text (UTF-8); repeatable.", metavar="FILE")
        ] = None,
        chat: Annotated[
            bool, typer.Option("--chat", help="Put each text into the model's chat template, as a user's message.")
        ] = False,
        engine: EngineOption = None,
        context: Annotated[str, typer.Option("--context", help="Text bound into the statement, such as a nonce.")] = "",
        context_per_sample: Annotated[
            str | None,
            typer.Option(PER_SAMPLE, help="A context of its own per sample: TEXT#000017, or 000017.", metavar="[TEXT]"),
        ] = None,
        key: Annotated[list[Path] | None, typer.Option("--key", help="Private key that signs; repeatable.")] = None,
        limit: Annotated[
            int | None, typer.Option("--limit", min=1, max=1_000_000_000, help="Prove only the first N samples.")
        ] = None,
        skip: Annotated[int, typer.Option("--skip", min=0, max=1_000_000_000, help="Leave out the first N samples.")] = 0,
        threads: Annotated[int | None, typer.Option("--threads", min=1, max=1024, help="Worker threads of the engine.")] = None,
        jobs: JobsOption = None,
        on: OnOption = LOCAL,
        ship_weights: ShipWeightsOption = False,
        ship_inputs: ShipInputsOption = False,
        renew_weights: Annotated[
            bool, typer.Option("--renew-weights", help="Make a fresh root when the hidden weights' openings are spent.")
        ] = False,
        keep_going: Annotated[
            bool, typer.Option("--keep-going", help="Leave out samples that cannot be proven; prove the others.")
        ] = False,
        resume: Annotated[bool, typer.Option("--resume", help="Go on in this folder, also when all is proven.")] = False,
        output_tensors: Annotated[
            Path | None,
            typer.Option(
                "--output-tensors", help="Private .npz of the outputs, for whoever proves the next segment.", metavar="FILE"
            ),
            Kind.FILE,
        ] = None,
        input_secrets: Annotated[
            Path | None,
            typer.Option(
                "--input-secrets", help="Private seeds that came with hashed inputs (zero-knowledge).", metavar="FILE"
            ),
        ] = None,
        drop: DropOption = None,
        max_memory: MaxMemoryOption = None,
    ) -> Result:
        """Prove samples: one evidence bundle each.

        Every proof is verified before its bundle is written. Bundles are never overwritten, no sample is proven twice.
        """
        folder = CircuitFolder(circuit)
        if output_tensors is not None:
            _refuse_partial(keep_going, resume)
            check_target(output_tensors, folder, engine)
        columns = folder.table_columns(drop or ())
        # A value that is not finite is found below, with the other samples that cannot be proven.
        samples = [sample for one in inputs or [] for sample in read_tensors(one, folder.model, columns, finite=False)]
        samples += text_samples(folder, _texts(text or [], text_file or []), then=then or (), chat=chat)
        samples = _some(samples, skip, limit)
        options = BatchOptions(
            engine=engine,
            context=_context(context, context_per_sample),
            context_per_sample=context_per_sample is not None,
            signers=[load_signer(path) for path in key or []],
            threads=threads,
            workforce=workforce_of(jobs, on, ship_weights=ship_weights, ship_inputs=ship_inputs),
            max_memory=memory_limit(max_memory),
            keep_outputs=output_tensors is not None,
            input_secrets=[]
            if input_secrets is None
            else read_secrets(input_secrets, bundle_count(folder, engine, len(samples))),
            renew_roots=renew_weights,
            keep_going=keep_going,
            resume=resume,
        )
        _note_beforehand(folder, options, len(samples))
        try:
            with current().progress() as progress:
                report = prove_batch(folder, samples, output, options, progress=progress)
        except SamplesOutside as problem:
            return refused_result(problem)
        if output_tensors is not None:
            write_outputs(output_tensors, folder, report.made)
            seeds = write_secrets(output_tensors, report.made)
            if seeds is not None:
                current().note(
                    f"Seeds of the hashed outputs: {plain(str(seeds))}. For the next prover alone; never publish them."
                )
        return proved_result(report, folder, signed=bool(options.signers))


def _texts(given: Sequence[str], files: Sequence[Path]) -> list[str]:
    return [*given, *(read_text(path) for path in files)]


def _some(samples: list[dict[str, Any]], skip: int, limit: int | None) -> list[dict[str, Any]]:
    if skip >= len(samples) > 0:
        message = f"all of the {len(samples):,} samples would be left out"
        raise UsageError("bad-option", message, where="--skip", hint=f"Give less than {len(samples)}.")
    return samples[skip:] if limit is None else samples[skip : skip + limit]


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
