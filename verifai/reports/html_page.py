"""The frame of every page of ours: one style sheet, one head, and lists that can be filtered. No network, no script."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from verifai.domain.findings import Outcome
from verifai.reports.html_text import safe

_STYLE = Path(__file__).with_name("html_page.css")

WORDS = {
    Outcome.HOLDS: "holds",
    Outcome.REJECTED: "rejected",
    Outcome.POLICY_NOT_MET: "policy not met",
    Outcome.UNDECIDED: "undecided",
    Outcome.NOT_CHECKED: "not checked",
}
LONG = 4
"""From so many rows on, a list has buttons that leave only some of them."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a list. ``cells``: HTML, foreign text in it escaped by its maker."""

    outcome: Outcome
    cells: tuple[str, ...]


def html_page(title: str, body: str) -> bytes:
    """A whole page.

    Args:
        title: foreign text; it is escaped here.
        body: HTML, foreign text in it escaped by its maker.
    """
    # Even if an escape were missing somewhere, nothing could run or be loaded.
    page = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="referrer" content="no-referrer">
<title>{safe(title)}</title>
<style>
{_STYLE.read_text(encoding="utf-8")}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""
    return page.encode("utf-8", errors="backslashreplace")


def header(outcome: Outcome, kicker: str, headline: str, lead: str, *more: str) -> str:
    """What a page begins with. ``lead``, ``more``: HTML; ``more`` are small lines below."""
    small = "".join(f'<p class="where">{line}</p>' for line in more)
    return (
        f'<header class="{outcome.value}"><p class="kicker">{safe(kicker)}</p><h1>{safe(headline)}</h1>'
        f'<p class="lead">{lead}</p>{small}</header>'
    )


def tiles(items: Sequence[tuple[Outcome, str, str, str]]) -> str:
    """Boxes side by side: outcome, name, figure or word, small print. All text but the small print is escaped here."""
    boxes = "".join(
        f'<div class="tile {outcome.value}"><b>{safe(name)}</b><span class="verdict">{safe(figure)}</span>'
        f"<small>{small}</small></div>"
        for outcome, name, figure, small in items
    )
    return f'<div class="tiles">{boxes}</div>'


def listing(name: str, columns: Sequence[str], rows: Sequence[Row], *, kind: str = "overview") -> str:
    """A table; a long one can be filtered by outcome with buttons that need no script.

    Args:
        name: of our own words; it makes the buttons' names unique on the page.
        columns: headings, our own words.
    """
    head = "".join(f"<th>{column}</th>" for column in columns)
    body = "".join(
        f'<tr class="{row.outcome.value}">{"".join(f"<td{_mark(row, cell)}>{cell}</td>" for cell in row.cells)}</tr>'
        for row in rows
    )
    table = f'<table class="{kind}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    bad = sum(row.outcome is not Outcome.HOLDS for row in rows)
    if len(rows) < LONG or not bad or bad == len(rows):
        return f'<div class="list">{table}</div>'
    choices = (
        ("all", f"all {len(rows):,}", " checked"),
        ("bad", f"not accepted {bad:,}", ""),
        ("good", f"accepted {len(rows) - bad:,}", ""),
    )
    buttons = "".join(
        f'<input type="radio" name="show-{name}" id="show-{name}-{which}" class="show-{which}"{chosen}>'
        f'<label for="show-{name}-{which}">{label}</label>'
        for which, label, chosen in choices
    )
    return f'<div class="list"><p class="filter">Show: {buttons}</p>{table}</div>'


def _mark(row: Row, cell: str) -> str:
    return ' class="outcome"' if cell == WORDS[row.outcome] else ""


def facts(items: Sequence[tuple[str, str]]) -> str:
    """Small print: names with values, escaped here."""
    rows = "".join(f"<tr><th>{safe(name)}</th><td><code>{safe(value)}</code></td></tr>" for name, value in items)
    return f'<table class="facts">{rows}</table>'
