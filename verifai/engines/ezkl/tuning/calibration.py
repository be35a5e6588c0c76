"""What the tuner learns from the calibration data without ezkl: the reference, value ranges, and a forecast of the fidelity."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from verifai.domain.circuit_spec import CircuitSpec, FidelityFloor
from verifai.engines.ezkl.build import Sample, Witness
from verifai.engines.interface import Fidelity
from verifai.onnx_graph.model import OnnxModel
from verifai.onnx_graph.runtime import Session, open_session

Floats = NDArray[np.float64]
DEFAULT_ERROR_SHARE = 0.02
"""Without a floor in the specification, the largest error allowed, as a share of the range of the reference outputs."""


@dataclass(frozen=True)
class Calibration:
    """The calibration samples and what the model makes of them.

    Attributes:
        inputs: one mapping per sample: input name → float32 array of the model's shape.
        reference: [samples, all output cells] by onnxruntime.
    """

    model: OnnxModel
    classes: bool
    inputs: tuple[Mapping[str, NDArray[Any]], ...]
    reference: Floats
    _forecasts: dict[tuple[bytes, int, int], Fidelity] = field(default_factory=dict)

    @classmethod
    def of(cls, model: OnnxModel, spec: CircuitSpec, samples: Sequence[Sample]) -> Calibration:
        """Run the reference. ``samples``: one flat list per model input, in the model's order."""
        inputs = tuple(
            {
                tensor.name: np.asarray(flat, dtype=np.dtype(tensor.dtype)).reshape(tensor.shape)
                for tensor, flat in zip(model.inputs, sample, strict=True)
            }
            for sample in samples
        )
        names = [tensor.name for tensor in model.outputs]
        return cls(model, spec.classes, inputs, _outputs(open_session(model.data), names, inputs))

    def floor(self, asked: FidelityFloor) -> FidelityFloor:
        """The floor to tune for: what was asked, or a default when nothing was."""
        if asked.max_abs_error is not None or asked.top1_agreement is not None:
            return asked
        spread = float(self.reference.max() - self.reference.min()) or 1.0
        return FidelityFloor(1.0 if self.classes else None, DEFAULT_ERROR_SHARE * spread)

    def compare(self, outputs: Floats) -> Fidelity:
        """Fidelity of ``outputs`` ([samples, cells]) against the reference."""
        error = np.abs(outputs - self.reference)
        matches = int(np.sum(outputs.argmax(axis=1) == self.reference.argmax(axis=1)))
        return Fidelity(
            samples=len(error),
            top1_matches=matches if self.classes else None,
            max_abs_error=float(error.max()),
            mean_abs_error=float(error.mean()),
            worst_sample=int(error.max(axis=1).argmax()),
        )

    def of_witnesses(self, witnesses: Iterable[Witness], scales: Sequence[int]) -> Fidelity:
        """Fidelity of what the circuit computed; ``scales``: log2 of each output's multiplier."""
        rows = [
            np.concatenate(
                [np.array(cells, dtype=np.float64) / 2.0**scale for cells, scale in zip(one.outputs, scales, strict=True)]
            )
            for one in witnesses
        ]
        return self.compare(np.array(rows))

    def forecast(self, circuit_onnx: bytes, input_scale: int, parameter_scale: int) -> Fidelity:
        """Fidelity when inputs and weights are rounded to these scales and everything else is exact.

        That is what a circuit without rebasing computes; rebasing adds to it.
        """
        key = (circuit_onnx, input_scale, parameter_scale)
        if key not in self._forecasts:
            session = open_session(rounded_weights(circuit_onnx, parameter_scale))
            names = [tensor.name for tensor in self.model.outputs]
            rounded = [{name: _rounded(array, input_scale) for name, array in sample.items()} for sample in self.inputs]
            self._forecasts[key] = self.compare(_outputs(session, names, rounded))
        return self._forecasts[key]

    def magnitudes(self, circuit_onnx: bytes, names: Sequence[str]) -> dict[str, tuple[float, float]]:
        """Smallest and largest value of each named tensor over all samples."""
        proto = onnx.ModelProto.FromString(circuit_onnx)
        ends = {value.name for value in (*proto.graph.input, *proto.graph.output)}
        kinds = {value.name: value for value in proto.graph.value_info}
        for name in names:
            if name not in ends:
                proto.graph.output.append(kinds[name] if name in kinds else helper.make_empty_tensor_value_info(name))
        given = {value.name for value in proto.graph.input}
        wanted = [name for name in names if name not in given]
        session = open_session(proto.SerializeToString())
        ranges = dict.fromkeys(names, (np.inf, -np.inf))
        for sample in self.inputs:
            values = dict(zip(wanted, session.run(wanted, sample), strict=True)) if wanted else {}
            for name in names:
                value = np.asarray(values[name] if name in values else sample[name])
                low, high = ranges[name]
                ranges[name] = (min(low, float(value.min())), max(high, float(value.max())))
        return ranges


def meets(fidelity: Fidelity, floor: FidelityFloor) -> bool:
    """Whether the floor is reached."""
    agreement = fidelity.top1_agreement
    if floor.top1_agreement is not None and (agreement is None or agreement < floor.top1_agreement):
        return False
    return floor.max_abs_error is None or fidelity.max_abs_error <= floor.max_abs_error


def rounded_weights(circuit_onnx: bytes, scale: int) -> bytes:
    """The model with the second input of every product rounded to multiples of 2^−scale, halves away from zero."""
    proto = onnx.ModelProto.FromString(circuit_onnx)
    weights = {
        name for node in proto.graph.node if node.op_type in ("Conv", "Gemm", "MatMul", "Mul") for name in list(node.input)[:2]
    }
    for tensor in proto.graph.initializer:
        if tensor.name in weights:
            tensor.CopyFrom(numpy_helper.from_array(_rounded(numpy_helper.to_array(tensor), scale), tensor.name))
    data: bytes = proto.SerializeToString()
    return data


def _rounded(array: NDArray[Any], scale: int) -> NDArray[Any]:
    if array.dtype.kind != "f":
        return array
    scaled = array.astype(np.float64) * 2.0**scale
    return (np.sign(scaled) * np.floor(np.abs(scaled) + 0.5) / 2.0**scale).astype(array.dtype)


def _outputs(session: Session, names: Sequence[str], inputs: Iterable[Mapping[str, NDArray[Any]]]) -> Floats:
    return np.array(
        [np.concatenate([np.asarray(value).reshape(-1) for value in session.run(names, one)]) for one in inputs],
        dtype=np.float64,
    )
