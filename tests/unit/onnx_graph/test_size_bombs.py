"""A tiny file that asks for gigabytes is refused before anything of that size is allocated."""

from __future__ import annotations

import resource
from collections.abc import Callable

import numpy as np
import onnx
import pytest

from tests.support.onnx_builders import model, node
from verifai.errors import UnsupportedModel
from verifai.onnx_graph.canonicalise import canonicalise

HUGE = np.array([10**5, 10**5])


def _declared(dims: list[int]) -> onnx.ModelProto:
    source = model([node("Add", ["x", "w"])])
    source.graph.initializer.append(onnx.TensorProto(name="w", data_type=1, dims=dims, raw_data=b"\0" * 4))
    return source


def _chain(count: int) -> onnx.ModelProto:
    """Each step doubles; no single step is large, but all are together."""
    steps = [node("Concat", [f"v{i}", f"v{i}"], [f"v{i + 1}"], axis=1, name=f"double_{i}") for i in range(count)]
    return model([node("Relu", ["x"], ["v0"]), *steps], outputs=[f"v{count}"])


BOMBS: dict[str, Callable[[], onnx.ModelProto]] = {
    "ConstantOfShape": lambda: model(
        [node("ConstantOfShape", ["s"], ["c"]), node("Add", ["x", "c"])], {"s": np.array([10**10])}
    ),
    "Expand": lambda: model([node("Expand", ["x", "s"])], {"s": np.array([10**6, 10**4, 4])}),
    "Tile": lambda: model([node("Tile", ["x", "s"])], {"s": HUGE}),
    "Pad": lambda: model([node("Pad", ["x", "s"])], {"s": np.array([0, 0, 10**5, 10**6])}),
    "Resize": lambda: model(
        [node("Resize", ["x", "", "s"])], {"s": np.array([1, 1, 1e5, 1e5], np.float32)}, inputs={"x": (1, 1, 2, 2)}
    ),
    "Upsample": lambda: model(
        [node("Upsample", ["x", "s"])], {"s": np.array([1, 1, 1e5, 1e5], np.float32)}, inputs={"x": (1, 1, 2, 2)}, opset=9
    ),
    "Range": lambda: model(
        [node("Range", ["a", "b", "c"], ["r"]), node("Add", ["x", "r"])],
        {"a": np.float32(0), "b": np.float32(1e9), "c": np.float32(1)},
    ),
    "OneHot": lambda: model(
        [node("Cast", ["x"], ["i"], to=7), node("OneHot", ["i", "d", "v"])],
        {"d": np.array(10**10), "v": np.array([0, 1], np.float32)},
    ),
    "a product of two vectors": lambda: model([node("MatMul", ["x", "z"])], inputs={"x": (10**5, 1), "z": (1, 10**5)}),
    "ConvTranspose with a large stride": lambda: model(
        [node("ConvTranspose", ["x", "w"], strides=[10**6, 10**6])],
        {"w": np.ones((1, 1, 1, 1), np.float32)},
        inputs={"x": (1, 1, 9, 9)},
    ),
    "an average over large pads": lambda: model(
        [node("AveragePool", ["x"], kernel_shape=[1, 1], pads=[10**6] * 4)], inputs={"x": (1, 1, 9, 9)}
    ),
    "a weight that declares more than it holds": lambda: _declared([10**5, 10**6]),
    "dimensions whose product overflows 64 bits": lambda: _declared([2**32, 2**32, 2]),
    "dimensions that multiply to zero modulo 2**64": lambda: _declared([2**62, 4, 2**3]),
    "a large input": lambda: model([node("Relu", ["x"])], inputs={"x": (10**6, 10**6)}),
    "many constant expressions": lambda: model(
        [node("Add", [f"c{i}", "c0"], [f"c{i + 1}"], name=f"n{i}") for i in range(5001)] + [node("Add", ["x", "c5001"])],
        {"c0": np.ones(1, np.float32)},
    ),
    "many large constants": lambda: model(
        [
            *(node("ConstantOfShape", ["s"], [f"c{i}"], name=f"n{i}") for i in range(20)),
            node("Concat", [f"c{i}" for i in range(20)], ["all"], axis=0),
            node("Add", ["x", "all"]),
        ],
        {"s": np.array([2**20, 4])},
    ),
    "a chain of doublings": lambda: _chain(40),
}


@pytest.mark.parametrize("name", BOMBS)
def test_size_bomb_is_refused_without_being_allocated(name: str) -> None:
    data = BOMBS[name]().SerializeToString()
    assert len(data) < 200_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UnsupportedModel) as caught:
        canonicalise(data, where="bomb.onnx")
    assert caught.value.code == "model-size-bomb"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 384 * 1024  # KiB


def test_a_size_that_the_user_asks_for_is_refused_too() -> None:
    source = model([node("Relu", ["x"])], inputs={"x": ("N", 4)})
    with pytest.raises(UnsupportedModel) as caught:
        canonicalise(source.SerializeToString(), where="bomb.onnx", dims={"N": 10**12})
    assert caught.value.code == "model-size-bomb"


def test_a_negative_weight_dimension_is_refused() -> None:
    with pytest.raises(UnsupportedModel) as caught:
        canonicalise(_declared([-1]).SerializeToString(), where="bomb.onnx")
    assert caught.value.code == "model-malformed"
