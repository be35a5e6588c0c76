"""What the voting verbs do once their options are parsed: read files, call one stage, write one attestation."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from verifai.cli.frame import Result, current, plain
from verifai.domain.consensus.job import NO_CALIBRATION, OutputKind, RuntimeOptions, VoteSubject
from verifai.domain.digest import Sha256, sha256
from verifai.domain.utc_time import format_utc
from verifai.errors import UsageError
from verifai.stages.consensus.messages import read_attestation, subject_of, write_attestation

if TYPE_CHECKING:
    from verifai.domain.findings import Finding
    from verifai.stages.consensus.calibrate import Calibrated, RecordedRuns


def record_now(model: bytes, subject: VoteSubject, data: Path, target: Path, threads: int, limit: int | None) -> int:
    """Run here, for a calibration on another machine."""
    from verifai.consensus.environment import this_environment
    from verifai.consensus.files import RunsFile, read_samples
    from verifai.consensus.runner import VoteRunner
    from verifai.execution.files import write_atomic
    from verifai.fingerprints.output import encode_output

    runner = VoteRunner(model, subject.runtime, threads=threads)
    outputs = runner.run(read_samples(data, runner)[:limit])
    encoded = [encode_output({name: one[name] for name in subject.tensors}) for one in outputs]
    write_atomic(target, RunsFile(this_environment(threads), tuple(encoded)).to_bytes())
    return len(encoded)


def record_proofs_now(
    model: bytes,
    data: Path,
    bundles: tuple[Path, ...],
    lock: Path,
    target: Path,
    tensors: tuple[str, ...],
    limit: int | None,
    allow_test_srs: bool,
) -> Result:
    """Verify proofs and record what they prove, for a calibration that covers proven claims."""
    from verifai.circuit_folder import read_lock
    from verifai.consensus.files import RunsFile, read_samples
    from verifai.consensus.runner import VoteRunner
    from verifai.execution.files import write_atomic
    from verifai.fingerprints.output import encode_output
    from verifai.stages.consensus.record_proofs import record_proofs

    if allow_test_srs:
        current().note("INSECURE: --allow-test-srs accepts proofs that the maker of the test set-up can forge.")
    options = RuntimeOptions()
    subject = subject_of(model, OutputKind.EXACT, None, options, tensors, {}, None)
    samples = read_samples(data, VoteRunner(model, options))[:limit]
    with current().progress() as progress:
        found = record_proofs(
            bundles, read_lock(lock), subject, samples, allow_test_srs=allow_test_srs, progress=progress
        )  # fmt: skip
    encoded = tuple(encode_output(one) for one in found.outputs)
    write_atomic(target, RunsFile(found.environment, encoded, found.proofs).to_bytes())
    lines = [
        f"{len(encoded)} proofs hold, of {plain(found.environment.instruction_set)}: {plain(str(target))}",
        f"Next: verifai calibrate MODEL DATA --proven {plain(str(target))} -o tolerance.json",
    ]
    return Result(
        {"output": str(target), "samples": len(encoded), "circuit": found.environment.to_json(), "proofs": list(found.proofs)},
        lines,
        verdict="done",
    )


def calibrate_now(
    model: bytes,
    subject: VoteSubject,
    data: Path,
    output: Path,
    runs: tuple[Path, ...],
    proven: tuple[Path, ...],
    not_covered: frozenset[str],
    limit: int | None,
    created: datetime,
    expires: datetime,
    signers: list[Any],
) -> Result:
    """Calibrate, write the tolerance, say what it supports."""
    from verifai.consensus.environment import this_environment
    from verifai.consensus.files import read_samples
    from verifai.consensus.portability import check_graph, check_runs
    from verifai.consensus.runner import VoteRunner
    from verifai.stages.consensus.calibrate import CalibrateRequest, calibrate

    samples = read_samples(data, VoteRunner(model, subject.runtime))[:limit]
    portability = (*check_graph(model, subject.runtime, subject.precision), *check_runs(model, subject.runtime, samples))
    for finding in portability:
        if finding.code == "not-portable":
            current().note(f"not portable: {finding.message}. {finding.remedy}")
    with current().progress() as progress:
        found = calibrate(
            CalibrateRequest(
                model,
                subject,
                samples,
                this_environment(1),
                secrets.token_hex(32),
                format_utc(created),
                format_utc(expires),
                tuple(_recorded(path) for path in runs),
                tuple(_recorded(path) for path in proven),
                not_covered,
                progress,
            )
        )
    made = write_attestation(output, found.calibration, found.calibration.subject, signers)
    one = found.calibration
    for note in found.notes:
        current().note(note)
    separation = one.attack_low / max(one.honest_high, 2.0**-22)
    lines = [
        f"Tolerance τ = {one.tau:.3g}: honest runs up to {one.honest_high:.3g}, the weakest attack from {one.attack_low:.3g} "
        f"({separation:.0f} times apart)",
        f"{len(samples)} inputs, {len(one.honest)} environments; "
        f"false rejects below {one.false_reject_high:.2g} at 95 % confidence",
        f"{plain(str(output))}  attestation {made.id[:12]}…, valid until {one.expires}",
    ]
    return Result(_measured(found, output, made.id, portability), lines, verdict="done")


def _measured(found: Calibrated, output: Path, attestation: Sha256, portability: Sequence[Finding]) -> dict[str, Any]:
    """The figures of a calibration for ``--json``."""
    one = found.calibration
    return {
        "output": str(output),
        "attestation": attestation,
        "tau": one.tau,
        "honest_p999": one.honest_high,
        "attack_p001": one.attack_low,
        "false_reject_upper_95": one.false_reject_high,
        "notes": list(found.notes),
        "attacks": {
            attack.name: {"p001": attack.low, "median": attack.median, "accepted": attack.accepted} for attack in one.attacks
        },
        "environments": {runs_.environment: {"p999": runs_.high, "max": runs_.largest} for runs_ in one.honest},
        "portability": [finding.to_json() for finding in portability],
    }


def open_round(
    model: bytes,
    data: Path,
    output: Path,
    *,
    voters: tuple[Path, ...],
    calibration: Path | None,
    kind: OutputKind | None,
    parameters: Mapping[str, int | str],
    tolerate: int,
    samples_beyond: int,
    openings: int,
    beacon: tuple[str, int],
    nonce: str,
    deadlines: tuple[datetime, datetime],
    signers: list[Any],
) -> Result:
    """Write the terms."""
    from verifai.bundle.keys import load_public_key
    from verifai.consensus.files import read_samples
    from verifai.consensus.runner import VoteRunner
    from verifai.domain.consensus.calibration import Calibration
    from verifai.domain.consensus.round import BeaconRule, RoundTerms
    from verifai.stages.consensus.vote import make_job

    identifier: Sha256 = NO_CALIBRATION
    if calibration is not None:
        found, predicate = read_attestation(calibration, Calibration)
        identifier, subject = found.id, predicate.subject
        if subject.model_sha256 != sha256(model):
            raise UsageError("job-model", "the calibration is for another model", where=str(calibration))
    else:
        subject = subject_of(model, kind or OutputKind.EXACT, None, RuntimeOptions(), (), parameters, None)
    samples = read_samples(data, VoteRunner(model, subject.runtime))
    job = make_job(subject, samples, identifier)
    keyids = sorted({load_public_key(path).keyid for path in voters})
    terms = RoundTerms(
        job, tuple(keyids), tolerate, samples_beyond, openings, BeaconRule(*beacon), nonce,
        format_utc(deadlines[0]), format_utc(deadlines[1]),
    )  # fmt: skip
    made = write_attestation(output, terms, job.subject, signers)
    lines = [
        f"Round {made.id[:12]}… asks {len(keyids)} verifiers about {job.samples} sample(s), tolerating {tolerate} faulty",
        f"{plain(str(output))}: send it to the verifiers. Commit by {terms.commit_by}, reveal by {terms.reveal_by}.",
    ]
    return Result({"output": str(output), "round": made.id, "job": job.id, "voters": keyids}, lines, verdict="done")


def commit_now(
    round_: Path,
    model: Path,
    data: Path,
    key: Path,
    output: Path,
    secret: Path,
    outputs: Path | None,
    deadline: float | None,
    threads: int,
) -> Result:
    """Run, commit, keep the secret."""
    from verifai.bundle.keys import load_signer
    from verifai.consensus.environment import this_environment
    from verifai.consensus.files import read_outputs, read_samples
    from verifai.consensus.runner import VoteRunner
    from verifai.domain.consensus.round import RoundTerms
    from verifai.execution.child import Limits
    from verifai.execution.files import read_limited, write_atomic
    from verifai.stages.consensus.process import run_apart
    from verifai.stages.consensus.vote import commit_vote, require_inputs

    found, terms = read_attestation(round_, RoundTerms)
    signer = load_signer(key)
    if output.exists() or secret.exists():
        raise UsageError("file-exists", "the output exists already", where=str(output if output.exists() else secret))
    content = read_limited(model, limit=1 << 31)
    if sha256(content) != terms.job.subject.model_sha256:
        raise UsageError("job-model", "the model is not the one that the round names", where=str(model))
    samples = require_inputs(terms.job, read_samples(data, VoteRunner(content, terms.job.subject.runtime)))
    if outputs is not None:
        given: Any = read_outputs(outputs, terms.job.subject.kind, terms.job.subject.tensors)
    else:
        given = run_apart(model, terms.job, samples, threads=threads, limits=Limits(wall_seconds=deadline))
    message, kept = commit_vote(terms, found.id, given, signer.public_key.keyid, this_environment(threads))
    write_atomic(secret, kept.to_bytes(), mode=0o600)
    made = write_attestation(output, message, terms.job.subject, [signer])
    lines = [
        f"Committed as {message.voter[:12]}… in round {found.id[:12]}…: {plain(str(output))}",
        f"{plain(str(secret))}: keep it private until the beacon is out, then run verifai vote-reveal.",
    ]
    return Result(
        {"output": str(output), "secret": str(secret), "commitment": made.id, "voter": message.voter}, lines, verdict="done"
    )


def reveal_now(round_: Path, commitments: tuple[Path, ...], beacon: Path, secret: Path, key: Path, output: Path) -> Result:
    """Draw the seed and show the vote."""
    from verifai.bundle.keys import load_signer
    from verifai.consensus.files import read_beacon
    from verifai.domain.consensus.round import RoundTerms
    from verifai.domain.consensus.vote import VoteCommitment
    from verifai.execution.files import read_limited
    from verifai.stages.consensus.vote import VoteSecret, reveal_vote

    found, terms = read_attestation(round_, RoundTerms)
    kept = VoteSecret.from_bytes(read_limited(secret, limit=1 << 30), str(secret))
    signer = load_signer(key)
    if kept.round != found.id or kept.voter != signer.public_key.keyid:
        raise UsageError("bad-secret", "the secret is of another round or another key", where=str(secret))
    messages = [read_attestation(path, VoteCommitment) for path in commitments]
    vote = reveal_vote(terms, kept, {one.id: predicate for one, predicate in messages}, read_beacon(beacon))
    made = write_attestation(output, vote, terms.job.subject, [signer])
    lines = [f"Voted as {vote.voter[:12]}… with seed {vote.seed[:12]}… from {len(messages)} commitments: {plain(str(output))}"]
    return Result({"output": str(output), "vote": made.id, "seed": vote.seed, "voter": vote.voter}, lines, verdict="done")


def replay_now(
    round_: Path,
    model: Path,
    data: Path,
    votes: tuple[Path, ...],
    key: Path,
    output: Path,
    shown: Path | None,
    token_input: str,
    deadline: float | None,
    threads: int,
) -> Result:
    """Replay the others' tokens."""
    from verifai.bundle.keys import load_signer
    from verifai.consensus.files import read_outputs, read_samples
    from verifai.consensus.runner import VoteRunner
    from verifai.domain.consensus.round import RoundTerms
    from verifai.domain.consensus.vote import Vote
    from verifai.execution.child import Limits
    from verifai.execution.files import read_limited
    from verifai.stages.consensus.process import run_apart
    from verifai.stages.consensus.replay import replay_votes
    from verifai.stages.consensus.vote import require_inputs

    found, terms = read_attestation(round_, RoundTerms)
    signer = load_signer(key)
    if output.exists():
        raise UsageError("file-exists", "the output exists already", where=str(output))
    content = read_limited(model, limit=1 << 31)
    if sha256(content) != terms.job.subject.model_sha256:
        raise UsageError("job-model", "the model is not the one that the round names", where=str(model))
    samples = require_inputs(terms.job, read_samples(data, VoteRunner(content, terms.job.subject.runtime)))
    messages = [read_attestation(path, Vote) for path in votes]
    own = [(one.id, vote) for one, vote in messages if vote.voter == signer.public_key.keyid]
    if len({identifier for identifier, _ in own}) != 1:
        raise UsageError("bad-option", f"{len(own)} of the votes are by this key, exactly one must be", where="--key")
    result = replay_votes(
        terms,
        found.id,
        own[0],
        [vote for _, vote in messages if vote.voter != signer.public_key.keyid],
        samples,
        lambda job, fed: run_apart(model, job, fed, threads=threads, limits=Limits(wall_seconds=deadline)),
        shown=() if shown is None else read_outputs(shown, OutputKind.TOKENS),
        token_input=token_input,
    )
    for voter, sample in result.unseen:
        current().note(f"sample {sample} of {voter[:12]}… differs, but nobody showed it: open the round with more --openings")
    for sample, reason in result.failed:
        current().note(f"a sequence claimed for sample {sample} could not be replayed: {reason}")
    told = {"unseen": len(result.unseen), "failed": len(result.failed)}
    if result.replay is None:
        line = "Nothing to replay: what the votes show is equal to this verifier's tokens, or far from them."
        return Result({"output": None, "claims": 0, **told}, [line], verdict="done")
    made = write_attestation(output, result.replay, terms.job.subject, [signer])
    claims = result.replay.claims
    worst = max(one.worst_margin for one in claims)
    line = f"Replayed {len(claims)} sequence(s), worst margin {worst:.3g} logits: {plain(str(output))}"
    data_out = {"output": str(output), "replay": made.id, "claims": len(claims), "worst_margin": worst, **told}
    return Result(data_out, [line], verdict="done")


def _recorded(path: Path) -> RecordedRuns:
    from verifai.consensus.files import read_runs
    from verifai.fingerprints.output import decode_output
    from verifai.stages.consensus.calibrate import RecordedRuns

    found = read_runs(path)
    return RecordedRuns(found.environment, tuple(decode_output(one, str(path)) for one in found.outputs))
