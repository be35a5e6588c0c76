"""Every mask of a single proof, dropped or used twice, one at a time: what leaks is caught, what is redundant is known.

Pads beyond the plan are random too, but nothing may rely on them: here they are zero. 100 bits, so queries are as many as in
proofs. "Caught" means: the views of every random pair of witnesses differ in distribution.

| mask | dropped or reused | caught |
| --- | --- | --- |
| message pad | each alone, either half | yes, where the message depends on the witness at all; a few are constant |
| message pads | one pad for two messages; the root's inverse in clear; the root in clear; the last message in clear | yes |
| triple 0 | pads fixed: the values shown at the products' point tell | yes |
| triples' factors | each alone; all | yes, where the factors depend on the witness |
| blind rows of C_x, values | row 0; row 1; both; any single cell | yes |
| blind rows of C_x, mask region | row 0; row 1; both | yes |
| tails | blind row's; any value row's; mask row's; one coin short, in any row | yes |
| mask rows' pads g | all; all but the first; the second | yes |
| | the first | no: in this layout the lower half of the address space holds blind rows only, so h0 of the first round is 0; |
| | | yes in a layout that fills both halves |
| | the last | no: once the blind rows' cells enter the rounds, they hide these messages too |
| last row coordinate | in F_p | yes |
| evaluation domain | x = 0 among the opened positions | yes |

What this test cannot see. Redundancy: a mask that another one happens to back up, such as the last pads g; the proof of zero
knowledge uses them, so they stay. Hash outputs: roots, paths, salts. Challenges that depend on messages. Time.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from tests.support import zk_circuits as circuits
from tests.support.zk_rank import Act, Stage
from tests.support.zk_views import Script, obey_base
from tests.zero_knowledge.test_zk_rank_views import SHORT, stage
from verifai.engines.sumcheck.protocol.proof import log_length
from verifai.engines.sumcheck.protocol.transcript import Transcript
from verifai.engines.sumcheck.prover import commitment

PAIRS = 3


@cache
def world():
    """The case, its witnesses, one proof of it, and what follows from it."""
    random = np.random.default_rng(11)
    case = circuits.mlp(private=True)
    witnesses = case.witnesses(random, 1 + PAIRS)
    act = Act(case, witnesses, random)
    return case, witnesses, act, Stage([act])


def again(**more):
    """The same witnesses in another proof."""
    case, witnesses, _, _ = world()
    return Act(case, witnesses, np.random.default_rng(12), **more)


def shape():
    return world()[2].key.layout.witness.shape


def coins(purpose, *indices):
    return world()[3].coins("x0", purpose, *indices)


def pads(*numbers):
    """Both halves of message pads."""
    half = len(coins("pads.messages")) // 2
    return coins("pads.messages", [n + part for n in numbers for part in (0, half)])


def numbers_of(label):
    act = world()[2]
    return [n for n in range(act.key.layout.pads.messages) if act.view.name_of(n) == label]


def row(purpose, number, width):
    return coins(purpose, np.arange(number * width, (number + 1) * width))


def masks(*numbers):
    """Pads g, both halves."""
    return coins("witness.mask.pads", [n + part for n in numbers for part in (0, shape().mask)])


DROPPED = {
    "the root in clear": lambda: pads(*numbers_of("lookups.root")),
    "the root's inverse in clear": lambda: pads(*numbers_of("lookups.root.inverse")),
    "the last message in clear": lambda: pads(world()[2].key.layout.pads.messages - 1),
    "all multiplicities in clear": lambda: pads(*numbers_of("lookups.count")),
    "all message pads": lambda: pads(*range(world()[2].key.layout.pads.messages)),
    "blind row 0": lambda: row("witness.blind", 0, shape().message),
    "blind row 1": lambda: row("witness.blind", 1, shape().message),
    "both blind rows": lambda: coins("witness.blind"),
    "blind row 0 on the mask region": lambda: row("witness.mask.blind", 0, shape().mask),
    "blind row 1 on the mask region": lambda: row("witness.mask.blind", 1, shape().mask),
    "both on the mask region": lambda: coins("witness.mask.blind"),
    "blind row 0's tail": lambda: row("witness.tail", 0, shape().tail),
    "blind row 1's tail": lambda: row("witness.tail", 1, shape().tail),
    "the first value row's tail": lambda: row("witness.tail", 2, shape().tail),
    "the last value row's tail": lambda: row("witness.tail", shape().rows - 3, shape().tail),
    "the first mask row's tail": lambda: row("witness.tail", shape().rows - 2, shape().tail),
    "the second mask row's tail": lambda: row("witness.tail", shape().rows - 1, shape().tail),
    "all pads of the final rounds": lambda: coins("witness.mask.pads"),
    "all but the first": lambda: masks(*range(1, shape().mask)),
    "the second pad of the final rounds": lambda: masks(1),
}


@pytest.mark.parametrize("name", DROPPED)
def test_a_dropped_mask_is_caught(name):
    assert not world()[3].leaks().any()
    dropped = DROPPED[name]()
    assert len(dropped)
    assert world()[3].leaks(dropped).all()


REDUNDANT = {
    "the first pad of the final rounds": lambda: masks(0),
    "the last pad of the final rounds": lambda: masks(shape().mask - 1),
}


@pytest.mark.parametrize("name", REDUNDANT)
def test_what_the_test_cannot_see(name):
    """Should one of these be caught some day, the table above is out of date."""
    assert not world()[3].leaks(REDUNDANT[name]()).any()


def test_the_first_pad_of_the_final_rounds_is_caught_where_both_halves_hold_values():
    act, one = stage("private input", SHORT)
    size = act.key.layout.witness.shape.mask
    columns = act.key.layout.witness.columns.values()
    assert min(min(column.addresses) for column in columns) < 1 << (act.key.layout.witness.log_cells - 1)
    assert one.leaks(one.coins("x0", "witness.mask.pads", [0, size])).all()


def test_every_message_pad_is_needed_where_the_message_depends_on_the_witness():
    _, _, act, one = world()
    count = act.key.layout.pads.messages
    places, half = act.view.encrypted(), len(coins("pads.messages")) // 2
    assert len(places) == count
    depends = {
        int(coins("pads.messages", component * half + pad)[0])
        for pad in range(count)
        for component in range(2)
        if any(difference[places[pad] + component] for difference in act.differences)
    }
    assert set(one.needed(pads(*range(count)))) == depends
    constant = 2 * count - len(depends)
    assert constant < count // 10


@pytest.mark.parametrize("purpose", ["witness.tail", "witness.blind"])
def test_not_one_coin_can_be_spared(purpose):
    """Tails have exactly t coins for t opened positions, and every cell of u has exactly one pair of blind cells."""
    assert len(world()[3].needed(coins(purpose))) == len(coins(purpose))


@pytest.mark.parametrize("distance", [1, 2, 7])
def test_a_pad_for_two_messages_is_caught(distance):
    half, one = len(coins("pads.messages")) // 2, world()[3]
    count = world()[2].key.layout.pads.messages
    caught = 0
    for pad in range(count - distance):
        numbers = [coins("pads.messages", [pad + part, pad + distance + part]) for part in (0, half)]
        caught += one.leaks(twice=numbers).all()
    assert caught > 0.8 * (count - distance)  # the others: both messages constant, or one and the same for some pair


def test_a_pad_of_the_final_rounds_used_twice_is_caught():
    size = shape().mask
    assert world()[3].leaks(twice=[coins("witness.mask.pads", [1 + part, 3 + part]) for part in (0, size)]).all()


def test_one_set_of_coins_for_both_blind_rows_is_caught():
    size = shape().message
    assert world()[3].leaks(twice=[coins("witness.blind", [i, size + i]) for i in range(size)]).all()


def test_one_tail_for_two_rows_is_caught():
    size = shape().tail
    assert world()[3].leaks(twice=[coins("witness.tail", [2 * size + i, 3 * size + i]) for i in range(size)]).all()


def test_values_at_the_products_point_leak_without_triple_0():
    assert Stage([again(fixed=(0,))]).leaks().all()


def test_every_triple_is_needed():
    """Its factors are shown under its pads alone; the rest of the triples and triple 0 adapt."""
    products = world()[2].key.layout.pads.products
    acts = [again(fixed=fixed) for fixed in (*((number,) for number in range(1, products)), range(1, products))]
    everything = acts[0]
    everything.differences = [difference for act in acts for difference in act.differences]
    caught = Stage([everything]).leaks().reshape(products, PAIRS)
    assert caught[-1].all()  # all factors in clear
    assert caught[:-1].any(axis=1).sum() >= products - 2  # a factor may be the same for all witnesses


def test_a_last_row_coordinate_in_the_base_field_leaks(monkeypatch):
    """The two blind rows' weights are then multiples of each other: they hide one dimension of two."""
    obey_base(monkeypatch)
    last = world()[2].key.layout.witness.log_rows - 1
    assert Stage([again(in_base=frozenset({("openings.point", last)}))]).leaks().all()


def test_another_coordinate_in_the_base_field_does_not(monkeypatch):
    obey_base(monkeypatch)
    act = again(in_base=frozenset({("openings.point", world()[2].key.layout.witness.log_rows - 2)}))
    one = Stage([act])
    assert not one.leaks().any() and one.rank == one.height - act.equations()


def test_zero_in_the_evaluation_domain_leaks(monkeypatch):
    """At x = 0 a column shows constant coefficients: cells of the witness, which no tail reaches."""
    witness = shape()
    position = Transcript(Script("script")).positions("openings.positions0", log_length(witness), witness.queries)[0]
    honest = commitment.encode

    def with_zero(rows, *rest, first):
        codeword = honest(rows, *rest, first=first)
        codeword[position, first:] = rows[:, 0]
        return codeword

    monkeypatch.setattr(commitment, "encode", with_zero)
    act = again()
    one = Stage([act], zeroed={0: {position}})
    assert one.leaks().all()
    assert not Stage([world()[2]]).leaks().any()
