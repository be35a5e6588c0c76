"""The files of a Hugging Face folder, read as data: JSON and safetensors. No code of it runs, and no pickle is opened."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from verifai.domain.strict_json import loads
from verifai.errors import UsageError
from verifai.exporters.language.gguf_file import language_extra
from verifai.exporters.language.graph import Floats
from verifai.onnx_graph.external import open_inside
from verifai.onnx_graph.limits import MAX_FILE_BYTES
from verifai.onnx_graph.refusal import printable, refuse

MAX_JSON = 1 << 20
MAX_HEADER = 1 << 24
MAX_TENSORS = 1 << 14
MAX_SHARDS = 256
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
_SHARD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,120}\.safetensors", re.ASCII)
_KINDS = {"F32": 4, "F16": 2, "BF16": 2, "F64": 8}


def read_file(folder: Path, name: str, limit: int) -> bytes:
    """A regular file of the folder, no links followed.

    Raises:
        UnsupportedModel: ``model-external-data`` for a link or a missing file.
        UsageError: ``source-failed`` when it is larger than ``limit``, ``file-missing`` when it cannot be read.
    """
    where = str(folder / name)
    handle = open_inside(folder, name, where)
    with os.fdopen(handle, "rb") as stream:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise UsageError("file-missing", "cannot read: it is not a regular file", where=where)
        data = stream.read(limit + 1)
    if len(data) > limit:
        raise refuse("model-too-large", f"more than {limit:,} bytes", where)
    return data


def read_json(folder: Path, name: str, limit: int = MAX_JSON) -> Any:
    """A JSON file of the folder. Raises as :func:`read_file`, and UsageError (``source-failed``)."""
    data = read_file(folder, name, limit)
    return loads(data, where=str(folder / name), floats=True, max_bytes=limit, error=UsageError, code="source-failed")


def has(folder: Path, name: str) -> bool:
    """Whether the folder has something of this name."""
    return os.path.lexists(folder / name)


@dataclass(frozen=True)
class SafeTensors:
    """The tensors of a folder.

    Attributes:
        shapes: by name.
    """

    folder: Path
    shapes: Mapping[str, tuple[int, ...]]
    _files: Mapping[str, str]

    def read_all(self, wanted: Mapping[str, str]) -> dict[str, Floats]:
        """Tensors as float32: file's name by ours → array by our name. Each file is read once.

        Raises:
            UsageError: ``extra-missing``, ``source-failed``.
        """
        try:
            import safetensors
        except ImportError:
            raise language_extra("Hugging Face folders need the package safetensors", str(self.folder)) from None
        names: dict[str, list[str]] = {}
        for ours, theirs in wanted.items():
            names.setdefault(theirs, []).append(ours)
        found: dict[str, Floats] = {}
        for file in sorted({self._files[name] for name in names}):
            data = read_file(self.folder, file, MAX_FILE_BYTES)
            try:
                members = safetensors.deserialize(data)  # type: ignore[no-untyped-call]
            except safetensors.SafetensorError as problem:
                raise _broken(self.folder / file, str(problem)) from None
            del data
            for name, member in members:
                for ours in names.get(name, ()):
                    found[ours] = _floats(member, self.shapes[name], f"tensor {name!r} of {self.folder / file}")
        return found


def open_safetensors(folder: Path) -> SafeTensors:
    """The headers of ``model.safetensors``, or of the shards that its index names.

    Raises:
        UnsupportedModel: ``model-external-data``, ``model-too-large``, ``model-dtype``.
        UsageError: ``file-missing``, ``source-failed``.
    """
    if has(folder, SINGLE):
        named: Mapping[str, str] | None = None
        files = [SINGLE]
    elif has(folder, INDEX):
        named = _index(folder)
        files = sorted(set(named.values()))
    else:
        pickled = next((name for name in ("pytorch_model.bin", "pytorch_model.bin.index.json") if has(folder, name)), None)
        message = "its weights are a pickle, which can run code" if pickled else f"it has no {SINGLE}"
        raise UsageError(
            "pickle-refused" if pickled else "file-missing", message, where=str(folder / (pickled or SINGLE)),
            hint="Take a copy of the model with safetensors files; most publishers offer both.",
        )  # fmt: skip
    shapes: dict[str, tuple[int, ...]] = {}
    places: dict[str, str] = {}
    for file in files:
        for name, shape in _header(folder, file).items():
            if name in shapes or (named is not None and named.get(name) != file):
                raise _broken(
                    folder / file, f"the index does not place {printable(name, 80)!r} here, or another file has it too"
                )
            shapes[name], places[name] = shape, file
    if named is not None and (missing := sorted(set(named) - set(shapes))):
        raise _broken(folder / INDEX, f"no file has the tensor {printable(missing[0], 80)!r}")
    return SafeTensors(folder, shapes, places)


def _index(folder: Path) -> dict[str, str]:
    document = read_json(folder, INDEX, MAX_HEADER)
    named = document.get("weight_map") if isinstance(document, dict) else None
    if not isinstance(named, dict) or not 1 <= len(named) <= MAX_TENSORS:
        raise _broken(folder / INDEX, "it has no weight_map")
    for file in named.values():
        if not isinstance(file, str) or not _SHARD.fullmatch(file):
            raise _broken(folder / INDEX, f"{printable(str(file), 80)!r} is not the name of a file beside it")
    if len(set(named.values())) > MAX_SHARDS:
        raise _broken(folder / INDEX, f"more than {MAX_SHARDS} files")
    return named


def _header(folder: Path, file: str) -> dict[str, tuple[int, ...]]:
    """Shapes by name; sizes, types and offsets are held to the file. Its keys occur once, which the library does not ask."""
    where = folder / file
    handle = open_inside(folder, file, str(where))
    with os.fdopen(handle, "rb") as stream:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise UsageError("file-missing", "cannot read: it is not a regular file", where=str(where))
        if status.st_size > MAX_FILE_BYTES:
            message = f"{status.st_size:,} bytes; the limit is {MAX_FILE_BYTES:,}"
            raise refuse("model-too-large", message, str(where), "Take a smaller model of the family.")
        length = int.from_bytes(stream.read(8), "little")
        if length > min(MAX_HEADER, status.st_size - 8):
            raise _broken(where, "its header is longer than the file or the limit")
        document = loads(stream.read(length), where=str(where), max_bytes=MAX_HEADER, error=UsageError, code="source-failed")
    return parse_header(document, status.st_size - 8 - length, where)


def parse_header(document: Any, size: int, where: Path) -> dict[str, tuple[int, ...]]:
    """Shapes by name from the header of a file with ``size`` bytes of data. Raises UsageError (``source-failed``)."""
    if not isinstance(document, dict) or len(document) > MAX_TENSORS:
        raise _broken(where, "its header is no list of tensors")
    shapes = {}
    for name, entry in document.items():
        if name == "__metadata__":
            continue
        entry = entry if isinstance(entry, dict) else {}
        kind, shape, place = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
        if not (isinstance(kind, str) and _numbers(shape, 8) and _numbers(place, 2) and len(place) == 2):
            raise _broken(where, f"the entry of {printable(name, 80)!r} is malformed")
        if not place[0] <= place[1] <= size:
            raise _broken(where, f"the entry of {printable(name, 80)!r} is malformed")
        if kind in _KINDS and prod(shape) * _KINDS[kind] != place[1] - place[0]:
            raise _broken(where, f"the size of {printable(name, 80)!r} is not that of its shape")
        shapes[name] = tuple(shape)
    return shapes


def _numbers(value: Any, most: int) -> TypeGuard[list[int]]:
    return isinstance(value, list) and len(value) <= most and all(type(one) is int and 0 <= one < 1 << 40 for one in value)


def _floats(member: Mapping[str, Any], shape: tuple[int, ...], where: str) -> Floats:
    kind, data = member["dtype"], member["data"]
    if kind not in _KINDS:
        hint = f"Types that are taken: {', '.join(sorted(_KINDS))}."
        raise refuse("model-dtype", f"the type {printable(str(kind), 20)} is not supported", where, hint)
    if kind == "BF16":  # the upper half of a float32
        wide = np.frombuffer(data, "<u2").astype(np.uint32) << np.uint32(16)
        return wide.view(np.float32).reshape(shape)
    with np.errstate(all="ignore"):  # what is not finite is refused with its name later
        return np.frombuffer(data, {"F32": "<f4", "F16": "<f2", "F64": "<f8"}[kind]).astype(np.float32).reshape(shape)


def _broken(path: Path, message: str) -> UsageError:
    return UsageError("source-failed", f"not sound: {message}", where=str(path), hint="Download the folder again.")
