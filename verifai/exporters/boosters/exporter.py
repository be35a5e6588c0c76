"""Boosting libraries' own files: XGBoost's .json and .ubj, LightGBM's .txt, CatBoost's .cbm, and CatBoost models in pickles."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from typing import Any

import numpy as np

from verifai.errors import UsageError
from verifai.execution.files import read_limited
from verifai.exporters.boosters import libraries
from verifai.exporters.boosters.boosted import Boosted, Predict, two_columns
from verifai.exporters.factory import made_by, reason
from verifai.exporters.interface import Arrays, Exported, Meaning, Source
from verifai.exporters.sklearn.build import Build, Rules
from verifai.exporters.sklearn.choice import PREDICTION, PROBABILITIES
from verifai.exporters.sklearn.writer import INPUT
from verifai.onnx_graph.limits import MAX_FILE_BYTES

_LIBRARIES: Mapping[str, str] = {
    ".json": "XGBoost", ".ubj": "XGBoost", ".model": "LightGBM", ".txt": "LightGBM", ".cbm": "CatBoost",
}  # fmt: skip


class BoosterExporter:
    """Converts to ONNX with the float32 input ``features`` of shape (1, features)."""

    @property
    def name(self) -> str:
        """For messages."""
        return "boosting library"

    def accepts(self, source: Source) -> bool:
        """By suffix."""
        return source.path.suffix.lower() in _LIBRARIES

    def recognises(self, value: object) -> bool:
        """Whether a factory's result is a CatBoost model: the others' wrappers are scikit-learn estimators."""
        return made_by(value, "catboost", "CatBoost")

    def export(self, source: Source) -> Exported:
        """Read the file and convert it."""
        if not source.path.is_file():
            raise UsageError("file-missing", "cannot read: no such file", where=source.text)
        library = _LIBRARIES[source.path.suffix.lower()]
        try:
            if library == "CatBoost":
                if not source.trust_pickle:
                    raise UsageError(
                        "pickle-refused",
                        "only CatBoost itself reads this format, and its reader is not made for files of strangers",
                        where=source.text,
                        hint="Pass --trust-pickle if you trust its maker, or save it with format='onnx'.",
                    )
                return self.export_value(_loaded(source), source)
            package, read, predictor = libraries.READERS[library]
            found = read(read_limited(source.path, limit=MAX_FILE_BYTES))
            try:
                with redirect_stdout(io.StringIO()):
                    predict = predictor(source.text, found)
            except ImportError:
                raise libraries.missing(package, source.text) from None
            except Exception as problem:
                hint = "Save the model again."
                raise UsageError("source-failed", reason(problem), where=source.text, hint=hint) from problem
        except UsageError as problem:
            problem.where = problem.where or source.text
            raise
        return _exported(found, predict, source)

    def export_value(self, value: Any, source: Source) -> Exported:
        """Convert a fitted CatBoost model."""
        found = libraries.of_catboost(value)
        labels = tuple(str(label) for label in getattr(value, "classes_", ()))
        return _exported(found, libraries.catboost_predict(value, found), source, labels)


def _loaded(source: Source) -> Any:
    try:
        return libraries.catboost_loaded(source.text)
    except ImportError:
        raise libraries.missing("catboost", source.text) from None
    except Exception as problem:
        raise UsageError("source-failed", reason(problem), where=source.text) from problem


def _exported(found: Boosted, predict: Predict, source: Source, labels: Sequence[str] = ()) -> Exported:
    output = PROBABILITIES if found.classes else PREDICTION
    if source.select and tuple(source.select) != (output,):
        raise UsageError("bad-option", f"the model has the one output {output!r}", where="--select")
    build = Build(found.columns, Rules())
    row = found.row(build, build.features)
    row = build.complement(row) if found.classes == 2 and row.width == 1 else row
    labels = tuple(labels) if len(labels) == found.classes else tuple(str(place) for place in range(found.classes))
    run = _Runner(found, predict, output)
    return Exported(
        data=build.model(row, output),
        where=source.text,
        run=run,
        notices=tuple(build.notices),
        made=lambda generator, count: [{INPUT: one[None]} for one in found.rows(generator, count)],
        meaning=Meaning(found.task, INPUT, found.names, output, labels, categories=build.categories),
        decide=run.decide if found.classes else None,
    )


class _Runner:
    """The library on one sample."""

    def __init__(self, found: Boosted, predict: Predict, output: str) -> None:
        self._found, self._predict, self._output = found, predict, output

    def __call__(self, inputs: Arrays) -> Arrays:
        try:
            raw = self._predict(self._found.as_read(np.asarray(inputs[INPUT], np.float32)))
        except Exception as problem:
            raise UsageError("source-failed", reason(problem)) from problem
        return {self._output: two_columns(raw, self._found.classes)}

    def decide(self, inputs: Arrays) -> int:
        """The class with the largest probability, the first of equals."""
        return int(np.argmax(self(inputs)[self._output][0]))
