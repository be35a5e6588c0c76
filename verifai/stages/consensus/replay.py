"""vote-replay: a verifier feeds the token sequences that other verifiers claim to its own model, after the reveals.

Two sequences that differ agree only when each side's model finds the other's tokens nearly as good as its own, so a replay is
made of every sequence that is neither equal to one's own nor far from it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifai.consensus.runner import Tensors
from verifai.domain.consensus.job import Job, OutputKind
from verifai.domain.consensus.round import RoundTerms, sample_seed
from verifai.domain.consensus.tally import Relation
from verifai.domain.consensus.vote import Vote
from verifai.domain.consensus.vote_replay import VoteReplay
from verifai.domain.digest import Sha256
from verifai.errors import EvidenceRejected, Undecided, UsageError, VerifaiError
from verifai.fingerprints.output import Output, decode_output
from verifai.fingerprints.registry import fingerprint_for
from verifai.fingerprints.tokens import read_tokens
from verifai.stages.consensus.vote import fingerprint_for_tokens_digest, replay_claims

Execute = Callable[[Job, Sequence[Tensors]], Sequence[Output]]
"""Runs the model, in a process of its own, on samples that need not be the job's."""

_MASK, _POSITIONS = "attention_mask", "position_ids"
_FORBIDDEN_STATUS = (70, 130)


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """What was replayed.

    Attributes:
        replay: ``None`` when nothing had to be replayed.
        unseen: (voter, sample) of sequences that differ, but were not shown; the seed picks which are.
        failed: samples of claimed sequences that the model could not run, with the reason.
    """

    replay: VoteReplay | None
    unseen: tuple[tuple[str, int], ...]
    failed: tuple[tuple[int, str], ...]


def replay_votes(
    terms: RoundTerms,
    round_id: Sha256,
    own: tuple[Sha256, Vote],
    others: Sequence[Vote],
    samples: Sequence[Tensors],
    execute: Execute,
    *,
    shown: Sequence[Output] = (),
    token_input: str = "",
) -> ReplayResult:
    """Replay what the votes of ``others`` claim.

    A claimed sequence is known by its seeded digest, so it does not matter who shows it.

    Args:
        own: this verifier's vote and its identifier.
        samples: known to be the job's prompts.
        shown: sequences that were exchanged beside the votes, in any order.
        token_input: the model input that takes the tokens; may be empty when there is one integer input besides the mask and
            the positions.

    Raises:
        UsageError: ``replay-input``; ``replay-kind``, when the round is not about tokens.
        EvidenceRejected: ``seed-mismatch``, for a vote of another round; ``output-unfit``, when the model gives no logits.
        Undecided: ``replay-failed``, when the model could run none of the claimed sequences.
    """
    if terms.job.subject.kind is not OutputKind.TOKENS:
        raise UsageError(
            "replay-kind", f"the round is about {terms.job.subject.kind.value}, and only tokens are replayed", where="kind"
        )
    for one in (own[1], *others):
        if one.round != round_id or one.seed != own[1].seed or len(one.fingerprints) != terms.job.samples:
            raise EvidenceRejected("seed-mismatch", "a vote is not of this round and seed", where=one.voter)
    claims, unseen = _claims(terms, own[1], others, shown)
    if not claims:
        return ReplayResult(None, unseen, ())
    name = _token_input(samples[0], token_input)
    rows, failed = [], []
    for index, claimed, logits in _run(terms.job, samples, claims, name, execute):
        if isinstance(logits, VerifaiError):
            failed.append((index, logits.message))
        else:
            rows.append((index, claimed, logits))
    if not rows:
        raise Undecided("replay-failed", f"none of {len(claims)} claimed sequences could be run: {failed[0][1]}")
    return ReplayResult(replay_claims(own[0], own[1], rows), unseen, tuple(failed))


def _claims(
    terms: RoundTerms, own: Vote, others: Sequence[Vote], shown: Sequence[Output]
) -> tuple[list[tuple[int, Output]], tuple[tuple[str, int], ...]]:
    """(sample, sequence) of everything that only a replay can decide, each once; and what was not shown."""
    fingerprint, parameters = fingerprint_for(OutputKind.TOKENS), terms.job.subject.parameters
    claims: dict[tuple[int, str], Output] = {}
    unseen = []
    for vote in others:
        openings = {one.index: one.output for one in vote.openings}
        for index, code in enumerate(vote.fingerprints):
            if fingerprint.compare(own.fingerprints[index], code, 0.0, parameters).relation is not Relation.INDETERMINATE:
                continue
            digest = code[:32].hex()
            candidates = [decode_output(openings[index], vote.voter)] if index in openings else []
            found = _by_digest([*candidates, *shown], digest, sample_seed(own.seed, index))
            if found is None:
                unseen.append((vote.voter, index))
            else:
                claims[index, digest] = found
    return [(index, output) for (index, _), output in claims.items()], tuple(unseen)


