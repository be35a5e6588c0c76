"""``export``: a source model to canonical static ONNX."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from verifai.cli.arguments import DropOption, read_tensors, sizes_of_dims, sizes_of_shapes
from verifai.cli.frame import Result, current, plain, verb
from verifai.domain.digest import sha256
from verifai.domain.model_facts import SUFFIX
from verifai.domain.our_files import NO_TEXT
from verifai.domain.shell import shell
from verifai.domain.tokenizer import SUFFIX as TOKENIZER
from verifai.errors import UsageError
from verifai.execution.files import write_atomic
from verifai.execution.outputs import Kind, check_replaced
from verifai.onnx_graph.facts import write_facts, write_tokenizer
from verifai.stages.export import export as export_model

if TYPE_CHECKING:
    from verifai.stages.export import ExportResult


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @verb(app, "export", example="verifai export fixtures/digits-mlp/model.onnx -o model.onnx")
    def export(
        source: Annotated[
            str,
            typer.Argument(
                help="model.onnx, a .pt2 program, a .skops file, a .gguf file, a Hugging Face folder, or pkg.module:factory.",
                show_default=False,
            ),
        ],
        output: Annotated[Path, typer.Option("--output", "-o", help="Where to write the canonical ONNX file."), Kind.NEW_TREE],
        dim: Annotated[
            list[str] | None,
            typer.Option("--dim", help="Size of a symbolic dimension, such as N=1; repeatable.", metavar="NAME=SIZE"),
        ] = None,
        shape: Annotated[
            list[str] | None,
            typer.Option("--shape", help="Shape of a module's argument, such as x=1,3,32,32.", metavar="NAME=SIZES"),
        ] = None,
        inputs: Annotated[
            str | None, typer.Option("--inputs", help="Real inputs for the parity check.", metavar="FILE")
        ] = None,
        drop: DropOption = None,
        select: Annotated[
            list[str] | None,
            typer.Option("--select", help="An output to keep; repeatable. Default: all but labels.", metavar="NAME"),
        ] = None,
        positions: Annotated[
            int | None,
            typer.Option("--positions", help="Tokens that a language model takes. Default: 64, or fewer.", min=1, metavar="N"),
        ] = None,
        prompt: Annotated[
            int | None,
            typer.Option(
                "--prompt", help="How many of them are an input of their own, which may be hidden.", min=1, metavar="N"
            ),
        ] = None,
        parity_limit: Annotated[
            float, typer.Option("--parity-limit", help="Largest error accepted, as a share of the outputs' spread.", min=0.0)
        ] = 1e-3,
        trust_type: Annotated[
            list[str] | None,
            typer.Option("--trust-type", help="INSECURE: a type that a .skops file may construct; repeatable.", metavar="NAME"),
        ] = None,
        trust_pickle: Annotated[bool, typer.Option("--trust-pickle", help="INSECURE: load files that can run code.")] = False,
        force: Annotated[bool, typer.Option("--force", help="Overwrite the output.")] = False,
    ) -> Result:
        """Turn a model into canonical ONNX.

        Static shapes, one opset, explicit defaults, float32; then compare it with its source on real or generated inputs.
        Task, labels and column names, where the source says them, go into OUTPUT.facts.json; a language model's tokenizer into
        OUTPUT.tokenizer.json.
        """
        frame = current()
        if output.exists() and not force:
            raise UsageError(
                "file-exists", "the output exists already", where=str(output), hint="Give another --output, or pass --force."
            )
        check_replaced(output, "an ONNX model", NO_TEXT)
        if trust_pickle:
            frame.note("INSECURE: --trust-pickle runs whatever code the file holds.")
        if trust_type:
            frame.note("INSECURE: --trust-type lets the file construct or call what is named, with arguments of its own.")
        dims, shapes = sizes_of_dims(dim or []), sizes_of_shapes(shape or [])
        dropped = frozenset(drop or ())
        with frame.progress() as progress:
            result = export_model(
                source,
                dims=dims,
                shapes=shapes,
                select=select or (),
                trust_pickle=trust_pickle,
                trusted_types=trust_type or (),
                positions=positions,
                prompt_positions=prompt,
                # Which shapes the inputs must have is known only once the model is exported.
                samples=()
                if inputs is None
                else lambda model, known: read_tensors(inputs, model, replace(known, dropped=dropped), complete=True),
                parity_limit=parity_limit,
                progress=progress,
            )
        output.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(output, result.model.data)
        write_facts(output, result.facts)
        write_tokenizer(output, result.tokenizer)
        for notice in result.notices:
            frame.note(f"notice: {notice}")
        return _told(output, result)


def _told(output: Path, result: ExportResult) -> Result:
    """What was written, and how close it is to its source."""
    parity, facts = result.parity, result.facts
    lines = [
        f"Wrote {plain(str(output))}  sha256 {result.model.sha256}",
        f"Parity with the source on {parity.samples} inputs ({parity.generated} generated): largest absolute error "
        f"{parity.max_abs_error:.3g}, {parity.max_error:.3g} of the outputs' spread (limit {parity.limit:g})",
    ]
    if facts is not None:
        said = [f"{len(names)} {kind}" for kind, names in (("labels", facts.labels), ("columns", facts.columns)) if names]
        said += [f"{len(facts.categories)} columns of texts"] if facts.categories else []
        lines.append(f"Facts: {plain(output.name + SUFFIX)}  {', '.join([f'task {facts.task}', *said])}")
    if result.tokenizer is not None:
        lines.append(f"Tokenizer: {plain(output.name + TOKENIZER)}  sha256 {sha256(result.tokenizer)}")
    lines.append(f"Next: verifai check {plain(shell(output))}")
    fields = ("samples", "generated", "max_abs_error", "max_error", "limit", "decisions", "decisions_differ")
    data = {
        "path": str(output),
        "model_sha256": result.model.sha256,
        "notices": list(result.notices),
        "parity": {field: getattr(parity, field) for field in fields},
        "facts": None if facts is None else facts.to_document(),
        "tokenizer_sha256": None if result.tokenizer is None else sha256(result.tokenizer),
    }
    return Result(data, lines, verdict="done")
