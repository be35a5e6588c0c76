"""``evaluate``: a whole data set proven."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from verifai.bundle.keys import load_signer
from verifai.circuit_folder import CircuitFolder
from verifai.cli.arguments import CircuitArgument, EngineOption, MaxMemoryOption, memory_limit
from verifai.cli.frame import Result, current, plain, verb
from verifai.cli.workforce_options import JobsOption, OnOption, ShipWeightsOption, workforce_of
from verifai.domain.evaluation import words
from verifai.domain.evaluation.data_lock import SCHEMA, DataLock
from verifai.domain.privacy_words import privacy_words
from verifai.domain.shell import shell
from verifai.domain.workforce import LOCAL
from verifai.errors import UsageError
from verifai.execution.outputs import Kind

if TYPE_CHECKING:
    from verifai.stages.evaluate import Evaluated
    from verifai.stages.evaluation.data_set import DataSet


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @verb(
        app,
        "evaluate",
        example=(
            "verifai compile circuits/lenet5 --engine sumcheck --batch 40 && "
            "verifai evaluate circuits/lenet5 fixtures/lenet5/heldout.npz -o evaluation --engine sumcheck"
        ),
    )
    def evaluate(
        circuit: CircuitArgument,
        data: Annotated[
            Path, typer.Argument(help="data.lock; or the data themselves, pinned here.", show_default=False, metavar="DATASET")
        ],
        *,
        output: Annotated[Path, typer.Option("--output", "-o", help="The evaluation's bundle."), Kind.TREE],
        samples: Annotated[
            Path | None, typer.Option("--samples", help="The data, where the lock does not find them.", metavar="FILE")
        ] = None,
        engine: EngineOption = None,
        context: Annotated[str, typer.Option("--context", help="Text bound into each proof, such as a nonce.")] = "",
        key: Annotated[list[Path] | None, typer.Option("--key", help="Private key that signs; repeatable.")] = None,
        threads: Annotated[int | None, typer.Option("--threads", min=1, max=1024, help="Worker threads of the engine.")] = None,
        jobs: JobsOption = None,
        on: OnOption = LOCAL,
        ship_weights: ShipWeightsOption = False,
        max_memory: MaxMemoryOption = None,
        renew_weights: Annotated[
            bool, typer.Option("--renew-weights", help="Make a fresh root when the hidden weights' openings are spent.")
        ] = False,
    ) -> Result:
        """Prove every sample of a data set, so that anybody can count how good the model is.

        The same command continues a run that was interrupted. Weights and scores may stay hidden; inputs and answers may not.
        """
        from verifai.stages.evaluate import EvaluateOptions
        from verifai.stages.evaluate import evaluate as run

        folder = CircuitFolder(circuit)
        lock, found = _data(data, samples)
        options = EvaluateOptions(
            engine=engine,
            context=context,
            signers=[load_signer(path) for path in key or []],
            threads=threads,
            workforce=workforce_of(jobs, on, ship_weights=ship_weights, ship_inputs=False),
            max_memory=memory_limit(max_memory),
            renew_roots=renew_weights,
        )
        if not options.signers:
            current().note("No --key: the bundle is unsigned. It proves the answers, but not who made it.")
        with current().progress() as progress:
            made = run(folder, found, lock, output, options, progress=progress)
        return _result(made, circuit, data)


def _data(data: Path, samples: Path | None) -> tuple[DataLock, DataSet]:
    """The lock and its samples; where the data themselves were named, they are pinned here."""
    from verifai.stages.evaluation.data_set import pin
    from verifai.stages.evaluation.lock_file import read_data_lock
    from verifai.stages.evaluation.read_data import DataOptions, read_data

    if not _is_lock(data):
        if samples is not None:
            raise UsageError("bad-option", "both are data", where="--samples", hint="Name a data.lock and its data.")
        read = read_data(data)
        for note in read.notes:
            current().note(note)
        lock = pin(read.data, data.stem or "data", read.label)
        current().note(f"No data.lock was given: whoever judges needs one. Run: `verifai dataset {shell(data)} -o data.lock`")
        return lock, read.data
    lock = read_data_lock(data)
    place = samples or (data.parent / lock.file if lock.file else None)
    if place is None or not place.exists():
        raise UsageError(
            "file-missing",
            "the data that the lock pins are not there",
            where=str(place or data),
            hint="Name them: --samples FILE.",
        )
    read = read_data(place, DataOptions(lock.label, lock.group or None, lock.task, lock.classes, lock.dropped))
    return lock, read.data.first(lock.count)


def _is_lock(path: Path) -> bool:
    if not path.is_file():
        return False
    try:
        with path.open("rb") as stream:
            head = stream.read(4096)
    except OSError as problem:
        raise UsageError("file-missing", f"cannot read: {problem.strerror}", where=str(path)) from None
    return SCHEMA.rpartition("/")[0].encode() in head


def _result(made: Evaluated, circuit: Path, data: Path) -> Result:
    found = made.evaluation
    earlier = f", {made.earlier:,} of them by an earlier run" if made.earlier else ""
    # Without a lock of the data there is nothing yet that could be trusted: whoever judges makes it.
    pinned, first = (data, "") if _is_lock(data) else (Path("data.lock"), f"verifai dataset {shell(data)} -o data.lock && ")
    check = f"{first}verifai verify {shell(made.path)} --lock {shell(circuit)} --data {shell(pinned)}"
    lines = [
        f"[bold green]EVALUATED[/] {plain(str(made.path))}: {found.data.count:,} samples in {made.proofs:,} proofs{earlier}, "
        f"{made.size:,} bytes",
        *("   " + plain(line) for line in words.lines(found.data, found.metrics)),
        *("   " + plain(line) for line in privacy_words(found.statement)),
        f"   Check it: [bold]{plain(check)}[/]",
    ]
    document = {
        "path": str(made.path),
        "bundle_id": found.bundle_id,
        "proofs": made.proofs,
        "earlier": made.earlier,
        "bytes": made.size,
        "evaluation": words.document(found.data, found.metrics),
    }
    return Result(document, lines, found.findings, verdict="done")
