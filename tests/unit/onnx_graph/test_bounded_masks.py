"""Attention masks that depend on the input: the same probabilities with a number that a circuit can hold, in every form."""

from __future__ import annotations

from itertools import product

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from verifai.onnx_graph.canonicalise import canonicalise
from verifai.onnx_graph.passes.masks import MASKED
from verifai.onnx_graph.reference import Reference
from verifai.onnx_graph.runtime import open_session

LEAST = float(np.finfo(np.float32).min)
KEYS = 4


def model(form: str, number: float, fill: bool = False) -> onnx.ModelProto:
    nodes = [helper.make_node("Cast", ["mask"], ["keep"], to=TensorProto.BOOL)]
    if form == "added":
        nodes += [
            helper.make_node("Unsqueeze", ["keep", "axes"], ["wide"]),
            helper.make_node("Where", ["wide", "zero", "number"], ["bias"]),
            helper.make_node("Expand", ["bias", "shape"], ["spread"]),
            helper.make_node("Add", ["scores", "spread"], ["sum"]),
        ]
    elif form == "biased":
        nodes += [
            helper.make_node("Unsqueeze", ["keep", "axes"], ["wide"]),
            helper.make_node("Where", ["wide", "places", "number"], ["bias"]),
            helper.make_node("Transpose", ["bias"], ["turned"], perm=[0, 2, 1]),
            helper.make_node("Transpose", ["turned"], ["spread"], perm=[0, 2, 1]),
            helper.make_node("Add", ["scores", "spread"], ["sum"]),
        ]
    elif form == "chosen":
        nodes += [
            helper.make_node("Unsqueeze", ["keep", "axes"], ["wide"]),
            helper.make_node("Not", ["wide"], ["drop"]),
            helper.make_node("Where", ["drop", "number", "scores"], ["sum"]),
        ]
    else:
        nodes += [
            helper.make_node("Cast", ["mask"], ["real"], to=TensorProto.FLOAT),
            helper.make_node("Sub", ["one", "real"], ["left"]),
            helper.make_node("Mul", ["left", "number"], ["line"]),
            helper.make_node("Unsqueeze", ["line", "axes"], ["bias"]),
            helper.make_node("Add", ["scores", "bias"], ["sum"]),
        ]
    nodes += [helper.make_node("Softmax", ["sum"], ["p"], axis=-1)]
    if fill:
        nodes += [helper.make_node("IsNaN", ["p"], ["gap"]), helper.make_node("Where", ["gap", "zero", "p"], ["y"])]
    else:
        nodes += [helper.make_node("Identity", ["p"], ["y"])]
    constants = {
        "axes": np.array([1]), "zero": np.float32(0), "one": np.float32(1), "number": np.float32(number),
        "shape": np.array([1, 3, KEYS]),
        "places": np.linspace(-9, 9, 3 * KEYS, dtype=np.float32).reshape(1, 3, KEYS),
    }  # fmt: skip
    read = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes, "g",
        [
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 3, KEYS]),
            helper.make_tensor_value_info("mask", TensorProto.INT64, [1, KEYS]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, KEYS])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items() if name in read],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


FORMS = {
    "added infinity, gaps filled": ("added", -np.inf, True),
    "added least float": ("added", LEAST, False),
    "added least float, gaps filled": ("added", LEAST, True),
    "added large number": ("added", -1e4, False),
    "least float or a bias of places": ("biased", LEAST, False),
    "infinity or a bias of places, gaps filled": ("biased", -np.inf, True),
    "chosen infinity": ("chosen", -np.inf, False),
    "chosen least float": ("chosen", LEAST, False),
    "times a large number": ("times", -1e4, False),
    "times the least float": ("times", LEAST, False),
}


@pytest.mark.parametrize("name", FORMS)
def test_probabilities_are_those_of_the_source_for_every_mask(name: str) -> None:
    form, number, fill = FORMS[name]
    source = model(form, number, fill)
    made = canonicalise(source.SerializeToString(), where="m")
    assert canonicalise(made.model.data, where="m").model.data == made.model.data
    values = [numpy_helper.to_array(one) for one in made.model.proto.graph.initializer]
    least = min(float(one.min()) for one in values if one.dtype == np.float32 and one.size)
    assert least >= MASKED and any("depend on the input" in notice for notice in made.notices)
    session, reference = open_session(source.SerializeToString()), Reference(made.model)
    scores = np.random.default_rng(0).normal(0, 5, (1, 3, KEYS)).astype(np.float32)
    for mask in product((0, 1), repeat=KEYS):
        feed = {"scores": scores, "mask": np.array([mask])}
        (expected,) = session.run(["y"], feed)
        if not any(mask) and ((number == -np.inf and not fill) or form == "times" or number == -1e4):
            continue  # 0/0 in the source, or scores that float32 lost in part
        np.testing.assert_allclose(reference.run(feed)["y"], expected, atol=2e-6)


def test_a_mask_that_something_else_reads_stays_what_it_is() -> None:
    source = model("added", -1e4)
    source.graph.output.add().CopyFrom(helper.make_tensor_value_info("bias", TensorProto.FLOAT, [1, 1, KEYS]))
    made = canonicalise(source.SerializeToString(), where="m")
    assert not any("depend on the input" in notice for notice in made.notices)
