"""What an evaluation came to, in sentences, lines and one document: every renderer says the same."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from verifai.domain.digest import short
from verifai.domain.evaluation.data_lock import DataLock
from verifai.domain.evaluation.interval import CONFIDENCE
from verifai.domain.evaluation.metrics import ClassCounts, Counted, ErrorSums, Metrics, Rate, RightCount, decimal, root_text

LINE_CLASSES = 12
LINE_GROUPS = 12
COUNTED_INSIDE = (
    "counted inside the proofs: each shows how many of its samples are answered rightly; which ones, and what was answered "
    "instead, is hidden"
)
LEFT_OUT = (
    "samples without an answer lie outside what the circuit takes: each counts as a wrong answer, in the precision of a class "
    "as a wrong answer of that class, and between groups the worse way"
)
_ASSUMES = "if its samples were drawn independently from the cases it is to stand for"


def percent(value: Fraction | None) -> str:
    """Rounded down to a tenth, so that no floor looks met that is not: ``97.2 %``."""
    if value is None:
        return "no sample"
    tenths = value.numerator * 1000 // value.denominator
    return f"{tenths // 10}.{tenths % 10} %"


def rate_words(rate: Rate, confidence: float = CONFIDENCE) -> str:
    """Such as ``97.2 % (350 of 360; 94.9 % to 98.7 % with 95 % confidence)``."""
    interval = rate.interval(confidence)
    if interval is None:
        return "no sample"
    counts = f"{rate.right:,} of {rate.samples:,}"
    return f"{percent(rate.value)} ({counts}; {interval.words()} with {confidence_words(confidence)})"


def confidence_words(confidence: float) -> str:
    """Such as ``95 % confidence``."""
    return f"{confidence * 100:g} % confidence"


def sentence(data: DataLock, metrics: Metrics, confidence: float = CONFIDENCE) -> str:
    """The one sentence that a person reads."""
    whole = metrics.whole
    head = f"Data set {data.name!r} (root {short(data.root)}…, {data.count:,} samples)"
    if isinstance(whole, ErrorSums):
        errors = _errors(whole)
        left = f"; {whole.left_out:,} samples are left out: no answer to them is proven" if whole.left_out else ""
        return f"{head}: proven answers are off by {errors['mean absolute error']} on average; R² is {errors['R²']}{left}."
    rate = whole.accuracy
    interval = rate.interval(confidence)
    assert interval is not None
    how = "answers are proven to be right" if isinstance(whole, RightCount) else "proven answers are right"
    left = ""
    if whole.left_out:
        how = "samples are proven to be answered rightly"
        left = f"{whole.left_out:,} of the others have no proven answer, and count as wrong; "
    return (
        f"{head}: {rate.right:,} of {rate.samples:,} {how}, {percent(rate.value)}; {left}"
        f"with {confidence_words(confidence)} the accuracy is {interval.words()}, {_ASSUMES}."
    )


def lines(data: DataLock, metrics: Metrics, confidence: float = CONFIDENCE) -> list[str]:
    """A line about each metric: the whole, classes, top-k, groups. Foreign text in it is as it came."""
    whole = metrics.whole
    found = [sentence(data, metrics, confidence)]
    if isinstance(whole, RightCount):
        found.append(COUNTED_INSIDE)
    elif isinstance(whole, ErrorSums):
        found.append(", ".join(f"{name} {text}" for name, text in _errors(whole).items()))
    else:
        found += [f"top-{k} accuracy {rate_words(Rate(right, whole.samples), confidence)}" for k, right in _top(whole)]
        places = range(len(data.classes))
        worst = sorted(places, key=lambda at: (whole.recall(at).value is None, whole.recall(at).value or Fraction(0), at))
        for at in worst[:LINE_CLASSES]:
            text = f"class {data.classes[at]}: recall {rate_words(whole.recall(at), confidence)}"
            found.append(f"{text}, precision {percent(whole.precision(at).value)}")
        if len(worst) > LINE_CLASSES:
            found.append(f"… and {len(worst) - LINE_CLASSES:,} more classes, with higher recall")
    if whole.left_out:
        found.append(LEFT_OUT)
    return [*found, *group_lines(metrics, confidence)]


def group_lines(metrics: Metrics, confidence: float = CONFIDENCE) -> list[str]:
    """A line about each group, those first that were answered worst, and how far apart they are."""
    names = sorted(metrics.groups, key=lambda name: (_goodness(metrics.groups[name]), name))
    found = [f"group {name}: {_group(metrics.groups[name], confidence)}" for name in names[:LINE_GROUPS]]
    if len(names) > LINE_GROUPS:
        found.append(f"… and {len(names) - LINE_GROUPS:,} more groups, which were answered better")
    if (gap := largest_gap(metrics)) is not None:
        found.append(f"largest gap between groups: {gap_words(metrics, gap)}")
    return found


def _goodness(counted: Counted) -> Fraction:
    return -counted.mean_absolute_error if isinstance(counted, ErrorSums) else counted.accuracy.value or Fraction(0)


def largest_gap(metrics: Metrics) -> Fraction | None:
    """Between the accuracies, or the mean absolute errors, of any two groups; ``None`` with fewer than two.

    A sample without an answer counts as wrong where its group does worse, and as right where it does better: leaving samples
    out never makes groups look nearer to each other.
    """
    ends = [_ends(one) for one in metrics.groups.values()]
    pairs = [one for one in ends if one is not None]
    if len(pairs) < 2:
        return None
    numbered = list(enumerate(pairs))
    lowest = sorted(numbered, key=lambda one: one[1][0])[:2]  # the lowest of all others is one of the two lowest
    return max(high - next(low for other, (low, _) in lowest if other != at) for at, (_, high) in numbered)


def _ends(counted: Counted) -> tuple[Fraction, Fraction] | None:
    """The least and the largest that it may be, whatever the missing answers are."""
    if isinstance(counted, ErrorSums):
        return counted.mean_absolute_error, counted.mean_absolute_error
    low = counted.accuracy.value
    return None if low is None else (low, low + Fraction(counted.left_out, counted.samples))


def gap_words(metrics: Metrics, gap: Fraction) -> str:
    """In points of accuracy, or in the unit of the labels."""
    if not isinstance(metrics.whole, ErrorSums):
        return f"{float(gap) * 100:.2f} points of accuracy"
    return f"{float(gap):.6g} in mean absolute error"


def _group(counted: Counted, confidence: float) -> str:
    if not isinstance(counted, ErrorSums):
        return f"accuracy {rate_words(counted.accuracy, confidence)}"
    return f"mean absolute error {_errors(counted)['mean absolute error']} ({counted.samples:,} samples)"


def _top(counts: ClassCounts) -> list[tuple[int, int]]:
    return sorted(counts.top_k.items())


def _errors(sums: ErrorSums) -> dict[str, str]:
    return {
        "mean absolute error": _short(decimal(sums.mean_absolute_error)),
        "root mean squared error": _short(root_text(sums.mean_squared_error)),
        "R²": "undefined (all labels are alike)" if sums.r2 is None else _short(decimal(sums.r2)),
    }


def _short(text: str) -> str:
    try:
        return f"{float(text):.6g}"
    except ValueError:
        return text


def document(data: DataLock, metrics: Metrics, confidence: float = CONFIDENCE) -> dict[str, Any]:
    """For ``--json``: exact counts, decimals for reading, and the interval beside each rate."""
    return {
        "data": {"name": data.name, "root": data.root, "count": data.count, "task": data.task.value},
        "sentence": sentence(data, metrics, confidence),
        "confidence": confidence,
        "whole": _document(data, metrics.whole, confidence),
        "groups": {name: _document(data, metrics.groups[name], confidence) for name in sorted(metrics.groups)},
        "largest_gap_between_groups": None if (gap := largest_gap(metrics)) is None else float(gap),
    }


def _document(data: DataLock, counted: Counted, confidence: float) -> dict[str, Any]:
    if isinstance(counted, ErrorSums):
        sums = {name: _number(text) for name, text in counted.to_json().items() if isinstance(text, str)}
        return {"samples": counted.samples, "left_out": counted.left_out, **sums}
    if isinstance(counted, RightCount):
        return {
            "samples": counted.samples,
            "left_out": counted.left_out,
            "accuracy": _rate(counted.accuracy, confidence),
            "top_k": {},
            "classes": None,
            "confusion": None,
        }
    classes = {
        name: {
            "recall": _rate(counted.recall(at), confidence),
            "precision": _rate(counted.precision(at), confidence),
        }
        for at, name in enumerate(data.classes)
    }
    return {
        "samples": counted.samples,
        "left_out": counted.left_out,
        "accuracy": _rate(counted.accuracy, confidence),
        "top_k": {str(k): _rate(Rate(right, counted.samples), confidence) for k, right in _top(counted)},
        "classes": classes,
        "confusion": counted.to_json()["confusion"],
    }


def _rate(rate: Rate, confidence: float) -> Mapping[str, Any]:
    interval = rate.interval(confidence)
    return {
        "right": rate.right,
        "samples": rate.samples,
        "rate": None if rate.value is None else float(rate.value),
        "interval": None if interval is None else [interval.low, interval.high],
    }


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
