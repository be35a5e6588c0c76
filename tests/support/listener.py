"""A progress that keeps what it is told."""

from __future__ import annotations

from verifai.domain.progress import Silent


class Listener(Silent):
    """Keeps its notes, in order."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        """Kept."""
        self.notes.append(text)
