"""Which exporter reads a source."""

from __future__ import annotations

from verifai.domain.foreign import MODELS, PICKLES, recognise
from verifai.errors import UsageError
from verifai.exporters.boosters.exporter import BoosterExporter
from verifai.exporters.factory import call_factory, is_factory
from verifai.exporters.interface import Exported, Exporter, Source
from verifai.exporters.language.exporter import GgufExporter, HuggingFaceExporter
from verifai.exporters.onnx import OnnxExporter
from verifai.exporters.sklearn.exporter import SklearnExporter
from verifai.exporters.torch import TorchExporter


def exporters() -> tuple[Exporter, ...]:
    """All exporters, in the order in which they are asked."""
    return (OnnxExporter(), TorchExporter(), SklearnExporter(), GgufExporter(), HuggingFaceExporter(), BoosterExporter())


def export_source(source: Source) -> Exported:
    """Convert ``source`` with the exporter of its kind.

    Raises:
        UsageError: ``source-unknown``, or what the exporter raises.
    """
    if is_factory(source.text):
        _refuse_positions(source)
        return _from_factory(source)
    for exporter in exporters():
        if exporter.accepts(source):
            _refuse_foreign(source)
            if not isinstance(exporter, GgufExporter | HuggingFaceExporter):
                _refuse_positions(source)
            return exporter.export(source)
    raise UsageError(
        "source-unknown",
        "no exporter reads this kind of source",
        where=source.text,
        hint="Give model.onnx, program.pt2, estimator.skops, model.gguf, XGBoost's .json, LightGBM's .txt, or module:factory.",
    )


def _refuse_positions(source: Source) -> None:
    if source.positions is not None or source.prompt is not None:
        hint = "Leave the number of positions out: the model's own shapes hold."
        raise UsageError("bad-option", "the source is no file of a language model", where="--positions", hint=hint)


def _refuse_foreign(source: Source) -> None:
    """Say what a file is that only has the name of a model; a framework's own reader would say where it stopped."""
    suffix = source.path.suffix.lower()
    if suffix == ".onnx" or not source.path.is_file():
        return
    with source.path.open("rb") as stream:
        head = stream.read(_HEAD)
    found = recognise(head)
    if suffix == ".gguf" and head.startswith(b"GGUF"):
        return
    if found is None or found in MODELS or head.startswith(b"PK") or (found in PICKLES and suffix in _PICKLED):
        return
    raise UsageError("source-failed", f"not a model but {found.what}", where=source.text, hint=found.advice)


_HEAD = 4096
_PICKLED = frozenset({".pt", ".pth", ".pkl", ".pickle", ".joblib"})


def _from_factory(source: Source) -> Exported:
    value = call_factory(source.text)
    for exporter in (TorchExporter(), SklearnExporter(), BoosterExporter()):
        if exporter.recognises(value):
            return exporter.export_value(value, source)
    raise UsageError(
        "source-unknown",
        f"the factory returned a {type(value).__name__}",
        where=source.text,
        hint="Return a torch.nn.Module, (module, example inputs), or a fitted estimator of scikit-learn or a boosting library.",
    )
