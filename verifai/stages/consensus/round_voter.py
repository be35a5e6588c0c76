"""round join: one voter's way through a shared round. Each step is kept in private, then published, and never done twice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from verifai.consensus.drand import parse_drand, to_drand_json
from verifai.consensus.files import read_beacon
from verifai.domain.attestation.envelope import Attestation
from verifai.domain.consensus.beacons import VOTERS, PublishedBeacon, beacon_of_voters, chain_of
from verifai.domain.consensus.exchange import Step, VoteOpening
from verifai.domain.consensus.job import OutputKind
from verifai.domain.consensus.round import Beacon, Round
from verifai.domain.consensus.tally import TallyOutcome
from verifai.domain.consensus.vote import Vote, VoteCommitment
from verifai.domain.consensus.vote_replay import VoteReplay
from verifai.domain.consensus.vote_tree import leaf_hash, root
from verifai.domain.digest import short
from verifai.domain.trust_keys import Signer
from verifai.domain.utc_time import parse_utc
from verifai.errors import EvidenceRejected, PolicyNotMet, UsageError, VerifaiError
from verifai.execution.files import read_limited
from verifai.stages.consensus.beacon import is_drand, require_late_enough, shares_of
from verifai.stages.consensus.decide import ConsensusRequest, ConsensusResult, decide
from verifai.stages.consensus.room import (
    BEACON,
    Room,
    commitments_of,
    encoded,
    message_name,
    openings_of,
)
from verifai.stages.consensus.round_files import MAX_SHARED_FILE, round_inputs, round_model
from verifai.stages.consensus.take_part import commit_to_round, replay_for_round
from verifai.stages.consensus.turns import Done, Turn
from verifai.stages.consensus.vote import MAX_SECRET_BYTES, VoteSecret, reveal_vote


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a voter runs the model.

    Attributes:
        model, inputs: one's own files; by default those of the shared folder. Either way they must be those of the terms.
        outputs: outputs that something else computed, in place of running the model.
        beacon: file of the published randomness, for a source that the folder cannot prove.
        deadline: seconds that the model may run. jobs: processes that run it. token_input: as in :func:`replay_for_round`.
    """

    model: Path | None = None
    inputs: Path | None = None
    outputs: Path | None = None
    beacon: Path | None = None
    deadline: float | None = None
    threads: int = 1
    jobs: int = 1
    token_input: str = ""


