"""Rows whose columns are as different as an income and a rate, behind squares, norms and exponentials."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from onnx import helper

from tests.support.sumcheck_models import model
from tests.unit.engines.sumcheck.lowering.test_affine import SIZES, lowered, rows, scaler, spread_error
from verifai.engines.sumcheck.quantise.active import active_range
from verifai.engines.sumcheck.quantise.functions import Program, constant
from verifai.engines.sumcheck.quantise.scales import Range, choose_scale

node = helper.make_node
POINTS = np.random.default_rng(11).standard_normal((6, 5)).astype(np.float32)
AXIS = {"axis": np.array([1], np.int64)}


def test_squared_distances_are_those_of_the_cells_themselves() -> None:
    """|z|² − 2 z·s + |s|² of scaled columns, one of them a hundred times wider than the others, on which little depends."""
    wide = np.array([100, 1, 1, 1, 1], np.float32)
    points = np.zeros((6, 5), np.float32)
    points[:, 1:] = POINTS[:, 1:]
    nodes = [
        node("Mul", ["z", "wide"], ["v"]), node("Mul", ["v", "v"], ["square"]),
        node("ReduceSum", ["square", "axis"], ["total"]),
        node("Gemm", ["v", "w", "b"], ["rest"]), node("Add", ["rest", "total"], ["d"]), node("Sub", ["d", "far"], ["e"]),
        node("Mul", ["v", "first"], ["f"]), node("Mul", ["f", "f"], ["g"]), node("ReduceSum", ["g", "axis"], ["h"]),
        node("Sub", ["e", "h"], ["y"]),
    ]  # fmt: skip
    first = np.array([1, 0, 0, 0, 0], np.float32)
    net = scaler(
        nodes,
        (1, 6),
        wide=wide,
        w=-2 * points.T.copy(),
        b=(points**2).sum(1),
        first=first,
        far=np.zeros((1, 6), np.float32),
        **AXIS,
    )
    feeds = rows()
    # Without the wide column's own square, which is then most of the range, what is left is what the others say.
    assert spread_error(net, feeds, lowered(net, feeds)) < 0.01


@pytest.mark.parametrize("p", [1, 2])
def test_a_layer_over_a_norm_weighs_the_row_before_it_is_rounded(p: int) -> None:
    weight = (np.random.default_rng(p).standard_normal((5, 3)) / SIZES[:, None] * SIZES[0]).astype(np.float32)
    nodes = [
        node(f"ReduceL{p}", ["x", "axis"], ["n"]), node("Add", ["n", "tiny"], ["m"]), node("Div", ["x", "m"], ["u"]),
        node("Gemm", ["u", "w", "b"], ["y"]),
    ]  # fmt: skip
    constants = {"w": weight, "b": np.array([3, -1, 0.5], np.float32), "tiny": np.array(1e-30, np.float32), **AXIS}
    net = model(nodes, {"x": (1, 5)}, {"y": (1, 3)}, constants)
    feeds = rows()
    made = lowered(net, feeds)
    assert spread_error(net, feeds, made) < 0.01
    assert spread_error(net, feeds, lowered(net, feeds, weights="COMMITTED")) < 0.01


GAUSSIAN: Program = (("x",), ("exp",))


def test_an_exponential_is_read_where_it_changes() -> None:
    unit = choose_scale(Range(0.0, 1.0), 12)
    found = active_range(GAUSSIAN, Range(-1e6, 0.0), unit)
    assert found.high == 0.0 and -100 < found.low < -9
    assert np.exp(found.low) < float(unit.step) / 2, "what is cut off is 0"


@pytest.mark.parametrize(
    "program",
    [GAUSSIAN, (("x",), ("sigmoid",)), (("x",), ("tanh",)), (("x",), constant(0.0), ("max",), constant(6.0), ("min",))],
)
@pytest.mark.parametrize("reach", [1.0, 50.0, 1e4, 1e9])
def test_beyond_the_active_range_nothing_changes(program: Program, reach: float) -> None:
    from verifai.engines.sumcheck.quantise.functions import tabulate_at

    scale, values = choose_scale(Range(-1.0, 6.0), 10), Range(-reach, reach / 3)
    found = active_range(program, values, scale)
    assert values.low <= found.low <= found.high <= values.high
    outside = [values.low, (values.low + found.low) / 2, found.low, found.high, (values.high + found.high) / 2, values.high]
    cells = tabulate_at(program, tuple(outside), scale.step, scale.low, scale.high)
    assert len(set(cells[:3])) == 1 or found.low == values.low
    assert len(set(cells[3:])) == 1 or found.high == values.high


@pytest.mark.parametrize("jump", ["floor", "round"])
def test_what_jumps_is_not_narrowed(jump: str) -> None:
    values = Range(-8.0, 8.0)
    assert active_range((("x",), (jump,)), values, choose_scale(Range(-1.0, 1.0), 4)) == values
    assert Fraction(values.high) == 8


def test_a_kernel_of_points_far_and_near_keeps_the_near_ones() -> None:
    """exp(−|z − s|²) where a few rows are outliers: their squared distances reach 10^5, and the others decide."""
    nodes = [
        node("Mul", ["z", "z"], ["square"]), node("ReduceSum", ["square", "axis"], ["total"]),
        node("Neg", ["total"], ["minus"]), node("Gemm", ["z", "w", "b"], ["rest"]), node("Add", ["rest", "minus"], ["d"]),
        node("Exp", ["d"], ["k"]), node("Gemm", ["k", "out"], ["y"]),
    ]  # fmt: skip
    points = 0.4 * POINTS
    out = np.random.default_rng(12).standard_normal((6, 2)).astype(np.float32)
    net = scaler(nodes, (1, 2), w=2 * points.T.copy(), b=-(points**2).sum(1), out=out, **AXIS)
    feeds = [{"x": ((one["x"] - SIZES) / 2 + SIZES).astype(np.float32)} for one in rows()]
    for at in range(0, len(feeds), 50):
        feeds[at] = {"x": (feeds[at]["x"] + 60 * SIZES).astype(np.float32)}
    assert spread_error(net, feeds, lowered(net, feeds)) < 0.05
