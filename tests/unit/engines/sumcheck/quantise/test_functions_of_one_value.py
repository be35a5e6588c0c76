"""Every function of one value has its table, and floating point gives no cell that decimals would not."""

from __future__ import annotations

from fractions import Fraction

import mpmath
import pytest

from verifai.engines.sumcheck.quantise import functions
from verifai.engines.sumcheck.quantise.estimates import estimated_cells
from verifai.engines.sumcheck.quantise.functions import Program, tabulate

STEP = Fraction(3, 64)
KNOWN = {
    "sin": mpmath.sin, "cos": mpmath.cos, "tan": mpmath.tan, "asin": mpmath.asin, "acos": mpmath.acos, "atan": mpmath.atan,
    "sinh": mpmath.sinh, "cosh": mpmath.cosh, "asinh": mpmath.asinh, "acosh": mpmath.acosh, "atanh": mpmath.atanh,
    "trunc": lambda x: mpmath.sign(x) * mpmath.floor(abs(x)),
}  # fmt: skip
BELOW_ONE = ("asin", "acos", "atanh")


@pytest.mark.parametrize("name", sorted(functions._UNARY))
def test_estimates_of_every_function_are_exact_where_they_are_certain(name: str) -> None:
    program: Program = (("x",), (name,))
    cells, certain = estimated_cells(program, range(-64, 64), STEP, STEP)
    table = tabulate(program, 7, STEP, STEP, -(1 << 40), 1 << 40)
    for cell, known, exact in zip(cells.tolist(), certain.tolist(), table, strict=True):
        assert not known or cell == exact


@pytest.mark.parametrize("name", KNOWN)
def test_tables_are_those_of_another_implementation(name: str) -> None:
    step = Fraction(1, 80) if name in BELOW_ONE else STEP
    table = tabulate((("x",), (name,)), 7, step, Fraction(1, 4096), -(1 << 40), 1 << 40)
    for t, cell in zip(range(-64, 64), table, strict=True):
        x = mpmath.mpf(t * step.numerator) / step.denominator
        if name == "acosh" and x < 1:
            assert cell == 0
            continue
        assert cell == int(mpmath.floor(mpmath.re(KNOWN[name](x)) * 4096 + mpmath.mpf("0.5")))


def test_arguments_beyond_a_function_s_domain_are_its_ends() -> None:
    asin, atanh = (tabulate((("x",), (name,)), 3, Fraction(1), Fraction(1, 4), -100, 100) for name in ("asin", "atanh"))
    assert asin == (-6, -6, -6, -6, 0, 6, 6, 6) and atanh == (-100, -100, -100, -100, 0, 100, 100, 100)
