"""Many points at once give what one at a time gives, and say so when they cannot."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from verifai.engines.ezkl.srs.bn254 import G1, G1_GENERATOR, ORDER, PRIME, g1_add, g1_multiply, on_g1
from verifai.engines.ezkl.srs.bn254_batch import (
    BETA,
    LAMBDA,
    Degenerate,
    add_all,
    double_all,
    multiply_all,
    negate_all,
    recode,
    split,
    sum_of_products,
)

SCALARS = st.integers(1, ORDER - 1)
EDGES = (1, 2, 3, ORDER - 1, ORDER - 2, LAMBDA, LAMBDA + 1, ORDER - LAMBDA, 2**127, 2**128 - 1, (ORDER - 1) // 2)


def points(count: int) -> list[G1]:
    found = [g1_multiply(G1_GENERATOR, 7 + 1000003 * index) for index in range(count)]
    return [point for point in found if point is not None]


def test_the_endomorphism_multiplies_by_lambda() -> None:
    assert pow(BETA, 3, PRIME) == 1 != BETA
    assert pow(LAMBDA, 3, ORDER) == 1 != LAMBDA
    for x, y in points(3):
        assert g1_multiply((x, y), LAMBDA) == (BETA * x % PRIME, y)


@given(SCALARS)
@example(1)
@example(ORDER - 1)
@example(LAMBDA)
def test_a_scalar_is_split_in_two_halves(scalar: int) -> None:
    low, high = split(scalar)
    assert (low + high * LAMBDA - scalar) % ORDER == 0
    assert max(abs(low), abs(high)).bit_length() <= 128


@settings(max_examples=20)
@given(st.lists(SCALARS, min_size=1, max_size=8))
def test_multiplication_is_repeated_addition(scalars: list[int]) -> None:
    some = points(len(scalars))
    found = multiply_all(some, [recode(scalar) for scalar in scalars])
    assert found == [g1_multiply(point, scalar) for point, scalar in zip(some, scalars, strict=True)]
    assert all(on_g1(point) for point in found)


@pytest.mark.parametrize("scalar", EDGES)
def test_multiplication_at_the_edges(scalar: int) -> None:
    some = points(3)
    assert multiply_all(some, [recode(scalar)] * 3) == [g1_multiply(point, scalar) for point in some]


def test_more_points_than_one_batch() -> None:
    some = points(1) * 1500
    scalars = list(range(1, 1501))
    found = multiply_all(some, [recode(scalar) for scalar in scalars])
    assert [found[at] for at in (0, 1023, 1024, 1499)] == [g1_multiply(some[0], at + 1) for at in (0, 1023, 1024, 1499)]


def test_sums_and_doubles() -> None:
    left, right = points(6)[:3], points(6)[3:]
    assert add_all(left, right) == [g1_add(*pair) for pair in zip(left, right, strict=True)]
    assert double_all(left) == [g1_add(one, one) for one in left]
    assert add_all(left, negate_all(right)) == [
        g1_add(one, g1_multiply(two, ORDER - 1)) for one, two in zip(left, right, strict=True)
    ]
    assert add_all([], []) == double_all([]) == multiply_all([], []) == []


@pytest.mark.parametrize("count", [1, 2, 5, 40])
def test_the_sum_of_products(count: int) -> None:
    some = points(count)
    scalars = [(ORDER - 1) // (3 * index + 1) for index in range(count)]
    expected: G1 | None = None
    for point, scalar in zip(some, scalars, strict=True):
        expected = g1_add(expected, g1_multiply(point, scalar))
    assert sum_of_products(some, scalars) == expected
    assert sum_of_products(some, [0] * count) is None


def test_what_has_no_affine_answer_is_not_answered() -> None:
    one, two = points(2)
    for left, right in (([two, one], [one, one]), ([one], negate_all([one]))):
        with pytest.raises(Degenerate):
            add_all(left, right)
    for multiple in (0, ORDER, 2 * ORDER):
        with pytest.raises(ValueError, match="multiple of the order"):
            recode(multiple)
