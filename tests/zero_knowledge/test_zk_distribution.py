"""Distributions themselves: all coins of a product of pads in a field of five elements, and samples of the engine's views."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy.stats import chi2

from tests.support import zk_circuits as circuits
from tests.support.zk_views import Scene
from verifai.engines.sumcheck.protocol import field, hiding
from verifai.engines.sumcheck.protocol.hiding import PadPlan
from verifai.engines.sumcheck.protocol.products import check_products
from verifai.engines.sumcheck.prover.channel import HidingProverChannel
from verifai.engines.sumcheck.prover.coins import SecretCoins
from verifai.engines.sumcheck.prover.prove import prepare

# --- the product of two hidden values, over F_5, for all coins at once ---

Q = 5
PLAN = PadPlan(messages=4, products=2)
COINS = ("a0", "b0", "a1", "b1", "p0", "p1", "p2", "p3")
"""Both triples; pads of A, of B, and of the two elements of the check's only round."""


@pytest.fixture
def five(monkeypatch):
    """The engine's own script over F_5: elements are arrays, one entry per setting of the coins."""
    monkeypatch.setattr(field, "P", Q)
    monkeypatch.setattr(field, "NON_RESIDUE", 2)
    monkeypatch.setattr(hiding, "MINUS_ONE", (Q - 1, 0))


class Fixed:
    """A transcript that answers with given challenges."""

    def __init__(self, challenges):
        self._challenges = list(challenges)

    def send(self, label, values):
        pass

    def challenge(self, label):
        return (self._challenges.pop(0), 0)


class ToyProducts:
    """The rounds of the products' check with two triples: one round, g(x) = a(x)·b(x) − c(x)."""

    def __init__(self, channel, left, right):
        self._channel, self._left, self._right = channel, left, right
        self._asked = []

    def challenge(self, label):
        self._asked.append(self._channel.challenge(label))
        return self._asked[-1]

    def receive(self, label, count):
        slopes = [field.sub(one[1], one[0]) for one in (self._left, self._right)]
        return self._channel.send(label, [(0, 0), field.product(*slopes)])

    def receive_open(self, label, count):
        point = self._asked[-1]
        values = [field.add(one[0], field.product(field.sub(one[1], one[0]), point)) for one in (self._left, self._right)]
        self._channel.send_open(label, values)
        return values


def counts(a, b, *, anchor=2, point=3, zero=(), same=()):
    """How often each view occurs over all coins, when A = a and B = b are sent encrypted and their product is public.

    ``zero``: coins that are 0. ``same``: (coin, coin) that are one.
    """
    free = [name for name in COINS if name not in zero and name not in [second for _, second in same]]
    grid = np.meshgrid(*[np.arange(Q, dtype=np.int16)] * len(free), indexing="ij")
    value = {name: cells.reshape(-1) for name, cells in zip(free, grid, strict=True)}
    value |= {name: np.zeros(Q ** len(free), dtype=np.int16) for name in zero}
    value |= {second: value[first] for first, second in same}
    coins = {name: (cells, np.zeros_like(cells)) for name, cells in value.items()}
    left, right = [coins["a0"], coins["a1"]], [coins["b0"], coins["b1"]]
    third = [field.product(x, y) for x, y in zip(left, right, strict=True)]
    pads = [*(coins[f"p{i}"] for i in range(4)), *left, *right, *third]
    channel = HidingProverChannel(Fixed([anchor, point]), PLAN, pads)
    first, second = (channel.send(label, [(x, 0)])[0] for label, x in (("a", a), ("b", b)))
    first.mul(second).plus((-a * b % Q, 0)).assert_zero("product")
    claims = check_products(ToyProducts(channel, left, right), PLAN)
    assert channel.pads.messages == PLAN.messages and channel.pads.products == PLAN.products
    for equation in channel.pads.equations:
        assert not np.any(channel.truth(equation)[0])
    assert np.array_equal(channel.truth(claims[2].value)[0] % Q, sum_at(third, point))
    view = np.zeros(Q ** len(free), dtype=np.int64)
    for low, high in channel.messages:
        assert not np.any(high)
        view = view * Q + low
    return np.bincount(view, minlength=Q ** len(channel.messages))


def sum_at(pair, point):
    return (pair[0][0] * (1 - point) + pair[1][0] * point) % Q


def distance(left, right):
    """Total variation, of 0 to 1."""
    return np.abs(left - right).sum() / (2 * left.sum())


