"""Circuits that obey every rule and are made to burn a verifier's memory or processor: few bytes, much work.

Each is what an attacker would try: huge shapes that cost no bytes (hidden inputs, committed weights), claims that multiply
(views of views, tensors read again and again), long lists, wide boxes, deep chains, large tables used often, and long kernels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from tests.support.sumcheck_examples import Sketch
from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.ops import NONE, Piece
from verifai.engines.sumcheck.circuit.program import Circuit, Port, Table, Visibility, Weight, WeightVisibility
from verifai.engines.sumcheck.protocol.suite import INTEGRITY, ZERO_KNOWLEDGE, Suite


class Draft(Sketch):
    """A sketch that is not planned, whose weights are never made, and whose inputs are hidden unless said otherwise."""

    hidden_suite = True

    def hidden(self, shape: tuple[int, ...], low: int = 0, high: int = 1) -> int:
        """An input of which a circuit holds nothing but its shape."""
        return self.input(shape, low, high, hashed=not self.hidden_suite, private=self.hidden_suite)

    def committed(self, shape: tuple[int, ...], row_l1: int = 100) -> int:
        """A weight of which a circuit holds nothing but its shape."""
        self.weights.append(Weight(f"w{len(self.weights)}", shape, 1, row_l1))
        return len(self.weights) - 1

    def close(self, *results: int, committed: bool = False) -> Circuit:
        """The circuit, its outputs public."""
        visibility = WeightVisibility.COMMITTED if committed else WeightVisibility.PUBLIC
        ports = tuple(Port(out, Visibility.PUBLIC) for out in results)
        suite = ZERO_KNOWLEDGE if self.hidden_suite else INTEGRITY
        budget = 1 if committed and self.hidden_suite else 0
        drawn = self._circuit()
        return replace(
            drawn,
            suite=suite.name,
            inputs=tuple(self.inputs),
            outputs=ports,
            weight_visibility=visibility,
            opening_budget=budget,
        )


def _one(d: Draft, x: int) -> int:
    """One public number that depends on all of ``x``: the sum of all cells, requantised."""
    shape = d.tensors[x].shape
    return d.requant(d.add(ops.RowSum, x, NONE, multiplier=1, axes=len(shape)))


def _whole(source: int, axes: tuple[int, ...], shape: tuple[int, ...]) -> Piece:
    return Piece(source, axes, tuple(tuple(range(size)) for size in shape), (NONE,) * len(shape))


def row_sum(d: Draft, size: int) -> Circuit:
    return d.close(_one(d, d.hidden((1 << size,))))


def row_sum_of_rows(d: Draft, size: int) -> Circuit:
    x = d.hidden((1 << size, 1 << size // 2))
    return d.close(_one(d, d.requant(d.add(ops.RowSum, x, NONE, multiplier=1, axes=1))))


def nested_views(d: Draft, size: int) -> Circuit:
    """Each view reads the one before in ``size`` pieces, so claims multiply by ``size`` at every step."""
    x = d.hidden((size,))
    for _ in range(12):
        pieces = tuple(Piece(x, (0,), (tuple(j if j == i else NONE for j in range(size)),), (NONE,)) for i in range(size))
        x = d.add(ops.View, pieces, constant=0, shape=(size,))
    return d.close(_one(d, x))


def nested_sums(d: Draft, size: int) -> Circuit:
    """x + (x + (x + …)): every step reads two tensors, of which one is virtual again."""
    a, b = d.hidden((4,)), d.hidden((4,))
    for _ in range(size):
        a, b = d.add(ops.LinearCombination, (a, b), (1, 1), 0), d.add(ops.LinearCombination, (a, b), (1, -1), 0)
    both = d.add(ops.LinearCombination, (a, b), (1, 1), 0)
    return d.close(_one(d, both))


def slices(d: Draft, size: int) -> Circuit:
    """One cell of an axis that costs no bytes, again and again."""
    x = d.hidden((1 << size,))
    cells = [d.add(ops.View, (Piece(x, (NONE,), ((0,),), (i,)),), constant=0, shape=(1,)) for i in range(8)]
    return d.close(d.requant(d.add(ops.LinearCombination, tuple(cells), (1,) * 8, 0)))


def grid_of_pieces(d: Draft, size: int) -> Circuit:
    """Pieces that are all disjoint, which comparing them two by two would have to find out."""
    x = d.hidden((size, size))
    pieces = tuple(
        Piece(x, (0, 1), tuple(tuple(at if at == one else NONE for at in range(size)) for one in (i, j)), (NONE, NONE))
        for i in range(size)
        for j in range(size)
    )
    return d.close(_one(d, d.add(ops.View, pieces, constant=0, shape=(size, size))))


def long_kernel(d: Draft, size: int) -> Circuit:
    length = 1 << size
    x = d.hidden((1, 1, 1, length))
    z = d.add(
        ops.Conv, x, d.committed((1, 1, 1, length // 2)), NONE, stride=(1, 1), dilation=(1, 1), pads=(0, 0, 0, 0), groups=1
    )
    return d.close(_one(d, d.requant(z)), committed=True)


def strided_kernel(d: Draft, size: int) -> Circuit:
    length = 1 << size
    x = d.hidden((1, 1, 1, length))
    z = d.add(
        ops.Conv,
        x,
        d.committed((1, 1, 1, length // 64)),
        NONE,
        stride=(1, 31),
        dilation=(1, 7),
        pads=(0, 0, 0, 0),
        groups=1,
    )
    return d.close(_one(d, d.requant(z)), committed=True)


def many_groups(d: Draft, size: int) -> Circuit:
    channels = 1 << size
    x = d.hidden((1, channels, 1, 1))
    z = d.add(
        ops.Conv, x, d.committed((channels, 1, 1, 1)), NONE, stride=(1, 1), dilation=(1, 1), pads=(0, 0, 0, 0), groups=channels
    )
    return d.close(_one(d, d.requant(z)), committed=True)


def wide_average(d: Draft, size: int) -> Circuit:
    x = d.hidden((1, 1, 1, 1 << size))
    kernel = min((1 << size - 1) + 1, (1 << 16) - 1)
    z = d.add(ops.WindowSum, x, multiplier=1, kernel=(1, kernel), stride=(1, 1), pads=(0, 0, 0, 0))
    return d.close(_one(d, d.requant(z)))


def pooled_padding(d: Draft, size: int) -> Circuit:
    """Nearly all of the output is padding of a single cell."""
    x = d.hidden((1, 1, 1, 1))
    pads = (0, (1 << size) - 1, 0, (1 << size) - 1)
    held = d.add(ops.WindowMax, x, kernel=(1, 2), stride=(1, 1), dilation=(1, 1), pads=pads)
    return d.close(_one(d, held))


def wide_dense(d: Draft, size: int) -> Circuit:
    x = d.hidden((1 << size,))
    z = d.add(ops.MatMul, x, d.committed((1 << size // 2, 1 << size)), NONE, contract=1)
    return d.close(_one(d, d.requant(z)), committed=True)


def batched(d: Draft, size: int) -> Circuit:
    a, b = d.hidden((2, 1 << size, 3)), d.hidden((2, 3, 1 << size // 2))
    z = d.add(ops.BatchedMatMul, a, b, multiplier=1)
    return d.close(_one(d, d.requant(z)))


def squares(d: Draft, size: int) -> Circuit:
    """A virtual square read by many: each reading is a sumcheck of its own."""
    x = d.hidden((64, 32))
    z = d.add(ops.Mul, x, x, multiplier=1)
    rows = [d.requant(d.add(ops.RowSum, z, NONE, multiplier=1 + i, axes=1)) for i in range(size)]
    total = d.add(ops.LinearCombination, tuple(rows), (1,) * size, 0)
    return d.close(_one(d, total))


def row_products(d: Draft, size: int) -> Circuit:
    x = d.hidden((1 << size, 8))
    z = d.add(ops.RowSum, x, x, multiplier=1, axes=2)
    return d.close(d.requant(z))


def relabels(d: Draft, size: int) -> Circuit:
    x = d.hidden((8, 8))
    for i in range(size):
        x = d.add(ops.Relabel, x, shape=((64,), (4, 16), (2, 32), (8, 8))[i % 4])
    return d.close(_one(d, x))


def merged_axes(d: Draft, size: int) -> Circuit:
    """A list of entries along one axis, merged with others into one vector as long as their product."""
    x = d.hidden((1 << size, 4))
    z = d.add(ops.Relabel, x, shape=(1 << size - 2, 4, 4))
    z = d.add(ops.RowSum, z, NONE, multiplier=1, axes=1)
    z = d.add(ops.Relabel, z, shape=(1 << size,))
    return d.close(_one(d, z))


def chain(d: Draft, size: int) -> Circuit:
    x = d.hidden((4,))
    for _ in range(size):
        x = d.requant(x)
    return d.close(x)


def wide_sum(d: Draft, size: int) -> Circuit:
    parts = [d.requant(d.hidden((3,))) for _ in range(min(size, 200))]
    sums = [d.add(ops.LinearCombination, tuple(parts), (1,) * len(parts), i) for i in range(size // 8)]
    total = d.add(ops.LinearCombination, tuple(sums), (1,) * len(sums), 0)
    return d.close(_one(d, total))


def one_table_for_all(d: Draft, size: int) -> Circuit:
    """Every operation uses one table of 2^16 values."""
    half = 1 << 15
    d.tables.append(Table("wide", -half, tuple(min(max(t, 0), 1) for t in range(-half, half))))
    x = d.hidden((2,))
    for _ in range(size):
        x = d.add(ops.Lookup, x, table=0)
    return d.close(x)


def a_table_each(d: Draft, size: int) -> Circuit:
    """Every operation has a table of its own, of few bytes."""
    x = d.hidden((2,))
    for number in range(size):
        d.tables.append(Table(f"table{number}", -4, tuple((number >> 3 * place) % 8 - 4 for place in range(8))))
        x = d.add(ops.Lookup, x, table=number)
    return d.close(x)


def saturating(d: Draft, size: int) -> Circuit:
    """Every operation has two tables of its own, which cost the circuit no bytes."""
    d.tables.append(Table("narrow", -2, (-1, -1, 0, 1)))
    x = d.hidden((2,), -60, 60)
    outs = []
    for i in range(size):
        z = d.add(ops.LinearCombination, (x,), (500 + i,), 0)
        outs.append(d.add(ops.Requant, z, table=0, shift=0, limbs=(), saturate=True))
    total = d.add(ops.LinearCombination, tuple(outs), (1,) * size, 0)
    return d.close(d.requant(total))


def maxima(d: Draft, size: int) -> Circuit:
    d.tables.append(Table("zeros", 0, (0, 0)))
    x = d.hidden((2, min(1 << size, (1 << 16) - 1)))
    return d.close(_one(d, d.add(ops.RowMax, x, outs=("out",), exp=NONE, table=0, saturate=False)))


def positions(d: Draft, size: int) -> Circuit:
    x = d.hidden((3, min(1 << size, (1 << 16) - 1)))
    return d.close(_one(d, d.add(ops.ArgMax, x)))


def many_stated(d: Draft, size: int) -> Circuit:
    parts = [d.requant(d.input((3,), 0, 1, hashed=True)) for _ in range(min(size, 200))]
    return d.close(d.requant(d.add(ops.LinearCombination, tuple(parts), (1,) * len(parts), 0)))


def public_again_and_again(d: Draft, size: int) -> Circuit:
    """A public tensor that is read once per piece, without a message of the proof."""
    x = d.input((size, 16), 0, 1)
    pieces = tuple(
        Piece(x, (0, 1), (tuple(j if j == i else NONE for j in range(size)), tuple(range(16))), (NONE, NONE))
        for i in range(size)
    )
    return d.close(_one(d, d.add(ops.View, pieces, constant=0, shape=(size, 16))))


def roots_and_inverses(d: Draft, size: int) -> Circuit:
    x = d.hidden((1 << size,), 1, 3)
    return d.close(_one(d, d.add(ops.Recip, x)), _one(d, d.add(ops.Isqrt, x)))


FAMILIES: dict[Callable[[Draft, int], Circuit], tuple[int, ...]] = {
    row_sum: (10, 18, 24, 28),
    row_sum_of_rows: (8, 12, 16, 18),
    nested_views: (2, 3, 5, 16),
    nested_sums: (4, 10, 20, 50),
    slices: (8, 16, 22, 28),
    grid_of_pieces: (4, 12, 24, 40),
    long_kernel: (8, 12, 14, 16),
    strided_kernel: (10, 14, 18, 20),
    many_groups: (4, 10, 14, 22),
    wide_average: (6, 12, 16, 26),
    pooled_padding: (4, 8, 12, 15),
    wide_dense: (8, 12, 16, 18),
    batched: (4, 10, 14, 18),
    squares: (2, 10, 60, 200),
    row_products: (4, 12, 18, 24),
    relabels: (10, 100, 300, 900),
    merged_axes: (6, 12, 18, 24),
    chain: (4, 40, 300, 900),
    wide_sum: (16, 64, 200, 600),
    one_table_for_all: (4, 40, 200, 600),
    a_table_each: (4, 40, 400, 4096),
    saturating: (2, 8, 64, 300),
    maxima: (4, 10, 14, 16),
    positions: (4, 10, 14, 16),
    many_stated: (4, 40, 120, 200),
    public_again_and_again: (4, 30, 100, 240),
    roots_and_inverses: (2, 8, 12, 14),
}
"""What is built, in four sizes: from harmless to absurd."""

SUITES: tuple[Suite, ...] = (INTEGRITY, ZERO_KNOWLEDGE)


def hostile_circuits() -> Iterator[tuple[str, Callable[[], Circuit]]]:
    """Name and maker of each; both suites."""

    def made(family: Callable[[Draft, int], Circuit], size: int, suite: Suite) -> Circuit:
        draft = Draft()
        draft.hidden_suite = suite.zero_knowledge
        return family(draft, size)

    for suite in SUITES:
        for family, sizes in FAMILIES.items():
            for size in sizes:
                yield f"{family.__name__}-{size}-{suite.name}", partial(made, family, size, suite)
