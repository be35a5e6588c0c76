"""Run an ONNX model as a verifier does: onnxruntime's CPU provider with every option that changes bits pinned by the job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifai.domain.consensus.job import Optimisation, RuntimeOptions
from verifai.errors import EngineCrashed, InputRejected, UnsupportedModel

Tensors = Mapping[str, NDArray[Any]]
_DTYPES = {
    "tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64", "tensor(int64)": "int64",
    "tensor(int32)": "int32", "tensor(int16)": "int16", "tensor(int8)": "int8", "tensor(uint64)": "uint64",
    "tensor(uint32)": "uint32", "tensor(uint16)": "uint16", "tensor(uint8)": "uint8", "tensor(bool)": "bool",
}  # fmt: skip


class VoteRunner:
    """One loaded model.

    Args:
        model: serialised ONNX; batch and sequence axes may be symbolic.
        options: the job's runtime options.
        threads: intra-operator threads; part of the environment, not of the job.

    Attributes:
        inputs, outputs: names in the graph's order.
        shapes, dtypes: of the inputs, by name; None stands for a symbolic axis.

    Raises:
        UnsupportedModel: ``runner-refused``, when onnxruntime cannot load it, or when an input is no tensor of numbers.
    """

    def __init__(self, model: bytes, options: RuntimeOptions, *, threads: int = 1) -> None:
        import onnxruntime

        onnxruntime.set_default_logger_severity(4)
        self._batch = options.batch
        try:
            self._session = onnxruntime.InferenceSession(
                model, _session_options(options, threads), providers=["CPUExecutionProvider"]
            )
        except Exception as problem:  # noqa: BLE001 - the bindings raise a dozen classes without a common base
            raise UnsupportedModel("runner-refused", f"onnxruntime cannot load the model: {_reason(problem)}") from None
        self.inputs: tuple[str, ...] = tuple(one.name for one in self._session.get_inputs())
        self.shapes: Mapping[str, tuple[int | None, ...]] = {
            one.name: tuple(size if isinstance(size, int) and size >= 0 else None for size in one.shape)
            for one in self._session.get_inputs()
        }
        self.dtypes: Mapping[str, str] = {one.name: _dtype_of(one.name, one.type) for one in self._session.get_inputs()}
        self.outputs: tuple[str, ...] = tuple(one.name for one in self._session.get_outputs())

    def run(self, samples: Sequence[Tensors]) -> list[dict[str, NDArray[Any]]]:
        """Outputs of each sample, batch axis included, in order.

        Args:
            samples: each maps every model input to an array whose axis 0 is a batch of one.

        Raises:
            InputRejected: ``input-missing``, ``input-unknown``, ``batch-shape``.
            EngineCrashed: ``runner-failed``, when onnxruntime fails on well-formed input.
        """
        results: list[dict[str, NDArray[Any]]] = []
        for start in range(0, len(samples), self._batch):
            group = samples[start : start + self._batch]
            for sample in group:
                self._check_names(sample)
            results.extend(self._run_group(group))
        return results

    def _run_group(self, group: Sequence[Tensors]) -> list[dict[str, NDArray[Any]]]:
        feed = {name: self._stack(name, [np.asarray(sample[name]) for sample in group]) for name in self.inputs}
        try:
            values = self._session.run(None, feed)
        except Exception as problem:  # noqa: BLE001 - as above
            raise EngineCrashed("runner-failed", f"onnxruntime cannot run the model: {_reason(problem)}") from None
        arrays = {name: np.asarray(value) for name, value in zip(self.outputs, values, strict=True)}
        if len(group) == 1:
            return [arrays]
        for name, array in arrays.items():
            if array.ndim == 0 or array.shape[0] != len(group):
                raise InputRejected("batch-shape", f"shape {array.shape} has no batch axis of {len(group)}", where=name)
        return [{name: array[i : i + 1] for name, array in arrays.items()} for i in range(len(group))]

    def _check_names(self, sample: Tensors) -> None:
        for name in self.inputs:
            if name not in sample:
                raise InputRejected("input-missing", "the tensor is missing", where=name)
        for name in sample:
            if name not in self.inputs:
                raise InputRejected("input-unknown", f"the model has no input {name!r}", where=name)

    def _stack(self, name: str, arrays: list[NDArray[Any]]) -> NDArray[Any]:
        if len(arrays) == 1:
            return arrays[0]
        shape = arrays[0].shape
        if not shape or any(array.shape != shape or array.shape[0] != 1 for array in arrays):
            raise InputRejected(
                "batch-shape", "samples of one batch need one shape with a batch axis of 1", where=name, hint="Use batch 1."
            )
        return np.concatenate(arrays)


def _dtype_of(name: str, kind: str) -> str:
    if kind not in _DTYPES:
        raise UnsupportedModel(
            "runner-refused",
            f"samples cannot be given for an input of type {kind}",
            where=f"input {name!r}",
            hint="The types are: " + ", ".join(sorted(_DTYPES.values())),
        )
    return _DTYPES[kind]


def _session_options(options: RuntimeOptions, threads: int) -> Any:
    import onnxruntime

    level = onnxruntime.GraphOptimizationLevel
    found = onnxruntime.SessionOptions()
    found.graph_optimization_level = {
        Optimisation.DISABLED: level.ORT_DISABLE_ALL,
        Optimisation.BASIC: level.ORT_ENABLE_BASIC,
        Optimisation.EXTENDED: level.ORT_ENABLE_EXTENDED,
        Optimisation.ALL: level.ORT_ENABLE_ALL,
    }[options.optimisation]
    found.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    found.intra_op_num_threads = threads
    found.inter_op_num_threads = 1
    found.use_deterministic_compute = True
    found.log_severity_level = 4
    found.add_session_config_entry("session.x64quantprecision", "1" if options.x64quantprecision else "0")
    return found


def _reason(problem: Exception) -> str:
    text = " ".join(str(problem).split())[:200]
    return "".join(char if char.isprintable() else "?" for char in text)
