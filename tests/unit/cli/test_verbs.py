"""The table of verbs says what the modules say, and leaves none of them out."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from importlib import import_module

import pytest
import typer

import verifai.cli
from verifai.cli.app import app, run
from verifai.cli.lazy import commands_of
from verifai.cli.verbs import VERBS, Verb


def _rows() -> Iterator[tuple[str, str, Verb]]:
    for name, row in VERBS.items():
        if isinstance(row, Verb):
            yield name, name, row
        else:
            yield from ((f"{name} {inner}", inner, verb) for inner, verb in row.verbs.items())


ROWS = {path: (name, verb) for path, name, verb in _rows()}
MODULES = sorted({verb.module for _, verb in ROWS.values()})


@pytest.mark.parametrize("path", list(ROWS))
def test_the_short_help_is_the_first_sentence_of_the_verbs_own(path: str) -> None:
    name, verb = ROWS[path]
    assert commands_of(verb.module)[name].get_short_help_str(10_000) == verb.help


@pytest.mark.parametrize("module", MODULES)
def test_each_module_registers_exactly_the_verbs_of_the_table(module: str) -> None:
    assert list(commands_of(module)) == [name for name, verb in ROWS.values() if verb.module == module]


def test_each_module_that_registers_verbs_is_in_the_table() -> None:
    names = {one.name for one in pkgutil.iter_modules(verifai.cli.__path__)}
    assert {name for name in names if hasattr(import_module(f"verifai.cli.{name}"), "register")} == set(MODULES)


@pytest.mark.parametrize("width", ["50", "80", "100"])
@pytest.mark.parametrize("group", [[], *([name] for name, row in VERBS.items() if not isinstance(row, Verb))])
def test_help_lists_what_typer_would_list(
    group: list[str], width: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", width)
    assert run([*group, "--help"]) == 0
    shown = capsys.readouterr().out
    monkeypatch.setattr("verifai.cli.lazy.LazyGroup.format_commands", typer.core.TyperGroup.format_commands)
    assert run([*group, "--help"]) == 0
    assert shown == capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["verfy"], "`verifai verify`"),
        (["srs", "fetsh"], "`verifai srs fetch`"),
        (["append"], "`verifai log append`"),
        (["trust", "append"], "`verifai log append`"),
        (["vote"], "`verifai round join`"),
        (["show"], "`verifai inspect`"),
        (["vrify", "x"], "`verifai verify`"),
        (["log-append"], "`verifai log append`"),
        (["keygen"], "`verifai key new`"),
    ],
)
def test_a_misspelt_verb_is_answered_with_what_was_meant(
    arguments: list[str], meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    assert f"Did you mean {meant}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "way"),
    [
        (["audit", "x", "--lock", "y"], "`verifai trust init -o trust.toml --lock CIRCUIT/circuit.lock`"),
        (["gate", "x", "--lock", "y"], "`verifai gate-init BUNDLE --lock CIRCUIT/circuit.lock`"),
        (["gate", "x", "--anchors", "1"], "it judges by its policy"),
        (["inspect", "x", "--anchors", "1"], "`verifai audit CASE --anchors DIGITS`"),
        (["verify", "x", "--trust", "y"], "`verifai audit BUNDLE --trust FILE`"),
        (["verify", "x", "--policy", "y"], "`verifai gate BUNDLE --policy FILE`"),
    ],
)
def test_an_option_of_another_command_is_answered_with_the_way_on(
    arguments: list[str], way: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert way in told and "Possible options" not in told


def test_a_misspelt_option_is_answered_with_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["audit", "x", "--truts", "y"]) == 2
    assert "--trust" in capsys.readouterr().err


def test_the_commands_can_be_walked() -> None:
    """The reference page and the tests of examples do so."""
    root = typer.main.get_command(app)
    assert list(root.commands) == list(VERBS)  # type: ignore[attr-defined]
    assert len(dict(root.commands.items())) == len(VERBS)  # type: ignore[attr-defined]
