"""What a policy asks of an evaluation: floors on the rate or on the lower end, exact at the edge; nonsense is refused."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest

from tests.unit.domain.evaluation.test_metrics import lock
from verifai.domain.evaluation.data_lock import DataTask
from verifai.domain.evaluation.metrics import Metrics, count_classes, sum_errors
from verifai.domain.findings import Outcome
from verifai.domain.policy.evaluation import EvaluationDemand, evaluation_from_record, judge_evaluation, unfit
from verifai.domain.policy.parse import parse_policy
from verifai.domain.record import Record
from verifai.errors import UsageError


def demand(**fields: Any) -> EvaluationDemand:
    record = Record({"data": "data.lock", **fields}, "model", error=UsageError, code="bad-policy")
    return evaluation_from_record(record)


def counts(right: int, samples: int) -> Metrics:
    return Metrics(count_classes(2, [0] * samples, [0] * right + [1] * (samples - right)))


def codes(asked: EvaluationDemand, metrics: Metrics, **changes: Any) -> set[str]:
    found = judge_evaluation(asked, replace(lock(), **changes), metrics)
    return {one.code for one in found if one.outcome is Outcome.POLICY_NOT_MET}


def test_a_floor_is_met_exactly_at_the_rate() -> None:
    assert codes(demand(accuracy=0.97), counts(97, 100)) == set()
    assert codes(demand(accuracy=0.97), counts(96, 100)) == {"accuracy-below-floor"}


def test_a_floor_on_the_lower_end_is_stricter() -> None:
    asked = demand(accuracy=0.97, floors_on="lower-end")
    assert codes(asked, counts(100, 100)) == {"accuracy-below-floor"}
    assert codes(asked, counts(346, 350)) == set()
    assert codes(asked, counts(345, 350)) == {"accuracy-below-floor"}
    assert codes(asked, counts(981, 1000)) == set()
    assert codes(asked, counts(980, 1000)) == {"accuracy-below-floor"}


def test_each_demand_has_its_own_code() -> None:
    metrics = Metrics(
        count_classes(2, [0, 0, 1, 1], [0, 1, 1, 1]),
        {"a": count_classes(2, [0, 1], [0, 1]), "b": count_classes(2, [0, 1], [1, 1])},
    )
    asked = demand(
        recall_of={"no": 0.9},
        precision_of={"yes": 0.9},
        accuracy_of_each_group=0.9,
        largest_gap_between_groups=0.4,
        samples=5,
    )
    expected = {
        "recall-below-floor", "precision-below-floor", "accuracy-below-floor", "groups-too-far-apart", "too-few-samples",
    }  # fmt: skip
    assert codes(asked, metrics, groups=("a", "b")) == expected
    assert codes(demand(top_k_accuracy={"2": 0.5}), metrics) == {"evaluation-output-hidden"}
    assert codes(demand(recall_of={"no": 0.5}), Metrics(count_classes(2, [1], [1]))) == {"recall-below-floor"}


def test_limits_of_a_regression() -> None:
    sums = Metrics(sum_errors([Fraction(0), Fraction(4)], [Fraction(1), Fraction(1)]))
    assert codes(demand(mean_absolute_error=2.0, root_mean_squared_error=2.3, r2=-0.25), sums) == set()
    assert codes(demand(mean_absolute_error=1.99), sums) == {"error-above-limit"}
    assert codes(demand(root_mean_squared_error=2.2), sums) == {"error-above-limit"}
    assert codes(demand(r2=-0.24), sums) == {"r2-below-floor"}
    flat = Metrics(sum_errors([Fraction(1)] * 2, [Fraction(1)] * 2))
    assert codes(demand(r2=0.5), flat) == {"r2-below-floor"}


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"samples": 10},
        {"accuracy": 1.1},
        {"accuracy": True},
        {"recall_of": {}},
        {"accuracy": 0.9, "mean_absolute_error": 3.0},
        {"accuracy": 0.9, "floors_on": "upper-end"},
        {"accuracy": 0.9, "confidence": 1.0},
    ],
)
def test_a_policy_that_asks_nothing_or_nonsense_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        demand(**fields)


@pytest.mark.parametrize(
    ("fields", "task", "field"),
    [
        ({"mean_absolute_error": 3.0}, DataTask.CLASSIFICATION, "mean_absolute_error"),
        ({"accuracy": 0.9}, DataTask.REGRESSION, "accuracy"),
        ({"recall_of": {"fraud": 0.9}}, DataTask.CLASSIFICATION, "recall_of"),
        ({"top_k_accuracy": {"2": 0.9}}, DataTask.CLASSIFICATION, "top_k_accuracy"),
        ({"largest_gap_between_groups": 0.1}, DataTask.CLASSIFICATION, "largest_gap_between_groups"),
        ({"accuracy_of_each_group": 0.1}, DataTask.CLASSIFICATION, "accuracy_of_each_group"),
        ({"accuracy": 0.9, "samples": 1000}, DataTask.CLASSIFICATION, "samples"),
    ],
)
def test_what_no_evaluation_of_the_data_set_could_show_is_told_before(
    fields: dict[str, Any], task: DataTask, field: str
) -> None:
    wrong = unfit(demand(**fields), lock(task=task))
    assert wrong is not None
    assert wrong[0] == field


def test_a_policy_names_the_evaluation_only_where_evidence_asks_for_it() -> None:
    text = """
    schema = "verifai/policy/v1"
    [[model]]
    name = "m"
    lock = "circuit.lock"
    evidence = ["proof"]
    [model.proof]
    engines = ["sumcheck"]
    [model.evaluation]
    data = "data.lock"
    accuracy = 0.9
    """
    with pytest.raises(UsageError, match="evaluation"):
        parse_policy(text.encode(), "verifai.toml")
    found = parse_policy(text.replace('["proof"]', '["proof", "evaluation"]').encode(), "verifai.toml")
    assert found.models[0].evaluation is not None
    assert found.models[0].evaluation.accuracy == 0.9
