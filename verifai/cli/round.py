"""``round init``, ``round join`` and ``round close``: a round of voting in a shared folder, nothing carried by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from verifai.bundle.keys import load_public_key, load_signer
from verifai.cli.frame import Result, current, plain, verb
from verifai.cli.report_files import Target, report_targets, write_reports
from verifai.cli.text import finding_lines
from verifai.cli.vote_options import ParameterOption, ThreadsOption, key_names, parameters_of
from verifai.cli.votes_page import votes_page
from verifai.cli.workforce_options import JobsOption, LocalOption, jobs_here
from verifai.domain.consensus.beacons import CHAINS, VOTERS
from verifai.domain.consensus.job import OutputKind
from verifai.domain.findings import STATUS, worst
from verifai.domain.progress import Progress
from verifai.domain.shell import shell
from verifai.domain.spoken import spoken
from verifai.domain.trust_keys import PublicKey, Signer
from verifai.domain.workforce import LOCAL
from verifai.execution.git_branch import GitBranch
from verifai.execution.outputs import Kind
from verifai.stages.consensus.call_round import CallOptions, call_round
from verifai.stages.consensus.round_git import git_branch, keep_bytes
from verifai.stages.consensus.round_voter import RunOptions
from verifai.stages.consensus.shared_round import (
    Attendance,
    JoinedRound,
    close_round,
    is_written,
    join_round,
    remember_names,
    require_private,
    write_closed,
)
from verifai.stages.consensus.subject import SubjectOptions
from verifai.stages.consensus.turns import Turn

FolderArgument = Annotated[Path, typer.Argument(help="The shared folder of the round.", show_default=False)]
StateOption = Annotated[
    Path | None, typer.Option("--state", help="Private folder for what must not be shown; by default in your home.")
]
WaitOption = Annotated[
    float | None,
    typer.Option("--wait", min=0, help="Minutes to wait without anything happening; by default until the round ends."),
]
NamesOption = Annotated[
    list[Path] | None, typer.Option("--voter", help="A voter's public key; its file name becomes the voter's name here.")
]
GitOption = Annotated[
    bool, typer.Option("--git", help="The folder lies in a git working copy: pull and push its branch at every step.")
]
ReportOption = Annotated[
    list[str] | None, typer.Option("--report", help="html=PATH: the result as a page, voters by name.", metavar="FORMAT=PATH")
]
BeaconOption = Annotated[Path | None, typer.Option("--beacon", help="What the beacon published, when it is not the voters.")]


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    _register_init(app)
    _register_join(app)
    _register_close(app)


def _register_init(app: typer.Typer) -> None:
    @verb(
        app,
        "init",
        group="round",
        example="verifai round init together fixtures/digits-cnn/model.onnx fixtures/digits-cnn/calibration.npz "
        "--calibration tolerance.json --voter a.key.pub --voter b.key.pub --voter c.key.pub --key a.key",
    )
    def init(
        folder: Annotated[Path, typer.Argument(help="Folder that all verifiers can write into.", show_default=False)],
        model: Annotated[Path, typer.Argument(help="ONNX model.", show_default=False)],
        data: Annotated[Path, typer.Argument(help="The inputs to vote on, in one file.", show_default=False)],
        voter: Annotated[list[Path], typer.Option("--voter", help="Public key of a verifier who is asked; at least three.")],
        key: Annotated[Path, typer.Option("--key", help="Your private key: you are the coordinator, and may vote too.")],
        calibration: Annotated[Path | None, typer.Option("--calibration", help="From `verifai calibrate`.")] = None,
        kind: Annotated[OutputKind | None, typer.Option("--kind", help="Without a calibration: what the output is.")] = None,
        parameter: ParameterOption = None,
        beacon: Annotated[
            str,
            typer.Option("--beacon", help=f"Where the randomness comes from: {VOTERS}, {', '.join(CHAINS)}, or another name."),
        ] = VOTERS,
        beacon_number: Annotated[
            int, typer.Option("--beacon-number", min=0, max=2**53 - 1, help="Its number; for drand chosen by itself.")
        ] = 0,
        tolerate: Annotated[int, typer.Option("--tolerate", "-f", min=1, max=512, help="Faulty verifiers to tolerate.")] = 1,
        samples_beyond: Annotated[
            int, typer.Option("--samples-beyond", min=0, max=1_000_000, help="Samples that may differ.")
        ] = 0,
        openings: Annotated[
            int, typer.Option("--openings", min=1, max=1_000_000, help="Outputs the seed picks to be shown in full.")
        ] = 1,
        minutes: Annotated[
            int, typer.Option("--minutes", min=1, max=5_256_000, help="Time to commit at most, and again to reveal.")
        ] = 60,
        no_model: Annotated[bool, typer.Option("--no-model", help="Leave the model out: every voter brings it.")] = False,
        git: GitOption = False,
        state: StateOption = None,
    ) -> Result:
        """Open a round in a folder that all verifiers share."""
        signer = load_signer(key)
        voters = [load_public_key(path) for path in voter]
        require_private(state, folder)
        branch = git_branch(folder) if git else None
        if branch is not None:
            branch.pull()
        about: Path | SubjectOptions = calibration or SubjectOptions(
            kind or OutputKind.EXACT, parameters=parameters_of(parameter)
        )
        made = call_round(
            folder,
            model,
            data,
            about,
            CallOptions(
                voters,
                beacon,
                beacon_number,
                tolerate,
                samples_beyond,
                openings,
                timedelta(minutes=minutes),
                share_model=not no_model,
            ),
            signer,
        )
        terms = made.message
        remember_names(folder, state, made.id, key_names(voter, voters))
        if branch is not None:
            keep_bytes(folder)
            branch.push()
        me = signer.public_key
        lines = [
            f"Round {made.id[:12]}… asks {len(terms.voters)} verifiers about {terms.job.samples} sample(s), tolerating "
            f"{tolerate} faulty. Commit by {terms.commit_by}, reveal by {terms.reveal_by}.",
            *_next_commands(folder, key, me.keyid, "join" if me.keyid in terms.voters else "close", state, git=git),
            f"Your fingerprint, if they ask: {spoken(me.keyid)}",
        ]
        data_ = {"folder": str(folder), "round": made.id, "voters": list(terms.voters), "beacon": terms.beacon.source}
        return Result({**data_, "coordinator": me.keyid, "fingerprint": spoken(me.keyid)}, lines, verdict="done")


def _next_commands(folder: Path, key: Path, chair: str, own: str, state: Path | None, *, git: bool) -> list[str]:
    """``state``: as it was given; the names of the voters lie there."""
    option = " --git" if git else ""
    options = option if state is None else f" --state {plain(shell(state))}{option}"
    command = f"verifai round {shell(own)} {plain(shell(folder))} --key {plain(shell(key))}{options}"
    each = f"verifai round join {plain(shell(folder))} --key KEY --coordinator {shell(chair)}{option}"
    return ["Each verifier runs: `" + each + "`", "You run: `" + command + "`"]


def _register_join(app: typer.Typer) -> None:
    @verb(
        app,
        "join",
        group="round",
        example="verifai round join together --key b.key --coordinator a.key.pub --wait 0",
    )
    def join(
        folder: FolderArgument,
        key: Annotated[Path, typer.Option("--key", help="Your private key: one that the coordinator named.")],
        coordinator: Annotated[
            str | None, typer.Option("--coordinator", help="The coordinator's public key, or its fingerprint.")
        ] = None,
        model: Annotated[Path | None, typer.Option("--model", help="Your own copy of the model.")] = None,
        inputs: Annotated[Path | None, typer.Option("--inputs", help="Your own copy of the inputs.")] = None,
        outputs: Annotated[Path | None, typer.Option("--outputs", help="Outputs computed by something else.")] = None,
        beacon: BeaconOption = None,
        deadline: Annotated[float | None, typer.Option("--deadline", min=0.1, help="Seconds the model may run.")] = None,
        threads: ThreadsOption = 1,
        jobs: JobsOption = 1,
        on: LocalOption = LOCAL,
        token_input: Annotated[str, typer.Option("--token-input", help="Model input that takes the tokens.")] = "",
        voter: NamesOption = None,
        output: Annotated[
            Path | None,
            typer.Option("--output", "-o", help="Coordinator: folder for the decision's bundle [FOLDER/decision]."),
            Kind.FOLDER,
        ] = None,
        report: ReportOption = None,
        wait: WaitOption = None,
        git: GitOption = False,
        state: StateOption = None,
    ) -> Result:
        """Vote in a shared round: commit, wait, reveal, and tally for yourself.

        Stop it and run it again as you like. 0 agreed, 1 dissent, 3 too few votes, 4 cannot tell or still waiting.
        """
        processes = jobs_here(jobs, on, "a vote")
        signer = load_signer(key)
        chair: str | PublicKey | None = coordinator
        if coordinator is not None and Path(coordinator).is_file():
            chair = load_public_key(Path(coordinator))
        targets = report_targets(report or [], ("html",))
        branch = git_branch(folder) if git else None
        with current().progress() as progress:
            joined = join_round(
                folder,
                signer,
                chair,
                options=RunOptions(model, inputs, outputs, beacon, deadline, threads, processes, token_input),
                attendance=_attendance(progress, state, voter, wait, branch),
            )
        return _reported(_told(joined, folder, signer, output, branch), joined, targets)


def _register_close(app: typer.Typer) -> None:
    @verb(
        app,
        "close",
        group="round",
        example="verifai round close together --key a.key --wait 0",
    )
    def close(
        folder: FolderArgument,
        key: Annotated[Path, typer.Option("--key", help="The private key that opened the round.")],
        beacon: BeaconOption = None,
        voter: NamesOption = None,
        output: Annotated[
            Path | None, typer.Option("--output", "-o", help="Folder for the decision's bundle [FOLDER/decision]."), Kind.FOLDER
        ] = None,
        report: ReportOption = None,
        wait: WaitOption = None,
        git: GitOption = False,
        state: StateOption = None,
    ) -> Result:
        """Keep a shared round going without voting in it, then decide it and sign the decision.

        Run it at once after `round init`: it closes the lists.
        0 agreed, 1 dissent, 3 too few votes, 4 cannot tell or still waiting.
        """
        signer = load_signer(key)
        targets = report_targets(report or [], ("html",))
        branch = git_branch(folder) if git else None
        with current().progress() as progress:
            attendance = _attendance(progress, state, voter, wait, branch)
            joined = close_round(folder, signer, beacon=beacon, attendance=attendance)
        return _reported(_told(joined, folder, signer, output, branch), joined, targets)


def _attendance(
    progress: Progress, state: Path | None, voter: Sequence[Path] | None, wait: float | None, branch: GitBranch | None
) -> Attendance:
    names = key_names(voter or [], [load_public_key(path) for path in voter or []])
    attendance = Attendance(state, names, None if wait is None else 60 * wait, _tell, progress)
    return attendance if branch is None else replace(attendance, pull=branch.pull, push=branch.push)


def _reported(told: Result, joined: JoinedRound, targets: Sequence[Target]) -> Result:
    room = joined.room
    names = {voter: room.names.get(voter, "") for voter in room.terms.voters}
    return write_reports(
        told, targets, {"html": lambda: votes_page(room.terms, room.id, room.calibration, joined.result, names)}
    )


def _tell(turn: Turn) -> None:
    current().note(str(turn))


def _told(joined: JoinedRound, folder: Path, signer: Signer, output: Path | None, branch: GitBranch | None = None) -> Result:
    room, result = joined.room, joined.result
    word = {"accept": "[bold green]ACCEPTED[/]", "reject": "[bold red]REJECTED[/]"}
    label = word.get(result.tally.outcome.value, f"[bold yellow]{result.tally.outcome.value.upper()}[/]")
    named = [replace(one, where=room.called(one.where)) if one.where in room.keys else one for one in result.findings]
    lines = [f"{label} {plain(result.tally.reason)}", *finding_lines(named)]
    for one in result.nodes:
        place = "centre" if one.voter == result.tally.centre else f"{one.ratio:.3g} τ"
        lines.append(f"   {plain(room.called(one.voter)):<14} {one.relation.value:<13} {place}")
    data = {
        "round": room.id,
        "outcome": result.tally.outcome.value,
        "reason": result.tally.reason,
        "agreeing": sorted(result.decision.agreeing_voters),
        "seed": result.decision.seed,
        "faults": [{"voter": one.voter, "fault": one.fault.value, "detail": one.detail} for one in result.decision.faults],
    }
    target = output or folder / "decision"
    if joined.closed is not None and output is None and is_written(joined, target, signer):
        current().note(f"{target}: is there already, and is left as it is")
    elif joined.closed is not None:
        written = write_closed(joined, target, signer)
        lines.append(f"{plain(str(written.path))}  bundle {written.bundle_id}")
        data |= {"output": str(written.path), "bundle": written.bundle_id}
        if branch is not None:
            branch.push()
    return Result(data, lines, result.findings, STATUS[worst(result.findings)])
