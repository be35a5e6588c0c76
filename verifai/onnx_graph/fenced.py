"""An untrusted model, read and run in a fenced child process.

Decoding, shape inference and onnxruntime are C++ code, and a model file can make it fail. In the child a fault, or a model that
uses too much memory or time, becomes one of our errors; the caller keeps its findings. The child's answer is parsed strictly.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from verifai.domain.digest import sha256
from verifai.domain.progress import SILENT, Progress
from verifai.domain.record import Record
from verifai.domain.tensor import TensorSpec
from verifai.errors import EngineCrashed, InputRejected, ResourceExhausted, UnsupportedModel, UsageError
from verifai.execution import child
from verifai.execution.child import Limits
from verifai.execution.files import read_limited
from verifai.execution.scratch import private_directory
from verifai.onnx_graph.limits import MAX_FILE_BYTES
from verifai.onnx_graph.model import OnnxModel
from verifai.onnx_graph.refusal import printable
from verifai.onnx_graph.tensors import Array

WORKER = "verifai.onnx_graph.worker"
MODEL_NAME = "model.onnx"
DEFAULT_LIMITS = Limits(memory_bytes=8 * 2**30, wall_seconds=600.0)
"""The largest model that the limits of :mod:`verifai.onnx_graph.limits` allow fits with room to spare."""
MIN_MEMORY_BYTES = 512 * 2**20
"""Below this the interpreter, onnx and onnxruntime do not even load."""
_DTYPES = {name: np.dtype(name) for name in ("float32", "float64", "int8", "uint8", "int16", "int32", "int64", "bool")}
_KINDS = {kind.__name__: kind for kind in (UsageError, UnsupportedModel, InputRejected)}
_MAX_TENSORS, _MAX_RANK, _MAX_NAME = 4096, 16, 4096


def load_path_fenced(path: Path, limits: Limits | None = None, progress: Progress = SILENT) -> OnnxModel:
    """The canonical model in the file ``path``, as :func:`verifai.onnx_graph.load.load_path`, without parsing it here.

    Args:
        limits: of the child; :data:`DEFAULT_LIMITS` where it says nothing.

    Raises:
        UsageError: ``file-missing``.
        UnsupportedModel: as :func:`verifai.onnx_graph.load.load_canonical`.
        Undecided: the child died, or ran out of memory or time.
    """
    data = read_limited(path, limit=MAX_FILE_BYTES)
    answer = _run("load", data, {"where": str(path)}, limits, progress)
    record = _record(answer)
    model = OnnxModel(data, sha256(data), _specs(record, "inputs"), _specs(record, "outputs"))
    record.done()
    return model


def run_reference_fenced(
    model: OnnxModel, inputs: Mapping[str, Array], limits: Limits | None = None, progress: Progress = SILENT
) -> dict[str, Array]:
    """Outputs by name, as :meth:`verifai.onnx_graph.reference.Reference.run`. Raises as :func:`run_references_fenced`."""
    return run_references_fenced(model, [inputs], limits, progress)[0]


def run_references_fenced(
    model: OnnxModel, samples: Sequence[Mapping[str, Array]], limits: Limits | None = None, progress: Progress = SILENT
) -> list[dict[str, Array]]:
    """Outputs by name for each sample, in one child, as :meth:`verifai.onnx_graph.reference.Reference.run_batch`.

    Raises:
        InputRejected, UnsupportedModel: as there.
        Undecided: the child died, or ran out of memory or time.
    """
    arguments = {
        "inputs": [_spec_json(spec) for spec in model.inputs],
        "outputs": [_spec_json(spec) for spec in model.outputs],
        "samples": [{name: _array_json(np.asarray(value)) for name, value in one.items()} for one in samples],
    }
    record = _record(_run("reference", model.data, arguments, limits, progress))
    found = []
    for values in record.tables("samples", max_length=len(samples)):
        found.append({spec.name: _array(values, spec) for spec in model.outputs})
        values.done()
    record.done()
    if len(found) != len(samples):
        raise EngineCrashed("engine-crashed", "the child answered for another number of samples")
    return found


def _run(op: str, model: bytes, arguments: Mapping[str, Any], limits: Limits | None, progress: Progress) -> Any:
    given = limits or DEFAULT_LIMITS
    if given.memory_bytes is not None and given.memory_bytes < MIN_MEMORY_BYTES:
        asked, least = given.memory_bytes / 2**20, MIN_MEMORY_BYTES / 2**20
        message = f"a limit of {asked:.0f} MiB was asked for; reading and running a model needs {least:.0f} MiB even to start"
        raise ResourceExhausted("out-of-memory", message, hint="Raise --max-memory.")
    limits = replace(
        given,
        memory_bytes=given.memory_bytes or DEFAULT_LIMITS.memory_bytes,
        wall_seconds=given.wall_seconds or DEFAULT_LIMITS.wall_seconds,
    )
    with private_directory() as folder:
        handle = os.open(folder / MODEL_NAME, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as stream:
            stream.write(model)
        task = {"steps": [{"op": op, "args": dict(arguments)}]}
        report = child.run(WORKER, task, folder=folder, limits=limits, progress=progress)
    if report.death is not None:
        raise report.death
    if len(report.steps) != 1:
        raise EngineCrashed("engine-crashed", "the child answered too few steps")
    step = report.steps[0]
    if step.failure == "memory":
        raise ResourceExhausted("out-of-memory", "no memory left for the model", hint="Raise the memory limit.")
    if step.failure:
        raise EngineCrashed("engine-crashed", f"the model could not be read or run: {printable(step.message)}")
    return step.value


def _record(answer: Any) -> Record:
    """The answer, unless it is a refusal, which is raised."""
    record = Record(answer, "child", error=EngineCrashed, code="engine-crashed")
    if record.has("refused"):
        refused = record.table("refused")
        kind = refused.text("kind", pattern="|".join(_KINDS))
        code = refused.text("code", pattern=r"[a-z0-9]+(?:-[a-z0-9]+)*", max_length=64)
        texts = (refused.text(name, max_length=_MAX_NAME, empty=True) for name in ("message", "where", "hint"))
        message, where, hint = (printable(text, 1000) for text in texts)
        raise _KINDS[kind](code, message, where=where, hint=hint)
    return record


def _specs(record: Record, side: str) -> tuple[TensorSpec, ...]:
    specs = []
    for item in record.tables(side, max_length=_MAX_TENSORS):
        name = item.text("name", max_length=_MAX_NAME)
        dtype = item.text("dtype", pattern=r"[a-z0-9]+", max_length=16)
        specs.append(TensorSpec(name, dtype, item.integers("shape", low=1, high=2**31, max_length=_MAX_RANK)))
        item.done()
    return tuple(specs)


def _spec_json(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "dtype": spec.dtype, "shape": list(spec.shape)}


def _array_json(array: Array) -> dict[str, Any]:
    data = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")
    return {"dtype": array.dtype.name, "shape": list(array.shape), "data": data}


def _array(values: Record, spec: TensorSpec) -> Array:
    record = values.table(spec.name)
    text = record.text("data", max_length=child.MAX_ANSWER_BYTES)
    record.done()
    dtype = _DTYPES.get(spec.dtype)
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if dtype is None or len(data) != prod(spec.shape) * dtype.itemsize:
        raise EngineCrashed("engine-crashed", "the child answered an output of another size", where=printable(spec.name))
    return np.frombuffer(data, dtype).reshape(spec.shape)
