"""One bar for a batch, with the time left whatever the length of a step; and nothing of it beside what is printed."""

from __future__ import annotations

import io
import threading
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


@pytest.mark.parametrize("tell", [lambda one: one.advance(), lambda one: one.memory(5 << 20)], ids=["step", "memory"])
@pytest.mark.parametrize(
    "close", [lambda one: one.phase("next"), lambda one: one.__exit__(None, None, None)], ids=["next", "end"]
)
def test_a_step_told_by_another_thread_never_meets_a_phase_that_is_closed(tell: Any, close: Any) -> None:
    """The step is held up in the middle, until the phase is closed or the other thread waits for the step."""
    display, _ = _display()
    inside, closed, problems = threading.Event(), threading.Event(), []
    with display as progress:
        progress.phase("prove", 5)
        bar = display._bar
        assert bar is not None
        for name in ("advance", "update"):
            genuine = getattr(bar, name)

            def held_up(*arguments: Any, genuine: Any = genuine, **named: Any) -> None:
                if threading.current_thread() is other:
                    inside.set()
                    closed.wait(0.3)
                genuine(*arguments, **named)

            setattr(bar, name, held_up)

        def work() -> None:
            try:
                tell(progress)
            except BaseException as problem:
                problems.append(problem)

        other = threading.Thread(target=work)
        other.start()
        inside.wait()
        close(progress)
        closed.set()
        other.join()
    assert problems == []
