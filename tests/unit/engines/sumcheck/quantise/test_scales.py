"""Scales are dyadic and cover their ranges; tables are the rounded functions; floats become integers exactly."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import floor

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from tests.support.sumcheck_models import model, samples
from verifai.domain.record import Record
from verifai.engines.sumcheck.quantise.functions import (
    Program,
    constant,
    evaluate,
    exponential_table,
    keeps_scale,
    substitute,
    tabulate,
)
from verifai.engines.sumcheck.quantise.ranges import calibrate
from verifai.engines.sumcheck.quantise.scales import (
    Method,
    QuantiserOptions,
    Range,
    choose_scale,
    choose_scales,
    dyadic_up,
    parse_options,
)
from verifai.engines.sumcheck.tensors import to_steps
from verifai.errors import EvidenceRejected, InputRejected, UnsupportedModel, UsageError

reals = st.floats(-1e6, 1e6, allow_nan=False)


@given(st.floats(1e-30, 1e30))
def test_a_dyadic_scale_is_the_least_of_sixteen_bits_that_is_not_smaller(value: float) -> None:
    mantissa, exponent = dyadic_up(value)
    step = Fraction(2) ** exponent
    assert 1 << 15 <= mantissa < 1 << 16
    assert (mantissa - 1) * step < Fraction(value) <= mantissa * step


@given(reals, reals, st.integers(2, 16))
def test_a_scale_covers_its_range_and_zero_with_the_bits_it_has(a: float, b: float, bits: int) -> None:
    values = Range(min(a, b), max(a, b))
    scale = choose_scale(values, bits)
    assert scale.high - scale.low == (1 << bits) - 1 and scale.low <= 0 <= scale.high
    assert scale.low * scale.step <= Fraction(values.low) and Fraction(values.high) <= scale.high * scale.step


def test_one_sided_ranges_use_all_levels_on_that_side() -> None:
    assert (choose_scale(Range(0.0, 3.0), 8).low, choose_scale(Range(0.0, 3.0), 8).high) == (0, 255)
    assert (choose_scale(Range(-3.0, -1.0), 8).low, choose_scale(Range(-3.0, -1.0), 8).high) == (-255, 0)


def test_an_input_that_a_logarithm_is_taken_of_stays_on_its_side_of_zero() -> None:
    options = QuantiserOptions(input_margin=0.5)
    ranges = {"x": Range(0.2, 4.0), "t": Range(0.1, 9.0), "n": Range(-4.0, -0.2), "b": Range(-1.0, 2.0)}
    table = {"t": [Range(0.1, 9.0), Range(0.5, 1.5)]}
    scales = choose_scales(ranges, set(ranges), (), options, columns=table, one_sided=set(ranges))
    assert scales["x"].low == 0 and scales["t"].low == 0 and scales["n"].high == 0
    assert scales["b"].low < 0 < scales["b"].high
    assert choose_scales(ranges, set(ranges), (), options)["x"].low < 0


def test_margins_widen_inputs_and_outputs_but_not_at_zero() -> None:
    options = QuantiserOptions(input_margin=0.5, output_margin=0.25, activation_margin=0.125)
    scales = choose_scales({"x": Range(0.0, 1.0), "y": Range(-1.0, 1.0), "h": Range(0.0, 1.0)}, {"x"}, {"y"}, options)
    assert scales["x"].low == 0 and float(scales["x"].high * scales["x"].step) == pytest.approx(1.5, rel=1e-3)
    assert float(scales["y"].high * scales["y"].step) == pytest.approx(1.5, rel=1e-2)
    assert float(scales["h"].high * scales["h"].step) == pytest.approx(1.125, rel=1e-3)
    bare = choose_scales({"h": Range(0.0, 1.0)}, (), (), replace(options, activation_margin=0.0))
    assert float(bare["h"].high * bare["h"].step) == pytest.approx(1.0, rel=1e-3)


def test_options_are_read_strictly() -> None:
    def parse(**fields: object) -> QuantiserOptions:
        return parse_options(Record(fields, "spec", error=UsageError, code="bad-spec"))

    assert parse() == QuantiserOptions()
    assert parse(**QuantiserOptions(method=Method.MSE, split=False).to_document()) == QuantiserOptions(
        method=Method.MSE, split=False
    )
    for bad in ({"activation_bits": 16}, {"method": "best"}, {"bits": 8}, {"percentile": "all"}, {"split": 1}):
        with pytest.raises(UsageError) as refused:
            parse(**bad)
        assert refused.value.code == "bad-spec"


X = ("x",)
FUNCTIONS: dict[str, tuple[Program, object]] = {
    "relu": ((X, ("relu",)), lambda x: max(x, mpmath.mpf(0))),
    "sigmoid": ((X, ("sigmoid",)), lambda x: 1 / (1 + mpmath.exp(-x))),
    "tanh": ((X, ("tanh",)), mpmath.tanh),
    "erf": ((X, ("erf",)), mpmath.erf),
    "exp": ((X, ("exp",)), mpmath.exp),
    "softplus": ((X, ("softplus",)), lambda x: mpmath.log(1 + mpmath.exp(x))),
    "gelu": (
        (X, constant(0.5), ("mul",), X, constant(2.0**-0.5), ("mul",), ("erf",), constant(1.0), ("add",), ("mul",)),
        lambda x: x / 2 * (1 + mpmath.erf(x * mpmath.mpf(2.0**-0.5))),
    ),
    "silu": ((X, X, ("sigmoid",), ("mul",)), lambda x: x / (1 + mpmath.exp(-x))),
    "leaky": (
        (X, ("relu",), X, constant(0.0), ("min",), constant(0.01), ("mul",), ("add",)),
        lambda x: x if x > 0 else mpmath.mpf(0.01) * x,
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_table_is_the_rounded_function(name: str) -> None:
    program, function = FUNCTIONS[name]
    s_in, s_out = Fraction(77, 1024), Fraction(5, 512)
    table = tabulate(program, 8, s_in, s_out, -900, 900)
    with mpmath.workdps(80):
        for t, value in zip(range(-128, 128), table, strict=True):
            exact = function(mpmath.mpf(t) * s_in.numerator / s_in.denominator) * s_out.denominator / s_out.numerator  # type: ignore[operator]
            assert value == max(-900, min(900, int(mpmath.floor(exact + mpmath.mpf("0.5")))))


def test_softmax_table_starts_at_one_and_ends_at_zero() -> None:
    table = exponential_table(6, Fraction(1, 8))
    assert len(table) == 64 and table[0] == 1 << 14 and table[-1] == 0
    with mpmath.workdps(80):
        assert all(v == int(mpmath.floor(16384 * mpmath.exp(-mpmath.mpf(d) / 8) + 0.5)) for d, v in enumerate(table[:-1]))


def test_a_function_without_a_value_is_refused() -> None:
    with pytest.raises(EvidenceRejected, match="no value"):
        tabulate((constant(1.0), X, ("div",)), 4, Fraction(1), Fraction(1), -9, 9)


def test_composition_substitutes_the_inner_program() -> None:
    from decimal import Decimal

    square: Program = (X, X, ("mul",))
    shifted: Program = (X, constant(3.0), ("add",))
    assert evaluate(substitute(square, shifted), Decimal(2)) == 25
    assert evaluate(substitute(shifted, square), Decimal(2)) == 7
    assert keeps_scale((X, ("relu",))) and not keeps_scale((X, ("tanh",)))


@settings(max_examples=300)
@given(st.floats(-1e4, 1e4, width=32), st.integers(1, 1 << 16), st.integers(-30, 0))
def test_floats_become_steps_exactly(value: float, mantissa: int, exponent: int) -> None:
    step = mantissa * Fraction(2) ** exponent
    expected = floor(Fraction(value) / step + Fraction(1, 2))
    if abs(expected) < 2**50:
        assert int(to_steps("x", np.array([value], np.float32), step)[0]) == expected


def test_ties_between_steps_go_up() -> None:
    step = Fraction(3, 64)
    ties = [(k + Fraction(1, 2)) * step for k in range(-50, 50)]
    found = to_steps("x", np.array([float(t) for t in ties]), step)
    assert found.tolist() == [k + 1 for k in range(-50, 50)]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_what_is_no_number_of_steps_is_refused(value: float) -> None:
    with pytest.raises(InputRejected) as refused:
        to_steps("x", np.array([value]), Fraction(1, 256))
    assert refused.value.code == "input-out-of-range"


def test_percentile_and_mse_clip_outliers_that_min_max_keeps() -> None:
    net = model(
        [helper.make_node("Relu", ["x"], ["h"]), helper.make_node("Tanh", ["h"], ["y"])], {"x": (1, 4000)}, {"y": (1, 4000)}
    )
    feeds = samples(net, 3)
    feeds[0]["x"][0, 0] = 1000.0
    ranges = {method: calibrate(net, feeds, method, percentile=99.0)["h"].high for method in Method}
    assert ranges[Method.MIN_MAX] == 1000.0
    assert ranges[Method.PERCENTILE] < 10.0 and ranges[Method.MSE] <= 1000.0


def test_a_value_that_is_not_finite_is_refused() -> None:
    net = model([helper.make_node("Exp", ["x"], ["y"])], {"x": (1, 4)}, {"y": (1, 4)})
    with pytest.raises(UnsupportedModel) as refused:
        calibrate(net, [{"x": np.full((1, 4), 1e4, np.float32)}])
    assert refused.value.code == "not-finite" and refused.value.where == "y"


def test_erf_has_sixty_digits_where_its_series_cancels_most() -> None:
    from decimal import Context, Decimal, localcontext

    with mpmath.workdps(90), localcontext(Context(prec=60)):
        for x in ("0", "1e-30", "-0.7", "2.5", "-5.25", "8", "11.99", "-11.999", "12", "30"):
            found = evaluate((X, ("erf",)), Decimal(x))
            assert abs(mpmath.mpf(str(found)) - mpmath.erf(mpmath.mpf(x))) < mpmath.mpf(10) ** -58
