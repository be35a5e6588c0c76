"""One round of voting as an ordered state machine: commit, draw the seed, reveal, close. No disk, clock or network.

The order is the security. A seed that is known before an output is fixed can be forged against: every top-1 flip can be
given an unchanged projection. So outputs are committed to first, and the seed depends on every commitment and on a beacon that
the round's terms name before it exists.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar

from verifai.domain.attestation.predicate_types import ROUND_TYPE
from verifai.domain.consensus.job import Job
from verifai.domain.consensus.vote import Opening, Vote, VoteCommitment, commitment_value
from verifai.domain.consensus.vote_tree import leaf_hash, root_from_path
from verifai.domain.digest import Sha256, sha256
from verifai.domain.record import Record
from verifai.domain.unicode_14 import is_printable
from verifai.domain.utc_time import parse_utc, utc_from_record
from verifai.errors import EvidenceRejected, UsageError, VerifaiError

MAX_VOTERS = 1024
MAX_DETAIL = 512
"""Characters of a fault's detail."""
MAX_COMMITMENTS_OF_ONE = 16
"""Commitments of one voter that the seed rests on. An honest one makes one."""
MAX_FAULTS_OF_ONE = 8
"""Faults of one voter that are named. The first few tell enough, and a decision has room for so many."""
MAX_UNATTRIBUTED = 1024
"""How many messages that nobody in the round sent are named."""


class Fault(StrEnum):
    """What a verifier did wrong. An accident loses the vote and is no lie; once committed, both count against f."""

    NO_COMMITMENT = "no-commitment"
    LATE_COMMITMENT = "late-commitment"
    NO_REVEAL = "no-reveal"
    LATE_REVEAL = "late-reveal"
    BAD_SIGNATURE = "bad-signature"
    UNKNOWN_VOTER = "unknown-voter"
    WRONG_ROUND = "wrong-round"
    DOUBLE_COMMITMENT = "double-commitment"
    COPIED_COMMITMENT = "copied-commitment"
    DOUBLE_VOTE = "double-vote"
    WRONG_SEED = "wrong-seed"
    FALSE_OPENING = "false-opening"
    FALSE_FINGERPRINT = "false-fingerprint"
    MALFORMED_VOTE = "malformed-vote"
    WRONG_RUNTIME = "wrong-runtime"


ACCIDENTS = frozenset(
    {Fault.NO_COMMITMENT, Fault.LATE_COMMITMENT, Fault.NO_REVEAL, Fault.LATE_REVEAL, Fault.WRONG_RUNTIME, Fault.WRONG_SEED}
)
OUTSIDERS = frozenset({Fault.BAD_SIGNATURE, Fault.UNKNOWN_VOTER, Fault.WRONG_ROUND})
"""Faults that others can cause in a voter's name, by sending rubbish or old votes. They never discard the voter's own vote."""


@dataclass(frozen=True, slots=True)
class NamedFault:
    """A fault and who committed it. ``voter`` is a key identifier, or what the sender claimed to be."""

    voter: str
    fault: Fault
    detail: str


MAX_SOURCE = 256
"""Characters of a beacon's name at most."""


@dataclass(frozen=True, slots=True)
class BeaconRule:
    """Which public randomness a round will use, named before it is known.

    Attributes:
        source: who publishes it, such as ``file`` with a description or a drand chain hash.
        number: its round number at that source.
    """

    source: str
    number: int


@dataclass(frozen=True, slots=True)
class Beacon:
    """The public randomness itself.

    Attributes:
        value: 32 bytes, hex.
    """

    source: str
    number: int
    value: Sha256


