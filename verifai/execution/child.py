"""Run one task of foreign code in a fenced child process.

The child gets its own session, a private 0700 folder as home and working directory, an environment made from nothing, no
standard input, limits on address space, processor time and wall time, and it dies with its parent. It reads its task from a
file in that folder (never from the command line) and answers in JSON lines over a pipe. Its output streams are drained and only
their tail is kept, because foreign logs can hold private inputs.

The child's side is :mod:`verifai.execution.child_entry`.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from verifai.domain import strict_json
from verifai.domain.progress import SILENT, Progress
from verifai.errors import DeadlineExceeded, EngineCrashed, ResourceExhausted, VerifaiError

POLL_SECONDS = 0.05
SAMPLE_SECONDS = POLL_SECONDS if sys.platform == "linux" else 0.5
"""How often resident memory is sampled; without /proc each sample is a run of ps."""
MAX_ANSWER_BYTES = 64 * 1024 * 1024
MAX_LOG_BYTES = 64 * 1024
TASK_FILE = "task.json"
RESERVED_ADDRESS_SPACE = 2 * 2**30 + (os.cpu_count() or 1) * 256 * 2**20
"""Address space granted above the memory limit: libraries, stacks and an allocator arena per thread are mapped, not used."""

_OUT_OF_MEMORY = ("memory allocation of", "cannot allocate memory", "out of memory", "memoryerror", "resource temporarily")


@dataclass(frozen=True, slots=True)
class Limits:
    """Hard limits of one child; ``None`` means none.

    Attributes:
        memory_bytes: peak resident memory. Address space is capped at this plus a fixed reserve, and the resident size is
            polled as well.
        cpu_seconds: processor time, summed over threads.
        wall_seconds: elapsed time.
    """

    memory_bytes: int | None = None
    cpu_seconds: float | None = None
    wall_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the task, as the child answered it.

    Attributes:
        name: the step's name.
        value: what it returned, JSON values; ``None`` when it failed.
        failure: ``""`` for success, else ``error`` (an exception) or ``panic`` (a Rust panic).
        message: the exception's text; foreign, so never parsed for decisions and cut to a bounded length.
        seconds: duration inside the child.
    """

    name: str
    value: Any
    failure: str
    message: str
    seconds: float


@dataclass(frozen=True, slots=True)
class ChildReport:
    """What became of a child.

    Attributes:
        steps: the steps that were answered, in order.
        death: why the child ended early; ``None`` when it ran to its end.
        peak_rss_bytes: peak resident memory.
        seconds: elapsed, start of the interpreter included.
        log: tail of its standard error; may hold private data, so it is for the developer's eyes only.
    """

    steps: tuple[Step, ...]
    death: VerifaiError | None
    peak_rss_bytes: int
    seconds: float
    log: str = field(repr=False, default="")


def run(
    module: str,
    task: Mapping[str, Any],
    *,
    folder: Path,
    limits: Limits,
    environment: Mapping[str, str] | None = None,
    progress: Progress = SILENT,
) -> ChildReport:
    """Run ``python -I -m module`` on ``task`` inside ``folder``; wait for its end.

    Args:
        module: a module that calls :func:`verifai.execution.child_entry.serve`.
        task: JSON values.
        folder: from :func:`verifai.execution.scratch.private_directory`.
        environment: variables beyond the minimal ones.

    Returns:
        The report; a child that died is reported in ``death``, not raised, so that a batch keeps the answers before it.

    Raises:
        KeyboardInterrupt: passed on, after the whole process group was killed.
    """
    _write_task(folder, task, limits)
    started = time.monotonic()
    child = _Child(module, folder, environment or {})
    _LIVE.add(child)
    try:
        child.attend(limits, started, progress)
        child.judge_time(limits, time.monotonic() - started)  # an end that came late is late, whenever this process looked
    finally:
        child.destroy()
        _LIVE.discard(child)
    return child.report(limits, time.monotonic() - started)


