"""Options that several verbs share."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from verifai.cli.frame import current
from verifai.domain.circuit_spec import parse_bytes
from verifai.domain.statement import EngineName, Role
from verifai.domain.table_columns import UNNAMED, TableColumns
from verifai.domain.tensor import TensorSpec
from verifai.errors import InputRejected, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from verifai.domain.names import PlaceNames
    from verifai.domain.statement import TensorStatement
    from verifai.onnx_graph.inputs import Samples
    from verifai.onnx_graph.model import OnnxModel

_DTYPE = {Role.INPUT: "float32", Role.OUTPUT: "float64"}
"""Inputs are read as the model takes them; outputs as precisely as the file has them."""

_MAX_STDIN_BYTES = 256 * 2**20


def no_link(path: Path) -> Path:
    """A bundle as it was named. Raises UsageError (``link``): that says how it was named, and nothing about the evidence."""
    if path.is_symlink():
        raise UsageError("link", "a link, not a bundle", where=str(path), hint="Name what it points to.")
    return path


def no_links(paths: list[Path] | None) -> list[Path]:
    """Several of them, or none, each as :func:`no_link`."""
    return [no_link(path) for path in paths or []]


CircuitArgument = Annotated[Path, typer.Argument(help="Circuit folder, or the circuit.toml in it.", show_default=False)]
BundleArgument = Annotated[Path, typer.Argument(help="Bundle folder or file.", show_default=False, callback=no_link)]
BundlesArgument = Annotated[
    list[Path], typer.Argument(help="Bundle folders or files, or folders of bundles.", show_default=False, callback=no_links)
]
EngineOption = Annotated[EngineName | None, typer.Option("--engine", help="Proof engine; by default the one that is pinned.")]
PrivateOption = Annotated[
    list[str] | None, typer.Option("--private", help="Tensor whose values stay hidden; repeatable.", metavar="NAME")
]
PrivateWeightsOption = Annotated[bool, typer.Option("--private-weights", help="Keep the weights hidden.")]
DropOption = Annotated[
    list[str] | None, typer.Option("--drop", help="Column of tables that is no input; repeatable.", metavar="COLUMN")
]
MaxMemoryOption = Annotated[str | None, typer.Option("--max-memory", help='Hard limit, such as "4 GiB".', metavar="SIZE")]


def memory_limit(text: str | None) -> int | None:
    """``--max-memory`` in bytes. Raises UsageError."""
    return None if text is None else parse_bytes(text, "--max-memory")


def read_tensors(
    source: str, model: OnnxModel, columns: TableColumns = UNNAMED, *, finite: bool = True, complete: bool = False
) -> list[dict[str, Any]]:
    """Samples of the model's inputs from a file or ``-``; notes go to stderr. Raises InputRejected, UsageError.

    Args:
        columns: what is known of a table's columns.
        finite: whether one value that is not finite refuses the whole file.
        complete: whether samples with such a value are left out instead, and a note says so.
    """
    from verifai.onnx_graph.inputs import read_complete, read_samples  # loads onnx, which a verifier without --input need not

    if complete:
        read = read_complete(source, model, stdin=stdin_bytes(source), columns=columns)
    else:
        read = read_samples(source, model, stdin=stdin_bytes(source), columns=columns, finite=finite)
    for note in read.notes:
        current().note(note)
    return [dict(sample) for sample in read.samples]


def read_named(source: str, tensors: Sequence[TensorStatement], names: PlaceNames, option: str) -> dict[str, Any]:
    """One sample of the tensors that a statement names, or as many as it is of, stacked: float32, or int64 where its values are
    whole numbers in statement and file. Raises InputRejected, UsageError."""
    batch = bool(tensors and tensors[0].batch)
    read = _read_named(source, tensors, names)
    for note in read.notes:
        current().note(note)
    if batch:
        return _stacked(read, tensors[0].shape[0], source, option)
    if len(read.samples) != 1:
        raise UsageError(
            "bad-option",
            f"{len(read.samples)} samples in {source}, but a bundle is about one",
            where=option,
            hint="Give a file with exactly one sample.",
        )
    return dict(read.samples[0])


def _stacked(read: Samples, items: int, source: str, option: str) -> dict[str, Any]:
    import numpy as np

    if len(read.samples) != items:
        raise UsageError(
            "bad-option",
            f"{len(read.samples):,} samples in {source}, but the bundle is about {items:,}",
            where=option,
            hint="Give a file with exactly the samples of the batch, in its order.",
        )
    return {name: np.stack([sample[name] for sample in read.samples]) for name in read.samples[0]}


def _read_named(source: str, tensors: Sequence[TensorStatement], names: PlaceNames) -> Samples:
    """A statement does not say of which type the model's inputs are, and float32 does not hold each integer beyond 2^24."""
    from verifai.onnx_graph.inputs import read_samples  # loads onnx, which a verifier without --input does without

    stdin = stdin_bytes(source)
    texts = {name: names.texts(name) for name in names.categories}
    columns = TableColumns(names.columns, categories=texts, named_only=True)
    whole = {one.name for one in tensors if one.role is Role.INPUT and _counts(one)}
    while True:
        shapes = [one.shape[1:] if one.batch else one.shape for one in tensors]  # a sample's
        dtypes = ["int64" if one.name in whole else _DTYPE[one.role] for one in tensors]
        specs = [TensorSpec(one.name, *kind) for one, kind in zip(tensors, zip(dtypes, shapes, strict=True), strict=True)]
        try:
            return read_samples(source, _Named(tuple(specs)), stdin=stdin, columns=columns)
        except InputRejected as problem:
            if not whole:
                raise
            named = {name for name in whole if repr(name) in (problem.where or "")}
            whole -= named or set(whole)


