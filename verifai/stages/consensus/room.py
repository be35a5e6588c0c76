"""A round's shared folder: which file is what, and what in it counts. Everybody may write anything there.

    round.json            the terms, signed by the coordinator       calibration.json   the tolerance, when the kind has one
    coordinator.pub, voters/KEYID.pub   public keys, each known by the identifier that the terms name
    model.onnx, inputs.*  what is voted on, known by the digests in the terms
    commitments/KEYID.json, openings/KEYID.json, votes/KEYID.json, replays/KEYID.json   one message per voter and step
    lists/STEP.json       the coordinator's list that closes a step; listed/ID.json    the messages that it names
    beacon.json           what drand published

A name is looked at when it is asked for, and the folder is never listed, so a flood of files costs nothing. A message counts by
its own signature, round and voter, never by its place. What counts once is kept in a private folder of one's own
(:class:`Room.keep`), so that nobody can take it back or put another in its place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from verifai.bundle import canonical
from verifai.bundle.dsse import attest, check_signatures
from verifai.bundle.keys import MAX_KEY_BYTES, parse_public_key
from verifai.domain.attestation.envelope import MAX_ENVELOPE_BYTES, Attestation, Predicate, Subject, parse_envelope
from verifai.domain.attestation.types import parse_attestation
from verifai.domain.consensus.calibration import Calibration
from verifai.domain.consensus.exchange import RoundCut, Step, VoteOpening
from verifai.domain.consensus.job import NO_CALIBRATION
from verifai.domain.consensus.round import RoundTerms
from verifai.domain.consensus.vote import Vote, VoteCommitment
from verifai.domain.consensus.vote_replay import VoteReplay
from verifai.domain.digest import Sha256, sha256, short
from verifai.domain.progress import SILENT, Progress
from verifai.domain.spoken import is_spoken, spoken
from verifai.domain.trust_keys import PublicKey, Signer
from verifai.errors import EvidenceRejected, UsageError, VerifaiError
from verifai.execution.files import read_limited, write_atomic
from verifai.execution.shared_folder import SharedFolder

TERMS = "round.json"
CALIBRATION = "calibration.json"
MODEL = "model.onnx"
INPUTS = ("inputs.npz", "inputs.npy", "inputs.json", "inputs.csv", "inputs.parquet")
COORDINATOR = "coordinator.pub"
BEACON = "beacon.json"
FOLDERS: Mapping[type, str] = {
    VoteCommitment: "commitments",
    VoteOpening: "openings",
    Vote: "votes",
    VoteReplay: "replays",
}

M = TypeVar("M", VoteCommitment, VoteOpening, Vote, VoteReplay)


def key_name(keyid: str) -> str:
    """Where a voter's public key lies."""
    return f"voters/{keyid}.pub"


def message_name(kind: type, keyid: str) -> str:
    """Where a voter's message of a kind lies."""
    return f"{FOLDERS[kind]}/{keyid}.json"


def list_name(step: Step) -> str:
    """Where the list lies that closes a step."""
    return f"lists/{step.value}.json"


def listed_name(identifier: str) -> str:
    """Where the coordinator puts a copy of a message that a list names."""
    return f"listed/{identifier}.json"


