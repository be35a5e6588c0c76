"""Fast paths of verifier and prover at the edges: no chosen value makes them differ from the definition or grow."""

from __future__ import annotations

import threading
from itertools import product
from random import Random

import numpy as np
import pytest

from verifai.engines.sumcheck.protocol import axes as ax
from verifai.engines.sumcheck.protocol import field, geometry
from verifai.engines.sumcheck.protocol.field import NON_RESIDUE, ONE, ZERO, P
from verifai.engines.sumcheck.protocol.layout import Column
from verifai.engines.sumcheck.protocol.storage import stored, whole
from verifai.engines.sumcheck.prover import functionals, kernels
from verifai.engines.sumcheck.prover.arrays import element, to_field
from verifai.engines.sumcheck.prover.opened_columns import _added

EDGES = (0, 1, 2, P - 1, P - 2, P // 2, P // 2 + 1, 2**32 - 1, 2**32, 2**63 - 1, 2**63)
"""Canonical elements where a carry, a sign or a reduction goes wrong first."""


def _edge(pick: Random) -> field.Ext:
    return pick.choice(EDGES), pick.choice(EDGES)


def _table(point: list[field.Ext]) -> list[field.Ext]:
    """By the definition, an entry at a time."""
    return [ax.eq_index(index, point) for index in range(1 << len(point))]


def test_tables_of_edge_points_are_those_of_the_definition() -> None:
    pick = Random(1)
    points = [[], *([_edge(pick) for _ in range(bits)] for bits in (1, 1, 2, 3, 5) for _ in range(12))]
    points += [[(a, b)] for a, b in product(EDGES, repeat=2)]
    for point in points:
        table = ax.eq_table(point)
        assert table == _table(point)
        assert all(0 <= part < P for entry in table for part in entry)
        assert ax.Eq(tuple(point)).dense() == table


def test_a_kept_table_is_nobodys_to_change() -> None:
    one = ax.Eq(((5, 7), (11, 13)))
    taken = one.dense()
    taken[0] = (0, 0)
    assert one.dense() == _table([(5, 7), (11, 13)])


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_a_groups_axis_at_the_edges_is_the_product(bits: int) -> None:
    """Among them points where the closed form divides by 0: (1 - a)(1 - b) + a·b = 0 for b = (1 - a)/(1 - 2a)."""
    pick = Random(bits)
    for _ in range(60):
        point, top = [_edge(pick) for _ in range(bits)], [_edge(pick) for _ in range(pick.randrange(1, bits + 1))]
        place = pick.randrange(len(top))
        a = point[place]
        divisor = field.sub(ONE, field.add(a, a))
        if pick.random() < 0.5 and divisor != ZERO:  # (1 - a) - b·(1 - 2a) = 0
            top[place] = field.product(field.sub(ONE, a), field.inverse(divisor))
        found = geometry.group_axis(ax.Eq(tuple(point)), top)
        chosen, inner = _table(top), bits - len(top)
        assert found.dense() == [field.product(entry, chosen[i >> inner]) for i, entry in enumerate(_table(point))]
        assert found.first(1 << bits) == field.total(found.dense())
        assert found.first(1) == found.dense()[0] and found.first(0) == ZERO


def test_tables_that_are_kept_have_a_bound_that_no_circuit_moves() -> None:
    """64 points of 2^20 places would be ten gigabytes, kept in a gate's process for good."""
    tables = ax._RecentTables()
    pick = Random(3)
    for bits in (15, 15, 16, 16, 17, 17, 17, 1, 2, 16):
        tables(tuple((pick.randrange(P), pick.randrange(P)) for _ in range(bits)))
        held = [len(one) for one in tables._tables.values()]
        assert sum(held) == tables._entries <= ax.RECENT_ENTRIES and len(held) <= ax.RECENT_TABLES
    assert {1 << 16, 1 << 1, 1 << 2} <= {len(one) for one in tables._tables.values()}  # the late ones
    for number in range(3 * ax.RECENT_TABLES):
        tables(((number, 0),))
    assert len(tables._tables) == ax.RECENT_TABLES and tables._entries == 2 * ax.RECENT_TABLES


def test_a_table_that_is_longer_than_all_may_be_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ax, "RECENT_ENTRIES", 8)
    tables = ax._RecentTables()
    long, short = tuple((i, 1) for i in range(4)), tuple((i, 2) for i in range(3))
    assert tables(short) is tables(short)
    assert list(tables(long)) == _table(list(long)) and list(tables._tables) == [short]
    assert tables(short[:1]) is tables(short[:1]) and list(tables._tables) == [short[:1]]


def test_tables_are_the_same_for_threads_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ax, "RECENT_ENTRIES", 12)
    tables, wrong = ax._RecentTables(), list[object]()

    def ask(seed: int) -> None:
        pick = Random(seed)
        for _ in range(300):
            point = tuple((pick.randrange(3), 0) for _ in range(pick.randrange(3)))
            if list(tables(point)) != _table(list(point)):
                wrong.append(point)

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert not wrong and tables._entries == sum(map(len, tables._tables.values())) <= 12


def test_integers_of_either_sign_become_canonical_elements() -> None:
    values = [-(2**63), 1 - 2**63, -(2**32), 1 - 2**32, -(2**32) - 1, -1, 0, 1, 2**32 - 1, 2**32, 2**63 - 1]
    assert to_field(np.array(values)).tolist() == [value % P for value in values]
    for kind in (np.int8, np.int32):
        few = [np.iinfo(kind).min, -1, 0, np.iinfo(kind).max]
        held = np.array(few, dtype=kind)
        assert to_field(held).tolist() == [value % P for value in few] and held.tolist() == few
    assert to_field(np.zeros((0, 3), dtype=np.int64)).shape == (0, 3)


