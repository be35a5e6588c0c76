"""ONNX files: already ONNX; what is left is choosing their outputs, and running them as they are for the parity check."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto

from verifai.domain.model_facts import Task
from verifai.errors import UnsupportedModel
from verifai.execution.files import read_limited
from verifai.exporters.interface import Arrays, Exported, Meaning, Source
from verifai.onnx_graph.limits import MAX_FILE_BYTES
from verifai.onnx_graph.lint import ML_DOMAIN, parse
from verifai.onnx_graph.outputs import Kept, Selection, select_outputs
from verifai.onnx_graph.refusal import printable
from verifai.onnx_graph.runtime import RuntimeFailure, Session, open_session
from verifai.onnx_graph.widened import widened


def _opened(path: Path) -> tuple[Session, str]:
    """The source as it is, and nothing to say; else, as far as onnxruntime takes it, what means the same, and what was changed.

    Where nodes share a name, which onnxruntime refuses and which means nothing, they have none. Floats that it has no operators
    for are float32.

    Raises:
        RuntimeFailure: as :func:`open_session`.
    """
    problem, session = None, None
    try:
        session = open_session(str(path))
    except RuntimeFailure as failure:
        problem = failure
    # NumPy has no arrays of bfloat16 to hand over.
    if session is not None and "tensor(bfloat16)" not in session.types:
        return session, ""
    model = parse(read_limited(path, limit=MAX_FILE_BYTES), str(path))
    if (problem is None or problem.not_implemented) and widened(model, path.parent, str(path)):
        return open_session(model.SerializeToString()), _WIDENED
    names = [node.name for node in model.graph.node if node.name]
    if len(set(names)) == len(names) or any(t.data_location == TensorProto.EXTERNAL for t in model.graph.initializer):
        raise problem or RuntimeFailure("its types have no arrays")
    for node in model.graph.node:
        node.name = ""
    return open_session(model.SerializeToString()), ""


_WIDENED = (
    "onnxruntime has no such operators in the file's own float type: the export was compared with the same file in float32."
)


class OnnxExporter:
    """Reads ``.onnx`` files, with external data beside them."""

    @property
    def name(self) -> str:
        """For messages."""
        return "ONNX"

    def accepts(self, source: Source) -> bool:
        """By suffix."""
        return source.path.suffix.lower() == ".onnx"

    def export(self, source: Source) -> Exported:
        """Read the file, and keep the outputs that are asked for.

        Raises:
            UsageError: ``file-missing``, ``bad-option``.
            UnsupportedModel: ``model-too-large``, ``model-malformed``.
        """
        data = read_limited(source.path, limit=MAX_FILE_BYTES)
        if not source.select and ML_DOMAIN.encode() not in data:
            # No classifier of ai.onnx.ml: nothing to choose, and large files are decoded once less.
            run = _Runner(source.path)
            return Exported(data=data, where=source.text, run=run, folder=source.path.parent, said=run.said)
        selection = select_outputs(parse(data, source.text), source.select)
        run = _Runner(source.path, selection.kept)
        changed = bool(selection.dropped) or any(output.keys for output in selection.kept)
        return Exported(
            data=selection.model.SerializeToString() if changed else data,
            where=source.text,
            run=run,
            said=run.said,
            folder=source.path.parent,
            notices=_explained(selection),
            meaning=_meaning(selection),
            decide=_Decider(source.path, selection) if selection.label_output else None,
        )


def _explained(selection: Selection) -> tuple[str, ...]:
    if not selection.dropped:
        return ()
    left, kept = (
        ", ".join(printable(name, 60) for name in names[:10])
        for names in (selection.dropped, [output.name for output in selection.kept])
    )
    return (f"Left out of the outputs: {left}. Kept: {kept}. Others can be chosen with --select NAME.",)


def _meaning(selection: Selection) -> Meaning | None:
    inputs = {value.name for value in selection.model.graph.input} - {t.name for t in selection.model.graph.initializer}
    if not selection.labels or len(selection.kept) != 1 or len(inputs) != 1:
        return None
    return Meaning(Task.CLASSIFICATION, inputs.pop(), (), selection.kept[0].name, selection.labels, certain=False)


class _Decider:
    """The class that the file's own label output names."""

    def __init__(self, path: Path, selection: Selection) -> None:
        self._run = _Runner(path, (Kept(selection.label_output, selection.label_output),))
        self._output, self._labels = selection.label_output, selection.labels

    def __call__(self, inputs: Arrays) -> int | None:
        label = str(np.ravel(self._run(inputs)[self._output])[0])
        return self._labels.index(label) if label in self._labels else None


class _Runner:
    """Runs the file itself, loaded by path on first use so that onnxruntime finds external data.

    The stage canonicalises first, so by then lint has seen every external path.
    """

    def __init__(self, path: Path, kept: tuple[Kept, ...] = ()) -> None:
        self._path = path
        self._kept = kept
        self._session: Session | None = None
        self._said = ""

    def __call__(self, inputs: Arrays) -> Arrays:
        try:
            if self._session is None:
                self._session, self._said = _opened(self._path)
            session = self._session
            given = {
                name: array.astype(_WIDER[session.inputs[name]]) if session.inputs.get(name) in _WIDER else array
                for name, array in inputs.items()
            }
            kept = self._kept or tuple(Kept(name, name) for name in session.outputs)
            values = session.run([output.name for output in kept], given)
        except RuntimeFailure as problem:
            raise UnsupportedModel(
                "reference-failed", f"onnxruntime cannot run the source: {problem}", where=str(self._path)
            ) from None
        return {output.name: _row(output, value) for output, value in zip(kept, values, strict=True)}

    def said(self) -> tuple[str, ...]:
        """What a person should know of how the source was run, once it was."""
        return (self._said,) if self._said else ()


def _row(output: Kept, value: Any) -> Any:
    """A map from label to number as the row that it was made of."""
    if not output.keys or not isinstance(value, list):
        return value
    return np.array([[sample[key] for key in output.keys] for sample in value], dtype=np.float32)


_WIDER = {"tensor(double)": "float64", "tensor(float16)": "float16"}
