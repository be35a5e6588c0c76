"""Items judged by processes of this program on this machine, never by a cluster: a verdict of a stranger is a stranger's word.

What goes to a worker and comes back is pickled, so it is read as code of ours: only pipes to processes of our own carry it.
"""

from __future__ import annotations

import os
import pickle
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from verifai.errors import InternalError, VerifaiError
from verifai.execution.workforce.interface import Answer, work_through
from verifai.execution.workforce.local import LocalCrew

S = TypeVar("S")
R = TypeVar("R")

ATTEMPTS = 3
"""How often an item is given out whose process dies; after the first time it is alone, so that no other is to blame."""
SLOW_SECONDS = 6 * 3600.0
"""When no item at all ended for so long, one of them hangs: what engines and models do has limits of its own far below."""


def judge_by_processes(
    judge: Callable[[S, Path], R],
    shared: S,
    paths: Sequence[Path],
    jobs: int,
    take: Callable[[int, R], None],
    lost: Callable[[int, str], R],
    *,
    slow_seconds: float = SLOW_SECONDS,
) -> None:
    """Judge ``paths``; ``take`` gets the number of each and what it came to, in whatever order they end.

    Args:
        judge: a function that a worker process can import.
        shared: its first argument; can be pickled.
        jobs: how many processes.
        lost: what an item came to whose process died or hung, from its number and the reason: one sentence without a full stop.

    Raises:
        VerifaiError: what ``judge`` raised; an exception that is none of ours as InternalError (``bug``). Nothing waits then.
    """
    crew = LocalCrew(_judged, pickle.dumps((judge, shared)), jobs, slow_seconds=slow_seconds)
    attempts: Counter[int] = Counter()

    def answered(answer: Answer) -> bool:
        if answer.data is None:
            attempts[answer.number] += 1
            if attempts[answer.number] < ATTEMPTS and not answer.strange:  # one that hung alone would hang again
                return False
            take(answer.number, lost(answer.number, answer.lost))
            return True
        raised, found = pickle.loads(answer.data)  # noqa: S301 - of a process of ours
        if raised:
            raise found
        take(answer.number, found)
        return True

    try:
        work_through(crew, range(len(paths)), lambda number: os.fsencode(paths[number]), answered, finish=False)
    finally:
        crew.close()


_kept: tuple[bytes, Callable[[Any, Path], Any], Any] | None = None
"""What the pickle at hand says: reading it again for each item would cost more than many a verdict."""


def _judged(shared: bytes, data: bytes) -> bytes:
    """A worker's part: a pickle of what was found, or of the exception that ended it."""
    global _kept
    try:
        if _kept is None or _kept[0] is not shared:
            judge, given = pickle.loads(shared)  # noqa: S301 - of our parent
            _kept = (shared, judge, given)
        _, judge, given = _kept
        return pickle.dumps((False, judge(given, Path(os.fsdecode(data)))))
    except Exception as problem:  # noqa: BLE001 - raised by the process that asked
        told = problem if isinstance(problem, VerifaiError) else InternalError("bug", f"{type(problem).__name__}: {problem}")
        return pickle.dumps((True, told))
