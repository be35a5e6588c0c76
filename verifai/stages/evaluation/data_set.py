"""A data set in memory: its bytes, its pin, and the file that carries it in a bundle."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from verifai.bundle.merkle import TreeHead
from verifai.domain import strict_json
from verifai.domain.digest import Sha256
from verifai.domain.evaluation.data_lock import DataKind, DataLock, DataTask, InputColumn
from verifai.domain.evaluation.sample_leaf import cell_head, inputs_head, sample_bytes
from verifai.errors import EvidenceRejected, InputRejected, UsageError
from verifai.execution.files import read_limited
from verifai.onnx_graph.arrays import MAX_BYTES, read_npz
from verifai.onnx_graph.npz import write_npz
from verifai.onnx_graph.tensors import Array

DATA_FILE = "data.npz"
"""The samples, in an evaluation's payload."""
TEXT = "text"
_LABEL, _GROUP, _INPUT = "label", "group", "input."

Column = Array | tuple[str, ...]


@dataclass(frozen=True)
class DataSet:
    """Samples with their labels, and their groups if there are any.

    Attributes:
        inputs: by name, in order: an array with axis 0 = sample, or the texts of a column of a table.
        labels: int64 places of classes, or float64 numbers; one per sample.
        classes: their names; none for regression.
        groups: one per sample; none where the data set has no groups.
    """

    kind: DataKind
    task: DataTask
    inputs: Mapping[str, Column]
    labels: Array
    classes: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=(), compare=False)

    def __len__(self) -> int:
        return len(self.labels)

    def columns(self) -> tuple[InputColumn, ...]:
        """What the inputs are, for the lock."""
        return tuple(
            InputColumn(name, TEXT) if isinstance(one, tuple) else InputColumn(name, one.dtype.name, one.shape[1:])
            for name, one in self.inputs.items()
        )

    def first(self, count: int) -> DataSet:
        """The first samples alone."""
        inputs: dict[str, Column] = {name: one[:count] for name, one in self.inputs.items()}
        return DataSet(self.kind, self.task, inputs, self.labels[:count], self.classes, self.groups[:count], self.notes)


@dataclass(frozen=True, slots=True)
class Digests:
    """What a lock pins of the samples; see :class:`~verifai.domain.evaluation.data_lock.DataLock`."""

    root: Sha256
    inputs_root: Sha256
    labels_sha256: Sha256
    groups_sha256: Sha256 | None


def digests_of(data: DataSet) -> Digests:
    """Hash a data set. Time is linear in its cells; memory is that of one column beside it, however many cells there are."""
    labels = _label_bytes(data)
    groups = [one.encode() for one in data.groups]
    whole, inputs = TreeHead(), TreeHead()
    for row, laid in enumerate(_laid_inputs(data)):
        inputs.add(laid)
        whole.add(sample_bytes(laid, labels[row], groups[row] if groups else None))
    return Digests(
        root=Sha256(whole.root().hex()),
        inputs_root=Sha256(inputs.root().hex()),
        labels_sha256=_listed(b"verifai/labels/v1\n", labels),
        groups_sha256=_listed(b"verifai/groups/v1\n", groups) if groups else None,
    )


def _laid_inputs(data: DataSet) -> Iterator[bytes]:
    """Of each sample, its inputs as :func:`~verifai.domain.evaluation.sample_leaf.inputs_bytes` lays them out."""
    start = inputs_head(len(data.inputs))
    columns = [
        _text_parts(name, one) if isinstance(one, tuple) else _array_parts(name, one) for name, one in data.inputs.items()
    ]
    for parts in zip(*columns, strict=True):
        yield b"".join((start, *(piece for pair in parts for piece in pair)))


def _text_parts(name: str, texts: Sequence[str]) -> Iterator[tuple[bytes, bytes]]:
    for text in texts:
        encoded = text.encode()
        yield cell_head(name, TEXT, (), len(encoded)), encoded


