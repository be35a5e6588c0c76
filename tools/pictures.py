"""Writes the README's pictures, ``docs/assets/verdict.svg`` and ``docs/assets/demo.svg``: real screens of real commands.

Run it by hand after the screens changed: ``python -m tools.pictures`` (about a minute). Times in them are those of the machine
that ran it; ``tests/docs/test_pictures.py`` holds that every code in them is one of today. The pictures ask the network for
nothing: the fonts are the reader's.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parent.parent
ASSETS = ROOT / "docs" / "assets"
WIDTH = 118
VERDICT = ("verify", "evidence/000000", "--lock", "circuits/digits-mlp/circuit.lock", "--allow-test-srs")


def screen(*arguments: str, cwd: Path) -> str:
    """What a terminal of WIDTH columns shows of a command, colours as escape codes."""
    env = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    env |= {"COLUMNS": str(WIDTH), "FORCE_COLOR": "1", "TERM": "xterm-256color", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "verifai.cli.main", *arguments], cwd=cwd, env=env, capture_output=True, check=True
    )
    return done.stdout.decode()


def verdict() -> str:
    """The README's four commands, the last one's screen."""
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        for shipped in ("circuits/digits-mlp", "fixtures/digits-mlp", "fixtures/srs"):
            shutil.copytree(ROOT / shipped, work / shipped)
        screen("compile", "circuits/digits-mlp", "--locked", cwd=work)
        screen("prove", "circuits/digits-mlp", "fixtures/digits-mlp/heldout.npz", "-o", "evidence", "--limit", "1", cwd=work)
        return screen(*VERDICT, cwd=work)


def demo() -> str:
    """The demo's third and fourth part: three pictures proven, five forgeries refused."""
    text = screen("demo", cwd=ROOT)
    plain = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in text.splitlines()]
    begin = next(number for number, line in enumerate(plain) if line.startswith("3 "))
    end = next(number for number, line in enumerate(plain) if line.startswith("5 "))
    return "\n".join(text.splitlines()[begin:end]).rstrip()


def draw(command: str, text: str, name: str) -> str:
    """A screen as SVG, with the command above it."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Text.from_ansi(f"$ {command}\n\n{text}"))
    drawn = console.export_svg(title="verifai", unique_id=f"verifai-{name}")
    local = re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.S)
    return "\n".join(line.rstrip() for line in local.splitlines()) + "\n"


def main() -> None:
    ASSETS.mkdir(exist_ok=True)
    (ASSETS / "verdict.svg").write_text(draw(f"verifai {' '.join(VERDICT)}", verdict(), "verdict"), encoding="utf-8")
    (ASSETS / "demo.svg").write_text(draw("verifai demo", demo(), "demo"), encoding="utf-8")


if __name__ == "__main__":
    main()