@dataclass
class Voter:
    """A party that votes."""

    room: Room
    signer: Signer
    options: RunOptions = field(default_factory=RunOptions)

    @property
    def keyid(self) -> str:
        """This voter's key."""
        return self.signer.public_key.keyid

    def step(self, now: datetime) -> Turn | Done[ConsensusResult]:
        """Go on as far as the folder allows.

        Raises:
            UsageError: ``round-secret-missing``, when this voter committed elsewhere; those of committing.
            PolicyNotMet: ``round-late``, when the round went on without this voter, or its randomness is out already.
            EvidenceRejected: ``round-two-lists``; ``beacon-false``, ``beacon-early``.
        """
        room = self.room
        require_late_enough(room.terms)
        own = self._committed(now)
        self._say_again()
        known = (room.store / f"list-{Step.COMMITMENTS.value}.json").is_file()
        cut = room.cut(Step.COMMITMENTS)
        if cut is None:
            return commitments_awaited(room)
        if not known:
            tell_if_chosen(room, now)
        listed = commitments_of(room, cut)
        if listed is None:
            return Turn("commitments", 0, len(room.terms.voters), ("the messages that the coordinator's list names",))
        if own.id not in {one.id for one in listed}:
            raise _late("the coordinator's list of commitments was closed without yours")
        round_ = begun(room, listed)
        found = self._randomness(round_, own, now)
        if isinstance(found, Turn):
            return found
        randomness, openings, published = found
        self._vote(round_, listed, randomness)
        return tallied(room, listed, randomness, openings, published, now, replay=self._replay)

    # Step 1: the commitment.
    def _committed(self, now: datetime) -> Attestation:
        room = self.room
        kept = room.kept("commitment.json", VoteCommitment)
        if kept is not None:
            return kept
        if self.keyid not in room.terms.voters:
            hint = "Use the key that the coordinator named."
            raise UsageError("not-asked", f"the round does not ask the verifier {short(self.keyid)}", hint=hint)
        if room.heard(VoteCommitment, self.keyid) is not None:
            raise UsageError(
                "round-secret-missing",
                "this key committed already, and what it needs to reveal is not here",
                where=str(room.shared.path),
                hint="Run the command where you first joined, or name the private folder of that time: --state DIR",
            )
        terms, secret = room.store / "terms.json", room.store / "secret"
        room.keep(terms.name, encoded(room.terms_attestation))
        secret.unlink(missing_ok=True)  # of a run that was broken off before it committed to anything
        commit_to_round(
            terms,
            *self._files(),
            self.signer,
            room.store / "commitment.json",
            secret,
            outputs=self.options.outputs,
            deadline=self.options.deadline,
            threads=self.options.threads,
            jobs=self.options.jobs,
            now=now,
        )
        made = room.kept("commitment.json", VoteCommitment)
        assert made is not None
        return made

    def _files(self) -> tuple[Path, Path]:
        """Model and inputs: one's own, or copies of the folder's."""
        model = round_model(self.room, self.options.model)
        return model, round_inputs(self.room, model, self.options.inputs)

    def _say_again(self) -> None:
        """One's own messages stand in their places, whatever others did to the folder."""
        for name, kind in (
            ("commitment.json", VoteCommitment),
            ("opening.json", VoteOpening),
            ("vote.json", Vote),
            ("replay.json", VoteReplay),
        ):
            if (one := self.room.kept(name, kind)) is not None:
                self.room.say(message_name(kind, self.keyid), one)

    # Step 2: the randomness.
    def _randomness(
        self, round_: Round, own: Attestation, now: datetime
    ) -> tuple[Beacon, Sequence[Attestation], PublishedBeacon | None] | Turn:
        room = self.room
        if room.terms.beacon.source != VOTERS:
            published = published_randomness(room, self.options.beacon)
            return published if isinstance(published, Turn) else (published[0], (), published[1])
        if room.kept("opening.json", VoteOpening) is None:
            secret = self._secret()
            outputs_root = root([leaf_hash(one) for one in secret.outputs])
            opening = VoteOpening(room.id, self.keyid, own.id, secret.salt, outputs_root)
            room.keep("opening.json", encoded(room.attest(opening, self.signer)))
            self._say_again()
        cut = room.cut(Step.OPENINGS)
        if cut is None:
            return openings_awaited(room, round_)
        openings = openings_of(room, cut)
        if openings is None:
            return Turn("openings", 0, len(round_.commitments()), ("the messages that the coordinator's list names",))
        shares = shares_of(round_, openings, room.keys)
        if self.keyid not in shares:
            raise _late("the coordinator's list of openings was closed without yours, so your vote does not count")
        return beacon_of_voters(room.id, round_.set_digest(), shares), openings, None

    # Step 3: the vote.
    def _vote(self, round_: Round, listed: Sequence[Attestation], randomness: Beacon) -> None:
        room = self.room
        if room.kept("vote.json", Vote) is not None:
            return
        counted = set(round_.commitment_identifiers())
        table = {one.id: one.predicate for one in listed if one.id in counted}
        vote = reveal_vote(
            room.terms,
            self._secret(),
            {key: one for key, one in table.items() if isinstance(one, VoteCommitment)},
            randomness,
        )
        room.keep("vote.json", encoded(room.attest(vote, self.signer)))
        self._say_again()

    def _secret(self) -> VoteSecret:
        path = self.room.store / "secret"
        return VoteSecret.from_bytes(read_limited(path, limit=MAX_SECRET_BYTES), str(path))

    # Step 4: the others' tokens, fed to one's own model.
    def _replay(self, votes: Sequence[Attestation]) -> None:
        room = self.room
        if room.terms.job.subject.kind is not OutputKind.TOKENS or (room.store / "replayed").is_file():
            return
        paths = []
        for one in votes:
            room.keep(f"votes/{one.id}.json", encoded(one))
            paths.append(room.store / "votes" / f"{one.id}.json")
        (room.store / "replay.json").unlink(missing_ok=True)
        replay_for_round(
            room.store / "terms.json",
            *self._files(),
            paths,
            self.signer,
            room.store / "replay.json",
            token_input=self.options.token_input,
            deadline=self.options.deadline,
            threads=self.options.threads,
            jobs=self.options.jobs,
            voters=list(room.keys.values()),
            progress=room.progress,
        )
        room.keep("replayed", b"")
        self._say_again()


def commitments_awaited(room: Room) -> Turn:
    """Who has not committed yet; when all have, the coordinator's list is waited for."""
    missing = [voter for voter in room.terms.voters if room.heard(VoteCommitment, voter) is None]
    who = tuple(room.called(one) for one in missing) or ("the coordinator, who closes the list",)
    return Turn("commitments", len(room.terms.voters) - len(missing), len(room.terms.voters), who, room.terms.commit_by)


def tell_if_chosen(room: Room, now: datetime) -> None:
    """A list that is first seen when the seed can be computed may have been chosen; that cannot be known, so it is told."""
    chain = chain_of(room.terms.beacon) if is_drand(room.terms) else None
    if chain is not None and now >= chain.time_of(room.terms.beacon.number):
        room.tell(
            "The coordinator's list of commitments was first seen after the randomness came out: it could have been chosen."
        )


def openings_awaited(room: Room, round_: Round) -> Turn:
    """Whose share of the randomness is missing."""
    asked = sorted(set(round_.commitments()) - round_.liars)
    missing = [voter for voter in asked if room.heard(VoteOpening, voter) is None]
    who = tuple(room.called(one) for one in missing) or ("the coordinator, who closes the list",)
    return Turn("openings", len(asked) - len(missing), len(asked), who, f"{openings_until(room):%Y-%m-%dT%H:%M:%SZ}")


