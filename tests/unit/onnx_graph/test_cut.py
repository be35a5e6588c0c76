"""Where a model can be cut, where not and why, and that the parts compute what the whole computes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from verifai.errors import UnsupportedModel, UsageError
from verifai.onnx_graph.canonicalise import canonicalise
from verifai.onnx_graph.cut import cut_at, cut_model
from verifai.onnx_graph.model import OnnxModel
from verifai.onnx_graph.reference import Reference


def build(nodes: list[Any], outputs: tuple[str, ...] = ("y",), inputs: tuple[str, ...] = ("x",)) -> OnnxModel:
    """A model on (1, 4) tensors with one matrix ``w``."""
    weight = numpy_helper.from_array(np.random.default_rng(1).normal(size=(4, 4)).astype(np.float32), "w")

    def typed(name: str) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4])

    graph = helper.make_graph(nodes, "g", [typed(name) for name in inputs], [typed(name) for name in outputs], [weight])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return canonicalise(proto.SerializeToString(), where="test").model


def node(kind: str, inputs: list[str], output: str) -> Any:
    return helper.make_node(kind, inputs, [output], name=f"n_{output}")


def straight() -> OnnxModel:
    return build([
        node("MatMul", ["x", "w"], "a"), node("Relu", ["a"], "b"), node("MatMul", ["b", "w"], "c"), node("Tanh", ["c"], "y"),
    ])  # fmt: skip


def residual() -> OnnxModel:
    """The result of a and of b are both needed later."""
    return build([
        node("MatMul", ["x", "w"], "a"), node("Relu", ["a"], "b"), node("MatMul", ["b", "w"], "c"),
        node("Add", ["c", "a"], "d"), node("Tanh", ["d"], "y"),
    ])  # fmt: skip


def refused(model: OnnxModel, *names: str) -> UnsupportedModel:
    with pytest.raises(UnsupportedModel) as caught:
        cut_model(model, names)
    assert caught.value.code == "cut-invalid"
    return caught.value


def test_a_cut_that_a_residual_bypasses_is_refused_at_the_reading_node() -> None:
    problem = refused(residual(), "b")
    assert "'n_d'" in problem.where and "'a'" in problem.message


def test_a_model_input_that_is_read_later_is_refused() -> None:
    two = build([node("Relu", ["x"], "a"), node("Add", ["a", "z"], "y")], inputs=("x", "z"))
    problem = refused(two, "a")
    assert "'n_y'" in problem.where and "'z'" in problem.message


def test_an_output_before_the_last_cut_is_refused() -> None:
    early = build([node("Relu", ["x"], "a"), node("Tanh", ["a"], "b"), node("Exp", ["b"], "y")], outputs=("a", "y"))
    assert "'n_a'" in refused(early, "b").where


@pytest.mark.parametrize("names", [("y",), ("b", "b"), ("c", "y")])
def test_an_empty_segment_is_refused(names: tuple[str, ...]) -> None:
    refused(straight(), *names)


def test_a_tensor_that_crosses_two_cuts_is_refused() -> None:
    refused(residual(), "a", "c,a")


def test_unknown_names_are_refused_with_the_known_ones() -> None:
    for name in ("nowhere", "x", "w", "", "b,nowhere"):
        with pytest.raises(UsageError) as caught:
            cut_model(straight(), [name])
        assert caught.value.code == "unknown-tensor" and "a, b, c, y" in caught.value.hint
    with pytest.raises(UsageError):
        cut_at(straight(), [("nowhere",)])
    for names in ([], ["b,b"]):
        with pytest.raises(UsageError):
            cut_model(straight(), names)


@pytest.mark.parametrize(("model", "names", "crossing"), [
    (straight, ["b"], [("b",)]),
    (straight, ["n_b"], [("b",)]),
    (straight, ["c", "a"], [("a",), ("c",)]),
    (straight, ["a", "b", "c"], [("a",), ("b",), ("c",)]),
    (residual, ["c,a"], [("c", "a")]),
    (residual, ["a", "d"], [("a",), ("d",)]),
])  # fmt: skip
def test_the_parts_compute_what_the_whole_computes(model: Any, names: list[str], crossing: list[tuple[str, ...]]) -> None:
    whole = model()
    segments, cuts = cut_model(whole, names)
    assert list(cuts) == crossing and [tuple(t.name for t in s.outputs) for s in segments] == [*crossing, ("y",)]
    assert [s.data for s in segments] == [s.data for s in cut_model(model(), names)[0]] == [s.data for s in cut_at(whole, cuts)]
    values: Any = {"x": np.random.default_rng(2).normal(size=(1, 4)).astype(np.float32)}
    expected = Reference(whole).run(values)["y"]
    for segment in segments:
        onnx.checker.check_model(segment.proto)
        values = Reference(segment).run(values)
    assert values["y"].tobytes() == expected.tobytes()
