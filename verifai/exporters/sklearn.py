"""scikit-learn: estimators from skops files or factories, and, on request, from pickles. Converted by skl2onnx.

Linear models, multilayer perceptrons, and the scalers and selections before them become plain operators exactly; what skl2onnx
leaves as an ``ai.onnx.ml`` operator without an exact lowering (trees, support vectors) is refused by name on canonicalisation.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any

from verifai.errors import UnsupportedModel, UsageError
from verifai.execution.packages import install_hint
from verifai.exporters.factory import made_by, reason
from verifai.exporters.interface import Arrays, Exported, Source

_INPUT = "features"
_OPSETS = {"": 18, "ai.onnx.ml": 3}
_HARMLESS = frozenset(
    {
        "numpy.dtype",
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
    }
)
"""Types that skops does not list as safe, but that only hold numbers; fitted perceptrons contain them."""

_SUFFIXES = (".skops", ".pkl", ".pickle", ".joblib")


class SklearnExporter:
    """Converts with skl2onnx, float32 input ``features`` of shape (1, features)."""

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
        value = _from_skops(source) if source.path.suffix.lower() == ".skops" else _unpickle(source)
        if not self.recognises(value):
            raise UsageError("source-failed", f"the file holds a {type(value).__name__}, not an estimator", where=source.text)
        return self.export_value(value, source)

    def export_value(self, value: Any, source: Source) -> Exported:
        """Convert a fitted estimator."""
        _require(source)
        width = getattr(value, "n_features_in_", None)
        if not isinstance(width, int):
            raise UsageError("source-failed", "the estimator is not fitted", where=source.text, hint="Call fit first.")
        model, notices = _convert(value, width, source)
        outputs = [output.name for output in model.graph.output]
        return Exported(
            data=model.SerializeToString(),
            where=source.text,
            run=_Runner(value, outputs[0], source),
            notices=notices,
        )


def _convert(value: Any, width: int, source: Source) -> tuple[Any, tuple[str, ...]]:
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType
    from skl2onnx.common.exceptions import MissingConverter, MissingShapeCalculator

    classifier = hasattr(value, "classes_")
    kind = [(_INPUT, FloatTensorType([1, width]))]
    with _failing(source):
        try:
            options = {id(value): {"zipmap": False}} if classifier else None
            try:
                model = convert_sklearn(value, initial_types=kind, target_opset=_OPSETS, options=options)
            except NameError:  # skl2onnx's way to say that this classifier has no zipmap to switch off
                model = convert_sklearn(value, initial_types=kind, target_opset=_OPSETS)
        except (MissingConverter, MissingShapeCalculator):
            raise UnsupportedModel(
                "model-unknown-operator", f"{_final_name(value)} has no conversion to ONNX", where=source.text
            ) from None
    if not classifier:
        return model, ()
    scores = [output.name for output in model.graph.output if output.name != "label"]
    if len(scores) != 1:
        raise UnsupportedModel("model-unknown-operator", f"{_final_name(value)} yields no scores", where=source.text)
    _keep_only(model, scores[0])
    order = ", ".join(str(label) for label in list(value.classes_)[:20])
    rule = f"the largest of {scores[0]!r}, in this order: {order}"
    if len(value.classes_) == 2 and not hasattr(value, "predict_proba"):
        rule = f"{value.classes_[1]} where {scores[0]!r} is positive, else {value.classes_[0]}"
    return model, (f"The class label is left out; it is {rule}.",)


def _final_name(value: Any) -> str:
    steps = getattr(value, "steps", None)
    return type(steps[-1][1] if steps else value).__name__


def _keep_only(model: Any, output: str) -> None:
    """Drop the other outputs and what only they need: looking labels up is not arithmetic."""
    graph = model.graph
    for value in [value for value in graph.output if value.name != output]:
        graph.output.remove(value)
    needed = {output}
    kept = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(node.input)
    kept = [type(node).FromString(node.SerializeToString()) for node in reversed(kept)]
    del graph.node[:]
    graph.node.extend(kept)
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in needed]:
        graph.initializer.remove(tensor)


class _Runner:
    """The estimator on one sample, in the precision that scikit-learn itself chooses."""

    def __init__(self, estimator: Any, output: str, source: Source) -> None:
        self._estimator = estimator
        self._output = output
        self._source = source

    def __call__(self, inputs: Arrays) -> Arrays:
        import numpy as np

        data = np.asarray(inputs[_INPUT], dtype=np.float64)
        with _failing(self._source):
            for method in ("predict_proba", "decision_function", "predict", "transform"):
                if hasattr(self._estimator, method):
                    result = np.asarray(getattr(self._estimator, method)(data))
                    break
            else:
                raise UnsupportedModel("model-unknown-operator", "the estimator predicts nothing", where=self._source.text)
        return {self._output: result.reshape(len(data), -1)}


def _from_skops(source: Source) -> Any:
    import skops.io

    with _failing(source):
        unknown = [str(kind) for kind in skops.io.get_untrusted_types(file=source.path)]
        if any(kind.startswith("sklearn.tree.") for kind in unknown):
            raise UnsupportedModel(
                "model-unknown-operator",
                "decision trees have no exact form in standard operators",
                where=source.text,
                hint="Distil the model into a linear model or a small network.",
            )
        if set(unknown) - _HARMLESS and not source.trust_pickle:
            raise UsageError(
                "pickle-refused",
                f"the file needs types that are not known to be safe: {', '.join(sorted(set(unknown) - _HARMLESS)[:3])[:200]}",
                where=source.text,
                hint="Pass --trust-pickle if you trust its maker.",
            )
        return skops.io.load(source.path, trusted=unknown)


def _unpickle(source: Source) -> Any:
    if not source.trust_pickle:
        raise UsageError(
            "pickle-refused",
            "a pickle can run any code when it is loaded",
            where=source.text,
            hint="Save it with skops.io.dump, name a factory, or pass --trust-pickle if you trust its maker.",
        )
    import joblib

    with _failing(source):
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
    """Failures of the libraries as ours, and their chatter nowhere."""
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    except (UsageError, UnsupportedModel):
        raise
    except Exception as problem:
        raise UsageError("source-failed", reason(problem), where=source.text) from problem
