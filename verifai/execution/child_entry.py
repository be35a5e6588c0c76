"""The child's side of :mod:`verifai.execution.child`: fence itself in, then run the steps one by one.

Kept free of heavy imports: the limits must stand before any foreign code is loaded.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

MAX_MESSAGE = 4000
_PR_SET_PDEATHSIG = 1


def serve(handlers: Mapping[str, Callable[[Mapping[str, Any]], Any]]) -> int:
    """Run the task in ``task.json`` of the working directory; answer to the descriptor named by the only argument.

    The task is ``{"steps": [{"op": NAME, "args": {...}}], "keep_going": bool}``. Without ``keep_going`` the first failing step
    is the last.

    Returns:
        The process's exit status; failures of steps are answers, so it is 0 for them too.
    """
    answer = int(sys.argv[1])
    os.set_inheritable(answer, False)
    task_file = Path("task.json")
    document = json.loads(task_file.read_text(encoding="utf-8"))
    task_file.unlink()
    _fence(document)
    task = document["task"]
    for step in task["steps"]:
        name = step["op"]
        message = _attempt(name, handlers[name], step["args"])
        _send(answer, message)
        if message["failure"] and not task.get("keep_going", False):
            break
    _send(answer, {"event": "end", "peak_rss_bytes": _peak_resident()})
    return 0


def _attempt(name: str, handler: Callable[[Mapping[str, Any]], Any], args: Mapping[str, Any]) -> dict[str, Any]:
    started = time.perf_counter()
    value, failure, text = None, "", ""
    try:
        value = handler(args)
    except MemoryError as problem:
        failure, text = "memory", str(problem)
    except Exception as problem:  # noqa: BLE001 - foreign code; the parent translates it
        failure, text = "error", f"{type(problem).__name__}: {problem}"
    except BaseException as problem:  # a Rust panic arrives as one
        if type(problem).__name__ != "PanicException":
            raise
        failure, text = "panic", str(problem)
    return {
        "event": "step",
        "step": name,
        "value": value,
        "failure": failure,
        "message": text[:MAX_MESSAGE].encode("utf-8", errors="replace").decode("utf-8"),
        "seconds": time.perf_counter() - started,
    }


def _send(answer: int, message: Mapping[str, Any]) -> None:
    data = memoryview(json.dumps(message, allow_nan=False).encode("utf-8") + b"\n")
    while data:
        data = data[os.write(answer, data) :]


def _fence(document: Mapping[str, Any]) -> None:
    os.umask(0o077)
    # Foreign libraries log inputs at debug level. This child's log is not used, so no message is formatted at all.
    logging.disable(logging.CRITICAL)
    if sys.platform == "linux":
        # Dies with the parent, even when the parent is killed.
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != document["parent"]:
        sys.exit(1)  # the parent was gone before the request above took effect
    _limit(resource.RLIMIT_CORE, 0)
    if document["address_space"] is not None and sys.platform == "linux":
        # macOS accepts RLIMIT_AS without enforcing it; there the parent's polling is the limit.
        _limit(resource.RLIMIT_AS, int(document["address_space"]))
    if document["cpu_seconds"] is not None:
        _limit(resource.RLIMIT_CPU, max(1, int(document["cpu_seconds"] + 0.999)))


def _limit(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(kind, (value, value if kind == resource.RLIMIT_CORE else hard))


def _peak_resident() -> int:
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
