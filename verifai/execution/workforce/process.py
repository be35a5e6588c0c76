"""A worker process of this machine: it is ended by its parent, outlives it by seconds at most, and leaves no private folder."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import TypeVar, cast

T = TypeVar("T")
LAST_SECONDS = 5.0
"""How long a worker may take to clean up that has no parent any more, or was asked to leave."""

_leaving = False


def begin() -> None:
    """To be called first in a worker process: how it ends."""
    # Ctrl-C reaches the whole process group; the parent decides what happens, and ends the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    threading.Thread(target=_outlive_nobody, daemon=True).start()


def work(task: Callable[[], T]) -> T:
    """Do one piece of work; a worker that was asked to leave meanwhile leaves, and hands out nothing."""
    if _leaving:  # the pool takes the exit for a result, and hands out the next piece
        os._exit(128 + signal.SIGTERM)
    try:
        return task()
    finally:
        if _leaving:  # what was private is removed by now
            os._exit(128 + signal.SIGTERM)


def end(workers: Sequence[BaseProcess]) -> None:
    """Ask the workers to leave, so that they remove their private folders; then kill those that are still there.

    One that is asked just as it takes the lock of the queue of results leaves with it, and the others wait for it for ever.
    """
    for worker in workers:
        worker.terminate()
    deadline = time.monotonic() + LAST_SECONDS
    left = {worker.sentinel: worker for worker in workers}
    while left and (ended := wait(list(left), max(0.0, deadline - time.monotonic()))):
        for sentinel in ended:
            del left[cast(int, sentinel)]
    for worker in left.values():
        worker.kill()


def _leave(number: int, frame: FrameType | None) -> None:
    global _leaving
    _leaving = True
    # Where the pool takes the exit for a result, the worker waits for another piece, and nobody gives one any more: when one
    # worker died, the pool asks the others to leave and waits for them for ever.
    signal.setitimer(signal.ITIMER_REAL, LAST_SECONDS)
    raise SystemExit(128 + number)  # so that private folders are removed on the way out


def _outlive_nobody() -> None:
    """End with the parent: after a kill -9 nobody else would tell this worker that no work will come any more."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(LAST_SECONDS)
        os._exit(128 + signal.SIGTERM)
