"""Lowered models compute what onnxruntime computes, up to their scales' steps; what cannot be lowered is refused by name."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from tests.support.sumcheck_models import Array, encoder_block, float_constants, lowered, model, samples, small_cnn
from tests.unit.engines.sumcheck.test_engine import spec_of
from verifai.engines.sumcheck import estimate
from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.codec import encode
from verifai.engines.sumcheck.circuit.program import Visibility, WeightVisibility
from verifai.engines.sumcheck.interpreter.run import run
from verifai.engines.sumcheck.lowering import state
from verifai.engines.sumcheck.lowering.lower import Lowered, lower
from verifai.engines.sumcheck.lowering.operators import UnitScales, operator_support
from verifai.engines.sumcheck.lowering.views import partition
from verifai.engines.sumcheck.quantise.scales import QuantiserOptions
from verifai.engines.sumcheck.tensors import to_steps
from verifai.errors import UnsupportedModel
from verifai.onnx_graph.model import OnnxModel
from verifai.onnx_graph.reference import Reference

FINE = QuantiserOptions(activation_bits=12, input_bits=12, output_bits=12)


def errors_in_steps(net: OnnxModel, made: Lowered, feeds: list[dict[str, Array]]) -> float:
    """The largest |circuit − onnxruntime| in steps of the output's scale, on inputs that are exact on the circuit's grid."""
    reference, worst = Reference(net), 0.0
    for feed in feeds:
        integers, exact = [], {}
        for spec, port in zip(net.inputs, made.circuit.inputs, strict=True):
            tensor = made.circuit.tensors[port.tensor]
            steps = np.clip(to_steps(spec.name, feed[spec.name], Fraction(*tensor.scale)), tensor.low, tensor.high)
            integers.append(steps.reshape(tensor.shape))
            exact[spec.name] = (steps * float(Fraction(*tensor.scale))).astype(np.float32).reshape(spec.shape)
        expected = reference.run(exact)
        found = run(made.circuit, made.weights, integers).outputs()
        for spec, port, cells in zip(net.outputs, made.circuit.outputs, found, strict=True):
            step = float(Fraction(*made.circuit.tensors[port.tensor].scale))
            difference = np.abs(cells.reshape(spec.shape) - expected[spec.name] / step)
            worst = max(worst, float(difference.max()))
    return worst


def node(kind: str, *inputs: str, out: str = "y", **attributes: Any) -> Any:
    return helper.make_node(kind, list(inputs), [out], **attributes)


def one(
    kind: str,
    shape: tuple[int, ...],
    out: tuple[int, ...],
    *more: str,
    constants: Mapping[str, Array] | None = None,
    **attributes: Any,
) -> OnnxModel:
    return model([node(kind, "x", *more, **attributes)], {"x": shape}, {"y": out}, constants)


RNG = np.random.default_rng(11)
C = float_constants(
    RNG,
    k=(4, 3, 3, 3),
    b=(4,),
    dw=(4, 1, 3, 3),
    g2=(4, 3, 2, 2),
    line=(5, 2, 3),
    w=(6, 5),
    wide=(4, 12),
    row=(1, 6),
    ch=(1, 4, 1, 1),
)
INDEX = {
    name: np.array(values, np.int64)
    for name, values in {"s": [0, 1], "e": [2, 5], "ax": [1, 2], "st": [1, 2], "idx": [2, 0, 0]}.items()
}

# ruff: noqa: E501 - one case per line reads as a table
# Half a step for the rounding of the result, an eighth (root mean square, so at most about half) for the rounding of weights.
CASES: dict[str, tuple[OnnxModel, float]] = {
    "convolution": (one("Conv", (1, 3, 8, 8), (1, 4, 8, 8), "k", "b", constants={n: C[n] for n in ("k", "b")}, pads=[1, 1, 1, 1]), 1.0),
    "convolution, stride 2, dilation 2, asymmetric pads": (
        one("Conv", (2, 3, 9, 8), (2, 4, 4, 5), "k", constants={"k": C["k"]}, strides=[2, 2], dilations=[2, 2], pads=[1, 3, 2, 2]),
        1.0,
    ),
    "depthwise convolution": (one("Conv", (1, 4, 6, 6), (1, 4, 4, 4), "dw", constants={"dw": C["dw"]}, group=4), 1.0),
    "grouped convolution of three channels per group": (
        one("Conv", (1, 6, 5, 5), (1, 4, 4, 4), "g2", constants={"g2": C["g2"]}, group=2),
        1.0,
    ),
    "convolution in one dimension": (one("Conv", (1, 2, 9), (1, 5, 4), "line", constants={"line": C["line"]}, strides=[2]), 1.0),
    "dense layer": (one("Gemm", (3, 5), (3, 6), "w", constants={"w": C["w"]}, transB=1), 1.0),
    "matrix product with a bias": (
        model([node("MatMul", "x", "w", out="h"), node("Add", "h", "row")], {"x": (3, 5)}, {"y": (3, 6)}, {"w": C["w"].T.copy(), "row": C["row"]}),
        1.0,
    ),
    "batch normalisation after a convolution, written out": (
        model(
            [node("Conv", "x", "k", out="h"), node("Mul", "h", "ch", out="m"), node("Add", "m", "ch")],
            {"x": (1, 3, 5, 5)},
            {"y": (1, 4, 3, 3)},
            {"k": C["k"], "ch": C["ch"]},
        ),
        1.0,
    ),
    "flattening of padded axes": (
        model(
            [node("MaxPool", "x", out="p", kernel_shape=[2, 2], strides=[2, 2]), node("Flatten", "p", out="f"), node("Gemm", "f", "wide", transB=1)],
            {"x": (1, 3, 4, 4)},
            {"y": (1, 4)},
            {"wide": C["wide"]},
        ),
        1.0,
    ),
    "max pooling of 3 by 3 with pads": (one("MaxPool", (1, 2, 7, 7), (1, 2, 4, 4), kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]), 0.51),
    "max pooling of 5 by 7": (one("MaxPool", (1, 2, 9, 9), (1, 2, 5, 3), kernel_shape=[5, 7]), 0.51),
    "max pooling of 11 in a row": (one("MaxPool", (1, 2, 16), (1, 2, 6), kernel_shape=[11]), 0.51),
    "global max pooling": (one("GlobalMaxPool", (2, 3, 5, 7), (2, 3, 1, 1)), 0.51),
    "maximum of two axes": (one("ReduceMax", (2, 3, 4), (1, 3, 1), "ax02", constants={"ax02": np.array([0, 2])}), 0.51),
    "reshapes that merge and split axes": (
        model(
            [node("Reshape", "x", "s1", out="a"), node("Tanh", "a", out="t"), node("Reshape", "t", "s2", out="b"), node("Tanh", "b")],
            {"x": (2, 3, 5)},
            {"y": (3, 10)},
            {"s1": np.array([6, 5]), "s2": np.array([3, 10])},
        ),
        2.0,
    ),
    "softmax": (one("Softmax", (2, 3, 5), (2, 3, 5), axis=-1), 1.5),
    "softmax along an inner axis of a dense layer": (
        model(
            [node("Gemm", "x", "w", out="h", transB=1), node("Mul", "h", "c", out="m"), node("Softmax", "m", axis=0)],
            {"x": (3, 5)},
            {"y": (3, 6)},
            {"w": C["w"], "c": np.float32(0.5)},
        ),
        6.0,
    ),
    "layer normalisation": (
        one("LayerNormalization", (2, 3, 16), (2, 3, 16), "g", "h", constants={"g": np.linspace(0.5, 2, 16, dtype=np.float32), "h": np.linspace(-1, 1, 16, dtype=np.float32)}),
        12.0,
    ),
    "layer normalisation over two axes": (
        one("LayerNormalization", (2, 3, 8), (2, 3, 8), "g", constants={"g": np.ones((3, 8), np.float32)}, axis=1, epsilon=1e-3),
        12.0,
    ),
    "attention scores": (
        model(
            [node("Transpose", "k", out="kt", perm=[0, 2, 1]), node("MatMul", "q", "kt", out="s"), node("Softmax", "s", axis=-1)],
            {"q": (2, 3, 4), "k": (2, 5, 4)},
            {"y": (2, 3, 5)},
        ),
        6.0,
    ),
    "average pooling": (one("AveragePool", (1, 2, 6, 6), (1, 2, 3, 3), kernel_shape=[2, 2], strides=[2, 2]), 1.0),
    "average pooling that counts pads": (one("AveragePool", (1, 2, 6, 6), (1, 2, 6, 6), kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1), 1.0),
    "global average pooling": (one("GlobalAveragePool", (1, 3, 5, 5), (1, 3, 1, 1)), 1.0),
    "mean of two axes": (one("ReduceMean", (2, 3, 4), (3,), "ax02", constants={"ax02": np.array([0, 2])}, keepdims=0), 1.0),
    "sum of an axis": (one("ReduceSum", (2, 3, 4), (2, 1, 4), "ax1", constants={"ax1": np.array([1])}), 1.0),
    "residual addition": (model([node("Relu", "x", out="r"), node("Add", "x", "r")], {"x": (1, 40)}, {"y": (1, 40)}), 1.0),
    "addition of two inputs with broadcasting": (model([node("Add", "a", "b")], {"a": (2, 3, 4), "b": (3, 1)}, {"y": (2, 3, 4)}), 1.0),
    "difference": (model([node("Sub", "a", "b")], {"a": (2, 9), "b": (2, 9)}, {"y": (2, 9)}), 1.0),
    "transposed slices": (
        model(
            [node("Slice", "x", "s", "e", "ax", "st", out="h"), node("Transpose", "h", out="t", perm=[2, 0, 1]), node("Tanh", "t")],
            {"x": (3, 4, 5)},
            {"y": (2, 3, 2)},
            {n: INDEX[n] for n in ("s", "e", "ax", "st")},
        ),
        1.0,
    ),
    "concatenation of halves": (
        model(
            [helper.make_node("Split", ["x"], ["a", "b"], axis=1, num_outputs=2), node("Relu", "a", out="ra"), node("Concat", "ra", "b", "x", axis=1)],
            {"x": (1, 6, 3)},
            {"y": (1, 12, 3)},
        ),
        1.01,
    ),
    "padding and gathering": (
        model(
            [node("Pad", "x", "pads", out="p"), node("Gather", "p", "idx", out="g", axis=0), node("Sigmoid", "g")],
            {"x": (3, 2)},
            {"y": (3, 5)},
            {"pads": np.array([0, 1, 0, 2]), "idx": INDEX["idx"]},
        ),
        1.0,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_lowered_model_stays_within_its_steps(name: str) -> None:
    net, bound = CASES[name]
    feeds = samples(net, 6)
    assert errors_in_steps(net, lowered(net, feeds, FINE), feeds) <= bound


ACTIVATIONS = {
    "Relu": {}, "LeakyRelu": {"alpha": 0.1}, "Elu": {"alpha": 0.7}, "Sigmoid": {}, "Tanh": {}, "Erf": {}, "Exp": {}, "Softplus": {},
    "HardSigmoid": {}, "HardSwish": {}, "Neg": {}, "Abs": {},
}  # fmt: skip


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_lives_in_the_table_of_the_layer_before_it(name: str) -> None:
    net = model(
        [node("Gemm", "x", "w", out="h", transB=1), node(name, "h", **ACTIVATIONS[name])],
        {"x": (3, 5)},
        {"y": (3, 6)},
        {"w": C["w"]},
    )
    feeds = samples(net, 6)
    made = lowered(net, feeds, QuantiserOptions(input_bits=12, activation_bits=10, output_bits=9))
    assert [type(op) for op in made.circuit.ops] == [ops.MatMul, ops.Requant]
    # The argument's steps are as fine as the result's, or finer, times the function's slope (at most e here).
    assert errors_in_steps(net, made, feeds) <= 2.0


def test_gelu_written_out_becomes_one_table() -> None:
    nodes = [
        node("Gemm", "x", "w", out="h", transB=1),
        node("Div", "h", "r", out="d"),
        node("Erf", "d", out="e"),
        node("Add", "e", "one", out="p"),
        node("Mul", "h", "p", out="m"),
        node("Mul", "m", "half"),
    ]
    constants = {"w": C["w"], "r": np.float32(2**0.5), "one": np.float32(1), "half": np.float32(0.5)}
    net = model(nodes, {"x": (3, 5)}, {"y": (3, 6)}, constants)
    feeds = samples(net, 6)
    made = lowered(net, feeds, QuantiserOptions(input_bits=12, activation_bits=10, output_bits=9))
    assert [type(op) for op in made.circuit.ops] == [ops.MatMul, ops.Requant]
    assert errors_in_steps(net, made, feeds) <= 1.0


def test_a_residual_sum_joins_the_convolution_before_it() -> None:
    net = small_cnn()
    made = lowered(net, samples(net), FINE)
    kinds = [type(op).__name__ for op in made.circuit.ops]
    assert kinds == [
        "Conv", "Requant", "WindowMax", "Conv", "LinearCombination", "Requant", "MatMul", "Requant",
    ]  # fmt: skip
    assert errors_in_steps(net, made, samples(net)) <= 3.0


def test_flattening_costs_no_operation() -> None:
    net, _ = CASES["flattening of padded axes"]
    made = lowered(net, samples(net))
    assert not any(isinstance(op, ops.Gather | ops.View | ops.Relabel) for op in made.circuit.ops)
    weight = next(op for op in made.circuit.ops if isinstance(op, ops.MatMul)).weight
    assert made.circuit.weights[weight].shape == (4, 3, 2, 2)


def test_equal_inputs_give_equal_bytes_and_pinned_scales_alone_give_them_again() -> None:
    net = small_cnn()
    feeds = samples(net)
    first, second = lowered(net, feeds), lowered(net, feeds)
    assert encode(first.circuit) == encode(second.circuit) and first.blob == second.blob
    public = {t.name: Visibility.PUBLIC for t in (*net.inputs, *net.outputs)}
    again = lower(net, first.scales, tensors=public)
    assert encode(again.circuit) == encode(first.circuit) and again.blob == first.blob
    for name in first.scales:
        without = {other: scale for other, scale in first.scales.items() if other != name}
        with pytest.raises(UnsupportedModel) as refused:
            lower(net, without, tensors=public)
        assert refused.value.code == "no-scale" and refused.value.where == name


def test_a_split_replaces_a_large_table_only_when_asked() -> None:
    net = model(
        [node("Gemm", "x", "big", transB=1)],
        {"x": (1, 300)},
        {"y": (1, 4)},
        {"big": RNG.standard_normal((4, 300)).astype(np.float32)},
    )
    feeds = samples(net)
    plain, split = (lowered(net, feeds, QuantiserOptions(split=flag)) for flag in (False, True))
    assert [op.saturate for op in plain.circuit.ops if isinstance(op, ops.Requant)] == [False]
    assert [op.saturate for op in split.circuit.ops if isinstance(op, ops.Requant)] == [True]
    assert len(split.circuit.tables[0].values) < len(plain.circuit.tables[0].values)
    assert errors_in_steps(net, split, feeds) == errors_in_steps(net, plain, feeds)


REFUSED: dict[str, tuple[OnnxModel, str]] = {
    "weights that are computed": (model([node("Conv", "x", "v")], {"x": (1, 2, 4, 4), "v": (3, 2, 1, 1)}, {"y": (1, 3, 4, 4)}), "constant"),
    "groups of three outputs": (
        one("Conv", (1, 4, 4, 4), (1, 6, 2, 2), "k6", constants={"k6": np.ones((6, 2, 3, 3), np.float32)}, group=2), "power of two",
    ),
    "four spatial axes": (
        one("ConvTranspose", (1, 1, 2, 2, 2, 2), (1, 1, 3, 3, 3, 3), "k6", constants={"k6": np.ones((1, 1, 2, 2, 2, 2), np.float32)}),
        "spatial axes",
    ),
    "an operator without a rule": (one("Det", (5, 5), ()), "no rule"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_lowered_is_refused_with_its_node(name: str) -> None:
    net, reason = REFUSED[name]
    with pytest.raises(UnsupportedModel) as refused:
        lowered(net, samples(net))
    assert (
        refused.value.code == "operator-unsupported"
        and "node" in refused.value.where
        and reason in refused.value.message + refused.value.hint
    )


def test_numbers_without_an_axis_are_multiplied_and_taken_from_each_other() -> None:
    """The determinant of one matrix is such a number, and so is every product in it."""
    net = one("Det", (2, 2), ())
    lowered(net, samples(net))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.data())
def test_convolutions_of_any_parameters_agree_with_onnxruntime(data: st.DataObject) -> None:
    draw = data.draw
    groups = draw(st.sampled_from([1, 1, 2, 4]))
    inner, outer = draw(st.integers(1, 3)), draw(st.sampled_from([1, 2]))
    kernel = [draw(st.integers(1, 3)) for _ in range(2)]
    stride = [draw(st.integers(1, 3)) for _ in range(2)]
    dilation = [draw(st.integers(1, 2)) for _ in range(2)]
    pads = [draw(st.integers(0, 2)) for _ in range(4)]
    size = [draw(st.integers(dilation[i] * (kernel[i] - 1) + 1, 8)) for i in range(2)]
    out = [(size[i] + pads[i] + pads[2 + i] - dilation[i] * (kernel[i] - 1) - 1) // stride[i] + 1 for i in range(2)]
    weights = (
        np.random.default_rng(draw(st.integers(0, 999))).standard_normal((groups * outer, inner, *kernel)).astype(np.float32)
    )
    net = one(
        "Conv", (1, groups * inner, *size), (1, groups * outer, *out), "k",
        constants={"k": weights}, group=groups, strides=stride, dilations=dilation, pads=pads,
    )  # fmt: skip
    feeds = samples(net, 3)
    assert errors_in_steps(net, lowered(net, feeds, FINE), feeds) <= 1.0


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.data())
def test_max_pooling_of_any_parameters_equals_onnxruntime(data: st.DataObject) -> None:
    draw = data.draw
    kernel = [draw(st.integers(1, 6)) for _ in range(2)]
    stride = [draw(st.integers(1, 3)) for _ in range(2)]
    dilation = [draw(st.integers(1, 2)) for _ in range(2)]
    size = [draw(st.integers(dilation[i] * (kernel[i] - 1) + 1, 13)) for i in range(2)]
    pads = [draw(st.integers(0, min(2, kernel[i % 2] // 2))) for i in range(4)]
    out = [(size[i] + pads[i] + pads[2 + i] - dilation[i] * (kernel[i] - 1) - 1) // stride[i] + 1 for i in range(2)]
    net = one("MaxPool", (1, 2, *size), (1, 2, *out), kernel_shape=kernel, strides=stride, dilations=dilation, pads=pads)
    feeds = samples(net, 3)
    try:
        made = lowered(net, feeds, FINE)
    except UnsupportedModel as problem:
        assert "wholly in the padding" in problem.message
        return
    assert errors_in_steps(net, made, feeds) <= 1e-3


def test_an_output_of_16_bits_that_is_never_negative_reaches_the_end_of_its_range() -> None:
    """A table's argument has 16 bits with its sign; cut off there, the upper half of the output would be one value."""
    net = model(
        [node("MatMul", "x", "w", out="z"), node("Relu", "z")], {"x": (2, 4)}, {"y": (2, 4)}, {"w": np.eye(4, dtype=np.float32)}
    )
    feeds = samples(net)
    options = QuantiserOptions(activation_bits=12, input_bits=12, output_bits=16)
    assert errors_in_steps(net, lowered(net, feeds, options), feeds) <= 1.5


