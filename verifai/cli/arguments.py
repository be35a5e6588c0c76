"""Options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from verifai.domain.circuit_spec import parse_bytes
from verifai.domain.statement import EngineName
from verifai.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from verifai.domain.statement import TensorStatement
    from verifai.onnx_graph.model import OnnxModel

CircuitArgument = Annotated[Path, typer.Argument(help="Circuit folder, or the circuit.toml in it.", show_default=False)]
EngineOption = Annotated[EngineName | None, typer.Option("--engine", help="Proof engine; by default the circuit's own.")]
MaxMemoryOption = Annotated[str | None, typer.Option("--max-memory", help='Hard limit, such as "4 GiB".', metavar="SIZE")]


def memory_limit(text: str | None) -> int | None:
    """``--max-memory`` in bytes. Raises UsageError."""
    return None if text is None else parse_bytes(text, "--max-memory")


def read_tensors(source: str, model: OnnxModel, option: str) -> list[dict[str, Any]]:
    """Samples of the model's inputs from a file or ``-``; notes go to stderr. Raises InputRejected, UsageError."""
    from verifai.cli.frame import current
    from verifai.onnx_graph.inputs import read_samples

    read = read_samples(source_of(source), model)
    for note in read.notes:
        current().note(f"{option}: {note}")
    return [dict(sample) for sample in read.samples]


def read_named(source: str, tensors: Sequence[TensorStatement], option: str) -> dict[str, Any]:
    """One sample of the tensors that a statement names, float32. Raises InputRejected, UsageError."""
    from verifai.cli.frame import current
    from verifai.domain.tensor import TensorSpec
    from verifai.onnx_graph.inputs import read_specs

    read = read_specs(source_of(source), [TensorSpec(tensor.name, "float32", tensor.shape) for tensor in tensors])
    for note in read.notes:
        current().note(f"{option}: {note}")
    if len(read.samples) != 1:
        raise UsageError(
            "bad-option",
            f"{len(read.samples)} samples in {source}, but a bundle is about one",
            where=option,
            hint="Give a file with exactly one sample.",
        )
    return dict(read.samples[0])


def source_of(source: str) -> Path | bytes:
    """The path, or the bytes of standard input for ``-``."""
    import sys

    if source != "-":
        return Path(source)
    limit = 256 * 2**20
    data = sys.stdin.buffer.read(limit + 1)
    if len(data) > limit:
        raise UsageError("file-missing", f"more than {limit} bytes on standard input", where="-")
    return data
