"""The canonical form: what each pass does, that it keeps the meaning, and that it is a fixed point."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from tests.support.onnx_builders import attributes, canonical, largest_gap, model, node, operators, relu, weights
from verifai.errors import UnsupportedModel
from verifai.onnx_graph.canonicalise import canonicalise
from verifai.onnx_graph.reference import Reference


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
    assert caught.value.code == "model-non-finite"


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
