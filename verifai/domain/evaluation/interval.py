"""Confidence intervals of rates: Clopper and Pearson's, which hold whatever the true rate is.

Source: C. J. Clopper, E. S. Pearson, "The use of confidence or fiducial limits illustrated in the case of the binomial",
Biometrika 26 (1934). The incomplete beta function by its continued fraction (DLMF 8.17.22), evaluated by Lentz's method.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, exp, floor, lgamma, log, log1p

CONFIDENCE = 0.95
WIDENING = 1e-9
"""Added at both ends, far above the error of the arithmetic: an interval is never too narrow because of it."""
_STEPS = 100_000
_SMALL = 1e-300


@dataclass(frozen=True, slots=True)
class Interval:
    """Where the true rate lies with the stated confidence, for samples drawn independently from what is asked about."""

    low: float
    high: float

    def words(self) -> str:
        """Such as ``96.1 % to 98.3 %``: rounded outward, so that it claims no more than it has."""
        return f"{floor(self.low * 1000) / 10:.1f} % to {ceil(self.high * 1000) / 10:.1f} %"


def clopper_pearson(right: int, samples: int, confidence: float = CONFIDENCE) -> Interval:
    """The interval of a rate of which ``right`` of ``samples`` were seen. Raises ValueError for what is no rate.

    Args:
        confidence: in (0, 1); both tails have half of what is missing to 1.
    """
    if not 0 <= right <= samples or samples < 1 or not 0.0 < confidence < 1.0:
        raise ValueError(f"{right} of {samples} at confidence {confidence}")
    tail = (1.0 - confidence) / 2.0
    low = 0.0 if right == 0 else beta_quantile(tail, right, samples - right + 1) - WIDENING
    high = 1.0 if right == samples else beta_quantile(1.0 - tail, right + 1, samples - right) + WIDENING
    return Interval(max(0.0, low), min(1.0, high))


def beta_quantile(probability: float, a: float, b: float) -> float:
    """x with I_x(a, b) = ``probability``, by bisection: the function rises, and 200 halvings are beyond any double."""
    low, high = 0.0, 1.0
    for _ in range(200):
        middle = (low + high) / 2.0
        if middle in (low, high):
            break
        if incomplete_beta(middle, a, b) < probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2.0


def incomplete_beta(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function I_x(a, b), for a, b ≥ 1 and x in [0, 1]."""
    if x <= 0.0:
        return 0.0
    if x >= 1.0:
        return 1.0
    front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x))
    # The fraction converges fast on one side of the mean; on the other, I_x(a, b) = 1 - I_(1-x)(b, a).
    if x < (a + 1.0) / (a + b + 2.0):
        return front * _fraction(x, a, b) / a
    return 1.0 - front * _fraction(1.0 - x, b, a) / b


def _fraction(x: float, a: float, b: float) -> float:
    c, d = 1.0, 1.0 - (a + b) * x / (a + 1.0)
    d = 1.0 / (d if abs(d) > _SMALL else _SMALL)
    value = d
    for step in range(1, _STEPS):
        even = step * (b - step) * x / ((a + 2 * step - 1.0) * (a + 2 * step))
        odd = -(a + step) * (a + b + step) * x / ((a + 2 * step) * (a + 2 * step + 1.0))
        change = 1.0
        for term in (even, odd):
            d = 1.0 + term * d
            d = 1.0 / (d if abs(d) > _SMALL else _SMALL)
            c = 1.0 + term / c
            c = c if abs(c) > _SMALL else _SMALL
            change = c * d
            value *= change
        if abs(change - 1.0) < 1e-15:
            return value
    return value
