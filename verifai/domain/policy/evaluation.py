"""What a policy asks of an evaluation: floors under metrics that the gate counts itself, and limits of errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from fractions import Fraction

from verifai.domain.evaluation.data_lock import DataLock, DataTask
from verifai.domain.evaluation.interval import CONFIDENCE
from verifai.domain.evaluation.metrics import ClassCounts, ErrorSums, Metrics, Rate, RightCount
from verifai.domain.evaluation.words import confidence_words, gap_words, largest_gap, percent, rate_words
from verifai.domain.findings import Finding, Outcome, holds
from verifai.domain.record import Record


class FloorsOn(StrEnum):
    """What a floor is held against: the rate of the data set itself, or the lower end of its confidence interval."""

    RATE = "rate"
    LOWER_END = "lower-end"


@dataclass(frozen=True, slots=True)
class EvaluationDemand:
    """What an evaluation must show; ``None`` and empty where nothing is asked.

    Attributes:
        data: path of the data set's lock, relative to the policy's folder.
        samples: how many samples the data set must have.
        accuracy, accuracy_of_each_group: least share of right answers, of all samples and of each group's.
        recall_of, precision_of, top_k_accuracy: least rates by class, and by k.
        largest_share_left_out: of samples without an answer, since they lie outside what the circuit takes. In a regression 0
            where nothing is said; elsewhere each of them is counted as wrong.
        largest_gap_between_groups: of accuracies; in regression, of mean absolute errors.
        mean_absolute_error, root_mean_squared_error: largest, in the unit of the labels. r2: least.
        floors_on: what floors of rates are held against.
        confidence: of the intervals.
    """

    data: str
    samples: int = 1
    accuracy: float | None = None
    accuracy_of_each_group: float | None = None
    recall_of: Mapping[str, float] | None = None
    precision_of: Mapping[str, float] | None = None
    top_k_accuracy: Mapping[str, float] | None = None
    largest_share_left_out: float | None = None
    largest_gap_between_groups: float | None = None
    mean_absolute_error: float | None = None
    root_mean_squared_error: float | None = None
    r2: float | None = None
    floors_on: FloorsOn = FloorsOn.RATE
    confidence: float = CONFIDENCE

    @property
    def for_classes(self) -> tuple[str, ...]:
        """The fields given that only classification has."""
        names = ("accuracy", "accuracy_of_each_group", "recall_of", "precision_of", "top_k_accuracy")
        return tuple(name for name in names if getattr(self, name) is not None)

    @property
    def for_numbers(self) -> tuple[str, ...]:
        """The fields given that only regression has."""
        names = ("mean_absolute_error", "root_mean_squared_error", "r2")
        return tuple(name for name in names if getattr(self, name) is not None)


def evaluation_from_record(record: Record) -> EvaluationDemand:
    """Read what ``[model.evaluation]`` says of the metrics; the caller reads the rest of it. Raises the record's error."""
    demand = EvaluationDemand(
        data=record.text("data", max_length=1024),
        samples=record.integer("samples", 1, low=1, high=10**9),
        accuracy=_rate(record, "accuracy"),
        accuracy_of_each_group=_rate(record, "accuracy_of_each_group"),
        recall_of=_rates(record, "recall_of"),
        precision_of=_rates(record, "precision_of"),
        top_k_accuracy=_rates(record, "top_k_accuracy"),
        largest_share_left_out=_rate(record, "largest_share_left_out"),
        largest_gap_between_groups=record.number("largest_gap_between_groups", None, low=0.0, high=1e300),
        mean_absolute_error=record.number("mean_absolute_error", None, low=0.0, high=1e300),
        root_mean_squared_error=record.number("root_mean_squared_error", None, low=0.0, high=1e300),
        r2=record.number("r2", None, low=-1e300, high=1.0),
        floors_on=record.choice("floors_on", FloorsOn, FloorsOn.RATE.value),
        confidence=record.number("confidence", CONFIDENCE, low=0.5, high=0.999999),
    )
    if not demand.for_classes and not demand.for_numbers and demand.largest_gap_between_groups is None:
        hint = "Write one, such as accuracy = 0.97; in a regression mean_absolute_error = 40."
        raise record.refuse("no metric is demanded, so any model would pass", "accuracy", hint=hint)
    for name in ("recall_of", "precision_of", "top_k_accuracy"):
        if getattr(demand, name) == {}:
            raise record.refuse("the table is empty", name)
    if demand.for_classes and demand.for_numbers:
        one, other = demand.for_classes[0], demand.for_numbers[0]
        raise record.refuse(f"{one} is of classes, {other} of numbers: no data set has both", other)
    return demand


