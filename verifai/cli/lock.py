"""``lock show``: what a lock pins, and the fingerprint that two people compare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from verifai.cli.frame import Result, verb
from verifai.cli.shown import fingerprint_line, lock_lines
from verifai.domain.spoken import spoken
from verifai.errors import UsageError
from verifai.stages.inspect import inspect_lock, lock_file


def register(group: typer.Typer) -> None:
    """Add the group's verb."""

    @verb(group, "show", group="lock", example="verifai lock show circuits/digits-mlp/circuit.lock")
    def show(path: Annotated[Path, typer.Argument(help="circuit.lock, or its folder.", show_default=False)]) -> Result:
        """Show what a lock pins, and its fingerprint for the telephone."""
        file = lock_file(path)
        if file is None:
            raise UsageError("bad-lock", "this is no circuit.lock", where=str(path), hint="Name a circuit.lock, or its folder.")
        found = inspect_lock(file)
        digits = spoken(found.sha256)
        return Result(
            {**found.to_json(), "fingerprint": digits}, [*lock_lines(found), fingerprint_line(digits)], verdict="done"
        )
