"""Tables as inputs: the columns of a CSV or Parquet file, by name, row = sample.

Numbers of a table are decimal numbers: they are rounded to the nearest value of the model's floating-point type. Everything
else is taken as it is, or refused with its row and column: a cell that is empty, NaN, infinite, or no number is never replaced.
"""

from __future__ import annotations

import csv
import io
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, NoReturn

import numpy as np

from verifai.domain.categories import Categories
from verifai.domain.table_columns import TableColumns
from verifai.domain.tensor import TensorSpec
from verifai.errors import InputRejected
from verifai.onnx_graph.refusal import printable
from verifai.onnx_graph.tensors import Array

MAX_ROWS = 1_000_000
MAX_COLUMNS = 100_000
_SEPARATORS = (",", ";", "\t")
_DECIMAL = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,4})?", re.ASCII)
_WHOLE = re.compile(r"[+-]?\d{1,20}", re.ASCII)
_MISSING = frozenset({"", "nan", "na", "n/a", "#n/a", "null", "none", "?", "-"})
_INFINITE = re.compile(r"[+-]?inf(?:inity)?", re.IGNORECASE)
_TRUTH = {"true": 1, "false": 0}
_SHOWN = 8


@dataclass(frozen=True, slots=True)
class Unusable:
    """A column that cannot be an input, which matters only where it is one.

    Attributes:
        row: the place, if it is one cell.
        values: of a column whose fault is that cells are empty: NaN stands for these.
        texts: of a column of texts, which only categories make numbers of; an empty one for each empty cell.
    """

    code: str
    message: str
    hint: str
    row: int | None = None
    values: Array | None = None
    texts: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """A table that was read, not yet numbers.

    Attributes:
        columns: cells by column name, in the file's order: texts, or an array of numbers or booleans.
        lines: of a text file, the line in which each row ends; empty otherwise.
    """

    columns: dict[str, Sequence[str] | Array | Unusable]
    rows: int
    lines: Sequence[int] = ()

    def place(self, row: int, column: str) -> str:
        """For messages; rows are counted from 1, without the header."""
        line = f" (line {self.lines[row]})" if self.lines else ""
        return f"row {row + 1}{line}, column {printable(column)!r}"


