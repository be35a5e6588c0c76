"""Kernels are compiled once per installation, as a step of its own: ahead of a proof, and never counted in its time.

``verifai warm-up`` takes the step too. Where no cache can be written, every process takes it once.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from numba.core import event

from verifai.domain.progress import SILENT, Progress
from verifai.engines.sumcheck.prover.jit import is_compiled, kernels, load
from verifai.engines.sumcheck.prover.kernel_shares import compile_at_once
from verifai.engines.sumcheck.prover.resources import warm_up

PHASE = "compile kernels once per installation (about a minute)"


@dataclass
class _Process:
    ready: bool = False


_PROCESS, _LOCK = _Process(), threading.Lock()


def ensure_kernels(progress: Progress = SILENT) -> None:
    """Compile the kernels, unless this process has them or the cache of this installation does; load them from there.

    Raises:
        InternalError: code ``bug``, when a proof of ours does not hold.
    """
    with _LOCK:
        if _PROCESS.ready:
            return
        if not all(is_compiled(one) for one in kernels()):
            progress.note("Compiling kernels, once per installation (about a minute); `verifai warm-up` does it ahead.")
            progress.phase(PHASE)
            compile_at_once()
            warm_up(progress, PHASE)
        for one in kernels():
            load(one)
        _PROCESS.ready = True


class CompileTime:
    """Seconds that were spent compiling, in any thread; known when :func:`compile_time` ends."""

    seconds: float = 0.0


@contextmanager
def compile_time() -> Iterator[CompileTime]:
    """Measure what is compiled all the same, such as for a type of array that warming up does not meet."""
    spent = CompileTime()

    def add(seconds: float) -> None:
        spent.seconds += seconds

    with event.install_timer("numba:compile", add):
        yield spent
