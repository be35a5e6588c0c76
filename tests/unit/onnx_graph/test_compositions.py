"""Operators that are written with others compute what onnxruntime computes for them; so do those that are unrolled."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import helper
from onnxruntime import InferenceSession

from tests.support.onnx_builders import canonical, largest_gap, model, node, operators, weights
from verifai.errors import UnsupportedModel
from verifai.onnx_graph.reference import Reference

PICTURE = (1, 4, 5, 6)
VOLUME = (1, 2, 5, 6, 7)
F = np.float32


def one(
    op_type: str, *more: str, shape: tuple[int, ...] = PICTURE, opset: int = 18, outputs: Any = ("y",), **given: Any
) -> Any:
    """A model of one node: arrays are its further operands, the rest its attributes."""
    arrays = {key: value for key, value in given.items() if isinstance(value, np.ndarray)}
    attributes = {key: value for key, value in given.items() if key not in arrays}
    names = list(more) or list(arrays)
    shown = [name for name in outputs if name]
    ir = 11 if opset > 20 else 10 if opset > 18 else 8
    return model(
        [node(op_type, ["x", *names], outputs, **attributes)], arrays, inputs={"x": shape}, outputs=shown, opset=opset, ir=ir
    )


CHANNELS = {"scale": weights(4, seed=1), "bias": weights(4, seed=2)}
CASES: dict[str, Any] = {
    "instance normalisation": one("InstanceNormalization", **CHANNELS),
    "instance normalisation of a line": one("InstanceNormalization", **CHANNELS, shape=(2, 4, 7)),
    "group normalisation per group": one("GroupNormalization", scale=weights(2), bias=weights(2, seed=1), num_groups=2),
    "group normalisation per channel": one("GroupNormalization", **CHANNELS, num_groups=2, opset=21),
    "rms normalisation": one("RMSNormalization", scale=weights(6), opset=23),
    "rms normalisation of two axes": one("RMSNormalization", scale=weights(5, 6), axis=2, epsilon=0.1, opset=23),
    "averages at borders": one("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
    "averages at uneven borders": one("AveragePool", kernel_shape=[3, 2], pads=[2, 0, 1, 1], strides=[2, 1]),
    "averages of the same size": one("AveragePool", kernel_shape=[3, 4], auto_pad="SAME_LOWER", strides=[2, 3]),
    "averages rounded up": one("AveragePool", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
    "averages rounded up, padded": one("AveragePool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], ceil_mode=1),
    "averages along a line": one("AveragePool", kernel_shape=[3], pads=[1, 1], shape=(1, 2, 8)),
    "averages that count the padding": one("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1),
    "averages rounded up that count the padding": one(
        "AveragePool", kernel_shape=[3, 3], strides=[2, 3], pads=[1, 0, 1, 1], ceil_mode=1, count_include_pad=1
    ),
    "averages of volumes": one("AveragePool", kernel_shape=[2, 3, 2], strides=[2, 1, 2], pads=[1, 1, 0, 0, 1, 1], shape=VOLUME),
    "averages of volumes, rounded up": one("AveragePool", kernel_shape=[2, 2, 3], strides=[2, 2, 2], ceil_mode=1, shape=VOLUME),
    "the largest of volumes": one("MaxPool", kernel_shape=[2, 3, 2], strides=[2, 1, 2], pads=[1, 1, 0, 0, 1, 1], shape=VOLUME),
    "the largest of volumes, apart": one("MaxPool", kernel_shape=[2, 2, 2], dilations=[2, 1, 3], shape=VOLUME),
    "the largest of volumes, same size": one(
        "MaxPool", kernel_shape=[2, 2, 2], auto_pad="SAME_UPPER", strides=[2, 2, 2], shape=VOLUME
    ),
    "convolution of volumes": one("Conv", w=weights(4, 2, 2, 3, 2), b=weights(4, seed=3), shape=VOLUME),
    "convolution of volumes in groups": one(
        "Conv", w=weights(4, 1, 2, 2, 2), group=2, strides=[2, 1, 1], pads=[1, 0, 1, 0, 2, 1], shape=VOLUME
    ),
    "convolution of volumes, apart": one("Conv", w=weights(3, 2, 2, 2, 2), dilations=[3, 1, 2], shape=VOLUME),
    "convolution of volumes, same size": one(
        "Conv", w=weights(3, 2, 3, 2, 2), auto_pad="SAME_LOWER", strides=[2, 2, 1], shape=VOLUME
    ),
    "transposed convolution in groups": one(
        "ConvTranspose", w=weights(4, 3, 3, 2), b=weights(6, seed=5), group=2, strides=[2, 1], pads=[1, 0, 0, 1]
    ),
    "transposed convolution per channel": one(
        "ConvTranspose", w=weights(4, 1, 4, 4), group=4, strides=[2, 2], output_padding=[1, 0]
    ),
    "padding that wraps around": one("Pad", pads=np.array([0, 1, 2, 0, 0, 0, 1, 3]), mode="wrap", opset=19),
    "the largest is one": one("Hardmax", axis=1),
    "the largest is one, once": one("Hardmax", opset=11, axis=1, shape=(2, 3, 4)),
    "running sums": one("CumSum", axis=np.array(2)),
    "running sums from the end": one("CumSum", axis=np.array(-1), exclusive=1, reverse=1),
    "response of channels": one("LRN", size=3, alpha=0.5, beta=0.6, bias=1.5),
    "root of squares in windows": one("LpPool", kernel_shape=[2, 3], strides=[2, 1], pads=[1, 0, 0, 1]),
    "magnitudes in windows": one("LpPool", kernel_shape=[2, 2], p=1),
    "root of squares of a picture": one("GlobalLpPool"),
    "magnitudes of a picture": one("GlobalLpPool", p=1),
    "no number": model([node("IsNaN", ["x"], ["n"], name="n"), node("Cast", ["n"], to=1)]),
    "infinity": model([node("IsInf", ["x"], ["n"], name="n"), node("Cast", ["n"], to=1)]),
    "negative infinity": model([node("IsInf", ["x"], ["n"], name="n", detect_positive=0), node("Cast", ["n"], to=1)]),
    "samples of a picture": one("GridSample", grid=np.random.default_rng(0).uniform(-1.1, 1.1, (1, 3, 2, 2)).astype(F)),
    "the nearest samples": one(
        "GridSample",
        grid=np.random.default_rng(1).uniform(-1, 1, (1, 3, 2, 2)).astype(F),
        mode="nearest",
        padding_mode="border",
    ),
    "product of matrices": one("Einsum", w=weights(4, 3), equation="bi,io->bo", shape=(2, 4)),
    "products of matrices, turned": one("Einsum", w=weights(3, 5, 4), equation="nab, nca -> ncb", shape=(3, 4, 6)),
    "outer product": one("Einsum", w=weights(3), equation="i,j->ji", shape=(4,)),
    "inner product": one("Einsum", w=weights(4), equation="i,i->", shape=(4,)),
    "sums on one side": one("Einsum", w=weights(4, 3, 2), equation="abi,iok->ao", shape=(2, 5, 4)),
    "a transposed sum": one("Einsum", equation="abc->ca", shape=(2, 3, 4)),
    "letters in order": one("Einsum", w=weights(4, 3), equation="bi,io", shape=(2, 4)),
    "attention scores": one("Einsum", w=weights(1, 5, 2, 3), equation="bqhd,bkhd->bhqk", shape=(1, 4, 2, 3)),
    "sums on a scale of logarithms": model(
        [node("Abs", ["x"], ["a"]), node("ReduceLogSum", ["a", "axes"], keepdims=0)], {"axes": np.array([1])}
    ),
    "sums on a scale of logarithms, once": model([node("Abs", ["x"], ["a"]), node("ReduceLogSum", ["a"], axes=[1])], opset=13),
}


@pytest.mark.parametrize("name", CASES)
def test_is_what_onnxruntime_computes(name: str) -> None:
    found = canonical(CASES[name])
    source = CASES[name].graph.node[-1 if name not in ("no number", "infinity", "negative infinity") else 0].op_type
    narrower = ("AveragePool", "MaxPool", "Conv", "ConvTranspose")  # are written with their own kind, of fewer axes or groups
    assert source not in operators(found) or source in narrower
    assert largest_gap(CASES[name], found) < 3e-5


def resized(mode: str, **given: Any) -> Any:
    arrays = {key: given.pop(key) for key in ("roi", "scales", "sizes") if key in given}
    names = [key if key in arrays else "" for key in ("roi", "scales", "sizes")]
    while names and not names[-1]:
        names.pop()
    return one("Resize", *names, mode=mode, **arrays, **given)


def sizes(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


TWICE, PARTS = np.array([1, 1, 2, 2], F), np.array([1, 1, 0.6, 1.7], F)
RESIZED = {
    **{
        f"{mode} {how} {label}": resized(mode, scales=scales, coordinate_transformation_mode=how)
        for mode in ("nearest", "linear", "cubic")
        for how in ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel")
        for label, scales in (("twice", TWICE), ("in parts", PARTS))
    },
    **{f"nearest {how}": resized("nearest", scales=PARTS, nearest_mode=how) for how in ("floor", "ceil", "round_prefer_ceil")},
    "to a size": resized("linear", sizes=sizes(1, 4, 8, 3)),
    "to a size of some axes": resized("nearest", sizes=sizes(9, 7), axes=[2, 3]),
    "smoothed": resized("linear", scales=np.array([1, 1, 0.5, 0.5], F), antialias=1),
    "a part of the picture": resized(
        "linear", roi=np.array([0, 0, 0.2, 0.1, 1, 1, 0.8, 0.9], F), sizes=sizes(1, 4, 4, 4),
        coordinate_transformation_mode="tf_crop_and_resize",
    ),
    "beyond the picture": resized(
        "linear", roi=np.array([0, 0, -0.3, 0.1, 1, 1, 0.8, 1.9], F), sizes=sizes(1, 4, 4, 4),
        coordinate_transformation_mode="tf_crop_and_resize", extrapolation_value=10.0,
    ),
    "channels too": resized("linear", scales=np.array([1, 1.5, 2, 1], F)),
    "as it was": resized("nearest", scales=np.ones(4, F)),
    "an older one": one("Upsample", scales=TWICE, opset=9, mode="nearest"),
}  # fmt: skip


@pytest.mark.parametrize("name", RESIZED)
def test_a_picture_is_resized_axis_by_axis(name: str) -> None:
    found = canonical(RESIZED[name])
    assert not {"Resize", "Upsample"} & set(operators(found))
    assert largest_gap(RESIZED[name], found) < 1e-5


def recurrent(kind: str, *, direction: str = "forward", start: bool = False, bias: bool = True, **more: Any) -> Any:
    gates, ways = {"RNN": 1, "GRU": 3, "LSTM": 4}[kind], 2 if direction == "bidirectional" else 1
    outputs = more.pop("outputs", ("y", "h", "c") if kind == "LSTM" else ("y", "h"))
    arrays = {"w": weights(ways, gates * 3, 2) / 2, "r": weights(ways, gates * 3, 3, seed=1) / 2}
    names = ["w", "r", "b" if bias else ""]
    if bias:
        arrays["b"] = weights(ways, 2 * gates * 3, seed=2) / 3
    if start:
        arrays["h0"] = weights(ways, 2, 3, seed=3)
        names += ["", "h0"]
        if kind == "LSTM":
            arrays["c0"] = weights(ways, 2, 3, seed=4)
            names.append("c0")
    if more.pop("peepholes", False):
        arrays["p"] = weights(ways, 9, seed=5)
        names += [""] * (6 - len(names)) + ["p"]
    shape = (2, 4, 2) if more.get("layout") else (4, 2, 2)
    return one(kind, *names, shape=shape, outputs=outputs, hidden_size=3, direction=direction, **arrays, **more)


RECURRENT = {
    **{
        f"{kind} {direction}": recurrent(kind, direction=direction)
        for kind in ("RNN", "GRU", "LSTM")
        for direction in ("forward", "reverse", "bidirectional")
    },
    **{f"{kind} from a state": recurrent(kind, direction="bidirectional", start=True) for kind in ("RNN", "GRU", "LSTM")},
    **{f"{kind} without bias": recurrent(kind, bias=False) for kind in ("RNN", "GRU", "LSTM")},
    "GRU with a late reset": recurrent("GRU", linear_before_reset=1, direction="bidirectional"),
    "GRU with a late reset from a state": recurrent("GRU", linear_before_reset=1, start=True),
    "LSTM with peepholes": recurrent("LSTM", peepholes=True, start=True),
    "RNN of other functions": recurrent("RNN", direction="bidirectional", activations=["Relu", "Sigmoid"]),
    "only the last state": recurrent("LSTM", outputs=("", "h")),
    "only the last cell": recurrent("LSTM", outputs=("", "", "c"), direction="bidirectional"),
}


@pytest.mark.parametrize("name", RECURRENT)
def test_a_recurrent_layer_is_unrolled(name: str) -> None:
    found = canonical(RECURRENT[name])
    assert not {"RNN", "GRU", "LSTM"} & set(operators(found))
    assert largest_gap(RECURRENT[name], found) < 1e-5


REFUSED = {
    "lengths": one(
        "LSTM", "w", "r", "", "n", shape=(4, 2, 2), w=weights(1, 12, 2), r=weights(1, 12, 3), n=np.array([4, 2], np.int32),
        hidden_size=3,
    ),
    "a clip": recurrent("LSTM", clip=0.5),
    "coupled gates": recurrent("LSTM", input_forget=1),
    "another function": recurrent("RNN", activations=["Affine"], activation_alpha=[1.0], activation_beta=[0.0]),
    "too many steps": one("RNN", shape=(5000, 1, 2), w=weights(1, 3, 2), r=weights(1, 3, 3), hidden_size=3),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_an_unrolled_layer_cannot_say_is_refused(name: str) -> None:
    with pytest.raises(UnsupportedModel) as caught:
        canonical(REFUSED[name])
    assert caught.value.code in ("model-unknown-operator", "model-size-bomb") and "the_" in caught.value.where


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8])
@pytest.mark.parametrize("axis", [-1, 0, 1])
@pytest.mark.parametrize("values", [np.array([0, 1], F), np.array([-2.5, 4], F), np.array([3, 9], np.int64)])
def test_places_become_rows_of_one(dtype: Any, axis: int, values: np.ndarray) -> None:
    number = {np.int64: 7, np.int32: 6, np.uint8: 2}[dtype]
    source = model(
        [node("OneHot", ["x", "d", "v"], axis=axis)], {"d": np.array(5), "v": values}, inputs={"x": (2, 3)}, input_type=number
    )
    found = canonical(source).model
    x = np.array([[0, 4, 2], [1, 3, 7]], dtype)
    if dtype is not np.uint8:
        x[0, 0] = -1
    expected = np.where(np.arange(5) == np.where(x < 0, x + 5, x)[..., None], values[1], values[0])
    assert np.array_equal(Reference(found).run({"x": x})["y"], np.moveaxis(expected, -1, axis))


@pytest.mark.parametrize("size", [1e9, 1e6])
def test_a_huge_picture_is_refused_before_it_is_made(size: float) -> None:
    with pytest.raises(UnsupportedModel) as caught:
        canonical(resized("nearest", scales=np.array([1, 1, size, 1], F)))
    assert caught.value.code == "model-size-bomb"


@pytest.mark.parametrize("size", [1, 2, 5, 8])
@pytest.mark.parametrize("exclusive", [0, 1])
@pytest.mark.parametrize("reverse", [0, 1])
def test_running_sums_of_integers_are_exact(size: int, exclusive: int, reverse: int) -> None:
    """Beyond what float32 holds; PyTorch's position numbers of padded texts are such sums."""
    nodes = [
        node("Cast", ["x"], ["i"], to=7),
        node("Mul", ["i", "large"], ["j"]),
        node("CumSum", ["j", "axis"], ["k"], exclusive=exclusive, reverse=reverse),
        node("Sub", ["k", "one"]),
    ]
    arrays = {"large": np.array(2**40 + 1), "axis": np.array(-1), "one": np.array(1)}
    source = model(nodes, arrays, inputs={"x": (2, size)})
    source.graph.output[0].type.tensor_type.elem_type = 7
    found = canonical(source).model
    x = np.random.default_rng(0).integers(-9, 9, (2, size)).astype(F)
    whole = x.astype(np.int64) * (2**40 + 1)
    given = whole[:, ::-1] if reverse else whole
    wanted = np.cumsum(given, axis=1) - (given if exclusive else 0)
    assert np.array_equal(Reference(found).run({"x": x})["y"], (wanted[:, ::-1] if reverse else wanted) - 1)


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("known", ["nothing", "places", "table"])
def test_cells_by_computed_numbers(axis: int, known: str) -> None:
    """Of any sign, unless an operator finds places; of a table whose lines are one, its rows."""
    nodes = [node("Mul", ["x", "x"], ["q"]), node("Cast", ["x"], ["i"], to=7)]
    if known == "places":
        nodes = [node("Neg", ["x"], ["q"]), helper.make_node("TopK", ["x", "two"], ["v", "i"], axis=axis)]
    arrays = {"two": np.array([2]), "t": np.broadcast_to(weights(4, 1) if axis == 0 else weights(4), (4, 4)).copy()}
    data = "t" if known == "table" else "q"
    nodes.append(node("GatherElements", [data, "i"], ["g"], axis=axis))
    nodes.append(node("Add", ["g", "one"]))
    source = model(nodes, {**arrays, "one": np.array(1, F)}, inputs={"x": (4, 4)})
    found = canonical(source).model
    assert "GatherElements" not in [one.op_type for one in found.proto.graph.node]
    random = np.random.default_rng(1)
    for _ in range(5):
        feed = {"x": random.integers(-4, 4, (4, 4)).astype(F) + random.uniform(0, 0.01, (4, 4)).astype(F) * (known == "places")}
        wanted = InferenceSession(source.SerializeToString()).run(None, feed)[0]
        assert np.array_equal(Reference(found).run(feed)["y"], wanted)
