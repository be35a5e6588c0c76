"""Every block of every page is one that works: commands name verbs and options that there are, documents parse.

Pages that say what they do step by step are run from their own text (`test_tutorials.py`, `test_consensus_page.py`,
`test_readme.py`, `test_evaluation_page.py`, `test_provenance_page.py`); this holds what stands on all others.
"""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from tests.support.paths import ROOT
from verifai.cli import app as cli

PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
WRITTEN = {"cli-reference.md"}
"""Generated from the commands themselves."""
_BLOCK = re.compile(r"^(?P<indent> *)```(?P<info>[^\n`]*)\n(?P<text>.*?)^ *```\s*$", re.S | re.M)
_COMMAND = typer.main.get_command(cli.app)


def blocks(page: Path, *languages: str) -> list[str]:
    found = _BLOCK.finditer(page.read_text(encoding="utf-8"))
    return [one["text"] for one in found if (one["info"].split() or [""])[0] in languages]


def typed(text: str) -> list[str]:
    """The lines of ``text`` that begin with `verifai`, continued lines joined; of a console, those behind its prompt."""
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    stripped = (line.strip().removeprefix("$ ").strip() for line in lines)
    return [line for line in stripped if re.match(r"verifai [a-z-]", line)]


def wrong(line: str) -> str:
    """What is wrong with one command; empty when nothing is."""
    # Words of a reader follow behind two spaces, a comment sign, or a pipe; a … stands for more of the same.
    line = re.split(r"\s{3,}|\s#|\s[|>&;]|\$\(", line)[0].replace("…", " ").replace("(", " ").replace(")", " ")
    try:
        words = shlex.split(line)[1:]
    except ValueError:
        words = line.split()[1:]
    command: Any = _COMMAND
    while words and hasattr(command, "commands"):
        name = words.pop(0)
        if name not in command.commands:
            return f"{name} is no verb" if re.fullmatch(r"[a-z-]+", name) else ""
        command = command.commands[name]
    known = {option for one in command.params for option in (*one.opts, *one.secondary_opts)} | {"--help", "-h"}
    for word in words:
        option = word.split("=")[0]
        if re.fullmatch(r"--[a-z][a-z-]*|-[a-z]", option) and option not in known | _EVERYWHERE:
            return f"{option} is no option of it"
    return ""


_EVERYWHERE = {option for one in _COMMAND.params for option in (*one.opts, *one.secondary_opts)} | {
    "--json", "--quiet", "-q", "--verbose", "-v", "--no-progress", "--plain",
}  # fmt: skip


@pytest.mark.parametrize("page", [page for page in PAGES if page.name not in WRITTEN], ids=lambda page: page.name)
def test_every_command_of_a_page_exists_with_its_options(page: Path) -> None:
    lines = [line for text in blocks(page, "", "console", "sh", "shell", "bash", "text") for line in typed(text)]
    assert [f"{line}: {told}" for line in lines if (told := wrong(line))] == []


def test_a_command_that_is_no_more_is_found() -> None:
    assert wrong("verifai prove circuit data.npz --limit 1 -o evidence") == ""
    assert wrong("verifai prove circuit data.npz --no-such-thing") == "--no-such-thing is no option of it"
    assert wrong("verifai proof circuit") == "proof is no verb"
    assert wrong("verifai round join folder --git   Bob") == ""
    assert typed("$ verifai a \\\n    b\nprinted\n") == ["verifai a b"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_document_of_a_page_parses(page: Path) -> None:
    for text in blocks(page, "toml"):
        tomllib.loads(text)
    for text in blocks(page, "json"):
        json.loads(text)
    for text in blocks(page, "yaml", "yml"):
        yaml.safe_load(text)
    for text in blocks(page, "python"):
        compile(text, str(page), "exec")
