"""What a crew must offer, and the loop that feeds one. Which worker does what, and where, is left to the libraries."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one submission.

    Attributes:
        number: of the item.
        data: what the worker gave back; ``None`` when nothing came.
        worker: whose answer it is; for people. What it says itself, unless ``certain``.
        lost: why nothing came, one sentence without a full stop; empty otherwise.
        strange: something came that no honest worker sends.
        useless: the worker can do no such work; the item was not begun.
        certain: the item was given to this worker and to no other one; of processes of this machine, that it was alone with its
            process, so that nothing else is to blame.
    """

    number: int
    data: bytes | None
    worker: str = ""
    lost: str = ""
    strange: bool = False
    useless: bool = False
    certain: bool = False


class Crew(Protocol):
    """Workers that all do the same work. Used by one thread."""

    @property
    def room(self) -> int:
        """How many items may be in hand now."""

    def share(self, shared: bytes) -> None:
        """Give another version of what all items share to those that are submitted from here on."""

    def submit(self, number: int, data: bytes) -> None:
        """Give an item out. Raises VerifaiError when no item can be given out any more."""

    def next(self) -> Answer:
        """Wait until one item that is in hand has ended. Raises VerifaiError when none will end any more."""

    def done_with(self, number: int) -> None:
        """The item will not be given out again."""

    def leave_out(self, answer: Answer) -> bool:
        """Give the worker that gave this answer nothing from here on.

        False where it is not known for certain which one it was. A crew that can tell workers apart then gives each further
        item to one that it knows, so that the next such answer has a name.
        """

    def close(self) -> None:
        """End what still runs, and give everything back."""


def work_through(
    crew: Crew,
    numbers: Iterable[int],
    make: Callable[[int], bytes | None],
    take: Callable[[Answer], bool],
    *,
    finish: bool = True,
) -> None:
    """Have every item worked on; at most :attr:`Crew.room` of them are in memory at once.

    What ``make`` or ``take`` raises ends the feeding. Items that are in hand are waited for and taken all the same, so that no
    finished work is lost; then it is raised. Only KeyboardInterrupt, and what ends the crew itself, does not wait.

    Args:
        make: the bytes to submit for an item, at every attempt anew; ``None`` when there is nothing to do for it.
        take: what to do with an answer; False when the item is to be given out again.
        finish: whether items in hand are still waited for; not where what they come to is thrown away anyhow.
    """
    source = iter(numbers)
    again: deque[int] = deque()
    in_hand = 0
    stopped: Exception | None = None
    while True:
        try:
            while stopped is None and in_hand < crew.room and (number := _next(again, source)) is not None:
                data = make(number)
                if data is not None:
                    crew.submit(number, data)
                    in_hand += 1
        except Exception as problem:
            if not finish:
                raise
            stopped = problem
        if not in_hand:
            break
        answer = crew.next()
        in_hand -= 1
        try:
            if take(answer):
                crew.done_with(answer.number)
            else:
                again.append(answer.number)
        except Exception as problem:
            if not finish:
                raise
            stopped = stopped or problem
    if stopped is not None:
        raise stopped


def _next(again: deque[int], source: Iterator[int]) -> int | None:
    return again.popleft() if again else next(source, None)
