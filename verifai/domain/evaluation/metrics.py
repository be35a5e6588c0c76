"""Metrics of an evaluation, as exact counts and sums: what was proven beside what the data set says.

A rate is a fraction of counts, never a decimal that was rounded before it is compared with a floor.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import isqrt
from typing import Any

from verifai.domain.evaluation.interval import Interval, clopper_pearson

TOP_K = (2, 3, 5, 10)
"""For which k the right class is looked for among the k largest scores, where scores are shown and there are more classes."""


@dataclass(frozen=True, slots=True)
class Rate:
    """``right`` of ``samples``; nothing where there is no sample."""

    right: int
    samples: int

    @property
    def value(self) -> Fraction | None:
        """Exactly; ``None`` of no samples."""
        return Fraction(self.right, self.samples) if self.samples else None

    def interval(self, confidence: float) -> Interval | None:
        """Clopper and Pearson's; ``None`` of no samples."""
        return clopper_pearson(self.right, self.samples, confidence) if self.samples else None


@dataclass(frozen=True, slots=True)
class ClassCounts:
    """How decisions fell on the classes.

    Attributes:
        classes: how many the data set has. What the model decided for outside them is counted as class ``classes``.
        confusion: by (the data set's class, the decided class), how many samples; none that are zero.
        top_k: by k, in how many samples the right class is among the k largest scores; empty where no scores are shown.
        left_out: how many samples lie outside what the circuit takes, so that there is no answer: each is counted as wrong, in
            ``confusion`` as class ``classes``, and wherever a rate could gain from its absence, against that rate.
    """

    classes: int
    confusion: Mapping[tuple[int, int], int]
    top_k: Mapping[int, int] = field(default_factory=dict)
    left_out: int = 0
    _labelled: Mapping[int, int] = field(init=False, repr=False, compare=False)
    _answered: Mapping[int, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Adds the rows and columns up once: with thousands of classes, once for each would take minutes."""
        labelled: Counter[int] = Counter()
        answered: Counter[int] = Counter()
        for (label, decided), count in self.confusion.items():
            labelled[label] += count
            answered[decided] += count
        object.__setattr__(self, "_labelled", labelled)
        object.__setattr__(self, "_answered", answered)

    @property
    def samples(self) -> int:
        """How many were counted."""
        return sum(self._labelled.values())

    @property
    def accuracy(self) -> Rate:
        """Right decisions of all."""
        return Rate(sum(count for (label, decided), count in self.confusion.items() if label == decided), self.samples)

    def recall(self, place: int) -> Rate:
        """Of the samples of a class, those that were decided so."""
        return Rate(self.confusion.get((place, place), 0), self._labelled.get(place, 0))

    def precision(self, place: int) -> Rate:
        """Of the samples that were decided for a class, those that are of it; what has no answer counts as decided for it."""
        return Rate(self.confusion.get((place, place), 0), self._answered.get(place, 0) + self.left_out)

    @property
    def best_accuracy(self) -> Fraction | None:
        """What the accuracy would be, had every sample without an answer been answered rightly."""
        return Fraction(self.accuracy.right + self.left_out, self.samples) if self.samples else None

    def to_json(self) -> dict[str, Any]:
        """Integers only: what an evaluation states, and what is computed again and compared with it."""
        return {
            "samples": self.samples,
            "right": self.accuracy.right,
            "confusion": [[label, decided, count] for (label, decided), count in sorted(self.confusion.items()) if count],
            "top_k": [[k, right] for k, right in sorted(self.top_k.items())],
            **({"left_out": self.left_out} if self.left_out else {}),
        }


@dataclass(frozen=True, slots=True)
class RightCount:
    """Right answers that proofs counted inside: which samples they are, and what was answered instead, nobody is shown.

    Attributes:
        left_out: as :attr:`ClassCounts.left_out`; each is counted as wrong.
    """

    samples: int
    right: int
    left_out: int = 0

    @property
    def accuracy(self) -> Rate:
        """Right answers of all."""
        return Rate(self.right, self.samples)

    def to_json(self) -> dict[str, Any]:
        """Integers only; the whole of what is known."""
        return {"samples": self.samples, "right": self.right, **({"left_out": self.left_out} if self.left_out else {})}


@dataclass(frozen=True, slots=True)
class ErrorSums:
    """Sums over proven numbers p and the data set's numbers y, exactly.

    Attributes:
        samples: those with a proven number; ``left_out``: those without, which lie outside what the circuit takes.
        absolute, squared: Σ |p − y| and Σ (p − y)².
        labels, labels_squared: Σ y and Σ y².
    """

    samples: int
    absolute: Fraction
    squared: Fraction
    labels: Fraction
    labels_squared: Fraction
    left_out: int = 0

    @property
    def mean_absolute_error(self) -> Fraction:
        """Σ |p − y| / n."""
        return self.absolute / self.samples

    @property
    def mean_squared_error(self) -> Fraction:
        """Σ (p − y)² / n; its root is the root mean squared error, in the unit of y."""
        return self.squared / self.samples

    @property
    def r2(self) -> Fraction | None:
        """1 − Σ (p − y)² / Σ (y − mean)²; ``None`` where all y are alike."""
        around = self.labels_squared - self.labels * self.labels / self.samples
        return 1 - self.squared / around if around else None

    def to_json(self) -> dict[str, Any]:
        """Decimal texts of the doubles next to the exact values, so that equal sums have equal texts."""
        return {
            "samples": self.samples,
            "mean_absolute_error": decimal(self.mean_absolute_error),
            "root_mean_squared_error": root_text(self.mean_squared_error),
            "r2": "undefined" if self.r2 is None else decimal(self.r2),
            **({"left_out": self.left_out} if self.left_out else {}),
        }


Counted = ClassCounts | RightCount | ErrorSums


@dataclass(frozen=True, slots=True)
class Metrics:
    """Of a whole data set, and of each of its groups, by name."""

    whole: Counted
    groups: Mapping[str, Counted] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As an evaluation states them."""
        groups = [{"group": name, **self.groups[name].to_json()} for name in sorted(self.groups)]
        return {"whole": self.whole.to_json(), "groups": groups}


def decimal(value: Fraction) -> str:
    """The shortest decimal that is read as the double next to ``value``."""
    try:
        return repr(float(value))
    except OverflowError:
        return "beyond any double"


def root_text(value: Fraction) -> str:
    """The same of a square root."""
    try:
        return repr(root(value))
    except OverflowError:
        return "beyond any double"


def root(value: Fraction) -> float:
    """The square root as a double, from 70 exact bits. Raises OverflowError."""
    if not value:
        return 0.0
    shift = max(0, (140 + value.denominator.bit_length() - value.numerator.bit_length()) // 2)
    return float(Fraction(isqrt((value.numerator << 2 * shift) // value.denominator), 1 << shift))


def count_classes(
    classes: int,
    labels: Sequence[int],
    decided: Sequence[int],
    ranks: Sequence[int] = (),
    width: int = 0,
    left_out: int = 0,
) -> ClassCounts:
    """Count decisions.

    Args:
        labels, decided: per sample, the data set's class and the decided one, ``classes`` for one that the data set lacks.
        ranks: per sample, at which place, from 0, the right class stands among the scores; empty where no scores are shown.
        width: how many scores there are.
        left_out: how many of the samples have no answer.
    """
    confusion = Counter(zip(labels, decided, strict=True))
    top = {k: sum(rank < k for rank in ranks) for k in TOP_K if ranks and k < width}
    return ClassCounts(classes, dict(confusion), top, left_out)


def sum_errors(labels: Sequence[Fraction], proven: Sequence[Fraction], left_out: int = 0) -> ErrorSums:
    """Add up errors."""
    differences = [p - y for p, y in zip(proven, labels, strict=True)]
    return ErrorSums(
        samples=len(labels),
        absolute=sum_exactly([abs(one) for one in differences]),
        squared=sum_exactly([one * one for one in differences]),
        labels=sum_exactly(labels),
        labels_squared=sum_exactly([one * one for one in labels]),
        left_out=left_out,
    )


def sum_exactly(values: Sequence[Fraction]) -> Fraction:
    """The sum. By denominators, of which there are few: else each addition would reduce a fraction anew."""
    sums: defaultdict[int, int] = defaultdict(int)
    for value in values:
        sums[value.denominator] += value.numerator
    return sum((Fraction(numerator, denominator) for denominator, numerator in sums.items()), Fraction(0))


def places_by_group(groups: Sequence[str]) -> dict[str, list[int]]:
    """Which samples are of which group; nothing where the data set has none."""
    found: defaultdict[str, list[int]] = defaultdict(list)
    for place, name in enumerate(groups):
        found[name].append(place)
    return dict(found)
