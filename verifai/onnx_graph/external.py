"""Weights kept beside the model file, read so that a file can name nothing outside its own folder."""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from onnx import ModelProto, TensorProto

from verifai.onnx_graph.limits import MAX_FILE_BYTES
from verifai.onnx_graph.refusal import printable, refuse
from verifai.onnx_graph.tensors import checked_size, element_dtype

_HINT = "Keep external data in the model's own folder, as plain files."


def pull_in(model: ModelProto, folder: Path | None, where: str) -> None:
    """Replace every external reference by the bytes it names.

    Raises:
        UnsupportedModel: ``model-external-data`` for a path outside ``folder``, a link, a missing or short file;
            ``model-too-large`` when all of it exceeds the file limit.
    """
    total = 0
    for tensor in _tensors(model):
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        place = printable(f"tensor {tensor.name!r} of {where}")
        if folder is None:
            raise refuse(
                "model-external-data",
                "the weights are in another file",
                place,
                "Bring model and weights into one file first: `verifai export MODEL -o FILE`",
            )
        data = _read(tensor, folder, place, MAX_FILE_BYTES - total)
        total += len(data)
        del tensor.external_data[:]
        tensor.ClearField("data_location")
        tensor.raw_data = data


def _tensors(model: ModelProto) -> Iterator[TensorProto]:
    yield from model.graph.initializer
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t


def _read(tensor: TensorProto, folder: Path, place: str, room: int) -> bytes:
    fields = {entry.key: entry.value for entry in tensor.external_data}
    dtype = element_dtype(tensor.data_type, place)
    size = checked_size(list(tensor.dims), dtype, place) * dtype.itemsize
    if size > room:
        raise refuse("model-too-large", f"model and external data exceed {MAX_FILE_BYTES:,} bytes", place)
    offset = _number(fields.get("offset", "0"), place)
    if "length" in fields and _number(fields["length"], place) != size:
        raise refuse("model-external-data", "the stated length is not that of the declared shape", place)
    handle = _open_inside(folder, fields.get("location", ""), place)
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):
        os.close(handle)
        raise refuse("model-external-data", "not a regular file", place, _HINT)
    with os.fdopen(handle, "rb") as stream:
        if offset + size > status.st_size:
            raise refuse("model-external-data", "the file is shorter than the tensor", place)
        stream.seek(offset)
        data = stream.read(size)
    if len(data) != size:
        raise refuse("model-external-data", "the file changed while it was read", place)
    return data


def _number(text: str, place: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 18 or math.isinf(float(text)):
        raise refuse("model-external-data", f"{printable(text, 30)!r} is not an offset or length", place)
    return int(text)


def _open_inside(folder: Path, location: str, place: str) -> int:
    """Open ``location`` below ``folder`` without following any link on the way."""
    path = PurePosixPath(location)
    if not location or "\0" in location or path.is_absolute() or ".." in path.parts or "\\" in location:
        raise refuse("model-external-data", f"the path {printable(location)!r} leaves the model's folder", place, _HINT)
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in path.parts[:-1]:
            deeper = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=handle)
            os.close(handle)
            handle = deeper
        return os.open(path.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=handle)
    except OSError as problem:
        raise refuse("model-external-data", f"cannot open {printable(location)!r}: {problem.strerror}", place, _HINT) from None
    finally:
        os.close(handle)
