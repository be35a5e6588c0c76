"""Outputs of foreign files: chosen before anything was linted, so that nothing about the graph can be taken for granted."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from tests.support.onnx_builders import model, node, weights
from verifai.errors import UnsupportedModel, UsageError
from verifai.onnx_graph.canonicalise import canonicalise
from verifai.onnx_graph.outputs import Kept, select_outputs

LABELS = {"classlabels_ints": [3, 5, 8]}


def classifier(*extra: onnx.NodeProto, outputs: dict[str, int]) -> onnx.ModelProto:
    """A linear classifier with label ``l`` and scores ``s``; outputs by name and element type."""
    linear = node(
        "LinearClassifier",
        ["x"],
        ["l", "s"],
        domain="ai.onnx.ml",
        coefficients=[float(value) for value in weights(12)],
        intercepts=[0.0] * 3,
        **LABELS,
    )
    built = model([linear, *extra], outputs=list(outputs), domains={"ai.onnx.ml": 3})
    for value, kind in zip(built.graph.output, outputs.values(), strict=True):
        if kind:
            value.type.tensor_type.elem_type = kind
    return built


def zipped(**attributes: Any) -> onnx.NodeProto:
    return node("ZipMap", ["s"], ["z"], domain="ai.onnx.ml", **attributes)


INT64, FLOAT, STRING = onnx.TensorProto.INT64, onnx.TensorProto.FLOAT, onnx.TensorProto.STRING


def test_a_label_beside_scores_is_left_out() -> None:
    found = select_outputs(classifier(outputs={"l": INT64, "s": FLOAT}), ())
    assert (found.kept, found.dropped, found.label_output) == ((Kept("s", "s"),), ("l",), "l")
    assert found.labels == ("3", "5", "8")
    assert canonicalise(found.model.SerializeToString(), where="m").model.outputs[0].shape == (1, 3)


def test_a_label_behind_casts_is_found() -> None:
    built = classifier(node("Cast", ["l"], ["c"], to=INT64), node("Identity", ["c"], ["y"]), outputs={"y": INT64, "s": FLOAT})
    assert select_outputs(built, ()).dropped == ("y",)


def test_a_map_becomes_the_tensor_behind_it_under_its_public_name() -> None:
    found = select_outputs(classifier(zipped(classlabels_int64s=[3, 5, 8]), outputs={"l": INT64, "z": 0}), ())
    assert found.kept == (Kept("z", "s", (3, 5, 8)),)
    assert [value.name for value in found.model.graph.output] == ["z"]
    assert "ZipMap" not in {item.op_type for item in found.model.graph.node}
    assert canonicalise(found.model.SerializeToString(), where="m").model.outputs[0].name == "z"


def test_a_map_beside_its_tensor_is_left_out() -> None:
    found = select_outputs(classifier(zipped(classlabels_int64s=[3, 5, 8]), outputs={"s": FLOAT, "z": 0}), ())
    assert (found.kept, found.dropped) == ((Kept("s", "s"),), ("z",))


def test_labels_alone_are_left_for_the_refusal_by_name() -> None:
    found = select_outputs(classifier(outputs={"l": INT64}), ())
    assert (found.dropped, [value.name for value in found.model.graph.output]) == ((), ["l"])
    with pytest.raises(UnsupportedModel, match="labels"):
        canonicalise(found.model.SerializeToString(), where="m")


def test_integers_that_are_no_labels_stay() -> None:
    built = model([node("ArgMax", ["x"], ["a"]), node("Relu", ["x"], ["r"])], outputs=["a", "r"])
    built.graph.output[0].type.tensor_type.elem_type = INT64
    before = built.SerializeToString()
    found = select_outputs(built, ())
    assert found.dropped == () and found.model.SerializeToString() == before


def test_chosen_outputs_take_what_only_the_others_need_with_them() -> None:
    built = model(
        [node("Relu", ["x"], ["a"]), node("Add", ["u", "w"], ["b"])],
        {"w": np.ones(4, np.float32)},
        inputs={"x": (1, 4), "u": (1, 4)},
        outputs=["a", "b"],
    )
    found = select_outputs(built, ["a"]).model.graph
    assert [value.name for value in found.input] == ["x"]
    assert ([item.op_type for item in found.node], len(found.initializer)) == (["Relu"], 0)


def test_an_output_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(UsageError) as caught:
        select_outputs(classifier(outputs={"l": INT64, "s": FLOAT}), ["score"])
    assert (caught.value.code, caught.value.hint) == ("bad-option", "It has: l, s")


def names(built: onnx.ModelProto) -> onnx.ModelProto:
    built.graph.output[0].type.tensor_type.elem_type = STRING
    return built


ODD: dict[str, onnx.ModelProto] = {
    "a graph without nodes": helper.make_model(
        helper.make_graph([], "g", [], [helper.make_tensor_value_info("y", INT64, [1])])
    ),
    "a circle": names(model([node("Cast", ["b"], ["a"], to=1), node("Cast", ["a"], ["b"], to=1)], outputs=["a"])),
    "a value made twice": names(model([node("Relu", ["x"], ["y"]), node("Identity", ["y"], ["y"])])),
    "a map of an input": model([node("ZipMap", ["x"], ["y"], domain="ai.onnx.ml")], domains={"ai.onnx.ml": 3}),
    "a map of nothing": model([helper.make_node("ZipMap", [], ["y"], domain="ai.onnx.ml")], domains={"ai.onnx.ml": 3}),
    "a classifier without attributes": names(
        model([node("LinearClassifier", ["x"], ["y", "s"], domain="ai.onnx.ml")], domains={"ai.onnx.ml": 3}, outputs=["y", "s"])
    ),
    "no outputs": model([node("Relu", ["x"])], outputs=[]),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_graphs_end_in_a_selection_that_the_linter_judges(name: str) -> None:
    found = select_outputs(ODD[name], ())
    with pytest.raises(UnsupportedModel):
        canonicalise(found.model.SerializeToString(), where="m")


def test_labels_from_a_table_that_is_missing_are_none() -> None:
    extractor = node("ArrayFeatureExtractor", ["t", "x"], ["y"], domain="ai.onnx.ml")
    found = select_outputs(names(model([extractor, node("Relu", ["x"], ["s"])], outputs=["y", "s"])), ())
    assert (found.dropped, found.labels) == (("y",), ())


def test_a_long_chain_is_followed_to_its_end_without_recursion() -> None:
    chain = [node("Cast", [f"v{place}"], [f"v{place + 1}"], to=INT64, name=f"n{place}") for place in range(5000)]
    built = model([node("Cast", ["x"], ["v0"], to=INT64), *chain, node("Relu", ["x"], ["s"])], outputs=["v5000", "s"])
    built.graph.output[0].type.tensor_type.elem_type = INT64
    assert select_outputs(built, ()).dropped == ()
