"""``calibrate`` and ``record-proofs``: how far apart two answers may be."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from verifai.circuit_folder import read_lock
from verifai.cli.frame import Result, current, plain, verb
from verifai.cli.vote_options import KeyOption, ParameterOption, ThreadsOption, parameters_of, signers_of
from verifai.domain.consensus.job import Optimisation, OutputKind, PrecisionClass, RuntimeOptions
from verifai.domain.shell import shell
from verifai.execution.outputs import Kind
from verifai.stages.consensus.recording import record_proven_runs, record_runs
from verifai.stages.consensus.subject import SubjectOptions
from verifai.stages.consensus.tolerance import MeasuredTolerance, measure_tolerance

KindOption = Annotated[OutputKind, typer.Option("--kind", help="What the output is.")]
PrecisionOption = Annotated[
    PrecisionClass | None, typer.Option("--precision", help="Precision class; by default what the graph shows.")
]
TensorOption = Annotated[list[str] | None, typer.Option("--tensor", help="Output to vote on; repeatable. Default: all.")]
LevelOption = Annotated[Optimisation, typer.Option("--optimisation", help="onnxruntime's graph optimisation level.")]
LimitOption = Annotated[
    int | None, typer.Option("--limit", min=1, max=1_000_000_000, help="Take only the first N samples of the data.")
]


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    _register_calibrate(app)
    _register_record_proofs(app)


def _register_calibrate(app: typer.Typer) -> None:
    @verb(
        app,
        "calibrate",
        example="verifai calibrate fixtures/digits-cnn/model.onnx fixtures/digits-cnn/calibration.npz -o tolerance.json",
    )
    def calibrate(
        model: Annotated[Path, typer.Argument(help="ONNX model.", show_default=False)],
        data: Annotated[Path, typer.Argument(help="Inputs: .npz (axis 0 = sample) or .json.", show_default=False)],
        output: Annotated[Path, typer.Option("--output", "-o", help="The tolerance, as an attestation."), Kind.NEW],
        kind: KindOption = OutputKind.LOGITS,
        precision: PrecisionOption = None,
        tensor: TensorOption = None,
        parameter: ParameterOption = None,
        batch: Annotated[int, typer.Option("--batch", min=1, max=65_536, help="Samples per run.")] = 1,
        optimisation: LevelOption = Optimisation.ALL,
        runs: Annotated[list[Path] | None, typer.Option("--runs", help="Runs recorded on other machines; repeatable.")] = None,
        proven: Annotated[
            list[Path] | None,
            typer.Option("--proven", help="Runs of a circuit, from record-proofs: for rounds with a proven claim; repeatable."),
        ] = None,
        record: Annotated[
            Path | None, typer.Option("--record", help="Only record runs here, for a calibration elsewhere."), Kind.FILE
        ] = None,
        not_covered: Annotated[list[str] | None, typer.Option("--not-covered", help="Attack to leave out, openly.")] = None,
        days: Annotated[int, typer.Option("--days", min=1, max=3660, help="Validity.")] = 90,
        preprocessing: Annotated[
            Path | None, typer.Option("--preprocessing", help="File that defines the preprocessing.")
        ] = None,
        limit: LimitOption = None,
        key: KeyOption = None,
        threads: ThreadsOption = 1,
    ) -> Result:
        """Measure how far honest runs and attacks differ, and set the tolerance between them, or refuse.

        Exits with 3 ("not separable") when they are less than ten times apart.
        """
        options = SubjectOptions(
            kind, precision, RuntimeOptions(batch, optimisation), tuple(tensor or ()), parameters_of(parameter), preprocessing
        )
        if record is not None:
            made = record_runs(model, options, data, record, limit=limit, threads=threads)
            lines = [f"Recorded {made.samples} runs in {plain(str(record))}"]
            return Result({"recorded": str(record), "samples": made.samples}, lines, verdict="done")
        signers = signers_of(key)
        with current().progress() as progress:
            found = measure_tolerance(
                model,
                options,
                data,
                output,
                elsewhere=runs or (),
                proven=proven or (),
                not_covered=frozenset(not_covered or ()),
                limit=limit,
                validity=timedelta(days=days),
                signers=signers,
                progress=progress,
            )
        for note in found.measured.notes:
            current().note(note)
        return _measured(found)


def _register_record_proofs(app: typer.Typer) -> None:
    @verb(
        app,
        "record-proofs",
        example="verifai record-proofs fixtures/digits-mlp/model.onnx fixtures/digits-mlp/heldout.npz evidence/000000 "
        "--limit 1 --lock circuits/digits-mlp/circuit.lock --allow-test-srs -o proven.runs.json",
    )
    def record_proofs(
        model: Annotated[Path, typer.Argument(help="ONNX model that the proofs are about.", show_default=False)],
        data: Annotated[Path, typer.Argument(help="The inputs that were proven, as for calibrate.", show_default=False)],
        bundles: Annotated[list[Path], typer.Argument(help="One proof bundle per input, in order.", show_default=False)],
        lock: Annotated[Path, typer.Option("--lock", help="circuit.lock that you trust, or its folder.")],
        output: Annotated[Path, typer.Option("--output", "-o", help="The recorded runs, for calibrate --proven."), Kind.NEW],
        tensor: TensorOption = None,
        limit: LimitOption = None,
        allow_test_srs: Annotated[
            bool, typer.Option("--allow-test-srs", help="INSECURE: accept a set-up whose maker can forge proofs.")
        ] = False,
    ) -> Result:
        """Verify proofs and record what their circuit put out, so that a tolerance can be set for proven claims.

        Every proof is verified against the lock, and must be about this model and the input in its place. What is recorded is
        what the statements say.
        """
        if allow_test_srs:
            current().note("INSECURE: --allow-test-srs accepts proofs that the maker of the test set-up can forge.")
        with current().progress() as progress:
            made = record_proven_runs(
                model,
                data,
                bundles,
                read_lock(lock),
                output,
                tensors=tuple(tensor or ()),
                limit=limit,
                allow_test_srs=allow_test_srs,
                progress=progress,
            )
        lines = [
            f"{made.samples} proofs hold, of {plain(made.environment.instruction_set)}: {plain(str(output))}",
            f"Next: verifai calibrate MODEL DATA --proven {plain(shell(output))} -o tolerance.json",
        ]
        circuit = made.environment.to_json()
        data_ = {"output": str(output), "samples": made.samples, "circuit": circuit, "proofs": list(made.proofs)}
        return Result(data_, lines, verdict="done")


def _measured(found: MeasuredTolerance) -> Result:
    one, written = found.measured.calibration, found.written
    separation = one.attack_low / max(one.honest_high, 2.0**-22)
    lines = [
        f"Tolerance τ = {one.tau:.3g}: honest runs up to {one.honest_high:.3g}, the weakest attack from {one.attack_low:.3g} "
        f"({separation:.0f} times apart)",
        f"{found.samples} inputs, {len(one.honest)} environments; "
        f"false rejects below {one.false_reject_high:.2g} at 95 % confidence",
        f"{plain(str(written.path))}  attestation {written.id[:12]}…, valid until {one.expires}",
    ]
    data = {
        "output": str(written.path),
        "attestation": written.id,
        "tau": one.tau,
        "honest_p999": one.honest_high,
        "attack_p001": one.attack_low,
        "false_reject_upper_95": one.false_reject_high,
        "notes": list(found.measured.notes),
        "attacks": {
            attack.name: {"p001": attack.low, "median": attack.median, "accepted": attack.accepted} for attack in one.attacks
        },
        "environments": {runs.environment: {"p999": runs.high, "max": runs.largest} for runs in one.honest},
        "portability": [finding.to_json() for finding in found.portability],
    }
    return Result(data, lines, verdict="done")
