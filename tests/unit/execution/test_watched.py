"""Work in this process is stopped at its limits, and only there."""

from __future__ import annotations

import contextlib
import threading
import time

import pytest

from verifai.errors import DeadlineExceeded, ResourceExhausted
from verifai.execution import watched
from verifai.execution.child import Limits
from verifai.execution.memory import resident_bytes
from verifai.execution.watched import within


def _busy(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        sum(range(1000))


def test_time_is_limited():
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded) as caught:
        within(Limits(wall_seconds=0.2), lambda: _busy(20))
    assert (caught.value.code, caught.value.status) == ("deadline", 4)
    assert time.monotonic() - began < 10


def test_memory_is_limited():
    def grow() -> None:
        kept = []
        for _ in range(300):
            kept.append(b"\1" * (4 << 20))
            _busy(0.02)

    with pytest.raises(ResourceExhausted) as caught:
        within(Limits(memory_bytes=64 << 20), grow)
    assert (caught.value.code, caught.value.status) == ("out-of-memory", 4) and "--max-memory" in caught.value.hint


def test_what_stays_within_its_limits_is_let_alone():
    for number in range(20):
        assert within(Limits(memory_bytes=1 << 40, wall_seconds=60.0), lambda number=number: _busy(0.01) or number) == number
    assert within(Limits(), lambda: 5) == 5


def _raising(problem: BaseException) -> None:
    raise problem


def test_errors_and_interrupts_pass_through():
    for problem in (ValueError("x"), KeyboardInterrupt()):
        with pytest.raises(type(problem)):
            within(Limits(wall_seconds=60.0), lambda problem=problem: _raising(problem))
    with pytest.raises(ResourceExhausted):
        within(Limits(memory_bytes=1 << 40), lambda: _raising(MemoryError()))


def test_no_except_swallows_the_end_of_the_time():
    def careless() -> None:
        for _ in range(1000):
            with contextlib.suppress(Exception):
                _busy(0.05)

    with pytest.raises(DeadlineExceeded):
        within(Limits(wall_seconds=0.1), careless)


def test_a_stop_that_comes_at_the_very_end_hits_nobody_else(monkeypatch):
    """Time runs out while the work ends: the error is raised once, and nothing is left to arrive later."""
    monkeypatch.setattr(watched, "POLL_SECONDS", 0.001)
    stopped = 0
    for number in range(200):
        # A thread may wait a whole switch interval (5 ms) and longer for its turn: work that ends a little after the limit, and
        # work that ends long after it.
        lasts = 0.0032 + 0.001 * (number % 40)
        try:
            within(Limits(wall_seconds=0.003), lambda lasts=lasts: _busy(lasts))
        except DeadlineExceeded:
            stopped += 1
        _busy(0.0005)
    assert stopped


def test_threads_share_the_process_and_each_has_its_own_limit():
    now = max(resident_bytes(), watched.INTERPRETER_BYTES)
    failed: list[BaseException] = []

    def work() -> None:
        try:
            within(Limits(memory_bytes=now), lambda: _busy(0.5))  # two of them may take twice as much together
        except BaseException as problem:
            failed.append(problem)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(failed) <= 1  # the one that ends last may be alone for a moment
