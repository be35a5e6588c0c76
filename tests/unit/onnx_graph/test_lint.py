"""What is refused before anything is interpreted, with its code, the node's name and a remedy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from tests.support.onnx_builders import model, node, relu
from verifai.errors import UnsupportedModel
from verifai.onnx_graph.canonicalise import canonicalise
from verifai.onnx_graph.limits import MAX_FILE_BYTES, MAX_NAME


def refusal(source: onnx.ModelProto | bytes, **options: object) -> UnsupportedModel:
    data = source if isinstance(source, bytes) else source.SerializeToString()
    with pytest.raises(UnsupportedModel) as caught:
        canonicalise(data, where="test.onnx", **options)  # type: ignore[arg-type]
    return caught.value


def _side(*nodes: onnx.NodeProto, result: str = "b", **initializers: np.ndarray) -> onnx.GraphProto:
    tensors = [numpy_helper.from_array(array, name) for name, array in initializers.items()]
    return helper.make_graph(
        list(nodes) or [node("Relu", ["x"], ["b"])], "branch", [], [onnx.ValueInfoProto(name=result)], tensors
    )


def _branch(one: onnx.GraphProto | None = None, *, computed: bool = False) -> onnx.ModelProto:
    """A choice between ``one`` and a Relu: by a constant, or by whether the input's first cell is above 0."""
    side = one if one is not None else _side()
    chosen = [node("If", ["c"], then_branch=side, else_branch=_side())]
    if not computed:
        return model(chosen, {"c": np.array(True)})
    before = [node("Slice", ["x", "zero", "one"], ["s"]), node("Greater", ["s", "nought"], ["c"])]
    constants = {"zero": np.array([0]), "one": np.array([1]), "nought": np.array([0], np.float32)}
    return model([*before, *chosen], constants)


def _nested(depth: int) -> onnx.ModelProto:
    side = _side()
    for number in range(depth):
        inner = node("If", ["c"], [f"b{number}"], name=f"if{number}", then_branch=side, else_branch=_side())
        side = _side(inner, result=f"b{number}")
    return _branch(side)


def _loop() -> onnx.ModelProto:
    body = helper.make_graph(
        [node("Identity", ["i"], ["o"])], "body", [onnx.ValueInfoProto(name="i")], [onnx.ValueInfoProto(name="o")]
    )
    return model([node("Loop", ["n", "", "x"], body=body)], {"n": np.array(3)})


def _function() -> onnx.ModelProto:
    source = model([node("Mine", ["x"], domain="custom")], domains={"custom": 1})
    own = [helper.make_opsetid("custom", 1)]
    body = helper.make_function("custom", "Mine", ["a"], ["b"], [node("Mine", ["a"], ["b"], domain="custom")], own)
    source.functions.append(body)
    return source


def _sparse_weights() -> onnx.ModelProto:
    source = relu()
    values = numpy_helper.from_array(np.ones(1, np.float32), "s")
    source.graph.sparse_initializer.append(
        helper.make_sparse_tensor(values, numpy_helper.from_array(np.zeros(1, np.int64), "i"), [4])
    )
    return source


def _sparse_constant() -> onnx.ModelProto:
    values = numpy_helper.from_array(np.ones(1, np.float32), "s")
    sparse = helper.make_sparse_tensor(values, numpy_helper.from_array(np.zeros(1, np.int64), "i"), [4])
    return model([node("Constant", [], ["c"], sparse_value=sparse), node("Add", ["x", "c"])])


def _training_graph() -> onnx.ModelProto:
    source = relu()
    source.training_info.add()
    return source


def _duplicate_attribute() -> onnx.ModelProto:
    source = model([node("LeakyRelu", ["x"], alpha=0.1)])
    source.graph.node[0].attribute.append(source.graph.node[0].attribute[0])
    return source


def _attribute_of_wrong_type() -> onnx.ModelProto:
    source = model([node("LeakyRelu", ["x"])])
    source.graph.node[0].attribute.append(helper.make_attribute("alpha", 3))
    return source


