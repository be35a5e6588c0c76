"""A command that may take so much processor time, its children's counted. Linux: it reads /proc."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

POLL_SECONDS = 0.3
_TICKS = os.sysconf("SC_CLK_TCK")


def run_within(command: Sequence[str], seconds: float) -> bool:
    """Run to the end, or stop it after ``seconds`` of processor time. Whether it came to its end.

    Raises:
        CalledProcessError: its status is not 0.
    """
    process = subprocess.Popen(command)
    try:
        while True:
            try:
                status = process.wait(POLL_SECONDS)
            except subprocess.TimeoutExpired:
                if spent(process.pid) > seconds:
                    return False
            else:
                if status:
                    raise subprocess.CalledProcessError(status, command)
                return True
    finally:
        process.kill()  # what verifai starts dies with it
        process.wait()


def spent(root: int) -> float:
    """Processor seconds of a process, of its living descendants, and of those whose end it has seen."""
    parents, ticks = {}, {}
    for pid, fields in _processes():
        parents[pid] = int(fields[1])
        ticks[pid] = sum(int(one) for one in fields[11:15])
    family = {root}
    grown = True
    while grown:
        found = {pid for pid, parent in parents.items() if parent in family}
        grown = not found <= family
        family |= found
    return sum(ticks.get(pid, 0) for pid in family) / _TICKS


def _processes() -> Iterator[tuple[int, list[str]]]:
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                text = (folder / "stat").read_text(errors="replace")
            except OSError:  # it has ended
                continue
            yield int(folder.name), text.rpartition(")")[2].split()
