"""Norms and quotients: what onnxruntime computes, also for rows of zeros; what has no number is refused by its range."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.support.lowering_runs import built, feeds_of, n, net, outputs, prove_in_both_suites, supported, worst_steps
from tests.support.sumcheck_models import Array
from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.lowering.fuse import fuse
from verifai.engines.sumcheck.lowering.graph import read_graph
from verifai.engines.sumcheck.quantise.scales import QuantiserOptions
from verifai.errors import UnsupportedModel
from verifai.onnx_graph.model import OnnxModel

# ruff: noqa: E501 - one case per line reads as a table
f = np.float32
GUARD = [n("Equal", "norm", "zero", out="is_zero"), n("Where", "is_zero", "one", "norm", out="d"), n("Div", "x", "d")]
NUMBERS: dict[str, Any] = {"zero": f(0), "one": f(1), "eps": f(1e-3), "axis": [1], "half": f(0.5), "three": f(3), "two": f(2)}


def case(*nodes: Any, shape: tuple[int, ...] = (4, 6), **more: Any) -> OnnxModel:
    named = {**NUMBERS, **more}
    used = {name for node in nodes for name in node.input}
    return net(shape, shape, *nodes, **{name: value for name, value in named.items() if name in used})


NORMS: dict[str, tuple[OnnxModel, str]] = {
    "the sum of magnitudes": (case(n("LpNormalization", "x", p=1)), "LpNormalization"),
    "the root of squares": (case(n("LpNormalization", "x", p=2)), "LpNormalization"),
    "the root of squares of columns": (case(n("LpNormalization", "x", p=2, axis=0)), "LpNormalization"),
    "scikit-learn's Normalizer, l1": (case(n("ReduceL1", "x", "axis", out="norm"), *GUARD), "Norm"),
    "scikit-learn's Normalizer, l2": (case(n("ReduceL2", "x", "axis", out="norm"), *GUARD), "Norm"),
    "a guard that chooses the norm": (
        case(n("ReduceL2", "x", "axis", out="norm"), n("Greater", "norm", "zero", out="ok"), n("Where", "ok", "norm", "one", out="d"), n("Div", "x", "d")),
        "Norm",
    ),
    "a norm plus a number": (case(n("ReduceL1", "x", "axis", out="norm"), n("Add", "norm", "half", out="d"), n("Div", "x", "d")), "Norm"),
    "a root mean square": (
        case(n("Mul", "x", "x", out="s"), n("ReduceMean", "s", "axis", out="m"), n("Add", "m", "eps", out="e"), n("Sqrt", "e", out="d"), n("Div", "x", "d")),
        "Norm",
    ),
    "times a reciprocal root": (
        case(n("Mul", "x", "x", out="s"), n("ReduceMean", "s", "axis", out="m"), n("Add", "m", "eps", out="e"), n("Sqrt", "e", out="d"), n("Reciprocal", "d", out="r"), n("Mul", "x", "r")),
        "Norm",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NORMS)
def test_a_norm_is_one_operation_and_right_to_a_step(name: str) -> None:
    source, kind = NORMS[name]
    feeds = feeds_of(source)
    made = built(source, feeds)
    assert [node.op_type for node in fuse(read_graph(source)).nodes] == [kind]
    assert [type(op) for op in made.circuit.ops].count(ops.Recip) == 1
    assert worst_steps(source, made, feeds) <= 1.5
    assert supported(source)


AWKWARD: dict[str, Array] = {
    "a row of zeros": np.zeros(6, f),
    "one cell": np.array([0, 0, 0, 0.7, 0, 0], f),
    "the largest everywhere": np.ones(6, f),
    "the least everywhere": -np.ones(6, f),
    "the smallest step there is": np.array([1 / 2047, 0, 0, 0, 0, 0], f),
}


@pytest.mark.parametrize(
    "name", ["scikit-learn's Normalizer, l1", "scikit-learn's Normalizer, l2", "the sum of magnitudes", "the root of squares"]
)
def test_awkward_rows_are_what_onnxruntime_gives(name: str) -> None:
    """A row of zeros stays one; a row of one tiny cell is that cell's sign."""
    source, _ = NORMS[name]
    feeds = [*feeds_of(source), *({"x": sign * np.eye(4, 6, dtype=f)} for sign in (f(1), f(-1)))]
    made = built(source, feeds)
    for label, row in AWKWARD.items():
        feed = {"x": np.stack([row, np.ones(6, f), row[::-1], row])}
        for found, expected, step in outputs(source, made, feed):
            # What is added to the norm to bound its reciprocal, here 1/64 of a step, shows in a norm of one step alone.
            assert np.abs(found - expected).max() <= (0.02 if "smallest" in label else 2 * step), label


def test_a_constant_added_under_the_division_counts_at_zero_too() -> None:
    source, _ = NORMS["a norm plus a number"]
    made = built(source, [*feeds_of(source), {"x": np.ones((4, 6), f)}])
    ((found, expected, step),) = outputs(source, made, {"x": np.full((4, 6), 1e-3, f)})
    assert np.abs(found - expected).max() <= step


BESIDE = {
    "the norm of columns": case(n("ReduceL1", "x", "other", out="norm"), n("Div", "x", "norm"), shape=(6, 6), other=[0]),
    "the norm of another value": case(n("Add", "x", "three", out="z"), n("ReduceL1", "z", "axis", out="norm"), n("Div", "x", "norm")),
    "a sum of what may be negative": case(n("Add", "x", "three", out="z"), n("ReduceSum", "z", "axis", out="norm"), n("Div", "x", "norm")),
    "a guard on another number": case(n("ReduceL1", "x", "axis", out="norm"), n("Equal", "norm", "one", out="is_zero"), n("Where", "is_zero", "three", "norm", out="d"), n("Div", "x", "d")),
}  # fmt: skip