def test_sums_of_arrays_are_canonical() -> None:
    left, right = (np.array(side, dtype=np.uint64) for side in zip(*product(EDGES, repeat=2), strict=True))
    assert _added(left, right).tolist() == [(int(x) + int(y)) % P for x, y in zip(left, right, strict=True)]


@pytest.mark.parametrize("n", [1, 2, 2048, 4096])
@pytest.mark.parametrize("kind", ["all largest", "edges"])
def test_sums_over_quarters_are_exact_at_the_edges(n: int, kind: str) -> None:
    pick = np.random.default_rng(n)
    edges = np.array(EDGES, dtype=np.uint64)
    largest = np.uint64(P - 1)
    cells = np.full((4, n), largest) if kind == "all largest" else pick.choice(edges, (4, n))
    weights = np.full((8, n), largest) if kind == "all largest" else pick.choice(edges, (8, n))
    f = [[int(x) for x in row] for row in cells]
    w = [[(int(a), int(b)) for a, b in zip(weights[2 * q], weights[2 * q + 1], strict=True)] for q in range(4)]

    def total(cell: tuple[int, ...], weight: tuple[int, ...]) -> field.Ext:
        """One quarter, or the difference of two."""
        x = f[cell[0]] if len(cell) == 1 else [a - b for a, b in zip(f[cell[0]], f[cell[1]], strict=True)]
        y = w[weight[0]] if len(weight) == 1 else [field.sub(a, b) for a, b in zip(w[weight[0]], w[weight[1]], strict=True)]
        return sum(a * b[0] for a, b in zip(x, y, strict=True)) % P, sum(a * b[1] for a, b in zip(x, y, strict=True)) % P

    wanted = [total((2 * a,), (2 * c,)) for a in range(2) for c in range(2)]
    wanted += [total((2 * a + 1, 2 * a), (2 * c + 1, 2 * c)) for a in range(2) for c in range(2)]
    wanted += [total((1,), (1,)), total((3,), (3,)), total((3, 1), (3, 1))]
    words = kernels.quad_sums(cells, weights).tolist()
    assert list(zip(words[::2], words[1::2], strict=True)) == wanted

    at, scaled = np.full((4, 2), largest), pick.choice(edges, (4, 2))
    values, bound = np.full((2, n + 3), largest), np.full((2, n + 3), largest)  # what was in this memory before
    kernels.quad_fold(cells, weights, at, scaled, values, bound, 3)
    for i in {0, n // 2, n - 1}:
        found = [field.scale(element(*at[q]), f[q][i]) for q in range(4)]
        assert element(*values[:, 3 + i]) == field.total(found)
        assert element(*bound[:, 3 + i]) == field.total(field.product(element(*scaled[q]), w[q][i]) for q in range(4))
    assert (values[:, :3] == largest).all() and (bound[:, :3] == largest).all()


assert NON_RESIDUE * (P - 1) ** 2 + (P - 1) ** 2 < 2**192  # what packed sums of the verifier rest on


@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.parametrize("shape", [(70_001, 5), (70_001,), (3, 70_001), (70_001, 3, 1), (65_536, 4), (1, 65_536, 1), (1, 1)])
def test_a_narrow_columns_weights_are_kept_as_factors(shape: tuple[int, ...], listed: bool) -> None:
    """What is opened in parts has the factors of all claims at once: 16 bytes a cell for each would be more than is saved."""
    pick = Random(9)
    storage = stored(shape)
    held, start = list[int](), 0
    for piece in storage.pieces:
        held.append(start)
        start += 1 << (piece.log + storage.log_rest)
    column = Column(storage, tuple(held))
    axes = [ax.Eq(tuple((pick.randrange(P), pick.randrange(P)) for _ in range(bits))) for bits in storage.bits]
    functional = tuple(ax.Dense(tuple(axis.dense())) for axis in axes) if listed else tuple(axes)
    found = functionals.spreads(column, functional, (P - 1, 3))
    kept = sum(one.left.nbytes + one.right.nbytes for one in found)
    entries = sum(1 << axis.bits for axis in axes)
    assert kept <= (16 * entries + 4096 * 16 if listed else 2 * storage.cells + 4096 * 16)
    weights = np.zeros((2, start), dtype=np.uint64)
    functionals.spread(weights, column, functional, (P - 1, 3))
    dense = [axis.dense() for axis in axes]
    long = 0 if storage == whole(storage.bits) else storage.axis
    for piece, address in zip(storage.pieces, column.addresses, strict=True):
        places = 1 << piece.log if storage.pieces[0].log else 1
        for _ in range(60):
            size = 1 << (piece.log + storage.log_rest)
            number = pick.choice([0, size - 1, pick.randrange(size)])
            value, rest = (P - 1, 3), number
            own = storage.log_rest if storage.log_rest < sum(storage.bits) else None
            order = list(range(len(shape))) if own is None else [long, *(i for i in range(len(shape)) if i != long)]
            for axis in reversed(order):
                length = places if own is not None and axis == long else 1 << storage.bits[axis]
                rest, place = divmod(rest, length)
                value = field.product(value, dense[axis][place + (piece.start if own is not None and axis == long else 0)])
            assert element(*weights[:, address + number]) == value
