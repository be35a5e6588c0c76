"""How the bus is divided into several sums: by the circuit alone, each owner whole, each sum with the tables that it reads."""

from __future__ import annotations

import pytest

from tests.support import several_sums
from tests.support import sumcheck_examples as examples
from tests.support.sumcheck_examples import Sketch
from verifai.engines.sumcheck.planning import plan as planner
from verifai.engines.sumcheck.planning.price import price_of
from verifai.engines.sumcheck.planning.rehearsal import _play
from verifai.engines.sumcheck.protocol import buses, soundness
from verifai.engines.sumcheck.protocol.suite import INTEGRITY, ZERO_KNOWLEDGE

SUITES = pytest.mark.parametrize("suite", [INTEGRITY, ZERO_KNOWLEDGE], ids=lambda suite: suite.name)
CIRCUITS = {
    "deep": several_sums.deep,
    "rows": lambda: examples.odd_rows(committed=True),
    "sums": examples.wide_sums,
    "image": lambda: examples.odd_image(committed=True),
    "language model": examples.language_model,
    "hashed": lambda: examples.mlp(hashed_input=True, hashed_output=True),
}


def _well_formed(bus: buses.Bus) -> None:
    """Blocks are aligned, disjoint and without a gap in their sum; a lookup's table is its own sum's; an owner has one sum."""
    shares = max(1, len(bus.sums))
    taken: list[list[tuple[int, int]]] = [[] for _ in range(shares)]
    for table in bus.tables:
        taken[table.sum].append((table.offset, 1 << table.log_size))
    read = set()
    for owner in (*bus.by_operation, *bus.by_tensor.values()):
        assert len({block.group.sum for block in owner}) <= 1
        for group in {id(block.group): block.group for block in owner}.values():
            pieces = zip(group.addresses, group.storage.pieces, strict=True)
            taken[group.sum] += [(address, 1 << group.log_block(piece)) for address, piece in pieces]
        for block in owner:
            assert bus.tables[block.table].sum == block.group.sum
            read.add(block.table)
    assert read == set(range(len(bus.tables)))
    names = [(table.sum, table.kind, table.index) for table in bus.tables]
    assert names == sorted(set(names))
    ends = []
    for blocks in taken:
        end = 0
        for address, size in sorted(blocks):
            assert address == end and address % size == 0
            end += size
        ends.append(end)
    assert sum(ends) == bus.leaves and (tuple(ends) == bus.sums or shares == 1)
    assert bus.log_leaves == bus.log_sums + max(1, (max(ends) - 1).bit_length())


@pytest.mark.parametrize("name", CIRCUITS)
def test_the_fewest_sums_that_are_short_enough(name, monkeypatch):
    circuit, _ = CIRCUITS[name]()
    wanted = buses._wanted(circuit)
    arranged = [buses._arranged(circuit, wanted, log_sums) for log_sums in range(buses.MAX_LOG_SUMS + 1)]
    for bus in arranged:
        _well_formed(bus)
    found = set()
    for limit in sorted({bus.largest + more for bus in arranged for more in (-1, 0)} | {bus.leaves // 3 for bus in arranged}):
        monkeypatch.setattr(buses, "MOST_LEAVES", limit)
        enough = [bus for bus in arranged if bus.largest <= limit]
        assert buses.build(circuit) == (enough or arranged)[0]
        found.add(len(buses.build(circuit).sums))
    assert len(found) > 1


@SUITES
@pytest.mark.parametrize("limit", [4200, several_sums.LIMIT])
def test_prices_count_the_messages_of_several_sums(suite, limit, monkeypatch):
    monkeypatch.setattr(Sketch, "suite", suite)
    one = price_of(several_sums.deep()[0])
    several_sums.lower_limit(monkeypatch, limit)
    circuit, _ = several_sums.deep()
    layout = planner.plan(circuit)
    sums = len(layout.bus.sums)
    assert sums > 1
    played, price = _play(circuit, layout.bus), price_of(circuit)
    inverses = sums * suite.zero_knowledge  # of the sums' denominators
    assert price.messages == sum(count for label, count in played.messages if label != "product") - inverses
    assert price.claims == played.claims + len(played.openings)
    assert price.nanoseconds > one.nanoseconds  # copies of tables are claimed, and evaluated, once each


@SUITES
def test_eight_sums_reach_what_eight_sums_may_have(suite):
    """More than 2^26 leaves in each of eight: nothing but the error of one sum says how many there may be."""
    layout = planner.plan(examples.many_lookups(150, suite))
    assert len(layout.bus.sums) == 8 and 1 << 26 < layout.bus.largest <= buses.MOST_LEAVES
    assert layout.bus.log_leaves == planner.MAX_LOG_LEAVES == buses.MAX_LOG_SUMS + 27
    bits = soundness.millibits(3 * layout.bus.largest, soundness.FIELD_SIZE)
    assert layout.soundness[0].millibits == bits >= 100_000