def openings_until(room: Room) -> datetime:
    """When shares are late: halfway between the end of committing and the end of revealing."""
    first, last = parse_utc(room.terms.commit_by), parse_utc(room.terms.reveal_by)
    return first + (last - first) / 2


def published_randomness(room: Room, given: Path | None) -> tuple[Beacon, PublishedBeacon | None] | Turn:
    """What the round's beacon published: from one's own file or, when it proves itself, from the folder; else a turn."""
    rule = room.terms.beacon
    if not is_drand(room.terms):
        if given is None:
            what = f"{rule.source} number {rule.number}: give what it published with --beacon FILE"
            return Turn("randomness", 0, 1, (what,))
        return read_beacon(given), None
    path = room.store / BEACON
    if not path.is_file():
        chain = chain_of(rule)
        assert chain is not None
        out = chain.time_of(rule.number)
        own = None if given is None else read_limited(given, limit=MAX_SHARED_FILE)
        data = room.shared.read(BEACON, 8192) if own is None else own
        wait = Turn(
            "randomness",
            0,
            1,
            (f"{rule.source} number {rule.number}, out at {out:%Y-%m-%dT%H:%M:%SZ}: put {chain.url(rule.number)} "
             f"into the folder as {BEACON}",),
        )  # fmt: skip
        if data is None:
            return wait
        try:
            published = parse_drand(data, rule, room.id, str(given or room.shared.path / BEACON))
        except (UsageError, EvidenceRejected) as problem:
            if own is not None:
                raise
            room.tell(f"No effect: {BEACON}: {problem.message}")  # anybody may have put it there
            return wait
        room.keep(BEACON, to_drand_json(published))
        room.shared.publish(BEACON, to_drand_json(published))
    published = parse_drand(read_limited(path, limit=8192), rule, room.id, str(path))
    return published.beacon, published


def begun(room: Room, listed: Sequence[Attestation]) -> Round:
    """The round once its commitments are closed. Nothing is revealed in it: :func:`decide` does that, from the start."""
    runtime = room.calibration.runtime if room.calibration is not None and room.terms.job.subject.tensors else ""
    round_ = Round(room.terms, room.id, lambda output, seed: b"", runtime=runtime)
    for one in sorted(listed, key=lambda message: message.id):
        message = one.predicate
        assert isinstance(message, VoteCommitment)
        round_.commit(one.id, message, message.voter)
    return round_


def tallied(
    room: Room,
    listed: Sequence[Attestation],
    randomness: Beacon,
    openings: Sequence[Attestation],
    published: PublishedBeacon | None,
    now: datetime,
    *,
    replay: Callable[[Sequence[Attestation]], None] | None = None,
) -> Turn | Done[ConsensusResult]:
    """The result, once all votes are there or revealing has ended."""
    round_ = begun(room, listed)
    expected = set(round_.commitments()) - round_.liars
    if room.terms.beacon.source == VOTERS:
        expected &= set(shares_of(round_, openings, room.keys))
    votes = {voter: one for voter in sorted(expected) if (one := _kept_vote(room, voter)) is not None}
    over = now > parse_utc(room.terms.reveal_by)
    missing = sorted(expected - set(votes))
    if missing and not over:
        who = tuple(room.called(one) for one in missing)
        return Turn("votes", len(votes), len(expected), who, room.terms.reveal_by)
    if replay is not None:
        replay(list(votes.values()))
    replays = [one for voter in votes if (one := room.heard(VoteReplay, voter)) is not None]
    result = decide(
        ConsensusRequest(
            terms=room.terms,
            terms_id=room.id,
            commitments=list(listed),
            beacon=randomness,
            votes=list(votes.values()),
            keys=room.keys,
            calibration=room.calibration,
            now=now,
            replays=replays,
            openings=openings,
            published=published,
        )
    )
    tokens = room.terms.job.subject.kind is OutputKind.TOKENS
    if tokens and result.tally.outcome is TallyOutcome.INDETERMINATE and not over and len(replays) < len(votes):
        silent = [voter for voter in votes if room.heard(VoteReplay, voter) is None]
        who = tuple(room.called(one) for one in silent)
        return Turn("replays", len(replays), len(votes), who, room.terms.reveal_by)
    return Done(result)


def _kept_vote(room: Room, voter: str) -> Attestation | None:
    """A voter's first vote that was seen; a later one of the same voter takes nothing back."""
    kept = room.kept(f"first-votes/{voter}.json", Vote)
    if kept is None and (kept := room.heard(Vote, voter)) is not None:
        room.keep(f"first-votes/{voter}.json", encoded(kept))
    return kept


def _late(message: str) -> VerifaiError:
    return PolicyNotMet("round-late", message, hint="Ask the coordinator for a new round; join it before its first deadline.")
