"""The rank test over several proofs that open one long-lived commitment, and over coins that are used in two proofs.

| commitment | case | caught |
| --- | --- | --- |
| C_w, B = 3 | three proofs, numbers 0, 1, 2; another input in each, or the same | no leak, rank as predicted |
| | a fourth proof: beyond the budget | yes |
| | the pair of one proof missing; one cell of it left | yes |
| | one row of a pair missing, two cells of a pair left | no: v_w is one element of F, and y_x hides the rest |
| | one pair for two or three proofs | no, for the same reason; with two cells left in each pair: yes |
| | the same where these proofs' C_x lack one blind row each | yes; with distinct pairs: no |
| | a value row's tail one coin short of 3t; tails of 2t, of t | yes |
| | a blind row's tail one coin short | no: the row is random itself |
| C_io, B = 4 | opened by its producer, and by one and by three consumers | no leak, rank as predicted |
| | one pair for two proofs; a fifth opening | yes |
| | either row of any opening's pair missing | yes |
| | any row's tail one coin short of 4t, after four openings | yes |
| C_x | message pads, tails, blind rows, their mask region, mask rows: each used in two proofs, the rest fresh | yes |

Distinct pairs of C_w are redundant here as they were in the design's experiment; the proof of zero knowledge uses them.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from tests.support import zk_circuits as circuits
from tests.support.zk_rank import Act, Stage, apart, cross_equations, overlap
from verifai.engines.sumcheck.interpreter.run import run
from verifai.engines.sumcheck.planning.plan import plan
from verifai.engines.sumcheck.protocol.layout import hashed_tensors

SHORT = 4
COUNT = 3
"""Witnesses, so two pairs."""


@cache
def weighted(numbers, private=True, bits=SHORT):
    """Proofs with these opening numbers of one root of weights, and the last of them at other inputs where these are hidden."""
    with circuits.security(bits):
        random = np.random.default_rng(21)
        case = circuits.mlp(committed=True, private=private, budget=3)
        first = case.witnesses(random, COUNT)
        weights = [one for one, _ in first]
        shape = plan(case.circuit).weights.shape
        names = apart(shape, len(numbers)) if bits == SHORT else [f"script {number}" for number in range(len(numbers))]
        acts = [Act(case, first, random, name=names[0], number=numbers[0])]
        for name, number in zip(names[1:], numbers[1:], strict=True):
            acts.append(Act(case, case.witnesses(random, COUNT, weights), random, name=name, number=number))
        return acts, Stage(acts)


def rows_of(one, purpose, width, *rows):
    return one.coins("w", purpose, *(np.arange(row * width, (row + 1) * width) for row in rows))


def predicted(acts, owner):
    return sum(act.equations() for act in acts) + overlap(acts, owner)


@pytest.mark.parametrize("private", [False, True])
def test_three_proofs_of_one_root_of_weights(private):
    acts, one = weighted((0, 1, 2), private)
    assert all(act.same_statement and act.same_weights for act in acts)
    assert all(np.array_equal(*act.predicted()) for act in acts)
    assert not one.leaks().any()
    assert one.rank == one.height - predicted(acts, "w")


@pytest.mark.slow
def test_three_proofs_with_more_queries():
    """So many that some positions are opened by two of the proofs."""
    acts, one = weighted((0, 1, 2), bits=20)
    assert overlap(acts, "w") > 0
    assert all(np.array_equal(*act.predicted()) for act in acts)
    assert not one.leaks().any()
    assert one.rank == one.height - predicted(acts, "w")


def test_one_proof_beyond_the_budget_leaks():
    """4·t columns of rows with 3·t coins: one row holds values, so t dimensions are missing."""
    acts, one = weighted((0, 1, 2, 0))
    shape = acts[0].key.layout.weights.shape
    assert one.leaks().all()
    values = shape.rows - shape.reserved_rows
    assert one.rank == one.height - predicted(acts, "w") - values * shape.queries


def test_a_pair_of_blind_rows_of_the_weights_is_needed():
    acts, one = weighted((0, 1, 2))
    size = acts[0].key.layout.weights.shape.message
    for number in range(3):
        pair = rows_of(one, "weights.blind", size, 2 * number, 2 * number + 1)
        assert one.leaks(pair).all()
        assert one.leaks(pair[1:]).all()  # one cell is one dimension of the two
        assert not one.leaks(pair[2:]).any()  # redundant
        assert not one.leaks(pair[:size]).any() and not one.leaks(pair[size:]).any()


def test_one_pair_for_two_proofs_leaks_once_nothing_else_is_random():
    """Two cells hide one v_w; two proofs show two."""
    for numbers, caught in (((0, 1, 2), False), ((0, 1, 0), True), ((0, 0, 0), True)):
        acts, one = weighted(numbers)
        size = acts[0].key.layout.weights.shape.message
        assert not one.leaks().any()
        pairs = np.concatenate([rows_of(one, "weights.blind", size, 2 * number, 2 * number + 1)[2:] for number in range(3)])
        assert (one.leaks(pairs) == caught).all()


def test_one_pair_for_two_proofs_leaks_where_the_witnesses_blind_rows_are_short():
    """A pair is two random rows; each of these proofs needs one of them in its combination, and one shows in v_w."""
    for numbers, caught in (((0, 1, 2), False), ((0, 1, 0), True), ((0, 0, 0), True)):
        acts, one = weighted(numbers)
        size = acts[0].key.layout.witness.shape.message
        short = [one.coins(f"x{act}", "witness.blind", np.arange(size)) for act in (0, 2)]
        assert (one.leaks(np.concatenate(short)) == caught).all()
        assert not one.leaks(short[0]).any()
        assert one.leaks(one.coins("x0", "witness.blind")).all()  # y_x then hides nothing of y_w


def test_tails_of_the_weights_are_exactly_long_enough():
    acts, one = weighted((0, 1, 2))
    shape = acts[0].key.layout.weights.shape
    tail, queries = shape.tail, shape.queries
    assert tail == 3 * queries
    for row in range(shape.rows):
        coins = rows_of(one, "weights.tail", tail, row)
        assert one.leaks(coins[-1:]).all() == (row >= shape.reserved_rows)
    for left in (queries, 2 * queries):
        short = np.concatenate([rows_of(one, "weights.tail", tail, row)[left:] for row in range(shape.rows)])
        assert one.leaks(short).all()
    values = one.coins("w", "weights.tail", np.arange(shape.reserved_rows * tail, shape.rows * tail))
    assert len(one.needed(values)) == len(values)


@cache
def chained(producer, consumers):
    """A hashed tensor's producer, and its consumers, by opening number. All know the tensor; what outsiders see is the view."""
    with circuits.security(SHORT):
        random = np.random.default_rng(31)
        maker, user = circuits.mlp(private=True, hashed_output=True), circuits.consumer()
        (made,), (used,) = hashed_tensors(maker.circuit), hashed_tensors(user.circuit)
        shape = plan(maker.circuit).hashed[made].shape
        names = apart(shape, 1 + len(consumers), 1)
        found, wanted = [], None
        while len(found) < COUNT:
            weights, inputs = maker.draw(random)
            tensor = run(maker.circuit, weights, inputs).tensors[made].reshape(1, 4)
            wanted = wanted or user.shown(user.weights, [tensor])
            known = [one[1] for one in found]
            if user.shown(user.weights, [tensor]) == wanted and not any(np.array_equal(tensor, one) for one in known):
                found.append(((weights, inputs), tensor))
        acts = [Act(maker, [one for one, _ in found], random, name=names[0], secrets={made: ("io", producer)})]
        witnesses = [(list(user.weights), [tensor]) for _, tensor in found]
        for name, number in zip(names[1:], consumers, strict=True):
            acts.append(Act(user, witnesses, random, name=name, secrets={used: ("io", number)}))
        return shape, acts, Stage(acts)


