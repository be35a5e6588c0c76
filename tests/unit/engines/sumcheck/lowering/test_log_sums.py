"""LogSoftmax, ReduceLogSumExp, and the softmaxes that are written with them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.support.lowering_runs import built, feeds_of, n, net, outputs, prove_in_both_suites, supported, worst_steps
from tests.support.sumcheck_models import lowered
from verifai.engines.sumcheck.lowering.fuse import fuse
from verifai.engines.sumcheck.lowering.graph import read_graph
from verifai.errors import UnsupportedModel
from verifai.onnx_graph.model import OnnxModel

f = np.float32
LSE = n("ReduceLogSumExp", "x", "axis", out="l", keepdims=0)
POSTERIOR = (LSE, n("Reshape", "l", "column", out="r"), n("Sub", "x", "r", out="d"), n("Exp", "d"))


def case(*nodes: Any, shape: tuple[int, ...] = (3, 4), out: tuple[int, ...] = (3, 4), **constants: Any) -> OnnxModel:
    return net(shape, out, *nodes, **{"axis": [1], **constants})


SUMS: dict[str, OnnxModel] = {
    "log softmax": net((3, 4), (3, 4), n("LogSoftmax", "x")),
    "log softmax of columns": net((3, 4), (3, 4), n("LogSoftmax", "x", axis=0)),
    "log sum": case(n("ReduceLogSumExp", "x", "axis"), out=(3, 1)),
    "log sum of all": net((3, 4), (), n("ReduceLogSumExp", "x", keepdims=0)),
    "log sum of two axes": case(n("ReduceLogSumExp", "x", "axis", keepdims=0), shape=(2, 3, 4), out=(4,), axis=[0, 1]),
    "x minus its log sum": case(n("ReduceLogSumExp", "x", "axis", out="l"), n("Sub", "x", "l")),
    "of one cell": case(n("ReduceLogSumExp", "x", "axis"), shape=(3, 1), out=(3, 1)),
    "of 200 cells": case(n("ReduceLogSumExp", "x", "axis"), shape=(3, 200), out=(3, 1)),
}


@pytest.mark.parametrize("name", SUMS)
def test_a_log_sum_is_what_onnxruntime_computes(name: str) -> None:
    source = SUMS[name]
    feeds = feeds_of(source, low=-6, high=6)
    # Half a step each of the maximum, the logarithm and the result; 200 cells add n·2^-15 to the logarithm.
    assert worst_steps(source, built(source, feeds), feeds) <= (4 if "200" in name else 2)
    assert supported(source)


def test_equal_and_extreme_rows() -> None:
    source = SUMS["log softmax"]
    x = np.array([[0, 0, 0, 0], [6, -6, -6, -6], [6, 6, 6, 6]], f)
    made = built(source, [{"x": x}, *feeds_of(source, low=-6, high=6)])
    ((found, expected, step),) = outputs(source, made, {"x": x})
    assert np.abs(found - expected).max() <= 2 * step


def test_rows_of_more_cells_than_the_logarithm_allows_are_refused() -> None:
    source = net((2, 300), (2, 300), n("LogSoftmax", "x"))
    with pytest.raises(UnsupportedModel) as caught:
        lowered(source, feeds_of(source))
    assert caught.value.code == "operator-unsupported" and "300" in caught.value.message
    assert not supported(source)


def test_the_exponential_of_x_minus_its_log_sum_is_a_softmax() -> None:
    """Naive Bayes."""
    source = case(*POSTERIOR, column=[3, 1])
    assert [node.op_type for node in fuse(read_graph(source)).nodes] == ["Softmax"]


def test_beside_the_wrong_rows_it_is_not() -> None:
    nodes = (LSE, n("Reshape", "l", "row", out="r"), n("Sub", "x", "r", out="d"), n("Exp", "d"))
    source = case(*nodes, shape=(4, 4), out=(4, 4), row=[1, 4])
    assert "Softmax" not in [node.op_type for node in fuse(read_graph(source)).nodes]
    feeds = feeds_of(source)
    assert worst_steps(source, built(source, feeds), feeds) <= 3


@pytest.mark.parametrize("name", ["log softmax", "log sum of all"])
def test_a_log_sum_is_proven_in_both_suites(name: str) -> None:
    prove_in_both_suites(SUMS[name], feeds_of(SUMS[name]))
