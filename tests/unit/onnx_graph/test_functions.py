"""Functions that a file defines are put in place of their calls; bombs and circles are refused before they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import AttributeProto, TensorProto, helper
from onnxruntime import InferenceSession

from verifai.errors import UnsupportedModel
from verifai.onnx_graph.canonicalise import canonicalise
from verifai.onnx_graph.functions import inlined

OWN = helper.make_opsetid("own", 1)


def _function(
    name: str, nodes: list[Any], inputs: tuple[str, ...] = ("x",), opset: int = 18, **more: Any
) -> onnx.FunctionProto:
    return helper.make_function("own", name, list(inputs), ["y"], nodes, [helper.make_opsetid("", opset), OWN], **more)


def _model(nodes: list[Any], functions: list[Any], opset: int = 18) -> onnx.ModelProto:
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "g", value[:1], value[1:])
    opsets = [helper.make_opsetid("", opset), OWN]
    return helper.make_model(graph, functions=functions, opset_imports=opsets, ir_version=9)


def _call(name: str, out: str = "y", given: str = "x", **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(name, [given], [out], domain="own", **attributes)


def _leaky() -> onnx.FunctionProto:
    node = helper.make_node("LeakyRelu", ["x"], ["y"])
    node.attribute.append(AttributeProto(name="alpha", ref_attr_name="slope", type=AttributeProto.FLOAT))
    return _function("Leaky", [node], attributes=["slope"])


@pytest.mark.parametrize("opset", [17, 18, 20])
def test_calls_are_replaced_with_their_attributes(opset: int) -> None:
    twice = _function("Twice", [_call("Leaky", "t", slope=0.5), _call("Leaky", "y", "t", slope=0.25)])
    source = _model([_call("Twice")], [_leaky(), twice], opset)
    found = canonicalise(source.SerializeToString(), where="test.onnx").model
    x = np.array([[-1.0, 2.0, -8.0, 0.0]], np.float32)
    assert [node.op_type for node in found.proto.graph.node] == ["LeakyRelu", "LeakyRelu"]
    assert InferenceSession(found.data).run(None, {"x": x})[0].tolist() == [[-0.125, 2.0, -1.0, 0.0]]


def test_a_file_without_functions_is_left_as_it_is() -> None:
    source = _model([helper.make_node("Relu", ["x"], ["y"])], [])
    assert inlined(source, "test.onnx") is source


def _bomb() -> onnx.ModelProto:
    functions = [_function("F0", [helper.make_node("Relu", ["x"], ["y"])])]
    for number in range(1, 41):
        functions.append(_function(f"F{number}", [_call(f"F{number - 1}", "t"), _call(f"F{number - 1}", "y", "t")]))
    return _model([_call("F40")], functions)


def _circle() -> onnx.ModelProto:
    return _model([_call("A")], [_function("A", [_call("B")]), _function("B", [_call("A")])])


def _twice() -> onnx.ModelProto:
    relu = [helper.make_node("Relu", ["x"], ["y"])]
    return _model([_call("A")], [_function("A", relu), _function("A", relu)])


def _standard() -> onnx.ModelProto:
    fake = helper.make_function(
        "", "Relu", ["x"], ["y"], [helper.make_node("Neg", ["x"], ["y"])], [helper.make_opsetid("", 18)]
    )
    return _model([helper.make_node("Relu", ["x"], ["y"])], [fake])


@pytest.mark.parametrize(
    ("make", "code"),
    [(_bomb, "model-too-large"), (_circle, "model-malformed"), (_twice, "model-malformed"), (_standard, "model-malformed")],
)
def test_bombs_circles_and_impostors_are_refused(make: Any, code: str) -> None:
    with pytest.raises(UnsupportedModel) as caught:
        canonicalise(make().SerializeToString(), where="test.onnx")
    assert caught.value.code == code
