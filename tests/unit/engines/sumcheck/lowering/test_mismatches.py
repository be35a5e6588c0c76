"""Models that onnxruntime quantised keep their integers: scales, zero points, ranges; differing cells are counted."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.support.sumcheck_models import samples, small_cnn
from verifai.engines.interface import CompileRequest
from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.program import Visibility
from verifai.engines.sumcheck.lowering.lower import Lowered, lower
from verifai.engines.sumcheck.lowering.mismatches import Mismatches, count_mismatches
from verifai.engines.sumcheck.lowering.operators import operator_support
from verifai.engines.sumcheck.lowering.quantised import stored_scale
from verifai.errors import UnsupportedModel
from verifai.onnx_graph.canonicalise import canonicalise
from verifai.onnx_graph.model import OnnxModel


def public(net: OnnxModel) -> dict[str, Visibility]:
    return {tensor.name: Visibility.PUBLIC for tensor in (*net.inputs, *net.outputs)}


def imported(net: OnnxModel) -> Lowered:
    return lower(net, {}, tensors=public(net), split=True)


def quantised(folder: Path, per_channel: bool, signed: bool) -> OnnxModel:
    """The small network as onnxruntime's static quantisation writes it."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    net = small_cnn()

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.feeds: Iterator[Any] = iter(samples(net, 16))

        def get_next(self) -> Any:
            return next(self.feeds, None)

    source, target = folder / "float.onnx", folder / "quantised.onnx"
    source.write_bytes(net.data)
    logging.disable(logging.WARNING)
    try:
        quantize_static(
            str(source),
            str(target),
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=per_channel,
            activation_type=QuantType.QInt8 if signed else QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
    finally:
        logging.disable(logging.NOTSET)
    return canonicalise(target.read_bytes(), where="quantised").model


@pytest.mark.parametrize(("per_channel", "signed"), [(True, False), (False, False), (True, True)])
def test_a_qdq_network_meets_nearly_all_of_its_integers(per_channel: bool, signed: bool, tmp_path: Path) -> None:
    net = quantised(tmp_path, per_channel, signed)
    made = imported(net)
    assert {type(op) for op in made.circuit.ops} <= {
        ops.Conv, ops.MatMul, ops.Requant, ops.WindowMax, ops.LinearCombination, ops.Lookup,
    }  # fmt: skip
    found = count_mismatches(net, made, samples(net, 30, seed=9))
    assert found.cells > 10_000 and found.largest <= 1
    # Ties alone: a grid 32 times coarser gives about 50 in 10 000 here.
    assert found.different <= found.cells // 2000
    assert str(found.different) in found.sentence()


def test_inputs_and_outputs_keep_scale_zero_point_and_range(tmp_path: Path) -> None:
    net = quantised(tmp_path, True, False)
    circuit = imported(net).circuit
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in net.proto.graph.initializer}
    for side, node in ((circuit.inputs, net.proto.graph.node), (circuit.outputs, reversed(net.proto.graph.node))):
        tensor = circuit.tensors[side[0].tensor]
        chosen = next(n for n in node if n.op_type in ("QuantizeLinear", "DequantizeLinear") and n.input[0] not in constants)
        scale, zero_point = float(constants[chosen.input[1]]), int(constants[chosen.input[2]])
        assert tensor.scale[0] / tensor.scale[1] == scale and tensor.zero_point == zero_point
        assert (tensor.low, tensor.high) == (-zero_point, 255 - zero_point)


def test_a_float_model_has_nothing_to_compare() -> None:
    net = small_cnn()
    from tests.support.sumcheck_models import lowered

    assert count_mismatches(net, lowered(net, samples(net)), samples(net, 1)) == Mismatches(0, 0, 0)


def test_a_stored_scale_is_exact() -> None:
    for scale in (1e-3, 0.1, 7.0, 2.0**-20):
        exact = float(np.float32(scale))
        assert float(stored_scale(exact, 3, 0, 255).step) == exact
    assert (stored_scale(0.5, 3, 0, 255).low, stored_scale(0.5, 3, 0, 255).high) == (-3, 252)


