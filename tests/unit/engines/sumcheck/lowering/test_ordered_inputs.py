"""Inputs that only orderings read are taken as the float32 numbers that they are: every comparison is the float model's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.unit.onnx_graph.test_trees import FEATURES, regressor, rows
from verifai.domain.ordered_floats import LARGEST, real
from verifai.engines.sumcheck.circuit.check import check
from verifai.engines.sumcheck.circuit.program import Port, Visibility
from verifai.engines.sumcheck.interpreter.run import run
from verifai.engines.sumcheck.lowering.lower import Lowered, lower
from verifai.engines.sumcheck.protocol.suite import INTEGRITY, ZERO_KNOWLEDGE
from verifai.engines.sumcheck.quantise.ranges import calibrate, column_ranges, ordered_inputs
from verifai.engines.sumcheck.quantise.scales import ORDERED, QuantiserOptions, choose_scales
from verifai.engines.sumcheck.tensors import circuit_inputs
from verifai.errors import UnsupportedModel, VerifaiError
from verifai.onnx_graph.canonicalise import canonicalise
from verifai.onnx_graph.model import OnnxModel
from verifai.onnx_graph.reference import Reference

OPTIONS = QuantiserOptions(activation_bits=8, output_bits=14)


SEEN = [Visibility.PUBLIC, Visibility.PRIVATE]


def made(net: OnnxModel, data: np.ndarray, seen: Visibility = Visibility.PUBLIC) -> Lowered:
    feeds = [{"x": row[None]} for row in data]
    assert ordered_inputs(net) == {"x"}
    ranges, outputs = calibrate(net, feeds), {spec.name for spec in net.outputs}
    scales = choose_scales(ranges, {"x"}, outputs, OPTIONS, (), column_ranges(net, feeds), {}, ordered={"x"})
    assert scales["x"] == ORDERED
    tensors = {**dict.fromkeys(outputs, Visibility.PUBLIC), "x": seen}
    return lower(net, scales, tensors=tensors, split=True, suite=INTEGRITY if seen is Visibility.PUBLIC else ZERO_KNOWLEDGE)


@pytest.mark.parametrize("seen", SEEN)
@pytest.mark.parametrize("seed", range(3))
def test_rows_at_the_thresholds_reach_the_float_models_leaves(seed: int, seen: Visibility) -> None:
    """Rows equal to thresholds, one float32 beside them, subnormal and huge: of none does calibration know."""
    net = canonicalise(regressor(seed, targets=1).SerializeToString(), where="m").model
    lowered = made(net, rows(seed + 100, 4), seen)
    check(lowered.circuit)
    reference, tensor = Reference(net), lowered.circuit.tensors[lowered.circuit.outputs[0].tensor]
    step = tensor.scale[0] / tensor.scale[1]
    for row in rows(seed, 120):
        feed = {"x": row[None]}
        trace = run(lowered.circuit, lowered.weights, circuit_inputs(lowered.circuit, ["x"], feed, lowered.scales))
        expected = np.clip(float(reference.run(feed)["y"].item()), tensor.low * step, tensor.high * step)
        assert abs(float(trace.outputs()[0].item()) * step - expected) <= 1.5 * step


def compared(op: str, first: bool, uniform: bool, lone: float = 0.1) -> OnnxModel:
    threshold = np.float32(lone) if uniform else np.array([[0.1, -0.0, 1e-45, 3.4028235e38]], np.float32)
    operands = ["x", "c"] if first else ["c", "x"]
    graph = helper.make_graph(
        [helper.make_node(op, operands, ["y"])], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, FEATURES])],
        [helper.make_tensor_value_info("y", TensorProto.BOOL, [1, FEATURES])],
        [numpy_helper.from_array(np.asarray(threshold), "c")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return canonicalise(model.SerializeToString(), where="m").model


@pytest.mark.parametrize("seen", SEEN)
@pytest.mark.parametrize("uniform", [True, False])
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("op", ["Less", "LessOrEqual", "Greater", "GreaterOrEqual"])
def test_every_ordering_is_that_of_float32(op: str, first: bool, uniform: bool, seen: Visibility) -> None:
    net = compared(op, first, uniform)
    lowered, reference = made(net, rows(1, 3), seen), Reference(net)
    for row in rows(2, 60):
        feed = {"x": row[None]}
        trace = run(lowered.circuit, lowered.weights, circuit_inputs(lowered.circuit, ["x"], feed, lowered.scales))
        assert np.array_equal(trace.outputs()[0].reshape(-1) != 0, reference.run(feed)["y"].reshape(-1))


@pytest.mark.parametrize("op, more", [("Equal", ["c"]), ("Relu", []), ("Concat", ["x"]), ("Less", ["x"])])
def test_what_is_read_otherwise_is_no_such_input(op: str, more: list[str]) -> None:
    """A lock that says so all the same is refused when the model is lowered again."""
    net = compared("Less", True, True)
    proto = net.proto
    proto.graph.node.add(op_type=op, input=["x", *more], output=["z"])
    if op == "Concat":
        proto.graph.node[-1].attribute.append(helper.make_attribute("axis", 1))
        proto.graph.node.add(op_type="Less", input=["z", "c"], output=["w"])
    proto.graph.output.add(name=proto.graph.node[-1].output[0])
    odd = OnnxModel(proto.SerializeToString(), net.sha256, net.inputs, net.outputs)
    assert ordered_inputs(odd) == set()
    with pytest.raises(UnsupportedModel):
        lower(odd, {"x": ORDERED}, tensors={"x": Visibility.PUBLIC, "y": Visibility.PUBLIC})


def test_hidden_inputs_have_no_such_range() -> None:
    """Their cells are looked up in a table of their range; public ones are compared with it by the verifier."""
    circuit = made(compared("Less", True, True), rows(1, 3)).circuit
    (port,) = circuit.inputs
    for visibility in (Visibility.HASHED, Visibility.PRIVATE):
        with pytest.raises(VerifaiError):
            check(replace(circuit, inputs=(Port(port.tensor, visibility),)))
    tensors = list(circuit.tensors)
    for low, high in ((-(1 << 31), 5), (0, 1 << 31)):
        tensors[port.tensor] = replace(circuit.tensors[port.tensor], low=low, high=high)
        with pytest.raises(VerifaiError):
            check(replace(circuit, tensors=tuple(tensors)))


@pytest.mark.parametrize("op", ["Less", "LessOrEqual", "Greater", "GreaterOrEqual"])
def test_limbs_of_no_finite_number_decide_as_the_largest_or_the_least(op: str) -> None:
    """Else a proof about a hidden row would say what no row of finite numbers gives."""
    largest = np.float32(real(LARGEST))
    for threshold in (np.float32(0.5), largest, -largest):
        net = compared(op, True, True, float(threshold))
        lowered, reference = made(net, rows(1, 3), Visibility.PRIVATE), Reference(net)
        tensor = lowered.circuit.tensors[lowered.circuit.inputs[0].tensor]
        assert (tensor.shape, tensor.low, tensor.high) == ((1, FEATURES, 2), -(1 << 15), (1 << 15) - 1)
        for limb, finite in ((tensor.high, largest), (tensor.low, -largest)):
            trace = run(lowered.circuit, lowered.weights, [np.full(tensor.shape, limb, np.int64)])
            wanted = reference.run({"x": np.full((1, FEATURES), finite, np.float32)})["y"]
            assert np.array_equal(trace.outputs()[0].reshape(-1) != 0, wanted.reshape(-1)), (threshold, finite)
