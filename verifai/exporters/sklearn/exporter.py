"""scikit-learn: estimators from skops files or factories, and, on request, from pickles.

Rules of our own write most of scikit-learn as plain linear algebra (docs/sklearn.md lists them); what they do not know goes to
skl2onnx, and what that leaves without an exact form in standard operators is refused by name on canonicalisation.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifai.domain.categories import Categories
from verifai.errors import UnsupportedModel, UsageError
from verifai.execution.packages import install_hint
from verifai.exporters.boosters.exporter import BoosterExporter
from verifai.exporters.boosters.libraries import known, of_wrapper
from verifai.exporters.boosters.rules import RULES as BOOSTER_RULES
from verifai.exporters.factory import made_by, reason
from verifai.exporters.interface import Arrays, Exported, Meaning, Source
from verifai.exporters.sklearn import choice
from verifai.exporters.sklearn.archive import load_skops
from verifai.exporters.sklearn.build import Build, NoRule, joined
from verifai.exporters.sklearn.choice import last
from verifai.exporters.sklearn.fallback import convert_by_skl2onnx
from verifai.exporters.sklearn.positional import positional
from verifai.exporters.sklearn.rules import RULES
from verifai.exporters.sklearn.stored import check_stored
from verifai.exporters.sklearn.typical import typical_rows
from verifai.exporters.sklearn.writer import INPUT

_SUFFIXES = (".skops", ".pkl", ".pickle", ".joblib")
_MAX_WIDTH = 1 << 20


class SklearnExporter:
    """Converts to ONNX with the float32 input ``features`` of shape (1, features)."""

    @property
    def name(self) -> str:
        """For messages."""
        return "scikit-learn"

    def accepts(self, source: Source) -> bool:
        """By suffix; factories come through :meth:`export_value`."""
        return source.path.suffix.lower() in _SUFFIXES

    def recognises(self, value: object) -> bool:
        """Whether a factory's result is an estimator."""
        return made_by(value, "sklearn", "BaseEstimator")

    def export(self, source: Source) -> Exported:
        """Load the file and convert it."""
        _require(source)
        if not source.path.is_file():
            raise UsageError("file-missing", "cannot read: no such file", where=source.text)
        with _failing(source):
            value = load_skops(source) if source.path.suffix.lower() == ".skops" else _unpickle(source)
        if BoosterExporter().recognises(value):
            return BoosterExporter().export_value(value, source)
        if not self.recognises(value):
            raise UsageError("source-failed", f"the file holds a {type(value).__name__}, not an estimator", where=source.text)
        return self.export_value(value, source)

    def export_value(self, value: Any, source: Source) -> Exported:
        """Convert a fitted estimator."""
        _require(source)
        if len(source.select) > 1:
            raise UsageError("bad-option", "an estimator has one output at a time", where="--select")
        with _failing(source):
            width = _width(value, source)
            check_stored(value)
            chosen = choice.choose(value, source.select[0] if source.select else "")
            data, notices, cells = _convert(value, width, chosen.output, source)
            plain = value if cells.tables else positional(value)
        return Exported(
            data=data,
            where=source.text,
            run=_Runner(plain, chosen.output, source, cells),
            made=_Typical(value, width),
            notices=(*_explained(value, chosen), *notices),
            meaning=Meaning(chosen.task, INPUT, _columns(value), chosen.output, chosen.labels, categories=cells.texts),
            decide=_Decider(plain, chosen, source, cells),
        )


def _width(value: Any, source: Source) -> int:
    """How many columns the estimator takes. Raises UsageError (``source-failed``): not fitted; UnsupportedModel: no columns."""
    # IsotonicRegression takes one column, and does not count it.
    width = getattr(value, "n_features_in_", 1 if hasattr(value, "X_thresholds_") else None)
    if isinstance(width, (int, np.integer)) and 0 < width <= _MAX_WIDTH:
        return int(width)
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    try:
        check_is_fitted(value)
    except NotFittedError:
        raise UsageError("source-failed", "the estimator is not fitted", where=source.text, hint="Call fit first.") from None
    if isinstance(width, (int, np.integer)):
        raise UnsupportedModel(
            "model-too-large", f"the estimator takes {int(width):,} columns; 1 to {_MAX_WIDTH:,} can be", where=source.text
        )
    steps = getattr(value, "steps", None)
    first = type(steps[0][1] if steps else value).__name__
    hint = "Make numbers of texts beforehand, and save what reads them" + (
        ": skops.io.dump(pipeline[1:], FILE)." if steps else "."
    )
    raise UnsupportedModel(
        "model-unknown-operator",
        f"{first} reads texts or records; a circuit takes rows of numbers",
        where=source.text,
        hint=hint,
    )


def _convert(value: Any, width: int, output: str, source: Source) -> tuple[bytes, tuple[str, ...], _Cells]:
    build = Build(width, joined(RULES, BOOSTER_RULES))
    method = {
        choice.PROBABILITIES: build.probabilities,
        choice.SCORES: build.scores,
        choice.PREDICTION: build.predict,
        choice.TRANSFORMED: build.transform,
    }[output]
    try:
        row = method(value, build.features)
    except NoRule as missing:
        return convert_by_skl2onnx(value, width, output, str(missing), source), (), _Cells()
    return build.model(row, output), tuple(build.notices), _Cells(build.categories, build.tables, _columns(value))


