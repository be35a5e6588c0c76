"""GGUF files: metadata, and where each tensor lies. Every size, offset and length is held to the file before it is followed.

The reader of the ``gguf`` package follows lengths without comparing them with the file (an array of 2^60 numbers keeps it
appending for ever), so the file is read here; that package turns quantised blocks into float32.

Source: the specification of GGUF, version 3, in ggml's docs/gguf.md.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifai.errors import UsageError
from verifai.execution.packages import install_hint
from verifai.onnx_graph.limits import MAX_FILE_BYTES
from verifai.onnx_graph.refusal import printable, refuse

MAX_HEADER = 1 << 26
"""Metadata and the list of tensors together: 64 MiB. A vocabulary of 250,000 tokens with its merges takes about 10."""
MAX_ENTRIES = 4096
MAX_TENSORS = 1 << 14
MAX_ITEMS = 1 << 21
"""Items of all arrays together; each text of an array costs about a microsecond."""
MAX_RANK = 4

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_TEXT, _ARRAY = 8, 9

_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 6: "Q5_0", 7: "Q5_1", 8: "Q8_0", 10: "Q2_K", 11: "Q3_K", 12: "Q4_K", 13: "Q5_K",
    14: "Q6_K", 30: "BF16",
}  # fmt: skip
"""Types of tensors that are taken; by ggml's number."""
_BLOCKS = {
    "F32": (1, 4), "F16": (1, 2), "BF16": (1, 2), "Q4_0": (32, 18), "Q4_1": (32, 20), "Q5_0": (32, 22), "Q5_1": (32, 24),
    "Q8_0": (32, 34), "Q2_K": (256, 84), "Q3_K": (256, 110), "Q4_K": (256, 144), "Q5_K": (256, 176), "Q6_K": (256, 210),
}  # fmt: skip
"""Cells and bytes of a block."""


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """Where a tensor lies.

    Attributes:
        shape: the slowest axis first, as NumPy has it.
        kind: name of its type, such as ``Q4_K``.
        start: first byte in the file.
        size: in bytes.
    """

    shape: tuple[int, ...]
    kind: str
    start: int
    size: int


@dataclass(frozen=True)
class GgufFile:
    """A file's header.

    Attributes:
        metadata: by key: numbers, texts, lists of texts, arrays of numbers.
        tensors: by name.
    """

    path: Path
    metadata: Mapping[str, Any]
    tensors: Mapping[str, StoredTensor]

    def read(self, name: str) -> NDArray[np.float32]:
        """One tensor as float32.

        Raises:
            UsageError: ``extra-missing``, ``source-failed`` when the file has changed since.
        """
        tensor = self.tensors[name]
        with self.path.open("rb") as stream:
            stream.seek(tensor.start)
            data = stream.read(tensor.size)
        if len(data) != tensor.size:
            raise UsageError("source-failed", "the file changed while it was read", where=str(self.path))
        return dequantised(data, tensor.kind, tensor.shape, str(self.path))


