"""Tables as inputs: the columns of a CSV or Parquet file, by name, row = sample.

Numbers of a table are decimal numbers: they are rounded to the nearest value of the model's floating-point type. Everything
else is taken as it is, or refused with its row and column: a cell that is empty, NaN, infinite, or no number is never replaced.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
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

DECIMAL = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,4})?", re.ASCII)
COMMA = re.compile(r"[+-]?\d+,\d+(?:[eE][+-]?\d{1,4})?", re.ASCII)
"""A number with a decimal comma, or with thousands."""
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
        comma: whether its numbers have decimal commas, as files have whose columns are separated by semicolons.
    """

    columns: dict[str, Sequence[str] | Array | Unusable]
    rows: int
    lines: Sequence[int] = ()
    comma: bool = False

    def place(self, row: int, column: str) -> str:
        """For messages; rows are counted from 1, without the header."""
        line = f" (line {self.lines[row]})" if self.lines else ""
        return f"row {row + 1}{line}, column {printable(column)!r}"


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
    known = all(spec.name in columns.names for spec in inputs)
    if extra and not (known and columns.named_only):
        raise InputRejected("input-unknown", f"the model has no {_listed('column', extra)}", where=where, hint=_drop(extra))
    notes = [f"{where}: left out, since they are no inputs: {_listed('column', extra)}"] if extra else []
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
    texts: Mapping[str, Mapping[int, Categories]] | None = None, *, finite: bool = True, notes: list[str] | None = None,
) -> dict[str, Array]:  # fmt: skip
    """One array per input of the columns that it takes, axis 0 = row.

    Args:
        texts: by input and place, the categories of columns of texts.
        finite: whether a floating-point cell that is empty, NaN or infinite refuses the table; else NaN or infinity stands
            for it, for a reader that looks at each sample; so it does for a text that is none of a column's categories.
        notes: takes what a person should know of cells that were read in another way than they are written.

    Raises:
        InputRejected: ``input-dtype``, ``input-non-finite``, with row and column.
    """
    known, said = texts or {}, [] if notes is None else notes
    if table.comma:
        said.append(f"{where}: the table has decimal commas, so 3,14 was read as 3.14")
    return {spec.name: _array(table, taken[spec.name], spec, where, finite, known.get(spec.name, {}), said) for spec in inputs}


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
        there = "there is no" if len(missing) == 1 else "there are no"
        if len(missing) == len(names) and any(DECIMAL.fullmatch(name) for name in table.columns):
            has += ". The first row must name the columns"
        raise InputRejected("input-missing", f"{there} {_listed('column', missing)}", where=where, hint=f"{has}.")
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
    return bool(texts) and not any(DECIMAL.fullmatch(text) for text in texts)


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
    table: Table, names: Sequence[str], spec: TensorSpec, where: str, finite: bool, texts: Mapping[int, Categories],
    notes: list[str],
) -> Array:  # fmt: skip
    target = np.dtype(spec.dtype)
    cells = np.empty((table.rows, len(names)), target)
    for index, name in enumerate(names):
        column = table.columns[name]
        if index in texts:
            cells[:, index] = _of_categories(table, name, column, texts[index], target, where, finite, notes)
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
    where: str, finite: bool, notes: list[str],
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
    unknown: list[str] = []
    for row, text in enumerate(texts):
        number = known.get(text)
        if number is None and text.lower() in _MISSING:
            if not finite and target.kind == "f":
                numbers.append(float("nan"))
                continue
            _refuse_text(text, target, f"{where}: {table.place(row, name)}")
        number = categories.number(text) if number is None else number
        if number is None and not finite and target.kind == "f":
            unknown.append(f"{printable(text, 40)!r} ({table.place(row, name)})")
            numbers.append(float("nan"))
            continue
        if number is None:
            raise InputRejected(
                "input-dtype",
                f"{printable(text, 40)!r} is none of the column's categories",
                where=f"{where}: {table.place(row, name)}",
                hint=f"The model was trained on: {_names(categories.values)}.",
            )
        numbers.append(number)
    if unknown:
        more = f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
        told = f"none of the categories of column {printable(name)!r}: {', '.join(unknown[:_SHOWN])}{more}"
        notes.append(f"{where}: {told}. The model was trained on: {_names(categories.values)}.")
    return np.array(numbers, target)


def _of_texts(table: Table, name: str, texts: Sequence[str], target: np.dtype[Any], where: str, finite: bool) -> Array:
    pattern = DECIMAL if target.kind == "f" else _WHOLE
    truths = [_TRUTH.get(text.lower()) for text in texts]
    values: list[Any]
    if table.comma:
        texts = [text.replace(",", ".") if COMMA.fullmatch(text) else text for text in texts]
    # What libraries write of a column of booleans, and what such a column is trained on: 1 and 0.
    if target.kind == "b" or _all_truths(texts, truths):
        gaps = target.kind == "f" and not finite
        values = [_not_finite(text) if gaps and truth is None else truth for text, truth in zip(texts, truths, strict=True)]
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


def _all_truths(texts: Sequence[str], truths: Sequence[int | None]) -> bool:
    """Whether every cell that is not empty says true or false, and one does."""
    told = [truth for text, truth in zip(texts, truths, strict=True) if text.lower() not in _MISSING]
    return bool(told) and None not in told


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
    if target.kind == "b":
        hint = "Write true or false."
    elif re.fullmatch(r"[+-]?\d{1,3}(?:,\d{3})+\.\d*", text):
        hint = "Write it without separators of thousands."
    elif re.fullmatch(r"[+-]?\d{1,3}(?:[. ]\d{3})*,\d+", text):
        hint = "Write decimal points, not commas."
    elif _DATE.fullmatch(text):
        hint = "It looks like a date or a time: give the number that the model was trained on for it, such as a count of days."
    elif DECIMAL.fullmatch(text.rstrip("%€$£ ").lstrip("€$£ ")):
        hint = "Write the number alone, without a unit, as the model was trained on it."
    elif target.kind in "iu" and DECIMAL.fullmatch(text):
        hint = "Give whole numbers without a decimal point."
    raise InputRejected("input-dtype", f"{printable(text, 40)!r} is no {_WORDS[target.kind]}", where=where, hint=hint)


_DATE = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}(?:[T ].{1,40})?|\d{1,2}:\d{2}(?::\d{2}.{0,20})?", re.ASCII)
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
