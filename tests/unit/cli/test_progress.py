"""One bar for a batch: steps done and time left, whatever the length of a step."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from verifai.cli.progress import LeftColumn


@pytest.mark.parametrize(
    ("total", "completed", "elapsed", "text"),
    [
        (None, 0, 5.0, ""),
        (1, 0, 5.0, ""),
        (200, 0, 5.0, "0/200"),
        (200, 50, 100.0, "50/200, 5:00 left"),
        (200, 1, 90.0, "1/200, 4:58 h left"),
        (200, 199, 1990.0, "199/200, 0:10 left"),
        (200, 200, 2000.0, "200/200"),
    ],
)
def test_time_left(total: int | None, completed: int, elapsed: float, text: str) -> None:
    task: Any = SimpleNamespace(total=total, completed=completed, elapsed=elapsed, finished=completed == total)
    assert LeftColumn().render(task).plain == text
