"""``data.lock``: a data set pinned, so that nobody who proves can choose what is counted.

Whoever judges an evaluation brings this file; none is ever taken from the evidence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from verifai.domain.digest import Sha256
from verifai.domain.our_files import require_schema
from verifai.domain.record import Record
from verifai.domain.unicode_14 import is_printable
from verifai.errors import UsageError

SCHEMA = "verifai/data-lock/v1"
MAX_SAMPLES = 1_000_000
MAX_CLASSES = 10_000
MAX_GROUPS = 1_000
MAX_INPUTS = 10_000
_TEXT = 512


class DataTask(StrEnum):
    """What a label is: the place of a class, or a number."""

    CLASSIFICATION = "classification"
    REGRESSION = "regression"


class DataKind(StrEnum):
    """What the samples are: arrays of numbers, rows of a table, or pictures of 8-bit pixels."""

    ARRAYS = "arrays"
    TABLE = "table"
    PICTURES = "pictures"


@dataclass(frozen=True, slots=True)
class InputColumn:
    """One array or column of the samples.

    Attributes:
        kind: of its cells: a NumPy name such as ``float32``, or ``text``.
        shape: of one sample's value.
    """

    name: str
    kind: str
    shape: tuple[int, ...] = ()

    def to_document(self) -> dict[str, Any]:
        """As TOML values."""
        return {"name": self.name, "kind": self.kind, "shape": list(self.shape)}


@dataclass(frozen=True, slots=True)
class DataLock:
    """The pin of a data set.

    Attributes:
        root: RFC 6962 Merkle root, in hex, over the samples' bytes (:mod:`.sample_leaf`), in order.
        inputs_root: the same over the inputs alone, and ``labels_sha256``, ``groups_sha256`` over labels and groups alone: they
            say *what* differs where the root does.
        classes: their names, in the order of the labels; empty for regression.
        label, group: which array or column of the file they are; ``group`` is empty when there is none.
        groups: their names, ascending.
        dropped: columns of the file that are no part of the data set.
        file: where the data were, relative to the lock; a help for people, nothing rests on it.
        source, licence: for people.
    """

    name: str
    root: Sha256
    inputs_root: Sha256
    labels_sha256: Sha256
    count: int
    task: DataTask
    kind: DataKind
    inputs: tuple[InputColumn, ...]
    label: str
    classes: tuple[str, ...] = ()
    group: str = ""
    groups: tuple[str, ...] = ()
    groups_sha256: Sha256 | None = None
    dropped: tuple[str, ...] = ()
    file: str = ""
    source: str = ""
    licence: str = ""
    where: str = field(default="", compare=False)

    def same_data(self, other: DataLock) -> bool:
        """Whether both pin the same samples, labels and groups, by whatever name, file and source."""
        plain = {"name": "", "file": "", "source": "", "licence": "", "dropped": (), "label": "", "group": ""}
        return replace(self, **plain) == replace(other, **plain)  # type: ignore[arg-type]

    def to_document(self) -> dict[str, Any]:
        """As TOML values; the inverse of :func:`parse_data_lock`."""
        data: dict[str, Any] = {
            "name": self.name,
            "root": self.root,
            "inputs_root": self.inputs_root,
            "labels_sha256": self.labels_sha256,
            "count": self.count,
            "task": self.task.value,
            "kind": self.kind.value,
            "label": self.label,
        }
        if self.classes:
            data["classes"] = list(self.classes)
        if self.groups_sha256 is not None:
            data |= {"group": self.group, "groups": list(self.groups), "groups_sha256": self.groups_sha256}
        if self.dropped:
            data["dropped"] = list(self.dropped)
        data |= {name: text for name in ("file", "source", "licence") if (text := getattr(self, name))}
        return {"schema": SCHEMA, "data": {**data, "inputs": [one.to_document() for one in self.inputs]}}


def parse_data_lock(document: Mapping[str, Any], where: str) -> DataLock:
    """Read a parsed ``data.lock``.

    Raises:
        UsageError: ``bad-data-lock``, with the field named: it is the judge's own file.
    """
    root = Record(document, where, error=UsageError, code="bad-data-lock")
    require_schema(root, SCHEMA)
    data = root.table("data")
    task = data.choice("task", DataTask)
    lock = DataLock(
        name=_text(data, "name"),
        root=data.sha256("root"),
        inputs_root=data.sha256("inputs_root"),
        labels_sha256=data.sha256("labels_sha256"),
        count=data.integer("count", low=1, high=MAX_SAMPLES),
        task=task,
        kind=data.choice("kind", DataKind),
        inputs=tuple(_input(item) for item in data.tables("inputs", max_length=MAX_INPUTS)),
        label=_text(data, "label"),
        classes=_names(data, "classes", MAX_CLASSES) if task is DataTask.CLASSIFICATION else (),
        group=_text(data, "group", ""),
        groups=_names(data, "groups", MAX_GROUPS) if data.has("groups") else (),
        groups_sha256=data.sha256("groups_sha256", None),
        dropped=_names(data, "dropped", MAX_INPUTS) if data.has("dropped") else (),
        file=_text(data, "file", ""),
        source=_text(data, "source", ""),
        licence=_text(data, "licence", ""),
        where=where,
    )
    data.done()
    root.done()
    if not lock.inputs:
        raise data.refuse("a data set has inputs", "inputs")
    if len({one.name for one in lock.inputs}) != len(lock.inputs):
        raise data.refuse("two inputs have one name", "inputs")
    if len({bool(lock.group), bool(lock.groups), lock.groups_sha256 is not None}) != 1:
        raise data.refuse("group, groups and groups_sha256 stand together or not at all", "group")
    if list(lock.groups) != sorted(lock.groups):
        raise data.refuse("the groups are not in ascending order", "groups")
    return lock


def _input(record: Record) -> InputColumn:
    column = InputColumn(
        _text(record, "name"),
        record.text("kind", pattern=r"bool|u?int(8|16|32|64)|float(16|32|64)|text"),
        record.integers("shape", low=1, high=2**31, max_length=9),
    )
    record.done()
    return column


def _text(record: Record, name: str, default: str | None = None) -> str:
    """Printable: it is shown in terminals and reports."""
    if default is not None and not record.has(name):
        return default
    text = record.text(name, max_length=_TEXT)
    if not is_printable(text):
        raise record.refuse("control characters", name)
    return text


def _names(record: Record, name: str, most: int) -> tuple[str, ...]:
    found = record.texts(name, max_length=most)
    if not found or len(set(found)) != len(found):
        raise record.refuse("expected names, each once", name)
    if any(len(one) > _TEXT or not is_printable(one) for one in found):
        raise record.refuse(f"a name has at most {_TEXT} printable characters", name)
    return found
