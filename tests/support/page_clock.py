"""A clock that a page can move: its `sleep` takes no time, and every later command of the page lives so much later."""

from __future__ import annotations

import stat
import sys
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Self

from tests.support.paths import ROOT

SLEEP = """#!/bin/sh
echo $(( $(cat "{clock}") + $1 )) > "{clock}.new" && mv "{clock}.new" "{clock}"
"""
PROGRAM = """#!/bin/sh
PYTHONPATH="{root}" exec "{python}" -c 'from tests.support.page_clock import run; run("{clock}")' "$@"
"""


def tools_with_a_clock(tools: Path) -> None:
    """Put `verifai` and `sleep` into the folder ``tools``, both by a clock that only `sleep` moves on."""
    clock = tools / "clock"
    clock.write_text("0")
    for name, text in (("verifai", PROGRAM), ("sleep", SLEEP)):
        path = tools / name
        path.write_text(text.format(clock=clock, root=ROOT, python=sys.executable))
        path.chmod(path.stat().st_mode | stat.S_IXUSR)


def run(clock: str) -> None:
    """The command line, by that clock."""
    from verifai.cli.app import run as command_line
    from verifai.stages.consensus import shared_round

    late = timedelta(seconds=int(Path(clock).read_text()))

    class Later(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = UTC) -> Self:
            moved = datetime.now(tz) + late
            return cls.fromtimestamp(moved.timestamp(), tz)

    shared_round.datetime = Later  # type: ignore[misc]
    sys.exit(command_line(sys.argv[1:]))
