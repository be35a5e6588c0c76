"""What a policy asks of an evaluation: floors on the rate or on the lower end, exact at the edge; nonsense is refused."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest

from tests.unit.domain.evaluation.test_metrics import lock
from verifai.domain.evaluation.data_lock import DataTask
from verifai.domain.evaluation.metrics import Metrics, RightCount, count_classes, sum_errors
from verifai.domain.evaluation.words import largest_gap
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


def test_a_count_inside_the_proofs_meets_an_accuracy_and_nothing_else() -> None:
    inside = Metrics(RightCount(100, 97))
    assert codes(demand(accuracy=0.97), inside) == set()
    assert codes(demand(accuracy=0.98), inside) == {"accuracy-below-floor"}
    for asked in ({"recall_of": {"no": 0.0}}, {"precision_of": {"no": 0.0}}, {"accuracy_of_each_group": 0.0}):
        assert codes(demand(accuracy=0.9, **asked), inside) == {"evaluation-output-hidden"}
    assert codes(demand(accuracy=0.9, largest_gap_between_groups=1.0), inside) == {"evaluation-output-hidden"}


def test_what_is_left_out_never_helps_and_its_share_may_be_limited() -> None:
    whole = count_classes(2, [0, 0, 1, 1], [0, 2, 1, 1], left_out=1)
    assert (whole.accuracy.value, whole.recall(0).value, whole.precision(0).value) == (
        Fraction(3, 4),
        Fraction(1, 2),
        Fraction(1, 2),
    )
    assert whole.precision(1).value == Fraction(2, 3)
    assert codes(demand(accuracy=0.75), Metrics(whole)) == set()
    assert codes(demand(accuracy=0.75, largest_share_left_out=0.25), Metrics(whole)) == set()
    assert codes(demand(accuracy=0.75, largest_share_left_out=0.2), Metrics(whole)) == {"too-many-left-out"}
    better, worse = count_classes(2, [0] * 4, [0, 0, 0, 2], left_out=1), count_classes(2, [0] * 4, [0, 0, 1, 1])
    assert largest_gap(Metrics(whole, {"a": better, "b": worse})) == Fraction(1, 2)  # 3 of 4, or 4, beside 2
    assert largest_gap(Metrics(whole, {"a": better})) is None


def test_in_a_regression_nothing_may_be_left_out_unless_it_is_said() -> None:
    sums = Metrics(sum_errors([Fraction(1)] * 3, [Fraction(1)] * 3, left_out=1))
    limits = {"task": DataTask.REGRESSION, "classes": ()}
    assert codes(demand(mean_absolute_error=1.0), sums, **limits) == {"too-many-left-out"}
    assert codes(demand(mean_absolute_error=1.0, largest_share_left_out=0.25), sums, **limits) == set()
    grouped = Metrics(sums.whole, {"a": sums.whole})  # all of the other group's samples are left out
    asked = demand(mean_absolute_error=1.0, largest_share_left_out=0.5, largest_gap_between_groups=1.0)
    assert codes(asked, grouped, groups=("a", "b"), **limits) == {"groups-too-far-apart"}
