"""ONNX files: already ONNX; what is left is reading them, and running them as they are for the parity check."""

from __future__ import annotations

from pathlib import Path

from verifai.errors import UnsupportedModel
from verifai.execution.files import read_limited
from verifai.exporters.interface import Arrays, Exported, Source
from verifai.onnx_graph.limits import MAX_FILE_BYTES
from verifai.onnx_graph.runtime import RuntimeFailure, Session, open_session


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
        """Read the file. Raises UsageError (``file-missing``)."""
        data = read_limited(source.path, limit=MAX_FILE_BYTES)
        return Exported(data=data, where=source.text, run=_Runner(source.path), folder=source.path.parent)


class _Runner:
    """Runs the file itself, loaded by path on first use so that onnxruntime finds external data.

    The stage canonicalises first, so by then lint has seen every external path.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._session: Session | None = None

    def __call__(self, inputs: Arrays) -> Arrays:
        try:
            session = self._session or open_session(str(self._path))
            self._session = session
            given = {
                name: array.astype(_WIDER[session.inputs[name]]) if session.inputs.get(name) in _WIDER else array
                for name, array in inputs.items()
            }
            return dict(zip(session.outputs, session.run(session.outputs, given), strict=True))
        except RuntimeFailure as problem:
            raise UnsupportedModel(
                "reference-failed", f"onnxruntime cannot run the source: {problem}", where=str(self._path)
            ) from None


_WIDER = {"tensor(double)": "float64", "tensor(float16)": "float16"}
