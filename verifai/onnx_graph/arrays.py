"""Untrusted ``.npy`` and ``.npz`` files: no pickles; declared sizes are checked against the bytes before any allocation.

Source: NumPy Enhancement Proposal 1 (the NPY format); APPNOTE.TXT for ZIP.
"""

from __future__ import annotations

import io
import math
import re
import zipfile
import zlib

import numpy as np

from verifai.domain.foreign import ARCHIVE, other_than, recognise
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
_MAX_EXTENT = 1 << 40
"""Product of all sizes that are not 0. An empty array holds no bytes that would bound them, and NumPy cannot make it."""


def read_npz(data: bytes, where: str, *, most: int = MAX_BYTES) -> dict[str, Array]:
    """The arrays of an ``.npz`` file by name.

    Args:
        most: bytes that all of them may have together, for whoever knows; no more is decompressed.

    Raises:
        InputRejected: ``input-malformed``, ``input-too-large``.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            _require_arrays(archive, data, where)
            return _members(archive, where, most)
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
        found = recognise(data)
        if found is not None and not data.startswith(ZIP_MAGIC):
            raise InputRejected(
                "input-malformed", f"not an .npz file but {found.what}", where=where, hint=found.advice
            ) from None
        message = f"not a readable .npz file: {printable(str(problem), 100)}"
        raise InputRejected("input-malformed", message, where=where, hint="Save arrays with numpy.savez.") from None


def _require_arrays(archive: zipfile.ZipFile, data: bytes, where: str) -> None:
    """Say what another known kind of archive is, rather than which of its members is no array."""
    found = recognise(data)
    if found not in (None, ARCHIVE) and not any(name.endswith(".npy") for name in archive.namelist()):
        message, hint = other_than("an .npz file", data)
        raise InputRejected("input-malformed", message, where=where, hint=hint)


def _members(archive: zipfile.ZipFile, where: str, most: int) -> dict[str, Array]:
    entries = archive.infolist()
    if len(entries) > _MAX_MEMBERS:
        raise InputRejected("input-too-large", f"{len(entries)} arrays; the limit is {_MAX_MEMBERS}", where=where)
    declared = sum(entry.file_size for entry in entries)
    if declared > most:
        raise InputRejected("input-too-large", f"the arrays declare {declared:,} bytes; the limit is {most:,}", where=where)
    arrays: dict[str, Array] = {}
    for entry in entries:
        name = entry.filename.removesuffix(".npy")
        place = f"{where}: array {printable(name)!r}"
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            hint = "Save it with numpy.savez or numpy.savez_compressed."
            raise InputRejected("input-malformed", "compressed in a way that no .npz is", where=place, hint=hint)
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
    dtype, fortran, shape, start = _header(data, where)
    body = memoryview(data)[start:]
    if math.prod(shape) * dtype.itemsize != len(body):
        raise InputRejected(
            "input-malformed", f"{len(body)} bytes of values do not fill shape {printable(str(shape), 60)}", where=where
        )
    array: Array = np.frombuffer(body, dtype=dtype)
    if dtype.kind == "b" and (array.view(np.uint8) > 1).any():
        raise InputRejected("input-malformed", "a boolean that is neither 0 nor 1", where=where)
    return array.reshape(shape, order="F" if fortran else "C").astype(dtype.newbyteorder("="), order="C")


def _header(data: bytes, where: str) -> tuple[np.dtype[np.generic], bool, tuple[int, ...], int]:
    """Element type, column order, shape and the offset of the values.

    NumPy's own reader evaluates the header as a Python literal; every writer produces the one form matched here.
    """
    if data[6:8] == b"\x01\x00":
        size, start = int.from_bytes(data[8:10], "little"), 10
    elif data[6:8] == b"\x02\x00":
        size, start = int.from_bytes(data[8:12], "little"), 12
    else:
        raise InputRejected("input-malformed", "an unknown version of the .npy format", where=where)
    match = _HEADER.fullmatch(data[start : start + size]) if size <= _MAX_HEADER else None
    if match is None:
        raise InputRejected("input-malformed", "an unreadable .npy header", where=where)
    descr = match[1].decode("ascii", errors="replace")
    if descr.strip("'") not in _DESCRS:
        hint = "Save plain numbers; object arrays are pickles, which can run any code."
        raise InputRejected("input-dtype", f"an array of {printable(descr, 60)}", where=where, hint=hint)
    shape = tuple(int(size) for size in match[3].split(b",") if size.strip())
    if len(shape) > _MAX_RANK or math.prod(max(size, 1) for size in shape) > _MAX_EXTENT:
        raise InputRejected("input-malformed", f"no array has shape {printable(str(shape), 60)}", where=where)
    return np.dtype(descr.strip("'")), match[2] == b"True", shape, start + size


_HEADER = re.compile(
    rb"\{'descr': ('[^']{1,20}'|\[[^\]]{0,2000}\]), 'fortran_order': (True|False), "
    rb"'shape': \(((?:\d{1,18}, ?)*(?:\d{1,18})?)\), ?\} *\n"
)
_DESCRS = {f"{order}{kind}" for order in "<>" for kind in ("f2", "f4", "f8", "i2", "i4", "i8", "u2", "u4", "u8")} | {
    "|i1", "|u1", "|b1",
}  # fmt: skip
