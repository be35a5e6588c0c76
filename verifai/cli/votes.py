"""``vote-open``, ``vote-commit``, ``vote-reveal`` and ``vote-replay``: when an output is too large to prove."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from verifai.bundle.keys import load_public_key, load_signer
from verifai.cli.frame import Result, current, plain, verb
from verifai.cli.vote_options import KeyOption, ParameterOption, ThreadsOption, parameters_of, signers_of
from verifai.cli.workforce_options import JobsOption, LocalOption, jobs_here
from verifai.domain.consensus.beacons import VOTERS
from verifai.domain.consensus.job import OutputKind
from verifai.domain.consensus.round import BeaconRule
from verifai.domain.workforce import LOCAL
from verifai.errors import UsageError
from verifai.execution.outputs import Kind
from verifai.stages.consensus.open_round import RoundOptions, open_round
from verifai.stages.consensus.subject import SubjectOptions
from verifai.stages.consensus.take_part import WrittenReplay, commit_to_round, replay_for_round, reveal_to_round

VoterOption = Annotated[
    list[Path] | None,
    typer.Option("--voter", help="Public key of a verifier who is asked: only what it signed counts for it; repeatable."),
]


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    _register_open(app)
    _register_commit(app)
    _register_reveal(app)
    _register_replay(app)


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
        output: Annotated[Path, typer.Option("--output", "-o", help="The round's terms, as an attestation."), Kind.NEW],
        voter: Annotated[list[Path], typer.Option("--voter", help="Public key of a verifier who is asked; at least three.")],
        beacon_source: Annotated[str, typer.Option("--beacon-source", help="Who will publish the randomness.")],
        beacon_number: Annotated[
            int, typer.Option("--beacon-number", min=0, max=2**53 - 1, help="Its number; must not exist yet.")
        ],
        calibration: Annotated[Path | None, typer.Option("--calibration", help="From `verifai calibrate`.")] = None,
        kind: Annotated[OutputKind | None, typer.Option("--kind", help="Without a calibration: what the output is.")] = None,
        parameter: ParameterOption = None,
        tolerate: Annotated[int, typer.Option("--tolerate", "-f", min=1, max=512, help="Faulty verifiers to tolerate.")] = 1,
        samples_beyond: Annotated[
            int, typer.Option("--samples-beyond", min=0, max=1_000_000, help="Samples that may differ.")
        ] = 0,
        openings: Annotated[
            int, typer.Option("--openings", min=1, max=1_000_000, help="Outputs the seed picks to be shown in full.")
        ] = 1,
        minutes: Annotated[
            int, typer.Option("--minutes", min=1, max=5_256_000, help="Time to commit, and again to reveal.")
        ] = 60,
        key: KeyOption = None,
    ) -> Result:
        """Open a round: fix what is asked, whom, and which future randomness will be used, before anybody commits."""
        if beacon_source == VOTERS:
            message = "the voters make their randomness in a shared folder only"
            raise UsageError("bad-option", message, where="--beacon-source", hint="Run: `verifai round init --help`")
        uncalibrated = SubjectOptions(kind or OutputKind.EXACT, parameters=parameters_of(parameter))
        signers = signers_of(key)
        made = open_round(
            model,
            data,
            uncalibrated if calibration is None else calibration,
            RoundOptions(
                [load_public_key(path) for path in voter],
                BeaconRule(beacon_source, beacon_number),
                tolerate,
                samples_beyond,
                openings,
                timedelta(minutes=minutes),
            ),
            output,
            signers=signers,
        )
        terms = made.message
        lines = [
            f"Round {made.id[:12]}… asks {len(terms.voters)} verifiers about {terms.job.samples} sample(s), "
            f"tolerating {tolerate} faulty",
            f"{plain(str(output))}: send it to the verifiers. Commit by {terms.commit_by}, reveal by {terms.reveal_by}.",
        ]
        found = {"output": str(output), "round": made.id, "job": terms.job.id, "voters": list(terms.voters)}
        return Result(found, lines, verdict="done")


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
        output: Annotated[Path, typer.Option("--output", "-o", help="The commitment."), Kind.NEW],
        secret: Annotated[
            Path | None, typer.Option("--secret", help="Private file for the reveal; by default OUTPUT.secret."), Kind.NEW
        ] = None,
        outputs: Annotated[Path | None, typer.Option("--outputs", help="Outputs computed by something else.")] = None,
        deadline: Annotated[float | None, typer.Option("--deadline", min=0.1, help="Seconds the model may run.")] = None,
        threads: ThreadsOption = 1,
        jobs: JobsOption = 1,
        on: LocalOption = LOCAL,
    ) -> Result:
        """Run the model in a process of its own and commit to its outputs, showing nothing of them yet."""
        kept = secret or output.with_name(output.name + ".secret")
        processes = jobs_here(jobs, on, "a vote")
        made = commit_to_round(
            round_,
            model,
            data,
            load_signer(key),
            output,
            kept,
            outputs=outputs,
            deadline=deadline,
            threads=threads,
            jobs=processes,
        )
        voter = made.message.voter
        lines = [
            f"Committed as {voter[:12]}… in round {made.message.round[:12]}…: {plain(str(output))}",
            f"{plain(str(kept))}: keep it private until the beacon is out, then run `verifai vote-reveal`.",
        ]
        found = {"output": str(output), "secret": str(kept), "commitment": made.id, "voter": voter}
        return Result(found, lines, verdict="done")


def _register_reveal(app: typer.Typer) -> None:
    @verb(
        app,
        "vote-reveal",
        example=" && ".join(
            "verifai vote-reveal round.json a.commitment.json b.commitment.json c.commitment.json --beacon beacon.json "
            f"--secret {who}.commitment.json.secret --key {who}.key -o {who}.vote.json "
            "--voter a.key.pub --voter b.key.pub --voter c.key.pub"
            for who in "abc"
        ),
    )
    def vote_reveal(
        round_: Annotated[Path, typer.Argument(help="The round's terms.", metavar="ROUND", show_default=False)],
        commitments: Annotated[list[Path], typer.Argument(help="Every commitment of the round.", show_default=False)],
        beacon: Annotated[Path, typer.Option("--beacon", help="What the beacon published.")],
        secret: Annotated[Path, typer.Option("--secret", help="From vote-commit.")],
        key: Annotated[Path, typer.Option("--key", help="This verifier's private key.")],
        output: Annotated[Path, typer.Option("--output", "-o", help="The vote."), Kind.NEW],
        voter: VoterOption = None,
    ) -> Result:
        """Draw the seed from all commitments and the beacon, and show fingerprints and the outputs that it picks."""
        voters = [load_public_key(path) for path in voter or []]
        with current().progress() as progress:
            made = reveal_to_round(
                round_, commitments, beacon, secret, load_signer(key), output, voters=voters, progress=progress
            )
        vote = made.message
        lines = [
            f"Voted as {vote.voter[:12]}… with seed {vote.seed[:12]}… from {len(commitments)} commitments: {plain(str(output))}"
        ]
        return Result({"output": str(output), "vote": made.id, "seed": vote.seed, "voter": vote.voter}, lines, verdict="done")


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
        output: Annotated[Path, typer.Option("--output", "-o", help="The replay, a message of the round."), Kind.NEW],
        shown: Annotated[
            Path | None, typer.Option("--shown", help="Token sequences beside those that the votes open (.json, .npz).")
        ] = None,
        token_input: Annotated[str, typer.Option("--token-input", help="Model input that takes the tokens.")] = "",
        deadline: Annotated[float | None, typer.Option("--deadline", min=0.1, help="Seconds the model may run.")] = None,
        threads: ThreadsOption = 1,
        jobs: JobsOption = 1,
        on: LocalOption = LOCAL,
        voter: VoterOption = None,
    ) -> Result:
        """Feed the tokens that others claim to this verifier's model, and sign by how much each loses at worst.

        Two sequences that differ agree when both sides' replays lose by no more than the tolerance.
        """
        processes = jobs_here(jobs, on, "a vote")
        with current().progress() as progress:
            made = replay_for_round(
                round_,
                model,
                data,
                votes,
                load_signer(key),
                output,
                shown=shown,
                token_input=token_input,
                deadline=deadline,
                threads=threads,
                jobs=processes,
                voters=[load_public_key(path) for path in voter or []],
                progress=progress,
            )
        for other, sample in made.result.unseen:
            current().note(
                f"sample {sample} of {other[:12]}… differs, but nobody showed it: open the round with more --openings"
            )
        for sample, reason in made.result.failed:
            current().note(f"a sequence claimed for sample {sample} could not be replayed: {reason}")
        return _replayed(made)


def _replayed(made: WrittenReplay) -> Result:
    told = {"unseen": len(made.result.unseen), "failed": len(made.result.failed)}
    if made.written is None:
        line = "Nothing to replay: what the votes show is equal to this verifier's tokens, or far from them."
        return Result({"output": None, "claims": 0, **told}, [line], verdict="done")
    claims, output = made.written.message.claims, made.written.path
    worst = max(one.worst_margin for one in claims)
    line = f"Replayed {len(claims)} sequence(s), worst margin {worst:.3g} logits: {plain(str(output))}"
    found = {"output": str(output), "replay": made.written.id, "claims": len(claims), "worst_margin": worst, **told}
    return Result(found, [line], verdict="done")
