"""Many bundles judged at once: one worker process per core, a bounded queue, results in the order given."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from datetime import datetime
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import cast

from verifai.domain.circuit_spec import Budget
from verifai.domain.findings import Finding, Outcome
from verifai.domain.policy.verdict import Judgement
from verifai.domain.progress import Progress
from verifai.stages.gate.bundle import judge_bundle
from verifai.stages.gate.load import LoadedPolicy

Judge = Callable[[LoadedPolicy, Path, datetime, Budget], Judgement]
SMALL = 4
"""Up to this many bundles are judged in this process: starting workers costs more."""

_QUEUED_PER_WORKER = 4
_LAST_SECONDS = 5.0
"""How long a worker may take to clean up that has no parent any more, or was asked to leave."""


def judge_all(
    loaded: LoadedPolicy,
    paths: Sequence[Path],
    now: datetime,
    *,
    jobs: int | None,
    budget: Budget,
    progress: Progress,
    judge: Judge = judge_bundle,
) -> Iterator[Judgement]:
    """Judge ``paths``; yield in their order. Memory does not grow with their number, except by the judgements themselves.

    Args:
        jobs: worker processes; by default one per core, or none for a few bundles.
        judge: a function that a worker process can import.
    """
    progress.phase(f"judging {len(paths)} bundles", len(paths))
    workers = min(jobs or (1 if len(paths) <= SMALL else os.cpu_count() or 1), len(paths))
    if workers == 1:
        for path in paths:
            yield _timed(judge, loaded, path, now, budget)
            progress.advance()
        return
    yield from _parallel(loaded, paths, now, workers, budget, progress, judge)


def _parallel(
    loaded: LoadedPolicy,
    paths: Sequence[Path],
    now: datetime,
    workers: int,
    budget: Budget,
    progress: Progress,
    judge: Judge,
) -> Iterator[Judgement]:
    # Forking would copy the locks of native libraries' threads in whatever state they are.
    context = multiprocessing.get_context("spawn")
    before = {child.pid for child in multiprocessing.active_children()}
    pool = ProcessPoolExecutor(workers, context, _start, (loaded, now, budget, judge))
    pending: deque[tuple[Path, Future[Judgement]]] = deque()
    waiting = iter(paths)
    broken = False
    try:
        while True:
            while not broken and len(pending) < workers * _QUEUED_PER_WORKER and (path := next(waiting, None)) is not None:
                try:
                    future = pool.submit(_judge, path)
                except BrokenProcessPool:
                    broken = True
                    future = Future()
                    future.set_exception(BrokenProcessPool())
                future.add_done_callback(lambda _: progress.advance())
                pending.append((path, future))
            if not pending:
                break
            path, future = pending.popleft()
            try:
                yield future.result()
            except BrokenProcessPool:
                broken = True
                yield _died(path)
        for path in waiting:
            yield _died(path)
    except BaseException:
        _end([child for child in multiprocessing.active_children() if child.pid not in before])
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _end(workers: Sequence[BaseProcess]) -> None:
    """Ask the workers to leave, so that they remove their private folders; then kill those that are still there.

    One that is asked just as it takes the lock of the queue of results leaves with it, and the others wait for it for ever.
    """
    for worker in workers:
        worker.terminate()
    deadline = time.monotonic() + _LAST_SECONDS
    left = {worker.sentinel: worker for worker in workers}
    while left and (ended := wait(list(left), max(0.0, deadline - time.monotonic()))):
        for sentinel in ended:
            del left[cast(int, sentinel)]
    for worker in left.values():
        worker.kill()


def _timed(judge: Judge, loaded: LoadedPolicy, path: Path, now: datetime, budget: Budget) -> Judgement:
    start = time.perf_counter()
    judgement = judge(loaded, path, now, budget)
    return replace(judgement, seconds=time.perf_counter() - start)


def _died(path: Path) -> Judgement:
    message = "a worker process died, perhaps for lack of memory, so this bundle was not judged"
    finding = Finding("worker-died", Outcome.UNDECIDED, message, where=str(path), remedy="Run again with --jobs 1.")
    return Judgement(str(path), None, {}, (finding,))


_leaving = False
_task: tuple[LoadedPolicy, datetime, Budget, Judge] | None = None


def _start(loaded: LoadedPolicy, now: datetime, budget: Budget, judge: Judge) -> None:
    global _task
    # Ctrl-C reaches the whole process group; the parent decides what happens, and ends the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    threading.Thread(target=_outlive_nobody, daemon=True).start()
    _task = (loaded, now, budget, judge)


def _leave(number: int, frame: FrameType | None) -> None:
    global _leaving
    _leaving = True
    # Where the pool takes the exit for a result, the worker waits for another bundle, and nobody gives one any more: when one
    # worker died, the pool asks the others to leave and waits for them for ever.
    signal.setitimer(signal.ITIMER_REAL, _LAST_SECONDS)
    raise SystemExit(128 + number)  # so that private folders are removed on the way out


def _outlive_nobody() -> None:
    """End with the parent: after a kill -9 nobody else would tell this worker that no bundle will come any more."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_LAST_SECONDS)
        os._exit(128 + signal.SIGTERM)


def _judge(path: Path) -> Judgement:
    if _leaving:  # the pool takes the exit for a result, and hands out the next bundle
        os._exit(128 + signal.SIGTERM)
    assert _task is not None
    loaded, now, budget, judge = _task
    try:
        return _timed(judge, loaded, path, now, budget)
    finally:
        if _leaving:  # what was private is removed by now
            os._exit(128 + signal.SIGTERM)
