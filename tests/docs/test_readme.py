"""The README's script trains, proves and verifies; its console lines are commands that exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from verifai.cli.verbs import VERBS

README = (ROOT / "README.md").read_text(encoding="utf-8")


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.S)


def test_the_python_example_runs_as_printed(tmp_path: Path) -> None:
    pytest.importorskip("sklearn", reason="needs the [sklearn] extra")
    script = tmp_path / "example.py"
    script.write_text(_blocks("python")[0], encoding="utf-8")
    work = tmp_path / "work"
    work.mkdir()
    root = ROOT
    done = subprocess.run([sys.executable, str(script), str(work)], capture_output=True, text=True, cwd=root)
    assert done.returncode == 0, done.stderr
    assert "zero-knowledge" in done.stdout


def test_the_console_lines_name_existing_commands_and_targets() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    lines = [line.removeprefix("$ ") for block in _blocks("console") for line in block.splitlines() if line.startswith("$ ")]
    assert len(lines) >= 5
    for line in lines:
        words = line.split("#")[0].rpartition("&& ")[2].split()
        if words[0] == "make":
            assert re.search(rf"^{words[1]}:", makefile, flags=re.M), line
        elif words[0] == "verifai":
            assert words[1] in VERBS, line
