"""One bar for a batch, with the time left whatever the length of a step; and nothing of it beside what is printed."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from verifai.cli.frame import Frame
from verifai.cli.progress import LeftColumn, ProgressDisplay


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


def _display(columns: int = 80) -> tuple[ProgressDisplay, io.StringIO]:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=columns, color_system=None, legacy_windows=False)
    return ProgressDisplay(console, quiet=False, verbose=False), screen


def _left_open(screen: str) -> bool:
    """Whether the last line on the screen is a bar that nothing erased: what is printed next would begin behind it."""
    return "━" in screen.rpartition("\x1b[2K")[2]


def test_nothing_of_the_bar_is_on_the_screen_while_results_are_printed() -> None:
    display, screen = _display()
    with display as progress:
        progress.phase("prove")
        assert _left_open(screen.getvalue())
        with progress.put_away():
            assert not _left_open(screen.getvalue())
        progress.phase("verify")  # the next phase has a bar again
        assert _left_open(screen.getvalue())
    assert not _left_open(screen.getvalue())


def test_a_note_during_a_phase_has_a_line_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Notes come from readers of inputs, which know nothing of a bar."""
    frame = Frame("prove")
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=80, color_system=None, legacy_windows=False)
    monkeypatch.setattr(Frame, "err", lambda self: console)
    with frame.progress() as progress:
        progress.phase("read")
        frame.note("the array 'label' was ignored")
    before = screen.getvalue().partition("the array")[0]
    assert not _left_open(before)
    frame.note("afterwards")
    assert screen.getvalue().endswith("afterwards\n")
