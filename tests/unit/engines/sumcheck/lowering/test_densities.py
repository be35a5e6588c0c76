"""Log densities: weighted sums of squares that nothing rounds before, and softmaxes of values that differ by thousands."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.support.lowering_runs import built, feeds_of, n, net, outputs, prove_in_both_suites, supported, worst_steps
from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.quantise.scales import QuantiserOptions
from verifai.onnx_graph.model import OnnxModel

RNG = np.random.default_rng(2)
f = np.float32
COARSE = QuantiserOptions(activation_bits=9, input_bits=12, output_bits=12, input_margin=0.0)


def squares(*, bias: bool, variances: float = 1.0) -> OnnxModel:
    """Σ w·(x·A)², per class."""
    nodes = [n("Gemm", "x", "a", "m", out="v"), n("Mul", "v", "v", out="s")]
    constants: dict[str, Any] = {"a": RNG.normal(size=(5, 7)).astype(f), "m": RNG.normal(size=7).astype(f)}
    constants["w"] = (-RNG.uniform(0.01, variances, size=(7, 3))).astype(f)
    if bias:
        constants["b"] = RNG.normal(size=3).astype(f)
        nodes.append(n("Gemm", "s", "w", "b"))
    else:
        nodes.append(n("MatMul", "s", "w"))
    return net((1, 5), (1, 3), *nodes, **constants)


def softmax_of(factor: float, classes: int = 3, axis: int = 1) -> OnnxModel:
    """The softmax of x·W with W times the factor."""
    w = (RNG.normal(size=(6, classes)) * factor).astype(f)
    if axis == 1:
        return net((1, 6), (1, classes), n("MatMul", "x", "w", out="l"), n("Softmax", "l", axis=1), w=w)
    nodes = [n("MatMul", "x", "w", out="l"), n("Softmax", "l", axis=0)]
    return net((4, 6), (4, classes), *nodes, w=w)


def largest_error(source: OnnxModel, options: QuantiserOptions, feeds: Any) -> float:
    made = built(source, feeds, options)
    return max(float(np.abs(found - expected).max()) for feed in feeds for found, expected, _ in outputs(source, made, feed))


@pytest.mark.parametrize("bias", [True, False])
def test_squares_are_summed_before_anything_is_rounded(bias: bool) -> None:
    source = squares(bias=bias)
    feeds = feeds_of(source)
    assert worst_steps(source, built(source, feeds), feeds) <= 4
    assert supported(source)
    kinds = [type(op) for op in built(source, feeds).circuit.ops]
    assert ops.RowSum in kinds and kinds.count(ops.Requant) == 2  # the value that is squared, and the sum


def test_squares_that_something_else_reads_are_rounded_once_for_both() -> None:
    nodes = [n("Gemm", "x", "a", out="v"), n("Mul", "v", "v", out="s"), n("MatMul", "s", "w", out="q"), n("Add", "q", "s")]
    source = net((1, 3), (1, 3), *nodes, a=RNG.normal(size=(3, 3)).astype(f), w=RNG.normal(size=(3, 3)).astype(f))
    feeds = feeds_of(source)
    assert worst_steps(source, built(source, feeds), feeds) <= 4


@pytest.mark.parametrize("classes", [2, 3, 7])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("factor", [30.0, 1000.0, 100_000.0])
def test_a_softmax_of_values_that_differ_by_thousands_is_as_exact_as_any(classes: int, axis: int, factor: float) -> None:
    source = softmax_of(factor, classes, axis)
    feeds = feeds_of(source, count=8)
    feeds += [{"x": feed["x"] * 5 / factor} for feed in feeds]  # where nothing is decided
    wide = largest_error(source, QuantiserOptions(activation_bits=12, input_bits=16, output_bits=12), feeds)
    assert wide < 0.02 * max(1.0, factor / 5000)


def test_values_that_differ_little_are_lowered_as_they_were() -> None:
    source = softmax_of(2.0)
    feeds = feeds_of(source)
    kinds = [type(op) for op in built(source, feeds, COARSE).circuit.ops]
    assert ops.WindowMax not in kinds
    wide = softmax_of(300.0)
    assert ops.WindowMax in [type(op) for op in built(wide, feeds, COARSE).circuit.ops]


@pytest.mark.parametrize("build", [lambda: squares(bias=True), lambda: softmax_of(1000.0), lambda: softmax_of(1000.0, axis=0)])
def test_they_are_proven_in_both_suites(build: Any) -> None:
    source = build()
    prove_in_both_suites(source, feeds_of(source, count=4))


def test_a_row_beyond_the_calibrated_values_keeps_its_decision() -> None:
    source = softmax_of(1000.0)
    options = QuantiserOptions(activation_bits=12, input_bits=16, output_bits=12, input_margin=1.0)
    feeds = feeds_of(source, low=-0.5, high=0.5)
    made = built(source, feeds, options)
    for feed in feeds_of(source, seed=4, count=12):
        ((found, expected, _),) = outputs(source, made, feed)
        assert found.argmax() == expected.argmax() or np.sort(expected.ravel())[-2] > 0.01
