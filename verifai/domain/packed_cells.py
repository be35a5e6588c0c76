"""Integers of one range as bytes: little-endian, all in the least width that holds it; unsigned if none is negative."""

from __future__ import annotations

import struct
from collections.abc import Sequence

_UNSIGNED, _SIGNED = {1: "B", 2: "H", 4: "I", 8: "Q"}, {1: "b", 2: "h", 4: "i", 8: "q"}
KINDS = {
    f"{'u' if codes is _UNSIGNED else 'i'}{8 * width}": code for codes in (_UNSIGNED, _SIGNED) for width, code in codes.items()
}
"""``u8``, ``i16`` and so on, with their codes in :mod:`struct`."""


def kind_of(low: int, high: int) -> str:
    """How integers of [low, high] are written. Raises ValueError when 64 bits do not hold them."""
    for width in _SIGNED:
        if low >= 0 and high < 1 << 8 * width:
            return f"u{8 * width}"
        if -(1 << 8 * width - 1) <= low and high < 1 << 8 * width - 1:
            return f"i{8 * width}"
    raise ValueError(f"[{low}, {high}] does not fit in 64 bits")


def width_of(kind: str) -> int:
    """Bytes of one."""
    return int(kind[1:]) // 8


def pack(kind: str, cells: Sequence[int]) -> bytes:
    """The bytes."""
    return struct.pack(f"<{len(cells)}{KINDS[kind]}", *cells)


def unpack(kind: str, data: bytes, at: int = 0, count: int | None = None) -> tuple[int, ...]:
    """The integers: ``count`` from byte ``at``, or all. Raises struct.error when the bytes are no such number of them."""
    number = (len(data) - at) // width_of(kind) if count is None else count
    return struct.unpack_from(f"<{number}{KINDS[kind]}", data, at)
