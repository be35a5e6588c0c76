"""The rank test: for fixed challenges, what the real engine's proofs show is equally distributed for all witnesses.

Of every circuit: the matrix by which views depend on coins is the engine's (random coins, every element compared); the offsets'
differences of random witnesses of one statement lie in its span; and its rank is exactly what the verifier's own equations leave,
so that a view is uniform on the affine set that these equations cut out. Lookups are included: remainders, ranges, tables,
multiplicities.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import zk_circuits as circuits
from zk_rank import Act, Stage

from verifai.engines.sumcheck import circuit_ops as ops
from verifai.engines.sumcheck.circuit import Visibility
from verifai.engines.sumcheck.verifier.layout import hashed_tensors

CASES = {
    "private input": lambda: circuits.mlp(private=True),
    "committed weights": lambda: circuits.mlp(committed=True),
    "private input, committed weights": lambda: circuits.mlp(private=True, committed=True),
    "hashed input and output": lambda: circuits.mlp(hashed=True, hashed_output=True),
    "hashed input, committed weights": lambda: circuits.mlp(hashed=True, committed=True),
    "convolution, maxima, arg-max alone public": circuits.cnn,
    "convolution, maxima, committed weights": lambda: circuits.cnn(committed=True),
    "hidden products of every kind": circuits.rows,
}
SHORT, FULL = 4, 100
"""Bits of security that a test plans for: hiding must not depend on it, and fewer queries make smaller matrices."""


@cache
def stage(name, bits, pairs=2):
    """One proof of the case, on stage."""
    with circuits.security(bits):
        case = CASES[name]() if name in CASES else circuits.softmax()
        random = np.random.default_rng(len(name))
        secrets = {tensor: (f"io{tensor}", 0) for tensor in hashed_tensors(case.circuit)}
        act = Act(case, case.witnesses(random, 1 + pairs), random, secrets=secrets)
        return act, Stage([act])


def check(name, bits, pairs=2):
    act, one = stage(name, bits, pairs)
    shown, expected = act.predicted()
    assert np.array_equal(shown, expected)  # the matrix is the engine's
    assert act.same_statement
    assert act.same_weights  # the coupling leaves the final rounds' weights alone
    assert all(difference.any() for difference in act.differences) and one.pairs == pairs
    assert not one.leaks().any()
    assert one.rank == one.height - act.equations()


@pytest.mark.parametrize("name", CASES)
def test_views_of_random_witnesses_are_equally_distributed(name):
    check(name, SHORT)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in CASES if "committed" not in name])
def test_the_same_with_as_many_queries_as_proofs_have(name):
    check(name, FULL, 6)


@pytest.mark.slow
def test_softmax_and_roots():
    """Reciprocals and roots look up ranges of 15 and 16 bits."""
    check("softmax", SHORT)


def test_every_operation_whose_products_are_hidden_is_covered():
    with circuits.security(SHORT):
        made = [make().circuit for make in (*CASES.values(), circuits.softmax)]
    kinds = {type(op) for circuit in made for op in circuit.ops}
    assert kinds >= {ops.MatMul, ops.Conv, ops.BatchedMatMul, ops.Mul, ops.RowSum, ops.WindowMax, ops.RowMax, ops.ArgMax}
    assert kinds >= {ops.Recip, ops.Isqrt, ops.Requant, ops.LinearCombination}
    assert any(isinstance(op, ops.Requant) and op.saturate for circuit in made for op in circuit.ops)
    assert any(isinstance(op, ops.RowMax) and op.saturate for circuit in made for op in circuit.ops)
    assert any(circuit.outputs[0].visibility is Visibility.PUBLIC and isinstance(circuit.ops[-1], ops.ArgMax) for circuit in made)


def test_witnesses_of_another_statement_are_told_apart():
    """The test has power: views of different public outputs differ, whatever the coins."""
    with circuits.security(SHORT):
        case = circuits.mlp(private=True)
        random = np.random.default_rng(0)
        first = case.draw(random)
        other = next(one for one in (case.draw(random) for _ in range(1000)) if case.shown(*one) != case.shown(*first))
        act = Act(case, [first, other], random)
        assert not act.same_statement
        assert Stage([act]).leaks().all()
