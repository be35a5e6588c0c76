"""Commands are printed to be copied: what is filled into one is quoted for a shell."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from verifai.domain.shell import shell

COMMAND = re.compile(r"(?:\bverifai [a-z]|\bchmod |\bcp -)[^.;:]*$")
PLAIN_WORDS = {"engine.value", "logrows", "tuned.parameters.logrows", "section.srs.logrows", "seen.size", "new.size"} | {
    "option",
    "options",
    "skip",
}
"""Numbers, names of engines, options of ours, which no shell reads as anything else; and options whose values were quoted."""
NO_COMMAND = {"frame.command", "version('verifai')", "section.engine_version", "VERSION", "demand.lock", "report.status"} | {
    "done.returncode",
    "model.lock",
}
"""Filled in after the word verifai, but not in a command to be copied; or a verb that was typed."""


def filled_in() -> Iterator[tuple[str, str]]:
    """Each value that is put into a command, with its place."""
    for path in sorted((ROOT / "verifai").rglob("*.py")):
        for text in ast.walk(ast.parse(path.read_text())):
            if not isinstance(text, ast.JoinedStr):
                continue
            before = ""
            for part in text.values:
                if isinstance(part, ast.Constant):
                    before += str(part.value)
                elif isinstance(part, ast.FormattedValue):
                    if COMMAND.search(before):
                        yield f"{path.relative_to(ROOT)}:{part.lineno}", ast.unparse(part.value)
                    before += "word"


def test_every_value_in_a_command_is_quoted() -> None:
    found = list(filled_in())
    assert len(found) > 10
    loose = [
        (place, value)
        for place, value in found
        if not value.startswith(("shell(", "shlex.quote(", "quote(", "plain(shell(", "_plain(shell(", "export_hint("))
        and value not in PLAIN_WORDS | NO_COMMAND
        and "cli/weights.py" not in place  # an example for --help, of fixed words
    ]
    assert not loose


@pytest.mark.parametrize("path", ["my work/c", "a'b", "$HOME", "a;rm b", "-o", "*", "plain/path.onnx", "é"])
def test_a_quoted_path_is_one_word_and_no_option(path: str) -> None:
    (word,) = shlex.split(shell(Path(path)))
    assert word.removeprefix("./") == path
    assert not word.startswith("-")