def _array_parts(name: str, array: Array) -> Iterator[tuple[bytes, memoryview]]:
    flat = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False)
    size = flat.nbytes // len(flat) if len(flat) else 0
    cells, head = flat.reshape(-1).view(np.uint8).data, cell_head(name, array.dtype.name, array.shape[1:], size)
    for row in range(len(flat)):
        yield head, cells[row * size : (row + 1) * size]


def _label_bytes(data: DataSet) -> list[bytes]:
    kind = "<i8" if data.task is DataTask.CLASSIFICATION else "<f8"
    return [data.labels[row : row + 1].astype(kind).tobytes() for row in range(len(data))]


def _listed(prefix: bytes, parts: Sequence[bytes]) -> Sha256:
    state = hashlib.sha256(prefix)
    for part in parts:
        state.update(len(part).to_bytes(8, "little") + part)
    return Sha256(state.hexdigest())


def pin(data: DataSet, name: str, label: str, **more: Any) -> DataLock:
    """The lock of a data set; ``more``: further fields of :class:`DataLock`. Raises InputRejected for labels that are none."""
    if (problem := _label_problem(data.labels, data.task, data.classes)) is not None:
        raise InputRejected("input-dtype", problem, where="labels")
    found = digests_of(data)
    return DataLock(
        name=name,
        root=found.root,
        inputs_root=found.inputs_root,
        labels_sha256=found.labels_sha256,
        count=len(data),
        task=data.task,
        kind=data.kind,
        inputs=data.columns(),
        label=label,
        classes=data.classes,
        groups=tuple(sorted(set(data.groups))),
        groups_sha256=found.groups_sha256,
        **more,
    )


def to_file(data: DataSet) -> bytes:
    """The bytes of ``payload/data.npz``: the inputs by number, the labels, the groups; texts as JSON lists in UTF-8."""
    arrays: dict[str, Array] = {}
    for number, one in enumerate(data.inputs.values()):
        arrays[f"{_INPUT}{number}"] = _texts(one) if isinstance(one, tuple) else one
    arrays[_LABEL] = data.labels
    if data.groups:
        arrays[_GROUP] = _texts(data.groups)
    return write_npz(arrays)


def _texts(texts: Sequence[str]) -> Array:
    return np.frombuffer(json.dumps(list(texts), ensure_ascii=False).encode(), np.uint8)


def read_carried(path: Path, lock: DataLock) -> DataSet:
    """The samples in a bundle, which must be those that ``lock`` pins.

    Raises:
        EvidenceRejected: ``data-malformed``; ``data-inputs-differ``, ``data-labels-differ``, ``data-groups-differ``.
    """
    try:
        arrays = read_npz(read_limited(path, limit=MAX_BYTES), DATA_FILE, most=_most_bytes(lock))
        data = _laid_out(arrays, lock)
    except (InputRejected, UsageError, ValueError) as problem:
        raise EvidenceRejected("data-malformed", f"the samples cannot be read: {problem}", where=DATA_FILE) from None
    require_pinned(data, lock)
    return data


_NPY_HEADER = 1 << 13
"""More than an array's header has."""


def _most_bytes(lock: DataLock) -> int:
    """How many bytes the arrays of the pinned data set can have: whoever sends others decides nothing about what is read."""
    if any(one.kind == TEXT for one in lock.inputs):
        return MAX_BYTES  # nothing says how long the texts are
    cells = sum(prod(one.shape) * np.dtype(one.kind).itemsize for one in lock.inputs) + 8
    # Of a text as JSON: each byte of a name at most six, and quotes, comma and blank.
    group = 4 + 6 * max((len(one.encode()) for one in lock.groups), default=0)
    return min(MAX_BYTES, lock.count * (cells + (group if lock.groups else 0)) + _NPY_HEADER * (len(lock.inputs) + 2))