@dataclass(frozen=True, slots=True)
class RoundTerms:
    """``urn:verifai:round:v1``: what the verifiers are asked, fixed before the first commitment.

    Attributes:
        voters: key identifiers of the verifiers asked, ascending, each once; votes of other keys do not count (no Sybils).
        tolerated_faults: f; a decision needs 2f + 1 answers, and at most f who committed may dissent, lie or stay silent.
        samples_beyond: how many of the job's samples may lie beyond the tolerance before two verifiers disagree.
        openings: how many outputs the seed picks to be shown in full.
        nonce: fresh text; a vote of another round never fits.
        commit_by, reveal_by: deadlines, UTC.
    """

    TYPE: ClassVar[str] = ROUND_TYPE

    job: Job
    voters: tuple[str, ...]
    tolerated_faults: int
    samples_beyond: int
    openings: int
    beacon: BeaconRule
    nonce: str
    commit_by: str
    reveal_by: str

    def __post_init__(self) -> None:
        needed = 2 * self.tolerated_faults + 1
        if self.tolerated_faults < 1 or len(self.voters) < needed:
            raise UsageError(
                "round-too-small",
                f"{len(self.voters)} verifiers cannot tolerate {self.tolerated_faults} faults",
                hint=f"Ask at least {max(needed, 3)} verifiers, and tolerate at least 1 fault.",
            )
        if list(self.voters) != sorted(set(self.voters)):
            raise UsageError("round-terms", "the verifiers are not in ascending order, each once")
        if not 1 <= self.openings <= self.job.samples:
            raise UsageError("round-terms", f"{self.openings} openings of {self.job.samples} samples", where="openings")
        if self.samples_beyond >= self.job.samples:
            raise UsageError(
                "round-terms", "all samples may lie beyond the tolerance, so nothing is asked", where="samples_beyond"
            )
        if parse_utc(self.commit_by) >= parse_utc(self.reveal_by):
            raise UsageError("round-terms", "revealing ends before committing does", where="reveal_by")

    def parents(self) -> tuple[Sha256, ...]:
        """The calibration, where there is one."""
        return () if set(self.job.calibration) == {"0"} else (self.job.calibration,)

    def to_json(self) -> Mapping[str, Any]:
        """Integers and strings only."""
        return {
            "job": self.job.to_json(),
            "voters": list(self.voters),
            "tolerated_faults": self.tolerated_faults,
            "samples_beyond": self.samples_beyond,
            "openings": self.openings,
            "beacon": {"source": self.beacon.source, "number": self.beacon.number},
            "nonce": self.nonce,
            "commit_by": self.commit_by,
            "reveal_by": self.reveal_by,
        }

    @classmethod
    def from_record(cls, record: Record) -> RoundTerms:
        """The inverse of :meth:`to_json`, strict."""
        beacon = record.table("beacon")
        source = beacon.text("source", max_length=MAX_SOURCE)
        if not is_printable(source):
            raise beacon.refuse("characters that nobody sees", "source")
        try:
            terms = cls(
                job=Job.from_record(record.table("job")),
                voters=record.texts("voters", max_length=MAX_VOTERS),
                tolerated_faults=record.integer("tolerated_faults", low=1, high=MAX_VOTERS),
                samples_beyond=record.integer("samples_beyond", low=0, high=10**6),
                openings=record.integer("openings", low=1, high=1024),
                beacon=BeaconRule(source, beacon.integer("number", low=0, high=2**53 - 1)),
                nonce=record.text("nonce", max_length=128),
                commit_by=utc_from_record(record, "commit_by"),
                reveal_by=utc_from_record(record, "reveal_by"),
            )
        except UsageError as problem:
            raise record.refuse(problem.message, problem.where) from None
        beacon.done()
        record.done()
        return terms


def commitments_digest(identifiers: Mapping[str, Collection[str]]) -> Sha256:
    """Digest of all commitments by voter, both in ascending order.

    A voter's second commitment is in it too, so that the seed does not hang on which of the two arrived first.
    """
    pairs = ((voter, one) for voter in sorted(identifiers) for one in counted_commitments(identifiers[voter]))
    body = b"".join(bytes.fromhex(voter) + bytes.fromhex(one) for voter, one in pairs)
    return sha256(b"verifai/vote-commitments/v1\x00" + body)


def counted_commitments(identifiers: Collection[str]) -> list[str]:
    """Of one voter's commitments, those that the seed rests on: the first few by identifier, whoever sends thousands."""
    return sorted(identifiers)[:MAX_COMMITMENTS_OF_ONE]


