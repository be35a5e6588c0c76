"""A verified evaluation as reports show it: small, and free of arrays."""

from __future__ import annotations

from dataclasses import dataclass

from verifai.domain.digest import Sha256
from verifai.domain.evaluation.data_lock import DataLock
from verifai.domain.evaluation.interval import CONFIDENCE
from verifai.domain.evaluation.metrics import Metrics

WORST = 12
"""Samples that a report shows one by one."""


@dataclass(frozen=True, slots=True)
class Picture:
    """Pixels of a sample that is a picture: 8 bits, one byte (grey) or three (RGB) each, row by row."""

    width: int
    height: int
    channels: int
    pixels: bytes


@dataclass(frozen=True, slots=True)
class WorstSample:
    """One of the samples that were answered worst.

    Attributes:
        place: in the data set, from 0.
        expected, answered: as people read them.
        how: how far off the answer is, in words; empty where nothing says it.
        picture: of the sample; ``None`` where it is none.
        values: of a table's row, by column.
    """

    place: int
    expected: str
    answered: str
    how: str = ""
    group: str = ""
    picture: Picture | None = None
    values: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class ShownEvaluation:
    """What was counted, and where it went wrong. ``left_out``: places of the samples without an answer."""

    data: DataLock
    metrics: Metrics
    output: str
    worst: tuple[WorstSample, ...] = ()
    wrong: int = 0
    confidence: float = CONFIDENCE
    bundle_id: Sha256 | None = None
    left_out: tuple[int, ...] = ()