def parse_csv(data: bytes, where: str) -> Table:
    """Read text with a header: columns are separated by commas, semicolons or tabs; a cell may be quoted.

    Raises:
        InputRejected: ``input-malformed``, ``input-too-large``.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputRejected("input-malformed", "text that is not UTF-8", where=where, hint="Save it as UTF-8.") from None
    lines = _rows(text, where)
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
            raise InputRejected("input-malformed", f"{len(row)} cells, but the header names {len(names)} columns", where=place)
        if len(ends) == MAX_ROWS:
            raise InputRejected("input-too-large", f"more than {MAX_ROWS:,} rows", where=where, hint="Split the file.")
        for column, cell in zip(cells, row, strict=True):
            column.append(cell.strip())
        ends.append(line)
    if not ends:
        raise InputRejected("input-malformed", "the table has a header, but no row", where=where)
    return Table(dict(zip(names, cells, strict=True)), len(ends), ends)


_HEADER = "The first row must name the columns; every further row is a sample."


def _rows(text: str, where: str) -> Iterator[tuple[int, list[str]]]:
    """Rows with the line that they end in; lines that are blank are none."""
    first = text.lstrip("\r\n").partition("\n")[0]
    bare = re.sub(r'"[^"]*"', "", first)
    separator = max(_SEPARATORS, key=bare.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        for row in reader:
            if row and not (len(row) == 1 and not row[0].strip()):
                yield reader.line_num, row
    except csv.Error as problem:
        raise InputRejected("input-malformed", f"not CSV: {problem}", where=f"{where}: line {reader.line_num}") from None


def _check_header(names: Sequence[str], where: str) -> None:
    if all(_DECIMAL.fullmatch(name) for name in names):
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


def assigned(
    table: Table, inputs: Sequence[TensorSpec], columns: TableColumns, label: str, where: str
) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """Which columns each input takes, in order, all of them there; and what a person should know.

    An input whose columns have known names takes these, in whatever order the file has them. Else an input of one value takes
    the column of its own name, and the only input of a model takes all columns, in the file's order.

    Args:
        label: a column of this name may be there though it is no input.

    Raises:
        InputRejected: ``input-missing``, ``input-unknown``, ``input-shape``.
    """
    taken = {spec.name: _columns_of(spec, table, inputs, columns, label, where) for spec in inputs}
    used = [name for names in taken.values() for name in names]
    extra = [name for name in table.columns if name not in used and name not in columns.dropped and name != label]
    if extra:
        raise InputRejected("input-unknown", f"the model has no {_listed('column', extra)}", where=where, hint=_drop(extra))
    notes = []
    known = all(spec.name in columns.names for spec in inputs)
    if known and [name for name in table.columns if name in used] != used:
        notes.append(f"{where}: the columns have another order than the model's; they were taken by their names")
    if not known and any(len(names) > 1 for names in taken.values()):
        notes.append(f"{where}: nothing names the model's columns, so these were taken in the file's order")
    gone = [name for name in table.columns if name in columns.dropped and name not in used]
    if gone:
        notes.append(f"{where}: left out, as asked: {_listed('column', gone)}")
    if label in table.columns and label not in used and label not in columns.dropped:
        notes.append(f"{where}: the column {label!r} is not an input of the model; it was ignored")
    return taken, notes


def input_arrays(
    table: Table, inputs: Sequence[TensorSpec], taken: Mapping[str, Sequence[str]], where: str,
    texts: Mapping[str, Mapping[int, Categories]] | None = None, *, finite: bool = True,
) -> dict[str, Array]:  # fmt: skip
    """One array per input of the columns that it takes, axis 0 = row.

    Args:
        texts: by input and place, the categories of columns of texts.
        finite: whether a floating-point cell that is empty, NaN or infinite refuses the table; else NaN or infinity stands
            for it, for a reader that looks at each sample.

    Raises:
        InputRejected: ``input-dtype``, ``input-non-finite``, with row and column.
    """
    known = texts or {}
    return {spec.name: _array(table, taken[spec.name], spec, where, finite, known.get(spec.name, {})) for spec in inputs}


def label_of(table: Table, taken: Mapping[str, Sequence[str]], columns: TableColumns, label: str) -> Array | None:
    """The column ``label`` as it is, when no input takes it and nobody drops it."""
    found = table.columns.get(label)
    if found is None or isinstance(found, Unusable) or label in columns.dropped:
        return None
    return None if any(label in names for names in taken.values()) else np.array(found)


def _columns_of(
    spec: TensorSpec, table: Table, inputs: Sequence[TensorSpec], columns: TableColumns, label: str, where: str
) -> tuple[str, ...]:
    if spec.name in columns.names:
        names = columns.names[spec.name]
    elif _width(spec) == 1 and (spec.name in table.columns or len(inputs) > 1):
        names = (spec.name,)
    elif len(inputs) == 1:
        names = tuple(name for name in table.columns if name not in columns.dropped and name != label)
    else:
        raise InputRejected(
            "input-shape",
            f"nothing says which columns are the input {spec.name!r}",
            where=where,
            hint="Name them in circuit.toml, columns below [inputs.NAME], or give an .npz file.",
        )
    missing = [name for name in names if name not in table.columns]
    if missing:
        has = f"The file has: {_names(list(table.columns))}"
        raise InputRejected("input-missing", f"there is no {_listed('column', missing)}", where=where, hint=has)
    if len(names) != _width(spec):
        message = f"{len(names)} columns, but the model takes {_width(spec)} for {spec.name!r}"
        hint = f"Rows are samples, columns the values of one. The file has: {_names(list(table.columns))}."
        if spec.name not in columns.names and len(names) > _width(spec):
            hint = _surplus(table, names, len(names) - _width(spec))
        raise InputRejected("input-shape", message, where=where, hint=hint)
    return names


def _surplus(table: Table, names: Sequence[str], count: int) -> str:
    """Which of too many columns are likely no inputs: those that hold text, then the last."""
    texts = [name for name in names if _holds_text(table.columns[name])]
    others = [name for name in names if name not in texts]
    last = others[len(others) - (count - len(texts)) :] if count > len(texts) else []
    options = " ".join(f"--drop {shlex.quote(name)}" for name in (*texts, *last)[:_SHOWN])
    reasons = ([f"{_names(texts)} hold{'s' * (len(texts) == 1)} text"] if texts else []) + (
        ["the last may be targets"] if last else []
    )
    return f"If these are no inputs ({', '.join(reasons)}): {options}; in circuit.toml: drop, below [tables]."


def _holds_text(column: Sequence[str] | Array | Unusable) -> bool:
    if isinstance(column, Unusable):
        return column.values is None
    if isinstance(column, np.ndarray):
        return False
    texts = [text for text in column if text.lower() not in _MISSING]
    return bool(texts) and not any(_DECIMAL.fullmatch(text) for text in texts)


def _width(spec: TensorSpec) -> int:
    """Values of one sample."""
    return prod(spec.shape[1:]) if len(spec.shape) > 1 else prod(spec.shape)


def _listed(word: str, names: Sequence[str]) -> str:
    return f"{word}{'s' if len(names) > 1 else ''} {_names(names)}"


def _names(names: Sequence[str]) -> str:
    return ", ".join(repr(printable(name, 40)) for name in names[:_SHOWN]) + (" …" if len(names) > _SHOWN else "")


def _drop(names: Sequence[str]) -> str:
    options = " ".join(f"--drop {shlex.quote(name)}" for name in names[:_SHOWN])
    return f"Leave out of the file what is no input, or say so: {options}; or drop below [tables] in circuit.toml."


def _array(
    table: Table, names: Sequence[str], spec: TensorSpec, where: str, finite: bool, texts: Mapping[int, Categories]
) -> Array:
    target = np.dtype(spec.dtype)
    cells = np.empty((table.rows, len(names)), target)
    for index, name in enumerate(names):
        column = table.columns[name]
        if index in texts:
            cells[:, index] = _of_categories(table, name, column, texts[index], target, where, finite)
            continue
        if isinstance(column, Unusable) and column.values is not None and not finite and target.kind == "f":
            column = column.values
        if isinstance(column, Unusable):
            place = f"column {printable(name)!r}" if column.row is None else table.place(column.row, name)
            raise InputRejected(column.code, column.message, where=f"{where}: {place}", hint=column.hint)
        if isinstance(column, np.ndarray):
            cells[:, index] = _of_numbers(table, name, column, target, where, finite)
        else:
            cells[:, index] = _of_texts(table, name, column, target, where, finite)
    # Like JSON: the values of one sample, row-major.
    one = spec.shape[1:] if len(spec.shape) > 1 else spec.shape
    return cells.reshape((table.rows, *one))


def _of_categories(
    table: Table, name: str, column: Sequence[str] | Array | Unusable, categories: Categories, target: np.dtype[Any],
    where: str, finite: bool,
) -> Array:  # fmt: skip
    """The numbers that the column's texts stand for."""
    texts = column.texts if isinstance(column, Unusable) else column
    if texts is None or isinstance(texts, np.ndarray):
        raise InputRejected(
            "input-dtype",
            "a column of numbers; the model takes texts there, its categories",
            where=f"{where}: column {printable(name)!r}",
            hint=f"Its categories: {_names(categories.values)}.",
        )
    known = {value: number for number, value in enumerate(categories.values)}
    numbers: list[float] = []
    for row, text in enumerate(texts):
        number = known.get(text)
        if number is None and text.lower() in _MISSING:
            if not finite and target.kind == "f":
                numbers.append(float("nan"))
                continue
            _refuse_text(text, target, f"{where}: {table.place(row, name)}")
        number = categories.number(text) if number is None else number
        if number is None:
            raise InputRejected(
                "input-dtype",
                f"{printable(text, 40)!r} is none of the column's categories",
                where=f"{where}: {table.place(row, name)}",
                hint=f"The model was trained on: {_names(categories.values)}.",
            )
        numbers.append(number)
    return np.array(numbers, target)


