"""``warm-up``: compile the engines' kernels ahead of the first proof."""

from __future__ import annotations

import time

import typer

from verifai.cli.frame import Result, current, verb
from verifai.cli.text import seconds_text
from verifai.stages.warm_up import warm_up as run


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @verb(app, "warm-up", example="verifai warm-up")
    def warm_up() -> Result:
        """Compile the engine's kernels ahead.

        Proves and verifies small circuits of every kind, so that the first real proof does not wait for the compiler.
        """
        begun = time.monotonic()
        with current().progress() as progress:
            run(progress=progress)
        seconds = time.monotonic() - begun
        return Result({"seconds": seconds}, [f"Kernels compiled and checked in {seconds_text(seconds)}."], verdict="done")
