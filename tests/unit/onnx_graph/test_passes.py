"""Each pass keeps the meaning: the source and its canonical form agree on seeded inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import pytest

from tests.support.onnx_builders import canonical, largest_gap, model, node, operators, weights

IMAGE = {"x": (1, 2, 7, 7)}
Case = tuple[Sequence[onnx.NodeProto], Mapping[str, np.ndarray], Mapping[str, Sequence[Any]], int, list[str]]

SAME_MEANING: dict[str, Case] = {
    "a convolution padded to the same size": (
        [node("Conv", ["x", "w"], auto_pad="SAME_UPPER", strides=[2, 2])],
        {"w": weights(3, 2, 4, 4)},
        IMAGE,
        11,
        ["Conv"],
    ),
    "the same, padded at the begin first": (
        [node("Conv", ["x", "w"], auto_pad="SAME_LOWER")],
        {"w": weights(3, 2, 4, 4)},
        IMAGE,
        11,
        ["Conv"],
    ),
    "a convolution without padding": (
        [node("Conv", ["x", "w"], auto_pad="VALID", dilations=[2, 2])],
        {"w": weights(3, 2, 2, 2)},
        IMAGE,
        11,
        ["Conv"],
    ),
    "a convolution in groups": (
        [node("Conv", ["x", "w"], group=2, pads=[1, 0, 0, 1])],
        {"w": weights(4, 1, 2, 2)},
        IMAGE,
        11,
        ["Conv"],
    ),
    "a convolution over one axis": ([node("Conv", ["x", "w"])], {"w": weights(3, 2, 3)}, {"x": (1, 2, 9)}, 11, ["Conv"]),
    "a transposed convolution to the same size": (
        [node("ConvTranspose", ["x", "w"], auto_pad="SAME_UPPER", strides=[2, 2])],
        {"w": weights(2, 3, 3, 3)},
        IMAGE,
        11,
        ["ConvTranspose"],
    ),
    "a transposed convolution to a given size": (
        [node("ConvTranspose", ["x", "w"], output_shape=[15, 16], strides=[2, 2], output_padding=[0, 1])],
        {"w": weights(2, 3, 3, 3)},
        IMAGE,
        11,
        ["ConvTranspose"],
    ),
    "pooling without strides": ([node("MaxPool", ["x"], kernel_shape=[2, 3])], {}, IMAGE, 8, ["MaxPool"]),
    "pooling to the same size": (
        [node("AveragePool", ["x"], kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_LOWER")],
        {},
        IMAGE,
        10,
        ["Pad", "AveragePool", "Mul"],
    ),
    "pooling with a rounded-up size": (
        [node("MaxPool", ["x"], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)],
        {},
        IMAGE,
        10,
        ["MaxPool"],
    ),
    "normalisation after a convolution": (
        [node("Conv", ["x", "w", "c"], ["h"]), node("BatchNormalization", ["h", "s", "b", "m", "v"])],
        {
            "w": weights(3, 2, 3, 3),
            "c": weights(3),
            "s": weights(3, seed=1),
            "b": weights(3, seed=2),
            "m": weights(3, seed=3),
            "v": abs(weights(3, seed=4)),
        },
        IMAGE,
        9,
        ["Conv"],
    ),
    "normalisation after a convolution without bias": (
        [node("Conv", ["x", "w"], ["h"]), node("BatchNormalization", ["h", "s", "b", "m", "v"], epsilon=0.1)],
        {
            "w": weights(3, 2, 3, 3),
            "s": weights(3, seed=1),
            "b": weights(3, seed=2),
            "m": weights(3, seed=3),
            "v": abs(weights(3, seed=4)),
        },
        IMAGE,
        15,
        ["Conv"],
    ),
    "normalisation after a transposed convolution": (
        [node("ConvTranspose", ["x", "w"], ["h"]), node("BatchNormalization", ["h", "s", "b", "m", "v"])],
        {
            "w": weights(2, 3, 3, 3),
            "s": weights(3, seed=1),
            "b": weights(3, seed=2),
            "m": weights(3, seed=3),
            "v": abs(weights(3, seed=4)),
        },
        IMAGE,
        9,
        ["ConvTranspose"],
    ),
    "normalisation after a dense layer": (
        [
            node("Gemm", ["x", "w", "c"], ["h"], transB=1, beta=0.5, alpha=2.0),
            node("BatchNormalization", ["h", "s", "b", "m", "v"]),
        ],
        {
            "w": weights(3, 4),
            "c": weights(3),
            "s": weights(3, seed=1),
            "b": weights(3, seed=2),
            "m": weights(3, seed=3),
            "v": abs(weights(3, seed=4)),
        },
        {"x": (1, 4)},
        9,
        ["Gemm"],
    ),
    "normalisation after nothing to fold into": (
        [node("Relu", ["x"], ["h"]), node("BatchNormalization", ["h", "s", "b", "m", "v"])],
        {"s": weights(2, seed=1), "b": weights(2, seed=2), "m": weights(2, seed=3), "v": abs(weights(2, seed=4))},
        IMAGE,
        9,
        ["Relu", "Mul", "Add"],
    ),
    "normalisation of a value that others read": (
        [
            node("Conv", ["x", "w"], ["h"]),
            node("BatchNormalization", ["h", "s", "b", "m", "v"], ["n"]),
            node("Add", ["h", "n"]),
        ],
        {
            "w": weights(2, 2, 1, 1),
            "s": weights(2, seed=1),
            "b": weights(2, seed=2),
            "m": weights(2, seed=3),
            "v": abs(weights(2, seed=4)),
        },
        IMAGE,
        9,
        ["Conv", "Mul", "Add", "Add"],
    ),
    "a dense layer, scaled and transposed": (
        [node("Gemm", ["x", "w", "c"], alpha=0.5, beta=-2.0, transA=1, transB=1)],
        {"w": weights(3, 1), "c": weights(4, 3)},
        {"x": (1, 4)},
        9,
        ["Transpose", "Gemm"],
    ),
    "a dense layer of two inputs": (
        [node("Gemm", ["x", "z", "u"], alpha=0.5, beta=3.0, transB=1)],
        {},
        {"x": (2, 4), "z": (3, 4), "u": (2, 3)},
        11,
        ["Transpose", "Mul", "Mul", "Gemm"],
    ),
    "identities and dropout": (
        [
            node("Identity", ["x"], ["a"]),
            node("Dropout", ["a"], ["b"], ratio=0.5),
            node("Relu", ["b"], ["c"]),
            node("Identity", ["c"], name="last"),
        ],
        {},
        {"x": (1, 4)},
        9,
        ["Relu"],
    ),
    "a cast to the same type": ([node("Cast", ["x"], ["a"], to=1), node("Relu", ["a"])], {}, {"x": (1, 4)}, 13, ["Relu"]),
    "a shape computed from the input's": (
        [
            node("Shape", ["x"], ["s"]),
            node("Gather", ["s", "zero"], ["n"]),
            node("Unsqueeze", ["n"], ["u"], axes=[0]),
            node("Concat", ["u", "rest"], ["t"], axis=0),
            node("Reshape", ["x", "t"]),
        ],
        {"zero": np.array(0), "rest": np.array([-1])},
        {"x": (2, 3, 4)},
        11,
        ["Reshape"],
    ),
    "a reshape that keeps axes": ([node("Reshape", ["x", "s"])], {"s": np.array([0, -1])}, {"x": (2, 3, 4)}, 13, ["Reshape"]),
    "constants computed from constants": (
        [
            node("Constant", [], ["a"], value_float=3.0),
            node("Mul", ["a", "a"], ["b"]),
            node("Sqrt", ["b"], ["c"]),
            node("Add", ["x", "c"]),
        ],
        {},
        {"x": (1, 4)},
        13,
        ["Add"],
    ),
    "a softmax over all later axes, as before opset 13": (
        [node("Softmax", ["x"], axis=1)],
        {},
        {"x": (2, 3, 4)},
        11,
        ["Reshape", "Softmax", "Reshape"],
    ),
    "a softmax over the last axis": ([node("Softmax", ["x"], axis=-1)], {}, {"x": (2, 3, 4)}, 11, ["Softmax"]),
    "a logarithmic softmax, default axis": ([node("LogSoftmax", ["x"])], {}, {"x": (2, 3)}, 9, ["LogSoftmax"]),
    "bounds as attributes": ([node("Clip", ["x"], min=-0.5, max=0.5)], {}, {"x": (1, 4)}, 9, ["Clip"]),
    "one bound as attribute": ([node("Clip", ["x"], max=0.5)], {}, {"x": (1, 4)}, 9, ["Clip"]),
    "pads as attributes": ([node("Pad", ["x"], pads=[0, 1, 0, 2], value=1.5)], {}, {"x": (1, 4)}, 9, ["Pad"]),
    "a slice by attributes": ([node("Slice", ["x"], starts=[1], ends=[9], axes=[1])], {}, {"x": (1, 4)}, 9, ["Slice"]),
    "a slice by attributes, all axes": ([node("Slice", ["x"], starts=[0, 1], ends=[1, 3])], {}, {"x": (1, 4)}, 9, ["Slice"]),
    "a split by attribute": (
        [node("Split", ["x"], ["a", "b"], split=[1, 3], axis=1), node("Concat", ["b", "a"], axis=1)],
        {},
        {"x": (1, 4)},
        11,
        ["Split", "Concat"],
    ),
    "an even split": (
        [node("Split", ["x"], ["a", "b"], axis=-1), node("Add", ["b", "a"])],
        {},
        {"x": (1, 4)},
        13,
        ["Split", "Add"],
    ),
    "squeezed axes as attributes": (
        [node("Unsqueeze", ["x"], ["a"], axes=[0, 3]), node("Squeeze", ["a"], axes=[1])],
        {},
        {"x": (1, 4)},
        11,
        ["Unsqueeze", "Squeeze"],
    ),
    "a sum over axes as attribute": ([node("ReduceSum", ["x"], axes=[1], keepdims=0)], {}, {"x": (2, 4)}, 11, ["ReduceSum"]),
    "a mean over axes as attribute": ([node("ReduceMean", ["x"], axes=[-1])], {}, {"x": (2, 4)}, 13, ["ReduceMean"]),
    "a maximum over everything": ([node("ReduceMax", ["x"], keepdims=0)], {}, {"x": (2, 4)}, 13, ["ReduceMax"]),
    "the largest k, as attribute": ([node("TopK", ["x"], ["y", "i"], k=2)], {}, {"x": (1, 4)}, 9, ["TopK"]),
    "enlargement, opset 7": ([node("Upsample", ["x"], scales=[1.0, 1.0, 2.0, 3.0])], {}, IMAGE, 7, ["Gather", "Gather"]),
    "enlargement, opset 9": (
        [node("Upsample", ["x", "s"], mode="linear")],
        {"s": np.array([1, 1, 2, 2], np.float32)},
        IMAGE,
        9,
        ["MatMul", "MatMul"],
    ),
    "resizing, opset 10": (
        [node("Resize", ["x", "s"])],
        {"s": np.array([1, 1, 2, 2], np.float32)},
        IMAGE,
        10,
        ["Gather", "Gather"],
    ),
    "resizing, opset 13": (
        [node("Resize", ["x", "", "s"], mode="linear", coordinate_transformation_mode="align_corners")],
        {"s": np.array([1, 1, 2, 2], np.float32)},
        IMAGE,
        13,
        ["MatMul", "MatMul"],
    ),
    "the old scatter": (
        [node("Scatter", ["x", "i", "u"], axis=1)],
        {"i": np.array([[1]]), "u": np.ones((1, 1), np.float32)},
        {"x": (1, 4)},
        9,
        ["Mul", "Add"],
    ),
    "exact GELU": ([node("Gelu", ["x"])], {}, {"x": (1, 4)}, 20, ["Mul", "Erf", "Add", "Mul", "Mul"]),
    "approximate GELU": (
        [node("Gelu", ["x"], approximate="tanh")],
        {},
        {"x": (1, 4)},
        20,
        ["Mul", "Mul", "Mul", "Add", "Mul", "Tanh", "Add", "Mul", "Mul"],
    ),
    "Mish": ([node("Mish", ["x"])], {}, {"x": (1, 4)}, 18, ["Softplus", "Tanh", "Mul"]),
    "a cast like another tensor": (
        [node("CastLike", ["x", "i"], ["a"]), node("Cast", ["a"], to=1)],
        {"i": np.array(1)},
        {"x": (1, 4)},
        15,
        ["Cast", "Cast"],
    ),
    "a newer opset": (
        [
            node("Reshape", ["x", "s"], ["a"]),
            node("Cast", ["a"], to=1, saturate=1),
        ],
        {"s": np.array([4, 1])},
        {"x": (1, 4)},
        21,
        ["Reshape"],
    ),
    "pooling with the dilations of a newer opset": (
        [node("AveragePool", ["x"], kernel_shape=[2, 2], dilations=[1, 1])],
        {},
        IMAGE,
        19,
        ["AveragePool"],
    ),
    "layer normalisation": (
        [node("LayerNormalization", ["x", "s", "b"], axis=-1)],
        {"s": weights(4), "b": weights(4, seed=1)},
        {"x": (2, 4)},
        17,
        ["LayerNormalization"],
    ),
}


@pytest.mark.parametrize("name", SAME_MEANING)
def test_pass_keeps_the_meaning(name: str) -> None:
    nodes, constants, inputs, opset, expected = SAME_MEANING[name]
    outputs = ["y"]
    for index, item in enumerate(nodes):  # several nodes of one operator need names of their own
        item.name = f"{item.op_type}_{index}"
    source = model(nodes, constants, inputs=inputs, opset=opset, outputs=outputs)
    result = canonical(source)
    assert operators(result) == expected
    assert largest_gap(source, result) < 1e-5
