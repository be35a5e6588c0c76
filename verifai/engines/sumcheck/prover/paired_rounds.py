"""The first two variables of a long member of the openings' sum, bound together and in parts.

Weights over F of 188 million cells take 3 GiB, and cells and weights with one variable bound 4 GiB more. Here neither is ever
whole: a first pass makes the weights part by part and keeps eleven sums over quarters of the address space, which hold the
messages of both rounds; a second one makes them again and keeps what is left with both variables bound, a quarter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from verifai.engines.sumcheck.protocol import field as fields
from verifai.engines.sumcheck.protocol.axes import eq_table
from verifai.engines.sumcheck.protocol.field import Ext
from verifai.engines.sumcheck.prover.functionals import Spread
from verifai.engines.sumcheck.prover.kernels import U64, outer_add, quad_fold, quad_sums
from verifai.engines.sumcheck.prover.parallel import in_parts

PART_CELLS = 1 << 16
"""Of a quarter, how many cells are there at a time: with their weights 6 MiB for four quarters, on every thread."""

_SUMS = 11


class PartedWeights:
    """W: blocks of addresses that are an outer product each, added up for a range of addresses when they are asked for."""

    def __init__(self, blocks: Iterable[Spread]) -> None:
        self._by_part: dict[int, list[Spread]] = {}
        for block in blocks:
            for part in range(block.start // PART_CELLS, (block.stop - 1) // PART_CELLS + 1):
                self._by_part.setdefault(part, []).append(block)

    def add(self, start: int, target0: U64, target1: U64) -> bool:
        """Add the weights of the addresses from ``start`` on, within one part; whether there are any."""
        found, stop = False, start + len(target0)
        for block in self._by_part.get(start // PART_CELLS, ()):
            first, last = max(start, block.start), min(stop, block.stop)
            if first < last:
                found = True
                _add_block(block, first, last, target0[first - start : last - start], target1[first - start : last - start])
        return found


def _add_block(block: Spread, first: int, last: int, target0: U64, target1: U64) -> None:
    """The block's weights at the addresses [first, last). Both, and all sizes, are powers of two that divide each other."""
    wide = block.right.shape[1]
    row, place = divmod(first - block.start, wide)
    rows = max(1, (last - first) // wide)
    left, right = block.left[:, row : row + rows], block.right[:, place : place + last - first]
    outer_add(target0, target1, np.ascontiguousarray(left), np.ascontiguousarray(right))


@dataclass
class Quarters:
    """One member while its first two variables are bound: log_cells of the address space, cells and weights by address.

    ``fill``: puts the cells from an address on into an array of zeros; False where there are none.
    """

    log_cells: int
    fill: Callable[[int, U64], bool]
    weights: PartedWeights
    sums: list[Ext] = field(default_factory=list)

    @property
    def _quarter(self) -> int:
        return 1 << (self.log_cells - 2)

    def measure(self) -> None:
        """The first pass: the sums that :meth:`first` and :meth:`second` are made of."""
        totals = [fields.ZERO] * _SUMS
        for own in in_parts(self._quarter // self._step, self._measured):
            totals = [fields.add(one, more) for one, more in zip(totals, own, strict=True)]
        self.sums = totals

    @property
    def _step(self) -> int:
        return min(PART_CELLS, self._quarter)

    def _measured(self, first: int, last: int) -> list[Ext]:
        totals, (cells, weights) = [fields.ZERO] * _SUMS, self._room()
        for part in range(first, last):
            if self._make(part * self._step, cells, weights):
                words = quad_sums(cells, weights).tolist()
                totals = [fields.add(one, (int(a), int(b))) for one, a, b in zip(totals, words[::2], words[1::2], strict=True)]
        return totals

    def _room(self) -> tuple[U64, U64]:
        """For cells (4, n) and weights (8, n) of one part."""
        return np.empty((4, self._step), dtype=np.uint64), np.empty((8, self._step), dtype=np.uint64)

    def _make(self, start: int, cells: U64, weights: U64) -> bool:
        """Cells and weights of the four quarters from ``start`` on; False where all of them are 0."""
        cells[:], weights[:], found = 0, 0, False
        for number in range(4):
            address = number * self._quarter + start
            found |= self.fill(address, cells[number])
            found |= self.weights.add(address, weights[2 * number], weights[2 * number + 1])
        return found

    @property
    def total(self) -> Ext:
        """Σ cells·weights."""
        return fields.total(self.sums[number] for number in (0, 3, 8, 9))

    def first(self) -> tuple[Ext, Ext]:
        """Constant and leading coefficient of the first round."""
        (a00, a01, a10, a11), b00, slope = self.sums[:4], self.sums[8], self.sums[10]
        leading = fields.sub(fields.add(fields.add(a00, a11), slope), fields.add(a01, a10))
        return fields.add(a00, b00), leading

    def second(self, r: Ext) -> tuple[Ext, Ext]:
        """The same of the second round, the first variable being r."""
        low, high = eq_table([r])
        factors = [fields.product(x, y) for x in (low, high) for y in (low, high)]
        return fields.dot(self.sums[:4], factors), fields.dot(self.sums[4:8], factors)

    def bound(self, r: Ext, s: Ext, factor: Ext) -> tuple[U64, U64]:
        """The second pass: cells, and weights times ``factor``, with both variables bound: (2, 2^(v − 2)) each."""
        values: U64 = np.empty((2, self._quarter), dtype=np.uint64)
        weights: U64 = np.empty((2, self._quarter), dtype=np.uint64)
        at = np.array(eq_table([r, s]), dtype=np.uint64)
        scaled = np.array([fields.product(one, factor) for one in eq_table([r, s])], dtype=np.uint64)

        def work(first: int, last: int) -> None:
            room = self._room()
            for part in range(first, last):
                self._make(part * self._step, *room)
                quad_fold(*room, at, scaled, values, weights, part * self._step)

        in_parts(self._quarter // self._step, work)
        return values, weights
