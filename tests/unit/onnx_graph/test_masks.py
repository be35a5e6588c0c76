"""Masks of minus infinity before a softmax get a finite number; every other infinity stays refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest

from tests.support.onnx_builders import canonical, model, node
from verifai.errors import UnsupportedModel
from verifai.onnx_graph.passes.masks import NEGLIGIBLE
from verifai.onnx_graph.reference import Reference
from verifai.onnx_graph.runtime import open_session

INF = np.float32(np.inf)
ROW = np.array([[0, -INF, 0, 0]], np.float32)
SOFTMAX = node("Softmax", ["s"], axis=-1)


def added(mask: np.ndarray, *after: onnx.NodeProto, outputs: tuple[str, ...] = ("y",)) -> onnx.ModelProto:
    return model([node("Add", ["x", "m"], ["s"]), SOFTMAX, *after], {"m": mask}, outputs=outputs)


TAKEN: dict[str, Callable[[], onnx.ModelProto]] = {
    "a computed condition": lambda: model(
        [node("Greater", ["x", "n"], ["c"]), node("Where", ["c", "x", "k"], ["s"]), SOFTMAX],
        {"n": np.array(0, np.float32), "k": np.array(-INF)},
    ),
    "added": lambda: added(ROW),
    "of float64": lambda: model(
        [node("Cast", ["m"], ["k"], to=1), node("Add", ["x", "k"], ["s"]), SOFTMAX], {"m": ROW.astype(np.float64)}
    ),
    "chosen": lambda: model(
        [node("Where", ["c", "x", "k"], ["s"]), SOFTMAX], {"c": np.array([[1, 0, 1, 1]], bool), "k": np.array(-INF)}
    ),
    "made from a triangle": lambda: model(
        [
            node("Trilu", ["full", "one"], ["t"], upper=1),
            node("Slice", ["t", "zero", "first", "zero"], ["m"]),
            node("Add", ["x", "m"], ["s"]),
            SOFTMAX,
        ],
        {"full": np.full((4, 4), -INF), "one": np.array(1), "zero": np.array([0]), "first": np.array([1])},
    ),
    "chosen among constants first": lambda: model(
        [node("Where", ["c", "n", "k"], ["m"]), node("Add", ["x", "m"], ["s"]), SOFTMAX],
        {"c": np.array([[1, 0, 1, 1]], bool), "n": np.array(0, np.float32), "k": np.array(-INF)},
    ),
    "from an attribute": lambda: model(
        [
            node("Constant", [], ["k"], value_float=float(-np.inf)),
            node("Where", ["c", "x", "k"], ["s"]),
            SOFTMAX,
        ],
        {"c": np.array([[1, 0, 1, 1]], bool)},
    ),
}


@pytest.mark.parametrize("name", TAKEN)
def test_a_mask_gives_the_probabilities_that_onnxruntime_gives(name: str) -> None:
    source = TAKEN[name]()
    made = canonical(source).model
    x = np.array([[1.0, 5.0, -3.0, 0.5]], np.float32)
    (expected,) = open_session(source.SerializeToString()).run(["y"], {"x": x})
    assert np.array_equal(Reference(made).run({"x": x})["y"], expected) and (expected == 0).any()
    assert "inf" not in str(made.proto.graph.initializer).lower()


REFUSED: dict[str, Callable[[], onnx.ModelProto]] = {
    "plus infinity": lambda: added(-ROW),
    "not a number beside it": lambda: added(np.array([[0, -INF, np.nan, 0]], np.float32)),
    "a row masked in full": lambda: added(np.full((1, 4), -INF)),
    "a row chosen in full": lambda: model(
        [node("Where", ["c", "x", "k"], ["s"]), SOFTMAX], {"c": np.zeros((1, 4), bool), "k": np.array(-INF)}
    ),
    "read elsewhere too": lambda: added(ROW, node("Relu", ["s"], ["z"]), outputs=("y", "z")),
    "an output itself": lambda: added(ROW, outputs=("y", "s")),
    "no softmax": lambda: model([node("Add", ["x", "m"])], {"m": ROW}),
    "a log softmax": lambda: model([node("Add", ["x", "m"], ["s"]), node("LogSoftmax", ["s"], axis=-1)], {"m": ROW}),
    "a product": lambda: model([node("Mul", ["x", "m"], ["s"]), SOFTMAX], {"m": ROW}),
    "a reshape in between": lambda: model(
        [node("Add", ["x", "m"], ["a"]), node("Reshape", ["a", "shape"], ["s"]), SOFTMAX], {"m": ROW, "shape": np.array([2, 2])}
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_infinities_are_refused(name: str) -> None:
    with pytest.raises(UnsupportedModel) as caught:
        canonical(REFUSED[name]())
    assert caught.value.code == "model-non-finite" and "1e4" not in caught.value.hint


def test_a_model_with_large_finite_numbers_is_left_alone() -> None:
    """The finite number is looked for only where an infinity was replaced."""
    source = model([node("Add", ["x", "m"], ["s"]), node("Relu", ["s"])], {"m": np.full((1, 4), NEGLIGIBLE, np.float32)})
    assert canonical(source).model.proto.graph.node[0].op_type == "Add"