def _two_versions() -> onnx.ModelProto:
    source = relu()
    source.opset_import.add(domain="ai.onnx", version=13)
    return source


def _no_standard_opset() -> onnx.ModelProto:
    source = relu()
    source.opset_import[0].domain = "ai.onnx.ml"
    return source


def _string_weight() -> onnx.ModelProto:
    source = model([node("Add", ["x", "w"])])
    source.graph.initializer.append(helper.make_tensor("w", onnx.TensorProto.STRING, [1], [b"a"]))
    return source


def _weight_of(kind: int, raw: bytes) -> Callable[[], onnx.ModelProto]:
    def build() -> onnx.ModelProto:
        source = model([node("Add", ["x", "w"])])
        source.graph.initializer.append(onnx.TensorProto(name="w", data_type=kind, dims=[1], raw_data=raw))
        return source

    return build


CASES: dict[str, tuple[Callable[[], onnx.ModelProto], str, str]] = {
    "a branch on a computed condition": (lambda: _branch(computed=True), "model-control-flow", "the_If"),
    "branches too deep": (lambda: _nested(9), "model-control-flow", ""),
    "a branch that reads what nothing defines": (lambda: _branch(_side(node("Relu", ["q"], ["b"]))), "model-malformed", ""),
    "a branch whose output nothing computes": (lambda: _branch(_side(result="q")), "model-malformed", "the_If"),
    "a branch that defines a value again": (
        lambda: _branch(_side(node("Relu", ["x"], ["x"]), result="x")),
        "model-malformed",
        "",
    ),
    "a branch with a loop in it": (
        lambda: _branch(_side(_loop().graph.node[0], result="y")),
        "model-malformed",
        "the_Loop",
    ),
    "a branch with a weight of nothing": (
        lambda: _branch(_side(node("Add", ["x", "w"], ["b"]), w=np.full(4, np.nan, np.float32))),
        "model-non-finite",
        "w",
    ),
    "a loop whose body takes and yields other values": (_loop, "model-malformed", "the_Loop"),
    "a local function that calls itself": (_function, "model-malformed", "test.onnx"),
    "sparse weights": (_sparse_weights, "model-sparse", "test.onnx"),
    "a sparse constant": (_sparse_constant, "model-sparse", "the_Constant"),
    "a training graph": (_training_graph, "model-stochastic", "test.onnx"),
    "random numbers": (lambda: model([node("RandomNormalLike", ["x"])]), "model-stochastic", "the_RandomNormalLike"),
    "random numbers of a large shape": (
        lambda: model([node("RandomUniform", [], ["r"], shape=[10**9, 10**9]), node("Relu", ["x"])]),
        "model-stochastic",
        "the_RandomUniform",
    ),
    "Bernoulli": (lambda: model([node("Bernoulli", ["x"])]), "model-stochastic", "the_Bernoulli"),
    "dropout in training mode": (
        lambda: model([node("Dropout", ["x", "r", "t"])], {"r": np.float32(0.5), "t": np.array(True)}),
        "model-stochastic",
        "the_Dropout",
    ),
    "batch normalisation in training mode": (
        lambda: model(
            [node("BatchNormalization", ["x", *"sbmv"], ["y", "mean", "variance"], training_mode=1)],
            {name: np.ones(4, np.float32) for name in "sbmv"},
        ),
        "model-stochastic",
        "the_BatchNormalization",
    ),
    "a sequence": (lambda: model([node("SequenceEmpty", [], ["s"]), node("Relu", ["x"])]), "model-dtype", "the_SequenceEmpty"),
    "a split to a sequence": (lambda: model([node("SplitToSequence", ["x"])]), "model-dtype", "the_SplitToSequence"),
    "a vendor operator": (
        lambda: model([node("FusedGemm", ["x"], domain="com.microsoft")], domains={"com.microsoft": 1}),
        "model-unknown-domain",
        "the_FusedGemm",
    ),
    "an operator on text": (
        lambda: model([node("LabelEncoder", ["x"], domain="ai.onnx.ml")], domains={"ai.onnx.ml": 3}),
        "model-unknown-domain",
        "the_LabelEncoder",
    ),
    "an operator that does not exist": (lambda: model([node("Frobnicate", ["x"])]), "model-unknown-operator", "the_Frobnicate"),
    "an operator newer than the opset": (lambda: model([node("Gelu", ["x"])], opset=18), "model-unknown-operator", "the_Gelu"),
    "an operator that opset 18 lacks": (
        lambda: model([node("CumProd", ["x", "a"])], {"a": np.array(1)}, opset=26, ir=10),
        "model-unknown-operator",
        "the_CumProd",
    ),
    "a domain that is not imported": (
        lambda: model([node("Scaler", ["x"], domain="ai.onnx.ml")]),
        "model-bad-version",
        "the_Scaler",
    ),
    "opset 6": (lambda: model([node("Relu", ["x"])], opset=6), "model-bad-version", "test.onnx"),
    "opset 99": (lambda: model([node("Relu", ["x"])], opset=99), "model-bad-version", "test.onnx"),
    "IR version 2": (lambda: model([node("Relu", ["x"])], ir=2), "model-bad-version", "test.onnx"),
    "IR version 999": (lambda: model([node("Relu", ["x"])], ir=999), "model-bad-version", "test.onnx"),
    "two versions of one domain": (_two_versions, "model-bad-version", "test.onnx"),
    "no standard opset": (_no_standard_opset, "model-bad-version", "test.onnx"),
    "an attribute twice": (_duplicate_attribute, "model-malformed", "the_LeakyRelu"),
    "an attribute of the wrong type": (_attribute_of_wrong_type, "model-malformed", "the_LeakyRelu"),
    "an attribute that does not exist": (lambda: model([node("Relu", ["x"], alpha=1.0)]), "model-malformed", "the_Relu"),
    "a required attribute missing": (lambda: model([node("Concat", ["x"])]), "model-malformed", "the_Concat"),
    "too many inputs": (lambda: model([node("Relu", ["x", "x"])]), "model-malformed", "the_Relu"),
    "a required input absent": (lambda: model([node("Add", ["x", ""])]), "model-malformed", "the_Add"),
    "no output": (lambda: model([node("Relu", ["x"], [""]), node("Abs", ["x"])]), "model-malformed", "the_Relu"),
    "an input that nothing defines": (lambda: model([node("Add", ["x", "ghost"])]), "model-malformed", "the_Add"),
    "a cycle": (
        lambda: model([node("Add", ["x", "b"], ["a"]), node("Relu", ["a"], ["b"])], outputs=["b"]),
        "model-malformed",
        "the_Add",
    ),
    "a node that reads itself": (lambda: model([node("Add", ["x", "y"])]), "model-malformed", "the_Add"),
    "a value defined twice": (lambda: model([node("Relu", ["x"]), node("Abs", ["x"])]), "model-malformed", "the_Abs"),
    "an output that nothing computes": (lambda: model([node("Relu", ["x"], ["z"])]), "model-malformed", "output 'y'"),
    "two outputs of one name": (lambda: model([node("Relu", ["x"])], outputs=["y", "y"]), "model-malformed", "test.onnx"),
    "no node": (lambda: model([], outputs=["x"]), "model-malformed", "test.onnx"),
    "no output at all": (lambda: model([node("Relu", ["x"])], outputs=[]), "model-malformed", "test.onnx"),
    "no input": (
        lambda: model([node("Relu", ["x"])], {"x": np.ones(4, np.float32)}),
        "model-malformed",
        "test.onnx",
    ),
    "a name with a control character": (lambda: model([node("Relu", ["x"], name="a\x1b[31m")]), "model-bad-name", "\\x1b"),
    "a name that is too long": (lambda: model([node("Relu", ["x"], name="n" * (MAX_NAME + 1))]), "model-bad-name", "nnn"),
    "an unnamed input": (lambda: model([node("Relu", ["x"])], inputs={"": (1,), "x": (1,)}), "model-bad-name", "test.onnx"),
    "a string weight": (_string_weight, "model-dtype", "'w'"),
    "a bfloat16 weight of too few bytes": (_weight_of(onnx.TensorProto.BFLOAT16, b"\0"), "model-malformed", "'w'"),
    "a complex weight": (_weight_of(onnx.TensorProto.COMPLEX64, b"\0" * 8), "model-dtype", "'w'"),
    "an eight-bit float weight": (_weight_of(onnx.TensorProto.FLOAT8E4M3FN, b"\0"), "model-dtype", "'w'"),
    "a weight of no type": (_weight_of(0, b"\0"), "model-dtype", "'w'"),
    "a four-bit input": (
        lambda: model([node("Relu", ["x"])], input_type=onnx.TensorProto.INT4),
        "model-dtype",
        "input 'x'",
    ),
    "a NaN weight": (
        lambda: model([node("Add", ["x", "w"])], {"w": np.array([1, np.nan], np.float32)}),
        "model-non-finite",
        "'w'",
    ),
    "an infinite weight": (
        lambda: model([node("Add", ["x", "w"])], {"w": np.array([-np.inf], np.float32)}),
        "model-non-finite",
        "'w'",
    ),
    "a float64 weight beyond float32": (
        lambda: model([node("Add", ["x", "w"])], {"w": np.array([1e300])}, input_type=onnx.TensorProto.DOUBLE),
        "model-non-finite",
        "'w'",
    ),
    "an infinite attribute": (
        lambda: model([node("LeakyRelu", ["x"], alpha=float("inf"))]),
        "model-non-finite",
        "the_LeakyRelu",
    ),
    "an integer division by zero": (
        lambda: model([node("Div", ["x", "d"])], {"d": np.array([0])}, input_type=onnx.TensorProto.INT64),
        "model-malformed",
        "the_Div",
    ),
    "an integer division by an input": (
        lambda: model([node("Div", ["x", "z"])], inputs={"x": (1,), "z": (1,)}, input_type=onnx.TensorProto.INT64),
        "model-malformed",
        "the_Div",
    ),
    "operands of different types": (
        lambda: model([node("Add", ["x", "w"])], {"w": np.array([1])}),
        "model-dtype",
        "the_Add",
    ),
    "operands whose shapes do not fit": (
        lambda: model([node("MatMul", ["x", "w"])], {"w": np.ones((3, 2), np.float32)}),
        "model-malformed",
        "the_MatMul",
    ),
    # The next four end the process when ONNX's own shape inference meets them.
    "an axis beyond 31 bits": (
        lambda: model([node("LayerNormalization", ["x", "w"], axis=2**31)], {"w": np.ones(4, np.float32)}),
        "model-malformed",
        "the_LayerNormalization",
    ),
    "a negative number of batch axes": (
        lambda: model([node("GatherND", ["x", "i"], batch_dims=-2)], {"i": np.array([[0]])}),
        "model-malformed",
        "the_GatherND",
    ),
    "more parts than asked for": (
        lambda: model([node("Split", ["x"], ["a", "b", "y"], axis=1, num_outputs=2)]),
        "model-malformed",
        "the_Split",
    ),
    "more parts than sizes": (
        lambda: model([node("Split", ["x", "s"], ["a", "b", "y"], axis=1)], {"s": np.array([2, 2])}),
        "model-malformed",
        "the_Split",
    ),
    "a constant output": (
        lambda: model([node("Relu", ["x"], ["a"]), node("Constant", [], value_float=1.0)], outputs=["a", "y"]),
        "model-malformed",
        "output 'y'",
    ),
    "an input that nothing reads": (
        lambda: model([node("Relu", ["x"])], inputs={"x": (1, 4), "idle": (1, 4)}),
        "model-unused-input",
        "input 'idle'",
    ),
    "an unnamed open dimension": (
        lambda: model([node("Relu", ["x"])], inputs={"x": (4, None)}),
        "model-dynamic-shape",
        "input 'x'",
    ),
    "a named open dimension": (
        lambda: model([node("Relu", ["x"])], inputs={"x": (1, "N")}),
        "model-dynamic-shape",
        "input 'x'",
    ),
    "an empty dimension": (lambda: model([node("Relu", ["x"])], inputs={"x": (0, 4)}), "model-malformed", "input 'x'"),
    "a shape that depends on data": (lambda: model([node("NonZero", ["x"])]), "model-dynamic-shape", "the_NonZero"),
    "a target shape that depends on data": (
        lambda: model([node("Cast", ["x"], ["s"], to=7), node("Reshape", ["x", "s"])], inputs={"x": (4,)}),
        "model-dynamic-shape",
        "the_Reshape",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_is_refused_with_its_code_and_place(case: str) -> None:
    build, code, place = CASES[case]
    error = refusal(build())
    assert (error.code, error.status) == (code, 2)
    assert place in error.where


def test_text_that_is_not_utf8_is_refused() -> None:
    data = relu().SerializeToString().replace(b"the_Relu", b"the\xff\xfe\xfd\xfc\xfb")
    assert refusal(data).code == "model-malformed"


@pytest.mark.parametrize("data", [b"", b"\x00", b"not a model", b"\xff" * 64, relu().SerializeToString()[:-7]])
def test_what_is_no_model_is_refused(data: bytes) -> None:
    assert refusal(data).code in {"model-malformed", "model-bad-version"}


def test_a_message_nested_deeper_than_any_model_is_refused() -> None:
    def field(number: int, content: bytes) -> bytes:
        length, prefix = len(content), bytearray([number << 3 | 2])
        while length > 0x7F:
            prefix.append(length & 0x7F | 0x80)
            length >>= 7
        return bytes(prefix) + bytes([length]) + content

    graph = b""
    for _ in range(2000):
        graph = field(1, field(5, field(6, graph)))  # a node with an attribute that holds a graph
    assert refusal(field(7, graph)).code == "model-malformed"


def test_a_file_beyond_the_limit_is_refused_unread() -> None:
    class Huge(bytes):
        def __len__(self) -> int:
            return MAX_FILE_BYTES + 1

    assert refusal(Huge(b"x")).code == "model-too-large"


def test_raw_data_of_the_wrong_length_is_refused() -> None:
    source = model([node("Add", ["x", "w"])], {"w": np.ones(4, np.float32)})
    source.graph.initializer[0].raw_data = b"\0" * 15
    assert refusal(source).code == "model-malformed"


def test_values_in_two_places_are_refused() -> None:
    source = model([node("Add", ["x", "w"])], {"w": np.ones(4, np.float32)})
    source.graph.initializer[0].float_data.append(1.0)
    assert refusal(source).code == "model-malformed"


def test_a_boolean_weight_that_is_neither_is_refused() -> None:
    source = model([node("Where", ["w", "x", "x"])])
    source.graph.initializer.append(onnx.TensorProto(name="w", data_type=onnx.TensorProto.BOOL, dims=[1], raw_data=b"\x02"))
    assert refusal(source).code == "model-malformed"


def test_a_dimension_that_the_model_lacks_is_refused() -> None:
    error = refusal(relu(), dims={"N": 2})
    assert (error.code, "'N'" in error.message) == ("model-dynamic-shape", True)


def test_the_same_domain_in_the_same_version_twice_is_harmless() -> None:
    source = relu()
    source.opset_import.add(domain="ai.onnx", version=18)
    canonicalise(source.SerializeToString(), where="test.onnx")