def _laid_out(arrays: Mapping[str, Array], lock: DataLock) -> DataSet:
    """By the names and kinds of the lock. Raises ValueError."""
    expected = [f"{_INPUT}{number}" for number in range(len(lock.inputs))] + [_LABEL] + ([_GROUP] if lock.groups else [])
    if sorted(arrays) != sorted(expected):
        raise ValueError(f"it holds {', '.join(sorted(arrays))[:200]}, not {', '.join(sorted(expected))[:200]}")
    labels = arrays[_LABEL]
    if (problem := _label_problem(labels, lock.task, lock.classes)) is not None:
        raise ValueError(problem)
    if len(labels) != lock.count:  # before anything is made of each of them
        raise _differ(len(labels), lock)
    inputs: dict[str, Column] = {}
    for number, column in enumerate(lock.inputs):
        array = arrays[f"{_INPUT}{number}"]
        if column.kind == TEXT:
            inputs[column.name] = _read_texts(array, len(labels))
            continue
        if array.dtype.name != column.kind or array.shape != (len(labels), *column.shape):
            raise ValueError(f"{column.name!r} is {array.dtype.name} of shape {array.shape}")
        inputs[column.name] = array
    groups = _read_texts(arrays[_GROUP], len(labels)) if lock.groups else ()
    return DataSet(lock.kind, lock.task, inputs, labels, lock.classes, groups)


def _label_problem(labels: Array, task: DataTask, classes: Sequence[str]) -> str | None:
    """Why these are no labels; ``None`` where they are."""
    kind = np.int64 if task is DataTask.CLASSIFICATION else np.float64
    if labels.dtype != kind or labels.ndim != 1 or not len(labels):
        return "the labels are not one number per sample"
    if task is DataTask.REGRESSION:
        return None if np.isfinite(labels).all() else "a label is not finite"
    return None if ((labels >= 0) & (labels < len(classes))).all() else "a label is no class of the lock"


_ONE_TEXT = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)


def _read_texts(array: Array, count: int) -> tuple[str, ...]:
    """The texts of a column, in the one form that :func:`_texts` writes.

    JSON makes sixty bytes of three where it is of other values or of more, so it is only parsed once it holds ``count`` texts.
    """
    if array.dtype != np.uint8 or array.ndim != 1:
        raise ValueError("a column of texts is not UTF-8")
    data, at = array.tobytes(), 1
    for number in range(count):
        match = _ONE_TEXT.match(data, at)
        behind = b"]" if number == count - 1 else b", "
        if match is None or not data.startswith(behind, match.end()):
            raise ValueError("a column of texts has not one text per sample")
        at = match.end() + len(behind)
    if at != len(data):
        raise ValueError("a column of texts has not one text per sample")
    found = strict_json.loads(data, where=DATA_FILE, max_bytes=MAX_BYTES, error=InputRejected, code="input-malformed")
    return tuple(found)


def _differ(count: int, lock: DataLock) -> EvidenceRejected:
    return EvidenceRejected(
        "data-inputs-differ",
        f"{count:,} samples, whose inputs are not those of the {lock.count:,} that the lock pins",
        where=DATA_FILE,
    )


def require_pinned(data: DataSet, lock: DataLock) -> None:
    """That samples, labels and groups are, in their order, those that ``lock`` pins; else what differs.

    Raises:
        EvidenceRejected: ``data-inputs-differ``, ``data-labels-differ``, ``data-groups-differ``.
    """
    found = digests_of(data)
    if found.root == lock.root and len(data) == lock.count and set(data.groups) == set(lock.groups):
        return
    if len(data) != lock.count or found.inputs_root != lock.inputs_root:
        raise _differ(len(data), lock)
    if found.labels_sha256 != lock.labels_sha256:
        raise EvidenceRejected(
            "data-labels-differ",
            "the labels are not those that the lock pins",
            where=DATA_FILE,
        )
    raise EvidenceRejected(
        "data-groups-differ",
        "the groups are not those that the lock pins",
        where=DATA_FILE,
    )
