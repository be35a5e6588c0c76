"""The worst samples of an evaluation, as pictures or rows, for reports."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from verifai.domain.evaluation.data_lock import DataKind, DataTask
from verifai.domain.evaluation.interval import CONFIDENCE
from verifai.domain.evaluation.shown import WORST, Picture, ShownEvaluation, WorstSample
from verifai.onnx_graph.tensors import Array
from verifai.stages.evaluation.data_set import DataSet
from verifai.stages.evaluation.judge import VerifiedEvaluation

_MAX_SIDE = 256
_MIN_SIDE = 4
_VALUES = 6
"""Columns of a row that a report shows."""


def shown_evaluation(verified: VerifiedEvaluation, confidence: float = CONFIDENCE) -> ShownEvaluation:
    """What reports show of it: wrong answers whose scores were surest first, or the largest errors first."""
    found: list[tuple[int, int]] = []
    if verified.answers.right is None:  # else it is hidden which were wrong
        found = _largest_errors(verified) if verified.data.task is DataTask.REGRESSION else _surest_wrong(verified)
    wrong = 0 if verified.data.task is DataTask.REGRESSION else len(found)
    worst = tuple(_sample(verified, place, number) for place, number in found[:WORST])
    return ShownEvaluation(
        verified.data,
        verified.metrics,
        verified.predicate.output,
        worst,
        wrong,
        confidence,
        verified.bundle_id,
        verified.left_out,
    )


def _answered(verified: VerifiedEvaluation) -> list[int]:
    """Places of the samples with an answer."""
    missing = frozenset(verified.left_out)
    return [place for place in range(len(verified.samples)) if place not in missing]


def _surest_wrong(verified: VerifiedEvaluation) -> list[tuple[int, int]]:
    """Places of wrong answers, each with the answer's number."""
    labels, answers = verified.samples.labels.tolist(), verified.answers
    pairs = enumerate(zip(_answered(verified), answers.decided, strict=True))
    wrong = [(place, number) for number, (place, one) in pairs if labels[place] != one]
    return sorted(wrong, key=lambda one: (-answers.margins[one[1]], one[0])) if answers.margins else wrong


def _largest_errors(verified: VerifiedEvaluation) -> list[tuple[int, int]]:
    labels = verified.samples.labels.tolist()
    pairs = enumerate(zip(_answered(verified), verified.answers.numbers, strict=True))
    errors = [(abs(number - Fraction(labels[place])), place, at) for at, (place, number) in pairs]
    return [(place, at) for _, place, at in sorted(errors, key=lambda one: (-one[0], one[1]))]


def _sample(verified: VerifiedEvaluation, place: int, number: int) -> WorstSample:
    """The sample at a place, and the answer to it, which is the ``number``-th."""
    data, answers = verified.samples, verified.answers
    label = data.labels.tolist()[place]
    if verified.data.task is DataTask.REGRESSION:
        proven = answers.numbers[number]
        expected, answered = f"{label:.6g}", f"{float(proven):.6g}"
        how = f"off by {abs(float(proven - Fraction(label))):.6g}"
    else:
        names = (*verified.data.classes, "another class")
        expected, answered = names[label], names[answers.decided[number]]
        how = f"score {answers.margins[number]:.4g} above the next" if answers.margins else ""
    group = data.groups[place] if data.groups else ""
    return WorstSample(place, expected, answered, how, group, _picture(data, place), _row(data, place))


def _picture(data: DataSet, place: int) -> Picture | None:
    """Of a data set of pictures; or of arrays that look like some: (C, H, W) or (H, W), of at least 4 × 4 numbers."""
    arrays = [one for one in data.inputs.values() if not isinstance(one, tuple)]
    if len(arrays) != 1 or data.kind is DataKind.TABLE:
        return None
    pixels = arrays[0][place]
    while pixels.ndim > 3 and pixels.shape[0] == 1:
        pixels = pixels[0]
    if pixels.ndim == 1 and (side := round(pixels.size**0.5)) ** 2 == pixels.size and side >= 8:
        pixels = pixels.reshape(side, side)  # rows of square pictures, as data sets of digits come
    if pixels.ndim == 2:
        pixels = pixels[np.newaxis]
    if pixels.ndim != 3 or pixels.shape[0] not in (1, 3) or not min(pixels.shape[1:]) >= _MIN_SIDE:
        return None
    if max(pixels.shape[1:]) > _MAX_SIDE:
        return None
    return Picture(pixels.shape[2], pixels.shape[1], pixels.shape[0], _bytes(pixels, arrays[0]))


def _bytes(pixels: Array, every: Array) -> bytes:
    """Stretched from the data set's least number to its largest; 8-bit pixels as they are."""
    if pixels.dtype != np.uint8:
        low, high = float(every.min()), float(every.max())
        with np.errstate(all="ignore"):
            pixels = np.nan_to_num((pixels.astype(np.float64) - low) * (255.0 / ((high - low) or 1.0))).astype(np.uint8)
    return np.ascontiguousarray(pixels.transpose(1, 2, 0)).tobytes()


def _row(data: DataSet, place: int) -> tuple[tuple[str, str], ...]:
    """The first columns of a table's row."""
    if data.kind is not DataKind.TABLE:
        return ()
    cells = ((name, one[place]) for name, one in list(data.inputs.items())[:_VALUES])
    return tuple((name, one if isinstance(one, str) else f"{float(one):.6g}") for name, one in cells)