def _counts(tensor: TensorStatement) -> bool:
    return tensor.scale == 1 and tensor.zero_point == 0 and not tensor.columns


@dataclass(frozen=True)
class _Named:
    """Tensors that a statement names, in the part of a model's inputs."""

    inputs: tuple[TensorSpec, ...]


def stdin_bytes(source: str) -> bytes | None:
    """All of standard input when ``source`` is ``-``. Raises UsageError when that is too much."""
    if source != "-":
        return None
    try:
        data = sys.stdin.buffer.read(_MAX_STDIN_BYTES + 1)
    except OSError as problem:
        raise UsageError("file-missing", f"cannot read standard input: {problem.strerror}", where="-") from None
    if len(data) > _MAX_STDIN_BYTES:
        raise UsageError("bad-option", f"more than {_MAX_STDIN_BYTES} bytes on standard input", where="-")
    return data


def sizes_of_dims(given: Sequence[str]) -> dict[str, int]:
    """``--dim NAME=SIZE``. Raises UsageError."""
    return {name: _sizes(sizes, "--dim", 1)[0] for name, sizes in _pairs(given, "--dim")}


def sizes_of_shapes(given: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """``--shape NAME=SIZES``. Raises UsageError."""
    return {name: _sizes(sizes, "--shape", None) for name, sizes in _pairs(given, "--shape")}


def _pairs(given: Sequence[str], option: str) -> list[tuple[str, str]]:
    found = []
    for item in given:
        name, separator, value = item.rpartition("=")
        if not separator or not name:
            raise UsageError("bad-option", f"{item!r} is not NAME=SIZE", where=option)
        found.append((name, value))
    return found


def _sizes(text: str, option: str, count: int | None) -> tuple[int, ...]:
    parts = text.split(",")
    if (count is not None and len(parts) != count) or not all(part.strip().isdecimal() and len(part) < 10 for part in parts):
        raise UsageError("bad-option", f"{text!r} is not a size", where=option, hint="Write positive integers.")
    return tuple(int(part) for part in parts)
