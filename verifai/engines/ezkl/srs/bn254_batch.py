"""Many points of BN254's G1 at once: what cutting an SRS needs, in plain Python and fast enough.

Affine coordinates, so that one inversion in the field serves a whole list of additions (Montgomery's trick). Multiplication
splits a scalar in two halves over the curve's endomorphism (β·x, y) = λ·(x, y) (Gallant, Lambert and Vanstone, Crypto 2001)
and takes signed digits, a few bits each (width-w NAF). Not constant-time: everything here is public.

No list may hold the point at infinity, and none may arise: for the powers of a τ that somebody drew at random it does so with
a chance below 2^−200. Where it does, the set-up is not one, and :class:`Degenerate` says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from verifai.engines.ezkl.srs.bn254 import G1, ORDER, PRIME, g1_add, g1_multiply

BETA = 0x59E26BCEA0D48BACD4F263F1ACDB5C4F5763473177FFFFFE
"""A cube root of unity in the base field."""
LAMBDA = 0xB3C4D79D41A917585BFC41088D8DAAA78B17EA66B99C90DD
"""The cube root of unity in the scalar field with λ·(x, y) = (β·x, y)."""
WIDTH = 4
_SLOTS = 2 ** (WIDTH - 2)
_BATCH = 1024
"""Points that are multiplied together: large enough to share an inversion, small enough for their digits to stay small."""

Digit = tuple[int, int, bool]
"""Bit position; slot in the table of odd multiples, those of the endomorphism's image after the others; whether negative."""
Digits = tuple[Digit, ...]


class Degenerate(ArithmeticError):
    """Two points that must differ do not."""


def double_all(points: Sequence[G1]) -> list[G1]:
    """2·P of each."""
    running, products = 1, []
    for _, y in points:
        products.append(running)
        running = running * (y + y) % PRIME
    inverse = _inverse(running)
    result: list[G1] = []
    for (x, y), product in zip(reversed(points), reversed(products), strict=True):
        slope = 3 * x * x * (inverse * product % PRIME) % PRIME
        inverse = inverse * (y + y) % PRIME
        u = (slope * slope - x - x) % PRIME
        result.append((u, (slope * (x - u) - y) % PRIME))
    result.reverse()
    return result


def add_all(left: Sequence[G1], right: Sequence[G1]) -> list[G1]:
    """P + Q of each pair.

    Raises:
        Degenerate: when P = ±Q in one of them.
    """
    running, products = 1, []
    for (a, _), (b, _) in zip(left, right, strict=True):
        products.append(running)
        running = running * (b - a) % PRIME
    inverse = _inverse(running)
    result: list[G1] = []
    for (a, c), (b, d), product in zip(reversed(left), reversed(right), reversed(products), strict=True):
        slope = (d - c) * (inverse * product % PRIME) % PRIME
        inverse = inverse * (b - a) % PRIME
        u = (slope * slope - a - b) % PRIME
        result.append((u, (slope * (a - u) - c) % PRIME))
    result.reverse()
    return result


def negate_all(points: Sequence[G1]) -> list[G1]:
    """−P of each."""
    return [(x, PRIME - y) for x, y in points]


def multiply_all(points: Sequence[G1], scalars: Sequence[Digits]) -> list[G1]:
    """s·P of each pair; the scalars from :func:`recode`.

    Raises:
        Degenerate: when a sum on the way is of two points that do not differ.
    """
    result: list[G1] = []
    for start in range(0, len(points), _BATCH):
        result += _multiply_batch(points[start : start + _BATCH], scalars[start : start + _BATCH])
    return result