def draw_seed(round_id: str, commitments: str, beacon: Beacon) -> Sha256:
    """The round's seed: it depends on every commitment and on the beacon."""
    body = bytes.fromhex(round_id) + bytes.fromhex(commitments) + bytes.fromhex(beacon.value)
    return sha256(b"verifai/consensus-seed/v1\x00" + body)


def sample_seed(seed: str, index: int) -> bytes:
    """The seed of one sample: another projection for each, so that one unlucky draw hides one sample at most."""
    return hashlib.sha256(b"verifai/sample-seed/v1\x00" + bytes.fromhex(seed) + index.to_bytes(8, "big")).digest()


def picked_samples(seed: str, samples: int, count: int) -> tuple[int, ...]:
    """``count`` distinct samples that the seed picks to be opened, ascending: a partial Fisher–Yates shuffle over SHAKE-256."""
    stream = hashlib.shake_256(b"verifai/openings/v1\x00" + bytes.fromhex(seed)).digest(16 * count)
    moved: dict[int, int] = {}
    picked = []
    for position in range(count):
        draw = position + int.from_bytes(stream[16 * position : 16 * position + 16], "big") % (samples - position)
        picked.append(moved.get(draw, draw))
        moved[draw] = moved.get(position, position)
    return tuple(sorted(picked))


def _cut(detail: str) -> str:
    """A detail may quote what a voter sent; a decision holds so much of it."""
    return detail if len(detail) <= MAX_DETAIL else detail[: MAX_DETAIL - 1] + "…"


Recompute = Callable[[bytes, bytes], bytes]
"""(encoded output, sample seed) → fingerprint. Raises EvidenceRejected when the output is not of the job's kind."""


