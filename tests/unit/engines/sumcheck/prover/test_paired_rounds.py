"""The first two variables of a long member, bound in parts: the same rounds as of the whole one, and the same proofs."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verifai.engines.sumcheck.protocol import field
from verifai.engines.sumcheck.protocol.field import P
from verifai.engines.sumcheck.prover import paired_rounds
from verifai.engines.sumcheck.prover.arrays import element, embed, scalars
from verifai.engines.sumcheck.prover.functionals import Spread
from verifai.engines.sumcheck.prover.kernels import dot_base, outer_add
from verifai.engines.sumcheck.prover.paired_rounds import PartedWeights, Quarters
from verifai.engines.sumcheck.prover.parallel import fold, product_round, workers


def _ext(pick):
    return (pick.randrange(P), pick.randrange(P))


def _blocks(pick, log_cells):
    """Aligned blocks of every size, some of them at the same place, some places without any."""
    found = []
    for _ in range(pick.randrange(1, 9)):
        log = pick.randrange(log_cells + 1)
        start = pick.randrange(1 << (log_cells - log)) << log
        cut = pick.randrange(log + 1)
        left, right = (
            np.array([[pick.randrange(P) for _ in range(1 << bits)] for _ in range(2)], dtype=np.uint64)
            for bits in (log - cut, cut)
        )
        found.append(Spread(start, start + (1 << log), left, right))
    return found


@settings(max_examples=40, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(2, 9), st.integers(0, 6), st.integers(1, 3))
def test_the_rounds_are_those_of_the_whole(pick, log_cells, log_part, threads):
    size, before = 1 << log_cells, pick.randrange(1 << (log_cells - 1))
    cells = np.array([0] * before + [pick.randrange(P) for _ in range(size - before)], dtype=np.uint64)
    blocks = _blocks(pick, log_cells)
    weights = np.zeros((2, size), dtype=np.uint64)
    for one in blocks:
        outer_add(weights[0, one.start : one.stop], weights[1, one.start : one.stop], one.left, one.right)

    def fill(start, target):
        target[:] = cells[start : start + len(target)]
        return bool(start + len(target) > before)

    with pytest.MonkeyPatch.context() as patch, workers(threads):
        patch.setattr(paired_rounds, "PART_CELLS", 1 << log_part)
        quarters = Quarters(log_cells, fill, PartedWeights(blocks))
        quarters.measure()
        assert quarters.total == element(*dot_base(cells, weights))
        whole = embed(cells)
        r, s, factor = _ext(pick), _ext(pick), _ext(pick)
        for found, challenge in ((quarters.first(), r), (quarters.second(r), s)):
            a0, a1, c0, c1 = product_round(whole, weights)
            assert found == (element(a0, a1), element(c0, c1))
            whole, weights = fold(whole, *scalars(challenge)), fold(weights, *scalars(challenge))
        values, scaled = quarters.bound(r, s, factor)
    assert np.array_equal(values, whole)
    expected = [field.product(element(*one), factor) for one in weights.T]
    assert [element(*one) for one in scaled.T] == expected


def test_a_part_has_the_weights_of_all_blocks_that_it_meets():
    pick = random.Random(5)
    blocks = _blocks(pick, 6)
    whole = np.zeros((2, 64), dtype=np.uint64)
    for one in blocks:
        outer_add(whole[0, one.start : one.stop], whole[1, one.start : one.stop], one.left, one.right)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paired_rounds, "PART_CELLS", 4)
        parted = PartedWeights(blocks)
        for start in range(0, 64, 4):
            found = np.zeros((2, 4), dtype=np.uint64)
            assert parted.add(start, found[0], found[1]) == any(one.start < start + 4 and start < one.stop for one in blocks)
            assert np.array_equal(found, whole[:, start : start + 4])
