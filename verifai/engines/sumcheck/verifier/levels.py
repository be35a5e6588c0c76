"""From the openings' combinations to what a reader can check by hand: level by level, then the combination that is left.

docs/engine/protocol.md, section "Levels", and "Composition" for why the order is this one. A group is what shares one
combination: the members' opened columns, weighted, are the combination's code word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from verifai.engines.sumcheck.circuit.program import CommitmentShape
from verifai.engines.sumcheck.protocol import field
from verifai.engines.sumcheck.protocol.batching import evaluate_code, powers_of
from verifai.engines.sumcheck.protocol.claim import Claim
from verifai.engines.sumcheck.protocol.field import Ext
from verifai.engines.sumcheck.protocol.levels import (
    Level,
    LinearClaim,
    PointClaim,
    PowerClaim,
    SpanClaim,
    level_root,
    level_rounds,
    position_point,
    stored_weights,
    weight_at,
)
from verifai.engines.sumcheck.protocol.merkle import check_path, column_leaf, root_of_cap
from verifai.engines.sumcheck.protocol.proof import Opening, log_length
from verifai.engines.sumcheck.verifier.proof_channel import ProofChannel
from verifai.errors import EvidenceRejected


@dataclass(frozen=True, slots=True)
class Shown:
    """One tree as a proof opens it; ``weights``: of its rows over F_p in the combination. That ``opening.cap`` is the committed
    tree's is the caller's to check."""

    label: str
    opening: Opening
    weights: Sequence[Ext]


@dataclass(frozen=True, slots=True)
class Group:
    """One combination: its code, the trees that it combines, and what is asked of it beside its code word."""

    shape: CommitmentShape
    members: tuple[Shown, ...]
    asked: tuple[PointClaim | SpanClaim, ...]
    positions: str
    """Name of the challenge."""


class _Clear:
    """The rounds of a level, which no suite encrypts: they follow from the combination, which is shown or masked itself."""

    def __init__(self, channel: ProofChannel) -> None:
        self._channel = channel

    def receive(self, label: str, count: int) -> list[Claim]:
        """The next message."""
        return [Claim(value) for value in self._channel.receive_open(label, count)]

    def challenge(self, label: str) -> Ext:
        """A uniform element of F outside F_p."""
        return self._channel.challenge(label)


def check_combinations(
    channel: ProofChannel, groups: Sequence[Group], levels: Sequence[Level], openings: Sequence[Opening]
) -> None:
    """Check everything that is asked of the groups' combinations. ``openings``: of the levels.

    Raises:
        EvidenceRejected: code ``proof-invalid``; ``proof-malformed`` when the proof ends before.
    """
    for level, opening in zip(levels, openings, strict=True):
        channel.transcript.absorb("level.root", level_root(level, root_of_cap(opening.cap)))
        claims, leaves = list[list[LinearClaim]](), list[bytes]()
        for group in groups:
            positions = _positions(channel, group)
            values = _code_word(group, positions, leaves)
            log = log_length(group.shape)
            points = (position_point(position, log) for position in positions)
            claims.append([*group.asked, *(PowerClaim(x, y) for x, y in zip(points, values, strict=True))])
        channel.transcript.absorb("level.columns", b"".join(leaves))
        everything = [claim.value for asked in claims for claim in asked]
        powers = powers_of(channel.challenge("level.mix"), len(everything))
        value, point = level_rounds(_Clear(channel), level, field.dot(everything, powers))
        asked = PointClaim(tuple(point[level.log_rows :]), value, weight_at(level, claims, powers, point))
        shown = Shown(level.shape.label, opening, stored_weights(level, point))
        groups = [Group(level.shape, (shown,), (asked,), "level.positions")]
    combinations = [channel.receive_open("openings.combination", group.shape.degree) for group in groups]
    for group, u in zip(groups, combinations, strict=True):
        positions = _positions(channel, group)
        for one in group.asked:
            if one.of(u) != one.value:
                raise refuse(one.falsehood, group.members[0].label)
        if evaluate_code(u, log_length(group.shape), positions) != _code_word(group, positions, []):
            raise refuse("a combination's code word differs from the opened columns", group.members[0].label)


def _positions(channel: ProofChannel, group: Group) -> list[int]:
    return channel.transcript.positions(group.positions, log_length(group.shape), group.shape.queries)


def _code_word(group: Group, positions: Sequence[int], leaves: list[bytes]) -> list[Ext]:
    """The combination's code word at ``positions`` by the opened columns, which are checked against their trees.

    ``leaves``: their digests are added. Raises EvidenceRejected (``proof-invalid``).
    """
    values = [field.ZERO] * len(positions)
    for member in group.members:
        packed, opening = field.pack(member.weights), member.opening
        salts = opening.salts or (b"",) * len(positions)
        for i, (position, column, salt) in enumerate(zip(positions, opening.columns, salts, strict=True)):
            digest = column_leaf(column, salt)
            check_path(position, digest, opening.paths[i], opening.cap, member.label)
            leaves.append(digest)
            values[i] = field.add(values[i], field.packed_dot(column, packed))
    return values


def refuse(message: str, where: str) -> EvidenceRejected:
    """The opening does not hold."""
    return EvidenceRejected("proof-invalid", message, where=where)
