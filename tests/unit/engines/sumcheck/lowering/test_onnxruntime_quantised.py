"""Files of onnxruntime's own quantiser, in both of its formats, are proven with their own integers."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.support.lowering_runs import prove_in_both_suites, supported
from tests.support.onnx_builders import canonical, largest_gap, model, node, operators, weights
from tests.support.sumcheck_models import scales_for
from verifai.engines.sumcheck.circuit.program import Visibility
from verifai.engines.sumcheck.interpreter.run import run
from verifai.engines.sumcheck.lowering.lower import lower
from verifai.engines.sumcheck.lowering.mismatches import count_mismatches
from verifai.engines.sumcheck.lowering.operators import operator_support
from verifai.engines.sumcheck.quantise.scales import QuantiserOptions
from verifai.engines.sumcheck.tensors import circuit_inputs
from verifai.errors import UnsupportedModel
from verifai.onnx_graph.canonicalise import canonicalise
from verifai.onnx_graph.reference import Reference

RNG = np.random.default_rng(0)


def w(*shape: int) -> np.ndarray:
    return (RNG.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)


def network() -> onnx.ModelProto:
    shapes = {
        "c1": (4, 1, 3, 3),
        "b1": (4,),
        "c2": (4, 4, 3, 3),
        "b2": (4,),
        "g": (10, 64),
        "gb": (10,),
        "m": (10, 5),
        "mb": (5,),
    }
    arrays = {name: w(*shape) for name, shape in shapes.items()}
    n = helper.make_node
    nodes = [
        n("Conv", ["x", "c1", "b1"], ["a"], pads=[1] * 4), n("Relu", ["a"], ["r"]),
        n("MaxPool", ["r"], ["p"], kernel_shape=[2, 2], strides=[2, 2]), n("Conv", ["p", "c2", "b2"], ["q"], pads=[1] * 4),
        n("Add", ["q", "p"], ["s"]), n("Relu", ["s"], ["t"]), n("AveragePool", ["t"], ["v"], kernel_shape=[1, 1]),
        n("Flatten", ["v"], ["f"]), n("Gemm", ["f", "g", "gb"], ["h"], transB=1), n("Sigmoid", ["h"], ["i"]),
        n("MatMul", ["i", "m"], ["j"]), n("Add", ["j", "mb"], ["y"]),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 5])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def rows(count: int) -> list[dict[str, Any]]:
    return [{"x": np.clip(RNG.standard_normal((1, 1, 8, 8)), -2, 2).astype(np.float32)} for _ in range(count)]


def quantised(folder: Path, form: str, per_channel: bool, kind: str) -> onnx.ModelProto:
    quantization = pytest.importorskip("onnxruntime.quantization", reason="this build of onnxruntime has no quantiser")

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            self._left: Iterator[dict[str, Any]] = iter(rows(20))

        def get_next(self) -> dict[str, Any] | None:
            return next(self._left, None)

    onnx.save(network(), folder / "m.onnx")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantization.quantize_static(
            str(folder / "m.onnx"), str(folder / "q.onnx"), Reader(), quant_format=quantization.QuantFormat[form],
            per_channel=per_channel, activation_type=quantization.QuantType[kind], weight_type=quantization.QuantType.QInt8,
        )  # fmt: skip
    return onnx.load(folder / "q.onnx")


@pytest.mark.parametrize("form", ["QDQ", "QOperator"])
@pytest.mark.parametrize(("per_channel", "kind"), [(False, "QUInt8"), (True, "QInt8")])
def test_static_quantisation(form: str, per_channel: bool, kind: str, tmp_path: Path) -> None:
    source = quantised(tmp_path, form, per_channel, kind)
    domains = {item.domain for item in source.graph.node}
    assert ("com.microsoft" in domains) == (form == "QOperator")
    net = canonicalise(source.SerializeToString(), where="m").model
    assert supported(net)
    feeds = rows(12)
    options = QuantiserOptions(input_margin=0.0)
    public = {t.name: Visibility.PUBLIC for t in (*net.inputs, *net.outputs)}
    made = lower(net, scales_for(net, feeds, options), tensors=public, split=True)
    tensor = made.circuit.tensors[made.circuit.outputs[0].tensor]
    step, far = float(Fraction(*tensor.scale)), 0
    for feed in feeds:
        found = run(made.circuit, made.weights, circuit_inputs(made.circuit, ["x"], feed)).outputs()[0].reshape(1, 5) * step
        far += int((np.abs(found - Reference(net).run(feed)["y"]) > 1.01 * step).sum())
    assert far == 0
    if not per_channel:
        prove_in_both_suites(net, feeds[:1], options)


@pytest.mark.parametrize("op_type", ["AveragePool", "GlobalAveragePool"])
@pytest.mark.parametrize("kind", [np.uint8, np.int8])
def test_means_of_stored_integers_round_half_to_even(op_type: str, kind: type) -> None:
    """With a scale of a power of two onnxruntime's floats are exact, so every tie is a tie there too."""
    settings = {"kernel_shape": [2, 2], "strides": [2, 2]} if op_type == "AveragePool" else {}
    given = {"s": np.float32(1 / 16), "z": np.array(131 if kind is np.uint8 else 3, kind)}
    nodes = [
        node("QuantizeLinear", ["x", *given], ["q"]), node("DequantizeLinear", ["q", *given], ["r"]),
        node(op_type, ["r"], ["m"], **settings), node("QuantizeLinear", ["m", *given], ["n"], name="again"),
        node("DequantizeLinear", ["n", *given], ["y"], name="real"),
    ]  # fmt: skip
    net = canonicalise(model(nodes, given, inputs={"x": (1, 8, 2, 2)}).SerializeToString(), where="m").model
    feeds = [{"x": np.random.default_rng(seed).integers(-60, 60, (1, 8, 2, 2)).astype(np.float32) / 16} for seed in range(20)]
    options = QuantiserOptions(input_margin=0.0)
    public = {t.name: Visibility.PUBLIC for t in (*net.inputs, *net.outputs)}
    made = lower(net, scales_for(net, feeds, options), tensors=public)
    found = count_mismatches(net, made, feeds)
    assert found.cells >= 160 and found.different == 0
    prove_in_both_suites(net, feeds[:1], options)