def _explained(value: Any, chosen: choice.Choice) -> tuple[str, ...]:
    if chosen.output != choice.SCORES or not hasattr(value, "predict_proba"):
        return ()
    return ("Scores were exported, because predict follows them and not predict_proba.",)


def _columns(value: Any) -> tuple[str, ...]:
    """Names of the columns, where the estimator was fitted on a table of them."""
    names = getattr(value, "feature_names_in_", None)
    if not isinstance(names, np.ndarray) or names.ndim != 1:
        return ()
    return tuple(str(name) for name in names.tolist())


_NO_CATEGORY = "\x00none of the categories"


@dataclass(frozen=True)
class _Cells:
    """What the numbers that the model takes are to the estimator.

    Attributes:
        texts: by column, texts. tables: by column, categories that only a table has. names: of the columns.
    """

    texts: Mapping[int, Categories] = field(default_factory=dict)
    tables: Mapping[int, tuple[Any, ...]] = field(default_factory=dict)
    names: tuple[str, ...] = ()

    def rows(self, numbers: NDArray[Any]) -> Any:
        """The rows as the estimator takes them: texts where the model takes their numbers, and a table where it needs one."""
        if self.tables:
            return self._table(numbers)
        if not self.texts:
            return numbers
        found = numbers.astype(object)
        for place, one in self.texts.items():
            found[:, place] = [one.text(float(number)) or _NO_CATEGORY for number in numbers[:, place]]
        return found

    def _table(self, numbers: NDArray[Any]) -> Any:
        try:
            import pandas
        except ImportError:
            raise UsageError(
                "extra-missing", "a model of a table's categories is compared on tables, which needs pandas",
                hint="pip install pandas",
            ) from None  # fmt: skip
        columns: dict[Any, Any] = {}
        for place in range(numbers.shape[1]):
            cells: list[Any] = numbers[:, place].tolist()
            if place in self.texts:
                cells = [self.texts[place].text(cell) or None for cell in cells]
            known = self.tables.get(place)
            name = self.names[place] if self.names else place
            if known is not None:
                cells = [cell if cell in known else None for cell in cells]
            columns[name] = pandas.Series(cells) if known is None else pandas.Categorical(cells, categories=list(known))
        return pandas.DataFrame(columns)


class _Runner:
    """The estimator on one sample, in float64."""

    def __init__(self, estimator: Any, output: str, source: Source, cells: _Cells) -> None:
        self._estimator, self._output, self._source, self._cells = estimator, output, source, cells

    def __call__(self, inputs: Arrays) -> Arrays:
        with _failing(self._source):
            rows = self._cells.rows(np.asarray(inputs[INPUT], dtype=np.float64))
            return {self._output: choice.truth(self._estimator, self._output, rows)}


class _Decider:
    """The label that ``predict`` names."""

    def __init__(self, estimator: Any, chosen: choice.Choice, source: Source, cells: _Cells) -> None:
        self._estimator, self._choice, self._source, self._cells = estimator, chosen, source, cells

    def __call__(self, inputs: Arrays) -> int | None:
        with _failing(self._source):
            rows = self._cells.rows(np.asarray(inputs[INPUT], dtype=np.float64))
            found = choice.named(self._estimator, self._choice, rows)
        return None if found is None else int(found[0])


class _Typical:
    """Inputs like the estimator's data; spread evenly in [0, 1) where it remembers nothing of them."""

    def __init__(self, estimator: Any, width: int) -> None:
        self._estimator, self._width = estimator, width

    def __call__(self, generator: np.random.Generator, count: int) -> Sequence[Arrays]:
        rows = typical_rows(self._estimator, self._width, generator, count)
        if rows is None and known(last(self._estimator)):
            near = of_wrapper(last(self._estimator)).rows(generator, count)
            rows = near if near.shape[1] == self._width else None
        if rows is None:
            rows = generator.random((count, self._width), dtype=np.float32)
        return [{INPUT: row[None]} for row in rows]


def _unpickle(source: Source) -> Any:
    if not source.trust_pickle:
        raise UsageError(
            "pickle-refused",
            "a pickle can run any code when it is loaded",
            where=source.text,
            hint="Save it with skops.io.dump, name a factory, or pass --trust-pickle if you trust its maker.",
        )
    import joblib

    return joblib.load(source.path)


def _require(source: Source) -> None:
    try:
        import skl2onnx  # noqa: F401
        import skops.io  # noqa: F401
    except ImportError:
        raise UsageError(
            "extra-missing",
            "exporting from scikit-learn needs skl2onnx and skops",
            where=source.text,
            hint=install_hint("sklearn"),
        ) from None


@contextmanager
def _failing(source: Source) -> Iterator[None]:
    """Failures of the libraries as ours, ours with the source's name, and the libraries' chatter nowhere."""
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    except (UsageError, UnsupportedModel) as problem:
        problem.where = problem.where or source.text
        raise
    except Exception as problem:
        raise UsageError("source-failed", reason(problem), where=source.text) from problem
