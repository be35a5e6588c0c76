"""The other side of :mod:`tests.support.kills`: begins commands that kill themselves, or a worker, at one step of one phase.

Run as a process of its own (``python -c "from tests.support.kill_agent import serve; serve()"``), which loads verifai once and
proves once; each command is a fork of it. A command's worker processes are forks as well, of a second process that has loaded
everything and is otherwise fresh: what multiprocessing's *spawn* hands to a new process they get, and nothing else. So a kill
costs what it costs to begin the work again, and not what it costs to start Python three times.

A *step* is a call, or the begin or end of a call into C, such as ``write``, ``fsync`` or ``rename``, on the thread that gives
out, seals and keeps the journal. However busy the machine is, a kill at a step hits what it was drawn for.
"""

from __future__ import annotations

import array
import contextlib
import importlib
import json
import os
import random
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

PHASES = {
    ("verifai/stages/batch/run.py", "_begin"): "going on",
    ("verifai/stages/batch/openings.py", "take"): "opening numbers",
    ("verifai/engines/sumcheck/root_renewal.py", "renew_weight_root"): "a fresh root",
    ("verifai/stages/prove.py", "seal"): "sealing",
    ("verifai/stages/batch/index_file.py", "add"): "the journal",
    ("verifai/stages/batch/returned.py", "check"): "checking an answer",
}
"""Functions that begin a phase; what is outside all of them is ``between``."""
BETWEEN, RENEWAL, BEGIN, ROW = "between", "a fresh root", "going on", "the journal"
STEPS = {BEGIN: 2_000, "opening numbers": 5_000, RENEWAL: 100_000, "sealing": 100_000, ROW: 60, BETWEEN: 40_000}
"""About how many steps a phase has, of a batch of small proofs; a kill beyond its end is one at its end."""
PR_SET_NAME, PR_SET_CHILD_SUBREAPER = 15, 36
WORKER, NURSERY = b"forked worker", b"nursery"
"""Names of processes, of at most 15 bytes."""


@dataclass
class Agent:
    """Kills at a step. ``victims`` finds the worker processes that there are now.

    Attributes:
        log: a line for each kill is appended to it, before the kill.
        phases: of which one is drawn for each kill.
        workers_first: how many kills of workers come before the command kills itself.
    """

    log: Path
    draw: random.Random
    victims: Callable[[], list[int]]
    workers_first: int
    phases: Sequence[str]
    _stack: list[tuple[FrameType, str]] = field(default_factory=list)
    _phase: str = BETWEEN
    _left: int = 1
    _aimed: bool = False
    _renewal: bool = False
    _done: int = 0

    def arm(self) -> None:
        """From here on."""
        self._aim()
        sys.setprofile(self._seen)

    def _aim(self) -> None:
        """One phase, and a step of it: the first ones more often than each of the others."""
        self._phase = self.draw.choice([one for one in self.phases if one != BEGIN or not self._aimed])
        self._renewal = self.draw.random() < 0.5
        most = STEPS.get(self._phase, 100_000)
        self._left = int(most ** self.draw.random() if self.draw.random() < 0.5 else most * self.draw.random())
        self._aimed = True
        self._done = 0

    def _seen(self, frame: FrameType, event: str, argument: Any) -> None:
        now = self._stack[-1][1] if self._stack else BETWEEN
        if event == "call":
            code = frame.f_code
            for (path, name), phase in PHASES.items():
                if code.co_name == name and code.co_filename.endswith(path):
                    self._stack.append((frame, phase))
                    now = phase
        ends = event == "return" and bool(self._stack) and self._stack[-1][0] is frame
        if ends:
            self._stack.pop()
            self._done += now == ROW
        if now == self._phase or (self._renewal and now == RENEWAL):
            self._left -= 1
            if self._left <= 0 or (ends and now != BETWEEN):
                self._kill(now, frame, event, argument)
        elif ends and self._done >= 1 and now == ROW:  # the phase that was drawn does not come: no row for nothing
            self._kill(now, frame, event, argument)

    def _kill(self, phase: str, frame: FrameType, event: str, argument: Any) -> None:
        found = self.victims() if self.workers_first > 0 else []
        victim = self.draw.choice(found) if found else os.getpid()
        whose = "worker" if found else "command"
        what = f"{event} {getattr(argument, '__name__', '') if event.startswith('c_') else frame.f_code.co_name}"
        handle = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(handle, (json.dumps([whose, phase, what]) + "\n").encode())
        os.close(handle)
        self.workers_first -= 1
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
        self._aim()