def test_dynamic_quantisation_without_its_factor_is_refused_with_the_way_that_works() -> None:
    """The stored integers themselves as a result; what quantize_dynamic writes is proven (``test_rewrites.py``)."""
    nodes = [
        node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        node("MatMulInteger", ["q", "w", "z"], ["i"]),
        node("Cast", ["i"], to=TensorProto.FLOAT),
    ]
    source = canonical(model(nodes, {"w": np.ones((4, 3), np.int8)}, inputs={"x": (2, 4)})).model
    found = [entry for entry in operator_support(source) if not entry.supported]
    assert found and all("quantize_static" in entry.suggestion for entry in found)


def vendor(
    op_type: str, *inputs: str, shape: tuple[int, ...] = (2, 4), arrays: Any = None, **attributes: Any
) -> onnx.ModelProto:
    made = node(op_type, ["x", *inputs], domain="com.microsoft", **attributes)
    return model([made], arrays or {}, inputs={"x": shape}, domains={"com.microsoft": 1})


FUSED = {
    "Gelu": vendor("Gelu"),
    "FastGelu": vendor("FastGelu", "b", arrays={"b": weights(4)}),
    "QuickGelu": vendor("QuickGelu", alpha=1.5),
    "BiasGelu": vendor("BiasGelu", "b", arrays={"b": weights(4)}),
    "FusedConv": vendor(
        "FusedConv", "w", "b", shape=(1, 2, 4, 4), arrays={"w": weights(3, 2, 3, 3), "b": weights(3)}, activation="Relu"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FUSED)
def test_fused_activations(name: str) -> None:
    found = canonical(FUSED[name])
    assert name not in operators(found)
    assert largest_gap(FUSED[name], found) < 1e-3  # onnxruntime computes FastGelu by a formula of its own
    assert all(item.domain == "" for item in found.model.proto.graph.node)


REFUSED = {
    "another operator": vendor("Attention", "w", arrays={"w": weights(4, 12)}),
    "too few operands": vendor("QLinearAdd", "s", arrays={"s": np.float32(1)}),
    "another activation": vendor(
        "FusedConv", "w", shape=(1, 2, 4, 4), arrays={"w": weights(3, 2, 3, 3)}, activation="HardSwish"
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_plain_form_is_refused_by_name(name: str) -> None:
    with pytest.raises(UnsupportedModel) as caught:
        canonical(REFUSED[name])
    assert caught.value.code in ("model-unknown-domain", "model-unknown-operator", "model-malformed")
    assert "the_" in caught.value.where
