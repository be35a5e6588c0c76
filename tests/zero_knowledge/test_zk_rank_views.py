"""The rank test: for fixed challenges, what the real engine's proofs show is equally distributed for all witnesses.

Of every circuit: the matrix by which views depend on coins is the engine's (random coins, every element compared); the
differences of offsets of random witnesses of one statement lie in its span; and its rank is exactly what the verifier's own
equations leave, so that a view is uniform on the affine set that they cut out. Lookups are included: remainders, ranges,
tables, multiplicities.

Sizes: most tests plan for 4 bits (6 queries), the slow ones for 100; committed weights for 20 at most, as their matrices would
otherwise take gigabytes. Hiding does not depend on the number of queries, only on tails being as long as they are many.
"""

from __future__ import annotations

from contextlib import nullcontext
from functools import cache

import numpy as np
import pytest

from tests.support import zk_circuits as circuits
from tests.support.sumcheck_levels import forced_levels
from tests.support.zk_rank import Act, Stage
from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.program import Visibility
from verifai.engines.sumcheck.protocol.field import ZERO
from verifai.engines.sumcheck.protocol.hiding import MESSAGES
from verifai.engines.sumcheck.protocol.layout import hashed_tensors
from verifai.engines.sumcheck.prover import commitment, opening, opening_hiding
from verifai.engines.sumcheck.prover.channel import HidingProverChannel

CASES = {
    "private input": lambda: circuits.mlp(private=True),
    "committed weights": lambda: circuits.mlp(committed=True),
    "private input, committed weights": lambda: circuits.mlp(private=True, committed=True),
    "hashed input and output": lambda: circuits.mlp(hashed=True, hashed_output=True),
    "hashed input, committed weights": lambda: circuits.mlp(hashed=True, committed=True),
    "convolution, maxima, arg-max alone public": circuits.cnn,
    "convolution, maxima, committed weights": lambda: circuits.cnn(committed=True),
    "hidden products of every kind": circuits.rows,
    "private input, in pieces": circuits.odd,
    "private input and weights, in pieces": lambda: circuits.odd(committed=True),
    "convolution, maxima, in pieces": circuits.cnn,
    "language model": circuits.language,
    "language model, committed weights": lambda: circuits.language(committed=True),
    "private input, a batch of three": lambda: circuits.batch(circuits.mlp(private=True), 3),
    "private input and weights, a batch of two": lambda: circuits.batch(circuits.mlp(private=True, committed=True), 2),
}
SHORT, FULL = 4, 100
"""Bits of security that a test plans for: hiding must not depend on it, and fewer queries make smaller matrices."""


LEVELS = ((4, 3), (3, 3))
"""(log2 C, log2 1/rate) of levels that are put below the cases' combinations."""


@cache
def stage(name, bits, pairs=2, levels=()):
    """One proof of the case, on stage."""
    with circuits.security(bits), forced_levels(*levels):
        case = CASES[name]() if name in CASES else circuits.softmax()
        random = np.random.default_rng(len(name))
        secrets = {tensor: (f"io{tensor}", 0) for tensor in hashed_tensors(case.circuit)}
        act = Act(case, case.witnesses(random, 1 + pairs), random, secrets=secrets)
        return act, Stage([act])


def check(name, bits, pairs=2, levels=()):
    with circuits.pieces() if "in pieces" in name else nullcontext():
        _check(name, bits, pairs, levels)


def _check(name, bits, pairs, levels):
    act, one = stage(name, bits, pairs, levels)
    if "in pieces" in name:
        columns = act.key.layout.witness.columns.values()
        assert any(len(column.addresses) > 1 for column in columns)
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


@pytest.mark.parametrize("levels", [LEVELS[:1], LEVELS], ids=["one level", "two levels"])
@pytest.mark.parametrize("name", ["private input", "hashed input, committed weights", "hashed input and output"])
def test_levels_show_nothing_that_the_combinations_do_not(name, levels):
    """With the combinations in clear beside them, views have the rank that they have without levels, and every new element is
    one more that is derived."""
    check(name, SHORT, 2, levels)
    act, _ = stage(name, SHORT, 2, levels)
    assert len(act.key.layout.levels) == len(levels)
    assert len(act.view.at("level.round")) == sum(level.log_cells for level in act.key.layout.levels)
    with circuits.security(SHORT), forced_levels(*levels):
        assert act.scene.verify().circuit == act.case.circuit


