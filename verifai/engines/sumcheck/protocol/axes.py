"""Linear functionals on padded tensors: one vector over F per axis, their outer product being the weights of the cells.

A multilinear evaluation at a point is the functional of eq vectors. Convolutions, windows, slices and permutations map
functionals of this kind to functionals of the same kind, so that most operations need no sumcheck of their own.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod
from threading import Lock
from typing import TypeAlias

from verifai.engines.sumcheck.protocol import field
from verifai.engines.sumcheck.protocol.field import NON_RESIDUE, ONE, ZERO, Ext, P
from verifai.engines.sumcheck.protocol.storage import NO_AXIS, Storage, stored


def eq_table(point: Sequence[Ext]) -> list[Ext]:
    """eq(point, i) for all i; the first coordinate belongs to the highest bit."""
    # By components, and without a call for each entry: half of what a verifier did once went into these lines.
    first, second = [1], [0]
    for a, b in reversed(point):
        over = NON_RESIDUE * b
        high = [(x * a + y * over) % P for x, y in zip(first, second, strict=True)]
        high_second = [(x * b + y * a) % P for x, y in zip(first, second, strict=True)]
        first = [(x - h) % P for x, h in zip(first, high, strict=True)] + high
        second = [(y - h) % P for y, h in zip(second, high_second, strict=True)] + high_second
    return list(zip(first, second, strict=True))


RECENT_TABLES, RECENT_ENTRIES = 64, 1 << 18
"""What is kept of tables: no more than so many, with no more entries in all, whatever a circuit asks for."""


class _RecentTables:
    """:func:`eq_table`, kept for the points of late: openings ask for one point's table once per claim, and a View of many
    pieces once per piece. A table that is longer than all may be is made each time. Threads may ask at once."""

    def __init__(self) -> None:
        self._tables: OrderedDict[tuple[Ext, ...], tuple[Ext, ...]] = OrderedDict()
        self._entries = 0
        self._lock = Lock()

    def __call__(self, point: tuple[Ext, ...]) -> tuple[Ext, ...]:
        with self._lock:
            if point in self._tables:
                self._tables.move_to_end(point)
                return self._tables[point]
        table = tuple(eq_table(point))
        if len(table) > RECENT_ENTRIES:
            return table
        with self._lock:
            if point not in self._tables:
                self._tables[point] = table
                self._entries += len(table)
            while len(self._tables) > RECENT_TABLES or self._entries > RECENT_ENTRIES:
                self._entries -= len(self._tables.popitem(last=False)[1])
        return table


_recent_table = _RecentTables()


def eq_points(left: Sequence[Ext], right: Sequence[Ext]) -> Ext:
    """eq(left, right) = Π (l·r + (1 − l)(1 − r))."""
    result = ONE
    for x, y in zip(left, right, strict=True):
        both = field.product(x, y)
        a = 1 - x[0] - y[0] + 2 * both[0]
        b = -x[1] - y[1] + 2 * both[1]
        result = field.product(result, (a % P, b % P))
    return result


def eq_index(index: int, point: Sequence[Ext]) -> Ext:
    """eq(bits of index, point)."""
    result = ONE
    top = len(point) - 1
    for position, r in enumerate(point):
        bit = index >> (top - position) & 1
        result = field.product(result, r if bit else field.sub(ONE, r))
    return result


def integer_extension(point: Sequence[Ext]) -> Ext:
    """Extension of i ↦ i: Σ 2^j·r_j."""
    result = ZERO
    for r in point:
        result = ((2 * result[0] + r[0]) % P, (2 * result[1] + r[1]) % P)
    return result


@dataclass(frozen=True, slots=True)
class Eq:
    """The vector eq(point, ·) of 2^len(point) entries."""

    point: tuple[Ext, ...]

    @property
    def bits(self) -> int:
        """log2 of the length."""
        return len(self.point)

    def dense(self) -> list[Ext]:
        """All entries."""
        return list(_recent_table(self.point))

    def total(self) -> Ext:
        """Sum of all entries."""
        return ONE

    def first(self, count: int) -> Ext:
        """Sum of the first ``count`` entries: walk down the bits of ``count``, adding the halves that lie below it."""
        if count == 1 << len(self.point):
            return ONE
        result, weight = ZERO, ONE
        top = len(self.point) - 1
        for position, r in enumerate(self.point):
            high = field.product(weight, r)
            low = field.sub(weight, high)
            if count >> (top - position) & 1:
                result, weight = field.add(result, low), high
            else:
                weight = low
        return result

    def at(self, point: Sequence[Ext]) -> Ext:
        """The vector's multilinear extension at ``point``."""
        return eq_points(self.point, point)


