"""The decision: which votes agree within the tolerance, and whether they are enough.

Tolerance is not transitive (a chain of small steps reaches anywhere), so agreement is a ball around one vote, the medoid, and
never a connected component.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

MAX_RATIO = 1e9
"""Stands for "not comparable at all": a distance ratio is capped here, so that every figure stays finite."""


class Relation(StrEnum):
    """What one comparison came to."""

    WITHIN = "within"
    BEYOND = "beyond"
    INDETERMINATE = "indeterminate"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two fingerprints, compared.

    Attributes:
        ratio: distance divided by the tolerance τ; at most 1 within it.
        relation: the decision; ``INDETERMINATE`` when the tolerance cannot tell the two answers apart.
    """

    ratio: float
    relation: Relation


SAME = Comparison(0.0, Relation.WITHIN)


class TallyOutcome(StrEnum):
    """What a round came to."""

    ACCEPT = "accept"
    REJECT = "reject"
    NO_QUORUM = "no-quorum"
    INDETERMINATE = "indeterminate"


@dataclass(frozen=True, slots=True)
class NodeResult:
    """One vote's place in the result.

    Attributes:
        distance: its ratio to the centre.
        relation: to the centre.
    """

    voter: str
    distance: float
    relation: Relation


@dataclass(frozen=True, slots=True)
class WeightedTally:
    """The same ball, weighed by reputation. Never decides alone; shown beside the unweighted result.

    Attributes:
        support: weight inside the ball as a share of all weight.
        needed: (n − f)/n, the share that the unweighted rule asks for.
    """

    support: float
    needed: float

    @property
    def agrees(self) -> bool:
        """Whether the weighted share reaches the unweighted rule's."""
        return self.support >= self.needed


@dataclass(frozen=True, slots=True)
class Tally:
    """Result of one tally.

    Attributes:
        outcome: unweighted.
        reason: one sentence.
        centre: the medoid; empty without votes.
        nodes: one per valid vote, in ascending order of voter.
        needed: votes that the ball must hold.
        weighted: ``None`` when no reputation was given.
    """

    outcome: TallyOutcome
    reason: str
    centre: str
    nodes: tuple[NodeResult, ...]
    needed: int
    weighted: WeightedTally | None = None

    @property
    def agreeing(self) -> tuple[str, ...]:
        """Voters inside the ball, the centre included."""
        return tuple(node.voter for node in self.nodes if node.relation is Relation.WITHIN)

    @property
    def dissenting(self) -> tuple[str, ...]:
        """Voters outside it."""
        return tuple(node.voter for node in self.nodes if node.relation is Relation.BEYOND)


Matrix = Sequence[Sequence[Comparison]]
"""Square, symmetric, :data:`SAME` on the diagonal; rows in the order of the voters."""


def tally(
    voters: Sequence[str],
    matrix: Matrix,
    *,
    tolerated_faults: int,
    liars: int = 0,
    absent: int = 0,
    weights: Mapping[str, float] | None = None,
) -> Tally:
    """Decide.

    ACCEPT needs 2f + 1 verifiers who answered, and a ball that holds all but f of those who committed. A proven liar counts as
    answered, and outside the ball. A verifier who committed and shows no valid vote counts as outside too: otherwise the
    collector of the votes could drop dissent. A vote whose relation to the centre is indeterminate counts for neither side;
    when such votes could change the result, the result is indeterminate.

    Args:
        voters: voters of the valid votes, ascending, each once.
        matrix: all pairwise comparisons.
        tolerated_faults: f, at least 1.
        liars: how many of the verifiers asked were proven to lie in this round.
        absent: how many others committed and have no valid vote; they count against f, and towards no quorum.
        weights: reputation per voter; missing voters weigh 1.

    Raises:
        ValueError: for an unsorted or doubled voter list, a matrix of another size, or f below 1.
    """
    count = len(voters)
    if list(voters) != sorted(set(voters)) or len(matrix) != count or any(len(row) != count for row in matrix):
        raise ValueError("voters must be ascending and distinct, and the matrix square of their size")
    if tolerated_faults < 1 or liars < 0 or absent < 0:
        raise ValueError("f must be at least 1, the numbers of liars and absent at least 0")
    quorum = 2 * tolerated_faults + 1
    needed = max(tolerated_faults + 1, count + liars + absent - tolerated_faults)
    if count == 0:
        return Tally(TallyOutcome.NO_QUORUM, f"no valid vote, {quorum} answers are needed", "", (), needed)
    centre = _medoid(voters, matrix)
    nodes = tuple(
        NodeResult(voter, matrix[centre][index].ratio, matrix[centre][index].relation) for index, voter in enumerate(voters)
    )
    weighted = _weigh(nodes, weights, tolerated_faults) if weights is not None else None
    outcome, reason = _decide(nodes, matrix, tolerated_faults, liars, absent, needed)
    return Tally(outcome, reason, voters[centre], nodes, needed, weighted)


def _medoid(voters: Sequence[str], matrix: Matrix) -> int:
    """The vote with the most votes within τ; then with the fewest beyond; then with the least distances; then by identifier."""

    def rank(index: int) -> tuple[int, int, float, str]:
        row = matrix[index]
        within = [one.ratio for one in row if one.relation is Relation.WITHIN]
        beyond = sum(one.relation is Relation.BEYOND for one in row)
        return (-len(within), beyond, sum(within), voters[index])

    return min(range(len(voters)), key=rank)


def _decide(
    nodes: Sequence[NodeResult], matrix: Matrix, tolerated_faults: int, liars: int, absent: int, needed: int
) -> tuple[TallyOutcome, str]:
    count = len(nodes)
    quorum = 2 * tolerated_faults + 1
    inside = sum(node.relation is Relation.WITHIN for node in nodes)
    told = f" and {liars} proven liar{'s' if liars != 1 else ''}" if liars else ""
    told += f", {absent} committed without a valid vote" if absent else ""
    if count + liars < quorum:
        return (
            TallyOutcome.NO_QUORUM,
            f"{count} valid votes{told}, {quorum} answers are needed to tolerate {tolerated_faults} faults",
        )
    if inside >= needed:
        return TallyOutcome.ACCEPT, f"{inside} of {count} votes agree{told}, {needed} are needed"
    # What if every indeterminate pair were within? When even then no ball is large enough, dissent is certain.
    hopeful = max(sum(one.relation is not Relation.BEYOND for one in row) for row in matrix)
    if hopeful >= needed:
        return (
            TallyOutcome.INDETERMINATE,
            f"{inside} of {count} votes agree for certain{told}, {hopeful} perhaps, {needed} are needed",
        )
    return TallyOutcome.REJECT, f"only {inside} of {count} votes agree{told}, {needed} are needed"


def _weigh(nodes: Sequence[NodeResult], weights: Mapping[str, float], tolerated_faults: int) -> WeightedTally:
    def weight(node: NodeResult) -> float:
        return weights.get(node.voter, 1.0)

    total = sum(weight(node) for node in nodes)
    inside = sum(weight(node) for node in nodes if node.relation is Relation.WITHIN)
    share = inside / total if total > 0 else 0.0
    return WeightedTally(share, max(0.0, (len(nodes) - tolerated_faults) / len(nodes)))
