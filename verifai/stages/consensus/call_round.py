"""round init: a model, inputs and verifiers → a shared folder from which every verifier can vote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from verifai.bundle.keys import public_pem
from verifai.domain.consensus.beacons import CHAINS, DRAND, DRAND_MARGIN, VOTERS
from verifai.domain.consensus.round import BeaconRule, RoundTerms
from verifai.domain.trust_keys import PublicKey, Signer
from verifai.errors import UsageError
from verifai.execution.files import read_limited
from verifai.execution.scratch import private_directory
from verifai.execution.shared_folder import SharedFolder
from verifai.stages.consensus.messages import WrittenMessage
from verifai.stages.consensus.open_round import RoundOptions, open_round
from verifai.stages.consensus.room import CALIBRATION, COORDINATOR, INPUTS, MODEL, TERMS, key_name
from verifai.stages.consensus.subject import SubjectOptions

_MAX_SHARED = 1 << 31


@dataclass(frozen=True, slots=True)
class CallOptions:
    """What whoever calls a round in a shared folder decides.

    Attributes:
        beacon: ``voters``, ``drand:default``, ``drand:quicknet``, or the name of another source.
        number: of another source; drand's is the first that comes out after the last commitment is due.
        tolerated_faults, samples_beyond, openings, time: as in :class:`RoundOptions`.
        share_model: whether the model is put into the folder too; without it each voter brings its own.
    """

    voters: Sequence[PublicKey]
    beacon: str = VOTERS
    number: int = 0
    tolerated_faults: int = 1
    samples_beyond: int = 0
    openings: int = 1
    time: timedelta = timedelta(minutes=60)
    share_model: bool = True


def call_round(
    folder: Path, model: Path, data: Path, about: Path | SubjectOptions, options: CallOptions, signer: Signer
) -> WrittenMessage[RoundTerms]:
    """Write everything that a voter needs into ``folder``, which is made when it is not there; the terms last.

    Raises:
        UsageError: ``file-exists``, when the folder holds a round already; ``bad-option`` for inputs that are no single file;
            ``bad-beacon``; and those of :func:`open_round`.
        UnsupportedModel, InputRejected, EvidenceRejected: from :func:`open_round`. Undecided: ``disk``.
    """
    inputs = f"inputs{data.suffix.lower()}"
    if inputs not in INPUTS or not data.is_file():
        known = ", ".join(one.removeprefix("inputs") for one in INPUTS)
        raise UsageError("bad-option", "a shared round takes its inputs from one file", where=str(data), hint=f"Known: {known}")
    if options.beacon == VOTERS and options.number:
        raise UsageError("bad-option", "the voters' randomness has no number", where="--beacon-number")
    with private_directory() as scratch:
        path = scratch / TERMS
        asked = RoundOptions(
            options.voters,
            _rule(options),
            options.tolerated_faults,
            options.samples_beyond,
            options.openings,
            options.time,
        )
        made = open_round(model, data, about, asked, path, signers=[signer])
        folder.mkdir(parents=False, exist_ok=True)
        shared = SharedFolder(folder)
        if shared.read(TERMS, 1) is not None or TERMS in shared.odd:
            raise UsageError(
                "file-exists", "the folder holds a round already", where=str(folder / TERMS), hint="Use a new one."
            )
        for key in options.voters:
            shared.publish(key_name(key.keyid), public_pem(key))
        shared.publish(COORDINATOR, public_pem(signer.public_key))
        if isinstance(about, Path):
            shared.publish(CALIBRATION, read_limited(about, limit=_MAX_SHARED))
        if options.share_model:
            shared.publish(MODEL, read_limited(model, limit=_MAX_SHARED))
        shared.publish(inputs, read_limited(data, limit=_MAX_SHARED))
        shared.publish(TERMS, read_limited(path, limit=_MAX_SHARED))
    return WrittenMessage(folder / TERMS, made.id, made.message)


def _rule(options: CallOptions) -> BeaconRule:
    if options.beacon == VOTERS:
        return BeaconRule(VOTERS, 0)
    if not options.beacon.startswith(DRAND):
        return BeaconRule(options.beacon, options.number)
    chain = CHAINS.get(options.beacon)
    if chain is None:
        message = f"{options.beacon[:80]!r} is no drand chain whose key is pinned"
        raise UsageError("bad-beacon", message, where="--beacon", hint="Known chains: " + ", ".join(CHAINS))
    # The terms are dated a little later than now, to the second: two margins are never less than one.
    number = options.number or chain.first_after(datetime.now(UTC) + options.time + 2 * DRAND_MARGIN)
    return BeaconRule(chain.source, number)
