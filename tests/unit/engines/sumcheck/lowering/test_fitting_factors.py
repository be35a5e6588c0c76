"""A coarse value and a fine one in one sum: the shift for the fine one is no greater than the coarse one's factor allows."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from tests.support.lowering_runs import built, n, prove_in_both_suites, worst_steps
from tests.support.sumcheck_models import Array, model
from verifai.engines.sumcheck.lowering import emit, wide
from verifai.engines.sumcheck.lowering.values import CellTerm, Form, ProductTerm, whole
from verifai.errors import UnsupportedModel
from verifai.onnx_graph.model import OnnxModel

SHAPE = (3, 5)


def _sum_of(*nodes: object) -> OnnxModel:
    inputs = dict.fromkeys(("a", "b", "c"), SHAPE)
    return model([n("Mul", "a", "b", out="product"), n("Add", "product", "c", out="sum"), *nodes], inputs, {"y": SHAPE}, {})


def _feeds(coarse: float, fine: float = 1.0, count: int = 12) -> list[dict[str, Array]]:
    drawn = np.random.default_rng(5)
    ranges = {"a": fine, "b": fine, "c": coarse}
    return [{k: drawn.uniform(-v, v, SHAPE).astype(np.float32) for k, v in ranges.items()} for _ in range(count)]


@pytest.mark.parametrize("kind", ["Identity", "Relu", "Tanh"])
@pytest.mark.parametrize("coarse", [30.0, 1e3, 1e5])
def test_a_product_beside_a_value_that_is_a_million_times_as_coarse(kind: str, coarse: float) -> None:
    """As of scores that a mask multiplies, plus the mask's −1024 (MPNet)."""
    source, feeds = _sum_of(n(kind, "sum")), _feeds(coarse)
    assert worst_steps(source, built(source, feeds), feeds) <= 1.5


def test_such_a_sum_is_proven() -> None:
    prove_in_both_suites(_sum_of(n("Relu", "sum")), _feeds(1e3))


def test_what_nothing_would_be_left_of_is_refused_not_dropped() -> None:
    with pytest.raises(UnsupportedModel, match="differ too much") as caught:
        built(_sum_of(n("Relu", "sum")), _feeds(1e5, fine=0.001))
    assert caught.value.code == "circuit-bound"


def _form(fine: Fraction, coarse: Fraction) -> Form:
    a, c = whole(0, SHAPE, fine), whole(1, SHAPE, coarse)
    return Form((ProductTerm(a, a, 1.0), CellTerm(c, -1.0)), 0.0, SHAPE, SHAPE, "sum")


@pytest.mark.parametrize("coarse", [Fraction(1), Fraction(2**20 - 1, 2**20), Fraction(3, 7), Fraction(5000)])
def test_the_shift_is_the_greatest_whose_factors_are_taken(coarse: Fraction) -> None:
    form = _form(Fraction(1, 100), coarse)
    shift = wide.fitting(form, Fraction(1), 60)
    assert emit._factor(-1.0, coarse * 2**shift, "c")
    with pytest.raises(UnsupportedModel, match="too large for its scale"):
        emit._factor(-1.0, coarse * 2 ** (shift + 1), "c")
    assert wide.fitting(form, Fraction(1), shift) == shift
    assert wide.fitting(form, Fraction(1), shift - 3) == shift - 3  # no circuit that was lowered before is another one now
