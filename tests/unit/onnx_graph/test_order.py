"""Files whose nodes are not in order, as onnxruntime's converter to float16 writes them, are sorted; circles are refused."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from tests.support.onnx_builders import model, node
from verifai.errors import UnsupportedModel
from verifai.onnx_graph.canonicalise import canonicalise
from verifai.onnx_graph.order import sort_nodes
from verifai.onnx_graph.reference import Reference
from verifai.onnx_graph.runtime import open_session


def steps() -> list[onnx.NodeProto]:
    return [node("Relu", ["x"], ["a"]), node("Neg", ["a"], ["b"]), node("Exp", ["b"], ["c"]), node("Add", ["a", "c"], ["y"])]


@pytest.mark.parametrize("order", [(3, 2, 1, 0), (1, 0, 3, 2), (0, 3, 1, 2)])
def test_nodes_in_any_order_make_the_same_canonical_model(order: tuple[int, ...]) -> None:
    source = model([steps()[place] for place in order])
    made = canonicalise(source.SerializeToString(), where="m")
    plain = canonicalise(model(steps()).SerializeToString(), where="m")
    assert made.model.sha256 == plain.model.sha256
    assert any("sorted" in notice for notice in made.notices) and not plain.notices
    feed = {"x": np.linspace(-2, 2, 4, dtype=np.float32).reshape(tuple(plain.model.inputs[0].shape))}
    (expected,) = open_session(source.SerializeToString()).run(["y"], feed)
    np.testing.assert_allclose(Reference(made.model).run(feed)["y"], expected, rtol=1e-6)


def test_what_a_branch_reads_comes_before_it() -> None:
    inner = onnx.helper.make_graph([node("Add", ["a", "a"], ["b"])], "t", [], [onnx.ValueInfoProto(name="b")])
    other = onnx.helper.make_graph([node("Neg", ["x"], ["d"])], "e", [], [onnx.ValueInfoProto(name="d")])
    nodes = [node("If", ["c"], then_branch=inner, else_branch=other), node("Relu", ["x"], ["a"])]
    source = model(nodes, {"c": np.array(True)})
    assert sort_nodes(source.graph)
    assert [one.op_type for one in source.graph.node] == ["Relu", "If"]


@pytest.mark.parametrize("kind", ["circle", "itself", "made twice"])
def test_what_has_no_order_is_left_to_the_linter(kind: str) -> None:
    nodes = {
        "circle": [node("Add", ["x", "b"], ["a"]), node("Relu", ["a"], ["b"]), node("Exp", ["b"], ["y"])],
        "itself": [node("Add", ["x", "y"], ["y"])],
        "made twice": [node("Exp", ["a"], ["y"]), node("Relu", ["x"], ["a"]), node("Neg", ["x"], ["a"])],
    }[kind]
    source = model(nodes)
    before = source.SerializeToString()
    assert not sort_nodes(source.graph) and source.SerializeToString() == before
    with pytest.raises(UnsupportedModel) as caught:
        canonicalise(before, where="m")
    assert caught.value.code == "model-malformed"


def test_a_long_chain_in_reverse_takes_no_quadratic_time() -> None:
    count = 5_000
    names = ["x", *(f"h{place}" for place in range(count - 1)), "y"]
    chain = [node("Neg", [names[place]], [names[place + 1]]) for place in range(count)]
    source = model(chain[::-1])
    assert sort_nodes(source.graph)
    assert [one.input[0] for one in source.graph.node] == names[:-1]
