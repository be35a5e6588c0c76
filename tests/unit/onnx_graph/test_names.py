"""Names that a file gives badly and that are ours to give; open axes written as -1; stored single numbers."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.onnx_builders import canonical, model, node
from verifai.errors import UnsupportedModel
from verifai.onnx_graph.reference import Reference


def test_nodes_of_one_name_are_told_apart() -> None:
    same = [node("Relu", ["x"], ["a"], name="n"), node("Tanh", ["a"], ["b"], name="n"), node("Neg", ["b"], name="n_1")]
    names = [one.name for one in canonical(model(same)).model.proto.graph.node]
    assert len(set(names)) == 3 and names[0] == "n" and names[2] == "n_1"


def test_an_input_that_is_an_output_gets_another_name_as_one() -> None:
    found = canonical(model([node("Relu", ["x"])], outputs=("y", "x")))
    assert [spec.name for spec in found.model.outputs] == ["y", "x_output"]
    x = np.array([[1.0, -2.0, 3.0, -4.0]], np.float32)
    assert np.array_equal(Reference(found.model).run({"x": x})["x_output"], x)
    assert any("'x_output'" in notice for notice in found.notices)


def test_an_axis_of_minus_one_is_open() -> None:
    source = model([node("Relu", ["x"])], inputs={"x": (4, -1)})
    with pytest.raises(UnsupportedModel) as caught:
        canonical(source)
    assert caught.value.code == "model-dynamic-shape" and "--dim x:1=1" in caught.value.hint
    assert canonical(source, dims={"x:1": 3}).model.inputs[0].shape == (4, 3)
    with pytest.raises(UnsupportedModel) as caught:
        canonical(model([node("Relu", ["x"])], inputs={"x": (0, 4)}))
    assert caught.value.code == "model-malformed"


@pytest.mark.parametrize("size", [None, "N", "batch"])
def test_a_batch_axis_is_one_unless_said_otherwise(size: str | None) -> None:
    source = model([node("Relu", ["x"])], inputs={"x": (size, 4)})
    found = canonical(source)
    assert found.model.inputs[0].shape == (1, 4)
    name = size if isinstance(size, str) else "x:0"
    assert found.notices == (
        f"The batch axis '{name}' is 1: one sample per proof. Another size: `--dim {name}=SIZE` at export.",
    )
    for key in {name, "x:0"}:
        other = canonical(source, dims={key: 3})
        assert (other.model.inputs[0].shape, other.notices) == ((3, 4), ())


def test_an_axis_that_is_not_the_batch_has_no_size_of_its_own() -> None:
    """A length that stands first, and the only axis of an input, are nobody's batch."""
    for shapes in ({"x": (-1, 4)}, {"x": ("N", "N")}, {"x": ("N",)}, {"x": (None,)}, {"x": ("N", 4), "z": (4, "N")}):
        source = model([node("Sum", list(shapes))], inputs=shapes)
        with pytest.raises(UnsupportedModel) as caught:
            canonical(source)
        assert caught.value.code == "model-dynamic-shape" and "--dim" in caught.value.hint
    shared = model([node("Mul", ["x", "w"])], inputs={"x": ("N", 4), "w": ("N",)})
    assert [spec.shape for spec in canonical(shared).model.inputs] == [(1, 4), (1,)]


def test_a_stored_single_number_is_folded() -> None:
    stored = {"q": np.array(7, np.int8), "s": np.array(0.5, np.float32), "z": np.array(1, np.int8)}
    made = canonical(model([node("DequantizeLinear", ["q", "s", "z"], ["k"]), node("Mul", ["x", "k"])], stored)).model
    assert [one.op_type for one in made.proto.graph.node] == ["Mul"]
    x = np.ones((1, 4), np.float32)
    assert np.array_equal(Reference(made).run({"x": x})["y"], 3 * x)


def test_a_layer_of_constants_is_folded() -> None:
    constants = {"h": np.ones((1, 3), np.float32), "w": np.ones((3, 4), np.float32), "b": np.arange(4, dtype=np.float32)}
    made = canonical(model([node("Gemm", ["h", "w", "b"], ["k"]), node("Add", ["x", "k"])], constants)).model
    assert [one.op_type for one in made.proto.graph.node] == ["Add"]
