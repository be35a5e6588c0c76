"""Where, by constant masks and by computed conditions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.support.lowering_runs import built, feeds_of, n, net, prove_in_both_suites, supported, worst_steps
from verifai.engines.sumcheck.circuit import ops
from verifai.onnx_graph.model import OnnxModel

# ruff: noqa: E501 - one case per line reads as a table
f = np.float32
MASK = np.array([[True, False, True, True, False]])
ROW = np.array([0.5, -0.25, 1, 0, -1], f)
TEST = n("Greater", "x", "t", out="c")
LAYER = (n("MatMul", "x", "w", out="z"), n("Greater", "z", "t", out="c"))
W = np.random.default_rng(1).standard_normal((5, 5)).astype(f)


def case(*nodes: Any, **constants: Any) -> OnnxModel:
    return net((4, 5), (4, 5), *nodes, **constants)


CASES: dict[str, tuple[OnnxModel, float]] = {
    "a mask and a number": (case(n("Where", "m", "x", "k"), m=MASK, k=f(0.3)), 1.0),
    "a mask, the number where it holds": (case(n("Where", "m", "k", "x"), m=MASK, k=f(-0.3)), 1.0),
    "a mask and a row": (case(n("Where", "m", "x", "k"), m=MASK, k=ROW), 1.0),
    "a mask of cells": (case(n("Where", "m", "x", "k"), m=np.tri(4, 5).astype(bool), k=f(0.5)), 1.0),
    "a mask and two values": (case(n("Tanh", "x", out="z"), n("Where", "m", "x", "z"), m=MASK), 1.5),
    "a mask, a column and a row": (net((4, 1), (4, 5), n("Where", "m", "x", "k"), m=MASK, k=ROW), 1.0),
    "a leaky function in parts": (case(TEST, n("Mul", "x", "s", out="z"), n("Where", "c", "x", "z"), t=f(0), s=f(0.1)), 1.0),
    "two numbers": (case(TEST, n("Where", "c", "a", "b"), t=f(0.1), a=f(2), b=f(-1)), 1.0),
    "a layer's decision between two numbers": (case(*LAYER, n("Where", "c", "a", "b"), t=f(0.1), a=f(2), b=f(-1), w=W), 1.0),
    "a decision between two values": (case(*LAYER, n("Tanh", "x", out="h"), n("Where", "c", "x", "h"), t=f(0.1), w=W), 1.5),
    "a decision between a value and a number": (case(*LAYER, n("Where", "c", "x", "b"), t=f(0.1), b=f(-1), w=W), 1.5),
    "a decision between a number and a value": (case(*LAYER, n("Where", "c", "b", "x"), t=f(0.1), b=f(-1), w=W), 1.5),
    "a decision between a row and a value": (case(*LAYER, n("Where", "c", "k", "x"), t=f(0.1), k=ROW, w=W), 1.5),
    "a decision between two rows": (case(*LAYER, n("Where", "c", "k", "l"), t=f(0.1), k=ROW, l=ROW[::-1].copy(), w=W), 1.5),
    "one decision per row": (
        case(n("ReduceMax", "x", "axis", out="z"), n("Greater", "z", "t", out="c"), n("Where", "c", "x", "b"), t=f(0.7), b=f(0), axis=[1]), 1.5,
    ),
    "the larger of a value and a row": (case(n("Max", "x", "k"), k=ROW), 1.5),
    "the smaller of a row and a value": (case(n("Min", "k", "x"), k=ROW), 1.5),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_choice_is_what_onnxruntime_chooses(name: str) -> None:
    source, tolerance = CASES[name]
    feeds = feeds_of(source)
    assert worst_steps(source, built(source, feeds), feeds) <= tolerance
    assert supported(source)


def test_a_choice_between_functions_of_one_value_is_one_table() -> None:
    source, _ = CASES["a leaky function in parts"]
    assert [type(op) for op in built(source, feeds_of(source)).circuit.ops] == [ops.Lookup]


@pytest.mark.parametrize(
    "name",
    ["a mask of cells", "a mask and two values", "a decision between a row and a value", "the larger of a value and a row"],
)
def test_a_choice_is_proven_in_both_suites(name: str) -> None:
    source, _ = CASES[name]
    prove_in_both_suites(source, feeds_of(source))
