"""What the tuner learns from the calibration data without ezkl: the reference, value ranges, and a forecast of the fidelity."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from verifai.domain.circuit_spec import CircuitSpec
from verifai.domain.fidelity import Fidelity
from verifai.domain.tensor import TensorSpec
from verifai.engines.ezkl.build import Sample, Witness
from verifai.engines.ezkl.columns import Frame
from verifai.engines.fidelity import Measure
from verifai.errors import EngineCrashed
from verifai.onnx_graph.model import OnnxModel
from verifai.onnx_graph.runtime import Session, open_session

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Calibration:
    """The calibration samples and what the model makes of them.

    Attributes:
        inputs: one mapping per sample: input name → float32 array of the model's shape; of columns with scales of their own,
            what the circuit takes in their place.
        measure: what onnxruntime says of them.
    """

    model: OnnxModel
    inputs: tuple[Mapping[str, NDArray[Any]], ...]
    measure: Measure
    _forecasts: dict[tuple[bytes, int, int], Fidelity] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        model: OnnxModel,
        spec: CircuitSpec,
        samples: Sequence[Sample],
        frames: Mapping[str, Sequence[Frame]] | None = None,
    ) -> Calibration:
        """Run the reference. ``samples``: one flat list per model input, in the model's order."""
        inputs = arrays_of(model, samples)
        names, session = [tensor.name for tensor in model.outputs], open_session(model.data)
        outputs = [dict(zip(names, session.run(names, one), strict=True)) for one in inputs]
        return cls(model, tuple(_framed(one, frames or {}) for one in inputs), Measure(spec.task, outputs))

    def compare(self, outputs: Floats) -> Fidelity:
        """Fidelity of ``outputs`` ([samples, cells of all outputs]) against the reference."""
        return self.measure.compare(by_output(outputs, self.model.outputs))

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

    def below_maximum(self, circuit_onnx: bytes, name: str, axis: int) -> float:
        """How far a value of a tensor lies below the largest along ``axis``, at most, over all samples."""
        found = 0.0
        for values in self._values(circuit_onnx, [name]):
            value = np.asarray(values[name], np.float64)
            found = max(found, float((value.max(axis=axis) - value.min(axis=axis)).max()))
        return found

    def magnitudes(self, circuit_onnx: bytes, names: Sequence[str]) -> dict[str, tuple[float, float]]:
        """Smallest and largest value of each named tensor over all samples."""
        ranges = dict.fromkeys(names, (np.inf, -np.inf))
        for values in self._values(circuit_onnx, names):
            for name in names:
                low, high = ranges[name]
                ranges[name] = (min(low, float(values[name].min())), max(high, float(values[name].max())))
        return ranges

    def _values(self, circuit_onnx: bytes, names: Sequence[str]) -> Iterator[dict[str, NDArray[Any]]]:
        """The named tensors, sample by sample."""
        proto = onnx.ModelProto.FromString(circuit_onnx)
        ends = {value.name for value in (*proto.graph.input, *proto.graph.output)}
        kinds = {value.name: value for value in proto.graph.value_info}
        for name in names:
            if name not in ends:
                proto.graph.output.append(kinds[name] if name in kinds else helper.make_empty_tensor_value_info(name))
        given = {value.name for value in proto.graph.input}
        wanted = [name for name in names if name not in given]
        session = open_session(proto.SerializeToString())
        for sample in self.inputs:
            found = dict(zip(wanted, session.run(wanted, sample), strict=True)) if wanted else {}
            yield {name: np.asarray(found[name] if name in found else sample[name]) for name in names}


def arrays_of(model: OnnxModel, samples: Sequence[Sample]) -> tuple[Mapping[str, NDArray[Any]], ...]:
    """Per sample, arrays by input, of the model's shapes and dtypes."""
    return tuple(
        {
            tensor.name: np.asarray(flat, dtype=np.dtype(tensor.dtype)).reshape(tensor.shape)
            for tensor, flat in zip(model.inputs, sample, strict=True)
        }
        for sample in samples
    )


def _framed(sample: Mapping[str, NDArray[Any]], frames: Mapping[str, Sequence[Frame]]) -> Mapping[str, NDArray[Any]]:
    """x' in place of x, for inputs whose columns have scales of their own."""
    found = dict(sample)
    for name, columns in frames.items():
        factor, offset = np.array([column.affine for column in columns]).T
        found[name] = ((sample[name].astype(np.float64) - offset) / factor).astype(np.float32)
    return found


def by_output(values: Floats, specs: Sequence[TensorSpec]) -> dict[str, Floats]:
    """[samples, cells of all outputs], taken apart. Raises EngineCrashed when the circuit has outputs of another size."""
    if values.shape[1] != sum(spec.size for spec in specs):
        raise EngineCrashed("engine-crashed", "the circuit's outputs have another size than the model's")
    ends = np.cumsum([spec.size for spec in specs])[:-1]
    return {spec.name: part for spec, part in zip(specs, np.split(values, ends, axis=1), strict=True)}


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
