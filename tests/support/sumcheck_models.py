"""ONNX models for tests: built, canonicalised, lowered."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from verifai.engines.sumcheck.circuit.program import Visibility
from verifai.engines.sumcheck.lowering.lower import Lowered, lower
from verifai.engines.sumcheck.quantise.ranges import calibrate, wide_sums
from verifai.engines.sumcheck.quantise.scales import QuantiserOptions, Scale, choose_scales
from verifai.onnx_graph.canonicalise import canonicalise
from verifai.onnx_graph.model import OnnxModel

Array = NDArray[Any]


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, tuple[int, ...]],
    outputs: Mapping[str, tuple[int, ...]],
    constants: Mapping[str, Array] | None = None,
    *,
    whole: Collection[str] = (),
) -> OnnxModel:
    """A canonical float32 model; ``whole``: its outputs of type int64."""
    kinds = {name: TensorProto.INT64 if name in whole else TensorProto.FLOAT for name in outputs}
    graph = helper.make_graph(
        list(nodes),
        "test",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, kinds[name], shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return canonicalise(proto.SerializeToString(), where="test").model


def float_constants(rng: np.random.Generator, **shapes: tuple[int, ...]) -> dict[str, Array]:
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def samples(net: OnnxModel, count: int = 8, seed: int = 0) -> list[dict[str, Array]]:
    rng = np.random.default_rng(seed)
    return [{t.name: rng.uniform(-1, 1, t.shape).astype(np.float32) for t in net.inputs} for _ in range(count)]


def scales_for(
    net: OnnxModel, feeds: Sequence[Mapping[str, Array]], options: QuantiserOptions | None = None
) -> dict[str, Scale]:
    chosen = options or QuantiserOptions()
    ranges = calibrate(net, feeds, chosen.method, percentile=chosen.percentile)
    return choose_scales(
        ranges,
        {t.name for t in net.inputs},
        {t.name for t in net.outputs},
        chosen,
        {t.name for t in net.inputs if t.dtype != "float32"},
        wide=wide_sums(net, feeds, ranges),
    )


def lowered(net: OnnxModel, feeds: Sequence[Mapping[str, Array]], options: QuantiserOptions | None = None) -> Lowered:
    public = {t.name: Visibility.PUBLIC for t in (*net.inputs, *net.outputs)}
    return lower(net, scales_for(net, feeds, options), tensors=public, split=options.split if options else False)


def small_cnn() -> OnnxModel:
    """Convolution, pooling, residual addition, flattening, two dense layers."""
    rng = np.random.default_rng(5)
    constants = float_constants(rng, k1=(3, 1, 3, 3), b1=(3,), k2=(3, 3, 3, 3), w=(5, 75), b=(5,))
    return model(
        [
            helper.make_node("Conv", ["x", "k1", "b1"], ["c1"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["c1"], ["r1"]),
            helper.make_node("MaxPool", ["r1"], ["p1"], kernel_shape=[2, 2], strides=[2, 2]),
            helper.make_node("Conv", ["p1", "k2"], ["c2"], pads=[1, 1, 1, 1]),
            helper.make_node("Add", ["c2", "p1"], ["s"]),
            helper.make_node("Relu", ["s"], ["r2"]),
            helper.make_node("Flatten", ["r2"], ["f"]),
            helper.make_node("Gemm", ["f", "w", "b"], ["y"], transB=1),
        ],
        {"x": (1, 1, 10, 10)},
        {"y": (1, 5)},
        constants,
    )


def encoder_block() -> OnnxModel:
    """One transformer encoder block: one head of attention, two normalisations, GELU written out; 4 tokens of 8."""
    rng = np.random.default_rng(8)
    constants = float_constants(rng, wq=(8, 8), wk=(8, 8), wv=(8, 8), w1=(8, 16), w2=(16, 8), b1=(16,), g=(8,), h=(8,))
    constants |= {name: np.float32(value) for name, value in {"r8": 8**-0.5, "r2": 2**0.5, "one": 1.0, "half": 0.5}.items()}
    node = helper.make_node
    return model(
        [
            node("LayerNormalization", ["x", "g", "h"], ["n1"], axis=-1),
            node("MatMul", ["n1", "wq"], ["q"]),
            node("MatMul", ["n1", "wk"], ["k"]),
            node("MatMul", ["n1", "wv"], ["v"]),
            node("Transpose", ["k"], ["kt"], perm=[0, 2, 1]),
            node("MatMul", ["q", "kt"], ["s"]),
            node("Mul", ["s", "r8"], ["sc"]),
            node("Softmax", ["sc"], ["p"], axis=-1),
            node("MatMul", ["p", "v"], ["a"]),
            node("Add", ["x", "a"], ["y1"]),
            node("LayerNormalization", ["y1", "g", "h"], ["n2"], axis=-1),
            node("MatMul", ["n2", "w1"], ["m1"]),
            node("Add", ["m1", "b1"], ["m1b"]),
            node("Div", ["m1b", "r2"], ["d"]),
            node("Erf", ["d"], ["e"]),
            node("Add", ["e", "one"], ["e1"]),
            node("Mul", ["m1b", "e1"], ["ge"]),
            node("Mul", ["ge", "half"], ["gelu"]),
            node("MatMul", ["gelu", "w2"], ["m2"]),
            node("Add", ["y1", "m2"], ["y"]),
        ],
        {"x": (1, 4, 8)},
        {"y": (1, 4, 8)},
        constants,
    )
