"""open: a model, inputs and verifiers → the signed terms of a round, fixed before anybody commits."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from verifai.domain.consensus.calibration import Calibration
from verifai.domain.consensus.job import NO_CALIBRATION
from verifai.domain.consensus.round import MAX_SOURCE, BeaconRule, RoundTerms
from verifai.domain.digest import Sha256, sha256
from verifai.domain.trust_keys import PublicKey, Signer
from verifai.domain.unicode_14 import is_printable
from verifai.domain.utc_time import format_utc
from verifai.errors import EvidenceRejected, UsageError
from verifai.stages.consensus.beacon import require_late_enough
from verifai.stages.consensus.messages import WrittenMessage, read_attestation, write_message
from verifai.stages.consensus.subject import SubjectOptions, read_inputs, read_model, subject_of
from verifai.stages.consensus.vote import make_job


@dataclass(frozen=True, slots=True)
class RoundOptions:
    """What whoever calls a round decides.

    Attributes:
        voters: keys of the verifiers who are asked, at least 2f + 1.
        beacon: which public randomness will be used; it must not exist yet.
        tolerated_faults: f: how many verifiers may fail or lie.
        samples_beyond: how many samples may lie beyond the tolerance.
        openings: how many outputs the seed picks to be shown in full.
        time: to commit, from now; and again to reveal.
    """

    voters: Sequence[PublicKey]
    beacon: BeaconRule
    tolerated_faults: int = 1
    samples_beyond: int = 0
    openings: int = 1
    time: timedelta = timedelta(minutes=60)


def open_round(
    model: Path,
    data: Path,
    about: Path | SubjectOptions,
    options: RoundOptions,
    output: Path,
    *,
    signers: Sequence[Signer] = (),
) -> WrittenMessage[RoundTerms]:
    """Write the terms of a round to ``output``; its identifier names the round.

    Args:
        data: the inputs to vote on.
        about: a calibration's file, which also says what is voted on; or, for outputs that need no tolerance, how they are.

    Raises:
        UsageError: ``file-exists``, ``file-missing``; ``job-model``, when the calibration is for another model;
            ``calibration-missing``, when such outputs need one; ``round-too-small``, ``fingerprint-parameters``.
        UnsupportedModel, InputRejected: from the runner.
        EvidenceRejected: the calibration is malformed.
    """
    if not 0 < len(options.beacon.source) <= MAX_SOURCE or not is_printable(options.beacon.source):
        message = f"{options.beacon.source[:80]!r} cannot be the name of a beacon"
        hint = f"Give printable text of at most {MAX_SOURCE} characters."
        raise UsageError("bad-option", message, where="--beacon-source", hint=hint)
    now = datetime.now(UTC)
    content = read_model(model)
    calibration: Sha256 = NO_CALIBRATION
    if isinstance(about, Path):
        found, predicate = read_attestation(about, Calibration)
        calibration, subject = found.id, predicate.subject
        if subject.model_sha256 != sha256(content):
            raise UsageError("job-model", "the calibration is for another model", where=str(about))
    else:
        subject = subject_of(content, about)
    job = make_job(subject, read_inputs(data, content, subject.runtime), calibration)
    terms = RoundTerms(
        job,
        tuple(sorted({key.keyid for key in options.voters})),
        options.tolerated_faults,
        options.samples_beyond,
        options.openings,
        options.beacon,
        secrets.token_hex(16),
        format_utc(now + options.time),
        format_utc(now + 2 * options.time),
    )
    try:
        require_late_enough(terms)
    except EvidenceRejected as problem:
        hint = "Name a number that comes out after the last commitment is due, or see: `verifai round init --help`"
        raise UsageError("bad-beacon", problem.message, where="--beacon-number", hint=hint) from None
    return write_message(output, terms, job.subject, signers)