@dataclass
class Room:
    """One party's view of a round.

    Attributes:
        store: private folder of this party in this round.
        keys: of all voters, by identifier. coordinator: the key that signed the terms.
        names: what this party calls the voters, by key identifier.
        progress: is told what has no effect, and why; each once.
    """

    shared: SharedFolder
    store: Path
    terms_attestation: Attestation
    terms: RoundTerms
    keys: Mapping[str, PublicKey]
    coordinator: PublicKey
    calibration: Calibration | None
    calibration_attestation: Attestation | None
    names: Mapping[str, str] = field(default_factory=dict)
    progress: Progress = SILENT
    _parsed: dict[str, Attestation | str] = field(default_factory=dict)
    _told: set[str] = field(default_factory=set)

    @property
    def id(self) -> Sha256:
        """Identifier of the round."""
        return self.terms_attestation.id

    def called(self, keyid: str) -> str:
        """A voter as this party calls it."""
        return self.names.get(keyid, short(keyid))

    def tell(self, text: str) -> None:
        """Tell once."""
        if text not in self._told:
            self._told.add(text)
            self.progress.note(text)

    # What is kept in private.
    def keep(self, name: str, data: bytes) -> None:
        """Keep ``data`` in private, whole or not at all."""
        path = self.store / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomic(path, data, mode=0o600)

    def kept(self, name: str, kind: type[Predicate]) -> Attestation | None:
        """A message that was kept; ``None`` when there is none."""
        path = self.store / name
        if not path.is_file():
            return None
        return _parse(read_limited(path, limit=MAX_ENVELOPE_BYTES), kind, str(path))

    # What others say.
    def heard(self, kind: type[M], voter: str) -> Attestation | None:
        """What stands in a voter's place, once the voter is known to have said it in this round; else ``None``."""
        return self._message(message_name(kind, voter), kind, voter)

    def listed(self, identifier: Sha256, kind: type[M]) -> Attestation | None:
        """The message of this identifier, by whichever voter: from what was kept, or from the coordinator's copy."""
        found = self.kept(f"messages/{identifier}.json", kind)
        if found is None:
            found = self._message(listed_name(identifier), kind, None)
            if found is not None and found.id != identifier:
                self.tell(f"No effect: {listed_name(identifier)}: it is another message")
                return None
            if found is not None:
                self.keep_message(found)
        return found

    def keep_message(self, one: Attestation) -> None:
        """Keep a message that counts."""
        self.keep(f"messages/{one.id}.json", encoded(one))

    def cut(self, step: Step) -> Attestation | None:
        """The coordinator's list of a step: the first that was seen, kept from then on; ``None`` while there is none.

        Raises:
            EvidenceRejected: ``round-two-lists``, when the coordinator signed another one too.
        """
        kept = self.kept(f"list-{step.value}.json", RoundCut)
        found = self._message(list_name(step), RoundCut, None)
        if found is not None:
            message = found.predicate
            assert isinstance(message, RoundCut)
            if message.step is not step:
                self.tell(f"No effect: {list_name(step)}: it is the list of another step")
                found = None
        if kept is None and found is not None:
            self.keep(f"list-{step.value}.json", encoded(found))
            kept = found
        elif kept is not None and found is not None and found.id != kept.id:
            raise EvidenceRejected(
                "round-two-lists",
                f"the coordinator signed two lists of {step.value}: {short(kept.id)} and {short(found.id)}",
                where=list_name(step),
                hint="Keep both: they show that the coordinator told the verifiers different things. Open a new round.",
            )
        return kept

    def say(self, name: str, one: Attestation) -> None:
        """See to it that a message of one's own stands in its place, whoever took it away or put something else there."""
        data = encoded(one)
        there = self.shared.read(name, MAX_ENVELOPE_BYTES)
        if there != data:
            if there is not None or name in self.shared.odd:
                self.tell(f"Something else stood at {name}: put right")
            self.shared.publish(name, data)

    def attest(self, message: Predicate, signer: Signer) -> Attestation:
        """A message of one's own, signed."""
        subject = self.terms.job.subject
        return attest(message, (Subject("model", subject.model_sha256), Subject("subject", subject.id)), [signer])

    def _message(self, name: str, kind: type[Predicate], voter: str | None) -> Attestation | None:
        data = self.shared.read(name, MAX_ENVELOPE_BYTES)
        if data is None:
            if name in self.shared.odd:
                self.tell(f"No effect: {name}: {self.shared.odd[name]}")
            return None
        digest = f"{kind.TYPE} {voter} {sha256(data)}"
        if digest not in self._parsed:
            if len(self._parsed) > 4096:  # whoever rewrites a file again and again gains no memory of ours
                self._parsed.clear()
            self._parsed[digest] = self._judge(data, kind, voter, name)
        found = self._parsed[digest]
        if isinstance(found, str):
            self.tell(f"No effect: {name}: {found}")
            return None
        return found

    def _judge(self, data: bytes, kind: type[Predicate], voter: str | None, name: str) -> Attestation | str:
        try:
            found = _parse(data, kind, name)
            message = found.predicate
            assert isinstance(message, VoteCommitment | VoteOpening | Vote | VoteReplay | RoundCut)
            if message.round != self.id:
                return f"it is of another round ({short(message.round)})"
            if isinstance(message, RoundCut):
                signer = self.coordinator
            elif message.voter not in self.keys or voter not in (None, message.voter):
                return f"it is by {short(message.voter)}, who has no say here"
            else:
                signer = self.keys[message.voter]
            if signer not in check_signatures(found.envelope, [signer], where=name).signers:
                return "whom it names did not sign it"
        except VerifaiError as problem:
            return problem.message
        return found


