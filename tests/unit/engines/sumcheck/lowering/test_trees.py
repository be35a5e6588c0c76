"""Trees in a circuit: on every row that the input's grid holds, the leaves that are reached are the float model's."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from tests.support.lowering_runs import prove_in_both_suites, supported
from tests.unit.onnx_graph.test_trees import FEATURES, classifier, regressor
from verifai.engines.sumcheck.circuit.program import Visibility, WeightVisibility
from verifai.engines.sumcheck.interpreter.run import run
from verifai.engines.sumcheck.lowering.lower import Lowered, lower
from verifai.engines.sumcheck.protocol.suite import ZERO_KNOWLEDGE
from verifai.engines.sumcheck.quantise.ranges import calibrate, column_ranges, compared_inputs
from verifai.engines.sumcheck.quantise.scales import QuantiserOptions, choose_scales
from verifai.engines.sumcheck.tensors import circuit_inputs
from verifai.onnx_graph.canonicalise import canonicalise
from verifai.onnx_graph.model import OnnxModel
from verifai.onnx_graph.reference import Reference

OPTIONS = QuantiserOptions(activation_bits=8, output_bits=14)


def drawn(seed: int, count: int) -> np.ndarray:
    """Rows around the thresholds, of columns of very different sizes: multiples of 1/8, many of them a threshold itself."""
    random = np.random.default_rng(seed)
    return (random.integers(-12, 12, (count, FEATURES)) / 8).astype(np.float32)


def made(net: OnnxModel, rows: np.ndarray, *, hidden: bool = False) -> Lowered:
    feeds = [{"x": row[None]} for row in rows]
    compared = compared_inputs(net)
    assert compared == {"x"}
    scales = choose_scales(calibrate(net, feeds), {"x"}, {"y"}, OPTIONS, (), column_ranges(net, feeds), {}, compared=compared)
    tensors = {"x": Visibility.PRIVATE if hidden else Visibility.PUBLIC, "y": Visibility.PUBLIC}
    weights = WeightVisibility.COMMITTED if hidden else WeightVisibility.PUBLIC
    more = {"suite": ZERO_KNOWLEDGE, "opening_budget": 16} if hidden else {}
    return lower(net, scales, tensors=tensors, weights=weights, split=True, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("sizes", [{"trees": 3, "leaves": 9}, {"trees": 30, "leaves": 5}, {"trees": 1, "leaves": 120}])
@pytest.mark.parametrize("hidden", [False, True])
def test_leaves_are_reached_as_in_the_float_model(sizes: dict[str, int], hidden: bool) -> None:
    """Few rows calibrate, so that most leaves of the others were never reached before: no count of a path may be clamped."""
    net = canonicalise(regressor(3, targets=1, **sizes).SerializeToString(), where="m").model
    lowered = made(net, drawn(1, 4), hidden=hidden)
    tensor = lowered.circuit.tensors[lowered.circuit.outputs[0].tensor]
    reference, step, seen = Reference(net), float(Fraction(*tensor.scale)), set()
    for row in drawn(2, 150):
        feed = {"x": row[None]}
        expected = float(reference.run(feed)["y"].item())
        trace = run(lowered.circuit, lowered.weights, circuit_inputs(lowered.circuit, ["x"], feed, lowered.scales))
        inside = np.clip(expected, tensor.low * step, tensor.high * step)
        assert abs(float(trace.outputs()[0].item()) * step - inside) <= 1.5 * step
        seen.add(round(expected, 5))
    assert len(seen) > 4


def test_a_forest_is_proven_in_both_suites() -> None:
    net = canonicalise(classifier(4, labels=3, ids=[0, 1, 2]).SerializeToString(), where="m").model
    assert supported(net)
    prove_in_both_suites(net, [{"x": row[None]} for row in drawn(3, 12)])


def test_only_inputs_of_which_nothing_but_comparisons_is_read_are_compared_ones() -> None:
    net = canonicalise(regressor(5, batch=3).SerializeToString(), where="m").model
    assert compared_inputs(net) == {"x"}
    proto = net.proto
    proto.graph.node.add(op_type="Relu", input=["x"], output=["z"])
    proto.graph.output.add(name="z")
    assert compared_inputs(OnnxModel(proto.SerializeToString(), net.sha256, net.inputs, net.outputs)) == set()
