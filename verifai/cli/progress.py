"""Progress on a terminal: one line per phase, with elapsed time, time left and peak memory."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from verifai.cli.printable import printable
from verifai.cli.streams import can_show


class LeftColumn(ProgressColumn):
    """Steps done, and the time left, once a step of several was done.

    Rich's own column looks at the last seconds only, in which a long proof makes no step.
    """

    def render(self, task: Task) -> Text:
        """``57/200, 12:30 left``; nothing for a phase without steps."""
        if not task.total or task.total < 2:
            return Text()
        done = f"{task.completed:.0f}/{task.total:.0f}"
        if not task.completed or not task.elapsed or task.finished:
            return Text(done)
        left = int(task.elapsed * (task.total - task.completed) / task.completed)
        hours, minutes = divmod(left // 60, 60)
        return Text(f"{done}, " + (f"{hours}:{minutes:02d} h left" if hours else f"{minutes}:{left % 60:02d} left"))


class ProgressDisplay:
    """Implements ``verifai.domain.progress.Progress``; use it in a ``with`` block.

    Steps may be told by any thread, also while the one that owns it opens another phase or puts the display away.
    """

    def __init__(self, console: Console, *, quiet: bool, verbose: bool) -> None:
        self._console = console
        self._quiet = quiet
        self._verbose = verbose
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._started = 0.0
        self._name = ""
        self._lock = threading.RLock()

    def __enter__(self) -> ProgressDisplay:
        self._open()
        return self

    def _open(self) -> None:
        if self._console.is_terminal and not self._quiet:
            self._bar = Progress(
                SpinnerColumn("dots" if can_show(self._console.file, "⠋") else "line"),
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                TimeElapsedColumn(),
                LeftColumn(),
                TextColumn("{task.fields[memory]}", style="dim"),
                console=self._console,
                transient=not self._verbose,
            )
            self._bar.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._close()

    def _close(self) -> None:
        with self._lock:
            self._close_phase()
            bar, self._bar = self._bar, None
        if bar is not None:
            bar.stop()

    @contextlib.contextmanager
    def put_away(self) -> Iterator[None]:
        """Nothing of the display is on the screen in this block: results can be printed, on a line of their own."""
        self._close()
        try:
            yield
        finally:
            self._open()

    def phase(self, name: str, total: int | None = None) -> None:
        """Close the running phase and open ``name``."""
        with self._lock:
            self._close_phase()
            self._name, self._started = name, time.monotonic()
            if self._bar is not None:
                self._task = self._bar.add_task(name, total=total, memory="")

    def _close_phase(self) -> None:
        if self._bar is not None and self._task is not None:
            task = self._bar.tasks[self._bar.task_ids.index(self._task)]
            total = task.total or 1
            self._bar.update(self._task, total=total, completed=total)
            self._bar.stop_task(self._task)
            if not self._verbose:
                self._bar.remove_task(self._task)
            self._task = None
        elif self._verbose and self._name and not self._quiet:
            elapsed = time.monotonic() - self._started
            self._console.print(f"{self._name}: {elapsed:.1f} s", style="dim", markup=False, highlight=False)
        self._name = ""

    def advance(self, steps: int = 1) -> None:
        """``steps`` of the current phase are done."""
        with self._lock:
            if self._bar is not None and self._task is not None:
                self._bar.advance(self._task, steps)

    def memory(self, peak_bytes: int) -> None:
        """Show the peak so far."""
        with self._lock:
            if self._bar is not None and self._task is not None:
                self._bar.update(self._task, memory=f"peak {peak_bytes / 2**20:,.0f} MiB")

    def note(self, text: str) -> None:
        """A remark that stays on the screen."""
        if not self._quiet:
            self._console.print(printable(text), style="dim", markup=False, highlight=False)
