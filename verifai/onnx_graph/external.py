"""Weights kept beside the model file, read so that a file can name nothing outside its own folder."""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from onnx import ModelProto, TensorProto

from verifai.domain.foreign import recognise
from verifai.domain.shell import shell
from verifai.onnx_graph.limits import MAX_FILE_BYTES
from verifai.onnx_graph.refusal import printable, refuse
from verifai.onnx_graph.tensors import checked_size, element_dtype, stored_bytes

_HINT = "Keep external data in the model's own folder, as plain files."


def export_hint(where: str) -> str:
    """The command that makes a canonical model of the file ``where``."""
    target = PurePosixPath(where).with_suffix(".canonical.onnx").name if PurePosixPath(where).name else "canonical.onnx"
    return f"verifai export {shell(where)} -o {shell(target)}"


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
            hint = f"Take them in: `{export_hint(where)}`"
            raise refuse("model-external-data", "the weights are in another file", place, hint)
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
    size = stored_bytes(checked_size(list(tensor.dims), dtype, place), dtype)
    if size > room:
        raise refuse("model-too-large", f"model and external data exceed {MAX_FILE_BYTES:,} bytes", place)
    offset = _number(fields.get("offset", "0"), place)
    if "length" in fields and _number(fields["length"], place) != size:
        raise refuse("model-external-data", "the stated length is not that of the declared shape", place)
    handle = open_inside(folder, fields.get("location", ""), place)
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):
        os.close(handle)
        raise refuse("model-external-data", "not a regular file", place, _HINT)
    with os.fdopen(handle, "rb") as stream:
        if offset + size > status.st_size:
            found = recognise(stream.read(4096))
            message = "the file is shorter than the tensor" if found is None else f"it is not the weights but {found.what}"
            hint = "Copy model and weights again." if found is None else found.advice
            raise refuse("model-external-data", f"{printable(fields['location'])}: {message}", place, hint)
        stream.seek(offset)
        data = stream.read(size)
    if len(data) != size:
        raise refuse("model-external-data", "the file changed while it was read", place)
    return data


def _number(text: str, place: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 18 or math.isinf(float(text)):
        raise refuse("model-external-data", f"{printable(text, 30)!r} is not an offset or length", place)
    return int(text)


def open_inside(folder: Path, location: str, place: str) -> int:
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
        message, hint = f"cannot open {printable(location)!r}: {problem.strerror}", _HINT
        if _has_link(folder, path):
            # Followed links would let a model read any file of its user. Caches of downloads keep models as links.
            message = f"{printable(location)!r} is a link, or behind one, and links are not followed"
            hint = f"Copy the folder with its links followed: cp -rL {shell(folder)} COPY; then name the model in COPY."
        elif isinstance(problem, FileNotFoundError):
            hint = f"Put {printable(location)!r} beside the model: its weights are in that file."
        raise refuse("model-external-data", message, place, hint) from None
    finally:
        os.close(handle)


def _has_link(folder: Path, path: PurePosixPath) -> bool:
    return any((folder / parent).is_symlink() for parent in (path, *path.parents[:-1]))
