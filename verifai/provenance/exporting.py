"""Signed files exported once more, in a fenced child: the same source, exporter and options must give the pinned model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from verifai.domain.digest import Sha256, sha256
from verifai.domain.model_signing import ExportOptions
from verifai.domain.record import Record
from verifai.errors import EngineCrashed, EvidenceRejected, Undecided, UnsupportedModel, UsageError, VerifaiError
from verifai.execution import child
from verifai.execution.child import Limits
from verifai.execution.files import read_limited
from verifai.execution.scratch import private_directory
from verifai.onnx_graph.limits import MAX_FILE_BYTES
from verifai.onnx_graph.refusal import printable

WORKER = "verifai.provenance.worker"
LIMITS = Limits(memory_bytes=8 << 30, wall_seconds=600.0)
"""As for reading and running a foreign model."""
_RESULT = "exported.onnx"
_PACKAGES: Mapping[str, tuple[str, ...]] = {
    "ONNX": (),
    "PyTorch": ("torch", "onnxscript"),
    "scikit-learn": ("scikit-learn", "skl2onnx"),
    "GGUF": ("gguf",),
    "Hugging Face": ("safetensors",),
}
"""Packages beside onnx whose release decides what an exporter writes."""


@dataclass(frozen=True, slots=True)
class ExportedModel:
    """What an export gave.

    Attributes:
        data: the canonical ONNX model.
        exporter: its name. versions: of verifai and of the packages that decide the result.
    """

    data: bytes
    exporter: str
    versions: Mapping[str, str]

    @property
    def sha256(self) -> Sha256:
        """Of the canonical model."""
        return sha256(self.data)


def export_fenced(source: Path, options: ExportOptions, limits: Limits | None = None) -> ExportedModel:
    """The canonical model of the file or folder ``source``, which no other process may change.

    Raises:
        UsageError: ``source-unknown`` and what exporters raise: sources that run code are refused.
        UnsupportedModel: ``model-…``.
        Undecided: the child died, or ran out of memory or time.
    """
    arguments = {"source": str(source), "options": options.to_json()}
    with private_directory() as folder:
        task = {"steps": [{"op": "export", "args": arguments}]}
        report = child.run(WORKER, task, folder=folder, limits=limits or LIMITS)
        if report.death is not None:
            raise report.death
        if len(report.steps) != 1 or report.steps[0].failure:
            raise EngineCrashed("engine-crashed", "the source made its exporter fail", where=str(source))
        record = Record(report.steps[0].value, "child", error=EngineCrashed, code="engine-crashed")
        if record.has("refused"):
            raise _refused(record.table("refused"))
        data = read_limited(folder / _RESULT, limit=MAX_FILE_BYTES)
    versions = record.table("versions")
    found = ExportedModel(
        data,
        record.text("exporter", pattern=r"[A-Za-z0-9 ._-]{1,64}"),
        {name: versions.text(name, pattern=r"[0-9A-Za-z.+!_-]{1,64}") for name in versions.names()},
    )
    record.done()
    return found


_KINDS = {1: EvidenceRejected, 2: UsageError, 4: Undecided}


def _refused(record: Record) -> VerifaiError:
    kind: type[VerifaiError] = _KINDS.get(record.integer("status", low=0, high=255), EngineCrashed)
    code = record.text("code", pattern=r"[a-z0-9]+(?:-[a-z0-9]+)*", max_length=64)
    if code.startswith(("model-", "operator-")):
        kind = UnsupportedModel
    message, where, hint = (
        printable(record.text(name, max_length=4096, empty=True), 1000) for name in ("message", "where", "hint")
    )
    return kind(code, message, where=where, hint=hint)


def export_here(args: Mapping[str, Any]) -> dict[str, Any]:
    """The child's part: export, and write the canonical model into the working folder."""
    from verifai.exporters.factory import is_factory
    from verifai.exporters.interface import Source
    from verifai.exporters.registry import export_source, exporters
    from verifai.onnx_graph.canonicalise import canonicalise

    options = ExportOptions.from_record(Record(args["options"], "options", error=UsageError, code="bad-option"))
    text = str(args["source"])
    if is_factory(text):  # a file may have any name; code of a release never runs
        raise UsageError("source-unknown", "a name of this form is taken for code", where=text, hint="Rename the file.")
    source = Source(text, dict(options.shapes), select=options.select, positions=options.positions)
    names = [one.name for one in exporters() if one.accepts(source)]
    found = export_source(source)
    made = canonicalise(found.data, where=found.where, dims=dict(options.dims), folder=found.folder)
    Path(_RESULT).write_bytes(made.model.data)
    return {"exporter": names[0], "versions": _versions(names[0])}


def _versions(exporter: str) -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in ("verifai", "onnx", *_PACKAGES.get(exporter, ())):
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # a checkout that was not installed
            found[name] = "0"
    return found


def acceptable(path: Path) -> bool:
    """Whether an exporter reads a source of this name; nothing is opened but to see what kind of file it is."""
    from verifai.exporters.factory import is_factory
    from verifai.exporters.interface import Source
    from verifai.exporters.registry import exporters

    source = Source(str(path), {})
    return not is_factory(source.text) and any(one.accepts(source) for one in exporters())