def kill_all() -> None:
    """Kill every running child. For signal handlers of programs that run children from worker threads."""
    for child in _LIVE.snapshot():
        child.kill()


class _Register:
    """The running children of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._children: set[_Child] = set()

    def add(self, child: _Child) -> None:
        with self._lock:
            self._children.add(child)

    def discard(self, child: _Child) -> None:
        with self._lock:
            self._children.discard(child)

    def snapshot(self) -> tuple[_Child, ...]:
        # Without the lock: a signal handler may run while this very thread holds it, and copying a set is one step.
        return tuple(self._children)


_LIVE = _Register()


def _command(module: str) -> list[str]:
    # Isolated: no PYTHON* variables, no working directory on the path, no user site.
    return [sys.executable, "-I", "-m", module]


def _write_task(folder: Path, task: Mapping[str, Any], limits: Limits) -> None:
    space = None if limits.memory_bytes is None else limits.memory_bytes + RESERVED_ADDRESS_SPACE
    document = {"parent": os.getpid(), "address_space": space, "cpu_seconds": limits.cpu_seconds, "task": task}
    handle = os.open(folder / TASK_FILE, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        json.dump(document, stream)


class _Child:
    """One running child; used by one thread, except that any thread may call :meth:`kill`."""

    def __init__(self, module: str, folder: Path, environment: Mapping[str, str]) -> None:
        answer, writer = os.pipe()
        self._streams = {answer: bytearray()}
        self._answer = answer
        self._log: int = -1
        self.stopped: VerifaiError | None = None
        self.peak = 0
        self._done = False
        try:
            # The environment starts empty: LD_*, PYTHON*, proxies and engine switches of the caller must not steer the child.
            self._process = subprocess.Popen(
                [*_command(module), str(writer)],
                cwd=folder,
                env={
                    "HOME": str(folder),
                    "TMPDIR": str(folder),
                    "PATH": os.defpath,
                    "LANG": "C.UTF-8",
                    **environment,
                },
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=(writer,),
                start_new_session=True,
            )
        except OSError as problem:
            os.close(answer)
            raise EngineCrashed("engine-crashed", f"cannot start a child process: {problem.strerror}") from None
        finally:
            os.close(writer)
        assert self._process.stderr is not None
        self._log = self._process.stderr.fileno()
        self._streams[self._log] = bytearray()

    def kill(self) -> None:
        """SIGKILL to the whole group."""
        if not self._done:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def destroy(self) -> None:
        """Kill what is left of the group, reap the child, close the pipes."""
        self.kill()
        self._done = True  # before it is reaped: then its number can be another group's, which kill() must not meet
        self._process.wait()
        os.close(self._answer)
        if self._process.stderr is not None:
            self._process.stderr.close()

    def attend(self, limits: Limits, started: float, progress: Progress) -> None:
        """Drain the pipes and watch the limits until the child closes both pipes or must be stopped."""
        with selectors.DefaultSelector() as selector:
            for stream in self._streams:
                os.set_blocking(stream, False)
                selector.register(stream, selectors.EVENT_READ)
            last_sample = 0.0
            while selector.get_map() and self.stopped is None:
                over = self._has_exited()
                ready = selector.select(0 if over else POLL_SECONDS)
                for key, _ in ready:
                    if not self._drain(key.fd):
                        selector.unregister(key.fd)
                if over and not ready:
                    break  # a grandchild holds the pipes; it is killed with the group
                now = time.monotonic()
                if now - last_sample >= SAMPLE_SECONDS:
                    last_sample = now
                    self._watch(limits, now - started, progress)

    def _watch(self, limits: Limits, elapsed: float, progress: Progress) -> None:
        resident = _peak_resident(self._process.pid)
        if resident > self.peak:
            self.peak = resident
            progress.memory(resident)
        if limits.memory_bytes is not None and resident > limits.memory_bytes:
            self.stopped = _out_of_memory(limits)
        else:
            self.judge_time(limits, elapsed)

    def judge_time(self, limits: Limits, elapsed: float) -> None:
        """The error of a child whose time is over, unless it has another one already."""
        if self.stopped is None and limits.wall_seconds is not None and elapsed > limits.wall_seconds:
            self.stopped = DeadlineExceeded(
                "deadline",
                f"stopped after {limits.wall_seconds:g} s",
                hint="Raise the time limit, or use a smaller circuit.",
            )

    def _has_exited(self) -> bool:
        """Without reaping: until then the group's number cannot be given to others."""
        if not hasattr(os, "waitid"):
            return False
        return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None

    def _drain(self, stream: int) -> bool:
        """Read what is there; False at the end of the stream."""
        try:
            data = os.read(stream, 1 << 20)
        except BlockingIOError:
            return True
        kept = self._streams[stream]
        kept += data
        if stream == self._log:
            del kept[:-MAX_LOG_BYTES]
        elif len(kept) > MAX_ANSWER_BYTES:
            self.stopped = EngineCrashed("engine-crashed", f"the child answered more than {MAX_ANSWER_BYTES} bytes")
            return False
        return bool(data)

    def report(self, limits: Limits, seconds: float) -> ChildReport:
        """What became of the child. Only after :meth:`destroy`."""
        log = self._streams[self._log].decode("utf-8", errors="replace")
        steps: list[Step] = []
        ended = False
        death = self.stopped
        try:
            lines = bytes(self._streams[self._answer]).split(b"\n")
            for line in lines[:-1]:  # what follows the last newline is a line that was never finished
                message = strict_json.loads(line, where="child", floats=True, error=EngineCrashed, code="engine-crashed")
                if message["event"] == "end":
                    ended = True
                    self.peak = max(self.peak, int(message["peak_rss_bytes"]))
                else:
                    steps.append(_step(message))
        except (EngineCrashed, KeyError, TypeError, ValueError) as problem:
            death = death or EngineCrashed("engine-crashed", f"the child answered nonsense: {problem}")
        if death is None and not ended:
            death = _cause_of_death(self._process.returncode, log, limits)
        return ChildReport(tuple(steps), death, self.peak, seconds, log)