@pytest.mark.parametrize(("anchor", "point"), [(2, 3), (4, 2), (3, 0)])
@pytest.mark.parametrize("values", [(0, 0), (1, 2), (4, 4), (0, 3)])
def test_every_view_of_a_product_comes_from_exactly_one_setting_of_the_coins(five, values, anchor, point):
    """390 625 coins, as many views: uniform, whatever A and B are."""
    assert (counts(*values, anchor=anchor, point=point) == 1).all()


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ({"zero": ("a0", "b0")}, 1),  # the values at the point give both factors away
        ({"zero": ("a0",)}, 1),
        ({"zero": ("a1", "b1")}, 1),
        ({"zero": ("p0",)}, 1),
        ({"zero": ("p3",)}, 0.8),  # (a1 − a0)·(b1 − b0): given the rest, another value for other A, B, by chance the same
        ({"zero": ("p2",)}, 0),  # every a·b − c is 0, so the round's constant is 0 for all witnesses
        ({"same": (("p0", "p1"),)}, 1),
        ({"same": (("a1", "b1"),)}, 1),
        ({"same": (("p0", "a1"),)}, 0),  # â repeats what the message showed: harmless in this order
    ],
)
def test_a_product_with_a_coin_missing_or_used_twice(five, what, expected):
    found = distance(counts(1, 2, **what), counts(3, 3, **what))
    assert found == pytest.approx(expected)


def test_triple_0_hides_nothing_when_its_weight_is_0(five):
    """The event with which the simulator aborts: the point is 1, of probability 1/|F|."""
    assert distance(counts(1, 2, point=1), counts(3, 3, point=1)) == 1


# --- samples of the real engine ---

BITS = 3
SAMPLES = 160
LIMIT = chi2.isf(1e-9, (1 << BITS) - 1)


class Seeded(SecretCoins):
    """The real stream, with one message pad left out, or put in another's place."""

    def __init__(self, number, without=None, copied=None):
        super().__init__(number.to_bytes(32, "little"))
        self._without, self._copied = without, copied

    def field(self, purpose, count):
        cells = super().field(purpose, count)
        if purpose == "pads.messages":
            half = count // 2
            if self._without is not None:
                cells[[self._without, half + self._without]] = 0
            if self._copied is not None:
                source, target = self._copied
                cells[[target, half + target]] = cells[[source, half + source]]
        return cells


@cache
def scenes():
    with circuits.security(4):
        case = circuits.mlp(private=True)
        key = prepare(case.circuit, list(case.weights))
        return [Scene(key, *one) for one in case.witnesses(np.random.default_rng(51), 2)]


@cache
def sampled(which, samples, **more):
    """Views of one witness under fixed challenges: (samples, elements)."""
    scene = scenes()[which]
    return np.stack([scene.prove({}, own=Seeded(1 + which + 2 * i, **more)).vector for i in range(samples)])


def statistics(views):
    """χ² of the low bits against uniform, per element."""
    low = (views & np.uint64((1 << BITS) - 1)).astype(np.int64)
    found = np.stack([(low == value).sum(axis=0) for value in range(1 << BITS)])
    return ((found - len(views) / (1 << BITS)) ** 2).sum(axis=0) / (len(views) / (1 << BITS))


def homogeneity(left, right):
    """χ² of two witnesses' low bits against each other, per element; equal sample sizes."""
    tables = []
    for views in (left, right):
        low = (views & np.uint64((1 << BITS) - 1)).astype(np.int64)
        tables.append(np.stack([(low == value).sum(axis=0) for value in range(1 << BITS)]))
    total = tables[0] + tables[1]
    return (((tables[0] - tables[1]) ** 2) / np.maximum(total, 1)).sum(axis=0)


@pytest.mark.parametrize("samples", [SAMPLES, pytest.param(1500, marks=[pytest.mark.slow, pytest.mark.timeout(1200)])])
def test_samples_of_views_are_uniform_and_alike_for_both_witnesses(samples):
    views = [sampled(which, samples) for which in (0, 1)]
    assert all(statistics(one).max() < LIMIT for one in views)
    assert homogeneity(*views).max() < LIMIT
    mean = np.mean([statistics(one).mean() for one in views])
    assert abs(mean - ((1 << BITS) - 1)) < 0.5  # neither too good to be true


def test_samples_with_a_pad_left_out_are_not():
    """The element is then one and the same in all samples, and another one for the other witness."""
    view = scenes()[0].prove({})
    place, pad = view.encrypted()[0], 0
    assert view.name_of(pad) == "lookups.root"
    views = [sampled(which, 60, without=pad) for which in (0, 1)]
    caught = [np.flatnonzero(statistics(one) > LIMIT) for one in views]
    assert all(list(one) == [place, place + 1] for one in caught)
    assert set(np.flatnonzero(homogeneity(*views) > LIMIT)) <= {place, place + 1}
    assert not np.array_equal(views[0][0, place : place + 2], views[1][0, place : place + 2])


def test_samples_with_a_pad_used_twice_show_in_the_difference():
    """Each message alone stays uniform; their difference does not."""
    places = scenes()[0].prove({}).encrypted()
    first, second = places[0], places[9]
    views = sampled(0, 60, copied=(0, 9))
    assert statistics(views).max() < LIMIT
    difference = (views[:, first].astype(object) - views[:, second].astype(object)) % field.P
    assert len(set(difference)) == 1
    fresh = sampled(0, SAMPLES)
    assert len(set((fresh[:, first].astype(object) - fresh[:, second].astype(object)) % field.P)) == SAMPLES