MUTANTS = {
    "messages go out in clear": (HidingProverChannel, "_pad", lambda honest: lambda self, column, number: ZERO),
    "every second message takes its neighbour's pad": (
        HidingProverChannel,
        "_pad",
        lambda honest: lambda self, column, number: honest(self, column, number & ~1 if column == MESSAGES else number),
    ),
    "final rounds go out in clear": (opening_hiding, "_mask_pads", lambda _: lambda matrix: [ZERO] * matrix.plan.shape.mask),
    "blind rows stay out of the rounds": (commitment, "_blind_pair", lambda honest: lambda *of: np.zeros_like(honest(*of))),
    "the combination forgets the mask rows": (
        opening,
        "row_weights",
        lambda honest: lambda plan, z, number=0, mask=ZERO: honest(plan, z, number, ZERO),
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_an_engine_that_masks_less_is_not_the_one_of_the_matrix(name, monkeypatch):
    act, _ = stage("private input", SHORT)
    owner, attribute, change = MUTANTS[name]
    monkeypatch.setattr(owner, attribute, change(getattr(owner, attribute)))
    shown, expected = act.predicted()
    assert not np.array_equal(shown, expected)


@pytest.mark.parametrize("name", CASES)
def test_the_verifier_accepts_what_the_test_looks_at(name):
    """Scripted challenges and coins do not make the engine's proofs something else."""
    with circuits.security(SHORT):
        act, _ = stage(name, SHORT)
        act.predicted()  # random coins
        assert act.scene.verify().circuit == act.case.circuit


@pytest.mark.parametrize("name", CASES)
def test_every_message_needs_its_pad(name):
    """Wherever it depends on the witness; the others are constants of the statement."""
    act, one = stage(name, SHORT)
    count, half = act.key.layout.pads.messages, one.starts["x0", "pads.messages"][1] // 2
    places = act.view.encrypted()
    used = one.coins("x0", "pads.messages", np.arange(count), np.arange(half, half + count))
    depends = [any(d[places[i % count] + i // count] for d in act.differences) for i in range(2 * count)]
    assert one.needed(used) == [int(coin) for coin, needed in zip(used, depends, strict=True) if needed]
    assert sum(depends) > count


@pytest.mark.parametrize("name", CASES)
def test_every_row_of_values_needs_as_many_coins_as_columns_are_opened(name):
    """t − 1 are too few, wherever the row depends on the witness, or holds pads of messages that do."""
    act, one = stage(name, SHORT)
    shape = act.key.layout.witness.shape
    first = sum(2 * count for _, count in act.view.labels)
    shown = [d[first : first + shape.queries * shape.rows].reshape(shape.queries, shape.rows) for d in act.differences]
    caught = 0
    for row in range(shape.reserved_rows, shape.rows - shape.mask_rows):
        tail = one.coins("x0", "witness.tail", np.arange(row * shape.tail, (row + 1) * shape.tail))
        depends = [bool(columns[:, row].any()) for columns in shown]
        leaks = one.leaks(tail[shape.queries - 1 :])
        assert (leaks | ~np.array(depends)).all()
        assert not one.leaks(tail[shape.queries :]).any()
        caught += leaks.all()
    assert caught > (shape.rows - shape.reserved_rows - shape.mask_rows) // 2


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
    assert kinds >= {ops.Rescale, ops.GatedMatMul, ops.RowScale, ops.WeightRows, ops.TopIndex}
    assert any(isinstance(op, ops.Requant) and op.saturate for circuit in made for op in circuit.ops)
    assert any(isinstance(op, ops.RowMax) and op.saturate for circuit in made for op in circuit.ops)
    assert any(isinstance(c.ops[-1], ops.ArgMax) and c.outputs[0].visibility is Visibility.PUBLIC for c in made)


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
