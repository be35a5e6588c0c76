"""A run of many samples whose command and workers are killed (-9) at random moments, and what must be true afterwards.

Some kills come from outside at a moment, of commands that nothing watches. The others are at a step of a phase that was drawn:
the journal, sealing, opening numbers, fresh roots, going on (:mod:`.kill_agent`), so that phases of a millisecond get their
share, and a busy machine does not change what is hit.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.crews import verified_digests, whole
from tests.support.kill_agent import children
from tests.support.paths import ROOT
from tests.support.waiting import PATIENCE, has_ended, until
from verifai.circuit_folder import CircuitFolder
from verifai.domain.proof_index import INDEX_FILE, SampleStatus, parse_index

_SERVE = "from tests.support.kill_agent import serve; serve()"
PHASES = ("going on", "opening numbers", "sealing", "the journal", "between")
_LOADED = ("verifai.cli.prove", "verifai.stages.batch.run", "verifai.engines.sumcheck.engine", "verifai.bundle.writer")


@dataclass
class Commands:
    """Commands of verifai, one after the other, each in a process of its own.

    Attributes:
        nursery: whether their worker processes are forked from one that has loaded everything.
    """

    process: subprocess.Popen[str]
    nursery: bool
    running: int = 0

    def start(self, arguments: Sequence[str], plan: Mapping[str, Any] | None = None) -> int:
        """Begin a command; its process identifier. ``plan``: where it kills (:class:`tests.support.kill_agent.Agent`)."""
        assert not self.running and self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps({"arguments": list(arguments), "nursery": self.nursery, "plan": plan}) + "\n")
        self.process.stdin.flush()
        self.running = int(self.process.stdout.readline())
        return self.running

    def status(self) -> int:
        """Wait for its end; its exit status, or the negative number of the signal that ended it."""
        assert self.process.stdout
        self.running = 0
        return int(self.process.stdout.readline())


def command(folder: CircuitFolder, data: Path, output: Path, *more: str) -> list[str]:
    """The command line of a run that goes on where the one before was killed."""
    return ["prove", str(folder.folder), str(data), "-o", str(output), "--resume", "--renew-weights", "--keep-going", *more]


@contextmanager
def commands(
    environment: Mapping[str, str] = {}, more: Sequence[str] = (), warm: Sequence[str] = (), *, nursery: bool = False
) -> Iterator[Commands]:
    """A process that begins commands. ``more``: modules to load besides; ``warm``: a command that it runs itself before."""
    setting = {"modules": [*_LOADED, *more], "warm": list(warm)}
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVE, json.dumps(setting)],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Commands(process, nursery)
    finally:
        process.kill()
        process.communicate()


def local_workers(parent: int) -> list[int]:
    """Worker processes that a command began on this machine."""
    return children(parent, lambda line: b"spawn_main" in line)


def rows_done(output: Path) -> int:
    """Samples that the index lists as done."""
    index = output / INDEX_FILE
    return index.read_bytes().count(b'"status": "proven"') if index.exists() else 0


@dataclass
class Killer:
    """Kills the runs of one command line again and again.

    Attributes:
        arguments: of the command, which goes on where it was killed.
        rows: samples of a run.
        log: a file; a line for each kill at a step.
        workers: finds the worker processes of a command, for kills from outside.
        phases: in which kills at a step are.
        raylets: processes whose workers are killed; of a run without Ray none.
        killed: how many of what, by phase.
    """

    starter: Commands
    arguments: Sequence[str]
    output: Path
    rows: int
    log: Path
    workers: Callable[[int], list[int]] = local_workers
    raylets: Callable[[], list[int]] = list
    phases: Sequence[str] = PHASES
    within: float = 1.0
    seed: int = 0
    killed: Counter[tuple[str, str]] = field(default_factory=Counter)
    _outside: Counter[tuple[str, str]] = field(default_factory=Counter)
    _draw: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._draw = random.Random(self.seed)

    def until(self, kills: int) -> None:
        """Kill until there were ``kills``, or all rows are done. No command runs afterwards."""
        generator = self._draw
        while self.killed.total() < kills and rows_done(self.output) < self.rows:
            if generator.random() < 0.25:
                self._from_outside(generator)
            else:
                plan = {
                    "log": str(self.log),
                    "seed": generator.random(),
                    "workers_first": generator.choice([0, 1, 1, 2]),
                    "raylets": self.raylets(),
                    "phases": self.phases,
                }
                self.starter.start(self.arguments, plan)
                self.starter.status()
            told = self.log.read_text().splitlines() if self.log.exists() else []
            self.killed = self._outside + Counter((whose, phase) for whose, phase, _ in map(json.loads, told))

    def of(self, whose: str) -> int:
        """Kills of commands, or of workers."""
        return sum(count for (one, _), count in self.killed.items() if one == whose)

    def told(self) -> str:
        """For people: how many of what, where."""
        lines = [f"{whose}, {phase}: {count}" for (whose, phase), count in sorted(self.killed.items())]
        return f"{self.of('command')} commands, {self.of('worker')} workers; " + "; ".join(lines)

    def _from_outside(self, generator: random.Random) -> None:
        """A worker, or none, and then the command: at any moment of the first seconds, or just after a sample was done."""
        command = self.starter.start(self.arguments)
        for whose in generator.choice([["command"], ["worker", "command"]]):
            before = rows_done(self.output)
            late = generator.random() * self.within if generator.random() < 0.5 else PATIENCE
            end = time.monotonic() + late

            def due(before: int = before, end: float = end) -> bool:
                return has_ended(command) or rows_done(self.output) > before or time.monotonic() > end

            until(due)
            time.sleep(generator.random() * 0.05)
            found = self.workers(command) if whose == "worker" else [command]
            if has_ended(command) or not found:
                continue
            try:
                os.kill(generator.choice(found), signal.SIGKILL)
            except ProcessLookupError:
                continue
            self._outside[whose, "any moment"] += 1
        if not has_ended(command):
            os.kill(command, signal.SIGKILL)
        self.starter.status()


def finish(starter: Commands, arguments: Sequence[str]) -> None:
    """Let the command end; a sample whose process was killed too often is told as failed, and is tried again."""
    for _ in range(5):
        starter.start(arguments)
        if starter.status() == 0:
            return
    raise AssertionError("the same command, given again, does not finish")


def require_same(folder: CircuitFolder, output: Path, expected: Mapping[str, str], rows: int) -> None:
    """The same statements, no opening number twice (verified), and nothing half-written, here and beside the ledgers."""
    index = parse_index((output / INDEX_FILE).read_bytes(), "index")
    assert len(index.of(SampleStatus.PROVEN)) == rows and whole(output)
    assert verified_digests(folder, output) == expected
    secrets = folder.folder / "secrets"
    assert not [path for path in secrets.rglob("*") if path.name.endswith(".tmp")]
