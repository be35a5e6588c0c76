"""How near a circuit is to its float model, on calibration data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifai.domain.progress import Progress
from verifai.engines.interface import Fidelity
from verifai.engines.sumcheck.interpreter.run import run
from verifai.engines.sumcheck.lowering.lower import Lowered
from verifai.engines.sumcheck.tensors import saturated_inputs
from verifai.onnx_graph.model import OnnxModel


def measure(
    model: OnnxModel, lowered: Lowered, samples: Sequence[Mapping[str, NDArray[Any]]], classes: bool, progress: Progress
) -> Fidelity:
    """The circuit against onnxruntime: arg-max agreement of every output, absolute errors, the worst sample."""
    from verifai.onnx_graph.reference import Reference

    reference = Reference(model)
    progress.phase("fidelity", len(samples))
    worst, worst_sample, total, cells, matches = -1.0, 0, 0.0, 0, 0
    for number, sample in enumerate(samples):
        expected = reference.run(sample)
        trace = run(lowered.circuit, lowered.weights, saturated_inputs(model.inputs, lowered.circuit, sample, lowered.scales))
        agree, largest = True, 0.0
        for spec, port, values in zip(model.outputs, lowered.circuit.outputs, trace.outputs(), strict=True):
            tensor = lowered.circuit.tensors[port.tensor]
            step = float(Fraction(*tensor.scale))
            wanted = np.asarray(expected[spec.name], np.float64).reshape(-1)
            if np.asarray(expected[spec.name]).dtype.kind in "iu":
                wanted = (wanted - tensor.zero_point) * step
            found = values.reshape(-1) * step
            errors = np.abs(found - wanted)
            largest = max(largest, float(errors.max()))
            total, cells = total + float(errors.sum()), cells + errors.size
            agree = agree and int(found.argmax()) == int(wanted.argmax())
        matches += agree
        if largest > worst:
            worst, worst_sample = largest, number
        progress.advance()
    return Fidelity(len(samples), matches if classes else None, worst, total / cells, worst_sample)
