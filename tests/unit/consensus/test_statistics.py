"""Intervals are exact, and inputs are what counts."""

from __future__ import annotations

import numpy as np
import pytest

from verifai.consensus.statistics import (
    bootstrap_by_input,
    clopper_pearson,
    clustered,
    lower_quantile,
    upper_quantile,
)


@pytest.mark.parametrize(("trials", "bound"), [(2995, 1e-3), (29956, 1e-4)])
def test_clean_samples_support_the_bounds_that_the_documentation_states(trials: int, bound: float) -> None:
    assert clopper_pearson(0, trials).high <= bound
    assert clopper_pearson(0, trials - 2).high > bound


def test_a_textbook_interval() -> None:
    found = clopper_pearson(1, 10)
    assert (found.low, found.high) == pytest.approx((0.0025, 0.4450), abs=1e-4)


@pytest.mark.parametrize(("events", "trials"), [(-1, 5), (6, 5), (0, 0)])
def test_impossible_counts_are_refused(events: int, trials: int) -> None:
    with pytest.raises(ValueError, match="of"):
        clopper_pearson(events, trials)


def test_repeated_runs_of_one_input_are_one_trial() -> None:
    assert clustered([7, 0, 0, 0]) == clopper_pearson(1, 4)


def test_the_bootstrap_resamples_whole_inputs() -> None:
    """Ten inputs, a hundred equal runs each: the interval must be that of ten values, not of a thousand."""
    values = np.repeat(np.arange(10.0)[:, None], 100, axis=1)
    low, high = bootstrap_by_input(values, lambda rows: float(rows.mean()), resamples=400)
    assert high - low > 2.0


def test_quantiles_of_few_values_are_their_extremes() -> None:
    values = np.array([3.0, 1.0, 2.0])
    assert upper_quantile(values, 0.999) == 3.0
    assert lower_quantile(values, 0.001) == 1.0
