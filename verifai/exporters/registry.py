"""Which exporter reads a source."""

from __future__ import annotations

from verifai.errors import UsageError
from verifai.exporters.factory import call_factory, is_factory
from verifai.exporters.interface import Exported, Exporter, Source
from verifai.exporters.onnx import OnnxExporter
from verifai.exporters.sklearn.exporter import SklearnExporter
from verifai.exporters.torch import TorchExporter


def exporters() -> tuple[Exporter, ...]:
    """All exporters, in the order in which they are asked."""
    return (OnnxExporter(), TorchExporter(), SklearnExporter())


def export_source(source: Source) -> Exported:
    """Convert ``source`` with the exporter of its kind.

    Raises:
        UsageError: ``source-unknown``, or what the exporter raises.
    """
    if is_factory(source.text):
        return _from_factory(source)
    for exporter in exporters():
        if exporter.accepts(source):
            return exporter.export(source)
    raise UsageError(
        "source-unknown",
        "no exporter reads this kind of source",
        where=source.text,
        hint="Give model.onnx, program.pt2, estimator.skops, or pkg.module:factory.",
    )


def _from_factory(source: Source) -> Exported:
    value = call_factory(source.text)
    for exporter in (TorchExporter(), SklearnExporter()):
        if exporter.recognises(value):
            return exporter.export_value(value, source)
    raise UsageError(
        "source-unknown",
        f"the factory returned a {type(value).__name__}",
        where=source.text,
        hint="Return a torch.nn.Module, (module, example inputs), or a fitted scikit-learn estimator.",
    )