def recode(scalar: int) -> Digits:
    """The digits of a scalar that is not 0 modulo the group's order."""
    if scalar % ORDER == 0:
        raise ValueError("a multiple of the order")
    return tuple(
        (position, half * _SLOTS + abs(digit) // 2, digit < 0)
        for half, value in enumerate(split(scalar % ORDER))
        for position, digit in _signed_digits(value)
    )


def split(scalar: int) -> tuple[int, int]:
    """(a, b), each of about half the bits, with a + b·λ = scalar modulo the order."""
    (a1, b1), (a2, b2) = _BASIS
    # The nearest lattice point, by rounding (Babai).
    c1 = _rounded(b2 * scalar, ORDER)
    c2 = _rounded(-b1 * scalar, ORDER)
    return scalar - c1 * a1 - c2 * a2, -c1 * b1 - c2 * b2


def sum_of_products(points: Sequence[G1], scalars: Sequence[int]) -> G1 | None:
    """Σ s·P by buckets (Pippenger); the scalars in [0, order). ``None``: the point at infinity.

    Raises:
        Degenerate: as :func:`add_all`; in particular when a point comes twice.
    """
    width = max(2, len(points).bit_length() - 6)
    total: G1 | None = None
    for window in reversed(range(-(-ORDER.bit_length() // width))):
        buckets: list[list[G1]] = [[] for _ in range(2**width)]
        for point, scalar in zip(points, scalars, strict=True):
            buckets[scalar >> (window * width) & (2**width - 1)].append(point)
        shifted = None if total is None else g1_multiply(total, 2**width)
        total = g1_add(shifted, _weighted(_summed(buckets[1:])))
    return total


def _summed(buckets: list[list[G1]]) -> list[G1 | None]:
    """The sum of each bucket; all buckets are halved together until each holds one point."""
    while any(len(bucket) > 1 for bucket in buckets):
        pairs = [(bucket[at], bucket[at + 1]) for bucket in buckets for at in range(0, len(bucket) - 1, 2)]
        sums = iter(add_all([left for left, _ in pairs], [right for _, right in pairs]))
        buckets = [[*islice(sums, len(bucket) // 2), *bucket[len(bucket) & ~1 :]] for bucket in buckets]
    return [bucket[0] if bucket else None for bucket in buckets]


def _weighted(sums: Sequence[G1 | None]) -> G1 | None:
    """1·S₁ + 2·S₂ + …, as the sum of the sums from each index on."""
    tail: G1 | None = None
    total: G1 | None = None
    for one in reversed(sums):
        tail = g1_add(tail, one)
        total = g1_add(total, tail)
    return total


def _multiply_batch(points: Sequence[G1], scalars: Sequence[Digits]) -> list[G1]:
    table = _odd_multiples(points)
    # By bit position, and apart for the two halves: both may have a digit for the same point there.
    digits: dict[tuple[int, bool], list[tuple[int, int, bool]]] = {}
    for index, scalar in enumerate(scalars):
        for position, slot, negative in scalar:
            digits.setdefault((position, slot < _SLOTS), []).append((index, slot, negative))
    sums: list[G1 | None] = [None] * len(points)
    for position in range(max(place for place, _ in digits), -1, -1):
        started = [index for index, one in enumerate(sums) if one is not None]
        for index, doubled in zip(started, double_all([one for one in sums if one is not None]), strict=True):
            sums[index] = doubled
        for half in (True, False):
            _add_digits(sums, digits.get((position, half), ()), table)
    if any(one is None for one in sums):
        raise Degenerate("a scalar without digits")
    return [one for one in sums if one is not None]


def _add_digits(sums: list[G1 | None], digits: Iterable[tuple[int, int, bool]], table: Sequence[Sequence[G1]]) -> None:
    indices, left, right = [], [], []
    for index, slot, negative in digits:
        x, y = table[slot][index]
        term = (x, PRIME - y) if negative else (x, y)
        one = sums[index]
        if one is None:
            sums[index] = term
        else:
            indices.append(index)
            left.append(one)
            right.append(term)
    for index, total in zip(indices, add_all(left, right), strict=True):
        sums[index] = total


def _odd_multiples(points: Sequence[G1]) -> list[list[G1]]:
    """P, 3P, 5P, … of all points, then the same of their images under the endomorphism."""
    twice = double_all(points)
    own = [list(points)]
    for _ in range(_SLOTS - 1):
        own.append(add_all(own[-1], twice))
    return [*own, *([(BETA * x % PRIME, y) for x, y in row] for row in own)]


def _signed_digits(value: int) -> Iterator[tuple[int, int]]:
    """Width-w NAF, lowest position first: odd digits below 2^(w−1) in magnitude."""
    sign = -1 if value < 0 else 1
    value, position = abs(value), 0
    while value:
        zeros = (value & -value).bit_length() - 1
        value >>= zeros
        position += zeros
        digit = value & (2**WIDTH - 1)
        if digit >= 2 ** (WIDTH - 1):
            digit -= 2**WIDTH
        yield position, sign * digit
        value -= digit


def _short_basis() -> tuple[tuple[int, int], tuple[int, int]]:
    """Two short vectors (a, b) with a + b·λ = 0 modulo the order, by the extended Euclidean algorithm."""
    rows = [(ORDER, 0), (LAMBDA, 1)]
    while rows[-1][0] ** 2 > ORDER:
        quotient = rows[-2][0] // rows[-1][0]
        rows.append((rows[-2][0] - quotient * rows[-1][0], rows[-2][1] - quotient * rows[-1][1]))
    quotient = rows[-2][0] // rows[-1][0]
    after = (rows[-2][0] - quotient * rows[-1][0], rows[-2][1] - quotient * rows[-1][1])
    second = min(rows[-2], after, key=lambda row: row[0] ** 2 + row[1] ** 2)
    vectors = [(remainder, -factor) for remainder, factor in (rows[-1], second)]
    return vectors[0], vectors[1]


def _rounded(numerator: int, denominator: int) -> int:
    return (2 * numerator + denominator) // (2 * denominator)


def _inverse(value: int) -> int:
    try:
        return pow(value, -1, PRIME)
    except ValueError:
        raise Degenerate("two points that must differ are equal or opposite") from None


_BASIS = _short_basis()
