"""take part: a verifier's messages of a round: a commitment, then the vote, then the replay of the others' tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from verifai.consensus.environment import this_environment
from verifai.consensus.files import read_outputs
from verifai.consensus.runner import Tensors
from verifai.domain.consensus.job import NO_CALIBRATION, OutputKind
from verifai.domain.consensus.round import RoundTerms
from verifai.domain.consensus.vote import Vote, VoteCommitment
from verifai.domain.consensus.vote_replay import VoteReplay
from verifai.domain.digest import Sha256, sha256, short
from verifai.domain.progress import SILENT, Progress
from verifai.domain.trust_keys import PublicKey, Signer
from verifai.errors import UsageError
from verifai.execution.child import Limits
from verifai.execution.files import read_limited, write_new
from verifai.fingerprints.output import Output
from verifai.stages.consensus.beacon import read_randomness, require_before_beacon, require_late_enough
from verifai.stages.consensus.messages import Heard, R, WrittenMessage, hear, read_attestation, require_free, write_message
from verifai.stages.consensus.process import run_apart
from verifai.stages.consensus.replay import ReplayResult, replay_votes
from verifai.stages.consensus.subject import read_inputs, read_model
from verifai.stages.consensus.vote import MAX_SECRET_BYTES, VoteSecret, commit_vote, require_inputs, reveal_vote


@dataclass(frozen=True, slots=True)
class WrittenReplay:
    """What a verifier replayed. ``written``: ``None`` when nothing had to be replayed, so that there is no message."""

    result: ReplayResult
    written: WrittenMessage[VoteReplay] | None


def commit_to_round(
    terms: Path,
    model: Path,
    data: Path,
    signer: Signer,
    output: Path,
    secret: Path,
    *,
    outputs: Path | None = None,
    deadline: float | None = None,
    threads: int = 1,
    jobs: int = 1,
    now: datetime | None = None,
) -> WrittenMessage[VoteCommitment]:
    """Run the model in a process of its own and write a commitment to its outputs, which shows nothing of them.

    Args:
        terms: file of the round's terms.
        model, data: the model and the inputs that the terms name.
        signer: this verifier's key; the terms must ask it.
        secret: gets what the reveal needs (0600): keep it private until the beacon is out.
        outputs: outputs that something else computed, in place of running the model.
        deadline: seconds that the model may run.
        jobs: processes that run it, each with a part of the samples.
        now: the moment, UTC; by default this one.

    Raises:
        UsageError: ``file-exists``, ``file-missing``, ``job-model``, ``not-asked``.
        PolicyNotMet: ``round-late``: the drand number is out, so whoever commits now knows the seed.
        InputRejected: ``job-input`` and those of reading inputs; an output that is not of the job's kind.
        EvidenceRejected: the terms are malformed; ``beacon-early``.
        Undecided: the model's process died or reached a limit.
    """
    found, agreed = read_attestation(terms, RoundTerms)
    require_free(output, secret)
    require_late_enough(agreed)
    require_before_beacon(agreed, now or datetime.now(UTC), "this commitment")
    samples = _job_inputs(agreed, model, data)
    given: Sequence[Output]
    if outputs is not None:
        given = read_outputs(outputs, agreed.job.subject.kind, agreed.job.subject.tensors)
    else:
        given = run_apart(model, agreed.job, samples, threads=threads, jobs=jobs, limits=Limits(wall_seconds=deadline))
    message, kept = commit_vote(agreed, found.id, given, signer.public_key.keyid, this_environment(threads))
    write_new(secret, kept.to_bytes(), mode=0o600)
    try:
        return write_message(output, message, agreed.job.subject, [signer])
    except BaseException:  # a secret of a commitment that nobody has would only stand in the way of the next try
        secret.unlink(missing_ok=True)
        raise


def reveal_to_round(
    terms: Path,
    commitments: Sequence[Path],
    beacon: Path,
    secret: Path,
    signer: Signer,
    output: Path,
    *,
    voters: Sequence[PublicKey] = (),
    progress: Progress = SILENT,
) -> WrittenMessage[Vote]:
    """Draw the seed from all commitments and the beacon, and write the vote: fingerprints, and the outputs that the seed picks.

    Args:
        commitments: every commitment of the round, this verifier's own included.
        beacon: file of the published randomness.
        secret: from :func:`commit_to_round`.
        voters: keys of the verifiers who are asked, from outside the messages. Whoever can add a commitment that its verifier
            did not sign would change the seed, and so make this vote count for nothing.
        progress: is told what has no effect, and why.

    Raises:
        UsageError: ``file-exists``, ``file-missing``, ``bad-beacon``; ``bad-secret``, also for one of another round or key;
            ``doubtful-message``.
        EvidenceRejected: ``beacon-mismatch``, ``seed-mismatch``.
    """
    require_free(output)
    found, agreed = read_attestation(terms, RoundTerms)
    kept = VoteSecret.from_bytes(read_limited(secret, limit=MAX_SECRET_BYTES), str(secret))
    if kept.round != found.id or kept.voter != signer.public_key.keyid:
        raise UsageError("bad-secret", "the secret is of another round or another key", where=str(secret))
    heard = hear(commitments, VoteCommitment, agreed, found.id, _keys(voters, signer))
    _tell(heard, progress)
    messages = {one.id: message for one, message in heard.messages}
    counted = _of_the_runtime(messages, agreed, signer.public_key.keyid, progress)
    vote = reveal_vote(agreed, kept, counted, read_randomness(beacon, agreed, found.id)[0])
    return write_message(output, vote, agreed.job.subject, [signer])


def _keys(voters: Sequence[PublicKey], signer: Signer) -> Mapping[str, PublicKey]:
    return {key.keyid: key for key in (*voters, signer.public_key)}


def _tell(heard: Heard[R], progress: Progress) -> None:
    for one in heard.ignored:
        progress.note(f"No effect: {one}")
    if heard.unchecked:
        names = ", ".join(sorted(short(one) for one in heard.unchecked))
        progress.note(f"Nobody checked who signed the messages of {names}: give their public keys (--voter).")


def _of_the_runtime(
    messages: Mapping[Sha256, VoteCommitment], terms: RoundTerms, own: str, progress: Progress
) -> Mapping[Sha256, VoteCommitment]:
    """Without commitments of another runtime: a tolerance holds for one, so a tally leaves them out of the seed."""
    mine = {message.environment.runtime for message in messages.values() if message.voter == own}
    if terms.job.calibration == NO_CALIBRATION or not terms.job.subject.tensors or len(mine) != 1:
        return messages
    counted = {one: message for one, message in messages.items() if message.environment.runtime in mine}
    for identifier in sorted(set(messages) - set(counted)):
        message = messages[identifier]
        progress.note(f"No effect: {short(message.voter)} ran {message.environment.runtime}, the tolerance is for another.")
    return counted


def replay_for_round(
    terms: Path,
    model: Path,
    data: Path,
    votes: Sequence[Path],
    signer: Signer,
    output: Path,
    *,
    shown: Path | None = None,
    token_input: str = "",
    deadline: float | None = None,
    threads: int = 1,
    jobs: int = 1,
    voters: Sequence[PublicKey] = (),
    progress: Progress = SILENT,
) -> WrittenReplay:
    """Feed the tokens that others claim to this verifier's model, and write by how much each loses at worst.

    Args:
        model, data: the model and the prompts that the terms name.
        votes: this verifier's own, and the others'.
        shown: token sequences that were exchanged beside the votes.
        token_input: the model's input that takes the tokens; may be empty when there is only one that can.
        deadline: seconds that each run of the model may take.
        jobs: as in :func:`commit_to_round`.
        voters, progress: as in :func:`reveal_to_round`.

    Raises:
        UsageError: ``file-exists``, ``file-missing``, ``job-model``, ``replay-input``, ``replay-kind``; ``bad-option``, when
            not exactly one of the votes is this verifier's.
        InputRejected: ``job-input`` and those of reading inputs.
        EvidenceRejected: ``seed-mismatch``, ``output-unfit``; a message is malformed.
        Undecided: ``replay-failed``; the model's process died or reached a limit.
    """
    found, agreed = read_attestation(terms, RoundTerms)
    require_free(output)
    samples = _job_inputs(agreed, model, data)
    heard = hear(votes, Vote, agreed, found.id, _keys(voters, signer))
    _tell(heard, progress)
    messages = heard.messages
    own = [(one.id, vote) for one, vote in messages if vote.voter == signer.public_key.keyid]
    if len({identifier for identifier, _ in own}) != 1:
        raise UsageError("bad-option", f"{len(own)} of the votes are by this key, exactly one must be", where="--key")
    result = replay_votes(
        agreed,
        found.id,
        own[0],
        [vote for _, vote in messages if vote.voter != signer.public_key.keyid],
        samples,
        lambda job, fed: run_apart(model, job, fed, threads=threads, jobs=jobs, limits=Limits(wall_seconds=deadline)),
        shown=() if shown is None else read_outputs(shown, OutputKind.TOKENS),
        token_input=token_input,
    )
    written = None if result.replay is None else write_message(output, result.replay, agreed.job.subject, [signer])
    return WrittenReplay(result, written)


def _job_inputs(terms: RoundTerms, model: Path, data: Path) -> Sequence[Tensors]:
    """The round's inputs, once model and inputs are known to be those that the terms name."""
    content = read_model(model)
    if sha256(content) != terms.job.subject.model_sha256:
        raise UsageError("job-model", "the model is not the one that the round names", where=str(model))
    return require_inputs(terms.job, read_inputs(data, content, terms.job.subject.runtime))