def test_a_reshape_that_splits_one_axis_and_merges_the_rest_is_a_view_of_few_blocks() -> None:
    cells = np.arange(512 * 16, dtype=np.int64).reshape(1, 512, 16)
    pieces = partition(np.ascontiguousarray(cells.reshape(128, 64).T), cells.shape, 0)
    assert len(pieces) == 4


def test_a_node_whose_bound_breaks_under_unit_scales_refuses_no_node_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "MAX_SHIFT", 20)
    assert [entry.reason for entry in operator_support(encoder_block()) if not entry.supported] == []


def test_costs_are_estimated_although_shared_tables_and_large_shifts_meet_under_coarse_unit_scales(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[int] = []

    def refusing(model: OnnxModel, scales: UnitScales, **options: Any) -> str:
        asked.append((scales["x"].high - scales["x"].low).bit_length())
        if len(asked) < 3:
            raise UnsupportedModel("circuit-bound", "s + w is greater than 62")
        return "lowered"

    monkeypatch.setattr(estimate, "lower", refusing)
    monkeypatch.setattr(estimate, "bindings", lambda spec: {})
    spec = spec_of(small_cnn())
    assert estimate._lowered(small_cnn(), spec, WeightVisibility.PUBLIC) == "lowered"  # type: ignore[comparison-overlap]
    assert asked == [8, 10, 12]
