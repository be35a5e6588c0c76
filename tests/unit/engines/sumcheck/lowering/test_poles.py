"""Functions with a pole and other functions of one value: tables, on the side of the pole where the data are."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from tests.support.lowering_runs import built, feeds_of, n, net, outputs, prove_in_both_suites, supported, worst_steps
from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.quantise.functions import constant, evaluate, tabulate
from verifai.engines.sumcheck.quantise.scales import QuantiserOptions
from verifai.errors import EvidenceRejected, UnsupportedModel
from verifai.onnx_graph.model import OnnxModel

# ruff: noqa: E501 - one case per line reads as a table
f = np.float32
UP = n("Exp", "x", out="u")  # from e^-1 to e


def case(*nodes: Any, **constants: Any) -> OnnxModel:
    return net((4, 8), (4, 8), *nodes, **constants)


FUNCTIONS: dict[str, OnnxModel] = {
    "a reciprocal": case(UP, n("Reciprocal", "u")),
    "a reciprocal of what is negative": case(UP, n("Neg", "u", out="v"), n("Reciprocal", "v")),
    "a logarithm": case(UP, n("Log", "u")),
    "a logarithm of 1 + x": case(UP, n("Add", "u", "one", out="v"), n("Log", "v"), one=f(1)),
    "a root": case(UP, n("Sqrt", "u")),
    "a power of 1.5": case(UP, n("Pow", "u", "p"), p=f(1.5)),
    "a power of -1/2": case(UP, n("Pow", "u", "p"), p=f(-0.5)),
    "a power of -2": case(UP, n("Pow", "u", "p"), p=f(-2)),
    "an odd power of what is negative": case(UP, n("Neg", "u", out="v"), n("Pow", "v", "p"), p=f(-3)),
    "a power of 5 of both signs": case(n("Pow", "x", "p"), p=f(5)),
    "a power of 2": case(n("Pow", "x", "p", out="q"), n("Neg", "q"), p=f(2)),
    "a number to the power of a value": case(n("Pow", "p", "x"), p=f(3)),
    "softsign": case(n("Softsign", "x")),
    "selu": case(n("Selu", "x")),
    "celu": case(n("Celu", "x", alpha=0.5)),
    "a sigmoid in parts": case(n("Neg", "x", out="v"), n("Exp", "v", out="e"), n("Add", "e", "one", out="d"), n("Reciprocal", "d"), one=f(1)),
}  # fmt: skip


def test_a_term_of_an_entropy_is_a_product_since_no_table_has_a_value_at_0() -> None:
    source = case(n("Softmax", "x", axis=-1, out="p"), n("Log", "p", out="l"), n("Mul", "p", "l"))
    feeds = feeds_of(source)
    made = built(source, feeds)
    assert ops.Mul in {type(op) for op in made.circuit.ops}
    assert worst_steps(source, made, feeds) <= 8
    assert supported(source)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_is_what_onnxruntime_computes(name: str) -> None:
    source = FUNCTIONS[name]
    feeds = feeds_of(source)
    made = built(source, feeds)
    # A table's argument is exact; a value in between is rounded to a quarter of its step before its function is read.
    assert worst_steps(source, made, feeds) <= 2.5
    assert {type(op) for op in made.circuit.ops} <= {ops.Lookup, ops.Requant}
    assert supported(source)


STEPS = {"Sign": (-1, 1), "Floor": (-3, 3), "Ceil": (-3, 3), "Round": (-3, 3), "ThresholdedRelu": (-3, 3)}


@pytest.mark.parametrize("kind", STEPS)
def test_a_function_with_jumps_is_exact_on_the_quantised_value(kind: str) -> None:
    source = case(n(kind, "x"))
    low, high = STEPS[kind]
    feeds = feeds_of(source, low=low, high=high)
    assert worst_steps(source, built(source, feeds), feeds) <= 0.6


POLES = ["Reciprocal", "Log", "Sqrt"]


@pytest.mark.parametrize("kind", POLES)
def test_an_operand_whose_range_reaches_beyond_the_pole_is_refused_by_name(kind: str) -> None:
    """Widened by the margin, the input's range holds numbers of which the model has no value."""
    source = case(n(kind, "x"))
    feeds = feeds_of(source, low=0.1, high=4)
    with pytest.raises(UnsupportedModel) as caught:
        built(source, feeds, QuantiserOptions())
    assert (caught.value.code, caught.value.where) == ("range-holds-pole", "x")
    assert worst_steps(source, built(source, feeds), feeds) <= 60  # 4/4096 of an input step moves 1/x at 0.1 by a hundredth
    assert supported(source)


