"""quickstart: from a source model and real data to a verified proof of the first sample, in one call.

It runs five stages as five commands would, and names these commands.
"""

from __future__ import annotations

import os
import shlex
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from verifai.domain.attestation.manifest import MODEL_FILE
from verifai.domain.fidelity import Task
from verifai.domain.model_facts import ModelFacts
from verifai.domain.progress import SILENT, Progress
from verifai.domain.shell import shell
from verifai.domain.statement import EngineName, Visibility
from verifai.domain.table_columns import known
from verifai.engines.capabilities import WarmsUp
from verifai.engines.registry import engine_for
from verifai.errors import UsageError
from verifai.execution.files import write_atomic
from verifai.onnx_graph.facts import write_facts
from verifai.onnx_graph.inputs import read_complete
from verifai.onnx_graph.model import OnnxModel
from verifai.stages.compile import CompileResult, compile_circuit
from verifai.stages.export import ExportResult, export
from verifai.stages.init import InitRequest, InitResult, write_circuit
from verifai.stages.prove import prove
from verifai.stages.ready import ProvedBundle
from verifai.stages.verify import VerifiedBundle, verify_bundle

_EVIDENCE = "evidence"
_ALL_INPUTS = frozenset({"input", "inputs"})
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class QuickstartRequest:
    """What is asked for.

    Attributes:
        source: as :func:`verifai.stages.export.export` takes it. data: real inputs; the first with all its values is proven.
        output: folder for everything that is made; must not exist.
        private: tensors whose values stay hidden; ``input`` for all inputs where none is called so.
        dropped: columns of the data that are no inputs, such as the target.
        dims: size of each symbolic dimension. engine, task: ``None`` to choose.
    """

    source: str
    data: Path
    output: Path
    private: Sequence[str] = ()
    dropped: Sequence[str] = ()
    dims: Mapping[str, int] | None = None
    engine: EngineName | None = None
    task: Task | None = None


@dataclass(frozen=True)
class QuickstartResult:
    """What was made.

    Attributes:
        seconds: by stage, in the order in which they ran; ``compile kernels`` is 0 where the installation had them.
        commands: the five that this stands for, to be pasted in any folder but this one.
    """

    exported: ExportResult
    circuit: InitResult
    compiled: CompileResult
    bundle: ProvedBundle
    verified: VerifiedBundle
    seconds: Mapping[str, float]
    commands: tuple[str, ...]


def quickstart(request: QuickstartRequest, progress: Progress = SILENT) -> QuickstartResult:
    """Export, init, compile, prove the first sample, verify.

    Raises:
        UsageError: ``file-exists`` when there is the output folder; ``file-missing``; ``unknown-tensor``.
        As the five stages do. The output folder is then removed again.
    """
    output = request.output
    if not request.data.is_file():
        raise UsageError("file-missing", "no such file", where=str(request.data), hint="Name real inputs: .npz, CSV, Parquet.")
    try:
        output.mkdir(parents=True)
    except FileExistsError:
        hint = "Choose another folder: -o DIR."
        raise UsageError("file-exists", "there is such a folder or file already", where=str(output), hint=hint) from None
    try:
        return _Run(request, progress).result()
    except BaseException:
        shutil.rmtree(output, ignore_errors=True)
        raise


class _Once:
    """A listener that hears each note once: stages that read the same file say the same of it."""

    def __init__(self, listener: Progress) -> None:
        self._listener = listener
        self._heard: set[str] = set()
        self.phase, self.advance, self.memory = listener.phase, listener.advance, listener.memory

    def note(self, text: str) -> None:
        if text not in self._heard:
            self._heard.add(text)
            self._listener.note(text)


