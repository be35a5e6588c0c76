"""Which cells of a padded tensor are stored, and in which order: the longest aligned *pieces* of one axis, nothing beyond them.

The padded cube of a tensor has 2^b places per axis. Of one axis, the one that wastes most, only the first places are stored:
the true ones, rounded up to a multiple of a 32nd of the padded axis. They are cut into pieces of a power of two each, largest
first (576 = 512 + 64), so that every piece starts at a multiple of its size. A piece is an aligned block of addresses. In it,
that axis is outermost; all others lie below, padded, in their order. So the variables of the others are the same in all pieces,
and a functional of the tensor stays one functional of its cells (:func:`.axes.located`).

Stored cells are the *stored box*. A column is 0 outside it: there is no cell there that could hold anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

NO_AXIS = -1

FINEST_LOG = 5
"""A piece is at least a 32nd of the padded axis, so there are at most five."""
LEAST_SAVED = 64
"""A tensor that would save fewer cells is stored whole: pieces cost some messages where lookups read it."""


@dataclass(frozen=True, slots=True)
class Piece:
    """2^log places of the long axis, from ``start`` on, which is a multiple of 2^log."""

    start: int
    log: int


_WHOLE = (Piece(0, 0),)


@dataclass(frozen=True, slots=True)
class Storage:
    """How one column is stored.

    Attributes:
        bits: variables of every axis. axis: the one in pieces, or NO_AXIS. pieces: its pieces, largest first; of a column that
            is stored whole, one of a single place.
    """

    bits: tuple[int, ...]
    axis: int = NO_AXIS
    pieces: tuple[Piece, ...] = _WHOLE

    @property
    def log_rest(self) -> int:
        """Variables below the pieces: of all axes but the long one."""
        return sum(self.bits) - (0 if self.axis == NO_AXIS else self.bits[self.axis])

    @property
    def log_padded(self) -> int:
        """log2 of the number of padded cells."""
        return sum(self.bits)

    @property
    def cells(self) -> int:
        """Number of stored cells."""
        return self.places << self.log_rest

    @property
    def places(self) -> int:
        """Stored places of the long axis."""
        return self.pieces[-1].start + (1 << self.pieces[-1].log)

    @property
    def box(self) -> tuple[int, ...]:
        """Sizes of the stored box."""
        return tuple(self.places if i == self.axis else 1 << bits for i, bits in enumerate(self.bits))


def whole(bits: Sequence[int]) -> Storage:
    """All padded cells, in row-major order."""
    return Storage(tuple(bits))


@lru_cache(maxsize=4096)
def stored(shape: tuple[int, ...]) -> Storage:
    """How a tensor or weight of this true shape is stored: of all axes, the one that saves most, the first of equals."""
    bits = tuple((size - 1).bit_length() for size in shape)
    best, saved = whole(bits), 0
    for axis, size in enumerate(shape):
        places = -(-size >> _finest(bits[axis])) << _finest(bits[axis])
        gain = ((1 << bits[axis]) - places) << (sum(bits) - bits[axis])
        if gain >= max(LEAST_SAVED, saved + 1):
            best, saved = Storage(bits, axis, pieces_of(places)), gain
    return best


def _finest(bits: int) -> int:
    return max(0, bits - FINEST_LOG)


def pieces_of(places: int) -> tuple[Piece, ...]:
    """The binary pieces of ``places`` places, largest first."""
    found: list[Piece] = []
    start = 0
    for log in range(places.bit_length() - 1, -1, -1):
        if places >> log & 1:
            found.append(Piece(start, log))
            start += 1 << log
    return tuple(found)