def pair(second_scale: float, second_zero: int) -> OnnxModel:
    """x → QuantizeLinear → MaxPool → DequantizeLinear, whose parameters may differ."""
    constants = {
        "s": np.float32(0.01),
        "z": np.uint8(7),
        "s2": np.float32(second_scale),
        "z2": np.uint8(second_zero),
    }
    graph = helper.make_graph(
        [
            helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
            helper.make_node("MaxPool", ["q"], ["p"], kernel_shape=[2]),
            helper.make_node("DequantizeLinear", ["p", "s2", "z2"], ["y"]),
        ],
        "pair",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, 3])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return canonicalise(bytes(onnx.ModelProto.SerializeToString(model)), where="pair").model


def test_reading_under_another_scale_or_zero_point_is_refused() -> None:
    assert ops.WindowMax in {type(op) for op in imported(pair(0.01, 7)).circuit.ops}
    for scale, zero_point in ((0.02, 7), (0.01, 8)):
        with pytest.raises(UnsupportedModel) as refused:
            imported(pair(scale, zero_point))
        assert "another scale" in refused.value.message and "DequantizeLinear" in refused.value.where


def test_every_node_of_an_imported_network_is_supported_and_it_proves(tmp_path: Path) -> None:
    from tests.unit.engines.sumcheck.test_engine import ENGINE, compiled, spec_of

    net = quantised(tmp_path, True, False)
    assert [entry for entry in ENGINE.operator_support(net) if not entry.supported] == []
    build, payload = tmp_path / "build", tmp_path / "payload"
    build.mkdir()
    payload.mkdir()
    block = compiled(net, spec_of(net), build)
    proof = block.prove()
    assert ENGINE.verify(block.request(payload, proof.files)).statement == proof.statement
    (image, _) = proof.statement.tensors
    assert image.quantised == ENGINE.quantise(image, block.feeds[0]["x"])
    again = ENGINE.compile(
        CompileRequest(net, block.spec, {"x": np.stack([f["x"] for f in block.feeds])}, build, build, block.section)
    )
    assert again.section == block.section


def dense(transposed: bool) -> OnnxModel:
    """A dense layer between QuantizeLinear and DequantizeLinear, its stored weights transposed by Gemm or as they are."""
    random = np.random.default_rng(1)
    stored = random.integers(-100, 100, (3, 4)).astype(np.int8)
    constants = {
        "w": stored if transposed else np.ascontiguousarray(stored.T), "s": np.float32(0.02), "z": np.int8(3),
        "t": np.float32(0.01), "n": np.int8(0), "u": np.float32(0.1),
    }  # fmt: skip
    graph = helper.make_graph(
        [
            helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
            helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"]),
            helper.make_node("DequantizeLinear", ["w", "t", "n"], ["wd"]),
            helper.make_node("Gemm", ["xd", "wd"], ["f"], transB=int(transposed)),
            helper.make_node("QuantizeLinear", ["f", "u", "z"], ["fq"]),
            helper.make_node("DequantizeLinear", ["fq", "u", "z"], ["y"]),
        ],
        "dense",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return canonicalise(bytes(onnx.ModelProto.SerializeToString(model)), where="dense").model


def test_stored_weights_that_are_transposed_stay_weights() -> None:
    """Our own rewriting of Gemm puts a Transpose behind DequantizeLinear."""
    as_is, transposed = dense(False), dense(True)
    assert "Transpose" in {node.op_type for node in transposed.proto.graph.node}
    assert all(entry.supported for entry in operator_support(transposed))
    feeds = samples(transposed, 20)
    found = [count_mismatches(net, imported(net), feeds) for net in (as_is, transposed)]
    assert found[0].different == found[1].different <= 1
    assert [type(op) for op in imported(transposed).circuit.ops] == [type(op) for op in imported(as_is).circuit.ops]
