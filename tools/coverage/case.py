"""What a case is: a model file that some tool wrote, with inputs such as people give it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SAMPLES = 100
"""Inputs per case: compile warns of fewer."""

Array = NDArray[Any]
Data = Callable[[np.random.Generator, int], Array]
"""Draws that many samples of one input, samples on axis 0."""


@dataclass(frozen=True)
class Made:
    """A model file and its inputs.

    Attributes:
        model: the ONNX file.
        inputs: input → samples; axis 0 counts them, the other axes are the input's own.
    """

    model: Path
    inputs: dict[str, Array]


@dataclass(frozen=True)
class Case:
    """One model.

    Attributes:
        slug: its name in the tables, without blanks; unique.
        route: which tool wrote it.
        make: writes it below a folder.
    """

    slug: str
    route: str
    make: Callable[[Path], Made]


def normal(*shape: int, scale: float = 1.0, mean: float = 0.0) -> Data:
    """Standardised features, or others of a mean and a spread; float32."""
    return lambda rng, count: (mean + scale * rng.standard_normal((count, *shape))).astype(np.float32)


def pixels(*shape: int) -> Data:
    """Smooth pictures with values of 0 to 255; float32."""

    def draw(rng: np.random.Generator, count: int) -> Array:
        rough = rng.uniform(0, 255, (count, *shape))
        smooth = (rough + np.roll(rough, 1, -1) + np.roll(rough, 1, -2) + np.roll(rough, 2, -1)) / 4
        return np.rint(smooth).astype(np.float32)

    return draw


def uniform(low: float, high: float, *shape: int) -> Data:
    """Evenly between two ends; float32."""
    return lambda rng, count: rng.uniform(low, high, (count, *shape)).astype(np.float32)


def integers(low: int, high: int, *shape: int, dtype: Any = np.int64) -> Data:
    """Whole numbers from ``low`` to ``high`` - 1, such as tokens."""
    return lambda rng, count: rng.integers(low, high, (count, *shape)).astype(dtype)


def flags(*shape: int, share: float = 0.7) -> Data:
    """Truth values, the first of each row true."""

    def draw(rng: np.random.Generator, count: int) -> Array:
        drawn = rng.random((count, *shape)) < share
        drawn[..., 0] = True
        return drawn

    return draw


def table(*shape: int) -> Data:
    """Columns of very different units: money, ages, shares, counts; float32."""

    def draw(rng: np.random.Generator, count: int) -> Array:
        columns = shape[-1]
        units = np.array([40000.0, 45.0, 0.3, 12.0, 1.0, 300.0, 1800.0, 7.0])[np.arange(columns) % 8]
        return (units * np.exp(0.4 * rng.standard_normal((count, *shape)))).astype(np.float32)

    return draw


def drawn(slug: str, data: dict[str, Data]) -> dict[str, Array]:
    """The same samples of a case in every run."""
    rng = np.random.default_rng(list(slug.encode("utf-8")))
    return {name: one(rng, SAMPLES) for name, one in data.items()}
