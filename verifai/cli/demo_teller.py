"""How the demos speak: a line as each thing happens, nothing with ``--json`` or ``-q``."""

from __future__ import annotations

from typing import Any

from verifai.cli.frame import Frame


class Teller:
    """Prints as the demo goes on."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self._console = frame.out()

    def _say(self, text: Any = "") -> None:
        if not self._frame.json and not self._frame.quiet:
            self._console.print(text, highlight=False)

    def _step(self, label: str, text: str) -> None:
        """A line of the tour; where the screen is narrow, it goes on below its own beginning."""
        from rich.table import Table

        line = Table.grid(padding=(0, 1))
        line.add_column(width=9, no_wrap=True)
        line.add_column()
        line.add_row(f"[bold cyan]{label}[/]" if label else "", text)
        self._say(line)
