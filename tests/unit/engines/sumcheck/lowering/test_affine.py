"""Scalers and tables' columns fold into the next linear layer; what cannot fold is rounded once, and never wrong."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from onnx import helper

from tests.support.sumcheck_models import model
from verifai.domain.fidelity import Task
from verifai.engines.fidelity import Measure
from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.program import Visibility, WeightVisibility
from verifai.engines.sumcheck.fidelity import measure
from verifai.engines.sumcheck.lowering.lower import Lowered, lower
from verifai.engines.sumcheck.quantise.ranges import calibrate, column_ranges
from verifai.engines.sumcheck.quantise.scales import QuantiserOptions, choose_scales
from verifai.onnx_graph.model import OnnxModel
from verifai.onnx_graph.reference import Reference

node = helper.make_node


def drawn(seed: int = 3) -> np.random.Generator:
    """A generator of its own for each use, so that no test depends on those before it."""
    return np.random.default_rng(seed)


SIZES = np.array([60_000, 40, 0.5, 3, 1e-3], np.float32)
"""Columns in natural units: an income, an age, a rate, a count, a concentration."""


def rows(count: int = 300, columns: int = 5) -> list[dict[str, np.ndarray]]:
    data = (1 + 0.3 * drawn(21).standard_normal((count, columns))) * SIZES[:columns]
    return [{"x": row[None].astype(np.float32)} for row in data]


def lowered(net: OnnxModel, feeds: list[dict[str, np.ndarray]], *, fold: bool = True, weights: str = "PUBLIC") -> Lowered:
    options = QuantiserOptions(output_bits=13, activation_bits=10, fold=fold)
    names = [{t.name for t in side} for side in (net.inputs, net.outputs)]
    scales = choose_scales(calibrate(net, feeds), *names, options, (), column_ranges(net, feeds))
    public = {t.name: Visibility.PUBLIC for t in (*net.inputs, *net.outputs)}
    return lower(net, scales, tensors=public, weights=WeightVisibility[weights], split=True, fold=fold)


def spread_error(net: OnnxModel, feeds: list[dict[str, np.ndarray]], made: Lowered) -> float:
    found = measure(net, made, feeds, Measure(Task.REGRESSION, Reference(net).run_batch(feeds)))
    assert found.spread_error is not None
    return found.spread_error


def scaler(then: list, output: tuple[int, ...], **more: np.ndarray) -> OnnxModel:
    constants = {"m": SIZES.copy(), "s": SIZES * 0.3, **more}
    return model(
        [node("Sub", ["x", "m"], ["c"]), node("Div", ["c", "s"], ["z"]), *then], {"x": (1, 5)}, {"y": output}, constants
    )


LINEAR = {"w": drawn().standard_normal((5, 2)).astype(np.float32), "b": np.array([3.0, -1.0], np.float32)}


def test_a_scaler_before_a_layer_is_part_of_the_layer() -> None:
    net = scaler([node("Gemm", ["z", "w", "b"], ["y"])], (1, 2), **LINEAR)
    feeds = rows()
    made = lowered(net, feeds)
    assert [type(op) for op in made.circuit.ops] == [ops.MatMul, ops.Requant], "one layer, nothing rounded before it"
    assert spread_error(net, feeds, made) < 0.002
    # One scale for all columns and the scaled cells rounded, as circuits without folding have it, is far worse.
    assert spread_error(net, feeds, lowered(net, feeds, fold=False)) > 0.02


@pytest.mark.parametrize("weights", ["PUBLIC", "COMMITTED"])
def test_raw_columns_of_very_different_sizes_reach_a_layer_with_all_their_digits(weights: str) -> None:
    net = model([node("MatMul", ["x", "w"], ["y"])], {"x": (1, 5)}, {"y": (1, 2)}, {"w": LINEAR["w"] / SIZES[:, None]})
    feeds = rows()
    assert spread_error(net, feeds, lowered(net, feeds, weights=weights)) < 0.002


@pytest.mark.parametrize(
    "then",
    [
        [node("Sigmoid", ["z"], ["y"])],
        [node("Relu", ["z"], ["r"]), node("Neg", ["r"], ["y"])],
        [node("Mul", ["z", "z"], ["y"])],
        [node("Softmax", ["z"], ["y"], axis=-1)],
        [node("Add", ["z", "c5"], ["a"]), node("Mul", ["a", "c5"], ["y"])],
    ],
    ids=["sigmoid", "relu", "product", "softmax", "affine-output"],
)
def test_what_reads_scaled_columns_otherwise_sees_them_rounded_once(then: list) -> None:
    net = scaler(then, (1, 5), c5=np.array([1, -2, 0.5, 3, 10], np.float32))
    feeds = rows()
    assert spread_error(net, feeds, lowered(net, feeds)) < 0.03


def test_slices_are_scaled_and_joined_without_a_rounding() -> None:
    """A ColumnTransformer: columns apart, each with its own scaler, then one layer."""
    constants = {
        "i0": np.array([0, 2], np.int64), "i1": np.array([1, 3, 4], np.int64), "m0": SIZES[[0, 2]], "s1": 1 / SIZES[[1, 3, 4]],
        "one": np.ones((1, 1), np.float32), "w": drawn(5).standard_normal((6, 2)).astype(np.float32),
    }  # fmt: skip
    net = model(
        [
            node("Gather", ["x", "i0"], ["a"], axis=1),
            node("Gather", ["x", "i1"], ["b"], axis=1),
            node("Div", ["a", "m0"], ["az"]),
            node("Mul", ["b", "s1"], ["bz"]),
            node("Concat", ["az", "one", "bz"], ["z"], axis=1),
            node("MatMul", ["z", "w"], ["y"]),
        ],
        {"x": (1, 5)},
        {"y": (1, 2)},
        constants,
    )
    feeds = rows()
    made = lowered(net, feeds)
    assert sum(isinstance(op, ops.Requant) for op in made.circuit.ops) == 1
    assert spread_error(net, feeds, made) < 0.004


def test_constants_fold_into_convolutions_only_where_padding_stays_zero() -> None:
    constants = {"m": np.full((1, 1, 1, 1), 128, np.float32), "s": np.full((1, 1, 1, 1), 64, np.float32),
                 "k": drawn(6).standard_normal((2, 1, 3, 3)).astype(np.float32)}  # fmt: skip
    generator = drawn()
    feeds = [{"x": generator.integers(0, 256, (1, 1, 6, 6)).astype(np.float32)} for _ in range(40)]
    for pads, requants in (([0, 0, 0, 0], 1), ([1, 1, 1, 1], 2)):
        size = 4 + pads[0] * 2
        net = model(
            [node("Sub", ["x", "m"], ["c"]), node("Div", ["c", "s"], ["z"]), node("Conv", ["z", "k"], ["y"], pads=pads)],
            {"x": (1, 1, 6, 6)},
            {"y": (1, 2, size, size)},
            constants,
        )
        made = lowered(net, feeds)
        rounding = [op for op in made.circuit.ops if isinstance(op, ops.Requant | ops.Lookup)]
        assert len(rounding) == requants
        assert spread_error(net, feeds, made) < 0.02


def test_columns_are_powers_of_two_so_that_counts_and_flags_are_exact() -> None:
    generator = drawn()
    columns = [generator.integers(0, 2, 50), generator.integers(0, 90, 50), generator.normal(1e6, 1e5, 50)]
    feeds = [{"x": row[None]} for row in np.column_stack(columns).astype(np.float32)]
    net = model([node("MatMul", ["x", "w"], ["y"])], {"x": (1, 3)}, {"y": (1, 1)}, {"w": np.ones((3, 1), np.float32)})
    scale = lowered(net, feeds).scales["x"]
    assert len(scale.columns) == 3 and scale.step == 1
    for place, column in enumerate(scale.columns):
        values = {Fraction(float(feed["x"][0, place])) for feed in feeds}
        if place < 2:
            assert all((value / column.step).denominator == 1 for value in values)
        ends = [(end - column.zero_point) * column.step for end in (scale.low, scale.high)]
        assert ends[0] <= min(values) and max(values) <= ends[1]
