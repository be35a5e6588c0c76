"""What a ``.pt2`` file (``torch.export.save``) may contain before PyTorch is allowed to load it.

PyTorch's loader unpickles some members, evaluates symbolic expressions with SymPy (``eval``), and resolves operator names to
any attribute of ``torch``. So a hostile file can run code. This reader admits plain weights, the standard operators and plain
expressions; the loader itself then runs with ``TORCH_FORCE_WEIGHTS_ONLY_LOAD``.

Source: torch/export/pt2_archive/_package.py and torch/_export/serde/serialize.py, PyTorch 2.13.
"""

from __future__ import annotations

import json
import os
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from verifai.errors import UnsupportedModel, UsageError

_MAX_BYTES = 1 << 31
_MAX_JSON = 1 << 27
_MAX_MEMBERS = 20_000

_PAYLOAD = re.compile(r"(data/(weights/weight_\d+|constants/tensor_\d+|sample_inputs/\w+\.pt))\Z", re.ASCII)
_DOCUMENT = re.compile(r"(models/\w+|data/weights/\w+_config|data/constants/\w+_config)\.json\Z", re.ASCII)
_MARK = re.compile(r"(archive_format|archive_version|byteorder|\.data/\w+|\.format_version|\.storage_alignment|version)\Z")
_TARGET = re.compile(r"(torch\.ops\.(aten|prims)\.\w+\.\w+|_operator\.(add|sub|mul|floordiv|mod|neg|getitem))\Z", re.ASCII)
_EXPRESSION = re.compile(
    r"(?>Symbol\('[a-z]{1,4}\d{0,9}'(?:, (?:positive|integer|nonnegative)=True)*\)|Integer\(-?\d{1,18}\)"
    r"|Add\(|Mul\(|Max\(|Min\(|\)|, |[su]\d{1,9}|\d{1,18}| ?[-+*] ?){1,64}+\Z"
)


def check_pt2(path: Path) -> None:
    """Refuse a file that could run code when loaded.

    Raises:
        UsageError: ``pickle-refused``, with the member named; ``source-failed`` when it is no such archive.
        UnsupportedModel: ``model-too-large``.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _check(archive, path)
    except (zipfile.BadZipFile, OSError, ValueError, RecursionError, EOFError, KeyError, NotImplementedError) as problem:
        raise UsageError(
            "source-failed",
            f"not a torch.export archive: {type(problem).__name__}",
            where=str(path),
            hint="Write it with torch.export.save.",
        ) from None


def _check(archive: zipfile.ZipFile, path: Path) -> None:
    entries = archive.infolist()
    if len(entries) > _MAX_MEMBERS or sum(entry.file_size for entry in entries) > _MAX_BYTES:
        raise UnsupportedModel("model-too-large", f"the archive unpacks to more than {_MAX_BYTES:,} bytes", where=str(path))
    names = set()
    for entry in entries:
        inner = entry.filename.partition("/")[2]
        if entry.filename in names:
            raise _refused(path, entry.filename, "the member occurs twice")
        names.add(entry.filename)
        if _DOCUMENT.match(inner):
            if entry.file_size > _MAX_JSON:
                raise UnsupportedModel("model-too-large", "the graph description is too large", where=f"{path}: {inner}")
            _check_document(json.loads(archive.read(entry)), path, entry.filename)
        elif not (_PAYLOAD.match(inner) or _MARK.match(inner)):
            raise _refused(path, entry.filename, "the member is no plain weight, constant or graph")
    if not any(name.endswith("/archive_format") for name in names):
        raise _refused(path, "archive_format", "the file has the format of PyTorch before 2.8, which holds pickles")


def _check_document(document: Any, path: Path, member: str) -> None:
    stack = [document]
    while stack:
        value = stack.pop()
        if isinstance(value, list):
            stack.extend(value)
            continue
        if not isinstance(value, dict):
            continue
        stack.extend(value.values())
        target, expression, payload = value.get("target"), value.get("expr_str"), value.get("path_name")
        if isinstance(target, str) and "inputs" in value and not _TARGET.match(target):
            raise _refused(path, member, f"the operator {target[:80]!r} is not a standard one")
        if expression is not None and not (
            isinstance(expression, str) and "**" not in expression and _EXPRESSION.match(expression)
        ):
            raise _refused(path, member, "a shape expression that is not plain arithmetic")
        if payload is not None and not (isinstance(payload, str) and re.fullmatch(r"(weight|tensor)_\d+", payload)):
            raise _refused(path, member, "a constant that is not a plain tensor")


def _refused(path: Path, member: str, problem: str) -> UsageError:
    return UsageError(
        "pickle-refused",
        f"loading it could run code: {problem}",
        where=f"{path}: {member[:100]}",
        hint="Save it again with torch.export.save, name a factory, or pass --trust-pickle if you trust its maker.",
    )


@contextmanager
def weights_only() -> Iterator[None]:
    """Make every ``torch.load`` refuse pickled code, also those that PyTorch's own loader calls without saying so."""
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = before