def _rate(record: Record, name: str) -> float | None:
    found: float | None = record.number(name, None, low=0.0, high=1.0)
    return found


def _rates(record: Record, name: str) -> Mapping[str, float] | None:
    if not record.has(name):
        return None
    table = record.table(name)
    found = {one: table.number(one, low=0.0, high=1.0) for one in table.names()}
    table.done()
    return found


def unfit(demand: EvaluationDemand, data: DataLock) -> tuple[str, str] | None:
    """What a policy asks that no evaluation of the data set could show: the field and what is wrong; ``None`` when all fits."""
    wrong = demand.for_numbers if data.task is DataTask.CLASSIFICATION else demand.for_classes
    if wrong:
        return wrong[0], f"the data set is one of {data.task.value}, which has no such metric"
    for name, table in (("recall_of", demand.recall_of), ("precision_of", demand.precision_of)):
        for one in table or {}:
            if one not in data.classes:
                return name, f"the data set has no class {one[:80]!r}"
    for k in demand.top_k_accuracy or {}:
        if k not in ("2", "3", "5", "10") or int(k) >= len(data.classes):
            return "top_k_accuracy", f"k is 2, 3, 5 or 10, and smaller than the {len(data.classes)} classes"
    grouped = {
        "accuracy_of_each_group": demand.accuracy_of_each_group is not None,
        "largest_gap_between_groups": demand.largest_gap_between_groups is not None,
    }
    for name, asked in grouped.items():
        if asked and len(data.groups) < (2 if name == "largest_gap_between_groups" else 1):
            return name, f"the data set has {len(data.groups)} groups"
    if demand.samples > data.count:
        return "samples", f"the data set has {data.count:,}"
    return None


def judge_evaluation(demand: EvaluationDemand, data: DataLock, metrics: Metrics) -> tuple[Finding, ...]:
    """Metrics that were counted from verified proofs and pinned labels, against the demands. One finding per demand."""
    whole = metrics.whole
    if isinstance(whole, RightCount):
        findings = _count(demand, whole)
    elif isinstance(whole, ErrorSums):
        findings = _errors(demand, whole)
    else:
        findings = _classes(demand, data, metrics, whole)
    findings += _left_out(demand, data, whole.left_out, regression=isinstance(whole, ErrorSums))
    gap = largest_gap(metrics) if len(metrics.groups) >= len(data.groups) else None  # a group without any number is not near
    if demand.largest_gap_between_groups is not None and isinstance(whole, RightCount):
        findings.append(_not_shown("largest_gap_between_groups", _ONE_COUNT))
    elif demand.largest_gap_between_groups is not None:
        limit = Fraction(str(demand.largest_gap_between_groups))
        shown = "no two groups have samples" if gap is None else f"groups are {gap_words(metrics, gap)} apart"
        message = f"{shown}, at most {demand.largest_gap_between_groups:g} is demanded"
        findings.append(
            _judged(gap is not None and gap <= limit, "groups-too-far-apart", message, "largest_gap_between_groups")
        )
    message = f"{data.count:,} samples were evaluated, {demand.samples:,} are demanded"
    findings.append(_judged(data.count >= demand.samples, "too-few-samples", message, "samples"))
    return tuple(findings)


_ONE_COUNT = "the proofs show how many answers are right, and of no class, no group and no score"


def _left_out(demand: EvaluationDemand, data: DataLock, left_out: int, *, regression: bool) -> list[Finding]:
    """An error that is not known can be bounded by nothing, so in a regression the share of such samples is."""
    asked = demand.largest_share_left_out
    if asked is None and not (regression and left_out):
        return []
    limit = Fraction(str(asked or 0))
    message = f"{left_out:,} of {data.count:,} samples have no proven answer, at most a share of {float(limit):g} is allowed"
    met = Fraction(left_out, data.count) <= limit
    return [_judged(met, "too-many-left-out", message, "largest_share_left_out")]


def _count(demand: EvaluationDemand, whole: RightCount) -> list[Finding]:
    """Of a count inside the proofs: the accuracy alone."""
    findings = []
    if demand.accuracy is not None:
        findings.append(_floor(demand, whole.accuracy, demand.accuracy, "accuracy", "accuracy", "accuracy-below-floor"))
    asked = [name for name in demand.for_classes if name != "accuracy"]
    return [*findings, *(_not_shown(name, _ONE_COUNT) for name in asked)]


