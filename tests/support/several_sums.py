"""Forged proofs of a circuit with several sums of fractions, by provers that know the protocol and stay consistent.

The limit of one sum has to be lowered to :data:`LIMIT`, so that :func:`deep` has four, of unlike lengths. A forgery changes a
cheating prover before it commits and, by a ``MonkeyPatch`` that the caller undoes, what that prover does afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from tests.support.sumcheck_cheats import Cheat
from tests.support.sumcheck_examples import Sketch
from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.protocol import axes, buses, field
from verifai.engines.sumcheck.protocol.claim import ZERO
from verifai.engines.sumcheck.protocol.lookups import Leaves
from verifai.engines.sumcheck.protocol.sumcheck import eq_rounds
from verifai.engines.sumcheck.prover import lookups as prover_lookups
from verifai.engines.sumcheck.prover import party as prover_party
from verifai.engines.sumcheck.prover import prove as proving
from verifai.engines.sumcheck.prover.arrays import element, embed
from verifai.engines.sumcheck.prover.lookups import Layer

LIMIT = 2600
SUMS = 4


def lower_limit(monkeypatch: pytest.MonkeyPatch, limit: int = LIMIT) -> None:
    """Of one sum, in the Python verifier, prover and planner."""
    monkeypatch.setattr(buses, "MOST_LEAVES", limit)


def deep(**visible: bool):
    """Six layers of rows in pieces, with limbs of two widths: as many owners as make four sums."""
    sketch = Sketch(5)
    x = sketch.input((3, 21), **visible)
    for width, relu in ((37, False), (33, False), (21, False), (37, False), (5, False), (2, True)):
        x = sketch.requant(sketch.matmul(x, width), relu=relu, offset=1)
    return sketch.finish(x), sketch.cells


def shared_tables(bus: buses.Bus) -> list[tuple[int, int]]:
    """Numbers of two copies of one table, the second in a sum that is not the longest."""
    pairs = [(i, j) for i, one in enumerate(bus.tables) for j, two in enumerate(bus.tables) if i != j and one.sum != two.sum]
    same = [pair for pair in pairs if len({(bus.tables[i].kind, bus.tables[i].index) for i in pair}) == 1]
    return [(i, j) for i, j in same if bus.sums[bus.tables[j].sum] < bus.largest]


def sum_of(cheat: Cheat, which: int) -> int:
    """The sum of a Requant's lookups."""
    return cheat.key.layout.bus.by_operation[cheat.number(ops.Requant, which)][0].group.sum


def false_cell(cheat: Cheat, which: int = -1, cell: int = 0) -> None:
    """A cell of a Requant's result: within its bounds, and not what its argument is rounded to."""
    out = cheat.op(ops.Requant, which).out
    cells = cheat.witness.tensors[out]
    cells[cell] += 1 if cells[cell] < cheat.circuit.tensors[out].high else -1


class Tree:
    """Leaves of a prover's tree by their number."""

    def __init__(self, layer: Layer) -> None:
        self._sides = ((layer.p0, layer.q0), (layer.p1, layer.q1))
        self._half = layer.q0.shape[1]

    def __len__(self) -> int:
        return sum(p.shape[0] for p, _ in self._sides)

    def _at(self, leaf: int):
        side, place = divmod(leaf, self._half)
        return (*self._sides[side], place)

    def get(self, leaf: int) -> tuple[int, field.Ext]:
        """Numerator in F_p, denominator."""
        p, q, at = self._at(leaf)
        return int(p[at]), element(*q[:, at])

    def put(self, leaf: int, numerator: int, denominator: field.Ext) -> None:
        """Another fraction at this leaf."""
        p, q, at = self._at(leaf)
        p[at], q[:, at] = numerator, denominator

    def total(self, share: int | None = None) -> field.Ext:
        """The sum of all fractions, or of those of one sum."""
        numbers = range(len(self)) if share is None else range(share, len(self), SUMS)
        found = [self.get(leaf) for leaf in numbers]
        return field.total(field.scale(field.inverse(q), p) for p, q in found if p)


def _at_leaves(patch: pytest.MonkeyPatch, change: Callable[[Tree], None]) -> None:
    honest = prover_lookups.build_leaves

    def changed(*arguments):
        layer = honest(*arguments)
        change(Tree(layer))
        return layer

    patch.setattr(prover_party, "build_leaves", changed)


