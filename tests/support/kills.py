"""A run of many samples whose command and workers are killed (-9) at random moments, and what must be true afterwards.

Each command is the fork of a process that has loaded verifai, so that a kill costs what it costs to start work again, and not
what it costs to start Python. Nothing else is different: the child runs the command line, and its workers are begun as ever.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.crews import verified_digests, whole
from tests.support.paths import ROOT
from tests.support.waiting import PATIENCE, has_ended, until
from verifai.circuit_folder import CircuitFolder
from verifai.domain.proof_index import INDEX_FILE, SampleStatus, parse_index

_TEMPLATE = """
import importlib, json, os, signal, sys
for name in json.loads(sys.argv[1]):
    importlib.import_module(name)
from verifai.cli.app import run
for line in sys.stdin:
    arguments = json.loads(line)
    child = os.fork()
    if not child:
        os.setpgid(0, 0)
        nowhere = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(nowhere, number)
        sys.argv = ["verifai", *arguments]
        try:
            status = run(arguments)
        except SystemExit as left:
            status = left.code
        os._exit(status if isinstance(status, int) else 70)
    print(child, flush=True)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
"""
_LOADED = ("verifai.cli.prove", "verifai.stages.batch.run", "verifai.engines.sumcheck.engine", "verifai.bundle.writer")


@dataclass
class Commands:
    """Commands of verifai, one after the other, each in a process of its own."""

    process: subprocess.Popen[str]
    running: int = 0

    def start(self, arguments: Sequence[str]) -> int:
        """Begin a command; its process identifier."""
        assert not self.running and self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps(list(arguments)) + "\n")
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
def commands(environment: Mapping[str, str] = {}, more: Sequence[str] = ()) -> Iterator[Commands]:
    """A process that begins commands. ``more``: further modules to load once."""
    process = subprocess.Popen(
        [sys.executable, "-c", _TEMPLATE, json.dumps([*_LOADED, *more])],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Commands(process)
    finally:
        process.kill()
        process.communicate()


def children(parent: int, of: Callable[[bytes], bool]) -> list[int]:
    """Processes whose parent is ``parent``, by their command lines. Needs /proc."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rsplit(")", 1)[1].split()
            if int(fields[1]) == parent and of(path.with_name("cmdline").read_bytes()):
                found.append(int(path.parent.name))
        except (OSError, IndexError, ValueError):
            continue
    return found


def local_workers(parent: int) -> list[int]:
    """Worker processes that a command began on this machine."""
    return children(parent, lambda line: b"spawn_main" in line)


@dataclass
class Killed:
    """What was killed: the command, or one of its workers."""

    commands: int = 0
    workers: int = 0

    @property
    def kills(self) -> int:
        return self.commands + self.workers


def rows_done(output: Path) -> int:
    """Samples that the index lists as done."""
    index = output / INDEX_FILE
    return index.read_bytes().count(b'"status": "proven"') if index.exists() else 0


def kill_at_random(
    starter: Commands,
    arguments: Sequence[str],
    output: Path,
    rows: int,
    kills: int,
    *,
    workers: Callable[[int], list[int]] = local_workers,
    seed: int = 0,
    within: float = 2.0,
) -> Killed:
    """Kill until there were ``kills``, or all rows are done. The last command is killed as well if it still runs.

    A kill comes at any moment of the first ``within`` seconds after the one before, while things begin, and at once when a
    sample is done meanwhile; every other one shortly after a sample was done. So the run goes on, by about a sample for each
    kill, however slow the machine is.
    """
    generator, killed = random.Random(seed), Killed()
    while killed.kills < kills and rows_done(output) < rows:
        if not starter.running:
            starter.start(arguments)
        command, before = starter.running, rows_done(output)
        end = time.monotonic() + (generator.random() * within if killed.kills % 2 else PATIENCE)

        def due(command: int = command, before: int = before, end: float = end) -> bool:
            return has_ended(command) or rows_done(output) > before or time.monotonic() > end

        until(due)
        if not killed.kills % 2:
            time.sleep(generator.random() * 0.05)
        if has_ended(command):
            starter.status()
            continue
        victim = generator.choice([command, *workers(command)])
        try:
            os.kill(victim, signal.SIGKILL)
        except ProcessLookupError:
            continue
        if victim == command:
            killed.commands += 1
            starter.status()
        else:
            killed.workers += 1
    if starter.running:
        os.kill(starter.running, signal.SIGKILL)
        starter.status()
        killed.commands += 1
    return killed


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
