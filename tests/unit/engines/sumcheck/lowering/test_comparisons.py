"""Comparisons decide about the quantised value, exactly; logic on their results has no rounding at all."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.support.lowering_runs import built, feeds_of, n, net, outputs, prove_in_both_suites, supported, worst_steps
from tests.support.sumcheck_models import Array
from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.program import Visibility
from verifai.engines.sumcheck.interpreter.run import run
from verifai.engines.sumcheck.lowering.lower import lower
from verifai.engines.sumcheck.lowering.operators import operator_support
from verifai.engines.sumcheck.quantise.scales import QuantiserOptions
from verifai.engines.sumcheck.tensors import circuit_inputs
from verifai.onnx_graph.canonicalise import canonicalise
from verifai.onnx_graph.model import OnnxModel
from verifai.onnx_graph.reference import Reference

# ruff: noqa: E501 - one case per line reads as a table
f = np.float32
RNG = np.random.default_rng(4)
KINDS = ["Greater", "Less", "GreaterOrEqual", "LessOrEqual", "Equal"]
EIGHT = QuantiserOptions(activation_bits=8, input_bits=8, output_bits=8, input_margin=0.0)


def decided(
    kind: str, *sides: str, shape: tuple[int, ...] = (4, 5), before: tuple[Any, ...] = (), **constants: Any
) -> OnnxModel:
    return net(shape, shape, *before, n(kind, *sides, out="c"), n("Cast", "c", to=1), **constants)


@pytest.mark.parametrize("kind", KINDS)
def test_a_cell_and_a_number_are_compared_exactly_at_every_value(kind: str) -> None:
    """All 256 values of an 8-bit input against thresholds on its grid, beside it, and beyond its range."""
    grid = np.linspace(-1, 1, 256).astype(f).reshape(1, 256)
    for threshold in (f(0), f(0.3), f(-1), f(7)):
        source = decided(kind, "x", "t", shape=(1, 256), t=threshold)
        made = built(source, [{"x": grid}], EIGHT)
        step = float(Fraction(*made.circuit.tensors[0].scale))
        for found, expected, _ in outputs(source, made, {"x": grid}):
            if kind == "Equal":  # with the step that is nearest to the threshold
                expected = (np.abs(grid - threshold) <= 0.75 * step) & (np.rint(grid / step) == np.rint(threshold / step))
            assert np.array_equal(np.rint(found), expected), (threshold, kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("first", [True, False])
def test_cells_and_a_constant_row_are_compared_exactly(kind: str, first: bool) -> None:
    """One threshold per column, of which some lie exactly on values that the input takes."""
    probe = decided("Greater", "x", "t", shape=(256, 4), t=f(0))
    cells = np.stack([np.linspace(-1, 1, 256)] * 4, axis=1).astype(f)
    tensor = built(probe, [{"x": cells}], EIGHT).circuit.tensors[0]
    step = Fraction(*tensor.scale)
    row = np.array([float(12 * step), 0.3, float(-7 * step), float(Fraction(201, 2) * step)], f)
    exact = f(float(f(float(12 * step)))) == float(12 * step)
    source = decided(kind, *(("x", "t") if first else ("t", "x")), shape=(256, 4), t=row)
    made = built(source, [{"x": cells}], EIGHT)
    for found, expected, _ in outputs(source, made, {"x": cells}):
        wrong = np.rint(found) != expected
        # float32 rounds 12·step and k·step to the same number just when they are equal; Equal decides on the nearest step.
        assert exact and not wrong[:, [0, 2]].any()
        assert kind == "Equal" or not wrong.any()


@pytest.mark.parametrize("kind", KINDS)
def test_two_values_are_compared_by_the_sign_of_their_difference(kind: str) -> None:
    """Slices of one input have one step, so they are compared as integers; equal cells are among them."""
    source = net(
        (64, 2), (64, 1), n("Slice", "x", "zero", "one", "one", out="a"), n("Slice", "x", "one", "two", "one", out="b"),
        n(kind, "a", "b", out="c"), n("Cast", "c", to=1), zero=[0], one=[1], two=[2],
    )  # fmt: skip
    cells = RNG.integers(-9, 10, (64, 2)) / 9
    feed = {"x": cells.astype(f)}
    made = built(source, [feed], EIGHT)
    for found, expected, _ in outputs(source, made, feed):
        assert np.array_equal(np.rint(found), expected) and 0 < expected.sum() < 64


@pytest.mark.parametrize("kind", ["Greater", "LessOrEqual"])
def test_a_linear_layer_is_compared_but_for_cells_next_to_the_threshold(kind: str) -> None:
    w, t = RNG.standard_normal((5, 3)).astype(f), RNG.standard_normal(3).astype(f) / 3
    source = net((8, 5), (8, 3), n("MatMul", "x", "w", out="z"), n(kind, "z", "t", out="c"), n("Cast", "c", to=1), w=w, t=t)
    feeds = feeds_of(source, count=30)
    made = built(source, feeds)
    for feed in feeds:
        for found, expected, _ in outputs(source, made, feed):
            near = np.abs(feed["x"] @ w - t) < 2e-3
            assert (np.rint(found) == expected)[~near].all()
    assert supported(source)


def test_a_threshold_far_beyond_the_range_is_never_crossed_by_saturation() -> None:
    w = RNG.standard_normal((5, 3)).astype(f)
    source = net(
        (8, 5),
        (8, 3),
        n("MatMul", "x", "w", out="z"),
        n("Greater", "z", "t", out="c"),
        n("Cast", "c", to=1),
        w=w,
        t=np.array([1e6, -1e6, 0], f),
    )
    feeds = feeds_of(source)
    made = built(source, feeds)
    ((found, expected, _),) = outputs(source, made, feeds[0])
    assert np.array_equal(np.rint(found)[:, :2], expected[:, :2])


LOGIC: dict[str, OnnxModel] = {
    "and": decided("And", "p", "q", before=(n("Greater", "x", "t", out="p"), n("Less", "x", "u", out="q")), t=f(-0.5), u=f(0.5)),
    "or, of two layers": net((4, 5), (4, 5), n("MatMul", "x", "w", out="z"), n("Greater", "z", "t", out="p"), n("Less", "x", "u", out="q"), n("Or", "p", "q", out="c"), n("Cast", "c", to=1), w=np.eye(5, k=1, dtype=f), t=f(0.25), u=f(0.125)),
    "xor": net((4, 5), (4, 5), n("Tanh", "x", out="z"), n("Greater", "z", "t", out="p"), n("Less", "x", "u", out="q"), n("Xor", "p", "q", out="c"), n("Cast", "c", to=1), t=f(0.25), u=f(0.125)),
    "not": net((4, 5), (4, 5), n("Greater", "x", "t", out="p"), n("Not", "p", out="c"), n("Cast", "c", to=1), t=f(0.25)),
    "and with a mask": net((4, 5), (4, 5), n("Greater", "x", "t", out="p"), n("And", "p", "m", out="c"), n("Cast", "c", to=1), t=f(0.25), m=np.array([1, 0, 1, 0, 1], bool)),
    "or with a mask": net((4, 5), (4, 5), n("Greater", "x", "t", out="p"), n("Or", "m", "p", out="c"), n("Cast", "c", to=1), t=f(0.25), m=np.array([1, 0, 1, 0, 1], bool)),
    "xor with a mask": net((4, 5), (4, 5), n("Greater", "x", "t", out="p"), n("Xor", "p", "m", out="c"), n("Cast", "c", to=1), t=f(0.25), m=np.array([1, 0, 1, 0, 1], bool)),
    "a value with itself": net((4, 5), (4, 5), n("Greater", "x", "t", out="p"), n("And", "p", "p", out="c"), n("Cast", "c", to=1), t=f(0.25)),
    "a value as a condition": net((4, 5), (4, 5), n("Relu", "x", out="r"), n("Cast", "r", out="b", to=9), n("Not", "b", out="c"), n("Cast", "c", to=1)),
    "transposed and joined": net((4, 5), (10, 4), n("Greater", "x", "t", out="p"), n("Not", "p", out="q"), n("Concat", "p", "q", out="j", axis=1), n("Transpose", "j", out="c"), n("Cast", "c", to=1), t=f(0.25)),
}  # fmt: skip


@pytest.mark.parametrize("name", LOGIC)
def test_logic_has_no_rounding(name: str) -> None:
    source = LOGIC[name]
    feeds = feeds_of(source, count=20)
    made = built(source, feeds, EIGHT)
    for feed in feeds:
        for found, expected, _ in outputs(source, made, feed):
            assert np.array_equal(np.rint(found), expected)
    assert supported(source)


def test_a_binarised_layer_is_a_bernoulli_model() -> None:
    """Binarizer, then a dense layer: cells of 0 and 1 with step 1, so the layer's sum is exact."""
    w = RNG.standard_normal((5, 3)).astype(f)
    source = net(
        (4, 5),
        (4, 3),
        n("Greater", "x", "t", out="p"),
        n("Cast", "p", out="b", to=1),
        n("MatMul", "b", "w"),
        t=np.array([0.1], f),
        w=w,
    )
    feeds = feeds_of(source)
    made = built(source, feeds)
    assert made.circuit.tensors[1].scale == (1, 1) and worst_steps(source, made, feeds) <= 0.6


