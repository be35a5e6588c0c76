"""``consensus``: the decision of a round, and its report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from verifai.bundle.keys import load_public_key, load_signer
from verifai.bundle.log import check_log_key
from verifai.circuit_folder import read_lock
from verifai.cli.frame import Result, current, plain, verb
from verifai.cli.report_files import not_handed_over, report_targets, write_reports
from verifai.cli.text import finding_lines
from verifai.cli.vote_options import key_names
from verifai.cli.votes_page import votes_page
from verifai.domain.findings import STATUS, worst
from verifai.domain.trust_keys import Signer
from verifai.errors import Undecided, UsageError
from verifai.execution.outputs import Kind
from verifai.reports.html_consensus import voter_names
from verifai.stages.consensus.bundle import WrittenDecision, check_targets, write_decision
from verifai.stages.consensus.decide import ConsensusRequest, ConsensusResult, decide
from verifai.stages.consensus.read_round import ClaimedOutputs, ClaimedProofs, GivenRound, read_round, read_weights
from verifai.trust_file import read_trust

_OUTPUT_SUFFIXES = (".npz", ".json")


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @verb(
        app,
        "consensus",
        example="verifai consensus round.json tolerance.json a.commitment.json b.commitment.json c.commitment.json a.vote.json "
        "b.vote.json c.vote.json --beacon beacon.json --voter a.key.pub --voter b.key.pub --voter c.key.pub "
        "--report html=votes.html -o decision --key signing.key",
    )
    def consensus(
        messages: Annotated[
            list[Path],
            typer.Argument(help="Terms, calibration, commitments, votes, replays, in any order.", show_default=False),
        ],
        beacon: Annotated[Path, typer.Option("--beacon", help="What the beacon published.")],
        voter: Annotated[list[Path], typer.Option("--voter", help="Public key of a verifier you trust to vote; repeatable.")],
        coordinator: Annotated[
            Path | None, typer.Option("--coordinator", help="Public key that must have signed terms and calibration.")
        ] = None,
        claim: Annotated[
            list[Path] | None,
            typer.Option(
                "--claim", help="Proof bundle, one per sample, or a file of outputs (.npz, .json); must be in the ball."
            ),
        ] = None,
        lock: Annotated[
            Path | None, typer.Option("--lock", help="With a proof bundle as claim: circuit.lock that you trust.")
        ] = None,
        inputs: Annotated[
            Path | None, typer.Option("--inputs", help="With a proof bundle as claim: the round's inputs.")
        ] = None,
        allow_test_srs: Annotated[
            bool, typer.Option("--allow-test-srs", help="INSECURE: accept a set-up whose maker can forge proofs.")
        ] = False,
        late: Annotated[list[Path] | None, typer.Option("--late", help="A message that came after its deadline.")] = None,
        history: Annotated[list[Path] | None, typer.Option("--history", help="A past decision, for reputation.")] = None,
        canary: Annotated[
            list[Path] | None, typer.Option("--canary", help="A past decision whose claim was the known answer.")
        ] = None,
        history_trust: Annotated[
            Path | None,
            typer.Option(
                "--history-trust", help="Trust file: past decisions must be signed by its role consensus, on its log."
            ),
        ] = None,
        report: Annotated[
            list[str] | None, typer.Option("--report", help="html=PATH or json=PATH.", metavar="FORMAT=PATH")
        ] = None,
        output: Annotated[
            Path | None,
            typer.Option("--output", "-o", help="Folder for a bundle of the decision and all it rests on."),
            Kind.FOLDER,
        ] = None,
        key: Annotated[Path | None, typer.Option("--key", help="Private key that signs decision and bundle.")] = None,
        log: Annotated[
            Path | None, typer.Option("--log", help="Audit log to append decision and votes to, and prove from.")
        ] = None,
        log_key: Annotated[Path | None, typer.Option("--log-key", help="The log's private key.")] = None,
    ) -> Result:
        """Decide whether the verifiers agree: 0 agreed, 1 dissent, 3 too few votes, 4 cannot tell.

        Names every verifier that failed, lied, copied, replayed, voted twice or came late, and says how far each answer is from
        the common one and which attack that looks like.
        """
        if history_trust is not None and not (history or canary):
            raise UsageError("bad-option", "--history-trust goes with --history or --canary")
        targets = report_targets(report or [])
        signers, log_signer = _check_output(output, key, log, log_key)
        claimed = _claimed(claim or [], lock, inputs, allow_test_srs)
        past = [*(history or []), *(canary or [])]
        _note_what_nobody_checks(coordinator, claimed, reputation=bool(past) and history_trust is None)
        keys = [load_public_key(path) for path in voter]
        chair = None if coordinator is None else load_public_key(coordinator)
        with (
            current().progress() as progress,
            read_round(messages, beacon, keys, coordinator=chair, claim=claimed, late=late or [], progress=progress) as given,
        ):
            request = given.request
            if past:
                trust = None if history_trust is None else read_trust(history_trust)
                request = replace(request, weights=read_weights(history or [], canary or [], trust))
            result = decide(request)
            written, lost = None, None
            try:
                written = None if output is None else _write(output, given, request, result, signers, log, log_signer)
            except (Undecided, UsageError) as problem:  # what keeps it from being written makes no dissent into anything else
                lost = problem
        names = key_names(voter, keys)
        shown = _render(result, written, names)
        told = shown if lost is None else not_handed_over(shown, lost)
        return write_reports(
            told,
            targets,
            {
                "html": lambda: votes_page(request.terms, request.terms_id, request.calibration, result, names),
                "json": lambda: json.dumps(_document(result), indent=2).encode(),
            },
        )


def _claimed(
    claims: Sequence[Path], lock: Path | None, inputs: Path | None, allow_test_srs: bool
) -> ClaimedOutputs | ClaimedProofs | None:
    """What ``--claim`` and the options that go with it name."""
    if not claims:
        if lock is not None or inputs is not None or allow_test_srs:
            raise UsageError("bad-option", "--lock, --inputs and --allow-test-srs go with --claim BUNDLE")
        return None
    files = [path for path in claims if path.suffix in _OUTPUT_SUFFIXES and not path.is_dir()]
    if files and len(claims) != 1:
        raise UsageError("bad-option", "one file of outputs, or one proof bundle per sample", where="--claim")
    if files:
        return ClaimedOutputs(files[0])
    if lock is None or inputs is None:
        raise UsageError(
            "bad-option",
            "a proof bundle as claim needs --lock (the circuit.lock that you trust) and --inputs (the round's inputs)",
            where="--claim",
        )
    return ClaimedProofs(tuple(claims), read_lock(lock), inputs, allow_test_srs)


def _note_what_nobody_checks(
    coordinator: Path | None, claimed: ClaimedOutputs | ClaimedProofs | None, *, reputation: bool
) -> None:
    note = current().note
    if coordinator is None:
        note("No --coordinator: anybody may have written these terms and this tolerance. Read them before you rely on them.")
    if isinstance(claimed, ClaimedOutputs):
        note("The claim is a file: nothing says that these outputs were computed. A proof bundle would.")
    if isinstance(claimed, ClaimedProofs) and claimed.allow_test_srs:
        note("INSECURE: --allow-test-srs accepts proofs that the maker of the test set-up can forge.")
    if reputation:
        note("Reputation rests on the decisions given, and nobody checked who made them: give --history-trust.")


def _check_output(
    output: Path | None, key: Path | None, log: Path | None, log_key: Path | None
) -> tuple[list[Signer], Signer | None]:
    if output is None:
        if key is not None or log is not None or log_key is not None:
            raise UsageError("bad-option", "--key, --log and --log-key go with --output", hint="Give -o BUNDLE.")
        return [], None
    check_targets(output, log=log, log_key=log_key is not None)
    if key is None:
        current().note("No --key: the decision is unsigned, so no gate counts it.")
    log_signer = None if log_key is None else load_signer(log_key)
    if log is not None and log_signer is not None:
        check_log_key(log, log_signer)
    return ([] if key is None else [load_signer(key)]), log_signer


def _write(
    output: Path,
    given: GivenRound,
    request: ConsensusRequest,
    result: ConsensusResult,
    signers: Sequence[Signer],
    log: Path | None,
    log_signer: Signer | None,
) -> WrittenDecision:
    return write_decision(
        output,
        given.terms,
        given.calibration,
        request,
        result,
        payload={} if given.claim is None else given.claim.payload,
        signers=signers,
        log=log,
        log_signer=log_signer,
    )


def _document(result: ConsensusResult) -> Mapping[str, Any]:
    weighted = result.tally.weighted
    return {
        "outcome": result.tally.outcome.value,
        "reason": result.tally.reason,
        "tau": result.tau,
        "centre": result.tally.centre,
        "seed": result.decision.seed,
        "agreeing": sorted(result.decision.agreeing_voters),
        "environments": len(result.decision.agreeing_environments),
        "nodes": [
            {
                "voter": one.voter,
                "relation": one.relation.value,
                "ratio": one.ratio,
                "distance": one.distance,
                "samples_beyond": list(one.beyond),
                "looks_like": one.looks_like,
                "differences": list(one.differences),
            }
            for one in result.nodes
        ],
        "faults": [{"voter": one.voter, "fault": one.fault.value, "detail": one.detail} for one in result.decision.faults],
        "weighted": None if weighted is None else {"support": weighted.support, "needed": weighted.needed},
        "claim": result.decision.claim_relation,
    }


def _render(result: ConsensusResult, written: WrittenDecision | None, own_names: Mapping[str, str]) -> Result:
    faulty = [one.voter for one in result.decision.faults]
    called = voter_names([*(one.voter for one in result.nodes), *faulty], own_names)
    named = [replace(one, where=called.get(one.where, one.where)) for one in result.findings]
    word = {"accept": "[bold green]ACCEPTED[/]", "reject": "[bold red]REJECTED[/]"}
    label = word.get(result.tally.outcome.value, f"[bold yellow]{result.tally.outcome.value.upper()}[/]")
    lines = [f"{label} {plain(result.tally.reason)}", *finding_lines(named)]
    if result.tally.weighted is not None:
        told = f"{result.tally.weighted.support:.0%} of the weight agrees, {result.tally.weighted.needed:.0%} would be needed"
        lines.append(f"   by reputation, beside the result: {told}")
    for one in result.nodes:
        place = "centre" if one.voter == result.tally.centre else f"{one.ratio:.3g} τ"
        lines.append(f"   {plain(called[one.voter]):<20}  {one.relation.value:<13} {place}")
    data = dict(_document(result))
    if written is not None:
        lines.append(f"{plain(str(written.path))}  bundle {written.bundle_id}")
        data |= {"output": str(written.path), "bundle": written.bundle_id, "attestation": written.decision_id}
    if written is not None and written.sidecar is not None:
        lines.append(f"{len(written.positions)} attestations and the bundle are on the log; {plain(str(written.sidecar))}")
        data |= {"log": {"positions": dict(written.positions), "sidecar": str(written.sidecar)}}
    status = STATUS[worst(result.findings)]
    return Result(data, lines, result.findings, status)
