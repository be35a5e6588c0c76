"""What ``--help`` prints can be pasted into a shell as it stands, at any width."""

from __future__ import annotations

import re
import shlex

import pytest
import typer

from verifai.cli.app import app, run
from verifai.cli.help import example_lines
from verifai.cli.verbs import VERBS, Verb


def _verbs() -> list[tuple[str, ...]]:
    rows = ((name, row) for name, row in VERBS.items())
    return [path for name, row in rows for path in ([(name,)] if isinstance(row, Verb) else [(name, one) for one in row.verbs])]


def _example(shown: str) -> list[str]:
    """The words that a shell reads in what stands below ``Example:``."""
    text = shown.split("Example:\n", 1)[1].replace("\\\n", " ").replace("&&\n", "&& ")
    assert text.strip().count("\n") == 0, text
    return shlex.split(text)


@pytest.mark.parametrize("path", _verbs(), ids=" ".join)
@pytest.mark.parametrize("columns", ["40", "80", "160"])
def test_the_example_survives_the_width_of_the_terminal(
    path: tuple[str, ...], columns: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert run([*path, "--help"]) == 0
    command = typer.main.get_command(app)
    for name in path:
        command = command.get_command(None, name)  # type: ignore[attr-defined]
    assert _example(capsys.readouterr().out) == shlex.split((command.epilog or "").removeprefix("Example: "))


@pytest.mark.parametrize("path", _verbs(), ids=" ".join)
def test_no_type_of_python_is_shown(path: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*path, "--help"]) == 0
    assert not re.search(r"<(?:list\[|path|str|int|float|Path)", capsys.readouterr().out)


@pytest.mark.parametrize("width", [10, 20, 40, 200])
@pytest.mark.parametrize(
    "command",
    [
        "verifai verify evidence/000000 --lock circuits/a-very-long-name/circuit.lock",
        "verifai prove 'my work/c' --context \"two words\" -o x --limit 1 && verifai verify x",
        "verifai log cosign a --name 'w/x' && verifai log check b && verifai log check c",
    ],
)
def test_lines_are_one_command_again(command: str, width: int) -> None:
    joined = "\n".join(example_lines(command, width)).replace("\\\n", " ").replace("&&\n", "&& ")
    assert shlex.split(joined) == shlex.split(command)
