"""Operators that few models have, written with others: losses, pools of powers, powers and remainders by several constants."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.support.onnx_builders import canonical, largest_gap, operators, weights
from tests.unit.onnx_graph.test_compositions import PICTURE, VOLUME, one
from verifai.errors import UnsupportedModel
from verifai.onnx_graph.canonicalise import canonicalise
from verifai.onnx_graph.reference import Reference
from verifai.onnx_graph.runtime import open_session

F = np.float32
LABELS = np.array([1, 0, 4], np.int64)
PIXELS = np.random.default_rng(0).integers(0, 4, (1, 5, 6))
KINDS = {"classes": (LABELS, (3, 5)), "pixels": (PIXELS, PICTURE)}


def loss(name: str, kind: str, **more: Any) -> Any:
    labels, shape = KINDS[kind]
    arrays = {
        "labels": labels,
        **({"weight": np.abs(weights(shape[1], seed=4)) + F(0.5)} if more.pop("weighed", False) else {}),
    }
    return one(name, shape=shape, **arrays, **more)


CASES: dict[str, Any] = {
    **{
        f"{name} of {kind}, {reduction}{', weighed' * weighed}": loss(name, kind, reduction=reduction, weighed=weighed)
        for name in ("SoftmaxCrossEntropyLoss", "NegativeLogLikelihoodLoss")
        for kind in KINDS
        for reduction in ("none", "sum", "mean")
        for weighed in (False, True)
    },
    "a loss that ignores a class": loss("SoftmaxCrossEntropyLoss", "pixels", ignore_index=2, weighed=True),
    "a loss with its logarithms": loss("SoftmaxCrossEntropyLoss", "classes", outputs=("y", "logs")),
    "pool of magnitudes": one("LpPool", kernel_shape=[2, 3], p=1, strides=[2, 2], pads=[1, 0, 0, 1]),
    "pool of squares": one("LpPool", kernel_shape=[3, 2], pads=[1, 1, 0, 0]),
    "pool of cubes": one("LpPool", kernel_shape=[2, 2], p=3),
    "pool of fourth powers along a line": one("LpPool", kernel_shape=[3], p=4, shape=(1, 2, 8)),
    "pool of squares, apart": one("LpPool", kernel_shape=[2, 2], dilations=[2, 3]),
    "pool of squares, same size": one("LpPool", kernel_shape=[3, 2], auto_pad="SAME_LOWER", strides=[2, 1]),
    "pool of squares, volumes": one("LpPool", kernel_shape=[2, 3, 2], strides=[1, 2, 2], shape=VOLUME),
    "pool of everything": one("GlobalLpPool", p=3),
    "transposed volumes": one("ConvTranspose", w=weights(2, 3, 2, 3, 2), b=weights(3, seed=1), shape=VOLUME),
    "transposed volumes, far": one(
        "ConvTranspose", w=weights(2, 3, 2, 3, 2), strides=[2, 3, 2], pads=[1, 0, 1, 0, 2, 1], output_padding=[1, 2, 0],
        shape=VOLUME,
    ),
    "transposed volumes, cut": one(
        "ConvTranspose", w=weights(2, 1, 1, 2, 1), strides=[1, 2, 1], pads=[1, 2, 2, 1, 1, 0], shape=VOLUME
    ),
    "transposed volumes, apart": one(
        "ConvTranspose", w=weights(2, 3, 2, 2, 2), dilations=[2, 1, 3], strides=[1, 2, 1], shape=VOLUME
    ),
    "transposed volumes in groups": one(
        "ConvTranspose", w=weights(2, 2, 2, 2, 1), group=2, strides=[2, 1, 2], shape=VOLUME
    ),
    **{f"{name} of nothing": one(name, noop_with_empty_axes=1) for name in ("ReduceSum", "ReduceMax", "ReduceMin")},
    "half pixels, symmetric": one(
        "Resize", "", "scales", scales=np.array([1, 1, 2, 1.5], F), mode="linear", opset=19,
        coordinate_transformation_mode="half_pixel_symmetric",
    ),
    "half pixels, symmetric, by sizes": one(
        "Resize", "", "", "sizes", sizes=np.array([1, 4, 7, 9]), mode="linear", opset=19,
        coordinate_transformation_mode="half_pixel_symmetric",
    ),
    "powers of several exponents": one("Pow", exponent=np.array([2, 3, 1, 0, 2, 4], np.int64)),
    "powers of several real exponents": one("Pow", exponent=np.array([[2.0], [3.0], [1.0], [2.0], [4.0]], F)),
    "remainders by several numbers": one("Mod", by=np.array([0.5, 1.25, 0.5, 2.0, -1.5, 3.0], F), fmod=1),
}  # fmt: skip
LEFT = {"LpPool", "GlobalLpPool", "SoftmaxCrossEntropyLoss", "NegativeLogLikelihoodLoss", "ConvTranspose", "Resize"}


@pytest.mark.parametrize("name", CASES)
def test_is_what_onnxruntime_computes(name: str) -> None:
    found = canonical(CASES[name])
    assert not LEFT & set(operators(found))
    assert largest_gap(CASES[name], found) < 5e-5


@pytest.mark.parametrize("kind, numbers", [("Mod", [3, 7, -4, 5]), ("Div", [3, 7, 4, 2])])
def test_integers_by_several_numbers(kind: str, numbers: list[int]) -> None:
    graph = helper.make_graph(
        [helper.make_node(kind, ["x", "by"], ["y"])], "g",
        [helper.make_tensor_value_info("x", TensorProto.INT64, [5, 4])],
        [helper.make_tensor_value_info("y", TensorProto.INT64, [5, 4])],
        [numpy_helper.from_array(np.array(numbers), "by")],
    )  # fmt: skip
    data = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8).SerializeToString()
    made, session, feed = canonicalise(data, where="m").model, open_session(data), {"x": np.arange(-10, 10).reshape(5, 4)}
    assert np.array_equal(Reference(made).run(feed)["y"], session.run(["y"], feed)[0])


def test_a_loss_of_labels_that_are_data() -> None:
    graph = helper.make_graph(
        [helper.make_node("SoftmaxCrossEntropyLoss", ["x", "t"], ["y"])], "g",
        [helper.make_tensor_value_info(*given) for given in (("x", TensorProto.FLOAT, [3, 5]), ("t", TensorProto.INT64, [3]))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [])],
    )  # fmt: skip
    data = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8).SerializeToString()
    made, session = canonicalise(data, where="m").model, open_session(data)
    for seed in range(4):
        random = np.random.default_rng(seed)
        feed = {"x": random.normal(size=(3, 5)).astype(F), "t": random.integers(0, 5, 3)}
        assert np.allclose(Reference(made).run(feed)["y"], session.run(["y"], feed)[0], atol=1e-6)


def test_what_has_no_exact_form_is_left_to_be_refused() -> None:
    many = one("Pow", exponent=np.arange(120, dtype=np.float32).reshape(4, 5, 6) / 7)
    assert "Exp" in operators(canonical(many))  # too many exponents for a node each


@pytest.mark.parametrize("attribute", ["left_window_size", "right_window_size"])
def test_a_window_of_attention_is_not_passed_over(attribute: str) -> None:
    """Opset 25 has it: without it, the result would be another."""
    cells = {"k": weights(1, 2, 4, 8, seed=1), "v": weights(1, 2, 4, 8, seed=2)}
    with pytest.raises(UnsupportedModel, match=attribute):
        canonical(one("Attention", shape=(1, 2, 4, 8), opset=25, **cells, **{attribute: 2}))
    assert canonical(one("Attention", shape=(1, 2, 4, 8), opset=25, **cells, **{attribute: -1}))