def two_false_rows(cheat: Cheat, patch: pytest.MonkeyPatch) -> None:
    """The same lie in two sums: neither makes up for the other."""
    false_cell(cheat, 0)
    false_cell(cheat, -1)
    assert sum_of(cheat, 0) != sum_of(cheat, -1)


def false_row_and_own_filler(cheat: Cheat, patch: pytest.MonkeyPatch) -> None:
    """A leaf between those of the longest sum, which is filler, brings the false row's own sum back to 0."""
    bus = cheat.key.layout.bus
    which = next(i for i in range(6) if bus.sums[sum_of(cheat, i)] < bus.largest)
    share = sum_of(cheat, which)
    false_cell(cheat, which)

    def change(tree: Tree) -> None:
        total, leaf = tree.total(share), bus.sums[share] * SUMS + share
        assert total != field.ZERO and tree.get(leaf) == (0, field.ONE)
        tree.put(leaf, 1, field.sub(field.ZERO, field.inverse(total)))
        assert [tree.total(one) for one in range(SUMS)] == [field.ZERO] * SUMS

    _at_leaves(patch, change)


def leaf_moved(cheat: Cheat, patch: pytest.MonkeyPatch) -> None:
    """A true row is looked up, and counted, in another sum than its owner's, at a leaf that is filler there: all sums are 0."""
    bus, counts = cheat.key.layout.bus, cheat.witness.multiplicities()
    one, other = next(pair for pair in shared_tables(bus) if counts[pair[0]].any())
    row = int(np.argmax(counts[one]))
    counts[one][row] -= 1
    counts[other][row] += 1
    cheat.witness.counts = counts
    ours, theirs = bus.tables[one], bus.tables[other]

    def change(tree: Tree) -> None:
        _, wanted = tree.get((ours.offset + row) * SUMS + ours.sum)
        _, there = tree.get((theirs.offset + row) * SUMS + theirs.sum)
        taken = next(leaf for leaf in range(ours.sum, len(tree), SUMS) if tree.get(leaf) == (1, wanted))
        free = bus.sums[theirs.sum] * SUMS + theirs.sum
        assert tree.get(free) == (0, field.ONE)
        tree.put(taken, 0, field.ONE)
        tree.put(free, 1, there)
        assert [tree.total(share) for share in range(SUMS)] == [field.ZERO] * SUMS

    _at_leaves(patch, change)


def lookup_not_counted(cheat: Cheat, patch: pytest.MonkeyPatch) -> None:
    """A lookup has the numerator 0, and its table counts one less: all sums are 0, and all denominators true."""
    bus, counts = cheat.key.layout.bus, cheat.witness.multiplicities()
    one = bus.tables[-1]
    row = int(np.argmax(counts[len(bus.tables) - 1]))
    counts[len(bus.tables) - 1][row] -= 1
    cheat.witness.counts = counts

    def change(tree: Tree) -> None:
        _, wanted = tree.get((one.offset + row) * SUMS + one.sum)
        tree.put(next(leaf for leaf in range(one.sum, len(tree), SUMS) if tree.get(leaf) == (1, wanted)), 0, wanted)
        assert [tree.total(share) for share in range(SUMS)] == [field.ZERO] * SUMS

    _at_leaves(patch, change)


def another_copys_number(cheat: Cheat, patch: pytest.MonkeyPatch) -> None:
    """A sum's table and all its lookups under the number of another sum's copy: both sums are 0."""
    one, other = shared_tables(cheat.key.layout.bus)[0]
    honest = proving.lookup_blocks

    def renamed(*arguments):
        return [replace(block, table=other) if block.table == one else block for block in honest(*arguments)]

    patch.setattr(proving, "lookup_blocks", renamed)


def all_counts_in_one_copy(cheat: Cheat, patch: pytest.MonkeyPatch) -> None:
    """A sum that counts nothing in its own copy of a table, and leaves that to another sum."""
    counts = cheat.witness.multiplicities()
    one, other = next(pair for pair in shared_tables(cheat.key.layout.bus) if counts[pair[0]].any())
    counts[other] += counts[one]
    counts[one][:] = 0
    cheat.witness.counts = counts


