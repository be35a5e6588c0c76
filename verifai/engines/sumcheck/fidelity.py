"""How near a lowered circuit is to its float model, on calibration data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifai.domain.fidelity import Fidelity
from verifai.domain.progress import SILENT, Progress
from verifai.engines.fidelity import Measure
from verifai.engines.sumcheck.interpreter.run import run
from verifai.engines.sumcheck.lowering.lower import Lowered
from verifai.engines.sumcheck.tensors import real_outputs, saturated_inputs
from verifai.onnx_graph.model import OnnxModel


def measure(
    model: OnnxModel,
    lowered: Lowered,
    samples: Sequence[Mapping[str, NDArray[Any]]],
    reference: Measure,
    progress: Progress = SILENT,
) -> Fidelity:
    """Run the circuit on every sample and compare with what the float model says of them.

    Args:
        samples: those that ``reference`` was made of, in its order.
    """
    progress.phase("fidelity", len(samples))
    found: dict[str, list[NDArray[Any]]] = {spec.name: [] for spec in model.outputs}
    for sample in samples:
        trace = run(lowered.circuit, lowered.weights, saturated_inputs(model.inputs, lowered.circuit, sample, lowered.scales))
        for name, values in real_outputs(lowered.circuit, model.outputs, trace.outputs(), lowered.scales).items():
            found[name].append(values)
        progress.advance()
    return reference.compare({name: np.stack(values) for name, values in found.items()})
