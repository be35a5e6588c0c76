"""Read a canonical model: the only way into the rest of the program."""

from __future__ import annotations

from pathlib import Path

from verifai.execution.files import read_limited
from verifai.onnx_graph.canonicalise import canonicalise
from verifai.onnx_graph.external import export_hint
from verifai.onnx_graph.limits import MAX_FILE_BYTES
from verifai.onnx_graph.model import OnnxModel
from verifai.onnx_graph.refusal import refuse


def load_canonical(data: bytes, *, where: str) -> OnnxModel:
    """The model in ``data``, which must be exactly what ``verifai export`` would write.

    The canonical form is recomputed, never believed: shapes, defaults and names mean what they say.

    Raises:
        UnsupportedModel: ``model-not-canonical``, or what :func:`canonicalise` raises.
    """
    model = canonicalise(data, where=where).model
    if model.data != data:
        raise refuse(
            "model-not-canonical",
            "the model is not in canonical form",
            where,
            f"Use what this makes: `{export_hint(where)}`",
        )
    return model


def load_path(path: Path) -> OnnxModel:
    """The canonical model in the file ``path``.

    Raises:
        UsageError: ``file-missing``.
        UnsupportedModel: as :func:`load_canonical`.
    """
    return load_canonical(read_limited(path, limit=MAX_FILE_BYTES), where=str(path))