def block_of_a_neighbour(cheat: Cheat, patch: pytest.MonkeyPatch) -> None:
    """Two blocks of one sum change places: the sum is what it was, its leaves are not where the circuit has them."""
    honest = proving.lookup_blocks

    def exchanged(*arguments):
        blocks = list(honest(*arguments))
        own = [i for i, block in enumerate(blocks) if block.numerators is not None]
        i, j = next(
            (i, j)
            for i in own
            for j in own
            if i < j and (blocks[i].sum, blocks[i].log_size) == (blocks[j].sum, blocks[j].log_size)
        )
        blocks[i], blocks[j] = (
            replace(blocks[i], offset=blocks[j].offset),
            replace(blocks[j], offset=blocks[i].offset),
        )
        return blocks

    patch.setattr(proving, "lookup_blocks", exchanged)


def layers_drawn_first(channel, log_leaves: int, log_sums: int, known: dict[str, object] | None = None) -> Leaves:
    """``check_layers`` of a protocol that draws the point among the sums and the first mix before the denominators are sent."""
    point = [channel.challenge("lookups.sum") for _ in range(log_sums)]
    mix = channel.challenge("lookups.mix")
    if known is not None:
        known.update(point=point, mix=mix)
    roots = channel.receive("lookups.root", 1 << log_sums)
    for root in roots:
        root.assert_nonzero("lookups.root")
    first, *others = axes.eq_table(point)
    numerator, denominator = ZERO, roots[0].mixed(first, list(zip(roots[1:], others, strict=True)))
    for layer in range(log_sums, log_leaves):
        mix = mix if layer == log_sums else channel.challenge("lookups.mix")
        claim, rest = eq_rounds(channel, "lookups", numerator + denominator.scale(mix), point, 2)
        p0, p1, q0, q1 = channel.receive("lookups.ends", 4)
        (p0.mul(q1) + q0.mul(p1 + q1.scale(mix)) - claim).assert_zero(f"lookups.layer{layer}")
        child = channel.challenge("lookups.child")
        numerator, denominator = p0 + (p1 - p0).scale(child), q0 + (q1 - q0).scale(child)
        point = [child, *rest]
    return Leaves(tuple(point), numerator, denominator)


def denominators_after_the_challenges(cheat: Cheat, patch: pytest.MonkeyPatch) -> None:
    """A false output whose sum is not 0; one false denominator, chosen when the challenges are known, makes up for it. Every
    equation of :func:`layers_drawn_first` holds."""
    false_cell(cheat)
    known: dict[str, object] = {}
    honest = prover_lookups._products

    def chosen(top: Layer, count: int):
        roots = honest(top, count)
        shares = axes.eq_table(known["point"])
        p1, q1 = embed(top.p1) if top.p1.ndim == 1 else top.p1, top.q1
        p0 = embed(top.p0) if top.p0.ndim == 1 else top.p0
        error = field.ZERO
        for number, share in enumerate(shares):
            stored = number < q1.shape[1]
            second = element(*q1[:, number]) if stored else field.ONE
            found = field.product(element(*p0[:, number]), second)
            if stored:
                found = field.add(found, field.product(element(*p1[:, number]), element(*top.q0[:, number])))
            error = field.add(error, field.product(found, share))
        assert error != field.ZERO
        factor = field.inverse(field.product(known["mix"], shares[0]))
        return [field.add(roots[0], field.product(error, factor)), *roots[1:]]

    patch.setattr(prover_lookups, "_products", chosen)
    patch.setattr(prover_lookups, "check_layers", lambda *arguments: layers_drawn_first(*arguments, known))


LAYER = ("lookups.layer2",)
AT_LEAVES = ("lookups.numerators", "lookups.denominators")

FORGERIES: dict[Callable[[Cheat, pytest.MonkeyPatch], None], tuple[str, ...]] = {
    two_false_rows: LAYER,
    false_row_and_own_filler: AT_LEAVES,
    leaf_moved: AT_LEAVES,
    lookup_not_counted: AT_LEAVES[:1],
    another_copys_number: AT_LEAVES,
    all_counts_in_one_copy: LAYER,
    block_of_a_neighbour: AT_LEAVES,
    denominators_after_the_challenges: (*LAYER, "product"),
}
"""Forgery, and the equations of which the first is false."""
