"""Reputation from past rounds: Bradley–Terry strengths, capped, as weights that are shown beside the unweighted result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import log

CANARY = "canary"
"""Pseudo-player: a job with a known answer. Passing it is a win against it, failing it a loss (proof of capability)."""

WEIGHT_CAP = 2.0
"""No verifier weighs more than two newcomers, however long its record: reputation can be farmed, then spent once."""

_NEWCOMER = 1.0
_ITERATIONS = 500
_PRECISION = 1e-10


@dataclass(frozen=True, slots=True)
class Contest:
    """One comparison of the record: in one round ``winner`` lay in the accepted ball and ``loser`` did not."""

    winner: str
    loser: str


@dataclass(frozen=True, slots=True)
class PastRound:
    """What a decided round says about its voters.

    Attributes:
        agreed: voters inside the accepted ball.
        failed: voters outside it, and proven liars.
        canary: whether the answer was known beforehand; then everybody is measured against the canary too.
    """

    agreed: tuple[str, ...]
    failed: tuple[str, ...]
    canary: bool = False


def contests(rounds: Iterable[PastRound]) -> tuple[Contest, ...]:
    """All contests that the rounds contain. A unanimous round says nothing about who is better, unless it is a canary."""
    found = []
    for one in rounds:
        found += [Contest(winner, loser) for winner in one.agreed for loser in one.failed]
        if one.canary:
            found += [Contest(voter, CANARY) for voter in one.agreed]
            found += [Contest(CANARY, voter) for voter in one.failed]
    return tuple(found)


def strengths(record: Iterable[Contest]) -> Mapping[str, float]:
    """Bradley–Terry log-strengths by the minorisation–maximisation of Hunter (2004), section 2.

    Each player also has one virtual win and one virtual loss against a player of strength 0 (a newcomer), which keeps the
    estimate finite and unique and draws a short record towards the newcomer.
    """
    wins: Counter[str] = Counter()
    games: Counter[tuple[str, str]] = Counter()
    for one in record:
        if one.winner == one.loser:
            raise ValueError(f"{one.winner!r} cannot be compared with itself")
        wins[one.winner] += 1
        first, second = sorted((one.winner, one.loser))
        games[first, second] += 1
    players = sorted({player for pair in games for player in pair})
    opponents: dict[str, list[tuple[str, int]]] = {player: [] for player in players}
    for (first, second), count in games.items():
        opponents[first].append((second, count))
        opponents[second].append((first, count))
    skill = dict.fromkeys(players, 1.0)
    for _ in range(_ITERATIONS):
        moved = 0.0
        for player in players:
            mine = skill[player]
            denominator = 2 / (mine + 1.0) + sum(count / (mine + skill[other]) for other, count in opponents[player])
            skill[player] = (wins[player] + 1) / denominator
            moved = max(moved, abs(log(skill[player] / mine)))
        if moved < _PRECISION:
            break
    return {player: log(skill[player]) for player in players}


def weights(log_strengths: Mapping[str, float], *, cap: float = WEIGHT_CAP) -> Mapping[str, float]:
    """Weights in [0, ``cap``]: a newcomer's 1 plus the log-odds of winning against a newcomer, capped on both sides."""
    return {player: min(cap, max(0.0, _NEWCOMER + strength)) for player, strength in log_strengths.items() if player != CANARY}