def children(parent: int, of: Callable[[bytes], bool] = bool) -> list[int]:
    """Processes whose parent is ``parent``, by their command lines. Needs /proc."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rsplit(")", 1)[1].split()
            if int(fields[1]) == parent and fields[0] not in "ZX" and of(path.with_name("cmdline").read_bytes()):
                found.append(int(path.parent.name))
        except (OSError, IndexError, ValueError):
            continue
    return found


def ray_workers_of(raylet: int) -> list[int]:
    """Worker processes of a node. Its agents are named alike, and a node ends when one of them does."""
    return children(raylet, lambda line: line.startswith(b"ray::") and b"Agent" not in line)


# --- worker processes without the start of Python


@dataclass
class Nursery:
    """Where worker processes are asked for: at a process that has loaded everything, and forks them."""

    connection: socket.socket

    def spawn(self, path: bytes, arguments: Sequence[str], kept: Sequence[int]) -> int:
        """Stands in for ``multiprocessing.util.spawnv_passfds``: the process identifier of a child of this process."""
        line = [one.decode() if isinstance(one, bytes) else one for one in arguments]
        numbers = sorted({int(one) for one in kept})
        message = json.dumps([line, numbers]).encode()
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", numbers))
        self.connection.sendmsg([message], [rights])
        return int(self.connection.recv(64))


def with_nursery() -> None:
    """Begin one, for this process, and have multiprocessing use it for workers. This process takes over its grandchildren."""
    import ctypes
    from multiprocessing import util

    genuine = util.spawnv_passfds
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if not os.fork():
        ours.close()
        _raise_children(theirs)
    theirs.close()
    nursery = Nursery(ours)

    def spawn(path: bytes, arguments: Sequence[Any], kept: Any) -> int:
        workers = any("spawn_main" in str(one) for one in arguments)
        return nursery.spawn(path, arguments, kept) if workers else genuine(path, arguments, kept)

    vars(util)["spawnv_passfds"] = spawn


def forked_workers(parent: int) -> list[int]:
    """The worker processes of a command that has such a process. Needs /proc."""
    return [pid for pid in children(parent) if _name(pid) == WORKER]


def _name(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/comm").read_bytes().strip()
    except OSError:
        return b""


def _call_itself(name: bytes) -> None:
    import ctypes

    ctypes.CDLL(None).prctl(PR_SET_NAME, name, 0, 0, 0)


def _raise_children(connection: socket.socket) -> None:
    _call_itself(NURSERY)
    while True:
        message, rights, _, _ = connection.recvmsg(65536, socket.CMSG_SPACE(4 * 64))
        if not message:
            os._exit(0)
        line, numbers = json.loads(message)
        held = array.array("i")
        for _, _, data in rights:
            held.frombytes(data)
        between = os.fork()
        if not between:
            child = os.fork()
            if child:  # whose parent is the command, once this process has ended
                connection.send(str(child).encode())
                os._exit(0)
            _be_a_worker(line, numbers, list(held))
        os.waitpid(between, 0)
        for one in held:
            os.close(one)


def _be_a_worker(line: list[str], numbers: list[int], held: list[int]) -> None:
    """What a new Python would do with this command line, and with these files open."""
    _call_itself(WORKER)
    high = max([*numbers, *held, 2]) + 1
    moved = [os.dup2(one, high + place) for place, one in enumerate(held)]
    os.closerange(3, high)
    for one, number in zip(moved, numbers, strict=True):
        os.dup2(one, number, inheritable=True)
    os.closerange(high, high + len(moved))
    program = line[line.index("-c") + 1]
    sys.argv = ["-c", *line[line.index("-c") + 2 :]]
    status = 1
    try:
        exec(compile(program, "<spawned>", "exec"), {"__name__": "__spawned__"})
        status = 0
    except SystemExit as left:
        status = left.code if isinstance(left.code, int) else 0
    finally:
        os._exit(status)


# --- commands


def serve() -> None:
    """Begin one command for each line of standard input; print its process identifier, then its status."""
    setting = json.loads(sys.argv[1])
    for name in setting["modules"]:
        importlib.import_module(name)
    from verifai.cli.app import run

    if setting["warm"]:
        kept = os.dup(1)
        os.dup2(2, 1)
        assert run(setting["warm"]) == 0
        os.dup2(kept, 1)
        os.close(kept)
        assert threading.active_count() == 1, "a process with threads cannot be forked"
    for text in sys.stdin:
        order = json.loads(text)
        child = os.fork()
        if not child:
            _command(run, order)
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _command(run: Callable[[list[str]], int], order: dict[str, Any]) -> None:
    os.setpgid(0, 0)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nowhere, number)
    if order["nursery"]:
        with_nursery()
    sys.argv = ["verifai", *order["arguments"]]
    if order["plan"]:
        plan, me = order["plan"], os.getpid()

        def victims() -> list[int]:
            if not plan["raylets"]:
                return forked_workers(me)
            return [pid for one in plan["raylets"] for pid in ray_workers_of(one)]

        Agent(Path(plan["log"]), random.Random(plan["seed"]), victims, plan["workers_first"], plan["phases"]).arm()
    try:
        status = run(order["arguments"])
    except SystemExit as left:
        status = left.code if isinstance(left.code, int) else 70
    sys.setprofile(None)
    os._exit(status if isinstance(status, int) else 70)
