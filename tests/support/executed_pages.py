"""Runs a page of the docs as its reader would: files are written, scripts run, commands end in the statuses printed.

What a page may hold, in fenced blocks:

- a language with ``title="NAME"``: the block is written to the file NAME;
- ``python`` without a title: run as a script;
- ``console``: each line after ``$ `` is a command of a shell, expected to end with status 0, or with N where the line ends in
  ``# exit status N``. Lines below a command are what it prints: each must be found in its output, in order; ``…`` in a line
  stands for any text. A command may go on in the next line after a backslash;
- everything else is shown only.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(r"^```(?P<info>[^\n]*)\n(?P<text>.*?)^```$", re.S | re.M)
_TITLE = re.compile(r'title="(?P<name>[^"]+)"')
_STATUS = re.compile(r"\s+# exit status (?P<status>\d+)$")


@dataclass(frozen=True)
class Command:
    """One command of a page, with what the page says of it."""

    line: str
    status: int
    prints: tuple[str, ...]


def commands(block: str) -> list[Command]:
    """The commands of a ``console`` block."""
    found: list[tuple[str, list[str]]] = []
    for line in block.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        elif found and found[-1][0].endswith("\\"):
            found[-1] = (found[-1][0][:-1] + line.strip(), [])
        elif found and line.strip() and line.strip() != "…":
            found[-1][1].append(line.strip())
    result = []
    for line, prints in found:
        status = _STATUS.search(line)
        result.append(Command(_STATUS.sub("", line), int(status["status"]) if status else 0, tuple(prints)))
    return result


def run_page(page: Path, where: Path, *, tools: Callable[[Path], None] | None = None) -> list[Command]:
    """Does all that ``page`` says, in the folder ``where``.

    Args:
        tools: puts further programs into the folder that the page's commands are looked up in first.

    Returns:
        The commands that ran.

    Raises:
        AssertionError: a command ended with another status, or did not print what the page shows.
    """
    folder = where.parent / "tools"
    folder.mkdir(exist_ok=True)
    for name, what in (("verifai", "-m verifai"), ("python", ""), ("python3", "")):
        script = folder / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" {what} "$@"\n', encoding="utf-8")
        script.chmod(0o755)
    if tools is not None:
        tools(folder)
    surroundings = {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "200", "NO_COLOR": "1"}
    ran: list[Command] = []
    for block in _BLOCK.finditer(page.read_text(encoding="utf-8")):
        info, text = block["info"].strip(), block["text"]
        if title := _TITLE.search(info):
            (where / title["name"]).parent.mkdir(parents=True, exist_ok=True)
            (where / title["name"]).write_text(text, encoding="utf-8")
        elif info == "python":
            done = subprocess.run([sys.executable, "-c", text], cwd=where, env=surroundings, capture_output=True, text=True)
            assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
        elif info == "console":
            for command in commands(text):
                _run(command, where, surroundings)
                ran.append(command)
    return ran


def _run(command: Command, where: Path, surroundings: dict[str, str]) -> None:
    done = subprocess.run(["bash", "-c", command.line], cwd=where, env=surroundings, capture_output=True, text=True)
    output = done.stdout + done.stderr
    assert done.returncode == command.status, f"$ {command.line}\nended with {done.returncode}, not {command.status}:\n{output}"
    words = " ".join(output.split())
    at = 0
    for line in command.prints:
        pattern = ".*?".join(re.escape(" ".join(part.split())) for part in line.split("…"))
        found = re.compile(pattern).search(words, at)
        assert found, f"$ {command.line}\nprinted no (or not in this order) {line!r}:\n{output}"
        at = found.end()
