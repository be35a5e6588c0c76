"""onnxruntime sessions with pinned options: one thread, sequential, no graph rewriting, no telemetry, silent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from verifai.onnx_graph.refusal import printable
from verifai.onnx_graph.tensors import Array


class RuntimeFailure(Exception):
    """onnxruntime refused the model or the run; callers translate it with the node or file they know."""

    @property
    def not_implemented(self) -> bool:
        """Whether it has no kernel for an operator on the types that it is given."""
        return "NOT_IMPLEMENTED" in str(self)


class Session:
    """One loaded model.

    Attributes:
        inputs: name → type, as onnxruntime writes it (``tensor(float)``).
        outputs: names, in order. types: of all inputs and outputs, likewise.
    """

    def __init__(self, session: Any) -> None:
        self._session = session
        self.inputs: dict[str, str] = {value.name: value.type for value in session.get_inputs()}
        self.outputs: list[str] = [value.name for value in session.get_outputs()]
        self.types = frozenset(value.type for value in (*session.get_inputs(), *session.get_outputs()))

    def run(self, outputs: Sequence[str], inputs: Mapping[str, Array]) -> list[Any]:
        """Values of ``outputs``. Raises RuntimeFailure."""
        # One of many numbers is a NumPy scalar, which the bindings do not take.
        arrays = {name: np.asarray(array) if isinstance(array, np.generic) else array for name, array in inputs.items()}
        try:
            values: list[Any] = self._session.run(list(outputs), arrays)
        except Exception as problem:  # noqa: BLE001 - the bindings raise a dozen classes without a common base
            raise RuntimeFailure(_reason(problem)) from None
        return values


def open_session(model: bytes | str) -> Session:
    """Load a serialised model, or the file of that name with the external data beside it. Raises RuntimeFailure."""
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    # Fused kernels differ between releases and machines; the reference is the graph as written.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.use_deterministic_compute = True
    options.log_severity_level = 4
    try:
        return Session(onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"]))
    except Exception as problem:  # noqa: BLE001 - as above
        raise RuntimeFailure(_reason(problem)) from None


def _reason(problem: Exception) -> str:
    text = " ".join(str(problem).split())
    return printable(text, 200)
