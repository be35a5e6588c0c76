"""``init``: a specification for a model, with what it chose and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from verifai.cli.arguments import DropOption, PrivateOption, PrivateWeightsOption
from verifai.cli.frame import Result, current, plain, verb
from verifai.cli.text import privacy_json, privacy_line
from verifai.domain.fidelity import Task
from verifai.domain.shell import shell
from verifai.domain.statement import EngineName, Visibility, WeightVisibility
from verifai.errors import UsageError
from verifai.execution.outputs import Kind
from verifai.onnx_graph.facts import read_facts
from verifai.onnx_graph.load import load_path
from verifai.onnx_graph.model import OnnxModel
from verifai.stages.init import InitRequest, InitResult, choose_task, write_circuit

_YES = "Pass --yes to take the defaults"


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @verb(app, "init", example="verifai init fixtures/digits-mlp/model.onnx -o my-circuit --yes")
    def init(
        model: Annotated[Path, typer.Argument(help="Canonical ONNX file (see export).", show_default=False)],
        output: Annotated[Path, typer.Option("--output", "-o", help="Folder for circuit.toml."), Kind.TREE],
        name: Annotated[str, typer.Option("--name", help="Circuit name; by default the folder's.")] = "",
        engine: Annotated[
            EngineName | None, typer.Option("--engine", help="Default engine; by default the one that fits best.")
        ] = None,
        on_chain: Annotated[bool, typer.Option("--on-chain", help="A smart contract must verify the proofs.")] = False,
        task: Annotated[
            Task | None, typer.Option("--task", help="What the outputs mean; by default as the model says, or guessed.")
        ] = None,
        calibration: Annotated[
            Path | None, typer.Option("--calibration", help="Real inputs: .npz, .npy, CSV, Parquet.", metavar="FILE")
        ] = None,
        drop: DropOption = None,
        srs: Annotated[Path | None, typer.Option("--srs", help="Set-up file for ezkl; by default from the store.")] = None,
        tensor: Annotated[
            list[str] | None,
            typer.Option("--tensor", help="Visibility of one tensor, such as input=hashed.", metavar="NAME=VISIBILITY"),
        ] = None,
        private: PrivateOption = None,
        weights: Annotated[
            WeightVisibility | None, typer.Option("--weights", help="How the weights are bound; by default public.")
        ] = None,
        private_weights: PrivateWeightsOption = False,
        yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing; take the defaults.")] = False,
    ) -> Result:
        """Write a commented circuit.toml for a model.

        Chooses the engine and says why; asks what nothing says. Calibration data are read, so that they are known to fit.
        """
        loaded = load_path(model)
        visibility = _with_private(_visibilities(tensor or []), private or [])
        guess = choose_task(loaded, read_facts(model), task)
        if not yes and not current().json:
            visibility = _ask_visibility(loaded, visibility)
            task = guess.task if guess.sure else _ask_task(guess.task)
        request = InitRequest(
            name=name,
            engine=engine,
            on_chain=on_chain,
            visibility=visibility,
            weights=_weights(weights, private_weights),
            calibration=calibration,
            dropped=drop or (),
            srs=srs,
            task=task,
        )
        with current().progress() as progress:
            made = write_circuit(model, loaded, output, request, progress)
        return Result(_document(made), init_lines(made), verdict="done")


def init_lines(made: InitResult) -> Sequence[str]:
    """What was written and chosen, for people; the last line is the next command."""
    said = "" if made.task.sure else " If it means something else, write another task into circuit.toml."
    return [
        f"Wrote {plain(str(made.folder.folder / 'circuit.toml'))}",
        f"Engine: {made.engine.value}, because {plain(made.engine_reason)}.",
        privacy_line(made.privacy),
        f"Task: {made.task.task.value}, because {plain(made.task.reason)}.{said}",
        f"Next: verifai compile {plain(shell(made.folder.folder))}",
    ]


def _document(made: InitResult) -> dict[str, object]:
    return {
        "path": str(made.folder.folder / "circuit.toml"),
        "name": made.folder.spec.name,
        "engine": made.engine.value,
        "engine_reason": made.engine_reason,
        "privacy": privacy_json(made.privacy),
        "task": made.task.task.value,
        "task_reason": made.task.reason,
        "task_sure": made.task.sure,
    }


def _visibilities(given: list[str]) -> dict[str, Visibility]:
    result = {}
    for item in given:
        name, _, word = item.rpartition("=")
        try:
            result[name] = Visibility(word)
        except ValueError:
            raise UsageError(
                "bad-option",
                f"{item!r} is not NAME=VISIBILITY",
                where="--tensor",
                hint="Visibilities: public, private, hashed.",
            ) from None
    return result


def _with_private(given: dict[str, Visibility], private: list[str]) -> dict[str, Visibility]:
    for name in private:
        if given.get(name, Visibility.PRIVATE) is not Visibility.PRIVATE:
            message = f"{name!r} cannot be {given[name].value} and private"
            raise UsageError("bad-option", message, where="--private", hint="Name the tensor in one of --tensor and --private.")
    return {**given, **dict.fromkeys(private, Visibility.PRIVATE)}


def _weights(weights: WeightVisibility | None, private: bool) -> WeightVisibility:
    if private and weights not in (None, WeightVisibility.PRIVATE):
        message = f"the weights cannot be {weights} and private"
        raise UsageError("bad-option", message, where="--private-weights", hint="Give one of --weights and --private-weights.")
    return WeightVisibility.PRIVATE if private else weights or WeightVisibility.PUBLIC


def _ask_visibility(model: OnnxModel, given: Mapping[str, Visibility]) -> dict[str, Visibility]:
    result = dict(given)
    for spec in (*model.inputs, *model.outputs):
        if spec.name not in result:
            shape = "×".join(map(str, spec.shape))
            question = f"Who may learn {spec.name!r} ({shape})? public, hashed or private"
            answer = current().ask(question, default="public", hint=f"{_YES}, or name them: --tensor")
            result |= _visibilities([f"{spec.name}={answer.lower()}"])
    return result


def _ask_task(guessed: Task) -> Task:
    words = ", ".join(Task)
    answer = current().ask(f"What do the outputs mean? {words}", default=guessed.value, hint=f"{_YES}, or say it: --task")
    try:
        return Task(answer.lower())
    except ValueError:
        raise UsageError("bad-option", f"{answer[:40]!r} is no task", where="--task", hint=f"Tasks: {words}.") from None