@dataclass(frozen=True, slots=True)
class Dense:
    """A vector given by its 2^k entries."""

    values: tuple[Ext, ...]

    @property
    def bits(self) -> int:
        """log2 of the length."""
        return (len(self.values) - 1).bit_length()

    def dense(self) -> list[Ext]:
        """All entries."""
        return list(self.values)

    def total(self) -> Ext:
        """Sum of all entries."""
        return field.total(self.values)

    def first(self, count: int) -> Ext:
        """Sum of the first ``count`` entries."""
        return field.total(self.values[:count])

    def at(self, point: Sequence[Ext]) -> Ext:
        """The vector's multilinear extension at ``point``."""
        return field.dot(self.values, _recent_table(tuple(point)))


@dataclass(frozen=True, slots=True)
class Sparse:
    """A vector of 2^width entries that is 0 but at a few places, given as (place, entry), places ascending."""

    width: int
    entries: tuple[tuple[int, Ext], ...]

    @property
    def bits(self) -> int:
        """log2 of the length."""
        return self.width

    def dense(self) -> list[Ext]:
        """All entries."""
        values = [ZERO] * (1 << self.width)
        for place, entry in self.entries:
            values[place] = entry
        return values

    def total(self) -> Ext:
        """Sum of all entries."""
        return field.total(entry for _, entry in self.entries)

    def first(self, count: int) -> Ext:
        """Sum of the first ``count`` entries."""
        return field.total(entry for place, entry in self.entries if place < count)

    def at(self, point: Sequence[Ext]) -> Ext:
        """The vector's multilinear extension at ``point``."""
        return field.total(field.product(entry, eq_index(place, point)) for place, entry in self.entries)


def sparse(width: int, entries: Iterable[tuple[int, Ext]]) -> Sparse:
    """The vector with these entries; those of one place are added up."""
    found: dict[int, Ext] = {}
    for place, entry in entries:
        found[place] = field.add(found.get(place, ZERO), entry)
    return Sparse(width, tuple(sorted(found.items())))


@dataclass(frozen=True, slots=True)
class Segment:
    """weight·eq(point, ·) on 2^len(point) places from ``start`` on, which is a multiple of their number."""

    start: int
    weight: Ext
    point: tuple[Ext, ...]

    @property
    def stop(self) -> int:
        """The first place behind it."""
        return self.start + (1 << len(self.point))


@dataclass(frozen=True, slots=True)
class Pieces:
    """A vector of 2^bits entries that is 0 outside its segments, which do not overlap. Every method has a closed form."""

    bits: int
    segments: tuple[Segment, ...]

    def ends(self) -> list[tuple[int, int]]:
        """Where the segments begin and stop."""
        return [(one.start, one.stop) for one in self.segments]

    def dense(self) -> list[Ext]:
        """All entries."""
        entries = [ZERO] * (1 << self.bits)
        for one in self.segments:
            entries[one.start : one.stop] = [field.product(one.weight, entry) for entry in eq_table(one.point)]
        return entries

    def total(self) -> Ext:
        """Sum of all entries."""
        return field.total(one.weight for one in self.segments)

    def first(self, count: int) -> Ext:
        """Sum of the first ``count`` entries."""
        inside = [one for one in self.segments if one.start < count]
        return field.total(
            one.weight if one.stop <= count else field.product(one.weight, Eq(one.point).first(count - one.start))
            for one in inside
        )

    def at(self, point: Sequence[Ext]) -> Ext:
        """The vector's multilinear extension at ``point``."""
        result = ZERO
        for one in self.segments:
            split = self.bits - len(one.point)
            value = field.product(eq_index(one.start >> len(one.point), point[:split]), eq_points(one.point, point[split:]))
            result = field.add(result, field.product(one.weight, value))
        return result

    def entry(self, place: int) -> Ext:
        """One entry."""
        for one in self.segments:
            if one.start <= place < one.stop:
                return field.product(one.weight, eq_index(place - one.start, one.point))
        return ZERO

    def cut(self, low: int) -> tuple[Pieces, Eq] | None:
        """This vector as an outer product, the second factor over the ``low`` last variables; None where it is none."""
        tails = {one.point[len(one.point) - low :] for one in self.segments if len(one.point) >= low}
        if len(tails) != 1 or any(len(one.point) < low for one in self.segments):
            return None
        heads = tuple(Segment(one.start >> low, one.weight, one.point[: len(one.point) - low]) for one in self.segments)
        return Pieces(self.bits - low, heads), Eq(tails.pop())

    def extended(self, low: Sequence[Ext]) -> Pieces:
        """The outer product with eq(low, ·), whose variables come below."""
        longer = (Segment(one.start << len(low), one.weight, (*one.point, *low)) for one in self.segments)
        return Pieces(self.bits + len(low), tuple(longer))

    def pairing(self, other: Axis) -> Ext:
        """Σ of the products of equal entries."""
        if isinstance(other, Eq):
            return self.at(other.point)
        if isinstance(other, Sparse):
            return field.total(field.product(entry, self.entry(place)) for place, entry in other.entries)
        result = ZERO
        if isinstance(other, Pieces) and other.ends() == self.ends():
            for mine, its in zip(self.segments, other.segments, strict=True):
                both = field.product(mine.weight, its.weight)
                result = field.add(result, field.product(both, eq_points(mine.point, its.point)))
            return result
        entries = other.dense()
        for one in self.segments:
            value = field.dot(entries[one.start : one.stop], _recent_table(one.point))
            result = field.add(result, field.product(one.weight, value))
        return result


