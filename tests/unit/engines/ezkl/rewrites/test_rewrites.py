"""Every rewrite keeps the function, leaves alone what it cannot keep, and is deterministic."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.support.paths import ROOT
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


def outputs(data: bytes, values: np.ndarray) -> np.ndarray:
    model = onnx.ModelProto.FromString(data)
    session = open_session(data)
    return np.asarray(session.run([model.graph.output[0].name], {model.graph.input[0].name: values})[0])


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
    changed = rewrites.apply(data, names)
    samples = next(iter(np.load(FIXTURES / circuit / "calibration.npz").values()))[:10]
    for sample in samples:
        np.testing.assert_allclose(outputs(changed, sample[None]), outputs(data, sample[None]), atol=2e-5)


@pytest.mark.parametrize("circuit", CIRCUITS)
def test_the_same_model_gives_the_same_bytes(circuit: str) -> None:
    data = (FIXTURES / circuit / "model.onnx").read_bytes()
    for names in rewrites.PLANS:
        assert rewrites.apply(data, names) == rewrites.apply(data, names)


@pytest.mark.parametrize(
    ("circuit", "expected"), [("digits-mlp", {"absolute-values"}), ("digits-cnn", {"relu-after-max-pool"})]
)
def test_a_rewrite_changes_the_models_that_hold_its_pattern(circuit: str, expected: set[str]) -> None:
    data = (FIXTURES / circuit / "model.onnx").read_bytes()
    assert expected <= {name for name in rewrites.REWRITES if rewrites.apply(data, (name,)) != data}
