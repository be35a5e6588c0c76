"""``calibrate``, ``vote-open``, ``vote-commit``, ``vote-reveal`` and ``consensus``: when an output is too large to prove."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from verifai.cli.frame import Result, current, plain, verb
from verifai.domain.consensus.job import Optimisation, OutputKind, PrecisionClass, RuntimeOptions
from verifai.errors import UsageError

_MODEL_LIMIT = 1 << 31
KindOption = Annotated[OutputKind, typer.Option("--kind", help="What the output is.")]
PrecisionOption = Annotated[
    PrecisionClass | None, typer.Option("--precision", help="Precision class; by default what the graph shows.")
]
TensorOption = Annotated[list[str] | None, typer.Option("--tensor", help="Output to vote on; repeatable. Default: all.")]
LevelOption = Annotated[Optimisation, typer.Option("--optimisation", help="onnxruntime's graph optimisation level.")]
KeyOption = Annotated[Path | None, typer.Option("--key", help="Private key that signs.")]
ParameterOption = Annotated[
    list[str] | None,
    typer.Option("--parameter", help="Fingerprint parameter, such as projections=16; repeatable.", metavar="NAME=VALUE"),
]
LimitOption = Annotated[int | None, typer.Option("--limit", min=1, help="Take only the first N samples of the data.")]
ThreadsOption = Annotated[int, typer.Option("--threads", min=1, help="Threads of one run; not part of the job.")]


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    _register_calibrate(app)
    _register_record_proofs(app)
    _register_open(app)
    _register_commit(app)
    _register_reveal(app)
    _register_replay(app)


def _register_calibrate(app: typer.Typer) -> None:
    @verb(
        app,
        "calibrate",
        example="verifai calibrate fixtures/digits-cnn/model.onnx fixtures/digits-cnn/calibration.npz -o tolerance.json",
    )
    def calibrate(
        model: Annotated[Path, typer.Argument(help="ONNX model.", show_default=False)],
        data: Annotated[Path, typer.Argument(help="Inputs: .npz (axis 0 = sample) or .json.", show_default=False)],
        output: Annotated[Path, typer.Option("--output", "-o", help="The tolerance, as an attestation.")],
        kind: KindOption = OutputKind.LOGITS,
        precision: PrecisionOption = None,
        tensor: TensorOption = None,
        parameter: ParameterOption = None,
        batch: Annotated[int, typer.Option("--batch", min=1, help="Samples per run.")] = 1,
        optimisation: LevelOption = Optimisation.ALL,
        runs: Annotated[list[Path] | None, typer.Option("--runs", help="Runs recorded on other machines; repeatable.")] = None,
        proven: Annotated[
            list[Path] | None,
            typer.Option("--proven", help="Runs of a circuit, from record-proofs: for rounds with a proven claim; repeatable."),
        ] = None,
        record: Annotated[
            Path | None, typer.Option("--record", help="Only record runs here, for a calibration elsewhere.")
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
        from verifai.cli.votes_run import calibrate_now, record_now
        from verifai.stages.consensus.messages import subject_of

        content = _read_model(model)
        options = RuntimeOptions(batch, optimisation)
        subject = subject_of(content, kind, precision, options, tuple(tensor or ()), _parameters(parameter), preprocessing)
        if record is not None:
            count = record_now(content, subject, data, record, threads, limit)
            return Result(
                {"recorded": str(record), "samples": count},
                [f"Recorded {count} runs in {plain(str(record))}"],
                verdict="done",
            )
        if output.exists():
            raise UsageError("file-exists", "the output exists already", where=str(output))
        created = datetime.now(UTC)
        return calibrate_now(
            content,
            subject,
            data,
            output,
            tuple(runs or ()),
            tuple(proven or ()),
            frozenset(not_covered or ()),
            limit,
            created,
            created + timedelta(days=days),
            _signers(key),
        )


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
        output: Annotated[Path, typer.Option("--output", "-o", help="The recorded runs, for calibrate --proven.")],
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
        from verifai.cli.votes_run import record_proofs_now

        if output.exists():
            raise UsageError("file-exists", "the output exists already", where=str(output))
        return record_proofs_now(
            _read_model(model), data, tuple(bundles), lock, output, tuple(tensor or ()), limit, allow_test_srs
        )


def _register_open(app: typer.Typer) -> None:
    @verb(
        app,
        "vote-open",
        example="verifai vote-open fixtures/digits-cnn/model.onnx fixtures/digits-cnn/calibration.npz "
        "--calibration tolerance.json "
        "--voter a.key.pub --voter b.key.pub --voter c.key.pub --beacon-source lottery --beacon-number 1 -o round.json",
    )
    def vote_open(
        model: Annotated[Path, typer.Argument(help="ONNX model.", show_default=False)],
        data: Annotated[Path, typer.Argument(help="The inputs to vote on.", show_default=False)],
        output: Annotated[Path, typer.Option("--output", "-o", help="The round's terms, as an attestation.")],
        voter: Annotated[list[Path], typer.Option("--voter", help="Public key of a verifier who is asked; at least three.")],
        beacon_source: Annotated[str, typer.Option("--beacon-source", help="Who will publish the randomness.")],
        beacon_number: Annotated[int, typer.Option("--beacon-number", min=0, help="Its number; must not exist yet.")],
        calibration: Annotated[Path | None, typer.Option("--calibration", help="From verifai calibrate.")] = None,
        kind: Annotated[OutputKind | None, typer.Option("--kind", help="Without a calibration: what the output is.")] = None,
        parameter: ParameterOption = None,
        tolerate: Annotated[int, typer.Option("--tolerate", "-f", min=1, help="Faulty verifiers to tolerate.")] = 1,
        samples_beyond: Annotated[int, typer.Option("--samples-beyond", min=0, help="Samples that may differ.")] = 0,
        openings: Annotated[int, typer.Option("--openings", min=1, help="Outputs the seed picks to be shown in full.")] = 1,
        minutes: Annotated[int, typer.Option("--minutes", min=1, help="Time to commit, and again to reveal.")] = 60,
        key: KeyOption = None,
    ) -> Result:
        """Open a round: fix what is asked, whom, and which future randomness will be used, before anybody commits."""
        from verifai.cli.votes_run import open_round

        now = datetime.now(UTC)
        deadlines = (now + timedelta(minutes=minutes), now + timedelta(minutes=2 * minutes))
        return open_round(
            _read_model(model),
            data,
            output,
            voters=tuple(voter),
            calibration=calibration,
            kind=kind,
            parameters=_parameters(parameter),
            tolerate=tolerate,
            samples_beyond=samples_beyond,
            openings=openings,
            beacon=(beacon_source, beacon_number),
            nonce=secrets.token_hex(16),
            deadlines=deadlines,
            signers=_signers(key),
        )


def _register_commit(app: typer.Typer) -> None:
    @verb(
        app,
        "vote-commit",
        example=" && ".join(
            f"verifai vote-commit round.json fixtures/digits-cnn/model.onnx fixtures/digits-cnn/calibration.npz "
            f"--key {who}.key -o {who}.commitment.json"
            for who in "abc"
        ),
    )
    def vote_commit(
        round_: Annotated[Path, typer.Argument(help="The round's terms.", metavar="ROUND", show_default=False)],
        model: Annotated[Path, typer.Argument(help="ONNX model.", show_default=False)],
        data: Annotated[Path, typer.Argument(help="The inputs.", show_default=False)],
        key: Annotated[Path, typer.Option("--key", help="This verifier's private key.")],
        output: Annotated[Path, typer.Option("--output", "-o", help="The commitment.")],
        secret: Annotated[
            Path | None, typer.Option("--secret", help="Private file for the reveal; by default OUTPUT.secret.")
        ] = None,
        outputs: Annotated[Path | None, typer.Option("--outputs", help="Outputs computed by something else.")] = None,
        deadline: Annotated[float | None, typer.Option("--deadline", min=0.1, help="Seconds the model may run.")] = None,
        threads: ThreadsOption = 1,
    ) -> Result:
        """Run the model in a process of its own and commit to its outputs, showing nothing of them yet."""
        from verifai.cli.votes_run import commit_now

        return commit_now(
            round_, model, data, key, output, secret or output.with_name(output.name + ".secret"), outputs, deadline, threads
        )


def _register_reveal(app: typer.Typer) -> None:
    @verb(
        app,
        "vote-reveal",
        example=" && ".join(
            "verifai vote-reveal round.json a.commitment.json b.commitment.json c.commitment.json --beacon beacon.json "
            f"--secret {who}.commitment.json.secret --key {who}.key -o {who}.vote.json"
            for who in "abc"
        ),
    )
    def vote_reveal(
        round_: Annotated[Path, typer.Argument(help="The round's terms.", metavar="ROUND", show_default=False)],
        commitments: Annotated[list[Path], typer.Argument(help="Every commitment of the round.", show_default=False)],
        beacon: Annotated[Path, typer.Option("--beacon", help="What the beacon published.")],
        secret: Annotated[Path, typer.Option("--secret", help="From vote-commit.")],
        key: Annotated[Path, typer.Option("--key", help="This verifier's private key.")],
        output: Annotated[Path, typer.Option("--output", "-o", help="The vote.")],
    ) -> Result:
        """Draw the seed from all commitments and the beacon, and show fingerprints and the outputs that it picks."""
        from verifai.cli.votes_run import reveal_now

        return reveal_now(round_, tuple(commitments), beacon, secret, key, output)


def _register_replay(app: typer.Typer) -> None:
    @verb(
        app,
        "vote-replay",
        example="verifai vote-replay tokens/round.json tokens/model.onnx tokens/prompts.json tokens/a.vote.json "
        "tokens/b.vote.json tokens/c.vote.json --key a.key -o a.replay.json",
    )
    def vote_replay(
        round_: Annotated[Path, typer.Argument(help="The round's terms.", metavar="ROUND", show_default=False)],
        model: Annotated[Path, typer.Argument(help="ONNX model that gives logits for every position.", show_default=False)],
        data: Annotated[Path, typer.Argument(help="The inputs: the prompts.", show_default=False)],
        votes: Annotated[list[Path], typer.Argument(help="The votes, one's own included.", show_default=False)],
        key: Annotated[Path, typer.Option("--key", help="This verifier's private key.")],
        output: Annotated[Path, typer.Option("--output", "-o", help="The replay, a message of the round.")],
        shown: Annotated[
            Path | None, typer.Option("--shown", help="Token sequences beside those that the votes open (.json, .npz).")
        ] = None,
        token_input: Annotated[str, typer.Option("--token-input", help="Model input that takes the tokens.")] = "",
        deadline: Annotated[float | None, typer.Option("--deadline", min=0.1, help="Seconds the model may run.")] = None,
        threads: ThreadsOption = 1,
    ) -> Result:
        """Feed the tokens that others claim to this verifier's model, and sign by how much each loses at worst.

        Two sequences that differ agree when both sides' replays lose by no more than the tolerance.
        """
        from verifai.cli.votes_run import replay_now

        return replay_now(round_, model, data, tuple(votes), key, output, shown, token_input, deadline, threads)


def _read_model(path: Path) -> bytes:
    from verifai.execution.files import read_limited

    return read_limited(path, limit=_MODEL_LIMIT)


def _signers(key: Path | None) -> list[Any]:
    from verifai.bundle.keys import load_signer

    if key is None:
        current().note("No --key: unsigned, so nobody vouches for it.")
        return []
    return [load_signer(key)]


def _parameters(given: list[str] | None) -> dict[str, int | str]:
    found: dict[str, int | str] = {}
    for one in given or ():
        name, equals, value = one.partition("=")
        if not equals or name in found:
            raise UsageError("bad-option", f"{one!r} is not NAME=VALUE, or comes twice", where="--parameter")
        found[name] = int(value) if value.isdigit() else value
    return found
