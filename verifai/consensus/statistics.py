"""Rates with honest intervals: inputs are the trials, however many runs each had."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Rate:
    """``events`` of ``trials`` independent inputs, with a two-sided Clopper–Pearson interval."""

    events: int
    trials: int
    low: float
    high: float


def clopper_pearson(events: int, trials: int, confidence: float = 0.95) -> Rate:
    """The exact binomial interval (Clopper and Pearson 1934); with 0 events the upper end is one-sided, so 1 − α^(1/n).

    With no event in 2,995 trials the upper end is 1e-3, in 29,956 it is 1e-4.

    Raises:
        ValueError: unless 0 ≤ events ≤ trials and trials > 0.
    """
    from scipy.stats import beta

    if trials < 1 or not 0 <= events <= trials:
        raise ValueError(f"{events} of {trials}")
    alpha = 1.0 - confidence
    tail = alpha / 2 if 0 < events < trials else alpha
    low = 0.0 if events == 0 else float(beta.ppf(tail, events, trials - events + 1))
    high = 1.0 if events == trials else float(beta.ppf(1.0 - tail, events + 1, trials - events))
    return Rate(events, trials, low, high)


def clustered(events_by_input: Sequence[int], confidence: float = 0.95) -> Rate:
    """A rate over inputs: an input with any event counts once, so repeated runs of one input add no false certainty."""
    return clopper_pearson(sum(1 for events in events_by_input if events), len(events_by_input), confidence)


def bootstrap_by_input(
    values: NDArray[Any],
    statistic: Callable[[NDArray[np.float64]], float],
    *,
    confidence: float = 0.95,
    resamples: int = _RESAMPLES,
) -> tuple[float, float]:
    """Percentile bootstrap of a statistic, resampling whole inputs.

    Args:
        values: ``(inputs, runs)``; the rows are drawn with replacement.
    """
    generator = np.random.default_rng(0)
    rows = np.asarray(values, dtype=np.float64)
    found = np.array([statistic(rows[generator.integers(0, len(rows), len(rows))]) for _ in range(resamples)])
    tail = (1.0 - confidence) / 2
    return float(np.quantile(found, tail)), float(np.quantile(found, 1.0 - tail))


def upper_quantile(values: NDArray[Any], probability: float) -> float:
    """The smallest observed value that at least ``probability`` of them do not exceed: with few values, the maximum."""
    return float(np.quantile(np.asarray(values, dtype=np.float64).reshape(-1), probability, method="higher"))


def lower_quantile(values: NDArray[Any], probability: float) -> float:
    """The largest observed value with at most ``probability`` of them below it: with few values, the minimum."""
    return float(np.quantile(np.asarray(values, dtype=np.float64).reshape(-1), probability, method="lower"))
