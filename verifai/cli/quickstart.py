"""``quickstart``: your own model and data to a verified proof, and the commands that did it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from verifai.cli.arguments import EngineOption, sizes_of_dims
from verifai.cli.frame import Result, current, plain, verb
from verifai.cli.text import bytes_text, fidelity_json, fidelity_lines, seconds_text, value_lines
from verifai.domain.fidelity import Task
from verifai.domain.shell import shell
from verifai.domain.shown import statement_document
from verifai.errors import VerifaiError
from verifai.execution.outputs import Kind
from verifai.stages.quickstart import QuickstartRequest, QuickstartResult, quickstart
from verifai.stages.verify import describe

_EXAMPLE = "verifai quickstart fixtures/digits-mlp/model.onnx fixtures/digits-mlp/heldout.npz --private pixels -o first"

_OF_EXPORT = ("trust-pickle", "trust-type", "shape", "select", "positions", "prompt", "inputs", "parity-limit")
"""Options that only ``export`` has, and that its hints name."""
_OPTION = re.compile("`[^`]*`|(?<![\\w-])--(?:" + "|".join(_OF_EXPORT) + r")(?![\w-])")
"""One of them in a sentence; or a command between backticks, which says itself whose option it is."""


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @verb(app, "quickstart", example=_EXAMPLE)
    def start(
        model: Annotated[
            str, typer.Argument(help="model.onnx, a .pt2 program, a .skops file, or pkg.module:factory.", show_default=False)
        ],
        data: Annotated[Path, typer.Argument(help="Real inputs: CSV, Parquet, .npz, .npy; row = sample.", show_default=False)],
        private: Annotated[
            list[str] | None,
            typer.Option("--private", help='Tensor whose values stay hidden, or "input"; repeatable.', metavar="NAME"),
        ] = None,
        target: Annotated[
            list[str] | None,
            typer.Option("--target", "--drop", help="Column of the data that is no input; repeatable.", metavar="COLUMN"),
        ] = None,
        output: Annotated[
            Path | None,
            typer.Option("--output", "-o", help="New folder for all that is made; by default MODEL-verifai.", metavar="DIR"),
            Kind.FOLDER,
        ] = None,
        engine: EngineOption = None,
        task: Annotated[
            Task | None, typer.Option("--task", help="What the outputs mean; by default as the model says, or guessed.")
        ] = None,
        dim: Annotated[
            list[str] | None,
            typer.Option("--dim", help="Size of a symbolic dimension, such as N=1; repeatable.", metavar="NAME=SIZE"),
        ] = None,
    ) -> Result:
        """Prove a first sample of your own model, in one command.

        Exports the model, chooses and compiles a circuit, proves the first sample of the data and verifies the proof. Prints
        what was proven, and the five commands that do the same.
        """
        request = QuickstartRequest(
            source=model,
            data=data,
            output=output or Path(f"{Path(model.replace(':', '-')).stem}-verifai"),
            private=private or (),
            dropped=target or (),
            dims=sizes_of_dims(dim or []),
            engine=engine,
            task=task,
        )
        try:
            with current().progress() as progress:
                made = quickstart(request, progress)
        except VerifaiError as problem:
            problem.hint = _followable(problem.hint, request)
            raise
        return Result(_document(made), _lines(made, request.output), made.verified.findings, verdict="accepted")


def _followable(hint: str, request: QuickstartRequest) -> str:
    """``hint``, with the command that has the option that it names."""
    named = [found for found in _OPTION.findall(hint) if not found.startswith("`")]
    if not named:
        return hint
    option = " --trust-pickle" if "--trust-pickle" in named else ""
    model = f"{Path(request.source.replace(':', '-')).stem}.canonical.onnx"
    of_export = f"{named[0]} is an option of `verifai export {shell(request.source)} -o {shell(model)}{option}`"
    return f"{hint} {of_export}; give what that writes to quickstart."


def _lines(made: QuickstartResult, output: Path) -> Sequence[str]:
    circuit, spent = made.circuit, made.seconds
    own = sum(seconds for name, seconds in spent.items() if name != "compile kernels")
    took = ", ".join(f"{name} {seconds_text(spent[name])}" for name in ("export", "init", "compile", "prove", "verify"))
    notices = [f"  notice: {plain(notice)}" for notice in made.exported.notices]
    return [
        f"Model {made.exported.model.sha256[:12]}…, differs from its source by at most "
        f"{made.exported.parity.max_error:.2g} of the outputs' spread",
        *notices,
        f"Engine {circuit.engine.value}, because {plain(circuit.engine_reason)}. Privacy: {circuit.privacy.level.value}.",
        f"Task {circuit.task.task.value}, because {plain(circuit.task.reason)}.",
        *fidelity_lines(made.compiled.circuit.fidelity),
        f"Proven in {seconds_text(made.bundle.seconds)}, peak memory {bytes_text(made.bundle.peak_rss_bytes)}; "
        f"all in {seconds_text(own)} ({took})",
        *_kernels(spent["compile kernels"]),
        f"[bold green]ACCEPTED[/] {plain(str(made.bundle.path))}",
        *value_lines(made.verified.values),
        *("   " + plain(line) for line in describe(made.verified.statement)),
        "The same step by step, to be pasted in a folder of your choice:",
        *(f"  {plain(command)}" for command in made.commands),
    ]


def _kernels(seconds: float) -> list[str]:
    """Nothing where they were compiled before: looking takes no second."""
    return [f"Before that, kernels were compiled in {seconds_text(seconds)}, once per installation."] if seconds > 1 else []


def _document(made: QuickstartResult) -> dict[str, Any]:
    return {
        "folder": str(made.circuit.folder.folder),
        "lock": str(made.compiled.lock_path),
        "bundle": str(made.bundle.path),
        "bundle_id": made.bundle.bundle_id,
        "engine": made.circuit.engine.value,
        "engine_reason": made.circuit.engine_reason,
        "task": made.circuit.task.task.value,
        "task_reason": made.circuit.task.reason,
        "fidelity": fidelity_json(made.compiled.circuit.fidelity),
        "statement": statement_document(made.verified.statement, made.verified.values),
        "seconds": dict(made.seconds),
        "commands": list(made.commands),
    }