@pytest.mark.parametrize("name", BESIDE)
def test_what_only_looks_like_a_norm_of_its_rows_is_a_quotient(name: str) -> None:
    source = BESIDE[name]
    feeds = feeds_of(source)
    assert [node.op_type for node in fuse(read_graph(source)).nodes][-1] == "Div" or "columns" in name
    assert worst_steps(source, built(source, feeds), feeds) <= 3


QUOTIENTS: dict[str, tuple[OnnxModel, float, float]] = {
    "by a sum of squares and a number": (case(n("Mul", "x", "x", out="s"), n("Add", "s", "half", out="d"), n("Tanh", "x", out="t"), n("Div", "t", "d")), -1, 1),
    "by an exponential": (case(n("Exp", "x", out="d"), n("ReduceSum", "x", "axis", out="t"), n("Div", "t", "d")), -1, 1),
    "by what is below 0": (case(n("Exp", "x", out="e"), n("Neg", "e", out="d"), n("ReduceSum", "x", "axis", out="t"), n("Div", "t", "d")), -1, 1),
    "by a sum of sigmoids": (case(n("Sigmoid", "x", out="p"), n("ReduceSum", "p", "axis", out="d"), n("Div", "p", "d")), -4, 4),
    "by a mean of sigmoids": (case(n("Sigmoid", "x", out="p"), n("ReduceMean", "p", "axis", out="d"), n("Div", "p", "d")), -4, 4),
    "by one column": (case(n("Exp", "x", out="e"), n("Slice", "e", "s", "t", "axis", out="d"), n("Div", "e", "d"), s=[2], t=[3]), -1, 1),
    "of a number by a value": (case(n("Exp", "x", out="e"), n("Relu", "e", out="d"), n("Div", "three", "d")), -1, 1),
    "of a constant row by a value": (case(n("Exp", "x", out="e"), n("Relu", "e", out="d"), n("Div", "row", "d"), row=np.array([1, 2, -3, 0, 0.5, 1], f)), -1, 1),
    "of a value by a function of it": (case(n("Exp", "x", out="e"), n("Add", "e", "one", out="d"), n("Div", "x", "d")), -4, 4),
}  # fmt: skip


@pytest.mark.parametrize("name", QUOTIENTS)
def test_a_quotient_is_what_onnxruntime_computes(name: str) -> None:
    source, low, high = QUOTIENTS[name]
    feeds = feeds_of(source, low=low, high=high)
    assert worst_steps(source, built(source, feeds), feeds) <= 4
    assert supported(source)


def test_a_divisor_whose_range_holds_0_is_refused_with_its_name() -> None:
    source = case(n("ReduceSum", "x", "axis", out="t"), n("Tanh", "x", out="d"), n("Div", "t", "d"))
    with pytest.raises(UnsupportedModel) as caught:
        built(source, feeds_of(source))
    assert (caught.value.code, caught.value.where) == ("range-holds-pole", "d")
    assert supported(source)  # data decide, and check has none


def test_a_divisor_below_its_calibrated_range_gives_the_results_end() -> None:
    """Data never came near 0; where a later input does, the quotient saturates instead of turning its sign or wrapping."""
    source = case(
        n("ReduceSum", "x", "axis", out="t"),
        n("Relu", "x", out="r"),
        n("Add", "r", "tiny", out="d"),
        n("Div", "t", "d"),
        tiny=f(1e-6),
    )
    feeds = feeds_of(source, low=0.5, high=1.0)
    made = built(source, feeds)
    out = made.circuit.tensors[made.circuit.outputs[0].tensor]
    ((found, _, step),) = outputs(source, made, {"x": np.concatenate([np.zeros((4, 1), f), np.ones((4, 5), f)], axis=1)})
    assert found[:, 0] == pytest.approx(out.high * step) and (found >= 0).all()


@pytest.mark.parametrize("bits", [4, 8, 15])
def test_norms_hold_at_every_width(bits: int) -> None:
    options = QuantiserOptions(activation_bits=bits, input_bits=max(bits, 2), output_bits=bits, input_margin=0.0)
    for name in ("scikit-learn's Normalizer, l1", "the root of squares"):
        source, _ = NORMS[name]
        feeds = feeds_of(source)
        assert worst_steps(source, built(source, feeds, options), feeds) <= 1.5


SOFTMAX = [n("Softmax", "x", out="p", axis=1), n("ReduceL1", "p", "axis", out="norm")]


def test_normalising_a_softmax_changes_nothing() -> None:
    """Multi-class LogisticRegression of scikit-learn."""
    source = case(*SOFTMAX, *GUARD[:2], n("Div", "p", "d"))
    assert [node.op_type for node in fuse(read_graph(source)).nodes] == ["Softmax"]
    feeds = feeds_of(source, low=-5, high=5)
    assert worst_steps(source, built(source, feeds), feeds) <= 3


def test_a_softmax_normalised_along_another_axis_is_not_left_out() -> None:
    source = case(SOFTMAX[0], n("ReduceL1", "p", "other", out="norm"), n("Div", "p", "norm"), other=[0])
    assert [node.op_type for node in fuse(read_graph(source)).nodes] != ["Softmax"]
    feeds = feeds_of(source)
    assert worst_steps(source, built(source, feeds), feeds) <= 4


@pytest.mark.parametrize(
    "name", ["the sum of magnitudes", "scikit-learn's Normalizer, l2", "by a sum of sigmoids", "by what is below 0"]
)
def test_a_division_is_proven_in_both_suites(name: str) -> None:
    source = NORMS[name][0] if name in NORMS else QUOTIENTS[name][0]
    prove_in_both_suites(source, feeds_of(source))
