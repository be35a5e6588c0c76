"""Error bounds, round by round, from theorems alone: exact integers, no floating point, no conjecture, no grinding.

A bound is a fraction (numerator, denominator); its strength is given in thousandths of a bit, rounded down. The numerators
below are derived in docs/engine/protocol.md, section "Soundness". They are in the bytes of every circuit: none of them may
change within a suite, not even where it is larger than needed.
"""

from __future__ import annotations

from functools import lru_cache

from verifai.engines.sumcheck.protocol.field import P
from verifai.engines.sumcheck.protocol.suite import SECURITY_BITS

FIELD_SIZE = P * P - P
"""Challenges come from F without F_p."""

POLES = 2
"""On top of the W columns of a row, per leaf: one for the degree in α, one for leaves whose denominator is 0."""
FRACTION_DEGREE = 1
"""The same without leaves whose denominator is 0, which the root's tells: where the other count is too weak."""
LAYER_DEGREE = 4
"""The challenges ``lookups.mix`` and ``lookups.child`` of a layer; each takes 1."""
LAYER_ROUND_DEGREE = 2
"""Per variable, of the fraction sum of a layer: products of two extensions."""
POINT_VARIABLES = 32
"""Coordinates of a random point. A tensor or weight has 2^28 padded cells at most (``circuit.check.MAX_LOG_CELLS``)."""
ROUND_DEGREE = 5
"""Per variable, of an operation's sum: four taps of a window times eq. Products of two values take 3, those with weights 2."""
FINAL_ROUND_DEGREE = 2
"""Per variable, of the opening's sum: committed cells times the claims' functionals."""
PRODUCTS_ROUND_DEGREE = 3
"""Per variable, of the check of all products of pads: two pads times eq."""
MASK_DEGREE = 2
"""The challenges λ and κ of a hiding opening; each takes 1."""

_FRACTION_BITS = 64
_STEPS = 12


def millibits(numerator: int, denominator: int) -> int:
    """A lower bound of 1000·log2(denominator / numerator), for 0 < numerator ≤ denominator, by repeated squaring."""
    ratio = (denominator << _FRACTION_BITS) // numerator
    whole = ratio.bit_length() - 1 - _FRACTION_BITS
    mantissa = ratio >> whole if whole >= 0 else ratio << -whole
    fraction = 0
    for _ in range(_STEPS):
        mantissa = (mantissa * mantissa) >> _FRACTION_BITS
        fraction <<= 1
        if mantissa >> (_FRACTION_BITS + 1):
            fraction |= 1
            mantissa >>= 1
    return (whole * 1000) + fraction * 1000 // (1 << _STEPS)


def fractions_numerator(leaves: int, log_leaves: int, width: int) -> int:
    """Of the step that draws α and β: 2^log_leaves·(W + POLES), or (W + FRACTION_DEGREE) for each of the ``leaves`` that
    blocks have, where the first is below SECURITY_BITS. Filler has denominator 1, so it adds nothing to the degree."""
    rounded = (width + POLES) << log_leaves
    return rounded if rounded << SECURITY_BITS <= FIELD_SIZE else (width + FRACTION_DEGREE) * leaves


def most_leaves(width: int) -> int:
    """How many leaves one sum of fractions may have."""
    return (FIELD_SIZE >> SECURITY_BITS) // (width + FRACTION_DEGREE)


def agreement(degree: int, length: int) -> int:
    """The most positions at which a false combination can look right, with unique decoding.

    Radius e = ⌊(n − K)/2⌋. A word further than e from the code misses every codeword at e + 1 positions or more; a word within
    e of one codeword agrees with another at most at K − 1 + e positions.
    """
    radius = (length - degree) // 2
    return max(length - radius - 1, degree - 1 + radius)


def query_error(degree: int, length: int, queries: int) -> tuple[int, int]:
    """Probability that ``queries`` distinct positions all look right: the exact hypergeometric term."""
    good = agreement(degree, length)
    numerator = denominator = 1
    for i in range(queries):
        numerator *= max(0, good - i)
        denominator *= length - i
    return max(numerator, 1), denominator


@lru_cache(maxsize=1024)
def queries_needed(degree: int, length: int) -> int:
    """The least number of distinct positions for SECURITY_BITS. Raises ValueError when the code is too short for it."""
    good = agreement(degree, length)
    numerator = denominator = 1
    for i in range(length):
        numerator *= max(0, good - i)
        denominator *= length - i
        if numerator << SECURITY_BITS <= denominator:
            return i + 1
    raise ValueError(f"a code of length {length} and degree {degree} cannot reach {SECURITY_BITS} bits")