Axis: TypeAlias = Eq | Dense | Pieces | Sparse
Functional: TypeAlias = tuple[Axis, ...]


def point_axes(point: Sequence[Ext], bits: Sequence[int]) -> Functional:
    """The evaluation at ``point``, split over axes of ``bits`` variables."""
    axes: list[Axis] = []
    start = 0
    for width in bits:
        axes.append(Eq(tuple(point[start : start + width])))
        start += width
    return tuple(axes)


def located(storage: Storage, addresses: Sequence[int], point: Sequence[Ext]) -> Pieces:
    """eq(point, address) of every place of the long axis, the variables of the others being left out: one segment per piece."""
    cut = len(point) - storage.log_rest
    segments = []
    for piece, address in zip(storage.pieces, addresses, strict=True):
        block = eq_index(address >> (storage.log_rest + piece.log), point[: cut - piece.log])
        segments.append(Segment(piece.start, block, tuple(point[cut - piece.log : cut])))
    return Pieces(0 if storage.axis == NO_AXIS else storage.bits[storage.axis], tuple(segments))


def located_weight(storage: Storage, axes: Functional, places: Pieces, point: Sequence[Ext]) -> Ext:
    """The extension at ``point`` of the cells' weights under ``axes``; ``places``: :func:`located` at the same point."""
    rest = point[len(point) - storage.log_rest :]
    if storage.axis == NO_AXIS:
        return field.product(places.total(), weight_at(axes, rest))
    others = (*axes[: storage.axis], *axes[storage.axis + 1 :])
    return field.product(places.pairing(axes[storage.axis]), weight_at(others, rest))


def stored_total(axes: Functional, shape: Sequence[int]) -> Ext:
    """The functional's value on the stored box: 1 on true and padding cells that are stored, 0 outside."""
    return true_total(axes, stored(tuple(shape)).box)


def true_total(axes: Functional, shape: Sequence[int]) -> Ext:
    """The functional's value on the mask."""
    result = ONE
    for axis, size in zip(axes, shape, strict=True):
        result = field.product(result, axis.first(size))
    return result


def padding_total(axes: Functional, shape: Sequence[int]) -> Ext:
    """The functional's value on stored padding."""
    return field.sub(stored_total(axes, shape), true_total(axes, shape))


def weight_at(axes: Functional, point: Sequence[Ext]) -> Ext:
    """The multilinear extension of the functional's weights at ``point``."""
    result, start = ONE, 0
    for axis in axes:
        result = field.product(result, axis.at(point[start : start + axis.bits]))
        start += axis.bits
    return result


_MERGED = 4096
"""Short trailing axes are merged up to about this length, so that one pass covers many cells."""


def evaluate(axes: Functional, shape: Sequence[int], cells: Sequence[int]) -> Ext:
    """The functional on true ``cells`` (row-major, signed integers below 2^63), padding being 0.

    Contracts one axis at a time, the last first: one multiplication of a small integer per cell. Of a first axis with few
    entries, only these are read.
    """
    first = axes[0]
    if isinstance(first, Sparse) and len(axes) > 1:
        row = prod(shape[1:])
        rows = [(entry, cells[place * row : (place + 1) * row]) for place, entry in first.entries if place < shape[0]]
        return field.total(field.product(entry, evaluate(axes[1:], shape[1:], chosen)) for entry, chosen in rows)
    factors = [axis.dense()[:size] for axis, size in zip(axes, shape, strict=True)]
    last = factors.pop()
    while factors and len(factors[-1]) * len(last) <= _MERGED:
        last = [field.product(x, y) for x in factors.pop() for y in last]
    packed = field.pack(last)
    values = [field.packed_dot(cells[start : start + len(last)], packed) for start in range(0, len(cells), len(last))]
    for factor in reversed(factors):
        size = len(factor)
        values = [field.dot(values[start : start + size], factor) for start in range(0, len(values), size)]
    return values[0]
