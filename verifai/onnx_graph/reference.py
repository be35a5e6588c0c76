"""The reference: what the model computes, by onnxruntime on one thread."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from verifai.domain.tensor import TensorSpec
from verifai.errors import InputRejected
from verifai.onnx_graph.model import OnnxModel
from verifai.onnx_graph.refusal import refuse
from verifai.onnx_graph.runtime import RuntimeFailure, open_session
from verifai.onnx_graph.tensors import Array


class Reference:
    """A loaded model.

    Raises:
        UnsupportedModel: ``reference-failed`` when onnxruntime cannot load it.
    """

    def __init__(self, model: OnnxModel) -> None:
        self.model = model
        try:
            self._session = open_session(model.data)
        except RuntimeFailure as problem:
            raise refuse("reference-failed", f"onnxruntime cannot load the model: {problem}") from None

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name, of the model's shapes and dtypes.

        Args:
            inputs: exactly the model's inputs, of its shapes and dtypes (batch included).

        Raises:
            InputRejected: ``input-missing``, ``input-unknown``, ``input-dtype``, ``input-shape``.
            UnsupportedModel: ``reference-failed``.
        """
        check_tensors(inputs, self.model.inputs)
        names = [spec.name for spec in self.model.outputs]
        try:
            values = self._session.run(names, inputs)
        except RuntimeFailure as problem:
            raise refuse("reference-failed", f"onnxruntime cannot run the model: {problem}") from None
        return {name: np.asarray(value) for name, value in zip(names, values, strict=True)}

    def run_batch(self, samples: Iterable[Mapping[str, Array]]) -> list[dict[str, Array]]:
        """:meth:`run` for each sample in turn."""
        return [self.run(sample) for sample in samples]


def check_tensors(tensors: Mapping[str, Array], specs: Iterable[TensorSpec]) -> None:
    """Raise InputRejected unless ``tensors`` are exactly those of ``specs``."""
    expected = {spec.name: spec for spec in specs}
    for name in tensors:
        if name not in expected:
            raise InputRejected(
                "input-unknown", f"the model has no tensor {name!r}", where=name, hint="It has: " + ", ".join(expected)
            )
    for name, spec in expected.items():
        if name not in tensors:
            raise InputRejected("input-missing", "the tensor is missing", where=name)
        array = tensors[name]
        if array.dtype.name != spec.dtype:
            raise InputRejected("input-dtype", f"{array.dtype.name} was given; the model takes {spec.dtype}", where=name)
        if array.shape != spec.shape:
            raise InputRejected("input-shape", f"shape {array.shape} was given; the model takes {spec.shape}", where=name)
