"""The Lagrange basis of an SRS: making it from the powers of τ, and checking that it is theirs.

With n = 2^k, ω of order n and ℓ_i the polynomial of degree below n that is 1 at ω^i and 0 at the other powers of ω, the basis
is the points ℓ_i(τ)·g: the inverse Fourier transform of g, τ·g, …, τ^(n−1)·g. It is a function of these points, so there is
one right answer for every file, in every byte. ω is halo2's: a power of 7, the multiplicative generator that its field uses.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from verifai.engines.ezkl.srs.bn254 import G1, ORDER
from verifai.engines.ezkl.srs.bn254_batch import Degenerate, Digits, add_all, multiply_all, negate_all, recode, sum_of_products

TWO_ADICITY = 28
_GENERATOR = 7


def root_of_unity(logrows: int) -> int:
    """ω: of order 2^logrows in the scalar field, logrows at most 28."""
    return pow(_GENERATOR, (ORDER - 1) >> logrows, ORDER)


def lagrange_basis(powers: Sequence[G1]) -> list[G1]:
    """ℓ_i(τ)·g for i = 0, …, n − 1.

    Args:
        powers: τ^i·g for i = 0, …, n − 1; n is 2^k with k from 1 to 28.

    Raises:
        Degenerate: these are not the powers of a τ that could serve.
    """
    logrows = len(powers).bit_length() - 1
    points = [powers[_reversed_bits(index, logrows)] for index in range(len(powers))]
    inverse_root = pow(root_of_unity(logrows), -1, ORDER)
    share = pow(len(powers), -1, ORDER)
    for layer in range(logrows):
        # 1/n goes into the last layer, which then has one multiplication more per pair instead of two.
        factor = share if layer == logrows - 1 else 1
        points = _butterflies(points, 1 << layer, pow(inverse_root, len(powers) >> (layer + 1), ORDER), factor)
    return points


def belongs_together(powers: Sequence[G1], basis: Sequence[G1], challenge: int | None = None) -> bool:
    """Whether ``basis`` is the Lagrange basis of ``powers``.

    Both must give the same for one polynomial, (X^n − z^n)/(X − z): its coefficients are z^(n−1−j), its value at ω^i is
    (1 − z^n)/(ω^i − z). If any point of the basis is wrong, that holds for fewer than n values of z, so for a random one with a
    chance below n/2^253.

    Args:
        challenge: z; drawn when not given, as whoever made the points must not know it.
    """
    n = len(powers)
    if len(basis) != n or n & (n - 1) or n < 2:
        return False
    z = 2 + secrets.randbelow(ORDER - 2) if challenge is None else challenge
    root = root_of_unity(n.bit_length() - 1)
    height = (1 - pow(z, n, ORDER)) % ORDER
    coefficients, values = [1], []
    at = 1
    for _ in range(n):
        values.append((at - z) % ORDER)
        at = at * root % ORDER
    for _ in range(n - 1):
        coefficients.append(coefficients[-1] * z % ORDER)
    coefficients.reverse()
    values = [height * inverse % ORDER for inverse in _inverses(values)]
    try:
        return sum_of_products(powers, coefficients) == sum_of_products(basis, values)
    except Degenerate:
        return False  # points that come twice


def _butterflies(points: list[G1], half: int, root: int, factor: int) -> list[G1]:
    """One layer: (a, b) → (f·a + f·w·b, f·a − f·w·b), with b ``half`` places behind a."""
    lower = [start + place for start in range(0, len(points), 2 * half) for place in range(half)]
    twiddles, scalar = [], factor
    for _ in range(half):
        twiddles.append(scalar)
        scalar = scalar * root % ORDER
    digits = [recode(one) for one in twiddles]
    left = [points[at] for at in lower]
    if factor != 1:
        left = multiply_all(left, [digits[0]] * len(left))
    right = _twiddled([points[at + half] for at in lower], digits, factor)
    sums, differences = add_all(left, right), add_all(left, negate_all(right))
    result = list(points)
    for at, one, other in zip(lower, sums, differences, strict=True):
        result[at], result[at + half] = one, other
    return result


def _twiddled(points: list[G1], digits: list[Digits], factor: int) -> list[G1]:
    """Each point times its twiddle; the first twiddle of each block costs nothing while it is 1."""
    places = [place for place in range(len(points)) if factor != 1 or place % len(digits)]
    result = list(points)
    products = multiply_all([points[place] for place in places], [digits[place % len(digits)] for place in places])
    for place, product in zip(places, products, strict=True):
        result[place] = product
    return result


def _inverses(values: Sequence[int]) -> list[int]:
    """Of each, with one inversion for all. Raises Degenerate when one is 0."""
    running, products = 1, []
    for value in values:
        products.append(running)
        running = running * value % ORDER
    if running == 0:
        raise Degenerate("the challenge is a root of unity")
    inverse = pow(running, -1, ORDER)
    result = []
    for value, product in zip(reversed(values), reversed(products), strict=True):
        result.append(inverse * product % ORDER)
        inverse = inverse * value % ORDER
    result.reverse()
    return result


def _reversed_bits(index: int, bits: int) -> int:
    return int(f"{index:0{bits}b}"[::-1], 2)
