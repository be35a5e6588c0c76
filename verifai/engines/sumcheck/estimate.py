"""What a sumcheck circuit will cost, before any cost: by lowering the graph with unit scales and planning the proof."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifai.domain.circuit_spec import CircuitSpec
from verifai.domain.fidelity import Task
from verifai.domain.statement import WeightVisibility
from verifai.engines.interface import CostEstimate
from verifai.engines.sumcheck.building import bindings, lower_hidden, options_of, suite_of
from verifai.engines.sumcheck.circuit import program as ir
from verifai.engines.sumcheck.lowering.batched import batched
from verifai.engines.sumcheck.lowering.lower import Lowered, lower
from verifai.engines.sumcheck.lowering.operators import UnitScales
from verifai.engines.sumcheck.lowering.select import INTEGERS
from verifai.engines.sumcheck.payload.bindings import weight_binding
from verifai.engines.sumcheck.planning.memory import peak_memory_bytes, registration_memory_bytes
from verifai.engines.sumcheck.planning.plan import DEFAULT_BUDGET, plan, require_verifiable
from verifai.engines.sumcheck.planning.price import price_of
from verifai.engines.sumcheck.planning.size import proof_bytes
from verifai.engines.sumcheck.quantise.ranges import calibrate
from verifai.engines.sumcheck.quantise.scales import Quantisation, QuantiserOptions, Scale, choose_scales
from verifai.errors import EvidenceRejected, UnsupportedModel, VerifaiError
from verifai.onnx_graph.model import OnnxModel

LEAF_SECONDS = 120e-9
CELL_SECONDS = 120e-9
WEIGHT_SECONDS = 60e-9
FIXED_SECONDS = 0.05
_DRAWN = 4


def estimate(model: OnnxModel, spec: CircuitSpec) -> CostEstimate:
    """Predict costs. Raises UnsupportedModel, UsageError (``privacy-unsupported``)."""
    lowered = batched(_lowered(model, spec, weight_binding(spec.weights)), spec.batch or 0)
    require_verifiable(price_of(lowered.circuit))
    layout = plan(lowered.circuit)
    cells = layout.witness.stored_cells
    if layout.weights is not None:
        cells += layout.weights.stored_cells
    weights = sum(weight.size for weight in lowered.circuit.weights)
    leaves = layout.bus.leaves
    return CostEstimate(
        rows=cells,
        size_log2=layout.witness.log_cells,
        memory_bytes=max(peak_memory_bytes(lowered.circuit, layout), _registration_bytes(lowered.circuit)),
        key_bytes=len(lowered.blob),
        proof_bytes=proof_bytes(lowered.circuit, layout),
        setup_seconds=0.5,
        prove_seconds=FIXED_SECONDS + LEAF_SECONDS * leaves + CELL_SECONDS * cells + WEIGHT_SECONDS * weights,
        basis="committed cells and lookups of the circuit with unit scales, times costs measured warm on two cores",
    )


def _registration_bytes(circuit: ir.Circuit) -> int:
    """Of hidden weights: compile shows once that they keep their bounds, which may take more than any proof.

    Raises:
        UnsupportedModel: as :func:`.planning.memory.registration_memory_bytes`.
    """
    if not circuit.opening_budget or not circuit.weights:
        return 0
    try:
        return registration_memory_bytes(circuit)
    except EvidenceRejected:  # unit scales gave a weight bounds that real ones do not: nothing is known of it
        return 0


def _lowered(model: OnnxModel, spec: CircuitSpec, kind: ir.WeightVisibility) -> Lowered:
    """With unit scales of 8 bits, or the next finer ones that keep every bound, or drawn ones. Raises UnsupportedModel."""
    hidden = spec.weights is WeightVisibility.PRIVATE
    budget = (options_of(spec).opening_budget or DEFAULT_BUDGET) if hidden else 0
    tensors, suite = bindings(spec), suite_of(spec)

    def lowered(scales: Quantisation) -> Lowered:
        lowering = partial(
            lower,
            model,
            scales,
            tensors=tensors,
            weights=kind,
            split=True,
            suite=suite,
            opening_budget=budget,
            coarse=True,
            unclamped=spec.task is Task.GENERATION,
            sparing=spec.task is Task.GENERATION,
        )
        return lower_hidden(lowering, model) if budget else lowering()

    refused: UnsupportedModel | None = None
    for bits in (8, 10, 12):
        try:
            return lowered(UnitScales(model, bits))
        except UnsupportedModel as problem:
            # Layers of one scale share tables here, which real scales do not: wide tables meet large shifts.
            if problem.code not in ("circuit-bound", "constant-value"):
                raise
            refused = problem
    assert refused is not None
    scales = _drawn_scales(model)
    if scales is None:
        raise refused
    return lowered(scales)


def _drawn_scales(model: OnnxModel) -> dict[str, Scale] | None:
    """From ranges that go with each other, those of values at random inputs: a weight of a million makes a result of a million.

    ``None`` where the model does not run on such inputs.
    """
    random = np.random.default_rng(0)
    samples: list[dict[str, NDArray[Any]]] = []
    for _ in range(_DRAWN):
        # Whole numbers are 0 or 1, rows of most tables; tokens that are all padding would leave nothing to weigh.
        samples.append(
            {
                spec.name: random.uniform(-1, 1, spec.shape).astype(spec.dtype)
                if spec.dtype.startswith("float")
                else random.integers(0, 2, spec.shape).astype(spec.dtype)
                for spec in model.inputs
            }
        )
    try:
        ranges = calibrate(model, samples)
    except VerifaiError:
        return None
    names = [{spec.name for spec in side} for side in (model.inputs, model.outputs)]
    integers = {spec.name for spec in model.inputs if spec.dtype in INTEGERS}
    return choose_scales(ranges, names[0], names[1], QuantiserOptions(activation_bits=12, output_bits=12), integers)
