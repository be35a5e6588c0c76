"""The frame of every page of ours: one style sheet, one head, and lists that can be filtered. No network, no script."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from verifai.domain.findings import Outcome
from verifai.domain.on_demand import Revisited
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


def html_page(title: str, body: Iterable[str]) -> Iterator[bytes]:
    """A whole page in pieces: a page about thousands of bundles need not be in memory.

    Args:
        title: foreign text; it is escaped here.
        body: HTML, foreign text in it escaped by its maker.
    """
    # Even if an escape were missing somewhere, nothing could run or be loaded.
    head = f"""<!doctype html>
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
"""
    for piece in chain((head,), body, ("\n</main>\n</body>\n</html>\n",)):
        yield piece.encode("utf-8", errors="backslashreplace")


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


def listing(name: str, columns: Sequence[str], rows: Revisited[Row], *, kind: str = "overview") -> Iterator[str]:
    """A table in pieces; a long one can be filtered by outcome with buttons that need no script.

    Args:
        name: of our own words; it makes the buttons' names unique on the page.
        columns: headings, our own words.
    """
    count = bad = 0
    for row in rows:
        count, bad = count + 1, bad + (row.outcome is not Outcome.HOLDS)
    yield '<div class="list">'
    if count >= LONG and 0 < bad < count:
        choices = (
            ("all", f"all {count:,}", " checked"),
            ("bad", f"not accepted {bad:,}", ""),
            ("good", f"accepted {count - bad:,}", ""),
        )
        buttons = "".join(
            f'<input type="radio" name="show-{name}" id="show-{name}-{which}" class="show-{which}"{chosen}>'
            f'<label for="show-{name}-{which}">{label}</label>'
            for which, label, chosen in choices
        )
        yield f'<p class="filter">Show: {buttons}</p>'
    head = "".join(f"<th>{column}</th>" for column in columns)
    yield f'<table class="{kind}"><thead><tr>{head}</tr></thead><tbody>\n'
    for row in rows:
        cells = "".join(f"<td{_mark(row, cell)}>{cell}</td>" for cell in row.cells)
        yield f'<tr class="{row.outcome.value}">{cells}</tr>\n'
    yield "</tbody></table></div>"


def _mark(row: Row, cell: str) -> str:
    return ' class="outcome"' if cell == WORDS[row.outcome] else ""


def facts(items: Sequence[tuple[str, str]]) -> str:
    """Small print: names with values, escaped here."""
    rows = "".join(f"<tr><th>{safe(name)}</th><td><code>{safe(value)}</code></td></tr>" for name, value in items)
    return f'<table class="facts">{rows}</table>'
