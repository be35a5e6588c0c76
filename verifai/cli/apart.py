"""A command in a process of its own, where a library may end the process that uses it: the status stays one of the contract.

Ray's core ends its process with status 1 when it loses the object store of this machine. Here 1 means that evidence is false.
So a command that joins a cluster is run by a fork of this process, made before anything is loaded, and this one only waits.
Standard library only.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import FrameType


@dataclass(frozen=True, slots=True)
class Parted:
    """Two processes of one command.

    Attributes:
        child: the one that runs it; 0 in that process itself.
        told: where the child writes the status, and the parent reads it.
        alive: held by the parent, and read by the child, which ends with it.
    """

    child: int
    told: int
    alive: int


def joins_a_cluster(arguments: Sequence[str]) -> bool:
    """Whether a command line names a cluster with ``--on``."""
    named = any(one == "--on" and value.startswith("ray") for one, value in pairwise(arguments))
    return named or any(one.startswith("--on=ray") for one in arguments)


def part() -> Parted | None:
    """Fork; ``None`` where the system cannot. Both processes go on from here."""
    if not hasattr(os, "fork"):
        return None
    sys.stdout.flush()
    sys.stderr.flush()
    (told, tell), (watch, alive) = os.pipe(), os.pipe()
    child = os.fork()
    if child:
        os.close(tell)
        os.close(watch)
        return Parted(child, told, alive)
    os.close(told)
    os.close(alive)
    threading.Thread(target=_outlive_nobody, args=(watch,), daemon=True).start()
    return Parted(0, tell, watch)


def tell(parted: Parted, status: int) -> None:
    """The child's last word: what becomes of it afterwards does not matter."""
    os.write(parted.told, bytes([status]))


def status_of(parted: Parted) -> int | None:
    """Wait for the child; its status, or ``None`` when it ended without a word."""
    terminal = sys.stdin is not None and not sys.stdin.closed and sys.stdin.isatty()

    def pass_on(number: int, frame: FrameType | None) -> None:
        os.kill(parted.child, number)

    signal.signal(signal.SIGINT, signal.SIG_IGN if terminal else pass_on)  # a terminal sends it to both
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, pass_on)
    found = os.read(parted.told, 1)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # before the child is reaped, and its number another's
    os.waitpid(parted.child, 0)
    return found[0] if found else None


def _outlive_nobody(watch: int) -> None:
    os.read(watch, 1)  # nobody writes: it returns when the parent has ended
    os.kill(os.getpid(), signal.SIGKILL)