def test_a_value_that_is_infinite_on_the_data_gets_no_scale_of_its_own() -> None:
    """1/(1 + exp(−z)) overflows inside and is finite outside: scikit-learn writes logistic scores so."""
    nodes = (n("Mul", "x", "k", out="z"), n("Exp", "z", out="e"), n("Add", "e", "one", out="d"), n("Reciprocal", "d"))
    source = case(*nodes, k=f(-500), one=f(1))
    feeds = feeds_of(source)
    assert worst_steps(source, built(source, feeds), feeds) <= 0.6
    alone = case(*nodes[:1], n("Exp", "z", out="e"), n("Tanh", "e"), k=f(500))
    assert worst_steps(alone, built(alone, feeds), feeds) <= 0.6  # a function of z still
    held = case(
        *nodes[:1], n("Exp", "z", out="e"), n("Softmax", "e", out="s"), n("Neg", "x", out="t"), n("Mul", "s", "t"), k=f(200)
    )
    with pytest.raises(UnsupportedModel) as caught:
        built(held, feeds)
    assert caught.value.code in ("no-scale", "not-finite")


def test_next_to_the_pole_the_result_is_the_end_of_its_range() -> None:
    source = case(n("Relu", "x", out="r"), n("Add", "r", "tiny", out="d"), n("Reciprocal", "d"), tiny=f(1e-6))
    feeds = feeds_of(source, low=0.25, high=1)
    made = built(source, feeds)
    ((found, _, step),) = outputs(source, made, {"x": np.zeros((4, 8), f)})
    assert np.allclose(found, made.circuit.tensors[made.circuit.outputs[0].tensor].high * step)


def test_instructions_at_their_edges() -> None:
    def at(x: float, *program: Any) -> Decimal:
        return evaluate(program, Decimal(str(x)))

    x, infinity = ("x",), Decimal("Infinity")
    assert at(0, x, ("recip",)) == infinity and at(-2, x, ("recip",)) == Decimal("-0.5")
    assert at(0, x, ("log",)) == at(-3, x, ("log",)) == -infinity
    assert at(-8, x, constant(3.0), ("pow",)) == -512 and at(-8, x, constant(0.5), ("pow",)) == 0
    assert at(0, x, constant(-1.0), ("pow",)) == infinity and at(0, x, constant(0.0), ("pow",)) == 1
    assert at(2.5, x, ("round",)) == 2 and at(3.5, x, ("round",)) == 4 and at(-2.5, x, ("floor",)) == -3
    assert at(1, x, constant(1.0), ("ge",)) == 1 and at(1, x, constant(1.0), ("gt",)) == 0
    assert at(4, x, constant(0.0), ("gt",), constant(7.0), constant(9.0), ("select",)) == 7
    with pytest.raises(EvidenceRejected):
        tabulate((x, ("log",), x, ("log",), ("sub",)), 3, Fraction(1), Fraction(1), -9, 9)


@pytest.mark.parametrize("name", ["a reciprocal of what is negative", "a logarithm of 1 + x"])
def test_a_function_is_proven_in_both_suites(name: str) -> None:
    prove_in_both_suites(FUNCTIONS[name], feeds_of(FUNCTIONS[name]))
