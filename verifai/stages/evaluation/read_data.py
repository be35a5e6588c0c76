"""Data sets from files: arrays (``.npz``), tables (CSV, Parquet), folders of pictures. Refusals name the place."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

import numpy as np

from verifai.domain.evaluation.data_lock import MAX_CLASSES, MAX_GROUPS, MAX_SAMPLES, DataKind, DataTask
from verifai.domain.unicode_14 import is_printable
from verifai.errors import InputRejected
from verifai.execution.files import read_limited
from verifai.onnx_graph.arrays import MAX_BYTES, ZIP_MAGIC, read_npz
from verifai.onnx_graph.images import read_pixels
from verifai.onnx_graph.inputs import read_table
from verifai.onnx_graph.refusal import printable
from verifai.onnx_graph.tables import COMMA, DECIMAL, Table, Unusable
from verifai.onnx_graph.tensors import Array
from verifai.stages.evaluation.data_set import Column, DataSet

LABELS = ("label", "labels", "target", "class", "y")
"""What a label is called where nobody says it."""
FILES = ("file", "filename", "file_name", "path", "image")
FEW_VALUES = 20
"""Whole numbers of at most so many values are taken for classes."""
_WHOLE = 2**53
_LARGEST = 1e15
"""So that sums of squares of labels stay within a double."""
_PICTURES = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True)
class DataOptions:
    """What nobody can see in a file.

    Attributes:
        label, group: arrays or columns; by default a usual name of a label, and no group.
        task: by default what the labels look like.
        classes: names of the classes 0, 1, …, where the labels are whole numbers.
        dropped: arrays or columns that are no part of the data set.
    """

    label: str | None = None
    group: str | None = None
    task: DataTask | None = None
    classes: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReadData:
    """A data set, and which array or column its labels were."""

    data: DataSet
    label: str
    notes: tuple[str, ...] = field(default=())


def read_data(source: Path, options: DataOptions | None = None) -> ReadData:
    """Read a data set.

    Raises:
        InputRejected: ``input-…``, naming file and place; ``label-missing``.
        UsageError: ``file-missing``; ``extra-missing``.
    """
    options = options or DataOptions()
    if source.is_dir():
        return _pictures(source, options)
    data = read_limited(source, limit=MAX_BYTES)
    where = str(source)
    if data.startswith(ZIP_MAGIC):
        return _arrays(read_npz(data, where), options, where)
    if data.startswith(b"\x93NUMPY"):
        message = "one array without labels"
        raise InputRejected("label-missing", message, where=where, hint="Save inputs and labels with numpy.savez(…, label=…).")
    return _table(read_table(data, where), options, where)


def _arrays(arrays: Mapping[str, Array], options: DataOptions, where: str) -> ReadData:
    arrays = {name: one for name, one in arrays.items() if name not in options.dropped}
    label = _label_name(tuple(arrays), options, where)
    labels, group = arrays[label], _named(options.group, arrays, where)
    count = len(labels) if labels.ndim else 0
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or not count:
        raise InputRejected(
            "input-shape", f"labels of shape {labels.shape}; one per sample is needed", where=f"{where}: {label!r}"
        )
    inputs: dict[str, Column] = {}
    for name, one in arrays.items():
        if name in (label, group):
            continue
        place = f"{where}: array {printable(name)!r}"
        if one.dtype.kind not in "biuf" or not one.ndim or len(one) != count:
            raise InputRejected(
                "input-shape",
                f"{one.dtype.name} of shape {one.shape}, beside {count:,} labels",
                where=place,
                hint="Axis 0 of each array counts the samples. Leave out what is no input with --drop.",
            )
        _require_finite(one, place)
        inputs[name] = one
    groups = () if group is None else _array_groups(arrays[group], count, f"{where}: {group!r}")
    return _made(DataKind.ARRAYS, inputs, _plain(labels), groups, label, options, where)


def _plain(labels: Array) -> Array | list[str]:
    return labels.astype(np.int64) if labels.dtype.kind == "b" else labels


def _array_groups(array: Array, count: int, where: str) -> tuple[str, ...]:
    if array.shape != (count,) or array.dtype.kind not in "biu":
        message = f"groups are one whole number per sample here, this is {array.dtype.name} of shape {array.shape}"
        raise InputRejected("input-shape", message, where=where, hint="Named groups need a table (CSV or Parquet).")
    return tuple(str(int(one)) for one in array)


def _table(table: Table, options: DataOptions, where: str) -> ReadData:
    columns = {name: one for name, one in table.columns.items() if name not in options.dropped}
    if table.rows > MAX_SAMPLES:
        raise InputRejected("input-too-large", f"{table.rows:,} rows; the limit is {MAX_SAMPLES:,}", where=where)
    label = _label_name(tuple(columns), options, where)
    group = _named(options.group, columns, where)
    inputs = {
        name: _column(one, table, f"{where}: column {printable(name)!r}") for name, one in columns.items() if name != label
    }
    labels = _column(columns[label], table, f"{where}: column {printable(label)!r}")
    _require_labels(labels, lambda row: f"{where}: {table.place(row, label)}")
    groups = () if group is None else _table_groups(inputs[group], table, group, where)
    made = labels if isinstance(labels, np.ndarray) else list(labels)
    return _made(DataKind.TABLE, inputs, made, groups, label, options, where)


_MISSING = frozenset({"nan", "+nan", "-nan", "inf", "+inf", "-inf", "na", "n/a", "#n/a", "<na>", "null", "none", "?"})
"""What programs write for a number that is not there."""


def _require_labels(labels: Column, place: Callable[[int], str]) -> None:
    """That each sample has one: among numbers, a word for a missing one is no class."""
    if not isinstance(labels, tuple):
        return
    numbers = any(DECIMAL.fullmatch(text) for text in labels)
    plain = numbers and all(DECIMAL.fullmatch(text) or text.strip().lower() in {*_MISSING, ""} for text in labels)
    for row, text in enumerate(labels):
        if not text.strip() or (plain and not DECIMAL.fullmatch(text)):
            said = f", but {printable(text)!r}" if text.strip() else ""
            raise InputRejected("input-malformed", f"the sample has no label{said}", where=place(row), hint=_LEAVE)


_LEAVE = "Leave the row out, or give it its value: an evaluation counts every sample."


def _table_groups(column: Column, table: Table, name: str, where: str) -> tuple[str, ...]:
    texts = column if isinstance(column, tuple) else tuple(_number_text(one) for one in column.tolist())
    for row, text in enumerate(texts):
        if not text:
            raise InputRejected(
                "input-malformed", "the sample has no group", where=f"{where}: {table.place(row, name)}", hint=_LEAVE
            )
    return texts


def _number_text(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(value)


def _column(column: Sequence[str] | Array | Unusable, table: Table, where: str) -> Column:
    """Numbers where every cell is one; else texts, as they are. What the model cannot take is refused when it is proven."""
    if isinstance(column, Unusable):
        if column.texts is not None:
            return tuple(column.texts)
        raise InputRejected(column.code, column.message, where=where, hint=column.hint)
    if isinstance(column, np.ndarray):
        _require_finite(column, where)
        return column.astype(np.int64 if column.dtype.kind in "biu" else np.float64)
    texts = [text.replace(",", ".") if table.comma and COMMA.fullmatch(text) else text for text in column]
    if not all(DECIMAL.fullmatch(text) for text in texts):
        return tuple(column)
    numbers = np.array([float(text) for text in texts], np.float64)
    _require_finite(numbers, where)
    whole = all(text.lstrip("+-").isdigit() for text in texts) and bool((np.abs(numbers) < _WHOLE).all())
    return numbers.astype(np.int64) if whole else numbers


def _require_finite(array: Array, where: str) -> None:
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        row = int(np.argwhere(~np.isfinite(array))[0][0])
        raise InputRejected("input-non-finite", f"sample {row} holds a value that is not finite", where=where, hint=_LEAVE)


def _pictures(folder: Path, options: DataOptions) -> ReadData:
    """A folder with a CSV that names its pictures; or one subfolder per class, named as the class."""
    tables = sorted(one for one in folder.iterdir() if one.suffix.lower() == ".csv" and not one.name.startswith("."))
    if len(tables) > 1:
        several = ", ".join(one.name for one in tables)
        raise InputRejected("input-malformed", f"several tables: {printable(several)}", where=str(folder), hint="Keep one.")
    if not tables:
        rows = _by_class(folder)
        if not rows:
            hint = "Give a folder with a CSV of the columns file and label, or one subfolder of pictures per class."
            raise InputRejected("label-missing", "no table, and no subfolder with pictures", where=str(folder), hint=hint)
        label, names = "folder", [name for name, _ in rows]
        groups: tuple[str, ...] = ()
        labels: Array | list[str] = [text for _, text in rows]
    else:
        table = read_table(read_limited(tables[0], limit=MAX_BYTES), str(tables[0]))
        where = str(tables[0])
        label = _label_name(tuple(table.columns), options, where)
        file = next((name for name in FILES if name in table.columns and name != label), None)
        if file is None:
            raise InputRejected("input-missing", "no column names the pictures", where=where, hint="Call it `file`.")
        listed = table.columns[file]
        if isinstance(listed, np.ndarray | Unusable):
            raise InputRejected("input-malformed", f"the column {file!r} holds no file names", where=where)
        names = list(listed)
        found = _column(table.columns[label], table, f"{where}: column {printable(label)!r}")
        _require_labels(found, lambda row: f"{where}: {table.place(row, label)}")
        labels = found if isinstance(found, np.ndarray) else list(found)
        group = _named(options.group, table.columns, where)
        groups = () if group is None else _table_groups(_column(table.columns[group], table, where), table, group, where)
    if len(names) > MAX_SAMPLES:
        raise InputRejected("input-too-large", f"{len(names):,} pictures; the limit is {MAX_SAMPLES:,}", where=str(folder))
    pixels, notes = _read_pictures(folder, names)
    made = _made(DataKind.PICTURES, {"image": pixels}, labels, groups, label, options, str(folder))
    return replace(made, notes=(*notes, *made.notes))


def _by_class(folder: Path) -> list[tuple[str, str]]:
    found = []
    for part in sorted(folder.iterdir()):
        if part.is_symlink() or not part.is_dir() or part.name.startswith("."):
            continue
        inside = sorted(one.name for one in part.iterdir() if one.suffix.lower() in _PICTURES)
        found += [(f"{part.name}/{name}", part.name) for name in inside]
    return found


def _read_pictures(folder: Path, names: Sequence[str]) -> tuple[Array, tuple[str, ...]]:
    pixels: list[Array] = []
    notes: dict[str, None] = {}
    size: tuple[int, ...] | None = None
    channels: int | None = None
    total = 0
    for name in names:
        path = _inside(folder, name)
        one, said = read_pixels(read_limited(path, limit=MAX_BYTES), str(path), size, channels)
        channels, size = one.shape[0], one.shape[:0:-1]
        total += one.nbytes
        if total > MAX_BYTES:
            message = f"more than {MAX_BYTES:,} bytes of pixels"
            raise InputRejected("input-too-large", message, where=str(folder), hint="Evaluate the data set in parts.")
        notes |= {text.partition(": ")[2]: None for text in said}
        pixels.append(one)
    return np.stack(pixels), tuple(f"{folder}: {text}" for text in notes)


def _inside(folder: Path, name: str) -> Path:
    """A picture that lies in the folder: no link leads out of it, and no name does."""
    pure = PurePosixPath(name)
    path = folder / pure
    outside = not name or "\x00" in name or pure.is_absolute() or ".." in pure.parts
    if outside or not os.path.realpath(path).startswith(os.path.realpath(folder) + os.sep):
        raise InputRejected("input-malformed", f"{printable(name)!r} is no file of this folder", where=str(folder))
    return path


def _label_name(names: Collection[str], options: DataOptions, where: str) -> str:
    if options.label is not None:
        return _named(options.label, names, where) or ""
    found = [name for name in names if name.lower() in LABELS]
    if len(found) == 1:
        return found[0]
    what = "no array or column is called as labels are" if not found else f"several may be the labels: {', '.join(found)}"
    shown = ", ".join(printable(name) for name in list(names)[:20])
    raise InputRejected("label-missing", what, where=where, hint=f"Name it with --label NAME. The file has: {shown}.")


def _named(name: str | None, names: Collection[str], where: str) -> str | None:
    if name is not None and name not in names:
        shown = ", ".join(printable(one) for one in list(names)[:20])
        raise InputRejected("input-missing", f"there is no {printable(name)!r}", where=where, hint=f"The file has: {shown}.")
    return name


def _made(
    kind: DataKind,
    inputs: Mapping[str, Column],
    labels: Array | list[str],
    groups: tuple[str, ...],
    label: str,
    options: DataOptions,
    where: str,
) -> ReadData:
    if not inputs:
        raise InputRejected("input-missing", "there is nothing beside the labels", where=where)
    if not len(labels):
        raise InputRejected("input-missing", "the data set has no sample", where=where)
    task, notes = _task(labels, options, label, where)
    place = f"{where}: {printable(label)!r}"
    if task is DataTask.REGRESSION:
        if isinstance(labels, list):
            raise InputRejected("input-dtype", "texts are no numbers", where=place, hint="Leave out --task regression.")
        numbers = labels.astype(np.float64)
        _require_finite(numbers, place)
        if bool((np.abs(numbers) > _LARGEST).any()):
            raise InputRejected("input-dtype", f"a label beyond {_LARGEST:g}", where=place, hint="Use a larger unit.")
        data = DataSet(kind, task, inputs, numbers, (), groups)
    else:
        places, classes = _classes(labels, options.classes, place)
        data = DataSet(kind, task, inputs, places, classes, groups)
    _check_names(groups, MAX_GROUPS, "groups", where)
    return ReadData(data, label, notes)


def _task(labels: Array | list[str], options: DataOptions, label: str, where: str) -> tuple[DataTask, tuple[str, ...]]:
    if options.task is not None:
        return options.task, ()
    if isinstance(labels, list) or options.classes:
        return DataTask.CLASSIFICATION, ()
    whole = labels.dtype.kind in "iu" or (
        labels.dtype.kind == "f" and bool(np.isfinite(labels).all()) and bool((labels == np.round(labels)).all())
    )
    distinct = len(np.unique(labels))
    if whole and (distinct <= FEW_VALUES or distinct * 10 <= len(labels)):
        note = f"{where}: {printable(label)!r} has {distinct} whole values, taken for classes (else: --task regression)"
        return DataTask.CLASSIFICATION, (note,)
    return DataTask.REGRESSION, (
        f"{where}: {printable(label)!r} was taken for a number to predict (else: --task classification)",
    )


def _classes(labels: Array | list[str], names: tuple[str, ...], where: str) -> tuple[Array, tuple[str, ...]]:
    """Places of classes, and their names: whole numbers from 0 are places; anything else is named, in ascending order."""
    if isinstance(labels, list):
        found = sorted(set(labels))
        _check_names(found, MAX_CLASSES, "classes", where)
        if names and set(found) - set(names):
            odd = sorted(set(found) - set(names))[0]
            raise InputRejected("input-dtype", f"{printable(odd)!r} is none of the classes given", where=where)
        order = names or tuple(found)
        place = {name: number for number, name in enumerate(order)}
        return np.array([place[one] for one in labels], np.int64), order
    values = labels.astype(np.float64)
    _require_finite(values, where)
    if bool((values != np.round(values)).any()) or bool((np.abs(values) >= _WHOLE).any()):
        raise InputRejected(
            "input-dtype", "classes are whole numbers or texts", where=where, hint="--task regression predicts numbers."
        )
    whole = values.astype(np.int64)
    low, high = int(whole.min()), int(whole.max())
    if low < 0 or high >= MAX_CLASSES:  # such as -1 and 1: names, not places
        kept = sorted(set(whole.tolist()))
        _check_names([str(one) for one in kept], MAX_CLASSES, "classes", where)
        at = {value: number for number, value in enumerate(kept)}
        if names and len(names) != len(kept):
            raise InputRejected("input-dtype", f"{len(names)} names for {len(kept)} classes", where=where)
        return np.array([at[one] for one in whole.tolist()], np.int64), names or tuple(str(one) for one in kept)
    if names and high >= len(names):
        raise InputRejected("input-dtype", f"a label is {high}, and {len(names)} classes are named", where=where)
    return whole, names or tuple(str(one) for one in range(high + 1))


def _check_names(names: Collection[str], most: int, what: str, where: str) -> None:
    distinct = set(names)
    if len(distinct) > most:
        raise InputRejected("input-too-large", f"{len(distinct):,} {what}; the limit is {most:,}", where=where)
    for name in distinct:
        if len(name) > 512 or not is_printable(name):
            raise InputRejected(
                "input-malformed", f"a name of {what} is no short printable text: {printable(name, 40)!r}", where=where
            )
