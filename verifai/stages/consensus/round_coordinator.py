"""round close: the coordinator's way through a shared round: it closes the lists, collects the votes, and decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from verifai.domain.attestation.envelope import Attestation
from verifai.domain.consensus.beacons import VOTERS, PublishedBeacon, beacon_of_voters
from verifai.domain.consensus.exchange import RoundCut, Step, VoteOpening
from verifai.domain.consensus.job import OutputKind
from verifai.domain.consensus.round import MAX_COMMITMENTS_OF_ONE, Beacon
from verifai.domain.consensus.tally import TallyOutcome
from verifai.domain.consensus.vote import Vote, VoteCommitment
from verifai.domain.consensus.vote_replay import VoteReplay
from verifai.domain.digest import Sha256
from verifai.domain.trust_keys import Signer
from verifai.domain.utc_time import parse_utc
from verifai.errors import UsageError
from verifai.stages.consensus.beacon import require_before_beacon, require_late_enough, shares_of
from verifai.stages.consensus.decide import ConsensusRequest, ConsensusResult, decide
from verifai.stages.consensus.room import Room, encoded, list_name, listed_name
from verifai.stages.consensus.round_voter import (
    begun,
    commitments_awaited,
    openings_awaited,
    openings_until,
    published_randomness,
)
from verifai.stages.consensus.turns import Done, Turn

M = TypeVar("M", VoteCommitment, VoteOpening, Vote, VoteReplay)


@dataclass(frozen=True, slots=True)
class ClosedRound:
    """A round at its end.

    Attributes:
        request: everything that ``result`` was decided from.
    """

    request: ConsensusRequest
    result: ConsensusResult


@dataclass
class Coordinator:
    """The party whose key signed the terms.

    Attributes:
        beacon: file of the published randomness, for a source that the folder cannot prove.
    """

    room: Room
    signer: Signer
    beacon: Path | None = None

    def __post_init__(self) -> None:
        if self.signer.public_key != self.room.coordinator:
            raise UsageError(
                "bad-option", "this key did not open the round", where="--key", hint="Only the coordinator closes it."
            )

    def step(self, now: datetime) -> Turn | Done[ClosedRound]:
        """Go on as far as the folder allows.

        Raises:
            PolicyNotMet: ``round-late``, when drand's number came out before the list of commitments was closed.
        """
        room = self.room
        require_late_enough(room.terms)
        cut = self._cut(Step.COMMITMENTS)
        if cut is None:
            seen = self._collect(VoteCommitment)
            if set(seen) < set(room.terms.voters) and now <= parse_utc(room.terms.commit_by):
                return commitments_awaited(room)
            # A list that is closed when the seed can be computed is a list that was chosen.
            require_before_beacon(room.terms, now, "the list of commitments was closed")
            cut = self._close(Step.COMMITMENTS, seen)
        listed = self._listed(cut, VoteCommitment)
        round_ = begun(room, listed)
        openings: list[Attestation] = []
        published: PublishedBeacon | None = None
        if room.terms.beacon.source == VOTERS:
            second = self._cut(Step.OPENINGS)
            if second is None:
                shown = self._collect(VoteOpening)
                good = shares_of(round_, [one for found in shown.values() for one in found.values()], room.keys)
                if set(good) < set(round_.commitments()) - round_.liars and now <= openings_until(room):
                    return openings_awaited(room, round_)
                second = self._close(Step.OPENINGS, {voter: shown[voter] for voter in good})
            openings = self._listed(second, VoteOpening)
            randomness = beacon_of_voters(room.id, round_.set_digest(), shares_of(round_, openings, room.keys))
        else:
            found = published_randomness(room, self.beacon)
            if isinstance(found, Turn):
                return found
            randomness, published = found
        return self._decide(listed, openings, randomness, published, now)

    def _decide(
        self,
        listed: list[Attestation],
        openings: list[Attestation],
        randomness: Beacon,
        published: PublishedBeacon | None,
        now: datetime,
    ) -> Turn | Done[ClosedRound]:
        room = self.room
        round_ = begun(room, listed)
        expected = set(round_.commitments()) - round_.liars
        if room.terms.beacon.source == VOTERS:
            expected &= set(shares_of(round_, openings, room.keys))
        over = now > parse_utc(room.terms.reveal_by)
        # Nobody can say of what lay there at the first look after the end whether it came in time, so it did.
        late = over and (room.store / "ended").is_file()
        votes = self._collect(Vote, late=late)
        missing = sorted(expected - set(votes))
        if missing and not over:
            who = tuple(room.called(one) for one in missing)
            return Turn("votes", len(expected) - len(missing), len(expected), who, room.terms.reveal_by)
        replays = self._collect(VoteReplay, late=late)
        known = {one.id for one in listed}
        behind = [one for found in self._collect(VoteCommitment).values() for one in found.values() if one.id not in known]
        all_votes = [one for found in votes.values() for one in found.values()]
        request = ConsensusRequest(
            terms=room.terms,
            terms_id=room.id,
            commitments=[*listed, *behind],
            beacon=randomness,
            votes=all_votes,
            keys=room.keys,
            calibration=room.calibration,
            now=now,
            replays=[one for found in replays.values() for one in found.values()],
            late=frozenset({*(one.id for one in behind), *(one.id for one in all_votes if self._was_late(one))}),
            openings=openings,
            published=published,
        )
        result = decide(request)
        tokens = room.terms.job.subject.kind is OutputKind.TOKENS
        if tokens and result.tally.outcome is TallyOutcome.INDETERMINATE and not over and set(replays) < set(votes):
            who = tuple(room.called(one) for one in sorted(set(votes) - set(replays)))
            return Turn("replays", len(replays), len(votes), who, room.terms.reveal_by)
        room.keep("ended", b"")
        return Done(ClosedRound(request, result))

    def _cut(self, step: Step) -> Attestation | None:
        """One's own list, put back into its place; ``None`` before it is made."""
        kept = self.room.kept(f"list-{step.value}.json", RoundCut)
        if kept is None:
            return self.room.cut(step)  # made by this key on another machine
        self.room.say(list_name(step), kept)
        return kept

    def _close(self, step: Step, seen: Mapping[str, Mapping[Sha256, Attestation]]) -> Attestation:
        room = self.room
        messages = {identifier: one for found in seen.values() for identifier, one in found.items()}
        for one in messages.values():
            room.keep_message(one)
        cut = room.attest(RoundCut(room.id, step, tuple(sorted(messages))), self.signer)
        for identifier, one in messages.items():
            room.say(listed_name(identifier), one)
        room.keep(f"list-{step.value}.json", encoded(cut))
        room.say(list_name(step), cut)
        return cut

    def _listed(self, cut: Attestation, kind: type[M]) -> list[Attestation]:
        message = cut.predicate
        assert isinstance(message, RoundCut)
        found = []
        for identifier in message.messages:
            one = self.room.listed(identifier, kind)
            if one is None:
                raise UsageError(
                    "round-secret-missing",
                    "a message that this key put on its list is neither here nor in the folder",
                    where=str(self.room.shared.path / listed_name(identifier)),
                    hint="Run the command where you first ran it, or name the private folder of that time: --state DIR",
                )
            self.room.say(listed_name(identifier), one)
            found.append(one)
        return found

    def _collect(self, kind: type[M], *, late: bool = False) -> dict[str, dict[Sha256, Attestation]]:
        """Every message of a kind that was ever seen in its voter's place: of two that a voter said, both."""
        room = self.room
        found: dict[str, dict[Sha256, Attestation]] = {}
        for voter in room.terms.voters:
            folder = f"seen/{kind.__name__}/{voter}"
            names = sorted(path.name for path in (room.store / folder).glob("*.json"))
            mine = [room.kept(f"{folder}/{name}", kind) for name in names]
            known = {one.id: one for one in mine if one is not None}
            there = room.heard(kind, voter)
            if there is not None and there.id not in known and len(known) < MAX_COMMITMENTS_OF_ONE:
                room.keep(f"{folder}/{there.id}.json", encoded(there))
                if late:
                    room.keep(f"late/{there.id}", b"")
                known[there.id] = there
            if known:
                found[voter] = known
        return found

    def _was_late(self, one: Attestation) -> bool:
        return (self.room.store / "late" / one.id).is_file()
