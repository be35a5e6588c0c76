"""The scalar field of BN254 as ezkl writes it: 32 bytes, little-endian, lower-case hex; and its fixed-point encoding of floats.

Standard library only.
"""

from __future__ import annotations

import re
from fractions import Fraction

MODULUS = 0x30644E72E131A029B85045B68181585D2833E84879B9709143E1F593F0000001
"""Order r of BN254's groups (EIP-196); instances are elements of the integers modulo r."""
_FORM = re.compile(r"[0-9a-f]{64}\Z")
MAX_MAGNITUDE = 2**127 - 1
"""ezkl computes with signed 128-bit integers; anything larger cannot be the image of a tensor's value."""


def decode(text: object) -> int:
    """The element in ``[0, r)``.

    Raises:
        ValueError: when ``text`` is not its one canonical form.
    """
    if not isinstance(text, str) or not _FORM.match(text):
        raise ValueError("a field element is 64 lower-case hex digits")
    value = int.from_bytes(bytes.fromhex(text), "little")
    if value >= MODULUS:
        raise ValueError("a field element is below the modulus")
    return value


def encode(value: int) -> str:
    """The canonical form of ``value`` modulo r."""
    return (value % MODULUS).to_bytes(32, "little").hex()


def decode_signed(text: object) -> int:
    """The integer of least magnitude that the element stands for.

    Raises:
        ValueError: when the form is not canonical, or the magnitude cannot come from a 128-bit integer.
    """
    value = decode(text)
    signed = value if value <= MODULUS // 2 else value - MODULUS
    if abs(signed) > MAX_MAGNITUDE:
        raise ValueError("the value is outside the 128-bit integers that a tensor can hold")
    return signed


def scale_fraction(log2_multiplier: int) -> Fraction:
    """Real value of one unit at this ezkl scale: 2^−scale."""
    return Fraction(1, 2**log2_multiplier) if log2_multiplier >= 0 else Fraction(2**-log2_multiplier)
