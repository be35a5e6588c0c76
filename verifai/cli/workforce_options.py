"""Options of verbs that work on many items: how many at once, and where."""

from __future__ import annotations

from typing import Annotated

import typer

from verifai.domain.workforce import LOCAL, MAX_JOBS, Workforce
from verifai.errors import UsageError
from verifai.execution.workforce.sizing import cores

JobsOption = Annotated[
    int | None,
    typer.Option(
        "--jobs",
        "-j",
        min=1,
        max=MAX_JOBS,
        help="How many at once: worker processes, or tasks of a cluster. Lowered where memory would not suffice.",
        show_default=False,
    ),
]
OnOption = Annotated[
    str, typer.Option("--on", help="local, ray or ray://HOST:PORT (docs/scale.md; extra ray).", metavar="PLACE")
]
LocalOption = Annotated[
    str, typer.Option("--on", help="local: a verdict or a vote of strangers would be their word.", metavar="PLACE")
]
ShipWeightsOption = Annotated[
    bool, typer.Option("--ship-weights", help="With --on ray: let hidden weights leave this machine.")
]
ShipInputsOption = Annotated[bool, typer.Option("--ship-inputs", help="With --on ray: let hidden inputs leave this machine.")]


def workforce_of(
    jobs: int | None, on: str = LOCAL, *, ship_weights: bool = False, ship_inputs: bool = False, alone: bool = True
) -> Workforce:
    """The options as one value. Raises UsageError.

    Args:
        alone: whether a verb that was not told how many works on one item at a time on this machine.
    """
    if jobs is None and alone and on == LOCAL:
        jobs = 1
    return Workforce(jobs, on, ship_weights=ship_weights, ship_inputs=ship_inputs)


def jobs_here(jobs: int | None, on: str, what: str) -> int:
    """How many processes of this machine a verb uses whose work no cluster may do. Raises UsageError.

    Args:
        what: is made, such as ``a verdict``.
    """
    if Workforce(jobs, on).remote:
        message = f"{what} of the workers of a cluster would be their word, and checking it would mean to make it again"
        hint = "Leave --on out; `--jobs N` uses N processes of this machine. docs/scale.md says how to spread it."
        raise UsageError("not-remote", message, where="--on", hint=hint)
    return jobs or cores()
