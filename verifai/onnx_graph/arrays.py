"""``.npy`` and ``.npz`` from strangers: no pickles, and no allocation before the declared sizes were checked against the bytes.

Source: NumPy Enhancement Proposal 1 (the NPY format); APPNOTE.TXT for ZIP.
"""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from collections.abc import Callable

import numpy as np

from verifai.errors import InputRejected
from verifai.onnx_graph.refusal import printable
from verifai.onnx_graph.tensors import Array

NPY_MAGIC = b"\x93NUMPY"
ZIP_MAGIC = b"PK\x03\x04"
MAX_BYTES = 1 << 29
"""All arrays of one file together: 512 MiB."""

_MAX_MEMBERS = 1024
_MAX_HEADER = 4096
_MAX_RANK = 32


def read_npz(data: bytes, where: str) -> dict[str, Array]:
    """The arrays of an ``.npz`` file by name.

    Raises:
        InputRejected: ``input-malformed``, ``input-too-large``.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return _members(archive, where)
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        OSError,
        NotImplementedError,
        RuntimeError,
        ValueError,
        KeyError,
    ) as problem:
        raise InputRejected(
            "input-malformed", f"not a readable .npz file: {printable(str(problem), 100)}", where=where
        ) from None


def _members(archive: zipfile.ZipFile, where: str) -> dict[str, Array]:
    entries = archive.infolist()
    if len(entries) > _MAX_MEMBERS:
        raise InputRejected("input-too-large", f"{len(entries)} arrays; the limit is {_MAX_MEMBERS}", where=where)
    declared = sum(entry.file_size for entry in entries)
    if declared > MAX_BYTES:
        raise InputRejected(
            "input-too-large", f"the arrays declare {declared:,} bytes; the limit is {MAX_BYTES:,}", where=where
        )
    arrays: dict[str, Array] = {}
    for entry in entries:
        name = entry.filename.removesuffix(".npy")
        place = f"{where}: array {printable(name)!r}"
        if name == entry.filename or entry.flag_bits & 0x1:
            raise InputRejected("input-malformed", "a member that is not a plain .npy array", where=place)
        if name in arrays:
            raise InputRejected("input-malformed", "two arrays have this name", where=place)
        with archive.open(entry) as stream:
            # One byte more than declared: a member that lies about its size must not be believed.
            content = stream.read(entry.file_size + 1)
        if len(content) != entry.file_size:
            raise InputRejected("input-malformed", "the array is not as long as declared", where=place)
        arrays[name] = read_npy(content, place)
    return arrays


def read_npy(data: bytes, where: str) -> Array:
    """The array of an ``.npy`` file.

    Raises:
        InputRejected: ``input-malformed`` (also for pickled objects), ``input-dtype``, ``input-too-large``.
    """
    if len(data) > MAX_BYTES:
        raise InputRejected("input-too-large", f"{len(data):,} bytes; the limit is {MAX_BYTES:,}", where=where)
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        if version not in _HEADERS:
            raise ValueError("unknown version of the format")
        shape, fortran, dtype = _HEADERS[version](stream)
    # The header is a Python literal; its parser raises whatever the text provokes.
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError, OverflowError, KeyError, IndexError) as problem:
        raise InputRejected(
            "input-malformed", f"not a readable .npy array: {printable(str(problem), 100)}", where=where
        ) from None
    if dtype.kind not in "fiub":
        hint = "Save plain numbers; object arrays are pickles, which can run any code."
        raise InputRejected("input-dtype", f"an array of {printable(str(dtype), 60)}", where=where, hint=hint)
    if len(shape) > _MAX_RANK or any(not isinstance(size, int) or size < 0 for size in shape):
        raise InputRejected("input-malformed", "an impossible shape", where=where)
    body = memoryview(data)[stream.tell() :]
    if math.prod(shape) * dtype.itemsize != len(body):
        raise InputRejected(
            "input-malformed", f"{len(body)} bytes of values do not fill shape {printable(str(shape), 60)}", where=where
        )
    array: Array = np.frombuffer(body, dtype=dtype)
    if dtype.kind == "b" and (array.view(np.uint8) > 1).any():
        raise InputRejected("input-malformed", "a boolean that is neither 0 nor 1", where=where)
    return array.reshape(shape, order="F" if fortran else "C").astype(dtype.newbyteorder("="), order="C")


_Header = tuple[tuple[int, ...], bool, np.dtype[np.generic]]


def _header(reader: Callable[..., _Header]) -> Callable[[io.BytesIO], _Header]:
    return lambda stream: reader(stream, max_header_size=_MAX_HEADER)


_HEADERS: dict[tuple[int, int], Callable[[io.BytesIO], _Header]] = {
    (1, 0): _header(np.lib.format.read_array_header_1_0),
    (2, 0): _header(np.lib.format.read_array_header_2_0),
}
