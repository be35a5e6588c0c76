"""Tables as text: CSV with a header, its cells not yet numbers."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence

from verifai.errors import InputRejected
from verifai.onnx_graph.refusal import printable
from verifai.onnx_graph.tables import COMMA, DECIMAL, Table

MAX_ROWS = 1_000_000
MAX_COLUMNS = 100_000
_SEPARATORS = (",", ";", "\t")


def parse_csv(data: bytes, where: str) -> Table:
    """Read text with a header: columns are separated by commas, semicolons or tabs; a cell may be quoted.

    Raises:
        InputRejected: ``input-malformed``, ``input-too-large``.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputRejected("input-malformed", "text that is not UTF-8", where=where, hint="Save it as UTF-8.") from None
    separator = _separator(text)
    lines = _rows(text, separator, where)
    header = next(lines, None)
    if header is None:
        raise InputRejected("input-malformed", "the file holds no values", where=where, hint=_HEADER)
    names = [name.strip() for name in header[1]]
    _check_header(names, where)
    cells: list[list[str]] = [[] for _ in names]
    ends: list[int] = []
    for line, row in lines:
        if len(row) != len(names):
            place = f"{where}: row {len(ends) + 1} (line {line})"
            columns = f"{len(names)} column{'s' * (len(names) != 1)}"
            message = f"{len(row)} cell{'s' * (len(row) != 1)}, but the header names {columns}"
            raise InputRejected("input-malformed", message, where=place, hint=_CELLS)
        if len(ends) == MAX_ROWS:
            raise InputRejected("input-too-large", f"more than {MAX_ROWS:,} rows", where=where, hint="Split the file.")
        for column, cell in zip(cells, row, strict=True):
            column.append(cell.strip())
        ends.append(line)
    if not ends:
        raise InputRejected("input-malformed", "the table has a header, but no row", where=where, hint=_HEADER)
    return Table(dict(zip(names, cells, strict=True)), len(ends), ends, separator != "," and _decimal_commas(cells))


_HEADER = "The first row must name the columns; every further row is a sample."
_CELLS = (
    "A row has a cell for each column of the first row; one that holds a separator, a quotation mark or a line end is quoted."
)


_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}", re.ASCII)


def _decimal_commas(columns: Sequence[Sequence[str]]) -> bool:
    """Whether numbers like 3,14 are in the table, none like 3.14, and not only such as may be thousands: 3,141."""
    plain = False
    for column in columns:
        for text in column:
            if "." in text and DECIMAL.fullmatch(text):
                return False
            plain = plain or (COMMA.fullmatch(text) is not None and _THOUSANDS.fullmatch(text) is None)
    return plain


def _separator(text: str) -> str:
    first = text.lstrip("\r\n").partition("\n")[0]
    bare = re.sub(r'"[^"]*"', "", first)
    return max(_SEPARATORS, key=bare.count)


def _rows(text: str, separator: str, where: str) -> Iterator[tuple[int, list[str]]]:
    """Rows with the line that they end in; lines that are blank are none."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        for row in reader:
            if row and not (len(row) == 1 and not row[0].strip()):
                yield reader.line_num, row
    except csv.Error as problem:
        place = f"{where}: line {reader.line_num}"
        raise InputRejected("input-malformed", f"not CSV: {problem}", where=place, hint=_CELLS) from None


def _check_header(names: Sequence[str], where: str) -> None:
    if all(DECIMAL.fullmatch(name) for name in names):
        raise InputRejected(
            "input-malformed", "the first row holds numbers, not the names of the columns", where=where, hint=_HEADER
        )
    check_names(names, where)


def check_names(names: Sequence[str], where: str) -> None:
    """Raises InputRejected when two columns have one name, or there are too many."""
    if len(names) > MAX_COLUMNS:
        raise InputRejected("input-too-large", f"{len(names):,} columns; the limit is {MAX_COLUMNS:,}", where=where)
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputRejected(
            "input-malformed", f"two columns are called {printable(twice)!r}", where=where, hint="Rename one of them."
        )
