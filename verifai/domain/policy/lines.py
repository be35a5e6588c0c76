"""Where a field stands in a TOML text. For messages only; the TOML parser alone decides what a field is."""

from __future__ import annotations

import re

_HEADER = re.compile(r"(\[\[?)([A-Za-z0-9_.\"' \t-]+)\]\]?[ \t]*(?:#|$)")
"""Of a line without blanks before it. No part of it can match what the part beside it matches, so that no line takes long."""
_KEY = re.compile(r"([A-Za-z0-9_\"'.-]+)[ \t]*=")


def line_of(text: str, field: str) -> int:
    """The 1-based line of ``field``, such as ``model[0].proof.engines``; of its nearest parent when it is not there; else 0.

    Multi-line strings that look like TOML can mislead it by a few lines; the field's name in the message never is.
    """
    known = index_of(text)
    path = field
    while path:
        if path in known:
            return known[path]
        # Arrays of tables are indexed from 0; a plain table is found without its index.
        shorter = path.removesuffix("]").rpartition("[")[0] if path.endswith("]") else path.rpartition(".")[0]
        path = shorter
    return 0


def index_of(text: str) -> dict[str, int]:
    """Every field and table of ``text`` with its first line, 1-based."""
    lines: dict[str, int] = {}
    counts: dict[str, int] = {}
    table = ""
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.strip()
        header = _HEADER.match(line)
        if header:
            table = _place(header[2].strip(), counts, array=header[1] == "[[")
            lines.setdefault(table, number)
            continue
        key = _KEY.match(line)
        if key:
            name = key[1].replace('"', "").replace("'", "")
            lines.setdefault(f"{table}.{name}" if table else name, number)
    return lines


def _place(name: str, counts: dict[str, int], *, array: bool) -> str:
    """The field path of a header: ``model.proof`` after the second ``[[model]]`` is ``model[1].proof``."""
    parts = [part.strip().strip("\"'") for part in name.split(".")]
    place = ""
    for index, part in enumerate(parts):
        place = f"{place}.{part}" if place else part
        if index == len(parts) - 1 and array:
            counts[place] = counts.get(place, -1) + 1
        if place in counts:
            place = f"{place}[{counts[place]}]"
    return place