def _step(message: Mapping[str, Any]) -> Step:
    failure = str(message["failure"])
    if failure not in ("", "error", "panic", "memory"):
        raise ValueError(f"no such failure {failure[:40]!r}")
    return Step(str(message["step"]), message["value"], failure, str(message["message"]), float(message["seconds"]))


def _out_of_memory(limits: Limits) -> ResourceExhausted:
    limit = "" if limits.memory_bytes is None else f" of {limits.memory_bytes / 2**20:.0f} MiB"
    return ResourceExhausted(
        "out-of-memory",
        f"the memory limit{limit} was reached",
        hint="Raise the memory limit, or use a smaller circuit.",
    )


def _cause_of_death(status: int, log: str, limits: Limits) -> VerifaiError:
    lowered = log.lower()
    if any(sign in lowered for sign in _OUT_OF_MEMORY):
        return _out_of_memory(limits)
    if status == -signal.SIGXCPU:
        return DeadlineExceeded("deadline", "the limit of processor time was reached", hint="Raise the time limit.")
    if status == -signal.SIGKILL:
        # Not from us, or ``stopped`` would say so: the system's OOM killer is the usual sender.
        return ResourceExhausted(
            "out-of-memory", "the child was killed from outside, most likely for lack of memory", hint="Free some memory."
        )
    name = signal.Signals(-status).name if -status in set(signal.Signals) else f"exit status {status}"
    return EngineCrashed("engine-crashed", f"the child process died ({name})")


def _peak_resident(pid: int) -> int:
    """Resident memory of a live process in bytes: its peak on Linux, its present size elsewhere; 0 when it has gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return _resident_by_ps(pid) if sys.platform != "linux" else 0
    for line in text.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def _resident_by_ps(pid: int) -> int:
    try:
        done = subprocess.run(["/bin/ps", "-o", "rss=", "-p", str(pid)], capture_output=True, timeout=5, check=False)
        return int(done.stdout) * 1024
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return 0