def _by_digest(candidates: Sequence[Output], digest: str, seed: bytes) -> Output | None:
    return next((one for one in candidates if fingerprint_for_tokens_digest(one, seed) == digest), None)


def _token_input(sample: Tensors, wanted: str) -> str:
    if wanted and wanted not in sample:
        raise UsageError(
            "replay-input", f"the model has no input {wanted!r}", where="--token-input", hint="It has: " + ", ".join(sample)
        )
    fitting = [
        name
        for name, values in sample.items()
        if name not in (_MASK, _POSITIONS) and values.dtype.kind in "iu" and values.ndim == 2 and values.shape[0] == 1
    ]
    if wanted in fitting:
        return wanted
    if wanted or len(fitting) != 1:
        raise UsageError(
            "replay-input",
            "the tokens go into one integer input of shape (1, length); found " + (", ".join(fitting) or "none"),
            where="--token-input",
        )
    return fitting[0]


def _run(
    job: Job, samples: Sequence[Tensors], claims: Sequence[tuple[int, Output]], name: str, execute: Execute
) -> list[tuple[int, Output, NDArray[Any] | VerifaiError]]:
    """Logits per claim: all at once, or one by one when that fails, so that one bad sequence does not hide the others."""
    # Sequences differ in length, so they cannot share a batch.
    single = replace(job, subject=replace(job.subject, runtime=replace(job.subject.runtime, batch=1)))
    fed = [_extended(samples[index], name, read_tokens(claimed)) for index, claimed in claims]
    try:
        outputs: list[Output | VerifaiError] = list(execute(single, fed))
    except VerifaiError as problem:
        if problem.status in _FORBIDDEN_STATUS:
            raise
        outputs = [_run_one(single, one, execute) for one in fed]
    found: list[tuple[int, Output, NDArray[Any] | VerifaiError]] = []
    for (index, claimed), output in zip(claims, outputs, strict=True):
        if isinstance(output, VerifaiError):
            found.append((index, claimed, output))
            continue
        found.append((index, claimed, _logits(output, samples[index][name].shape[1], read_tokens(claimed))))
    return found


def _run_one(job: Job, sample: Tensors, execute: Execute) -> Output | VerifaiError:
    try:
        return execute(job, [sample])[0]
    except VerifaiError as problem:
        if problem.status in _FORBIDDEN_STATUS:
            raise
        return problem


def _extended(sample: Tensors, name: str, tokens: NDArray[np.int64]) -> Mapping[str, NDArray[Any]]:
    """The prompt, then every claimed token but the last: no claim follows that one."""
    more = tokens[:-1][None]
    fed = dict(sample)
    fed[name] = np.concatenate([sample[name], more.astype(sample[name].dtype)], axis=1)
    if _MASK in fed:
        fed[_MASK] = np.concatenate([fed[_MASK], np.ones(more.shape, fed[_MASK].dtype)], axis=1)
    if _POSITIONS in fed:
        start = fed[_POSITIONS][:, -1:] + 1
        fed[_POSITIONS] = np.concatenate([fed[_POSITIONS], (start + np.arange(more.size)).astype(start.dtype)], axis=1)
    return fed


def _logits(output: Output, prompt: int, tokens: NDArray[np.int64]) -> NDArray[Any] | VerifaiError:
    """Row i is the model's answer to everything before token i."""
    values = output.get("logits") if len(output) != 1 else next(iter(output.values()))
    if values is None or values.ndim != 3 or values.shape[:2] != (1, prompt + tokens.size - 1):
        raise EvidenceRejected(
            "output-unfit",
            "the model gives no logits of shape (1, length, vocabulary)",
            hint="Vote on a model with one such output, or one that is called 'logits'.",
        )
    if tokens.min() < 0 or tokens.max() >= values.shape[2]:  # a runtime may clip such indices instead of refusing them
        return EvidenceRejected("output-unfit", f"a claimed token is outside the vocabulary of {values.shape[2]}")
    rows: NDArray[Any] = values[0, prompt - 1 :]
    return rows
