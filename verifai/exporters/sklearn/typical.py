"""Rows like those that an estimator was fitted on, made up from what it remembers of them: means, ranges, points, categories.

For the parity check only. Inputs far from the data saturate probabilities, leave the range of scalers, and make encoders fail.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from verifai.exporters.sklearn.build import own
from verifai.exporters.sklearn.histogram_columns import columns_of
from verifai.exporters.sklearn.selection import chosen_columns
from verifai.exporters.sklearn.writer import Array

_POINTS = ("_fit_X", "support_vectors_", "X_train_", "X_fit_", "centroids_", "cluster_centers_", "theta_", "means_")
_PAIRS = (("mean_", "scale_"), ("center_", "scale_"), ("_x_mean", "_x_std"))
_INNER = ("estimator_", "best_estimator_", "regressor_", "final_estimator_", "estimator")
_LISTS = ("estimators_", "calibrated_classifiers_")


def typical_rows(estimator: Any, width: int, generator: np.random.Generator, count: int) -> Array | None:
    """``count`` rows of ``width`` columns, float32; ``None`` when the estimator remembers nothing of its data."""
    rows = _rows(estimator, width, generator, count, 0)
    if rows is None or not np.isfinite(rows).all():
        return None
    with np.errstate(over="ignore"):
        result = rows.astype(np.float32)
    return result if np.isfinite(result).all() else None


def _rows(estimator: Any, width: int, generator: np.random.Generator, count: int, depth: int) -> Array | None:
    if depth > 8 or estimator is None or isinstance(estimator, str):
        return None
    name = type(estimator).__name__
    if own(estimator) and name == "ColumnTransformer":
        return _by_columns(estimator, width, generator, count, depth)
    if own(estimator) and name in ("Pipeline", "FeatureUnion"):
        steps = estimator.steps if name == "Pipeline" else estimator.transformer_list
        for _, step in steps:
            rows = _rows(step, width, generator, count, depth + 1)
            if rows is not None:
                return rows
            if getattr(step, "n_features_in_", width) != width or not _keeps_columns(step):
                return None
        return None
    found = _remembered(estimator, width, generator, count)
    if found is None and own(estimator) and name.startswith("HistGradientBoosting"):
        found = _by_bins(estimator, width, generator, count)
    if found is not None:
        return found
    inner = [getattr(estimator, attribute, None) for attribute in _INNER]
    for attribute in _LISTS:
        parts = getattr(estimator, attribute, None)
        inner += list(parts)[:1] if isinstance(parts, (list, tuple)) else []
    for part in inner:
        rows = _rows(part, width, generator, count, depth + 1)
        if rows is not None:
            return rows
    return None


def _keeps_columns(step: Any) -> bool:
    return isinstance(step, str) or step is None or type(step).__name__ in ("SimpleImputer", "KNNImputer", "IterativeImputer")


def _by_columns(estimator: Any, width: int, generator: np.random.Generator, count: int, depth: int) -> Array:
    rows = generator.random((count, width))
    for _, step, chosen in estimator.transformers_:
        columns = chosen_columns(estimator, chosen)
        part = _rows(step, len(columns), generator, count, depth + 1) if columns else None
        if part is not None:
            rows[:, columns] = part
    return rows


def _remembered(estimator: Any, width: int, generator: np.random.Generator, count: int) -> Array | None:
    categories = getattr(estimator, "categories_", None)
    if isinstance(categories, list) and len(categories) == width:
        lists = [_numbered(np.asarray(values)) for values in categories]
        if all(values.dtype.kind in "fiub" and values.size for values in lists):
            return np.stack([generator.choice(values.astype(np.float64), count) for values in lists], axis=1)
    counts = _field(estimator, "n_categories_", (width,))
    if counts is not None:
        return np.floor(counts * generator.random((count, width)))
    for centre, scale in _PAIRS:
        middle, spread = _field(estimator, centre, (width,)), _field(estimator, scale, (width,))
        if middle is not None:
            return middle + (1.0 if spread is None else spread) * generator.normal(size=(count, width))
    low, high = _field(estimator, "data_min_", (width,)), _field(estimator, "data_max_", (width,))
    if low is not None and high is not None:
        return low + (high - low) * generator.random((count, width))
    largest = _field(estimator, "max_abs_", (width,))
    if largest is not None:
        return largest * generator.uniform(-1, 1, (count, width))
    for attribute in _POINTS:
        points = _field(estimator, attribute, (None, width))
        if points is not None and len(points):
            return _around(points, generator, count)
    return None


def _by_bins(estimator: Any, width: int, generator: np.random.Generator, count: int) -> Array | None:
    """Categories, and cells at the edges of bins and around them."""
    order, kinds = columns_of(estimator)
    edges = getattr(getattr(estimator, "_bin_mapper", None), "bin_thresholds_", None)
    if not isinstance(edges, list) or len(edges) != width or len(order) != width:
        return None
    rows = generator.random((count, width))
    for column, one, ends in zip(order, kinds, edges, strict=True):
        known = np.asarray(ends, np.float64) if one is None else one.values
        if not known.size:
            continue
        drawn = generator.choice(known, count)
        aside = 0.1 * np.ptp(known) * generator.normal(size=count) * (generator.random(count) < 0.5)
        rows[:, column] = drawn + aside if one is None else drawn
    return rows


def _numbered(values: Array) -> Array:
    """Texts by their places, which the model takes for them."""
    texts = values.dtype.kind in "OU" and all(isinstance(one, str) for one in values.tolist())
    return np.arange(values.size) if texts else values


def _around(points: Array, generator: np.random.Generator, count: int) -> Array:
    """Every second one a point itself; the others between two of them, and a little aside."""
    first, second = (points[generator.integers(0, len(points), count)] for _ in range(2))
    share = generator.random((count, 1))
    rows = first * share + second * (1 - share) + 0.05 * points.std(axis=0) * generator.normal(size=first.shape)
    rows[::2] = first[::2]
    return np.asarray(rows)


def _field(estimator: Any, attribute: str, shape: tuple[int | None, ...]) -> Array | None:
    value = getattr(estimator, attribute, None)
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu" or value.ndim != len(shape):
        return None
    if any(size not in (None, actual) for size, actual in zip(shape, value.shape, strict=True)):
        return None
    return value.astype(np.float64) if np.isfinite(value).all() else None
