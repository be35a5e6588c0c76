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
    found = _largest_errors(verified) if verified.data.task is DataTask.REGRESSION else _surest_wrong(verified)
    wrong = 0 if verified.data.task is DataTask.REGRESSION else len(found)
    worst = tuple(_sample(verified, place) for place in found[:WORST])
    return ShownEvaluation(
        verified.data, verified.metrics, verified.predicate.output, worst, wrong, confidence, verified.bundle_id
    )


def _surest_wrong(verified: VerifiedEvaluation) -> list[int]:
    labels, answers = verified.samples.labels.tolist(), verified.answers
    wrong = [at for at, (label, one) in enumerate(zip(labels, answers.decided, strict=True)) if label != one]
    return sorted(wrong, key=lambda at: (-answers.margins[at], at)) if answers.margins else wrong


def _largest_errors(verified: VerifiedEvaluation) -> list[int]:
    labels = verified.samples.labels.tolist()
    errors = [abs(number - Fraction(label)) for number, label in zip(verified.answers.numbers, labels, strict=True)]
    return sorted(range(len(errors)), key=lambda at: (-errors[at], at))


def _sample(verified: VerifiedEvaluation, place: int) -> WorstSample:
    data, answers = verified.samples, verified.answers
    label = data.labels.tolist()[place]
    if verified.data.task is DataTask.REGRESSION:
        number = answers.numbers[place]
        expected, answered = f"{label:.6g}", f"{float(number):.6g}"
        how = f"off by {abs(float(number - Fraction(label))):.6g}"
    else:
        names = (*verified.data.classes, "another class")
        expected, answered = names[label], names[answers.decided[place]]
        how = f"score {answers.margins[place]:.4g} above the next" if answers.margins else ""
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
