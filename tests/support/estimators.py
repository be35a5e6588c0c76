"""scikit-learn's own data, estimators fitted on it, and what their exports compute."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import skops.io
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_wine

from verifai.onnx_graph.model import OnnxModel
from verifai.onnx_graph.reference import Reference

Build = Callable[[], Any]


def _exact(rows: np.ndarray) -> np.ndarray:
    """What float32 holds, so that source and export see the same numbers."""
    return rows.astype(np.float32).astype(np.float64)


def _sets() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    found = {}
    for name, load in (("wine", load_wine), ("cancer", load_breast_cancer), ("diabetes", load_diabetes), ("iris", load_iris)):
        rows, target = load(return_X_y=True)
        found[name] = (_exact(rows), target)
    rows, target = found["diabetes"]
    found["three targets"] = (rows, np.column_stack([target, np.sqrt(target), -target]))
    rows, target = found["cancer"]
    found["labels"] = (rows, np.column_stack([target, rows[:, 0] > 14, rows[:, 1] > 20]).astype(int))
    generator = np.random.default_rng(0)
    rows, target = found["diabetes"]
    codes = np.column_stack([generator.integers(0, 4, len(rows)), 3 * generator.integers(0, 2, len(rows))])
    found["mixed"] = (np.column_stack([rows, codes]), target + 20 * codes[:, 0])
    return found


DATA = _sets()
"""Rows and target by name. ``mixed``: ten numbers, then a code of 0 to 3 and one of 0 or 3."""


def fitted(build: Build, data: str) -> Any:
    """The estimator, fitted in silence."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return build().fit(*DATA[data])


def saved(folder: Path, estimator: Any) -> Path:
    """The estimator in a skops file."""
    skops.io.dump(estimator, folder / "model.skops")
    return folder / "model.skops"


def computed(model: OnnxModel, rows: np.ndarray) -> np.ndarray:
    """The only output for each row, as float64."""
    reference, name = Reference(model), model.outputs[0].name
    outputs = [reference.run({"features": row[None].astype(np.float32)})[name] for row in rows]
    return np.concatenate(outputs).astype(np.float64)


def gap(expected: Any, actual: np.ndarray) -> float:
    """Largest difference as a share of the spread of ``expected``."""
    expected = np.asarray(expected, dtype=np.float64).reshape(actual.shape)
    return float(np.abs(expected - actual).max() / expected.std())
