"""How long-running work reports its progress, whatever listens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Progress(Protocol):
    """A listener. Implementations must be cheap and must never raise."""

    def phase(self, name: str, total: int | None = None) -> None:
        """A new phase begins; ``total`` is its number of steps where it is known."""

    def advance(self, steps: int = 1) -> None:
        """``steps`` of the current phase are done."""

    def memory(self, peak_bytes: int) -> None:
        """Peak resident memory of the work so far, in bytes."""

    def note(self, text: str) -> None:
        """Something a person wants to know now."""


class Silent:
    """Listens to nothing."""

    def phase(self, name: str, total: int | None = None) -> None:
        """Ignored."""

    def advance(self, steps: int = 1) -> None:
        """Ignored."""

    def memory(self, peak_bytes: int) -> None:
        """Ignored."""

    def note(self, text: str) -> None:
        """Ignored."""


SILENT: Progress = Silent()


@contextmanager
def phase(progress: Progress, name: str, total: int | None = None) -> Iterator[Progress]:
    """Open a phase for a ``with`` block."""
    progress.phase(name, total)
    yield progress
