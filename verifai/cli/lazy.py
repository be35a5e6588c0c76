"""Groups of verbs whose modules are imported when one of their verbs is asked for, and not before.

``--help``, a verb that does not exist, and "did you mean" are answered from the table (:mod:`verifai.cli.verbs`).
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import typer
from typer.core import TyperCommand, TyperGroup

from verifai.cli.verbs import VERBS, Verb, VerbGroup


class VerbModule(Protocol):
    """A module of verbs."""

    def register(self, app: typer.Typer, /) -> None:
        """Add its verbs to ``app``: the root, or their group."""


class LazyGroup(TyperGroup):
    """The root, or a group below it. ``rows``: the part of the table that it shows."""

    def __init__(self, *, rows: Mapping[str, Verb | VerbGroup] = VERBS, **attributes: Any) -> None:
        super().__init__(**attributes)
        self._rows = rows
        self.commands: Any = _Commands(rows)

    def list_commands(self, ctx: Any) -> list[str]:
        """The names, in the table's order."""
        return list(self._rows)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The verb of that name, or ``None``; imports its module."""
        if cmd_name not in self._rows:
            return None
        return self.commands[cmd_name]

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """List the verbs as Typer does, with the help of the table."""
        limit = formatter.width - 6 - max(map(len, self._rows))
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, TyperCommand(name, help=row.help).get_short_help_str(limit)) for name, row in self._rows.items()]
            )


class _Commands(Mapping[str, Any]):
    """The commands by name: its keys cost nothing, its values import their modules."""

    def __init__(self, rows: Mapping[str, Verb | VerbGroup]) -> None:
        self._rows = rows

    def __getitem__(self, name: str) -> Any:
        row = self._rows[name]
        if isinstance(row, Verb):
            return commands_of(row.module)[name]
        return LazyGroup(name=name, rows=row.verbs, help=row.help, no_args_is_help=True, rich_markup_mode=None)

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, name: object) -> bool:
        return name in self._rows  # the inherited one would import the module to find out


def known_verb(arguments: Sequence[str]) -> tuple[str, ...]:
    """The verb that a command line begins with, as far as there is one: a group and its verb, a group alone, or nothing."""
    rows: Mapping[str, Verb | VerbGroup] = VERBS
    found: list[str] = []
    for word in arguments:
        if word.startswith("-"):
            continue
        row = rows.get(word)
        if row is None:
            break
        found.append(word)
        if isinstance(row, Verb):
            break
        rows = row.verbs
    return tuple(found)


@functools.cache
def commands_of(name: str) -> Mapping[str, Any]:
    """The commands that a module of ``verifai.cli`` registers."""
    module: VerbModule = importlib.import_module(f"verifai.cli.{name}")
    app = typer.Typer(rich_markup_mode=None, add_completion=False)
    module.register(app)
    return typer.main.get_group(app).commands
