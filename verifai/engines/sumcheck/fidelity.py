"""How near a lowered circuit is to its float model, on calibration data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifai.domain.fidelity import Fidelity
from verifai.domain.progress import SILENT, Progress
from verifai.engines.fidelity import Measure, losses_of
from verifai.engines.sumcheck.circuit import ops
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
    texts, losses = reference.texts, []
    logits = None if texts is None or texts.losses is None else _logits(lowered)
    for place, sample in enumerate(samples):
        trace = run(lowered.circuit, lowered.weights, saturated_inputs(model.inputs, lowered.circuit, sample, lowered.scales))
        for name, values in real_outputs(lowered.circuit, model.outputs, trace.outputs(), lowered.scales).items():
            found[name].append(values)
        if texts is not None and logits is not None:
            losses.append(losses_of(trace.true(logits[0]) * logits[1], texts.targets[place]))
        progress.advance()
    return reference.compare({name: np.stack(values) for name, values in found.items()}, np.stack(losses) if losses else None)


def _logits(lowered: Lowered) -> tuple[int, float] | None:
    """The tensor whose largest cells the only output names, and the real value of one step; ``None`` where there is none."""
    output = lowered.circuit.outputs[0].tensor
    for number, op in enumerate(lowered.circuit.ops):
        if isinstance(op, ops.TopIndex | ops.ArgMax) and op.out == output and number in lowered.choice_steps:
            return op.x, float(lowered.choice_steps[number])
    return None