class _Run:
    """The stages, one after the other, each with its time."""

    def __init__(self, request: QuickstartRequest, progress: Progress) -> None:
        self._request, self._progress = request, _Once(progress)
        self._seconds: dict[str, float] = {}

    def result(self) -> QuickstartResult:
        request, progress, output = self._request, self._progress, self._request.output
        model_path, evidence = output / MODEL_FILE, output / _EVIDENCE
        exported = self._timed("export", lambda: export(request.source, dims=request.dims, progress=progress))
        write_atomic(model_path, exported.model.data)
        write_facts(model_path, exported.facts)
        private = _private(request, exported.model, exported.facts)
        asked = InitRequest(
            engine=request.engine,
            visibility=dict.fromkeys(private, Visibility.PRIVATE),
            calibration=request.data,
            dropped=request.dropped,
            task=request.task,
        )
        circuit = self._timed("init", lambda: write_circuit(model_path, exported.model, output / "circuit", asked, progress))
        folder = circuit.folder
        compiled = self._timed("compile", lambda: self._compile(circuit))
        engine = engine_for(compiled.engine)
        self._timed("compile kernels", lambda: engine.ensure_warm(progress) if isinstance(engine, WarmsUp) else None)
        read = read_complete(request.data, folder.model, columns=folder.table_columns())
        (bundle,) = self._timed("prove", lambda: list(prove(folder, read.samples[:1], evidence, progress=progress)))
        verified = self._timed("verify", lambda: verify_bundle(bundle.path, folder.lock(), progress=progress))
        skipped = read.rows[0] if read.rows else 0
        commands = _commands(request, private, model_path, folder.folder, bundle.path, skipped)
        return QuickstartResult(exported, circuit, compiled, bundle, verified, self._seconds, commands)

    def _compile(self, circuit: InitResult) -> CompileResult:
        """Compile. An engine chosen for want of another says why, or its set-up file would seem to be all that is missing."""
        try:
            return compile_circuit(circuit.folder, progress=self._progress)
        except UsageError as problem:
            if problem.code != "srs-missing" or self._request.engine is not None:
                raise
            message = f"{problem.message}; ezkl was chosen because {circuit.engine_reason}"
            raise UsageError(problem.code, message, where=problem.where, hint=problem.hint) from None

    def _timed(self, name: str, stage: Callable[[], T]) -> T:
        began = time.perf_counter()
        result = stage()
        self._seconds[name] = time.perf_counter() - began
        return result


def _private(request: QuickstartRequest, model: OnnxModel, facts: ModelFacts | None) -> tuple[str, ...]:
    """The tensors that are to be hidden, by their own names. Raises UsageError (``unknown-tensor``), with the way on."""
    inputs = [spec.name for spec in model.inputs]
    known = [*inputs, *(spec.name for spec in model.outputs)]
    found: dict[str, None] = {}
    for name in request.private:
        if name not in known and name in _ALL_INPUTS:
            found |= dict.fromkeys(inputs)
        elif name in known:
            found[name] = None
        else:
            hint = "It has: " + ", ".join(known)
            if name in _column_names(request, model, facts):
                only = " ".join(f"--private {shell(one)}" for one in inputs)
                hint = f"It is a column; a tensor is hidden as a whole: {only}"
            raise UsageError("unknown-tensor", f"the model has no tensor {name!r}", where="--private", hint=hint)
    return tuple(found)


def _column_names(request: QuickstartRequest, model: OnnxModel, facts: ModelFacts | None) -> set[str]:
    read = read_complete(request.data, model, columns=known(facts, request.dropped))
    return {name for names in read.columns.values() for name in names}


def _commands(
    request: QuickstartRequest, private: Sequence[str], model: Path, circuit: Path, bundle: Path, skipped: int
) -> tuple[str, ...]:
    """What to type to do the same, step by step, in a folder that is new. ``skipped``: samples before the proven one."""
    skip = f" --skip {skipped}" if skipped else ""
    # Whole paths of what is read, and none of what is written: the commands work wherever they are pasted.
    if request.output.is_absolute():
        here, away = Path(request.output.name), request.output
        model, circuit, bundle = (here / path.relative_to(away) for path in (model, circuit, bundle))
    source = os.path.abspath(request.source) if Path(request.source).is_file() else request.source  # noqa: PTH100
    data = Path(os.path.abspath(request.data))  # noqa: PTH100
    dims = "".join(f" --dim {shlex.quote(f'{name}={size}')}" for name, size in (request.dims or {}).items())
    options = [f"--drop {shlex.quote(name)}" for name in request.dropped]
    options += [f"--private {shlex.quote(name)}" for name in private]
    options += [] if request.engine is None else [f"--engine {request.engine.value}"]
    options += [] if request.task is None else [f"--task {request.task.value}"]
    init = f"verifai init {shell(model)} -o {shell(circuit)} --calibration {shell(data)}"
    return (
        f"verifai export {shell(source)} -o {shell(model)}" + dims,
        " ".join((init, *options, "--yes")),
        f"verifai compile {shell(circuit)}",
        f"verifai prove {shell(circuit)} {shell(data)}{skip} --limit 1 -o {shell(bundle.parent)}",
        f"verifai verify {shell(bundle)} --lock {shell(circuit / 'circuit.lock')}",
    )