def boolean_model(*nodes: Any) -> OnnxModel:
    graph = helper.make_graph(
        list(nodes), "test",
        [helper.make_tensor_value_info("x", TensorProto.BOOL, (1, 4))],
        [helper.make_tensor_value_info("y", TensorProto.BOOL, (1, 4))],
    )  # fmt: skip
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return canonicalise(proto.SerializeToString(), where="test").model


def test_boolean_inputs_and_outputs_are_cells_of_0_and_1() -> None:
    source = boolean_model(n("Not", "x"))
    made = lower(source, {}, tensors={"x": Visibility.PUBLIC, "y": Visibility.PUBLIC})
    x: Array = np.array([[True, False, False, True]])
    cells = run(made.circuit, made.weights, circuit_inputs(made.circuit, ["x"], {"x": x})).outputs()[0]
    assert np.array_equal(cells.reshape(1, 4), Reference(source).run({"x": x})["y"].astype(int))
    assert all(entry.supported for entry in operator_support(source))


def test_a_comparison_of_reals_costs_one_lookup() -> None:
    source = decided("Greater", "x", "t", t=f(0.1))
    assert [type(op) for op in built(source, feeds_of(source)).circuit.ops] == [ops.Lookup]


@pytest.mark.parametrize("name", ["or, of two layers", "xor with a mask"])
def test_logic_is_proven_in_both_suites(name: str) -> None:
    prove_in_both_suites(LOGIC[name], feeds_of(LOGIC[name]))


def test_a_row_of_thresholds_is_proven_in_both_suites() -> None:
    source = decided("LessOrEqual", "x", "t", t=np.array([0.1, 0, 3, -3, 0.5], f))
    prove_in_both_suites(source, feeds_of(source))