def enter(
    folder: Path,
    store: Path,
    *,
    coordinator: str | PublicKey,
    keyid: str,
    names: Mapping[str, str] | None = None,
    progress: Progress = SILENT,
) -> Room:
    """A party's view of the round in ``folder``.

    Args:
        store: where this user's rounds are kept in private; a folder for this round and key is made below it.
        coordinator: the key that must have signed the terms; or its telephone fingerprint or identifier, when the key itself is
            to be taken from the folder.
        keyid: this party's key.

    Raises:
        UsageError: ``file-missing``; ``round-changed``, when other terms stand there than when this key entered first.
        EvidenceRejected: ``terms-not-signed``; terms or calibration are malformed.
    """
    shared = SharedFolder(folder)
    terms = _parse(_need(shared, TERMS, "Open the round first: `verifai round init --help`"), RoundTerms, str(folder / TERMS))
    assert isinstance(terms.predicate, RoundTerms)
    chair = _coordinator(shared, coordinator)
    if chair not in check_signatures(terms.envelope, [chair], where=TERMS).signers:
        raise EvidenceRejected("terms-not-signed", "the coordinator did not sign these terms", where=str(folder / TERMS))
    keys: dict[str, PublicKey] = {}
    for voter in terms.predicate.voters:
        name = key_name(voter)
        keys[voter] = parse_public_key(_need(shared, name, "", limit=MAX_KEY_BYTES), str(folder / name))
        if keys[voter].keyid != voter:
            raise EvidenceRejected("round-key", "this is not the key that the terms name", where=str(folder / name))
    measured = None
    if terms.predicate.job.calibration != NO_CALIBRATION:
        measured = _parse(_need(shared, CALIBRATION, ""), Calibration, str(folder / CALIBRATION))
        if measured.id != terms.predicate.job.calibration:
            raise EvidenceRejected(
                "round-key", "this is not the tolerance that the terms name", where=str(folder / CALIBRATION)
            )
    own = store / terms.id / keyid
    own.mkdir(mode=0o700, parents=True, exist_ok=True)
    _same_as_before(store, folder, keyid, terms.id)
    calibration = None if measured is None else measured.predicate
    assert calibration is None or isinstance(calibration, Calibration)
    return Room(
        shared, own, terms, terms.predicate, keys, chair, calibration, measured, dict(names or {}), progress
    )  # fmt: skip


def encoded(one: Attestation) -> bytes:
    """A message as a file."""
    return canonical.encode(one.envelope.to_json())


def commitments_of(room: Room, cut: Attestation) -> Sequence[Attestation] | None:
    """The commitments that a list names; ``None`` while not all of them can be seen."""
    return _all(room, cut, VoteCommitment)


def openings_of(room: Room, cut: Attestation) -> Sequence[Attestation] | None:
    """The openings that a list names; ``None`` while not all of them can be seen."""
    return _all(room, cut, VoteOpening)


def _all(room: Room, cut: Attestation, kind: type[M]) -> Sequence[Attestation] | None:
    message = cut.predicate
    assert isinstance(message, RoundCut)
    found = [room.listed(one, kind) for one in message.messages]
    return None if any(one is None for one in found) else [one for one in found if one is not None]


def _same_as_before(store: Path, folder: Path, keyid: str, round_id: Sha256) -> None:
    """A folder holds one round for good: whoever exchanges the terms must not win a second commitment of the same voter."""
    mark = store / "folders" / sha256(f"{folder.resolve()}\0{keyid}".encode())
    if mark.is_file():
        if read_limited(mark, limit=64).decode("ascii", "replace") != round_id:
            message = "the terms in this folder are not those that you found here before"
            raise UsageError("round-changed", message, where=str(folder / TERMS), hint="Ask the coordinator; use a new folder.")
        return
    mark.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_atomic(mark, round_id.encode(), mode=0o600)


def _coordinator(shared: SharedFolder, given: str | PublicKey) -> PublicKey:
    if isinstance(given, PublicKey):
        return given
    data = _need(shared, COORDINATOR, "", limit=MAX_KEY_BYTES)
    found = parse_public_key(data, str(shared.path / COORDINATOR))
    if not is_spoken(given, found.keyid):
        hint = f"The key in the folder has the fingerprint {spoken(found.keyid)}: ask the coordinator."
        raise EvidenceRejected("terms-not-signed", "the coordinator's key in the folder is another one", hint=hint)
    return found


def _need(shared: SharedFolder, name: str, hint: str, limit: int = MAX_ENVELOPE_BYTES) -> bytes:
    data = shared.read(name, limit)
    if data is None:
        reason = shared.odd.get(name, "no such file")
        raise UsageError("file-missing", f"cannot read: {reason}", where=str(shared.path / name), hint=hint)
    return data


def _parse(data: bytes, kind: type[Predicate], where: str) -> Attestation:
    found = parse_attestation(parse_envelope(data, where), where)
    if not isinstance(found.predicate, kind):
        raise EvidenceRejected("malformed", f"this is a {found.predicate.TYPE}, not a {kind.TYPE}", where=where)
    return found
