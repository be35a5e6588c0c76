"""skops files, read without running code from them (docs/decisions/0105).

skops constructs each object of a file by its type's name, and by a loader that the file also names; a trusted name may be
called with whatever arguments the file gives. So this reader trusts few names of scikit-learn, each with one loader; and what
no prediction needs (search trees, scorers, splitters, score functions) is taken out before skops sees the file, so that nothing
of it is ever constructed. Everything else that skops does not know is refused by name.

Source: skops/io/_audit.py, _general.py and _trusted_types.py, skops 0.16.
"""

from __future__ import annotations

import io
import json
import shlex
import zipfile
from collections.abc import Iterator
from typing import Any

from verifai.errors import UnsupportedModel, UsageError
from verifai.execution.files import read_limited
from verifai.exporters.interface import Source
from verifai.exporters.sklearn.plain_trees import LOADER, PlainTree, plain_state
from verifai.onnx_graph.limits import MAX_FILE_BYTES
from verifai.onnx_graph.refusal import printable

_SCHEMA = "schema.json"
_MAX_SCHEMA = 1 << 27
_MAX_MEMBERS = 50_000
_MAX_UNPACKED = 1 << 31
_MAX_DEPTH = 200

_KERNELS = (
    "ConstantKernel", "DotProduct", "ExpSineSquared", "Exponentiation", "Matern", "Product", "RBF", "RationalQuadratic", "Sum",
    "WhiteKernel",
)  # fmt: skip
LOADERS: dict[str, str] = {
    "numpy.dtype": "DTypeNode",
    "sklearn.calibration._CalibratedClassifier": "ObjectNode",
    "sklearn.calibration._SigmoidCalibration": "ObjectNode",
    "sklearn.calibration._TemperatureScaling": "ObjectNode",
    "sklearn.compose._column_transformer._RemainderColsList": "ObjectNode",
    "sklearn.compose._column_transformer.make_column_selector": "ObjectNode",
    **dict.fromkeys(("builtins.object", "numpy.number", "numpy.floating", "numpy.integer"), "TypeNode"),
    "sklearn._loss.loss.HalfTweedieLoss": "ObjectNode",
    "sklearn._loss.loss.HalfTweedieLossIdentity": "ObjectNode",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor": "ObjectNode",
    f"{PlainTree.__module__}.{PlainTree.__name__}": "ObjectNode",
    **{f"sklearn.gaussian_process.kernels.{name}": "ObjectNode" for name in _KERNELS},
}
"""Types trusted besides skops's own list, and the only loader each may have: classes in Python, whose state is their fields."""

_SPARE: dict[str, str] = {
    "_optimizer": "sklearn.neural_network._stochastic_optimizers.",
    "_tree": "sklearn.neighbors.",
    "_checked_cv_orig": "sklearn.model_selection._split.",
    "cv": "sklearn.model_selection._split.",
    "named_estimators_": "sklearn.utils._bunch.Bunch",
    "score_func": "sklearn.feature_selection.",
    "scorer_": "sklearn.metrics.",
    "scoring": "sklearn.metrics.",
}
"""Fields that no prediction needs, and how the names of what scikit-learn keeps in them start."""
_CHECK = "sklearn.utils.validation.check_array"
_NOTHING = {"__class__": "str", "__module__": "builtins", "__loader__": "JsonNode", "content": "null", "is_json": True}


def load_skops(source: Source) -> Any:
    """The object in the file.

    Raises:
        UsageError: ``pickle-refused`` with the types named, ``source-failed`` when it is no skops file, ``file-missing``.
        UnsupportedModel: ``model-too-large``.
    """
    import skops.io

    data = read_limited(source.path, limit=MAX_FILE_BYTES)
    if not source.trust_pickle:
        data = _without_spare_parts(data, source)
    unknown = {str(kind) for kind in skops.io.get_untrusted_types(data=data)}
    refused = set() if source.trust_pickle else unknown - set(LOADERS) - set(source.trusted_types)
    if refused:
        raise _refused(source, refused)
    return skops.io.loads(data, trusted=sorted(unknown))


def _refused(source: Source, kinds: set[str]) -> UsageError:
    names = sorted(kinds)
    listed = printable(", ".join(names[:3]), 300) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    options = " ".join(f"--trust-type {shlex.quote(printable(name, 200))}" for name in sorted({*names, *source.trusted_types}))
    hint = f"If you trust its maker: `verifai export {shlex.quote(source.text)} -o model.onnx {options}`"
    if any(name.startswith("__main__.") or "<" in name for name in names):
        hint = "What a script or notebook defines cannot be loaded elsewhere: put it into a module, or name a factory."
    return UsageError(
        "pickle-refused",
        f"the file needs types that are not known to be safe: {listed}",
        where=source.text,
        hint=hint,
    )