def _of_texts(table: Table, name: str, texts: Sequence[str], target: np.dtype[Any], where: str, finite: bool) -> Array:
    pattern = _DECIMAL if target.kind == "f" else _WHOLE
    if target.kind == "b":
        values: list[Any] = [_TRUTH.get(text.lower()) for text in texts]
    else:
        values = [(float(text) if target.kind == "f" else int(text)) if pattern.fullmatch(text) else None for text in texts]
        if not finite and target.kind == "f":
            values = [_not_finite(text) if value is None else value for text, value in zip(texts, values, strict=True)]
    if None in values:
        row = values.index(None)
        _refuse_text(texts[row], target, f"{where}: {table.place(row, name)}")
    if target.kind in "iu":
        limits = np.iinfo(target)
        for row, value in enumerate(values):
            if not limits.min <= value <= limits.max:
                raise InputRejected(
                    "input-dtype",
                    f"{texts[row]} is outside the range of {target.name}",
                    where=f"{where}: {table.place(row, name)}",
                    hint=f"{target.name} holds {limits.min} to {limits.max}.",
                )
        return np.array(values, target)
    return _rounded(table, name, np.array(values, np.float64 if target.kind == "f" else target), target, where, finite)


def _not_finite(text: str) -> float | None:
    """What stands for a cell that holds no finite number; ``None`` for what is no number at all."""
    if _INFINITE.fullmatch(text):
        return float(text)
    return float("nan") if text.lower() in _MISSING else None


