"""float32 numbers as integers in the same order: a number's bits as sign and magnitude, with one integer for both zeros.

x ≤ y just when ordered(x) ≤ ordered(y), for all finite x and y. IEEE 754-2019, §3.4: the bits below the sign, read as an
integer, grow with the magnitude.
"""

from __future__ import annotations

import struct
from math import isfinite

LARGEST = 0x7F7F_FFFF
"""Of the largest finite float32. Its negative is that of the least one."""


LIMB_BITS = 16
LIMBS = 2
"""A hidden number is held as two integers (high, low) in [−2^15, 2^15): high · 2^16 + low is its place in the order.

Every pair is one place and every place of a finite number one pair; of the pairs beyond ±``LARGEST``, comparisons make the same
as of the largest number, or the least.
"""


def ordered(value: float) -> int:
    """The integer of the float32 nearest to ``value``. Raises ValueError where that is infinite or not a number."""
    if not isfinite(value):
        raise ValueError("not a finite number")
    try:
        (bits,) = struct.unpack("<I", struct.pack("<f", value))
    except OverflowError:
        raise ValueError("too large for float32") from None
    magnitude: int = bits & 0x7FFF_FFFF
    return -magnitude if bits >> 31 else magnitude


def real(cell: int) -> float:
    """The float32 whose integer this is. Raises ValueError beyond ±``LARGEST``."""
    if abs(cell) > LARGEST:
        raise ValueError(f"{cell} stands for no finite float32")
    (value,) = struct.unpack("<f", struct.pack("<I", abs(cell)))
    return -float(value) if cell < 0 else float(value)
