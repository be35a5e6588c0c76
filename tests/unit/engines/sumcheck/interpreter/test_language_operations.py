"""Rescale, GatedMatMul, RowScale, WeightRows and TopIndex compute what their definitions say, for any shapes."""

from __future__ import annotations

import random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.sumcheck_circuits import ABSENT, single, start, with_op
from tests.unit.engines.sumcheck.interpreter.test_run import check_against_definition, random_cells
from verifai.engines.sumcheck.circuit import ops

small = settings(max_examples=40, deadline=None, derandomize=True)
seeds = st.integers(0, 2**32 - 1)
dims = st.lists(st.integers(1, 4), min_size=1, max_size=3)


@small
@given(seeds, dims, st.lists(st.integers(1, 16), min_size=1, max_size=2), st.integers(1, 30))
def test_rescale_rounds_halves_up_without_a_table(seed: int, shape: list[int], limbs: list[int], magnitude: int) -> None:
    shift, high = sum(limbs), 1 << magnitude
    digits = (16, 16)
    circuit = single(lambda out: ops.Rescale(0, out, shift, tuple(limbs), digits), [(tuple(shape), -high, high - 1)])
    trace = check_against_definition(circuit, [], seed)
    offset = total = 0
    for i, bits in enumerate(limbs):
        total = total + (trace.columns[0, f"rem{i}"].astype(object) << offset)
        offset += bits
    z = np.zeros(trace.tensors[0].shape, object) + trace.tensors[0]
    assert np.array_equal(total + (trace.tensors[1].astype(object) << shift), z + (1 << (shift - 1)))


@small
@given(seeds, dims, st.lists(st.integers(1, 4), min_size=1, max_size=2), st.integers(1, 5), st.booleans(), st.booleans())
def test_a_gated_layer(seed: int, rows: list[int], inner: list[int], outputs: int, bias: bool, square: bool) -> None:
    rng = random.Random(seed)
    weights = [random_cells(rng, (outputs, *inner), -300, 300)] + ([random_cells(rng, (outputs,), -9999, 9999)] if bias else [])
    inputs = [((*rows[:2], *inner), -128, 127), ((*rows[:2], *inner), -77, 300)]
    circuit = single(
        lambda out: ops.GatedMatMul(0, 0 if square else 1, 0, 1 if bias else ABSENT, out, len(inner)),
        inputs[:1] if square else inputs,
        weights,
    )
    check_against_definition(circuit, weights, seed)


@small
@given(seeds, dims, st.integers(-(1 << 20), 1 << 20))
def test_rows_times_numbers_of_their_own(seed: int, shape: list[int], multiplier: int) -> None:
    inputs = [(tuple(shape), -128, 127), (tuple(shape[:-1]) or (1,), -5, 1 << 16)]
    circuit = single(lambda out: ops.RowScale(0, 1, out, multiplier or 1), inputs)
    check_against_definition(circuit, [], seed)


@small
@given(seeds, dims, st.lists(st.integers(1, 4), min_size=1, max_size=2), st.integers(1, 9))
def test_rows_of_a_weight(seed: int, shape: list[int], inner: list[int], count: int) -> None:
    weights = [random_cells(random.Random(seed), (count, *inner), -300, 300)]
    circuit = single(lambda out: ops.WeightRows(0, 0, out), [(tuple(shape), 0, count - 1)], weights)
    check_against_definition(circuit, weights, seed)


@small
@given(seeds, dims, st.integers(1, 4))
def test_the_lowest_index_of_the_largest(seed: int, shape: list[int], reach: int) -> None:
    circuit = single(lambda out: ops.TopIndex(0, out, (4,)), [(tuple(shape), -reach, reach)])
    check_against_definition(circuit, [], seed)


def test_a_weight_that_two_operations_read() -> None:
    weight = np.arange(12).reshape(4, 3)
    circuit = start([((2,), 0, 3)], [weight])
    circuit = with_op(circuit, ops.WeightRows(0, 0, 1))
    circuit = with_op(circuit, ops.MatMul(1, 0, ABSENT, 2, 1))
    check_against_definition(circuit, [weight], 3)
