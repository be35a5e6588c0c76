"""``consensus``: the decision of a round, and its report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from verifai.cli.frame import Result, current, plain, verb
from verifai.cli.text import finding_lines
from verifai.domain.findings import STATUS, worst
from verifai.errors import EvidenceRejected, UsageError

if TYPE_CHECKING:
    from verifai.domain.attestation import Attestation
    from verifai.domain.trust_keys import PublicKey
    from verifai.stages.consensus import Claim, ConsensusRequest, ConsensusResult


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @verb(
        app,
        "consensus",
        example="verifai consensus round.json tolerance.json a.commitment.json b.commitment.json c.commitment.json a.vote.json "
        "b.vote.json c.vote.json --beacon beacon.json --voter a.key.pub --voter b.key.pub --voter c.key.pub "
        "--report html=votes.html",
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
            Path | None, typer.Option("--claim", help="Outputs whose place is asked for (.npz or .json).", metavar="FILE")
        ] = None,
        late: Annotated[list[Path] | None, typer.Option("--late", help="A message that came after its deadline.")] = None,
        history: Annotated[list[Path] | None, typer.Option("--history", help="A past decision, for reputation.")] = None,
        canary: Annotated[
            list[Path] | None, typer.Option("--canary", help="A past decision whose claim was the known answer.")
        ] = None,
        report: Annotated[
            list[str] | None, typer.Option("--report", help="html=PATH or json=PATH.", metavar="FORMAT=PATH")
        ] = None,
        output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the decision as an attestation.")] = None,
        key: Annotated[Path | None, typer.Option("--key", help="Private key that signs the decision.")] = None,
    ) -> Result:
        """Decide whether the verifiers agree: 0 agreed, 1 dissent, 3 too few votes, 4 cannot tell.

        Names every verifier that failed, lied, copied, replayed, voted twice or came late, and says how far each answer is from
        the common one and which attack that looks like.
        """
        from verifai.stages.consensus import decide

        targets = _targets(report or [])
        request = _request(messages, beacon, voter, coordinator, claim, late or [])
        if history or canary:
            request = replace(request, weights=_weights(history or [], canary or []))
        result = decide(request)
        if output is not None:
            _write_decision(output, key, request, result)
        _write_reports(targets, request, result)
        return _render(request, result)


def _request(
    messages: Sequence[Path],
    beacon: Path,
    voter: Sequence[Path],
    coordinator: Path | None,
    claim: Path | None,
    late: Sequence[Path],
) -> ConsensusRequest:
    from verifai.bundle.keys import load_public_key
    from verifai.cli.votes_run import read_attestation
    from verifai.consensus.files import read_beacon
    from verifai.domain.calibration import Calibration
    from verifai.domain.round import RoundTerms
    from verifai.domain.vote import Vote, VoteCommitment
    from verifai.domain.vote_replay import VoteReplay
    from verifai.stages.consensus import ConsensusRequest

    found: dict[type, list[Attestation]] = {kind: [] for kind in (RoundTerms, Calibration, VoteCommitment, Vote, VoteReplay)}
    for path in messages:
        one, predicate = read_attestation(path, object)
        kind = type(predicate)
        if kind not in found:
            raise UsageError("bad-option", f"a {one.predicate.TYPE} is no message of a round", where=str(path))
        found[kind].append(one)
    terms = _one(found[RoundTerms], "the round's terms")
    assert isinstance(terms.predicate, RoundTerms)
    calibration = None
    wanted = terms.predicate.job.calibration
    for one in found[Calibration]:
        if one.id == wanted:
            calibration = one
    keys: dict[str, PublicKey] = {key.keyid: key for key in map(load_public_key, voter)}
    _check_coordinator(coordinator, [terms, *([calibration] if calibration is not None else [])])
    return ConsensusRequest(
        terms=terms.predicate,
        terms_id=terms.id,
        commitments=found[VoteCommitment],
        beacon=read_beacon(beacon),
        votes=found[Vote],
        keys=keys,
        calibration=calibration.predicate
        if calibration is not None and isinstance(calibration.predicate, Calibration)
        else None,
        now=datetime.now(UTC),
        replays=found[VoteReplay],
        late=frozenset(read_attestation(path, object)[0].id for path in late),
        claim=_claim(claim, terms.predicate),
    )


def _weights(history: Sequence[Path], canaries: Sequence[Path]) -> Mapping[str, float]:
    from verifai.cli.votes_run import read_attestation
    from verifai.domain.reputation_history import weights_from
    from verifai.domain.tally_decision import ConsensusDecision

    current().note("Reputation rests on the decisions given; check their signatures with verifai audit.")
    past, known = ([read_attestation(path, ConsensusDecision)[1] for path in paths] for paths in (history, canaries))
    return weights_from(past, known)


def _one(found: Sequence[Attestation], what: str) -> Attestation:
    if len({one.id for one in found}) != 1:
        raise UsageError("bad-option", f"{what}: {len(found)} were given, exactly one is needed")
    return found[0]


def _check_coordinator(path: Path | None, signed: Sequence[Attestation]) -> None:
    from verifai.bundle.dsse import check_signatures
    from verifai.bundle.keys import load_public_key

    if path is None:
        current().note(
            "No --coordinator: anybody may have written these terms and this tolerance. Read them before you rely on them."
        )
        return
    key = load_public_key(path)
    for one in signed:
        if key not in check_signatures(one.envelope, [key], where=one.id).signers:
            raise EvidenceRejected(
                "terms-not-signed", "the coordinator did not sign it", where=f"{one.predicate.TYPE} {one.id[:12]}"
            )


def _claim(path: Path | None, terms: Any) -> Claim | None:
    from verifai.consensus.files import read_outputs
    from verifai.domain.digest import sha256
    from verifai.fingerprints.output import encode_output
    from verifai.stages.consensus import Claim

    if path is None:
        return None
    outputs = tuple(dict(one) for one in read_outputs(path, terms.job.subject.kind))
    return Claim(sha256(b"".join(encode_output(one) for one in outputs)), outputs)


def _targets(reports: Sequence[str]) -> list[tuple[str, Path]]:
    found = []
    for one in reports:
        kind, equals, path = one.partition("=")
        if kind not in ("html", "json") or not equals or not path:
            raise UsageError("bad-option", f"{one!r} is not html=PATH or json=PATH", where="--report")
        found.append((kind, Path(path)))
    return found


def _write_decision(output: Path, key: Path | None, request: ConsensusRequest, result: ConsensusResult) -> None:
    from verifai.bundle.keys import load_signer
    from verifai.cli.votes_run import write_attestation

    signers = [] if key is None else [load_signer(key)]
    write_attestation(output, result.decision, request.terms.job.subject, signers)


def _write_reports(targets: Sequence[tuple[str, Path]], request: ConsensusRequest, result: ConsensusResult) -> None:
    import json

    from verifai.execution.files import write_atomic

    for kind, path in targets:
        data = _page(request, result) if kind == "html" else json.dumps(_document(result), indent=2).encode()
        write_atomic(path, data)


def _page(request: ConsensusRequest, result: ConsensusResult) -> bytes:
    from verifai.reports.html_consensus import Band, ConsensusPage, NodeRow, render_consensus, short_names

    calibration, tau = request.calibration, result.tau
    names = short_names([*request.terms.voters, *(one.voter for one in result.decision.faults)])
    honest: tuple[Band, ...] = ()
    attacks: tuple[Band, ...] = ()
    if calibration is not None and tau:
        honest = tuple(Band(one.environment, 0.0, one.largest / tau) for one in calibration.honest)
        attacks = tuple(Band(one.name, one.low / tau, one.high / tau) for one in calibration.attacks)
    nodes = tuple(
        NodeRow(
            names[one.voter],
            one.relation.value,
            one.ratio,
            one.voter == result.tally.centre,
            f"looks like {one.looks_like}" if one.looks_like else "",
        )
        for one in result.nodes
    )
    faults = tuple((names[one.voter], f"{one.fault.value}: {one.detail}") for one in result.decision.faults)
    facts = [
        ("model", request.terms.job.subject.model_sha256),
        ("output", f"{request.terms.job.subject.kind.value}, {request.terms.job.subject.precision.value}"),
        ("round", request.terms_id),
        ("seed", result.decision.seed),
        ("samples", str(request.terms.job.samples)),
    ]
    if tau:
        facts.append(("limit τ", f"{tau:.3g}"))
    if calibration is not None:
        facts.append(("honest inputs rejected at most (95 %)", f"{calibration.false_reject_high:.2g}"))
    if result.decision.claim_relation:
        facts.append(("claimed output", result.decision.claim_relation))
    return render_consensus(
        ConsensusPage(result.tally.outcome.value, result.tally.reason, nodes, honest, attacks, faults, tuple(facts))
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


def _render(request: ConsensusRequest, result: ConsensusResult) -> Result:
    word = {"accept": "[bold green]ACCEPTED[/]", "reject": "[bold red]REJECTED[/]"}
    label = word.get(result.tally.outcome.value, f"[bold yellow]{result.tally.outcome.value.upper()}[/]")
    lines = [f"{label} {plain(result.tally.reason)}", *finding_lines(result.findings)]
    if result.tally.weighted is not None:
        told = f"{result.tally.weighted.support:.0%} of the weight agrees, {result.tally.weighted.needed:.0%} would be needed"
        lines.append(f"   by reputation, beside the result: {told}")
    for one in result.nodes:
        place = "centre" if one.voter == result.tally.centre else f"{one.ratio:.3g} τ"
        lines.append(f"   {one.voter[:12]}…  {one.relation.value:<13} {place}")
    status = STATUS[worst(result.findings)]
    return Result(_document(result), lines, result.findings, status)