@pytest.mark.parametrize("consumers", [(), (1,), (1, 2, 3)])
def test_a_hashed_tensor_stays_hidden_over_its_budget(consumers):
    _, acts, one = chained(0, consumers)
    assert all(np.array_equal(*act.predicted()) for act in acts)
    assert not one.leaks().any()
    assert one.rank == one.height - predicted(acts, "io") - cross_equations(acts, "io")


@pytest.mark.parametrize("consumers", [(0,), (1, 1), (1, 2, 3, 0)])
def test_a_hashed_tensor_leaks_when_a_number_comes_twice(consumers):
    assert chained(0, consumers)[2].leaks().all()


def test_every_mask_of_a_hashed_tensor_is_needed():
    shape, _, one = chained(0, (1, 2, 3))
    for row in range(shape.reserved_rows):
        assert one.leaks(one.coins("io", "tensor.blind", np.arange(row * shape.message, (row + 1) * shape.message))).all()
    tails = one.coins("io", "tensor.tail")
    assert shape.tail == 4 * shape.queries and len(one.needed(tails)) == len(tails)


@cache
def twice():
    """Two proofs of one circuit, different hidden inputs."""
    random = np.random.default_rng(41)
    with circuits.security(SHORT):
        case = circuits.mlp(private=True)
        return [Act(case, case.witnesses(random, COUNT), random, name=name) for name in ("first", "second")]


PURPOSES = ("pads.messages", "witness.tail", "witness.blind", "witness.mask.blind", "witness.mask.pads")


def test_fresh_coins_in_two_proofs():
    one = Stage(twice())
    assert not one.leaks().any()
    assert one.rank == one.height - sum(act.equations() for act in twice())


@pytest.mark.parametrize("shared", [*((purpose,) for purpose in PURPOSES), PURPOSES], ids=lambda shared: "+".join(shared))
def test_coins_of_one_proof_used_in_another_are_caught(shared):
    assert Stage(twice(), shared).leaks().all()
