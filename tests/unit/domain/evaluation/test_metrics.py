"""Metrics are exact counts; intervals are Clopper and Pearson's, never narrower."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest

from verifai.domain.digest import Sha256
from verifai.domain.evaluation.data_lock import DataKind, DataLock, DataTask, InputColumn
from verifai.domain.evaluation.interval import WIDENING, clopper_pearson, incomplete_beta
from verifai.domain.evaluation.metrics import Metrics, count_classes, root, sum_errors
from verifai.domain.evaluation.words import document, largest_gap, lines, percent, sentence


@pytest.mark.parametrize(
    "right,samples", [(0, 1), (1, 1), (0, 30), (30, 30), (1, 2), (96, 100), (349, 360), (1, 10**5), (99_999, 10**5)]
)
@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.9999])
def test_intervals_are_those_of_scipy_and_a_little_wider(right: int, samples: int, confidence: float) -> None:
    from scipy.stats import beta

    tail = (1 - confidence) / 2
    found = clopper_pearson(right, samples, confidence)
    low = 0.0 if right == 0 else float(beta.ppf(tail, right, samples - right + 1))
    high = 1.0 if right == samples else float(beta.ppf(1 - tail, right + 1, samples - right))
    assert found.low <= low + 1e-12
    assert high - 1e-12 <= found.high
    assert math.isclose(found.low, max(0.0, low), abs_tol=3 * WIDENING)
    assert math.isclose(found.high, min(1.0, high), abs_tol=3 * WIDENING)


def test_the_rule_of_three_and_one_hundred_of_one_hundred() -> None:
    assert math.isclose(clopper_pearson(100, 100).low, 0.025 ** (1 / 100), abs_tol=1e-8)
    assert clopper_pearson(0, 10).low == 0.0
    assert incomplete_beta(0.5, 7, 7) == pytest.approx(0.5)


@pytest.mark.parametrize("right,samples,confidence", [(-1, 2, 0.95), (3, 2, 0.95), (0, 0, 0.95), (1, 2, 1.0), (1, 2, 0.0)])
def test_what_is_no_rate_has_no_interval(right: int, samples: int, confidence: float) -> None:
    with pytest.raises(ValueError, match="confidence"):
        clopper_pearson(right, samples, confidence)


def test_counts_by_class_and_answers_that_the_data_set_lacks() -> None:
    found = count_classes(2, [0, 0, 1, 1, 1], [0, 1, 1, 2, 1], ranks=[0, 1, 0, 3, 0], width=4)
    assert found.accuracy.value == Fraction(3, 5)
    assert (found.recall(1).right, found.recall(1).samples) == (2, 3)
    assert (found.precision(1).right, found.precision(1).samples) == (2, 3)
    assert found.to_json()["confusion"] == [[0, 0, 1], [0, 1, 1], [1, 1, 2], [1, 2, 1]]
    assert dict(found.top_k) == {2: 4, 3: 4}  # k = 5 needs more than four scores
    assert count_classes(3, [0], [0]).recall(2).value is None


def test_errors_are_exact_and_agree_with_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="needs the [sklearn] extra")
    labels = [1.5, -2.0, 3.25, 1e6, 0.1]
    proven = [1.0, -2.5, 3.25, 1e6 - 8, 0.3]
    found = sum_errors([Fraction(one) for one in labels], [Fraction(one) for one in proven])
    assert float(found.mean_absolute_error) == pytest.approx(metrics.mean_absolute_error(labels, proven))
    assert root(found.mean_squared_error) == pytest.approx(metrics.mean_squared_error(labels, proven) ** 0.5)
    assert found.r2 is not None
    assert float(found.r2) == pytest.approx(metrics.r2_score(labels, proven))
    assert sum_errors([Fraction(1)] * 3, [Fraction(1)] * 3).r2 is None
    assert sum_errors([Fraction(1)] * 2, [Fraction(2)] * 2).to_json()["r2"] == "undefined"


@pytest.mark.parametrize("value", [Fraction(2), Fraction(1, 10**600), Fraction(10**600), Fraction(0), Fraction(1, 3)])
def test_roots_keep_their_digits_at_any_size(value: Fraction) -> None:
    found = Fraction(root(value))
    assert abs(found * found - value) <= value * Fraction(1, 10**14)


def lock(groups: tuple[str, ...] = (), task: DataTask = DataTask.CLASSIFICATION) -> DataLock:
    digest = Sha256("a" * 64)
    classes = ("no", "yes") if task is DataTask.CLASSIFICATION else ()
    grouped = {"group": "age", "groups": groups, "groups_sha256": digest} if groups else {}
    inputs = (InputColumn("x", "float32", (4,)),)
    return DataLock("set", digest, digest, digest, 4, task, DataKind.ARRAYS, inputs, "label", classes, **grouped)  # type: ignore[arg-type]


def test_the_words_say_counts_intervals_groups_and_what_they_assume() -> None:
    metrics = Metrics(
        count_classes(2, [0, 0, 1, 1], [0, 0, 1, 0]),
        {"old": count_classes(2, [0, 1], [0, 0]), "young": count_classes(2, [0, 1], [0, 1])},
    )
    data = lock(("old", "young"))
    text = "\n".join(lines(data, metrics))
    assert "3 of 4 proven answers are right, 75.0 %" in sentence(data, metrics)
    assert "drawn independently" in sentence(data, metrics)
    assert "class yes: recall 50.0 %" in text
    assert "group old: accuracy 50.0 %" in text
    assert largest_gap(metrics) == Fraction(1, 2)
    assert "50.00 points of accuracy" in text
    told = document(data, metrics)
    assert told["whole"]["accuracy"]["rate"] == 0.75
    assert told["whole"]["classes"]["yes"]["recall"]["samples"] == 2


def test_percentages_are_rounded_down_so_that_no_floor_looks_met_that_is_not() -> None:
    assert percent(Fraction(9996, 10_000)) == "99.9 %"
    assert percent(Fraction(1)) == "100.0 %"
    assert percent(None) == "no sample"