@dataclass(slots=True)
class Round:
    """The round's state. Methods must be called in the order of the names below; another order is a bug of the caller.

    Signatures are checked before a message gets here: ``signer`` is the key that verified, never the one a message names.

    Attributes:
        runtime: the runtime that the calibration holds for; a voter with another one does not count. Empty: any.
        shares: with randomness that the voters make, who showed a share of it in time; a voter who kept its own back, to see
            the seed first, has no vote. ``None`` for any other beacon.
    """

    terms: RoundTerms
    round_id: Sha256
    recompute: Recompute
    faults: list[NamedFault] = field(default_factory=list)
    seed: Sha256 | None = None
    runtime: str = ""
    shares: frozenset[str] | None = None
    _commitments: dict[str, tuple[Sha256, VoteCommitment]] = field(default_factory=dict)
    _identifiers: dict[str, set[str]] = field(default_factory=dict)
    _votes: dict[str, tuple[Sha256, Vote]] = field(default_factory=dict)
    _liars: set[str] = field(default_factory=set)
    _discarded: set[str] = field(default_factory=set)
    _set_digest: Sha256 | None = None
    _unattributed: int = 0

    # Step 1: commitments.
    def commit(self, identifier: Sha256, message: VoteCommitment, signer: str, *, late: bool = False) -> None:
        """Take one commitment. ``identifier`` is its attestation's; ``late`` is the coordinator's observation."""
        if self.seed is not None:
            raise EvidenceRejected("round-order", "a commitment after the seed was drawn")
        if not self._admissible(message.round, message.voter, signer):
            return
        if late:
            self._fault(signer, Fault.LATE_COMMITMENT, f"after {self.terms.commit_by}")
            return
        if self.runtime and message.environment.runtime != self.runtime:
            detail = f"{message.environment.runtime}; the tolerance holds for {self.runtime}"
            self._fault(signer, Fault.WRONG_RUNTIME, detail)
            return
        self._identifiers.setdefault(signer, set()).add(identifier)
        known = self._commitments.get(signer)
        if known is not None:
            if known[0] != identifier:
                self._fault(signer, Fault.DOUBLE_COMMITMENT, f"{known[0][:12]} and {identifier[:12]}")
            return
        self._commitments[signer] = (identifier, message)

    # Step 2: the seed.
    def draw(self, beacon: Beacon) -> Sha256:
        """Close commitments and draw the seed.

        Raises:
            EvidenceRejected: ``beacon-mismatch``, when the beacon is not the one that the terms name.
            EvidenceRejected: ``round-order``, when the seed was drawn already.
        """
        if self.seed is not None:
            raise EvidenceRejected("round-order", "the seed was drawn already")
        if (beacon.source, beacon.number) != (self.terms.beacon.source, self.terms.beacon.number):
            raise EvidenceRejected(
                "beacon-mismatch",
                f"the beacon is {beacon.source!r} number {beacon.number}, the terms name "
                f"{self.terms.beacon.source!r} number {self.terms.beacon.number}",
                hint="Choosing the beacon afterwards would be choosing the seed.",
            )
        self._name_copies()
        for voter in () if self.shares is None else sorted(set(self._commitments) - self.shares - self._liars):
            self._fault(voter, Fault.NO_REVEAL, "showed no share of the seed in time, so its vote does not count")
        for voter in self.terms.voters:
            if voter not in self._commitments and not self._has(voter, Fault.LATE_COMMITMENT, Fault.WRONG_RUNTIME):
                self._fault(voter, Fault.NO_COMMITMENT, "nothing arrived")
        self._set_digest = self.set_digest()
        self.seed = draw_seed(self.round_id, self._set_digest, beacon)
        return self.seed

    # Step 3: reveals.
    def reveal(self, identifier: Sha256, vote: Vote, signer: str, *, late: bool = False) -> None:
        """Take one reveal and check it against its commitment, the seed and its own openings."""
        if self.seed is None:
            raise EvidenceRejected("round-order", "a reveal before the seed was drawn")
        if not self._admissible(vote.round, vote.voter, signer):
            return
        known = self._votes.get(signer)
        if known is not None:
            if known[0] != identifier:
                self._fault(signer, Fault.DOUBLE_VOTE, f"{known[0][:12]} and {identifier[:12]}")
            return
        if late:
            self._fault(signer, Fault.LATE_REVEAL, f"after {self.terms.reveal_by}")
            return
        if signer not in self._commitments or self._kept_back(signer):
            return  # named when the seed was drawn
        if vote.commitment not in self.commitment_identifiers():  # counts as no vote: it could not be tallied again
            self.refuse_message(signer, Fault.FALSE_OPENING, "it names a commitment that is not in the round")
            return
        self._votes[signer] = (identifier, vote)
        try:
            self._check(vote, signer)
        except _Lie as lie:
            self._discarded.add(signer)
            self._fault(signer, lie.fault, lie.detail)

    # Step 4: the end.
    def close(self) -> Mapping[str, tuple[Sha256, Vote]]:
        """The valid votes by voter. Voters who never revealed are named."""
        if self.seed is None:
            raise EvidenceRejected("round-order", "closed before the seed was drawn")
        for voter in self._commitments:
            named = voter in self._liars or self._kept_back(voter) or self._has(voter, Fault.LATE_REVEAL)
            if voter not in self._votes and not named:
                self._fault(voter, Fault.NO_REVEAL, "committed, then showed nothing")
        return {voter: self._votes[voter] for voter in sorted(self._votes) if voter not in self._liars | self._discarded}

    def _kept_back(self, voter: str) -> bool:
        return self.shares is not None and voter not in self.shares

    def set_digest(self) -> Sha256:
        """Digest of all commitments so far (:func:`commitments_digest`)."""
        return commitments_digest(self._identifiers)

    @property
    def liars(self) -> frozenset[str]:
        """Voters with a fault that is no accident."""
        return frozenset(self._liars)

    def commitment_identifiers(self) -> tuple[Sha256, ...]:
        """Everything that the seed rests on, second commitments included; ascending."""
        return tuple(sorted(Sha256(one) for found in self._identifiers.values() for one in counted_commitments(found)))

    def commitments(self) -> Mapping[str, tuple[Sha256, VoteCommitment]]:
        """The first commitment of each voter who made one in time."""
        return dict(self._commitments)

    def refuse_message(self, claimed: str, fault: Fault, detail: str) -> None:
        """Note a message that cannot be attributed, such as one with a bad signature. It changes no vote."""
        self._unattributed += 1
        if self._unattributed <= MAX_UNATTRIBUTED:  # who floods a round must not keep its decision from being written
            self.faults.append(NamedFault(claimed, fault, _cut(detail)))

    def _admissible(self, round_id: str, claimed: str, signer: str) -> bool:
        if signer != claimed:
            self.refuse_message(claimed, Fault.BAD_SIGNATURE, f"signed by {signer[:12]}")
        elif signer not in self.terms.voters:
            self.refuse_message(signer, Fault.UNKNOWN_VOTER, "not among the verifiers asked")
        elif round_id != self.round_id:
            self.refuse_message(signer, Fault.WRONG_ROUND, f"a vote of round {round_id[:12]}, replayed")
        else:
            return True
        return False

    def _name_copies(self) -> None:
        by_value: dict[str, list[str]] = {}
        for voter, (_, message) in self._commitments.items():
            by_value.setdefault(message.commitment, []).append(voter)
        for voters in by_value.values():
            # Which of the two is the copy is not known here. The copier's opening will not fit, because the voter is hashed in.
            for voter in voters if len(voters) > 1 else ():
                others = ", ".join(one[:12] for one in voters if one != voter)
                self.faults.append(NamedFault(voter, Fault.COPIED_COMMITMENT, _cut(f"the same commitment as {others}")))

    def _check(self, vote: Vote, signer: str) -> None:
        assert self.seed is not None
        identifier, commitment = self._commitments[signer]
        if vote.commitment != identifier:
            raise _Lie(Fault.FALSE_OPENING, "it names another commitment")
        if (vote.commitments, vote.seed) != (self._set_digest, self.seed):
            # No lie by itself: another view of who committed in time, or of the beacon, leads here too.
            raise _Lie(Fault.WRONG_SEED, f"seed {vote.seed[:12]}, the round's is {self.seed[:12]}")
        if commitment_value(vote.outputs_root, vote.salt, signer) != commitment.commitment:
            raise _Lie(Fault.FALSE_OPENING, "outputs and salt are not what was committed to")
        samples = self.terms.job.samples
        if len(vote.fingerprints) != samples:
            raise _Lie(Fault.MALFORMED_VOTE, f"{len(vote.fingerprints)} fingerprints for {samples} samples")
        picked = picked_samples(self.seed, samples, self.terms.openings)
        if tuple(one.index for one in vote.openings) != picked:
            raise _Lie(Fault.FALSE_OPENING, "it does not open the samples that the seed picked")
        for opening in vote.openings:
            self._check_opening(vote, opening, samples)

    def _check_opening(self, vote: Vote, opening: Opening, samples: int) -> None:
        assert self.seed is not None
        if root_from_path(leaf_hash(opening.output), opening.index, samples, opening.path) != vote.outputs_root:
            raise _Lie(Fault.FALSE_OPENING, f"the output shown for sample {opening.index} is not the committed one")
        try:
            expected = self.recompute(opening.output, sample_seed(self.seed, opening.index))
        except VerifaiError as problem:
            raise _Lie(Fault.MALFORMED_VOTE, f"sample {opening.index}: {problem.message}") from None
        if expected != vote.fingerprints[opening.index]:
            raise _Lie(Fault.FALSE_FINGERPRINT, f"sample {opening.index}: the fingerprint is not that of the output shown")

    def _has(self, voter: str, *faults: Fault) -> bool:
        return any(one.voter == voter and one.fault in faults for one in self.faults)

    def _fault(self, voter: str, fault: Fault, detail: str) -> None:
        if sum(one.voter == voter and one.fault not in OUTSIDERS for one in self.faults) < MAX_FAULTS_OF_ONE:
            self.faults.append(NamedFault(voter, fault, _cut(detail)))
        if fault not in ACCIDENTS:
            self._liars.add(voter)


class _Lie(Exception):
    def __init__(self, fault: Fault, detail: str) -> None:
        super().__init__(detail)
        self.fault = fault
        self.detail = detail
