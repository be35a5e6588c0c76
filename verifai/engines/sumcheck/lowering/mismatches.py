"""How many integers of an imported model the circuit does not meet: cells where onnxruntime's integer is another one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifai.engines.sumcheck.interpreter.run import run
from verifai.engines.sumcheck.lowering.lower import Lowered
from verifai.engines.sumcheck.tensors import saturated_inputs
from verifai.errors import UnsupportedModel
from verifai.onnx_graph.model import OnnxModel
from verifai.onnx_graph.runtime import RuntimeFailure, open_session

QUANTISERS = frozenset({"QuantizeLinear", "QLinearConv", "QLinearMatMul"})


@dataclass(frozen=True, slots=True)
class Mismatches:
    """Quantised cells compared over all samples.

    Attributes:
        cells: compared. different: of them, not equal. largest: the largest difference, in steps.
    """

    cells: int
    different: int
    largest: int

    def sentence(self) -> str:
        """For people."""
        share = 100 * self.different / self.cells
        return (
            f"Imported integers: {self.different} of {self.cells} quantised cells ({share:.3f} %) differ from onnxruntime's, "
            f"by at most {self.largest} steps: it rounds half to even after float32 products, the circuit exactly, half up."
        )


def _compared(model: OnnxModel, lowered: Lowered) -> dict[str, int]:
    """ONNX value → circuit tensor, for the results of quantising nodes that became tensors of their own.

    Not those that are a part of a tensor, as the steps of a recurrent layer are of the tensor that has all of them.
    """
    tensors = {tensor.name: (number, tensor.size) for number, tensor in enumerate(lowered.circuit.tensors)}
    graph = model.proto.graph
    sizes = {
        value.name: prod(dim.dim_value for dim in value.type.tensor_type.shape.dim)
        for value in (*graph.value_info, *graph.output)
    }
    names = [node.output[0] for node in graph.node if node.op_type in QUANTISERS]
    return {name: tensors[name][0] for name in names if name in tensors and tensors[name][1] == sizes.get(name)}


def count_mismatches(model: OnnxModel, lowered: Lowered, samples: Sequence[Mapping[str, NDArray[Any]]]) -> Mismatches:
    """Compare every quantised tensor of an imported model with onnxruntime's; all zeros for models without any.

    Raises:
        UnsupportedModel: ``reference-failed``.
    """
    import onnx

    compared = _compared(model, lowered)
    if not compared:
        return Mismatches(0, 0, 0)
    proto = onnx.ModelProto.FromString(model.data)
    given = {value.name for value in proto.graph.output}
    proto.graph.output.extend(v for v in proto.graph.value_info if v.name in compared and v.name not in given)
    cells = different = largest = 0
    try:
        session = open_session(proto.SerializeToString(deterministic=True))
        for sample in samples:
            expected = dict(zip(compared, session.run(list(compared), sample), strict=True))
            trace = run(
                lowered.circuit, lowered.weights, saturated_inputs(model.inputs, lowered.circuit, sample, lowered.scales)
            )
            for name, number in compared.items():
                zero_point = lowered.circuit.tensors[number].zero_point
                difference = np.abs(trace.true(number).reshape(-1) + zero_point - expected[name].astype(np.int64).reshape(-1))
                cells, different = cells + difference.size, different + int(np.count_nonzero(difference))
                largest = max(largest, int(difference.max()))
    except RuntimeFailure as problem:
        raise UnsupportedModel("reference-failed", f"onnxruntime cannot run the model: {problem}") from None
    return Mismatches(cells, different, largest)
