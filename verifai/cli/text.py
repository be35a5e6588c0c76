"""Figures and tables for people."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from verifai.cli.frame import plain
from verifai.domain.findings import Finding, Outcome
from verifai.domain.shown import ShownTensor, shown_line

_MARK = {
    Outcome.HOLDS: "[green]✓[/]",
    Outcome.REJECTED: "[red]✗[/]",
    Outcome.POLICY_NOT_MET: "[yellow]![/]",
    Outcome.UNDECIDED: "[yellow]?[/]",
    Outcome.NOT_CHECKED: "[dim]–[/]",
}


def bytes_text(count: int) -> str:
    """``1536`` → ``1.5 KiB``."""
    value = float(count)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"


def seconds_text(seconds: float) -> str:
    """Three significant digits, with the unit."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.1f} min"


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, title: str = "") -> Table:
    """A plain table; cells may hold markup, so escape foreign text first."""
    result = Table(*headings, title=title, title_justify="left", box=SIMPLE_HEAD, title_style="bold", pad_edge=False)
    for row in rows:
        result.add_row(*row)
    return result


def escaped_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A plain table whose cells are shown as they are."""
    return table(headings, [[escape(cell) for cell in row] for row in rows])


def value_lines(shown: Sequence[ShownTensor]) -> list[str]:
    """One line per public tensor: what was proven, in values."""
    return [f"   {plain(shown_line(one))}" for one in shown]


def finding_lines(findings: Sequence[Finding]) -> list[str]:
    """One line per finding, with its mark."""
    lines = []
    for finding in findings:
        step = f"[dim]{finding.step:<5}[/] " if finding.step else ""
        where = f" [dim]({plain(finding.where)})[/]" if finding.where else ""
        lines.append(f" {_MARK[finding.outcome]} {step}{plain(finding.message)}{where} [dim]{finding.code}[/]")
        if finding.remedy and finding.outcome is not Outcome.HOLDS:
            lines.append(f"         [dim]{plain(finding.remedy)}[/]")
    return lines
