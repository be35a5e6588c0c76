"""Trees behind scalers: thresholds taken back to the model's own columns, so that each decision is scikit-learn's.

A scaler computes f(x) in float64, and a tree compares that, or its float32, with a threshold. f never decreases: the float32 x
with f(x) ≤ t are those up to one of them, which a search among all float32 numbers finds. Were f computed in float32 instead,
rows at a threshold, of which boosting has many, would fall on either side of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeAlias

import numpy as np

from verifai.domain.ordered_floats import LARGEST
from verifai.exporters.sklearn.writer import Array
from verifai.onnx_graph.passes.trees import Branching, Forest, below, next_below

Function: TypeAlias = Callable[[Array], Array]
"""Of float64 arrays, cell by cell, never decreasing."""
Moved: TypeAlias = tuple[int, tuple[Function, ...]]
"""A column of the model's own, and the functions that are applied to it, one after another."""
_STRICT = {"BRANCH_LT": "BRANCH_LEQ", "BRANCH_GTE": "BRANCH_GT"}
_MODES = frozenset({"BRANCH_LEQ", "BRANCH_GT", *_STRICT})


def taken_back(forest: Forest, columns: Sequence[Moved], *, double: bool) -> Forest | None:
    """The forest as one of the model's own columns; ``None`` where some branch has no such form.

    Args:
        columns: what each column that the forest reads is. double: whether it compares in float64 what reaches it.
    """
    if any(branch.mode not in _MODES or branch.column >= len(columns) for branch in forest.inner.values()):
        return None
    wanted: dict[int, dict[float, float]] = {}
    for branch in forest.inner.values():
        wanted.setdefault(branch.column, {})[_limit(branch, double)] = 0.0
    for column, limits in wanted.items():
        found = _largest(columns[column][1], np.array(list(limits), np.float64), double)
        if found is None:
            return None
        limits.update(zip(limits, found.tolist(), strict=True))
    inner = {
        number: replace(
            branch,
            column=columns[branch.column][0],
            mode=_STRICT.get(branch.mode, branch.mode),
            threshold=wanted[branch.column][_limit(branch, double)],
        )
        for number, branch in forest.inner.items()
    }
    return Forest(forest.roots, inner, forest.weights)


def _limit(branch: Branching, double: bool) -> float:
    """t, for a branch that asks whether z ≤ t, or whether it is not."""
    strict = branch.mode in _STRICT
    if double:
        return float(np.nextafter(branch.threshold, -np.inf)) if strict else branch.threshold
    return next_below(branch.threshold) if strict else below(branch.threshold)


def _largest(functions: Sequence[Function], limits: Array, double: bool) -> Array | None:
    """The largest float32 x with f(x) ≤ limit, for each; ``None`` where one is none, or all."""

    def reaches(cells: Array) -> Array:
        values = _numbers(cells)
        for function in functions:
            values = function(values)
        with np.errstate(over="ignore"):
            shown = values if double else values.astype(np.float32).astype(np.float64)
        return np.asarray(shown <= limits)

    low, high = np.full(len(limits), -LARGEST, np.int64), np.full(len(limits), LARGEST, np.int64)
    with np.errstate(all="ignore"):
        if not reaches(low).all() or reaches(high).any():
            return None
        while bool((high - low > 1).any()):
            middle = (low + high) >> 1
            met = reaches(middle)
            low, high = np.where(met, middle, low), np.where(met, high, middle)
    return _numbers(low)


def _numbers(cells: Array) -> Array:
    """The float32 numbers of their places in order, as float64; see :mod:`verifai.domain.ordered_floats`."""
    bits = np.abs(cells).astype(np.uint32)
    values = np.ascontiguousarray(bits).view(np.float32).astype(np.float64)
    return np.where(cells < 0, -values, values)
