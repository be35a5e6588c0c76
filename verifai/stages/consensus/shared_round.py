"""round join, round close: a party of a shared round, from the folder to the result."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Generic, TypeVar

from verifai.bundle.keys import parse_public_key
from verifai.bundle.reader import open_bundle
from verifai.domain.consensus.decision import ConsensusDecision
from verifai.domain.digest import Sha256
from verifai.domain.progress import SILENT, Progress
from verifai.domain.spoken import spoken
from verifai.domain.trust_keys import PublicKey, Signer
from verifai.domain.utc_time import parse_utc
from verifai.errors import EvidenceRejected, UsageError
from verifai.execution.files import read_limited, write_atomic
from verifai.execution.locks import folder_locked
from verifai.execution.shared_folder import SharedFolder
from verifai.execution.user_folders import state_home
from verifai.stages.consensus.bundle import WrittenDecision, check_targets, write_decision
from verifai.stages.consensus.decide import ConsensusResult
from verifai.stages.consensus.room import COORDINATOR, Room, enter
from verifai.stages.consensus.round_coordinator import ClosedRound, Coordinator
from verifai.stages.consensus.round_voter import RunOptions, Voter
from verifai.stages.consensus.turns import Done, Party, Turn, attend

T = TypeVar("T")
AFTER_THE_END = timedelta(minutes=2)
"""How long after the last deadline a party still looks: long enough for what it says itself."""


def _silent(turn: Turn) -> None:
    """Nobody is told."""


def _alone() -> None:
    """The folder is shared by something else."""


@dataclass(frozen=True, slots=True)
class Attendance:
    """How a party attends a shared round.

    Attributes:
        state: private folder for what must not be lost or shown; by default below the user's own state folder.
        names: what this party calls the voters, by key identifier.
        seconds: how long to wait without anything happening; ``None``: as long as the round lasts; 0: one look.
        tell: is told whose turn it is, whenever that changes. progress: is told what has no effect, and why.
        now, sleep: the clock.
        pull, push: take in what others put into the folder, and publish what this party did; for folders that something has to
            carry.
    """

    state: Path | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    seconds: float | None = None
    tell: Callable[[Turn], None] = _silent
    progress: Progress = SILENT
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    sleep: Callable[[float], None] = time.sleep
    pull: Callable[[], None] = _alone
    push: Callable[[], None] = _alone


@dataclass(frozen=True, slots=True)
class JoinedRound:
    """What a voter sees at the end. ``closed``: when this voter is the coordinator too."""

    room: Room
    result: ConsensusResult
    closed: ClosedRound | None = None


def join_round(
    folder: Path,
    signer: Signer,
    coordinator: str | PublicKey | None = None,
    *,
    options: RunOptions | None = None,
    attendance: Attendance | None = None,
) -> JoinedRound:
    """Vote in the round of ``folder``, and tally it for oneself. Broken off, the same call goes on where it stopped.

    Args:
        coordinator: who must have signed the terms: a key, or its fingerprint. ``None`` when it is ``signer`` itself.

    Raises:
        UsageError: ``round-coordinator``, when nobody says who the coordinator is; ``round-secret-missing``, ``round-changed``.
        EvidenceRejected: ``terms-not-signed``, ``round-two-lists``, ``beacon-false``, ``beacon-early``.
        PolicyNotMet: ``round-late``; the calibration is stale.
        Undecided: ``round-waiting``, ``busy``; the model's process died or reached a limit.
    """
    attendance = attendance or Attendance()
    store = _store(attendance.state, folder)
    attendance.pull()
    chair = _chair(folder, signer, coordinator)
    room = _enter(folder, store, signer, chair, attendance)
    voter = Voter(room, signer, options or RunOptions())
    with folder_locked(room.store, seconds=0):
        if signer.public_key != room.coordinator:
            return JoinedRound(room, _attend(room, voter, attendance))
        own = _enter(folder, store / "coordinator", signer, chair, attendance)
        both = _Both(voter, Coordinator(own, signer, (options or RunOptions()).beacon))
        closed = _attend(room, both, attendance)
        return JoinedRound(own, closed.result, closed)


def close_round(
    folder: Path, signer: Signer, *, beacon: Path | None = None, attendance: Attendance | None = None
) -> JoinedRound:
    """Close the lists of the round of ``folder`` and decide it; for the key that signed the terms.

    Args:
        beacon: file of the published randomness, for a source that the folder cannot prove.

    Raises:
        UsageError: ``bad-option``, when the key did not open the round. The others as :func:`join_round`.
    """
    attendance = attendance or Attendance()
    store = _store(attendance.state, folder)
    attendance.pull()
    room = _enter(folder, store / "coordinator", signer, signer.public_key, attendance)
    with folder_locked(room.store, seconds=0):
        closed = _attend(room, Coordinator(room, signer, beacon), attendance)
    return JoinedRound(room, closed.result, closed)


def write_closed(joined: JoinedRound, target: Path, signer: Signer) -> WrittenDecision:
    """Write the decision and all it rests on as a bundle, signed. Raises as :func:`write_decision`."""
    assert joined.closed is not None, "only the coordinator's own view is complete"
    check_targets(target, log=None, log_key=False)
    room, request = joined.room, joined.closed.request
    return write_decision(
        target, room.terms_attestation, room.calibration_attestation, request, joined.result, payload={}, signers=[signer]
    )


def is_written(joined: JoinedRound, target: Path, signer: Signer) -> bool:
    """Whether ``target`` holds the decision of this round that ``signer`` signed before: anybody can put a folder there."""
    try:
        with open_bundle(target) as bundle:
            decisions = (one.predicate for one in bundle.attestations.values())
            own = any(isinstance(one, ConsensusDecision) and one.round == joined.room.id for one in decisions)
            return own and signer.public_key in bundle.check_signatures([signer.public_key]).signers
    except (EvidenceRejected, UsageError):
        return False


def remember_names(folder: Path, state: Path | None, round_id: Sha256, names: Mapping[str, str]) -> None:
    """Keep what the coordinator calls the voters, for its own eyes: the folder could not be believed about names."""
    own = _store(state, folder) / round_id
    own.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_atomic(own / "names.json", json.dumps(dict(names)).encode(), mode=0o600)


class _Both:
    """A coordinator who votes."""

    def __init__(self, voter: Voter, coordinator: Coordinator) -> None:
        self._voter, self._coordinator = voter, coordinator

    def step(self, now: datetime) -> Turn | Done[ClosedRound]:
        self._voter.step(now)
        closed = self._coordinator.step(now)
        if not isinstance(closed, Done):  # a list may have been closed just now
            self._voter.step(now)
            closed = self._coordinator.step(now)
        return closed


class _Carried(Generic[T]):
    """A party whose folder is brought up to date before each step, and published after it."""

    def __init__(self, party: Party[T], attendance: Attendance) -> None:
        self._party, self._attendance = party, attendance

    def step(self, now: datetime) -> Turn | Done[T]:
        self._attendance.pull()
        turn = self._party.step(now)
        self._attendance.push()
        return turn


def _attend(room: Room, party: Party[T], attendance: Attendance) -> T:
    """Attend until the end of the round."""
    return attend(
        _Carried(party, attendance),
        seconds=attendance.seconds,
        end=parse_utc(room.terms.reveal_by) + AFTER_THE_END,
        tell=attendance.tell,
        now=attendance.now,
        sleep=attendance.sleep,
    )


def _enter(folder: Path, store: Path, signer: Signer, chair: str | PublicKey, attendance: Attendance) -> Room:
    room = enter(folder, store, coordinator=chair, keyid=signer.public_key.keyid, progress=attendance.progress)
    room.names = {**_remembered(store, room.id), **attendance.names, signer.public_key.keyid: "you"}
    return room


def _remembered(store: Path, round_id: Sha256) -> Mapping[str, str]:
    for folder in (store, store.parent):
        path = folder / round_id / "names.json"
        if path.is_file():
            found = json.loads(read_limited(path, limit=1 << 20))
            return {str(key): str(name) for key, name in found.items()}
    return {}


def _chair(folder: Path, signer: Signer, coordinator: str | PublicKey | None) -> str | PublicKey:
    if coordinator is not None:
        return coordinator
    there = SharedFolder(folder).read(COORDINATOR, 65536)
    if there is None:
        return signer.public_key
    found = parse_public_key(there, str(folder / COORDINATOR))
    if found == signer.public_key:
        return found
    raise UsageError(
        "round-coordinator",
        f"the key in the folder that opened the round has the fingerprint {spoken(found.keyid)}",
        where=str(folder / COORDINATOR),
        hint=f"Ask the coordinator whether it is theirs; then add: --coordinator {found.keyid}",
    )


def require_private(state: Path | None, folder: Path) -> None:
    """Raises UsageError: ``bad-option``, when what must not be shown would lie in the folder that all read."""
    if state is not None and state.resolve().is_relative_to(folder.resolve()):
        message = "the private folder lies in the shared one: a vote's secret would be shown before its time"
        raise UsageError("bad-option", message, where=f"--state {state}", hint="Name a folder that nobody else reads.")


def _store(given: Path | None, folder: Path) -> Path:
    require_private(given, folder)
    if given is not None:
        return given
    home = state_home()
    if home is None:
        message = "this user has no home to keep a vote's secret in"
        raise UsageError("bad-option", message, hint="Name a private folder: --state DIR")
    return home / "verifai" / "rounds"
