"""Hidden weights whose own cells are looked up in tables of their ranges: a registration that commits to no parts.

A registration of parts (:mod:`.relations`) looks up limbs of both signs of each cell: two to four leaves a cell, and as many
committed cells, which 45 million cells exhaust. Here a cell w with |w| ≤ 2^k − 1 is one leaf, a row in a table of what it may
be. Nothing bounds a row's L1 norm but the number of its cells times that bound, so the circuit has to declare no less.

One sum of fractions holds 2^26 leaves here, and its error is that of its own leaves. Weights that are more are looked up in
several *sums*, one after the other, each with challenges of its own; every weight is in one sum, whole. A weight out of range
makes the sum false that it is in, whatever the others are, so a proof's error is that of its largest sum.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from verifai.engines.sumcheck.circuit.program import Weight, log2_ceil
from verifai.engines.sumcheck.protocol.axes import point_axes
from verifai.engines.sumcheck.protocol.buses import SIGNED, WIDTH, Bus, Group, LookupBlock, TableBlock
from verifai.engines.sumcheck.protocol.layout import Key
from verifai.engines.sumcheck.protocol.lookups import LeafSum
from verifai.engines.sumcheck.protocol.party import Party
from verifai.engines.sumcheck.protocol.storage import Storage, stored

WIDEST_BITS = 15
"""k of the widest cells that are looked up themselves: a table of 2^16 rows. Wider ones are made of parts."""
MOST_LOG_LEAVES = 26
"""Of one sum; a single weight may have more. It takes no more memory than the openings of so many weights do."""


def is_ranged(weight: Weight) -> bool:
    """Whether the cells of a weight are looked up themselves."""
    return 0 < weight.bound < 1 << WIDEST_BITS


def weight_sums(weights: Sequence[Weight], owners: Iterable[int]) -> tuple[Bus, ...]:
    """The sums of fractions for the weights ``owners``, in order; a new one begins where the next weight would not fit.

    In each, lookups by weight are in ``by_tensor``; they have one row per stored cell, in the same pieces.
    """
    found: list[Bus] = []
    mine: list[int] = []
    cells, widths = 0, set[int]()  # running totals: a circuit may have very many weights, and this is part of pricing it
    for owner in owners:
        more, width = stored(weights[owner].shape).cells, weights[owner].bound.bit_length()
        if mine and cells + more + sum(2 << bits for bits in widths | {width}) > 1 << MOST_LOG_LEAVES:
            found.append(_sum(weights, mine))
            mine, cells, widths = [], 0, set()
        mine.append(owner)
        cells += more
        widths.add(width)
    return tuple([*found, _sum(weights, mine)] if mine else found)


def _widths(weights: Sequence[Weight], owners: Sequence[int]) -> list[int]:
    """k of the tables, ascending."""
    return sorted({weights[owner].bound.bit_length() for owner in owners})


def _sum(weights: Sequence[Weight], owners: Sequence[int]) -> Bus:
    """Blocks are packed as everywhere: largest first, upwards from leaf 0, equal ones in their order."""
    widths = _widths(weights, owners)
    storages = [stored(weights[owner].shape) for owner in owners]
    blocks = [
        (piece.log + storage.log_rest, (number, i))
        for number, storage in enumerate(storages)
        for i, piece in enumerate(storage.pieces)
    ]
    blocks += [(1 + bits, (-1, bits)) for bits in widths]
    offsets, address = dict[tuple[int, int], int](), 0
    for log_size, block in sorted(blocks, key=lambda block: -block[0]):
        offsets[block] = address
        address += 1 << log_size
    lookups = dict[int, tuple[LookupBlock, ...]]()
    for number, (owner, storage) in enumerate(zip(owners, storages, strict=True)):
        group = Group(storage, 0, tuple(offsets[number, i] for i in range(len(storage.pieces))))
        lookups[owner] = (LookupBlock(owner, 0, widths.index(weights[owner].bound.bit_length()), group, 0),)
    tables = tuple(TableBlock(SIGNED, bits, 1 + bits, offsets[-1, bits]) for bits in widths)
    return Bus(tables, (), lookups, max(1, log2_ceil(address)), WIDTH, address)


def count_columns(sums: Sequence[Bus], first: int) -> dict[Key, Storage]:
    """The multiplicities of all tables, sum by sum; ``first``: the number of the first."""
    tables = [table for bus in sums for table in bus.tables]
    return {("count", first + number, 0): Storage((table.log_size,)) for number, table in enumerate(tables)}


def check_ranges(party: Party, weights: Sequence[Weight], sums: Sequence[Bus], first: int) -> None:
    """The script: sum by sum. Each weight's stored padding is 0, and its cells are in its range. Both sides run it."""
    for bus in sums:
        alpha, beta = party.challenges("lookups.alpha", 1)[0], party.challenges("lookups.beta", 1)[0]
        leaves = LeafSum(bus, party.fractions(bus, alpha, beta), alpha, beta)
        for owner, (block,) in bus.by_tensor.items():
            axes = leaves.functional(block)
            value = party.weight(owner, axes, "relation.w")
            party.pin_padding(("weight", owner, 0), axes, weights[owner].shape, value)
            leaves.lookup(block, [value])
        for number, table in enumerate(bus.tables):
            point = leaves.local_point(table.log_size)
            count = party.committed(("count", first + number, 0), point_axes(point, (table.log_size,)), "lookups.count")
            leaves.table(number, table, party.table_row(table, point), count)
        leaves.finish()
        first += len(bus.tables)
