"""Kernels compute exactly what Python integers compute, edge values included, and always canonically."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verifai.engines.sumcheck.protocol import field
from verifai.engines.sumcheck.protocol.field import P
from verifai.engines.sumcheck.prover import kernels, parallel
from verifai.engines.sumcheck.prover.arrays import element, eq_vector, scalars, to_field, vector
from verifai.engines.sumcheck.prover.intrinsics import emul, fadd, fmul, fsub
from verifai.engines.sumcheck.prover.jit import kernel

EDGES = [0, 1, 2, 7, 2**31, 2**32 - 2, 2**32 - 1, 2**32, 2**32 + 1, 2**33, 2**63, P - 2**32, P - 2**32 - 1, P - 2, P - 1]
elements = st.one_of(st.sampled_from(EDGES), st.integers(0, P - 1))
pairs = st.tuples(elements, elements)


@kernel
def _base_ops(left, right, out):
    for i in range(left.shape[0]):
        out[0, i] = fadd(left[i], right[i])
        out[1, i] = fsub(left[i], right[i])
        out[2, i] = fmul(left[i], right[i])


@kernel
def _ext_product(left, right, out):
    for i in range(left.shape[1]):
        out[0, i], out[1, i] = emul(left[0, i], left[1, i], right[0, i], right[1, i])


def _array(values):
    return np.array(values, dtype=np.uint64)


def test_base_operations_agree_on_all_pairs_of_edge_values():
    both = list(itertools.product(EDGES, EDGES))
    left, right = [x for x, _ in both], [y for _, y in both]
    out = np.empty((3, len(both)), dtype=np.uint64)
    _base_ops(_array(left), _array(right), out)
    assert out[0].tolist() == [(x + y) % P for x, y in both]
    assert out[1].tolist() == [(x - y) % P for x, y in both]
    assert out[2].tolist() == [x * y % P for x, y in both]


def test_extension_product_agrees_on_all_pairs_of_edge_pairs():
    small = [0, 1, 2**32 - 1, 2**32, P - 2**32, P - 1]
    some = list(itertools.product(small, small))
    both = list(itertools.product(some, some))
    out = np.empty((2, len(both)), dtype=np.uint64)
    _ext_product(vector([x for x, _ in both]), vector([y for _, y in both]), out)
    assert list(zip(*out.tolist(), strict=True)) == [field.product(x, y) for x, y in both]


@settings(max_examples=300, deadline=None)
@given(elements, elements)
def test_base_operations_agree_on_random_values(x, y):
    out = np.empty((3, 1), dtype=np.uint64)
    _base_ops(_array([x]), _array([y]), out)
    assert out[:, 0].tolist() == [(x + y) % P, (x - y) % P, x * y % P]


@settings(max_examples=200, deadline=None)
@given(pairs, pairs, pairs)
def test_extension_is_a_field(x, y, z):
    assert field.product(x, field.add(y, z)) == field.add(field.product(x, y), field.product(x, z))
    assert field.product(field.product(x, y), z) == field.product(x, field.product(y, z))
    if x != field.ZERO:
        assert field.product(x, field.inverse(x)) == field.ONE


def test_zero_has_no_inverse():
    with pytest.raises(ZeroDivisionError):
        field.inverse(field.ZERO)


def test_seven_is_no_square_so_the_extension_is_a_field_and_generates_the_group():
    assert pow(7, (P - 1) // 2, P) == P - 1
    for prime in (2, 3, 5, 17, 257, 65537):  # p − 1 = 2^32·3·5·17·257·65537
        assert pow(field.GENERATOR, (P - 1) // prime, P) != 1
    assert pow(field.root_of_unity(32), 2**31, P) == P - 1


def test_integers_enter_the_field_by_their_residue():
    values = [0, 1, -1, 2**62, -(2**62), 2**63 - 1, -(2**63)]
    assert to_field(np.array(values, dtype=np.int64)).tolist() == [v % P for v in values]


@settings(max_examples=30, deadline=None)
@given(st.lists(pairs, min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_folding_equals_the_inner_product_with_eq(point, random):
    values = [(random.randrange(P), random.randrange(P)) for _ in range(1 << len(point))]
    table = eq_vector(point)
    expected = field.ZERO
    for index, value in enumerate(values):
        weight = field.ONE
        for bit, r in enumerate(point):
            chosen = index >> (len(point) - 1 - bit) & 1
            weight = field.product(weight, r if chosen else field.sub(field.ONE, r))
        assert (int(table[0, index]), int(table[1, index])) == weight
        expected = field.add(expected, field.product(weight, value))
    folded = vector(values)
    for r in point:
        folded = parallel.fold(folded, *scalars(r))
    assert element(*folded[:, 0]) == expected
    assert element(*kernels.dot(table, vector(values))) == expected


@settings(max_examples=50, deadline=None)
@given(st.lists(pairs, min_size=1, max_size=30), st.randoms(use_true_random=False))
def test_packed_dot_products_keep_components_apart(values, random):
    factors = [random.choice([0, 1, P - 1, random.randrange(P)]) for _ in values]
    expected = field.total(field.scale(v, f) for v, f in zip(values, factors, strict=True))
    assert field.packed_dot(factors, field.pack(values)) == expected
