"""The canonical form: what each pass does, that it keeps the meaning, and that it is a fixed point."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper
from onnx_builders import attributes, canonical, model, node, operators, relu, weights

from verifai.errors import UnsupportedModel
from verifai.onnx_graph.canonicalise import Canonical, canonicalise
from verifai.onnx_graph.reference import Reference


def largest_gap(source: onnx.ModelProto, result: Canonical, *, seeds: int = 3) -> float:
    """Largest difference between the source, run as it is, and the canonical model, on seeded inputs."""
    session = onnxruntime.InferenceSession(source.SerializeToString(), providers=["CPUExecutionProvider"])
    reference = Reference(result.model)
    kinds = {"tensor(double)": np.float64, "tensor(float16)": np.float16}
    gap = 0.0
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        inputs = {
            spec.name: rng.normal(size=spec.shape).astype(spec.dtype)
            if spec.dtype == "float32"
            else rng.integers(0, 2, spec.shape).astype(spec.dtype)
            for spec in result.model.inputs
        }
        given_inputs = {
            value.name: inputs[value.name].astype(kinds.get(value.type, inputs[value.name].dtype))
            for value in session.get_inputs()
        }
        for value, ours in zip(session.run(None, given_inputs), reference.run(inputs).values(), strict=True):
            assert np.shape(value) == ours.shape
            gap = max(gap, float(np.max(np.abs(np.asarray(value, dtype=np.float64) - ours), initial=0.0)))
    return gap


IMAGE = {"x": (1, 2, 7, 7)}
Case = tuple[Sequence[onnx.NodeProto], Mapping[str, np.ndarray], Mapping[str, Sequence[Any]], int, list[str]]

SAME_MEANING: dict[str, Case] = {
    "a convolution padded to the same size": (
        [node("Conv", ["x", "w"], auto_pad="SAME_UPPER", strides=[2, 2])],
        {"w": weights(3, 2, 4, 4)},
        IMAGE,
        11,
        ["Conv"],
    ),
    "the same, padded at the begin first": (
        [node("Conv", ["x", "w"], auto_pad="SAME_LOWER")],
        {"w": weights(3, 2, 4, 4)},
        IMAGE,
        11,
        ["Conv"],
    ),
    "a convolution without padding": (
        [node("Conv", ["x", "w"], auto_pad="VALID", dilations=[2, 2])],
        {"w": weights(3, 2, 2, 2)},
        IMAGE,
        11,
        ["Conv"],
    ),
    "a convolution in groups": (
        [node("Conv", ["x", "w"], group=2, pads=[1, 0, 0, 1])],
        {"w": weights(4, 1, 2, 2)},
        IMAGE,
        11,
        ["Conv"],
    ),
    "a convolution over one axis": ([node("Conv", ["x", "w"])], {"w": weights(3, 2, 3)}, {"x": (1, 2, 9)}, 11, ["Conv"]),
    "a transposed convolution to the same size": (
        [node("ConvTranspose", ["x", "w"], auto_pad="SAME_UPPER", strides=[2, 2])],
        {"w": weights(2, 3, 3, 3)},
        IMAGE,
        11,
        ["ConvTranspose"],
    ),
    "a transposed convolution to a given size": (
        [node("ConvTranspose", ["x", "w"], output_shape=[15, 16], strides=[2, 2], output_padding=[0, 1])],
        {"w": weights(2, 3, 3, 3)},
        IMAGE,
        11,
        ["ConvTranspose"],
    ),
    "pooling without strides": ([node("MaxPool", ["x"], kernel_shape=[2, 3])], {}, IMAGE, 8, ["MaxPool"]),
    "pooling to the same size": (
        [node("AveragePool", ["x"], kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_LOWER")],
        {},
        IMAGE,
        10,
        ["AveragePool"],
    ),
    "pooling with a rounded-up size": (
        [node("MaxPool", ["x"], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)],
        {},
        IMAGE,
        10,
        ["MaxPool"],
    ),
    "normalisation after a convolution": (
        [node("Conv", ["x", "w", "c"], ["h"]), node("BatchNormalization", ["h", "s", "b", "m", "v"])],
        {
            "w": weights(3, 2, 3, 3),
            "c": weights(3),
            "s": weights(3, seed=1),
            "b": weights(3, seed=2),
            "m": weights(3, seed=3),
            "v": abs(weights(3, seed=4)),
        },
        IMAGE,
        9,
        ["Conv"],
    ),
    "normalisation after a convolution without bias": (
        [node("Conv", ["x", "w"], ["h"]), node("BatchNormalization", ["h", "s", "b", "m", "v"], epsilon=0.1)],
        {
            "w": weights(3, 2, 3, 3),
            "s": weights(3, seed=1),
            "b": weights(3, seed=2),
            "m": weights(3, seed=3),
            "v": abs(weights(3, seed=4)),
        },
        IMAGE,
        15,
        ["Conv"],
    ),
    "normalisation after a transposed convolution": (
        [node("ConvTranspose", ["x", "w"], ["h"]), node("BatchNormalization", ["h", "s", "b", "m", "v"])],
        {
            "w": weights(2, 3, 3, 3),
            "s": weights(3, seed=1),
            "b": weights(3, seed=2),
            "m": weights(3, seed=3),
            "v": abs(weights(3, seed=4)),
        },
        IMAGE,
        9,
        ["ConvTranspose"],
    ),
    "normalisation after a dense layer": (
        [
            node("Gemm", ["x", "w", "c"], ["h"], transB=1, beta=0.5, alpha=2.0),
            node("BatchNormalization", ["h", "s", "b", "m", "v"]),
        ],
        {
            "w": weights(3, 4),
            "c": weights(3),
            "s": weights(3, seed=1),
            "b": weights(3, seed=2),
            "m": weights(3, seed=3),
            "v": abs(weights(3, seed=4)),
        },
        {"x": (1, 4)},
        9,
        ["Gemm"],
    ),
    "normalisation after nothing to fold into": (
        [node("Relu", ["x"], ["h"]), node("BatchNormalization", ["h", "s", "b", "m", "v"])],
        {"s": weights(2, seed=1), "b": weights(2, seed=2), "m": weights(2, seed=3), "v": abs(weights(2, seed=4))},
        IMAGE,
        9,
        ["Relu", "Mul", "Add"],
    ),
    "normalisation of a value that others read": (
        [
            node("Conv", ["x", "w"], ["h"]),
            node("BatchNormalization", ["h", "s", "b", "m", "v"], ["n"]),
            node("Add", ["h", "n"]),
        ],
        {
            "w": weights(2, 2, 1, 1),
            "s": weights(2, seed=1),
            "b": weights(2, seed=2),
            "m": weights(2, seed=3),
            "v": abs(weights(2, seed=4)),
        },
        IMAGE,
        9,
        ["Conv", "Mul", "Add", "Add"],
    ),
    "a dense layer, scaled and transposed": (
        [node("Gemm", ["x", "w", "c"], alpha=0.5, beta=-2.0, transA=1, transB=1)],
        {"w": weights(3, 1), "c": weights(4, 3)},
        {"x": (1, 4)},
        9,
        ["Transpose", "Gemm"],
    ),
    "a dense layer of two inputs": (
        [node("Gemm", ["x", "z", "u"], alpha=0.5, beta=3.0, transB=1)],
        {},
        {"x": (2, 4), "z": (3, 4), "u": (2, 3)},
        11,
        ["Transpose", "Mul", "Mul", "Gemm"],
    ),
    "identities and dropout": (
        [
            node("Identity", ["x"], ["a"]),
            node("Dropout", ["a"], ["b"], ratio=0.5),
            node("Relu", ["b"], ["c"]),
            node("Identity", ["c"], name="last"),
        ],
        {},
        {"x": (1, 4)},
        9,
        ["Relu"],
    ),
    "a cast to the same type": ([node("Cast", ["x"], ["a"], to=1), node("Relu", ["a"])], {}, {"x": (1, 4)}, 13, ["Relu"]),
    "a shape computed from the input's": (
        [
            node("Shape", ["x"], ["s"]),
            node("Gather", ["s", "zero"], ["n"]),
            node("Unsqueeze", ["n"], ["u"], axes=[0]),
            node("Concat", ["u", "rest"], ["t"], axis=0),
            node("Reshape", ["x", "t"]),
        ],
        {"zero": np.array(0), "rest": np.array([-1])},
        {"x": (2, 3, 4)},
        11,
        ["Reshape"],
    ),
    "a reshape that keeps axes": ([node("Reshape", ["x", "s"])], {"s": np.array([0, -1])}, {"x": (2, 3, 4)}, 13, ["Reshape"]),
    "constants computed from constants": (
        [
            node("Constant", [], ["a"], value_float=3.0),
            node("Mul", ["a", "a"], ["b"]),
            node("Sqrt", ["b"], ["c"]),
            node("Add", ["x", "c"]),
        ],
        {},
        {"x": (1, 4)},
        13,
        ["Add"],
    ),
    "a softmax over all later axes, as before opset 13": (
        [node("Softmax", ["x"], axis=1)],
        {},
        {"x": (2, 3, 4)},
        11,
        ["Reshape", "Softmax", "Reshape"],
    ),
    "a softmax over the last axis": ([node("Softmax", ["x"], axis=-1)], {}, {"x": (2, 3, 4)}, 11, ["Softmax"]),
    "a logarithmic softmax, default axis": ([node("LogSoftmax", ["x"])], {}, {"x": (2, 3)}, 9, ["LogSoftmax"]),
    "bounds as attributes": ([node("Clip", ["x"], min=-0.5, max=0.5)], {}, {"x": (1, 4)}, 9, ["Clip"]),
    "one bound as attribute": ([node("Clip", ["x"], max=0.5)], {}, {"x": (1, 4)}, 9, ["Clip"]),
    "pads as attributes": ([node("Pad", ["x"], pads=[0, 1, 0, 2], value=1.5)], {}, {"x": (1, 4)}, 9, ["Pad"]),
    "a slice by attributes": ([node("Slice", ["x"], starts=[1], ends=[9], axes=[1])], {}, {"x": (1, 4)}, 9, ["Slice"]),
    "a slice by attributes, all axes": ([node("Slice", ["x"], starts=[0, 1], ends=[1, 3])], {}, {"x": (1, 4)}, 9, ["Slice"]),
    "a split by attribute": (
        [node("Split", ["x"], ["a", "b"], split=[1, 3], axis=1), node("Concat", ["b", "a"], axis=1)],
        {},
        {"x": (1, 4)},
        11,
        ["Split", "Concat"],
    ),
    "an even split": (
        [node("Split", ["x"], ["a", "b"], axis=-1), node("Add", ["b", "a"])],
        {},
        {"x": (1, 4)},
        13,
        ["Split", "Add"],
    ),
    "squeezed axes as attributes": (
        [node("Unsqueeze", ["x"], ["a"], axes=[0, 3]), node("Squeeze", ["a"], axes=[1])],
        {},
        {"x": (1, 4)},
        11,
        ["Unsqueeze", "Squeeze"],
    ),
    "a sum over axes as attribute": ([node("ReduceSum", ["x"], axes=[1], keepdims=0)], {}, {"x": (2, 4)}, 11, ["ReduceSum"]),
    "a mean over axes as attribute": ([node("ReduceMean", ["x"], axes=[-1])], {}, {"x": (2, 4)}, 13, ["ReduceMean"]),
    "a maximum over everything": ([node("ReduceMax", ["x"], keepdims=0)], {}, {"x": (2, 4)}, 13, ["ReduceMax"]),
    "the largest k, as attribute": ([node("TopK", ["x"], ["y", "i"], k=2)], {}, {"x": (1, 4)}, 9, ["TopK"]),
    "enlargement, opset 7": ([node("Upsample", ["x"], scales=[1.0, 1.0, 2.0, 3.0])], {}, IMAGE, 7, ["Resize"]),
    "enlargement, opset 9": (
        [node("Upsample", ["x", "s"], mode="linear")],
        {"s": np.array([1, 1, 2, 2], np.float32)},
        IMAGE,
        9,
        ["Resize"],
    ),
    "resizing, opset 10": ([node("Resize", ["x", "s"])], {"s": np.array([1, 1, 2, 2], np.float32)}, IMAGE, 10, ["Resize"]),
    "resizing, opset 13": (
        [node("Resize", ["x", "", "s"], mode="linear", coordinate_transformation_mode="align_corners")],
        {"s": np.array([1, 1, 2, 2], np.float32)},
        IMAGE,
        13,
        ["Resize"],
    ),
    "the old scatter": (
        [node("Scatter", ["x", "i", "u"], axis=1)],
        {"i": np.array([[1]]), "u": np.ones((1, 1), np.float32)},
        {"x": (1, 4)},
        9,
        ["ScatterElements"],
    ),
    "exact GELU": ([node("Gelu", ["x"])], {}, {"x": (1, 4)}, 20, ["Mul", "Erf", "Add", "Mul", "Mul"]),
    "approximate GELU": (
        [node("Gelu", ["x"], approximate="tanh")],
        {},
        {"x": (1, 4)},
        20,
        ["Mul", "Mul", "Mul", "Add", "Mul", "Tanh", "Add", "Mul", "Mul"],
    ),
    "Mish": ([node("Mish", ["x"])], {}, {"x": (1, 4)}, 18, ["Softplus", "Tanh", "Mul"]),
    "a cast like another tensor": (
        [node("CastLike", ["x", "i"], ["a"]), node("Cast", ["a"], to=1)],
        {"i": np.array(1)},
        {"x": (1, 4)},
        15,
        ["Cast", "Cast"],
    ),
    "a newer opset": (
        [
            node("Reshape", ["x", "s"], ["a"]),
            node("Cast", ["a"], to=1, saturate=1),
        ],
        {"s": np.array([4, 1])},
        {"x": (1, 4)},
        21,
        ["Reshape"],
    ),
    "pooling with the dilations of a newer opset": (
        [node("AveragePool", ["x"], kernel_shape=[2, 2], dilations=[1, 1])],
        {},
        IMAGE,
        19,
        ["AveragePool"],
    ),
    "layer normalisation": (
        [node("LayerNormalization", ["x", "s", "b"], axis=-1)],
        {"s": weights(4), "b": weights(4, seed=1)},
        {"x": (2, 4)},
        17,
        ["LayerNormalization"],
    ),
    "a recurrent layer": (
        [node("LSTM", ["x", "w", "r"], ["y"], hidden_size=3)],
        {"w": weights(1, 12, 4), "r": weights(1, 12, 3)},
        {"x": (2, 1, 4)},
        13,
        ["LSTM"],
    ),
}


@pytest.mark.parametrize("name", SAME_MEANING)
def test_pass_keeps_the_meaning(name: str) -> None:
    nodes, constants, inputs, opset, expected = SAME_MEANING[name]
    outputs = ["y"]
    for index, item in enumerate(nodes):  # several nodes of one operator need names of their own
        item.name = f"{item.op_type}_{index}"
    source = model(nodes, constants, inputs=inputs, opset=opset, outputs=outputs)
    result = canonical(source)
    assert operators(result) == expected
    assert largest_gap(source, result) < 1e-5


def test_pads_and_strides_are_written_out() -> None:
    result = canonical(model([node("MaxPool", ["x"], kernel_shape=[2, 2], auto_pad="SAME_UPPER")], inputs={"x": (1, 1, 3, 3)}))
    assert attributes(result, "MaxPool") == {
        "auto_pad": b"NOTSET",
        "ceil_mode": 0,
        "dilations": [1, 1],
        "kernel_shape": [2, 2],
        "pads": [0, 0, 1, 1],
        "storage_order": 0,
        "strides": [1, 1],
    }


def test_every_default_of_the_operator_is_written_out() -> None:
    result = canonical(model([node("Conv", ["x", "w"])], {"w": weights(1, 1, 2, 2)}, inputs={"x": (1, 1, 3, 3)}))
    found = attributes(result, "Conv")
    assert set(found) == set(onnx.defs.get_schema("Conv", 18).attributes)
    assert (found["group"], found["kernel_shape"]) == (1, [2, 2])


def test_negative_axes_become_positive() -> None:
    assert attributes(canonical(model([node("Softmax", ["x"], axis=-1)])), "Softmax")["axis"] == 1


def test_names_of_inputs_and_outputs_stay() -> None:
    source = model(
        [node("Identity", ["picture"], ["a"]), node("Relu", ["a"], ["b"]), node("Identity", ["b"], ["logits"], name="end")],
        inputs={"picture": (1, 4)},
        outputs=["logits"],
    )
    result = canonical(source)
    assert [spec.name for spec in result.model.inputs] == ["picture"]
    assert [spec.name for spec in result.model.outputs] == ["logits"]


def test_two_outputs_of_one_value_keep_their_names() -> None:
    source = model([node("Relu", ["x"], ["a"]), node("Identity", ["a"], ["b"])], outputs=["a", "b"])
    result = canonical(source)
    assert operators(result) == ["Relu", "Identity"]
    assert largest_gap(source, result) == 0


def test_an_input_passed_through_stays_an_output() -> None:
    source = model([node("Identity", ["x"], ["same"]), node("Relu", ["x"], name="r")], outputs=["same", "y"])
    assert largest_gap(source, canonical(source)) == 0


def test_nodes_and_weights_that_nobody_needs_are_removed() -> None:
    source = model([node("Abs", ["x"], ["waste"]), node("Relu", ["x"])], {"spare": weights(100)})
    result = canonical(source)
    assert operators(result) == ["Relu"]
    assert not result.model.proto.graph.initializer


def test_documentation_metadata_and_unknown_fields_are_removed() -> None:
    source = relu()
    plain = canonical(source).model.data
    source.doc_string = source.graph.doc_string = source.graph.node[0].doc_string = "by hand"
    source.metadata_props.add(key="author", value="somebody")
    source.producer_name, source.graph.name = "other", "other"
    assert canonicalise(source.SerializeToString() + b"\xf8\x7f\x01", where="test.onnx").model.data == plain


def test_two_encodings_of_one_weight_give_one_file() -> None:
    raw = model([node("Add", ["x", "w"])], {"w": np.arange(4, dtype=np.float32)})
    typed = model([node("Add", ["x", "w"])])
    typed.graph.initializer.append(helper.make_tensor("w", 1, [4], [0.0, 1.0, 2.0, 3.0]))
    constant = model([node("Constant", [], ["w"], value_floats=[0.0, 1.0, 2.0, 3.0]), node("Add", ["x", "w"])])
    assert len({canonical(source).model.sha256 for source in (raw, typed, constant)}) == 1


def test_a_weight_listed_among_the_inputs_is_a_weight() -> None:
    source = model([node("Add", ["x", "w"])], {"w": weights(4)}, inputs={"x": (1, 4), "w": (4,)})
    assert [spec.name for spec in canonical(source).model.inputs] == ["x"]


@pytest.mark.parametrize(("kind", "dtype", "bound"), [(11, np.float64, 1e-5), (10, np.float16, 1e-2)])
def test_other_real_types_become_float32_with_a_notice(kind: int, dtype: type, bound: float) -> None:
    source = model([node("MatMul", ["x", "w"])], {"w": weights(4, 3).astype(dtype)}, input_type=kind)
    result = canonical(source)
    assert result.model.inputs[0].dtype == "float32"
    assert any(np.dtype(dtype).name in notice for notice in result.notices)
    assert largest_gap(source, result) < bound


def test_a_cast_to_double_becomes_none() -> None:
    source = model(
        [node("Cast", ["x"], ["d"], to=11), node("Mul", ["d", "w"], ["m"]), node("Cast", ["m"], to=1, name="back")],
        {"w": np.full(4, 0.1)},
    )
    result = canonical(source)
    assert operators(result) == ["Mul"]
    assert largest_gap(source, result) < 1e-6


def test_integer_constants_that_ezkl_would_round_are_noted() -> None:
    source = model([node("Add", ["x", "w"])], {"w": np.array([2**24 + 1])}, input_type=onnx.TensorProto.INT64)
    assert any("2^24" in notice for notice in canonical(source).notices)


def test_dimensions_are_set_by_name_and_by_place() -> None:
    source = model([node("Relu", ["x"])], inputs={"x": ("N", None, 4)})
    assert canonical(source, dims={"N": 2, "x:1": 3}).model.inputs[0].shape == (2, 3, 4)


def test_long_names_leave_room_for_derived_ones() -> None:
    long = "n" * 512
    source = model(
        [
            node("Gelu", ["x"], name=long),
        ],
        opset=20,
    )
    assert operators(canonical(source))[0] == "Mul"


def test_a_derived_name_never_takes_one_in_use() -> None:
    source = model([node("Clip", ["x"], ["the_Clip_min"], min=0.0), node("Relu", ["the_Clip_min"])], opset=9)
    result = canonical(source)
    assert largest_gap(source, result) == 0


def test_batch_normalisation_with_a_negative_variance_is_refused() -> None:
    source = model(
        [node("BatchNormalization", ["x", "s", "s", "s", "v"])], {"s": np.ones(4, np.float32), "v": np.full(4, -1, np.float32)}
    )
    with pytest.raises(UnsupportedModel) as caught:
        canonical(source)
    assert caught.value.code == "model-non-finite"


def test_an_expression_of_constants_that_is_not_finite_is_refused() -> None:
    source = model([node("Log", ["w"], ["l"]), node("Add", ["x", "l"])], {"w": np.zeros(1, np.float32)})
    with pytest.raises(UnsupportedModel) as caught:
        canonical(source)
    assert (caught.value.code, "the_Log" in caught.value.where) == ("model-non-finite", True)


_UNARY = ("Relu", "Abs", "Neg", "Identity", "Sigmoid", "Tanh", "Softplus", "Erf", "Dropout")


@st.composite
def _chains(draw: st.DrawFn) -> onnx.ModelProto:
    """Random chains of layers over vectors: dense layers, normalisations, activations, reshapes, sums with earlier values."""
    width, nodes, constants, values = draw(st.integers(1, 4)), [], {}, ["x"]
    for index in range(draw(st.integers(1, 8))):
        kind, last, out = (
            draw(st.sampled_from(["unary", "gemm", "norm", "add", "reshape", "constant"])),
            values[-1],
            f"h{index}",
        )
        if kind == "unary":
            nodes.append(helper.make_node(draw(st.sampled_from(_UNARY)), [last], [out]))
        elif kind == "gemm":
            constants |= {f"w{index}": weights(width, width, seed=index), f"c{index}": weights(width, seed=index)}
            flags = {
                "transB": draw(st.integers(0, 1)),
                "alpha": draw(st.sampled_from([1.0, 0.5])),
                "beta": draw(st.sampled_from([1.0, 2.0])),
            }
            nodes.append(helper.make_node("Gemm", [last, f"w{index}", f"c{index}"], [out], **flags))
        elif kind == "norm":
            constants |= {f"{letter}{index}": abs(weights(width, seed=index)) + 0.1 for letter in "sbmv"}
            nodes.append(helper.make_node("BatchNormalization", [last, *(f"{letter}{index}" for letter in "sbmv")], [out]))
        elif kind == "add":
            nodes.append(helper.make_node("Add", [last, draw(st.sampled_from(values))], [out]))
        elif kind == "reshape":
            constants[f"t{index}"] = np.array([0, -1])
            nodes.append(helper.make_node("Reshape", [last, f"t{index}"], [out]))
        else:
            constants[f"k{index}"] = weights(width, seed=index)
            nodes.extend(
                [helper.make_node("Exp", [f"k{index}"], [f"e{index}"]), helper.make_node("Mul", [last, f"e{index}"], [out])]
            )
        values.append(out)
    return model(nodes, constants, inputs={"x": (2, width)}, outputs=[values[-1]], opset=draw(st.sampled_from([11, 12])))


@settings(max_examples=40, deadline=None)
@given(_chains())
def test_any_chain_of_layers_keeps_its_meaning_and_has_one_form(source: onnx.ModelProto) -> None:
    result = canonical(source)  # checks idempotence
    assert canonicalise(source.SerializeToString(), where="twice").model.data == result.model.data
    reference = np.max(
        np.abs(Reference(result.model).run({"x": weights(2, result.model.inputs[0].shape[1])})[source.graph.output[0].name])
    )
    assert largest_gap(source, result, seeds=1) <= 1e-4 * max(1.0, float(reference))


def test_numbers_survive_the_canonical_file_exactly() -> None:
    values = np.array([0.1, -0.0, 1e-45, 3.4e38], np.float32)
    result = canonical(model([node("Add", ["x", "w"])], {"w": values}))
    stored = numpy_helper.to_array(result.model.proto.graph.initializer[0])
    assert stored.tobytes() == values.tobytes()