def dequantised(data: bytes, kind: str, shape: tuple[int, ...], where: str) -> NDArray[np.float32]:
    """The bytes of one tensor as float32 of ``shape``. Raises UsageError (``extra-missing``)."""
    try:
        from gguf import GGMLQuantizationType
        from gguf.quants import dequantize
    except ImportError:
        raise language_extra("GGUF files need the package gguf", where) from None
    rows = np.frombuffer(data, np.uint8).reshape(-1, _BLOCKS[kind][1] * (shape[-1] // _BLOCKS[kind][0]))
    with np.errstate(all="ignore"):  # what is not finite is refused with its name later
        values = dequantize(rows, GGMLQuantizationType[kind])
    return np.ascontiguousarray(values, np.float32).reshape(shape)


def language_extra(message: str, where: str) -> UsageError:
    """What is missing, and how to install it."""
    return UsageError("extra-missing", message, where=where, hint=install_hint("language"))


def read_gguf(path: Path) -> GgufFile:
    """Read the header of ``path``.

    Raises:
        UsageError: ``file-missing``, ``source-failed``, with the place in the file named.
        UnsupportedModel: ``model-too-large``; ``model-dtype`` for a type of tensor that is not taken, with the tensor named.
    """
    try:
        if not path.is_file():
            problem = "it is not a regular file" if path.exists() else "no such file"
            raise UsageError("file-missing", f"cannot read: {problem}", where=str(path))
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            message = f"{size:,} bytes; the limit is {MAX_FILE_BYTES:,}"
            raise refuse("model-too-large", message, str(path), "Take a smaller model of the family.")
        with path.open("rb") as stream:
            head = stream.read(MAX_HEADER)
    except OSError as problem:
        raise UsageError("file-missing", f"cannot read: {problem.strerror}", where=str(path)) from None
    metadata, tensors = parse_header(head, size, str(path))
    return GgufFile(path, metadata, tensors)


def parse_header(head: bytes, size: int, where: str) -> tuple[dict[str, Any], dict[str, StoredTensor]]:
    """Metadata and tensors of a file of ``size`` bytes that begins with ``head``. Raises as :func:`read_gguf`."""
    cursor = _Cursor(head, where)
    if cursor.take(4) != b"GGUF":
        raise cursor.refused("it does not begin with GGUF")
    version = cursor.number("I")
    if version not in (2, 3):
        turned = int.from_bytes(struct.pack("<I", version), "big")
        raise cursor.refused("its numbers are big-endian" if turned in (2, 3) else f"version {version}; 2 and 3 are read")
    tensor_count, entry_count = cursor.number("Q"), cursor.number("Q")
    if entry_count > MAX_ENTRIES or tensor_count > MAX_TENSORS:
        raise cursor.refused(f"{entry_count:,} entries and {tensor_count:,} tensors are more than any model has")
    metadata: dict[str, Any] = {}
    for _ in range(entry_count):
        key = cursor.text()
        if key in metadata:
            raise cursor.refused(f"the key {printable(key, 60)!r} occurs twice")
        metadata[key] = cursor.value(cursor.number("I"))
    alignment = metadata.get("general.alignment", 32)
    if type(alignment) is not int or not 1 <= alignment <= 1 << 16 or alignment & (alignment - 1):
        raise cursor.refused("the alignment is no power of two up to 65,536")
    listed = [_listed(cursor) for _ in range(tensor_count)]
    begin = -(-cursor.at // alignment) * alignment
    tensors: dict[str, StoredTensor] = {}
    for name, shape, kind, offset in listed:
        if name in tensors:
            raise cursor.refused(f"the tensor {printable(name, 60)!r} occurs twice")
        cells, width = _BLOCKS[kind]
        length = prod(shape) // cells * width
        if offset % alignment or begin + offset + length > size:
            raise cursor.refused(f"the tensor {printable(name, 60)!r} does not lie in the file")
        tensors[name] = StoredTensor(shape, kind, begin + offset, length)
    places = sorted((tensor.start, tensor.start + tensor.size) for tensor in tensors.values())
    if any(end > start for (_, end), (start, _) in pairwise(places)):
        raise cursor.refused("two tensors overlap")
    return metadata, tensors


def _listed(cursor: _Cursor) -> tuple[str, tuple[int, ...], str, int]:
    name = cursor.text()
    where = f"tensor {name!r} of {cursor.where}"
    rank = cursor.number("I")
    if not 1 <= rank <= MAX_RANK:
        raise cursor.refused(f"the tensor {printable(name, 60)!r} has {rank} axes")
    shape = tuple(cursor.number("Q") for _ in range(rank))[::-1]
    if min(shape) < 1 or max(shape) > 1 << 32 or prod(shape) > 1 << 32:
        raise cursor.refused(f"the tensor {printable(name, 60)!r} is empty or too large")
    kind = _TYPES.get(number := cursor.number("I"), "")
    if not kind:
        hint = f"Types that are taken: {', '.join(sorted(_BLOCKS))}. Take another quantisation of the model."
        raise refuse("model-dtype", f"the type {_name_of(number)} of ggml is not supported", where, hint)
    if shape[-1] % _BLOCKS[kind][0]:
        raise cursor.refused(f"the tensor {printable(name, 60)!r} has rows that are no whole blocks of {kind}")
    return name, shape, kind, cursor.number("Q")


def _name_of(number: int) -> str:
    try:
        from gguf import GGMLQuantizationType

        return f"{number} ({GGMLQuantizationType(number).name})"
    except (ImportError, ValueError):
        return str(number)


class _Cursor:
    """Reads little-endian values one after another; what lies behind the end is a refusal."""

    def __init__(self, data: bytes, where: str) -> None:
        self.at, self.where = 0, where
        self._data, self._items = data, 0

    def refused(self, message: str) -> UsageError:
        """The error for the caller to raise."""
        hint = "Download the file again."
        return UsageError(
            "source-failed", f"not a sound GGUF file: {message}", where=f"{self.where}: byte {self.at}", hint=hint
        )

    def take(self, count: int) -> bytes:
        """The next ``count`` bytes."""
        if count > len(self._data) - self.at:
            full = len(self._data) >= MAX_HEADER
            raise self.refused(f"its header is longer than {MAX_HEADER:,} bytes" if full else "it ends too early")
        self.at += count
        return self._data[self.at - count : self.at]

    def number(self, form: str) -> Any:
        """One number of a ``struct`` format."""
        return struct.unpack("<" + form, self.take(struct.calcsize("<" + form)))[0]

    def text(self) -> str:
        """Length and UTF-8."""
        data = self.take(self.number("Q"))
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            raise self.refused("a text is not UTF-8") from None

    def value(self, kind: int) -> Any:
        """One value of the metadata."""
        if kind == _TEXT:
            return self.text()
        if kind in _SCALARS:
            return self.number(_SCALARS[kind])
        if kind != _ARRAY:
            raise self.refused(f"the type {kind} of a value is unknown")
        inner, count = self.number("I"), self.number("Q")
        self._items += count
        if self._items > MAX_ITEMS:
            raise self.refused(f"its arrays have more than {MAX_ITEMS:,} items")
        if inner == _TEXT:
            return [self.text() for _ in range(count)]
        if inner not in _SCALARS:
            raise self.refused("an array of arrays, or of an unknown type")
        form = np.dtype("<" + _SCALARS[inner]) if inner != 7 else np.dtype(np.uint8)
        return np.frombuffer(self.take(count * form.itemsize), form)
