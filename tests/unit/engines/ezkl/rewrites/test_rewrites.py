"""Every rewrite keeps the function, leaves alone what it cannot keep, and is deterministic."""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.support.paths import ROOT
from verifai.engines.ezkl.columns import Frame, choose_frames
from verifai.engines.ezkl.parameters import FOLDED
from verifai.engines.ezkl.rewrites import registry as rewrites
from verifai.errors import UsageError
from verifai.onnx_graph.canonicalise import canonicalise
from verifai.onnx_graph.runtime import open_session

FIXTURES = ROOT / "fixtures"
CIRCUITS = ("digits-mlp", "digits-cnn", "lenet5", "breast-cancer-mlp")


def canonical(nodes: list[onnx.NodeProto], shape: list[int], constants: dict[str, np.ndarray]) -> bytes:
    """A canonical model from input ``x`` to output ``y``."""
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return canonicalise(model.SerializeToString(), where="test").model.data


@lru_cache(maxsize=4)
def opened(data: bytes) -> tuple[Any, str, str]:
    """A session, and its first output and input: opening one costs more than many runs."""
    model = onnx.ModelProto.FromString(data)
    return open_session(data), model.graph.output[0].name, model.graph.input[0].name


def outputs(data: bytes, values: np.ndarray) -> np.ndarray:
    session, output, name = opened(data)
    return np.asarray(session.run([output], {name: values})[0])


@cache
def rewritten(circuit: str, names: tuple[str, ...]) -> bytes:
    """A shipped model by a plan, made once for all tests."""
    return rewrites.apply((FIXTURES / circuit / "model.onnx").read_bytes(), names)


def operators(data: bytes) -> list[str]:
    return [node.op_type for node in onnx.ModelProto.FromString(data).graph.node]


def conv(source: str, target: str, name: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node("Conv", [source, name, name + "_bias"], [target], **attributes)


def weights(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def conv_pool(pool: dict[str, object], **convolution: object) -> bytes:
    """Conv, Relu, MaxPool on 2 channels of 9 × 7."""
    nodes = [
        conv("x", "c", "w", **convolution),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("MaxPool", ["r"], ["y"], **pool),
    ]
    return canonical(nodes, [1, 2, 9, 7], {"w": weights(1, 3, 2, 3, 3), "w_bias": weights(2, 3)})


def test_an_unknown_rewrite_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match="no-such") as caught:
        rewrites.apply((FIXTURES / "digits-mlp/model.onnx").read_bytes(), ("no-such",))
    assert caught.value.code == "bad-lock"


def test_a_relu_that_something_else_reads_stays_before_the_pooling() -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("MaxPool", ["r"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("MaxPool", ["r"], ["q"], kernel_shape=[2, 2], strides=[2, 2], pads=[0, 0, 0, 0]),
        helper.make_node("Add", ["p", "q"], ["y"]),
    ]
    data = canonical(nodes, [1, 1, 4, 4], {})
    assert rewrites.apply(data, ("relu-after-max-pool",)) == data


@pytest.mark.parametrize("name", ["absolute-values", "max-pool-as-relu"])
@pytest.mark.parametrize(
    "pool",
    [
        {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [1, 1, 0, 0]},
        {"kernel_shape": [2, 2], "strides": [2, 2], "dilations": [2, 2]},
        {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1},
    ],
)
def test_poolings_that_are_not_plain_windows_are_left_alone(name: str, pool: dict[str, object]) -> None:
    data = conv_pool(pool, pads=[1, 1, 1, 1])
    assert "MaxPool" in operators(rewrites.apply(data, ("relu-after-max-pool", name)))


def test_weights_whose_half_is_not_exact_are_left_alone() -> None:
    tiny = np.full((4, 4), np.float32(1e-45))
    nodes = [helper.make_node("Gemm", ["x", "w"], ["g"]), helper.make_node("Relu", ["g"], ["y"])]
    data = canonical(nodes, [1, 4], {"w": tiny})
    assert rewrites.apply(data, ("absolute-values",)) == data


def test_a_relu_without_weights_before_it_keeps_its_form() -> None:
    data = canonical([helper.make_node("Relu", ["x"], ["y"])], [1, 4], {})
    assert rewrites.apply(data, ("absolute-values",)) == data


def test_a_value_that_is_read_twice_is_not_halved() -> None:
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["g"]),
        helper.make_node("Relu", ["g"], ["r"]),
        helper.make_node("Add", ["g", "r"], ["y"]),
    ]
    data = canonical(nodes, [1, 4], {"w": weights(3, 4, 4)})
    assert rewrites.apply(data, ("absolute-values",)) == data


def test_grouped_convolutions_stay_convolutions() -> None:
    nodes = [conv("x", "y", "w", group=2)]
    data = canonical(nodes, [1, 2, 5, 5], {"w": weights(1, 4, 1, 3, 3), "w_bias": weights(2, 4)})
    assert rewrites.apply(data, ("convolution-as-matmul",)) == data


