"""A crew of worker processes of this machine, by concurrent.futures. They are ours: what they answer is taken as it is.

When a process dies, the pool loses all items that are in hand, and nobody can say which of them was to blame. So each is lost,
a new pool is begun, and they are worked on one by one: what then dies again died of itself. The same is done where no item at
all ended within the time that was given: then one of them hangs.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

from verifai.execution.workforce.interface import Answer
from verifai.execution.workforce.process import begin, end, work

Work = Callable[[bytes, bytes], bytes]
"""What a worker does: from what all items share, and one item, to its answer. A function that a worker process can import; it
answers, and does not raise."""

DIED = "a worker process died, perhaps for lack of memory"


class LocalCrew:
    """Processes that all do ``task``; begun when the first item is there, so that no work costs no process.

    Args:
        slow_seconds: how long it may take until any of the items in hand ends; ``None`` for ever.
    """

    def __init__(self, task: Work, shared: bytes, jobs: int, *, slow_seconds: float | None = None) -> None:
        self._task, self._shared, self._jobs, self._slow = task, shared, jobs, slow_seconds
        self._pool: ProcessPoolExecutor | None = None
        self._before: set[int | None] = set()
        self._in_hand: dict[Future[bytes], int] = {}
        self._suspects: set[int] = set()
        self._lost = DIED

    @property
    def room(self) -> int:
        """All processes busy, and one item waiting for each; one at all while it is unknown which item kills processes."""
        return 1 if self._suspects else 2 * self._jobs

    def share(self, shared: bytes) -> None:
        """For the processes that are begun from here on."""
        self._shared = shared

    def submit(self, number: int, data: bytes) -> None:
        """Give an item to the pool."""
        try:
            future = self._started().submit(_do, data)
        except BrokenProcessPool:
            future = Future()
            future.set_exception(BrokenProcessPool())
        self._in_hand[future] = number

    def next(self) -> Answer:
        """The item that ends first."""
        done, _ = wait(self._in_hand, self._slow, return_when=FIRST_COMPLETED)
        alone = self._pool is not None and len(self._in_hand) == 1
        if not done:
            self._end()
            self._lost = f"there was no answer within {self._slow:,.0f} s"
        future = next(iter(done or self._in_hand))
        number = self._in_hand.pop(future)
        try:
            data = future.result()  # also of one that ended just now; none of one that was cancelled with its pool
        except (BrokenProcessPool, CancelledError):
            self._end()
            blamed = alone and number in self._suspects
            self._suspects.add(number)
            return Answer(number, None, lost=self._lost, strange=blamed and self._lost != DIED, certain=blamed)
        return Answer(number, data)

    def done_with(self, number: int) -> None:
        """A suspect that is given up keeps no other item waiting."""
        self._suspects.discard(number)

    def leave_out(self, answer: Answer) -> bool:
        """Processes of one machine are not told apart."""
        return False

    def close(self) -> None:
        """End the processes; what they were at is lost."""
        self._end()

    def _started(self) -> ProcessPoolExecutor:
        if self._pool is None:
            # Forking would copy the locks of native libraries' threads in whatever state they are.
            context = multiprocessing.get_context("spawn")
            self._lost = DIED
            self._before = {child.pid for child in multiprocessing.active_children()}
            self._pool = ProcessPoolExecutor(self._jobs, context, _start, (self._task, self._shared))
        return self._pool

    def _end(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            end([child for child in multiprocessing.active_children() if child.pid not in self._before])
            pool.shutdown(wait=True, cancel_futures=True)


_task: tuple[Work, bytes] | None = None


def _start(task: Work, shared: bytes) -> None:
    global _task
    begin()
    _task = (task, shared)


def _do(data: bytes) -> bytes:
    assert _task is not None
    task, shared = _task
    return work(lambda: task(shared, data))
