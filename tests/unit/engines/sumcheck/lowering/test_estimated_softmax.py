"""An estimate lowers with scales that nobody calibrated: a softmax, whose factor is 2^-46, is not refused there."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper

from verifai.engines.sumcheck.circuit.program import Visibility
from verifai.engines.sumcheck.lowering.lower import lower
from verifai.engines.sumcheck.quantise.ranges import calibrate
from verifai.engines.sumcheck.quantise.scales import QuantiserOptions, choose_scales
from verifai.onnx_graph.canonicalise import canonicalise


def test_a_softmax_is_lowered_coarsely_as_well() -> None:
    graph = helper.make_graph(
        [helper.make_node("Softmax", ["x"], ["y"], axis=-1)], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 8])],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    net = canonicalise(model.SerializeToString(), where="m").model
    feeds = [{"x": row[None]} for row in np.random.default_rng(0).normal(0, 3, (6, 8)).astype(np.float32)]
    tensors = {"x": Visibility.PUBLIC, "y": Visibility.PUBLIC}
    for bits in (8, 12, 15):
        options = QuantiserOptions(activation_bits=bits, output_bits=bits)
        scales = choose_scales(calibrate(net, feeds), {"x"}, {"y"}, options)
        assert lower(net, scales, tensors=tensors, coarse=True).circuit.ops
