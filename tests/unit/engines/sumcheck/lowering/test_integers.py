"""Integers are computed with exactly; what could wrap around or outgrow a table is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from verifai.engines.sumcheck.circuit.codec import circuit_digest, encode
from verifai.engines.sumcheck.circuit.program import Visibility
from verifai.engines.sumcheck.interpreter.run import run
from verifai.engines.sumcheck.lowering.lower import Lowered, lower
from verifai.engines.sumcheck.lowering.operators import operator_support
from verifai.engines.sumcheck.planning.plan import planned
from verifai.engines.sumcheck.prover.prove import prepare, prove
from verifai.engines.sumcheck.quantise.ranges import calibrate
from verifai.engines.sumcheck.quantise.scales import QuantiserOptions, choose_scales
from verifai.engines.sumcheck.tensors import circuit_inputs
from verifai.engines.sumcheck.verifier.verify import trust_circuit, trust_weights, verify
from verifai.errors import UnsupportedModel
from verifai.onnx_graph.canonicalise import canonicalise
from verifai.onnx_graph.model import OnnxModel
from verifai.onnx_graph.reference import Reference

RNG = np.random.default_rng(5)
SHAPE = (3, 4)
I64, F32 = TensorProto.INT64, TensorProto.FLOAT


def n(kind: str, *inputs: str, out: str = "y", **attributes: Any) -> Any:
    return helper.make_node(kind, list(inputs), [out], name=out, **attributes)


def net(*nodes: Any, result: int = I64, given: int = I64, **constants: Any) -> OnnxModel:
    graph = helper.make_graph(
        list(nodes), "g", [helper.make_tensor_value_info("x", given, SHAPE)],
        [helper.make_tensor_value_info("y", result, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )  # fmt: skip
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return canonicalise(proto.SerializeToString(), where="m").model


def feeds(source: OnnxModel, count: int = 6) -> list[dict[str, Any]]:
    dtype = source.inputs[0].dtype
    if dtype == "float32":
        return [{"x": RNG.uniform(-9, 9, SHAPE).astype(np.float32)} for _ in range(count)]
    return [{"x": RNG.integers(-20, 21, SHAPE).astype(dtype)} for _ in range(count)]


def made(source: OnnxModel, data: list[dict[str, Any]]) -> Lowered:
    whole = {"x"} if source.inputs[0].dtype != "float32" else set()
    options = QuantiserOptions(input_bits=12, activation_bits=12, output_bits=14, input_margin=0.0)
    scales = choose_scales(calibrate(source, data), {"x"}, {"y"}, options, whole)
    return lower(source, scales, tensors={"x": Visibility.PUBLIC, "y": Visibility.PUBLIC}, split=True)


EXACT: dict[str, OnnxModel] = {
    "times, plus, remainder": net(
        n("Mul", "x", "k", out="a"), n("Add", "a", "m", out="b"), n("Mod", "b", "d"),
        k=np.array(-3), m=np.arange(4), d=np.array(5),
    ),
    "a remainder with the dividend's sign": net(n("Mod", "x", "d", fmod=1), d=np.array(7)),
    "a quotient, cut off": net(n("Div", "x", "d"), d=np.array(-4)),
    "of each other": net(n("Sub", "x", "t", out="a"), n("Mul", "a", "x", out="b"), n("Abs", "b"), t=np.array([[1], [2], [3]])),
    "negative": net(n("Neg", "x")),
    "the larger": net(n("Max", "x", "k"), k=np.array(3)),
    "the smaller of each": net(n("Neg", "x", out="a"), n("Min", "x", "a")),
    "within bounds": net(n("Clip", "x", "k", "m"), k=np.array(-5), m=np.array(6)),
    "chosen": net(n("Greater", "x", "k", out="c"), n("Where", "c", "x", "m"), k=np.array(1), m=np.array(-7)),
    "summed": net(n("ReduceSum", "x", "axes", keepdims=0), axes=np.array([1])),
    "signs": net(n("Sign", "x")),
    "compared with each other": net(
        n("Neg", "x", out="a"), n("Less", "x", "a", out="c"), n("Cast", "c", to=I64)
    ),
    "in two bytes": net(
        n("Cast", "x", out="b", to=TensorProto.INT16), n("Add", "b", "k", out="c"), n("Cast", "c", to=I64), k=np.int16(40)
    ),
    "rows by computed numbers": net(
        n("Abs", "x", out="a"), n("Mod", "a", "d", out="i"), n("Gather", "t", "i"), d=np.array(5), t=np.array([4, 9, -1, 0, 30])
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", EXACT)
def test_integers_come_out_exactly(name: str) -> None:
    source = EXACT[name]
    assert all(entry.supported for entry in operator_support(source))
    data = feeds(source)
    lowered = made(source, data)
    tensor = lowered.circuit.tensors[lowered.circuit.outputs[0].tensor]
    assert tensor.scale == (1, 1)
    for feed in data:
        trace = run(lowered.circuit, lowered.weights, circuit_inputs(lowered.circuit, ["x"], feed))
        expected = Reference(source).run(feed)["y"]
        assert np.array_equal(trace.outputs()[0].reshape(expected.shape), expected)
    circuit = planned(lowered.circuit)
    key = prepare(circuit, lowered.weights)
    proven = prove(key, run(circuit, lowered.weights, circuit_inputs(circuit, ["x"], data[0])))
    encoded = encode(circuit)
    trusted = trust_circuit(encoded, circuit_digest(encoded))
    verify(trusted, trust_weights(trusted, key.identity, lowered.blob), proven.statement, proven.proof)


def test_a_real_number_is_cut_off_after_its_point() -> None:
    source = net(n("Cast", "x", to=I64), given=F32)
    data = feeds(source)
    lowered = made(source, data)
    for feed in data:
        found = run(lowered.circuit, lowered.weights, circuit_inputs(lowered.circuit, ["x"], feed)).outputs()[0]
        clear = np.abs(feed["x"] - np.rint(feed["x"])) > 0.01
        assert np.array_equal(found.reshape(SHAPE)[clear], np.trunc(feed["x"])[clear])


@pytest.mark.parametrize("kind", ["UINT8", "INT8"])
def test_a_range_that_reaches_a_little_beyond_a_type_wraps_around_as_in_onnxruntime(kind: str) -> None:
    """Ranges end at powers of two: pixels of 0 to 255 have one of up to 511."""
    source = net(n("Cast", "x", to=getattr(TensorProto, kind)), result=getattr(TensorProto, kind), given=F32)
    span = 255 if kind == "UINT8" else 127
    data = [{"x": (RNG.integers(0, span + 1, SHAPE) + 0.5).astype(np.float32)} for _ in range(6)]
    data[0]["x"][0, 0] = span + 1.5  # of such, the circuit knows
    lowered = made(source, data)
    for feed in data:
        found = run(lowered.circuit, lowered.weights, circuit_inputs(lowered.circuit, ["x"], feed)).outputs()[0]
        assert np.array_equal(found.reshape(SHAPE), Reference(source).run(feed)["y"])


BEYOND = {
    "far beyond a type": (net(n("Cast", "x", out="b", to=TensorProto.INT8), n("Cast", "b", to=I64), given=F32), "wrap around"),
    "too large": (net(n("Mul", "x", "x", out="a"), n("Mul", "a", "a")), "at most 15 bits"),
    "wrapped around": (
        net(n("Cast", "x", out="b", to=TensorProto.INT8), n("Mul", "b", "k", out="c"), n("Cast", "c", to=I64), k=np.int8(100)),
        "wrap around",
    ),
}


@pytest.mark.parametrize("name", BEYOND)
def test_what_may_lose_digits_is_refused(name: str) -> None:
    source, reason = BEYOND[name]
    with pytest.raises(UnsupportedModel, match=reason) as caught:
        made(source, [{"x": 80 * feed["x"]} for feed in feeds(source)] if name.startswith("far") else feeds(source))
    assert caught.value.code == "circuit-bound" and "node" in caught.value.where


def test_a_divisor_that_is_computed_is_refused() -> None:
    source = net(n("Mod", "k", "x", fmod=1), k=np.array(7.0, np.float32), given=F32, result=F32)
    assert not all(entry.supported for entry in operator_support(source))