def test_row_products_stay_where_nothing_uses_the_random_check() -> None:
    data = (FIXTURES / "digits-mlp/model.onnx").read_bytes()
    assert rewrites.apply(data, ("vector-product-as-convolution",)) == data


def test_moving_relu_behind_max_pooling_changes_no_bit() -> None:
    data = conv_pool({"kernel_shape": [2, 2], "strides": [2, 2]})
    moved = rewrites.apply(data, ("relu-after-max-pool",))
    assert operators(moved) == ["Conv", "MaxPool", "Relu"]
    for seed in range(20):
        values = weights(seed, 1, 2, 9, 7)
        assert np.array_equal(outputs(data, values), outputs(moved, values))


@pytest.mark.parametrize("names", rewrites.PLANS[1:])
@pytest.mark.parametrize(
    ("kernel", "strides"), [([2, 2], [2, 2]), ([2, 2], [1, 1]), ([3, 3], [2, 2]), ([3, 2], [1, 2]), ([1, 4], [1, 1])]
)
def test_every_plan_keeps_pooled_convolutions(names: tuple[str, ...], kernel: list[int], strides: list[int]) -> None:
    data = conv_pool({"kernel_shape": kernel, "strides": strides}, pads=[1, 0, 1, 2])
    changed = rewrites.apply(data, names)
    assert changed != data and "MaxPool" not in operators(changed)
    for seed in range(5):
        values = weights(seed, 1, 2, 9, 7)
        np.testing.assert_allclose(outputs(changed, values), outputs(data, values), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"strides": [2, 1]},
        {"pads": [1, 2, 0, 1]},
        {"dilations": [2, 2], "pads": [2, 2, 2, 2]},
        {"strides": [3, 2], "pads": [1, 1, 1, 1]},
    ],
)
def test_a_convolution_equals_its_product_of_patches(attributes: dict[str, object]) -> None:
    data = canonical([conv("x", "y", "w", **attributes)], [1, 2, 8, 7], {"w": weights(1, 4, 2, 3, 2), "w_bias": weights(2, 4)})
    changed = rewrites.apply(data, ("convolution-as-matmul",))
    assert "Conv" not in operators(changed)
    values = weights(9, 1, 2, 8, 7)
    np.testing.assert_allclose(outputs(changed, values), outputs(data, values), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("circuit", CIRCUITS)
@pytest.mark.parametrize("names", rewrites.PLANS[1:])
def test_every_plan_keeps_the_shipped_models(circuit: str, names: tuple[str, ...]) -> None:
    data = (FIXTURES / circuit / "model.onnx").read_bytes()
    changed = rewritten(circuit, names)
    samples = next(iter(np.load(FIXTURES / circuit / "calibration.npz").values()))[:10]
    for sample in samples:
        np.testing.assert_allclose(outputs(changed, sample[None]), outputs(data, sample[None]), atol=2e-5)


@pytest.mark.parametrize("circuit", CIRCUITS)
def test_the_same_model_gives_the_same_bytes(circuit: str) -> None:
    data = (FIXTURES / circuit / "model.onnx").read_bytes()
    for names in rewrites.PLANS:
        assert rewrites.apply(data, names) == rewritten(circuit, names)


@pytest.mark.parametrize(
    ("circuit", "expected"), [("digits-mlp", {"absolute-values"}), ("digits-cnn", {"relu-after-max-pool"})]
)
def test_a_rewrite_changes_the_models_that_hold_its_pattern(circuit: str, expected: set[str]) -> None:
    data = (FIXTURES / circuit / "model.onnx").read_bytes()
    assert expected <= {name for name in rewrites.REWRITES if rewrites.apply(data, (name,)) != data}


def framed(values: np.ndarray, frames: tuple[Frame, ...]) -> np.ndarray:
    factor, offset = np.array([frame.affine for frame in frames]).T
    return ((values.astype(np.float64) - offset) / factor).astype(np.float32)


ROW = np.array([[1500.0, 0.02, -3.0, 1e6 + 0.5, 7.0, 12.0]], np.float32)
SPREAD = np.array([400.0, 0.01, 2.0, 0.5, 0.0, 5.0], np.float32)
ROWS = ROW + SPREAD * np.random.default_rng(5).normal(size=(40, 6)).astype(np.float32)
FRAMES = choose_frames(list(zip(ROWS.min(0).tolist(), ROWS.max(0).tolist(), strict=True)))
SCALER = {"mean": ROWS.mean(0, keepdims=True), "inverse": (1 / (ROWS.std(0, keepdims=True) + 0.25)).astype(np.float32)}
W = {"w": weights(3, 6, 4), "b": weights(4, 4)}
SUB, MUL = helper.make_node("Sub", ["x", "mean"], ["c"]), helper.make_node("Mul", ["c", "inverse"], ["z"])
TABLES: dict[str, tuple[list[onnx.NodeProto], dict[str, np.ndarray], list[str]]] = {
    "a layer": ([helper.make_node("Gemm", ["x", "w", "b"], ["y"])], W, ["Gemm"]),
    "a scaler and a layer": ([SUB, MUL, helper.make_node("Gemm", ["z", "w", "b"], ["y"])], SCALER | W, ["Gemm"]),
    "a product without a bias": ([SUB, MUL, helper.make_node("MatMul", ["z", "w"], ["y"])], SCALER | W, ["Gemm"]),
    "a layer with factors, transposed": (
        [SUB, MUL, helper.make_node("Gemm", ["z", "t", "b"], ["y"], alpha=0.5, beta=2.0, transB=1)],
        SCALER | {"t": np.ascontiguousarray(W["w"].T), "b": W["b"]},
        ["Gemm"],
    ),
    "a constant less the row": (
        [helper.make_node("Sub", ["mean", "x"], ["c"]), helper.make_node("Div", ["c", "inverse"], ["z"]),
         helper.make_node("Gemm", ["z", "w", "b"], ["y"])],
        SCALER | W,
        ["Gemm"],
    ),
    "chosen columns": (
        [helper.make_node("Gather", ["x", "some"], ["g"], axis=1), helper.make_node("Gemm", ["g", "small"], ["y"])],
        {"some": np.array([4, 0, 2], np.int64), "small": weights(8, 3, 2)},
        ["Gather", "Gemm"],
    ),
    "columns apart and together": (
        [helper.make_node("Gather", ["x", "some"], ["g"], axis=1), helper.make_node("Sub", ["g", "three"], ["s"]),
         helper.make_node("Gather", ["x", "other"], ["h"], axis=1), helper.make_node("Concat", ["s", "h"], ["j"], axis=1),
         helper.make_node("Gemm", ["j", "w", "b"], ["y"])],
        {"some": np.array([4, 0, 2], np.int64), "other": np.array([1, 3, 5], np.int64), "three": weights(9, 1, 3)} | W,
        ["Gather", "Gather", "Concat", "Gemm"],
    ),
    "distances, whose parts have to cancel": (
        [SUB, MUL, helper.make_node("Mul", ["z", "z"], ["q"]), helper.make_node("ReduceSum", ["q", "axes"], ["n"], keepdims=1),
         helper.make_node("Gemm", ["z", "w", "b"], ["d"]), helper.make_node("Add", ["d", "n"], ["y"])],
        SCALER | W | {"axes": np.array([1], np.int64)},
        ["Mul", "Add", "Mul", "ReduceSum", "Gemm", "Add"],
    ),
    "the scaled row itself": ([SUB, helper.make_node("Mul", ["c", "inverse"], ["y"])], SCALER, ["Mul", "Add"]),
}  # fmt: skip


@pytest.mark.parametrize("table", TABLES)
def test_scales_of_columns_are_folded_into_what_reads_them(table: str) -> None:
    nodes, constants, expected = TABLES[table]
    data = canonical(nodes, [1, 6], constants)
    folded = rewrites.apply(data, (FOLDED,), {"x": [frame.affine for frame in FRAMES]})
    assert operators(folded) == expected
    for row in ROWS:
        wanted = outputs(data, row[None])
        # The float model itself is no better than its own subtraction of a mean of a million.
        np.testing.assert_allclose(
            outputs(folded, framed(row[None], FRAMES)), wanted, rtol=1e-3, atol=2e-3 * np.abs(wanted).max()
        )
    assert rewrites.apply(data, (FOLDED,), {"x": [frame.affine for frame in FRAMES]}) == folded, "same input, same bytes"


def test_what_is_copied_more_often_than_it_is_computed_is_computed_once() -> None:
    twice = {"left": np.arange(12, dtype=np.int64) % 6, "right": np.arange(12, dtype=np.int64) // 2}
    nodes = [SUB, MUL, helper.make_node("Gather", ["z", "left"], ["l"], axis=1),
             helper.make_node("Gather", ["z", "right"], ["r"], axis=1),
             helper.make_node("Mul", ["l", "r"], ["y"])]  # fmt: skip
    folded = rewrites.apply(canonical(nodes, [1, 6], SCALER | twice), (FOLDED,), {"x": [one.affine for one in FRAMES]})
    assert operators(folded) == ["Mul", "Add", "Gather", "Gather", "Mul"]


@pytest.mark.parametrize("columns", [{"x": [(1.0, 0.0)] * 5}, {"z": [(1.0, 0.0)] * 6}], ids=["too few", "of no input"])
def test_columns_that_are_not_the_models_are_refused(columns: dict[str, list[tuple[float, float]]]) -> None:
    data = canonical(TABLES["a layer"][0], [1, 6], W)
    with pytest.raises(UsageError, match="columns"):
        rewrites.apply(data, (FOLDED,), columns)
    with pytest.raises(UsageError, match="before all others"):
        rewrites.apply(data, (), {"x": [(1.0, 0.0)] * 6})
