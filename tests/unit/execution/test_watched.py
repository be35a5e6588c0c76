"""Work in this process is stopped at its limits, and only there."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

import pytest

from tests.support.waiting import FOR_EVER
from verifai.errors import DeadlineExceeded, ResourceExhausted
from verifai.execution import watched
from verifai.execution.child import Limits
from verifai.execution.memory import resident_bytes
from verifai.execution.watched import within


def _busy(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        sum(range(1000))


def _endless() -> None:
    while True:
        sum(range(1000))


def test_time_is_limited():
    with pytest.raises(DeadlineExceeded) as caught:
        within(Limits(wall_seconds=0.2), _endless)
    assert (caught.value.code, caught.value.status) == ("deadline", 4)


def test_what_ends_by_itself_after_its_time_is_late_all_the_same(monkeypatch):
    """The watching thread may not have had its turn: that decides nothing."""
    monkeypatch.setattr(watched._Watch, "_pause", lambda self: FOR_EVER)
    with pytest.raises(DeadlineExceeded):
        within(Limits(wall_seconds=0.01), lambda: _busy(0.02))
    with pytest.raises(ValueError, match="first"):
        within(Limits(wall_seconds=0.01), lambda: _busy(0.02) or _raising(ValueError("first")))


def test_a_thread_that_cannot_be_started_is_the_error(monkeypatch):
    def full(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", full)
    with pytest.raises(RuntimeError, match="start new thread"):
        within(Limits(wall_seconds=FOR_EVER), lambda: 5)
    assert watched._ACTIVE.limit() is None


def test_memory_is_limited():
    def grow() -> None:
        kept = []
        for _ in range(100):  # 400 MiB, then it stays as large as it is
            kept.append(b"\1" * (4 << 20))
            _busy(0.02)
        _endless()

    with pytest.raises(ResourceExhausted) as caught:
        within(Limits(memory_bytes=64 << 20), grow)
    assert (caught.value.code, caught.value.status) == ("out-of-memory", 4) and "--max-memory" in caught.value.hint


def test_what_stays_within_its_limits_is_let_alone():
    for number in range(20):
        assert (
            within(Limits(memory_bytes=1 << 40, wall_seconds=FOR_EVER), lambda number=number: _busy(0.01) or number) == number
        )
    assert within(Limits(), lambda: 5) == 5


def _raising(problem: BaseException) -> None:
    raise problem


def test_errors_and_interrupts_pass_through():
    for problem in (ValueError("x"), KeyboardInterrupt()):
        with pytest.raises(type(problem)):
            within(Limits(wall_seconds=FOR_EVER), lambda problem=problem: _raising(problem))
    with pytest.raises(ResourceExhausted):
        within(Limits(memory_bytes=1 << 40), lambda: _raising(MemoryError()))


def test_no_except_swallows_the_end_of_the_time():
    def careless() -> None:
        while True:
            with contextlib.suppress(Exception):
                _endless()

    with pytest.raises(DeadlineExceeded):
        within(Limits(wall_seconds=0.1), careless)


def test_a_stop_that_comes_at_the_very_end_hits_nobody_else(monkeypatch):
    """Time runs out while the work ends: the error is raised once, and nothing is left to arrive later."""
    monkeypatch.setattr(watched, "POLL_SECONDS", 0.001)
    lasts, stopped = 0.003, False
    for _ in range(200):
        # Longer after it was not stopped, shorter after it was: so its end stays near the moment at which the watch has its
        # turn, whatever that is on this machine.
        try:
            within(Limits(wall_seconds=0.003), lambda lasts=lasts: _busy(lasts))
        except DeadlineExceeded:
            lasts, stopped = max(0.001, lasts * 0.9), True
        else:
            lasts *= 1.1
        _busy(0.0005)
    assert stopped


def test_threads_share_the_process_and_each_has_its_own_limit():
    """Two of them may take together what both were given; one whose memory is not limited lifts the limit of all."""
    limit = 64 << 30
    both, alone = threading.Barrier(3), threading.Barrier(2)
    found: list[object] = []

    def work() -> None:
        both.wait()
        both.wait()

    def stays() -> None:
        work()
        alone.wait()
        alone.wait()

    def run(limits: Limits, task: Callable[[], None]) -> None:
        try:
            within(limits, task)
        except BaseException as problem:
            found.append(problem)

    before = max(0, resident_bytes() - watched.INTERPRETER_BYTES)
    threads = [threading.Thread(target=run, args=(Limits(memory_bytes=limit), task)) for task in (stays, work)]
    for thread in threads:
        thread.start()
    both.wait()
    together = watched._ACTIVE.limit()
    within(Limits(wall_seconds=FOR_EVER), lambda: found.append(watched._ACTIVE.limit()))
    both.wait()
    alone.wait()
    threads[1].join()
    rest = watched._ACTIVE.limit()
    alone.wait()
    threads[0].join()
    assert found == [None]
    assert together is not None and rest == together - limit
    assert abs(together - 2 * limit - before) < 1 << 30, "what was held before, and both limits"
    assert watched._ACTIVE.limit() is None
