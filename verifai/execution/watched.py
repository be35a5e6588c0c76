"""Limits for work of our own in this very process: it is stopped from within when it takes too much memory or time.

A child process (:mod:`.child`) is the stronger fence, for foreign code and hostile data. Compiling and proving with our own
engine stay in the caller's process, where kernels are loaded and keys are kept. A thread looks at the clock and at resident
memory, and raises in the thread that works, as Ctrl-C would. A call that does not return to Python is not interrupted, so what
can be estimated is refused before it begins.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from verifai.errors import DeadlineExceeded, ResourceExhausted, VerifaiError
from verifai.execution.child import Limits
from verifai.execution.memory import resident_bytes

POLL_SECONDS = 0.05
INTERPRETER_BYTES = 256 << 20
"""Of a process that has loaded our libraries and kernels, and holds nothing else."""
Result = TypeVar("Result")


class _Stopped(BaseException):
    """Raised in the working thread; never leaves :func:`within`. No ``except Exception`` swallows it."""


class _Active:
    """The memory limits of all work under way: several threads share one process, each within a limit of its own.

    What a large program held before is its own; what an interpreter with our libraries holds counts.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._limits: dict[int, int | None] = {}
        self._before = 0

    def enter(self, key: int, limit: int | None) -> None:
        with self._lock:
            if not self._limits:
                self._before = max(0, resident_bytes() - INTERPRETER_BYTES)
            self._limits[key] = limit

    def leave(self, key: int) -> None:
        with self._lock:
            self._limits.pop(key, None)

    def limit(self) -> int | None:
        """What the process may take; ``None`` while some work has no limit."""
        with self._lock:
            given = list(self._limits.values())
            before = self._before
        return None if not given or None in given else before + sum(one for one in given if one is not None)


_ACTIVE = _Active()


class _Watch:
    """One piece of work, its limits and its thread."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._worker = threading.get_ident()
        self._began = time.monotonic()
        self._done = threading.Event()
        self._lock = threading.Lock()
        self.stopped: VerifaiError | None = None

    def run(self) -> None:
        """Look until the work is done, or stop it."""
        while not self._done.wait(self._pause()):
            reason = self._reason()
            if reason is None:
                continue
            with self._lock:
                if not self._done.is_set():
                    self.stopped = reason
                    _raise_in(self._worker, _Stopped)
            return

    def close(self) -> None:
        """The work is over: from now on nothing is raised, and what was raised but did not arrive yet is taken back."""
        with self._lock:
            self._done.set()
            if self.stopped is not None:
                _raise_in(self._worker, None)

    def _pause(self) -> float:
        """Seconds until the next look: none is needed before the deadline but for memory, and none is to be late for it."""
        if self._limits.wall_seconds is None:
            return POLL_SECONDS
        return min(POLL_SECONDS, max(0.0, self._limits.wall_seconds - (time.monotonic() - self._began)))

    def late(self) -> VerifaiError | None:
        """The error of work whose time is over; ``None`` while it is not."""
        limit = self._limits.wall_seconds
        if limit is None or time.monotonic() - self._began <= limit:
            return None
        return DeadlineExceeded(
            "deadline", f"stopped after {limit:g} s", hint="Raise the time limit, or use a smaller circuit."
        )

    def _reason(self) -> VerifaiError | None:
        limits = self._limits
        if (late := self.late()) is not None:
            return late
        allowed = _ACTIVE.limit() if limits.memory_bytes is not None else None
        if allowed is not None and resident_bytes() > allowed:
            return out_of_memory(limits)
        return None


def _raise_in(thread: int, kind: type[BaseException] | None) -> None:
    target = ctypes.py_object(kind) if kind is not None else None
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), target)


def out_of_memory(limits: Limits) -> ResourceExhausted:
    """The error for work that took more memory than allowed."""
    limit = "" if limits.memory_bytes is None else f" of {limits.memory_bytes / 2**20:,.0f} MiB"
    hint = "Raise --max-memory, or memory in [budget], or use a smaller circuit."
    return ResourceExhausted("out-of-memory", f"the memory limit{limit} was reached", hint=hint)


def within(limits: Limits, work: Callable[[], Result]) -> Result:
    """What ``work`` returns, done within ``limits``; processor time is not looked at. What ends too late is not returned.

    Raises:
        ResourceExhausted: ``out-of-memory``. DeadlineExceeded: ``deadline``.
    """
    if limits.memory_bytes is None and limits.wall_seconds is None:
        return work()
    watch = _Watch(limits)
    _ACTIVE.enter(id(watch), limits.memory_bytes)
    thread = threading.Thread(target=watch.run, name="verifai-limits", daemon=True)
    done: list[Result] = []
    problem: BaseException | None = None
    # _Stopped arrives once at most, anywhere before the watch is closed: also while the work ends by itself.
    try:
        try:
            thread.start()
            done.append(work())
        except _Stopped:
            pass
        except BaseException as caught:  # noqa: BLE001 - raised again below
            problem = caught
        watch.close()
    except _Stopped:
        watch.close()
    late = watch.late()
    _ACTIVE.leave(id(watch))
    if thread.ident is not None:  # else it could not be started, and the problem says so
        thread.join()
    if watch.stopped is not None:
        raise watch.stopped
    if isinstance(problem, MemoryError):
        raise out_of_memory(limits) from None
    if problem is not None:
        raise problem
    if late is not None:  # it ended by itself, but after its time: whether the watching thread had its turn decides nothing
        raise late
    return done[0]
