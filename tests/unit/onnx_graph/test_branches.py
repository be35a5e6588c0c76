"""``If`` whose condition is known once shapes are: its branch stands in its place, whatever names it uses."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from tests.support.onnx_builders import canonical, model, node
from verifai.onnx_graph.reference import Reference
from verifai.onnx_graph.runtime import open_session

X = np.array([[1.0, -2.0, 3.0, -4.0]], np.float32)


def side(*nodes: onnx.NodeProto, result: str = "b", **initializers: np.ndarray) -> onnx.GraphProto:
    tensors = [numpy_helper.from_array(array, name) for name, array in initializers.items()]
    outputs = [helper.make_tensor_value_info(result, onnx.TensorProto.FLOAT, None)]
    return helper.make_graph(list(nodes), "branch", [], outputs, tensors)


RELU, TANH = (side(node(kind, ["x"], ["b"])) for kind in ("Relu", "Tanh"))
SHAPE = [node("Shape", ["x"], ["s"]), node("Gather", ["s", "last"], ["d"]), node("Equal", ["d", "wanted"], ["c"])]


def by_size(wanted: int, one: onnx.GraphProto, other: onnx.GraphProto) -> onnx.ModelProto:
    """A choice by whether the last axis has ``wanted`` cells; it has 4."""
    constants = {"last": np.array(1), "wanted": np.array(wanted)}
    return model([*SHAPE, node("If", ["c"], then_branch=one, else_branch=other)], constants)


# ruff: noqa: E501 - one case per line reads as a table
CASES: dict[str, onnx.ModelProto] = {
    "the first": by_size(4, RELU, TANH),
    "the second": by_size(5, RELU, TANH),
    "a constant of its own, named as one around it": by_size(
        4, side(node("Mul", ["x", "w"], ["b"]), w=np.array([2, 3, 4, 5], np.float64).astype(np.float32)), RELU
    ),
    "the value around it itself": by_size(4, side(node("Identity", ["x"], ["b"])), RELU),
    "one in another": by_size(4, side(node("If", ["c"], ["b"], name="inner", then_branch=side(node("Tanh", ["x"], ["t"]), result="t"), else_branch=RELU)), RELU),
    "one that reads what its outer branch defines": by_size(
        4,
        side(
            node("Relu", ["x"], ["r"]),
            node("If", ["c"], ["b"], name="inner", then_branch=side(node("Add", ["r", "k"], ["t"]), result="t", k=np.array(2, np.float32)), else_branch=RELU),
        ),
        RELU,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_branch_that_is_taken_stands_in_its_place(name: str) -> None:
    source = CASES[name]
    made = canonical(source).model
    assert not any(one.op_type == "If" for one in made.proto.graph.node)
    (expected,) = open_session(source.SerializeToString()).run(["y"], {"x": X})
    assert np.allclose(Reference(made).run({"x": X})["y"], expected, atol=1e-6)


def test_two_choices_may_use_the_same_names_inside() -> None:
    nodes: list[Any] = [
        *SHAPE,
        node("If", ["c"], ["p"], name="one", then_branch=RELU, else_branch=TANH),
        node("If", ["c"], ["q"], name="two", then_branch=TANH, else_branch=RELU),
        node("Add", ["p", "q"]),
    ]
    made = canonical(model(nodes, {"last": np.array(1), "wanted": np.array(4)})).model
    assert np.allclose(Reference(made).run({"x": X})["y"], np.maximum(X, 0) + np.tanh(X), atol=1e-6)
