"""What floating point is certain of is what decimals compute; what may go either way it leaves open."""

from __future__ import annotations

from decimal import ROUND_FLOOR, Decimal, localcontext
from fractions import Fraction

import pytest

from verifai.engines.sumcheck.quantise import functions
from verifai.engines.sumcheck.quantise.estimates import estimated_cells
from verifai.engines.sumcheck.quantise.functions import constant, evaluate, tabulate
from verifai.errors import EvidenceRejected

X = ("x",)
GELU = (X, X, constant(2**-0.5), ("mul",), ("erf",), constant(1.0), ("add",), ("mul",), constant(0.5), ("mul",))
PROGRAMS = {
    "identity": (),
    "relu": (X, ("relu",)),
    "gelu": GELU,
    "gelu by tanh": (X, X, constant(0.8), ("mul",), ("tanh",), constant(1.0), ("add",), ("mul",)),
    "silu": (X, X, ("sigmoid",), ("mul",)),
    "softplus": (X, ("softplus",)),
    "exp": (X, ("exp",)),
    "log": (X, ("log",)),
    "recip": (X, ("recip",)),
    "difference of near values": (X, ("exp",), X, ("sub",), constant(1.0), ("sub",)),
    "quotient": (X, X, X, ("mul",), constant(1.0), ("add",), ("div",)),
    "steps": (X, ("floor",), X, ("ceil",), ("add",), X, ("round",), ("add",)),
    "piecewise": (X, constant(1.0), ("gt",), X, ("neg",), X, constant(3.0), ("mul",), ("select",)),
    "piecewise at equal": (X, constant(2.0), ("eq",), constant(9.0), X, ("abs",), ("select",)),
    "both conditions": (X, constant(1.0), ("gt",), X, constant(4.0), ("ge",), ("mul",), X, constant(7.0), ("select",)),
    "number as condition": (X, X, constant(5.0), ("select",)),
    "power": (X, constant(3.0), ("pow",)),
    "smallest and largest": (X, constant(-2.0), ("max",), constant(2.0), ("min",)),
}
SCALES = [(Fraction(1, 16), Fraction(1, 8)), (Fraction(3, 64), Fraction(1, 4096)), (Fraction(7, 2), Fraction(1, 1024))]
LARGE = Decimal(1 << 40)


def _exact(program, t, s_in, s_out):
    with localcontext(functions._CONTEXT):
        scale = Decimal(s_in.numerator) / Decimal(s_in.denominator)
        value = evaluate(program, t * scale) / (Decimal(s_out.numerator) / Decimal(s_out.denominator)) + Decimal("0.5")
        return value.to_integral_value(ROUND_FLOOR)


@pytest.mark.parametrize("scales", SCALES)
@pytest.mark.parametrize("name", PROGRAMS)
def test_what_is_certain_is_exact(name, scales):
    program, arguments = PROGRAMS[name], range(-700, 700)
    values, certain = estimated_cells(program, arguments, *scales)
    for t, value, known in zip(arguments, values.tolist(), certain.tolist(), strict=True):
        if known:
            assert Decimal(value) == _exact(program, t, *scales)


@pytest.mark.parametrize("name", ["gelu", "gelu by tanh", "silu", "softplus", "quotient", "relu"])
def test_nearly_all_cells_of_common_functions_are_certain(name):
    _, certain = estimated_cells(PROGRAMS[name], range(-(1 << 11), 1 << 11), Fraction(3, 1000), Fraction(1, 3000))
    assert certain.mean() > 0.99


def test_what_lies_on_an_edge_is_left_open():
    """A half, the place of a step, and where two comparisons meet."""
    assert not estimated_cells((), range(1, 2), Fraction(1, 2), Fraction(1))[1].any()  # ⌊½ + ½⌋
    assert not estimated_cells(PROGRAMS["steps"], range(3, 4), Fraction(1), Fraction(1))[1].any()
    assert not estimated_cells(PROGRAMS["piecewise"], range(1, 2), Fraction(1), Fraction(1, 4))[1].any()
    assert not estimated_cells(PROGRAMS["number as condition"], range(-4, 4), Fraction(1), Fraction(1, 4))[1].any()
    assert not estimated_cells(PROGRAMS["power"], range(-4, 4), Fraction(1), Fraction(1, 4))[1].any()


def test_a_branch_without_a_value_is_refused_even_where_it_is_not_taken():
    """0/0 in the branch for other arguments: exact arithmetic computes both branches, and refuses."""
    program = (X, constant(5.0), ("gt",), X, X, X, ("div",), ("select",))
    with pytest.raises(EvidenceRejected) as caught:
        tabulate(program, 4, Fraction(1), Fraction(1), -9, 9)
    assert caught.value.code == "circuit-invalid"


@pytest.mark.parametrize("widths", [(4, 8, 6), (8, 4), (6, 6, 9)])
def test_tables_do_not_depend_on_the_order_of_widths(widths):
    wanted = [
        tuple(int(min(max(_exact(GELU, t, *SCALES[1]), -99), 999)) for t in range(-(1 << (w - 1)), 1 << (w - 1)))
        for w in widths
    ]
    functions._known.cache_clear()
    assert [tabulate(GELU, w, *SCALES[1], -99, 999) for w in widths] == wanted