def _classes(demand: EvaluationDemand, data: DataLock, metrics: Metrics, whole: ClassCounts) -> list[Finding]:
    findings = []
    if demand.accuracy is not None:
        findings.append(_floor(demand, whole.accuracy, demand.accuracy, "accuracy", "accuracy", "accuracy-below-floor"))
    if demand.accuracy_of_each_group is not None:
        for name in sorted(metrics.groups):
            group = metrics.groups[name]
            assert isinstance(group, ClassCounts)
            what = f"accuracy of group {name[:80]!r}"
            floor, where = demand.accuracy_of_each_group, "accuracy_of_each_group"
            findings.append(_floor(demand, group.accuracy, floor, what, where, "accuracy-below-floor"))
    for name, floor in sorted((demand.recall_of or {}).items()):
        rate = whole.recall(data.classes.index(name))
        findings.append(_floor(demand, rate, floor, f"recall of {name[:80]!r}", f"recall_of.{name}", "recall-below-floor"))
    for name, floor in sorted((demand.precision_of or {}).items()):
        where = f"precision_of.{name}"
        rate = whole.precision(data.classes.index(name))
        findings.append(_floor(demand, rate, floor, f"precision of {name[:80]!r}", where, "precision-below-floor"))
    for k, floor in sorted((demand.top_k_accuracy or {}).items()):
        right = whole.top_k.get(int(k))
        where = f"top_k_accuracy.{k}"
        if right is None:
            findings.append(_not_shown(where, f"top-{k} accuracy needs the scores, and the circuit does not show them"))
            continue
        rate = Rate(right, whole.samples)
        findings.append(_floor(demand, rate, floor, f"top-{k} accuracy", where, "top-k-below-floor"))
    return findings


def _not_shown(where: str, message: str) -> Finding:
    remedy = "Ask for a circuit that shows them, or leave the demand out."
    return Finding("evaluation-output-hidden", Outcome.POLICY_NOT_MET, message, where=where, remedy=remedy)


def _floor(demand: EvaluationDemand, rate: Rate, floor: float, what: str, where: str, code: str) -> Finding:
    """Exact: 97 of 100 meets 0.97, whose double lies slightly above 97/100."""
    asked = Fraction(str(floor))
    interval = rate.interval(demand.confidence)
    if rate.value is None or interval is None:
        return _judged(False, code, f"{what}: no sample, {floor:g} is demanded", where)
    if demand.floors_on is FloorsOn.LOWER_END:
        message = (
            f"{what}: the lower end of the interval is {percent(Fraction(interval.low))}, with "
            f"{confidence_words(demand.confidence)}, {floor:g} is demanded"
        )
        return _judged(Fraction(interval.low) >= asked, code, message, where)
    message = f"{what} {rate_words(rate, demand.confidence)}, {floor:g} is demanded of the rate"
    return _judged(rate.value >= asked, code, message, where)


def _errors(demand: EvaluationDemand, sums: ErrorSums) -> list[Finding]:
    findings = []
    if demand.mean_absolute_error is not None:
        limit, found = Fraction(str(demand.mean_absolute_error)), sums.mean_absolute_error
        message = f"mean absolute error {float(found):.6g}, at most {demand.mean_absolute_error:g} is demanded"
        findings.append(_judged(found <= limit, "error-above-limit", message, "mean_absolute_error"))
    if demand.root_mean_squared_error is not None:
        limit, squared = Fraction(str(demand.root_mean_squared_error)), sums.mean_squared_error
        message = f"root mean squared error {float(squared) ** 0.5:.6g}, at most {demand.root_mean_squared_error:g} is demanded"
        findings.append(_judged(squared <= limit * limit, "error-above-limit", message, "root_mean_squared_error"))
    if demand.r2 is not None:
        r2 = sums.r2
        shown = "is undefined, since all labels are alike" if r2 is None else f"{float(r2):.6g}"
        message = f"R² {shown}, {demand.r2:g} is demanded"
        findings.append(_judged(r2 is not None and r2 >= Fraction(str(demand.r2)), "r2-below-floor", message, "r2"))
    return findings


def _judged(met: bool, code: str, message: str, where: str) -> Finding:
    if met:
        return replace(holds("evaluation-met", message), where=where)
    return Finding(code, Outcome.POLICY_NOT_MET, message, where=where, remedy="Do not release it, or lower what is demanded.")
