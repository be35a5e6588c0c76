"""Bounds at infinity that bind nothing are dropped; every other infinity is still refused."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper, numpy_helper

from tests.support.onnx_builders import canonical, model, node, operators, weights
from verifai.errors import UnsupportedModel

INF = np.float32(np.inf)


@pytest.mark.parametrize(
    "nodes",
    [
        [node("Max", ["x", "c"])],
        [node("Max", ["c", "x"])],
        [node("Clip", ["x", "c"])],
        [node("Constant", [], ["k"], value=numpy_helper.from_array(np.array(-INF))), node("Max", ["k", "x"])],
    ],
    ids=["maximum", "maximum, the other way", "clip from below", "a Constant node"],
)
def test_a_bound_at_minus_infinity_is_dropped(nodes) -> None:
    relu = helper.make_node("Relu", ["y"], ["z"], name="after")
    read = any("c" in item.input for item in nodes)
    found = canonical(model([*nodes, relu], {"c": np.array(-INF)} if read else {}, outputs=("z",)))
    assert [kind for kind in operators(found) if kind != "Clip"] == ["Relu"]
    assert not found.model.proto.graph.initializer


def test_a_minimum_with_infinity_and_a_clip_to_infinity_are_dropped() -> None:
    nodes = [node("Min", ["x", "c"], ["m"]), node("Clip", ["m", "low", "c"])]
    found = canonical(model(nodes, {"c": np.array(INF), "low": np.array(0, np.float32)}))
    assert operators(found) == ["Clip"] and len(found.model.proto.graph.initializer) == 1


def test_other_operands_stay() -> None:
    found = canonical(model([node("Max", ["x", "c", "d"])], {"c": np.array(-INF), "d": weights(1, 4)}))
    assert operators(found) == ["Max"] and list(found.model.proto.graph.node[0].input) == ["x", "d"]


@pytest.mark.parametrize(
    ("nodes", "constant"),
    [
        ([node("Max", ["x", "c"])], INF),
        ([node("Min", ["x", "c"])], -INF),
        ([node("Max", ["x", "c"])], np.float32(np.nan)),
        ([node("Add", ["x", "c"])], -INF),
        ([node("Clip", ["x", "c"])], INF),
        ([node("Max", ["c", "c"], ["m"]), node("Add", ["x", "m"])], -INF),
        ([node("Max", ["x", "c"], ["m"]), node("Add", ["m", "c"])], -INF),
    ],
    ids=["max inf", "min -inf", "nan", "a sum", "a clip from above", "nothing but infinities", "read elsewhere too"],
)
def test_any_other_infinity_is_refused(nodes, constant) -> None:
    with pytest.raises(UnsupportedModel) as caught:
        canonical(model(nodes, {"c": np.array(constant)}))
    assert caught.value.code == "model-non-finite"


def test_a_row_of_infinities_may_widen_the_result_and_is_refused() -> None:
    with pytest.raises(UnsupportedModel) as caught:
        canonical(model([node("Max", ["x", "c"])], {"c": np.full((3, 1), -INF)}))
    assert caught.value.code == "model-non-finite"