def _without_spare_parts(data: bytes, source: Source) -> bytes:
    """The archive with its schema checked, and without what no prediction needs."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            _check_sizes(archive, source)
            schema = json.loads(archive.read(_SCHEMA))
            _check_loaders(schema, source)
            changed = _leave_out(schema)
            if not _without_compiled_trees(schema) and not changed:
                return data
            buffer = io.BytesIO()
            with zipfile.ZipFile(buffer, "w") as output:
                output.writestr(_SCHEMA, json.dumps(schema))
                for entry in archive.infolist():
                    if entry.filename != _SCHEMA:
                        output.writestr(entry.filename, archive.read(entry))
            return buffer.getvalue()
    except (
        zipfile.BadZipFile,
        OSError,
        ValueError,
        TypeError,
        KeyError,
        EOFError,
        RecursionError,
        NotImplementedError,
    ) as problem:
        raise UsageError(
            "source-failed",
            f"not a skops file: {type(problem).__name__}",
            where=source.text,
            hint="Write it with skops.io.dump(estimator, 'model.skops').",
        ) from None


def _check_sizes(archive: zipfile.ZipFile, source: Source) -> None:
    entries = archive.infolist()
    unpacked = sum(entry.file_size for entry in entries)
    if len(entries) > _MAX_MEMBERS or unpacked > _MAX_UNPACKED or archive.getinfo(_SCHEMA).file_size > _MAX_SCHEMA:
        raise UnsupportedModel("model-too-large", f"the archive unpacks to {unpacked:,} bytes", where=source.text)
    if len({entry.filename for entry in entries}) < len(entries):
        raise UsageError(
            "source-failed", "a member of the archive occurs twice", where=source.text, hint="Save the model again."
        )


def _states(schema: Any) -> Iterator[dict[str, Any]]:
    """Every object that the file describes, at whatever depth. Raises ValueError for one that is nested too deeply."""
    stack = [(schema, 0)]
    while stack:
        value, depth = stack.pop()
        if depth > _MAX_DEPTH:
            raise ValueError("nested too deeply")
        if isinstance(value, dict):
            if "__loader__" in value:
                yield value
            stack.extend((item, depth + 1) for item in value.values())
        elif isinstance(value, list):
            stack.extend((item, depth + 1) for item in value)


def _kind(state: Any) -> str:
    return f"{state.get('__module__')}.{state.get('__class__')}" if isinstance(state, dict) and "__loader__" in state else ""


def _check_loaders(schema: Any, source: Source) -> None:
    """A trusted name with another loader would be called with arguments from the file."""
    for state in _states(schema):
        expected = LOADERS.get(_kind(state))
        if expected is not None and state["__loader__"] != expected:
            raise UsageError(
                "pickle-refused",
                f"the file would call {printable(_kind(state))} through {printable(str(state['__loader__']), 40)}",
                where=source.text,
                hint="Save the estimator again with skops.io.dump, or name a factory.",
            )


def _without_compiled_trees(schema: Any) -> bool:
    """Describe scikit-learn's compiled trees as plain ones, in place; whether there were any."""
    found = [state for state in _states(schema) if state["__loader__"] == LOADER]
    for state in found:
        plain, number = plain_state(state), state.get("__id__")
        state.clear()
        state.update(plain)
        if number is not None:
            state["__id__"] = number
    return bool(found)


def _leave_out(schema: Any) -> bool:
    """Put nothing into the fields that no prediction needs; whether there were any."""
    found = False
    for state in _states(schema):
        fields = state.get("content")
        if not isinstance(fields, dict):
            continue
        if "_predictors" in fields and "_preprocessor" in fields:
            found = _leave_out_checks(fields["_preprocessor"]) or found
        for name, start in _SPARE.items():
            if _kind(fields.get(name)).startswith(start):
                fields[name] = dict(_NOTHING)
                found = True
                if name == "_tree" and "_fit_method" in fields:
                    # Without its tree a nearest-neighbours estimator compares with every point: the same neighbours.
                    fields["_fit_method"] = {**_NOTHING, "content": '"brute"'}
    return found


def _leave_out_checks(schema: Any) -> bool:
    """The function that histogram-based boosting passes numbers through, which changes none; whether there was one."""
    found = False
    for state in _states(schema):
        held = state.get("content")
        fields = held.get("content") if isinstance(held, dict) else None
        function = fields.get("func") if isinstance(fields, dict) else None
        if _kind(state) != "sklearn.preprocessing._function_transformer.FunctionTransformer" or not isinstance(function, dict):
            continue
        inner = function.get("content")
        if _kind(function) == "functools.partial" and isinstance(inner, dict) and _kind(inner.get("func")) == _CHECK:
            number = function.get("__id__")
            function.clear()
            function.update(_NOTHING if number is None else {**_NOTHING, "__id__": number})
            found = True
    return found
