"""Waiting in a round: whose turn it is, until when, and how to go on after it was broken off."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Generic, Protocol, TypeVar

from verifai.errors import Undecided

T = TypeVar("T", covariant=True)


@dataclass(frozen=True, slots=True)
class Turn:
    """What a round waits for.

    Attributes:
        step: short words, such as ``commitments``. done, of: how many have come, of how many.
        waiting_for: who or what is missing, as a person reads it.
        until: UTC, when the step ends without them; empty when it does not.
    """

    step: str
    done: int
    of: int
    waiting_for: tuple[str, ...]
    until: str = ""

    def __str__(self) -> str:
        who = ", ".join(self.waiting_for[:8]) + ("" if len(self.waiting_for) <= 8 else f" and {len(self.waiting_for) - 8} more")
        end = f"; goes on without at {self.until}" if self.until else ""
        return f"{self.step} {self.done} of {self.of}: waiting for {who}{end}"


@dataclass(frozen=True, slots=True)
class Done(Generic[T]):
    """The end: what came out."""

    result: T


class Party(Protocol[T]):
    """A party of a round. A step does all that can be done now, and never waits."""

    def step(self, now: datetime) -> Turn | Done[T]:
        """Go on as far as the folder allows."""


POLL_SECONDS = 1.0


def attend(
    party: Party[T],
    *,
    seconds: float | None,
    end: datetime,
    tell: Callable[[Turn], None],
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    sleep: Callable[[float], None] = time.sleep,
) -> T:
    """Step until the end.

    Args:
        seconds: how long to wait at most without anything happening; ``None``: as long as the round lasts. 0: one look.
        end: when the round is over: nothing is waited for after it.
        tell: is told each turn that differs from the one before.

    Raises:
        Undecided: ``round-waiting``, when nothing happened for so long. Nothing is lost: the same command goes on.
    """
    before: Turn | None = None
    since = now()
    while True:
        moment = now()
        turn = party.step(moment)
        if isinstance(turn, Done):
            return turn.result
        if turn != before:
            tell(turn)
            before, since = turn, moment
        if moment >= end or (seconds is not None and (moment - since).total_seconds() >= seconds):
            hint = "Run the same command again to go on: what you said and saw is kept."
            raise Undecided("round-waiting", str(turn), hint=hint)
        sleep(max(POLL_SECONDS, 3 * (now() - moment).total_seconds()))
