"""The child process that reads and runs an untrusted model. Run by :mod:`verifai.onnx_graph.fenced` only; never imported by the
parent.

The model's bytes are in a file of the private working directory; what refuses them is an answer, not a failure.
"""

from __future__ import annotations

import base64
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Args = Mapping[str, Any]
_MODEL = Path("model.onnx")
_MAX_TEXT = 1000


def _load(args: Args) -> dict[str, Any]:
    from verifai.errors import UsageError
    from verifai.onnx_graph.load import load_canonical

    try:
        model = load_canonical(_MODEL.read_bytes(), where=args["where"])
    except UsageError as problem:
        return _refused(problem)
    return {
        side: [{"name": spec.name, "dtype": spec.dtype, "shape": list(spec.shape)} for spec in specs]
        for side, specs in (("inputs", model.inputs), ("outputs", model.outputs))
    }


def _reference(args: Args) -> dict[str, Any]:
    """The parent has read this model before, by the step above: it is not made canonical again."""
    import numpy as np

    from verifai.domain.digest import sha256
    from verifai.domain.tensor import TensorSpec
    from verifai.errors import UsageError
    from verifai.onnx_graph.model import OnnxModel
    from verifai.onnx_graph.reference import Reference

    data = _MODEL.read_bytes()
    inputs, outputs = (
        tuple(TensorSpec(spec["name"], spec["dtype"], tuple(spec["shape"])) for spec in args[side])
        for side in ("inputs", "outputs")
    )
    samples = [
        {name: np.frombuffer(base64.b64decode(one["data"]), one["dtype"]).reshape(one["shape"]) for name, one in sample.items()}
        for sample in args["samples"]
    ]
    try:
        found = Reference(OnnxModel(data, sha256(data), inputs, outputs)).run_batch(samples)
    except UsageError as problem:
        return _refused(problem)
    dtypes = {spec.name: spec.dtype for spec in outputs}
    return {
        "samples": [
            {
                name: {"data": base64.b64encode(np.ascontiguousarray(value, dtypes[name]).tobytes()).decode("ascii")}
                for name, value in one.items()
            }
            for one in found
        ]
    }


def _refused(problem: Any) -> dict[str, Any]:
    texts = {name: getattr(problem, name)[:_MAX_TEXT] for name in ("message", "where", "hint")}
    return {"refused": {"kind": type(problem).__name__, "code": problem.code, **texts}}


if __name__ == "__main__":
    from verifai.execution.child_entry import serve

    sys.exit(serve({"load": _load, "reference": _reference}))