def _refuse_text(text: str, target: np.dtype[Any], where: str) -> NoReturn:
    if text.lower() in _MISSING or _INFINITE.fullmatch(text):
        what = "the cell is empty" if not text else f"the cell says {printable(text)!r}"
        raise InputRejected("input-non-finite", what, where=where, hint=FILL)
    hint = "Write it as a number, as the model was trained on it; a category needs its code."
    if re.fullmatch(r"[+-]?\d{1,3}(?:[. ]\d{3})*,\d+", text):
        hint = "Write decimal points, not commas."
    elif target.kind in "iu" and _DECIMAL.fullmatch(text):
        hint = "Give whole numbers without a decimal point."
    elif target.kind == "b":
        hint = "Write true or false."
    raise InputRejected("input-dtype", f"{printable(text, 40)!r} is no {_WORDS[target.kind]}", where=where, hint=hint)


_WORDS = {"f": "number", "i": "whole number", "u": "whole number", "b": "boolean"}
FILL = "Fill it as the model expects, or leave the row out: no value is made up here."


def _of_numbers(table: Table, name: str, values: Array, target: np.dtype[Any], where: str, finite: bool) -> Array:
    fits = values.dtype.kind == "b" if target.kind == "b" else values.dtype.kind in ("iuf" if target.kind == "f" else "iu")
    if not fits:
        raise InputRejected(
            "input-dtype",
            f"{values.dtype.name} was given; the model takes {target.name}",
            where=f"{where}: column {printable(name)!r}",
            hint="Convert the column first, if its values are what you mean.",
        )
    if target.kind == "f":
        return _rounded(table, name, values.astype(np.float64), target, where, finite)
    if target.kind in "iu":
        limits = np.iinfo(target)
        outside = [row for row, value in enumerate(values.tolist()) if not limits.min <= value <= limits.max]
        if outside:
            place = f"{where}: {table.place(outside[0], name)}"
            raise InputRejected("input-dtype", f"{values[outside[0]]} is outside the range of {target.name}", where=place)
    return values.astype(target)


def _rounded(table: Table, name: str, values: Array, target: np.dtype[Any], where: str, finite: bool) -> Array:
    with np.errstate(over="ignore"):
        result = values.astype(target)
    if finite and target.kind == "f" and not np.isfinite(result).all():
        row = int(np.argmin(np.isfinite(result)))
        what = f"the cell is {values[row]}" if not np.isfinite(values[row]) else f"{values[row]:g} is outside {target.name}"
        raise InputRejected("input-non-finite", what, where=f"{where}: {table.place(row, name)}", hint=FILL)
    return result
