"""No awkward model ends as a bug, each is told what it is, and every hint is a command that the command line takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.awkward.models import ALL, Awkward
from tests.awkward.told import tell

pytestmark = pytest.mark.filterwarnings("ignore")
LONG = {"ten-thousand-nodes", "too-many-nodes", "wide-sum", "int64-arithmetic", "contradicting-output"}
"""These take seconds each."""


def _cases() -> list[Any]:
    return [pytest.param(case, id=case.slug, marks=[pytest.mark.slow] if case.slug in LONG else []) for case in ALL]


def test_there_are_enough_of_them() -> None:
    assert len({case.slug for case in ALL}) == len(ALL) >= 40


@pytest.mark.parametrize("case", _cases())
def test_the_user_is_told_what_is_wrong(case: Awkward, tmp_path: Path) -> None:
    told = tell(case, tmp_path)
    for verb, (status, text, hint) in told.steps.items():
        assert status in (0, 2, 3, 4), (verb, status, text)
        assert bool(status) == bool(text), (verb, text)
        assert hint or not status, (verb, text)
    for command, (status, code) in told.hints.items():
        assert status in (0, 2, 3, 4) and code not in ("bad-option", "file-missing"), (command, status, code)
