"""Functions and normalisations on finer grids: nothing is cut off, nor rounded more coarsely than the grids say."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from tests.support.lowering_runs import SUITES, n, net
from tests.support.sumcheck_models import Array
from verifai.domain.statement import WeightVisibility
from verifai.engines.sumcheck.building import build_circuit
from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.codec import circuit_digest, encode
from verifai.engines.sumcheck.circuit.program import Visibility
from verifai.engines.sumcheck.interpreter.run import run
from verifai.engines.sumcheck.lowering.lower import Lowered
from verifai.engines.sumcheck.prover.prove import prepare, prove
from verifai.engines.sumcheck.quantise.scales import QuantiserOptions, Range, Scale, choose_scale
from verifai.engines.sumcheck.sensitivity import finer_results
from verifai.engines.sumcheck.tensors import circuit_inputs, real_outputs
from verifai.engines.sumcheck.verifier.verify import trust_circuit, trust_weights, verify
from verifai.onnx_graph.model import OnnxModel
from verifai.onnx_graph.reference import Reference

F = np.float32
PUBLIC = dict.fromkeys(("x", "y"), Visibility.PUBLIC)
WIDE = 22
"""Bits of a value on a wide grid, beside its sign."""


def grid(largest: float) -> Scale:
    """A wide grid that reaches this far, in steps of a power of two."""
    return Scale(1 << 15, int(np.ceil(np.log2(largest))) - WIDE - 15, -(1 << WIDE), (1 << WIDE) - 1)


def built(model: OnnxModel, scales: dict[str, Scale], suite: str = "integrity") -> Lowered:
    return build_circuit(model, PUBLIC, WeightVisibility.PUBLIC, scales, QuantiserOptions(fine=True), SUITES[suite])


def errors(model: OnnxModel, made: Lowered, x: Array) -> Array:
    trace = run(made.circuit, made.weights, circuit_inputs(made.circuit, ["x"], {"x": x}))
    found = real_outputs(made.circuit, model.outputs, trace.outputs(), made.scales)["y"]
    return np.asarray(np.abs(found - Reference(model).run({"x": x})["y"]).reshape(-1))


def swish(low: float, high: float) -> tuple[OnnxModel, dict[str, Scale]]:
    """x·sigmoid(x) of a layer whose values lie between ``low`` and ``high``."""
    nodes = [n("MatMul", "x", "w", out="h"), n("Sigmoid", "h", out="g"), n("Mul", "h", "g", out="s"), n("MatMul", "s", "w")]
    source = net((1, 8), (1, 8), *nodes, w=np.eye(8, dtype=F))
    results = choose_scale(Range(min(low, 0.0), high), 15)
    fine = finer_results(results, 5)
    assert fine is not None
    reach = max(-low, high)
    scales = {"x": grid(reach), "h": choose_scale(Range(low, high), 15), "g": choose_scale(Range(0, 1), 15)}
    return source, {**scales, "s": fine, "y": grid(reach)}


@pytest.mark.parametrize(("low", "high"), [(-1.0, 12.0), (-12.0, 1.0)])
def test_a_range_that_leans_to_one_side_is_not_cut_off(low: float, high: float) -> None:
    """A table reaches as far below 0 as above: with all its bits between −1 and 12, it would end at 8."""
    model, scales = swish(low, high)
    made = built(model, scales)
    x = np.linspace(low, high, 8, dtype=F)[None]
    assert errors(model, made, x).max() < max(-low, high) / 2**14


@pytest.mark.parametrize("low", [-80.0])
def test_a_side_on_which_a_function_is_flat_takes_no_steps(low: float) -> None:
    model, scales = swish(low, 31.0)
    made = built(model, {**scales, "s": finer_results(choose_scale(Range(-0.3, 31.0), 15), 5) or scales["s"]})
    x = np.array([[low, low / 2, -14, -5, -0.5, 3, 17, 30.9]], F)
    assert errors(model, made, x).max() < 31 / 2**15


def test_results_of_a_function_are_as_fine_as_their_grid_and_cost_no_cells() -> None:
    model, scales = swish(-12.0, 12.0)
    coarse = built(model, {**scales, "s": choose_scale(Range(-12.0, 12.0), 9)})
    made = built(model, scales)
    assert made.functions >= {"s"} and "s" not in made.sums
    held = [len([op for op in one.circuit.ops if ops.holds_results(op)]) for one in (coarse, made)]
    assert held[0] == held[1]
    x = np.linspace(-12, 12, 8, dtype=F)[None]
    assert errors(model, made, x).max() < errors(model, coarse, x).max() / 16


def normalised(largest: float, gain: Array | None = None) -> tuple[OnnxModel, dict[str, Scale], Array]:
    """Rows of ordinary cells with one that is much larger, as residual streams have it."""
    size = 32
    random = np.random.default_rng(5)
    nodes = [
        n("MatMul", "x", "w", out="h"),
        n("LayerNormalization", "h", "gain", "bias", out="l", axis=-1),
        n("MatMul", "l", "w"),
    ]
    source = net(
        (4, size), (4, size), *nodes, w=np.eye(size, dtype=F),
        gain=random.uniform(0.5, 1.5, size).astype(F), bias=random.normal(0, 0.1, size).astype(F),
    )  # fmt: skip
    x = random.normal(0, 1, (4, size)).astype(F)
    x[:, 3] = largest
    result = float(np.sqrt(size)) * 2
    return source, {"x": grid(2 * largest), "h": grid(2 * largest), "l": grid(result), "y": grid(result)}, x


@pytest.mark.parametrize("largest", [4.0, 1000.0])
def test_rows_on_a_wide_grid_are_normalised_as_they_are(largest: float) -> None:
    model, scales, x = normalised(largest)
    made = built(model, scales)
    found = errors(model, made, x)
    assert found.max() < 5e-4 * max(1.0, largest / 100)


def test_a_normalisation_with_a_coarse_result_takes_a_wide_row_too() -> None:
    model, scales, x = normalised(75.0)
    narrow = choose_scale(Range(-12.0, 12.0), 15)
    assert errors(model, built(model, {**scales, "l": narrow}), x).max() < 12 / 2**13


def test_a_wide_row_beyond_what_calibration_saw_is_normalised_or_refused() -> None:
    """No cell of the result is cut off: its row is no longer than √n."""
    model, scales, x = normalised(75.0)
    made = built(model, scales)
    spike = np.zeros_like(x)
    spike[:, 7] = 70.0
    assert errors(model, made, spike).max() < 1e-3


@pytest.mark.parametrize("suite", SUITES)
def test_they_are_proven_in_both_suites(suite: str) -> None:
    for model, scales, x in (normalised(75.0), (*swish(-1.0, 12.0), np.linspace(-1, 12, 8, dtype=F)[None])):
        made = built(model, scales, suite)
        key = prepare(made.circuit, made.weights)
        proven = prove(key, run(made.circuit, made.weights, circuit_inputs(made.circuit, ["x"], {"x": x})))
        data = encode(made.circuit)
        trusted = trust_circuit(data, circuit_digest(data))
        verify(trusted, trust_weights(trusted, key.identity, made.blob), proven.statement, proven.proof)


def test_a_wide_grid_has_a_step_of_a_power_of_two() -> None:
    assert grid(12.0).step == Fraction(16, 1 << WIDE)
